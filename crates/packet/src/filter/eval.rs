//! Asking a packet.

/// Where an offset is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// The beginning of the capture, plus a constant.
    At(u32),
    /// What follows the IPv4 header that begins at a constant.
    BehindIpv4(u32),
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rel {
    Eq,
    Gt,
    Ge,
    Lt,
    Le,
    /// Any bit of the right side is set in the left.
    Set,
}

impl Rel {
    fn holds(self, a: u32, b: u32) -> bool {
        match self {
            Rel::Eq => a == b,
            Rel::Gt => a > b,
            Rel::Ge => a >= b,
            Rel::Lt => a < b,
            Rel::Le => a <= b,
            Rel::Set => a & b != 0,
        }
    }
}

/// A calculation in 32 bits.
#[derive(Clone, Debug)]
pub(super) enum Arith {
    Num(u32),
    Len,
    Load {
        base: Base,
        offset: Box<Arith>,
        size: u8,
    },
    Neg(Box<Arith>),
    /// The first operand, and what is done to it one after the other.
    Row(Box<Arith>, Vec<(char, Arith)>),
}

/// A question.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Const(bool),
    /// A field of the packet under a mask, compared with a number.
    Field {
        base: Base,
        offset: u32,
        size: u8,
        mask: u32,
        rel: Rel,
        value: u32,
    },
    /// The packet's length.
    Len(Rel, u32),
    Compare(Rel, Box<Arith>, Box<Arith>),
    Not(Box<Node>),
    /// The first, then one after the other: `true` stands for "and".
    Chain(Box<Node>, Vec<(bool, Node)>),
}

impl Node {
    pub(super) fn and(self, other: Node) -> Node {
        self.join(true, other)
    }

    pub(super) fn or(self, other: Node) -> Node {
        self.join(false, other)
    }

    /// Left to right, `and` and `or` being of one rank.
    pub(super) fn join(self, is_and: bool, other: Node) -> Node {
        match self {
            Node::Chain(first, mut rest) => {
                rest.push((is_and, other));
                Node::Chain(first, rest)
            }
            first => Node::Chain(Box::new(first), vec![(is_and, other)]),
        }
    }

    pub(super) fn negate(self) -> Node {
        Node::Not(Box::new(self))
    }

    /// `None`: the packet ends before a byte that was asked for, or a division by zero.
    pub(super) fn eval(&self, bytes: &[u8], len: u32) -> Option<bool> {
        Some(match self {
            Node::Const(value) => *value,
            Node::Field { base, offset, size, mask, rel, value } => {
                rel.holds(load(bytes, *base, *offset, *size)? & mask, *value)
            }
            Node::Len(rel, value) => rel.holds(len, *value),
            Node::Compare(rel, a, b) => rel.holds(a.eval(bytes, len)?, b.eval(bytes, len)?),
            Node::Not(inner) => !inner.eval(bytes, len)?,
            Node::Chain(first, rest) => {
                let mut holds = first.eval(bytes, len)?;
                for (is_and, node) in rest {
                    if holds == *is_and {
                        holds = node.eval(bytes, len)?;
                    }
                }
                holds
            }
        })
    }
}

fn load(bytes: &[u8], base: Base, offset: u32, size: u8) -> Option<u32> {
    let at = match base {
        Base::At(start) => start.checked_add(offset)?,
        Base::BehindIpv4(start) => {
            let header_len = u32::from(bytes.get(start as usize)? & 0xf) * 4;
            start.checked_add(header_len)?.checked_add(offset)?
        }
    };
    let at = at as usize;
    match size {
        1 => bytes.get(at).map(|byte| u32::from(*byte)),
        2 => crate::u16_at(bytes, at).map(u32::from),
        _ => crate::u32_at(bytes, at),
    }
}

impl Arith {
    fn eval(&self, bytes: &[u8], len: u32) -> Option<u32> {
        Some(match self {
            Arith::Num(value) => *value,
            Arith::Len => len,
            Arith::Load { base, offset, size } => {
                load(bytes, *base, offset.eval(bytes, len)?, *size)?
            }
            Arith::Neg(inner) => inner.eval(bytes, len)?.wrapping_neg(),
            Arith::Row(first, rest) => {
                let mut value = first.eval(bytes, len)?;
                for (op, operand) in rest {
                    value = apply(*op, value, operand.eval(bytes, len)?)?;
                }
                value
            }
        })
    }

    /// The value, when it does not depend on a packet.
    pub(super) fn constant(&self) -> Option<u32> {
        match self {
            Arith::Num(value) => Some(*value),
            _ => None,
        }
    }
}

/// `<` and `>` stand for the shifts.
pub(super) fn apply(op: char, a: u32, b: u32) -> Option<u32> {
    Some(match op {
        '+' => a.wrapping_add(b),
        '-' => a.wrapping_sub(b),
        '*' => a.wrapping_mul(b),
        '/' => a.checked_div(b)?,
        '%' => a.checked_rem(b)?,
        '&' => a & b,
        '|' => a | b,
        '^' => a ^ b,
        '<' => a.checked_shl(b).unwrap_or(0),
        _ => a.checked_shr(b).unwrap_or(0),
    })
}
