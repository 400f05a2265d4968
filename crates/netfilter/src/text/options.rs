//! Options: how `getopt_long` finds them among the words, and the rules that iptables' extensions share
//! (`xtoptions`): used once, not inverted, not together, not without.

use super::ParseError;
use super::words::{number_prefix, parse_u64};
use crate::rule::Wanted;

/// One option of an extension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opt {
    /// Without its dashes.
    pub(crate) name: &'static str,
    /// The same for all names of an option.
    pub(crate) id: u8,
    pub(crate) has_value: bool,
    may_not: bool,
    must: bool,
    many: bool,
    not_with: u32,
    needs: u32,
}

impl Opt {
    /// An option that takes a value, may be used once, and not be inverted.
    pub(crate) const fn new(name: &'static str, id: u8) -> Opt {
        Opt {
            name,
            id,
            has_value: true,
            may_not: false,
            must: false,
            many: false,
            not_with: 0,
            needs: 0,
        }
    }

    /// It takes no value.
    pub(crate) const fn flag(name: &'static str, id: u8) -> Opt {
        Opt { has_value: false, ..Opt::new(name, id) }
    }

    /// `!` may stand before it.
    pub(crate) const fn may_not(self) -> Opt {
        Opt { may_not: true, ..self }
    }

    /// It may not be left out.
    pub(crate) const fn must(self) -> Opt {
        Opt { must: true, ..self }
    }

    /// It may stand there again; the extension looks for itself.
    pub(crate) const fn many(self) -> Opt {
        Opt { many: true, ..self }
    }

    /// Not together with the options whose ids are the bits.
    pub(crate) const fn not_with(self, bits: u32) -> Opt {
        Opt { not_with: bits, ..self }
    }

    /// Only together with the options whose ids are the bits.
    pub(crate) const fn needs(self, bits: u32) -> Opt {
        Opt { needs: bits, ..self }
    }
}

/// The options of an extension, as listed in iptables: the first name of an id is the one in messages.
#[derive(Debug)]
pub(crate) struct Options {
    /// The extension's name.
    pub(crate) ext: &'static str,
    pub(crate) table: &'static [Opt],
}

impl Options {
    fn name_of(&self, id: u8) -> &'static str {
        self.table.iter().find(|opt| opt.id == id).map_or("", |opt| opt.name)
    }

    /// May `opt` be used now, after those of `seen`?
    pub(crate) fn admit(&self, opt: &Opt, not: bool, seen: &mut u32) -> Result<(), ParseError> {
        let (ext, bit) = (self.ext, 1 << opt.id);
        if *seen & bit != 0 && !opt.many {
            let name = self.name_of(opt.id);
            return Err(ParseError::new(format!(
                "{ext}: option \"--{name}\" can only be used once.\n"
            )));
        }
        if not && !opt.may_not {
            return Err(ParseError::new(format!(
                "{ext}: option \"--{}\" cannot be inverted.\n",
                opt.name
            )));
        }
        *seen |= bit;
        Ok(())
    }

    /// All options have been read: are they complete, do they go together?
    pub(crate) fn complete(&self, seen: u32) -> Result<(), ParseError> {
        let ext = self.ext;
        let first = |bits: u32| self.name_of(bits.trailing_zeros() as u8);
        for opt in self.table {
            let name = opt.name;
            if seen & (1 << opt.id) == 0 {
                // Another name of the option may have been used; the bit is the same.
                if opt.must {
                    return Err(ParseError::new(format!(
                        "{ext}: option \"--{name}\" must be specified\n"
                    )));
                }
                continue;
            }
            if opt.needs & !seen != 0 {
                let other = first(opt.needs & !seen);
                return Err(ParseError::new(format!(
                    "{ext}: option \"--{name}\" also requires \"--{other}\".\n"
                )));
            }
            if opt.not_with & seen != 0 {
                let other = first(opt.not_with & seen);
                return Err(ParseError::new(format!(
                    "{ext}: option \"--{name}\" cannot be used together with \"--{other}\".\n"
                )));
            }
        }
        Ok(())
    }
}

/// What an extension may see of the rule around it while its options are read.
#[derive(Debug, Default)]
pub(crate) struct Around {
    /// `-p`, if it has been read already.
    pub(crate) protocol: Option<Wanted<u8>>,
    /// What is to be said although nothing is wrong.
    pub(crate) warnings: Vec<String>,
}

/// An option as it was found.
pub(crate) struct Given<'a, 'w> {
    pub(crate) ext: &'static str,
    pub(crate) opt: &'static Opt,
    pub(crate) not: bool,
    /// Empty for flags.
    pub(crate) value: &'a str,
    pub(crate) around: &'w mut Around,
    pub(crate) words: &'w mut Words<'a>,
}

impl<'a> Given<'a, '_> {
    /// "Bad value for …".
    pub(crate) fn bad(&self, value: &str) -> ParseError {
        let (ext, name) = (self.ext, self.opt.name);
        ParseError::new(format!("{ext}: Bad value for \"--{name}\" option: \"{value}\""))
    }

    /// "bad value …, or out of range".
    pub(crate) fn out_of_range(&self, min: u64, max: u64) -> ParseError {
        let (ext, name) = (self.ext, self.opt.name);
        ParseError::new(format!(
            "{ext}: bad value for option \"--{name}\", or out of range ({min}-{max}).\n"
        ))
    }

    /// The value, a number from `min` to `max`.
    pub(crate) fn number(&self, min: u64, max: u64) -> Result<u64, ParseError> {
        let number = parse_u64(self.value).filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| self.out_of_range(min, max))
    }

    /// The value, a number of 32 bits from `min` to `max`.
    pub(crate) fn number32(&self, min: u32, max: u32) -> Result<u32, ParseError> {
        Ok(self.number(u64::from(min), u64::from(max))? as u32)
    }

    /// `a`, `a:b`, `:b`, `a:`; both ends included.
    pub(crate) fn range(&self, max: u64) -> Result<(u64, u64), ParseError> {
        let (ext, name) = (self.ext, self.opt.name);
        let parts: Vec<&str> = self.value.split(':').collect();
        let end = |text: &str, default| {
            match text {
            "" => Ok(default),
            _ => parse_u64(text).filter(|number| *number <= max).ok_or_else(|| {
                ParseError::new(format!(
                    "{ext}: bad value for option \"--{name}\" near \"{text}\", or out of range (0-{max}).\n"
                ))
            }),
        }
        };
        match parts.as_slice() {
            [one] => end(one, 0).map(|at| (at, at)),
            [from, to] => Ok((end(from, 0)?, end(to, max)?)),
            _ => Err(ParseError::new(format!(
                "{ext}: Too many components for option \"--{name}\" (max: 2)\n"
            ))),
        }
    }

    /// `value[/mask]`, numbers of 32 bits.
    pub(crate) fn masked(&self) -> Result<(u32, u32), ParseError> {
        let (ext, name) = (self.ext, self.opt.name);
        let bad = || {
            ParseError::new(format!(
                "{ext}: bad integer value for option \"--{name}\", or out of range.\n"
            ))
        };
        let word = |text| -> Result<(u32, &str), ParseError> {
            let (number, rest) = number_prefix(text).ok_or_else(bad)?;
            Ok((number.try_into().map_err(|_| bad())?, rest))
        };
        let (value, rest) = word(self.value)?;
        let (mask, rest) = match rest.strip_prefix('/') {
            Some(mask) => word(mask)?,
            None => (u32::MAX, rest),
        };
        if !rest.is_empty() {
            return Err(ParseError::new(format!(
                "{ext}: trailing garbage after value for option \"--{name}\".\n"
            )));
        }
        Ok((value, mask))
    }

    /// The value as text of at least one character, cut after `max` bytes.
    pub(crate) fn text(&self, max: usize) -> Result<String, ParseError> {
        if self.value.is_empty() {
            return Err(ParseError::new("Argument must have a minimum length of 1 characters\n"));
        }
        Ok(super::words::cut(self.value, max))
    }

    /// The second value of an option that takes two.
    pub(crate) fn second(&mut self) -> Option<&'a str> {
        self.words.argument()
    }
}

/// The words of a command.
pub(crate) struct Words<'a> {
    words: &'a [String],
    at: usize,
    /// Where in the current word the next short option stands.
    letter: usize,
}

/// Who knows an option, and as what.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key {
    /// iptables itself, by its letter.
    Own(char),
    /// A match, by its place, or the target.
    Match(usize, &'static Opt),
    Target(&'static Opt),
}

impl Key {
    fn is_same(&self, other: &Key) -> bool {
        match (self, other) {
            (Key::Own(a), Key::Own(b)) => a == b,
            (Key::Match(a, x), Key::Match(b, y)) => a == b && x.id == y.id,
            (Key::Target(x), Key::Target(y)) => x.id == y.id,
            _ => false,
        }
    }
}

/// Whether an option takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arg {
    No,
    Yes,
    /// Only in the same word.
    Maybe,
}

/// What comes next among the words.
pub(crate) enum Found<'a> {
    /// An option; `word` is the last word it takes.
    Option { key: Key, value: Option<&'a str>, word: &'a str },
    /// Not an option.
    Word(&'a str),
    /// Begins like an option, but nobody knows it.
    Unknown(String),
    /// Its value is missing.
    NoValue(String),
}

impl<'a> Words<'a> {
    pub(crate) fn new(words: &'a [String]) -> Self {
        Words { words, at: 0, letter: 0 }
    }

    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).map(String::as_str)
    }

    /// The next word, if it can be a value: it begins with neither `-` nor `!`.
    pub(crate) fn argument(&mut self) -> Option<&'a str> {
        let word = self.peek().filter(|word| self.letter == 0 && !word.starts_with(['-', '!']))?;
        self.at += 1;
        Some(word)
    }

    /// Words are left, after `--`.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.words.len()
    }

    /// The next option or word, as `getopt_long` takes it; `long` knows the long options.
    pub(crate) fn next(
        &mut self,
        long: impl Fn(&str) -> Option<(Key, Arg)>,
        short: impl Fn(char) -> Option<Arg>,
    ) -> Option<Found<'a>> {
        let word = self.peek()?;
        if self.letter > 0 {
            return Some(self.short(word, short));
        }
        if let Some(name) = word.strip_prefix("--") {
            self.at += 1;
            if name.is_empty() {
                return None;
            }
            return Some(self.long(word, name, long));
        }
        if word.len() > 1 && word.starts_with('-') {
            self.letter = 1;
            return Some(self.short(word, short));
        }
        self.at += 1;
        Some(Found::Word(word))
    }

    fn long(
        &mut self,
        word: &'a str,
        name: &'a str,
        long: impl Fn(&str) -> Option<(Key, Arg)>,
    ) -> Found<'a> {
        let (name, attached) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (name, None),
        };
        match (long(name), attached) {
            (None, _) | (Some((_, Arg::No)), Some(_)) => Found::Unknown(word.to_string()),
            (Some((key, Arg::Yes)), None) => match self.peek() {
                Some(value) => {
                    self.at += 1;
                    Found::Option { key, value: Some(value), word: value }
                }
                None => Found::NoValue(word.to_string()),
            },
            (Some((key, _)), value) => Found::Option { key, value, word },
        }
    }

    fn short(&mut self, word: &'a str, short: impl Fn(char) -> Option<Arg>) -> Found<'a> {
        let rest = word.get(self.letter..).unwrap_or_default();
        let letter = rest.chars().next().unwrap_or('-');
        let after = rest.get(letter.len_utf8()..).unwrap_or_default();
        self.letter += letter.len_utf8();
        let arg = short(letter);
        if after.is_empty() || matches!(arg, Some(Arg::Yes | Arg::Maybe)) {
            self.at += 1;
            self.letter = 0;
        }
        let key = Key::Own(letter);
        match arg {
            None => Found::Unknown(format!("-{letter}")),
            Some(Arg::No) => Found::Option { key, value: None, word },
            Some(_) if !after.is_empty() => Found::Option { key, value: Some(after), word },
            Some(Arg::Maybe) => Found::Option { key, value: None, word },
            Some(Arg::Yes) => match self.peek() {
                Some(value) => {
                    self.at += 1;
                    Found::Option { key, value: Some(value), word: value }
                }
                None => Found::NoValue(format!("-{letter}")),
            },
        }
    }

    /// Puts the last word back, to be read again when somebody else has joined who may know it.
    pub(crate) fn back(&mut self) {
        self.at = self.at.saturating_sub(1);
        self.letter = 0;
    }
}

/// Of all options whose name begins with `name`: the one that is meant, unless several could be.
pub(crate) fn resolve(
    name: &str,
    all: impl Iterator<Item = (&'static str, Key, Arg)>,
) -> Option<(Key, Arg)> {
    let mut found: Option<(Key, Arg)> = None;
    let mut is_ambiguous = false;
    for (known, key, arg) in all {
        if known == name {
            return Some((key, arg));
        }
        if known.starts_with(name) {
            match &found {
                Some((other, _)) if !other.is_same(&key) => is_ambiguous = true,
                Some(_) => {}
                None => found = Some((key, arg)),
            }
        }
    }
    found.filter(|_| !is_ambiguous)
}
