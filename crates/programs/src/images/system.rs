//! What Kubernetes itself runs on a node, as far as the network sees it.

use std::net::{Ipv4Addr, SocketAddrV4};

use base::Duration;
use netsim::{Host, TcpListener};

use super::{Container, Program, repository, until_terminated};
use crate::http::{Response, serve};
use crate::log::Log;

/// A program that keeps its ports open and answers health checks; what it does for the cluster is done by
/// the control plane.
pub fn program(host: Host, container: Container, log: Log) -> Program {
    let ports: &[u16] = match repository(&container.image) {
        "kube-apiserver" => &[6443],
        "etcd" => &[2379, 2380],
        "kube-controller-manager" => &[10257],
        "kube-scheduler" => &[10259],
        "kube-proxy" => &[10256],
        "coredns/coredns" | "coredns" => &[8080, 8181, 9153],
        _ => &[],
    };
    let ports = ports.to_vec();
    Box::pin(async move {
        for port in ports {
            match host.listen(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)) {
                Ok(listener) => host.spawn(health(host.clone(), listener)),
                Err(error) => {
                    log.line(host.now(), format!("listen tcp :{port}: bind: {error}"));
                    return 1;
                }
            }
        }
        until_terminated(&host, std::future::pending(), Duration::from_millis(50)).await
    })
}

async fn health(host: Host, listener: TcpListener) {
    serve(host, listener, |request| match request.path() {
        "/healthz" | "/livez" | "/readyz" | "/health" | "/ready" => {
            Response::new(200, "text/plain; charset=utf-8", "ok")
        }
        _ => Response::new(404, "text/plain; charset=utf-8", "404 page not found\n"),
    })
    .await;
}
