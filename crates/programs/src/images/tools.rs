//! Programs that images have beside their server, and that people start in a running container: most of them
//! ask that server something. Here each really connects to it; what else they would do is not known.

use std::net::{Ipv4Addr, SocketAddrV4};

use netsim::socket::list::{SocketState, Transport};
use netsim::{Host, TcpStream};

use super::Container;
use crate::log::Log;

/// Runs the tool that `argv` names beside the server of its container.
pub async fn run(host: Host, container: Container, argv: Vec<String>, out: Log) -> i32 {
    let name = argv.first().map(String::as_str).unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default().to_string();
    let mut answering = None;
    for port in ports(&host, &container) {
        let addr = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        if let Ok(stream) = host.connect(addr).await {
            answering = Some((port, stream));
            break;
        }
    }
    let say = |text: String| out.line(host.now(), text);
    let args = argv.get(1..).unwrap_or_default();
    match (name.as_str(), answering) {
        ("redis-cli" | "valkey-cli", Some((_, stream))) => redis(&stream, args, say).await,
        ("redis-cli" | "valkey-cli", None) => {
            say("Could not connect to Redis at 127.0.0.1:6379: Connection refused".to_string());
            1
        }
        ("pg_isready", Some((port, _))) => {
            say(format!("/var/run/postgresql:{port} - accepting connections"));
            0
        }
        ("pg_isready", None) => {
            say("/var/run/postgresql:5432 - no response".to_string());
            2
        }
        ("mysqladmin" | "mariadb-admin", Some(_)) if args.iter().any(|arg| arg == "ping") => {
            say("mysqld is alive".to_string());
            0
        }
        ("mysqladmin" | "mariadb-admin", None) => {
            say(format!("{name}: connect to server at 'localhost' failed"));
            1
        }
        (_, Some((port, _))) => {
            say(format!(
                "{name}: a program of this image that podwire does not know; its server answers on port {port}"
            ));
            0
        }
        (_, None) => {
            say(format!(
                "{name}: a program of this image that podwire does not know; no server answers in this container"
            ));
            1
        }
    }
}

/// Where the container's server may be: the ports it declares, else whatever listens in its Pod.
fn ports(host: &Host, container: &Container) -> Vec<u16> {
    if !container.declared_ports.is_empty() {
        return container.declared_ports.clone();
    }
    let listens =
        host.net().sockets(host.ns()).into_iter().filter(|socket| {
            socket.transport == Transport::Tcp && socket.state == SocketState::Listen
        });
    listens.map(|socket| socket.local.port()).collect()
}

/// One command of redis-cli, and its answer as redis-cli prints it when nobody is at the terminal.
async fn redis(stream: &TcpStream, args: &[String], say: impl Fn(String)) -> i32 {
    let mut words: Vec<&str> = Vec::new();
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        match arg {
            "-h" | "-p" | "-a" | "-n" | "-u" if words.is_empty() => {
                args.next();
            }
            option if words.is_empty() && option.starts_with('-') => {}
            word => words.push(word),
        }
    }
    if words.is_empty() {
        return 0;
    }
    let mut ask = format!("*{}\r\n", words.len());
    for word in words {
        ask.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    if stream.write_all(ask.as_bytes()).await.is_err() {
        return 1;
    }
    let mut answer: Vec<u8> = Vec::new();
    loop {
        if let Some((lines, _)) = raw(&answer, 0) {
            lines.into_iter().for_each(say);
            return 0;
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 && answer.len() < ANSWER_MAX => {
                answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
            _ => return 1,
        }
    }
}

/// Bytes of an answer; a longer one is not waited for.
const ANSWER_MAX: usize = 1024 * 1024;

/// Answers within answers.
const DEPTH_MAX: usize = 8;

/// An answer as redis-cli prints it when nobody is at the terminal (`--raw`), and its length; `None` while it is
/// not all there.
fn raw(answer: &[u8], depth: usize) -> Option<(Vec<String>, usize)> {
    let end = answer.windows(2).position(|two| two == b"\r\n")?;
    let (sign, head) = answer.get(..end)?.split_first()?;
    let text = String::from_utf8_lossy(head).into_owned();
    let mut used = end + 2;
    let count = usize::try_from(text.parse::<i64>().unwrap_or(-1)).ok();
    match (sign, count) {
        (b'$', Some(len)) => {
            let body = answer.get(used..used.checked_add(len)?)?;
            let whole = used + len + 2;
            let text = String::from_utf8_lossy(body).into_owned();
            (answer.len() >= whole).then(|| (vec![text], whole))
        }
        (b'*', Some(count)) if count > 0 && depth < DEPTH_MAX => {
            let mut lines = Vec::new();
            for _ in 0..count {
                let (more, len) = raw(answer.get(used..)?, depth + 1)?;
                lines.extend(more);
                used += len;
            }
            Some((lines, used))
        }
        // Nothing at all.
        (b'$' | b'*', _) => Some((vec![String::new()], used)),
        _ => Some((vec![text], used)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_they_are_printed_without_a_terminal() {
        for (answer, printed) in [
            ("+OK\r\n", "OK"),
            ("-ERR no\r\n", "ERR no"),
            (":5\r\n", "5"),
            ("$3\r\na\r\n\r\n", "a\r\n"),
            ("$-1\r\n", ""),
            ("*0\r\n", ""),
            ("*3\r\n$1\r\na\r\n*1\r\n:2\r\n$0\r\n\r\n", "a|2|"),
        ] {
            let (lines, len) = raw(answer.as_bytes(), 0).unwrap();
            assert_eq!((lines.join("|").as_str(), len), (printed, answer.len()), "{answer:?}");
            for cut in 0..answer.len() {
                assert_eq!(raw(&answer.as_bytes()[..cut], 0), None, "{cut} of {answer:?}");
            }
        }
        assert!(raw("*1\r\n".repeat(100).as_bytes(), 0).is_none_or(|(_, len)| len < 100));
        assert_eq!(raw(b"$9223372036854775807\r\n", 0), None);
    }
}
