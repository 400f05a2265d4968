//! DNS (`print-domain.c`).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::page::{Cut, Page, Shown, need, put, u8_at, u16_at, u32_at};

/// What carries the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Udp,
    Tcp,
    Multicast,
}

/// Longest name that is printed (RFC 1035 §2.3.4).
const NAME_MAX: usize = 255;

const OPS: [&str; 16] = [
    "",
    " inv_q",
    " stat",
    " op3",
    " notify",
    " update",
    " op6",
    " op7",
    " op8",
    " updateA",
    " updateD",
    " updateDA",
    " updateM",
    " updateMA",
    " zoneInit",
    " zoneRef",
];
const RESPONSES: [&str; 16] = [
    "",
    " FormErr",
    " ServFail",
    " NXDomain",
    " NotImp",
    " Refused",
    " YXDomain",
    " YXRRSet",
    " NXRRSet",
    " NotAuth",
    " NotZone",
    " Resp11",
    " Resp12",
    " Resp13",
    " Resp14",
    " NoChange",
];

const TYPES: [(u16, &str); 62] = [
    (1, "A"),
    (2, "NS"),
    (3, "MD"),
    (4, "MF"),
    (5, "CNAME"),
    (6, "SOA"),
    (7, "MB"),
    (8, "MG"),
    (9, "MR"),
    (10, "NULL"),
    (11, "WKS"),
    (12, "PTR"),
    (13, "HINFO"),
    (14, "MINFO"),
    (15, "MX"),
    (16, "TXT"),
    (17, "RP"),
    (18, "AFSDB"),
    (19, "X25"),
    (20, "ISDN"),
    (21, "RT"),
    (22, "NSAP"),
    (23, "NSAP_PTR"),
    (24, "SIG"),
    (25, "KEY"),
    (26, "PX"),
    (27, "GPOS"),
    (28, "AAAA"),
    (29, "LOC"),
    (30, "NXT"),
    (31, "EID"),
    (32, "NIMLOC"),
    (33, "SRV"),
    (34, "ATMA"),
    (35, "NAPTR"),
    (36, "KX"),
    (37, "CERT"),
    (38, "A6"),
    (39, "DNAME"),
    (40, "SINK"),
    (41, "OPT"),
    (42, "APL"),
    (43, "DS"),
    (44, "SSHFP"),
    (45, "IPSECKEY"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (99, "SPF"),
    (100, "UINFO"),
    (101, "UID"),
    (102, "GID"),
    (103, "UNSPEC"),
    (104, "UNSPECA"),
    (249, "TKEY"),
    (250, "TSIG"),
    (251, "IXFR"),
    (252, "AXFR"),
    (253, "MAILB"),
    (254, "MAILA"),
    (255, "ANY"),
    (256, "URI"),
];

fn type_name(kind: u16) -> String {
    let known = TYPES.iter().find(|(number, _)| *number == kind);
    known.map_or_else(|| format!("Type{kind}"), |(_, name)| (*name).to_string())
}

fn class_name(class: u16) -> String {
    match class {
        1 => "IN".to_string(),
        3 => "CHAOS".to_string(),
        4 => "HS".to_string(),
        255 => "ANY".to_string(),
        other => format!("(Class {other})"),
    }
}

pub(super) fn print(page: &mut Page<'_>, mut bytes: &[u8], mut len: u32, over: Over) -> Shown {
    page.proto = "domain";
    if over == Over::Tcp {
        if len < 2 {
            put!(page, " [DNS over TCP: length {len} < 2] (invalid)");
            return Ok(());
        }
        len -= 2;
        let said = u32::from(u16_at(bytes, 0)?);
        if said != len {
            put!(page, " [prefix length({said}) != length({len})] (invalid)");
            return Ok(());
        }
        bytes = bytes.get(2..).ok_or(Cut::Packet)?;
        page.push(" ");
    }
    if len < 12 {
        put!(page, "domain [length {len} < 12] (invalid)");
        return Ok(());
    }
    need(bytes, 12)?;
    let message = Message { bytes, is_mdns: over == Over::Multicast };
    let shown =
        if u16_at(bytes, 2)? & 0x8000 != 0 { message.response(page) } else { message.query(page) };
    match shown {
        Ok(()) => put!(page, " ({len})"),
        Err(_) => page.trunc(),
    }
    Ok(())
}

struct Message<'a> {
    bytes: &'a [u8],
    is_mdns: bool,
}

impl Message<'_> {
    fn counts(&self) -> Result<[u16; 4], Cut> {
        let word = |at| u16_at(self.bytes, at);
        Ok([word(4)?, word(6)?, word(8)?, word(10)?])
    }

    fn op(flags: u16) -> &'static str {
        OPS.get(usize::from(flags >> 11 & 0xf)).copied().unwrap_or_default()
    }

    fn response(&self, page: &mut Page<'_>) -> Shown {
        let (id, flags) = (u16_at(self.bytes, 0)?, u16_at(self.bytes, 2)?);
        let [questions, answers, authorities, additionals] = self.counts()?;
        let code = self.response_code(flags);
        put!(page, "{id}{}", Self::op(flags));
        match RESPONSES.get(usize::from(code)) {
            Some(name) => page.push(name),
            None => put!(page, " Resp{code}"),
        }
        let mark = |page: &mut Page<'_>, bit: u16, set: &str, unset: &str| {
            page.push(if flags & bit != 0 { set } else { unset });
        };
        mark(page, 0x0400, "*", "");
        mark(page, 0x0080, "", "-");
        mark(page, 0x0200, "|", "");
        mark(page, 0x0020, "$", "");
        if questions != 1 {
            put!(page, " [{questions}q]");
        }
        let mut at = 12;
        let is_full = page.opt.verbose > 1;
        for question in 0..questions {
            if is_full {
                page.push(if question == 0 { " q:" } else { "," });
                at = self.question(page, at)?;
            } else {
                at = self.skip_name(at).ok_or(Cut::Header)? + 4;
            }
        }
        put!(page, " {answers}/{authorities}/{additionals}");
        at = self.records(page, at, answers, "")?;
        if is_full {
            at = self.records(page, at, authorities, " ns:")?;
            self.records(page, at, additionals, " ar:")?;
        }
        Ok(())
    }

    fn query(&self, page: &mut Page<'_>) -> Shown {
        let (id, flags) = (u16_at(self.bytes, 0)?, u16_at(self.bytes, 2)?);
        let [questions, answers, authorities, additionals] = self.counts()?;
        put!(page, "{id}{}", Self::op(flags));
        page.push(if flags & 0x0100 != 0 { "+" } else { "" });
        page.push(if flags & 0x0010 != 0 { "%" } else { "" });
        if flags & 0x06cf != 0 {
            put!(page, " [b2&3=0x{flags:x}]");
        }
        let note = |page: &mut Page<'_>, count: u16, usual: u16, letter: &str| {
            if count != usual {
                put!(page, " [{count}{letter}]");
            }
        };
        if flags >> 11 & 0xf == 1 {
            note(page, questions, 0, "q");
            note(page, answers, 1, "a");
        } else {
            note(page, answers, 0, "a");
            note(page, questions, 1, "q");
        }
        note(page, authorities, 0, "n");
        note(page, additionals, 0, "au");
        let mut at = 12;
        for _ in 0..questions {
            at = self.question(page, at)?;
        }
        if page.opt.verbose > 1 {
            at = self.records(page, at, answers, "")?;
            at = self.records(page, at, authorities, " ns:")?;
            self.records(page, at, additionals, " ar:")?;
        }
        Ok(())
    }

    /// The response code with the upper bits that an OPT record carries (RFC 6891 §6.1.3).
    fn response_code(&self, flags: u16) -> u16 {
        let low = flags & 0xf;
        let high = || -> Option<u16> {
            let [questions, answers, authorities, additionals] = self.counts().ok()?;
            let mut at = 12;
            for _ in 0..questions {
                at = self.skip_name(at)? + 4;
            }
            for _ in 0..u32::from(answers) + u32::from(authorities) + u32::from(additionals) {
                at = self.skip_name(at)?;
                let kind = crate::u16_at(self.bytes, at)?;
                if kind == 41 {
                    return self.bytes.get(at + 4).map(|high| u16::from(*high) << 4);
                }
                at += 10 + usize::from(crate::u16_at(self.bytes, at + 8)?);
            }
            None
        };
        low | high().unwrap_or_default()
    }

    fn records(
        &self,
        page: &mut Page<'_>,
        mut at: usize,
        count: u16,
        heading: &str,
    ) -> Result<usize, Cut> {
        for record in 0..count {
            if at >= self.bytes.len() && (record > 0 || !heading.is_empty()) {
                return Err(Cut::Header);
            }
            page.push(if record == 0 { heading } else { "," });
            at = self.record(page, at)?;
        }
        Ok(at)
    }

    /// Where a name ends.
    fn skip_name(&self, mut at: usize) -> Option<usize> {
        loop {
            let len = *self.bytes.get(at)?;
            match len >> 6 {
                3 => return Some(at + 2),
                0 if len == 0 => return Some(at + 1),
                0 => at += usize::from(len) + 1,
                _ => return None,
            }
            // The name goes on: there must be something to go on with.
            self.bytes.get(at)?;
        }
    }

    fn question(&self, page: &mut Page<'_>, at: usize) -> Result<usize, Cut> {
        let end = self.skip_name(at).ok_or(Cut::Header)?;
        need(self.bytes.get(end..).ok_or(Cut::Header)?, 4)?;
        let (kind, class) = (u16_at(self.bytes, end)?, u16_at(self.bytes, end + 2)?);
        put!(page, " {}", type_name(kind));
        let plain = if self.is_mdns { class & 0x7fff } else { class };
        if plain != 1 {
            put!(page, " {}", class_name(plain));
        }
        if self.is_mdns {
            page.push(if class & 0x8000 != 0 { " (QU)" } else { " (QM)" });
        }
        page.push("? ");
        self.name(page, at)?;
        Ok(end + 4)
    }

    /// Prints a name; says where it ends.
    fn name(&self, page: &mut Page<'_>, start: usize) -> Result<usize, Cut> {
        let (mut at, mut end, mut chars) = (start, None, 0);
        let mut lowest = start;
        if u8_at(self.bytes, at)? == 0 {
            page.push(".");
            return Ok(at + 1);
        }
        loop {
            let len = u8_at(self.bytes, at)?;
            match len >> 6 {
                0 if len == 0 => break,
                0 => {
                    let label = self.bytes.get(at + 1..).ok_or(Cut::Header)?;
                    self.label(page, label, usize::from(len), chars)?;
                    chars += usize::from(len);
                    if chars <= NAME_MAX {
                        page.push(".");
                    }
                    chars += 1;
                    at += usize::from(len) + 1;
                }
                3 => {
                    let low = u8_at(self.bytes, at + 1)?;
                    end.get_or_insert(at + 2);
                    let target = usize::from(len & 0x3f) << 8 | usize::from(low);
                    // Backwards only, so that it ends.
                    if target >= lowest {
                        page.push("<BAD PTR>");
                        return Err(Cut::Header);
                    }
                    lowest = target;
                    at = target;
                }
                2 => {
                    page.push("<BAD LABEL TYPE>");
                    return Err(Cut::Header);
                }
                _ => {
                    put!(page, "<ELT {}>", len & 0x3f);
                    return Err(Cut::Header);
                }
            }
        }
        if chars > NAME_MAX {
            page.push("<DOMAIN NAME TOO LONG>");
        }
        Ok(end.unwrap_or(at + 1))
    }

    fn label(&self, page: &mut Page<'_>, label: &[u8], len: usize, chars: usize) -> Shown {
        let shown = if chars + len <= NAME_MAX { len } else { NAME_MAX.saturating_sub(chars) };
        for byte in label.iter().take(shown) {
            page.push_char(*byte);
        }
        if label.len() < shown { Err(Cut::Header) } else { Ok(()) }
    }

    fn record(&self, page: &mut Page<'_>, at: usize) -> Result<usize, Cut> {
        let end = if page.opt.verbose > 0 {
            page.push(" ");
            self.name(page, at)?
        } else {
            self.skip_name(at).unwrap_or(usize::MAX)
        };
        let Some(fixed) = self.bytes.get(end..).filter(|rest| rest.len() >= 10) else {
            return Ok(self.bytes.len());
        };
        let (kind, class) = (u16_at(fixed, 0)?, u16_at(fixed, 2)?);
        let plain = if self.is_mdns { class & 0x7fff } else { class };
        if plain != 1 && kind != 41 {
            put!(page, " {}", class_name(plain));
        }
        if self.is_mdns && class & 0x8000 != 0 {
            page.push(" (Cache flush)");
        }
        if kind != 41 && page.opt.verbose > 2 {
            put!(page, " [{}]", short_time(u32_at(fixed, 4)?));
        }
        let len = usize::from(u16_at(fixed, 8)?);
        put!(page, " {}", type_name(kind));
        let data_at = end + 10;
        if data_at + len > self.bytes.len() {
            return Err(Cut::Header);
        }
        self.data(page, (kind, plain, u16_at(fixed, 6)?), data_at, len)?;
        Ok(data_at + len)
    }

    fn data(
        &self,
        page: &mut Page<'_>,
        (kind, class, flags): (u16, u16, u16),
        at: usize,
        len: usize,
    ) -> Shown {
        let bytes = self.bytes;
        match kind {
            1 => put!(page, " {}", Ipv4Addr::from(u32_at(bytes, at)?)),
            28 => {
                let octets: [u8; 16] =
                    bytes.get(at..at + 16).and_then(|b| b.try_into().ok()).ok_or(Cut::Header)?;
                put!(page, " {}", Ipv6Addr::from(octets));
            }
            2 | 5 | 12 | 39 => {
                page.push(" ");
                self.name(page, at)?;
            }
            6 if page.opt.verbose > 0 => {
                page.push(" ");
                let next = self.name(page, at)?;
                page.push(" ");
                let next = self.name(page, next)?;
                for field in 0..5 {
                    put!(page, " {}", u32_at(bytes, next + field * 4)?);
                }
            }
            15 => {
                page.push(" ");
                need(bytes.get(at..).ok_or(Cut::Header)?, 2)?;
                self.name(page, at + 2)?;
                put!(page, " {}", u16_at(bytes, at)?);
            }
            16 => self.texts(page, at, at + len)?,
            33 => {
                page.push(" ");
                need(bytes.get(at..).ok_or(Cut::Header)?, 6)?;
                self.name(page, at + 6)?;
                let word = |offset| u16_at(bytes, at + offset);
                put!(page, ":{} {} {}", word(4)?, word(0)?, word(2)?);
            }
            41 => self.edns(page, class, flags, at, len)?,
            _ => {}
        }
        Ok(())
    }

    fn texts(&self, page: &mut Page<'_>, mut at: usize, end: usize) -> Shown {
        while at < end {
            page.push(" \"");
            let len = usize::from(u8_at(self.bytes, at)?);
            let text = self.bytes.get(at + 1..).ok_or(Cut::Header)?;
            for byte in text.iter().take(len) {
                page.push_char(*byte);
            }
            need(text, len)?;
            page.push("\"");
            at += 1 + len;
        }
        Ok(())
    }

    /// EDNS (RFC 6891): the size of datagrams, and options.
    fn edns(&self, page: &mut Page<'_>, size: u16, flags: u16, at: usize, len: usize) -> Shown {
        put!(page, " UDPsize={size}");
        if flags & 0x8000 != 0 {
            page.push(" DO");
        }
        if len == 0 {
            return Ok(());
        }
        page.push(" [");
        let (mut at, end) = (at, at + len);
        while at < end {
            let option = u16_at(self.bytes, at)?;
            let option_len = usize::from(u16_at(self.bytes, at + 2)?);
            match option {
                3 => page.push("NSID"),
                8 => page.push("ECS"),
                10 => page.push("COOKIE"),
                11 => page.push("KEEPALIVE"),
                12 => page.push("PADDING"),
                other => put!(page, "Opt{other}"),
            }
            let data = self.bytes.get(at + 4..at + 4 + option_len).ok_or(Cut::Header)?;
            edns_data(page, option, data);
            at += 4 + option_len;
            if at < end {
                page.push(",");
            }
        }
        page.push("]");
        Ok(())
    }
}

fn edns_data(page: &mut Page<'_>, option: u16, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    page.push(" ");
    if option == 12 {
        return put!(page, "({})", data.len());
    }
    if option == 10 && !matches!(data.len(), 8 | 16..=40) {
        return page.push(" (invalid)");
    }
    for (index, byte) in data.iter().enumerate() {
        if option == 10 && index == 8 {
            page.push(" ");
        }
        put!(page, "{byte:02x}");
    }
}

/// `1d2h3m4s`, without the parts that are zero.
fn short_time(secs: u32) -> String {
    if secs == 0 {
        return "0s".to_string();
    }
    let parts = [(604_800, "w"), (86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let mut left = secs;
    let mut said = String::new();
    for (size, letter) in parts {
        if left / size > 0 {
            said.push_str(&format!("{}{letter}", left / size));
        }
        left %= size;
    }
    said
}
