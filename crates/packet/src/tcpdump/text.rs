//! Applications that speak in lines: HTTP and the like (`netdissect`'s `txtproto_print`).

use super::page::{Cut, Page, Shown, put, u8_at};

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ftp,
    Http,
    Rtsp,
    Sip,
    Smtp,
    Ssh,
}

impl Kind {
    pub(super) fn of_tcp_port(is: impl Fn(u16) -> bool) -> Option<Kind> {
        let ports: [(u16, Kind); 10] = [
            (25, Kind::Smtp),
            (22, Kind::Ssh),
            (21, Kind::Ftp),
            (80, Kind::Http),
            (8080, Kind::Http),
            (3128, Kind::Http),
            (554, Kind::Rtsp),
            (8554, Kind::Rtsp),
            (7070, Kind::Rtsp),
            (5060, Kind::Sip),
        ];
        ports.into_iter().find(|(port, kind)| is(*port) && *kind != Kind::Sip).map(|(_, kind)| kind)
    }

    /// Lower case, as `[|http]` has it.
    fn name(self) -> &'static str {
        match self {
            Kind::Ftp => "ftp",
            Kind::Http => "http",
            Kind::Rtsp => "rtsp",
            Kind::Sip => "sip",
            Kind::Smtp => "smtp",
            Kind::Ssh => "ssh",
        }
    }

    /// The requests that are told from other data; none where every line is taken for a message.
    fn commands(self) -> &'static [&'static str] {
        match self {
            Kind::Http => &HTTP,
            Kind::Rtsp => &RTSP,
            Kind::Sip => &SIP,
            Kind::Ftp | Kind::Smtp | Kind::Ssh => &[],
        }
    }
}

const HTTP: [&str; 37] = [
    "GET",
    "PUT",
    "COPY",
    "HEAD",
    "LOCK",
    "MOVE",
    "POLL",
    "POST",
    "BCOPY",
    "BMOVE",
    "MKCOL",
    "TRACE",
    "LABEL",
    "MERGE",
    "DELETE",
    "SEARCH",
    "UNLOCK",
    "REPORT",
    "UPDATE",
    "NOTIFY",
    "BDELETE",
    "CONNECT",
    "OPTIONS",
    "CHECKIN",
    "PROPFIND",
    "CHECKOUT",
    "CCM_POST",
    "SUBSCRIBE",
    "PROPPATCH",
    "BPROPFIND",
    "BPROPPATCH",
    "UNCHECKOUT",
    "MKACTIVITY",
    "MKWORKSPACE",
    "UNSUBSCRIBE",
    "RPC_CONNECT",
    "VERSION-CONTROL",
];
const RTSP: [&str; 12] = [
    "OPTIONS",
    "DESCRIBE",
    "ANNOUNCE",
    "SETUP",
    "PLAY",
    "PAUSE",
    "TEARDOWN",
    "GET_PARAMETER",
    "SET_PARAMETER",
    "REDIRECT",
    "RECORD",
    "BEGIN",
];
const SIP: [&str; 14] = [
    "ACK",
    "BYE",
    "CANCEL",
    "DO",
    "INFO",
    "INVITE",
    "MESSAGE",
    "NOTIFY",
    "OPTIONS",
    "PRACK",
    "QAUTH",
    "REFER",
    "REGISTER",
    "SUBSCRIBE",
];

/// The protocol's name, and its first line; with `-v` all lines.
pub(super) fn print(page: &mut Page<'_>, kind: Kind, data: &[u8], len: u32) -> Shown {
    let name = kind.name().to_ascii_uppercase();
    page.push(&name);
    print_lines(page, kind, data, len)
}

pub(super) fn print_lines(page: &mut Page<'_>, kind: Kind, data: &[u8], len: u32) -> Shown {
    page.proto = kind.name();
    let len = len as usize;
    if !is_message(kind, data, len) {
        return Ok(());
    }
    if page.opt.verbose == 0 {
        line(page, ": ", data, 0, len)?;
        return Ok(());
    }
    put!(page, ", length: {len}");
    let mut at = 0;
    while at < len {
        let Some(end) = line(page, "\n\t", data, at, len)? else { break };
        at = end;
    }
    Ok(())
}

/// A request that is known, or an answer with a status of three digits.
fn is_message(kind: Kind, data: &[u8], len: usize) -> bool {
    if kind.commands().is_empty() {
        return true;
    }
    let Some((first, after)) = token(data, 0, len) else { return false };
    if kind.commands().iter().any(|command| first.eq_ignore_ascii_case(command.as_bytes())) {
        return true;
    }
    token(data, after, len)
        .is_some_and(|(status, _)| status.len() == 3 && status.iter().all(u8::is_ascii_digit))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

/// The word at `at`, and where the next begins.
fn token(data: &[u8], at: usize, len: usize) -> Option<(&[u8], usize)> {
    const LONGEST: usize = 126;
    let mut end = at;
    while end < len {
        let byte = *data.get(end)?;
        if is_space(byte) {
            break;
        }
        if !byte.is_ascii_graphic() || end - at > LONGEST {
            return None;
        }
        end += 1;
    }
    let word = data.get(at..end).filter(|word| !word.is_empty())?;
    let mut next = end;
    while next < len && data.get(next).is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
        next += 1;
    }
    Some((word, next))
}

/// One line of text; where the next begins, or none when there is no more text.
fn line(
    page: &mut Page<'_>,
    prefix: &str,
    data: &[u8],
    from: usize,
    len: usize,
) -> Result<Option<usize>, Cut> {
    let mut at = from;
    let end = loop {
        if at >= len {
            break None;
        }
        match u8_at(data, at)? {
            b'\n' => break Some(at + 1),
            b'\r' if at + 1 >= len => return Ok(None),
            b'\r' if u8_at(data, at + 1)? == b'\n' => break Some(at + 2),
            b'\r' => return Ok(None),
            byte if !(0x20..0x7f).contains(&byte) && byte != b'\t' => return Ok(None),
            _ => at += 1,
        }
    };
    let text = data.get(from..at).unwrap_or_default();
    page.push(prefix);
    page.push(&String::from_utf8_lossy(text));
    if end.is_none() {
        page.trunc();
    }
    Ok(end)
}

/// The first line of an SSH connection's ends.
pub(super) fn ssh(page: &mut Page<'_>, data: &[u8], len: u32) -> Shown {
    page.proto = "ssh";
    // Told from other data by its first bytes.
    data.get(..(len as usize).min(4)).ok_or(Cut::Packet)?;
    if !data.starts_with(b"SSH-") {
        return Ok(());
    }
    for at in 0..len as usize {
        let Some(byte) = data.get(at).copied() else { return Err(Cut::Packet) };
        if byte == b'\n' {
            return ssh_line(page, data.get(..at).unwrap_or_default());
        }
        if byte == b'\r' {
            let is_line = data.get(at + 1) == Some(&b'\n');
            if is_line {
                return ssh_line(page, data.get(..at).unwrap_or_default());
            }
            return Ok(());
        }
        if !(0x20..0x7f).contains(&byte) {
            return Ok(());
        }
    }
    Ok(())
}

fn ssh_line(page: &mut Page<'_>, line: &[u8]) -> Shown {
    put!(page, ": SSH: {}", String::from_utf8_lossy(line));
    Ok(())
}
