//! Names, labels, keys, ports: the texts inside objects (`apimachinery/pkg/util/validation`).

/// `a lowercase RFC 1123 subdomain …`
pub(crate) const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1123: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const HEADER: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
const ENV_VAR: &str = "a valid environment variable name must consist only of printable ASCII characters other than '='";
const IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
pub(crate) const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";

/// What is wrong with a text of some form.
pub(crate) type Complaints = Vec<String>;

/// The forms that texts have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// RFC 1123 label.
    Label,
    /// DNS-1035 label.
    Label1035,
    /// RFC 1123 subdomain.
    Subdomain,
    /// A subdomain, or `*.` and a subdomain.
    Host,
    /// IANA's service name.
    PortName,
    /// `example.com/name`
    QualifiedName,
    /// The value of a label.
    LabelValue,
    /// Key of a ConfigMap or Secret.
    Key,
    /// Name of an environment variable.
    Env,
    /// Name of a header.
    Header,
    /// Address.
    Ip,
    /// Network.
    Cidr,
}

impl Form {
    /// As the table of rules names it.
    pub(crate) fn named(word: &str) -> Option<Form> {
        Some(match word {
            "label" => Form::Label,
            "label1035" => Form::Label1035,
            "subdomain" => Form::Subdomain,
            "host" => Form::Host,
            "portname" => Form::PortName,
            "qname" => Form::QualifiedName,
            "value" => Form::LabelValue,
            "key" => Form::Key,
            "env" => Form::Env,
            "header" => Form::Header,
            "ip" => Form::Ip,
            "cidr" => Form::Cidr,
            _ => return None,
        })
    }

    /// What is wrong with a text that should have this form.
    pub(crate) fn complaints(self, text: &str) -> Complaints {
        let bounded = |max: usize, fits: bool, complaint: &str| -> Complaints {
            let mut complaints = Complaints::new();
            if text.len() > max {
                complaints.push(format!("must be no more than {max} bytes"));
            }
            if !fits {
                complaints.push(complaint.to_string());
            }
            complaints
        };
        match self {
            Form::Label => bounded(63, is_label_1123(text), LABEL_1123),
            Form::Label1035 => bounded(63, is_label_1035(text), LABEL_1035),
            Form::Subdomain => bounded(253, is_subdomain(text), SUBDOMAIN),
            Form::Host if text.contains('*') => {
                let fits = text.strip_prefix("*.").is_some_and(is_subdomain);
                bounded(253, fits, WILDCARD)
            }
            Form::Host => bounded(253, is_subdomain(text), SUBDOMAIN),
            Form::PortName => port_name(text),
            Form::QualifiedName => qualified_name(text),
            Form::LabelValue => bounded(63, is_label_value(text), LABEL_VALUE),
            Form::Key => config_key(text),
            Form::Env => {
                let is_fit = |c: char| (' '..='~').contains(&c) && c != '=';
                bounded(usize::MAX, text.chars().all(is_fit), ENV_VAR)
            }
            Form::Header => {
                let is_fit = |c: char| c.is_ascii_alphanumeric() || c == '-';
                bounded(usize::MAX, !text.is_empty() && text.chars().all(is_fit), HEADER)
            }
            Form::Ip => bounded(usize::MAX, text.parse::<std::net::IpAddr>().is_ok(), IP),
            Form::Cidr => bounded(usize::MAX, cidr(text).is_some(), CIDR),
        }
    }
}

/// An address and the length of its prefix.
pub(crate) fn cidr(text: &str) -> Option<(std::net::IpAddr, u32)> {
    let (addr, len) = text.split_once('/')?;
    let addr: std::net::IpAddr = addr.parse().ok()?;
    let max = if addr.is_ipv4() { 32 } else { 128 };
    let is_number = len.bytes().all(|b| b.is_ascii_digit());
    let len: u32 = len.parse().ok().filter(|len| is_number && *len <= max)?;
    Some((addr, len))
}

fn is_label_value(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_end = |c: char| c.is_ascii_alphanumeric();
    text.is_empty()
        || (text.chars().all(is_inner) && text.starts_with(is_end) && text.ends_with(is_end))
}

fn is_label_1123(text: &str) -> bool {
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.chars().all(|c| is_end(c) || c == '-')
        && text.starts_with(is_end)
        && text.ends_with(is_end)
}

fn is_label_1035(text: &str) -> bool {
    is_label_1123(text) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label_1123)
}

fn qualified_name(text: &str) -> Complaints {
    let mut complaints = Complaints::new();
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    match prefix {
        Some("") => complaints.push("prefix part must be non-empty".to_string()),
        Some(prefix) if !is_subdomain(prefix) => {
            complaints.push(format!("prefix part {SUBDOMAIN}"))
        }
        _ => {}
    }
    if name.is_empty() {
        complaints.push("name part must be non-empty".to_string());
    } else if name.len() > 63 {
        complaints.push("name part must be no more than 63 bytes".to_string());
    }
    if !is_label_value(name) || name.is_empty() {
        complaints.push(QUALIFIED_NAME.to_string());
    }
    complaints
}

/// Names of ports: RFC 6335 §5.1.
fn port_name(name: &str) -> Complaints {
    let mut complaints = Complaints::new();
    let mut complain = |what: &str| complaints.push(what.to_string());
    if name.len() > 15 {
        complain("must be no more than 15 characters");
    }
    if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
        complain("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !name.chars().any(|c| c.is_ascii_lowercase()) {
        complain("must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        complain("must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        complain("must not begin or end with a hyphen");
    }
    complaints
}

fn config_key(key: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if key.len() > 253 {
        complaints.push("must be no more than 253 bytes".to_string());
    }
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if key.is_empty() || !key.chars().all(is_fit) {
        complaints.push(CONFIG_KEY.to_string());
    }
    match key {
        "." => complaints.push("must not be '.'".to_string()),
        ".." => complaints.push("must not be '..'".to_string()),
        key if key.starts_with("..") => complaints.push("must not start with '..'".to_string()),
        _ => {}
    }
    complaints
}
