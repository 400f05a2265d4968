//! Lines: what is to be done with what.

use std::rc::Rc;

use super::super::error::Failure;
use super::super::lex::{Span, Token};
use super::super::model::{Family, Rule};
use super::element::Spec;
use super::object::{At, ChainSpec, CounterSpec, SetSpec, TableSpec};
use super::{Cursor, Parsed};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are nft's words")]
pub enum Verb {
    Add,
    Create,
    Insert,
    Replace,
    Delete,
    Destroy,
    Flush,
    Reset,
    List,
    Rename,
    Get,
}

/// Something named by its name or its handle.
#[derive(Clone, Debug)]
pub struct Named {
    /// The name; empty where a handle was given.
    pub name: Rc<str>,
    /// The handle.
    pub handle: Option<u64>,
    /// Where that stands.
    pub span: Span,
}

/// Kinds of things that are listed in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are nft's words")]
pub enum Kinds {
    Tables,
    Chains,
    Sets,
    Maps,
    Counters,
    /// What podwire has none of; an object if true.
    Others(bool),
    /// Of a family that podwire has not: there is none.
    Nothing,
}

/// With what.
#[derive(Clone, Debug)]
pub enum What {
    /// All tables of a family, or of every one.
    Ruleset(Option<Family>),
    /// A table.
    Table(TableSpec),
    /// A table by its handle.
    TableHandle(Family, u64, Span),
    /// A chain.
    Chain(At, ChainSpec, Option<u64>),
    /// A chain's new name.
    Rename(At, Named, Rc<str>),
    /// A rule of a chain, and where it is to stand.
    Rule(At, Named, Place, Option<Rule>),
    /// A set or map.
    Set(At, SetSpec, bool),
    /// A set or map by its name.
    SetName(At, Named, bool),
    /// Elements.
    Elements(At, Named, Vec<Spec>),
    /// A counter.
    Counter(At, CounterSpec),
    /// A counter by its name.
    CounterName(At, Named),
    /// All of a kind, of a family, of a table.
    All(Kinds, Option<Family>, Option<At>),
}

/// Where a rule stands.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// Nothing was said.
    None,
    /// Beside, or is, the rule of this handle.
    Handle(u64, Span),
    /// Beside the rule of this number, from 0.
    Index(u64, Span),
}

/// A line.
#[derive(Clone, Debug)]
pub struct Command {
    /// What is to be done.
    pub verb: Verb,
    /// With what.
    pub what: What,
    /// Where it stands.
    pub span: Span,
}

const VERBS: [(&str, Verb); 11] = [
    ("add", Verb::Add),
    ("create", Verb::Create),
    ("insert", Verb::Insert),
    ("replace", Verb::Replace),
    ("delete", Verb::Delete),
    ("destroy", Verb::Destroy),
    ("flush", Verb::Flush),
    ("reset", Verb::Reset),
    ("list", Verb::List),
    ("rename", Verb::Rename),
    ("get", Verb::Get),
];

/// Reads all lines of a text.
pub fn commands(text: &str) -> Parsed<Vec<Command>> {
    let mut cursor = Cursor::new(text)?;
    let mut commands = Vec::new();
    loop {
        cursor.skip_ends();
        if *cursor.token() == Token::End {
            return Ok(commands);
        }
        commands.push(cursor.command()?);
        if !cursor.is_end() {
            return Err(cursor.unexpected("end of file or newline or semicolon"));
        }
    }
}

impl Cursor {
    fn command(&mut self) -> Parsed<Command> {
        let begin = self.span();
        let known = VERBS.iter().find(|(word, _)| *word == self.word());
        let verb = match known {
            Some((_, verb)) => {
                self.step();
                *verb
            }
            None => {
                for word in [
                    "include", "define", "redefine", "undefine", "monitor", "describe", "export",
                    "import",
                ] {
                    if self.word() == word {
                        return Err(Failure::unsupported(word, begin));
                    }
                }
                Verb::Add
            }
        };
        let what = match verb {
            Verb::List | Verb::Reset => self.listed(verb)?,
            Verb::Flush => self.flushed()?,
            Verb::Rename => {
                self.keyword("chain")?;
                let at = self.at()?;
                let chain = self.named()?;
                What::Rename(at, chain, self.name()?.0.into())
            }
            Verb::Get => {
                self.keyword("element")?;
                self.element_command()?
            }
            Verb::Delete | Verb::Destroy => self.deleted(verb)?,
            Verb::Insert | Verb::Replace => {
                self.eat("rule");
                self.rule_command(verb)?
            }
            Verb::Add | Verb::Create => self.added(verb)?,
        };
        // What ends it belongs to it.
        let end = if self.is_end() { self.span() } else { self.before() };
        Ok(Command { verb, what, span: begin.to(end) })
    }

    fn named(&mut self) -> Parsed<Named> {
        let (name, span) = self.name()?;
        Ok(Named { name: name.into(), handle: None, span })
    }

    /// A name, or `handle N`.
    fn named_or_handle(&mut self) -> Parsed<Named> {
        if self.word() != "handle" {
            return self.named();
        }
        self.step();
        let (handle, span) = self.number()?;
        Ok(Named { name: Rc::from(""), handle: Some(handle), span })
    }

    fn added(&mut self, verb: Verb) -> Parsed<What> {
        let word = self.word().to_string();
        if ["table", "chain", "rule", "set", "map", "element", "counter"].contains(&word.as_str()) {
            self.step();
        }
        match word.as_str() {
            "table" => {
                let at = self.at()?;
                self.table(at).map(What::Table)
            }
            "chain" => {
                let at = self.at()?;
                let (name, span) = self.name()?;
                Ok(What::Chain(at, self.chain(name, span)?, None))
            }
            "set" | "map" => {
                let at = self.at()?;
                let (name, span) = self.name()?;
                let is_map = word == "map";
                Ok(What::Set(at, self.set(name, span, is_map)?, is_map))
            }
            "element" => self.element_command(),
            "counter" => {
                let at = self.at()?;
                let (name, span) = self.name()?;
                Ok(What::Counter(at, self.counter(name, span)?))
            }
            "flowtable" | "quota" | "limit" | "secmark" | "synproxy" | "ct" => {
                Err(Failure::unsupported(&word, self.span()))
            }
            "rule" => self.rule_command(verb),
            _ if verb == Verb::Create => Err(self.unexpected("")),
            _ => self.rule_command(verb),
        }
    }

    fn rule_command(&mut self, verb: Verb) -> Parsed<What> {
        let at = self.at()?;
        let chain = self.named()?;
        let begin = self.span();
        let place = match self.word() {
            "handle" | "position" if verb == Verb::Replace => {
                self.step();
                let (handle, span) = self.number()?;
                Place::Handle(handle, span)
            }
            "handle" => {
                self.step();
                let (handle, span) = self.number()?;
                Place::Handle(handle, span)
            }
            "position" => {
                self.step();
                let (handle, span) = self.number()?;
                Place::Handle(handle, begin.to(span))
            }
            "index" => {
                self.step();
                let (index, span) = self.number()?;
                Place::Index(index, begin.to(span))
            }
            _ if verb == Verb::Replace => return Err(self.unexpected("handle")),
            _ => Place::None,
        };
        Ok(What::Rule(at, chain, place, Some(self.rule()?)))
    }

    fn element_command(&mut self) -> Parsed<What> {
        let at = self.at()?;
        let set = self.named()?;
        Ok(What::Elements(at, set, self.elements()?))
    }

    fn deleted(&mut self, verb: Verb) -> Parsed<What> {
        let word = self.word().to_string();
        if verb == Verb::Destroy {
            // nft 1.0.6 does not know the word yet; what it says is what it says about a rule without `add`.
            return Err(self.unexpected("string"));
        }
        match word.as_str() {
            "table" => {
                self.step();
                let family = self.family()?.unwrap_or(Family::Ip);
                let table = self.named_or_handle()?;
                if let Some(handle) = table.handle {
                    return Ok(What::TableHandle(family, handle, table.span));
                }
                let at = At { family, name: table.name, span: table.span };
                Ok(What::Table(TableSpec {
                    at,
                    comment: None,
                    dormant: false,
                    chains: Vec::new(),
                    sets: Vec::new(),
                    counters: Vec::new(),
                }))
            }
            "chain" => {
                self.step();
                let at = self.at()?;
                let chain = self.named_or_handle()?;
                let spec = match self.is_sign("{") {
                    true => self.chain(chain.name.to_string(), chain.span)?,
                    false => ChainSpec {
                        name: chain.name,
                        span: chain.span,
                        base: None,
                        spans: [chain.span; 3],
                        policy: None,
                        comment: None,
                        rules: Vec::new(),
                    },
                };
                Ok(What::Chain(at, spec, chain.handle))
            }
            "set" | "map" => {
                self.step();
                let at = self.at()?;
                let set = self.named_or_handle()?;
                Ok(What::SetName(at, set, word == "map"))
            }
            "element" => {
                self.step();
                self.element_command()
            }
            "counter" => {
                self.step();
                let at = self.at()?;
                Ok(What::CounterName(at, self.named_or_handle()?))
            }
            "flowtable" | "quota" | "limit" | "secmark" | "synproxy" | "ct" => {
                Err(Failure::unsupported(&word, self.span()))
            }
            _ => {
                self.eat("rule");
                let at = self.at()?;
                let chain = self.named()?;
                self.keyword("handle")?;
                let (handle, span) = self.number()?;
                Ok(What::Rule(at, chain, Place::Handle(handle, span), None))
            }
        }
    }

    fn flushed(&mut self) -> Parsed<What> {
        let word = self.word().to_string();
        if !word.is_empty() {
            self.step();
        }
        match word.as_str() {
            "ruleset" => self.family().map(What::Ruleset),
            "table" => {
                let at = self.at()?;
                self.table(at).map(What::Table)
            }
            "chain" => {
                let at = self.at()?;
                let (name, span) = self.name()?;
                Ok(What::Chain(at, self.chain(name, span)?, None))
            }
            "set" | "map" => {
                let at = self.at()?;
                let set = self.named()?;
                Ok(What::SetName(at, set, word == "map"))
            }
            "meter" => Err(Failure::unsupported("meter", self.before())),
            "" => Err(self.unexpected("")),
            _ => {
                self.at -= 1;
                Err(self.unexpected(""))
            }
        }
    }

    fn listed(&mut self, verb: Verb) -> Parsed<What> {
        let word = self.word().to_string();
        let kinds = match word.as_str() {
            "tables" => Some(Kinds::Tables),
            "chains" => Some(Kinds::Chains),
            "sets" => Some(Kinds::Sets),
            "maps" => Some(Kinds::Maps),
            "counters" => Some(Kinds::Counters),
            "quotas" | "limits" | "secmarks" | "synproxys" => Some(Kinds::Others(true)),
            "meters" | "flowtables" => Some(Kinds::Others(false)),
            _ => None,
        };
        if let Some(kinds) = kinds {
            self.step();
            if self.eat("table") {
                return Ok(What::All(kinds, None, Some(self.at()?)));
            }
            if self.word() == "ip6" {
                self.step();
                return Ok(What::All(Kinds::Nothing, None, None));
            }
            return Ok(What::All(kinds, self.family()?, None));
        }
        self.step();
        match word.as_str() {
            "ruleset" if verb == Verb::List && self.is_end() => Ok(What::Ruleset(None)),
            "ruleset" if verb == Verb::List => match self.family()? {
                Some(family) => Ok(What::Ruleset(Some(family))),
                None => Err(self.unexpected("end of file or newline or semicolon")),
            },
            "table" if verb == Verb::List => {
                let at = self.at()?;
                Ok(What::Table(TableSpec {
                    at,
                    comment: None,
                    dormant: false,
                    chains: Vec::new(),
                    sets: Vec::new(),
                    counters: Vec::new(),
                }))
            }
            "chain" if verb == Verb::List => {
                let at = self.at()?;
                let chain = self.named()?;
                Ok(What::Chain(
                    at,
                    ChainSpec {
                        name: chain.name,
                        span: chain.span,
                        base: None,
                        spans: [chain.span; 3],
                        policy: None,
                        comment: None,
                        rules: Vec::new(),
                    },
                    None,
                ))
            }
            "set" | "map" if verb == Verb::List => {
                let at = self.at()?;
                Ok(What::SetName(at, self.named()?, word == "map"))
            }
            "counter" => {
                let at = self.at()?;
                Ok(What::CounterName(at, self.named()?))
            }
            "meter" | "flowtable" | "quota" | "limit" | "secmark" | "synproxy" | "ct" | "hooks"
            | "rules" | "rule" => Err(Failure::unsupported(&word, self.before())),
            _ => {
                self.at -= 1;
                Err(self.unexpected(""))
            }
        }
    }
}
