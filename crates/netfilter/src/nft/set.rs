//! Elements come into sets and go.

use base::Instant;

use super::error::Failure;
use super::model::{Element, Set, Value};
use super::parse::element::Typed;
use super::value::{Key, Type, pop_key, push_key};

/// What became of an element that was to be put into a set.
#[derive(Clone, Debug)]
pub enum Put {
    /// It was there.
    Same,
    /// It is there now, and took the place of this one, which was gone.
    New(Option<Box<Element>>),
    /// It is part of the element with this key now, as are those that were there before.
    Merged(Key, Vec<(Key, Element)>),
}

/// Why an element cannot be put into a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    /// There is one with another value.
    Exists,
    /// It overlaps with another.
    Overlaps,
}

impl Clash {
    /// In nft's words; `all`: those that came with it.
    pub fn failure(self, with: &Typed, all: &[Typed]) -> Failure {
        if self == Clash::Exists {
            return Failure::kernel("File exists", with.span);
        }
        let low = |typed: &Typed| typed.element.low.clone().or_else(|| typed.key.clone());
        let mut others = all.iter().take_while(|other| other.span.from < with.span.from);
        let clashes = |other: &Typed| other.key >= low(with) && with.key >= low(other);
        let other = others.find(|other| clashes(other));
        let message = "conflicting intervals specified";
        match other {
            // The one that begins later is at fault.
            Some(other) if low(other) > low(with) => {
                Failure::at(message, other.span).and(with.span)
            }
            Some(other) => Failure::at(message, with.span).and(other.span),
            None => Failure::at("interval overlaps with an existing one", with.span),
        }
    }
}

fn same_value(a: Option<&Value>, b: Option<&Value>) -> bool {
    use super::model::Action::{Accept, Continue, Drop, Goto, Jump, Return};
    match (a, b) {
        (None, None) => true,
        (Some(Value::Key(a)), Some(Value::Key(b))) => a == b,
        (Some(Value::Action(a)), Some(Value::Action(b))) => match (a, b) {
            (Accept, Accept) | (Drop, Drop) | (Continue, Continue) | (Return, Return) => true,
            (Jump(a), Jump(b)) | (Goto(a), Goto(b)) => a.name == b.name,
            _ => false,
        },
        _ => false,
    }
}

impl Set {
    /// Puts an element in.
    pub fn put(&mut self, typed: Typed, now: Instant) -> Result<Put, Clash> {
        let Typed { key, element, .. } = typed;
        let Some(key) = key else {
            let is_same =
                self.any.as_ref().map(|any| same_value(any.value.as_ref(), element.value.as_ref()));
            return match is_same {
                None => {
                    self.any = Some(Box::new(element));
                    Ok(Put::New(None))
                }
                Some(true) => Ok(Put::Same),
                Some(false) => Err(Clash::Exists),
            };
        };
        if !self.has_intervals() {
            if let Some(known) = self.elements.get(key.as_slice())
                && known.is_alive(now)
            {
                let is_same = same_value(known.value.as_ref(), element.value.as_ref());
                return if is_same { Ok(Put::Same) } else { Err(Clash::Exists) };
            }
            let before = self.elements.insert(key, element);
            return Ok(Put::New(before.map(Box::new)));
        }
        self.put_interval(key, element, now)
    }

    fn put_interval(&mut self, key: Key, element: Element, now: Instant) -> Result<Put, Clash> {
        let low = element.low.clone().unwrap_or_else(|| key.clone());
        let mut met = None;
        for (high, known) in self.elements.range_from(low.as_slice()) {
            let known_low = known.low.as_ref().unwrap_or(high);
            let clashes = match self.keys.len() {
                1 => *known_low <= key,
                // As `nft_pipapo_insert` looks for others.
                _ => self.is_within(&low, known_low, high) || self.is_within(&key, known_low, high),
            };
            if known.is_alive(now) && clashes {
                let is_same = *high == key && *known_low == low;
                met = Some((is_same, same_value(known.value.as_ref(), element.value.as_ref())));
                break;
            }
            if self.keys.len() == 1 {
                break;
            }
        }
        match met {
            Some((true, true)) => Ok(Put::Same),
            Some((true, false)) => {
                Err(if self.data.is_some() && !self.auto_merge && self.name.is_empty() {
                    Clash::Overlaps
                } else {
                    Clash::Exists
                })
            }
            _ if self.auto_merge && self.keys.len() == 1 => {
                let (high, before) = self.merge(&low, &key, element);
                Ok(Put::Merged(high, before))
            }
            // What the kernel says of those of several parts.
            Some(_) if self.keys.len() > 1 => Err(Clash::Exists),
            Some(_) => Err(Clash::Overlaps),
            None => {
                self.last_order += 1;
                let element = Element { order: self.last_order, ..element };
                let before = self.elements.insert(key, element);
                Ok(Put::New(before.map(Box::new)))
            }
        }
    }

    /// Makes one interval of this one and of those that it overlaps with or that lie beside it. Gives its key and
    /// those that it was made of.
    fn merge(
        &mut self,
        low: &[u8],
        high: &[u8],
        mut element: Element,
    ) -> (Key, Vec<(Key, Element)>) {
        let mut before = Vec::new();
        let ty = self.keys.first().copied().unwrap_or(Type::Number(4));
        let (mut from, mut to) = (pop_key(low, ty).0, pop_key(high, ty).0);
        loop {
            let mut begin = Key::new();
            push_key(&mut begin, ty, from.saturating_sub(1));
            let found = self.elements.range_from(begin.as_slice()).next();
            let Some((known_high, known)) = found else { break };
            let known_low = pop_key(known.low.as_ref().unwrap_or(known_high), ty).0;
            if known_low > to.saturating_add(1) {
                break;
            }
            let known_high = known_high.clone();
            (from, to) = (from.min(known_low), to.max(pop_key(&known_high, ty).0));
            let known = self.elements.remove(known_high.as_slice());
            before.extend(known.map(|known| (known_high, known)));
        }
        let (mut low, mut high) = (Key::new(), Key::new());
        push_key(&mut low, ty, from);
        push_key(&mut high, ty, to);
        element.low = (low != high).then_some(low);
        self.elements.insert(high.clone(), element);
        (high, before)
    }

    /// Takes an element out: the very interval.
    pub fn take(&mut self, typed: &Typed) -> Option<Element> {
        let Some(key) = &typed.key else { return self.any.take().map(|any| *any) };
        let known = self.elements.get(key.as_slice())?;
        if known.low.as_ref().filter(|low| *low != key) != typed.element.low.as_ref() {
            return None;
        }
        self.elements.remove(key.as_slice())
    }
}
