//! Tables, chains, sets, maps and counters as they are described in braces.

use std::rc::Rc;

use super::super::error::Failure;
use super::super::lex::{Span, Token};
use super::super::model::{Base, Data, Family, Kind, Rule, Set, flags};
use super::super::value::Type;
use super::element::Spec;
use super::rule::Facts;
use super::{Cursor, Parsed};
use crate::hook::Hook;
use crate::table::Policy;

/// A table as it was named.
#[derive(Clone, Debug)]
pub struct At {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: Rc<str>,
    /// Where the name stands.
    pub span: Span,
}

/// A chain as it was described.
#[derive(Clone, Debug)]
pub struct ChainSpec {
    /// Its name.
    pub name: Rc<str>,
    /// Where the name stands.
    pub span: Span,
    /// What makes it a base chain.
    pub base: Option<Base>,
    /// Where the type, the priority and the policy stand.
    pub spans: [Span; 3],
    /// `policy`
    pub policy: Option<Policy>,
    /// `comment`
    pub comment: Option<Rc<str>>,
    /// Its rules, and where they stand.
    pub rules: Vec<(Rule, Span)>,
}

/// A set or map as it was described.
#[derive(Clone, Debug)]
pub struct SetSpec {
    /// The set, without elements.
    pub set: Set,
    /// Where its name stands.
    pub span: Span,
    /// Its elements.
    pub elements: Vec<Spec>,
}

/// A counter as it was described.
#[derive(Clone, Debug)]
pub struct CounterSpec {
    /// Its name.
    pub name: Rc<str>,
    /// Where its name stands.
    pub span: Span,
    /// Packets and bytes.
    pub count: (u64, u64),
    /// `comment`
    pub comment: Option<Rc<str>>,
}

/// A table as it was described.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// Which.
    pub at: At,
    /// `comment`
    pub comment: Option<Rc<str>>,
    /// `flags dormant`
    pub dormant: bool,
    /// Its chains.
    pub chains: Vec<ChainSpec>,
    /// Its sets and maps.
    pub sets: Vec<SetSpec>,
    /// Its counters.
    pub counters: Vec<CounterSpec>,
}

impl Set {
    /// An empty set or map.
    pub fn of(keys: &[Type], data: Option<Data>) -> Set {
        Set {
            name: Rc::from(""),
            handle: 0,
            keys: keys.into(),
            type_of: None,
            data,
            flags: 0,
            timeout: None,
            gc_interval: None,
            size: None,
            memory: false,
            auto_merge: false,
            counter: false,
            comment: None,
            elements: base::tree::BTreeMap::new(),
            any: None,
            last_order: 0,
            users: base::tree::BTreeMap::new(),
        }
    }
}

const FAMILIES: [&str; 6] = ["ip", "ip6", "inet", "arp", "bridge", "netdev"];

impl Cursor {
    /// A family, if one is named.
    pub(super) fn family(&mut self) -> Parsed<Option<Family>> {
        let family = match self.word() {
            "ip" => Family::Ip,
            "inet" => Family::Inet,
            word if FAMILIES.contains(&word) => {
                let message =
                    format!("family {word}: not supported by podwire, only ip and inet are");
                return Err(Failure::at(message, self.span()));
            }
            _ => return Ok(None),
        };
        self.step();
        Ok(Some(family))
    }

    /// `[family] table`
    pub(super) fn at(&mut self) -> Parsed<At> {
        let family = self.family()?.unwrap_or(Family::Ip);
        self.in_ip = family == Family::Ip;
        let (name, span) = self.name()?;
        Ok(At { family, name: name.into(), span })
    }

    /// `{ … }` of a table, or nothing.
    pub(super) fn table(&mut self, at: At) -> Parsed<TableSpec> {
        let mut table = TableSpec {
            at,
            comment: None,
            dormant: false,
            chains: Vec::new(),
            sets: Vec::new(),
            counters: Vec::new(),
        };
        if !self.eat_sign("{") {
            return Ok(table);
        }
        loop {
            self.skip_ends();
            let word = self.word().to_string();
            match word.as_str() {
                "comment" => {
                    self.step();
                    table.comment = Some(self.comment()?);
                    self.end_of_line()?;
                }
                "flags" => {
                    self.step();
                    self.keyword("dormant")?;
                    table.dormant = true;
                    self.end_of_line()?;
                }
                "chain" => {
                    self.step();
                    let (name, span) = self.name()?;
                    table.chains.push(self.chain(name, span)?);
                }
                word @ ("set" | "map") => {
                    let is_map = word == "map";
                    self.step();
                    let (name, span) = self.name()?;
                    table.sets.push(self.set(name, span, is_map)?);
                }
                "counter" => {
                    self.step();
                    let (name, span) = self.name()?;
                    table.counters.push(self.counter(name, span)?);
                }
                word @ ("flowtable" | "quota" | "limit" | "ct" | "secmark" | "synproxy") => {
                    return Err(Failure::unsupported(word, self.span()));
                }
                _ if self.eat_sign("}") => return Ok(table),
                _ => return Err(self.unexpected("")),
            }
        }
    }

    fn end_of_line(&mut self) -> Parsed<()> {
        match self.token() {
            Token::Newline | Token::Sign(";") => {
                self.step();
                Ok(())
            }
            Token::Sign("}") => Ok(()),
            _ => Err(self.unexpected("newline or semicolon")),
        }
    }

    /// `{ type filter hook input priority 0; … }`, or nothing.
    pub(super) fn chain(&mut self, name: String, span: Span) -> Parsed<ChainSpec> {
        let mut chain = ChainSpec {
            name: name.into(),
            span,
            base: None,
            spans: [span; 3],
            policy: None,
            comment: None,
            rules: Vec::new(),
        };
        if !self.eat_sign("{") {
            return Ok(chain);
        }
        loop {
            self.skip_ends();
            let begin = self.span();
            let word = self.word().to_string();
            match word.as_str() {
                "type" => {
                    let base = self.base(&mut chain.spans)?;
                    chain.base = Some(base);
                }
                "policy" => {
                    self.step();
                    chain.policy = Some(match self.word() {
                        "accept" => Policy::Accept,
                        "drop" => Policy::Drop,
                        _ => return Err(self.unexpected("accept or drop or '$'")),
                    });
                    self.step();
                    chain.spans[2] = begin.to(self.before());
                }
                "comment" => {
                    self.step();
                    chain.comment = Some(self.comment()?);
                }
                "devices" | "device" => return Err(Failure::unsupported("devices", begin)),
                _ if self.eat_sign("}") => return Ok(chain),
                _ => {
                    let rule = self.rule()?;
                    chain.rules.push((rule, begin.to(self.before())));
                }
            }
            self.end_of_line()?;
        }
    }

    fn base(&mut self, spans: &mut [Span; 3]) -> Parsed<Base> {
        self.step();
        spans[0] = self.span();
        let kind = match self.word() {
            "filter" => Kind::Filter,
            "nat" => Kind::Nat,
            "route" => Kind::Route,
            "" => return Err(self.unexpected("string")),
            _ => return Err(Failure::at("unknown chain type", self.span())),
        };
        self.step();
        self.keyword("hook")?;
        let hook = match self.word() {
            "prerouting" => Hook::Prerouting,
            "input" => Hook::Input,
            "forward" => Hook::Forward,
            "output" => Hook::Output,
            "postrouting" => Hook::Postrouting,
            "ingress" | "egress" => return Err(Failure::unsupported(self.word(), self.span())),
            _ => return Err(Failure::at("unknown chain hook", self.span())),
        };
        self.step();
        if self.word() == "device" {
            return Err(Failure::unsupported("device", self.span()));
        }
        let begin = self.span();
        self.keyword("priority")?;
        let priority = self.priority(hook, begin)?;
        spans[1] = begin.to(self.before());
        Ok(Base { kind, hook, priority, policy: Policy::Accept, order: 0 })
    }

    /// `-110`, `filter`, `dstnat - 10`
    fn priority(&mut self, hook: Hook, begin: Span) -> Parsed<i32> {
        let named = match self.word() {
            "" => None,
            name => {
                let known = PRIORITIES.iter().find(|(known, ..)| *known == name);
                let fits = known.filter(|(_, value, _)| fits(*value, hook));
                let Some((_, value, _)) = fits else {
                    let message = "invalid priority expression value in this context.";
                    return Err(Failure::at(message, begin.to(self.span())));
                };
                self.step();
                Some(*value)
            }
        };
        let sign = match self.token() {
            Token::Sign("-") => -1,
            Token::Sign("+") => 1,
            _ if named.is_some() => return Ok(named.unwrap_or(0)),
            _ => 0,
        };
        if sign != 0 {
            self.step();
        }
        let (number, _) = self.number()?;
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        let value =
            i64::from(named.unwrap_or(0)).saturating_add(if sign < 0 { -number } else { number });
        Ok(i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX }))
    }

    /// `{ type ipv4_addr; … }` of a set or map.
    pub(super) fn set(&mut self, name: String, span: Span, is_map: bool) -> Parsed<SetSpec> {
        let mut set = Set::of(&[], None);
        set.name = name.into();
        let mut elements = Vec::new();
        let mut body = self.span();
        self.sign("{", "'{'")?;
        loop {
            self.skip_ends();
            let word = self.word().to_string();
            match word.as_str() {
                "type" => {
                    self.step();
                    set.keys = self.types(is_map)?;
                    if is_map {
                        set.data = Some(self.data()?);
                    }
                }
                "typeof" => {
                    self.step();
                    self.type_of(&mut set, is_map)?;
                }
                "flags" => {
                    self.step();
                    self.set_flags(&mut set)?;
                }
                "timeout" => {
                    self.step();
                    set.timeout = Some(self.time()?);
                    set.flags |= flags::TIMEOUT;
                }
                "gc-interval" => {
                    self.step();
                    set.gc_interval = Some(self.time()?);
                }
                "size" => {
                    self.step();
                    // As many bits as the kernel has for it; none is no limit.
                    set.size = Some(self.number()?.0 as u32).filter(|size| *size != 0);
                }
                "policy" => {
                    self.step();
                    set.memory = match self.word() {
                        "memory" => true,
                        "performance" => false,
                        _ => return Err(self.unexpected("performance or memory")),
                    };
                    self.step();
                }
                "auto-merge" => {
                    self.step();
                    set.auto_merge = true;
                }
                "counter" => {
                    self.step();
                    set.counter = true;
                }
                "comment" => {
                    self.step();
                    set.comment = Some(self.comment()?);
                }
                "elements" => {
                    self.step();
                    self.sign("=", "=")?;
                    elements = self.elements()?;
                }
                word @ ("limit" | "quota") => {
                    return Err(Failure::unsupported(&format!("{word} of a set"), self.span()));
                }
                _ if self.eat_sign("}") => break,
                _ => return Err(self.unexpected("")),
            }
            if self.is_end() {
                body = body.to(self.span());
            }
            self.end_of_line()?;
        }
        if set.keys.is_empty() {
            let message = "set definition does not specify key";
            return Err(Failure::at(message, body));
        }
        Ok(SetSpec { set, span, elements })
    }

    fn data_type(&mut self) -> Parsed<Type> {
        let span = self.span();
        let (name, _) = match self.token() {
            Token::Word(_) => self.name()?,
            _ => return Err(self.unexpected("string")),
        };
        if name == "mark" {
            return Ok(Type::Mark);
        }
        match Type::named(&name) {
            Some(ty) => Ok(ty),
            None if [
                "ipv6_addr",
                "ether_addr",
                "classid",
                "realm",
                "devgroup",
                "day",
                "hour",
                "cgroupsv2",
                "icmpv6_type",
                "icmpv6_code",
                "icmpx_code",
                "ct_label",
                "ct_event",
                "dccp_pkttype",
                "ll_addr",
                "arp_op",
            ]
            .contains(&name.as_str()) =>
            {
                Err(Failure::unsupported(&format!("type {name}"), span))
            }
            None => Err(Failure::at(format!("unknown datatype {name}"), span)),
        }
    }

    fn types(&mut self, is_map: bool) -> Parsed<Box<[Type]>> {
        let mut types = vec![self.data_type()?];
        while self.eat_sign(".") {
            types.push(self.data_type()?);
        }
        match (is_map, self.is_sign(":")) {
            (true, false) => Err(self.unexpected("colon or .")),
            (false, true) => Err(self.unexpected("newline or semicolon or .")),
            _ => Ok(types.into()),
        }
    }

    fn data(&mut self) -> Parsed<Data> {
        self.sign(":", "colon or .")?;
        if self.eat("interval") {
            return Err(Failure::unsupported("intervals as values", self.before()));
        }
        if self.eat("verdict") {
            return Ok(Data::Verdicts);
        }
        for word in ["counter", "quota", "limit", "synproxy", "secmark"] {
            if self.word() == word {
                return Err(Failure::unsupported(&format!("a map of {word}s"), self.span()));
            }
        }
        let mut types = vec![self.data_type()?];
        while self.eat_sign(".") {
            types.push(self.data_type()?);
        }
        Ok(Data::Values(types.into()))
    }

    /// `typeof ip saddr . tcp dport`
    fn type_of(&mut self, set: &mut Set, is_map: bool) -> Parsed<()> {
        let mut facts = Facts::default();
        let key = self.expr(&mut facts)?;
        let mut text = String::new();
        super::super::print::expr(&key, Default::default(), &mut text);
        set.keys = key.types().into();
        if is_map {
            self.sign(":", "colon or .")?;
            if self.eat("verdict") {
                set.data = Some(Data::Verdicts);
                text.push_str(" : verdict");
            } else {
                let value = self.expr(&mut Facts::default())?;
                text.push_str(" : ");
                super::super::print::expr(&value, Default::default(), &mut text);
                set.data = Some(Data::Values(value.types().into()));
            }
        }
        set.type_of = Some(text.into());
        Ok(())
    }

    fn set_flags(&mut self, set: &mut Set) -> Parsed<()> {
        loop {
            let known = flags::NAMES.iter().find(|(_, name)| *name == self.word());
            let Some((flag, _)) = known else {
                return Err(self.unexpected("constant or interval or dynamic or timeout"));
            };
            set.flags |= flag;
            self.step();
            if !self.eat_sign(",") {
                return Ok(());
            }
        }
    }

    /// `{ packets 1 bytes 2; }` of a counter, or nothing.
    pub(super) fn counter(&mut self, name: String, span: Span) -> Parsed<CounterSpec> {
        let mut counter = CounterSpec { name: name.into(), span, count: (0, 0), comment: None };
        if self.word() == "packets" {
            counter.count = self.counts()?;
            return Ok(counter);
        }
        if !self.eat_sign("{") {
            return Ok(counter);
        }
        loop {
            self.skip_ends();
            let word = self.word().to_string();
            match word.as_str() {
                "packets" => counter.count = self.counts()?,
                "comment" => {
                    self.step();
                    counter.comment = Some(self.comment()?);
                }
                _ if self.eat_sign("}") => return Ok(counter),
                _ => return Err(self.unexpected("")),
            }
            self.end_of_line()?;
        }
    }
}

/// Names of priorities, and the one hook at which they are known.
pub const PRIORITIES: [(&str, i32, Option<Hook>); 6] = [
    ("raw", -300, None),
    ("mangle", -150, None),
    ("dstnat", -100, Some(Hook::Prerouting)),
    ("filter", 0, None),
    ("security", 50, None),
    ("srcnat", 100, Some(Hook::Postrouting)),
];

fn fits(priority: i32, hook: Hook) -> bool {
    let known = PRIORITIES.iter().find(|(_, value, _)| *value == priority);
    known.is_some_and(|(.., only)| only.is_none_or(|only| only == hook))
}
