//! The columns of `kubectl get` (`pkg/printers/internalversion/printers.go`).

use base::{Duration, Instant};
use controllers::pods;
use kube_api::kinds::Custom;
use kube_api::object::instant;
use kube_api::{AnyObject, KindInfo, Time};
use serde_json::Value;

use super::jsonpath::{self, Template};
use super::rows;

/// The rows of one kind, with their heads.
pub(crate) struct Table {
    /// Heads of the usual columns.
    pub(crate) heads: Vec<String>,
    /// Heads of what `-o wide` adds.
    pub(crate) wide_heads: Vec<String>,
}

/// A row: the usual cells, and what `-o wide` adds.
pub(crate) type Row = (Vec<String>, Vec<String>);

/// The columns of a kind.
pub(crate) fn columns(kind: &KindInfo) -> Table {
    if let Some(custom) = kind.custom.as_deref().filter(|custom| !custom.columns.is_empty()) {
        return custom_columns(custom);
    }
    let (heads, wide): (&str, &str) = match kind.plural.as_str() {
        "pods" => ("NAME READY STATUS RESTARTS AGE", "IP,NODE,NOMINATED NODE,READINESS GATES"),
        "deployments" => ("NAME READY UP-TO-DATE AVAILABLE AGE", "CONTAINERS,IMAGES,SELECTOR"),
        "replicasets" => ("NAME DESIRED CURRENT READY AGE", "CONTAINERS,IMAGES,SELECTOR"),
        "daemonsets" => (
            "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE_SELECTOR AGE",
            "CONTAINERS,IMAGES,SELECTOR",
        ),
        "statefulsets" => ("NAME READY AGE", "CONTAINERS,IMAGES"),
        "services" => ("NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE", "SELECTOR"),
        "endpoints" => ("NAME ENDPOINTS AGE", ""),
        "endpointslices" => ("NAME ADDRESSTYPE PORTS ENDPOINTS AGE", ""),
        "nodes" => (
            "NAME STATUS ROLES AGE VERSION",
            "INTERNAL-IP,EXTERNAL-IP,OS-IMAGE,KERNEL-VERSION,CONTAINER-RUNTIME",
        ),
        "namespaces" => ("NAME STATUS AGE", ""),
        "events" => {
            ("LAST_SEEN TYPE REASON OBJECT MESSAGE", "SUBOBJECT,SOURCE,FIRST SEEN,COUNT,NAME")
        }
        "configmaps" => ("NAME DATA AGE", ""),
        "secrets" => ("NAME TYPE DATA AGE", ""),
        "ingresses" => ("NAME CLASS HOSTS ADDRESS PORTS AGE", ""),
        "networkpolicies" => ("NAME POD-SELECTOR AGE", ""),
        "ingressclasses" => ("NAME CONTROLLER PARAMETERS AGE", ""),
        "storageclasses" => {
            ("NAME PROVISIONER RECLAIMPOLICY VOLUMEBINDINGMODE ALLOWVOLUMEEXPANSION AGE", "")
        }
        "leases" => ("NAME HOLDER AGE", ""),
        "persistentvolumes" => (
            "NAME CAPACITY ACCESS_MODES RECLAIM_POLICY STATUS CLAIM STORAGECLASS VOLUMEATTRIBUTESCLASS REASON AGE",
            "VOLUMEMODE",
        ),
        "persistentvolumeclaims" => (
            "NAME STATUS VOLUME CAPACITY ACCESS_MODES STORAGECLASS VOLUMEATTRIBUTESCLASS AGE",
            "VOLUMEMODE",
        ),
        // The server's own columns for kinds that have none of their own.
        plural => rows::heads(plural).unwrap_or(("NAME AGE", "")),
    };
    let heads = heads.split(' ').map(|head| match head {
        "NODE_SELECTOR" => "NODE SELECTOR",
        "LAST_SEEN" => "LAST SEEN",
        "ACCESS_MODES" => "ACCESS MODES",
        "RECLAIM_POLICY" => "RECLAIM POLICY",
        "LAST_SCHEDULE" => "LAST SCHEDULE",
        "MIN_AVAILABLE" => "MIN AVAILABLE",
        "MAX_UNAVAILABLE" => "MAX UNAVAILABLE",
        "ALLOWED_DISRUPTIONS" => "ALLOWED DISRUPTIONS",
        "CREATED_AT" => "CREATED AT",
        head => head,
    });
    let wide = wide.split(',').filter(|head| !head.is_empty());
    Table {
        heads: heads.map(str::to_string).collect(),
        wide_heads: wide.map(str::to_string).collect(),
    }
}

/// What a definition says that is to be shown of its objects.
fn custom_columns(custom: &Custom) -> Table {
    let mut table = Table { heads: vec!["NAME".to_string()], wide_heads: Vec::new() };
    for column in &custom.columns {
        let heads = if column.is_wide { &mut table.wide_heads } else { &mut table.heads };
        heads.push(column.name.clone());
    }
    table
}

fn custom_row(custom: &Custom, value: &Value, name: String, now: Instant) -> Row {
    let mut row: Row = (vec![name], Vec::new());
    for column in &custom.columns {
        let template = Template::of_path(&column.path);
        let found =
            template.as_ref().ok().and_then(|template| template.values(value).first().copied());
        let mut cell = found.map(jsonpath::show).unwrap_or_default();
        if column.is_date
            && let Some(time) = Time::parse(&cell)
        {
            cell = human(now.since(instant(&time)));
        }
        match column.is_wide {
            true => row.1.push(cell),
            false => row.0.push(cell),
        }
    }
    row
}

/// The cells of an object; `name` as it is to be shown.
pub(crate) fn row(kind: &KindInfo, object: &AnyObject, name: String, now: Instant) -> Row {
    let value = object.to_value();
    let v = View(&value);
    let age = age(object, now);
    if let Some(custom) = kind.custom.as_deref() {
        return match custom.columns.is_empty() {
            true => (with_name(name, [age]), Vec::new()),
            false => custom_row(custom, &value, name, now),
        };
    }
    match kind.plural.as_str() {
        "pods" => pod(object, &v, name, age, now),
        "deployments" => {
            let ready =
                format!("{}/{}", v.number("/status/readyReplicas"), v.number("/spec/replicas"));
            let cells = [
                ready,
                v.number("/status/updatedReplicas"),
                v.number("/status/availableReplicas"),
                age,
            ];
            (with_name(name, cells), workload(&v, "/spec/selector"))
        }
        "replicasets" => {
            let cells = [
                v.number("/spec/replicas"),
                v.number("/status/replicas"),
                v.number("/status/readyReplicas"),
                age,
            ];
            (with_name(name, cells), workload(&v, "/spec/selector"))
        }
        "daemonsets" => {
            let cells = [
                v.number("/status/desiredNumberScheduled"),
                v.number("/status/currentNumberScheduled"),
                v.number("/status/numberReady"),
                v.number("/status/updatedNumberScheduled"),
                v.number("/status/numberAvailable"),
                labels(v.at("/spec/template/spec/nodeSelector")),
                age,
            ];
            (with_name(name, cells), workload(&v, "/spec/selector"))
        }
        "statefulsets" => {
            let ready =
                format!("{}/{}", v.number("/status/readyReplicas"), v.number("/spec/replicas"));
            let mut wide = workload(&v, "/spec/selector");
            wide.truncate(2);
            (with_name(name, [ready, age]), wide)
        }
        "services" => service(&v, name, age),
        "endpoints" => (with_name(name, [endpoints(&v), age]), Vec::new()),
        "endpointslices" => endpoint_slice(&v, name, age),
        "nodes" => node(&v, name, age),
        "namespaces" => (with_name(name, [v.text("/status/phase"), age]), Vec::new()),
        "events" => event(&v, object, now),
        "configmaps" => {
            let data = v.len("/data") + v.len("/binaryData");
            (with_name(name, [data.to_string(), age]), Vec::new())
        }
        "secrets" => {
            let kind = v.text_or("/type", "Opaque");
            (with_name(name, [kind, v.len("/data").to_string(), age]), Vec::new())
        }
        "ingresses" => {
            let hosts = v.items("/spec/rules").map(|r| View(r).text_or("/host", "*")).collect();
            let ports = if v.len("/spec/tls") > 0 { "80, 443" } else { "80" };
            let class = v.text_or("/spec/ingressClassName", "<none>");
            let mut address = addresses(&v).join(",");
            if address.len() > 16 {
                address = format!("{}...", address.get(..13).unwrap_or_default());
            }
            let hosts = some_of(hosts, "*");
            (with_name(name, [class, hosts, address, ports.to_string(), age]), Vec::new())
        }
        "networkpolicies" => {
            (with_name(name, [selector_text(v.at("/spec/podSelector")), age]), Vec::new())
        }
        "leases" => {
            (with_name(name, [v.text_or("/spec/holderIdentity", "<none>"), age]), Vec::new())
        }
        "storageclasses" | "persistentvolumes" | "persistentvolumeclaims" => {
            storage(&v, &kind.plural, name, age)
        }
        "ingressclasses" => {
            let cells = [v.text("/spec/controller"), "<none>".to_string(), age];
            (with_name(name, cells), Vec::new())
        }
        plural => rows::row(plural, object, &v, &name, &age, now)
            .unwrap_or_else(|| (with_name(name, [age]), Vec::new())),
    }
}

fn with_name<const N: usize>(name: String, cells: [String; N]) -> Vec<String> {
    std::iter::once(name).chain(cells).collect()
}

/// Reads an object by JSON pointers; what is not there is empty.
pub(crate) struct View<'a>(pub(crate) &'a Value);

impl<'a> View<'a> {
    pub(crate) fn at(&self, pointer: &str) -> Option<&'a Value> {
        self.0.pointer(pointer)
    }

    /// A text or number as text; empty where there is none.
    pub(crate) fn text(&self, pointer: &str) -> String {
        self.text_or(pointer, "")
    }

    pub(crate) fn text_or(&self, pointer: &str, default: &str) -> String {
        match self.at(pointer) {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => default.to_string(),
            Some(other) => other.to_string(),
        }
    }

    /// A number as text; `0` where there is none.
    pub(crate) fn number(&self, pointer: &str) -> String {
        self.text_or(pointer, "0")
    }

    /// A time.
    pub(crate) fn moment(&self, pointer: &str) -> Option<Instant> {
        Some(instant(&Time::parse(self.at(pointer)?.as_str()?)?))
    }

    pub(crate) fn items(&self, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.at(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default().iter()
    }

    pub(crate) fn len(&self, pointer: &str) -> usize {
        match self.at(pointer) {
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(fields)) => fields.len(),
            _ => 0,
        }
    }
}

/// `a=1,b=2`, or `<none>`.
pub(crate) fn labels(value: Option<&Value>) -> String {
    let Some(Value::Object(fields)) = value else { return "<none>".to_string() };
    if fields.is_empty() {
        return "<none>".to_string();
    }
    let pair =
        |(name, value): (&String, &Value)| format!("{name}={}", value.as_str().unwrap_or_default());
    fields.iter().map(pair).collect::<Vec<_>>().join(",")
}

/// CONTAINERS, IMAGES, SELECTOR.
pub(super) fn workload(v: &View<'_>, selector: &str) -> Vec<String> {
    let of = |field: &str| -> String {
        let containers = v.items("/spec/template/spec/containers");
        containers.map(|c| View(c).text(field)).collect::<Vec<_>>().join(",")
    };
    vec![of("/name"), of("/image"), selector_text(v.at(selector))]
}

/// A label selector as people write it.
pub(crate) fn selector_text(selector: Option<&Value>) -> String {
    let Some(selector) = selector else { return "<none>".to_string() };
    let view = View(selector);
    let mut parts = Vec::new();
    if view.len("/matchLabels") > 0 {
        parts.push(labels(view.at("/matchLabels")));
    }
    for item in view.items("/matchExpressions") {
        let item = View(item);
        let values: Vec<String> =
            item.items("/values").map(|v| v.as_str().unwrap_or_default().to_string()).collect();
        let key = item.text("/key");
        parts.push(match item.text("/operator").as_str() {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key,
            _ => format!("!{key}"),
        });
    }
    if parts.is_empty() { "<none>".to_string() } else { parts.join(",") }
}

fn pod(object: &AnyObject, v: &View<'_>, name: String, age: String, now: Instant) -> Row {
    let AnyObject::Pod(pod) = object else { return (vec![name], Vec::new()) };
    let summary = pods::summary(pod);
    let restarts = match &summary.last_restart {
        Some(at) if summary.restarts > 0 => {
            format!("{} ({} ago)", summary.restarts, human(now.since(*at)))
        }
        _ => summary.restarts.to_string(),
    };
    let ready = format!("{}/{}", summary.ready, summary.total);
    let wide = vec![
        v.text_or("/status/podIP", "<none>"),
        v.text_or("/spec/nodeName", "<none>"),
        v.text_or("/status/nominatedNodeName", "<none>"),
        "<none>".to_string(),
    ];
    (with_name(name, [ready, summary.status, restarts, age]), wide)
}

/// Where a load balancer or an ingress can be reached.
pub(crate) fn addresses(v: &View<'_>) -> Vec<String> {
    let all = v.items("/status/loadBalancer/ingress").map(View);
    all.map(|at| at.text_or("/ip", &at.text("/hostname"))).collect()
}

fn service(v: &View<'_>, name: String, age: String) -> Row {
    let kind = v.text("/spec/type");
    let external = match kind.as_str() {
        "ExternalName" => v.text("/spec/externalName"),
        "LoadBalancer" => {
            let mut addresses = addresses(v);
            for ip in v.items("/spec/externalIPs") {
                addresses.push(ip.as_str().unwrap_or_default().to_string());
            }
            if addresses.is_empty() { "<pending>".to_string() } else { addresses.join(",") }
        }
        _ => {
            let addresses: Vec<&str> =
                v.items("/spec/externalIPs").filter_map(Value::as_str).collect();
            if addresses.is_empty() { "<none>".to_string() } else { addresses.join(",") }
        }
    };
    let port = |port: &Value| {
        let port = View(port);
        let protocol = port.text_or("/protocol", "TCP");
        match port.number("/nodePort").as_str() {
            "0" => format!("{}/{protocol}", port.number("/port")),
            node_port => format!("{}:{node_port}/{protocol}", port.number("/port")),
        }
    };
    let ports: Vec<String> = v.items("/spec/ports").map(port).collect();
    let ports = if ports.is_empty() { "<none>".to_string() } else { ports.join(",") };
    let address = v.text_or("/spec/clusterIP", "<none>");
    (with_name(name, [kind, address, external, ports, age]), vec![labels(v.at("/spec/selector"))])
}

/// At most three, then how many more there are.
fn some_of(all: Vec<String>, none: &str) -> String {
    const SHOWN: usize = 3;
    if all.is_empty() {
        return none.to_string();
    }
    let text = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    match all.len() {
        len if len > SHOWN => format!("{text} + {} more...", len - SHOWN),
        _ => text,
    }
}

fn storage(v: &View<'_>, plural: &str, mut name: String, age: String) -> Row {
    let mode = vec![v.text_or("/spec/volumeMode", "Filesystem")];
    let unset = || "<unset>".to_string();
    let phase = |unset: &str| match v.at("/metadata/deletionTimestamp") {
        Some(_) => "Terminating".to_string(),
        None => v.text_or("/status/phase", unset),
    };
    match plural {
        "persistentvolumes" => {
            let claim = match v.text("/spec/claimRef/name") {
                none if none.is_empty() => String::new(),
                name => format!("{}/{name}", v.text("/spec/claimRef/namespace")),
            };
            let cells = [
                v.text("/spec/capacity/storage"),
                modes(v, "/spec/accessModes"),
                v.text("/spec/persistentVolumeReclaimPolicy"),
                phase("Available"),
                claim,
                v.text("/spec/storageClassName"),
                unset(),
                v.text("/status/reason"),
                age,
            ];
            (with_name(name, cells), mode)
        }
        "persistentvolumeclaims" => {
            let cells = [
                phase("Pending"),
                v.text("/spec/volumeName"),
                v.text("/status/capacity/storage"),
                modes(v, "/status/accessModes"),
                v.text("/spec/storageClassName"),
                unset(),
                age,
            ];
            (with_name(name, cells), mode)
        }
        _ => {
            let default = "/metadata/annotations/storageclass.kubernetes.io~1is-default-class";
            if v.text(default) == "true" {
                name.push_str(" (default)");
            }
            let grows = v.at("/allowVolumeExpansion").and_then(Value::as_bool) == Some(true);
            let cells = [
                v.text("/provisioner"),
                v.text_or("/reclaimPolicy", "Delete"),
                v.text_or("/volumeBindingMode", "Immediate"),
                grows.to_string(),
                age,
            ];
            (with_name(name, cells), Vec::new())
        }
    }
}

/// `RWO,ROX`
pub(crate) fn modes(v: &View<'_>, pointer: &str) -> String {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        Some("ReadWriteOncePod") => "RWOP",
        _ => "",
    };
    v.items(pointer).map(short).collect::<Vec<&str>>().join(",")
}

fn endpoints(v: &View<'_>) -> String {
    let mut all = Vec::new();
    for subset in v.items("/subsets") {
        let subset = View(subset);
        let ports: Vec<String> =
            subset.items("/ports").map(|port| View(port).number("/port")).collect();
        if ports.is_empty() {
            all.extend(subset.items("/addresses").map(|a| View(a).text("/ip")));
        }
        for port in ports {
            all.extend(
                subset.items("/addresses").map(|a| format!("{}:{port}", View(a).text("/ip"))),
            );
        }
    }
    some_of(all, "<none>")
}

fn endpoint_slice(v: &View<'_>, name: String, age: String) -> Row {
    let ports: Vec<String> =
        v.items("/ports").map(|port| View(port).text_or("/port", "*")).collect();
    let addresses = v.items("/endpoints").flat_map(|endpoint| View(endpoint).items("/addresses"));
    let addresses = addresses.map(|a| a.as_str().unwrap_or_default().to_string()).collect();
    let cells =
        [v.text("/addressType"), some_of(ports, "<unset>"), some_of(addresses, "<unset>"), age];
    (with_name(name, cells), Vec::new())
}

fn node(v: &View<'_>, name: String, age: String) -> Row {
    let ready = v.items("/status/conditions").find(|c| View(c).text("/type") == "Ready");
    let mut status = match ready.map(|c| View(c).text("/status")).as_deref() {
        Some("True") => "Ready".to_string(),
        Some(_) => "NotReady".to_string(),
        None => "Unknown".to_string(),
    };
    if v.at("/spec/unschedulable") == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    let address = v.items("/status/addresses").find(|a| View(a).text("/type") == "InternalIP");
    let wide = vec![
        address.map_or("<none>".to_string(), |a| View(a).text("/address")),
        "<none>".to_string(),
        v.text_or("/status/nodeInfo/osImage", "<unknown>"),
        v.text_or("/status/nodeInfo/kernelVersion", "<unknown>"),
        v.text_or("/status/nodeInfo/containerRuntimeVersion", "<unknown>"),
    ];
    let cells = [status, roles(v), age, v.text("/status/nodeInfo/kubeletVersion")];
    (with_name(name, cells), wide)
}

/// `control-plane`, from the node's labels.
pub(crate) fn roles(v: &View<'_>) -> String {
    let Some(Value::Object(labels)) = v.at("/metadata/labels") else { return "<none>".to_string() };
    let roles: Vec<&str> =
        labels.keys().filter_map(|label| label.strip_prefix("node-role.kubernetes.io/")).collect();
    if roles.is_empty() { "<none>".to_string() } else { roles.join(",") }
}

fn event(v: &View<'_>, object: &AnyObject, now: Instant) -> Row {
    let AnyObject::Event(event) = object else { return (Vec::new(), Vec::new()) };
    let subject = format!(
        "{}/{}",
        v.text("/involvedObject/kind").to_lowercase(),
        v.text("/involvedObject/name")
    );
    let cells = vec![
        since(event.last_timestamp.as_ref(), now),
        v.text("/type"),
        v.text("/reason"),
        subject,
        first_line(v.text("/message").trim()),
    ];
    let wide = vec![
        v.text("/involvedObject/fieldPath"),
        v.text("/source/component"),
        since(event.first_timestamp.as_ref(), now),
        v.text_or("/count", "1"),
        object.name().to_string(),
    ];
    (cells, wide)
}

/// A table has a line for each object: of longer texts the first one (`cli-runtime/pkg/printers/tableprinter.go`).
fn first_line(text: &str) -> String {
    match text.split_once(['\n', '\r', '\u{c}']) {
        Some((first, _)) => format!("{first}..."),
        None => text.to_string(),
    }
}

/// How long an object has been there.
pub(crate) fn age(object: &AnyObject, now: Instant) -> String {
    since(object.meta().creation_timestamp.as_ref(), now)
}

/// How long ago something was.
pub(crate) fn since(time: Option<&Time>, now: Instant) -> String {
    time.map_or("<unknown>".to_string(), |time| human(now.since(instant(time))))
}

/// `5s`, `2m30s`, `3h`, `2d4h` (`apimachinery/pkg/util/duration`, `HumanDuration`).
pub(crate) fn human(duration: Duration) -> String {
    let secs = duration.as_secs();
    let (minutes, hours, days) = (secs / 60, secs / 3600, secs / 86_400);
    let two = |a: u64, unit: &str, b: u64, small: &str| match b {
        0 => format!("{a}{unit}"),
        b => format!("{a}{unit}{b}{small}"),
    };
    if secs < 120 {
        format!("{secs}s")
    } else if minutes < 10 {
        two(minutes, "m", secs % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 192 {
        two(days, "d", hours % 24, "h")
    } else if days < 730 {
        format!("{days}d")
    } else if days < 2920 {
        two(days / 365, "y", days % 365, "d")
    } else {
        format!("{}y", days / 365)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_one_line() {
        assert_eq!(first_line("one"), "one");
        assert_eq!(first_line("one\ntwo"), "one...");
    }

    #[test]
    fn durations_as_people_read_them() {
        for (secs, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 300, "3h5m"),
            (8 * 3600, "8h"),
            (49 * 3600, "2d1h"),
            (8 * 86_400, "8d"),
        ] {
            assert_eq!(human(Duration::from_secs(secs)), text);
        }
    }
}
