//! The real tcpdump is the judge of filter expressions: which packets pass, and what it says of an expression
//! that is none.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test says what it skips")]

mod samples;

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::Rng;
use packet::capture::{Capture, Record, classic};
use packet::filter::Filter;
use packet::tcpdump::{LinkType, Stamp};

/// `None`, and the reason printed, where there is no tcpdump.
fn tcpdump_is_here() -> Option<()> {
    match Command::new("tcpdump").arg("--version").output() {
        Ok(out) if String::from_utf8_lossy(&out.stdout).contains("libpcap version 1.10") => {
            Some(())
        }
        Ok(_) => {
            eprintln!("skipped: not libpcap 1.10");
            None
        }
        Err(error) => {
            eprintln!("skipped: no tcpdump: {error}");
            None
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

struct File {
    path: std::path::PathBuf,
    link: LinkType,
    records: Vec<Record>,
}

impl File {
    /// Every packet's time is its number.
    fn new(name: &str, link: LinkType, packets: Vec<Vec<u8>>) -> File {
        let mut writer = classic::Writer::new(link, false);
        let mut records = Vec::new();
        for (index, bytes) in packets.into_iter().enumerate() {
            let mut record = Record::new(0, Stamp::new(index as u64, 0), bytes);
            if index % 7 == 3 {
                record.bytes.truncate(34 + index % 11);
            }
            writer.record(&record);
            records.push(record);
        }
        // Tests run side by side, each with files of its own.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{}-{name}", COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(format!("podwire-filter-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join(name);
        std::fs::write(&path, writer.into_bytes()).unwrap();
        File { path, link, records }
    }

    /// The numbers of the packets that pass, or the error.
    fn theirs(&self, expression: &str) -> Result<Vec<u64>, String> {
        let mut command = Command::new("tcpdump");
        // Without its optimiser, which asks in another order: that shows where packets end too early.
        command.args(["-n", "-O", "-r"]).arg(&self.path).args(["-w", "-", "--"]);
        let out = command.arg(expression).output().unwrap();
        if !out.status.success() {
            let text = String::from_utf8_lossy(&out.stderr).into_owned();
            let line = text.lines().last().unwrap_or_default();
            return Err(line.trim_start_matches("tcpdump: ").to_string());
        }
        let capture = Capture::read(&out.stdout).unwrap();
        Ok(capture.records.iter().map(|record| record.at.secs()).collect())
    }

    fn ours(&self, expression: &str) -> Result<Vec<u64>, String> {
        let filter = Filter::compile(expression, self.link, &|_| Vec::new());
        let filter = filter.map_err(|error| error.to_string())?;
        let passes = |record: &&Record| filter.matches(&record.bytes, record.len);
        Ok(self.records.iter().filter(passes).map(|record| record.at.secs()).collect())
    }

    /// One for a difference, zero for none.
    fn differs(&self, expression: &str) -> usize {
        let (theirs, ours) = (self.theirs(expression), self.ours(expression));
        if theirs == ours {
            return 0;
        }
        match (&theirs, &ours) {
            (Ok(theirs), Ok(ours)) => {
                let only = |a: &[u64], b: &[u64]| -> Vec<u64> {
                    a.iter().filter(|number| !b.contains(number)).take(5).copied().collect()
                };
                eprintln!(
                    "[{expression}] only theirs {:?}, only ours {:?}",
                    only(theirs, ours),
                    only(ours, theirs)
                );
            }
            _ => {
                let short = |result: &Result<Vec<u64>, String>| {
                    result.as_ref().map(Vec::len).map_err(String::clone)
                };
                eprintln!("[{expression}] theirs {:?}, ours {:?}", short(&theirs), short(&ours));
            }
        }
        1
    }
}

fn files() -> Vec<File> {
    let frames = [samples::hand_made(), samples::generated(9, 300)].concat();
    let is = |frame: &&Vec<u8>, kinds: &[[u8; 2]]| kinds.iter().any(|kind| frame[12..14] == *kind);
    let cooked = frames.iter().filter(|f| is(f, &[[8, 0], [8, 6]])).enumerate();
    let cooked = cooked.map(|(i, f)| samples::cooked(f, 1 + i as u32 % 3, i as u8 % 5)).collect();
    let raw = frames.iter().filter(|f| is(f, &[[8, 0]])).map(|f| f[14..].to_vec()).collect();
    vec![
        File::new("ethernet.pcap", LinkType::Ethernet, frames.clone()),
        File::new("cooked.pcap", LinkType::Sll2, cooked),
        File::new("raw.pcap", LinkType::Raw, raw),
    ]
}

const EXPRESSIONS: [&str; 118] = [
    "",
    "ip",
    "arp",
    "rarp",
    "ip6",
    "tcp",
    "udp",
    "icmp",
    "sctp",
    "igmp",
    "icmp6",
    "pim",
    "ah",
    "esp",
    "vrrp",
    "host 10.244.1.2",
    "src host 10.244.1.2",
    "dst host 10.244.2.3",
    "src 10.244.1.2 and dst 10.96.0.10",
    "src and dst host 10.244.1.2",
    "src or dst host 10.96.0.10",
    "host 10.244.1",
    "ip host 172.18.0.2",
    "arp host 10.244.2.3",
    "arp src 10.244.1.2",
    "not host 10.244.1.2",
    "! host 10.244.1.2",
    "not arp and not udp",
    "net 10.244.0.0/16",
    "net 10.244",
    "net 10",
    "src net 10.96.0.0 mask 255.240.0.0",
    "net 10.244.1.0/24 and tcp",
    "dst net 224.0.0.0/4",
    "port 80",
    "tcp port 80",
    "udp port 53",
    "src port 53",
    "dst port http",
    "tcp dst port domain",
    "port 80 or 443",
    "port (80 or 443)",
    "port (80 or 443) and host 10.244.1.2",
    "tcp port 80 and (443 or 8080)",
    "portrange 80-443",
    "tcp portrange 20-25",
    "src portrange 40000-40001",
    "portrange 443-80",
    "dst portrange ftp-http",
    "src and dst port 53",
    "sctp port 3000",
    "port 53 and not host 10.244.1.2 or arp",
    "tcp or udp and port 53",
    "tcp[tcpflags] & (tcp-syn|tcp-ack) != 0",
    "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
    "tcp[13] = 2",
    "tcp[13] & 0x10 != 0",
    "tcp[tcpflags] == tcp-syn or icmp",
    "icmp[icmptype] = icmp-echo",
    "icmp[icmptype] == icmp-unreach and icmp[icmpcode] = 3",
    "icmp[0] = 8 || icmp[0] = 0",
    "ip[8] < 64",
    "ip[8] = 64",
    "ip[6:2] & 0x1fff != 0",
    "ip[0] & 0xf != 5",
    "ip[2:2] > 100",
    "ip[12:4] = 0x0af40102",
    "udp[4:2] > 20",
    "ip[2:2] - ((ip[0] & 0xf) << 2) > 40",
    "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420",
    "len > 100",
    "len <= 60",
    "less 60",
    "greater 100",
    "length = 42",
    "ip[8] * 2 + 1 = 129",
    "ip[9] / 2 = 3",
    "ip[9] % 5 = 1",
    "ip[8] ^ 0x40 = 0",
    "1 = 1",
    "1 != 1",
    "2 + 3 * 4 = 14",
    "8 - 4 - 2 = 2",
    "len >> 3 > 10",
    "1 << 4 = 16",
    "-1 = 0xffffffff",
    "ip[9] = 6 and ip[8] = 64",
    "ip proto 6",
    "ip proto \\tcp",
    "proto 17",
    "ip proto \\icmp or \\udp",
    "proto \\sctp",
    "ip6 proto 58",
    "(tcp or udp) and host 10.244.2.3",
    "not (tcp or arp)",
    "not tcp port 80",
    "not (port 80 or 53)",
    "!tcp and !udp",
    "tcp and port 80 and not src 10.244.1.2",
    "icmp and (ip[8] = 64 or ip[1] != 0)",
    "((((tcp))))",
    "tcp && port 80 || arp",
    "tcp port http or https",
    "udp[8:2] = 12345 and udp port domain",
    "host 10.244.1.2 and 10.244.2.3",
    "host 10.244.1.2 or 10.96.0.10 and tcp",
    "tcp src port 40000 or 41000",
    "ip broadcast",
    "ip multicast",
    "icmp[100] = 7",
    "not icmp[100] = 7",
    "ip[9:1] = 17 and udp[100] = 0",
    "tcp[100:4] = 1 or arp",
    "arp or tcp[100:4] = 1",
    "ip[ip[8]] = 0",
    "net 0.0.0.0/0",
    "host ::1",
    "net fd00::/8",
];

const ETHERNET_ONLY: [&str; 34] = [
    "ether host 02:00:00:00:00:01",
    "ether src 2:0:0:0:0:1",
    "ether dst 02:00:00:00:00:01",
    "ether broadcast",
    "broadcast",
    "multicast",
    "ether multicast",
    "ether proto 0x0800",
    "ether proto \\arp",
    "ether proto 5",
    "ether[0] & 1 = 0",
    "ether[12:2] = 0x0806",
    "vlan",
    "vlan 100",
    "vlan 100 and ip",
    "vlan and vlan",
    "vlan 7 and vlan 9 and udp",
    "not vlan",
    "ip or vlan 5 and arp",
    "vlan and port 2",
    "ether src 02-00-00-00-00-01 and ip",
    "ether host 0200.0000.0001",
    "ether src and dst 02:00:00:00:00:01",
    "ether proto 0x8100",
    "ether proto \\ip and tcp",
    "link[13] = 6",
    "vlan 100 or vlan 200",
    "ether[20:4] = 1",
    "ether[(12):2] = 2048",
    "arp[6:2] = 1",
    "arp[7] = 2",
    "rarp[0] = 0",
    "ip[0] = 0x45 and arp[0] = 0",
    "ether proto \\ip6",
];

const COOKED_ONLY: [&str; 8] = [
    "inbound",
    "outbound",
    "not outbound and tcp",
    "ifindex 2",
    "ifindex 1 or ifindex 3",
    "inbound and port 53",
    "outbound or arp",
    "ether proto 0x0806",
];

const ERRORS: [&str; 61] = [
    "foo bar",
    "foo",
    "1.2.3.4",
    "80",
    "tcp[",
    "tcp[]",
    "ip[0:1",
    "ip[0:3] = 1",
    "1/0 = 1",
    "1 % 0 = 1",
    "ip[0] << 32 = 1",
    "src",
    "dst",
    "host",
    "port",
    "net",
    "less x",
    "greater",
    "and",
    "or tcp",
    "tcp or",
    "tcp and and udp",
    "not",
    "(",
    ")",
    "(tcp",
    "tcp)",
    "port 70000",
    "portrange 1",
    "tcp host 1.2.3.4",
    "udp net 10.0.0.0/8",
    "icmp port 80",
    "arp port 80",
    "net 10.1.1.1/8",
    "net 10.0.0.0 mask 255.0.0.0 and",
    "host 300.1.1.1",
    "99999999999",
    "port 99999999999",
    "ip host 1.2.3.4.5",
    "gateway 1.2.3.4",
    "ip proto foo",
    "ether proto foo",
    "tcp port xyz",
    "tcp port ntp",
    "udp port ssh",
    "portrange 80-xyz",
    "@",
    "tcp $ udp",
    "host 10.0.0.0/8",
    "net 10.0.0.0/33",
    "net ::1/129",
    "net fd00::1/8",
    "tcp proto 6",
    "src proto 6",
    "ifname eth0",
    "port 80 90",
    "tcp = 6",
    "len",
    "ip[8]",
    "net 10/8",
    "arp proto 3",
];

#[test]
fn expressions_let_pass_what_libpcap_lets_pass() {
    let Some(()) = tcpdump_is_here() else { return };
    let (mut pairs, mut differing) = (0, 0);
    for file in &files() {
        let special: &[&str] = match file.link {
            LinkType::Ethernet => &ETHERNET_ONLY,
            LinkType::Sll2 => &COOKED_ONLY,
            LinkType::Raw => &[],
        };
        for expression in EXPRESSIONS.iter().chain(special) {
            pairs += file.records.len();
            differing += file.differs(expression);
        }
    }
    eprintln!("{pairs} pairs of an expression and a packet");
    assert_eq!(differing, 0);
}

#[test]
fn what_is_no_expression_is_refused_in_the_same_words() {
    let Some(()) = tcpdump_is_here() else { return };
    let files = files();
    let mut differing: usize = ERRORS.iter().map(|text| files[0].differs(text)).sum();
    for text in [
        "inbound",
        "ifindex 3",
        "vlan 5000",
        "ether host foo",
        "ether host 1.2.3.4",
        "wlan host 1",
        "net foo",
    ] {
        if text != "wlan host 1" {
            differing += files[0].differs(text);
        }
    }
    for text in ["vlan", "ether host 1:2:3:4:5:6", "broadcast", "multicast", "ether broadcast"] {
        differing += files[1].differs(text) + files[2].differs(text);
    }
    assert_eq!(differing, 0);
}

/// Random expressions of the grammar.
fn expression(rng: &mut Rng, depth: u32) -> String {
    let mut pick = |n: u32| rng.below(n);
    let hosts = ["10.244.1.2", "10.244.2.3", "10.96.0.10", "172.18.0.2", "224.0.0.1"];
    let nets = ["10.244.0.0/16", "10.0.0.0/8", "172.18.0.0/16", "10.244.2"];
    let ports = ["80", "53", "40000", "443", "http", "domain", "8080"];
    let dirs = ["", "src ", "dst ", "src or dst ", "src and dst "];
    let choice = if depth == 0 { pick(9) } else { pick(13) };
    match choice {
        0 => ["ip", "tcp", "udp", "icmp", "arp"][pick(5) as usize].to_string(),
        1 => format!("{}host {}", dirs[pick(5) as usize], hosts[pick(5) as usize]),
        2 => format!("{}net {}", dirs[pick(5) as usize], nets[pick(4) as usize]),
        3 => {
            let proto = ["", "tcp ", "udp "][pick(3) as usize];
            let port = match proto {
                "udp " => ports[pick(4) as usize],
                _ => ports[pick(7) as usize],
            };
            format!("{proto}{}port {port}", dirs[pick(5) as usize])
        }
        4 => format!("{}portrange {}-{}", dirs[pick(5) as usize], pick(600), 600 + pick(50_000)),
        5 => {
            let load = |pick: &mut dyn FnMut(u32) -> u32| {
                let proto = ["ip", "tcp", "udp", "icmp"][pick(4) as usize];
                format!("{proto}[{}:{}]", pick(24), [1, 2, 4][pick(3) as usize])
            };
            let (a, b) = (load(&mut pick), load(&mut pick));
            let op = ["+", "-", "&", "|", "*", "^", ">>"][pick(7) as usize];
            let rel = ["=", "!=", "<", ">", "<=", ">="][pick(6) as usize];
            match pick(3) {
                0 => format!("{a} {rel} {}", pick(300)),
                1 => format!("{a} {op} {} {rel} {}", 1 + pick(9), pick(300)),
                _ => format!("{a} {rel} {b}"),
            }
        }
        6 => format!("len {} {}", ["<", ">", "=", ">="][pick(4) as usize], pick(200)),
        7 => format!("ip proto {}", [1, 6, 17, 132][pick(4) as usize]),
        8 => format!(
            "tcp[tcpflags] & {} != 0",
            ["tcp-syn", "tcp-ack", "(tcp-fin|tcp-rst)"][pick(3) as usize]
        ),
        9 => format!("not {}", expression(rng, depth - 1)),
        10 => format!("({})", expression(rng, depth - 1)),
        joined => {
            let word = if joined == 11 { "and" } else { "or" };
            format!("{} {word} {}", expression(rng, depth - 1), expression(rng, depth - 1))
        }
    }
}

#[test]
fn random_expressions_let_pass_what_libpcap_lets_pass() {
    let Some(()) = tcpdump_is_here() else { return };
    let files = files();
    let mut rng = Rng::new(20).fork("expressions");
    let (mut pairs, mut differing) = (0, 0);
    for round in 0..400 {
        let text = expression(&mut rng, 4);
        let file = &files[round % 3];
        pairs += file.records.len();
        differing += file.differs(&text);
    }
    eprintln!("{pairs} pairs of an expression and a packet");
    assert_eq!(differing, 0);
}
