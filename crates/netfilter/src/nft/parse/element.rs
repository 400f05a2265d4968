//! Elements of sets and maps.

use std::rc::Rc;

use std::time::Duration;

use base::Instant;

use super::super::error::Failure;
use super::super::lex::{Span, Token};
use super::super::model::{Action, Data, Element, Set, Value, flags};
use super::super::value::{Key, Raw, RawKind, Type, push_key};
use super::{Cursor, Parsed};

/// An element as it was typed.
#[derive(Clone, Debug)]
pub struct Spec {
    key: Raw,
    value: Option<SpecValue>,
    comment: Option<Rc<str>>,
    timeout: Option<u64>,
    expires: Option<u64>,
    counter: Option<(u64, u64)>,
}

#[derive(Clone, Debug)]
enum SpecValue {
    Action(Action),
    Raw(Raw),
}

/// An element of a type.
#[derive(Clone, Debug)]
pub struct Typed {
    /// Where its key stands.
    pub span: Span,
    /// The last key of the interval; `None`: for every key.
    pub key: Option<Key>,
    /// The rest.
    pub element: Element,
}

impl Cursor {
    /// `{ a, b : value }`
    pub fn elements(&mut self) -> Parsed<Vec<Spec>> {
        self.sign("{", "'{' or '$'")?;
        self.enter()?;
        let mut specs = Vec::new();
        loop {
            self.skip_newlines();
            // A comma before the end is allowed.
            if !specs.is_empty() && self.eat_sign("}") {
                break;
            }
            specs.push(self.element()?);
            self.skip_newlines();
            if self.eat_sign(",") {
                continue;
            }
            self.sign("}", "comma or '}'")?;
            break;
        }
        self.leave();
        Ok(specs)
    }

    fn element(&mut self) -> Parsed<Spec> {
        let key = self.raw_concat()?;
        let mut spec =
            Spec { key, value: None, comment: None, timeout: None, expires: None, counter: None };
        loop {
            match self.word() {
                "timeout" => {
                    self.step();
                    spec.timeout = Some(self.time()?);
                }
                "expires" => {
                    self.step();
                    spec.expires = Some(self.time()?);
                }
                "comment" => {
                    self.step();
                    spec.comment = Some(self.comment()?);
                }
                "counter" => {
                    self.step();
                    spec.counter = Some(self.counts()?);
                }
                "limit" | "quota" => {
                    return Err(Failure::unsupported(
                        &format!("{} of an element", self.word()),
                        self.span(),
                    ));
                }
                _ => break,
            }
        }
        if self.eat_sign(":") {
            self.skip_newlines();
            spec.value = Some(match self.action()? {
                Some(action) => SpecValue::Action(action),
                None => SpecValue::Raw(self.raw_concat()?),
            });
        }
        Ok(spec)
    }

    /// `packets 1 bytes 2`, or nothing.
    pub(super) fn counts(&mut self) -> Parsed<(u64, u64)> {
        if !self.eat("packets") {
            return Ok((0, 0));
        }
        let (packets, _) = self.number()?;
        self.keyword("bytes")?;
        Ok((packets, self.number()?.0))
    }

    /// `accept`, `jump chain` and the like.
    pub(super) fn action(&mut self) -> Parsed<Option<Action>> {
        let action = match self.word() {
            "accept" => Action::Accept,
            "drop" => Action::Drop,
            "continue" => Action::Continue,
            "return" => Action::Return,
            "jump" => {
                self.step();
                return Ok(Some(Action::Jump(self.target()?)));
            }
            "goto" => {
                self.step();
                return Ok(Some(Action::Goto(self.target()?)));
            }
            _ => return Ok(None),
        };
        self.step();
        Ok(Some(action))
    }

    fn target(&mut self) -> Parsed<super::super::model::Ref> {
        if self.is_sign("{") {
            return Err(Failure::unsupported("a chain without a name", self.span()));
        }
        if !matches!(self.token(), Token::Word(_)) {
            return Err(self.unexpected("'{'"));
        }
        let (name, span) = self.name()?;
        Ok(super::super::model::Ref { name: name.into(), handle: 0, span, about: span })
    }

    /// A set of the rule's own: `{ … }`.
    pub(super) fn own_set(
        &mut self,
        keys: &[Type],
        data: Option<Data>,
    ) -> Parsed<(Box<Set>, Vec<Typed>)> {
        let specs = self.elements()?;
        let is_interval = specs.iter().any(|spec| spec.key.is_interval());
        let mut set = Set::of(keys, data);
        set.flags = flags::CONSTANT | if is_interval { flags::INTERVAL } else { 0 };
        set.auto_merge = set.data.is_none();
        let mut all = Vec::new();
        for spec in &specs {
            all.push(spec.typed(&set, Instant::ZERO)?);
        }
        for typed in &all {
            if let Err(clash) = set.put(typed.clone(), Instant::ZERO) {
                return Err(clash.failure(typed, &all));
            }
        }
        Ok((Box::new(set), all))
    }
}

impl Spec {
    /// Where its key stands.
    pub fn span(&self) -> Span {
        self.key.span
    }

    /// The element, for a set of this kind.
    pub fn typed(&self, set: &Set, now: Instant) -> Parsed<Typed> {
        let span = self.key.span;
        let (mut low, mut high) = (Key::new(), Key::new());
        let parts = match &self.key.kind {
            RawKind::Concat(parts) => parts.as_slice(),
            _ => std::slice::from_ref(&self.key),
        };
        let is_any = matches!(self.key.kind, RawKind::Any);
        if !is_any && parts.len() != set.keys.len() {
            return Err(match parts.len() > 1 && set.keys.len() == 1 {
                true => Failure::at(
                    "Can't parse symbolic invalid expressions",
                    parts.first().map_or(span, |part| part.span),
                ),
                false => Failure::at(
                    format!(
                        "datatype mismatch, expected {}, expression has type {}",
                        words_of(&set.keys),
                        parts.first().map_or("", |_| set.keys.first().map_or("", |ty| ty.words()))
                    ),
                    span,
                ),
            });
        }
        for (part, ty) in parts.iter().zip(&set.keys).take(if is_any { 0 } else { usize::MAX }) {
            let (from, to) = part.bounds(*ty)?;
            if from != to && !set.has_intervals() {
                return Err(Failure::at(
                    "You must add 'flags interval' to your set declaration if you want to add prefix elements"
                        .replace("prefix", match part.kind {
                            RawKind::Range(..) => "range",
                            _ => "prefix",
                        }),
                    span,
                ));
            }
            push_key(&mut low, *ty, from);
            push_key(&mut high, *ty, to);
        }
        let has_timeouts = set.flags & flags::TIMEOUT != 0;
        if (self.timeout.is_some() || self.expires.is_some()) && !has_timeouts {
            return Err(Failure::kernel("Invalid argument", span));
        }
        let timeout = self.timeout.or(set.timeout).filter(|_| has_timeouts);
        let left = self.expires.or(timeout);
        Ok(Typed {
            span,
            key: (!is_any).then(|| high.clone()),
            element: Element {
                low: (low != high).then_some(low),
                value: self.value(set)?,
                comment: self.comment.clone(),
                timeout: self
                    .timeout
                    .filter(|timeout| has_timeouts && Some(*timeout) != set.timeout),
                expires: left.map(|millis| now + Duration::from_millis(millis)),
                counter: self.counter.or(set.counter.then_some((0, 0))),
                order: 0,
            },
        })
    }

    /// The element without what a map has for it.
    pub fn typed_key(&self, set: &Set, now: Instant) -> Parsed<Typed> {
        Spec { value: None, ..self.clone() }.typed(set, now)
    }

    fn value(&self, set: &Set) -> Parsed<Option<Value>> {
        let span = self.key.span;
        let no_chain = |_: &Raw| Failure::kernel("Invalid argument", span);
        Ok(match (&set.data, &self.value) {
            (None, None) => None,
            (None, Some(_)) => {
                return Err(Failure { span: None, ..Failure::at("set is not a map", span) });
            }
            (Some(_), None) => return Err(Failure::kernel("Invalid argument", span)),
            (Some(Data::Verdicts), Some(SpecValue::Action(action))) => {
                Some(Value::Action(action.at(span)))
            }
            (Some(Data::Verdicts), Some(SpecValue::Raw(raw))) => return Err(no_chain(raw)),
            (Some(Data::Values(_)), Some(SpecValue::Action(_))) => {
                return Err(Failure::kernel("Invalid argument", span));
            }
            (Some(Data::Values(types)), Some(SpecValue::Raw(raw))) => {
                let parts = match &raw.kind {
                    RawKind::Concat(parts) => parts.as_slice(),
                    _ => std::slice::from_ref(raw),
                };
                if parts.len() != types.len() {
                    return Err(Failure::at("Can't parse symbolic invalid expressions", raw.span));
                }
                let mut key = Key::new();
                for (part, ty) in parts.iter().zip(types) {
                    push_key(&mut key, *ty, part.single(*ty)?);
                }
                Some(Value::Key(key))
            }
        })
    }
}

impl Action {
    /// The same; what is wrong with it is said of this place.
    fn at(&self, span: Span) -> Action {
        let mut action = self.clone();
        if let Action::Jump(target) | Action::Goto(target) = &mut action {
            target.span = span;
        }
        action
    }
}

/// `concatenation of (IPv4 address, internet network service)`
pub fn words_of(types: &[Type]) -> String {
    match types {
        [ty] => ty.words().to_string(),
        _ => {
            let words: Vec<_> = types.iter().map(|ty| ty.words()).collect();
            format!("concatenation of ({})", words.join(", "))
        }
    }
}
