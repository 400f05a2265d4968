//! How fields are merged: what k8s.io/api says in `patchStrategy`, `patchMergeKey`, `listType`, `listMapKey`,
//! `mapType` and `structType`. The schema table has only shapes.

use crate::schema::{Schema, Type};

/// A type and its fields that are not merged as their shape alone says:
/// `name` a list of objects told apart by this field when patched, and by all that are named when applied by
/// the server; `*` what a patch does not name goes (`retainKeys`); `=` a set of plain values;
/// `!` replaced as a whole by a patch; `-` one value when applied by the server.
const FIELDS: &str = "\
meta/v1.ObjectMeta ownerReferences:uid finalizers:=
core/v1.PodSpec volumes:*name containers:name initContainers:name ephemeralContainers:name imagePullSecrets:name hostAliases:ip topologySpreadConstraints:topologyKey,whenUnsatisfiable resourceClaims:*name schedulingGates:name nodeSelector:-
core/v1.PodStatus podIPs:ip hostIPs:ip resourceClaimStatuses:*name
core/v1.Container ports:containerPort,protocol env:name volumeMounts:mountPath volumeDevices:devicePath
core/v1.EphemeralContainer ports:containerPort,protocol env:name volumeMounts:mountPath volumeDevices:devicePath
core/v1.ContainerStatus volumeMounts:mountPath allocatedResourcesStatus:name
core/v1.ServiceSpec ports:port,protocol selector:-
core/v1.ServiceAccount secrets:name
core/v1.NodeSpec podCIDRs:=
core/v1.NodeStatus addresses:type
core/v1.ReplicationControllerSpec selector:-
apps/v1.DeploymentSpec strategy:*
policy/v1.PodDisruptionBudgetSpec selector:!
storage/v1.CSINodeSpec drivers:name
admissionregistration/v1.MutatingWebhookConfiguration webhooks:name
admissionregistration/v1.ValidatingWebhookConfiguration webhooks:name
admissionregistration/v1.MutatingWebhook matchConditions:name
admissionregistration/v1.ValidatingWebhook matchConditions:name
admissionregistration/v1.ValidatingAdmissionPolicySpec matchConditions:name variables:name";

/// Types whose objects are one value when applied by the server.
const ATOMIC: &str = "meta/v1.LabelSelector core/v1.LocalObjectReference core/v1.ObjectReference \
core/v1.SecretReference core/v1.TypedLocalObjectReference core/v1.SecretKeySelector \
core/v1.ConfigMapKeySelector core/v1.ObjectFieldSelector core/v1.ResourceFieldSelector \
core/v1.NodeSelector core/v1.NodeSelectorTerm core/v1.ScopeSelector networking/v1.ServiceBackendPort \
rbac/v1.RoleRef";

/// How one field is merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strategy {
    /// The items of the list are merged one by one.
    pub merges: bool,
    /// The fields that tell items apart, the one that counts for patches first; none for plain values.
    pub keys: &'static str,
    /// What a patch does not name goes.
    pub retains: bool,
    /// A patch brings the whole value.
    pub replaces: bool,
    /// The server's apply takes it as one value.
    pub is_atomic: bool,
}

impl Strategy {
    /// The field that tells items apart in patches.
    pub fn key(&self) -> &'static str {
        self.keys.split(',').next().unwrap_or_default()
    }
}

/// How the field `field` of a type is merged.
pub fn of(ty: Type, field: &str) -> Strategy {
    let Type::Object(type_name) = ty else { return Strategy::default() };
    if field == "conditions" {
        return Strategy { merges: true, keys: "type", ..Strategy::default() };
    }
    let line = FIELDS.lines().find_map(|line| line.strip_prefix(type_name)?.strip_prefix(' '));
    let mut fields = line.unwrap_or_default().split(' ').filter_map(|word| word.split_once(':'));
    let Some((_, how)) = fields.find(|(name, _)| *name == field) else {
        return Strategy::default();
    };
    let keys = how.trim_start_matches(['*', '=', '!', '-']);
    Strategy {
        merges: !keys.is_empty() || how == "=",
        keys,
        retains: how.starts_with('*'),
        replaces: how == "!",
        is_atomic: how == "-",
    }
}

/// The server's apply takes objects of this type as one value.
pub fn is_atomic(ty: Type) -> bool {
    matches!(ty, Type::Object(name) if ATOMIC.split(' ').any(|atomic| atomic == name))
}

/// The type of a field; anything where it is not known.
pub fn field_type(ty: Type, field: &str) -> Type {
    match ty {
        Type::Object(name) => Schema::get().field(name, field).map_or(Type::Any, |field| field.ty),
        Type::Map(value) => Type::parse(value),
        _ => Type::Any,
    }
}

/// The type of a list's items; anything where it is not known.
pub fn item_type(ty: Type) -> Type {
    match ty {
        Type::List(item) => Type::parse(item),
        _ => Type::Any,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_and_field_of_the_table_is_in_the_schema() {
        let schema = Schema::get();
        for line in FIELDS.lines() {
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default();
            for (field, how) in words.filter_map(|word| word.split_once(':')) {
                let found = schema.field(name, field).map(|field| field.ty);
                let Some(ty) = found else { panic!("{name} has no field {field}") };
                let keys = how.trim_start_matches(['*', '=', '!', '-']);
                for key in keys.split(',').filter(|key| !key.is_empty()) {
                    let Type::Object(item) = item_type(ty) else { panic!("{name}.{field}") };
                    assert!(schema.field(item, key).is_some(), "{item} has no field {key}");
                }
            }
        }
        for name in ATOMIC.split(' ') {
            assert!(schema.fields(name).is_some(), "{name}");
        }
    }
}
