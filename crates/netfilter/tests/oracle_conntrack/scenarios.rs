//! The scripted sequences.

use super::script::Scenario;

const OPEN: &str = "> S 1000 0 ws7 sackok\n< SA 5000 1001 ws7 sackok\n> A 1001 5001\n";
const OPEN_PLAIN: &str = "> S 1000 0\n< SA 5000 1001\n> A 1001 5001\n";
const DNAT: &str = "-A PREROUTING -j DNAT --to-destination 10.2.0.7";
const DNAT_PORT: &str = "-A PREROUTING -p tcp -j DNAT --to-destination 10.2.0.7:9090\n\
    -A PREROUTING -p udp -j DNAT --to-destination 10.2.0.7:5353";
const SNAT: &str = "-A POSTROUTING -o rb -j SNAT --to-source 10.2.0.9";
const MASQUERADE: &str = "-A POSTROUTING -o rb -j MASQUERADE";
const BOTH: &str = "-A PREROUTING -p tcp -j DNAT --to-destination 10.2.0.7:9090\n\
    -A PREROUTING -p udp -j DNAT --to-destination 10.2.0.7:5353\n\
    -A PREROUTING -p icmp -j DNAT --to-destination 10.2.0.7\n\
    -A POSTROUTING -o rb -j SNAT --to-source 10.2.0.9";

pub(crate) fn all() -> Vec<Scenario> {
    [
        tcp_life(),
        tcp_windows(),
        tcp_resets(),
        tcp_reopening(),
        udp_and_icmp(),
        errors(),
        others(),
        nat(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn plain(name: &str, steps: impl AsRef<str>) -> Scenario {
    Scenario::new(name, "", steps.as_ref())
}

fn tcp_life() -> Vec<Scenario> {
    vec![
        plain(
            "tcp: open, talk, close",
            format!(
                "{OPEN}> PA 1001 5001 d100\n< A 5001 1101\n< PA 5001 1101 d50\n> A 1101 5051\n> FA 1101 5051\n< A 5051 1102\n< FA 5051 1102\n> A 1102 5052\n> A 1102 5052"
            ),
        ),
        plain(
            "tcp: the server closes first",
            format!("{OPEN}< FA 5001 1001\n> A 1001 5002\n> FA 1001 5002\n< A 5002 1002"),
        ),
        plain(
            "tcp: both close at once",
            format!("{OPEN}> FA 1001 5001\n< FA 5001 1001\n> A 1002 5002\n< A 5002 1002"),
        ),
        plain(
            "tcp: the first segment repeated",
            "> S 1000 0\n> S 1000 0\n> S 1000 0\n< SA 5000 1001\n< SA 5000 1001\n> A 1001 5001",
        ),
        plain(
            "tcp: a SYN with other numbers",
            "> S 1000 0\n> S 2000 0\n< SA 5000 2001\n> A 2001 5001",
        ),
        plain(
            "tcp: a SYN with lower numbers",
            "> S 2000 0\n> S 1000 0\n< SA 5000 1001\n> A 1001 5001",
        ),
        plain(
            "tcp: both open at once",
            "> S 1000 0\n< S 5000 0\n> SA 1000 5001\n< SA 5000 1001\n> A 1001 5001\n< A 5001 1001\n> PA 1001 5001 d10",
        ),
        plain(
            "tcp: both open at once, one ACK",
            "> S 1000 0\n< S 5000 0\n> SA 1000 5001\n< A 5001 1001\n> A 1001 5001",
        ),
        plain(
            "tcp: picked up in its middle",
            "> A 1000 5000 d10\n< A 5000 1010\n> A 1010 5000\n< PA 5000 1010 d100\n> A 1010 5100",
        ),
        plain(
            "tcp: picked up from the other side",
            "> PA 1000 5000 d10\n> A 1010 5000\n> FA 1010 5000",
        ),
        plain(
            "tcp: picked up, then closed",
            "> A 1000 5000\n< A 5000 1000\n> FA 1000 5000\n< FA 5000 1001\n> A 1001 5001",
        ),
        plain(
            "tcp: nothing is picked up when not loose",
            "set nf_conntrack_tcp_loose 0\n> A 1000 5000 d10\n> S 1000 0\n< SA 5000 1001\n> A 1001 5001",
        ),
        plain(
            "tcp: what begins nothing",
            "> SA 1000 5000\n> FA 1000 5000\n> R 1000 0\n> RA 1000 5000\n< SA 5000 1001",
        ),
        plain(
            "tcp: flags that make no sense",
            "> - 1000 0\n> SF 1000 0\n> SR 1000 0\n> U 1000 0\n> F 1000 0\n> SU 1000 0\n> SAU 1000 0\n< SA 5000 1001\n> AU 1001 5001\n> SFRPAU 1 1",
        ),
        plain(
            "tcp: bad checksum and lengths",
            "> S 1000 0 bad\n> S 1000 0 doff:4\n> S 1000 0 doff:9\n> S 1000 0\n< SA 5000 1001 bad\n< SA 5000 1001\n> A 1001 5001 bad\n> A 1001 5001 doff:15",
        ),
        plain(
            "tcp: checksums may be left unchecked",
            "set nf_conntrack_checksum 0\n> S 1000 0 bad\n< SA 5000 1001 bad",
        ),
        plain("tcp: data with the handshake", "> S 1000 0 d20\n< SA 5000 1021 d5\n> A 1021 5006"),
        plain(
            "tcp: data before the handshake is over",
            "> S 1000 0\n< SA 5000 1001\n< PA 5001 1001 d10\n> A 1001 5011",
        ),
        plain(
            "tcp: ACK from the server to a SYN",
            "> S 1000 0\n< A 5000 900\n> S 1000 0\n< SA 5000 1001",
        ),
        plain(
            "tcp: SYN in an open connection",
            format!("{OPEN_PLAIN}> S 9000 0\n< A 5001 1001\n> A 1001 5001"),
        ),
        plain(
            "tcp: SYN in an open connection is answered",
            format!(
                "{OPEN_PLAIN}> S 9000 0 ws7 sackok\n< SA 7000 9001 ws7\n> A 9001 7001\n> PA 9001 7001 d10\n< A 7001 9011"
            ),
        ),
        plain(
            "tcp: SYN in an open connection is reset",
            format!("{OPEN_PLAIN}> S 9000 0\n< RA 0 9001\n> S 9001 0"),
        ),
        plain("tcp: the server's SYN", format!("{OPEN_PLAIN}< S 5001 0\n> A 1001 5001")),
        plain(
            "tcp: SYN, ACK from the client",
            format!("{OPEN_PLAIN}> SA 1001 5001\n< SA 5000 1001\n> A 1001 5001"),
        ),
        plain(
            "tcp: challenge in LAST_ACK",
            format!(
                "{OPEN_PLAIN}> FA 1001 5001\n< FA 5001 1002\n> S 9000 0\n< A 5002 1002\n> A 1002 5002"
            ),
        ),
        plain(
            "tcp: times that were set",
            format!(
                "set nf_conntrack_tcp_timeout_established 777\nset nf_conntrack_tcp_timeout_unacknowledged 55\nset nf_conntrack_tcp_timeout_syn_sent 33\n{OPEN}> PA 1001 5001 d10\n< A 5001 1011"
            ),
        ),
    ]
}

fn tcp_windows() -> Vec<Scenario> {
    vec![
        plain(
            "window: data beyond it",
            format!("{OPEN_PLAIN}> PA 3000 5001 d10\n> PA 1001 5001 d10\n> PA 900000 5001 d10"),
        ),
        plain(
            "window: a little too much",
            format!(
                "{OPEN_PLAIN}> PA 1001 5001 d900\n> PA 1901 5001 d400\n> PA 2301 5001 d50\n< A 5001 2301\n< A 5001 2351"
            ),
        ),
        plain(
            "window: acknowledgment of nothing sent",
            format!("{OPEN_PLAIN}> A 1001 5002\n> A 1001 900000\n< A 5001 1500\n> A 1001 5001"),
        ),
        plain(
            "window: old data",
            format!(
                "{OPEN_PLAIN}> PA 1001 5001 d500\n< A 5001 1501\n> PA 1 5001 d10\n> PA 700 5001 d10\n> A 1501 5001"
            ),
        ),
        plain(
            "window: old acknowledgment",
            format!(
                "{OPEN}> PA 1001 5001 d900\n< A 5001 1901\n< A 5001 1001\n< A 5001 4294900000\n< A 5001 4294000000"
            ),
        ),
        plain(
            "window: scaled",
            format!(
                "{OPEN}< A 5001 1001 w60000\n> PA 1001 5001 d1400\n> PA 900000 5001 d100\n> PA 9000000 5001 d100"
            ),
        ),
        plain(
            "window: only one end scales",
            "> S 1000 0 ws7\n< SA 5000 1001\n> A 1001 5001\n< A 5001 1001 w10\n> PA 2200 5001 d10",
        ),
        plain(
            "window: shift beyond 14",
            "> S 1000 0 ws40\n< SA 5000 1001 ws20\n> A 1001 5001\n< A 5001 1001 w1000\n> PA 900000 5001 d10",
        ),
        plain(
            "window: selective acknowledgments",
            format!(
                "{OPEN}> PA 1001 5001 d100\n> PA 1201 5001 d100\n< A 5001 1101 sack:1201-1301\n< A 5001 1101 sack:1201-9301\n> PA 1101 5001 d100\n< A 5001 1301"
            ),
        ),
        plain(
            "window: selective acknowledgments not agreed upon",
            format!("{OPEN_PLAIN}> PA 1001 5001 d100\n< A 5001 1101 sack:1201-9301"),
        ),
        plain(
            "window: closed",
            format!(
                "{OPEN_PLAIN}< A 5001 1001 w0\n> PA 1001 5001 d1\n< A 5001 1001 w0\n< A 5001 1002 w500\n> A 1002 5001"
            ),
        ),
        plain(
            "window: liberal",
            format!(
                "set nf_conntrack_tcp_be_liberal 1\n{OPEN_PLAIN}> PA 900000 5001 d10\n> A 1001 900000\n> R 900000 0\n> A 1001 5001"
            ),
        ),
        plain(
            "window: keep-alive",
            format!("{OPEN_PLAIN}> A 1000 5001\n< A 5001 1001\n> A 1000 5001\n< A 5001 1001"),
        ),
        plain(
            "window: repeated until it is short",
            format!(
                "{OPEN}> PA 1001 5001 d10\n< A 5001 1011\n> A 1011 5001\n> A 1011 5001\n> A 1011 5001\n> A 1011 5001\n> A 1011 5001"
            ),
        ),
        plain(
            "window: data not acknowledged",
            format!("{OPEN}> PA 1001 5001 d10\n> PA 1011 5001 d10\n< A 5001 1011\n< A 5001 1021"),
        ),
        plain(
            "window: numbers that wrap",
            "> S 4294967290 0\n< SA 4294967295 4294967291\n> A 4294967291 0\n> PA 4294967291 0 d20\n< A 0 15\n> FA 15 0\n< FA 0 16\n> A 16 1",
        ),
        plain(
            "window: FIN and FIN out of it",
            format!("{OPEN}> FA 9000000 5001\n< FA 9000000 1001\n> A 1001 5001"),
        ),
    ]
}

fn tcp_resets() -> Vec<Scenario> {
    vec![
        plain("reset: a SYN refused", "> S 1000 0\n< RA 0 1001\n> S 1001 0"),
        plain("reset: a SYN refused with numbers", "> S 1000 0\n< RA 5000 1001\n> S 1001 0"),
        plain("reset: by the client before any answer", "> S 1000 0\n> R 1001 0\n> S 2000 0"),
        plain(
            "reset: exactly right",
            format!("{OPEN_PLAIN}> PA 1001 5001 d10\n< A 5001 1011\n> R 1011 0\n> A 1011 5001"),
        ),
        plain(
            "reset: in the window but not exactly",
            format!(
                "{OPEN_PLAIN}> PA 1001 5001 d10\n< A 5001 1011\n> R 1100 0\n< A 5001 1011\n> R 1011 0"
            ),
        ),
        plain(
            "reset: before the window",
            format!("{OPEN_PLAIN}> PA 1001 5001 d10\n< A 5001 1011\n> R 900 0\n> A 1011 5001"),
        ),
        plain(
            "reset: before the window, ignored",
            format!(
                "set nf_conntrack_tcp_ignore_invalid_rst 1\n{OPEN_PLAIN}> PA 1001 5001 d10\n< A 5001 1011\n> R 900 0\n> A 1011 5001"
            ),
        ),
        plain(
            "reset: after data",
            format!("{OPEN_PLAIN}< A 5001 1001\n> PA 1001 5001 d10\n> RA 1011 5001"),
        ),
        plain(
            "reset: from the server",
            format!("{OPEN_PLAIN}< RA 5001 1001\n> A 1001 5001\n< A 5001 1001"),
        ),
        plain(
            "reset: zero in an open connection",
            format!("{OPEN_PLAIN}< R 0 0\n> A 1001 5001\n< A 5001 1001\n< R 0 0"),
        ),
        plain(
            "reset: while closing",
            format!("{OPEN_PLAIN}> FA 1001 5001\n< R 77 0\n> A 1002 5001"),
        ),
        plain("reset: a half-open connection", "> S 1000 0\n< A 7000 3000\n> R 3000 0\n> S 1000 0"),
        plain("reset: after the SYN and ACK", "> S 1000 0\n< SA 5000 1001\n> R 1001 0"),
        plain(
            "reset: about an ignored SYN, from the one who sent it",
            format!("{OPEN_PLAIN}> S 9000 0\n> RA 900000 9001"),
        ),
        plain(
            "reset: about an ignored SYN, from the other",
            format!("{OPEN_PLAIN}> S 9000 0\n< RA 900000 9001"),
        ),
        plain(
            "reset: about an ignored ACK, from the one who sent it",
            "> S 1000 0\n< A 7000 1001\n< RA 77 7000",
        ),
        plain(
            "reset: about an ignored ACK before a SYN",
            "> S 1000 0\n< A 7000 1001\n> S 1000 0\n> RA 900000 7000\n< RA 900000 7000",
        ),
        plain(
            "reset: while both open",
            "> S 1000 0\n< A 7000 1001\n< S 5000 0\n< RA 900000 7000\n> RA 900000 7000",
        ),
        plain("reset: picked up", "> A 1000 5000\n< R 5000 0\n> A 1000 5000"),
    ]
}

fn tcp_reopening() -> Vec<Scenario> {
    let closed = format!("{OPEN_PLAIN}> FA 1001 5001\n< FA 5001 1002\n> A 1002 5002\n");
    vec![
        plain(
            "again: SYN in TIME_WAIT",
            format!("{closed}> S 9000 0\n< SA 8000 9001\n> A 9001 8001"),
        ),
        plain(
            "again: the server's SYN in TIME_WAIT",
            format!("{closed}< S 9000 0\n> SA 8000 9001\n< A 9001 8001"),
        ),
        plain("again: FIN and ACK in TIME_WAIT", format!("{closed}> FA 1001 5002\n< A 5002 1002")),
        plain(
            "again: SYN after a reset",
            format!("{OPEN_PLAIN}> R 1001 0\n> S 9000 0\n< SA 8000 9001\n> A 9001 8001"),
        ),
        plain(
            "again: SYN after the server's reset",
            format!("{OPEN_PLAIN}< RA 5001 1001\n> S 9000 0\n< SA 8000 9001\n> A 9001 8001"),
        ),
        plain(
            "again: SYN in LAST_ACK",
            format!(
                "{OPEN_PLAIN}> FA 1001 5001\n< FA 5001 1002\n> S 9000 0\n< SA 8000 9001\n> A 9001 8001"
            ),
        ),
        plain(
            "again: SYN in CLOSE_WAIT",
            format!(
                "{OPEN_PLAIN}> FA 1001 5001\n< A 5001 1002\n> S 9000 0\n< A 5001 1002\n> R 1002 0"
            ),
        ),
    ]
}

fn udp_and_icmp() -> Vec<Scenario> {
    vec![
        plain("udp: there and back", "> udp\n> udp\n< udp\n> udp"),
        plain("udp: a stream", "> udp\n< udp\nsleep 2200\n> udp\n< udp"),
        plain("udp: no stream without answers", "> udp\nsleep 2200\n> udp\n< udp\n> udp"),
        plain(
            "udp: times that were set",
            "set nf_conntrack_udp_timeout 77\nset nf_conntrack_udp_timeout_stream 99\n> udp\n< udp\nsleep 2100\n> udp",
        ),
        plain("udp: expires", "set nf_conntrack_udp_timeout 1\n> udp\nsleep 1500\n> udp\n< udp"),
        plain(
            "udp: bad checksum and lengths",
            "> udp bad\n> udp len:7\n> udp len:100\n> udp len:8\n> udp\n< udp bad\n< udp",
        ),
        plain("icmp: ping", "> ping\n< pong\n> ping\n< pong"),
        plain("icmp: an answer nobody asked for", "> pong\n< pong"),
        plain(
            "icmp: timestamp, information, mask",
            "> icmp 13 0\n< icmp 14 0\n> icmp 15 0\n< icmp 16 0\n> icmp 17 0\n< icmp 18 0",
        ),
        plain(
            "icmp: code and type that do not fit",
            "> ping\n> icmp 8 1\n< icmp 0 1\n> icmp 9 0\n> icmp 19 0\n> icmp 200 0\n> icmp 1 0\n> ping bad",
        ),
    ]
}

fn errors() -> Vec<Scenario> {
    let each = |name: &str, nat: &str| {
        [
            Scenario::new(
                &format!("error: about udp, {name}"),
                nat,
                "> udp\n< error 3 3\n< udp\n> udp\n> error 3 3\n< error 3 3",
            ),
            Scenario::new(
                &format!("error: about tcp, {name}"),
                nat,
                "> S 1000 0\n< error 3 13\n< SA 5000 1001\n> A 1001 5001 d600\n< error 3 4 via 10.2.0.5\n< A 5001 1601\n> error 11 0 via 10.1.0.8",
            ),
            Scenario::new(
                &format!("error: about ping, {name}"),
                nat,
                "> ping\n< error 11 0 via 10.2.0.12\n< pong\n> error 3 1",
            ),
        ]
    };
    let mut all: Vec<Scenario> = [
        each("not translated", ""),
        each("translated by DNAT", DNAT),
        each("translated by SNAT", SNAT),
        each("translated both ways", BOTH),
    ]
    .into_iter()
    .flatten()
    .collect();
    all.extend([
        plain("error: to somebody else", "> udp\n< error 3 3 to 10.1.0.9\n< error 3 3"),
        plain("error: with a bad checksum", "> udp\n< error 3 3 bad\n< udp"),
        plain("error: a redirect", "> udp\n< error 5 1\n< udp"),
        Scenario::new("error: a redirect, translated", SNAT, "> udp\n< error 5 1\n< udp"),
        plain(
            "error: about a connection that is gone",
            "set nf_conntrack_udp_timeout 1\n> udp\nsleep 1400\n< error 3 3",
        ),
    ]);
    all
}

fn others() -> Vec<Scenario> {
    vec![
        plain("others: protocol 99", "> proto 99\n< proto 99\n> proto 99"),
        plain("others: gre", "> proto 47\n< proto 47\n> proto 47"),
        plain("others: esp", "> proto 50\n> proto 50"),
        Scenario::new(
            "others: protocol 99, translated",
            BOTH,
            "> proto 99\n< proto 99\n> proto 99",
        ),
        plain(
            "sctp: a whole association",
            "> sctp tag:0 1:0:7\n< sctp tag:7 2:0:9\n> sctp tag:9 10\n< sctp tag:7 11\n> sctp tag:9 0\n< sctp tag:7 0\n> sctp tag:9 7\n< sctp tag:7 8\n> sctp tag:9 14",
        ),
        plain(
            "sctp: wrong tags",
            "> sctp tag:5 1:0:7\n> sctp tag:0 1:0:7\n< sctp tag:8 2:0:9\n< sctp tag:7 2:0:9\n> sctp tag:1 10\n> sctp tag:9 10\n< sctp tag:1 0",
        ),
        plain(
            "sctp: INIT repeated, aborted",
            "> sctp tag:0 1:0:7\n> sctp tag:0 1:0:7\n< sctp tag:7 6\n> sctp tag:0 1:0:8",
        ),
        plain(
            "sctp: heartbeats alone",
            "> sctp tag:3 4\n< sctp tag:4 5\n> sctp tag:3 0\n< sctp tag:4 4",
        ),
        plain(
            "sctp: what begins nothing",
            "> sctp tag:1 6\n> sctp tag:1 14\n> sctp tag:1 11\n> sctp tag:1 0\n> sctp tag:0 1:0:7 0",
        ),
        plain("sctp: out of the blue", "> sctp tag:1 8\n< sctp tag:1 14"),
    ]
}

fn nat() -> Vec<Scenario> {
    let talk = format!(
        "{OPEN}> PA 1001 5001 d10\n< A 5001 1011\n> FA 1011 5001\n< FA 5001 1012\n> A 1012 5002"
    );
    let mut all = Vec::new();
    for (name, rules) in [
        ("DNAT", DNAT),
        ("DNAT with port", DNAT_PORT),
        ("SNAT", SNAT),
        ("MASQUERADE", MASQUERADE),
        ("both", BOTH),
        (
            "SNAT to one port",
            "-A POSTROUTING -p tcp -j SNAT --to-source 10.2.0.9:1234\n-A POSTROUTING -p udp -j SNAT --to-source 10.2.0.9:1234",
        ),
        ("DNAT to a range", "-A PREROUTING -j DNAT --to-destination 10.2.0.3-10.2.0.18"),
        (
            "DNAT to a range, persistent",
            "-A PREROUTING -j DNAT --to-destination 10.2.0.3-10.2.0.18 --persistent",
        ),
        ("SNAT to a range", "-A POSTROUTING -j SNAT --to-source 10.2.0.3-10.2.0.18"),
        (
            "SNAT to a range, persistent",
            "-A POSTROUTING -j SNAT --to-source 10.2.0.5-10.2.0.17 --persistent",
        ),
        (
            "DNAT to a range of ports",
            "-A PREROUTING -p tcp -j DNAT --to-destination 10.2.0.7:7000-7010\n-A PREROUTING -p udp -j DNAT --to-destination 10.2.0.7:8000-8100",
        ),
    ] {
        all.push(Scenario::new(&format!("nat: tcp, {name}"), rules, &talk));
        all.push(Scenario::new(&format!("nat: udp, {name}"), rules, "> udp\n< udp\n> udp"));
        all.push(Scenario::new(&format!("nat: ping, {name}"), rules, "> ping\n< pong\n> ping"));
    }
    all.push(Scenario::new("nat: refused", BOTH, "> S 1000 0\n< RA 0 1001\n> S 2000 0"));
    all.push(Scenario::new(
        "nat: invalid is not translated",
        DNAT_PORT,
        &format!("{OPEN}> PA 9000000 5001 d10\n> A 1001 5001"),
    ));
    all.push(
        Scenario::new("nat: dropped on the way", DNAT, "> udp\n> ping\n> udp")
            .with_filter("-A FORWARD -p udp -j DROP"),
    );
    all
}
