//! What a rule did, in words.

use std::rc::Rc;

use base::Instant;

use super::model::{Action, NatKind, Rule, Set, Stmt, Table, Value};
use super::print::Printer;
use super::value::{Key, Style, Type};
use super::walk::{Did, Then};
use crate::trace::{NftEval, NftOutcome};

/// What a rule did, written down.
pub(super) fn eval((chain, number): (Rc<str>, u32), rule: &Rule, did: &Did) -> NftEval {
    let style = Style { stateless: true, ..Style::default() };
    let table = Table::empty();
    let printer = Printer { table: &table, style, now: Instant::ZERO };
    let mut text = String::new();
    printer.rule(rule, &mut text);
    let outcome = match &did.missed {
        Some((at, seen)) => {
            let mut part = String::new();
            let stmt = rule.stmts.get(*at);
            if let Some(stmt) = stmt {
                printer.stmt(stmt, &mut part);
            }
            let seen = match (seen, stmt) {
                (Some(key), Some(stmt)) => seen_text(stmt, key, style),
                (None, Some(Stmt::Limit(_))) => "the limit used up".to_string(),
                _ => String::new(),
            };
            NftOutcome::Missed { part: part.into(), seen: seen.into() }
        }
        None => NftOutcome::Matched {
            effect: effect(&printer, rule, did).into(),
            element: did.element.as_ref().map(|(key, element)| {
                let mut text = String::new();
                let mut maps = rule.stmts.iter().filter_map(|stmt| match stmt {
                    Stmt::Vmap(key, _) => Some(key.types()),
                    _ => None,
                });
                let set = Set {
                    data: Some(super::model::Data::Verdicts),
                    flags: super::model::flags::INTERVAL,
                    ..Set::of(&maps.next_back().unwrap_or_default(), None)
                };
                let key = (!key.is_empty()).then_some(key);
                printer.element(&set, key, element, &mut text);
                text.into()
            }),
        },
    };
    NftEval { chain, number, handle: rule.handle, rule: text.into(), outcome }
}

fn seen_text(stmt: &Stmt, key: &Key, style: Style) -> String {
    let types: Vec<Type> = match stmt {
        Stmt::Match { left, .. } => left.types(),
        Stmt::Vmap(key, _) => key.types(),
        _ => Vec::new(),
    };
    let mut text = String::new();
    super::print::values(&types, key, style, &mut text);
    text
}

fn effect(printer: &Printer<'_>, rule: &Rule, did: &Did) -> String {
    match &did.then {
        Then::Enter(..) => {
            let chosen = did.element.as_ref().and_then(|(_, element)| element.value.as_ref());
            let action = match (chosen, rule.stmts.last()) {
                (Some(Value::Action(action)), _) | (_, Some(Stmt::Verdict(action))) => action,
                _ => return String::new(),
            };
            let target = match action {
                Action::Jump(to) | Action::Goto(to) => &*to.name,
                _ => "",
            };
            return format!("go to {target}");
        }
        Then::Return => return "go back".to_string(),
        Then::Drop => return "dropped".to_string(),
        Then::Reject(with) => return format!("refused with {}", with.name()),
        Then::Accept => {
            if let Some(Stmt::Nat(nat)) = rule.stmts.last() {
                let mut text = String::new();
                match nat.kind {
                    NatKind::Masquerade => text.push_str("masquerade"),
                    _ => printer.stmt(&Stmt::Nat(nat.clone()), &mut text),
                }
                return text;
            }
            return "accepted".to_string();
        }
        Then::Next => {}
    }
    match did.mark {
        Some((from, to)) => format!("mark {from:#x} becomes {to:#x}"),
        None => match rule.stmts.last() {
            Some(Stmt::Log(log)) => log.words(),
            Some(stmt @ Stmt::Update(_)) => {
                let mut text = String::new();
                printer.stmt(stmt, &mut text);
                text
            }
            _ => "counted".to_string(),
        },
    }
}
