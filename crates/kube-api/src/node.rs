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

    /// The place of the field at `path` (`spec.ports[0].nodePort`), or of the last part of it that is
    /// there. For a key of a map it is the key's place.
    pub fn locate(&self, path: &str) -> Mark {
        let mut at = self;
        let mut mark = self.mark;
        for part in path_parts(path) {
            let step = match (&at.kind, part) {
                (NodeKind::Map(entries), PathPart::Field(name)) => entries
                    .iter()
                    .find(|(key, _)| key.name == name)
                    .map(|(key, value)| (key.mark, value)),
                (NodeKind::List(items), PathPart::Index(index)) => {
                    items.get(index).map(|item| (item.mark, item))
                }
                _ => None,
            };
            let Some((place, value)) = step else { break };
            (mark, at) = (place, value);
        }
        mark
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

enum PathPart<'a> {
    Field(&'a str),
    Index(usize),
}

/// `spec.ports[0].nodePort` in parts; `[key]` after a map is a field.
fn path_parts(path: &str) -> impl Iterator<Item = PathPart<'_>> {
    path.split(['.', '[']).filter(|part| !part.is_empty()).map(|part| {
        match part.strip_suffix(']') {
            Some(inner) => inner.parse().map_or(PathPart::Field(inner), PathPart::Index),
            None => PathPart::Field(part),
        }
    })
}
