//! The columns of workloads and budgets in `kubectl get`, and of kinds that are only kept
//! (`pkg/printers/internalversion/printers.go`).

use base::{Duration, Instant};
use kube_api::{AnyObject, MetaExt};
use serde_json::Value;

use super::table::{Row, View, human, labels, workload};

/// The heads of a kind, and what `-o wide` adds.
pub(super) fn heads(plural: &str) -> Option<(&'static str, &'static str)> {
    const WORKLOAD: &str = "CONTAINERS,IMAGES,SELECTOR";
    Some(match plural {
        "jobs" => ("NAME STATUS COMPLETIONS DURATION AGE", WORKLOAD),
        "cronjobs" => ("NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST_SCHEDULE AGE", WORKLOAD),
        "replicationcontrollers" => ("NAME DESIRED CURRENT READY AGE", WORKLOAD),
        "controllerrevisions" => ("NAME CONTROLLER REVISION AGE", ""),
        "horizontalpodautoscalers" => ("NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE", ""),
        "poddisruptionbudgets" => {
            ("NAME MIN_AVAILABLE MAX_UNAVAILABLE ALLOWED_DISRUPTIONS AGE", "")
        }
        "priorityclasses" => ("NAME VALUE GLOBAL-DEFAULT AGE PREEMPTIONPOLICY", ""),
        "resourcequotas" => ("NAME REQUEST LIMIT AGE", ""),
        "componentstatuses" => ("NAME STATUS MESSAGE ERROR", ""),
        "rolebindings" | "clusterrolebindings" => ("NAME ROLE AGE", "USERS,GROUPS,SERVICEACCOUNTS"),
        plural => (plain(plural)?.0, ""),
    })
}

/// The cells of an object.
pub(super) fn row(
    plural: &str,
    object: &AnyObject,
    v: &View<'_>,
    name: &str,
    age: &str,
    now: Instant,
) -> Option<Row> {
    let mut wide = Vec::new();
    let mut cells = vec![name.to_string()];
    match plural {
        "jobs" => {
            let (status, completions, duration) = job(v, now);
            cells.extend([status, completions, duration, age.to_string()]);
            wide = workload(v, "/spec/selector");
        }
        "cronjobs" => {
            cells.extend(cron_job(v, now));
            cells.push(age.to_string());
            wide = cron_job_template(v);
        }
        "replicationcontrollers" => {
            let number = |pointer: &str| v.number(pointer);
            cells.extend([
                number("/spec/replicas"),
                number("/status/replicas"),
                number("/status/readyReplicas"),
                age.to_string(),
            ]);
            wide = workload(v, "/spec/selector");
            if let Some(selector) = wide.last_mut() {
                *selector = labels(v.at("/spec/selector"));
            }
        }
        "controllerrevisions" => {
            let owner = object.meta().controller();
            let text = owner.map_or("<none>".to_string(), |owner| {
                let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
                let dot = if group.is_empty() { "" } else { "." };
                format!("{}{dot}{group}/{}", owner.kind.to_lowercase(), owner.name)
            });
            cells.extend([text, v.number("/revision"), age.to_string()]);
        }
        "horizontalpodautoscalers" => {
            let kind = v.text("/spec/scaleTargetRef/kind");
            cells.extend([
                format!("{kind}/{}", v.text("/spec/scaleTargetRef/name")),
                targets(v),
                v.text_or("/spec/minReplicas", "<unset>"),
                v.number("/spec/maxReplicas"),
                v.number("/status/currentReplicas"),
                age.to_string(),
            ]);
        }
        "poddisruptionbudgets" => cells.extend([
            v.text_or("/spec/minAvailable", "N/A"),
            v.text_or("/spec/maxUnavailable", "N/A"),
            v.number("/status/disruptionsAllowed"),
            age.to_string(),
        ]),
        "priorityclasses" => cells.extend([
            v.number("/value"),
            v.text_or("/globalDefault", "false"),
            age.to_string(),
            v.text_or("/preemptionPolicy", "PreemptLowerPriority"),
        ]),
        "resourcequotas" => {
            cells.extend(quota(v));
            cells.push(age.to_string());
        }
        "componentstatuses" => {
            let is_well = v.text("/conditions/0/status") == "True";
            let status = if is_well { "Healthy" } else { "Unhealthy" };
            let (message, error) = (v.text("/conditions/0/message"), v.text("/conditions/0/error"));
            cells.extend([status.to_string(), message, error]);
        }
        "rolebindings" | "clusterrolebindings" => {
            let role = format!("{}/{}", v.text("/roleRef/kind"), v.text("/roleRef/name"));
            cells.extend([role, age.to_string()]);
            wide = subjects(v);
        }
        plural => plain_cells(v, age, plain(plural)?.1, &mut cells),
    }
    Some((cells, wide))
}

/// Kinds whose cells are fields: heads, and where the cells between name and age are; `#` stands for how many there are,
/// `@` for when the object was made. The age comes last, unless that is said.
const PLAIN: &str = "
serviceaccounts|NAME SECRETS AGE|#/secrets
limitranges|NAME CREATED_AT|@
roles|NAME CREATED_AT|@
clusterroles|NAME CREATED_AT|@
customresourcedefinitions|NAME CREATED_AT|@
runtimeclasses|NAME HANDLER AGE|/handler
csinodes|NAME DRIVERS AGE|#/spec/drivers
volumeattachments|NAME ATTACHER PV NODE ATTACHED AGE|/spec/attacher /spec/source/persistentVolumeName /spec/nodeName /status/attached
validatingwebhookconfigurations|NAME WEBHOOKS AGE|#/webhooks
mutatingwebhookconfigurations|NAME WEBHOOKS AGE|#/webhooks
servicecidrs|NAME CIDRS AGE|/spec/cidrs/0
";

fn plain(plural: &str) -> Option<(&'static str, &'static str)> {
    let mut rows = PLAIN.lines().filter_map(|line| line.split_once('|'));
    rows.find(|(known, _)| *known == plural)?.1.split_once('|')
}

fn plain_cells(v: &View<'_>, age: &str, pointers: &str, cells: &mut Vec<String>) {
    for pointer in pointers.split(' ') {
        cells.push(match pointer.strip_prefix('#') {
            Some(list) => v.len(list).to_string(),
            None if pointer == "@" => v.text("/metadata/creationTimestamp"),
            None => v.text(pointer),
        });
    }
    if pointers != "@" {
        cells.push(age.to_string());
    }
}

/// What is used of what may be used: requests, and limits.
fn quota(v: &View<'_>) -> [String; 2] {
    let mut columns = [Vec::new(), Vec::new()];
    for (name, hard) in v.at("/spec/hard").and_then(Value::as_object).into_iter().flatten() {
        let used = v.at("/status/used").and_then(|used| used.get(name)).and_then(Value::as_str);
        let [requests, limits] = &mut columns;
        let column = if name.starts_with("limits.") { limits } else { requests };
        let hard = super::jsonpath::show(hard);
        column.push(format!("{name}: {}/{hard}", used.unwrap_or("0")));
    }
    columns.map(|column| column.join(", "))
}

/// The users, groups and accounts of a binding.
fn subjects(v: &View<'_>) -> Vec<String> {
    let of = |kind: &str| {
        let all = v.items("/subjects").map(View).filter(|s| s.text("/kind") == kind);
        let name = |s: View<'_>| match kind {
            "ServiceAccount" => format!("{}/{}", s.text("/namespace"), s.text("/name")),
            _ => s.text("/name"),
        };
        all.map(name).collect::<Vec<_>>().join(", ")
    };
    vec![of("User"), of("Group"), of("ServiceAccount")]
}

fn has(v: &View<'_>, kind: &str) -> bool {
    v.items("/status/conditions")
        .map(View)
        .any(|c| c.text("/type") == kind && c.text("/status") == "True")
}

fn job(v: &View<'_>, now: Instant) -> (String, String, String) {
    let status = if has(v, "Complete") {
        "Complete"
    } else if has(v, "Failed") {
        "Failed"
    } else if v.at("/metadata/deletionTimestamp").is_some() {
        "Terminating"
    } else if has(v, "Suspended") {
        "Suspended"
    } else if has(v, "FailureTarget") {
        "FailureTarget"
    } else if has(v, "SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    };
    let succeeded = v.number("/status/succeeded");
    let parallelism = v.number("/spec/parallelism");
    let completions = match v.at("/spec/completions") {
        Some(completions) => format!("{succeeded}/{completions}"),
        None if parallelism.parse::<i64>().is_ok_and(|n| n > 1) => {
            format!("{succeeded}/1 of {parallelism}")
        }
        None => format!("{succeeded}/1"),
    };
    let started = v.moment("/status/startTime");
    let ended = v.moment("/status/completionTime");
    let duration: Option<Duration> = match (started, ended) {
        (Some(started), Some(ended)) => Some(ended.since(started)),
        (Some(started), None) => Some(now.since(started)),
        _ => None,
    };
    (status.to_string(), completions, duration.map(human).unwrap_or_default())
}

fn cron_job(v: &View<'_>, now: Instant) -> [String; 5] {
    let last = v.moment("/status/lastScheduleTime");
    let suspend = v.at("/spec/suspend") == Some(&Value::Bool(true));
    [
        v.text("/spec/schedule"),
        v.text_or("/spec/timeZone", "<none>"),
        if suspend { "True" } else { "False" }.to_string(),
        v.len("/status/active").to_string(),
        last.map_or("<none>".to_string(), |last| human(now.since(last))),
    ]
}

fn cron_job_template(v: &View<'_>) -> Vec<String> {
    match v.at("/spec/jobTemplate") {
        Some(template) => workload(&View(template), "/spec/selector"),
        None => Vec::new(),
    }
}

/// `cpu: <unknown>/80%`
fn targets(v: &View<'_>) -> String {
    let target = |metric: &Value| {
        let m = View(metric);
        let name = m.text_or("/resource/name", &m.text("/type"));
        let percent = m.text("/resource/target/averageUtilization");
        let target = if percent.is_empty() {
            m.text("/resource/target/averageValue")
        } else {
            format!("{percent}%")
        };
        format!("{name}: <unknown>/{target}")
    };
    let all: Vec<String> = v.items("/spec/metrics").map(target).collect();
    match all.as_slice() {
        [] => "<none>".to_string(),
        [a, b, rest @ ..] if !rest.is_empty() => format!("{a}, {b} + {} more...", rest.len()),
        some => some.join(", "),
    }
}
