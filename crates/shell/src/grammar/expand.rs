//! Words to arguments: braces, tildes, variables, `$(…)`, `$((…))`, splitting, patterns.

use std::fmt;

use brush_parser::ParserOptions;
use brush_parser::ast::UnexpandedArithmeticExpr;
use brush_parser::word::{
    self, BraceExpressionMember, BraceExpressionOrText, Parameter, ParameterExpr,
    ParameterTestType, SpecialParameter, SubstringMatchKind, TildeExpr, WordPiece,
    WordPieceWithSource,
};

use super::arith;
use super::glob::Glob;
use super::run::Runner;
use crate::files::FileKind;

/// Words that one word may become.
const WORDS_MAX: usize = 100_000;

/// Why a word cannot be expanded, in bash's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpandError(pub String);

impl fmt::Display for ExpandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An argument in the making: its characters, each with whether it was quoted.
#[derive(Clone, Debug, Default)]
struct Field {
    chars: Vec<(char, bool)>,
    /// It is one even when it is empty.
    is_certain: bool,
}

/// Arguments in the making.
#[derive(Default)]
struct Fields {
    done: Vec<Field>,
    open: Field,
}

impl Fields {
    fn push(&mut self, text: &str, quoted: bool) {
        self.open.chars.extend(text.chars().map(|c| (c, quoted)));
        self.open.is_certain |= quoted;
    }

    /// What a variable or a command gave, outside quotes: it is split at white space.
    fn push_split(&mut self, text: &str) {
        for c in text.chars() {
            if matches!(c, ' ' | '\t' | '\n') {
                self.end_field();
            } else {
                self.open.chars.push((c, false));
            }
        }
    }

    fn end_field(&mut self) {
        let field = std::mem::take(&mut self.open);
        if field.is_certain || !field.chars.is_empty() {
            self.done.push(field);
        }
    }

    fn finish(mut self) -> Vec<Field> {
        self.end_field();
        self.done
    }
}

type Expanded<T> = Result<T, ExpandError>;

fn options() -> ParserOptions {
    ParserOptions::default()
}

impl Runner {
    /// The arguments that a word stands for.
    pub(crate) async fn words(&self, word: &str) -> Expanded<Vec<String>> {
        let mut words = Vec::new();
        for word in braces(word)? {
            let pieces = pieces(&word)?;
            let mut fields = Fields::default();
            self.pieces(&pieces, false, &mut fields).await?;
            for field in fields.finish() {
                self.paths(&field, &mut words);
            }
            if words.len() > WORDS_MAX {
                return Err(ExpandError("Argument list too long".to_string()));
            }
        }
        Ok(words)
    }

    /// The one text that a word stands for, where nothing is split: assignments, redirections, `case`.
    pub(crate) async fn text(&self, word: &str) -> Expanded<String> {
        let chars = self.quoted_text(word).await?;
        Ok(chars.into_iter().map(|(c, _)| c).collect())
    }

    /// The same as a pattern.
    pub(crate) async fn pattern(&self, word: &str) -> Expanded<Glob> {
        Ok(Glob::new(&self.quoted_text(word).await?))
    }

    async fn quoted_text(&self, word: &str) -> Expanded<Vec<(char, bool)>> {
        let pieces = pieces(word)?;
        let mut fields = Fields::default();
        self.pieces(&pieces, true, &mut fields).await?;
        // Only "$@" makes more than one here; they are joined.
        let mut fields = fields.finish().into_iter();
        let mut chars = fields.next().unwrap_or_default().chars;
        for field in fields {
            chars.push((' ', true));
            chars.extend(field.chars);
        }
        Ok(chars)
    }

    /// The text of a here-document.
    pub(crate) async fn here_document(&self, text: &str) -> Expanded<String> {
        let pieces = word::parse_heredoc(text, &options()).map_err(bad_substitution)?;
        let mut fields = Fields::default();
        self.quoted(&pieces, &mut fields).await?;
        let fields = fields.finish();
        Ok(fields.into_iter().flat_map(|field| field.chars).map(|(c, _)| c).collect())
    }

    /// `whole`: nothing is split.
    async fn pieces(
        &self,
        pieces: &[WordPieceWithSource],
        whole: bool,
        fields: &mut Fields,
    ) -> Expanded<()> {
        for piece in pieces {
            match &piece.piece {
                WordPiece::Text(text) => fields.push(text, false),
                WordPiece::SingleQuotedText(text) => fields.push(text, true),
                WordPiece::AnsiCQuotedText(text) => fields.push(&ansi_c(text), true),
                WordPiece::DoubleQuotedSequence(inner)
                | WordPiece::GettextDoubleQuotedSequence(inner) => {
                    if !is_all_parameters(inner) {
                        fields.open.is_certain = true;
                    }
                    self.quoted(inner, fields).await?;
                }
                WordPiece::EscapeSequence(text) => fields.push(unescape(text), true),
                WordPiece::TildeExpansion(tilde) => fields.push(&self.tilde(tilde), true),
                other => {
                    let text = self.value(other).await?;
                    if whole { fields.push(&text, false) } else { fields.push_split(&text) }
                }
            }
        }
        Ok(())
    }

    /// Inside double quotes.
    async fn quoted(&self, pieces: &[WordPieceWithSource], fields: &mut Fields) -> Expanded<()> {
        for piece in pieces {
            match &piece.piece {
                WordPiece::Text(text)
                | WordPiece::SingleQuotedText(text)
                | WordPiece::AnsiCQuotedText(text) => fields.push(text, true),
                WordPiece::EscapeSequence(text) => {
                    let inner = unescape(text);
                    let is_special = matches!(inner, "$" | "`" | "\"" | "\\");
                    match inner {
                        // A backslash at the end of a line joins it with the next.
                        "\n" => {}
                        _ if is_special => fields.push(inner, true),
                        _ => fields.push(text, true),
                    }
                }
                WordPiece::ParameterExpansion(ParameterExpr::Parameter {
                    parameter:
                        Parameter::Special(SpecialParameter::AllPositionalParameters {
                            concatenate: false,
                        }),
                    ..
                }) => {
                    for (count, parameter) in self.session.parameters().iter().enumerate() {
                        if count > 0 {
                            fields.end_field();
                        }
                        fields.push(parameter, true);
                        fields.open.is_certain = true;
                    }
                }
                WordPiece::TildeExpansion(_) => fields.push("~", true),
                WordPiece::DoubleQuotedSequence(inner)
                | WordPiece::GettextDoubleQuotedSequence(inner) => {
                    Box::pin(self.quoted(inner, fields)).await?;
                }
                other => {
                    let text = self.value(other).await?;
                    fields.push(&text, true);
                }
            }
        }
        Ok(())
    }

    async fn value(&self, piece: &WordPiece) -> Expanded<String> {
        match piece {
            WordPiece::ParameterExpansion(parameter) => Box::pin(self.parameter(parameter)).await,
            WordPiece::CommandSubstitution(command) => Ok(self.capture(command).await),
            WordPiece::BackquotedCommandSubstitution(command) => {
                let command = command.replace("\\`", "`").replace("\\$", "$");
                Ok(self.capture(&command).await)
            }
            WordPiece::ArithmeticExpression(expression) => {
                Ok(self.arithmetic(expression).await?.to_string())
            }
            _ => Ok(String::new()),
        }
    }

    /// `$((…))`
    pub(crate) async fn arithmetic(&self, expression: &UnexpandedArithmeticExpr) -> Expanded<i64> {
        let text = Box::pin(self.text(&expression.value)).await?;
        let session = &*self.session;
        arith::evaluate(&text, session).map_err(|why| ExpandError(format!("{text}: {why}")))
    }

    fn tilde(&self, tilde: &TildeExpr) -> String {
        match tilde {
            TildeExpr::Home => self.session.var("HOME").unwrap_or_else(|| "/".to_string()),
            TildeExpr::UserHome(user) => format!("/home/{user}"),
            TildeExpr::WorkingDir => self.session.cwd(),
            TildeExpr::OldWorkingDir => self.session.var("OLDPWD").unwrap_or_default(),
            TildeExpr::NthDirFromTopOfDirStack { .. }
            | TildeExpr::NthDirFromBottomOfDirStack { .. } => self.session.cwd(),
        }
    }

    /// The names of files that a field with a pattern stands for; itself when there are none.
    fn paths(&self, field: &Field, words: &mut Vec<String>) {
        let text: String = field.chars.iter().map(|(c, _)| c).collect();
        let glob = Glob::new(&field.chars);
        if !glob.is_pattern() {
            // Without a pattern, a backslash that was not quoted is one all the same.
            words.push(text);
            return;
        }
        let mut found = vec![if text.starts_with('/') { "/".to_string() } else { String::new() }];
        let parts: Vec<&[(char, bool)]> =
            field.chars.split(|(c, _)| *c == '/').filter(|part| !part.is_empty()).collect();
        for part in parts {
            let glob = Glob::new(part);
            let name: String = part.iter().map(|(c, _)| c).collect();
            let mut next = Vec::new();
            for base in &found {
                let join = |name: &str| match base.as_str() {
                    "" => name.to_string(),
                    "/" => format!("/{name}"),
                    base => format!("{base}/{name}"),
                };
                if !glob.is_pattern() {
                    next.push(join(&name));
                    continue;
                }
                let directory = self.session.path(if base.is_empty() { "." } else { base });
                let names = self.session.files.list(&directory).unwrap_or_default();
                let is_hidden = |known: &String| known.starts_with('.') && !name.starts_with('.');
                let fitting = names.iter().filter(|known| glob.matches(known) && !is_hidden(known));
                next.extend(fitting.map(|known| join(known)));
            }
            found = next;
        }
        found.retain(|path| {
            let kind = self.session.files.kind(&self.session.path(path));
            kind == Some(FileKind::File) || kind == Some(FileKind::Directory)
        });
        if found.is_empty() {
            words.push(text);
        } else {
            words.extend(found);
        }
    }
}

// ---- variables -----------------------------------------------------------------------------------------------

impl Runner {
    fn lookup(&self, parameter: &Parameter) -> Option<String> {
        let session = &self.session;
        match parameter {
            Parameter::Positional(0) => Some("bash".to_string()),
            Parameter::Positional(n) => {
                session.parameters().get((*n as usize).checked_sub(1)?).cloned()
            }
            Parameter::Named(name) if name == "RANDOM" => {
                Some((self.host.rng("RANDOM").next_u32() & 0x7fff).to_string())
            }
            Parameter::Named(name) if name == "SECONDS" => {
                Some(self.host.now().as_secs().to_string())
            }
            Parameter::Named(name) => session.var(name),
            Parameter::NamedWithIndex { name, index } if index == "0" => session.var(name),
            Parameter::NamedWithIndex { .. } => None,
            Parameter::NamedWithAllIndices { name, .. } => session.var(name),
            Parameter::Special(special) => match special {
                SpecialParameter::AllPositionalParameters { .. } => {
                    Some(session.parameters().join(" ")).filter(|text| !text.is_empty())
                }
                SpecialParameter::PositionalParameterCount => {
                    Some(session.parameters().len().to_string())
                }
                SpecialParameter::LastExitStatus => Some(session.status().to_string()),
                SpecialParameter::CurrentOptionFlags => Some("hB".to_string()),
                SpecialParameter::ProcessId => Some("4000".to_string()),
                SpecialParameter::LastBackgroundProcessId => {
                    session.last_job().map(|pid| pid.to_string())
                }
                SpecialParameter::ShellName => Some("bash".to_string()),
            },
        }
    }

    /// The parameter's value, if it counts as set.
    fn if_set(&self, parameter: &Parameter, test: &ParameterTestType) -> Option<String> {
        let value = self.lookup(parameter);
        match test {
            ParameterTestType::Unset => value,
            ParameterTestType::UnsetOrNull => value.filter(|value| !value.is_empty()),
        }
    }

    async fn optional(&self, text: Option<&String>) -> Expanded<String> {
        match text {
            Some(text) => self.text(text).await,
            None => Ok(String::new()),
        }
    }

    async fn optional_glob(&self, text: Option<&String>) -> Expanded<Glob> {
        match text {
            Some(text) => self.pattern(text).await,
            None => Ok(Glob::plain("")),
        }
    }

    async fn parameter(&self, expression: &ParameterExpr) -> Expanded<String> {
        let value = |parameter: &Parameter| self.lookup(parameter).unwrap_or_default();
        Ok(match expression {
            ParameterExpr::Parameter { parameter, indirect } => {
                let found = self.lookup(parameter);
                if found.is_none() && self.session.option("nounset") && is_plain(parameter) {
                    let name = name_of(parameter);
                    return Err(ExpandError(format!("{name}: unbound variable")));
                }
                let found = found.unwrap_or_default();
                if *indirect { self.session.var(&found).unwrap_or_default() } else { found }
            }
            ParameterExpr::UseDefaultValues { parameter, test_type, default_value, .. } => {
                match self.if_set(parameter, test_type) {
                    Some(value) => value,
                    None => self.optional(default_value.as_ref()).await?,
                }
            }
            ParameterExpr::AssignDefaultValues { parameter, test_type, default_value, .. } => {
                match self.if_set(parameter, test_type) {
                    Some(value) => value,
                    None => {
                        let default = self.optional(default_value.as_ref()).await?;
                        if let Parameter::Named(name) = parameter {
                            self.session.set(name, &default);
                        }
                        default
                    }
                }
            }
            ParameterExpr::IndicateErrorIfNullOrUnset {
                parameter,
                test_type,
                error_message,
                ..
            } => match self.if_set(parameter, test_type) {
                Some(value) => value,
                None => {
                    let message = self.optional(error_message.as_ref()).await?;
                    let message = match message.as_str() {
                        "" => "parameter null or not set",
                        message => message,
                    };
                    return Err(ExpandError(format!("{}: {message}", name_of(parameter))));
                }
            },
            ParameterExpr::UseAlternativeValue {
                parameter, test_type, alternative_value, ..
            } => match self.if_set(parameter, test_type) {
                Some(_) => self.optional(alternative_value.as_ref()).await?,
                None => String::new(),
            },
            ParameterExpr::ParameterLength { parameter, .. } => {
                value(parameter).chars().count().to_string()
            }
            ParameterExpr::RemoveSmallestSuffixPattern { parameter, pattern, .. } => {
                let glob = self.optional_glob(pattern.as_ref()).await?;
                without_suffix(&value(parameter), &glob, false)
            }
            ParameterExpr::RemoveLargestSuffixPattern { parameter, pattern, .. } => {
                let glob = self.optional_glob(pattern.as_ref()).await?;
                without_suffix(&value(parameter), &glob, true)
            }
            ParameterExpr::RemoveSmallestPrefixPattern { parameter, pattern, .. } => {
                let glob = self.optional_glob(pattern.as_ref()).await?;
                without_prefix(&value(parameter), &glob, false)
            }
            ParameterExpr::RemoveLargestPrefixPattern { parameter, pattern, .. } => {
                let glob = self.optional_glob(pattern.as_ref()).await?;
                without_prefix(&value(parameter), &glob, true)
            }
            ParameterExpr::Substring { parameter, offset, length, .. } => {
                let offset = self.arithmetic(offset).await?;
                let length = match length {
                    Some(length) => Some(self.arithmetic(length).await?),
                    None => None,
                };
                substring(&value(parameter), offset, length)
            }
            ParameterExpr::UppercaseFirstChar { parameter, .. } => {
                first_char(&value(parameter), |c| c.to_uppercase().collect())
            }
            ParameterExpr::LowercaseFirstChar { parameter, .. } => {
                first_char(&value(parameter), |c| c.to_lowercase().collect())
            }
            ParameterExpr::UppercasePattern { parameter, .. } => value(parameter).to_uppercase(),
            ParameterExpr::LowercasePattern { parameter, .. } => value(parameter).to_lowercase(),
            ParameterExpr::ReplaceSubstring {
                parameter, pattern, replacement, match_kind, ..
            } => {
                let glob = self.pattern(pattern).await?;
                let replacement = self.optional(replacement.as_ref()).await?;
                replace(&value(parameter), &glob, &replacement, match_kind)
            }
            ParameterExpr::VariableNames { prefix, .. } => {
                let all = self.session.all_variables().into_iter().map(|(name, _)| name);
                all.filter(|name| name.starts_with(prefix)).collect::<Vec<_>>().join(" ")
            }
            ParameterExpr::Transform { .. } | ParameterExpr::MemberKeys { .. } => {
                let why = "this parameter expansion is not supported by podwire";
                return Err(ExpandError(why.to_string()));
            }
        })
    }
}

fn is_plain(parameter: &Parameter) -> bool {
    matches!(parameter, Parameter::Named(_) | Parameter::Positional(_))
}

fn name_of(parameter: &Parameter) -> String {
    match parameter {
        Parameter::Positional(number) => number.to_string(),
        Parameter::Named(name) => name.clone(),
        other => other.to_string(),
    }
}

fn without_suffix(text: &str, glob: &Glob, longest: bool) -> String {
    let end = glob.suffix(text, longest).unwrap_or(text.len());
    text.get(..end).unwrap_or(text).to_string()
}

fn without_prefix(text: &str, glob: &Glob, longest: bool) -> String {
    let start = glob.prefix(text, longest).unwrap_or(0);
    text.get(start..).unwrap_or(text).to_string()
}

fn first_char(text: &str, change: impl Fn(char) -> String) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(change).unwrap_or_default();
    first + chars.as_str()
}

/// Negative numbers count from the end.
fn substring(text: &str, offset: i64, length: Option<i64>) -> String {
    let chars: Vec<char> = text.chars().collect();
    let count = i64::try_from(chars.len()).unwrap_or(i64::MAX);
    let clamp = |at: i64| usize::try_from(at.clamp(0, count)).unwrap_or(0);
    let start = if offset < 0 { count.saturating_add(offset) } else { offset };
    if start < 0 {
        return String::new();
    }
    let end = match length {
        None => count,
        Some(length) if length < 0 => count.saturating_add(length),
        Some(length) => start.saturating_add(length),
    };
    chars.get(clamp(start)..clamp(end).max(clamp(start))).unwrap_or_default().iter().collect()
}

fn replace(text: &str, glob: &Glob, with: &str, kind: &SubstringMatchKind) -> String {
    match kind {
        SubstringMatchKind::Prefix => match glob.prefix(text, true) {
            Some(end) => format!("{with}{}", text.get(end..).unwrap_or_default()),
            None => text.to_string(),
        },
        SubstringMatchKind::Suffix => match glob.suffix(text, true) {
            Some(start) => format!("{}{with}", text.get(..start).unwrap_or_default()),
            None => text.to_string(),
        },
        SubstringMatchKind::FirstOccurrence | SubstringMatchKind::Anywhere => {
            let only_first = matches!(kind, SubstringMatchKind::FirstOccurrence);
            replace_inside(text, glob, with, only_first)
        }
    }
}

fn replace_inside(text: &str, glob: &Glob, with: &str, only_first: bool) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match glob.prefix(rest, true).filter(|end| *end > 0) {
            Some(end) => {
                result.push_str(with);
                rest = rest.get(end..).unwrap_or_default();
                if only_first {
                    break;
                }
            }
            None => {
                result.push(c);
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
            }
        }
    }
    result + rest
}

// ---- the parser's pieces --------------------------------------------------------------------------------------

fn bad_substitution(error: impl fmt::Display) -> ExpandError {
    ExpandError(format!("bad substitution: {error}"))
}

fn pieces(word: &str) -> Expanded<Vec<WordPieceWithSource>> {
    word::parse(word, &options()).map_err(bad_substitution)
}

fn is_all_parameters(pieces: &[WordPieceWithSource]) -> bool {
    let is_all = |piece: &WordPieceWithSource| {
        matches!(
            piece.piece,
            WordPiece::ParameterExpansion(ParameterExpr::Parameter {
                parameter: Parameter::Special(SpecialParameter::AllPositionalParameters {
                    concatenate: false
                }),
                ..
            })
        )
    };
    pieces.len() == 1 && pieces.iter().all(is_all)
}

/// `\x` is `x`.
fn unescape(text: &str) -> &str {
    text.strip_prefix('\\').unwrap_or(text)
}

/// `$'…'`
fn ansi_c(text: &str) -> String {
    let mut result = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            result.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => result.push('\n'),
            Some('t') => result.push('\t'),
            Some('r') => result.push('\r'),
            Some('e' | 'E') => result.push('\u{1b}'),
            Some('a') => result.push('\u{7}'),
            Some('0') => result.push('\0'),
            Some('x') => {
                let mut code = 0;
                for _ in 0..2 {
                    let Some(digit) = chars.peek().and_then(|c| c.to_digit(16)) else { break };
                    code = code * 16 + digit;
                    chars.next();
                }
                result.extend(char::from_u32(code));
            }
            Some(other) => result.push(other),
            None => result.push('\\'),
        }
    }
    result
}

/// `a{b,c}{1..3}`: the words it stands for.
fn braces(word: &str) -> Expanded<Vec<String>> {
    if !word.contains('{') {
        return Ok(vec![word.to_string()]);
    }
    match word::parse_brace_expansions(word, &options()) {
        Ok(Some(parts)) => alternatives(&parts),
        _ => Ok(vec![word.to_string()]),
    }
}

fn alternatives(parts: &[BraceExpressionOrText]) -> Expanded<Vec<String>> {
    let mut words = vec![String::new()];
    for part in parts {
        let choices = match part {
            BraceExpressionOrText::Text(text) => vec![text.clone()],
            BraceExpressionOrText::Expr(members) => {
                let mut choices = Vec::new();
                for member in members {
                    choices.extend(member_words(member)?);
                }
                choices
            }
        };
        if words.len().saturating_mul(choices.len()) > WORDS_MAX {
            return Err(ExpandError("brace expansion: too many words".to_string()));
        }
        words = words
            .iter()
            .flat_map(|word| choices.iter().map(move |choice| format!("{word}{choice}")))
            .collect();
    }
    Ok(words)
}

fn member_words(member: &BraceExpressionMember) -> Expanded<Vec<String>> {
    match member {
        BraceExpressionMember::Child(parts) => alternatives(parts),
        BraceExpressionMember::NumberSequence { start, end, increment } => {
            let numbers = sequence(*start, *end, *increment)?;
            Ok(numbers.iter().map(i64::to_string).collect())
        }
        BraceExpressionMember::CharSequence { start, end, increment } => {
            let numbers =
                sequence(i64::from(u32::from(*start)), i64::from(u32::from(*end)), *increment)?;
            let char = |n: &i64| u32::try_from(*n).ok().and_then(char::from_u32);
            Ok(numbers.iter().filter_map(char).map(String::from).collect())
        }
    }
}

fn sequence(start: i64, end: i64, increment: i64) -> Expanded<Vec<i64>> {
    let step = i64::try_from(increment.unsigned_abs().max(1)).unwrap_or(i64::MAX);
    let count = end.abs_diff(start) / step.unsigned_abs();
    if count >= WORDS_MAX as u64 {
        return Err(ExpandError("brace expansion: too many words".to_string()));
    }
    let count = i64::try_from(count).unwrap_or(0);
    let sign = if end < start { -1 } else { 1 };
    Ok((0..=count).map(|n| start.saturating_add(n.saturating_mul(step * sign))).collect())
}
