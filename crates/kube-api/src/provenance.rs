//! Where objects came from: the file, the document, the line of every field.

use base::tree::BTreeMap;
use std::rc::Rc;

use crate::kinds::KindId;
use crate::node::Node;

/// Where an object came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file's name, as it was given.
    pub file: Rc<str>,
    /// Which document of the file it is, from 1.
    pub document: u32,
    /// The line on which the object begins.
    pub line: u32,
    /// The lines of its fields, by path: `spec.ports[0].nodePort`.
    fields: BTreeMap<String, u32>,
}

impl Origin {
    /// The places of a document's fields.
    pub fn new(file: &str, document: u32, node: &Node) -> Origin {
        let mut fields = BTreeMap::new();
        node.for_each_field(&mut String::new(), &mut |path, mark| {
            fields.insert(path.to_string(), mark.line);
        });
        Origin { file: file.into(), document, line: node.mark.line, fields }
    }

    /// The line of a field, or of the nearest field around it that is written down.
    pub fn line_of(&self, path: &str) -> u32 {
        let mut path = path;
        loop {
            if let Some(line) = self.fields.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None => return self.line,
            }
        }
    }

    /// All fields and their lines.
    pub fn fields(&self) -> impl Iterator<Item = (&str, u32)> {
        self.fields.iter().map(|(path, line)| (path.as_str(), *line))
    }
}

/// The origins of all objects that came from files.
#[derive(Clone, Debug, Default)]
pub struct Provenance(BTreeMap<(KindId, String, String), Rc<Origin>>);

impl Provenance {
    /// The object was applied from `origin`.
    pub fn set(&mut self, kind: KindId, namespace: &str, name: &str, origin: Origin) {
        let key = (kind, namespace.to_string(), name.to_string());
        self.0.insert(key, Rc::new(origin));
    }

    /// The object is gone.
    pub fn forget(&mut self, kind: KindId, namespace: &str, name: &str) {
        self.0.remove(&(kind, namespace.to_string(), name.to_string()));
    }

    /// Where the object came from.
    pub fn get(&self, kind: KindId, namespace: &str, name: &str) -> Option<&Rc<Origin>> {
        self.0.get(&(kind, namespace.to_string(), name.to_string()))
    }

    /// The file and the line where a field of an object is written, or the nearest field around it.
    pub fn place(
        &self,
        kind: KindId,
        namespace: &str,
        name: &str,
        field: &str,
    ) -> Option<(Rc<str>, u32)> {
        let origin = self.get(kind, namespace, name)?;
        Some((origin.file.clone(), origin.line_of(field)))
    }
}
