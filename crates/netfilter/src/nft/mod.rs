//! nftables: tables of the user's own, base chains at any priority, sets, maps and verdict maps.
//!
//! In reading order:
//! - [`model`]: tables, chains, rules, sets as they are kept; [`field`]: what rules look at; [`value`]: types of
//!   values and their names;
//! - [`lex`], [`parse`]: nft's grammar; [`error`]: what nft says when it refuses;
//! - [`resolve`]: names become handles; [`check`]: whether rules may stand where they are reached; [`set`]: elements
//!   come and go; [`edit`]: a transaction, [`undo`]: how it is taken back;
//! - [`walk`]: a packet walks the rules of a base chain; [`look`]: what an expression yields of it;
//! - [`print`], [`list`]: what `nft list` prints; [`command`]: `nft`.
//!
//! **Invariant:** a transaction changes everything it says or nothing.
//! **Invariant:** whatever an element or a rule leads to exists: what is used cannot be deleted.
//! **Invariant:** a lookup in a set or map costs the same whatever its size; only intervals of several parts are gone
//! through.
//!
//! Deliberately absent: families other than `ip` and `inet`, flowtables, meters, quotas, `tproxy`, `synproxy`, hashes,
//! variables and `include`. Each is refused by name.

pub mod check;
pub mod command;
pub mod edit;
pub mod error;
pub mod field;
pub mod lex;
mod list;
mod look;
pub mod model;
pub mod parse;
pub mod print;
pub mod resolve;
pub mod set;
mod trace;
mod undo;
pub mod value;
pub(crate) mod walk;

use base::order;

pub use self::command::nft;
use self::model::{Kind, Table};
use crate::hook::Hook;

/// A base chain that is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Where.
    pub hook: Hook,
    /// When.
    pub priority: i32,
    /// What it may do.
    pub kind: Kind,
    /// Place of its table.
    pub table: usize,
    /// Its handle.
    pub chain: u64,
    order: u64,
}

impl Asked {
    /// Is asked after something of that priority that was made then: of equal priority the later is asked first.
    pub(crate) fn is_behind(&self, priority: i32, made: u64) -> bool {
        self.priority > priority || (self.priority == priority && self.order < made)
    }
}

/// All nft tables of a namespace.
#[derive(Debug, Default)]
pub struct Ruleset {
    /// In the order of their making.
    pub tables: Vec<Table>,
    last_table: u64,
    last_order: u64,
    /// Rules and chains that need connections to be known.
    conntrack_users: u32,
    /// Base chains in the order in which they are asked.
    asked: Vec<Asked>,
}

impl Ruleset {
    /// A table by its family and name.
    pub fn table(&self, family: model::Family, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.family == family && &*table.name == name)
    }

    /// Base chains in the order in which they are asked.
    pub fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// There are base chains of type `nat`.
    pub(crate) fn has_nat(&self) -> bool {
        self.asked.iter().any(|asked| asked.kind == Kind::Nat)
    }

    /// Some rule needs connections to be known.
    pub fn uses_conntrack(&self) -> bool {
        self.conntrack_users > 0
    }

    /// Numbers base chains and the tables of iptables in the order of their making.
    pub(crate) fn next_order(&mut self) -> u64 {
        self.last_order += 1;
        self.last_order
    }

    /// Finds the base chains. Of equal priority the later is asked first, as the kernel puts hooks in
    /// (`nf_hook_entries_grow`).
    fn hook_up(&mut self) {
        self.asked.clear();
        for (index, table) in self.tables.iter().enumerate().filter(|(_, table)| !table.dormant) {
            for chain in table.chains.values() {
                if let Some(base) = &chain.base {
                    self.asked.push(Asked {
                        hook: base.hook,
                        priority: base.priority,
                        kind: base.kind,
                        table: index,
                        chain: chain.handle,
                        order: base.order,
                    });
                }
            }
        }
        order::sort_by(&mut self.asked, |a, b| {
            (a.hook, a.priority, b.order).cmp(&(b.hook, b.priority, a.order))
        });
    }
}
