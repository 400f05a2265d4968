//! Filter expressions: pcap-filter(7), as libpcap 1.10 reads and applies them
//! (`tests/oracle_filter.rs` compares).
//!
//! In reading order:
//! - `lex`: words, numbers, addresses, signs (`scanner.l`);
//! - `parse`: the grammar, with qualifiers carried on from term to term (`grammar.y`);
//! - `gen`: what a primitive asks of a packet (`gencode.c`);
//! - `eval`: asking it.
//!
//! As in the kernel's filter machine, a packet that ends before a byte that is asked for is refused, whatever
//! stands around the question.
//!
//! Absent, and said so: `gateway`, `protochain`, `byte`, `mpls`, PPPoE, Geneve, 802.11, ISO and older families.

mod eval;
mod r#gen;
mod lex;
mod parse;

use std::fmt;
use std::net::Ipv4Addr;

use crate::tcpdump::LinkType;

/// Longest expression in bytes; tcpdump's command line could be longer, but nobody's is.
const EXPRESSION_MAX: usize = 64 * 1024;

/// Why a text is not a filter, in libpcap's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError(String);

impl FilterError {
    fn new(text: impl Into<String>) -> FilterError {
        FilterError(text.into())
    }

    fn syntax() -> FilterError {
        FilterError::new("can't parse filter expression: syntax error")
    }

    fn unsupported(what: &str) -> FilterError {
        FilterError(format!("'{what}' not supported by podwire"))
    }
}

impl fmt::Display for FilterError {
    /// Without the `tcpdump: ` that tcpdump puts in front.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FilterError {}

/// What captured packets are asked.
#[derive(Clone, Debug)]
pub struct Filter {
    root: Option<eval::Node>,
}

impl Filter {
    /// Compiles an expression for captures of a link type. An empty one lets everything pass.
    ///
    /// `hosts` gives the addresses of host names.
    pub fn compile(
        text: &str,
        link: LinkType,
        hosts: &dyn Fn(&str) -> Vec<Ipv4Addr>,
    ) -> Result<Filter, FilterError> {
        if text.len() > EXPRESSION_MAX {
            return Err(FilterError::syntax());
        }
        let tokens = lex::tokens(text)?;
        if tokens.is_empty() {
            return Ok(Filter { root: None });
        }
        let root = parse::parse(&tokens, r#gen::Gen::new(link, hosts))?;
        Ok(Filter { root: Some(root) })
    }

    /// Whether a packet passes. `len`: how long it was before it was cut to what was captured.
    pub fn matches(&self, bytes: &[u8], len: u32) -> bool {
        self.root.as_ref().is_none_or(|root| root.eval(bytes, len) == Some(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nobody(_: &str) -> Vec<Ipv4Addr> {
        Vec::new()
    }

    fn compile(text: &str) -> Result<Filter, FilterError> {
        Filter::compile(text, LinkType::Ethernet, &nobody)
    }

    #[test]
    fn deep_nesting_is_refused_and_long_rows_are_not() {
        for open in ["(", "not ", "!", "-", "ip["] {
            assert!(compile(&open.repeat(20_000)).is_err(), "{open}");
        }
        assert!(compile(&format!("ip{}", " or tcp".repeat(5000))).is_ok());
        assert!(compile(&format!("1{} = 1", "+1".repeat(5000))).is_ok());
    }

    #[test]
    fn host_names_are_asked_for() {
        let hosts = |name: &str| match name {
            "web" => vec![Ipv4Addr::new(10, 96, 0, 1), Ipv4Addr::new(10, 96, 0, 2)],
            _ => vec![],
        };
        assert!(Filter::compile("host web", LinkType::Ethernet, &hosts).is_ok());
        let error = Filter::compile("host shop", LinkType::Ethernet, &hosts).unwrap_err();
        assert_eq!(error.to_string(), "unknown host 'shop'");
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_or_an_error(text in "\\PC{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(filter) = compile(&text) {
                filter.matches(&bytes, bytes.len() as u32);
            }
        }

        #[test]
        fn any_words_are_a_filter_or_an_error(words in prop::collection::vec(prop::sample::select(vec![
            "and", "or", "not", "(", ")", "host", "net", "port", "portrange", "src", "dst", "tcp", "udp", "ip", "ether",
            "arp", "vlan", "10.0.0.1", "10.1", "80", "http", "[", "]", ":", "2", "=", "<", "&", "len", "-", "mask",
            "255.0.0.0", "/", "8", "proto", "broadcast", "multicast", "tcp-syn", "0x10", "02:00:00:00:00:01", "less",
        ]), 0..12), bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            for link in [LinkType::Ethernet, LinkType::Sll2, LinkType::Raw] {
                if let Ok(filter) = Filter::compile(&words.join(" "), link, &nobody) {
                    filter.matches(&bytes, bytes.len() as u32);
                }
            }
        }
    }
}
