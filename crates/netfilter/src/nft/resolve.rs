//! A rule's names become handles, and its types are compared.

use std::rc::Rc;

use super::error::Failure;
use super::model::{Action, Data, Expr, Ref, Rule, Set, Source, Stmt, Table, Value};
use super::parse::element::words_of;
use super::value::Type;

type Resolved = Result<(), Failure>;

/// Finds what a rule names.
pub fn rule(rule: &mut Rule, table: &Table) -> Resolved {
    for stmt in &mut rule.stmts {
        self::stmt(stmt, table)?;
    }
    Ok(())
}

fn stmt(stmt: &mut Stmt, table: &Table) -> Resolved {
    match stmt {
        Stmt::Match { left, right, .. } => {
            expr(left, table)?;
            let types = left.types();
            match right {
                super::model::Right::Set(Source::Named(set)) => {
                    let known = named(set, table)?;
                    if !same(&types, &known.keys) {
                        let message = format!(
                            "datatype mismatch, expected {}, expression has type {}",
                            words_of(&types),
                            words_of(&known.keys)
                        );
                        return Err(Failure::at(message, set.span).and(set.about));
                    }
                    set.handle = known.handle;
                    Ok(())
                }
                _ => Ok(()),
            }
        }
        Stmt::Vmap(key, source) => {
            expr(key, table)?;
            let types = key.types();
            map(source, &types, table).map(drop)
        }
        Stmt::Verdict(action) => self::action(action, table),
        Stmt::Named(counter) => match table.counter(&counter.name) {
            Some(known) => {
                counter.handle = known.handle;
                Ok(())
            }
            None => Err(Failure::kernel("No such file or directory", counter.span)),
        },
        Stmt::SetMark(value) | Stmt::SetCtMark(value) => expr(value, table),
        Stmt::Nat(nat) => match &mut nat.map {
            Some(map) => expr(map, table),
            None => Ok(()),
        },
        Stmt::Update(update) => {
            expr(&mut update.key, table)?;
            let known = named(&update.set, table)?;
            let types = update.key.types();
            if !same(&types, &known.keys) {
                let message = format!(
                    "datatype mismatch: expected {}, expression has type {}",
                    words_of(&known.keys),
                    words_of(&types)
                );
                return Err(Failure::at(message, update.set.about).and(update.span));
            }
            if update.timeout.is_some() && known.flags & super::model::flags::TIMEOUT == 0 {
                return Err(Failure::kernel("Operation not supported", update.set.span));
            }
            update.set.handle = known.handle;
            match (&mut update.data, &known.data) {
                (Some(data), Some(Data::Values(_))) => expr(data, table),
                (None, None) => Ok(()),
                _ => Err(Failure::kernel("Invalid argument", update.set.span)),
            }
        }
        _ => Ok(()),
    }
}

fn expr(of: &mut Expr, table: &Table) -> Resolved {
    match of {
        Expr::Map(key, source, types) => {
            expr(key, table)?;
            let keys = key.types();
            match map(source, &keys, table)? {
                Some(Data::Values(data)) => {
                    // `dnat to … map` takes addresses, and addresses with ports.
                    let fits = same(types, &data)
                        || (types.as_ref() == [Type::Addr]
                            && data.as_ref() == [Type::Addr, Type::Port]);
                    if !fits {
                        let message = format!(
                            "datatype mismatch: expected {}, expression has type {}",
                            words_of(types),
                            words_of(&data)
                        );
                        return Err(match source {
                            Source::Named(map) => Failure::at(message, map.span),
                            Source::Own(_) => {
                                Failure { span: None, ..Failure::at(message, Default::default()) }
                            }
                        });
                    }
                    *types = data;
                    Ok(())
                }
                _ => Ok(()),
            }
        }
        Expr::Concat(parts) => parts.iter_mut().try_for_each(|part| expr(part, table)),
        Expr::Masked { of, .. } => expr(of, table),
        _ => Ok(()),
    }
}

/// Finds a map; what it has for its keys.
fn map(source: &mut Source, keys: &[Type], table: &Table) -> Result<Option<Data>, Failure> {
    match source {
        Source::Own(set) => {
            for value in set.elements.values_mut().filter_map(|element| element.value.as_mut()) {
                self::value(value, table)?;
            }
            if let Some(value) = set.any.as_mut().and_then(|any| any.value.as_mut()) {
                self::value(value, table)?;
            }
            Ok(set.data.clone())
        }
        Source::Named(map) => {
            let known = named(map, table)?;
            if known.data.is_none() {
                return Err(Failure::at("Expression is not a map", map.span));
            }
            if !same(keys, &known.keys) {
                let message = format!(
                    "datatype mismatch, map expects {}, mapping expression has type {}",
                    words_of(&known.keys),
                    words_of(keys)
                );
                return Err(Failure::at(message, map.span).and(map.about));
            }
            map.handle = known.handle;
            Ok(known.data.clone())
        }
    }
}

/// Finds the chain of a map's value.
pub fn value(value: &mut Value, table: &Table) -> Resolved {
    match value {
        Value::Action(action) => self::action(action, table),
        Value::Key(_) => Ok(()),
    }
}

fn action(action: &mut Action, table: &Table) -> Resolved {
    let (Action::Jump(to) | Action::Goto(to)) = action else { return Ok(()) };
    match table.chain(&to.name) {
        None => Err(Failure::kernel("No such file or directory", to.span)),
        Some(chain) if chain.base.is_some() => {
            Err(Failure::kernel("Operation not supported", to.span))
        }
        Some(chain) => {
            to.handle = chain.handle;
            to.name = chain.name.clone();
            Ok(())
        }
    }
}

fn named<'a>(set: &Ref, table: &'a Table) -> Result<&'a Set, Failure> {
    table.set(&set.name).ok_or_else(|| Failure::at("No such file or directory", set.span))
}

fn same(a: &[Type], b: &[Type]) -> bool {
    let fits = |(a, b): (&Type, &Type)| a == b || (a.name() == "integer" && a.bytes() == b.bytes());
    a.len() == b.len() && a.iter().zip(b).all(fits)
}

/// What a rule refers to.
pub enum Referred<'a> {
    /// A chain.
    Chain(u64),
    /// A set or map.
    Set(u64),
    /// A counter.
    Counter(u64),
    /// What is known of connections.
    Conntrack,
    /// A set of its own.
    Own(&'a Set),
}

/// Goes through everything that a rule refers to.
pub fn each(stmts: &[Stmt], found: &mut dyn FnMut(Referred<'_>)) {
    for stmt in stmts {
        match stmt {
            Stmt::Match { left, right, .. } => {
                each_expr(left, found);
                if let super::model::Right::Set(source) = right {
                    each_source(source, found);
                }
            }
            Stmt::Vmap(key, source) => {
                each_expr(key, found);
                each_source(source, found);
            }
            Stmt::Verdict(action) => each_action(action, found),
            Stmt::Named(counter) => found(Referred::Counter(counter.handle)),
            Stmt::SetMark(value) => each_expr(value, found),
            Stmt::SetCtMark(value) => {
                each_expr(value, found);
                found(Referred::Conntrack);
            }
            Stmt::Nat(nat) => {
                found(Referred::Conntrack);
                if let Some(map) = &nat.map {
                    each_expr(map, found);
                }
            }
            Stmt::Update(update) => {
                each_expr(&update.key, found);
                found(Referred::Set(update.set.handle));
            }
            Stmt::Counter(..) | Stmt::Limit(_) | Stmt::Log(_) | Stmt::Reject(_) | Stmt::Notrack => {
            }
        }
    }
}

fn each_expr(expr: &Expr, found: &mut dyn FnMut(Referred<'_>)) {
    match expr {
        Expr::Field(field) if matches!(field.place, super::field::Place::Ct(..)) => {
            found(Referred::Conntrack)
        }
        Expr::Concat(parts) => parts.iter().for_each(|part| each_expr(part, found)),
        Expr::Masked { of, .. } => each_expr(of, found),
        Expr::Map(key, source, _) => {
            each_expr(key, found);
            each_source(source, found);
        }
        _ => {}
    }
}

fn each_source(source: &Source, found: &mut dyn FnMut(Referred<'_>)) {
    match source {
        Source::Named(set) => found(Referred::Set(set.handle)),
        Source::Own(set) => {
            found(Referred::Own(set));
            for element in set.elements.values().chain(set.any.as_deref()) {
                if let Some(Value::Action(action)) = &element.value {
                    each_action(action, found);
                }
            }
        }
    }
}

fn each_action(action: &Action, found: &mut dyn FnMut(Referred<'_>)) {
    if let Some(chain) = super::check::target(action) {
        found(Referred::Chain(chain));
    }
}

/// A chain has another name now.
pub fn renamed(stmts: &mut [Stmt], chain: u64, name: &Rc<str>) {
    for stmt in stmts {
        match stmt {
            Stmt::Verdict(action) => renamed_to(action, chain, name),
            Stmt::Vmap(_, Source::Own(set)) => renamed_in(set, chain, name),
            _ => {}
        }
    }
}

/// The same, for the verdicts of a map.
pub fn renamed_in(set: &mut Set, chain: u64, name: &Rc<str>) {
    for element in set.elements.values_mut().chain(set.any.as_deref_mut()) {
        if let Some(Value::Action(action)) = &mut element.value {
            renamed_to(action, chain, name);
        }
    }
}

fn renamed_to(action: &mut Action, chain: u64, name: &Rc<str>) {
    if let Action::Jump(to) | Action::Goto(to) = action
        && to.handle == chain
    {
        to.name = name.clone();
    }
}
