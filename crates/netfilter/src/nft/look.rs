//! What an expression yields of a packet.

use base::tree::BTreeMap;

use super::field::{Ct, Field, Meta, Place};
use super::model::{Element, Expr, Fib, FibResult, Op, Right, Set, Source, Value};
use super::value::{Key, Type, host_bits, pop_key, push_key};
use crate::conntrack::{Conn, CtInfo, CtSlot, Direction, Tuple, ct_state};
use crate::ext::link::PktType;
use crate::firewall::{HookInput, Sender, Skb};
use crate::memo;
use crate::walk::World;

/// What expressions are asked with.
pub(super) struct Look<'a, 'b> {
    pub(super) input: &'a HookInput<'a>,
    pub(super) skb: &'a mut Skb,
    pub(super) world: &'a mut World<'b>,
    pub(super) sets: &'a mut BTreeMap<u64, Set>,
    /// What has been looked at, as long as all of it is of the key.
    pub(super) mask: Option<memo::Key>,
}

/// The bits `from` to `from + count` of `bytes`.
fn bits(bytes: &[u8], from: u16, count: u16) -> Option<u128> {
    let (first, last) = (usize::from(from / 8), usize::from((from + count).div_ceil(8)));
    let part = bytes.get(first..last)?;
    let value = part.iter().fold(0_u128, |value, byte| value << 8 | u128::from(*byte));
    let below = last * 8 - usize::from(from + count);
    Some(value >> below & (u128::MAX >> (128 - u32::from(count).clamp(1, 128))))
}

impl Look<'_, '_> {
    /// The packet is looked at here.
    fn looks_at(&mut self, place: Place) {
        if let Some(mask) = &mut self.mask
            && !mask.add_place(place)
        {
            self.mask = None;
        }
    }

    fn conn(&self) -> Option<(&Conn, CtInfo)> {
        match self.skb.ct {
            CtSlot::Tracked { conn, info } => {
                self.world.conntrack.get(conn).map(|conn| (conn, info))
            }
            _ => None,
        }
    }

    /// A field of the packet; `None`: it has none.
    pub(super) fn field(&mut self, field: &Field) -> Option<u128> {
        self.looks_at(field.place);
        let head = self.skb.packet.head();
        match field.place {
            Place::Network(from, count) => bits(self.skb.packet.header(), from, count),
            Place::Transport(protocol, from, count) => {
                let is_it =
                    (protocol == 0 || protocol == head.protocol) && head.fragment.offset == 0;
                is_it.then(|| bits(self.skb.packet.payload(), from, count)).flatten()
            }
            Place::Meta(meta) => self.meta(meta),
            Place::Ct(ct, direction) => self.ct(ct, direction),
        }
    }

    fn meta(&self, meta: Meta) -> Option<u128> {
        let head = self.skb.packet.head();
        Some(match meta {
            Meta::Mark => self.skb.mark.into(),
            Meta::Iif | Meta::Iifname => self.input.iif.value(),
            Meta::Oif | Meta::Oifname => self.input.oif.value(),
            Meta::L4proto => head.protocol.into(),
            Meta::Nfproto => 2,
            Meta::Protocol => 0x0800,
            Meta::Length => head.total_len.into(),
            Meta::Pkttype => match self.input.surroundings.packet_type() {
                PktType::Unicast => 0,
                PktType::Broadcast => 1,
                PktType::Multicast => 2,
                PktType::OtherHost => 3,
            },
            Meta::Skuid | Meta::Skgid => match self.input.surroundings.sender() {
                Sender::Program(uid, gid) => if meta == Meta::Skuid { uid } else { gid }.into(),
                Sender::None | Sender::Kernel => return None,
            },
        })
    }

    fn ct(&self, ct: Ct, direction: Option<Direction>) -> Option<u128> {
        if ct == Ct::State {
            let state = self.world.conntrack.state_bits(self.skb.ct);
            // `IP_CT_UNTRACKED` has a bit of its own there.
            let untracked = if state & ct_state::UNTRACKED != 0 { 64 } else { 0 };
            return Some(u128::from(state & 0xf) | untracked);
        }
        let (conn, info) = self.conn()?;
        let tuple: &Tuple = match direction.unwrap_or(Direction::Original) {
            Direction::Original => &conn.original,
            Direction::Reply => &conn.reply,
        };
        Some(match ct {
            Ct::State => return None,
            Ct::Direction => u128::from(info.direction() == Direction::Reply),
            Ct::Status => conn.status.into(),
            Ct::Mark => conn.mark.into(),
            Ct::Expiration => conn.expires.since(self.input.now).as_millis(),
            Ct::Protocol => tuple.protocol.into(),
            Ct::Saddr => u32::from(tuple.src).into(),
            Ct::Daddr => u32::from(tuple.dst).into(),
            Ct::Sport => tuple.sport.into(),
            Ct::Dport => tuple.dport.into(),
            Ct::Bytes | Ct::Packets => {
                let counted = conn.counters.unwrap_or_default();
                let of = |at: usize| {
                    let traffic = counted.get(at).copied().unwrap_or_default();
                    if ct == Ct::Bytes { traffic.bytes } else { traffic.packets }
                };
                u128::from(match direction {
                    None => of(0) + of(1),
                    Some(Direction::Original) => of(0),
                    Some(Direction::Reply) => of(1),
                })
            }
        })
    }

    fn fib(&mut self, fib: &Fib) -> Option<u128> {
        self.mask = None;
        let head = self.skb.packet.head();
        let addr = if fib.of_source { head.src } else { head.dst };
        let input = self.input;
        match fib.result {
            FibResult::Type => {
                let limit = match (fib.iif, fib.oif) {
                    (true, _) => Some(input.iif),
                    (_, true) => Some(input.oif),
                    _ => None,
                };
                Some(input.surroundings.addr_type(addr, limit) as u128)
            }
            FibResult::Oif | FibResult::Index => {
                let mark = if fib.mark { self.skb.mark } else { 0 };
                input.surroundings.reverse_path(addr, input.iif, false, mark).map(u128::from)
            }
        }
    }

    /// The value of an expression of one part; `None`: the packet has none.
    pub(super) fn value(&mut self, expr: &mut Expr) -> Option<u128> {
        match expr {
            Expr::Field(field) => self.field(field),
            Expr::Fib(fib) => self.fib(fib),
            Expr::Numgen(numgen) => {
                self.mask = None;
                let number = if numgen.random {
                    let drawn = u64::from(self.world.rng.next_u32());
                    ((drawn * u64::from(numgen.modulus)) >> 32) as u32
                } else {
                    let turn = numgen.turn;
                    numgen.turn = if turn + 1 < numgen.modulus { turn + 1 } else { 0 };
                    turn
                };
                Some(numgen.offset.wrapping_add(number).into())
            }
            Expr::Masked { of, mask, xor } => {
                let value = self.value(of)?;
                Some(value & *mask ^ *xor)
            }
            Expr::Value(_, value) => Some(*value),
            Expr::Concat(_) => None,
            Expr::Map(..) => {
                let key = self.data(expr)?;
                Some(key.iter().fold(0, |value, byte| value << 8 | u128::from(*byte)))
            }
        }
    }

    /// Adds the values of an expression to a key.
    pub(super) fn key(&mut self, expr: &mut Expr, key: &mut Key) -> Option<()> {
        match expr {
            Expr::Concat(parts) => parts.iter_mut().try_for_each(|part| self.key(part, key)),
            Expr::Map(..) => {
                let data = self.data(expr)?;
                key.extend_from_slice(&data);
                Some(())
            }
            _ => {
                let ty = expr.types().first().copied()?;
                let value = self.value(expr)?;
                push_key(key, ty, value);
                Some(())
            }
        }
    }

    /// What a map has for the packet.
    pub(super) fn data(&mut self, expr: &mut Expr) -> Option<Key> {
        let Expr::Map(of, source, _) = expr else { return None };
        let mut key = Key::new();
        self.key(of, &mut key)?;
        match self.find(source, &key)?.1.value {
            Some(Value::Key(data)) => Some(data),
            _ => None,
        }
    }

    /// The element for a key, which counts the packet: its own key and itself.
    pub(super) fn find(&mut self, source: &mut Source, key: &[u8]) -> Option<(Key, Element)> {
        let (now, len) = (self.input.now, self.skb.packet.head().total_len);
        let set = match source {
            Source::Own(set) => &mut **set,
            Source::Named(name) => self.sets.get_mut(&name.handle)?,
        };
        // Whatever else may change it raises the version of the tables.
        if set.flags & (super::model::flags::DYNAMIC | super::model::flags::TIMEOUT) != 0
            || set.counter
        {
            self.mask = None;
        }
        let Some((at, known)) = set.find(key, now) else {
            return set.any.as_deref().map(|any| (Key::new(), any.clone()));
        };
        if known.counter.is_none() {
            return Some((at, known.clone()));
        }
        let element = set.elements.get_mut(at.as_slice())?;
        if let Some((packets, bytes)) = &mut element.counter {
            (*packets, *bytes) = (*packets + 1, *bytes + u64::from(len));
            self.mask = None;
        }
        Some((at, element.clone()))
    }

    /// Whether a comparison holds. `Err`: it does not, and what the packet had.
    pub(super) fn compare(
        &mut self,
        left: &mut Expr,
        op: Op,
        right: &mut Right,
    ) -> Result<(), Option<Key>> {
        let mut key = Key::new();
        if let Right::Set(source) = right {
            self.key(left, &mut key).ok_or(None)?;
            let is_there = self.find(source, &key).is_some();
            return if is_there == (op != Op::Ne) { Ok(()) } else { Err(Some(key)) };
        }
        let ty = left.types().first().copied().unwrap_or(Type::Number(4));
        let value = self.value(left).ok_or(None)?;
        let is_within = match right {
            Right::Value(wanted) => match op {
                Op::Implicit if ty.is_flags() => value & *wanted != 0,
                Op::Lt => value < *wanted,
                Op::Gt => value > *wanted,
                Op::Le => value <= *wanted,
                Op::Ge => value >= *wanted,
                Op::Implicit | Op::Eq | Op::Ne => value == *wanted,
            },
            Right::Beginning(wanted, len) => value & !host_bits(128, *len * 8) == *wanted,
            Right::Prefix(wanted, len) => value & !host_bits(ty.bits(), *len) == *wanted,
            Right::Range(low, high) => (*low..=*high).contains(&value),
            Right::Set(_) => false,
        };
        if is_within == (op != Op::Ne) {
            return Ok(());
        }
        push_key(&mut key, ty, value);
        Err(Some(key))
    }
}

/// An address and, where there is one, a port.
pub(super) fn addr_and_port(data: &[u8]) -> (u32, Option<u16>) {
    let (addr, rest) = pop_key(data, Type::Addr);
    let port = (!rest.is_empty()).then(|| pop_key(rest, Type::Port).0 as u16);
    (addr as u32, port)
}
