//! The user-space proxy that publishes a container's port on its host, as Docker's `docker-proxy`.

use std::net::SocketAddrV4;
use std::rc::Rc;

use netsim::exec::Notify;
use netsim::{Host, TcpListener, TcpStream};

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
