//! What `conntrack` prints (conntrack-tools 1.4.7 with libnetfilter_conntrack 1.0.9), and the line of
//! `/proc/net/nf_conntrack`.

use std::fmt::Write as _;

use base::{Duration, Instant, Utc};
use packet::protocol;

use super::event::{Event, EventKind};
use super::{Conn, Conntrack, DCCP, Direction, GRE, Stats, Tuple, status};

/// What `-o` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// `extended`: the family before the protocol.
    pub extended: bool,
    /// `id`
    pub id: bool,
    /// `timestamp`: when an event was heard.
    pub timestamp: bool,
    /// `ktimestamp`: when the connection began and ended, where the kernel keeps it.
    pub ktimestamp: bool,
    /// `xml`
    pub xml: bool,
    /// `save`: options that would make the connection again.
    pub save: bool,
}

/// Which of its forms a connection is printed in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Of a list; how many hold it, the reader included.
    Dump(u32),
    /// Of an event; a program's doing tells everything about the connection.
    Event(EventKind, bool),
}

impl Form {
    /// Packets and times are told in lists and at the end.
    fn tells_all(self) -> bool {
        matches!(self, Form::Dump(_) | Form::Event(EventKind::Destroy, _))
    }

    fn tells_mark(self, mark: u32) -> bool {
        match self {
            Form::Dump(_) => true,
            Form::Event(kind, by_program) => {
                mark != 0 || (by_program && kind != EventKind::Destroy)
            }
        }
    }
}

fn protocol_name(number: u8) -> &'static str {
    match number {
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        protocol::ICMP => "icmp",
        protocol::SCTP => "sctp",
        GRE => "gre",
        DCCP => "dccp",
        _ => "unknown",
    }
}

fn age(conn: &Conn, now: Instant) -> Duration {
    conn.until.unwrap_or(now).since(conn.since)
}

/// The line of one connection as `conntrack -L` prints it.
pub fn line(conn: &Conn, now: Instant) -> String {
    formatted(conn, Format::default(), now)
}

/// The line of one connection as `conntrack -L -o …` prints it.
pub fn formatted(conn: &Conn, format: Format, now: Instant) -> String {
    printed(conn, format, Form::Dump(1), now)
}

/// The same with two holders, as `conntrack -G` and `-U` print it.
pub(super) fn formatted_held(conn: &Conn, format: Format, now: Instant) -> String {
    printed(conn, format, Form::Dump(2), now)
}

fn printed(conn: &Conn, format: Format, form: Form, now: Instant) -> String {
    match format {
        Format { xml: true, .. } => xml(conn, form, now),
        Format { save: true, .. } => save(conn, now),
        _ => plain(conn, format, form, now),
    }
}

fn plain(conn: &Conn, format: Format, form: Form, now: Instant) -> String {
    let number = conn.original.protocol;
    let mut line = String::with_capacity(200);
    if format.extended {
        line.push_str("ipv4     2 ");
    }
    let left = conn.expires.since(now).as_secs();
    let _ = write!(line, "{:<8} {number} {left} ", protocol_name(number));
    if let Some(state) = conn.state_name() {
        let _ = write!(line, "{state} ");
    }
    let _ = write!(line, "{}", conn.original);
    counters(&mut line, conn, Direction::Original, form);
    if !conn.has(status::SEEN_REPLY) {
        line.push_str(" [UNREPLIED]");
    }
    let _ = write!(line, " {}", conn.reply);
    counters(&mut line, conn, Direction::Reply, form);
    if conn.has(status::ASSURED) {
        line.push_str(" [ASSURED]");
    }
    if form.tells_mark(conn.mark) {
        let _ = write!(line, " mark={}", conn.mark);
    }
    if conn.shows_time && form.tells_all() {
        let _ = write!(line, " delta-time={}", age(conn, now).as_secs());
        if format.ktimestamp {
            let _ = write!(line, " [start={}]", Utc::at(conn.since).ctime());
            if let Some(until) = conn.until {
                let _ = write!(line, " [stop={}]", Utc::at(until).ctime());
            }
        }
    }
    if let Form::Dump(holders) = form {
        let _ = write!(line, " use={holders}");
    }
    if format.id {
        let _ = write!(line, " id={}", conn.id());
    }
    line
}

fn counters(line: &mut String, conn: &Conn, direction: Direction, form: Form) {
    let Some(counters) = conn.counters.filter(|_| form.tells_all()) else { return };
    let traffic = counters[direction as usize];
    let _ = write!(line, " packets={} bytes={}", traffic.packets, traffic.bytes);
}

/// The head of a document of flows.
pub const XML_HEAD: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<conntrack>\n";
/// Its end.
pub const XML_TAIL: &str = "</conntrack>\n";

fn xml(conn: &Conn, form: Form, now: Instant) -> String {
    let mut out = String::with_capacity(700);
    out.push_str(match form {
        Form::Dump(_) => "<flow>",
        Form::Event(EventKind::New, _) => "<flow type=\"new\">",
        Form::Event(EventKind::Update, _) => "<flow type=\"update\">",
        Form::Event(EventKind::Destroy, _) => "<flow type=\"destroy\">",
    });
    for (name, direction) in [("original", Direction::Original), ("reply", Direction::Reply)] {
        let _ = write!(out, "<meta direction=\"{name}\">");
        xml_tuple(&mut out, conn.tuple(direction));
        if let Some(counters) = conn.counters.filter(|_| form.tells_all()) {
            let traffic = counters[direction as usize];
            let _ = write!(
                out,
                "<counters><packets>{}</packets><bytes>{}</bytes></counters>",
                traffic.packets, traffic.bytes
            );
        }
        out.push_str("</meta>");
    }
    out.push_str("<meta direction=\"independent\">");
    if let Some(state) = conn.state_name() {
        let _ = write!(out, "<state>{state}</state>");
    }
    let _ = write!(out, "<timeout>{}</timeout>", conn.expires.since(now).as_secs());
    if form.tells_mark(conn.mark) {
        let _ = write!(out, "<mark>{}</mark>", conn.mark);
    }
    if let Form::Dump(holders) = form {
        let _ = write!(out, "<use>{holders}</use>");
    }
    let _ = write!(out, "<id>{}</id>", conn.id());
    if conn.has(status::ASSURED) {
        out.push_str("<assured/>");
    }
    if !conn.has(status::SEEN_REPLY) {
        out.push_str("<unreplied/>");
    }
    if conn.shows_time && form.tells_all() {
        let _ = write!(out, "<deltatime>{}</deltatime>", age(conn, now).as_secs());
    }
    out.push_str("</meta></flow>");
    out
}

fn xml_tuple(out: &mut String, tuple: &Tuple) {
    let Tuple { src, dst, sport, dport, protocol } = *tuple;
    let name = protocol_name(protocol);
    let _ = write!(
        out,
        "<layer3 protonum=\"2\" protoname=\"ipv4\"><src>{src}</src><dst>{dst}</dst></layer3>\
         <layer4 protonum=\"{protocol}\" protoname=\"{name}\">"
    );
    match protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP | DCCP => {
            let _ = write!(out, "<sport>{sport}</sport><dport>{dport}</dport>");
        }
        GRE => {
            let _ = write!(out, "<srckey>{sport:#x}</srckey><dstkey>{dport:#x}</dstkey>");
        }
        _ => {}
    }
    out.push_str("</layer4>");
}

/// The options of `conntrack -A` that make this connection.
fn save(conn: &Conn, now: Instant) -> String {
    let (original, reply) = (&conn.original, &conn.reply);
    let names = [
        (status::SEEN_REPLY, "SEEN_REPLY"),
        (status::ASSURED, "ASSURED"),
        (status::FIXED_TIMEOUT, "FIXED_TIMEOUT"),
    ];
    let set: Vec<&str> =
        names.iter().filter(|(bit, _)| conn.has(*bit)).map(|(_, name)| *name).collect();
    let set = if set.is_empty() { "UNSET".to_string() } else { set.join(",") };
    let mut out = format!(
        "-A -t {} -u {set} -s {} -d {}",
        conn.expires.since(now).as_secs(),
        original.src,
        original.dst
    );
    let src_option = if original.dst == reply.src { "-r" } else { "-g" };
    let dst_option = if original.src == reply.dst { "-q" } else { "-n" };
    let _ = write!(out, " {src_option} {} {dst_option} {}", reply.src, reply.dst);
    let number = original.protocol;
    match number {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            let _ = write!(
                out,
                " -p {} --sport {} --dport {} --reply-port-src {} --reply-port-dst {}",
                protocol_name(number),
                original.sport,
                original.dport,
                reply.sport,
                reply.dport
            );
            if let Some(state) = conn.state_name() {
                let _ = write!(out, " --state {state}");
            }
        }
        protocol::ICMP => {
            let (kind, code) = original.icmp_type_code();
            let _ = write!(
                out,
                " -p icmp --icmp-type {kind} --icmp-code {code} --icmp-id {}",
                original.sport
            );
        }
        GRE => out.push_str(" -p gre --srckey 0 --dstkey 0 --reply-key-src 0 --reply-key-dst 0"),
        DCCP => out.push_str(" -p dccp"),
        other => {
            let _ = write!(out, " -p {other}");
        }
    }
    out
}

/// The line of an event as `conntrack -E -o …` prints it.
pub fn event_line(event: &Event, format: Format) -> String {
    let Event { at, kind, conn, portid } = event;
    let form = Form::Event(*kind, portid.is_some());
    let mut out = String::with_capacity(240);
    if format.timestamp && !format.xml {
        let secs = base::calendar::EPOCH_UNIX_SECS + at.as_secs();
        let _ = write!(out, "[{secs:<8}.{:<6}]\t", at.as_micros() % 1_000_000);
    }
    if !format.xml && !format.save {
        out.push_str(match kind {
            EventKind::New => "    [NEW] ",
            EventKind::Update => " [UPDATE] ",
            EventKind::Destroy => "[DESTROY] ",
        });
    }
    out.push_str(&printed(conn, format, form, *at));
    if let Some(portid) = portid {
        let _ = write!(out, " [USERSPACE] portid={portid} progname=conntrack");
    }
    out
}

/// The line of `/proc/net/nf_conntrack`.
pub fn proc_line(conn: &Conn, now: Instant) -> String {
    let format = Format { extended: true, ..Format::default() };
    let mut line = plain(conn, format, Form::Dump(2), now);
    // The file tells the zone, too, and does not know what the tool thinks of protocol 33.
    if let Some(at) = line.find(" mark=") {
        let end =
            line.get(at + 1..).and_then(|rest| rest.find(' ')).map_or(line.len(), |n| at + 1 + n);
        line.insert_str(end, " zone=0");
    }
    if conn.original.protocol == DCCP {
        line = line.replace("dccp    ", "unknown ").replace(" sport=0 dport=0", "");
    }
    line
}

/// All of `/proc/net/nf_conntrack`.
pub fn proc_file(conntrack: &Conntrack, now: Instant) -> String {
    let entries = conntrack.entries(now);
    entries.into_iter().map(|(_, conn)| proc_line(conn, now) + "\n").collect()
}

/// All connections at `now`, one a line, in the order of their beginning.
pub fn list(conntrack: &Conntrack, now: Instant) -> String {
    conntrack.entries(now).into_iter().map(|(_, conn)| line(conn, now) + "\n").collect()
}

/// The line of `conntrack -S`; a node has one processor here.
pub fn stats_line(stats: &Stats) -> String {
    let Stats { found, invalid, insert, insert_failed, drop, early_drop, .. } = stats;
    let Stats { error, search_restart, clash_resolve, chaintoolong, .. } = stats;
    format!(
        "cpu=0   \tfound={found} invalid={invalid} insert={insert} insert_failed={insert_failed} \
         drop={drop} early_drop={early_drop} error={error} search_restart={search_restart} \
         clash_resolve={clash_resolve} chaintoolong={chaintoolong} \n"
    )
}
