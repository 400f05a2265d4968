//! Ingresses in force, when an ingress controller is installed: ingress-nginx, as the manifest for kind brings it.
//!
//! The controller is a Pod like others; its proxy ([`programs::images::ingress`]) listens there and reaches the Pods
//! behind Services directly. Here is the part that watches objects: it writes the routes into the
//! container's files, says where an Ingress can be reached, and writes events. Any Pod that runs the
//! controller's image is one, whatever manifest it came from. TLS is not supported: a host is served by HTTP only.

mod routes;

use base::tree::BTreeMap;
use base::{Duration, Instant};
use controllers::events::{self, Severity};
use controllers::queue::Key;
use kube_api::core::{EventSource, Pod, Service};
use kube_api::discovery::EndpointSlice;
use kube_api::networking::{
    Ingress, IngressClass, IngressLoadBalancerIngress, IngressLoadBalancerStatus,
};
use kube_api::{Api, Change, MetaExt};
use programs::images::ingress::ROUTES;
use programs::images::repository;

use crate::node::NodeRuntime;

/// The image whose containers are controllers.
const IMAGE: &str = "ingress-nginx/controller";
/// How long after a change the controller has written its configuration; the next one a second later at the
/// earliest.
const RELOAD: Duration = Duration::from_millis(100);
const MIN_RELOAD: Duration = Duration::from_secs(1);
/// Until an Ingress says where it can be reached.
const STATUS: Duration = Duration::from_secs(5);

/// Everything that `lab addon ingress` installs.
const MANIFEST: &str = include_str!("ingress-nginx.yaml");

/// The ingress controllers of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Controllers {
    /// Their Pods: the node and the container of each.
    pods: BTreeMap<Key, (String, String)>,
    due: Option<Instant>,
    last: Option<Instant>,
    status_due: Option<Instant>,
}

/// The container that is a controller, if the Pod has one.
fn container(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let is_it = |image: &Option<String>| image.as_deref().is_some_and(|i| repository(i) == IMAGE);
    spec.containers.iter().find(|c| is_it(&c.image)).map(|c| c.name.clone())
}

impl Controllers {
    pub(crate) fn next_at(&self) -> Option<Instant> {
        [self.due, self.status_due].into_iter().flatten().min()
    }

    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        if let Some(pod) = change.of::<Pod>() {
            let Some(container) = container(pod) else { return };
            let key = (pod.metadata.namespace().to_string(), pod.metadata.name().to_string());
            match controllers::pods::node_name(pod).filter(|_| change.new.is_some()) {
                Some(node) => drop(self.pods.insert(key, (node.to_string(), container))),
                None => drop(self.pods.remove(&key)),
            }
        } else if self.pods.is_empty() || !matters(change) {
            return;
        }
        let at = now + RELOAD;
        let at = self.last.map_or(at, |last| at.max(last + MIN_RELOAD));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Events of a changed Ingress, where there is a controller for it.
    pub(crate) fn tell(&self, api: &mut Api, changed: &[Change], now: Instant) {
        if self.pods.is_empty() {
            return;
        }
        for change in changed {
            let Some(ingress) = change.of::<Ingress>().filter(|_| change.new.is_some()) else {
                continue;
            };
            if routes::is_ours(api.store(), ingress) {
                sync_event(api, ingress, now);
            }
        }
    }

    /// Writes what is due.
    pub(crate) fn work(
        &mut self,
        api: &mut Api,
        nodes: &BTreeMap<String, NodeRuntime>,
        now: Instant,
    ) {
        if self.due.is_some_and(|due| due <= now) {
            (self.due, self.last) = (None, Some(now));
            let table = routes::table(api.store());
            let mut is_first = false;
            for ((namespace, pod), (node, container)) in &self.pods {
                let node = nodes.get(node);
                let program =
                    node.and_then(|node| node.kubelet.container(namespace, pod, container));
                if let Some(program) = program {
                    let before = program.files.read(ROUTES);
                    is_first |= before.is_none();
                    if before.is_none_or(|before| *before != *table.as_bytes()) {
                        let _ = program.files.write(ROUTES, table.clone().into_bytes());
                    }
                    self.status_due = self.status_due.or(Some(now + STATUS));
                }
            }
            // A controller that begins tells what it finds.
            if is_first {
                routes::ours(api.store()).iter().for_each(|ingress| sync_event(api, ingress, now));
            }
        }
        if self.status_due.is_some_and(|due| due <= now) {
            self.status_due = None;
            write_status(api);
        }
    }
}

fn matters(change: &Change) -> bool {
    let status_only = |old: &kube_api::AnyObject, new: &kube_api::AnyObject| {
        old.same_spec(new) && old.meta().annotations == new.meta().annotations
    };
    if change.of::<Ingress>().is_some() {
        return !matches!((&change.old, &change.new), (Some(o), Some(n)) if status_only(o, n));
    }
    change.of::<IngressClass>().is_some()
        || change.of::<Service>().is_some()
        || change.of::<EndpointSlice>().is_some()
}

fn sync_event(api: &mut Api, ingress: &Ingress, now: Instant) {
    let from = EventSource {
        component: Some("nginx-ingress-controller".to_string()),
        ..EventSource::default()
    };
    let about = events::reference(ingress);
    events::record(api, now, about, Severity::Normal, "Sync", "Scheduled for sync", from);
}

/// On kind, an Ingress is reached by the ports that your machine publishes
/// (`--publish-status-address=localhost`).
fn write_status(api: &mut Api) {
    for ingress in routes::ours(api.store()) {
        let at = IngressLoadBalancerIngress {
            hostname: Some("localhost".to_string()),
            ..IngressLoadBalancerIngress::default()
        };
        let status = IngressLoadBalancerStatus { ingress: Some(vec![at]) };
        let (namespace, name) = (ingress.metadata.namespace(), ingress.metadata.name());
        api.modify::<Ingress>(namespace, name, |ingress| {
            ingress.status.get_or_insert_default().load_balancer = Some(status);
        });
    }
}

/// Installs ingress-nginx; what is there already stays. Says how many objects are new.
pub(crate) fn install(api: &mut Api, now: Instant) -> usize {
    let label = "ingress-ready";
    let is_labelled = api
        .store()
        .list::<kube_api::core::Node>()
        .any(|node| node.metadata.label(label) == Some("true"));
    let selector = if is_labelled {
        "ingress-ready: \"true\""
    } else {
        "node-role.kubernetes.io/control-plane: \"\""
    };
    let text = MANIFEST.replace("NODE_SELECTOR", selector);
    let before = api.store().revision();
    for document in kube_api::yaml::documents(&text) {
        // What is there already is refused; that is all that can be wrong with a text of ours.
        let _ = crate::system::create_document(api, document, now);
    }
    usize::try_from(api.store().revision() - before).unwrap_or(0)
}
