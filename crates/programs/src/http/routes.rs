//! Which request goes where, by host and path: what an L7 balancer in the manner of ingress-nginx is told.
//!
//! A table is text, a line a route, so that it can be a file of the balancer's container: fields with tabs
//! between them, the addresses last.

use std::fmt;
use std::net::SocketAddrV4;

/// How a path is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The whole path.
    Exact,
    /// Its first elements: `/a` is `/a`, `/a/` and `/a/b`, and not `/ab`.
    Prefix,
    /// Its beginning, whatever that is: nginx' `location /a`.
    Start,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `a.example.com`, `*.example.com`; empty for all others.
    pub host: String,
    /// How the path is compared.
    pub compare: Compare,
    /// The path.
    pub path: String,
    /// What the path becomes; empty: it stays.
    pub rewrite: String,
    /// What is behind it, as the log names it: `default-web-80`.
    pub name: String,
    /// Who answers.
    pub servers: Vec<SocketAddrV4>,
}

const WORDS: [(Compare, &str); 3] =
    [(Compare::Exact, "exact"), (Compare::Prefix, "prefix"), (Compare::Start, "start")];

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WORDS.iter().find(|(compare, _)| *compare == self.compare);
        let word = word.map_or("", |(_, word)| word);
        let Route { host, path, rewrite, name, .. } = self;
        write!(f, "{host}\t{word}\t{path}\t{rewrite}\t{name}")?;
        self.servers.iter().try_for_each(|server| write!(f, "\t{server}"))
    }
}

impl Route {
    fn parse(line: &str) -> Option<Route> {
        let mut fields = line.split('\t');
        let host = fields.next()?.to_string();
        let word = fields.next()?;
        let compare = WORDS.iter().find(|(_, known)| *known == word)?.0;
        let mut field = || fields.next().map(str::to_string);
        let (path, rewrite, name) = (field()?, field()?, field()?);
        let servers = fields.filter_map(|server| server.parse().ok()).collect();
        Some(Route { host, compare, path, rewrite, name, servers })
    }

    fn fits(&self, path: &str) -> bool {
        match self.compare {
            Compare::Exact => path == self.path,
            Compare::Start => path.starts_with(&self.path),
            Compare::Prefix => {
                let own = self.path.trim_end_matches('/');
                path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }

    /// The path and query that the server is asked for. Of rewriting, what people write is understood: a target
    /// that replaces the whole path, and one that ends with `$1` or `$2` for what follows the route's path.
    pub fn target(&self, target: &str) -> String {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (target, String::new()),
        };
        if self.rewrite.is_empty() {
            return target.to_string();
        }
        let path = match self.rewrite.split_once('$') {
            None => self.rewrite.clone(),
            Some((before, _)) => {
                let rest = path.strip_prefix(self.path.trim_end_matches('/')).unwrap_or_default();
                format!("{before}{}", rest.strip_prefix('/').unwrap_or(rest))
            }
        };
        format!("{path}{query}")
    }
}

/// All routes, in no order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table(Vec<Route>);

impl Table {
    /// Reads a table; lines that are none are passed over.
    pub fn parse(text: &str) -> Table {
        Table(text.lines().filter_map(Route::parse).collect())
    }

    /// The route of a request, and its place in the table.
    ///
    /// The host decides first: its own name, then a name with `*` for its first label, then all others. Among
    /// its routes the whole path goes before a part of it, and of parts the longest.
    pub fn find(&self, host: &str, path: &str) -> Option<(usize, &Route)> {
        let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let wild = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let has = |name: &str| self.0.iter().any(|route| route.host == name);
        let wild = wild.filter(|wild| has(wild));
        let host = if has(&host) { host } else { wild.unwrap_or_default() };
        let mut best: Option<(usize, &Route)> = None;
        let rank = |route: &Route| (route.compare == Compare::Exact, route.path.len());
        for (at, route) in self.0.iter().enumerate() {
            let is_better = best.is_none_or(|(_, other)| rank(other) < rank(route));
            if route.host == host && route.fits(path) && is_better {
                best = Some((at, route));
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "a.example.com\tprefix\t/\t\troot\t10.0.0.1:80\t10.0.0.2:80
a.example.com\tprefix\t/shop\t\tshop\t10.0.0.3:80
a.example.com\texact\t/shop\t\twhole\t10.0.0.4:80
a.example.com\tstart\t/img\t\timages\t10.0.0.5:80
*.example.com\tprefix\t/\t\twild
\tprefix\t/api\t/v2/$2\tapi\t10.0.0.6:80
nonsense
";

    #[test]
    fn hosts_then_paths() {
        let table = Table::parse(TABLE);
        for (host, path, name) in [
            ("a.example.com", "/", "root"),
            ("A.example.com:8080", "/other", "root"),
            ("a.example.com", "/shop", "whole"),
            ("a.example.com", "/shop/", "shop"),
            ("a.example.com", "/shop/cart", "shop"),
            ("a.example.com", "/shopping", "root"),
            ("a.example.com", "/images/a.png", "root"),
            ("a.example.com", "/imgs", "images"),
            ("b.example.com", "/x", "wild"),
            ("c.b.example.com", "/api", "api"),
            ("10.0.0.1", "/api/x", "api"),
            ("localhost", "/", "-"),
        ] {
            let found = table.find(host, path).map_or("-", |(_, route)| &route.name);
            assert_eq!(found, name, "{host}{path}");
        }
    }

    #[test]
    fn a_table_comes_back_as_it_was_written() {
        let table = Table::parse(TABLE);
        let text: String = table.0.iter().map(|route| format!("{route}\n")).collect();
        assert_eq!(Table::parse(&text), table);
        assert_eq!(table.0.len(), 6);
    }

    #[test]
    fn paths_are_rewritten() {
        let mut route = Table::parse(TABLE).0.pop().unwrap();
        assert_eq!(route.target("/api/a/b?c=d"), "/v2/a/b?c=d");
        assert_eq!(route.target("/api"), "/v2/");
        route.rewrite = "/".to_string();
        assert_eq!(route.target("/api/a?b"), "/?b");
        route.rewrite.clear();
        assert_eq!(route.target("/api/a?b"), "/api/a?b");
    }
}
