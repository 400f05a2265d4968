//! YAML as kubectl reads it: libyaml's grammar and messages, go-yaml's idea of what a plain word means,
//! documents separated by lines that begin with `---`. A text that begins with `{` is JSON as long as it lasts.
//!
//! Sources: `apimachinery/pkg/util/yaml/decoder.go` (splitting), go-yaml v2 `resolve.go` and `decode.go`.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

use base::tree::BTreeMap;
use libyaml_safer::{Error, ErrorKind, Event, EventData, Parser, ScalarStyle};
use serde_json::Number;

use crate::json;
use crate::node::{Key, Mark, Node, NodeKind};

/// Values of one document at most, aliases counted as often as they stand for something.
pub const NODES_MAX: u32 = 1_000_000;
/// Values of all documents of a file at most.
pub const FILE_NODES_MAX: u32 = 4_000_000;
/// Lists and maps inside each other at most.
pub const DEPTH_MAX: u32 = 200;

/// Why a document cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// `line 5: mapping values are not allowed in this context`; the line counts from the document's
    /// beginning, as kubectl's does. Of JSON: `json: offset 5: …`.
    pub message: String,
    /// Where it is in the file.
    pub mark: Mark,
}

impl YamlError {
    /// As kubectl says it.
    pub fn in_kubectl(&self) -> String {
        let is_json = self.message.starts_with("json: ") || self.message == json::EOF;
        let prefix = if is_json { "" } else { "error converting YAML to JSON: yaml: " };
        format!("{prefix}{}", self.message)
    }
}

/// A document of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Line of the file on which it begins, from 1.
    pub first_line: u32,
    /// What it says; `None` for a document that is empty or only comments.
    pub content: Result<Option<Node>, YamlError>,
}

/// All documents of a file.
pub fn documents(text: &str) -> Vec<Document> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.trim_start().starts_with('{') {
        return yaml_documents(text, 1);
    }
    let mut documents = Vec::new();
    let mut reader = json::Reader::new(text);
    while let Some(value) = reader.next_value() {
        match value {
            Ok(node) => {
                let first_line = node.mark.line;
                documents.push(Document { first_line, content: Ok(Some(node)) });
            }
            // What is not JSON may be YAML; if it is neither, kubectl says why it is not JSON.
            Err(error) => {
                let (rest, line) = reader.rest();
                let others = yaml_documents(rest, line);
                if others.first().is_some_and(|document| document.content.is_ok()) {
                    documents.extend(others);
                } else {
                    documents.push(Document { first_line: line, content: Err(error) });
                }
                break;
            }
        }
    }
    documents
}

/// The first document of a text that is read as YAML in any case, as kubectl reads a patch.
pub fn first(text: &str) -> Result<Option<Node>, YamlError> {
    let first = yaml_documents(text, 1).into_iter().next();
    first.map_or(Ok(None), |document| document.content)
}

fn yaml_documents(text: &str, line: u32) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut current = String::new();
    let mut first_line = line;
    let mut left = FILE_NODES_MAX;
    for (number, line) in (line..).zip(text.split_inclusive('\n')) {
        let is_separator = line.strip_prefix("---").is_some_and(|rest| {
            let rest = rest.trim();
            rest.is_empty() || rest.starts_with('#')
        });
        if is_separator && !current.is_empty() {
            documents.push(document(&current, first_line, &mut left));
            current.clear();
            first_line = number + 1;
        } else {
            current.push_str(line);
        }
    }
    // kubectl reads lines and gives each its end, the last one too (`LineReader.Read`); and libyaml-safer panics
    // where a block scalar ends without one.
    if !current.is_empty() && !current.ends_with('\n') {
        current.push('\n');
    }
    documents.push(document(&current, first_line, &mut left));
    documents
}

fn document(text: &str, first_line: u32, left: &mut u32) -> Document {
    let content = parse(text, left).map_err(|mut error| {
        error.mark.line += first_line - 1;
        error
    });
    let shift = |node: Node| shifted(node, first_line - 1);
    Document { first_line, content: content.map(|node| node.map(shift)) }
}

fn shifted(mut node: Node, lines: u32) -> Node {
    if lines == 0 {
        return node;
    }
    node.mark.line += lines;
    node.kind = match node.kind {
        NodeKind::List(items) => {
            NodeKind::List(items.into_iter().map(|item| shifted(item, lines)).collect())
        }
        NodeKind::Map(entries) => {
            let shift = |(mut key, value): (Key, Node)| {
                key.mark.line += lines;
                (key, shifted(value, lines))
            };
            NodeKind::Map(entries.into_iter().map(shift).collect())
        }
        other => other,
    };
    node
}

/// The first document of a text; `None` when it is empty.
fn parse(text: &str, left: &mut u32) -> Result<Option<Node>, YamlError> {
    let mut input = text.as_bytes();
    let mut parser = Parser::new();
    parser.set_input(&mut input);
    let mut composer = Composer { parser, anchors: BTreeMap::new(), left: NODES_MAX.min(*left) };
    let before = composer.left;
    let root = composer.root();
    *left -= before - composer.left;
    root.map_err(|mut error| {
        if error.message == CONTROL {
            error.mark = control_at(text).unwrap_or(error.mark);
        }
        error
    })
}

const CONTROL: &str = "control characters are not allowed";

/// Where the first character stands that libyaml's reader does not take (YAML 1.1 §4.1); it keeps no marks.
fn control_at(text: &str) -> Option<Mark> {
    let is_bad = |c: char| {
        c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')
            || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    let before = text.get(..text.find(is_bad)?)?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Some(Mark { line: number(line), column: number(column) })
}

struct Composer<'a> {
    parser: Parser<&'a mut &'a [u8]>,
    anchors: BTreeMap<String, Node>,
    /// So many values may still come.
    left: u32,
}

impl Composer<'_> {
    fn next(&mut self) -> Result<Event, YamlError> {
        self.parser.parse().map_err(|error| describe(&error))
    }

    /// The value of the first document.
    fn root(&mut self) -> Result<Option<Node>, YamlError> {
        loop {
            let event = self.next()?;
            match event.data {
                EventData::StreamEnd => return Ok(None),
                EventData::StreamStart { .. } | EventData::DocumentStart { .. } => {}
                _ => {
                    let node = self.node(event, 0)?;
                    let is_empty = node.kind == NodeKind::Null;
                    return Ok((!is_empty).then_some(node));
                }
            }
        }
    }

    fn count(&mut self, nodes: u32, mark: Mark) -> Result<(), YamlError> {
        let Some(left) = self.left.checked_sub(nodes) else {
            let message = "document contains excessive aliasing".to_string();
            return Err(YamlError { message, mark });
        };
        self.left = left;
        Ok(())
    }

    fn node(&mut self, event: Event, depth: u32) -> Result<Node, YamlError> {
        let mark = mark_of(event.start_mark);
        self.count(1, mark)?;
        if depth > DEPTH_MAX {
            let message = format!("line {}: exceeded max depth of {DEPTH_MAX}", mark.line);
            return Err(YamlError { message, mark });
        }
        let (node, anchor) = match event.data {
            EventData::Alias { anchor } => return self.alias(&anchor, mark),
            EventData::Scalar { anchor, tag, value, style, .. } => {
                let kind = resolve(value, tag.as_deref(), style == ScalarStyle::Plain);
                (Node { mark, kind }, anchor)
            }
            EventData::SequenceStart { anchor, .. } => (self.list(mark, depth)?, anchor),
            EventData::MappingStart { anchor, .. } => (self.map(mark, depth)?, anchor),
            _ => (Node { mark, kind: NodeKind::Null }, None),
        };
        if let Some(anchor) = anchor {
            self.count(size(&node), mark)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: &str, mark: Mark) -> Result<Node, YamlError> {
        let Some(node) = self.anchors.get(anchor) else {
            return Err(YamlError {
                message: format!("unknown anchor '{anchor}' referenced"),
                mark,
            });
        };
        let node = node.clone();
        self.count(size(&node), mark)?;
        Ok(node)
    }

    fn list(&mut self, mark: Mark, depth: u32) -> Result<Node, YamlError> {
        let mut items = Vec::new();
        loop {
            let event = self.next()?;
            if matches!(event.data, EventData::SequenceEnd) {
                return Ok(Node { mark, kind: NodeKind::List(items) });
            }
            items.push(self.node(event, depth + 1)?);
        }
    }

    fn map(&mut self, mark: Mark, depth: u32) -> Result<Node, YamlError> {
        let mut entries = Entries::default();
        let mut merged = Entries::default();
        loop {
            let event = self.next()?;
            if matches!(event.data, EventData::MappingEnd) {
                break;
            }
            let is_merge = matches!(&event.data,
                EventData::Scalar { value, style: ScalarStyle::Plain, tag: None, .. } if value == "<<");
            let key_mark = mark_of(event.start_mark);
            let key = self.node(event, depth + 1)?;
            let value = self.next()?;
            let value = self.node(value, depth + 1)?;
            if is_merge {
                merge(value, &mut merged)?;
                continue;
            }
            let name = key_text(&key)?;
            entries.put(Key { name, mark: key_mark }, value);
        }
        for (key, value) in merged.list {
            if entries.place(&key.name).is_none() {
                entries.put(key, value);
            }
        }
        Ok(Node { mark, kind: entries.into_kind() })
    }
}

/// The entries of a map as they come; of equal keys the last counts.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    list: Vec<(Key, Node)>,
    /// Where each key stands, once there are many.
    places: BTreeMap<String, usize>,
}

impl Entries {
    /// So many are looked through one by one.
    const FEW: usize = 16;

    fn place(&self, name: &str) -> Option<usize> {
        match self.list.len() {
            0..=Self::FEW => self.list.iter().position(|(known, _)| known.name == name),
            _ => self.places.get(name).copied(),
        }
    }

    pub(crate) fn put(&mut self, key: Key, value: Node) {
        let known = self.place(&key.name);
        if let Some(slot) = known.and_then(|at| self.list.get_mut(at)) {
            *slot = (key, value);
            return;
        }
        self.list.push((key, value));
        let indexed = if self.list.len() == Self::FEW + 1 { 0 } else { self.list.len() - 1 };
        if self.list.len() > Self::FEW {
            for (at, (key, _)) in self.list.iter().enumerate().skip(indexed) {
                self.places.insert(key.name.clone(), at);
            }
        }
    }

    pub(crate) fn into_kind(self) -> NodeKind {
        NodeKind::Map(self.list)
    }
}

/// `<<: *base` or `<<: [*a, *b]`; what comes first wins.
fn merge(value: Node, into: &mut Entries) -> Result<(), YamlError> {
    match value.kind {
        NodeKind::Map(entries) => {
            for (key, value) in entries {
                if into.place(&key.name).is_none() {
                    into.put(key, value);
                }
            }
            Ok(())
        }
        NodeKind::List(items) => items.into_iter().try_for_each(|item| merge(item, into)),
        _ => Err(YamlError {
            message: "map merge requires map or sequence of maps as the value".to_string(),
            mark: value.mark,
        }),
    }
}

/// The text of a key: JSON has no others.
fn key_text(key: &Node) -> Result<String, YamlError> {
    match &key.kind {
        NodeKind::String(text) => Ok(text.clone()),
        NodeKind::Bool(value) => Ok(value.to_string()),
        NodeKind::Number(number) => Ok(number.to_string()),
        NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_) => {
            Err(YamlError { message: format!("invalid map key: {}", in_go(key)), mark: key.mark })
        }
    }
}

/// A value as Go prints it with `%#v`, which is how go-yaml shows a key it cannot use.
fn in_go(node: &Node) -> String {
    match &node.kind {
        NodeKind::Null => "interface {}(nil)".to_string(),
        NodeKind::Bool(value) => value.to_string(),
        NodeKind::Number(number) => number.to_string(),
        NodeKind::String(text) => format!("{text:?}"),
        NodeKind::List(items) => {
            let items: Vec<String> = items.iter().map(in_go).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        NodeKind::Map(entries) => {
            let pair = |(key, value): &(Key, Node)| format!("{:?}:{}", key.name, in_go(value));
            let pairs: Vec<String> = entries.iter().map(pair).collect();
            format!("map[interface {{}}]interface {{}}{{{}}}", pairs.join(", "))
        }
    }
}

fn size(node: &Node) -> u32 {
    let inside: u32 = match &node.kind {
        NodeKind::List(items) => items.iter().map(size).fold(0, u32::saturating_add),
        NodeKind::Map(entries) => {
            entries.iter().map(|(_, value)| size(value)).fold(0, u32::saturating_add)
        }
        _ => 0,
    };
    inside.saturating_add(1)
}

fn mark_of(mark: libyaml_safer::Mark) -> Mark {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).saturating_add(1);
    Mark { line: number(mark.line), column: number(mark.column) }
}

/// The message as go-yaml words it (`yaml.go`, `parser.fail`).
fn describe(error: &Error) -> YamlError {
    let nonzero = |mark: Option<libyaml_safer::Mark>| mark.filter(|mark| mark.line != 0);
    let at = nonzero(error.context_mark()).or(nonzero(error.problem_mark()));
    let shown = at.map(|mark| mark.line + u64::from(error.kind() == ErrorKind::Scanner));
    let problem = problem_text(error);
    let message = match shown {
        Some(line) => format!("line {line}: {problem}"),
        None => problem,
    };
    let mark = error.problem_mark().or(error.context_mark()).map(mark_of).unwrap_or_default();
    YamlError { message, mark: Mark { line: mark.line.max(1), column: mark.column.max(1) } }
}

/// libyaml's own description of the problem, without kind, place and context:
/// `Parser error: line 4 column 2: did not find expected key while parsing …`.
fn problem_text(error: &Error) -> String {
    let shown = error.to_string();
    let is_place = |part: &str| part.starts_with("line ") || part.ends_with(" error");
    let problem =
        shown.split(": ").skip_while(|part| is_place(part)).collect::<Vec<_>>().join(": ");
    let problem = problem.split(" (offset ").next().unwrap_or_default();
    match problem.split(" while ").next() {
        Some(text) if !text.is_empty() => text.to_string(),
        _ => "unknown problem parsing YAML content".to_string(),
    }
}

/// What a scalar means (go-yaml v2 `resolve.go`).
fn resolve(text: String, tag: Option<&str>, is_plain: bool) -> NodeKind {
    match tag {
        Some("tag:yaml.org,2002:str" | "!" | "tag:yaml.org,2002:binary") => {
            return NodeKind::String(text);
        }
        Some("tag:yaml.org,2002:null") => return NodeKind::Null,
        None if !is_plain => return NodeKind::String(text),
        _ => {}
    }
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return NodeKind::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return NodeKind::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return NodeKind::Bool(false);
        }
        _ => {}
    }
    match number(&text) {
        Some(number) => NodeKind::Number(number),
        None => NodeKind::String(text),
    }
}

/// Whole numbers in any base, then decimal fractions; everything else is text.
fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    let plain = text.replace('_', "");
    let (is_negative, digits) = match plain.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    if let Some(magnitude) = whole(digits) {
        return match (is_negative, i64::try_from(magnitude)) {
            (false, _) => Some(Number::from(magnitude)),
            (true, Ok(value)) => Some(Number::from(-value)),
            (true, Err(_)) => Number::from_f64(-(magnitude as f64)),
        };
    }
    if is_decimal(digits) { plain.parse().ok().and_then(Number::from_f64) } else { None }
}

fn whole(digits: &str) -> Option<u64> {
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, lower.get(2..)?),
        Some("0b") => (2, lower.get(2..)?),
        Some("0o") => (8, lower.get(2..)?),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, lower.get(1..)?),
        _ => (10, lower.as_str()),
    };
    let is_whole = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    is_whole.then(|| u64::from_str_radix(digits, radix).ok()).flatten()
}

/// `1.5`, `.5`, `1.`, `1e3`, `08`.
fn is_decimal(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let all_digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = !before.is_empty() || !after.is_empty();
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    has_digits && all_digits(before) && all_digits(after) && exponent_fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, expected: Expect) {
        let shown: Vec<String> = documents(text)
            .into_iter()
            .map(|document| match document.content {
                Ok(Some(node)) => format!("{}: {}", document.first_line, node.to_value()),
                Ok(None) => format!("{}: nothing", document.first_line),
                Err(e) => format!(
                    "{}: yaml: {} ({}:{})",
                    document.first_line, e.message, e.mark.line, e.mark.column
                ),
            })
            .collect();
        expected.assert_eq(&shown.join("\n"));
    }

    #[test]
    fn a_control_character_is_refused_where_it_stands() {
        check(
            "a: 1\n---\nb: 2\nc: x\u{0}y\n",
            expect![[r#"
                1: {"a":1}
                3: yaml: control characters are not allowed (4:5)"#]],
        );
    }

    #[test]
    fn documents_are_split_as_kubectl_splits_them() {
        check(
            "---\na: 1\n---\n# only a comment\n--- # and another\nb: 2\n---\n",
            expect![[r#"
            1: {"a":1}
            4: nothing
            6: {"b":2}
            8: nothing"#]],
        );
        check(
            "\u{feff}a: 1\r\n---\r\nb: 2\r\n",
            expect![[r#"
            1: {"a":1}
            3: {"b":2}"#]],
        );
        check("", expect!["1: nothing"]);
    }

    #[test]
    fn the_last_line_needs_no_end() {
        check("a: |\n  x", expect![[r#"1: {"a":"x\n"}"#]]);
        check("---\na: >-\n  x\n  y", expect![[r#"1: {"a":"x y"}"#]]);
        check("a: |+", expect![[r#"1: {"a":""}"#]]);
        check("- |\n x\r", expect![[r#"1: ["x\n"]"#]]);
    }

    #[test]
    fn plain_words_mean_what_go_yaml_says() {
        check(
            "[yes, no, on, off, y, n, ~, null, Null, '', \"yes\", nope]",
            expect![[r#"1: [true,false,true,false,true,false,null,null,null,"","yes","nope"]"#]],
        );
        check(
            "[0777, 0o17, 0x1F, 0b101, 08, 1_000, 1.5, .5, 1., 1e3, -3, +4, 80:80, 1.2.3, 2020-01-01, -, 1e, 18446744073709551615]",
            expect![[
                r#"1: [511,15,31,5,8.0,1000,1.5,0.5,1.0,1000.0,-3,4,"80:80","1.2.3","2020-01-01","-","1e",18446744073709551615]"#
            ]],
        );
        check("{1: a, true: b, 1.5: c}", expect![[r#"1: {"1":"a","1.5":"c","true":"b"}"#]]);
    }

    #[test]
    fn anchors_merges_and_repeated_keys() {
        check(
            "base: &b {x: 1, y: 2}\nother: {<<: *b, y: 3}\nlist: [*b]",
            expect![[
                r#"1: {"base":{"true":2,"x":1},"list":[{"true":2,"x":1}],"other":{"true":3,"x":1}}"#
            ]],
        );
        check("a: 1\nb: 2\na: 3", expect![[r#"1: {"a":3,"b":2}"#]]);
        check("a: *nobody", expect!["1: yaml: unknown anchor 'nobody' referenced (1:4)"]);
    }

    #[test]
    fn mistakes_are_told_as_kubectl_tells_them() {
        check("a: b: c", expect!["1: yaml: mapping values are not allowed in this context (1:5)"]);
        check(
            "x: 1\nspec:\n  a: 1\n b: 2\n",
            expect!["1: yaml: line 3: did not find expected key (4:2)"],
        );
        check(
            "x: 1\n---\na:\n\tb: 1\n",
            expect![[r#"
            1: {"x":1}
            3: yaml: line 2: found character that cannot start any token (4:1)"#]],
        );
        check("a: [1, 2\nb: 3", expect!["1: yaml: line 1: did not find expected ',' or ']' (2:2)"]);
        check("a: \"open", expect!["1: yaml: line 2: found unexpected end of stream (2:1)"]);
        check("? [a]\n: b", expect![[r#"1: yaml: invalid map key: []interface {}{"a"} (1:3)"#]]);
        check(
            "kind: {{ .Values.kind }}\n",
            expect![[
                r#"1: yaml: invalid map key: map[interface {}]interface {}{".Values.kind":interface {}(nil)} (1:8)"#
            ]],
        );
    }

    #[test]
    fn places_are_places_of_the_file() {
        let documents = documents("a: 1\n---\nspec:\n  ports:\n  - port: 80\n    name: x\n");
        let node = documents[1].content.as_ref().unwrap().as_ref().unwrap();
        let at = |path: &str| {
            let mark = node.locate(path);
            (mark.line, mark.column)
        };
        assert_eq!(at("spec.ports[0].name"), (6, 5));
        assert_eq!(at("spec.ports[0]"), (5, 5));
        assert_eq!(at("spec.ports[0].missing"), (5, 5));
        assert_eq!(at("spec.ports[7]"), (4, 3));
    }

    #[test]
    fn a_billion_laughs_and_a_deep_well_are_refused() {
        let mut laughs = "a0: &a0 [x]\n".to_string();
        for i in 1..40 {
            laughs += &format!("a{i}: &a{i} [*a{p}, *a{p}, *a{p}]\n", p = i - 1);
        }
        let message = |text: &str| documents(text).remove(0).content.unwrap_err().message;
        assert_eq!(message(&laughs), "document contains excessive aliasing");
        assert!(message(&"[".repeat(100_000)).contains("exceeded max depth"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\n\t\u{e9}&*:{}\\[\\]>|#-]{0,60}") {
            documents(&text);
        }
    }
}
