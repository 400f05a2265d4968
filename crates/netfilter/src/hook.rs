//! Where a packet is looked at, and by which tables.

use std::fmt;
use std::str::FromStr;

/// The five places of the IPv4 path where netfilter looks at a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Arrived, before routing.
    Prerouting,
    /// For this namespace, before the socket.
    Input,
    /// For somebody else, routed.
    Forward,
    /// Made here, routed, before anything else.
    Output,
    /// About to leave.
    Postrouting,
}

impl Hook {
    /// All hooks in the order in which tables list their built-in chains.
    pub const ALL: [Hook; 5] =
        [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];

    /// The built-in chain of the hook.
    pub fn chain(self) -> &'static str {
        match self {
            Hook::Prerouting => "PREROUTING",
            Hook::Input => "INPUT",
            Hook::Forward => "FORWARD",
            Hook::Output => "OUTPUT",
            Hook::Postrouting => "POSTROUTING",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.chain())
    }
}

/// The tables of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableName {
    /// Before connection tracking (priority -300).
    Raw,
    /// Changes to packets (priority -150).
    Mangle,
    /// Address translation; sees only the first packet of a connection (priority -100 and 100).
    Nat,
    /// May it pass? (priority 0).
    Filter,
}

impl TableName {
    /// In the order of their priority.
    pub const ALL: [TableName; 4] =
        [TableName::Raw, TableName::Mangle, TableName::Nat, TableName::Filter];

    /// In the order in which `iptables-save` of the nf_tables kind prints them.
    pub const SAVE_ORDER: [TableName; 4] =
        [TableName::Mangle, TableName::Raw, TableName::Filter, TableName::Nat];

    /// The name as typed after `-t`.
    pub fn name(self) -> &'static str {
        match self {
            TableName::Raw => "raw",
            TableName::Mangle => "mangle",
            TableName::Nat => "nat",
            TableName::Filter => "filter",
        }
    }

    /// The hooks at which the table has a built-in chain.
    pub fn hooks(self) -> &'static [Hook] {
        match self {
            TableName::Raw => &[Hook::Prerouting, Hook::Output],
            TableName::Mangle => &Hook::ALL,
            TableName::Nat => &[Hook::Prerouting, Hook::Input, Hook::Output, Hook::Postrouting],
            TableName::Filter => &[Hook::Input, Hook::Forward, Hook::Output],
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no table of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownTable;

impl FromStr for TableName {
    type Err = UnknownTable;

    fn from_str(name: &str) -> Result<Self, UnknownTable> {
        TableName::ALL.into_iter().find(|table| table.name() == name).ok_or(UnknownTable)
    }
}
