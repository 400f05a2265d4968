//! A DNS server. What it knows comes from a [`Zone`]; of Kubernetes it knows nothing.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use base::Duration;
use netsim::exec::timeout;
use netsim::{Host, SockError, TcpListener, TcpStream, UdpSocket};

use super::PORT;
use super::message::{Data, Kind, Message, Name, Record, ResponseCode};
use super::resolver::{ResolvConf, Resolver};

/// Datagrams without EDNS (RFC 1035 §4.2.1).
const PLAIN_UDP_MAX: usize = 512;
/// Datagrams with EDNS, at most; CoreDNS and others cap at what fits into a frame.
const UDP_MAX: u16 = 1232;
/// A TCP connection on which nobody asks is closed.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Names that stand for names that stand for names.
const CNAMES_MAX: usize = 8;
/// How long another server is waited for (`forward`'s `readTimeout`).
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(2);

/// What a zone says of a name and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These, each with its time to live in seconds. None at all: the name is there, but not with this type.
    Records(Vec<(u32, Data)>),
    /// There is no such name.
    NoSuchName,
    /// The name is not the zone's business.
    NotMine,
}

/// Whatever knows names.
pub trait Zone {
    /// What there is of a name. A name that stands for another gives its [`Data::Cname`], whatever is asked.
    fn lookup(&self, name: &Name, kind: Kind) -> Answer;

    /// The authority that "no such name" is told with.
    fn authority(&self, name: &Name) -> Option<Record> {
        let _ = name;
        None
    }

    /// What else is good to know: the addresses of the hosts that an answer names.
    fn additional(&self, answers: &[Record]) -> Vec<Record> {
        let _ = answers;
        Vec::new()
    }

    /// Whether it knows by itself, and not from somebody else.
    fn is_authoritative(&self) -> bool {
        true
    }

    /// Whether it says of its own answers that it would have asked others.
    fn is_recursive(&self) -> bool {
        true
    }

    /// Who is asked for names that are not its own; nobody: such questions are refused.
    fn upstream(&self) -> Vec<Ipv4Addr> {
        Vec::new()
    }
}

/// Listens on `addr`, port 53, and answers over UDP and TCP until the process ends.
pub async fn serve(host: Host, addr: Ipv4Addr, zone: Rc<dyn Zone>) -> Result<(), SockError> {
    let local = SocketAddrV4::new(addr, PORT);
    let socket = host.bind_udp(local)?;
    let listener = host.listen(local)?;
    let turns = Rc::new(Cell::new(0));
    host.spawn(over_tcp(host.clone(), listener, zone.clone(), turns.clone()));
    over_udp(host, socket, zone, turns).await;
    Ok(())
}

async fn over_udp(host: Host, socket: UdpSocket, zone: Rc<dyn Zone>, turns: Rc<Cell<usize>>) {
    let socket = Rc::new(socket);
    loop {
        // An error is about a datagram that was sent; the socket goes on.
        let (bytes, from, to) = match socket.recv_from().await {
            Ok(received) => received,
            Err(SockError::BrokenPipe) => return,
            Err(_) => continue,
        };
        let Some(question) = Message::parse(&bytes) else { continue };
        let limit = question
            .udp_size
            .map_or(PLAIN_UDP_MAX, |size| usize::from(size.min(UDP_MAX)).max(PLAIN_UDP_MAX));
        let Some((answer, rest)) = answer(&question, &*zone, &turns) else { continue };
        let Some(rest) = rest else {
            let _ = socket.send_to(&answer.to_bytes(limit), from, to);
            continue;
        };
        let (here, zone, socket) = (host.clone(), zone.clone(), socket.clone());
        host.spawn(async move {
            let answer = forward(&here, &*zone, answer, rest).await;
            let _ = socket.send_to(&answer.to_bytes(limit), from, to);
        });
    }
}

async fn over_tcp(host: Host, listener: TcpListener, zone: Rc<dyn Zone>, turns: Rc<Cell<usize>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (here, zone, turns) = (host.clone(), zone.clone(), turns.clone());
        host.spawn(async move {
            // Each message after its length (RFC 1035 §4.2.2).
            while let Some(Some(bytes)) = timeout(here.sleep(TCP_IDLE), read_framed(&stream)).await
            {
                let Some(question) = Message::parse(&bytes) else { return };
                let Some((mut answer, rest)) = answer(&question, &*zone, &turns) else { return };
                if let Some(rest) = rest {
                    answer = forward(&here, &*zone, answer, rest).await;
                }
                let answer = answer.to_bytes(usize::from(u16::MAX));
                if stream.write_all(&framed(&answer)).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Asks others for the rest of an answer.
async fn forward(host: &Host, zone: &dyn Zone, mut answer: Message, name: Name) -> Message {
    let kind = answer.questions.first().map_or(Kind::A, |(_, kind)| *kind);
    let conf = ResolvConf {
        nameservers: zone.upstream(),
        timeout: UPSTREAM_TIMEOUT,
        ..ResolvConf::default()
    };
    let resolver = Resolver { conf, ..Resolver::default() };
    match resolver.query(host, &name, kind).await {
        Ok(told) => {
            answer.code = told.code;
            answer.is_authoritative |= told.is_authoritative;
            answer.recursion_available = told.recursion_available;
            answer.answers.extend(told.answers);
            answer.authorities.extend(told.authorities);
        }
        Err(_) => answer.code = ResponseCode::ServFail,
    }
    answer
}

/// A message after its length.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = (message.len() as u16).to_be_bytes().to_vec();
    out.extend_from_slice(message);
    out
}

/// The next message of a connection; `None` when there is none.
pub(super) async fn read_framed(stream: &TcpStream) -> Option<Vec<u8>> {
    let mut len = [0; 2];
    read_exact(stream, &mut len).await?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    read_exact(stream, &mut message).await?;
    Some(message)
}

async fn read_exact(stream: &TcpStream, mut into: &mut [u8]) -> Option<()> {
    while !into.is_empty() {
        match stream.read(into).await {
            Ok(read @ 1..) => into = into.get_mut(read..)?,
            _ => return None,
        }
    }
    Some(())
}

/// What is said to a message; nothing to one that is itself an answer. With a name, others have to be asked
/// for it first.
fn answer(
    question: &Message,
    zone: &dyn Zone,
    turns: &Cell<usize>,
) -> Option<(Message, Option<Name>)> {
    if question.is_response {
        return None;
    }
    let mut answer = question.answer();
    answer.udp_size = question.udp_size.map(|_| UDP_MAX);
    answer.recursion_available = zone.is_recursive();
    if question.opcode != 0 {
        answer.code = ResponseCode::NotImp;
        return Some((answer, None));
    }
    let [(name, kind)] = question.questions.as_slice() else {
        answer.code = ResponseCode::FormErr;
        return Some((answer, None));
    };
    let rest = fill(&mut answer, zone, name.clone(), *kind);
    rotate(&mut answer.answers, turns);
    answer.additionals = zone.additional(&answer.answers);
    Some((answer, rest))
}

/// Follows names that stand for others, up to one that is not the zone's own.
fn fill(answer: &mut Message, zone: &dyn Zone, mut name: Name, kind: Kind) -> Option<Name> {
    for _ in 0..CNAMES_MAX {
        let found = match zone.lookup(&name, kind) {
            Answer::Records(found) => found,
            Answer::NoSuchName => {
                answer.is_authoritative = zone.is_authoritative();
                answer.code = ResponseCode::NxDomain;
                answer.authorities.extend(zone.authority(&name));
                return None;
            }
            Answer::NotMine if !zone.upstream().is_empty() => return Some(name),
            // Of a name that is not its own, reached by way of its own, it says no more.
            Answer::NotMine => {
                if answer.answers.is_empty() {
                    answer.code = ResponseCode::Refused;
                }
                return None;
            }
        };
        answer.is_authoritative = zone.is_authoritative();
        let next = found.iter().find_map(|(_, data)| match data {
            Data::Cname(target) if kind != Kind::Cname && kind != Kind::Any => Some(target.clone()),
            _ => None,
        });
        if found.is_empty() {
            answer.authorities.extend(zone.authority(&name));
        }
        let records = found.into_iter().map(|(ttl, data)| Record { name: name.clone(), ttl, data });
        answer.answers.extend(records);
        name = next?;
    }
    answer.code = ResponseCode::ServFail;
    None
}

/// Several addresses take turns in being the first.
fn rotate(answers: &mut [Record], turns: &Cell<usize>) {
    let is_addr = |record: &Record| matches!(record.data, Data::A(_) | Data::Aaaa(_));
    let Some(start) = answers.iter().position(is_addr) else { return };
    if let Some(addrs) = answers.get_mut(start..).filter(|addrs| addrs.len() > 1) {
        let turn = turns.get();
        turns.set(turn.wrapping_add(1));
        let by = turn % addrs.len();
        addrs.rotate_left(by);
    }
}
