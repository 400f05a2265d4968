//! Tables, chains, rules, sets and maps as they are kept.

use std::rc::Rc;

use base::Instant;
use base::tree::BTreeMap;

use super::field::Field;
use super::lex::Span;
use super::value::{Key, Type};
use crate::ext::log::Log;
use crate::ext::reject::Reject;
use crate::hook::Hook;
use crate::nat::NatRange;
use crate::table::Policy;

/// A chain, set or counter of the same table, by name; found when the rule is put into its chain.
#[derive(Clone, Debug)]
pub struct Ref {
    /// Its name then.
    pub name: Rc<str>,
    /// Its handle; 0 until it is found.
    pub handle: u64,
    /// Where the name stands in the text.
    pub span: Span,
    /// Where that stands which it is asked about.
    pub about: Span,
}

/// What is to become of a packet.
#[derive(Clone, Debug)]
pub enum Action {
    /// The end of this base chain.
    Accept,
    /// The end.
    Drop,
    /// The next rule.
    Continue,
    /// Back to the calling chain.
    Return,
    /// Into another chain, and back.
    Jump(Ref),
    /// Into another chain.
    Goto(Ref),
}

/// Something that yields a value of each packet.
#[derive(Clone, Debug)]
pub enum Expr {
    /// A field.
    Field(&'static Field),
    /// `fib`
    Fib(Fib),
    /// `numgen`
    Numgen(Numgen),
    /// Several, one after the other.
    Concat(Vec<Expr>),
    /// `(of & mask) ^ xor`
    Masked {
        /// Of what.
        of: Box<Expr>,
        /// `&`
        mask: u128,
        /// `^`
        xor: u128,
    },
    /// What a map has for a key.
    Map(Box<Expr>, Source, Box<[Type]>),
    /// Always the same.
    Value(Type, u128),
}

/// `fib`: what routing knows of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fib {
    /// Of the source, or of the destination.
    pub of_source: bool,
    /// `. mark`
    pub mark: bool,
    /// `. iif`
    pub iif: bool,
    /// `. oif`
    pub oif: bool,
    /// What is asked.
    pub result: FibResult,
}

/// What `fib` is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FibResult {
    /// `type`
    Type,
    /// `oif`, and whether there is one.
    Oif,
    /// `oif` as a number; 0 where there is none.
    Index,
}

/// `numgen`: numbers in turn, or by chance.
#[derive(Clone, Debug)]
pub struct Numgen {
    /// By chance.
    pub random: bool,
    /// So many different ones.
    pub modulus: u32,
    /// The smallest.
    pub offset: u32,
    /// The turn it is.
    pub turn: u32,
}

/// Where elements are looked up.
#[derive(Clone, Debug)]
pub enum Source {
    /// A set or map with a name.
    Named(Ref),
    /// One of the rule's own.
    Own(Box<Set>),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Nothing was written: equal, or for flags any of them.
    Implicit,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `>`
    Gt,
    /// `<=`
    Le,
    /// `>=`
    Ge,
}

/// What an expression is compared with.
#[derive(Clone, Debug)]
pub enum Right {
    /// A value.
    Value(u128),
    /// The beginning of a name, of so many bytes.
    Beginning(u128, u32),
    /// A prefix of so many bits.
    Prefix(u128, u32),
    /// All from one to another.
    Range(u128, u128),
    /// Elements.
    Set(Source),
}

/// A part of a rule.
#[derive(Clone, Debug)]
pub enum Stmt {
    /// Goes on only if this fits.
    Match {
        /// What is looked at.
        left: Expr,
        /// How.
        op: Op,
        /// What is wanted.
        right: Right,
    },
    /// The verdict that a map has for a key.
    Vmap(Expr, Source),
    /// A verdict.
    Verdict(Action),
    /// `counter`
    Counter(u64, u64),
    /// `counter name`
    Named(Ref),
    /// `limit`
    Limit(Box<Limit>),
    /// `log`
    Log(Box<Log>),
    /// `reject`
    Reject(Reject),
    /// `dnat`, `snat`, `masquerade`, `redirect`
    Nat(Box<Nat>),
    /// `meta mark set`
    SetMark(Expr),
    /// `ct mark set`
    SetCtMark(Expr),
    /// `notrack`
    Notrack,
    /// `add @set { … }` and the like.
    Update(Box<Update>),
}

/// Kinds of address translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are nft's words")]
pub enum NatKind {
    Dnat,
    Snat,
    Masquerade,
    Redirect,
}

/// Address translation.
#[derive(Clone, Debug)]
pub struct Nat {
    /// Which.
    pub kind: NatKind,
    /// To what, unless a map tells.
    pub range: NatRange,
    /// To what a map tells: an address, or an address and a port.
    pub map: Option<Expr>,
}

/// `limit`: a bucket of tokens.
#[derive(Clone, Debug)]
pub struct Limit {
    /// So many packets or bytes.
    pub rate: u64,
    /// In so many seconds.
    pub unit: u64,
    /// So many more at once.
    pub burst: u32,
    /// Bytes are counted, not packets.
    pub bytes: bool,
    /// `over`: fits what is too much.
    pub over: bool,
    /// Nanoseconds in the bucket, and when it was last looked at.
    pub bucket: Option<(u64, Instant)>,
}

/// What a rule does with an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are nft's words")]
pub enum UpdateOp {
    Add,
    Update,
    Delete,
}

/// A rule changes a set.
#[derive(Clone, Debug)]
pub struct Update {
    /// How.
    pub op: UpdateOp,
    /// Which set.
    pub set: Ref,
    /// Where all of it stands.
    pub span: Span,
    /// The element's key.
    pub key: Expr,
    /// What a map is to have for it.
    pub data: Option<Expr>,
    /// For so many milliseconds.
    pub timeout: Option<u64>,
    /// With a counter.
    pub counter: bool,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its handle in the table.
    pub handle: u64,
    /// Its parts.
    pub stmts: Vec<Stmt>,
    /// `comment`
    pub comment: Option<Rc<str>>,
}

/// What makes a chain a base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// `type`
    pub kind: Kind,
    /// `hook`
    pub hook: Hook,
    /// `priority`
    pub priority: i32,
    /// `policy`
    pub policy: Policy,
    /// The later it was made the greater.
    pub order: u64,
}

/// Types of base chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are nft's words")]
pub enum Kind {
    Filter,
    Nat,
    Route,
}

impl Kind {
    /// nft's word.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Filter => "filter",
            Kind::Nat => "nat",
            Kind::Route => "route",
        }
    }
}

/// A chain.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its name.
    pub name: Rc<str>,
    /// Its handle in the table.
    pub handle: u64,
    /// A base chain.
    pub base: Option<Base>,
    /// `comment`
    pub comment: Option<Rc<str>>,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// Rules and elements that lead here.
    pub uses: u32,
    /// From which base chains it is reached: see [`super::check`].
    pub reach: super::check::Reach,
}

/// What the elements of a map have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Verdicts.
    Verdicts,
    /// Values.
    Values(Box<[Type]>),
}

/// What an element of a map has.
#[derive(Clone, Debug)]
pub enum Value {
    /// A verdict.
    Action(Action),
    /// Values, as in a key.
    Key(Key),
}

/// Flags of sets.
pub mod flags {
    /// `constant`
    pub const CONSTANT: u8 = 1;
    /// `dynamic`
    pub const DYNAMIC: u8 = 2;
    /// `interval`
    pub const INTERVAL: u8 = 4;
    /// `timeout`
    pub const TIMEOUT: u8 = 8;
    /// In the order in which they are printed.
    pub const NAMES: [(u8, &str); 4] = [
        (CONSTANT, "constant"),
        (DYNAMIC, "dynamic"),
        (INTERVAL, "interval"),
        (TIMEOUT, "timeout"),
    ];
}

/// A set or a map.
#[derive(Clone, Debug)]
pub struct Set {
    /// Its name; empty for one of a rule's own.
    pub name: Rc<str>,
    /// Its handle in the table.
    pub handle: u64,
    /// Types of the parts of its keys.
    pub keys: Box<[Type]>,
    /// `typeof`, as it is printed.
    pub type_of: Option<Rc<str>>,
    /// What a map has for a key.
    pub data: Option<Data>,
    /// Bits of [`flags`].
    pub flags: u8,
    /// Elements stay for so many milliseconds.
    pub timeout: Option<u64>,
    /// `gc-interval` in milliseconds.
    pub gc_interval: Option<u64>,
    /// Most elements.
    pub size: Option<u32>,
    /// `policy memory`
    pub memory: bool,
    /// `auto-merge`
    pub auto_merge: bool,
    /// Each element has a counter.
    pub counter: bool,
    /// `comment`
    pub comment: Option<Rc<str>>,
    /// By key; those of intervals by the last key that is theirs.
    pub elements: BTreeMap<Key, Element>,
    /// For every key that is not there.
    pub any: Option<Box<Element>>,
    /// The last [`Element::order`].
    pub last_order: u64,
    /// Chains whose rules ask it, and how many of those.
    pub users: BTreeMap<u64, u32>,
}

/// An element of a set or map.
#[derive(Clone, Debug, Default)]
pub struct Element {
    /// First key of an interval.
    pub low: Option<Key>,
    /// What a map has.
    pub value: Option<Value>,
    /// `comment`
    pub comment: Option<Rc<str>>,
    /// Stays for so many milliseconds.
    pub timeout: Option<u64>,
    /// Is gone then.
    pub expires: Option<Instant>,
    /// Packets and bytes.
    pub counter: Option<(u64, u64)>,
    /// Among intervals: the later it came the greater.
    pub order: u64,
}

impl Element {
    /// Is still there.
    pub fn is_alive(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// A counter with a name.
#[derive(Clone, Debug)]
pub struct Counter {
    /// Its name.
    pub name: Rc<str>,
    /// Its handle in the table.
    pub handle: u64,
    /// Packets and bytes.
    pub count: (u64, u64),
    /// `comment`
    pub comment: Option<Rc<str>>,
    /// Rules that count by it.
    pub uses: u32,
}

/// Families of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are nft's words")]
pub enum Family {
    Ip,
    Inet,
}

impl Family {
    /// nft's word.
    pub fn name(self) -> &'static str {
        match self {
            Family::Ip => "ip",
            Family::Inet => "inet",
        }
    }
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: Rc<str>,
    /// Its handle.
    pub handle: u64,
    /// `comment`
    pub comment: Option<Rc<str>>,
    /// `flags dormant`: its base chains are not asked.
    pub dormant: bool,
    /// The last handle that was given.
    pub last_handle: u64,
    /// By handle: in the order of their making.
    pub chains: BTreeMap<u64, Chain>,
    /// Handles by name.
    pub chain_names: BTreeMap<Rc<str>, u64>,
    /// By handle.
    pub sets: BTreeMap<u64, Set>,
    /// Handles by name.
    pub set_names: BTreeMap<Rc<str>, u64>,
    /// By handle.
    pub counters: BTreeMap<u64, Counter>,
}

impl Table {
    /// Nothing.
    pub fn empty() -> Table {
        Table {
            family: Family::Ip,
            name: Rc::from(""),
            handle: 0,
            comment: None,
            dormant: false,
            last_handle: 0,
            chains: BTreeMap::new(),
            chain_names: BTreeMap::new(),
            sets: BTreeMap::new(),
            set_names: BTreeMap::new(),
            counters: BTreeMap::new(),
        }
    }

    /// A chain by its name.
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.chain_names.get(name).and_then(|handle| self.chains.get(handle))
    }

    /// A set or map by its name.
    pub fn set(&self, name: &str) -> Option<&Set> {
        self.set_names.get(name).and_then(|handle| self.sets.get(handle))
    }

    /// A counter by its name.
    pub fn counter(&self, name: &str) -> Option<&Counter> {
        self.counters.values().find(|counter| &*counter.name == name)
    }

    /// The next handle.
    pub fn next_handle(&mut self) -> u64 {
        self.last_handle += 1;
        self.last_handle
    }
}

impl Set {
    /// Its elements are intervals.
    pub fn has_intervals(&self) -> bool {
        self.flags & flags::INTERVAL != 0
    }

    /// The element of a key, among those that are still there.
    pub fn find(&self, key: &[u8], now: Instant) -> Option<(Key, &Element)> {
        if !self.has_intervals() {
            let element = self.elements.get(key)?;
            return element.is_alive(now).then(|| (Key::from_slice(key), element));
        }
        for (high, element) in self.elements.range_from(key) {
            let low = element.low.as_ref().unwrap_or(high);
            if self.is_within(key, low, high) {
                if element.is_alive(now) {
                    return Some((high.clone(), element));
                }
            } else if self.keys.len() == 1 {
                // The next one begins later.
                return None;
            }
        }
        None
    }

    /// Each part of a key lies between those of two others.
    pub fn is_within(&self, key: &[u8], low: &[u8], high: &[u8]) -> bool {
        let mut at = 0;
        for ty in &self.keys {
            let part = |key: &[u8]| super::value::pop_key(key.get(at..).unwrap_or_default(), *ty).0;
            if !(part(low)..=part(high)).contains(&part(key)) {
                return false;
            }
            at += ty.bytes();
        }
        true
    }
}

impl Expr {
    /// Types of its parts.
    pub fn types(&self) -> Vec<Type> {
        match self {
            Expr::Field(field) => vec![field.ty],
            Expr::Fib(fib) => vec![match fib.result {
                FibResult::Type => Type::AddrType,
                FibResult::Oif => Type::Exists,
                FibResult::Index => Type::Number(4),
            }],
            Expr::Numgen(_) => vec![Type::Number(4)],
            Expr::Concat(parts) => parts.iter().flat_map(Expr::types).collect(),
            Expr::Masked { of, .. } => of.types(),
            Expr::Map(_, _, types) => types.to_vec(),
            Expr::Value(ty, _) => vec![*ty],
        }
    }

    /// The field that it is, if it is nothing else.
    pub fn field(&self) -> Option<&'static Field> {
        match self {
            Expr::Field(field) => Some(field),
            _ => None,
        }
    }
}
