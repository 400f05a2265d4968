//! Echo (RFC 862): whatever comes goes back.

use netsim::{Host, TcpListener, UdpSocket};

/// Sends back what comes on every connection, until its other side has said all.
pub async fn tcp(host: Host, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        host.spawn(async move {
            let mut buffer = [0; 8192];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                let data = buffer.get(..read).unwrap_or_default();
                if stream.write_all(data).await.is_err() {
                    return;
                }
            }
            stream.shutdown();
        });
    }
}

/// Sends every datagram back to its sender, from the address it was sent to.
pub async fn udp(socket: UdpSocket) {
    loop {
        // An error is about a datagram that was sent before; the next one is waited for.
        if let Ok((data, from, to)) = socket.recv_from().await {
            let _ = socket.send_to(&data, from, to);
        }
    }
}
