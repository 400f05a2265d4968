//! What Kubernetes itself runs on a node, as far as the network sees it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use base::{Duration, Utc};
use netsim::{Host, TcpListener};

use super::web::{any, until_asked};
use super::{Container, Program, repository};
use crate::dns;
use crate::grpc::{self, SERVING};
use crate::http::server::{Limits, at_once, serve_slowly};
use crate::http::{Request, Response};
use crate::log::Log;

/// A program that keeps its ports open and answers health checks; what it does for the cluster is done by
/// the control plane.
pub fn program(host: Host, container: Container, log: Log) -> Program {
    let ports: &[u16] = match repository(&container.image) {
        "kube-apiserver" => &[6443],
        "etcd" => &[2379, 2380],
        "kube-controller-manager" => &[10257],
        "kube-scheduler" => &[10259],
        "kube-proxy" => return Box::pin(kube_proxy(host, container, log)),
        "coredns/coredns" | "coredns" => return Box::pin(coredns(host, container, log)),
        _ => &[],
    };
    let ports = ports.to_vec();
    Box::pin(async move {
        if let Err(why) = open(&host, &ports) {
            log.line(host.now(), why);
            return 1;
        }
        until_asked(&host, Duration::from_millis(50)).await
    })
}

/// kube-proxy's own ports: its health on 10256, for everybody, and which mode it works in on 10249, for its node
/// (`cmd/kube-proxy/app/server.go`). What it does for the cluster is done elsewhere.
async fn kube_proxy(host: Host, container: Container, log: Log) -> i32 {
    let config = container.files.read("/var/lib/kube-proxy/config.conf").unwrap_or_default();
    let config = String::from_utf8_lossy(&config).into_owned();
    let mode = config.lines().find_map(|line| line.strip_prefix("mode: "));
    let mode = mode.map_or("iptables", |mode| mode.trim().trim_matches('"')).to_string();
    let now = Rc::new(host.clone());
    let health = move |request: &Request| match request.path() {
        "/healthz" | "/livez" => {
            let time =
                Utc::at(now.now()).rfc3339_micros().replace('T', " ").replace('Z', " +0000 UTC");
            let body = format!(
                "{{\"lastUpdated\": \"{time}\",\"currentTime\": \"{time}\", \"nodeEligible\": true}}"
            );
            let mut response = Response::new(200, "application/json", body);
            response.headers.push("X-Content-Type-Options", "nosniff");
            response
        }
        _ => not_found(),
    };
    let own = move |request: &Request| match request.path() {
        "/healthz" => plain("ok"),
        "/proxyMode" => plain(mode.as_str()),
        "/metrics" => Response::new(501, PLAIN, "metrics are not supported by podwire\n"),
        _ => not_found(),
    };
    let local = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 10249);
    for (addr, handler) in [(any(10256), at_once(health)), (local, at_once(own))] {
        let listener = match host.listen(addr) {
            Ok(listener) => listener,
            Err(error) => {
                log.line(host.now(), format!("listen tcp {addr}: bind: {error}"));
                return 1;
            }
        };
        host.spawn(serve_slowly(host.clone(), listener, Limits::default(), handler));
    }
    until_asked(&host, Duration::from_millis(50)).await
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn plain(text: &str) -> Response {
    Response::new(200, PLAIN, text)
}

fn not_found() -> Response {
    Response::new(404, PLAIN, "404 page not found\n")
}

/// Answers health checks on these ports.
fn open(host: &Host, ports: &[u16]) -> Result<(), String> {
    for port in ports {
        let listener = host
            .listen(any(*port))
            .map_err(|error| format!("listen tcp :{port}: bind: {error}"))?;
        host.spawn(health(host.clone(), listener));
    }
    Ok(())
}

/// What CoreDNS prints of the configuration that kubeadm gives it.
const CONFIGURATION: &str = "[INFO] plugin/reload: Running configuration SHA512 = \
    591cf328cccc12bc490481273e738df59329c62c0b729d94e8b61db9961c2fa5f046dd37f1cf888b953814040d180f52594972691cd6ff41be96639138a43908";

/// CoreDNS with the Corefile that kubeadm writes: health on 8080, readiness on 8181, metrics on 9153, names on 53.
async fn coredns(host: Host, container: Container, log: Log) -> i32 {
    if let Err(why) = open(&host, &[8080, 8181, 9153]) {
        log.line(host.now(), why);
        return 1;
    }
    if let Some(zone) = container.zone {
        let here = host.clone();
        host.spawn(async move {
            // The namespace is its own: nobody else has the port.
            let _ = dns::serve(here, Ipv4Addr::UNSPECIFIED, zone).await;
        });
    }
    for line in [".:53", CONFIGURATION, "CoreDNS-1.13.1", "linux/amd64, go1.25.2, 1db4568"] {
        log.line(host.now(), line);
    }
    host.terminated().await;
    log.line(host.now(), "[INFO] SIGTERM: Shutting down servers then terminating");
    log.line(host.now(), "[INFO] plugin/health: Going into lameduck mode for 5s");
    // It goes on answering meanwhile, while nodes hear that it is going.
    host.sleep(Duration::from_secs(5)).await;
    0
}

/// Over HTTP/1.1, and by gRPC as etcd does on the same port.
async fn health(host: Host, listener: TcpListener) {
    let http = at_once(|request| match request.path() {
        "/healthz" | "/livez" | "/readyz" | "/health" => plain("ok"),
        "/ready" => plain("OK"),
        _ => not_found(),
    });
    grpc::serve(host, listener, Rc::new(|_| Ok(SERVING)), Some(http)).await;
}
