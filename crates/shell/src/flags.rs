//! Command line flags as kubectl and kind read them (`spf13/pflag`), and their words for what is wrong.

use std::fmt;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing; `--flag=false` switches it off.
    Switch,
    /// A value, with `=` or as the next argument.
    Value,
    /// A value with `=` only; without one, this.
    Optional(&'static str),
}

/// A flag that a command knows.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// `namespace`
    pub long: &'static str,
    /// `n`, if there is a short form.
    pub short: Option<char>,
    /// What it takes.
    pub takes: Takes,
}

/// A switch.
pub const fn switch(long: &'static str) -> Flag {
    Flag { long, short: None, takes: Takes::Switch }
}

/// A flag with a value.
pub const fn value(long: &'static str) -> Flag {
    Flag { long, short: None, takes: Takes::Value }
}

/// A flag whose value may be left out.
pub const fn optional(long: &'static str, default: &'static str) -> Flag {
    Flag { long, short: None, takes: Takes::Optional(default) }
}

impl Flag {
    /// With a short form.
    pub const fn short(self, short: char) -> Flag {
        Flag { short: Some(short), ..self }
    }
}

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlagError {
    /// `--nope`
    Unknown(String),
    /// `-q`, in `-qx`
    UnknownShort(char, String),
    /// `--namespace` at the end
    NeedsValue(String),
    /// `-n` at the end
    ShortNeedsValue(char, String),
    /// A value that is none: value, flag, why
    Invalid(String, String, String),
}

impl fmt::Display for FlagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlagError::Unknown(name) => write!(f, "unknown flag: --{name}"),
            FlagError::UnknownShort(c, word) => {
                write!(f, "unknown shorthand flag: {c:?} in {word}")
            }
            FlagError::NeedsValue(name) => write!(f, "flag needs an argument: --{name}"),
            FlagError::ShortNeedsValue(c, word) => {
                write!(f, "flag needs an argument: {c:?} in {word}")
            }
            FlagError::Invalid(value, flag, why) => {
                write!(f, "invalid argument {value:?} for {flag:?} flag: {why}")
            }
        }
    }
}

/// A command line, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    flags: Vec<(&'static str, String)>,
    /// What is not a flag, in order.
    pub words: Vec<String>,
    /// What stands after `--`.
    pub rest: Option<Vec<String>>,
}

impl Args {
    /// Reads `args` against the flags that `known` lists.
    pub fn parse(args: &[String], known: &[&[Flag]]) -> Result<Args, FlagError> {
        let known: Vec<&Flag> = known.iter().flat_map(|flags| flags.iter()).collect();
        let mut result = Args::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--" {
                result.rest = Some(args.cloned().collect());
                break;
            } else if let Some(long) = arg.strip_prefix("--") {
                result.long(long, &known, &mut args)?;
            } else if let Some(letters) = arg.strip_prefix('-').filter(|rest| !rest.is_empty()) {
                result.short(letters, &known, &mut args)?;
            } else {
                result.words.push(arg.clone());
            }
        }
        Ok(result)
    }

    fn long<'a>(
        &mut self,
        text: &str,
        known: &[&Flag],
        more: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), FlagError> {
        let (name, given) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (text, None),
        };
        let flag = known.iter().find(|flag| flag.long == name);
        let flag = flag.ok_or_else(|| FlagError::Unknown(name.to_string()))?;
        let value = match (flag.takes, given) {
            (Takes::Switch, Some(value)) => boolean(&value, &format!("--{name}"))?,
            (_, Some(value)) => value,
            (Takes::Switch, None) => "true".to_string(),
            (Takes::Optional(default), None) => default.to_string(),
            (Takes::Value, None) => {
                more.next().cloned().ok_or_else(|| FlagError::NeedsValue(name.to_string()))?
            }
        };
        self.flags.push((flag.long, value));
        Ok(())
    }

    /// `-it`, `-n x`, `-nx`, `-o=wide`
    fn short<'a>(
        &mut self,
        letters: &str,
        known: &[&Flag],
        more: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), FlagError> {
        let mut rest = letters;
        while let Some(c) = rest.chars().next() {
            let word = format!("-{rest}");
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
            let flag = known.iter().find(|flag| flag.short == Some(c));
            let flag = flag.ok_or_else(|| FlagError::UnknownShort(c, word.clone()))?;
            if let Some(value) = rest.strip_prefix('=') {
                self.flags.push((flag.long, value.to_string()));
                return Ok(());
            }
            match flag.takes {
                Takes::Switch => self.flags.push((flag.long, "true".to_string())),
                Takes::Optional(default) => self.flags.push((flag.long, default.to_string())),
                Takes::Value => {
                    let value = if rest.is_empty() {
                        let missing = || FlagError::ShortNeedsValue(c, word.clone());
                        more.next().cloned().ok_or_else(missing)?
                    } else {
                        rest.to_string()
                    };
                    self.flags.push((flag.long, value));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The last value of a flag.
    pub fn get(&self, long: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(name, _)| *name == long).map(|(_, value)| value.as_str())
    }

    /// All values of a flag; what is separated by commas counts as several.
    pub fn all(&self, long: &str) -> Vec<String> {
        let values = self.flags.iter().filter(|(name, _)| *name == long);
        values.flat_map(|(_, value)| value.split(',')).map(str::to_string).collect()
    }

    /// All values of a flag, each as it was given.
    pub fn each(&self, long: &str) -> Vec<&str> {
        let values = self.flags.iter().filter(|(name, _)| *name == long);
        values.map(|(_, value)| value.as_str()).collect()
    }

    /// A switch is on.
    pub fn is_on(&self, long: &str) -> bool {
        self.get(long) == Some("true")
    }

    /// A switch is on, or off, or not there.
    pub fn switch_or(&self, long: &str, default: bool) -> bool {
        self.get(long).map_or(default, |value| value == "true")
    }

    /// A whole number.
    pub fn number(&self, long: &str) -> Result<Option<i64>, FlagError> {
        let parse = |text: &str| {
            text.parse::<i64>().map_err(|_| {
                let why = format!("strconv.ParseInt: parsing {text:?}: invalid syntax");
                FlagError::Invalid(text.to_string(), format!("--{long}"), why)
            })
        };
        self.get(long).map(parse).transpose()
    }

    /// A duration as Go writes it: `90s`, `1m30s`, `2h`.
    pub fn duration(&self, long: &str) -> Result<Option<base::Duration>, FlagError> {
        let parse = |text: &str| {
            duration(text).ok_or_else(|| {
                let why = format!("time: invalid duration {text:?}");
                FlagError::Invalid(text.to_string(), format!("--{long}"), why)
            })
        };
        self.get(long).map(parse).transpose()
    }
}

fn boolean(text: &str, flag: &str) -> Result<String, FlagError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok("true".to_string()),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok("false".to_string()),
        _ => {
            let why = format!("strconv.ParseBool: parsing {text:?}: invalid syntax");
            Err(FlagError::Invalid(text.to_string(), flag.to_string(), why))
        }
    }
}

/// `1m30s`; `0` is nothing. Negative ones count as nothing too: they mean "no limit" where they are allowed.
pub fn duration(text: &str) -> Option<base::Duration> {
    if text == "0" {
        return Some(base::Duration::ZERO);
    }
    let mut rest = text.strip_prefix('-').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let number: f64 = number.parse().ok()?;
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let secs = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number * secs;
        rest = after;
    }
    let total = if text.starts_with('-') { 0.0 } else { total };
    Some(base::Duration::from_micros((total * 1e6).clamp(0.0, 1e15) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Flag] = &[
        value("namespace").short('n'),
        value("filename").short('f'),
        switch("all-namespaces").short('A'),
        switch("watch").short('w'),
        optional("dry-run", "unchanged"),
    ];

    fn parse(line: &str) -> Result<Args, FlagError> {
        let args: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        Args::parse(&args, &[KNOWN])
    }

    #[test]
    fn flags_in_all_their_forms() {
        let args =
            parse("get pods -n shop -Aw --filename=a.yml -fb.yml -f c.yml --dry-run x -- -n y");
        let args = args.unwrap();
        assert_eq!(args.words, ["get", "pods", "x"]);
        assert_eq!(args.get("namespace"), Some("shop"));
        assert!(args.is_on("all-namespaces") && args.is_on("watch"));
        assert_eq!(args.all("filename"), ["a.yml", "b.yml", "c.yml"]);
        assert_eq!(args.get("dry-run"), Some("unchanged"));
        assert_eq!(args.rest, Some(vec!["-n".to_string(), "y".to_string()]));
        assert!(!parse("--watch=false").unwrap().is_on("watch"));
        assert_eq!(parse("-").unwrap().words, ["-"]);
    }

    #[test]
    fn mistakes_in_pflag_s_words() {
        for (line, words) in [
            ("--nope", "unknown flag: --nope"),
            ("-Aq", "unknown shorthand flag: 'q' in -q"),
            ("-n", "flag needs an argument: 'n' in -n"),
            ("--namespace", "flag needs an argument: --namespace"),
            (
                "--watch=maybe",
                "invalid argument \"maybe\" for \"--watch\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), words);
        }
    }

    #[test]
    fn durations() {
        let secs = |text: &str| duration(text).map(|duration| duration.as_secs_f64());
        assert_eq!(secs("1m30s"), Some(90.0));
        assert_eq!(secs("1.5h"), Some(5400.0));
        assert_eq!(secs("0"), Some(0.0));
        assert_eq!((secs("10"), secs("s"), secs("")), (None, None, None));
    }
}
