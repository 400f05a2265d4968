//! `kubectl get`.

use kube_api::{AnyObject, Change, KindInfo};
use serde_json::{Value, json};

use super::jsonpath::{Template, show};
use super::kube::{Fail, Kube, error};
use super::output::shown;
use super::table;
use super::target::{Filter, Target, files, find_all, targets};
use crate::flags::Args;
use crate::tabwriter;

type Found = Vec<(KindInfo, AnyObject)>;

/// `kubectl get TYPE [NAME…]`
pub(crate) async fn run(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let has_files = args.get("filename").is_some();
    if has_files && (args.is_on("watch") || args.is_on("watch-only")) {
        return Err(kube.unsupported("'get -f -w'"));
    }
    if args.words.is_empty() && !has_files {
        return Err(Fail::Message("You must specify the type of resource to get. Use \"kubectl api-resources\" for a complete list of supported resources.\n\nerror: Required resource not specified.\nUse \"kubectl explain <resource>\" for a detailed description of that resource (e.g. kubectl explain pods).\nSee 'kubectl get -h' for help and examples".to_string()));
    }
    let mut targets = targets(kube, &args.words)?;
    let filter = Filter::of(kube, args)?;
    let has_names = targets.iter().any(|target| target.name.is_some());
    if has_names && filter.is_any() {
        return Err(error("name cannot be provided when a selector is specified"));
    }
    if has_names && kube.all_namespaces {
        return Err(error("a resource cannot be retrieved by name across all namespaces"));
    }
    let format = Format::of(args)?;
    if args.is_on("watch") || args.is_on("watch-only") {
        return watch(kube, args, &targets, &filter, &format).await;
    }
    let kinds: Vec<&KindInfo> = targets.iter().map(|target| &target.kind).collect();
    kube.warn_of_old(&kinds).await?;
    let ignore = args.is_on("ignore-not-found");
    let (mut found, all_there) = if has_files {
        let found = files(kube, args, "").await?;
        let target = |(kind, object): &(KindInfo, AnyObject)| Target {
            kind: kind.clone(),
            name: Some(object.name().to_string()),
        };
        targets = found.0.iter().map(target).collect();
        found
    } else {
        find_all(kube, &targets, &filter, ignore).await?
    };
    if let Some(path) = args.get("sort-by") {
        sort(&mut found, path)?;
    }
    print(kube, args, &targets, &found, &format).await?;
    Ok(if all_there { 0 } else { 1 })
}

/// `-o`
enum Format {
    Table { wide: bool },
    Name,
    Yaml,
    Json,
    JsonPath(Template),
    Columns(Vec<(String, Template)>),
}

impl Format {
    fn of(args: &Args) -> Result<Format, Fail> {
        let Some(output) = args.get("output") else { return Ok(Format::Table { wide: false }) };
        let template = |text: &str| {
            Template::parse(text)
                .map_err(|why| error(format!("error parsing jsonpath {text}, {why}")))
        };
        Ok(match output {
            "" => Format::Table { wide: false },
            "wide" => Format::Table { wide: true },
            "name" => Format::Name,
            "yaml" => Format::Yaml,
            "json" => Format::Json,
            _ => {
                if let Some(text) = output.strip_prefix("jsonpath=") {
                    Format::JsonPath(template(text)?)
                } else if let Some(spec) = output.strip_prefix("custom-columns=") {
                    Format::Columns(custom_columns(spec)?)
                } else if output == "jsonpath" {
                    return Err(error("template format specified but no template given"));
                } else if output == "custom-columns" {
                    return Err(error(
                        "custom-columns format specified but no custom columns given",
                    ));
                } else if output.starts_with("go-template") || output.starts_with("jsonpath-") {
                    return Err(Fail::Message(format!(
                        "kubectl: -o {output} is not supported by podwire"
                    )));
                } else {
                    return Err(error(format!(
                        "unable to match a printer suitable for the output format {output:?}, allowed formats are: custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,kyaml,name,template,templatefile,wide,yaml"
                    )));
                }
            }
        })
    }
}

fn custom_columns(spec: &str) -> Result<Vec<(String, Template)>, Fail> {
    let column = |part: &str| {
        let wrong = || {
            error(format!(
                "unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>"
            ))
        };
        let (head, path) = part.split_once(':').ok_or_else(wrong)?;
        let template = Template::of_path(path).map_err(error)?;
        Ok((head.to_string(), template))
    };
    spec.split(',').map(column).collect()
}

fn sort(found: &mut Found, path: &str) -> Result<(), Fail> {
    let template = Template::of_path(path).map_err(error)?;
    let mut keyed: Vec<(Option<f64>, String, (KindInfo, AnyObject))> = std::mem::take(found)
        .into_iter()
        .map(|item| {
            let value = item.1.to_value();
            let key = template.values(&value).first().map(|value| show(value)).unwrap_or_default();
            (key.parse().ok(), key, item)
        })
        .collect();
    base::order::sort_by(&mut keyed, |a, b| match (a.0, b.0) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => a.1.cmp(&b.1),
    });
    *found = keyed.into_iter().map(|(_, _, item)| item).collect();
    Ok(())
}

async fn print(
    kube: &Kube<'_>,
    args: &Args,
    targets: &[Target],
    found: &Found,
    format: &Format,
) -> Result<(), Fail> {
    let is_one = targets.len() == 1 && targets.iter().all(|target| target.name.is_some());
    match format {
        Format::Table { wide } => tables(kube, args, targets, found, *wide).await,
        Format::Name => {
            for (kind, object) in found {
                kube.out(format!("{}\n", kind.object_name(object.name()))).await?;
            }
            Ok(())
        }
        Format::Yaml | Format::Json | Format::JsonPath(_) => {
            if is_one && found.is_empty() {
                return Ok(());
            }
            let shows_managers =
                args.is_on("show-managed-fields") || matches!(format, Format::JsonPath(_));
            let value = match found.as_slice() {
                [(_, one)] if is_one => shown(one.to_value(), shows_managers),
                many => list(many, shows_managers),
            };
            let text = match format {
                Format::Yaml => super::yaml::print(&value),
                Format::JsonPath(template) => template
                    .fill(&value)
                    .map_err(|why| error(format!("error executing jsonpath: {why}")))?,
                _ => json_text(&value),
            };
            kube.out(text).await
        }
        Format::Columns(columns) => {
            let heads: Vec<&str> = columns.iter().map(|(head, _)| head.as_str()).collect();
            let mut text = String::new();
            if !args.is_on("no-headers") {
                text.push_str(&format!("{}\n", heads.join("\t")));
            }
            for (_, object) in found {
                let value = object.to_value();
                let cell = |template: &Template| {
                    let cells: Vec<String> =
                        template.values(&value).into_iter().map(show).collect();
                    if cells.is_empty() { "<none>".to_string() } else { cells.join(",") }
                };
                let cells: Vec<String> =
                    columns.iter().map(|(_, template)| cell(template)).collect();
                text.push_str(&format!("{}\n", cells.join("\t")));
            }
            kube.out(tabwriter::layout(&text, tabwriter::TABLE)).await
        }
    }
}

/// Several objects as one.
fn list(found: &[(KindInfo, AnyObject)], shows_managers: bool) -> Value {
    let items: Vec<Value> =
        found.iter().map(|(_, object)| shown(object.to_value(), shows_managers)).collect();
    json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}})
}

/// JSON with four spaces, as kubectl prints it.
pub(crate) fn json_text(value: &Value) -> String {
    use serde::Serialize as _;
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    // Writing JSON to memory does not fail.
    let _ = value.serialize(&mut serializer);
    String::from_utf8(out).unwrap_or_default() + "\n"
}

async fn tables(
    kube: &Kube<'_>,
    args: &Args,
    targets: &[Target],
    found: &Found,
    wide: bool,
) -> Result<(), Fail> {
    if found.is_empty() {
        let asked_for_all = targets.iter().any(|target| target.name.is_none());
        if !asked_for_all || args.is_on("ignore-not-found") {
            return Ok(());
        }
        let namespaced = targets.iter().any(|target| target.kind.is_namespaced);
        let text = match namespaced && !kube.all_namespaces {
            true => format!("No resources found in {} namespace.\n", kube.namespace),
            false => "No resources found\n".to_string(),
        };
        return kube.err(text).await;
    }
    let kinds = base::order::set(found.iter().map(|(kind, _)| kind.resource()));
    let with_kind = kinds.len() > 1
        || targets.windows(2).any(|two| matches!(two, [a, b] if a.kind.id != b.kind.id))
        || args.is_on("show-kind");
    let mut is_first = true;
    let mut rest = found.as_slice();
    while let Some((kind, _)) = rest.first() {
        let count = rest.iter().take_while(|(other, _)| other.id == kind.id).count();
        let (group, after) = rest.split_at(count);
        rest = after;
        if !is_first {
            kube.out("\n").await?;
        }
        is_first = false;
        let head = !args.is_on("no-headers");
        let text = table_text(kube, args, kind, group, wide, with_kind, head);
        kube.out(tabwriter::layout(&text, tabwriter::TABLE)).await?;
    }
    Ok(())
}

fn table_text(
    kube: &Kube<'_>,
    args: &Args,
    kind: &KindInfo,
    objects: &[(KindInfo, AnyObject)],
    wide: bool,
    with_kind: bool,
    head: bool,
) -> String {
    let columns = table::columns(kind);
    let with_namespace = kube.all_namespaces && kind.is_namespaced;
    let label_columns = args.all("label-columns");
    let mut lines = Vec::new();
    if head {
        let mut heads: Vec<String> = columns.heads.iter().map(|head| head.to_string()).collect();
        if with_namespace {
            heads.insert(0, "NAMESPACE".to_string());
        }
        if wide {
            heads.extend(columns.wide_heads.iter().map(|head| head.to_string()));
        }
        let last = |label: &String| label.rsplit('/').next().unwrap_or(label).to_uppercase();
        heads.extend(label_columns.iter().map(last));
        if args.is_on("show-labels") {
            heads.push("LABELS".to_string());
        }
        lines.push(heads.join("\t"));
    }
    for (_, object) in objects {
        let name = match with_kind {
            true => kind.object_name(object.name()),
            false => object.name().to_string(),
        };
        let (mut cells, more) = table::row(kind, object, name, kube.now());
        if with_namespace {
            cells.insert(0, object.namespace().to_string());
        }
        if wide {
            cells.extend(more);
        }
        let labels = object.meta().labels.as_ref();
        for label in &label_columns {
            cells.push(labels.and_then(|labels| labels.get(label)).cloned().unwrap_or_default());
        }
        if args.is_on("show-labels") {
            let pairs = labels.into_iter().flatten().map(|(name, value)| format!("{name}={value}"));
            let text = pairs.collect::<Vec<_>>().join(",");
            cells.push(if text.is_empty() { "<none>".to_string() } else { text });
        }
        // A line break in a cell would break the table.
        let cells: Vec<String> = cells.into_iter().map(|cell| cell.replace('\n', "\\n")).collect();
        lines.push(cells.join("\t"));
    }
    lines.join("\n") + "\n"
}

/// `-w`: what there is, and then every change as it comes, until it is interrupted.
async fn watch(
    kube: &Kube<'_>,
    args: &Args,
    targets: &[Target],
    filter: &Filter,
    format: &Format,
) -> Result<i32, Fail> {
    let Format::Table { wide } = format else {
        return Err(kube.unsupported("-w with this output format"));
    };
    if targets.windows(2).any(|two| matches!(two, [a, b] if a.kind.id != b.kind.id)) {
        return Err(error("you may only specify a single resource type"));
    }
    let mut revision = kube.api(|api| api.store().revision())?;
    let (found, _) = find_all(kube, targets, filter, false).await?;
    let mut widths = Vec::new();
    let mut head = !args.is_on("no-headers");
    let events = args.is_on("output-watch-events");
    let mut rows: Vec<Row> =
        found.into_iter().map(|(kind, object)| ("ADDED", kind, object)).collect();
    if args.is_on("watch-only") {
        rows.clear();
    }
    loop {
        for (event, kind, object) in rows {
            let mut text =
                table_text(kube, args, &kind, &[(kind.clone(), object)], *wide, false, head);
            if events {
                let mut names = ["EVENT", event].into_iter().skip(usize::from(!head));
                let lines: Vec<String> = text
                    .lines()
                    .map(|line| format!("{}\t{line}\n", names.next().unwrap_or_default()))
                    .collect();
                text = lines.concat();
            }
            head = false;
            kube.out(tabwriter::layout_on(&text, tabwriter::TABLE, &mut widths)).await?;
        }
        kube.changed(None).await;
        rows = kube.api(|api| {
            let store = api.store();
            let changes = store.changes_since(revision);
            let rows = changes.filter_map(|change| row_of(kube, change, targets, filter)).collect();
            revision = store.revision();
            rows
        })?;
    }
}

/// An event of a watch: what has happened, and to what.
type Row = (&'static str, KindInfo, AnyObject);

/// A change as a watcher with this filter sees it: what no longer fits is gone for it.
fn row_of(kube: &Kube<'_>, change: &Change, targets: &[Target], filter: &Filter) -> Option<Row> {
    let fits = |object: &&AnyObject| {
        let is_meant = |target: &Target| {
            target.kind.id == object.kind()
                && target.name.as_deref().is_none_or(|name| name == object.name())
        };
        let everywhere = kube.all_namespaces || object.namespace().is_empty();
        targets.iter().any(is_meant)
            && (everywhere || object.namespace() == kube.namespace)
            && targets
                .iter()
                .filter(|t| t.kind.id == object.kind())
                .any(|t| filter.fits(&t.kind, object))
    };
    let (old, new) = (change.old.as_ref().filter(fits), change.new.as_ref().filter(fits));
    let event = match (old, new) {
        (None, None) => return None,
        (None, Some(_)) => "ADDED",
        (Some(_), Some(_)) => "MODIFIED",
        (Some(_), None) => "DELETED",
    };
    let kind = targets.first().map(|target| target.kind.clone())?;
    Some((event, kind, new.or(old)?.clone()))
}
