//! Ingresses to the routes of a proxy: objects in, a table out (`internal/ingress/controller` of ingress-nginx).

use std::net::SocketAddrV4;
use std::rc::Rc;

use base::Items as _;
use controllers::endpointslice::SERVICE_NAME;
use kube_api::core::{Service, ServicePort};
use kube_api::discovery::EndpointSlice;
use kube_api::networking::{
    HTTPIngressPath, Ingress, IngressBackend, IngressClass, IngressServiceBackend,
};
use kube_api::{MetaExt, Store};
use programs::http::routes::{Compare, Route};

/// The controller whose classes are ours.
pub(crate) const CONTROLLER: &str = "k8s.io/ingress-nginx";
/// The older way to name a class.
const CLASS: &str = "kubernetes.io/ingress.class";
const REWRITE: &str = "nginx.ingress.kubernetes.io/rewrite-target";

/// Whether an Ingress is for us: by its class, or because it names none (`--watch-ingress-without-class`).
pub(crate) fn is_ours(store: &Store, ingress: &Ingress) -> bool {
    let spec = ingress.spec.as_ref();
    match spec.and_then(|spec| spec.ingress_class_name.as_deref()) {
        Some(name) => store.get::<IngressClass>("", name).is_some_and(|class| {
            let spec = class.spec.as_ref();
            spec.and_then(|spec| spec.controller.as_deref()) == Some(CONTROLLER)
        }),
        None => ingress.metadata.annotation(CLASS).is_none_or(|class| class == "nginx"),
    }
}

/// All Ingresses that are ours, the oldest first: of two that want the same path, it has it.
pub(crate) fn ours(store: &Store) -> Vec<Rc<Ingress>> {
    let all = store.list::<Ingress>().filter(|ingress| is_ours(store, ingress));
    let mut all: Vec<Rc<Ingress>> = all.cloned().collect();
    base::order::sort_by_key(&mut all, |ingress| {
        (
            ingress.metadata.creation_timestamp.map(|time| time.0),
            ingress.metadata.namespace().to_string(),
            ingress.metadata.name().to_string(),
        )
    });
    all
}

/// The table that a proxy is given, a line a route.
pub(crate) fn table(store: &Store) -> String {
    let mut routes: Vec<Route> = Vec::new();
    for ingress in ours(store) {
        of_ingress(store, &ingress, &mut routes);
    }
    let mut text = String::new();
    for route in routes {
        text.push_str(&format!("{route}\n"));
    }
    text
}

fn of_ingress(store: &Store, ingress: &Ingress, routes: &mut Vec<Route>) {
    let Some(spec) = &ingress.spec else { return };
    let namespace = ingress.metadata.namespace();
    let rewrite = ingress.metadata.annotation(REWRITE).unwrap_or_default();
    let rules = spec.rules.as_deref().unwrap_or_default();
    for rule in rules {
        let host = rule.host.clone().unwrap_or_default();
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            let Some(service) = &path.backend.service else { continue };
            let (compare, path) = compare(path, !rewrite.is_empty());
            let mut route = route(store, namespace, service);
            (route.host, route.compare, route.path) = (host.clone(), compare, path);
            route.rewrite = rewrite.to_string();
            add(routes, route);
        }
        default(store, namespace, &host, spec.default_backend.as_ref(), routes);
    }
    if rules.is_empty() {
        default(store, namespace, "", spec.default_backend.as_ref(), routes);
    }
}

/// What no path of a host takes goes to the Ingress's default backend, if it has one.
fn default(
    store: &Store,
    namespace: &str,
    host: &str,
    backend: Option<&IngressBackend>,
    routes: &mut Vec<Route>,
) {
    if let Some(service) = backend.and_then(|backend| backend.service.as_ref()) {
        let mut route = route(store, namespace, service);
        route.host = host.to_string();
        add(routes, route);
    }
}

fn add(routes: &mut Vec<Route>, route: Route) {
    let is_taken = routes.iter().any(|other| {
        (&other.host, other.compare, &other.path) == (&route.host, route.compare, &route.path)
    });
    if !is_taken {
        routes.push(route);
    }
}

/// How a path is compared. With rewriting, paths are patterns; what stands before the first group is what is
/// compared here.
fn compare(path: &HTTPIngressPath, is_rewritten: bool) -> (Compare, String) {
    let text = path.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let plain = text.split(['(', '$', '?']).next().unwrap_or(text);
    let is_pattern = is_rewritten && plain.len() != text.len();
    let text = if is_pattern { plain } else { text };
    let compare = match path.path_type.as_str() {
        "Exact" if !is_pattern => Compare::Exact,
        "Prefix" => Compare::Prefix,
        _ if is_pattern => Compare::Prefix,
        _ => Compare::Start,
    };
    (compare, text.to_string())
}

/// A route to a Service's endpoints, for all hosts and paths.
fn route(store: &Store, namespace: &str, backend: &IngressServiceBackend) -> Route {
    let port = backend.port.clone().unwrap_or_default();
    let shown = match (&port.name, port.number) {
        (Some(name), _) if !name.is_empty() => name.clone(),
        (_, number) => number.unwrap_or(0).to_string(),
    };
    Route {
        host: String::new(),
        compare: Compare::Start,
        path: "/".to_string(),
        rewrite: String::new(),
        name: format!("{namespace}-{}-{shown}", backend.name),
        servers: servers(store, namespace, &backend.name, &shown),
    }
}

/// The addresses that are ready behind a port of a Service, by name or number.
fn servers(store: &Store, namespace: &str, service: &str, port: &str) -> Vec<SocketAddrV4> {
    let mut servers = Vec::new();
    let Some(service) = store.get::<Service>(namespace, service) else { return servers };
    let is_it =
        |of: &&ServicePort| of.name.as_deref() == Some(port) || port.parse::<i32>() == Ok(of.port);
    let ports = service.spec.iter().flat_map(|spec| spec.ports.items());
    let Some(port) = ports.into_iter().find(is_it) else { return servers };
    let name = port.name.as_deref().unwrap_or_default();
    for slice in store.list_in::<EndpointSlice>(namespace) {
        if slice.metadata.label(SERVICE_NAME) != Some(service.metadata.name()) {
            continue;
        }
        for port in slice.ports.items() {
            let number = port.port.and_then(|port| u16::try_from(port).ok());
            let Some(number) = number.filter(|_| port.name.as_deref().unwrap_or_default() == name)
            else {
                continue;
            };
            for endpoint in &slice.endpoints {
                let conditions = endpoint.conditions.as_ref();
                let is_ready = conditions.is_none_or(|c| c.ready != Some(false));
                let addr = endpoint.addresses.first().and_then(|addr| addr.parse().ok());
                if let Some(addr) = addr.filter(|_| is_ready) {
                    servers.push(SocketAddrV4::new(addr, number));
                }
            }
        }
    }
    base::order::sort_by_key(&mut servers, |server| *server);
    servers
}
