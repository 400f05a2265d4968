//! Questions and answers, in and out of bytes. Any bytes are a message or none; names are followed backwards
//! only, so that reading ends.

use base::tree::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest name on the wire (RFC 1035 §2.3.4).
const NAME_MAX: usize = 255;
/// Records of a message that are read; of more, the rest is not looked at.
const RECORDS_MAX: usize = 512;
/// Longest message.
const MESSAGE_MAX: usize = 65_535;
/// Type of the pseudo-record of EDNS.
const OPT: u16 = 41;

/// A name: its labels in lower case, the root being none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(Vec<String>);

impl Name {
    /// Reads `web.default.svc.cluster.local`, with or without the dot at its end. `None`: an empty label, a
    /// label of more than 63 bytes, or a name that is too long.
    pub fn parse(text: &str) -> Option<Name> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Some(Name::default());
        }
        let labels: Vec<String> = text.split('.').map(str::to_ascii_lowercase).collect();
        let name = Name(labels);
        let fits = name.0.iter().all(|label| (1..=63).contains(&label.len()));
        (fits && name.wire_len() <= NAME_MAX).then_some(name)
    }

    /// The labels, from the left.
    pub fn labels(&self) -> &[String] {
        &self.0
    }

    fn wire_len(&self) -> usize {
        self.0.iter().map(|label| label.len() + 1).sum::<usize>() + 1
    }

    /// Whether it is `zone` or below it.
    pub fn is_in(&self, zone: &Name) -> bool {
        self.0.ends_with(&zone.0)
    }

    /// The address that a name under `in-addr.arpa` stands for.
    pub fn reverse_addr(&self) -> Option<Ipv4Addr> {
        let [d, c, b, a, zone, arpa] = self.0.as_slice() else { return None };
        if zone != "in-addr" || arpa != "arpa" {
            return None;
        }
        format!("{a}.{b}.{c}.{d}").parse().ok()
    }

    /// The name under `in-addr.arpa` that stands for an address.
    pub fn of_addr(addr: Ipv4Addr) -> Name {
        let [a, b, c, d] = addr.octets();
        let mut labels: Vec<String> = [d, c, b, a].iter().map(u8::to_string).collect();
        labels.extend(["in-addr".to_string(), "arpa".to_string()]);
        Name(labels)
    }
}

impl fmt::Display for Name {
    /// With the dot at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(".");
        }
        self.0.iter().try_for_each(|label| write!(f, "{label}."))
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// Name servers.
    Ns,
    /// The name that this one stands for.
    Cname,
    /// The zone's authority.
    Soa,
    /// The name of an address.
    Ptr,
    /// Text.
    Txt,
    /// IPv6 addresses.
    Aaaa,
    /// Hosts and ports of a service.
    Srv,
    /// Everything there is.
    Any,
    /// Another type, by its number.
    Other(u16),
}

impl Kind {
    /// The number on the wire.
    pub fn number(self) -> u16 {
        match self {
            Kind::A => 1,
            Kind::Ns => 2,
            Kind::Cname => 5,
            Kind::Soa => 6,
            Kind::Ptr => 12,
            Kind::Txt => 16,
            Kind::Aaaa => 28,
            Kind::Srv => 33,
            Kind::Any => 255,
            Kind::Other(number) => number,
        }
    }

    /// The type of a number.
    pub fn of(number: u16) -> Kind {
        let known = [
            Kind::A,
            Kind::Ns,
            Kind::Cname,
            Kind::Soa,
            Kind::Ptr,
            Kind::Txt,
            Kind::Aaaa,
            Kind::Srv,
            Kind::Any,
        ];
        known.into_iter().find(|kind| kind.number() == number).unwrap_or(Kind::Other(number))
    }
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name of the same thing.
    Cname(Name),
    /// A name server.
    Ns(Name),
    /// The name of an address.
    Ptr(Name),
    /// Texts.
    Txt(Vec<Vec<u8>>),
    /// A host and port of a service (RFC 2782).
    Srv {
        /// Lower ones are tried first.
        priority: u16,
        /// How often, among those of one priority.
        weight: u16,
        /// Port.
        port: u16,
        /// Host.
        target: Name,
    },
    /// The zone's authority.
    Soa {
        /// Primary server.
        primary: Name,
        /// Mailbox of whoever is responsible.
        mailbox: Name,
        /// Version.
        serial: u32,
        /// How long an answer "no such name" is remembered, in seconds.
        minimum: u32,
    },
    /// Another type's bytes.
    Other(u16, Vec<u8>),
}

impl Data {
    /// The record's type.
    pub fn kind(&self) -> Kind {
        match self {
            Data::A(_) => Kind::A,
            Data::Aaaa(_) => Kind::Aaaa,
            Data::Cname(_) => Kind::Cname,
            Data::Ns(_) => Kind::Ns,
            Data::Ptr(_) => Kind::Ptr,
            Data::Txt(_) => Kind::Txt,
            Data::Srv { .. } => Kind::Srv,
            Data::Soa { .. } => Kind::Soa,
            Data::Other(number, _) => Kind::of(*number),
        }
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose.
    pub name: Name,
    /// How long it may be remembered, in seconds.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// How a question was taken (RFC 1035 §4.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseCode {
    /// There is an answer, if only an empty one.
    #[default]
    NoError,
    /// The question was not understood.
    FormErr,
    /// The server could not find out.
    ServFail,
    /// There is no such name.
    NxDomain,
    /// The kind of question is not known.
    NotImp,
    /// The server does not want to.
    Refused,
    /// Another code.
    Other(u8),
}

impl ResponseCode {
    fn number(self) -> u8 {
        match self {
            ResponseCode::NoError => 0,
            ResponseCode::FormErr => 1,
            ResponseCode::ServFail => 2,
            ResponseCode::NxDomain => 3,
            ResponseCode::NotImp => 4,
            ResponseCode::Refused => 5,
            ResponseCode::Other(code) => code & 0xf,
        }
    }

    fn of(code: u8) -> ResponseCode {
        match code & 0xf {
            0 => ResponseCode::NoError,
            1 => ResponseCode::FormErr,
            2 => ResponseCode::ServFail,
            3 => ResponseCode::NxDomain,
            4 => ResponseCode::NotImp,
            5 => ResponseCode::Refused,
            other => ResponseCode::Other(other),
        }
    }
}

/// A question or an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Chosen by whoever asks.
    pub id: u16,
    /// It is an answer.
    pub is_response: bool,
    /// Kind of question; 0 is the usual one.
    pub opcode: u8,
    /// The answer is the zone's own.
    pub is_authoritative: bool,
    /// Not everything fitted in.
    pub is_truncated: bool,
    /// The asker wants the server to ask others.
    pub recursion_desired: bool,
    /// The server asks others.
    pub recursion_available: bool,
    /// How the question was taken.
    pub code: ResponseCode,
    /// What is asked.
    pub questions: Vec<(Name, Kind)>,
    /// The answer.
    pub answers: Vec<Record>,
    /// Who is responsible.
    pub authorities: Vec<Record>,
    /// What is good to know besides.
    pub additionals: Vec<Record>,
    /// Datagrams that the sender can take, when it said so (RFC 6891).
    pub udp_size: Option<u16>,
}

impl Message {
    /// A question.
    pub fn question(id: u16, name: Name, kind: Kind) -> Message {
        let questions = vec![(name, kind)];
        Message { id, questions, recursion_desired: true, ..Message::default() }
    }

    /// An answer to this question, still empty.
    pub fn answer(&self) -> Message {
        Message {
            id: self.id,
            is_response: true,
            opcode: self.opcode,
            recursion_desired: self.recursion_desired,
            questions: self.questions.clone(),
            ..Message::default()
        }
    }

    /// Reads a message; `None` for bytes that are none.
    pub fn parse(bytes: &[u8]) -> Option<Message> {
        let mut reader = Reader { bytes, at: 0 };
        let id = reader.u16()?;
        let flags = reader.u16()?;
        let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
        let mut message = Message {
            id,
            is_response: flags & 0x8000 != 0,
            opcode: (flags >> 11) as u8 & 0xf,
            is_authoritative: flags & 0x0400 != 0,
            is_truncated: flags & 0x0200 != 0,
            recursion_desired: flags & 0x0100 != 0,
            recursion_available: flags & 0x0080 != 0,
            code: ResponseCode::of(flags as u8),
            ..Message::default()
        };
        let [questions, answers, authorities, additionals] = counts;
        for _ in 0..usize::from(questions).min(RECORDS_MAX) {
            let name = reader.name()?;
            let kind = Kind::of(reader.u16()?);
            reader.u16()?;
            message.questions.push((name, kind));
        }
        let sections = [
            (answers, &mut message.answers),
            (authorities, &mut message.authorities),
            (additionals, &mut message.additionals),
        ];
        for (count, section) in sections {
            for _ in 0..usize::from(count).min(RECORDS_MAX) {
                match reader.record()? {
                    Read::Record(record) => section.push(record),
                    Read::UdpSize(size) => message.udp_size = Some(size),
                }
            }
        }
        Some(message)
    }

    /// The bytes, names compressed. Where they would be more than `limit`, records are left out from the end
    /// and the message says that it is truncated (RFC 2181 §9).
    pub fn to_bytes(&self, limit: usize) -> Vec<u8> {
        let limit = limit.min(MESSAGE_MAX);
        let total = self.answers.len() + self.authorities.len() + self.additionals.len();
        let mut kept = total;
        loop {
            let bytes = self.write(kept, kept < total || self.is_truncated);
            if bytes.len() <= limit || kept == 0 {
                return bytes;
            }
            // Whole sections of many records are halved, so that this ends soon.
            let over = bytes.len() - limit;
            let average = bytes.len() / (kept + 1);
            kept -= (over / average.max(1)).clamp(1, kept);
        }
    }

    fn flags(&self, is_truncated: bool) -> u16 {
        let bit = |is_set: bool, bit: u16| if is_set { bit } else { 0 };
        bit(self.is_response, 0x8000)
            | u16::from(self.opcode & 0xf) << 11
            | bit(self.is_authoritative, 0x0400)
            | bit(is_truncated, 0x0200)
            | bit(self.recursion_desired, 0x0100)
            | bit(self.recursion_available, 0x0080)
            | u16::from(self.code.number())
    }

    fn write(&self, mut kept: usize, is_truncated: bool) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u16(self.id);
        writer.u16(self.flags(is_truncated));
        let mut take = |records: &[Record]| {
            let count = records.len().min(kept);
            kept -= count;
            count
        };
        let counts = [take(&self.answers), take(&self.authorities), take(&self.additionals)];
        let [answers, authorities, additionals] = counts;
        writer.u16(self.questions.len() as u16);
        writer.u16(answers as u16);
        writer.u16(authorities as u16);
        writer.u16((additionals + usize::from(self.udp_size.is_some())) as u16);
        for (name, kind) in &self.questions {
            writer.name(name);
            writer.u16(kind.number());
            writer.u16(1);
        }
        let sections = [
            (&self.answers, answers),
            (&self.authorities, authorities),
            (&self.additionals, additionals),
        ];
        for (records, count) in sections {
            records.iter().take(count).for_each(|record| writer.record(record));
        }
        if let Some(size) = self.udp_size {
            writer.out.push(0);
            writer.u16(OPT);
            writer.u16(size);
            writer.out.extend([0; 6]);
        }
        writer.out
    }
}

#[derive(Default)]
struct Writer {
    out: Vec<u8>,
    /// Where names, and ends of names, have been written.
    known: BTreeMap<Vec<String>, u16>,
}

impl Writer {
    fn u16(&mut self, value: u16) {
        self.out.extend(value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.out.extend(value.to_be_bytes());
    }

    fn name(&mut self, name: &Name) {
        let mut rest = name.labels();
        while let [label, after @ ..] = rest {
            if let Some(at) = self.known.get(rest) {
                return self.u16(0xc000 | at);
            }
            if self.out.len() < 0x4000 {
                self.known.insert(rest.to_vec(), self.out.len() as u16);
            }
            self.out.push(label.len() as u8);
            self.out.extend(label.as_bytes());
            rest = after;
        }
        self.out.push(0);
    }

    /// A name that must not be compressed (RFC 2782).
    fn plain_name(&mut self, name: &Name) {
        for label in name.labels() {
            self.out.push(label.len() as u8);
            self.out.extend(label.as_bytes());
        }
        self.out.push(0);
    }

    fn record(&mut self, record: &Record) {
        self.name(&record.name);
        self.u16(record.data.kind().number());
        self.u16(1);
        self.u32(record.ttl);
        let len_at = self.out.len();
        self.u16(0);
        self.data(&record.data);
        let len = (self.out.len() - len_at - 2) as u16;
        if let Some(field) = self.out.get_mut(len_at..len_at + 2) {
            field.copy_from_slice(&len.to_be_bytes());
        }
    }

    fn data(&mut self, data: &Data) {
        match data {
            Data::A(addr) => self.out.extend(addr.octets()),
            Data::Aaaa(addr) => self.out.extend(addr.octets()),
            Data::Cname(name) | Data::Ns(name) | Data::Ptr(name) => self.name(name),
            Data::Txt(texts) => {
                for text in texts {
                    let text = text.get(..255).unwrap_or(text);
                    self.out.push(text.len() as u8);
                    self.out.extend(text);
                }
            }
            Data::Srv { priority, weight, port, target } => {
                self.u16(*priority);
                self.u16(*weight);
                self.u16(*port);
                self.plain_name(target);
            }
            Data::Soa { primary, mailbox, serial, minimum } => {
                self.name(primary);
                self.name(mailbox);
                // Refresh, retry and expire as CoreDNS gives them.
                for value in [*serial, 7200, 1800, 86_400, *minimum] {
                    self.u32(value);
                }
            }
            Data::Other(_, bytes) => {
                let bytes = bytes.get(..usize::from(u16::MAX)).unwrap_or(bytes);
                self.out.extend(bytes);
            }
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

enum Read {
    Record(Record),
    UdpSize(u16),
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn name(&mut self) -> Option<Name> {
        let mut labels = Vec::new();
        let (mut at, mut end, mut lowest, mut len) = (self.at, None, self.at, 1);
        loop {
            let head = *self.bytes.get(at)?;
            match head >> 6 {
                0 if head == 0 => break,
                0 => {
                    let label = self.bytes.get(at + 1..at + 1 + usize::from(head))?;
                    len += label.len() + 1;
                    if len > NAME_MAX || label.contains(&b'.') {
                        return None;
                    }
                    labels.push(std::str::from_utf8(label).ok()?.to_ascii_lowercase());
                    at += 1 + usize::from(head);
                }
                3 => {
                    let low = *self.bytes.get(at + 1)?;
                    end.get_or_insert(at + 2);
                    let target = usize::from(head & 0x3f) << 8 | usize::from(low);
                    if target >= lowest {
                        return None;
                    }
                    (lowest, at) = (target, target);
                }
                _ => return None,
            }
        }
        self.at = end.unwrap_or(at + 1);
        Some(Name(labels))
    }

    fn record(&mut self) -> Option<Read> {
        let name = self.name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        let ttl = self.u32()?;
        let len = usize::from(self.u16()?);
        let start = self.at;
        let raw = self.take(len)?;
        if kind == OPT {
            return Some(Read::UdpSize(class));
        }
        let mut data = Reader { bytes: self.bytes.get(..start + len)?, at: start };
        let data = data.data(kind, raw)?;
        Some(Read::Record(Record { name, ttl, data }))
    }

    fn data(&mut self, kind: u16, raw: &[u8]) -> Option<Data> {
        Some(match Kind::of(kind) {
            Kind::A => Data::A(<[u8; 4]>::try_from(raw).ok()?.into()),
            Kind::Aaaa => Data::Aaaa(<[u8; 16]>::try_from(raw).ok()?.into()),
            Kind::Cname => Data::Cname(self.name()?),
            Kind::Ns => Data::Ns(self.name()?),
            Kind::Ptr => Data::Ptr(self.name()?),
            Kind::Txt => {
                let mut texts = Vec::new();
                while self.at < self.bytes.len() {
                    let len = usize::from(*self.take(1)?.first()?);
                    texts.push(self.take(len)?.to_vec());
                }
                Data::Txt(texts)
            }
            Kind::Srv => {
                let (priority, weight, port) = (self.u16()?, self.u16()?, self.u16()?);
                Data::Srv { priority, weight, port, target: self.name()? }
            }
            Kind::Soa => {
                let (primary, mailbox) = (self.name()?, self.name()?);
                let serial = self.u32()?;
                self.take(12)?;
                Data::Soa { primary, mailbox, serial, minimum: self.u32()? }
            }
            _ => Data::Other(kind, raw.to_vec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(name("Web.Default.").to_string(), "web.default.");
        assert_eq!(name(".").to_string(), ".");
        assert_eq!(Name::parse("a..b"), None);
        assert_eq!(Name::parse(&"a".repeat(64)), None);
        assert_eq!(Name::parse(&"abc.".repeat(70)), None);
        assert!(name("a.b.c").is_in(&name("b.c")) && !name("ab.c").is_in(&name("b.c")));
        let addr = Ipv4Addr::new(10, 96, 0, 1);
        assert_eq!(Name::of_addr(addr), name("1.0.96.10.in-addr.arpa"));
        assert_eq!(Name::of_addr(addr).reverse_addr(), Some(addr));
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_said() {
        let mut message = Message::question(1, name("web"), Kind::A).answer();
        for last in 0..200 {
            let data = Data::A(Ipv4Addr::new(10, 0, 0, last));
            message.answers.push(Record { name: name("web"), ttl: 5, data });
        }
        let bytes = message.to_bytes(512);
        assert!(bytes.len() <= 512 && bytes.len() > 480, "{}", bytes.len());
        let read = Message::parse(&bytes).unwrap();
        assert!(read.is_truncated);
        assert_eq!(read.answers[..], message.answers[..read.answers.len()]);
        assert!(!Message::parse(&message.to_bytes(9000)).unwrap().is_truncated);
    }

    #[test]
    fn pointers_that_go_forward_end_the_reading() {
        let mut bytes = Message::question(1, name("a"), Kind::A).to_bytes(512);
        bytes[12..15].copy_from_slice(&[0xc0, 12, 0]);
        assert_eq!(Message::parse(&bytes), None);
    }

    fn names() -> impl Strategy<Value = Name> {
        prop::collection::vec("[a-z0-9-]{1,9}", 0..5).prop_map(Name)
    }

    fn data() -> impl Strategy<Value = Data> {
        prop_oneof![
            any::<u32>().prop_map(|addr| Data::A(addr.into())),
            any::<u128>().prop_map(|addr| Data::Aaaa(addr.into())),
            names().prop_map(Data::Cname),
            names().prop_map(Data::Ptr),
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..3)
                .prop_map(Data::Txt),
            (any::<u16>(), any::<u16>(), any::<u16>(), names()).prop_map(
                |(priority, weight, port, target)| Data::Srv { priority, weight, port, target }
            ),
            (names(), names(), any::<u32>(), any::<u32>()).prop_map(
                |(primary, mailbox, serial, minimum)| Data::Soa {
                    primary,
                    mailbox,
                    serial,
                    minimum
                }
            ),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| Data::Other(99, bytes)),
        ]
    }

    proptest! {
        #[test]
        fn messages_survive_the_wire(
            id: u16, question in names(), size in any::<Option<u16>>(), authoritative: bool,
            records in prop::collection::vec((names(), any::<u32>(), data()), 0..8),
        ) {
            let mut message = Message::question(id, question, Kind::Srv).answer();
            message.is_authoritative = authoritative;
            message.udp_size = size;
            let record = |(name, ttl, data)| Record { name, ttl, data };
            message.answers = records.into_iter().map(record).collect();
            message.additionals = message.answers.iter().take(2).cloned().collect();
            prop_assert_eq!(Message::parse(&message.to_bytes(MESSAGE_MAX)), Some(message));
        }

        #[test]
        fn any_bytes_are_a_message_or_none(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Some(message) = Message::parse(&bytes) {
                message.to_bytes(512);
            }
        }

        #[test]
        fn any_text_is_a_name_or_none(text in "\\PC{0,80}") {
            if let Some(name) = Name::parse(&text) {
                let message = Message::question(0, name, Kind::A);
                prop_assert_eq!(Message::parse(&message.to_bytes(512)), Some(message));
            }
        }
    }
}
