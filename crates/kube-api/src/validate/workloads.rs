//! What is asked of controllers of Pods (`pkg/apis/{apps,batch,autoscaling,policy}/validation`,
//! `pkg/apis/core/validation`).

use serde_json::{Value, json};

use super::names::Form;
use super::pods::{list, number, text};
use super::rules::Checker;
use crate::labels::Selector;
use crate::meta::LabelSelector;
use crate::types;

const NULL: &Value = &Value::Null;

/// `ValidateLabelSelector`
pub(super) fn label_selector(checker: &mut Checker, selector: &Value) {
    if let Some(labels) = selector.get("matchLabels") {
        checker.labels("matchLabels", labels);
    }
    let Some(expressions) = selector.get("matchExpressions") else { return };
    checker.within("matchExpressions", |checker| {
        checker.each(expressions, &mut |checker, expression| {
            let values = list(expression, "values");
            match text(expression, "operator") {
                "In" | "NotIn" if values.is_empty() => {
                    checker
                        .required("values", "must be specified when `operator` is 'In' or 'NotIn'");
                }
                "Exists" | "DoesNotExist" if !values.is_empty() => {
                    let what = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    checker.forbidden("values", what);
                }
                "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
                other => {
                    checker.invalid("operator", &other.into(), "not a valid selector operator")
                }
            }
            checker.form("key", text(expression, "key"), Form::QualifiedName);
            for (index, value) in values.iter().enumerate() {
                let field = format!("values[{index}]");
                checker.form(&field, value.as_str().unwrap_or_default(), Form::LabelValue);
            }
        });
    });
}

fn is_empty_selector(selector: &Value) -> bool {
    let is_empty = |field: &str| match selector.get(field) {
        Some(Value::Object(labels)) => labels.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => true,
    };
    is_empty("matchLabels") && is_empty("matchExpressions")
}

fn template_labels(template: &Value) -> &Value {
    template.get("metadata").and_then(|meta| meta.get("labels")).unwrap_or(NULL)
}

/// Whether a selector selects what a template makes; without a selector nothing is selected.
fn selects(selector: &Value, template: &Value) -> bool {
    let Ok(selector) = types::from_value::<LabelSelector>(selector.clone()) else { return false };
    let labels = template_labels(template).as_object();
    let pair = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_string()));
    let labels = labels.map(|labels| base::order::map(labels.iter().filter_map(pair)));
    Selector::of(&selector).matches(labels.as_ref())
}

fn selects_nothing_else(checker: &mut Checker, template: &Value) {
    let what = "`selector` does not match template `labels`";
    checker.invalid("template.metadata.labels", template_labels(template), what);
}

/// `ValidatePodTemplateSpec`: at the template.
pub(super) fn template(checker: &mut Checker, template: &Value) {
    template_meta(checker, template);
    let spec = template.get("spec").unwrap_or(NULL);
    checker.within("spec", |checker| checker.object("core/v1.PodSpec", spec));
    if !list(spec, "ephemeralContainers").is_empty() {
        let what = "ephemeral containers not allowed in pod template";
        checker.forbidden("spec.ephemeralContainers", what);
    }
}

/// What is asked of a template's metadata; upstream leaves `metadata` out of the path.
fn template_meta(checker: &mut Checker, template: &Value) {
    checker.labels("labels", template_labels(template));
    let annotations = template.get("metadata").and_then(|meta| meta.get("annotations"));
    super::annotations(checker, "annotations", annotations.unwrap_or(NULL));
}

/// Pods of a controller that keeps them running.
fn always_running(checker: &mut Checker, template: &Value, owner: &str) {
    let spec = template.get("spec").unwrap_or(NULL);
    let policy = text(spec, "restartPolicy");
    if policy != "Always" {
        checker.not_supported("template.spec.restartPolicy", policy, &["Always"]);
    }
    if spec.get("activeDeadlineSeconds").is_some() {
        let what = format!("activeDeadlineSeconds in {owner} is not Supported");
        checker.forbidden("template.spec.activeDeadlineSeconds", &what);
    }
}

/// The selector of a controller. Types here do not tell an empty one from none.
fn selector_of<'a>(checker: &mut Checker, spec: &'a Value, owner: &str) -> &'a Value {
    let selector = spec.get("selector").unwrap_or(NULL);
    if is_empty_selector(selector) && selector.as_object().is_none_or(|fields| fields.is_empty()) {
        checker.required("selector", "");
        return NULL;
    }
    checker.within("selector", |checker| label_selector(checker, selector));
    if is_empty_selector(selector) {
        let what = format!("empty selector is invalid for {owner}");
        checker.invalid("selector", selector, &what);
    }
    selector
}

/// `ValidatePodTemplateSpecForReplicaSet`
fn replica_template(checker: &mut Checker, spec: &Value, selector: &Value) {
    let template = spec.get("template").unwrap_or(NULL);
    let is_empty = !selector.is_null() && is_empty_selector(selector);
    if !is_empty && (selector.is_null() || !selects(selector, template)) {
        selects_nothing_else(checker, template);
    }
    checker.within("template", |checker| self::template(checker, template));
    always_running(checker, template, "ReplicaSet");
}

/// Says that a number or a percentage is wrong; it has a form of its own when it is printed.
fn wrong_amount(checker: &mut Checker, field: &str, value: &Value, what: &str) {
    let field = checker.path(field);
    checker.errors.push(crate::FieldError::invalid(field, bare(value), what));
}

fn percent(checker: &mut Checker, field: &str, value: &Value) {
    match value.as_str() {
        Some(text) => {
            let is_percent = text.strip_suffix('%').is_some_and(|digits| {
                !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
            });
            if !is_percent {
                let what = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                wrong_amount(checker, field, value, what);
            }
        }
        None if value.as_i64().is_some_and(|number| number < 0) => {
            wrong_amount(checker, field, value, "must be greater than or equal to 0");
        }
        None => {}
    }
}

/// A number or a percentage as a number; the two are never compared with each other.
fn amount(value: &Value) -> i64 {
    match value.as_str() {
        Some(text) => text.trim_end_matches('%').parse().unwrap_or(0),
        None => value.as_i64().unwrap_or(0),
    }
}

/// A number or a percentage as Go prints it.
fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

fn not_more_than_all(checker: &mut Checker, field: &str, value: &Value) {
    if value.is_string() && amount(value) > 100 {
        wrong_amount(checker, field, value, "must not be greater than 100%");
    }
}

pub(super) fn deployment(checker: &mut Checker, spec: &Value) {
    checker.at_least("replicas", spec, 0);
    let selector = selector_of(checker, spec, "deployment");
    replica_template(checker, spec, selector);
    let strategy = spec.get("strategy").unwrap_or(NULL);
    checker.within("strategy", |checker| deployment_strategy(checker, strategy));
    checker.at_least("minReadySeconds", spec, 0);
    checker.at_least("revisionHistoryLimit", spec, 0);
    checker.at_least("progressDeadlineSeconds", spec, 0);
    let deadline = number(spec, "progressDeadlineSeconds");
    if spec.get("progressDeadlineSeconds").is_some() && deadline <= number(spec, "minReadySeconds")
    {
        let what = "must be greater than minReadySeconds";
        checker.invalid("progressDeadlineSeconds", &deadline.into(), what);
    }
}

fn deployment_strategy(checker: &mut Checker, strategy: &Value) {
    let rolling = strategy.get("rollingUpdate");
    match text(strategy, "type") {
        "Recreate" if rolling.is_some() => {
            let what = "may not be specified when strategy `type` is 'Recreate'";
            checker.forbidden("rollingUpdate", what);
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let of = |field: &str| rolling.and_then(|rolling| rolling.get(field)).unwrap_or(NULL);
            let (unavailable, surge) = (of("maxUnavailable"), of("maxSurge"));
            checker.within("rollingUpdate", |checker| {
                percent(checker, "maxUnavailable", unavailable);
                percent(checker, "maxSurge", surge);
                if amount(unavailable) == 0 && amount(surge) == 0 {
                    let what = "may not be 0 when `maxSurge` is 0";
                    wrong_amount(checker, "maxUnavailable", unavailable, what);
                }
                not_more_than_all(checker, "maxUnavailable", unavailable);
            });
        }
        other => {
            // Upstream shows its own type here, whose fields have other names.
            let body = format!(
                "Unsupported value: {{\"Type\":{other:?},\"RollingUpdate\":null}}: supported values: \"Recreate\", \"RollingUpdate\""
            );
            checker.errors.push(crate::FieldError { field: checker.path(""), body });
        }
    }
}

pub(super) fn replica_set(checker: &mut Checker, spec: &Value) {
    checker.at_least("replicas", spec, 0);
    checker.at_least("minReadySeconds", spec, 0);
    let selector = selector_of(checker, spec, "deployment");
    replica_template(checker, spec, selector);
}

pub(super) fn replication_controller(checker: &mut Checker, spec: &Value) {
    checker.at_least("minReadySeconds", spec, 0);
    let selector = spec.get("selector").unwrap_or(NULL);
    if selector.as_object().is_none_or(|labels| labels.is_empty()) {
        checker.required("selector", "");
    }
    checker.at_least("replicas", spec, 0);
    let Some(template) = spec.get("template") else { return checker.required("template", "") };
    if !selects(&json!({"matchLabels": selector}), template) {
        selects_nothing_else(checker, template);
    }
    checker.within("template", |checker| self::template(checker, template));
    always_running(checker, template, "ReplicationController");
}

pub(super) fn daemon_set(checker: &mut Checker, spec: &Value) {
    let is_set = |selector: &&Value| selector.as_object().is_some_and(|fields| !fields.is_empty());
    let selector = spec.get("selector").filter(is_set).unwrap_or(NULL);
    checker.within("selector", |checker| label_selector(checker, selector));
    let template = spec.get("template").unwrap_or(NULL);
    if selector.is_null() || !selects(selector, template) {
        selects_nothing_else(checker, template);
    }
    if !selector.is_null() && is_empty_selector(selector) {
        checker.invalid("selector", selector, "empty selector is invalid for daemonset");
    }
    checker.within("template", |checker| self::template(checker, template));
    always_running(checker, template, "DaemonSet");
    checker.at_least("minReadySeconds", spec, 0);
    let strategy = spec.get("updateStrategy").unwrap_or(NULL);
    checker.within("updateStrategy", |checker| match text(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            let rolling = strategy.get("rollingUpdate").unwrap_or(NULL);
            let of = |field: &str| rolling.get(field).unwrap_or(NULL);
            let (unavailable, surge) = (of("maxUnavailable"), of("maxSurge"));
            checker.within("rollingUpdate", |checker| {
                percent(checker, "maxUnavailable", unavailable);
                percent(checker, "maxSurge", surge);
                match (amount(unavailable), amount(surge)) {
                    (0, 0) => checker.required("maxUnavailable", "cannot be 0 when maxSurge is 0"),
                    (a, b) if a > 0 && b > 0 => {
                        let what = "may not be set when maxUnavailable is non-zero";
                        wrong_amount(checker, "maxSurge", surge, what);
                    }
                    _ => {}
                }
            });
        }
        other => checker.not_supported("type", other, &["RollingUpdate", "OnDelete"]),
    });
    checker.at_least("revisionHistoryLimit", spec, 0);
}

pub(super) fn stateful_set(checker: &mut Checker, spec: &Value) {
    let policy = text(spec, "podManagementPolicy");
    if !["OrderedReady", "Parallel"].contains(&policy) {
        let what = "must be 'OrderedReady' or 'Parallel'";
        checker.invalid("podManagementPolicy", &policy.into(), what);
    }
    let strategy = spec.get("updateStrategy").unwrap_or(NULL);
    let rolling = strategy.get("rollingUpdate");
    match text(strategy, "type") {
        "OnDelete" => {
            if let Some(rolling) = rolling {
                let what = "only allowed for updateStrategy 'RollingUpdate'";
                checker.invalid("updateStrategy.rollingUpdate", rolling, what);
            }
        }
        "RollingUpdate" => {
            let rolling = rolling.unwrap_or(NULL);
            checker.within("updateStrategy.rollingUpdate", |checker| {
                checker.at_least("partition", rolling, 0);
                if let Some(unavailable) = rolling.get("maxUnavailable") {
                    percent(checker, "maxUnavailable", unavailable);
                }
            });
        }
        _ => {
            let what = "must be 'RollingUpdate' or 'OnDelete'";
            checker.invalid("updateStrategy", strategy, what);
        }
    }
    if let Some(ordinals) = spec.get("ordinals") {
        checker.within("ordinals", |checker| checker.at_least("start", ordinals, 0));
    }
    checker.at_least("replicas", spec, 0);
    checker.at_least("minReadySeconds", spec, 0);
    checker.at_least("revisionHistoryLimit", spec, 0);
    let selector = selector_of(checker, spec, "statefulset");
    let template = spec.get("template").unwrap_or(NULL);
    if selector.is_null() || (!is_empty_selector(selector) && !selects(selector, template)) {
        selects_nothing_else(checker, template);
    }
    // Of the template's spec no more is asked: its mounts may be of claims that are templates themselves.
    checker.within("template", |checker| template_meta(checker, template));
    always_running(checker, template, "StatefulSet");
}

/// `ValidateJobSpec`
pub(super) fn job(checker: &mut Checker, spec: &Value) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        checker.at_least(field, spec, 0);
    }
    let mode = text(spec, "completionMode");
    if !["", "NonIndexed", "Indexed"].contains(&mode) {
        checker.not_supported("completionMode", mode, &["Indexed", "NonIndexed"]);
    }
    if mode == "Indexed" && spec.get("completions").is_none() {
        checker.required("completions", "when completion mode is Indexed");
    }
    let template = spec.get("template").unwrap_or(NULL);
    checker.within("template", |checker| self::template(checker, template));
    match text(template.get("spec").unwrap_or(NULL), "restartPolicy") {
        "OnFailure" | "Never" => {}
        "" | "Always" => {
            let what = "valid values: \"OnFailure\", \"Never\"";
            checker.required("template.spec.restartPolicy", what);
        }
        other => {
            checker.not_supported("template.spec.restartPolicy", other, &["OnFailure", "Never"]);
        }
    }
}

pub(super) fn cron_job(checker: &mut Checker, cron_job: &Value) {
    let spec = cron_job.get("spec").unwrap_or(NULL);
    checker.within("spec", |checker| {
        match text(spec, "schedule") {
            "" => checker.required("schedule", ""),
            schedule => {
                if let Some(what) = wrong_schedule(schedule) {
                    checker.invalid("schedule", &schedule.into(), &what);
                }
            }
        }
        if let Some(zone) = spec.get("timeZone")
            && let Some(what) = wrong_zone(zone.as_str().unwrap_or_default())
        {
            checker.invalid("timeZone", zone, &what);
        }
        checker.at_least("startingDeadlineSeconds", spec, 0);
        let policy = text(spec, "concurrencyPolicy");
        if !["Allow", "Forbid", "Replace"].contains(&policy) {
            let known = &["Allow", "Forbid", "Replace"];
            checker.not_supported("concurrencyPolicy", policy, known);
        }
        let template = spec.get("jobTemplate").and_then(|template| template.get("spec"));
        checker.within("jobTemplate.spec", |checker| job(checker, template.unwrap_or(NULL)));
        checker.at_least("successfulJobsHistoryLimit", spec, 0);
        checker.at_least("failedJobsHistoryLimit", spec, 0);
    });
    let name = cron_job.get("metadata").map_or("", |meta| text(meta, "name"));
    if name.len() > 52 {
        checker.invalid("metadata.name", &name.into(), "must be no more than 52 characters");
    }
}

/// What is wrong with the name of a time zone (`validateTimeZone`). One that is missing in the table only may be right.
fn wrong_zone(name: &str) -> Option<String> {
    match name {
        "" => Some("timeZone must be nil or non-empty string".to_string()),
        name if name.eq_ignore_ascii_case("local") => Some(
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
                .to_string(),
        ),
        name if base::zones::find(name).is_some() || base::zones::has_area(name) => None,
        name => Some(format!("unknown time zone {name}")),
    }
}

/// What is wrong with a schedule, in the words of `robfig/cron`.
fn wrong_schedule(schedule: &str) -> Option<String> {
    const NAMED: [&str; 7] =
        ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
    if schedule.contains("TZ") {
        let what = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        return Some(what.to_string());
    }
    if schedule.starts_with('@') {
        let is_known = NAMED.contains(&schedule) || schedule.starts_with("@every ");
        return (!is_known).then(|| format!("unrecognized descriptor: {schedule}"));
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        let (count, shown) = (fields.len(), fields.join(" "));
        return Some(format!("expected exactly 5 fields, found {count}: [{shown}]"));
    }
    const BOUNDS: [(u32, u32, &str); 5] = [
        (0, 59, ""),
        (0, 23, ""),
        (1, 31, ""),
        (1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
        (0, 6, "sun mon tue wed thu fri sat"),
    ];
    fields.iter().zip(BOUNDS).find_map(|(field, (min, max, names))| {
        field.split(',').find_map(|range| wrong_range(range, min, max, names))
    })
}

fn wrong_range(range: &str, min: u32, max: u32, names: &str) -> Option<String> {
    let number = |text: &str| -> Result<u32, String> {
        let lower = text.to_ascii_lowercase();
        if let Some(at) = names.split(' ').position(|name| !name.is_empty() && name == lower) {
            return Ok(at as u32 + min);
        }
        text.parse().map_err(|_| {
            let why =
                if text.is_empty() || text.parse::<i64>().is_err() { "invalid syntax" } else { "" };
            match why {
                "" => format!("negative number ({text}) not allowed: {text}"),
                why => format!(
                    "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: {why}"
                ),
            }
        })
    };
    let (span, step) = match range.split_once('/') {
        Some((span, step)) => (span, Some(step)),
        None => (range, None),
    };
    let check = || -> Result<(), String> {
        let (low, high) = match span {
            "*" | "?" => (min, max),
            span => match span.split_once('-') {
                Some((low, high)) => (number(low)?, number(high)?),
                None => {
                    let low = number(span)?;
                    (low, if step.is_some() { max } else { low })
                }
            },
        };
        if let Some(step) = step
            && number(step)? == 0
        {
            return Err(format!("step of range should be a positive number: {range}"));
        }
        if low < min {
            return Err(format!("beginning of range ({low}) below minimum ({min}): {range}"));
        }
        if high > max {
            return Err(format!("end of range ({high}) above maximum ({max}): {range}"));
        }
        if low > high {
            return Err(format!(
                "beginning of range ({low}) beyond end of range ({high}): {range}"
            ));
        }
        Ok(())
    };
    check().err()
}

pub(super) fn budget(checker: &mut Checker, spec: &Value) {
    let (min, max) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if min.is_some() && max.is_some() {
        checker.invalid("", spec, "minAvailable and maxUnavailable cannot be both set");
    }
    for (field, value) in [("minAvailable", min), ("maxUnavailable", max)] {
        if let Some(value) = value {
            percent(checker, field, value);
            not_more_than_all(checker, field, value);
        }
    }
    if let Some(selector) = spec.get("selector") {
        checker.within("selector", |checker| label_selector(checker, selector));
    }
    let policy = text(spec, "unhealthyPodEvictionPolicy");
    if !["", "AlwaysAllow", "IfHealthyBudget"].contains(&policy) {
        let known = &["AlwaysAllow", "IfHealthyBudget"];
        checker.not_supported("unhealthyPodEvictionPolicy", policy, known);
    }
}

pub(super) fn scaler(checker: &mut Checker, spec: &Value) {
    let (min, max) = (number(spec, "minReplicas"), number(spec, "maxReplicas"));
    if min < 1 {
        let what = "must be greater than or equal to 1";
        checker.invalid("minReplicas", &min.into(), what);
    }
    if max < 1 {
        checker.invalid("maxReplicas", &max.into(), "must be greater than 0");
    }
    if max < min {
        let what = "must be greater than or equal to `minReplicas`";
        checker.invalid("maxReplicas", &max.into(), what);
    }
    let target = spec.get("scaleTargetRef").unwrap_or(NULL);
    for field in ["kind", "name"] {
        if text(target, field).is_empty() {
            checker.required(&format!("scaleTargetRef.{field}"), "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        for (schedule, wrong) in [
            ("*/5 * * * *", None),
            ("0 3 * * mon-FRI", None),
            ("@hourly", None),
            ("0 0 1,15 * ?", None),
            ("* * *", Some("expected exactly 5 fields, found 3: [* * *]")),
            ("60 * * * *", Some("end of range (60) above maximum (59): 60")),
            ("5-1 * * * *", Some("beginning of range (5) beyond end of range (1): 5-1")),
            ("*/0 * * * *", Some("step of range should be a positive number: */0")),
            (
                "x * * * *",
                Some("failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ),
            ("@often", Some("unrecognized descriptor: @often")),
            ("0 0 0 * *", Some("beginning of range (0) below minimum (1): 0")),
        ] {
            assert_eq!(wrong_schedule(schedule).as_deref(), wrong, "{schedule}");
        }
    }
}
