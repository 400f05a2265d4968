//! Descriptions of what workloads are given: configuration, secrets, accounts, rights, storage, and the addresses
//! behind Services (`kubectl/pkg/describe/describe.go`).

use std::fmt::Write as _;

use kube_api::{AnyObject, KindInfo};
use serde_json::Value;

use super::super::kube::{Fail, Kube};
use super::super::table::{View, modes};
use super::{annotations, head, labelled, line, named};

/// Whether events are shown below a description.
pub(super) enum Below {
    Events,
    Nothing,
}

/// A description of one of the kinds here; `None`: it is none of them.
pub(super) fn describe(
    kube: &Kube<'_>,
    kind: &KindInfo,
    object: &AnyObject,
    v: &View<'_>,
    out: &mut String,
) -> Result<Option<Below>, Fail> {
    let mut below = Below::Events;
    match kind.plural.as_str() {
        "configmaps" => config_map(v, out),
        "endpoints" => endpoints(v, out),
        "endpointslices" => endpoint_slice(v, out),
        "persistentvolumeclaims" => claim(kube, object, v, out)?,
        "persistentvolumes" => volume(kube, v, out),
        "storageclasses" => storage_class(v, out),
        "priorityclasses" => priority_class(v, out),
        "serviceaccounts" => {
            head(v, out);
            for name in ["Image pull secrets", "Mountable secrets", "Tokens"] {
                line(out, name, "<none>");
            }
        }
        plural => {
            below = Below::Nothing;
            match plural {
                "secrets" => secret(v, out),
                "namespaces" => namespace(kube, object, v, out)?,
                "roles" | "clusterroles" => role(v, out),
                "rolebindings" | "clusterrolebindings" => binding(v, out),
                "resourcequotas" => quota(v, out),
                "limitranges" => {
                    named(v, out);
                    limits(v, "", out);
                }
                _ => return Ok(None),
            }
        }
    }
    Ok(Some(below))
}

fn fields<'a>(v: &View<'a>, pointer: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    v.at(pointer).and_then(Value::as_object).into_iter().flatten()
}

/// `[a b]`, as Go prints a list.
fn list(v: &View<'_>, pointer: &str) -> String {
    let all: Vec<&str> = v.items(pointer).filter_map(Value::as_str).collect();
    format!("[{}]", all.join(" "))
}

/// Bytes of a text in base64.
fn decoded_len(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default().trim_end_matches('=');
    text.len() * 3 / 4
}

fn config_map(v: &View<'_>, out: &mut String) {
    head(v, out);
    out.push_str("\nData\n====\n");
    for (key, value) in fields(v, "/data") {
        let _ = writeln!(out, "{key}:\n----\n{}\n", value.as_str().unwrap_or_default());
    }
    out.push_str("\nBinaryData\n====\n");
    for (key, value) in fields(v, "/binaryData") {
        let _ = writeln!(out, "{key}: {} bytes", decoded_len(value));
    }
    out.push('\n');
}

fn secret(v: &View<'_>, out: &mut String) {
    head(v, out);
    let _ = write!(out, "\nType:\t{}\n\nData\n====\n", v.text_or("/type", "Opaque"));
    for (key, value) in fields(v, "/data") {
        let _ = writeln!(out, "{key}:\t{} bytes", decoded_len(value));
    }
}

fn namespace(
    kube: &Kube<'_>,
    object: &AnyObject,
    v: &View<'_>,
    out: &mut String,
) -> Result<(), Fail> {
    head(v, out);
    line(out, "Status", v.text("/status/phase"));
    let kind = kube.kind("resourcequotas")?;
    let quotas: Vec<Value> = kube.api(|api| {
        api.store().list_any_in(kind.id, object.name()).map(AnyObject::to_value).collect()
    })?;
    out.push_str(if quotas.is_empty() { "\nNo resource quota.\n" } else { "\nResource Quotas\n" });
    for quota in &quotas {
        let mut text = String::new();
        line(&mut text, "Name", View(quota).text("/metadata/name"));
        hard(&View(quota), &mut text);
        text.lines().for_each(|line| {
            let _ = writeln!(out, "  {line}");
        });
    }
    let kind = kube.kind("limitranges")?;
    let ranges: Vec<Value> = kube.api(|api| {
        api.store().list_any_in(kind.id, object.name()).map(AnyObject::to_value).collect()
    })?;
    if ranges.is_empty() {
        out.push_str("\nNo LimitRange resource.\n");
    } else {
        out.push_str("\nResource Limits\n");
    }
    for range in &ranges {
        limits(&View(range), " ", out);
    }
    Ok(())
}

/// (`describeLimitRangeSpec`)
fn limits(v: &View<'_>, indent: &str, out: &mut String) {
    let _ = writeln!(
        out,
        "{indent}Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio"
    );
    let _ = writeln!(
        out,
        "{indent}----\t--------\t---\t---\t---------------\t-------------\t-----------------------"
    );
    for limit in v.items("/spec/limits").map(View) {
        let amounts = ["min", "max", "defaultRequest", "default", "maxLimitRequestRatio"]
            .map(|name| limit.at(&format!("/{name}")).and_then(Value::as_object));
        let mut names: Vec<&String> = Vec::new();
        for (name, _) in amounts.iter().flatten().flat_map(|amounts| amounts.iter()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        base::order::sort(&mut names);
        for name in names {
            let cells = amounts.map(|of| match of.and_then(|of| of.get(name)) {
                Some(amount) => super::super::jsonpath::show(amount),
                None => "-".to_string(),
            });
            let _ = writeln!(out, "{indent}{}\t{name}\t{}", limit.text("/type"), cells.join("\t"));
        }
    }
}

fn quota(v: &View<'_>, out: &mut String) {
    named(v, out);
    hard(v, out);
}

fn hard(v: &View<'_>, out: &mut String) {
    out.push_str("Resource\tUsed\tHard\n--------\t----\t----\n");
    for (name, limit) in fields(v, "/spec/hard") {
        let used = v.at("/status/used").and_then(|used| used.get(name)).and_then(Value::as_str);
        let limit = super::super::jsonpath::show(limit);
        let _ = writeln!(out, "{name}\t{}\t{limit}", used.unwrap_or("0"));
    }
}

fn role(v: &View<'_>, out: &mut String) {
    line(out, "Name", v.text("/metadata/name"));
    labelled(v, out);
    out.push_str("PolicyRule:\n  Resources\tNon-Resource URLs\tResource Names\tVerbs\n  ---------\t-----------------\t--------------\t-----\n");
    for rule in v.items("/rules") {
        let rule = View(rule);
        let (verbs, urls) = (list(&rule, "/verbs"), list(&rule, "/nonResourceURLs"));
        let names = list(&rule, "/resourceNames");
        let mut is_of_urls = true;
        for group in rule.items("/apiGroups").filter_map(Value::as_str) {
            for resource in rule.items("/resources").filter_map(Value::as_str) {
                is_of_urls = false;
                let name = kube_api::status::resource_name(group, resource);
                let _ = writeln!(out, "  {name}\t{urls}\t{names}\t{verbs}");
            }
        }
        if is_of_urls {
            let _ = writeln!(out, "  \t{urls}\t{names}\t{verbs}");
        }
    }
}

fn binding(v: &View<'_>, out: &mut String) {
    line(out, "Name", v.text("/metadata/name"));
    labelled(v, out);
    let (kind, name) = (v.text("/roleRef/kind"), v.text("/roleRef/name"));
    let _ = writeln!(out, "Role:\n  Kind:\t{kind}\n  Name:\t{name}");
    out.push_str("Subjects:\n  Kind\tName\tNamespace\n  ----\t----\t---------\n");
    for subject in v.items("/subjects") {
        let s = View(subject);
        let _ =
            writeln!(out, "  {}\t{}\t{}", s.text("/kind"), s.text("/name"), s.text("/namespace"));
    }
}

fn ports(v: &View<'_>, indent: &str, out: &mut String) {
    let _ = writeln!(
        out,
        "{indent}Ports:\n{indent}  Name\tPort\tProtocol\n{indent}  ----\t----\t--------"
    );
    for port in v.items("/ports") {
        let p = View(port);
        let name = Some(p.text("/name")).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| "<unset>".to_string());
        let (number, protocol) = (p.number("/port"), p.text_or("/protocol", "TCP"));
        let _ = writeln!(out, "{indent}  {name}\t{number}\t{protocol}");
    }
}

fn endpoints(v: &View<'_>, out: &mut String) {
    head(v, out);
    out.push_str("Subsets:\n");
    for subset in v.items("/subsets") {
        let s = View(subset);
        for (title, pointer) in
            [("Addresses", "/addresses"), ("NotReadyAddresses", "/notReadyAddresses")]
        {
            let all: Vec<String> = s.items(pointer).map(|a| View(a).text("/ip")).collect();
            let all = if all.is_empty() { "<none>".to_string() } else { all.join(",") };
            let _ = writeln!(out, "  {title}:\t{all}");
        }
        if s.len("/ports") > 0 {
            ports(&s, "  ", out);
        }
        out.push('\n');
    }
}

fn endpoint_slice(v: &View<'_>, out: &mut String) {
    head(v, out);
    line(out, "AddressType", v.text("/addressType"));
    match v.len("/ports") {
        0 => out.push_str("Ports: <unset>\n"),
        _ => ports(v, "", out),
    }
    out.push_str(if v.len("/endpoints") == 0 { "Endpoints: <none>\n" } else { "Endpoints:\n" });
    for endpoint in v.items("/endpoints") {
        let e = View(endpoint);
        let addresses: Vec<&str> = e.items("/addresses").filter_map(Value::as_str).collect();
        let _ = writeln!(out, "  - Addresses:\t{}", addresses.join(", "));
        let _ = writeln!(
            out,
            "    Conditions:\n      Ready:\t{}",
            e.text_or("/conditions/ready", "<unset>")
        );
        let _ = writeln!(out, "    Hostname:\t{}", e.text_or("/hostname", "<unset>"));
        if e.at("/targetRef").is_some() {
            let (kind, name) = (e.text("/targetRef/kind"), e.text("/targetRef/name"));
            let _ = writeln!(out, "    TargetRef:\t{kind}/{name}");
        }
        let _ = writeln!(out, "    NodeName:\t{}", e.text_or("/nodeName", "<unset>"));
        let _ = writeln!(out, "    Zone:\t{}", e.text_or("/zone", "<unset>"));
    }
}

/// A phase, or for how long it has been on its way out.
fn phase(kube: &Kube<'_>, v: &View<'_>) -> String {
    match v.moment("/metadata/deletionTimestamp") {
        Some(at) => {
            let lasts = super::super::table::human(kube.now().since(at));
            format!("Terminating (lasts {lasts})")
        }
        None => v.text("/status/phase"),
    }
}

fn claim(kube: &Kube<'_>, object: &AnyObject, v: &View<'_>, out: &mut String) -> Result<(), Fail> {
    named(v, out);
    line(out, "StorageClass", v.text("/spec/storageClassName"));
    line(out, "Status", phase(kube, v));
    line(out, "Volume", v.text("/spec/volumeName"));
    labelled(v, out);
    line(out, "Finalizers", list(v, "/metadata/finalizers"));
    line(out, "Capacity", v.text("/status/capacity/storage"));
    line(out, "Access Modes", modes(v, "/status/accessModes"));
    line(out, "VolumeMode", v.text_or("/spec/volumeMode", "Filesystem"));
    let users: Vec<String> = kube.api(|api| {
        let pods = api.store().list_in::<kube_api::core::Pod>(object.namespace());
        let uses = |pod: &&std::rc::Rc<kube_api::core::Pod>| {
            let value = kube_api::types::to_value(&***pod);
            let mut volumes = View(&value).items("/spec/volumes");
            let claim = "/persistentVolumeClaim/claimName";
            volumes.any(|volume| View(volume).text(claim) == object.name())
        };
        pods.filter(uses).map(|pod| kube_api::MetaExt::name(&pod.metadata).to_string()).collect()
    })?;
    for (number, user) in users.iter().enumerate() {
        let _ = writeln!(out, "{}\t{user}", if number == 0 { "Used By:" } else { "" });
    }
    if users.is_empty() {
        line(out, "Used By", "<none>");
    }
    Ok(())
}

fn volume(kube: &Kube<'_>, v: &View<'_>, out: &mut String) {
    head(v, out);
    line(out, "Finalizers", list(v, "/metadata/finalizers"));
    line(out, "StorageClass", v.text("/spec/storageClassName"));
    line(out, "Status", phase(kube, v));
    let claim = format!("{}/{}", v.text("/spec/claimRef/namespace"), v.text("/spec/claimRef/name"));
    line(out, "Claim", if claim == "/" { "" } else { &claim });
    line(out, "Reclaim Policy", v.text("/spec/persistentVolumeReclaimPolicy"));
    line(out, "Access Modes", modes(v, "/spec/accessModes"));
    line(out, "VolumeMode", v.text_or("/spec/volumeMode", "Filesystem"));
    line(out, "Capacity", v.text("/spec/capacity/storage"));
    let terms = "/spec/nodeAffinity/required/nodeSelectorTerms";
    match v.len(terms) {
        0 => line(out, "Node Affinity", "<none>"),
        _ => out.push_str("Node Affinity:\t\n  Required Terms:\t\n"),
    }
    for (number, term) in v.items(terms).enumerate() {
        let texts: Vec<String> = View(term)
            .items("/matchExpressions")
            .map(|expression| {
                let e = View(expression);
                let values: Vec<&str> = e.items("/values").filter_map(Value::as_str).collect();
                let operator = e.text("/operator").to_lowercase();
                format!("{} {operator} [{}]", e.text("/key"), values.join(", "))
            })
            .collect();
        let _ = writeln!(out, "    Term {number}:\t{}", texts.join("\n\t"));
    }
    line(out, "Message", v.text("/status/message"));
    out.push_str("Source:\n");
    if v.at("/spec/hostPath").is_some() {
        let _ = writeln!(
            out,
            "    Type:\tHostPath (bare host directory volume)\n    Path:\t{}\n    HostPathType:\t{}",
            v.text("/spec/hostPath/path"),
            v.text("/spec/hostPath/type")
        );
    }
}

fn storage_class(v: &View<'_>, out: &mut String) {
    line(out, "Name", v.text("/metadata/name"));
    let default = "/metadata/annotations/storageclass.kubernetes.io~1is-default-class";
    line(out, "IsDefaultClass", if v.text(default) == "true" { "Yes" } else { "No" });
    line(out, "Annotations", super::super::table::labels(v.at("/metadata/annotations")));
    line(out, "Provisioner", v.text("/provisioner"));
    line(out, "Parameters", super::super::table::labels(v.at("/parameters")));
    let grows = v.text_or("/allowVolumeExpansion", "<unset>");
    line(out, "AllowVolumeExpansion", if grows == "true" { "True" } else { &grows });
    line(out, "MountOptions", "<none>");
    line(out, "ReclaimPolicy", v.text_or("/reclaimPolicy", "Delete"));
    line(out, "VolumeBindingMode", v.text_or("/volumeBindingMode", "Immediate"));
}

fn priority_class(v: &View<'_>, out: &mut String) {
    line(out, "Name", v.text("/metadata/name"));
    line(out, "Value", v.number("/value"));
    line(out, "GlobalDefault", v.text_or("/globalDefault", "false"));
    line(out, "PreemptionPolicy", v.text_or("/preemptionPolicy", "PreemptLowerPriority"));
    line(out, "Description", v.text("/description"));
    annotations(out, v);
}
