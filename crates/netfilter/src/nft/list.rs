//! `nft list`, `nft reset`, `nft get`.

use std::fmt::Write as _;

use base::Instant;

use super::Ruleset;
use super::error::Failure;
use super::lex::Span;
use super::model::{Family, Table};
use super::parse::command::{Command, Kinds, Named, Verb, What};
use super::parse::element::Spec;
use super::parse::object::At;
use super::print::Printer;
use super::value::Style;

type Listed = Result<(), Failure>;

fn missing(span: Span) -> Failure {
    Failure::at("No such file or directory", span)
}

/// A listing that is being written.
pub(super) struct List<'a> {
    pub(super) rules: &'a mut Ruleset,
    pub(super) style: Style,
    pub(super) now: Instant,
    pub(super) out: &'a mut String,
}

impl List<'_> {
    /// Carries out a line that lists.
    pub(super) fn run(&mut self, command: &Command) -> Listed {
        match &command.what {
            What::Ruleset(family) => {
                let shown = |table: &&Table| family.is_none_or(|family| family == table.family);
                for table in self.rules.tables.iter().filter(shown) {
                    self.printer(table).table(&mut *self.out);
                }
                Ok(())
            }
            What::Table(spec) => {
                let table = self.table(&spec.at)?;
                let mut text = String::new();
                self.printer(table).table(&mut text);
                self.out.push_str(&text);
                Ok(())
            }
            What::Chain(at, spec, _) => {
                let table = self.table(at)?;
                let chain = table.chain(&spec.name).ok_or_else(|| missing(spec.span))?;
                let mut text = String::new();
                self.printer(table).chain(chain, true, &mut text);
                self.one(at, &text);
                Ok(())
            }
            What::SetName(at, named, is_map) => {
                let table = self.table(at)?;
                let set = table.set(&named.name).filter(|set| set.data.is_some() == *is_map);
                let set = set.ok_or_else(|| missing(named.span))?;
                let mut text = String::new();
                self.printer(table).set(set, &mut text);
                self.one(at, &text);
                Ok(())
            }
            What::CounterName(at, named) => {
                let table = self.table(at)?;
                let counter = table.counter(&named.name).ok_or_else(|| missing(named.span))?;
                let handle = counter.handle;
                let mut text = String::new();
                self.printer(table).counter(counter, &mut text);
                self.one(at, &text);
                if command.verb == Verb::Reset {
                    self.reset(Some(at), None, Some(handle));
                }
                Ok(())
            }
            What::All(kinds, family, at) => self.all(*kinds, *family, at.as_ref(), command.verb),
            What::Elements(at, named, specs) => self.get(at, named, specs, command.span),
            _ => Ok(()),
        }
    }

    fn printer<'b>(&self, table: &'b Table) -> Printer<'b> {
        Printer { table, style: self.style, now: self.now }
    }

    fn table(&self, at: &At) -> Result<&Table, Failure> {
        self.rules.table(at.family, &at.name).ok_or_else(|| missing(at.span))
    }

    /// One thing in its table's braces.
    fn one(&mut self, at: &At, text: &str) {
        let _ = write!(self.out, "table {} {} {{\n{text}}}\n", at.family.name(), at.name);
    }

    fn all(&mut self, kinds: Kinds, family: Option<Family>, at: Option<&At>, verb: Verb) -> Listed {
        if let Some(at) = at {
            self.table(at)?;
        }
        for table in &self.rules.tables {
            let is_meant = family.is_none_or(|family| family == table.family)
                && at.is_none_or(|at| at.family == table.family && at.name == table.name);
            if !is_meant {
                continue;
            }
            let printer = Printer { table, style: self.style, now: self.now };
            let head = format!("table {} {}", table.family.name(), table.name);
            if kinds == Kinds::Nothing {
                continue;
            }
            if kinds == Kinds::Tables {
                let _ = writeln!(self.out, "{head}");
                continue;
            }
            let is_object = matches!(kinds, Kinds::Counters | Kinds::Others(true));
            if is_object && table.counters.is_empty() {
                continue;
            }
            let _ = writeln!(self.out, "{head} {{");
            match kinds {
                Kinds::Chains => {
                    for (_, chain) in &table.chains {
                        printer.chain(chain, false, &mut *self.out);
                    }
                }
                Kinds::Sets | Kinds::Maps => {
                    let is_meant = |is_map: bool| is_map == (kinds == Kinds::Maps);
                    for (_, set) in &table.sets {
                        if is_meant(set.data.is_some()) {
                            printer.set(set, &mut *self.out);
                        }
                    }
                }
                Kinds::Counters => {
                    for (_, counter) in &table.counters {
                        printer.counter(counter, &mut *self.out);
                    }
                }
                Kinds::Tables | Kinds::Others(_) | Kinds::Nothing => {}
            }
            self.out.push_str("}\n");
        }
        if verb == Verb::Reset && kinds == Kinds::Counters {
            self.reset(at, family, None);
        }
        Ok(())
    }

    fn reset(&mut self, at: Option<&At>, family: Option<Family>, only: Option<u64>) {
        for table in &mut self.rules.tables {
            let is_meant = family.is_none_or(|family| family == table.family)
                && at.is_none_or(|at| at.family == table.family && at.name == table.name);
            if !is_meant {
                continue;
            }
            for (handle, counter) in table.counters.iter_mut() {
                if only.is_none_or(|only| only == *handle) {
                    counter.count = (0, 0);
                }
            }
        }
    }

    /// `get element`: the elements that are there, or that hold a key.
    fn get(&mut self, at: &At, named: &Named, specs: &[Spec], whole: Span) -> Listed {
        let table = self.table(at)?;
        let set = table.set(&named.name).ok_or_else(|| missing(named.span))?;
        let mut found = super::model::Set {
            elements: Default::default(),
            any: None,
            comment: None,
            ..set.clone()
        };
        for spec in specs {
            let bare =
                super::model::Set { flags: set.flags, ..super::model::Set::of(&set.keys, None) };
            let typed = spec.typed_key(&bare, self.now)?;
            let known = typed.key.as_ref().and_then(|key| set.find(key, self.now));
            let Some((key, element)) = known else {
                return Err(Failure::kernel("No such file or directory", whole));
            };
            found.elements.insert(key, element.clone());
        }
        let mut text = String::new();
        self.printer(table).set(&found, &mut text);
        self.one(at, &text);
        Ok(())
    }
}
