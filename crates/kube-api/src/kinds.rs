//! The kinds that the server knows, and the names people have for them.

use std::fmt;

use crate::schema::Schema;

/// Stands for a kind: its place in [`Kinds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindId(u16);

impl KindId {
    /// The number of a built-in kind.
    ///
    /// # Panics
    /// When there is no such kind: the callers name kinds that the schema has.
    pub(crate) fn builtin(api_version: &str, kind: &str) -> KindId {
        let kinds = Schema::get().kinds();
        let at = kinds.iter().position(|k| k.api_version == api_version && k.kind == kind);
        KindId(at.expect("a built-in kind") as u16)
    }
}

/// A kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindInfo {
    /// Its number.
    pub id: KindId,
    /// `apps`; empty for the core group.
    pub group: String,
    /// `v1`
    pub version: String,
    /// `Deployment`
    pub kind: String,
    /// `deployments`
    pub plural: String,
    /// `deployment`
    pub singular: String,
    /// `deploy`
    pub short_names: Vec<String>,
    /// Objects live in a namespace.
    pub is_namespaced: bool,
    /// The name of its type in the schema.
    pub type_name: Option<&'static str>,
}

impl KindInfo {
    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `deployments.apps`, or `pods` in the core group: as messages name it.
    pub fn resource(&self) -> String {
        crate::status::resource_name(&self.group, &self.plural)
    }

    /// `deployment.apps/web`, or `pod/web` in the core group: as kubectl names an object.
    pub fn object_name(&self, name: &str) -> String {
        format!("{}/{name}", crate::status::resource_name(&self.group, &self.singular))
    }

    /// `kubectl get all` shows it.
    pub fn is_in_all(&self) -> bool {
        const ALL: [&str; 10] = [
            "pods",
            "replicationcontrollers",
            "services",
            "daemonsets",
            "deployments",
            "replicasets",
            "statefulsets",
            "horizontalpodautoscalers",
            "cronjobs",
            "jobs",
        ];
        ALL.contains(&self.plural.as_str())
    }

    /// Objects of it do something here; others are stored and shown.
    pub fn has_behaviour(&self) -> bool {
        const WITH: [&str; 12] = [
            "pods",
            "services",
            "endpoints",
            "endpointslices",
            "nodes",
            "namespaces",
            "deployments",
            "replicasets",
            "events",
            "ingresses",
            "ingressclasses",
            "networkpolicies",
        ];
        WITH.contains(&self.plural.as_str())
    }
}

const SHORT_NAMES: [(&str, &[&str]); 25] = [
    ("certificatesigningrequests", &["csr"]),
    ("componentstatuses", &["cs"]),
    ("configmaps", &["cm"]),
    ("cronjobs", &["cj"]),
    ("customresourcedefinitions", &["crd", "crds"]),
    ("daemonsets", &["ds"]),
    ("deployments", &["deploy"]),
    ("endpoints", &["ep"]),
    ("events", &["ev"]),
    ("horizontalpodautoscalers", &["hpa"]),
    ("ingresses", &["ing"]),
    ("limitranges", &["limits"]),
    ("namespaces", &["ns"]),
    ("networkpolicies", &["netpol"]),
    ("nodes", &["no"]),
    ("persistentvolumeclaims", &["pvc"]),
    ("persistentvolumes", &["pv"]),
    ("poddisruptionbudgets", &["pdb"]),
    ("pods", &["po"]),
    ("priorityclasses", &["pc"]),
    ("replicasets", &["rs"]),
    ("replicationcontrollers", &["rc"]),
    ("resourcequotas", &["quota"]),
    ("services", &["svc"]),
    ("statefulsets", &["sts"]),
];

/// The kinds that a server knows.
#[derive(Clone, Debug)]
pub struct Kinds(Vec<KindInfo>);

impl Default for Kinds {
    /// The built-in ones.
    fn default() -> Self {
        let info = |(at, kind): (usize, &crate::schema::KindSchema)| KindInfo {
            id: KindId(at as u16),
            group: kind.group().to_string(),
            version: kind.version().to_string(),
            kind: kind.kind.to_string(),
            plural: kind.plural.to_string(),
            singular: kind.kind.to_ascii_lowercase(),
            short_names: short_names(kind.plural),
            is_namespaced: kind.is_namespaced,
            type_name: Some(kind.type_name),
        };
        Kinds(Schema::get().kinds().iter().enumerate().map(info).collect())
    }
}

fn short_names(plural: &str) -> Vec<String> {
    let found = SHORT_NAMES.iter().find(|(known, _)| *known == plural);
    let more: &[&str] = match plural {
        "serviceaccounts" => &["sa"],
        "storageclasses" => &["sc"],
        _ => &[],
    };
    found.map_or(more, |(_, names)| names).iter().map(|name| name.to_string()).collect()
}

/// No kind has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKind(pub String);

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: the server doesn't have a resource type {:?}", self.0)
    }
}

impl Kinds {
    /// All of them.
    pub fn all(&self) -> &[KindInfo] {
        &self.0
    }

    /// The kind with this number.
    pub fn get(&self, id: KindId) -> &KindInfo {
        // Numbers are given out here and kinds are never taken away.
        &self.0[id.0 as usize]
    }

    /// The kind `kind` of `apiVersion`.
    pub fn find(&self, api_version: &str, kind: &str) -> Option<&KindInfo> {
        self.0.iter().find(|info| info.kind == kind && info.api_version() == api_version)
    }

    /// What people type: `pods`, `pod`, `po`, `Deployment`, `deploy`, `deployments.apps`,
    /// `deployments.v1.apps`.
    pub fn by_name(&self, typed: &str) -> Result<&KindInfo, UnknownKind> {
        let lower = typed.to_ascii_lowercase();
        let (name, group) = match lower.split_once('.') {
            Some((name, group)) => (name, Some(group)),
            None => (lower.as_str(), None),
        };
        let fits_group = |info: &KindInfo| {
            group.is_none_or(|group| {
                group == info.group || *group == format!("{}.{}", info.version, info.group)
            })
        };
        let fits_name = |info: &KindInfo| {
            info.plural == name
                || info.singular == name
                || info.short_names.iter().any(|s| s == name)
        };
        // Of several versions and groups the core group comes first, then the newest version.
        let fitting = self.0.iter().filter(|info| fits_name(info) && fits_group(info));
        let best = fitting.max_by_key(|info| (info.group.is_empty(), info.version.clone()));
        best.ok_or_else(|| UnknownKind(typed.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_people_type() {
        let kinds = Kinds::default();
        for (typed, resource) in [
            ("po", "pods"),
            ("Pod", "pods"),
            ("deploy", "deployments.apps"),
            ("deployments.apps", "deployments.apps"),
            ("deployments.v1.apps", "deployments.apps"),
            ("endpointslices", "endpointslices.discovery.k8s.io"),
            ("ev", "events"),
            ("sa", "serviceaccounts"),
            ("hpa", "horizontalpodautoscalers.autoscaling"),
        ] {
            assert_eq!(
                kinds.by_name(typed).map(KindInfo::resource),
                Ok(resource.to_string()),
                "{typed}"
            );
        }
        assert_eq!(kinds.by_name("hpa").unwrap().version, "v2");
        let error = kinds.by_name("foo").unwrap_err().to_string();
        assert_eq!(error, "error: the server doesn't have a resource type \"foo\"");
    }
}
