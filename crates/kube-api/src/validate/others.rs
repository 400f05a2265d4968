//! What is asked of ConfigMaps, Secrets, claims, policies, Ingresses and definitions of kinds
//! (`pkg/apis/{core,networking}/validation`, `apiextensions-apiserver/pkg/apis/apiextensions/validation`).

use serde_json::Value;

use super::names::{Form, cidr};
use super::pods::{list, text};
use super::rules::{Checker, shown};

/// The most that a ConfigMap or Secret may hold.
const DATA_MAX: usize = 1024 * 1024;

fn data(checker: &mut Checker, data: &Value) -> usize {
    let mut size = 0;
    for (key, value) in data.as_object().into_iter().flatten() {
        let field = checker.path(&format!("[{key}]"));
        for complaint in Form::Key.complaints(key) {
            let error = crate::FieldError::invalid(&*field, crate::status::quoted(key), &complaint);
            checker.errors.push(error);
        }
        size += value.as_str().map_or(0, str::len);
    }
    size
}

fn too_long(checker: &mut Checker, size: usize) {
    if size > DATA_MAX {
        checker.errors.push(crate::FieldError::too_long("[]", DATA_MAX));
    }
}

pub(super) fn config_map(checker: &mut Checker, values: &Value) {
    let size = data(checker, values);
    too_long(checker, size);
}

pub(super) fn secret(checker: &mut Checker, values: &Value) {
    // Base64 has four letters for three bytes.
    let size = data(checker, values) / 4 * 3;
    too_long(checker, size);
}

pub(super) fn claim(checker: &mut Checker, spec: &Value) {
    const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    let modes = list(spec, "accessModes");
    if modes.is_empty() {
        checker.required("accessModes", "at least 1 access mode is required");
    }
    for mode in modes.iter().filter_map(Value::as_str).filter(|mode| !MODES.contains(mode)) {
        checker.not_supported("accessModes", mode, &MODES);
    }
    if spec.pointer("/resources/requests/storage").is_none() {
        checker.required("resources[storage]", "");
    }
    if let Some(selector) = spec.get("selector") {
        checker.within("selector", |checker| super::workloads::label_selector(checker, selector));
    }
}

pub(super) fn policy_types(checker: &mut Checker, spec: &Value) {
    let types = list(spec, "policyTypes");
    if types.len() > 2 {
        let shown = Value::Array(types.to_vec());
        return checker.invalid("policyTypes", &shown, "may not specify more than two policyTypes");
    }
    for (index, kind) in types.iter().filter_map(Value::as_str).enumerate() {
        if !["Ingress", "Egress"].contains(&kind) {
            checker.not_supported(&format!("policyTypes[{index}]"), kind, &["Ingress", "Egress"]);
        }
    }
}

pub(super) fn policy_port(checker: &mut Checker, port: &Value) {
    let end = port.get("endPort");
    match (port.get("port"), end) {
        (None, Some(end)) => {
            checker.invalid("endPort", end, "may not be specified when `port` is not specified");
        }
        (Some(Value::String(name)), end) => {
            if let Some(end) = end {
                checker.invalid("endPort", end, "may not be specified when `port` is non-numeric");
            }
            checker.form("port", name, Form::PortName);
        }
        (Some(number), end) => {
            checker.port("port", number);
            if let Some(end) = end {
                if end.as_i64() < number.as_i64() {
                    checker.invalid("endPort", number, "must be greater than or equal to `port`");
                }
                checker.port("endPort", end);
            }
        }
        (None, None) => {}
    }
}

pub(super) fn policy_peer(checker: &mut Checker, peer: &Value) {
    let count =
        ["podSelector", "namespaceSelector", "ipBlock"].iter().filter(|f| peer.get(f).is_some());
    match count.count() {
        0 => checker.required("", "must specify a peer"),
        2.. if peer.get("ipBlock").is_some() => {
            checker.forbidden("", "may not specify both ipBlock and another peer");
        }
        _ => {}
    }
}

pub(super) fn ip_block(checker: &mut Checker, block: &Value) {
    let Some((net, len)) = cidr(text(block, "cidr")) else { return };
    let contains = |inner: std::net::IpAddr| match (net, inner) {
        (std::net::IpAddr::V4(net), std::net::IpAddr::V4(inner)) => {
            let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
            u32::from(net) & mask == u32::from(inner) & mask
        }
        (std::net::IpAddr::V6(net), std::net::IpAddr::V6(inner)) => {
            let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
            u128::from(net) & mask == u128::from(inner) & mask
        }
        _ => false,
    };
    for (index, except) in list(block, "except").iter().filter_map(Value::as_str).enumerate() {
        let field = format!("except[{index}]");
        checker.form(&field, except, Form::Cidr);
        if let Some((inner, inner_len)) = cidr(except)
            && (!contains(inner) || len >= inner_len)
        {
            checker.invalid(&field, &except.into(), "must be a strict subset of `cidr`");
        }
    }
}

pub(super) fn ingress(checker: &mut Checker, ingress: &Value) {
    let Some(spec) = ingress.get("spec") else { return };
    let rules = list(spec, "rules");
    let default = spec.get("defaultBackend");
    checker.within("spec", |checker| {
        if rules.is_empty() && default.is_none() {
            let what = "either `defaultBackend` or `rules` must be specified";
            checker.invalid("", &Value::Null, what);
        }
        if let Some(default) = default {
            checker.within("defaultBackend", |checker| backend(checker, default));
        }
        for (index, rule) in rules.iter().enumerate() {
            checker.within(&format!("rules[{index}]"), |checker| ingress_rule(checker, rule));
        }
        for (index, tls) in list(spec, "tls").iter().enumerate() {
            for (at, host) in list(tls, "hosts").iter().enumerate() {
                let field = format!("tls[{index}].hosts[{at}]");
                checker.form(&field, host.as_str().unwrap_or_default(), Form::Host);
            }
        }
        if let Some(class) = spec.get("ingressClassName").and_then(Value::as_str) {
            checker.form("ingressClassName", class, Form::Subdomain);
        }
    });
    let annotation = ingress.pointer("/metadata/annotations/kubernetes.io~1ingress.class");
    if let (Some(annotation), Some(class)) = (annotation, spec.get("ingressClassName"))
        && annotation != class
    {
        let what = "must match `ingressClassName` when both are specified";
        checker.invalid("annotations.kubernetes.io/ingress.class", annotation, what);
    }
}

fn ingress_rule(checker: &mut Checker, rule: &Value) {
    let host = text(rule, "host");
    if !host.is_empty() {
        if host.parse::<std::net::IpAddr>().is_ok() {
            checker.invalid("host", &host.into(), "must be a DNS name, not an IP address");
        } else {
            checker.form("host", host, Form::Host);
        }
    }
    let Some(http) = rule.get("http") else { return };
    let paths = list(http, "paths");
    if paths.is_empty() {
        checker.required("http.paths", "");
    }
    for (index, path) in paths.iter().enumerate() {
        checker.within(&format!("http.paths[{index}]"), |checker| ingress_path(checker, path));
    }
}

fn ingress_path(checker: &mut Checker, path: &Value) {
    let url = text(path, "path");
    match path.get("pathType").and_then(Value::as_str) {
        None => checker.required("pathType", "pathType must be specified"),
        Some(kind @ ("Exact" | "Prefix")) => {
            let _ = kind;
            if !url.starts_with('/') {
                checker.invalid("path", &url.into(), "must be an absolute path");
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if !url.is_empty() && url.contains(part) {
                    checker.invalid("path", &url.into(), &format!("must not contain '{part}'"));
                }
            }
            for end in ["/..", "/."] {
                if url.ends_with(end) {
                    checker.invalid("path", &url.into(), &format!("cannot end with '{end}'"));
                }
            }
        }
        Some("ImplementationSpecific") => {
            if !url.is_empty() && !url.starts_with('/') {
                checker.invalid("path", &url.into(), "must be an absolute path");
            }
        }
        Some(other) => {
            let known = &["Exact", "ImplementationSpecific", "Prefix"];
            checker.not_supported("pathType", other, known);
        }
    }
    let backend = path.get("backend").unwrap_or(&Value::Null);
    checker.within("backend", |checker| self::backend(checker, backend));
}

fn backend(checker: &mut Checker, backend: &Value) {
    match (backend.get("service"), backend.get("resource")) {
        (Some(_), Some(_)) => {
            checker.invalid("", &"".into(), "cannot set both resource and service backends");
        }
        (None, None) => checker.required("", "resource or service backend is required"),
        (None, Some(_)) => {}
        (Some(service), None) => {
            match text(service, "name") {
                "" => checker.required("service.name", ""),
                name => checker.form("service.name", name, Form::Label1035),
            }
            let port = service.get("port").unwrap_or(&Value::Null);
            let (name, number) = (text(port, "name"), port.get("number"));
            match (name, number) {
                ("", None) => checker.required("service.port", "port name or number is required"),
                ("", Some(number)) => checker.port("service.port.number", number),
                (_, Some(_)) => {
                    checker.invalid("", &"".into(), "cannot set both port name & port number");
                }
                (name, None) => checker.form("service.port.name", name, Form::PortName),
            }
        }
    }
}

pub(super) fn ingress_class(checker: &mut Checker, spec: &Value) {
    let controller = text(spec, "controller");
    if controller.is_empty() {
        checker.required("controller", "");
    } else if !controller.contains('/') {
        let what = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        checker.invalid("controller", &controller.into(), what);
    }
}

pub(super) fn definition(checker: &mut Checker, definition: &Value) {
    let spec = definition.get("spec").unwrap_or(&Value::Null);
    let names = spec.get("names").unwrap_or(&Value::Null);
    let (group, plural) = (text(spec, "group"), text(names, "plural"));
    let name = definition.get("metadata").map_or("", |meta| text(meta, "name"));
    if name != format!("{plural}.{group}") {
        let what = "must be spec.names.plural+\".\"+spec.group";
        checker.invalid("metadata.name", &name.into(), what);
    }
    checker.within("spec", |checker| {
        match group {
            "" => checker.required("group", ""),
            group if !group.contains('.') => {
                checker.invalid("group", &group.into(), "should be a domain with at least one dot");
            }
            group => checker.form("group", group, Form::Subdomain),
        }
        match text(spec, "scope") {
            "" => checker.required("scope", ""),
            "Cluster" | "Namespaced" => {}
            other => checker.not_supported("scope", other, &["Cluster", "Namespaced"]),
        }
        let versions = list(spec, "versions");
        let is_storage = |v: &&Value| v.get("storage") == Some(&Value::Bool(true));
        if versions.iter().filter(is_storage).count() != 1 {
            let shown = shown(&Value::Array(versions.to_vec()));
            let what = "must have exactly one version marked as storage version";
            let field = checker.path("versions");
            checker.errors.push(crate::FieldError::invalid(field, shown, what));
        }
        for (index, version) in versions.iter().enumerate() {
            let field = format!("versions[{index}]");
            match text(version, "name") {
                "" => checker.required(&format!("{field}.name"), ""),
                name => checker.form(&format!("{field}.name"), name, Form::Label1035),
            }
            match version.pointer("/schema/openAPIV3Schema") {
                None => {
                    let field = format!("{field}.schema.openAPIV3Schema");
                    checker.required(&field, "schemas are required");
                }
                Some(schema) if text(schema, "type").is_empty() => {
                    let field = format!("{field}.schema.openAPIV3Schema.type");
                    checker.required(&field, "must not be empty at the root");
                }
                Some(_) => {}
            }
        }
        for field in ["kind", "plural"] {
            if text(names, field).is_empty() {
                checker.required(&format!("names.{field}"), "");
            }
        }
    });
}
