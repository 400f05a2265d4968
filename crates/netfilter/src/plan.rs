//! A long chain, ordered for a packet: which of its rules could fit at all?
//!
//! A node with ten thousand Services has a chain of ten thousand rules that differ in address and port. A
//! walk from rule to rule is right, and slow; here the rules that compare whole values (`-s` and `-d` of one
//! host, `-p`, `-i`, `-o`, one `--dport` or `--sport`) are found by what they compare, so that the walk goes
//! from one rule that may fit to the next.
//!
//! **Invariant:** only rules are skipped whose check would end at one of those fields, before anything was
//! counted, drawn or remembered. Decisions, counters and the state of matches are those of the walk from
//! rule to rule; `tests/skips.rs` compares the two.

use base::FastMap;
use packet::{Head, L4};
use smallvec::SmallVec;

use crate::ext::Match;
use crate::iface::IfName;
use crate::rule::{RuleSpec, Wanted};
use crate::table::Rule;

/// Chains shorter than this are walked.
const LONG: usize = 8;
/// Kinds of rules told apart; what is left over is walked.
const SHAPES_MAX: usize = 6;

/// Which fields a rule compares with a whole value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape(u8);

impl Shape {
    pub(crate) const SRC: u8 = 1 << 0;
    pub(crate) const DST: u8 = 1 << 1;
    pub(crate) const PROTOCOL: u8 = 1 << 2;
    pub(crate) const SPORT: u8 = 1 << 3;
    pub(crate) const DPORT: u8 = 1 << 4;
    pub(crate) const IIF: u8 = 1 << 5;
    pub(crate) const OIF: u8 = 1 << 6;

    pub(crate) fn has(self, field: u8) -> bool {
        self.0 & field != 0
    }
}

/// Values of the fields; what a shape does not have is not looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Values {
    src: u32,
    dst: u32,
    protocol: u8,
    sport: u16,
    dport: u16,
    iif: IfName,
    oif: IfName,
}

impl Values {
    /// The values of a packet. `None`: its transport header cannot be read, and matches that want it may
    /// have their own opinion of such a packet.
    pub(crate) fn of(head: &Head, iif: IfName, oif: IfName) -> Option<Values> {
        if head.l4 == L4::Other {
            return None;
        }
        let (sport, dport) = head.ports().unwrap_or_default();
        let (src, dst) = (u32::from(head.src), u32::from(head.dst));
        Some(Values { src, dst, protocol: head.protocol, sport, dport, iif, oif })
    }

    /// One number for the fields of `shape`. That two sets of values may have the same one does no harm:
    /// a rule that is found is still checked.
    fn key(&self, shape: Shape) -> u64 {
        let mut key = 0_u64;
        let mut mix =
            |value: u64| key = (key.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if shape.has(Shape::SRC) {
            mix(u64::from(self.src));
        }
        if shape.has(Shape::DST) {
            mix(u64::from(self.dst));
        }
        if shape.has(Shape::PROTOCOL | Shape::SPORT | Shape::DPORT) {
            let part = |field, value: u64| if shape.has(field) { value } else { 0 };
            let protocol = part(Shape::PROTOCOL, u64::from(self.protocol)) << 32;
            let sport = part(Shape::SPORT, u64::from(self.sport)) << 16;
            mix(protocol | sport | part(Shape::DPORT, u64::from(self.dport)));
        }
        for (field, name) in [(Shape::IIF, self.iif), (Shape::OIF, self.oif)] {
            if shape.has(field) {
                name.words().into_iter().for_each(&mut mix);
            }
        }
        key
    }
}

/// Numbers of rules, in order, by the key of their values.
type ByKey = FastMap<u64, SmallVec<[u32; 2]>>;

/// Where a number belongs among others, in order.
fn place(numbers: &[u32], number: u32) -> usize {
    match numbers.last() {
        Some(last) if *last >= number => numbers.partition_point(|at| *at < number),
        _ => numbers.len(),
    }
}

/// Rules by what they compare.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    shapes: SmallVec<[(Shape, ByKey); 2]>,
    /// Rules that compare nothing whole, in order.
    others: Vec<u32>,
}

impl Plan {
    /// The plan of a chain; `None` where walking is as good.
    pub(crate) fn of(rules: &[Rule]) -> Option<Plan> {
        if rules.len() < LONG {
            return None;
        }
        let mut plan = Plan::default();
        for (at, rule) in (0..).zip(rules) {
            let (shape, values) = compared(&rule.spec);
            plan.add(at, shape, &values);
        }
        plan.has_gain(rules.len()).then_some(plan)
    }

    fn add(&mut self, at: u32, shape: Shape, values: &Values) {
        let known = self.shapes.iter().position(|(known, _)| *known == shape);
        let slot = match known {
            _ if shape == Shape::default() => None,
            Some(slot) => Some(slot),
            None if self.shapes.len() < SHAPES_MAX => {
                self.shapes.push((shape, FastMap::default()));
                Some(self.shapes.len() - 1)
            }
            None => None,
        };
        match slot.and_then(|slot| self.shapes.get_mut(slot)) {
            Some((_, rules)) => {
                let numbers = rules.entry(values.key(shape)).or_default();
                numbers.insert(place(numbers, at), at);
            }
            None => self.others.insert(place(&self.others, at), at),
        }
    }

    fn remove(&mut self, at: u32, rule: &Rule) {
        let (shape, values) = compared(&rule.spec);
        let mut known = self.shapes.iter_mut().filter(|(known, _)| *known == shape);
        if let Some((_, rules)) = known.next() {
            let key = values.key(shape);
            let Some(numbers) = rules.get_mut(&key) else { return };
            numbers.retain(|number| *number != at);
            if numbers.is_empty() {
                rules.remove(&key);
            }
        } else {
            self.others.retain(|number| *number != at);
        }
    }

    /// The rules `gone`, from number `at` on (counting from 0), are others now, `rules` in all. `false`: a plan is
    /// of no use any more.
    pub(crate) fn splice(&mut self, at: usize, gone: &[Rule], new: &[Rule], rules: usize) -> bool {
        let first = at as u32;
        (first..).zip(gone).for_each(|(at, rule)| self.remove(at, rule));
        let (end, shift) = (first + gone.len() as u32, new.len() as i32 - gone.len() as i32);
        if shift != 0 {
            let behind = |number: &mut u32| {
                if *number >= end {
                    *number = number.saturating_add_signed(shift);
                }
            };
            let found = self.shapes.iter_mut().flat_map(|(_, rules)| rules.values_mut());
            found.for_each(|numbers| numbers.iter_mut().for_each(behind));
            self.others.iter_mut().for_each(behind);
        }
        for (at, rule) in (first..).zip(new) {
            let (shape, values) = compared(&rule.spec);
            self.add(at, shape, &values);
        }
        self.has_gain(rules)
    }

    fn has_gain(&self, rules: usize) -> bool {
        rules >= LONG && self.others.len() * 2 < rules
    }

    /// The fields that rules are found by.
    pub(crate) fn looks_at(&self) -> Shape {
        Shape(self.shapes.iter().fold(0, |all, (shape, _)| all | shape.0))
    }

    /// The first rule from number `from` on (counting from 0) that may fit.
    pub(crate) fn next(&self, from: u32, values: &Values) -> Option<u32> {
        let first = |rules: &[u32]| match rules {
            [only] => Some(*only).filter(|only| *only >= from),
            _ => rules.get(rules.partition_point(|at| *at < from)).copied(),
        };
        let others = first(&self.others);
        let found = self.shapes.iter().filter_map(|(shape, rules)| {
            rules.get(&values.key(*shape)).and_then(|rules| first(rules))
        });
        found.chain(others).min()
    }
}

/// The fields that a rule compares with whole values before it does anything that can be noticed.
fn compared(spec: &RuleSpec) -> (Shape, Values) {
    let (mut shape, mut values) = (Shape::default(), Values::default());
    let header = &spec.header;
    if let Some(Wanted { not: false, value }) = header.src
        && value.mask == u32::MAX
    {
        (shape.0, values.src) = (shape.0 | Shape::SRC, u32::from(value.addr));
    }
    if let Some(Wanted { not: false, value }) = header.dst
        && value.mask == u32::MAX
    {
        (shape.0, values.dst) = (shape.0 | Shape::DST, u32::from(value.addr));
    }
    if let Some(Wanted { not: false, value }) = header.protocol {
        (shape.0, values.protocol) = (shape.0 | Shape::PROTOCOL, value);
    }
    if let Some(Wanted { not: false, value }) = header.iif
        && let Some(name) = value.whole()
    {
        (shape.0, values.iif) = (shape.0 | Shape::IIF, name);
    }
    if let Some(Wanted { not: false, value }) = header.oif
        && let Some(name) = value.whole()
    {
        (shape.0, values.oif) = (shape.0 | Shape::OIF, name);
    }
    let ports = spec.matches.iter().take_while(|m| m.is_unnoticed()).find_map(|m| match m {
        Match::Tcp(tcp) => Some((tcp.sport, tcp.dport)),
        Match::Udp(ports) => Some((ports.sport, ports.dport)),
        _ => None,
    });
    let (sport, dport) = ports.unwrap_or_default();
    let one = |range: Option<Wanted<crate::ext::udp::PortRange>>| {
        range.filter(|w| !w.not && w.value.from == w.value.to).map(|w| w.value.from)
    };
    if let Some(port) = one(sport) {
        (shape.0, values.sport) = (shape.0 | Shape::SPORT, port);
    }
    if let Some(port) = one(dport) {
        (shape.0, values.dport) = (shape.0 | Shape::DPORT, port);
    }
    (shape, values)
}
