//! The text of rules, in iptables 1.8.9's spelling and order.
//!
//! - [`words`]: numbers, ports, protocols, quoting: what all of them read and write;
//! - [`options`]: options as `getopt_long` finds them, and the rules that all extensions share;
//! - [`parse`]: the words of a command or a rule → [`parse::Line`], [`crate::RuleSpec`];
//! - [`mod@save`]: `iptables-save`, `iptables -S`;
//! - [`mod@list`]: `iptables -L`;
//! - [`command`]: `iptables`, carried out;
//! - [`mod@restore`]\: `iptables-restore`;
//! - [`nfacct`]: the command of that name.
//!
//! **Invariant:** total. Any text is a ruleset or an error that names the line.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

pub mod command;
pub mod list;
pub mod nfacct;
pub(crate) mod options;
pub mod parse;
pub mod restore;
pub mod save;
pub mod words;

use std::fmt;

pub use command::iptables;
pub use parse::parse_rule;
pub use restore::{RestoreError, RestoreOptions, restore};
pub(crate) use words::{parse_number, parse_port, protocol_word, quote, split_words};

/// What is wrong with the arguments of a command, in iptables' words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    text: String,
    /// Printed without the program's name before it.
    is_bare: bool,
}

impl ParseError {
    pub(crate) fn new(text: impl Into<String>) -> ParseError {
        ParseError { text: text.into(), is_bare: false }
    }

    pub(crate) fn bare(text: impl Into<String>) -> ParseError {
        ParseError { text: text.into(), is_bare: true }
    }

    /// Real iptables has it; podwire says so.
    pub(crate) fn unsupported(what: &str) -> ParseError {
        ParseError::new(format!("{what} is not supported by podwire"))
    }

    /// Whether the program's name and version stand before the words.
    pub fn is_bare(&self) -> bool {
        self.is_bare
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
