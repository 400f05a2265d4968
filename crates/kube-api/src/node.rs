//! A parsed manifest: values that know where they stand.

use serde_json::{Map, Number, Value};

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1.
    pub column: u32,
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub mark: Mark,
    /// What it is.
    pub kind: NodeKind,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// `null`, `~`, or nothing.
    Null,
    /// `true`, `yes`, `on` and their opposites.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    String(String),
    /// A list.
    List(Vec<Node>),
    /// A map; of equal keys only the last is kept, as kubectl does.
    Map(Vec<(Key, Node)>),
}

/// A key of a map and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub name: String,
    /// Where it stands.
    pub mark: Mark,
}

impl Node {
    /// The value without places.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            NodeKind::Null => Value::Null,
            NodeKind::Bool(b) => Value::Bool(*b),
            NodeKind::Number(n) => Value::Number(n.clone()),
            NodeKind::String(s) => Value::String(s.clone()),
            NodeKind::List(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            NodeKind::Map(entries) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    map.insert(key.name.clone(), value.to_value());
                }
                Value::Object(map)
            }
        }
    }

    /// The value under `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            NodeKind::Map(entries) => {
                entries.iter().find(|(known, _)| known.name == key).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::String(text) => Some(text),
            _ => None,
        }
    }

    /// What encoding/json calls this kind of value.
    pub fn json_kind(&self) -> &'static str {
        match &self.kind {
            NodeKind::Null => "null",
            NodeKind::Bool(_) => "bool",
            NodeKind::Number(_) => "number",
            NodeKind::String(_) => "string",
            NodeKind::List(_) => "array",
            NodeKind::Map(_) => "object",
        }
    }

    /// The place of the field at `path` (`spec.ports[0].nodePort`, `spec.limits[cpu]`), or of the last part of
    /// it that is there. For a key of a map it is the key's place.
    pub fn locate(&self, path: &str) -> Mark {
        let (mut at, mut mark, mut path) = (self, self.mark, path);
        while let Some((place, value, rest)) = at.step(path) {
            (mark, at, path) = (place, value, rest);
        }
        mark
    }

    /// The first and the last line of the field at `path`; of one that is not there, the line of what is
    /// around it.
    pub fn extent(&self, path: &str) -> (u32, u32) {
        let (mut at, mut mark, mut path) = (self, self.mark, path);
        while let Some((place, value, rest)) = at.step(path) {
            (mark, at, path) = (place, value, rest);
        }
        let last = if path.is_empty() { at.last_line() } else { mark.line };
        (mark.line, last)
    }

    /// The line on which its last value begins.
    fn last_line(&self) -> u32 {
        let inside = match &self.kind {
            NodeKind::List(items) => items.last(),
            NodeKind::Map(entries) => entries.last().map(|(_, value)| value),
            _ => None,
        };
        inside.map_or(self.mark.line, Node::last_line)
    }

    /// One step along a path. Keys may have dots in them; of several that fit the longest counts.
    fn step<'a, 'p>(&'a self, path: &'p str) -> Option<(Mark, &'a Node, &'p str)> {
        let ends = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
        match &self.kind {
            NodeKind::Map(entries) => {
                let rest_of = |name: &str| {
                    let bare = path.strip_prefix('.').unwrap_or(path);
                    let plain = bare.strip_prefix(name).filter(|rest| ends(rest));
                    let in_brackets =
                        || path.strip_prefix('[')?.strip_prefix(name)?.strip_prefix(']');
                    plain.or_else(in_brackets)
                };
                let fitting = entries.iter().filter_map(|(key, value)| {
                    Some((key.mark, value, rest_of(&key.name).filter(|_| !key.name.is_empty())?))
                });
                fitting.min_by_key(|(_, _, rest)| rest.len())
            }
            NodeKind::List(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some((item.mark, item, rest))
            }
            _ => None,
        }
    }

    /// Calls `visit` with the path and the place of every field and list item.
    pub fn for_each_field(&self, path: &mut String, visit: &mut dyn FnMut(&str, Mark)) {
        let len = path.len();
        match &self.kind {
            NodeKind::Map(entries) => {
                for (key, value) in entries {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&key.name);
                    visit(path, key.mark);
                    value.for_each_field(path, visit);
                    path.truncate(len);
                }
            }
            NodeKind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push_str(&format!("[{index}]"));
                    visit(path, item.mark);
                    item.for_each_field(path, visit);
                    path.truncate(len);
                }
            }
            _ => {}
        }
    }
}
