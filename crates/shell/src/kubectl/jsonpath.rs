//! JSONPath templates as kubectl has them (`client-go/util/jsonpath`): `{.items[*].metadata.name}`, `range`,
//! filters, quoted text.

use serde_json::Value;

/// A template, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Path(Path),
    Range(Path, Vec<Part>),
}

/// Steps from the value at hand, or from the root for `$`.
#[derive(Clone, Debug, PartialEq)]
struct Path {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    All,
    Deep,
    Filter(Path, &'static str, Value),
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Template, String> {
        let mut parser = Parser { rest: text };
        let parts = parser.parts(false)?;
        Ok(Template(parts))
    }

    /// A single path, with or without its braces, as `--sort-by` and `custom-columns` take it.
    pub(crate) fn of_path(text: &str) -> Result<Template, String> {
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let inner = if inner.starts_with(['.', '[', '$']) {
            inner.to_string()
        } else {
            format!(".{inner}")
        };
        Template::parse(&format!("{{{inner}}}"))
    }

    /// Fills it in.
    pub(crate) fn fill(&self, root: &Value) -> Result<String, String> {
        let mut out = String::new();
        fill(&self.0, root, &mut out)?;
        Ok(out)
    }

    /// What its first path leads to.
    pub(crate) fn values<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let path = self.0.iter().find_map(|part| match part {
            Part::Path(path) => Some(path),
            _ => None,
        });
        path.map(|path| path.walk(root)).unwrap_or_default()
    }
}

fn fill(parts: &[Part], here: &Value, out: &mut String) -> Result<(), String> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Path(path) => {
                let values = path.walk(here);
                let texts: Vec<String> = values.into_iter().map(show).collect();
                out.push_str(&texts.join(" "));
            }
            Part::Range(path, inner) => {
                for value in path.walk(here) {
                    fill(inner, value, out)?;
                }
            }
        }
    }
    Ok(())
}

/// A value as text: texts bare, everything else as JSON.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

impl Path {
    fn walk<'a>(&self, from: &'a Value) -> Vec<&'a Value> {
        let mut here = vec![from];
        for step in &self.steps {
            here = here.into_iter().flat_map(|value| step.take(value)).collect();
        }
        here
    }
}

impl Step {
    fn take<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Step::Field(name) => value.get(name).into_iter().collect(),
            Step::All => children(value),
            Step::Deep => deep(value),
            Step::Index(at) => {
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                place(*at, items.len()).and_then(|at| items.get(at)).into_iter().collect()
            }
            Step::Slice(from, to) => {
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let from = from.and_then(|at| place(at, items.len())).unwrap_or(0);
                let to = to.and_then(|at| place(at, items.len())).unwrap_or(items.len());
                items.get(from..to.max(from)).unwrap_or_default().iter().collect()
            }
            Step::Filter(path, operator, wanted) => children(value)
                .into_iter()
                .filter(|item| {
                    let seen = path.walk(item);
                    match *operator {
                        "" => !seen.is_empty(),
                        "!=" => seen.first().is_some_and(|seen| !same(seen, wanted)),
                        _ => seen.first().is_some_and(|seen| same(seen, wanted)),
                    }
                })
                .collect(),
        }
    }
}

fn same(seen: &Value, wanted: &Value) -> bool {
    seen == wanted || show(seen) == show(wanted)
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

fn deep(value: &Value) -> Vec<&Value> {
    let mut all = vec![value];
    for child in children(value) {
        all.extend(deep(child));
    }
    all
}

/// A place that may count from the end.
fn place(at: i64, len: usize) -> Option<usize> {
    let len = i64::try_from(len).ok()?;
    let at = if at < 0 { at + len } else { at };
    usize::try_from(at.clamp(-1, len)).ok()
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn parts(&mut self, in_range: bool) -> Result<Vec<Part>, String> {
        let mut parts = Vec::new();
        loop {
            let (text, after) = match self.rest.split_once('{') {
                Some((text, after)) => (text, Some(after)),
                None => (self.rest, None),
            };
            if !text.is_empty() {
                parts.push(Part::Text(text.to_string()));
            }
            let Some(after) = after else {
                self.rest = "";
                return if in_range { Err("unclosed range".to_string()) } else { Ok(parts) };
            };
            let inside = self.until_brace(after)?;
            let word = inside.trim();
            if word == "end" {
                return if in_range {
                    Ok(parts)
                } else {
                    Err("not in range, nothing to end".to_string())
                };
            }
            if let Some(path) = word.strip_prefix("range ") {
                let path = Parser { rest: path.trim() }.path()?;
                parts.push(Part::Range(path, self.parts(true)?));
            } else if word.starts_with(['"', '\'']) {
                parts.push(Part::Text(unquote(word)));
            } else {
                parts.push(Part::Path(Parser { rest: word }.path()?));
            }
        }
    }

    /// The text up to the brace that closes, quotes passed over; goes on behind it.
    fn until_brace(&mut self, text: &'a str) -> Result<&'a str, String> {
        let mut quote = None;
        for (at, c) in text.char_indices() {
            match (quote, c) {
                (None, '}') => {
                    self.rest = text.get(at + 1..).unwrap_or_default();
                    return Ok(text.get(..at).unwrap_or_default());
                }
                (None, '"' | '\'') => quote = Some(c),
                (Some(open), c) if c == open => quote = None,
                _ => {}
            }
        }
        let is_open = text.matches('[').count() > text.matches(']').count();
        Err(if is_open { "unterminated array" } else { "unclosed action" }.to_string())
    }

    fn path(&mut self) -> Result<Path, String> {
        let mut steps = Vec::new();
        self.rest = self.rest.trim_start_matches(['$', '@']);
        while !self.rest.is_empty() {
            if let Some(rest) = self.rest.strip_prefix("..") {
                steps.push(Step::Deep);
                self.rest = rest;
                if !rest.starts_with('[') {
                    self.field(&mut steps);
                }
            } else if let Some(rest) = self.rest.strip_prefix('.') {
                self.rest = rest;
                self.field(&mut steps);
            } else if let Some(rest) = self.rest.strip_prefix('[') {
                let end = closing(rest).ok_or_else(|| "unterminated array".to_string())?;
                let inside = rest.get(..end).unwrap_or_default();
                self.rest = rest.get(end + 1..).unwrap_or_default();
                steps.push(subscript(inside.trim())?);
            } else {
                let c = self.rest.chars().next().unwrap_or(' ');
                return Err(format!("unrecognized character in action: {:?}", c));
            }
        }
        Ok(Path { steps })
    }

    fn field(&mut self, steps: &mut Vec<Step>) {
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' => {
                    end = at;
                    break;
                }
                c => name.push(c),
            }
        }
        self.rest = self.rest.get(end..).unwrap_or_default();
        match name.as_str() {
            "" => {}
            "*" => steps.push(Step::All),
            _ => steps.push(Step::Field(name)),
        }
    }
}

/// Where the bracket closes.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn subscript(text: &str) -> Result<Step, String> {
    if text == "*" {
        return Ok(Step::All);
    }
    if text.starts_with(['"', '\'']) {
        return Ok(Step::Field(unquote(text)));
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return condition(filter.trim());
    }
    let number = |text: &str| -> Result<Option<i64>, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| format!("invalid array index {text}"))
    };
    match text.split_once(':') {
        Some((from, to)) => Ok(Step::Slice(number(from)?, number(to)?)),
        None => number(text)?.map(Step::Index).ok_or_else(|| "invalid array index ".to_string()),
    }
}

fn condition(text: &str) -> Result<Step, String> {
    for operator in ["==", "!="] {
        if let Some((left, right)) = text.split_once(operator) {
            let right = right.trim();
            let wanted = if right.starts_with(['"', '\'']) {
                Value::String(unquote(right))
            } else {
                serde_json::from_str(right).unwrap_or_else(|_| Value::String(right.to_string()))
            };
            return Ok(Step::Filter(Parser { rest: left.trim() }.path()?, operator, wanted));
        }
    }
    Ok(Step::Filter(Parser { rest: text }.path()?, "", Value::Null))
}

fn unquote(text: &str) -> String {
    let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    inner.replace("\\n", "\n").replace("\\t", "\t").replace("\\\"", "\"").replace("\\'", "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        let value = serde_json::json!({"items": [
            {"metadata": {"name": "a", "labels": {"k8s.io/x": "1"}}, "n": 1, "c": [{"type": "Ready", "status": "True"}]},
            {"metadata": {"name": "b"}, "n": 2, "c": [{"type": "Other", "status": "False"}]},
        ]});
        for (template, expected) in [
            ("{.items[*].metadata.name}", "a b"),
            ("{.items[0].metadata.name}:{.items[-1].n}", "a:2"),
            ("{range .items[*]}{.metadata.name}{\"\\t\"}{.n}{\"\\n\"}{end}", "a\t1\nb\t2\n"),
            ("{.items[?(@.n==2)].metadata.name}", "b"),
            ("{.items[*].c[?(@.type==\"Ready\")].status}", "True"),
            ("{.items[0].metadata.labels.k8s\\.io/x}", "1"),
            ("{..name}", "a b"),
            ("{.items[0:1].n}", "1"),
            ("{.items[0]['n']}", "1"),
            ("{.items[1].c[0]}", "{\"status\":\"False\",\"type\":\"Other\"}"),
            ("plain", "plain"),
        ] {
            assert_eq!(
                Template::parse(template).unwrap().fill(&value).unwrap(),
                expected,
                "{template}"
            );
        }
        for bad in ["{.a", "{range .a}", "{end}", "{.a[}", "{a}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
