//! What is asked of Services and of their endpoints (`pkg/apis/core/validation`, `pkg/apis/discovery/validation`).

use serde_json::{Value, json};

use super::names::Form;
use super::pods::{list, number, protocol, text};
use super::rules::Checker;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];

pub(super) fn service(checker: &mut Checker, service: &Value) {
    let Some(spec) = service.get("spec") else { return };
    checker.within("spec", |checker| service_spec(checker, spec));
}

fn cluster_ip(spec: &Value) -> &str {
    let first = list(spec, "clusterIPs").first().and_then(Value::as_str);
    first.unwrap_or_else(|| text(spec, "clusterIP"))
}

fn service_spec(checker: &mut Checker, spec: &Value) {
    let kind = text(spec, "type");
    let is_headless = cluster_ip(spec) == "None";
    let ports = list(spec, "ports");
    if ports.is_empty() && !is_headless && kind != "ExternalName" {
        checker.required("ports", "");
    }
    match kind {
        "LoadBalancer" => {
            for (index, port) in ports.iter().enumerate() {
                if number(port, "port") == 10250 {
                    let what = "may not expose port 10250 externally since it is used by kubelet";
                    checker.invalid(&format!("ports[{index}]"), &json!(10250), what);
                }
            }
        }
        "ExternalName" => external_name(checker, spec),
        _ => {}
    }
    if is_headless && matches!(kind, "LoadBalancer" | "NodePort") {
        let what = format!("may not be set to 'None' for {kind} services");
        checker.invalid("clusterIPs[0]", &"None".into(), &what);
    }
    let mut names: Vec<&str> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let needs_name = ports.len() > 1;
        checker.within(&format!("ports[{index}]"), |checker| {
            service_port(checker, port, needs_name, &mut names);
        });
    }
    checker.labels("selector", spec.get("selector").unwrap_or(&Value::Null));
    affinity(checker, spec);
    addresses(checker, spec);
    if kind.is_empty() {
        checker.required("type", "");
    } else if !TYPES.contains(&kind) {
        checker.not_supported("type", kind, &TYPES);
    }
    if kind == "ClusterIP" {
        for (index, _) in ports.iter().enumerate().filter(|(_, port)| number(port, "nodePort") != 0)
        {
            let what = "may not be used when `type` is 'ClusterIP'";
            checker.forbidden(&format!("ports[{index}].nodePort"), what);
        }
    }
    duplicates(checker, ports);
    balancer(checker, spec, kind);
    policies(checker, spec, kind);
}

fn external_name(checker: &mut Checker, spec: &Value) {
    if !list(spec, "clusterIPs").is_empty() || !text(spec, "clusterIP").is_empty() {
        checker.forbidden("clusterIPs", "may not be set for ExternalName services");
    }
    for field in ["ipFamilies", "ipFamilyPolicy"] {
        if spec.get(field).is_some() {
            checker.forbidden(field, "may not be set for ExternalName services");
        }
    }
    match text(spec, "externalName").trim_end_matches('.') {
        "" => checker.required("externalName", ""),
        name => checker.form("externalName", name, Form::Subdomain),
    }
}

fn service_port<'a>(
    checker: &mut Checker,
    port: &'a Value,
    needs_name: bool,
    names: &mut Vec<&'a str>,
) {
    match text(port, "name") {
        "" if needs_name => checker.required("name", ""),
        "" => {}
        name => {
            checker.form("name", name, Form::Label);
            if names.contains(&name) {
                checker.duplicate("name", &name.into());
            }
            names.push(name);
        }
    }
    checker.port("port", &number(port, "port").into());
    protocol(checker, port);
    checker.port_ref("targetPort", port.get("targetPort").unwrap_or(&Value::Null));
    if let Some(protocol) = port.get("appProtocol").and_then(Value::as_str) {
        checker.form("appProtocol", protocol, Form::QualifiedName);
    }
}

fn affinity(checker: &mut Checker, spec: &Value) {
    let config = spec.get("sessionAffinityConfig");
    match text(spec, "sessionAffinity") {
        "" => checker.required("sessionAffinity", ""),
        "ClientIP" => {
            let seconds = config.and_then(|config| config.pointer("/clientIP/timeoutSeconds"));
            if let Some(seconds) = seconds
                && seconds.as_i64().is_some_and(|seconds| !(1..=86400).contains(&seconds))
            {
                let what = "must be greater than 0 and less than 86400";
                checker.invalid("sessionAffinityConfig.clientIP.timeoutSeconds", seconds, what);
            }
        }
        "None" if config.is_some() => {
            let what = "must not be set when session affinity is None";
            checker.forbidden("sessionAffinityConfig", what);
        }
        "None" => {}
        other => checker.not_supported("sessionAffinity", other, &["ClientIP", "None"]),
    }
}

fn addresses(checker: &mut Checker, spec: &Value) {
    let first = cluster_ip(spec);
    if text(spec, "type") != "ExternalName" && !["", "None"].contains(&first) {
        checker.form("clusterIPs[0]", first, Form::Ip);
    }
    for (index, ip) in list(spec, "externalIPs").iter().enumerate() {
        let field = format!("externalIPs[{index}]");
        let ip = ip.as_str().unwrap_or_default();
        checker.form(&field, ip, Form::Ip);
        not_special(checker, &field, ip);
    }
}

/// Addresses that mean something else on every machine are no addresses of a Service (`ValidateNonSpecialIP`).
fn not_special(checker: &mut Checker, field: &str, ip: &str) {
    let Ok(addr) = ip.parse::<std::net::IpAddr>() else { return };
    let (link_local, is_multicast) = match addr {
        std::net::IpAddr::V4(v4) => (v4.is_link_local(), v4.octets().starts_with(&[224, 0, 0])),
        std::net::IpAddr::V6(v6) => {
            let [first, ..] = v6.segments();
            (first & 0xffc0 == 0xfe80, first & 0xff0f == 0xff02)
        }
    };
    let what = if addr.is_unspecified() {
        format!("may not be unspecified ({ip})")
    } else if addr.is_loopback() {
        "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_string()
    } else if link_local {
        "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_string()
    } else if is_multicast {
        "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_string()
    } else {
        return;
    };
    checker.invalid(field, &ip.into(), &what);
}

/// The same node port and protocol twice, the same port and protocol twice.
fn duplicates(checker: &mut Checker, ports: &[Value]) {
    let mut seen: Vec<(&str, i64)> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let node_port = number(port, "nodePort");
        if node_port == 0 {
            continue;
        }
        let key = (text(port, "protocol"), node_port);
        if seen.contains(&key) {
            checker.duplicate(&format!("ports[{index}].nodePort"), &node_port.into());
        }
        seen.push(key);
    }
    let mut seen: Vec<(&str, i64)> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let (protocol, number) = (text(port, "protocol"), number(port, "port"));
        if seen.contains(&(protocol, number)) {
            // Upstream shows its own type here, whose fields have other names.
            let body = format!(
                "Duplicate value: {{\"Name\":\"\",\"Protocol\":{protocol:?},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\"NodePort\":0}}"
            );
            let field = checker.path(&format!("ports[{index}]"));
            checker.errors.push(crate::FieldError { field, body });
        }
        seen.push((protocol, number));
    }
}

fn balancer(checker: &mut Checker, spec: &Value, kind: &str) {
    let ranges = list(spec, "loadBalancerSourceRanges");
    if !ranges.is_empty() {
        let field = "LoadBalancerSourceRanges";
        if kind != "LoadBalancer" {
            checker.forbidden(field, "may only be used when `type` is 'LoadBalancer'");
        }
        for (index, range) in ranges.iter().enumerate() {
            let range = range.as_str().unwrap_or_default().trim();
            checker.form(&format!("{field}[{index}]"), range, Form::Cidr);
        }
    }
    if spec.get("allocateLoadBalancerNodePorts").is_some() && kind != "LoadBalancer" {
        let what = "may only be used when `type` is 'LoadBalancer'";
        checker.forbidden("allocateLoadBalancerNodePorts", what);
    }
    if let Some(class) = spec.get("loadBalancerClass").and_then(Value::as_str) {
        if kind != "LoadBalancer" {
            checker
                .forbidden("loadBalancerClass", "may only be used when `type` is 'LoadBalancer'");
        } else {
            checker.form("loadBalancerClass", class, Form::QualifiedName);
        }
    }
}

fn policies(checker: &mut Checker, spec: &Value, kind: &str) {
    let external = text(spec, "externalTrafficPolicy");
    let is_external =
        matches!(kind, "NodePort" | "LoadBalancer") || !list(spec, "externalIPs").is_empty();
    match (is_external, external) {
        (false, "") | (true, "Cluster" | "Local") => {}
        (false, policy) => {
            let what = "may only be set for externally-accessible services";
            checker.invalid("externalTrafficPolicy", &policy.into(), what);
        }
        (true, "") => checker.required("externalTrafficPolicy", ""),
        (true, other) => checker.not_supported("externalTrafficPolicy", other, &POLICIES),
    }
    let check_port = number(spec, "healthCheckNodePort");
    if check_port != 0 && !(kind == "LoadBalancer" && external == "Local") {
        let what =
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        checker.invalid("healthCheckNodePort", &check_port.into(), what);
    } else if check_port != 0 {
        checker.port("healthCheckNodePort", &check_port.into());
    }
    let internal = text(spec, "internalTrafficPolicy");
    if !internal.is_empty() && !POLICIES.contains(&internal) {
        checker.not_supported("internalTrafficPolicy", internal, &POLICIES);
    }
    let distribution = text(spec, "trafficDistribution");
    const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    if !distribution.is_empty() && !DISTRIBUTIONS.contains(&distribution) {
        checker.not_supported("trafficDistribution", distribution, &DISTRIBUTIONS);
    }
}

/// Of a subset of Endpoints.
pub(super) fn subset(checker: &mut Checker, subset: &Value) {
    if list(subset, "addresses").is_empty() && list(subset, "notReadyAddresses").is_empty() {
        checker.required("", "must specify `addresses` or `notReadyAddresses`");
    }
    for name in ["addresses", "notReadyAddresses"] {
        for (index, address) in list(subset, name).iter().enumerate() {
            not_special(checker, &format!("{name}[{index}].ip"), text(address, "ip"));
        }
    }
    let ports = list(subset, "ports");
    for (index, port) in ports.iter().enumerate() {
        if ports.len() > 1 && text(port, "name").is_empty() {
            checker.required(&format!("ports[{index}].name"), "");
        }
    }
}

pub(super) fn slice(checker: &mut Checker, slice: &Value) {
    let kind = text(slice, "addressType");
    match kind {
        "" => checker.required("addressType", ""),
        "IPv4" | "IPv6" | "FQDN" => {}
        other => checker.not_supported("addressType", other, &["FQDN", "IPv4", "IPv6"]),
    }
    let endpoints = list(slice, "endpoints");
    if endpoints.len() > 1000 {
        let body = format!("Too many: {}: must have at most 1000 items", endpoints.len());
        checker.errors.push(crate::FieldError { field: "endpoints".to_string(), body });
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let addresses = list(endpoint, "addresses");
        if addresses.is_empty() {
            let what = "must contain at least 1 address";
            checker.required(&format!("endpoints[{index}].addresses"), what);
        }
        for (at, address) in addresses.iter().enumerate() {
            let field = format!("endpoints[{index}].addresses[{at}]");
            let address = address.as_str().unwrap_or_default();
            let form = if kind == "FQDN" { Form::Subdomain } else { Form::Ip };
            checker.form(&field, address, form);
            let is_four = address.parse::<std::net::Ipv4Addr>().is_ok();
            let is_six = address.parse::<std::net::Ipv6Addr>().is_ok();
            if (kind == "IPv4" && is_six) || (kind == "IPv6" && is_four) {
                checker.invalid(&field, &address.into(), &format!("must be an {kind} address"));
            }
            not_special(checker, &field, address);
        }
    }
    let mut names: Vec<&str> = Vec::new();
    for (index, port) in list(slice, "ports").iter().enumerate() {
        checker.within(&format!("ports[{index}]"), |checker| {
            let name = text(port, "name");
            if !name.is_empty() {
                checker.form("name", name, Form::Label);
            }
            if names.contains(&name) {
                checker.duplicate("name", &name.into());
            }
            names.push(name);
            protocol(checker, port);
            if port.get("port").is_some() {
                checker.port("port", &number(port, "port").into());
            }
        });
    }
}
