//! A container's environment: its variables, what they refer to, and the Services of its namespace
//! (`pkg/kubelet/kubelet_pods.go`, `pkg/kubelet/envvars`).

use base::Items as _;
use base::tree::BTreeMap;
use std::net::Ipv4Addr;

use kube_api::core::{Container as Spec, Pod, Service};
use kube_api::{AnyObject, Api, MetaExt};
use serde_json::Value;

use super::worker::json;

/// Variables in their order.
pub(super) type Env = Vec<(String, String)>;

/// Where the images of this world have their programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What variables may refer to.
pub(super) struct Refers<'a> {
    pub api: &'a Api,
    pub pod: &'a Pod,
    pub spec: &'a Spec,
    pub hostname: &'a str,
    pub pod_ip: Ipv4Addr,
    pub host_ip: Ipv4Addr,
}

/// A ConfigMap or Secret in JSON.
pub(super) fn config(api: &Api, kind: &str, namespace: &str, name: &str) -> Option<Value> {
    let info = api.store().kinds().find("v1", kind)?;
    api.store().get_any(info.id, namespace, name).map(AnyObject::to_value)
}

/// A key of it, as bytes: those of Secrets and `binaryData` are in base64.
pub(super) fn bytes_of(object: &Value, key: &str) -> Option<Vec<u8>> {
    let text = |part: &str| object.get(part)?.get(key)?.as_str();
    let is_secret = object.get("kind").and_then(Value::as_str) == Some("Secret");
    match text("data") {
        Some(data) if is_secret => Some(base64(data)),
        Some(data) => Some(data.as_bytes().to_vec()),
        None => text("binaryData").map(base64),
    }
}

/// All its keys, sorted.
pub(super) fn keys_of(object: &Value) -> Vec<String> {
    let mut keys: BTreeMap<String, ()> = BTreeMap::new();
    for part in ["data", "binaryData"] {
        for key in
            object.get(part).and_then(Value::as_object).into_iter().flat_map(|map| map.keys())
        {
            keys.insert(key.clone(), ());
        }
    }
    keys.into_keys().collect()
}

/// RFC 4648; what is not of its alphabet is passed over.
fn base64(text: &str) -> Vec<u8> {
    let (mut out, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}

fn word<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn is_on(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool) == Some(true)
}

impl Refers<'_> {
    /// The whole environment, or what is missing, in a kubelet's words.
    pub(super) fn environment(&self) -> Result<Env, String> {
        let services = self.services();
        let part = |name: &str| json(self.spec, name).unwrap_or_default();
        let (sources, variables) = (part("/envFrom"), part("/env"));
        let mut own: Env = Vec::new();
        for source in sources.as_array().items() {
            self.all_of(source, &mut own)?;
        }
        for variable in variables.as_array().items() {
            let name = word(variable, "/name").to_string();
            let value = match variable.get("valueFrom") {
                Some(from) => match self.value_from(from)? {
                    Some(value) => value,
                    None => continue,
                },
                None => expand(word(variable, "/value"), &own, &services),
            };
            set(&mut own, name, value);
        }
        let mut env = vec![
            ("PATH".to_string(), PATH.to_string()),
            ("HOSTNAME".to_string(), self.hostname.to_string()),
        ];
        let is_new = |name: &str, env: &Env| !env.iter().any(|(known, _)| known == name);
        let mut more: Env = Vec::new();
        for (name, value) in services {
            if is_new(&name, &own) {
                more.push((name, value));
            }
        }
        let has_home = !is_new("HOME", &own);
        own.into_iter().for_each(|(name, value)| set(&mut env, name, value));
        env.extend(more);
        if !has_home {
            env.push(("HOME".to_string(), "/root".to_string()));
        }
        Ok(env)
    }

    /// `envFrom`
    fn all_of(&self, source: &Value, own: &mut Env) -> Result<(), String> {
        let (kind, reference) = match (source.get("configMapRef"), source.get("secretRef")) {
            (Some(reference), _) => ("ConfigMap", reference),
            (None, Some(reference)) => ("Secret", reference),
            (None, None) => return Ok(()),
        };
        let Some(object) = self.config(kind, reference)? else { return Ok(()) };
        for key in keys_of(&object) {
            let value = bytes_of(&object, &key).unwrap_or_default();
            let name = format!("{}{key}", word(source, "/prefix"));
            set(own, name, String::from_utf8_lossy(&value).into_owned());
        }
        Ok(())
    }

    fn config(&self, kind: &str, reference: &Value) -> Result<Option<Value>, String> {
        let name = word(reference, "/name");
        match config(self.api, kind, self.pod.metadata.namespace(), name) {
            None if is_on(reference, "/optional") => Ok(None),
            None => Err(format!("{} {name:?} not found", kind.to_ascii_lowercase())),
            found => Ok(found),
        }
    }

    /// `None`: what it refers to is not there, and need not be.
    fn value_from(&self, from: &Value) -> Result<Option<String>, String> {
        for (field, kind) in [("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")] {
            let Some(reference) = from.get(field) else { continue };
            let Some(object) = self.config(kind, reference)? else { return Ok(None) };
            let key = word(reference, "/key");
            return match bytes_of(&object, key) {
                Some(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
                None if is_on(reference, "/optional") => Ok(None),
                None => {
                    let (space, name) = (self.pod.metadata.namespace(), word(reference, "/name"));
                    Err(format!("couldn't find key {key} in {kind} {space}/{name}"))
                }
            };
        }
        if let Some(field) = from.get("fieldRef") {
            return self.field(word(field, "/fieldPath")).map(Some);
        }
        let resource = from.get("resourceFieldRef").map(|reference| self.resource(reference));
        Ok(Some(resource.unwrap_or_default()))
    }

    /// A field of the Pod (`pkg/fieldpath`).
    pub(super) fn field(&self, path: &str) -> Result<String, String> {
        let ips = |ip: Ipv4Addr| ip.to_string();
        Ok(match path {
            "status.podIP" | "status.podIPs" => ips(self.pod_ip),
            "status.hostIP" | "status.hostIPs" => ips(self.host_ip),
            path => field_of(self.pod, path)?,
        })
    }

    /// What a container may use, in units of the divisor and rounded up
    /// (`ExtractContainerResourceValue`).
    pub(super) fn resource(&self, reference: &Value) -> String {
        resource_of(self.pod, self.spec, reference)
    }

    /// The variables for the Services of the Pod's namespace and for the API server, by name
    /// (`pkg/kubelet/envvars`).
    fn services(&self) -> BTreeMap<String, String> {
        let spec = self.pod.spec.as_ref();
        let has_links = spec.and_then(|spec| spec.enable_service_links) != Some(false);
        let store = self.api.store();
        let mut env = BTreeMap::new();
        if let Some(kubernetes) = store.get::<Service>("default", "kubernetes") {
            service_variables(kubernetes, &mut env);
        }
        if has_links {
            for service in store.list_in::<Service>(self.pod.metadata.namespace()) {
                service_variables(service, &mut env);
            }
        }
        env
    }
}

fn set(env: &mut Env, name: String, value: String) {
    match env.iter_mut().find(|(known, _)| *known == name) {
        Some((_, slot)) => *slot = value,
        None => env.push((name, value)),
    }
}

/// A field of a Pod that does not hang on where it runs.
pub(super) fn field_of(pod: &Pod, path: &str) -> Result<String, String> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let all = |map: Option<&BTreeMap<String, String>>| {
        let pairs = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}"));
        pairs.collect::<Vec<String>>().join("\n")
    };
    if let Some((what, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let value = match what {
            "metadata.labels" => meta.label(key),
            "metadata.annotations" => meta.annotation(key),
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(value.unwrap_or_default().to_string());
    }
    Ok(match path {
        "metadata.name" => meta.name().to_string(),
        "metadata.namespace" => meta.namespace().to_string(),
        "metadata.uid" => meta.uid().to_string(),
        "metadata.labels" => all(meta.labels.as_ref()),
        "metadata.annotations" => all(meta.annotations.as_ref()),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => {
            let account = spec.and_then(|spec| spec.service_account_name.clone());
            account.unwrap_or_else(|| "default".to_string())
        }
        path => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// See [`Refers::resource`].
pub(super) fn resource_of(pod: &Pod, spec: &Spec, reference: &Value) -> String {
    let name = word(reference, "/containerName");
    let named = pod.spec.iter().flat_map(|spec| &spec.containers).find(|c| c.name == name);
    let resources = named.unwrap_or(spec).resources.clone().unwrap_or_default();
    let (which, resource) = word(reference, "/resource").split_once('.').unwrap_or_default();
    let list = if which == "limits" { resources.limits } else { resources.requests };
    let text = list.and_then(|list| list.get(resource).map(|quantity| quantity.0.clone()));
    // Without a limit, what the node has.
    let whole = match (which, resource) {
        ("limits", "cpu") => "8",
        ("limits", "memory") => "16374564Ki",
        ("limits", "ephemeral-storage") => "263174212Ki",
        _ => "0",
    };
    let milli = |text: &str| kube_api::quantity::Quantity::parse(text).map_or(0, |q| q.milli());
    let amount = milli(text.as_deref().unwrap_or(whole));
    let divisor = match reference.get("divisor").and_then(Value::as_str) {
        None | Some("" | "0") => 1000,
        Some(text) => milli(text).max(1),
    };
    ((amount + divisor - 1) / divisor).to_string()
}

fn service_variables(service: &Service, env: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else {
        return;
    };
    let upper = |name: &str| name.to_uppercase().replace('-', "_");
    let name = upper(service.metadata.name());
    let mut set = |key: String, value: String| env.insert(format!("{name}_{key}"), value);
    for (at, port) in spec.ports.items().enumerate() {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_string());
        let (number, small) = (port.port.to_string(), protocol.to_lowercase());
        let url = format!("{small}://{ip}:{number}");
        if at == 0 {
            set("SERVICE_HOST".to_string(), ip.to_string());
            set("SERVICE_PORT".to_string(), number.clone());
            set("PORT".to_string(), url.clone());
        }
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            set(format!("SERVICE_PORT_{}", upper(port_name)), number.clone());
        }
        let prefix = format!("PORT_{number}_{}", protocol.to_uppercase());
        set(format!("{prefix}_PROTO"), small);
        set(format!("{prefix}_PORT"), number);
        set(format!("{prefix}_ADDR"), ip.to_string());
        set(prefix, url);
    }
}

/// `$(NAME)` becomes the variable's value, `$$` a dollar sign; what is not known stays as it is
/// (`third_party/forked/golang/expansion`).
pub(super) fn expand(text: &str, env: &Env, services: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let named = rest.strip_prefix('(').and_then(|inside| inside.split_once(')'));
        let Some((name, after)) = named else {
            out.push('$');
            continue;
        };
        let known = env.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        match known.or_else(|| services.get(name)) {
            Some(value) => out.push_str(value),
            None => out.push_str(&format!("$({name})")),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_in_values() {
        let env = vec![("A".to_string(), "1".to_string()), ("B_C".to_string(), "two".to_string())];
        let services = BTreeMap::from([("WEB_PORT".to_string(), "tcp://10.96.0.5:80".to_string())]);
        for (text, wanted) in [
            ("$(A) and $(B_C)", "1 and two"),
            ("$(WEB_PORT)/x", "tcp://10.96.0.5:80/x"),
            ("$(NOPE) $A ${A}", "$(NOPE) $A ${A}"),
            ("$$(A) $$$(A) $", "$(A) $1 $"),
            ("$(A", "$(A"),
        ] {
            assert_eq!(expand(text, &env, &services), wanted, "{text}");
        }
    }

    #[test]
    fn base64_of_secrets() {
        for (text, wanted) in [("", ""), ("YQ==", "a"), ("YWRtaW4=", "admin"), ("YWI", "ab")] {
            assert_eq!(base64(text), wanted.as_bytes());
        }
    }
}
