//! A file as kubectl reads it: its documents as objects of known kinds, or what is wrong with them
//! (`cli-runtime/pkg/resource`, `visitor.go`, `mapper.go`; `kubectl/pkg/validation`).

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

use std::rc::Rc;

use serde_json::Value;

use crate::convert;
use crate::decode::{Decoded, ProblemKind};
use crate::hint::Hints;
use crate::kinds::{KindInfo, retired};
use crate::node::{Node, NodeKind};
use crate::provenance::Origin;
use crate::server::Api;
use crate::status::{Status, quoted};
use crate::yaml;

/// Lists inside lists at most.
const LISTS_MAX: u32 = 16;

/// `--validate`: what becomes of fields that nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validate {
    /// They are refused.
    #[default]
    Strict,
    /// They are warned of and dropped.
    Warn,
    /// They are dropped.
    Ignore,
}

/// How a file is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// `-n`, when it was given.
    pub namespace: Option<&'a str>,
    /// Where objects go that name no namespace; `default` when it is empty.
    pub fallback: &'a str,
    /// `--validate`
    pub validate: Validate,
    /// Only kinds and names are wanted: nothing else of a document is looked at.
    pub names_only: bool,
}

/// A document of a file, as an object of a known kind.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file's name, as it was given.
    pub file: String,
    /// Which document of the file it is, from 1.
    pub document: u32,
    /// Its kind, in the version in which objects are kept.
    pub kind: KindInfo,
    /// What is written.
    pub node: Node,
    /// What it says, checked against the kind's fields.
    pub value: Value,
    /// Its namespace; empty where the kind has none.
    pub namespace: String,
    /// Its name; empty where there is none.
    pub name: String,
    /// `unknown field "spec.foo"`, with `--validate=warn`.
    pub warnings: Vec<String>,
    text: Rc<Text>,
}

/// What a document has in common with the others of its file.
#[derive(Debug, Default)]
struct Text {
    file: String,
    hints: Hints,
    has_many: bool,
}

impl Text {
    /// `podwire: a.yaml:7: spec.replicas`, and what is odd there.
    fn place(&self, document: u32, line: u32, what: &str) -> String {
        self.place_with(document, line, what, self.hints.at(line))
    }

    fn place_with(&self, document: u32, line: u32, what: &str, hint: Option<&str>) -> String {
        let mut place = format!("podwire: {}:{line}", self.file);
        if self.has_many {
            place.push_str(&format!(" (document {document})"));
        }
        if !what.is_empty() {
            place.push_str(&format!(": {what}"));
        }
        if let Some(hint) = hint {
            place.push_str(&format!(": {hint}"));
        }
        place
    }
}

impl Manifest {
    /// The lines of its fields.
    pub fn origin(&self) -> Origin {
        Origin::new(&self.file, self.document, &self.node)
    }

    /// Where in the file the things stand that a server has refused: a line each.
    pub fn places(&self, status: &Status) -> String {
        let causes = status.invalid.as_ref().map_or(&[][..], |invalid| &invalid.causes);
        let mut places: Vec<String> = Vec::new();
        for cause in causes {
            let (line, last) = self.node.extent(&cause.field);
            let what = if causes.len() > 1 { cause.field.as_str() } else { "" };
            // What is wrong with a map of labels is told of the map; what is odd stands further down.
            let hint = self.text.hints.within(line, last);
            let place = self.text.place_with(self.document, line, what, hint);
            if !places.contains(&place) {
                places.push(place);
            }
        }
        if places.is_empty() {
            places.push(self.text.place(self.document, self.node.mark.line, ""));
        }
        places.join("\n")
    }
}

/// Why a document is not taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// In kubectl's words, without `error: `; of what the server refuses, the server's.
    pub message: String,
    /// What the server says, if it was the server.
    pub status: Option<Status>,
    /// Where, a line each.
    pub places: String,
}

/// The documents of a file.
///
/// After one that is no YAML kubectl reads no further.
pub fn read(
    api: &Api,
    file: &str,
    bytes: &[u8],
    options: &Options<'_>,
) -> Vec<Result<Manifest, Box<Refusal>>> {
    let text = String::from_utf8_lossy(bytes);
    let documents = yaml::documents(&text);
    let has_many = documents.iter().filter(|document| document.content != Ok(None)).count() > 1;
    let shared = Rc::new(Text { file: file.to_string(), hints: Hints::of(&text), has_many });
    let mut reader = Reader { api, options, text: shared, document: 0, found: Vec::new() };
    for document in documents {
        reader.document += 1;
        match document.content {
            Ok(None) => {}
            Ok(Some(node)) => reader.list_or_object(node, 0),
            Err(error) => {
                let message = format!("error parsing {file}: {}", error.in_kubectl());
                let message =
                    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
                        format!("{message}\npodwire: the file is UTF-16; save it as UTF-8")
                    } else {
                        message
                    };
                reader.refuse(message, error.mark.line, "");
                break;
            }
        }
    }
    reader.found
}

struct Reader<'a> {
    api: &'a Api,
    options: &'a Options<'a>,
    text: Rc<Text>,
    document: u32,
    found: Vec<Result<Manifest, Box<Refusal>>>,
}

impl Reader<'_> {
    fn refuse(&mut self, message: String, line: u32, hint: &str) {
        let places = self.text.place(self.document, line, hint);
        self.found.push(Err(Box::new(Refusal { message, status: None, places })));
    }

    /// A list stands for its items.
    fn list_or_object(&mut self, mut node: Node, depth: u32) {
        let kind = node.get("kind").and_then(Node::as_str).unwrap_or_default();
        let is_list = kind.ends_with("List") && node.get("apiVersion").is_some();
        if is_list
            && depth < LISTS_MAX
            && let NodeKind::Map(entries) = &mut node.kind
            && let Some((_, items)) = entries.iter_mut().find(|(key, _)| key.name == "items")
        {
            match &mut items.kind {
                NodeKind::List(items) => {
                    for item in std::mem::take(items) {
                        self.list_or_object(item, depth + 1);
                    }
                }
                NodeKind::Null => {}
                _ => self.object(node, depth),
            }
            return;
        }
        self.object(node, depth);
    }

    fn object(&mut self, node: Node, depth: u32) {
        let line = node.mark.line;
        if let Some(message) = self.no_kind(&node, depth > 0) {
            return self.refuse(message, line, "");
        }
        let text =
            |field: &str| node.get(field).and_then(Node::as_str).unwrap_or_default().to_string();
        let (api_version, kind_name) = (text("apiVersion"), text("kind"));
        let of_meta = |field: &str| node.get("metadata").and_then(|meta| meta.get(field));
        let name = of_meta("name").and_then(Node::as_str).unwrap_or_default().to_string();
        let given = of_meta("namespace").and_then(Node::as_str).unwrap_or_default().to_string();
        let kinds = self.api.store().kinds();
        let Some(kind) = kinds.find(&api_version, &kind_name) else {
            let file = &self.text.file;
            let message = format!(
                "resource mapping not found for name: {name:?} namespace: {given:?} from {file:?}: no matches for kind {kind_name:?} in version {api_version:?}\nensure CRDs are installed first"
            );
            let hint = self.hint_for_kind(&api_version, &kind_name);
            return self.refuse(message, line, &hint);
        };
        let kind = kind.clone();
        if let Some(wanted) = self.options.namespace
            && kind.is_namespaced
            && !given.is_empty()
            && given != wanted
        {
            let message = format!(
                "the namespace from the provided object {given:?} does not match the namespace {wanted:?}. You must pass '--namespace={given}' to perform this operation."
            );
            let line = node.locate("metadata.namespace").line;
            return self.refuse(message, line, "");
        }
        let namespace = match (kind.is_namespaced, given.is_empty()) {
            (false, _) => String::new(),
            (true, false) => given,
            (true, true) => match (self.options.namespace, self.options.fallback) {
                (Some(namespace), _) => namespace.to_string(),
                (None, "") => "default".to_string(),
                (None, fallback) => fallback.to_string(),
            },
        };
        let decoded = match self.options.names_only {
            true => Decoded { value: Value::Null, problems: Vec::new() },
            false => self.api.decoded(kind.id, &node),
        };
        let mut warnings = Vec::new();
        if let Some(status) = self.refusal(&kind, &decoded) {
            if self.options.validate == Validate::Strict || decoded.has_wrong_type() {
                return self.refuse_decoded(status, &decoded);
            }
            if self.options.validate == Validate::Warn {
                let unknown = decoded.problems.iter();
                warnings.extend(
                    unknown.map(|problem| format!("unknown field {}", quoted(&problem.path))),
                );
            }
        }
        let (storage, mut value) = convert::to_storage(kinds, &kind, decoded.value);
        if storage.is_namespaced
            && let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut)
        {
            meta.insert("namespace".to_string(), namespace.clone().into());
        }
        let (file, document, text) = (self.text.file.clone(), self.document, self.text.clone());
        let kind = storage.clone();
        self.found.push(Ok(Manifest {
            file,
            document,
            kind,
            node,
            value,
            namespace,
            name,
            warnings,
            text,
        }));
    }

    fn refusal(&self, kind: &KindInfo, decoded: &Decoded) -> Option<Status> {
        decoded.server_message(&kind.kind, &kind.version).map(Status::bad_request)
    }

    fn refuse_decoded(&mut self, status: Status, decoded: &Decoded) {
        let places: Vec<String> = decoded
            .problems
            .iter()
            .map(|problem| {
                let what = match &problem.kind {
                    ProblemKind::UnknownField if decoded.problems.len() > 1 => {
                        format!("{}: unknown field", problem.path)
                    }
                    ProblemKind::WrongType(_) if decoded.problems.len() > 1 => {
                        format!("{}: wrong type", problem.path)
                    }
                    _ => String::new(),
                };
                self.text.place(self.document, problem.mark.line, &what)
            })
            .collect();
        let (message, places) = (status.message.clone(), places.join("\n"));
        self.found.push(Err(Box::new(Refusal { message, status: Some(status), places })));
    }

    /// What kubectl says of a document that does not say what it is.
    fn no_kind(&self, node: &Node, is_item: bool) -> Option<String> {
        let file = &self.text.file;
        let is_map = matches!(node.kind, NodeKind::Map(_));
        let mut wrong: Vec<String> = Vec::new();
        if !is_map {
            wrong.push("invalid object to validate".to_string());
        }
        for field in ["apiVersion", "kind"] {
            match node.get(field).map(|node| &node.kind) {
                _ if !is_map => {}
                None | Some(NodeKind::Null) => wrong.push(format!("{field} not set")),
                Some(NodeKind::String(_)) => {}
                Some(_) => wrong.push(format!("{field} isn't string type")),
            }
        }
        if is_item && !wrong.is_empty() {
            let what = if is_map && node.get("kind").is_some() { "apiVersion" } else { "Kind" };
            return Some(format!(
                "unable to decode {file:?}: Object '{what}' is missing in '{}'",
                node.to_value()
            ));
        }
        let what = match wrong.as_slice() {
            [] => {
                let is_empty = |field: &str| node.get(field).and_then(Node::as_str) == Some("");
                let missing = [("kind", "Kind"), ("apiVersion", "apiVersion")];
                let (_, missing) = missing.into_iter().find(|(field, _)| is_empty(field))?;
                let value = node.to_value();
                return Some(format!(
                    "unable to decode {file:?}: Object '{missing}' is missing in '{value}'"
                ));
            }
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        Some(format!(
            "error validating {file:?}: error validating data: {what}; if you choose to ignore these errors, turn validation off with --validate=false"
        ))
    }

    /// What may be meant by a kind that is not there.
    fn hint_for_kind(&self, api_version: &str, kind: &str) -> String {
        match retired(api_version, kind) {
            Some(Some(now)) => return format!("in Kubernetes 1.35 {kind} is in {now:?}"),
            Some(None) => return format!("{kind} was removed from Kubernetes"),
            None => {}
        }
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        match group {
            "kind.x-k8s.io" => return "this is for kind: kind create cluster --config".to_string(),
            "kustomize.config.k8s.io" => {
                return "this is for kustomize: kubectl apply -k".to_string();
            }
            _ => {}
        }
        let kinds = self.api.store().kinds();
        let named = |info: &&KindInfo| info.kind.eq_ignore_ascii_case(kind);
        if let Some(info) = kinds.served().find(named) {
            let (kind, version) = (&info.kind, info.api_version());
            return format!("this cluster has kind {kind:?} in {version:?}");
        }
        if group.ends_with(".config.k8s.io") || group == "kubeadm.k8s.io" {
            return "this is a file for a component of Kubernetes, not an object".to_string();
        }
        match group.contains('.') {
            true => {
                "a kind of its own: its CustomResourceDefinition must be applied first".to_string()
            }
            false => String::new(),
        }
    }
}
