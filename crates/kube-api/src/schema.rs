//! The shape of every built-in kind, from a compact table.
//!
//! The table (`schema/v1_35.txt`) is written by `schema/generate` from k8s-openapi's JSON schemas. One
//! table checks all kinds, also those without behaviour, and costs a page 12 kB instead of a decoder each.

use base::tree::BTreeMap;
use std::sync::OnceLock;

const TABLE: &str = include_str!("../schema/v1_35.txt");

/// A built-in kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindSchema {
    /// `apps/v1`, or `v1` for the core group.
    pub api_version: &'static str,
    /// `Deployment`
    pub kind: &'static str,
    /// `deployments`
    pub plural: &'static str,
    /// Objects live in a namespace.
    pub is_namespaced: bool,
    /// Its type.
    pub type_name: &'static str,
}

impl KindSchema {
    /// `apps`, or the empty text for the core group.
    pub fn group(&self) -> &'static str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// `v1`
    pub fn version(&self) -> &'static str {
        self.api_version.rsplit('/').next().unwrap_or(self.api_version)
    }
}

/// A field of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldSchema {
    /// Its name in JSON.
    pub name: &'static str,
    /// The server refuses an object without it.
    pub is_required: bool,
    /// Its type.
    pub ty: Type,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A text.
    String,
    /// A truth value.
    Bool,
    /// A whole number of 32 bits.
    I32,
    /// A whole number of 64 bits.
    I64,
    /// A number.
    F64,
    /// Bytes in base64.
    Bytes,
    /// A time in RFC 3339.
    Time,
    /// The same with microseconds.
    MicroTime,
    /// A number or a text.
    IntOrString,
    /// A quantity: `100m`, `1Gi`.
    Quantity,
    /// Anything.
    Any,
    /// A list; its elements' type as it stands in the table.
    List(&'static str),
    /// A map from texts; its values' type as it stands in the table.
    Map(&'static str),
    /// An object of this type.
    Object(&'static str),
}

impl Type {
    /// Reads a type as it stands in the table.
    pub fn parse(text: &'static str) -> Type {
        let inside = |open: char, close: char| {
            text.strip_prefix(open).and_then(|text| text.strip_suffix(close))
        };
        if let Some(item) = inside('[', ']') {
            return Type::List(item);
        }
        if let Some(value) = inside('{', '}') {
            return Type::Map(value);
        }
        match text {
            "string" => Type::String,
            "bool" => Type::Bool,
            "i32" => Type::I32,
            "i64" => Type::I64,
            "f64" => Type::F64,
            "bytes" => Type::Bytes,
            "time" => Type::Time,
            "microtime" => Type::MicroTime,
            "intstr" => Type::IntOrString,
            "quantity" => Type::Quantity,
            "any" => Type::Any,
            name => Type::Object(name),
        }
    }

    /// The type as Go prints it in its decoder's messages.
    pub fn go_name(&self) -> String {
        match self {
            Type::String | Type::Bytes => "string".to_string(),
            Type::Bool => "bool".to_string(),
            Type::I32 => "int32".to_string(),
            Type::I64 => "int64".to_string(),
            Type::F64 => "float64".to_string(),
            Type::Time => "v1.Time".to_string(),
            Type::MicroTime => "v1.MicroTime".to_string(),
            Type::IntOrString => "intstr.IntOrString".to_string(),
            Type::Quantity => "resource.Quantity".to_string(),
            Type::Any => "interface {}".to_string(),
            Type::List(item) => format!("[]{}", Type::parse(item).go_name()),
            Type::Map(value) => format!("map[string]{}", Type::parse(value).go_name()),
            // `apps/v1.DeploymentSpec` is `DeploymentSpec` of a package called `v1`.
            Type::Object(name) => name.rsplit('/').next().unwrap_or(name).to_string(),
        }
    }
}

/// The table in memory.
#[derive(Debug)]
pub struct Schema {
    kinds: Vec<KindSchema>,
    types: BTreeMap<&'static str, Vec<FieldSchema>>,
}

impl Schema {
    /// The table, read on first use.
    pub fn get() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(Schema::read)
    }

    fn read() -> Schema {
        let mut schema = Schema { kinds: Vec::new(), types: BTreeMap::new() };
        let mut open: Option<(&'static str, Vec<FieldSchema>)> = None;
        for line in TABLE.lines() {
            let mut words = line.split(' ');
            match (words.next(), words.next()) {
                (Some("@kind"), Some(api_version)) => {
                    let mut word = || words.next().unwrap_or_default();
                    let (kind, plural, scope, type_name) = (word(), word(), word(), word());
                    let is_namespaced = scope == "namespaced";
                    schema.kinds.push(KindSchema {
                        api_version,
                        kind,
                        plural,
                        is_namespaced,
                        type_name,
                    });
                }
                (Some("@type"), Some(name)) => {
                    schema.types.extend(open.replace((name, Vec::new())));
                }
                (Some(name), Some(ty)) => {
                    if let Some((_, fields)) = &mut open {
                        let is_required = name.ends_with('!');
                        let name = name.trim_end_matches('!');
                        fields.push(FieldSchema { name, is_required, ty: Type::parse(ty) });
                    }
                }
                _ => {}
            }
        }
        schema.types.extend(open);
        schema
    }

    /// All kinds, by group and name.
    pub fn kinds(&self) -> &[KindSchema] {
        &self.kinds
    }

    /// The kind `kind` of `api_version`.
    pub fn kind(&self, api_version: &str, kind: &str) -> Option<&KindSchema> {
        self.kinds.iter().find(|known| known.api_version == api_version && known.kind == kind)
    }

    /// The fields of a type, by name.
    pub fn fields(&self, type_name: &str) -> Option<&[FieldSchema]> {
        self.types.get(type_name).map(Vec::as_slice)
    }

    /// A field of a type.
    pub fn field(&self, type_name: &str, name: &str) -> Option<&FieldSchema> {
        let fields = self.fields(type_name)?;
        fields.iter().find(|field| field.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_is_named_is_there() {
        let schema = Schema::get();
        let missing = |ty: Type| -> Option<&'static str> {
            let mut ty = ty;
            loop {
                match ty {
                    Type::List(inner) | Type::Map(inner) => ty = Type::parse(inner),
                    Type::Object(name) if schema.fields(name).is_none() => return Some(name),
                    _ => return None,
                }
            }
        };
        let fields = schema.types.values().flatten();
        let lost: Vec<&str> = fields.filter_map(|field| missing(field.ty)).collect();
        assert_eq!(lost, Vec::<&str>::new());
        assert!(schema.kinds().iter().all(|kind| schema.fields(kind.type_name).is_some()));
        assert!(schema.kinds().len() > 50, "{}", schema.kinds().len());
    }

    #[test]
    fn types_have_their_go_names() {
        let go = |text| Type::parse(text).go_name();
        assert_eq!(go("[core/v1.Container]"), "[]v1.Container");
        assert_eq!(go("{string}"), "map[string]string");
        assert_eq!(go("i32"), "int32");
    }
}
