//! Addresses as people type them for curl and wget.

/// `http://user@host:port/path?query#fragment`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query, beginning with a slash.
    pub(super) target: String,
}

/// Why a text is none: curl's exit code and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadUrl(pub(super) i32, pub(super) String);

impl Url {
    /// Reads an address; the scheme may be left out.
    pub(super) fn parse(text: &str) -> Result<Url, BadUrl> {
        let illegal = || BadUrl(3, "URL using bad/illegal format or missing URL".to_string());
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) => {
                let message = format!("Protocol \"{scheme}\" not supported or disabled in libcurl");
                return Err(BadUrl(1, message));
            }
            None => text,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let target = target.split('#').next().unwrap_or_default();
        let target =
            if target.starts_with('/') { target.to_string() } else { format!("/{target}") };
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, "")) => (host, 80),
            Some((host, port)) => {
                let why = "URL rejected: Port number was not a decimal number between 0 and 65535";
                (host, port.parse().map_err(|_| BadUrl(3, why.to_string()))?)
            }
            None => (authority, 80),
        };
        let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let is_odd = |c: char| c.is_whitespace() || c.is_control();
        if host.is_empty() || !host.chars().all(is_host) || target.contains(is_odd) {
            return Err(illegal());
        }
        Ok(Url { host: host.to_string(), port, target })
    }

    /// The `Host` field.
    pub(super) fn authority(&self) -> String {
        if self.port == 80 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// The address that a `Location` field sends to from here (RFC 3986 §5).
    pub(super) fn join(&self, location: &str) -> String {
        if location.contains("://") {
            return location.to_string();
        }
        if let Some(rest) = location.strip_prefix("//") {
            return format!("http://{rest}");
        }
        let base = format!("http://{}", self.authority());
        if location.starts_with('/') {
            return base + location;
        }
        let path = self.target.split('?').next().unwrap_or_default();
        if location.starts_with('?') {
            return base + path + location;
        }
        let directory = path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or("/");
        base + directory + location
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parse = |text: &str| {
            Url::parse(text)
                .map(|url| format!("{} {} {}", url.host, url.port, url.target))
                .map_err(|t| t.0)
        };
        for (text, expected) in [
            ("localhost:30007", Ok("localhost 30007 /")),
            ("http://a.b/c?d=e#f", Ok("a.b 80 /c?d=e")),
            ("http://u:p@h:8080?x", Ok("h 8080 /?x")),
            ("https://a", Err(1)),
            ("HTTP://a:", Ok("a 80 /")),
            ("", Err(3)),
            ("a:99999", Err(3)),
            ("a b", Err(3)),
        ] {
            assert_eq!(parse(text), expected.map(str::to_string), "{text}");
        }
    }

    #[test]
    fn where_a_location_leads() {
        let url = Url::parse("http://web:81/a/b?c").unwrap();
        for (location, address) in [
            ("http://shop/x", "http://shop/x"),
            ("//shop/x", "http://shop/x"),
            ("/x", "http://web:81/x"),
            ("x", "http://web:81/a/x"),
            ("?x", "http://web:81/a/b?x"),
        ] {
            assert_eq!(url.join(location), address);
        }
    }
}
