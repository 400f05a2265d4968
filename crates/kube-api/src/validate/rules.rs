//! The table of rules, and who reads it.
//!
//! A type, then what is asked of its fields in upstream's order. Words of a field:
//! `!` it must be there and not empty; `in:A,B` one of these; `>=0`, `>=1`, `>0`; `port` a number of a port,
//! `portref` a number or a name; `labels` a map of labels; `selector` a label selector; `.` what is in it, by
//! the schema; a name of a form ([`Form`]); `*name` a function of [`FUNCTIONS`]. A line `*name` alone is asked of
//! the object as a whole.

use base::Items as _;
use base::tree::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;

use super::names::{Form, PORT_RANGE};
use super::{others, pods, services, workloads};
use crate::schema::{Schema, Type};
use crate::status::{FieldError, quoted};

const TABLE: &str = "
core/v1.Pod
spec .
*only_pod
core/v1.PodTemplate
template *template
core/v1.PodSpec
*enter_pod
volumes *volumes
containers ! *containers
initContainers *init_containers
*host_network
restartPolicy in:Always,OnFailure,Never
dnsPolicy in:ClusterFirstWithHostNet,ClusterFirst,Default,None
nodeSelector labels
affinity .
*dns_config
readinessGates .
schedulingGates .
topologySpreadConstraints .
serviceAccountName subdomain
nodeName subdomain
activeDeadlineSeconds *deadline
hostname label
subdomain label
tolerations .
hostAliases .
priorityClassName subdomain
runtimeClassName subdomain
preemptionPolicy in:PreemptLowerPriority,Never
core/v1.Container
name ! label
image !
terminationMessagePolicy in:File,FallbackToLogsOnError
ports *container_ports
env .
envFrom .
volumeMounts *volume_mounts
imagePullPolicy in:Always,IfNotPresent,Never
resources *resources
core/v1.EnvVar
name ! env
*env_source
core/v1.EnvFromSource
prefix env
core/v1.Lifecycle
postStart *handler
preStop *handler
core/v1.PodReadinessGate
conditionType qname
core/v1.PodSchedulingGate
name qname
core/v1.HostAlias
ip ip
core/v1.Toleration
*toleration
core/v1.Affinity
nodeAffinity .
podAffinity .
podAntiAffinity .
core/v1.NodeAffinity
requiredDuringSchedulingIgnoredDuringExecution .
preferredDuringSchedulingIgnoredDuringExecution .
core/v1.PreferredSchedulingTerm
weight *weight
preference .
core/v1.NodeSelector
nodeSelectorTerms ! .
core/v1.NodeSelectorTerm
matchExpressions .
core/v1.NodeSelectorRequirement
*node_requirement
key qname
core/v1.PodAffinity
requiredDuringSchedulingIgnoredDuringExecution .
preferredDuringSchedulingIgnoredDuringExecution .
core/v1.PodAntiAffinity
requiredDuringSchedulingIgnoredDuringExecution .
preferredDuringSchedulingIgnoredDuringExecution .
core/v1.WeightedPodAffinityTerm
weight *weight
podAffinityTerm .
core/v1.PodAffinityTerm
labelSelector selector
namespaceSelector selector
topologyKey ! qname
core/v1.TopologySpreadConstraint
maxSkew >0
topologyKey ! qname
whenUnsatisfiable ! in:DoNotSchedule,ScheduleAnyway
labelSelector selector
core/v1.Service
*service
core/v1.ReplicationController
spec *replication_controller
core/v1.Secret
data *secret
core/v1.ConfigMap
data *config_map
core/v1.PersistentVolumeClaim
spec *claim
core/v1.Endpoints
subsets .
core/v1.EndpointSubset
*subset
addresses .
notReadyAddresses .
ports .
core/v1.EndpointAddress
ip ip
hostname label
core/v1.EndpointPort
name label
port port
protocol ! in:SCTP,TCP,UDP
discovery/v1.EndpointSlice
*slice
apps/v1.Deployment
spec *deployment
apps/v1.ReplicaSet
spec *replica_set
apps/v1.DaemonSet
spec *daemon_set
apps/v1.StatefulSet
spec *stateful_set
batch/v1.Job
spec *job
batch/v1.CronJob
*cron_job
policy/v1.PodDisruptionBudget
spec *budget
autoscaling/v2.HorizontalPodAutoscaler
spec *scaler
networking/v1.NetworkPolicy
spec .
networking/v1.NetworkPolicySpec
podSelector selector
ingress .
egress .
*policy_types
networking/v1.NetworkPolicyIngressRule
ports .
from .
networking/v1.NetworkPolicyEgressRule
ports .
to .
networking/v1.NetworkPolicyPort
protocol in:TCP,UDP,SCTP
*policy_port
networking/v1.NetworkPolicyPeer
podSelector selector
namespaceSelector selector
ipBlock .
*policy_peer
networking/v1.IPBlock
cidr ! cidr
*ip_block
networking/v1.Ingress
*ingress
networking/v1.IngressClass
spec *ingress_class
apiextensions/v1.CustomResourceDefinition
*definition
";

/// Something to ask that is more than a word; it is asked of the value at hand.
type Function = fn(&mut Checker, &Value);

const FUNCTIONS: [(&str, Function); 39] = [
    ("only_pod", pods::only_pod),
    ("enter_pod", pods::enter_pod),
    ("template", workloads::template),
    ("volumes", pods::volumes),
    ("containers", pods::containers),
    ("init_containers", pods::init_containers),
    ("host_network", pods::host_network),
    ("dns_config", pods::dns_config),
    ("deadline", pods::deadline),
    ("container_ports", pods::container_ports),
    ("volume_mounts", pods::volume_mounts),
    ("resources", pods::resources),
    ("env_source", pods::env_source),
    ("handler", pods::handler),
    ("toleration", pods::toleration),
    ("weight", pods::weight),
    ("node_requirement", pods::node_requirement),
    ("service", services::service),
    ("subset", services::subset),
    ("slice", services::slice),
    ("replication_controller", workloads::replication_controller),
    ("deployment", workloads::deployment),
    ("replica_set", workloads::replica_set),
    ("daemon_set", workloads::daemon_set),
    ("stateful_set", workloads::stateful_set),
    ("job", workloads::job),
    ("cron_job", workloads::cron_job),
    ("budget", workloads::budget),
    ("scaler", workloads::scaler),
    ("secret", others::secret),
    ("config_map", others::config_map),
    ("claim", others::claim),
    ("policy_types", others::policy_types),
    ("policy_port", others::policy_port),
    ("policy_peer", others::policy_peer),
    ("ip_block", others::ip_block),
    ("ingress", others::ingress),
    ("ingress_class", others::ingress_class),
    ("definition", others::definition),
];

#[derive(Clone, Debug)]
enum Ask {
    Required,
    In(Vec<&'static str>),
    AtLeast(i64, &'static str),
    Port,
    PortRef,
    Labels,
    Selector,
    Inside,
    Form(Form),
    Call(Function),
}

/// What is asked of a field; of the object itself where the name is empty.
type Rule = (&'static str, Vec<Ask>);

fn ask(word: &'static str) -> Option<Ask> {
    Some(match word {
        "!" => Ask::Required,
        ">=0" => Ask::AtLeast(0, "must be greater than or equal to 0"),
        ">=1" => Ask::AtLeast(1, "must be greater than or equal to 1"),
        ">0" => Ask::AtLeast(1, "must be greater than 0"),
        "port" => Ask::Port,
        "portref" => Ask::PortRef,
        "labels" => Ask::Labels,
        "selector" => Ask::Selector,
        "." => Ask::Inside,
        _ => {
            if let Some(list) = word.strip_prefix("in:") {
                return Some(Ask::In(list.split(',').collect()));
            }
            if let Some(name) = word.strip_prefix('*') {
                let found = FUNCTIONS.iter().find(|(known, _)| *known == name);
                return found.map(|(_, function)| Ask::Call(*function));
            }
            return Form::named(word).map(Ask::Form);
        }
    })
}

fn rules() -> &'static BTreeMap<&'static str, Vec<Rule>> {
    static RULES: OnceLock<BTreeMap<&'static str, Vec<Rule>>> = OnceLock::new();
    RULES.get_or_init(|| {
        let mut rules: BTreeMap<&'static str, Vec<Rule>> = BTreeMap::new();
        let mut type_name = "";
        for line in TABLE.lines().filter(|line| !line.is_empty()) {
            let rule = match line.split_once(' ') {
                Some((field, words)) => (field, words.split(' ').filter_map(ask).collect()),
                None if line.starts_with('*') => ("", ask(line).into_iter().collect()),
                None => {
                    type_name = line;
                    continue;
                }
            };
            rules.entry(type_name).or_default().push(rule);
        }
        rules
    })
}

/// Whether anything is asked of objects of a type.
pub(crate) fn has_rules(type_name: &str) -> bool {
    rules().contains_key(type_name)
}

/// Goes through an object and notes what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    pub(crate) errors: Vec<FieldError>,
    /// Where it is: `spec.containers[0]`.
    path: String,
    /// Of the Pod that it is in: the names of its volumes that are as they should be,
    pub(crate) volumes: Vec<String>,
    /// of its containers,
    pub(crate) names: Vec<String>,
    /// and the seconds that it has to end.
    pub(crate) grace: i64,
}

impl Checker {
    /// The path of the value at hand, or of a field of it.
    pub(crate) fn path(&self, field: &str) -> String {
        match (self.path.is_empty(), field.is_empty() || field.starts_with('[')) {
            (true, _) => field.to_string(),
            (false, true) => format!("{}{field}", self.path),
            (false, false) => format!("{}.{field}", self.path),
        }
    }

    /// `Invalid value` of a field of the value at hand.
    pub(crate) fn invalid(&mut self, field: &str, value: &Value, detail: &str) {
        self.errors.push(FieldError::invalid(self.path(field), shown(value), detail));
    }

    pub(crate) fn required(&mut self, field: &str, detail: &str) {
        self.errors.push(FieldError::required(self.path(field), detail));
    }

    pub(crate) fn forbidden(&mut self, field: &str, detail: &str) {
        self.errors.push(FieldError::forbidden(self.path(field), detail));
    }

    pub(crate) fn not_supported(&mut self, field: &str, value: &str, supported: &[&str]) {
        self.errors.push(FieldError::not_supported(self.path(field), value, supported));
    }

    pub(crate) fn duplicate(&mut self, field: &str, value: &Value) {
        self.errors.push(FieldError::duplicate(self.path(field), shown(value)));
    }

    pub(crate) fn not_found(&mut self, field: &str, value: &str) {
        let body = format!("Not found: {}", quoted(value));
        self.errors.push(FieldError { field: self.path(field), body });
    }

    pub(crate) fn form(&mut self, field: &str, text: &str, form: Form) {
        for complaint in form.complaints(text) {
            self.errors.push(FieldError::invalid(
                self.path(field),
                format!("{text:?}"),
                &complaint,
            ));
        }
    }

    /// Of a number that is there.
    pub(crate) fn at_least(&mut self, field: &str, value: &Value, min: i64) {
        if let Some(number) = value.get(field).and_then(Value::as_i64).filter(|n| *n < min) {
            let detail = format!("must be greater than or equal to {min}");
            self.invalid(field, &number.into(), &detail);
        }
    }

    /// Does something with a field of the value at hand.
    pub(crate) fn within(&mut self, field: &str, act: impl FnOnce(&mut Self)) {
        let len = self.path.len();
        self.path = self.path(field);
        act(self);
        self.path.truncate(len);
    }

    /// Does something with each item of a list, which is the value at hand.
    pub(crate) fn each<'v>(&mut self, list: &'v Value, act: &mut dyn FnMut(&mut Self, &'v Value)) {
        for (index, item) in list.as_array().items().enumerate() {
            self.within(&format!("[{index}]"), |checker| act(checker, item));
        }
    }

    /// Asks what the table asks of an object of a type.
    pub(crate) fn object(&mut self, type_name: &'static str, value: &Value) {
        for (field, asks) in rules().get(type_name).items() {
            if field.is_empty() {
                asks.iter().for_each(|ask| self.ask(ask, value, type_name, ""));
                continue;
            }
            let found = value.get(field).unwrap_or(&Value::Null);
            let is_missing = is_empty(found);
            self.within(field, |checker| {
                if is_missing {
                    if asks.iter().any(|ask| matches!(ask, Ask::Required)) {
                        checker.required("", "");
                    }
                    return;
                }
                asks.iter().for_each(|ask| checker.ask(ask, found, type_name, field));
            });
        }
    }

    fn ask(&mut self, ask: &Ask, value: &Value, type_name: &'static str, field: &str) {
        let text = value.as_str();
        match ask {
            Ask::Required => {}
            Ask::In(allowed) => {
                if let Some(text) = text.filter(|text| !allowed.contains(text)) {
                    self.not_supported("", text, allowed);
                }
            }
            Ask::AtLeast(min, detail) => {
                if value.as_i64().is_some_and(|number| number < *min) {
                    self.invalid("", value, detail);
                }
            }
            Ask::Port => self.port("", value),
            Ask::PortRef => self.port_ref("", value),
            Ask::Labels => self.labels("", value),
            Ask::Selector => workloads::label_selector(self, value),
            Ask::Form(form) => {
                if let Some(text) = text {
                    self.form("", text, *form);
                }
            }
            Ask::Inside => {
                if let Some(field) = Schema::get().field(type_name, field) {
                    self.inside(value, field.ty);
                }
            }
            Ask::Call(function) => function(self, value),
        }
    }

    /// What is in a value of a type.
    pub(crate) fn inside(&mut self, value: &Value, ty: Type) {
        match ty {
            Type::Object(name) => self.object(name, value),
            Type::List(item) => {
                let item = Type::parse(item);
                self.each(value, &mut |checker, value| checker.inside(value, item));
            }
            _ => {}
        }
    }

    /// The number of a port.
    pub(crate) fn port(&mut self, field: &str, value: &Value) {
        if value.as_i64().is_some_and(|number| !(1..=65535).contains(&number)) {
            self.invalid(field, value, PORT_RANGE);
        }
    }

    /// The number of a port, or its name.
    pub(crate) fn port_ref(&mut self, field: &str, value: &Value) {
        match value.as_str() {
            Some(name) => self.form(field, name, Form::PortName),
            None => self.port(field, value),
        }
    }

    pub(crate) fn labels(&mut self, field: &str, labels: &Value) {
        for (key, value) in labels.as_object().into_iter().flatten() {
            self.form(field, key, Form::QualifiedName);
            self.form(field, value.as_str().unwrap_or_default(), Form::LabelValue);
        }
    }
}

/// Nothing, or nothing in it.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// A value as the API server shows it: as JSON, selectors with their labels first.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Object(fields) => {
            if let (Some(expressions), Some(labels)) =
                (fields.get("matchExpressions"), fields.get("matchLabels"))
            {
                return format!("{{\"matchLabels\":{labels},\"matchExpressions\":{expressions}}}");
            }
            value.to_string()
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_types_fields_and_words_that_exist() {
        for line in TABLE.lines().filter(|line| !line.is_empty()) {
            for word in line.split(' ').skip(1) {
                assert!(ask(word).is_some(), "{line}");
            }
            assert!(!line.starts_with('*') || ask(line).is_some(), "{line}");
        }
        for (type_name, rules) in rules() {
            for (field, _) in rules.iter().filter(|(field, _)| !field.is_empty()) {
                assert!(
                    Schema::get().field(type_name, field).is_some(),
                    "{type_name} has no {field}"
                );
            }
        }
    }
}
