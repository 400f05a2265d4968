//! Services, NetworkPolicies, Ingresses and their classes, as kubectl describes them.

use std::fmt::Write as _;

use base::Items as _;
use base::calendar::Utc;
use kube_api::core::Service;
use kube_api::discovery::{EndpointPort, EndpointSlice};
use kube_api::{AnyObject, Kind, MetaExt};
use serde_json::Value;

use super::{annotations, head, labelled, line, many, named};
use crate::kubectl::kube::{Fail, Kube};
use crate::kubectl::table::{View, addresses, labels, selector_text};

pub(super) fn service(
    kube: &Kube<'_>,
    object: &AnyObject,
    v: &View<'_>,
    out: &mut String,
) -> Result<(), Fail> {
    head(v, out);
    line(out, "Selector", labels(v.at("/spec/selector")));
    line(out, "Type", v.text("/spec/type"));
    line(out, "IP Family Policy", v.text_or("/spec/ipFamilyPolicy", "<none>"));
    let list = |pointer: &str| {
        let all: Vec<&str> = v.items(pointer).filter_map(Value::as_str).collect();
        if all.is_empty() { "<none>".to_string() } else { all.join(",") }
    };
    line(out, "IP Families", list("/spec/ipFamilies"));
    line(out, "IP", v.text("/spec/clusterIP"));
    line(out, "IPs", list("/spec/clusterIPs"));
    if v.len("/spec/externalIPs") > 0 {
        line(out, "External IPs", list("/spec/externalIPs"));
    }
    if v.text("/spec/type") == "ExternalName" {
        line(out, "External Name", v.text("/spec/externalName"));
    }
    for port in v.items("/spec/ports") {
        let port = View(port);
        let name = port.text_or("/name", "<unset>");
        let protocol = port.text_or("/protocol", "TCP");
        line(out, "Port", format!("{name}\t{}/{protocol}", port.number("/port")));
        line(out, "TargetPort", format!("{}/{protocol}", port.text("/targetPort")));
        if port.number("/nodePort") != "0" {
            line(out, "NodePort", format!("{name}\t{}/{protocol}", port.number("/nodePort")));
        }
        line(out, "Endpoints", endpoints(kube, object, &port.text("/name"))?);
    }
    line(out, "Session Affinity", v.text("/spec/sessionAffinity"));
    if v.at("/spec/externalTrafficPolicy").is_some() {
        line(out, "External Traffic Policy", v.text("/spec/externalTrafficPolicy"));
    }
    line(out, "Internal Traffic Policy", v.text_or("/spec/internalTrafficPolicy", "Cluster"));
    if v.number("/spec/healthCheckNodePort") != "0" {
        line(out, "HealthCheck NodePort", v.number("/spec/healthCheckNodePort"));
    }
    Ok(())
}

/// The ready endpoints of a port, from the Service's slices.
fn endpoints(kube: &Kube<'_>, service: &AnyObject, port_name: &str) -> Result<String, Fail> {
    let mut has_slices = false;
    let mut all: Vec<String> = kube.api(|api| {
        let slices = api.store().list_in::<EndpointSlice>(service.namespace());
        let own = slices.filter(|s| {
            s.metadata.label(controllers::endpointslice::SERVICE_NAME) == Some(service.name())
        });
        own.flat_map(|slice| {
            has_slices = true;
            let ports = slice.ports.items();
            let fits = |port: &&EndpointPort| port.name.as_deref().unwrap_or_default() == port_name;
            let found = ports.into_iter().find(fits);
            let port = found.and_then(|port| port.port);
            // A slice without any ports is for all of them.
            let is_for_it = found.is_some() || slice.ports.items().next().is_none();
            let ready = slice.endpoints.iter().filter(|e| {
                e.conditions.as_ref().is_none_or(|conditions| conditions.ready != Some(false))
            });
            let text = |address: &String| match port {
                Some(port) => format!("{address}:{port}"),
                None => address.clone(),
            };
            let ready = ready.filter(|_| is_for_it);
            ready.flat_map(|e| e.addresses.iter().map(text)).collect::<Vec<String>>()
        })
        .collect()
    })?;
    base::order::sort(&mut all);
    let len = all.len();
    if len > 3 {
        all.truncate(3);
        return Ok(format!("{} + {} more...", all.join(","), len - 3));
    }
    Ok(if has_slices { all.join(",") } else { "<none>".to_string() })
}

pub(super) fn network_policy(v: &View<'_>, out: &mut String) {
    named(v, out);
    let made = v.moment("/metadata/creationTimestamp");
    let made = made.map(|time| Utc::at(time).to_string()).unwrap_or_default();
    let made = made.replace('T', " ").replace('Z', " +0000 UTC");
    line(out, "Created on", made);
    labelled(v, out);
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
    labelled(v, out);
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
