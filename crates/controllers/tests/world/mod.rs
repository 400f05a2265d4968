//! A control plane on its own, for tests: objects in, objects out. A stand-in kubelet gives bound Pods an
//! address, makes them ready after a second, and lets marked Pods go after another. A Pod with the label
//! `broken: "yes"` never gets ready; one with the label `ends` succeeds (`ok`) or fails (anything else).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, reason = "not every test asks for everything")]

use std::rc::Rc;

use base::{Duration, Instant, Rng};
use controllers::manager::Latencies;
use controllers::{ControlPlane, pods};
use expect_test::Expect;
use kube_api::apps::ReplicaSet;
use kube_api::core::{Event, Namespace, Node, Pod, PodCondition, Taint};
use kube_api::discovery::EndpointSlice;
use kube_api::object::{instant, time};
use kube_api::{Api, ApiConfig, Kind, MetaExt, yaml};

pub(crate) struct Cluster {
    pub(crate) api: Api,
    pub(crate) controllers: ControlPlane,
    pub(crate) now: Instant,
    next_ip: u8,
}

impl Cluster {
    /// A control plane with its taint, and workers with 1 CPU each.
    pub(crate) fn new(workers: usize) -> Cluster {
        let rng = Rng::new(1);
        let mut api = Api::new(ApiConfig::default(), rng.fork("api"));
        for name in ["default", "shop"] {
            let mut namespace = Namespace::default();
            namespace.metadata.name = Some(name.into());
            api.create_typed(namespace, Instant::ZERO).unwrap();
        }
        let controllers = ControlPlane::new(&Latencies::default(), rng.fork("controllers"));
        let mut cluster = Cluster { api, controllers, now: Instant::ZERO, next_ip: 1 };
        cluster.add_node("control-plane", true);
        for i in 1..=workers {
            cluster.add_node(&format!("worker{i}"), false);
        }
        cluster
    }

    pub(crate) fn add_node(&mut self, name: &str, is_control_plane: bool) {
        let mut node = Node::default();
        node.metadata.name = Some(name.into());
        if is_control_plane {
            let key = "node-role.kubernetes.io/control-plane".to_string();
            let taint = Taint { key, effect: "NoSchedule".into(), ..Taint::default() };
            node.spec.get_or_insert_default().taints = Some(vec![taint]);
        }
        let quantity =
            |text: &str| serde_json::from_value(serde_json::Value::String(text.into())).unwrap();
        let capacity = [("cpu", "1"), ("memory", "1Gi"), ("pods", "110")];
        let capacity = capacity.map(|(name, amount)| (name.to_string(), quantity(amount)));
        node.status.get_or_insert_default().capacity = Some(capacity.into());
        self.api.create_typed(node, self.now).unwrap();
    }

    pub(crate) fn apply(&mut self, text: &str) {
        for document in yaml::documents(text) {
            let node = document.content.unwrap().unwrap();
            let field = |name: &str| node.get(name).unwrap().as_str().unwrap();
            let info =
                self.api.store().kinds().find(field("apiVersion"), field("kind")).unwrap().id;
            let mut value = self.api.decode(info, &node).unwrap();
            let metadata = &value["metadata"];
            let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_string();
            let (namespace, name) = (text("namespace"), text("name"));
            let namespace = if namespace.is_empty() { "default".to_string() } else { namespace };
            // Who changes an object leaves its status alone.
            if let Some(known) = self.api.store().get_any(info, &namespace, &name) {
                let known = known.to_value();
                value["status"] = known["status"].clone();
                // What a Job was given when it was made stays, as `kubectl apply` leaves it.
                if known["kind"] == "Job" {
                    for field in ["selector", "template"] {
                        value["spec"][field] = known["spec"][field].clone();
                    }
                }
            }
            let mut object = self.api.object(info, value).unwrap();
            let kind = self.api.store().kinds().get(info);
            object.meta_mut().namespace = kind.is_namespaced.then_some(namespace);
            match self.api.store().get_any(info, object.namespace(), object.name()) {
                None => self.api.create(object, self.now).unwrap(),
                Some(_) => self.api.update(object).unwrap(),
            };
        }
    }

    /// Lets time pass, in steps of 10 ms.
    pub(crate) fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.controllers.run(&mut self.api, self.now);
            self.kubelet();
            self.now += Duration::from_millis(10);
        }
    }

    /// What a Job says about itself.
    pub(crate) fn job(&self, name: &str) -> String {
        let job = self.api.store().get::<kube_api::batch::Job>("default", name).unwrap();
        let value = kube_api::to_value(&**job);
        let status = &value["status"];
        let mut lines = vec![format!(
            "succeeded {} {} failed {} {}",
            status["succeeded"],
            status["completedIndexes"],
            status["failed"],
            status["failedIndexes"]
        )];
        for condition in status["conditions"].as_array().into_iter().flatten() {
            let [kind, reason, message] =
                ["type", "reason", "message"].map(|field| condition[field].as_str().unwrap());
            lines.push(format!("{kind} {reason}: {message}"));
        }
        lines.join("\n")
    }

    pub(crate) fn kubelet(&mut self) {
        let pods: Vec<Rc<Pod>> = self.api.store().list::<Pod>().cloned().collect();
        for pod in pods {
            let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
            let now = self.now;
            if let Some(deleted) = &pod.metadata.deletion_timestamp {
                let asked = instant(deleted).as_secs().saturating_sub(30);
                if now.as_secs() > asked + 1 {
                    self.api.remove(Pod::id(), namespace, name);
                }
                continue;
            }
            if pods::node_name(&pod).is_none() {
                continue;
            }
            if pods::address(&pod).is_none() {
                let ip = format!("10.244.1.{}", self.next_ip);
                self.next_ip += 1;
                self.api.modify::<Pod>(namespace, name, |pod| {
                    let status = pod.status.get_or_insert_default();
                    status.pod_ip = Some(ip);
                    status.start_time = Some(time(now));
                    status.phase = Some("Running".into());
                });
            }
            let started = pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map(instant);
            let ends = pod.metadata.label("ends");
            if let (Some(how), Some(at)) = (ends, started)
                && !pods::has_ended(&pod)
            {
                if now.as_secs() > at.as_secs() {
                    let phase = if how == "ok" { "Succeeded" } else { "Failed" };
                    self.api.modify::<Pod>(namespace, name, |pod| {
                        pod.status.get_or_insert_default().phase = Some(phase.into());
                    });
                }
                continue;
            }
            let broken = pod.metadata.label("broken") == Some("yes");
            if started.is_some_and(|at| now.as_secs() > at.as_secs())
                && !pods::is_ready(&pod)
                && !broken
                && ends.is_none()
            {
                self.api.modify::<Pod>(namespace, name, |pod| {
                    let ready = PodCondition {
                        type_: "Ready".into(),
                        status: "True".into(),
                        last_transition_time: Some(time(now)),
                        ..PodCondition::default()
                    };
                    pod.status
                        .get_or_insert_default()
                        .conditions
                        .get_or_insert_default()
                        .push(ready);
                });
            }
        }
    }

    /// One line an object: what is of interest of Pods, ReplicaSets, slices.
    pub(crate) fn show(&self) -> String {
        let mut lines = Vec::new();
        for set in self.api.store().list::<ReplicaSet>() {
            let status = set.status.clone().unwrap_or_default();
            let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
            let (there, ready) = (status.replicas, status.ready_replicas.unwrap_or(0));
            lines.push(format!(
                "rs {} {wanted} wanted {there} there {ready} ready",
                set.metadata.name()
            ));
        }
        let mut nodes: Vec<String> = Vec::new();
        for pod in self.api.store().list::<Pod>() {
            let node = pods::node_name(pod).unwrap_or("nowhere");
            let ready = if pods::is_ready(pod) { "ready" } else { "not ready" };
            let end = if pod.metadata.is_terminating() { " ending" } else { "" };
            nodes.push(format!("pod on {node} {ready}{end}"));
        }
        nodes.sort();
        lines.extend(nodes);
        for slice in self.api.store().list::<EndpointSlice>() {
            let mut shown: Vec<String> = slice
                .endpoints
                .iter()
                .map(|e| {
                    let c = e.conditions.clone().unwrap_or_default();
                    let flags = [(c.ready, 'r'), (c.serving, 's'), (c.terminating, 't')];
                    let flags: String =
                        flags.iter().filter(|(on, _)| *on == Some(true)).map(|(_, f)| *f).collect();
                    format!("{}({flags})", e.addresses.concat())
                })
                .collect();
            shown.sort();
            let ports: Vec<String> =
                slice.ports.iter().flatten().map(|p| p.port.unwrap_or(0).to_string()).collect();
            lines.push(format!(
                "slice of {} [{}]: {}",
                slice.metadata.label("kubernetes.io/service-name").unwrap(),
                ports.join(" "),
                shown.join(" ")
            ));
        }
        lines.join("\n")
    }

    pub(crate) fn events(&self) -> String {
        let mut events: Vec<&Rc<Event>> = self.api.store().list::<Event>().collect();
        // Every node says so, in every test.
        events.retain(|event| event.reason.as_deref() != Some("RegisteredNode"));
        events.sort_by_key(|e| {
            (
                e.first_timestamp.map(|t| t.0),
                e.metadata.resource_version.as_ref().and_then(|v| v.parse::<u64>().ok()),
            )
        });
        let line = |e: &&Rc<Event>| {
            format!(
                "{} {} {}",
                e.type_.as_deref().unwrap(),
                e.reason.as_deref().unwrap(),
                e.message.as_deref().unwrap()
            )
        };
        events.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Events of one reason or more, oldest first.
    pub(crate) fn told(&self, reasons: &[&str]) -> String {
        let events = self.events();
        let fits = |line: &&str| reasons.iter().any(|r| line.split(' ').nth(1) == Some(r));
        events.lines().filter(fits).collect::<Vec<_>>().join("\n")
    }

    /// An object of a typed kind.
    pub(crate) fn get<T: Kind>(&self, name: &str) -> Rc<T> {
        self.api.store().get::<T>("default", name).unwrap().clone()
    }

    /// Each Pod with its state.
    pub(crate) fn pods(&self) -> String {
        let line = |pod: &Rc<Pod>| {
            let end = if pod.metadata.is_terminating() { " ending" } else { "" };
            let ready = if pods::is_ready(pod) { "ready" } else { "not ready" };
            let state = if pods::has_ended(pod) { pods::phase(pod) } else { ready };
            format!("{} {state}{end}", pod.metadata.name())
        };
        self.api.store().list::<Pod>().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Where Pods are whose names begin so, and how many.
    pub(crate) fn nodes_of(&self, prefix: &str) -> String {
        let mut counts = base::tree::BTreeMap::<String, usize>::new();
        for pod in self.api.store().list::<Pod>() {
            if pod.metadata.name().starts_with(prefix) && pods::is_active(pod) {
                let node = pods::node_name(pod).unwrap_or("nowhere");
                *counts.entry(node.to_string()).or_default() += 1;
            }
        }
        let parts: Vec<String> = counts.iter().map(|(node, n)| format!("{node}: {n}")).collect();
        parts.join(", ")
    }
}

pub(crate) fn check(actual: String, expected: Expect) {
    expected.assert_eq(&actual);
}

pub(crate) fn deployment(replicas: u32, image: &str, more: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: a, image: {image}{more}}}]}}
"
    )
}
