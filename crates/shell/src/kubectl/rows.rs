//! The columns of workloads and budgets in `kubectl get` (`pkg/printers/internalversion/printers.go`).

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
        _ => return None,
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
        _ => return None,
    }
    Some((cells, wide))
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
