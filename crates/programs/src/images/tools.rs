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
    // One answer is one message here; a longer one ends when nothing more comes.
    while !is_whole(&answer) && answer.len() < 1 << 16 {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => answer.extend_from_slice(buffer.get(..count).unwrap_or(&[])),
            _ => break,
        }
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let body = text.get(1..).unwrap_or_default().trim_end_matches("\r\n");
    match text.as_bytes().first() {
        Some(b'$') => {
            say(body
                .split_once("\r\n")
                .map_or_else(String::new, |(_, rest)| rest.replace('\r', "")));
        }
        Some(b'-') => say(body.to_string()),
        Some(b'+') => say(body.to_string()),
        Some(_) => say(text.replace('\r', "")),
        None => return 1,
    }
    0
}

/// Whether a simple answer or a text has come as a whole.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, rest)) = text.split_once("\r\n") else { return false };
    match head.strip_prefix('$') {
        Some(length) => length.parse::<i64>().is_ok_and(|length| {
            length < 0 || usize::try_from(length).is_ok_and(|length| rest.len() >= length + 2)
        }),
        None => true,
    }
}
