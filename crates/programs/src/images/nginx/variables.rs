//! The variables of a configuration: `$host`, `$remote_addr`, `$http_…`, …

use base::Utc;

use super::answer::Scope;
use super::conf::Directive;
use super::{VERSION, host_and_port, proxy_parts};
use crate::images::site;

impl Scope<'_> {
    /// A text with its variables' values.
    pub(super) fn expand(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let (name, behind) =
                match after.strip_prefix('{').and_then(|after| after.split_once('}')) {
                    Some(found) => found,
                    None => {
                        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                        after.split_at(end.unwrap_or(after.len()))
                    }
                };
            if name.is_empty() {
                out.push('$');
            }
            out.push_str(&self.variable(name));
            rest = behind;
        }
        out.push_str(rest);
        out
    }

    pub(super) fn variable(&self, name: &str) -> String {
        let request = self.request;
        let field = |name: &str| request.headers.get(name).unwrap_or_default().to_string();
        let query = || request.target.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let text = match name {
            "host" => {
                let host = field("host");
                return host_and_port(&host).0.to_string();
            }
            "uri" | "document_uri" => return site::normal(request.path()),
            "request_uri" => &request.target,
            "args" | "query_string" => query(),
            "is_args" if query().is_empty() => "",
            "is_args" => "?",
            "scheme" => "http",
            "hostname" => &self.nginx.container.hostname,
            "request_method" => &request.method,
            "server_protocol" => "HTTP/1.1",
            "nginx_version" => VERSION.trim_start_matches("nginx/"),
            "remote_addr" => return request.peer.ip().to_string(),
            "remote_port" => return request.peer.port().to_string(),
            "server_addr" => return request.local.ip().to_string(),
            "server_port" => return request.local.port().to_string(),
            "request" => return request.line(),
            "time_local" => return Utc::at(self.nginx.host.now()).access_log(),
            "request_id" => {
                let mut rng =
                    self.nginx.host.rng(&format!("request/{}", self.nginx.connections.get()));
                return format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64());
            }
            "server_name" => {
                let name = self.server.and_then(|server| server.names.first());
                return name.cloned().unwrap_or_default();
            }
            "proxy_host" | "proxy_add_x_forwarded_for" | "http_host" => {
                let before = field("x-forwarded-for");
                let peer = request.peer.ip();
                return match name {
                    "http_host" => field("host"),
                    "proxy_host" => {
                        let pass = self.get("proxy_pass").map(Directive::value).unwrap_or_default();
                        proxy_parts(pass).map_or("", |(authority, _)| authority).to_string()
                    }
                    _ if before.is_empty() => peer.to_string(),
                    _ => format!("{before}, {peer}"),
                };
            }
            _ => return self.named(name),
        };
        text.to_string()
    }

    /// `$http_x_y`, `$arg_x`, and what `set` has set.
    fn named(&self, name: &str) -> String {
        if let Some(field) = name.strip_prefix("http_") {
            let field = field.replace('_', "-");
            return self.request.headers.get(&field).unwrap_or_default().to_string();
        }
        if let Some(arg) = name.strip_prefix("arg_") {
            let mut query = site::query(self.request).into_iter();
            return query.find(|(known, _)| known == arg).map(|(_, v)| v).unwrap_or_default();
        }
        let mut sets = self.blocks.iter().take(2).flatten().flat_map(|block| block.all("set"));
        let found = sets.find(|set| set.value().strip_prefix('$') == Some(name));
        // What is set with itself is not expanded for ever.
        found
            .and_then(|set| set.args.get(1))
            .map(|value| match value.contains('$') {
                true => value.replace(&format!("${name}"), ""),
                false => value.clone(),
            })
            .unwrap_or_default()
    }
}
