//! What a balancer outside asks a node: has this Service an endpoint here? (`pkg/proxy/healthcheck/service_health.go`)
//!
//! A Service with `externalTrafficPolicy: Local` has a port for that on every node, the same on all of them, where
//! that node's kube-proxy answers.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use base::Utc;
use base::tree::BTreeMap;
use kube_proxy::Proxier;
use kube_proxy::proxier::ServiceKey;
use netsim::{Cause, Net, NsId, Process};
use programs::http::server::serve;
use programs::http::{Request, Response};

/// The servers of one node.
#[derive(Default)]
pub(crate) struct HealthChecks {
    servers: BTreeMap<ServiceKey, Server>,
}

/// The server for one Service.
struct Server {
    port: u16,
    /// How many endpoints of the Service are ready on this node.
    endpoints: Rc<Cell<usize>>,
    process: Process,
}

impl HealthChecks {
    /// Starts, stops and tells servers what is known since the last sync (`SyncServices`, `SyncEndpoints`).
    pub(crate) fn sync(&mut self, proxier: &Proxier, net: &Net, ns: NsId) {
        let port_of = |key: &ServiceKey| proxier.health_check_port(key);
        self.servers.retain(|key, server| {
            let is_kept = port_of(key) == Some(server.port) && server.process.exit_code().is_none();
            if !is_kept {
                server.process.kill();
            }
            is_kept
        });
        for (key, port) in proxier.health_check_ports() {
            let server = self
                .servers
                .entry(key.clone())
                .or_insert_with(|| Server::start(net, ns, key, port));
            server.endpoints.set(proxier.local_ready_endpoints(key));
        }
    }

    /// The process that answered has ended.
    pub(crate) fn stop(&mut self) {
        self.servers.values().for_each(|server| server.process.kill());
        self.servers.clear();
    }
}

impl Server {
    fn start(net: &Net, ns: NsId, (namespace, name): &ServiceKey, port: u16) -> Server {
        let endpoints = Rc::new(Cell::new(0));
        let (seen, namespace, name) = (endpoints.clone(), namespace.clone(), name.clone());
        let process = net.start(ns, "kube-proxy", Cause(0), |host| async move {
            let Ok(listener) = host.listen(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)) else {
                return 1;
            };
            let here = host.clone();
            let answer = move |_: &Request| {
                let mut response = answer(&namespace, &name, seen.get());
                response.headers.push("Date", Utc::at(here.now()).http());
                response
            };
            serve(host, listener, answer).await;
            0
        });
        Server { port, endpoints, process }
    }
}

/// Whatever is asked, the answer is the same.
fn answer(namespace: &str, name: &str, endpoints: usize) -> Response {
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\t\"localEndpoints\": {endpoints},\n\t\"serviceProxyHealthy\": true\n}}"
    );
    let status = if endpoints == 0 { 503 } else { 200 };
    let mut response = Response::new(status, "application/json", body);
    response.headers.push("X-Content-Type-Options", "nosniff");
    response.headers.push("X-Load-Balancing-Endpoint-Weight", endpoints.to_string());
    response
}
