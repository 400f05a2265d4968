//! What a Pod's failure means for its Job (`pkg/controller/job/pod_failure_policy.go`).

use base::Items as _;
use kube_api::MetaExt;
use kube_api::batch::JobSpec;
use kube_api::core::Pod;
use serde_json::Value;

use crate::indexes::Indexes;
use crate::pods;

/// What a rule says about a Pod that has failed.
pub(super) enum Policy {
    Ignore,
    FailJob(String),
    /// Of an indexed Job its number is given up.
    FailIndex,
}

/// The first rule that fits decides (`matchPodFailurePolicy`).
pub(super) fn policy(spec: &JobSpec, pod: &Pod) -> Option<Policy> {
    let rules = spec.rest.get("podFailurePolicy")?.get("rules")?.as_array()?;
    for (at, rule) in rules.iter().enumerate() {
        let action = rule.get("action").and_then(Value::as_str).unwrap_or_default();
        let name = format!("{}/{}", pod.metadata.namespace(), pod.metadata.name());
        let found = if let Some(codes) = rule.get("onExitCodes") {
            exit_code(codes, pod).map(|(container, code)| {
                format!("Container {container} for pod {name} failed with exit code {code} matching {action} rule at index {at}")
            })
        } else {
            let patterns = rule.get("onPodConditions").and_then(Value::as_array);
            condition(patterns, pod).map(|kind| {
                format!("Pod {name} has condition {kind} matching {action} rule at index {at}")
            })
        };
        let Some(message) = found else { continue };
        return match action {
            "Ignore" => Some(Policy::Ignore),
            "FailJob" => Some(Policy::FailJob(message)),
            "FailIndex" => Some(Policy::FailIndex),
            _ => None,
        };
    }
    None
}

/// Whether enough numbers of an indexed Job have succeeded, by the first rule that fits (`success_policy.go`).
pub(super) fn success(spec: &JobSpec, done: &Indexes) -> Option<String> {
    let rules = spec.rest.get("successPolicy")?.get("rules")?.as_array()?;
    let fits = |rule: &Value| {
        let wanted = rule.get("succeededIndexes").and_then(Value::as_str).map(Indexes::parse);
        let count = rule.get("succeededCount").and_then(Value::as_u64);
        let count = count.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        match (wanted, count) {
            (Some(wanted), Some(count)) => done.count_of(&wanted) >= count,
            (Some(wanted), None) => done.count_of(&wanted) == wanted.len(),
            (None, Some(count)) => done.len() >= count,
            (None, None) => false,
        }
    };
    let at = rules.iter().position(fits)?;
    Some(format!("Matched rules at index {at}"))
}

fn exit_code(rule: &Value, pod: &Pod) -> Option<(String, i32)> {
    let wanted = rule.get("containerName").and_then(Value::as_str);
    let values = rule.get("values").and_then(Value::as_array)?;
    let is_in = rule.get("operator").and_then(Value::as_str) == Some("In");
    let statuses = pod.status.as_ref()?.container_statuses.items();
    let mut ended = statuses.filter_map(|status| {
        let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
        (code != 0).then(|| (status.name.clone(), code))
    });
    ended.find(|(name, code)| {
        let is_listed = values.iter().any(|v| v.as_i64() == Some(i64::from(*code)));
        wanted.is_none_or(|wanted| wanted == name) && is_listed == is_in
    })
}

fn condition(patterns: Option<&Vec<Value>>, pod: &Pod) -> Option<String> {
    let text = |pattern: &Value, field: &str| pattern.get(field)?.as_str().map(str::to_string);
    patterns?.iter().find_map(|pattern| {
        let kind = text(pattern, "type")?;
        let status = text(pattern, "status").unwrap_or_else(|| "True".to_string());
        (pods::condition(pod, &kind)?.status == status).then_some(kind)
    })
}
