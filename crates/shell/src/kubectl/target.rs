//! `TYPE`, `TYPE NAME…`, `TYPE/NAME…`, `-l`, `--all`, `-f`: the objects that a command is about
//! (`cli-runtime/pkg/resource/builder.go`).

use kube_api::labels::Selector;
use kube_api::{AnyObject, KindInfo, Status};

use super::kube::{Fail, Kube, error};
use crate::flags::Args;

/// What the words of a command name.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) kind: KindInfo,
    /// All of the kind, if there is none.
    pub(crate) name: Option<String>,
}

/// Reads `TYPE[,TYPE] [NAME…]` or `TYPE/NAME…`.
pub(crate) fn targets(kube: &Kube<'_>, words: &[String]) -> Result<Vec<Target>, Fail> {
    let slashed = words.iter().filter(|word| word.contains('/')).count();
    if slashed > 0 && slashed < words.len() {
        return Err(error(
            "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'kubectl get resource/<resource_name>' instead of 'kubectl get resource resource/<resource_name>'",
        ));
    }
    if slashed > 0 {
        return words.iter().map(|word| one(kube, word)).collect();
    }
    let Some((types, names)) = words.split_first() else { return Ok(Vec::new()) };
    let mut result = Vec::new();
    for kind in kinds(kube, types)? {
        if names.is_empty() {
            result.push(Target { kind: kind.clone(), name: None });
        }
        for name in names {
            result.push(Target { kind: kind.clone(), name: Some(name.clone()) });
        }
    }
    Ok(result)
}

fn one(kube: &Kube<'_>, word: &str) -> Result<Target, Fail> {
    let (kind, name) = word.split_once('/').unwrap_or((word, ""));
    if kind.is_empty() || name.is_empty() || name.contains('/') {
        return Err(error(format!(
            "arguments in resource/name form must have a single resource and name: {word}"
        )));
    }
    Ok(Target { kind: kube.kind(kind)?, name: Some(name.to_string()) })
}

/// `pods,svc`; `all`
fn kinds(kube: &Kube<'_>, types: &str) -> Result<Vec<KindInfo>, Fail> {
    let mut result = Vec::new();
    for typed in types.split(',').filter(|typed| !typed.is_empty()) {
        if typed == "all" {
            let mut all: Vec<KindInfo> = kube.api(|api| {
                api.store().kinds().all().iter().filter(|kind| kind.is_in_all()).cloned().collect()
            })?;
            base::order::sort_by_key(&mut all, order_in_all);
            result.extend(all);
        } else {
            result.push(kube.kind(typed)?);
        }
    }
    Ok(result)
}

fn order_in_all(kind: &KindInfo) -> usize {
    const ORDER: [&str; 10] = [
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
    ORDER.iter().position(|plural| *plural == kind.plural).unwrap_or(ORDER.len())
}

/// `-l` and `--field-selector`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    labels: Option<Selector>,
    fields: Vec<(String, bool, String)>,
    /// Both as they were written.
    texts: [String; 2],
}

/// By which fields objects can be asked for, beside their names (`AddFieldLabelConversionFunc`), and what a field is
/// where it is left out.
const FIELDS: &str = "
pods spec.nodeName spec.restartPolicy spec.schedulerName spec.serviceAccountName spec.hostNetwork=false status.phase status.podIP status.podIPs status.nominatedNodeName
events involvedObject.kind involvedObject.namespace involvedObject.name involvedObject.uid involvedObject.apiVersion involvedObject.resourceVersion involvedObject.fieldPath reason reportingComponent source type
nodes spec.unschedulable=false
namespaces status.phase
secrets type
services spec.clusterIP spec.type
replicasets status.replicas=0
replicationcontrollers status.replicas=0
jobs status.successful=0
certificatesigningrequests spec.signerName
";

/// What a field is where it is left out; `None`: nobody can ask for it.
fn default_of(plural: &str, field: &str) -> Option<&'static str> {
    if matches!(field, "metadata.name" | "metadata.namespace") {
        return Some("");
    }
    let line = FIELDS.lines().find(|line| line.split(' ').next() == Some(plural))?;
    let mut known = line.split(' ').skip(1).map(|word| word.split_once('=').unwrap_or((word, "")));
    known.find(|(name, _)| *name == field).map(|(_, default)| default)
}

impl Filter {
    pub(crate) fn of(_: &Kube<'_>, args: &Args) -> Result<Filter, Fail> {
        let labels = match args.get("selector") {
            Some(text) => Some(Selector::parse(text).map_err(|bad| error(bad.to_string()))?),
            None => None,
        };
        let mut fields = Vec::new();
        for part in
            args.get("field-selector").unwrap_or_default().split(',').filter(|p| !p.is_empty())
        {
            let (field, is_equal, value) = if let Some((field, value)) = part.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) =
                part.split_once("==").or_else(|| part.split_once('='))
            {
                (field, true, value)
            } else {
                return Err(error(format!(
                    "invalid selector: {part:?}; can't understand {part:?}"
                )));
            };
            fields.push((field.to_string(), is_equal, value.to_string()));
        }
        let texts = ["selector", "field-selector"].map(|flag| args.get(flag).unwrap_or_default());
        Ok(Filter { labels, fields, texts: texts.map(str::to_string) })
    }

    pub(crate) fn is_any(&self) -> bool {
        self.labels.is_some() || !self.fields.is_empty()
    }

    /// The server's answer when it cannot choose by these fields.
    fn check(&self, kind: &KindInfo) -> Result<(), Fail> {
        let Some((field, ..)) =
            self.fields.iter().find(|(field, ..)| default_of(&kind.plural, field).is_none())
        else {
            return Ok(());
        };
        let [labels, fields] = &self.texts;
        let resource = format!("{}/{}, Resource={}", kind.group, kind.version, kind.plural);
        let has_own = FIELDS.lines().any(|line| line.split(' ').next() == Some(&kind.plural));
        let why = if has_own || kind.custom.is_some() {
            format!("field label not supported: {field}")
        } else {
            format!(
                "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            )
        };
        Err(Fail::from(Status::bad_request(format!(
            "Unable to find {resource:?} that match label selector {labels:?}, field selector {fields:?}: {why}"
        ))))
    }

    pub(crate) fn fits(&self, kind: &KindInfo, object: &AnyObject) -> bool {
        let labels = object.meta().labels.as_ref();
        if !self.labels.as_ref().is_none_or(|selector| selector.matches(labels)) {
            return false;
        }
        if self.fields.is_empty() {
            return true;
        }
        let value = object.to_value();
        self.fields.iter().all(|(field, is_equal, wanted)| {
            let pointer = match field.as_str() {
                "status.successful" => "/status/succeeded".to_string(),
                "source" => "/source/component".to_string(),
                "status.podIPs" => "/status/podIPs/0/ip".to_string(),
                field => format!("/{}", field.replace('.', "/")),
            };
            let seen = value.pointer(&pointer).map(super::jsonpath::show);
            let default = || default_of(&kind.plural, field).unwrap_or_default().to_string();
            (seen.unwrap_or_else(default) == *wanted) == *is_equal
        })
    }
}

/// The objects of a target; an error where a name is not there.
pub(crate) fn find(
    kube: &Kube<'_>,
    target: &Target,
    filter: &Filter,
) -> Result<Vec<AnyObject>, Fail> {
    if let Some(name) = &target.name {
        return Ok(vec![kube.get(&target.kind, name)?]);
    }
    let kind = &target.kind;
    filter.check(kind)?;
    let everywhere = kube.all_namespaces || !kind.is_namespaced;
    kube.api(|api| {
        let all: Vec<AnyObject> = if everywhere {
            api.store().list_any(kind.id).cloned().collect()
        } else {
            api.store().list_any_in(kind.id, &kube.namespace).cloned().collect()
        };
        all.into_iter().filter(|object| filter.fits(kind, object)).collect()
    })
}

/// The objects of all targets. What is not there is told on standard error; `false` then.
pub(crate) async fn find_all(
    kube: &Kube<'_>,
    targets: &[Target],
    filter: &Filter,
    ignore_missing: bool,
) -> Result<(Vec<(KindInfo, AnyObject)>, bool), Fail> {
    let mut found = Vec::new();
    let mut all_there = true;
    for target in targets {
        match find(kube, target, filter) {
            Ok(objects) => found.extend(objects.into_iter().map(|o| (target.kind.clone(), o))),
            Err(Fail::Message(text)) if target.name.is_some() => {
                if !ignore_missing {
                    all_there = false;
                    kube.err(format!("{text}\n")).await?;
                }
            }
            Err(other) => return Err(other),
        }
    }
    Ok((found, all_there))
}

/// The objects that `-f`, or these words with `-l` and `--all`, name. `false`: something was not there.
pub(crate) async fn objects(
    kube: &Kube<'_>,
    args: &Args,
    words: &[String],
) -> Result<(Vec<(KindInfo, AnyObject)>, bool), Fail> {
    if args.get("filename").is_some() || args.get("kustomize").is_some() {
        return files(kube, args, "").await;
    }
    if words.is_empty() {
        return Err(error(
            "one or more resources must be specified as <resource> <name> or <resource>/<name>",
        ));
    }
    let targets = targets(kube, words)?;
    let filter = Filter::of(kube, args)?;
    let is_all = targets.iter().any(|target| target.name.is_none());
    if is_all && !args.is_on("all") && !filter.is_any() {
        return Err(error("resource(s) were provided, but no name was specified"));
    }
    if !is_all && (filter.is_any() || args.is_on("all")) {
        return Err(error("name cannot be provided when a selector is specified"));
    }
    if !is_all && kube.all_namespaces {
        return Err(error("a resource cannot be retrieved by name across all namespaces"));
    }
    find_all(kube, &targets, &filter, false).await
}

/// The objects that `-f`, or else these words, name; all of a kind where no name is given.
pub(crate) async fn chosen(
    kube: &Kube<'_>,
    args: &Args,
    words: &[String],
) -> Result<(Vec<(KindInfo, AnyObject)>, bool), Fail> {
    if args.get("filename").is_some() {
        return files(kube, args, "").await;
    }
    find_all(kube, &targets(kube, words)?, &Filter::of(kube, args)?, false).await
}

/// The objects that the manifests of `-f` name. What is not there is told with `doing` before it.
pub(crate) async fn files(
    kube: &Kube<'_>,
    args: &Args,
    doing: &str,
) -> Result<(Vec<(KindInfo, AnyObject)>, bool), Fail> {
    files_or(kube, args, doing, args.is_on("ignore-not-found")).await
}

/// The same; with `ignore_missing`, of what is not there nothing is said.
pub(crate) async fn files_or(
    kube: &Kube<'_>,
    args: &Args,
    doing: &str,
    ignore_missing: bool,
) -> Result<(Vec<(KindInfo, AnyObject)>, bool), Fail> {
    let (mut found, mut all_there) = (Vec::new(), true);
    for manifest in super::manifest::read_names(kube, args).await? {
        let text = match manifest {
            Err(wrong) => wrong.text().trim_end().to_string(),
            Ok(manifest) => {
                match kube.get_in(&manifest.kind, &manifest.namespace, &manifest.name) {
                    Ok(object) => {
                        found.push((manifest.kind, object));
                        continue;
                    }
                    Err(Fail::Message(_)) if ignore_missing => continue,
                    Err(Fail::Message(text)) if doing.is_empty() => text,
                    Err(Fail::Message(text)) => {
                        let what = format!("error when {doing} {:?}: ", manifest.file);
                        text.replacen("): ", &format!("): {what}"), 1)
                    }
                    Err(other) => return Err(other),
                }
            }
        };
        all_there = false;
        kube.err(format!("{text}\n")).await?;
    }
    Ok((found, all_there))
}

/// Not there, in the server's words.
pub(crate) fn not_found(kind: &KindInfo, name: &str) -> Fail {
    Fail::from(Status::not_found(&kind.resource(), name))
}
