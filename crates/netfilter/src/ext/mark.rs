//! `-m mark`, `-m connmark`, `-j MARK`, `-j CONNMARK`.

use std::fmt::Write as _;

use super::{Match, TargetExt, but};
use crate::rule::{Header, Wanted};
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::trace::{Field, Miss, Seen};

/// Options of `-m mark` and `-m connmark`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkMatch {
    /// `--mark value/mask`
    pub wanted: Wanted<(u32, u32)>,
}

impl MarkMatch {
    #[inline]
    pub(crate) fn check(&self, mark: u32) -> Result<(), Miss> {
        let (value, mask) = self.wanted.value;
        if (mark & mask == value) == self.wanted.not {
            return Err(Miss::new(Field::Mark, Seen::Mark(mark)));
        }
        Ok(())
    }

    /// The same for the mark of the packet's connection. Without one it does not fit, not even reversed.
    pub(crate) fn check_conn(&self, mark: Option<u32>) -> Result<(), Miss> {
        let mark = mark.ok_or(Miss::new(Field::Connmark, Seen::Nothing))?;
        self.check(mark).map_err(|miss| Miss::new(Field::Connmark, miss.seen))
    }

    pub(super) fn wanted(&self) -> String {
        format!("{}{}", but(self.wanted.not), masked(self.wanted.value))
    }

    pub(super) fn save(&self, ext: &str, out: &mut String) {
        let (bang, shown) = (self.wanted.bang(), masked(self.wanted.value));
        let _ = write!(out, " -m {ext} {bang}--mark {shown}");
    }

    pub(super) fn list(&self, words: &str, out: &mut String) {
        let (bang, shown) = (self.wanted.bang(), masked(self.wanted.value));
        // For a connection's mark, `!` stands in the place of one of two blanks.
        let bang = if words == "connmark match" && !self.wanted.not { " " } else { bang };
        let _ = write!(out, " {words} {bang}{shown}");
    }
}

/// `0x4000` or `0x4000/0x4000`.
pub(crate) fn masked((value, mask): (u32, u32)) -> String {
    if mask == u32::MAX { format!("{value:#x}") } else { format!("{value:#x}/{mask:#x}") }
}

static MARK: Options = Options { ext: "mark", table: &[Opt::new("mark", 0).may_not().must()] };
static CONNMARK: Options =
    Options { ext: "connmark", table: &[Opt::new("mark", 0).may_not().must()] };

pub(super) struct Parser {
    is_connection: bool,
    wanted: Wanted<(u32, u32)>,
}

impl Parser {
    pub(super) fn new(is_connection: bool) -> Self {
        Parser { is_connection, wanted: Wanted::is((0, 0)) }
    }
}

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        if self.is_connection { &CONNMARK } else { &MARK }
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        self.wanted = Wanted { not: given.not, value: given.masked()? };
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        let m = MarkMatch { wanted: self.wanted };
        Ok(Some(if self.is_connection { Match::Connmark(m) } else { Match::Mark(m) }))
    }
}

/// Options of `-j MARK`: the bits of `mask` are cleared, then those of `value` flipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetMark {
    /// Bits to flip.
    pub value: u32,
    /// Bits to clear first.
    pub mask: u32,
}

impl SetMark {
    /// The mark after.
    pub fn apply(&self, mark: u32) -> u32 {
        (mark & !self.mask) ^ self.value
    }

    pub(super) fn save(&self, out: &mut String) {
        let _ = write!(out, " --set-xmark {:#x}/{:#x}", self.value, self.mask);
    }

    /// The simplest form that says the same.
    pub(super) fn list(&self, word: &str, out: &mut String) {
        let SetMark { value, mask } = *self;
        let _ = match (value, mask) {
            (0, _) => write!(out, " {word} and {:#x}", !mask),
            _ if value == mask && mask != u32::MAX => write!(out, " {word} or {value:#x}"),
            (_, 0) => write!(out, " {word} xor {value:#x}"),
            (_, u32::MAX) => write!(out, " {word} set {value:#x}"),
            _ => write!(out, " {word} xset {value:#x}/{mask:#x}"),
        };
    }
}

const SET_XMARK: u8 = 0;
const SET_MARK: u8 = 1;
const AND: u8 = 2;
const OR: u8 = 3;
const XOR: u8 = 4;
const SAVE: u8 = 5;
const RESTORE: u8 = 6;
const MASK: u8 = 7;
const CTMASK: u8 = 8;
const NFMASK: u8 = 9;
const LEFT: u8 = 10;
const RIGHT: u8 = 11;
/// The options of which there may be one.
const ACTIONS: u32 = 0x7f;

const fn action(name: &'static str, id: u8) -> Opt {
    Opt::new(name, id).not_with(ACTIONS & !(1 << id))
}

static MARK_OPTIONS: Options = Options {
    ext: "MARK",
    table: &[
        action("set-xmark", SET_XMARK),
        action("set-mark", SET_MARK),
        action("and-mark", AND),
        action("or-mark", OR),
        action("xor-mark", XOR),
    ],
};

/// What one of the five setting options asks for.
fn set_mark(given: &Given<'_, '_>) -> Result<SetMark, ParseError> {
    Ok(match given.opt.id {
        SET_XMARK | SET_MARK => {
            let (value, mask) = given.masked()?;
            // set-mark clears the bits it sets as well as those of its mask.
            let mask = if given.opt.id == SET_MARK { mask | value } else { mask };
            SetMark { value, mask }
        }
        id => {
            let value = given.number32(0, u32::MAX)?;
            match id {
                AND => SetMark { value: 0, mask: !value },
                OR => SetMark { value, mask: value },
                _ => SetMark { value, mask: 0 },
            }
        }
    })
}

#[derive(Default)]
pub(super) struct TargetParser(Option<SetMark>);

impl super::TargetParser for TargetParser {
    fn options(&self) -> &'static Options {
        &MARK_OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        self.0 = Some(set_mark(given)?);
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        match self.0 {
            Some(_) => Ok(()),
            None => Err(ParseError::new(
                "MARK: One of the --set-xmark, --{and,or,xor,set}-mark options is required",
            )),
        }
    }

    fn finish(self: Box<Self>) -> Result<TargetExt, ParseError> {
        Ok(TargetExt::Mark(self.0.unwrap_or_default()))
    }
}

/// What `-j CONNMARK` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnmarkAction {
    /// The connection's mark is set as `MARK` sets the packet's.
    Set(SetMark),
    /// `--save-mark`: the packet's mark goes to the connection.
    Save {
        /// Bits of the packet's mark that go.
        nfmask: u32,
        /// Bits of the connection's mark that are cleared first.
        ctmask: u32,
    },
    /// `--restore-mark`: the connection's mark goes to the packet.
    Restore {
        /// Bits of the packet's mark that are cleared first.
        nfmask: u32,
        /// Bits of the connection's mark that go.
        ctmask: u32,
    },
}

/// Options of `-j CONNMARK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetConnmark {
    /// What it does.
    pub action: ConnmarkAction,
    /// How far the mark is shifted on its way: left, or right where negative.
    pub shift: i8,
}

impl SetConnmark {
    /// The packet's mark and the connection's mark after (`connmark_tg_shift`).
    pub fn apply(&self, packet: u32, connection: u32) -> (u32, u32) {
        match self.action {
            ConnmarkAction::Set(set) => (packet, self.shifted(set.apply(connection))),
            ConnmarkAction::Save { nfmask, ctmask } => {
                (packet, (connection & !ctmask) ^ self.shifted(packet & nfmask))
            }
            ConnmarkAction::Restore { nfmask, ctmask } => {
                ((packet & !nfmask) ^ self.shifted(connection & ctmask), connection)
            }
        }
    }

    fn shifted(&self, mark: u32) -> u32 {
        let by = u32::from(self.shift.unsigned_abs());
        let moved = if self.shift < 0 { mark.checked_shr(by) } else { mark.checked_shl(by) };
        moved.unwrap_or(0)
    }

    pub(super) fn save(&self, out: &mut String) {
        let _ = match self.action {
            ConnmarkAction::Set(set) => {
                set.save(out);
                Ok(())
            }
            ConnmarkAction::Save { nfmask, ctmask } => {
                write!(out, " --save-mark --nfmask {nfmask:#x} --ctmask {ctmask:#x}")
            }
            ConnmarkAction::Restore { nfmask, ctmask } => {
                write!(out, " --restore-mark --nfmask {nfmask:#x} --ctmask {ctmask:#x}")
            }
        };
        self.print_shift(out, "--");
    }

    pub(super) fn list(&self, out: &mut String) {
        let _ = match self.action {
            ConnmarkAction::Set(set) => {
                set.list("CONNMARK", out);
                Ok(())
            }
            ConnmarkAction::Save { nfmask: u32::MAX, ctmask: u32::MAX } => {
                write!(out, " CONNMARK save")
            }
            ConnmarkAction::Save { nfmask, ctmask } if nfmask == ctmask => {
                write!(out, " CONNMARK save mask {nfmask:#x}")
            }
            ConnmarkAction::Save { nfmask, ctmask } => {
                write!(out, " CONNMARK save nfmask {nfmask:#x} ctmask ~{ctmask:#x}")
            }
            ConnmarkAction::Restore { nfmask: u32::MAX, ctmask: u32::MAX } => {
                write!(out, " CONNMARK restore")
            }
            ConnmarkAction::Restore { nfmask, ctmask } if nfmask == ctmask => {
                write!(out, " CONNMARK restore mask {ctmask:#x}")
            }
            ConnmarkAction::Restore { nfmask, ctmask } => {
                write!(out, " CONNMARK restore ctmask {ctmask:#x} nfmask ~{nfmask:#x}")
            }
        };
        self.print_shift(out, "");
    }

    fn print_shift(&self, out: &mut String, dashes: &str) {
        let word = if self.shift < 0 { "right" } else { "left" };
        if self.shift != 0 {
            let _ = write!(out, " {dashes}{word}-shift-mark {}", self.shift.unsigned_abs());
        }
    }
}

static CONNMARK_OPTIONS: Options = Options {
    ext: "CONNMARK",
    table: &[
        action("set-xmark", SET_XMARK),
        action("set-mark", SET_MARK),
        action("and-mark", AND),
        action("or-mark", OR),
        action("xor-mark", XOR),
        Opt::flag("save-mark", SAVE).not_with(ACTIONS & !(1 << SAVE)),
        Opt::flag("restore-mark", RESTORE).not_with(ACTIONS & !(1 << RESTORE)),
        Opt::new("left-shift-mark", LEFT).not_with(1 << RIGHT),
        Opt::new("right-shift-mark", RIGHT).not_with(1 << LEFT),
        Opt::new("ctmask", CTMASK).not_with(1 << SET_XMARK | 1 << MASK),
        Opt::new("nfmask", NFMASK).not_with(1 << SET_XMARK | 1 << MASK),
        Opt::new("mask", MASK).not_with(1 << SET_XMARK | 1 << CTMASK | 1 << NFMASK),
    ],
};

#[derive(Default)]
pub(super) struct ConnmarkParser {
    set: Option<(u8, SetMark)>,
    is_save: Option<bool>,
    nfmask: Option<u32>,
    ctmask: Option<u32>,
    mask: Option<u32>,
    shift: i8,
}

impl super::TargetParser for ConnmarkParser {
    fn options(&self) -> &'static Options {
        &CONNMARK_OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        match given.opt.id {
            SAVE => self.is_save = Some(true),
            RESTORE => self.is_save = Some(false),
            MASK => self.mask = Some(given.number32(0, u32::MAX)?),
            CTMASK => self.ctmask = Some(given.number32(0, u32::MAX)?),
            NFMASK => self.nfmask = Some(given.number32(0, u32::MAX)?),
            LEFT => self.shift = given.number32(0, 32)? as i8,
            RIGHT => self.shift = -(given.number32(0, 32)? as i8),
            id => self.set = Some((id, set_mark(given)?)),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        if self.set.is_none() && self.is_save.is_none() {
            return Err(ParseError::new("CONNMARK target: No operation specified"));
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<TargetExt, ParseError> {
        let nfmask = self.nfmask.or(self.mask).unwrap_or(u32::MAX);
        let ctmask = self.ctmask.or(self.mask).unwrap_or(u32::MAX);
        let action = match (self.is_save, self.set) {
            (Some(true), _) => ConnmarkAction::Save { nfmask, ctmask },
            (Some(false), _) => ConnmarkAction::Restore { nfmask, ctmask },
            // The old `--set-mark … --mask`.
            (None, Some((SET_MARK, set))) if self.mask.is_some() => {
                ConnmarkAction::Set(SetMark { value: set.value, mask: self.mask.unwrap_or(0) })
            }
            (None, set) => ConnmarkAction::Set(set.map(|(_, set)| set).unwrap_or_default()),
        };
        Ok(TargetExt::Connmark(SetConnmark { action, shift: self.shift }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_marks_are_saved_and_restored_under_masks_and_shifts() {
        let save = |nfmask, ctmask, shift| SetConnmark {
            action: ConnmarkAction::Save { nfmask, ctmask },
            shift,
        };
        assert_eq!(save(u32::MAX, u32::MAX, 0).apply(0xab, 0x12), (0xab, 0xab));
        assert_eq!(save(0xf, 0xf0, 4).apply(0xab, 0x12), (0xab, 0xb2));
        let restore = SetConnmark {
            action: ConnmarkAction::Restore { nfmask: 0xff, ctmask: 0xf0 },
            shift: -4,
        };
        assert_eq!(restore.apply(0x100, 0xab), (0x10a, 0xab));
        let all = SetConnmark {
            action: ConnmarkAction::Set(SetMark { value: 4, mask: 0xff }),
            shift: 32,
        };
        assert_eq!(all.apply(1, 2), (1, 0));
    }
}
