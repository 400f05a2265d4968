//! Requests that are passed on to other servers (`proxy_pass`).

use std::net::{Ipv4Addr, SocketAddrV4};

use base::Duration;
use netsim::SockError;
use netsim::exec::timeout;

use super::answer::Scope;
use super::conf::Directive;
use super::{host_and_port, proxy_parts};
use crate::http::client::Ask;
use crate::http::{Headers, Response, fetch};

/// How long another server may take (`proxy_connect_timeout`, `proxy_read_timeout`).
const PROXY_TIMEOUT: u64 = 60;

impl Scope<'_> {
    pub(super) async fn pass(&self, pass: &Directive) -> Response {
        let url = self.expand(pass.value());
        let Some((authority, uri)) = proxy_parts(&url) else { return self.error_page(500) };
        let target = match uri {
            Some(uri) if !pass.value().contains('$') => {
                let prefix = self.location.map_or("", |location| location.path.as_str());
                let rest = self.request.target.strip_prefix(prefix).unwrap_or_default();
                format!("{uri}{rest}")
            }
            Some(uri) => uri.to_string(),
            None => self.request.target.clone(),
        };
        let known = self.nginx.upstreams.iter().find(|known| known.name == authority);
        let addrs = match known {
            Some(upstream) => {
                let turn = upstream.turn.get();
                upstream.turn.set(turn.wrapping_add(1));
                let mut addrs = upstream.addrs.clone();
                let by = turn % addrs.len().max(1);
                addrs.rotate_left(by);
                addrs
            }
            None => match self.look_up(authority).await {
                Some(addrs) => addrs,
                None => return self.error_page(502),
            },
        };
        let ask = self.ask(authority, &target);
        let mut last = self.error_page(502);
        for addr in addrs {
            match self.one(addr, &ask).await {
                Ok(response) => return response,
                Err((status, why)) => {
                    let upstream = format!("http://{addr}{target}");
                    self.complain_of(&format!("{why} while connecting to upstream"), &upstream);
                    last = self.error_page(status);
                }
            }
        }
        last
    }

    /// A name with variables in it is asked for now, of the server that `resolver` names.
    async fn look_up(&self, authority: &str) -> Option<Vec<SocketAddrV4>> {
        let (name, port) = host_and_port(authority);
        let mut resolver = self.nginx.container.resolver();
        let given = self.get("resolver").map(|given| host_and_port(given.value()).0.to_string());
        resolver.conf.search.clear();
        if name.parse::<Ipv4Addr>().is_err() {
            let Some(given) = given else {
                self.complain(&format!("no resolver defined to resolve {name}"));
                return None;
            };
            let server = self.nginx.container.resolver().addresses(&self.nginx.host, &given).await;
            resolver.conf.nameservers = server.unwrap_or_default();
        }
        match resolver.addresses(&self.nginx.host, name).await {
            Ok(found) => {
                Some(found.into_iter().map(|addr| SocketAddrV4::new(addr, port)).collect())
            }
            Err(_) => {
                self.complain(&format!("{name} could not be resolved (3: Host not found)"));
                None
            }
        }
    }

    fn ask(&self, authority: &str, target: &str) -> Ask {
        let request = self.request;
        let mut headers = Headers::default();
        headers.push("Host", authority);
        headers.push("Connection", "close");
        for (name, value) in &request.headers.0 {
            let is_own = ["host", "connection", "keep-alive", "transfer-encoding", "expect"]
                .iter()
                .any(|own| name.eq_ignore_ascii_case(own));
            if !is_own {
                headers.push(name, value.clone());
            }
        }
        let has_own = |block: &&&Directive| block.get("proxy_set_header").is_some();
        let block = self.blocks.iter().flatten().find(has_own);
        for set in block.into_iter().flat_map(|block| block.all("proxy_set_header")) {
            let [name, value] = set.args.as_slice() else { continue };
            let value = self.expand(value);
            headers.remove(name);
            if !value.is_empty() && !name.eq_ignore_ascii_case("connection") {
                headers.push(name, value);
            }
        }
        let (method, body) = (request.method.clone(), request.body.clone());
        Ask { method, target: target.to_string(), headers, body }
    }

    async fn one(&self, addr: SocketAddrV4, ask: &Ask) -> Result<Response, (u16, String)> {
        let host = &self.nginx.host;
        let secs = |name: &str| {
            let given =
                self.get(name).and_then(|given| given.value().trim_end_matches('s').parse().ok());
            Duration::from_secs(given.unwrap_or(PROXY_TIMEOUT))
        };
        let late = || (504, "upstream timed out (110: Operation timed out)".to_string());
        let connecting =
            timeout(host.sleep(secs("proxy_connect_timeout")), host.connect(addr)).await;
        let stream = connecting.ok_or_else(late)?.map_err(|error| match error {
            SockError::TimedOut => late(),
            SockError::Refused => (502, "connect() failed (111: Connection refused)".to_string()),
            error => (502, format!("connect() failed (113: {error})")),
        })?;
        let fetching = fetch(host, &stream, ask);
        let fetched = timeout(host.sleep(secs("proxy_read_timeout")), fetching).await;
        let fetched = fetched
            .ok_or_else(late)?
            .map_err(|_| (502, "upstream prematurely closed connection".to_string()))?;
        let mut response = fetched.response;
        for own in
            ["server", "date", "connection", "transfer-encoding", "keep-alive", "content-length"]
        {
            response.headers.remove(own);
        }
        Ok(response)
    }
}
