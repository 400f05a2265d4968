//! The kinds that the server knows, and the names people have for them.

use std::fmt;
use std::rc::Rc;

use serde_json::Value;

use crate::schema::{KindSchema, Schema};

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

    /// The shape of a built-in kind; `None` of one that a user has defined.
    pub fn schema(self) -> Option<&'static KindSchema> {
        Schema::get().kinds().get(usize::from(self.0))
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
    /// The version of it in which objects are kept; often itself.
    pub storage: KindId,
    /// What a user has defined about it.
    pub custom: Option<Rc<Custom>>,
}

/// A kind that a CustomResourceDefinition defines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Custom {
    /// `openAPIV3Schema`
    pub schema: Value,
    /// `additionalPrinterColumns`
    pub columns: Vec<Column>,
    /// The server answers for it. What is defined no more keeps its number.
    pub is_served: bool,
}

/// A column of `kubectl get`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its head.
    pub name: String,
    /// `.spec.replicas`
    pub path: String,
    /// `date` shows an age.
    pub is_date: bool,
    /// Shown with `-o wide` only.
    pub is_wide: bool,
}

impl KindInfo {
    /// The server answers for it.
    pub fn is_served(&self) -> bool {
        self.custom.as_ref().is_none_or(|custom| custom.is_served)
    }

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
        self.type_name.is_some() && ALL.contains(&self.plural.as_str())
    }

    /// Objects of it do something here; others are stored and shown.
    pub fn has_behaviour(&self) -> bool {
        self.type_name.is_some() && WITH_BEHAVIOUR.split(' ').any(|plural| plural == self.plural)
    }
}

/// Kinds that do something here.
const WITH_BEHAVIOUR: &str = "configmaps controllerrevisions cronjobs customresourcedefinitions daemonsets deployments endpoints endpointslices events horizontalpodautoscalers ingressclasses ingresses jobs leases namespaces networkpolicies nodes persistentvolumeclaims poddisruptionbudgets pods priorityclasses replicasets replicationcontrollers secrets services statefulsets";

/// Versions that servers before this one had: group, versions, kinds, and the version that has them now.
/// Without one, the kind is gone for good.
const RETIRED: &str = "\
extensions v1beta1 Deployment,DaemonSet,ReplicaSet apps/v1
extensions v1beta1 Ingress,NetworkPolicy networking.k8s.io/v1
extensions v1beta1 PodSecurityPolicy -
apps v1beta1,v1beta2 Deployment,DaemonSet,ReplicaSet,StatefulSet,ControllerRevision apps/v1
batch v1beta1,v2alpha1 CronJob batch/v1
networking.k8s.io v1beta1 Ingress,IngressClass networking.k8s.io/v1
policy v1beta1 PodDisruptionBudget policy/v1
policy v1,v1beta1 PodSecurityPolicy -
autoscaling v2beta1,v2beta2 HorizontalPodAutoscaler autoscaling/v2
discovery.k8s.io v1beta1 EndpointSlice discovery.k8s.io/v1
events.k8s.io v1beta1 Event events.k8s.io/v1
rbac.authorization.k8s.io v1alpha1,v1beta1 Role,RoleBinding,ClusterRole,ClusterRoleBinding rbac.authorization.k8s.io/v1
apiextensions.k8s.io v1beta1 CustomResourceDefinition apiextensions.k8s.io/v1
apiregistration.k8s.io v1beta1 APIService apiregistration.k8s.io/v1
admissionregistration.k8s.io v1alpha1,v1beta1 MutatingWebhookConfiguration,ValidatingWebhookConfiguration,ValidatingAdmissionPolicy,ValidatingAdmissionPolicyBinding admissionregistration.k8s.io/v1
storage.k8s.io v1alpha1,v1beta1 StorageClass,VolumeAttachment,CSIDriver,CSINode,CSIStorageCapacity,VolumeAttributesClass storage.k8s.io/v1
scheduling.k8s.io v1alpha1,v1beta1 PriorityClass scheduling.k8s.io/v1
coordination.k8s.io v1beta1 Lease coordination.k8s.io/v1
node.k8s.io v1alpha1,v1beta1 RuntimeClass node.k8s.io/v1
certificates.k8s.io v1beta1 CertificateSigningRequest certificates.k8s.io/v1
flowcontrol.apiserver.k8s.io v1alpha1,v1beta1,v1beta2,v1beta3 FlowSchema,PriorityLevelConfiguration flowcontrol.apiserver.k8s.io/v1
resource.k8s.io v1alpha2,v1alpha3,v1beta1,v1beta2 DeviceClass,ResourceClaim,ResourceClaimTemplate,ResourceSlice resource.k8s.io/v1
";

/// Where a kind of an older server is today; `Some(None)` when it is gone for good.
pub fn retired(api_version: &str, kind: &str) -> Option<Option<&'static str>> {
    let (group, version) = api_version.split_once('/')?;
    RETIRED.lines().find_map(|line| {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let has = |list: &str, wanted: &str| list.split(',').any(|item| item == wanted);
        let fits = word() == group && has(word(), version) && has(word(), kind);
        fits.then(|| Some(word()).filter(|now| *now != "-"))
    })
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
        let info = |(at, kind): (usize, &KindSchema)| KindInfo {
            id: KindId(at as u16),
            group: kind.group().to_string(),
            version: kind.version().to_string(),
            kind: kind.kind.to_string(),
            plural: kind.plural.to_string(),
            singular: kind.kind.to_ascii_lowercase(),
            short_names: short_names(kind.plural),
            is_namespaced: kind.is_namespaced,
            type_name: Some(kind.type_name),
            storage: KindId::builtin(storage(kind), kind.kind),
            custom: None,
        };
        Kinds(Schema::get().kinds().iter().enumerate().map(info).collect())
    }
}

/// The version in which objects of a kind are kept, where a server has several.
fn storage(kind: &KindSchema) -> &'static str {
    match kind.api_version {
        "autoscaling/v1" => "autoscaling/v2",
        "events.k8s.io/v1" => "v1",
        own => own,
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
    /// All of them, also those that are defined no more.
    pub fn all(&self) -> &[KindInfo] {
        &self.0
    }

    /// Those that the server answers for.
    pub fn served(&self) -> impl Iterator<Item = &KindInfo> {
        self.0.iter().filter(|info| info.is_served())
    }

    /// The kind with this number.
    pub fn get(&self, id: KindId) -> &KindInfo {
        // Numbers are given out here and kinds are never taken away.
        &self.0[id.0 as usize]
    }

    /// The kind `kind` of `apiVersion`.
    pub fn find(&self, api_version: &str, kind: &str) -> Option<&KindInfo> {
        self.served().find(|info| info.kind == kind && info.api_version() == api_version)
    }

    /// Whether any version of the group is served.
    pub fn has_version(&self, api_version: &str) -> bool {
        self.served().any(|info| info.api_version() == api_version)
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
        // Of several groups the core group comes first, then the built-in ones; of several versions the one in
        // which objects are kept.
        let fitting = self.served().filter(|info| fits_name(info) && fits_group(info));
        let best =
            fitting.max_by_key(|info| (info.group.is_empty(), info.custom.is_none(), info.id));
        let best = best.ok_or_else(|| UnknownKind(typed.to_string()))?;
        Ok(self.get(best.storage))
    }

    /// Defines a kind; one that was there keeps its number.
    pub(crate) fn define(&mut self, mut info: KindInfo) -> KindId {
        let same = |known: &&KindInfo| {
            known.custom.is_some()
                && (&known.kind, &known.group, &known.version)
                    == (&info.kind, &info.group, &info.version)
        };
        let at = self.0.iter().find(same).map_or(self.0.len(), |known| usize::from(known.id.0));
        let id = KindId(u16::try_from(at).unwrap_or(u16::MAX));
        info.id = id;
        info.storage = id;
        match self.0.get_mut(at) {
            Some(known) => *known = info,
            // More kinds than numbers: whoever writes 65,000 definitions defines no more.
            None if at < usize::from(u16::MAX) => self.0.push(info),
            None => {}
        }
        id
    }

    /// Objects of these versions of a kind are kept in the version `storage`.
    pub(crate) fn keep_in(&mut self, versions: &[KindId], storage: KindId) {
        for id in versions {
            if let Some(info) = self.0.get_mut(usize::from(id.0)) {
                info.storage = storage;
            }
        }
    }

    /// Takes all versions of a user's kind away; their numbers.
    pub(crate) fn forget(&mut self, group: &str, plural: &str) -> Vec<KindId> {
        let mut gone = Vec::new();
        for info in &mut self.0 {
            let Some(custom) = &info.custom else { continue };
            if info.group == group && info.plural == plural && custom.is_served {
                info.custom = Some(Rc::default());
                gone.push(info.id);
            }
        }
        gone
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
        assert_eq!(kinds.by_name("hpa.v1.autoscaling").unwrap().version, "v2");
        assert_eq!(kinds.by_name("events.events.k8s.io").unwrap().group, "");
        let error = kinds.by_name("foo").unwrap_err().to_string();
        assert_eq!(error, "error: the server doesn't have a resource type \"foo\"");
    }

    #[test]
    fn what_is_retired_and_where_it_went() {
        assert_eq!(retired("extensions/v1beta1", "Deployment"), Some(Some("apps/v1")));
        assert_eq!(retired("policy/v1beta1", "PodSecurityPolicy"), Some(None));
        assert_eq!(retired("apps/v1", "Deployment"), None);
        assert_eq!(retired("v1", "Pod"), None);
        let kinds = Kinds::default();
        for line in RETIRED.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [group, versions, names, now] = words.as_slice() else { panic!("{line}") };
            for kind in names.split(',') {
                assert!(*now == "-" || kinds.find(now, kind).is_some(), "{now} has no {kind}");
                for version in versions.split(',') {
                    assert!(kinds.find(&format!("{group}/{version}"), kind).is_none(), "{line}");
                }
            }
        }
    }

    #[test]
    fn kinds_with_behaviour_exist() {
        let kinds = Kinds::default();
        for plural in WITH_BEHAVIOUR.split(' ') {
            assert!(kinds.all().iter().any(|info| info.plural == plural), "{plural}");
        }
    }
}
