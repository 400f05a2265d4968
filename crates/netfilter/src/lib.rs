//! Packet filtering for one network namespace: what `iptables` and the kernel's netfilter do.
//!
//! In reading order, as a packet meets them:
//! - [`hook`]: where in its way a packet is looked at, and by which table;
//! - [`firewall`]: [`Netfilter`], all of one namespace; [`Netfilter::hook`] is the way in;
//! - [`table`]: chains of rules, their references, counters and edits;
//! - [`rule`]: what a rule says; [`ext`]: one file for each match and target extension;
//! - [`ipset`]: sets of addresses, for the rules that ask for them;
//! - [`walk`]: a packet walks the rules of a table; [`plan`]: where a long chain may be skipped through;
//!   [`memo`]: where the way of an earlier packet is taken again;
//! - [`conntrack`]: which connection a packet belongs to;
//! - [`nat`]: translating addresses, choosing ports, undoing it on the reply;
//! - [`ipvs`]: virtual services in front of real servers;
//! - [`passage`]: what happens to packets of an established connection, all hooks at once;
//! - [`trace`]: what the walk saw, rule by rule, with the field that did not fit;
//! - [`text`]: `iptables-restore`, `iptables-save`, `iptables -S`, `-L` and the argument grammar.
//!
//! **Invariant:** knows nothing of devices, routes, sockets or Kubernetes. Chain names arrive as strings,
//! interfaces as names, and what the namespace knows of addresses through [`Surroundings`].
//! **Invariant:** no clock of its own; whatever expires compares against the `now` it is given.
//! **Invariant:** with tracing off nothing is recorded and nothing is allocated for it.
//!
//! Deliberately absent: IPv6, user-space queues (NFQUEUE), connection helpers (FTP and the like).

pub mod conntrack;
pub mod ext;
pub mod firewall;
pub mod hook;
pub mod iface;
pub mod ipset;
pub mod ipvs;
mod memo;
pub mod nat;
pub mod nft;
pub mod passage;
mod plan;
pub mod rule;
pub mod table;
pub mod text;
pub mod trace;
pub mod walk;

pub use conntrack::{CtInfo, CtSlot, Direction};
pub use firewall::{DropReason, HookInput, Netfilter, Sender, Skb, Surroundings, Verdict};
pub use hook::{Hook, TableName};
pub use iface::IfName;
pub use passage::Passage;
pub use rule::{RuleSpec, Target};
pub use table::{Chain, Counters, Policy, Rule, Table};
