//! `nc`: a connection by hand. In busybox's and Alpine's images busybox's words, elsewhere OpenBSD's.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use base::Duration;
use netsim::exec::{Either, select, timeout};
use netsim::{SockError, TcpStream};

use super::{Ctx, Letters};
use crate::io::{Closed, Exit};

/// Ports of a range that are tried.
const PORTS_MAX: u16 = 1024;

/// `nc [-uzv] [-p PORT] [-w SECONDS] HOST PORT`, `nc -l [-ku] -p PORT`
pub async fn run(ctx: Ctx) -> Exit {
    let letters = match Letters::parse(&ctx.args, "46klnNp:q:uvw:z") {
        Ok(letters) => letters,
        Err(why) => return ctx.fail(format!("nc: {why}"), 1).await,
    };
    if letters.has('6') {
        return ctx.unsupported("IPv6").await;
    }
    if letters.has('l') {
        return listen(&ctx, &letters).await;
    }
    let [name, ports] = letters.words.as_slice() else {
        return ctx.fail("usage: nc [-klnNuvz] [-p port] [-w timeout] destination port", 1).await;
    };
    let is_busybox = ctx.is_busybox();
    let addrs = ctx.resolver().addresses(&ctx.host, name).await;
    let addr = addrs.as_ref().ok().and_then(|addrs| addrs.first().copied());
    let Some(addr) = addr else {
        let why = addrs.err().map(|error| error.to_string()).unwrap_or_default();
        return match is_busybox {
            true => ctx.fail(format!("nc: bad address '{name}'"), 1).await,
            false => {
                let port = ports.split('-').next().unwrap_or_default();
                let text = format!("nc: getaddrinfo for host \"{name}\" port {port}: {why}");
                ctx.fail(text, 1).await
            }
        };
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else {
        return bad_port(&ctx, ports).await;
    };
    // The port that it speaks from; 0: any.
    let from = letters.value('p').unwrap_or("0");
    let Ok(from) = from.parse::<u16>() else { return bad_port(&ctx, from).await };
    let mut status = 1;
    for port in (first..=last).take(usize::from(PORTS_MAX)) {
        let to = Target { name, addr: SocketAddrV4::new(addr, port), from: any(from), is_busybox };
        let code = match letters.has('u') {
            true => datagrams(&ctx, &letters, &to).await?,
            false => connection(&ctx, &letters, &to).await?,
        };
        // One that can be reached is enough.
        status = status.min(code);
    }
    Ok(status)
}

fn any(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)
}

async fn bad_port(ctx: &Ctx, port: &str) -> Exit {
    let text = match ctx.is_busybox() {
        true => format!("nc: bad port '{port}'"),
        false => format!("nc: port number invalid: {port}"),
    };
    ctx.fail(text, 1).await
}

/// Says why it cannot have the port that it was to have.
async fn unbound(ctx: &Ctx, error: SockError) -> Exit {
    let what = if ctx.is_busybox() { "bind" } else { "bind failed" };
    ctx.fail(format!("nc: {what}: {error}"), 1).await
}

/// Where to, and from where.
struct Target<'a> {
    name: &'a str,
    addr: SocketAddrV4,
    from: SocketAddrV4,
    is_busybox: bool,
}

/// What a port is for, as `/etc/services` has it.
fn service(port: u16) -> &'static str {
    match port {
        22 => "ssh",
        53 => "domain",
        80 => "http",
        443 => "https",
        3306 => "mysql",
        5432 => "postgresql",
        6379 => "redis",
        8080 => "http-alt",
        11211 => "memcache",
        27017 => "mongodb",
        _ => "*",
    }
}

fn limit(letters: &Letters) -> Option<Duration> {
    letters.value('w').and_then(|secs| secs.parse().ok()).map(Duration::from_secs)
}

async fn connection(ctx: &Ctx, letters: &Letters, to: &Target<'_>) -> Result<i32, Closed> {
    let Target { name, addr, from, is_busybox } = *to;
    let (ip, port) = (addr.ip(), addr.port());
    let connecting = ctx.host.connect_bound(addr, from);
    let connected = match limit(letters) {
        Some(limit) => timeout(ctx.host.sleep(limit), connecting).await,
        None => Some(connecting.await),
    };
    let stream = match connected.unwrap_or(Err(SockError::TimedOut)) {
        Ok(stream) => stream,
        Err(error @ SockError::AddrInUse) if from.port() != 0 => return unbound(ctx, error).await,
        Err(error) => {
            let why = match error {
                SockError::TimedOut if is_busybox => "Operation timed out".to_string(),
                SockError::TimedOut => "Connection timed out".to_string(),
                error => error.to_string(),
            };
            let text = match is_busybox {
                true => format!("nc: {name} ({addr}): {why}"),
                false => format!("nc: connect to {name} ({ip}) port {port} (tcp) failed: {why}"),
            };
            // OpenBSD's says it only when it is asked to talk.
            if is_busybox || letters.has('v') {
                ctx.err(text + "\n").await?;
            }
            return Ok(1);
        }
    };
    if letters.has('v') {
        let text = match is_busybox {
            true => format!("{name} ({addr}) open\n"),
            false => format!(
                "Connection to {name} ({ip}) {port} port [tcp/{}] succeeded!\n",
                service(port)
            ),
        };
        ctx.err(text).await?;
    }
    if letters.has('z') {
        return Ok(0);
    }
    talk(ctx, letters, stream).await
}

/// Input goes there, what comes goes to the output, until the other side has said all.
async fn talk(ctx: &Ctx, letters: &Letters, stream: TcpStream) -> Result<i32, Closed> {
    let stream = Rc::new(stream);
    let (writer, input) = (stream.clone(), ctx.io.stdin.clone());
    ctx.host.spawn(async move {
        loop {
            let some = input.read(16 * 1024).await;
            if some.is_empty() || writer.write_all(&some).await.is_err() {
                return writer.shutdown();
            }
        }
    });
    let mut buffer = [0; 8192];
    loop {
        let reading = stream.read(&mut buffer);
        let read = match limit(letters) {
            Some(limit) => match select(reading, ctx.host.sleep(limit)).await {
                Either::First(read) => read,
                Either::Second(()) => return Ok(i32::from(ctx.is_busybox())),
            },
            None => reading.await,
        };
        match read {
            Ok(0) => return Ok(0),
            Ok(read) => ctx.out(buffer.get(..read).unwrap_or_default()).await?,
            Err(_) => return Ok(1),
        }
    }
}

/// Sends the input as one datagram, and shows what comes back.
async fn datagrams(ctx: &Ctx, letters: &Letters, to: &Target<'_>) -> Result<i32, Closed> {
    let socket = match ctx.host.bind_udp(to.from) {
        Ok(socket) => socket,
        Err(error) => return unbound(ctx, error).await,
    };
    if socket.connect(to.addr).is_err() {
        return Ok(1);
    }
    let data = match letters.has('z') {
        true => b"X".to_vec(),
        false => ctx.io.stdin.read_to_end().await,
    };
    let _ = socket.send_to(&data, to.addr, None);
    // Only "port unreachable" tells that nobody is there.
    let wait = if letters.has('z') { Duration::from_secs(1) } else { Duration::from_secs(5) };
    let wait = limit(letters).unwrap_or(wait);
    let answer = timeout(ctx.host.sleep(wait), socket.recv_from()).await;
    match answer {
        Some(Err(_)) => return Ok(1),
        Some(Ok((data, ..))) if !letters.has('z') => ctx.out(data).await?,
        _ => {}
    }
    if letters.has('z') && letters.has('v') {
        let (ip, port) = (to.addr.ip(), to.addr.port());
        let name = to.name;
        let text = match to.is_busybox {
            true => format!("{name} ({}) open\n", to.addr),
            false => {
                format!(
                    "Connection to {name} ({ip}) {port} port [udp/{}] succeeded!\n",
                    service(port)
                )
            }
        };
        ctx.err(text).await?;
    }
    Ok(0)
}

async fn listen(ctx: &Ctx, letters: &Letters) -> Exit {
    let port = letters.value('p').or_else(|| letters.words.last().map(String::as_str));
    let Some(port) = port.and_then(|port| port.parse::<u16>().ok()) else {
        return ctx.fail("nc: missing port", 1).await;
    };
    if letters.has('u') {
        return listen_for_datagrams(ctx, letters, port).await;
    }
    let listener = match ctx.host.listen(any(port)) {
        Ok(listener) => listener,
        Err(error) => return unbound(ctx, error).await,
    };
    say_listening(ctx, letters, "Listening", port).await?;
    loop {
        let Ok((stream, peer)) = listener.accept().await else { return Ok(1) };
        if letters.has('v') {
            let text = match ctx.is_busybox() {
                true => {
                    let here = stream.local_addr().map_or(peer, |local| local);
                    format!("connect to {here} from {peer} ({peer})\n")
                }
                false => format!("Connection received on {} {}\n", peer.ip(), peer.port()),
            };
            ctx.err(text).await?;
        }
        let code = talk(ctx, letters, stream).await?;
        if !letters.has('k') {
            return Ok(code);
        }
    }
}

async fn say_listening(ctx: &Ctx, letters: &Letters, how: &str, port: u16) -> Result<(), Closed> {
    if !letters.has('v') {
        return Ok(());
    }
    ctx.err(match ctx.is_busybox() {
        true => format!("listening on [::]:{port} ...\n"),
        false => format!("{how} on 0.0.0.0 {port}\n"),
    })
    .await
}

/// Shows what comes; who spoke first is answered with the input, and only heard from then on, without `-k`.
async fn listen_for_datagrams(ctx: &Ctx, letters: &Letters, port: u16) -> Exit {
    let socket = match ctx.host.bind_udp(any(port)) {
        Ok(socket) => Rc::new(socket),
        Err(error) => return unbound(ctx, error).await,
    };
    say_listening(ctx, letters, "Bound", port).await?;
    let mut is_first = true;
    loop {
        let receiving = socket.recv_from();
        let (data, from, _) = match limit(letters).filter(|_| !is_first) {
            Some(limit) => match timeout(ctx.host.sleep(limit), receiving).await {
                Some(Ok(received)) => received,
                Some(Err(SockError::BrokenPipe)) => return Ok(1),
                Some(Err(_)) => continue,
                None => return Ok(i32::from(ctx.is_busybox())),
            },
            None => match receiving.await {
                Ok(received) => received,
                Err(SockError::BrokenPipe) => return Ok(1),
                // It is about a datagram that was sent.
                Err(_) => continue,
            },
        };
        if std::mem::take(&mut is_first) && !letters.has('k') {
            if letters.has('v') && !ctx.is_busybox() {
                let text = format!("Connection received on {} {}\n", from.ip(), from.port());
                ctx.err(text).await?;
            }
            let _ = socket.connect(from);
            let (socket, input) = (socket.clone(), ctx.io.stdin.clone());
            ctx.host.spawn(async move {
                loop {
                    let some = input.read(16 * 1024).await;
                    if some.is_empty() || socket.send_to(&some, from, None).is_err() {
                        return;
                    }
                }
            });
        }
        ctx.out(data).await?;
    }
}
