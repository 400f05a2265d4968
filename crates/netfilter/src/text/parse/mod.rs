//! The words of an `iptables` command, and of a rule.
//!
//! - here: option after option; `finish`: what they come to when all are read, and what does not go
//!   together; `values`: names, numbers and addresses.

mod finish;
mod values;

use std::net::Ipv4Addr;

use super::ParseError;
use super::list::ListOptions;
use super::options::{Arg, Around, Found, Given, Key, Opt, Words, resolve};
use super::words::{parse_number, parse_protocol, parse_u64, protocol_word};
use crate::ext::{self, MatchParser, TargetParser};
use crate::iface::{IFNAME_MAX, IfPattern};
use crate::rule::{AddrMask, Header, RuleSpec, Target, Wanted};
use crate::table::Counters;

use values::{check_chain_name, check_target_name, counters, rule_number};

pub(crate) use values::interface;
pub use values::parse_addr_mask;

/// Names of chains and targets are shorter than this (`XT_EXTENSION_MAXNAMELEN`).
const NAME_MAX: usize = 29;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the options are")]
pub enum Command {
    Append { chain: String },
    Check { chain: String },
    Delete { chain: String },
    DeleteNumber { chain: String, number: u32 },
    Insert { chain: String, number: u32 },
    Replace { chain: String, number: u32 },
    List { chain: Option<String>, number: Option<u32>, zero: bool },
    ListRules { chain: Option<String>, number: Option<u32>, zero: bool },
    Flush { chain: Option<String> },
    Zero { chain: Option<String>, number: Option<u32> },
    NewChain { chain: String },
    DeleteChain { chain: Option<String> },
    Rename { chain: String, to: String },
    Policy { chain: String, policy: String },
    Version { not: bool },
    Help,
}

/// A command, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What is to be done.
    pub command: Command,
    /// `-t`
    pub table: Option<String>,
    /// How a list is to be printed; `verbose` counts for other commands too.
    pub list: ListOptions,
    /// The rule: several when a list of addresses stands for them.
    pub rules: Vec<RuleSpec>,
    /// `-c`
    pub counters: Option<Counters>,
    /// What is to be said although nothing is wrong.
    pub warnings: Vec<String>,
}

/// Reads the arguments of one rule, as after `-A CHAIN`.
///
/// A comma list of addresses stands for a rule each, as in iptables, so there may be several.
pub fn parse_rule(words: &[String]) -> Result<Vec<RuleSpec>, ParseError> {
    refuse_zeros(words)?;
    let mut reader = Reader { command: Some(('A', "-".to_string())), ..Reader::default() };
    reader.read(&mut Words::new(words))?;
    Ok(reader.finish("-", false)?.rules)
}

/// Reads a command line of `iptables`. In a file of `iptables-restore`, `table` is the one it stands in.
pub fn parse_command(words: &[String], table: Option<&str>) -> Result<Line, ParseError> {
    refuse_zeros(words)?;
    let mut reader = Reader { is_restore: table.is_some(), ..Reader::default() };
    reader.read(&mut Words::new(words))?;
    let table = table.map(str::to_string).or_else(|| reader.table.clone());
    reader.finish(table.as_deref().unwrap_or("filter"), true)
}

/// A zero byte ends a word of any real command; no word can hold one.
fn refuse_zeros(words: &[String]) -> Result<(), ParseError> {
    match words.iter().find(|word| word.contains('\0')) {
        Some(word) => Err(ParseError::bare(format!("Bad argument `{}'", word.escape_default()))),
        None => Ok(()),
    }
}

/// iptables' own long options: name, letter, value.
const LONG: [(&str, char, Arg); 38] = [
    ("append", 'A', Arg::Yes),
    ("delete", 'D', Arg::Yes),
    ("check", 'C', Arg::Yes),
    ("insert", 'I', Arg::Yes),
    ("replace", 'R', Arg::Yes),
    ("list", 'L', Arg::Maybe),
    ("list-rules", 'S', Arg::Maybe),
    ("flush", 'F', Arg::Maybe),
    ("zero", 'Z', Arg::Maybe),
    ("new-chain", 'N', Arg::Yes),
    ("delete-chain", 'X', Arg::Maybe),
    ("rename-chain", 'E', Arg::Yes),
    ("policy", 'P', Arg::Yes),
    ("source", 's', Arg::Yes),
    ("destination", 'd', Arg::Yes),
    ("src", 's', Arg::Yes),
    ("dst", 'd', Arg::Yes),
    ("protocol", 'p', Arg::Yes),
    ("in-interface", 'i', Arg::Yes),
    ("jump", 'j', Arg::Yes),
    ("table", 't', Arg::Yes),
    ("match", 'm', Arg::Yes),
    ("numeric", 'n', Arg::No),
    ("out-interface", 'o', Arg::Yes),
    ("verbose", 'v', Arg::No),
    ("wait", 'w', Arg::Maybe),
    ("wait-interval", 'W', Arg::Maybe),
    ("exact", 'x', Arg::No),
    ("fragments", 'f', Arg::No),
    ("version", 'V', Arg::No),
    ("help", 'h', Arg::Maybe),
    ("line-numbers", '0', Arg::No),
    ("modprobe", 'M', Arg::Yes),
    ("set-counters", 'c', Arg::Yes),
    ("goto", 'g', Arg::Yes),
    ("ipv4", '4', Arg::No),
    ("ipv6", '6', Arg::No),
    ("fragment", 'f', Arg::No),
];

/// The letters that may be typed; line numbers have none.
fn short(letter: char) -> Option<Arg> {
    let known = LONG.iter().find(|(_, known, _)| *known == letter && letter != '0');
    known.map(|(.., arg)| *arg)
}

struct LoadedMatch {
    name: String,
    parser: Box<dyn MatchParser>,
    seen: u32,
}

struct LoadedTarget {
    parser: Box<dyn TargetParser>,
    seen: u32,
}

/// Whose options were loaded, in order; the last is asked first.
#[derive(Clone, Copy)]
enum Loaded {
    Match(usize),
    Target,
}

#[derive(Default)]
struct Reader {
    is_restore: bool,
    table: Option<String>,
    command: Option<(char, String)>,
    /// `-L` and `-S` may come with `-Z`.
    with_zero: bool,
    chain_given: bool,
    number: Option<u32>,
    second: Option<String>,
    is_version: Option<bool>,
    list: ListOptions,
    /// Letters of the options that were used, for those that may be used once.
    used: String,
    header: Header,
    source: Option<String>,
    destination: Option<String>,
    protocol_name: Option<String>,
    matches: Vec<LoadedMatch>,
    plain_target: Option<String>,
    is_goto: bool,
    target: Option<LoadedTarget>,
    order: Vec<Loaded>,
    around: Around,
    counters: Option<Counters>,
    implied: bool,
    wait_interval: bool,
    wait: bool,
    is_over: bool,
}

impl Reader {
    fn read(&mut self, words: &mut Words<'_>) -> Result<(), ParseError> {
        let mut not = false;
        while !self.is_over {
            let found = words.next(|name| self.resolve(name), short);
            match found {
                None => break,
                Some(Found::Word("!")) if not => {
                    return Err(ParseError::new("multiple consecutive ! not allowed"));
                }
                Some(Found::Word("!")) => {
                    not = true;
                    continue;
                }
                Some(Found::Word(word)) => {
                    return Err(ParseError::bare(format!("Bad argument `{word}'")));
                }
                Some(Found::NoValue(word)) => {
                    return Err(ParseError::new(format!("option \"{word}\" requires an argument")));
                }
                Some(Found::Unknown(word)) => {
                    if word.starts_with("--") && self.load_implied()? {
                        words.back();
                        continue;
                    }
                    return Err(ParseError::new(format!("unknown option \"{word}\"")));
                }
                Some(Found::Option { key, value, word }) => {
                    self.option(key, value, word, not, words)?;
                }
            }
            not = false;
        }
        self.check_extensions(words, not)
    }

    fn resolve(&self, name: &str) -> Option<(Key, Arg)> {
        let arg = |opt: &Opt| if opt.has_value { Arg::Yes } else { Arg::No };
        let own = LONG.iter().map(|(name, letter, arg)| (*name, Key::Own(*letter), *arg));
        let mut all: Vec<(&'static str, Key, Arg)> = own.collect();
        for loaded in self.order.iter().rev() {
            match *loaded {
                Loaded::Match(at) => {
                    let Some(m) = self.matches.get(at) else { continue };
                    let table = m.parser.options().table;
                    all.extend(table.iter().map(|opt| (opt.name, Key::Match(at, opt), arg(opt))));
                }
                Loaded::Target => {
                    let Some(t) = &self.target else { continue };
                    let table = t.parser.options().table;
                    all.extend(table.iter().map(|opt| (opt.name, Key::Target(opt), arg(opt))));
                }
            }
        }
        resolve(name, all.into_iter())
    }

    fn option<'a>(
        &mut self,
        key: Key,
        value: Option<&'a str>,
        word: &'a str,
        not: bool,
        words: &mut Words<'a>,
    ) -> Result<(), ParseError> {
        let value = value.unwrap_or_default();
        match key {
            Key::Own(letter @ ('A' | 'C' | 'D' | 'I' | 'R' | 'N' | 'E' | 'P')) => {
                self.chain_command(letter, value, not, words)
            }
            Key::Own(letter @ ('L' | 'S' | 'F' | 'Z' | 'X')) => {
                self.table_command(letter, value, not, words)
            }
            Key::Own(letter @ ('s' | 'd' | 'p' | 'i' | 'o' | 'f')) => {
                self.header_option(letter, value, word, not)
            }
            Key::Own(letter) => self.other_option(letter, value, word, not, words),
            Key::Match(at, opt) => {
                let Some(m) = self.matches.get_mut(at) else { return Ok(()) };
                let options = m.parser.options();
                options.admit(opt, not, &mut m.seen)?;
                let around = &mut self.around;
                let ext = options.ext;
                m.parser.take(&mut Given { ext, opt, not, value, around, words })
            }
            Key::Target(opt) => {
                let Some(t) = &mut self.target else { return Ok(()) };
                let options = t.parser.options();
                options.admit(opt, not, &mut t.seen)?;
                let around = &mut self.around;
                let ext = options.ext;
                t.parser.take(&mut Given { ext, opt, not, value, around, words })
            }
        }
    }

    fn set_command(&mut self, letter: char, chain: &str, not: bool) -> Result<(), ParseError> {
        if not {
            return Err(ParseError::new("unexpected '!' flag"));
        }
        match &self.command {
            None => self.command = Some((letter, chain.to_string())),
            Some((old @ ('L' | 'S'), _)) if letter == 'Z' => {
                let old = *old;
                self.with_zero = true;
                if !chain.is_empty() {
                    self.command = Some((old, chain.to_string()));
                }
            }
            Some(('Z', old)) if matches!(letter, 'L' | 'S') => {
                let chain = if chain.is_empty() { old.clone() } else { chain.to_string() };
                self.with_zero = true;
                self.command = Some((letter, chain));
            }
            Some((old, _)) => {
                return Err(ParseError::new(format!("Cannot use -{letter} with -{old}")));
            }
        }
        Ok(())
    }

    fn chain_command(
        &mut self,
        letter: char,
        chain: &str,
        not: bool,
        words: &mut Words<'_>,
    ) -> Result<(), ParseError> {
        if letter == 'N' {
            check_chain_name(chain)?;
        }
        self.set_command(letter, chain, not)?;
        match letter {
            'D' | 'I' | 'R' => match words.argument() {
                Some(word) => self.number = Some(rule_number(word)?),
                None if letter == 'R' => {
                    return Err(ParseError::new("-R requires a rule number"));
                }
                None => {}
            },
            'E' => {
                let name = words.argument().ok_or_else(|| {
                    ParseError::new("-E requires old-chain-name and new-chain-name")
                })?;
                self.second = Some(name.to_string());
            }
            'P' => {
                let missing = || ParseError::new("-P requires a chain and a policy");
                self.second = Some(words.argument().ok_or_else(missing)?.to_string());
            }
            _ => {}
        }
        Ok(())
    }

    fn table_command(
        &mut self,
        letter: char,
        chain: &str,
        not: bool,
        words: &mut Words<'_>,
    ) -> Result<(), ParseError> {
        let chain = if chain.is_empty() { words.argument().unwrap_or_default() } else { chain };
        self.chain_given |= !chain.is_empty();
        self.set_command(letter, chain, not)?;
        if matches!(letter, 'L' | 'S' | 'Z')
            && let Some(word) = words.argument()
        {
            self.number = Some(rule_number(word)?);
        }
        Ok(())
    }

    /// An option that may be used once.
    fn once(&mut self, letter: char, not: bool) -> Result<(), ParseError> {
        if self.used.contains(letter) {
            return Err(ParseError::new(format!("multiple -{letter} flags not allowed")));
        }
        self.used.push(letter);
        if not && !matches!(letter, 's' | 'd' | 'p' | 'i' | 'o' | 'f') {
            return Err(ParseError::new(format!("cannot have ! before -{letter}")));
        }
        Ok(())
    }

    fn header_option(
        &mut self,
        letter: char,
        value: &str,
        word: &str,
        not: bool,
    ) -> Result<(), ParseError> {
        if matches!(letter, 'i' | 'o') && value.is_empty() {
            return Err(ParseError::new("Empty interface is likely to be undesired"));
        }
        self.once(letter, not)?;
        match letter {
            // As in the real tool, an address or protocol typed in the same word as its letter is not
            // understood: it looks at the whole word.
            's' => {
                self.source = Some(word.to_string());
                self.header.src = Some(Wanted { not, value: AddrMask::default() });
            }
            'd' => {
                self.destination = Some(word.to_string());
                self.header.dst = Some(Wanted { not, value: AddrMask::default() });
            }
            'p' => {
                let value = parse_protocol(word)?;
                if value == 0 && not {
                    return Err(ParseError::new("rule would never match protocol"));
                }
                self.protocol_name = Some(match parse_number(word) {
                    Some(_) => protocol_word(value),
                    None => word.to_ascii_lowercase(),
                });
                self.header.protocol = Some(Wanted { not, value });
                self.around.protocol = self.header.protocol;
            }
            'i' => self.header.iif = Some(Wanted { not, value: self.interface(value)? }),
            'o' => self.header.oif = Some(Wanted { not, value: self.interface(value)? }),
            _ => self.header.fragment = Some(Wanted { not, value: () }),
        }
        Ok(())
    }

    fn interface(&mut self, text: &str) -> Result<IfPattern, ParseError> {
        let pattern = interface(text)?;
        if text.contains(['/', ' ']) {
            self.around.warnings.push(format!(
                "Warning: weird character in interface `{text}' ('/' and ' ' are not allowed by the kernel)."
            ));
        }
        Ok(pattern)
    }

    fn other_option(
        &mut self,
        letter: char,
        value: &str,
        word: &str,
        not: bool,
        words: &mut Words<'_>,
    ) -> Result<(), ParseError> {
        match letter {
            'm' if not => return Err(ParseError::new("unexpected ! flag before --match")),
            'm' => return self.load_match(value),
            'j' => {
                self.once('j', not)?;
                return self.load_target(word);
            }
            'g' => {
                self.once('j', not)?;
                check_target_name(value)?;
                self.is_goto = true;
                self.plain_target = Some(value.to_string());
            }
            't' => return self.table(value, not),
            'n' => {
                self.once('n', not)?;
                self.list.numeric = true;
            }
            'v' => {
                if !self.list.verbose {
                    self.once('v', not)?;
                }
                self.list.verbose = true;
            }
            'x' => {
                self.once('x', not)?;
                self.list.exact = true;
            }
            '0' => {
                self.once('0', not)?;
                self.list.line_numbers = true;
            }
            'c' => {
                self.once('c', not)?;
                self.counters = Some(counters(value, words)?);
            }
            'w' | 'W' => return self.wait(letter, value, words),
            'V' | 'h' => {
                self.is_version = Some(letter == 'V' && not);
                self.command = Some((letter, String::new()));
                self.is_over = true;
            }
            '6' => return Err(ParseError::bare("")),
            // `-4` is what this is; `-M` names a program that loads modules, and there are none.
            _ => {}
        }
        Ok(())
    }

    fn table(&mut self, name: &str, not: bool) -> Result<(), ParseError> {
        if not {
            return Err(ParseError::new("unexpected ! flag before --table"));
        }
        if self.is_restore {
            return Err(ParseError::new("The -t option cannot be used in iptables-restore.\n"));
        }
        self.table = Some(name.to_string());
        Ok(())
    }

    /// Waiting for others who hold the lock: here nobody does.
    fn wait(&mut self, letter: char, value: &str, words: &mut Words<'_>) -> Result<(), ParseError> {
        let value = if value.is_empty() { words.argument().unwrap_or_default() } else { value };
        if letter == 'W' {
            self.around.warnings.push("Ignoring deprecated --wait-interval option.".to_string());
            self.wait_interval = true;
            return Ok(());
        }
        self.wait = true;
        let is_number = value.starts_with(|c: char| c.is_ascii_digit());
        if !value.is_empty() && !is_number {
            return Err(ParseError::new("wait seconds not numeric"));
        }
        Ok(())
    }

    fn load_match(&mut self, name: &str) -> Result<(), ParseError> {
        let parser = ext::match_parser(name)?;
        self.order.push(Loaded::Match(self.matches.len()));
        self.matches.push(LoadedMatch { name: name.to_string(), parser, seen: 0 });
        Ok(())
    }

    /// Loads the match that has the protocol's name, if there is one and it was not yet loaded so.
    fn load_implied(&mut self) -> Result<bool, ParseError> {
        let Some(name) = self.protocol_name.clone() else { return Ok(false) };
        let is_loaded = self.matches.iter().any(|m| m.name == name);
        if (is_loaded && self.implied) || !ext::is_protocol_match(&name) {
            return Ok(false);
        }
        self.implied = true;
        self.load_match(&name)?;
        Ok(true)
    }

    fn load_target(&mut self, name: &str) -> Result<(), ParseError> {
        check_target_name(name)?;
        match ext::target_parser(name)? {
            Some(parser) => {
                self.target = Some(LoadedTarget { parser, seen: 0 });
                self.order.push(Loaded::Target);
            }
            None => self.plain_target = Some(name.to_string()),
        }
        Ok(())
    }
}
