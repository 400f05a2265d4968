//! Strict decoding: a manifest against the shape of its kind, with everything that is wrong and where.
//!
//! The messages are those of the API server's decoder (`sigs.k8s.io/json`, Go's `encoding/json`), which
//! kubectl passes on.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

use serde_json::{Map, Value};

use crate::crd;
use crate::kinds::Custom;
use crate::node::{Key, Mark, Node, NodeKind};
use crate::schema::{KindSchema, Schema, Type};
use crate::status::quoted;

/// Something that is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub kind: ProblemKind,
    /// Path of the field, `spec.template.spec.containers[0].image`.
    pub path: String,
    /// Where it stands in the file.
    pub mark: Mark,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The type has no such field.
    UnknownField,
    /// The value has the wrong type; the server's words.
    WrongType(String),
}

/// What a manifest says about an object of a kind, and what is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object, without explicit nulls and without what is wrong.
    pub value: Value,
    /// What is wrong, in the order in which the server comes across it.
    pub problems: Vec<Problem>,
}

impl Decoded {
    /// What the server says about the problems, if there are any: the first wrong type, or else all
    /// unknown fields.
    pub fn server_message(&self, name: &str, version: &str) -> Option<String> {
        let wrong_type = self.problems.iter().find_map(|problem| match &problem.kind {
            ProblemKind::WrongType(message) => Some(message.clone()),
            ProblemKind::UnknownField => None,
        });
        let what = match wrong_type {
            Some(message) => message,
            None if self.problems.is_empty() => return None,
            None => {
                let unknown =
                    |problem: &Problem| format!("unknown field {}", quoted(&problem.path));
                let fields: Vec<String> = self.problems.iter().map(unknown).collect();
                format!("strict decoding error: {}", fields.join(", "))
            }
        };
        Some(format!("{name} in version {version:?} cannot be handled as a {name}: {what}"))
    }
}

impl Decoded {
    /// Something is of the wrong type, which no server overlooks.
    pub fn has_wrong_type(&self) -> bool {
        let is_wrong = |problem: &Problem| matches!(problem.kind, ProblemKind::WrongType(_));
        self.problems.iter().any(is_wrong)
    }
}

/// Reads `node` as an object of a kind that a user has defined.
pub fn decode_custom(node: &Node, custom: &Custom) -> Decoded {
    let mut decoder = Decoder { problems: Vec::new(), path: Path::default() };
    let mut value = node.to_value();
    if let Some(node) = node.get("metadata") {
        decoder.path.full.push_str("metadata");
        decoder.path.go.push_str("metadata");
        let metadata = decoder.value(node, Type::Object("meta/v1.ObjectMeta")).unwrap_or_default();
        if let Some(fields) = value.as_object_mut() {
            fields.insert("metadata".to_string(), metadata);
        }
    }
    for path in crd::prune(&mut value, &custom.schema) {
        let mark = node.locate(&path);
        decoder.problems.push(Problem { kind: ProblemKind::UnknownField, path, mark });
    }
    Decoded { value, problems: decoder.problems }
}

/// Reads `node` as an object of `kind`.
pub fn decode(node: &Node, kind: &KindSchema) -> Decoded {
    let mut decoder = Decoder { problems: Vec::new(), path: Path::default() };
    let value = decoder.object(node, kind.type_name).unwrap_or_default();
    Decoded { value, problems: decoder.problems }
}

/// The path to the value at hand: with indices for people, and as Go's decoder tells it.
#[derive(Default)]
struct Path {
    full: String,
    /// Field names only, joined by dots.
    go: String,
    /// The type that has the last field.
    parent: String,
}

struct Decoder {
    problems: Vec<Problem>,
    path: Path,
}

impl Decoder {
    fn problem(&mut self, kind: ProblemKind, mark: Mark) {
        self.problems.push(Problem { kind, path: self.path.full.clone(), mark });
    }

    /// `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`
    fn wrong_type(&mut self, node: &Node, ty: Type) -> Option<Value> {
        let found = match &node.kind {
            NodeKind::Number(number) if matches!(ty, Type::I32 | Type::I64) => {
                format!("number {number}")
            }
            _ => node.json_kind().to_string(),
        };
        let Path { go, parent, .. } = &self.path;
        let place = if go.is_empty() {
            format!("Go value of type {}", ty.go_name())
        } else {
            format!("Go struct field {parent}.{go} of type {}", ty.go_name())
        };
        let message = format!("json: cannot unmarshal {found} into {place}");
        self.problem(ProblemKind::WrongType(message), node.mark);
        None
    }

    fn bad(&mut self, node: &Node, message: String) -> Option<Value> {
        self.problem(ProblemKind::WrongType(message), node.mark);
        None
    }

    fn value(&mut self, node: &Node, ty: Type) -> Option<Value> {
        if node.kind == NodeKind::Null && ty != Type::Any {
            return None;
        }
        match ty {
            Type::Any => Some(node.to_value()),
            Type::String => match &node.kind {
                NodeKind::String(text) => Some(Value::String(text.clone())),
                _ => self.wrong_type(node, ty),
            },
            Type::Bool => match node.kind {
                NodeKind::Bool(value) => Some(Value::Bool(value)),
                _ => self.wrong_type(node, ty),
            },
            Type::I32 | Type::I64 => self.whole(node, ty),
            Type::F64 => match &node.kind {
                NodeKind::Number(number) => Some(Value::Number(number.clone())),
                _ => self.wrong_type(node, ty),
            },
            Type::IntOrString => self.int_or_string(node),
            Type::Quantity => self.quantity(node),
            Type::Time | Type::MicroTime => self.time(node, ty),
            Type::Bytes => self.bytes(node, ty),
            Type::List(item) => self.list(node, ty, Type::parse(item)),
            Type::Map(value) => self.map(node, ty, Type::parse(value)),
            Type::Object(name) => self.object(node, name),
        }
    }

    fn whole(&mut self, node: &Node, ty: Type) -> Option<Value> {
        let NodeKind::Number(number) = &node.kind else { return self.wrong_type(node, ty) };
        // 8.0, as go-yaml makes of `08`, is written `8` in JSON.
        let whole = number.as_i64().or_else(|| {
            let float = number.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15)?;
            Some(float as i64)
        });
        match whole {
            Some(value) if ty == Type::I64 || i32::try_from(value).is_ok() => {
                Some(Value::Number(value.into()))
            }
            _ => self.wrong_type(node, ty),
        }
    }

    fn int_or_string(&mut self, node: &Node) -> Option<Value> {
        let whole = |n: &serde_json::Number| n.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
        match &node.kind {
            NodeKind::String(text) => Some(Value::String(text.clone())),
            NodeKind::Number(number) if whole(number) => Some(Value::Number(number.clone())),
            NodeKind::Number(number) => {
                let message =
                    format!("json: cannot unmarshal number {number} into Go value of type int32");
                self.bad(node, message)
            }
            _ => {
                let found = node.json_kind();
                let message = format!("json: cannot unmarshal {found} into Go value of type int32");
                self.bad(node, message)
            }
        }
    }

    fn quantity(&mut self, node: &Node) -> Option<Value> {
        let text = match &node.kind {
            NodeKind::String(text) => text.clone(),
            NodeKind::Number(number) => number.to_string(),
            _ => node.to_value().to_string(),
        };
        if let Some(quantity) = crate::quantity::Quantity::parse(text.trim()) {
            return Some(Value::String(quantity.canonical()));
        }
        let message = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
        self.bad(node, message.to_string())
    }

    fn time(&mut self, node: &Node, ty: Type) -> Option<Value> {
        let NodeKind::String(text) = &node.kind else { return self.wrong_type(node, ty) };
        if base::Utc::parse_rfc3339(text).is_some() {
            return Some(Value::String(text.clone()));
        }
        let message = format!(
            "parsing time \"\\\"{text}\\\"\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"{text}\" as \"2006\""
        );
        self.bad(node, message)
    }

    fn bytes(&mut self, node: &Node, ty: Type) -> Option<Value> {
        let NodeKind::String(text) = &node.kind else { return self.wrong_type(node, ty) };
        match bad_base64(text) {
            None => Some(Value::String(text.clone())),
            Some(at) => self.bad(node, format!("illegal base64 data at input byte {at}")),
        }
    }

    fn list(&mut self, node: &Node, ty: Type, item: Type) -> Option<Value> {
        let NodeKind::List(items) = &node.kind else { return self.wrong_type(node, ty) };
        let len = self.path.full.len();
        let mut values = Vec::with_capacity(items.len());
        for (index, node) in items.iter().enumerate() {
            self.path.full.push_str(&format!("[{index}]"));
            values.extend(self.value(node, item));
            self.path.full.truncate(len);
        }
        Some(Value::Array(values))
    }

    fn map(&mut self, node: &Node, ty: Type, value: Type) -> Option<Value> {
        let NodeKind::Map(entries) = &node.kind else { return self.wrong_type(node, ty) };
        let len = self.path.full.len();
        let mut values = Map::new();
        for (key, node) in sorted(entries) {
            self.path.full.push_str(&format!(".{}", key.name));
            if let Some(value) = self.value(node, value) {
                values.insert(key.name.clone(), value);
            }
            self.path.full.truncate(len);
        }
        Some(Value::Object(values))
    }

    fn object(&mut self, node: &Node, type_name: &'static str) -> Option<Value> {
        let NodeKind::Map(entries) = &node.kind else {
            return self.wrong_type(node, Type::Object(type_name));
        };
        let schema = Schema::get();
        let lens = (self.path.full.len(), self.path.go.len());
        let short = type_name.rsplit('.').next().unwrap_or(type_name);
        let parent = std::mem::replace(&mut self.path.parent, short.to_string());
        let mut values = Map::new();
        for (key, node) in sorted(entries) {
            for path in [&mut self.path.full, &mut self.path.go] {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&key.name);
            }
            match schema.field(type_name, &key.name) {
                Some(field) => {
                    self.path.parent = short.to_string();
                    if let Some(value) = self.value(node, field.ty) {
                        values.insert(key.name.clone(), value);
                    }
                }
                None => self.problem(ProblemKind::UnknownField, key.mark),
            }
            self.path.full.truncate(lens.0);
            self.path.go.truncate(lens.1);
        }
        self.path.parent = parent;
        Some(Value::Object(values))
    }
}

/// kubectl sends maps with their keys sorted, so that is the order in which the server sees them.
fn sorted(entries: &[(Key, Node)]) -> Vec<&(Key, Node)> {
    let mut entries: Vec<_> = entries.iter().collect();
    base::order::sort_by(&mut entries, |(a, _), (b, _)| a.name.cmp(&b.name));
    entries
}

/// The first byte that is wrong in standard base64, if any; line breaks are passed over.
fn bad_base64(text: &str) -> Option<usize> {
    let bytes: Vec<(usize, u8)> =
        text.bytes().enumerate().filter(|(_, b)| !matches!(b, b'\n' | b'\r')).collect();
    let is_digit = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    let digits = bytes.iter().take_while(|(_, b)| is_digit(*b)).count();
    let padding = bytes.iter().skip(digits).take_while(|(_, b)| *b == b'=').count();
    let wanted = [0, 3, 2, 1].get(digits % 4).copied().unwrap_or(0);
    let is_whole = digits + padding == bytes.len() && padding == wanted && wanted != 3;
    (!is_whole).then(|| bytes.get(digits).map_or(text.len(), |(at, _)| *at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;
    use expect_test::{Expect, expect};

    fn check(text: &str, expected: Expect) {
        let node = yaml::documents(text).remove(0).content.unwrap().unwrap();
        let text = |field: &str| node.get(field).and_then(Node::as_str).unwrap();
        let kind = Schema::get().kind(text("apiVersion"), text("kind")).unwrap();
        let decoded = decode(&node, kind);
        let mut shown =
            decoded.server_message(kind.kind, kind.version()).unwrap_or("fine".to_string());
        for problem in &decoded.problems {
            shown += &format!("\n{}:{} {}", problem.mark.line, problem.mark.column, problem.path);
        }
        expected.assert_eq(&shown);
    }

    #[test]
    fn all_unknown_fields_at_once() {
        check(
            "apiVersion: apps/v1
kind: Deployment
metadata: {name: x, label: {}}
spec:
  replica: 2
  template:
    spec:
      containers:
      - name: a
        imag: nginx
        ports: [{containerPort: 80, hostport: 1}]
",
            expect![[r#"
                Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "metadata.label", unknown field "spec.replica", unknown field "spec.template.spec.containers[0].imag", unknown field "spec.template.spec.containers[0].ports[0].hostport"
                3:21 metadata.label
                5:3 spec.replica
                10:9 spec.template.spec.containers[0].imag
                11:37 spec.template.spec.containers[0].ports[0].hostport"#]],
        );
    }

    #[test]
    fn a_wrong_type_is_told_in_go_s_words() {
        let deployment =
            |spec: &str| format!("apiVersion: apps/v1\nkind: Deployment\nspec:\n  {spec}\n");
        check(
            &deployment("replicas: two"),
            expect![[r#"
            Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32
            4:13 spec.replicas"#]],
        );
        check(
            &deployment("replicas: 1.5"),
            expect![[r#"
            Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32
            4:13 spec.replicas"#]],
        );
        check(
            &deployment("template: {spec: {containers: {name: a}}}"),
            expect![[r#"
            Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container
            4:33 spec.template.spec.containers"#]],
        );
        check(
            &deployment("template: {spec: {containers: [{env: [{name: A, value: 1}]}]}}"),
            expect![[r#"
                Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value of type string
                4:58 spec.template.spec.containers[0].env[0].value"#]],
        );
        check(
            &deployment("template: {spec: {containers: [{ports: [{containerPort: '80'}]}]}}"),
            expect![[r#"
                Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field ContainerPort.spec.template.spec.containers.ports.containerPort of type int32
                4:59 spec.template.spec.containers[0].ports[0].containerPort"#]],
        );
        check(
            &deployment("selector: {matchLabels: {a: 1}}"),
            expect![[r#"
            Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number into Go struct field LabelSelector.spec.selector.matchLabels of type string
            4:31 spec.selector.matchLabels.a"#]],
        );
        check(
            &deployment("template: {spec: {containers: [{resources: {limits: {cpu: lots}}}]}}"),
            expect![[r#"
                Deployment in version "v1" cannot be handled as a Deployment: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'
                4:61 spec.template.spec.containers[0].resources.limits.cpu"#]],
        );
        check(
            "apiVersion: v1\nkind: Service\nspec: {ports: [{port: 80, targetPort: true}]}",
            expect![[r#"
            Service in version "v1" cannot be handled as a Service: json: cannot unmarshal bool into Go value of type int32
            3:39 spec.ports[0].targetPort"#]],
        );
        check(
            "apiVersion: v1\nkind: Secret\ndata: {a: '%%%'}",
            expect![[r#"
            Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 0
            3:11 data.a"#]],
        );
        check(
            "apiVersion: v1\nkind: ConfigMap\ndata: {a: true}",
            expect![[r#"
            ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal bool into Go struct field ConfigMap.data of type string
            3:11 data.a"#]],
        );
    }

    #[test]
    fn nulls_are_as_if_they_were_not_there() {
        check(
            "apiVersion: v1\nkind: Service\nmetadata: null\nspec: {ports: null, selector: {a: null}}",
            expect!["fine"],
        );
    }

    #[test]
    fn base64() {
        for (text, bad) in [
            ("", None),
            ("YWJj", None),
            ("YWI=", None),
            ("YQ==", None),
            ("YW\nJj", None),
            ("YQ=", Some(2)),
            ("YQ", Some(2)),
            ("YW%j", Some(2)),
            ("YWJjZ", Some(5)),
        ] {
            assert_eq!(bad_base64(text), bad, "{text}");
        }
    }
}
