//! An HTTP server.

use std::rc::Rc;

use netsim::{Host, TcpListener, TcpStream};

use super::message::{Request, Response, parse_request};

/// Answers the requests of every connection that `listener` accepts, until the listener is closed.
pub async fn serve(
    host: Host,
    listener: TcpListener,
    handler: impl Fn(&Request) -> Response + 'static,
) {
    let handler = Rc::new(handler);
    while let Ok((stream, _)) = listener.accept().await {
        let handler = handler.clone();
        host.spawn(async move { connection(stream, &*handler).await });
    }
}

/// Answers the requests of one connection until one side closes it.
async fn connection(stream: TcpStream, handler: &dyn Fn(&Request) -> Response) {
    let (Some(local), Some(peer)) = (stream.local_addr(), stream.peer_addr()) else { return };
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let (mut request, head_len, body_len) = match parse_request(&received, peer, local) {
            Ok(Some(parsed)) if received.len() >= parsed.1 + parsed.2 => parsed,
            Ok(_) => match stream.read(&mut chunk).await {
                Ok(read @ 1..) => {
                    received.extend_from_slice(chunk.get(..read).unwrap_or_default());
                    continue;
                }
                _ => return,
            },
            Err(_) => {
                let response = Response::new(400, "text/plain", "Bad Request\n");
                let _ = stream.write_all(&to_bytes(response, true, false)).await;
                return;
            }
        };
        let rest = received.split_off(head_len + body_len);
        request.body = received.split_off(head_len);
        received = rest;
        let keeps_alive = request.keeps_alive();
        let response = handler(&request);
        let with_body = request.method != "HEAD";
        if stream.write_all(&to_bytes(response, with_body, keeps_alive)).await.is_err() {
            return;
        }
        if !keeps_alive {
            return;
        }
    }
}

fn to_bytes(mut response: Response, with_body: bool, keeps_alive: bool) -> Vec<u8> {
    if response.headers.get("content-length").is_none() {
        response.headers.push("Content-Length", response.body.len().to_string());
    }
    if !keeps_alive && response.headers.get("connection").is_none() {
        response.headers.push("Connection", "close");
    }
    let mut bytes = response.head();
    if with_body {
        bytes.extend_from_slice(&response.body);
    }
    bytes
}
