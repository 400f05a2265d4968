//! NetworkPolicies, Ingresses and their classes, as kubectl describes them.

use std::fmt::Write as _;

use base::Items as _;
use base::calendar::Utc;
use kube_api::core::Service;
use kube_api::object::instant;
use kube_api::{AnyObject, Kind, Time};
use serde_json::Value;

use super::{annotations, endpoints, line, many};
use crate::kubectl::kube::{Fail, Kube};
use crate::kubectl::table::{View, addresses, selector_text};

pub(super) fn network_policy(v: &View<'_>, out: &mut String) {
    line(out, "Name", v.text("/metadata/name"));
    line(out, "Namespace", v.text("/metadata/namespace"));
    let made = v.at("/metadata/creationTimestamp").and_then(|value| Time::parse(value.as_str()?));
    let made = made.map(|time| Utc::at(instant(&time)).to_string()).unwrap_or_default();
    let made = made.replace('T', " ").replace('Z', " +0000 UTC");
    line(out, "Created on", made);
    many(out, "Labels", v.at("/metadata/labels"), "=");
    annotations(out, v);
    out.push_str("Spec:\n");
    let selector = selector_text(v.at("/spec/podSelector"));
    let all = "<none> (Allowing the specific traffic to all pods in this namespace)";
    let selector = if selector == "<none>" { all } else { &selector };
    let _ = writeln!(out, "  PodSelector:     {selector}");
    let types: Vec<&str> = v.items("/spec/policyTypes").filter_map(Value::as_str).collect();
    for (name, word, rules, peers, end, from) in [
        ("Ingress", "ingress", "/spec/ingress", "/from", "From", "source"),
        ("Egress", "egress", "/spec/egress", "/to", "To", "destination"),
    ] {
        if !types.contains(&name) {
            let _ = writeln!(out, "  Not affecting {word} traffic");
            continue;
        }
        let _ = writeln!(out, "  Allowing {word} traffic:");
        let count = v.len(rules);
        if count == 0 {
            let _ =
                writeln!(out, "    <none> (Selected pods are isolated for {word} connectivity)");
        }
        for (at, rule) in v.items(rules).enumerate() {
            policy_rule(&View(rule), peers, end, from, out);
            if at + 1 < count {
                out.push_str("    ----------\n");
            }
        }
    }
    let _ = writeln!(out, "  Policy Types: {}", types.join(", "));
}

fn policy_rule(rule: &View<'_>, peers: &str, end: &str, from: &str, out: &mut String) {
    if rule.len("/ports") == 0 {
        out.push_str("    To Port: <any> (traffic allowed to all ports)\n");
    }
    for port in rule.items("/ports").map(View) {
        let number = port.text_or("/port", "<nil>");
        let last = port.number("/endPort");
        let number = if last == "0" { number } else { format!("{number}-{last}") };
        let _ = writeln!(out, "    To Port: {number}/{}", port.text_or("/protocol", "TCP"));
    }
    if rule.len(peers) == 0 {
        let _ = writeln!(out, "    {end}: <any> (traffic not restricted by {from})");
    }
    for peer in rule.items(peers).map(View) {
        let _ = writeln!(out, "    {end}:");
        for (name, at) in
            [("NamespaceSelector", "/namespaceSelector"), ("PodSelector", "/podSelector")]
        {
            if peer.at(at).is_some() {
                let _ = writeln!(out, "      {name}: {}", selector_text(peer.at(at)));
            }
        }
        if peer.at("/ipBlock").is_some() {
            let except: Vec<&str> =
                peer.items("/ipBlock/except").filter_map(Value::as_str).collect();
            let cidr = peer.text("/ipBlock/cidr");
            let _ = writeln!(
                out,
                "      IPBlock:\n        CIDR: {cidr}\n        Except: {}",
                except.join(", ")
            );
        }
    }
}

pub(super) fn ingress_class(v: &View<'_>, out: &mut String) {
    line(out, "Name", v.text("/metadata/name"));
    many(out, "Labels", v.at("/metadata/labels"), "=");
    annotations(out, v);
    line(out, "Controller", v.text("/spec/controller"));
}

pub(super) fn ingress(
    kube: &Kube<'_>,
    object: &AnyObject,
    v: &View<'_>,
    out: &mut String,
) -> Result<(), Fail> {
    line(out, "Name", v.text("/metadata/name"));
    many(out, "Labels", v.at("/metadata/labels"), "=");
    line(out, "Namespace", v.text("/metadata/namespace"));
    line(out, "Address", addresses(v).join(","));
    line(out, "Ingress Class", v.text_or("/spec/ingressClassName", "<none>"));
    let default = match v.at("/spec/defaultBackend") {
        Some(value) => backend(kube, object.namespace(), &View(value))?,
        None => "<default>".to_string(),
    };
    line(out, "Default backend", &default);
    if v.len("/spec/tls") > 0 {
        out.push_str("TLS:\n");
    }
    for tls in v.items("/spec/tls").map(View) {
        let hosts: Vec<&str> = tls.items("/hosts").filter_map(Value::as_str).collect();
        let hosts = hosts.join(",");
        let _ = match tls.text("/secretName").as_str() {
            "" => writeln!(out, "  SNI routes {hosts}"),
            secret => writeln!(out, "  {secret} terminates {hosts}"),
        };
    }
    out.push_str("Rules:\n  Host\tPath\tBackends\n  ----\t----\t--------\n");
    let mut has_rules = false;
    for rule in v.items("/spec/rules").map(View).filter(|rule| rule.at("/http").is_some()) {
        has_rules = true;
        let _ = writeln!(out, "  {}\t", rule.text_or("/host", "*"));
        for path in rule.items("/http/paths").map(View) {
            let value = path.at("/backend").unwrap_or(&Value::Null);
            let backend = backend(kube, object.namespace(), &View(value))?;
            let _ = writeln!(out, "    \t{} \t{backend}", path.text("/path"));
        }
    }
    if !has_rules {
        let _ = writeln!(out, "  *\t*\t{default}");
    }
    annotations(out, v);
    Ok(())
}

/// `web:80 (10.244.1.2:80)`
fn backend(kube: &Kube<'_>, namespace: &str, v: &View<'_>) -> Result<String, Fail> {
    if v.at("/resource").is_some() {
        return Ok(format!(
            "APIGroup: {}, Kind: {}, Name: {}",
            v.text_or("/resource/apiGroup", "<none>"),
            v.text("/resource/kind"),
            v.text("/resource/name")
        ));
    }
    let name = v.text("/service/name");
    let number = v.number("/service/port/number");
    let port = v.text_or("/service/port/name", &number);
    let service = kube.api(|api| api.store().get::<Service>(namespace, &name).cloned())?;
    let Some(service) = service else {
        return Ok(format!("{name}:{port} (<error: services \"{name}\" not found>)"));
    };
    let ports = service.spec.iter().flat_map(|spec| spec.ports.items());
    let found = ports
        .into_iter()
        .find(|of| of.name.as_deref() == Some(&port) || of.port.to_string() == number);
    let port_name = found.and_then(|port| port.name.clone()).unwrap_or_default();
    let all = endpoints(kube, &Service::wrap(service), &port_name)?;
    Ok(format!("{name}:{port} ({all})"))
}
