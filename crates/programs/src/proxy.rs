//! The user-space proxy that publishes a container's port on its host, as Docker's `docker-proxy`.

use base::tree::BTreeMap;
use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use base::{Duration, Instant};
use netsim::exec::{Either, Notify, select};
use netsim::{Host, TcpListener, TcpStream, UdpSocket};

/// A sender of datagrams who is silent for so long is forgotten (`UDPConnTrackTimeout`).
const UDP_IDLE: Duration = Duration::from_secs(90);
/// Senders of datagrams that are known at a time; those of more are not heard.
const UDP_CLIENTS_MAX: usize = 1024;

/// Passes every connection that `listener` accepts on to `target`.
///
/// A connection is accepted before the target has been asked. When the target refuses, the client's
/// connection is closed; whatever the client has sent by then turns that into a reset.
pub async fn publish(host: Host, listener: TcpListener, target: SocketAddrV4) {
    while let Ok((client, _)) = listener.accept().await {
        let inside = host.clone();
        host.spawn(async move {
            if let Ok(server) = inside.connect(target).await {
                join(&inside, client, server).await;
            }
        });
    }
}

/// Copies both ways until both sides have said that they are done.
async fn join(host: &Host, client: TcpStream, server: TcpStream) {
    let (client, server) = (Rc::new(client), Rc::new(server));
    let done = Notify::new(host.net());
    let finished = Rc::new(std::cell::Cell::new(0));
    for (from, to) in [(client.clone(), server.clone()), (server, client)] {
        let (done, finished) = (done.clone(), finished.clone());
        host.spawn(async move {
            copy(&from, &to).await;
            finished.set(finished.get() + 1);
            done.notify();
        });
    }
    while finished.get() < 2 {
        done.changed().await;
    }
}

async fn copy(from: &TcpStream, to: &TcpStream) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(read @ 1..) => {
                let data = buffer.get(..read).unwrap_or_default();
                if to.write_all(data).await.is_err() {
                    return;
                }
            }
            Ok(_) => return to.shutdown(),
            Err(_) => return to.abort(),
        }
    }
}

/// A sender of datagrams.
struct Client {
    to_target: Rc<UdpSocket>,
    last_heard: Instant,
}

type Clients = Rc<RefCell<BTreeMap<SocketAddrV4, Client>>>;

/// Passes every datagram that comes to `socket` on to `target`, each sender's by a socket of its own, and the
/// answers back.
pub async fn publish_udp(host: Host, socket: UdpSocket, target: SocketAddrV4) {
    let socket = Rc::new(socket);
    let clients: Clients = Rc::default();
    loop {
        // An error is about a datagram that was sent before.
        let Ok((data, from, at)) = socket.recv_from().await else { continue };
        let known = clients.borrow().get(&from).map(|client| client.to_target.clone());
        let to_target = match known {
            Some(known) => known,
            None => {
                if clients.borrow().len() >= UDP_CLIENTS_MAX {
                    continue;
                }
                let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
                let Ok(fresh) = host.bind_udp(any) else { continue };
                if fresh.connect(target).is_err() {
                    continue;
                }
                let fresh = Rc::new(fresh);
                let client = Client { to_target: fresh.clone(), last_heard: host.now() };
                clients.borrow_mut().insert(from, client);
                host.spawn(answers(
                    host.clone(),
                    (socket.clone(), at),
                    fresh.clone(),
                    from,
                    clients.clone(),
                ));
                fresh
            }
        };
        if let Some(client) = clients.borrow_mut().get_mut(&from) {
            client.last_heard = host.now();
        }
        // Nobody is there: said by the answers' socket, if at all.
        let _ = to_target.send_to(&data, target, None);
    }
}

/// Passes answers back to one sender until neither side has spoken for a while.
async fn answers(
    host: Host,
    (socket, at): (Rc<UdpSocket>, Option<Ipv4Addr>),
    to_target: Rc<UdpSocket>,
    from: SocketAddrV4,
    clients: Clients,
) {
    loop {
        let heard = clients.borrow().get(&from).map_or(Instant::ZERO, |client| client.last_heard);
        let deadline = heard + UDP_IDLE;
        match select(to_target.recv_from(), host.net().sleep_until(deadline)).await {
            Either::First(Ok((data, _, _))) => {
                let _ = socket.send_to(&data, from, at);
                if let Some(client) = clients.borrow_mut().get_mut(&from) {
                    client.last_heard = host.now();
                }
            }
            // "Port unreachable": the target may listen later.
            Either::First(Err(_)) => {}
            Either::Second(()) => {
                let heard = clients.borrow().get(&from).map(|client| client.last_heard);
                if heard.is_none_or(|heard| heard + UDP_IDLE <= host.now()) {
                    clients.borrow_mut().remove(&from);
                    return;
                }
            }
        }
    }
}
