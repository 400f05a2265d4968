//! Controllers and scheduler on their own: objects in, objects out. A stand-in kubelet gives bound Pods an
//! address, makes them ready after a second, and lets marked Pods go after another.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::rc::Rc;

use base::{Duration, Instant, Rng};
use controllers::manager::Latencies;
use controllers::{ControlPlane, pods};
use expect_test::{Expect, expect};
use kube_api::apps::{Deployment, ReplicaSet};
use kube_api::core::{Event, Namespace, Node, Pod, PodCondition, Service, Taint};
use kube_api::discovery::EndpointSlice;
use kube_api::object::{instant, time};
use kube_api::{Api, ApiConfig, DeleteOptions, Kind, MetaExt, yaml};

struct Cluster {
    api: Api,
    controllers: ControlPlane,
    now: Instant,
    next_ip: u8,
}

impl Cluster {
    /// A control plane with its taint, and workers with 1 CPU each.
    fn new(workers: usize) -> Cluster {
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

    fn add_node(&mut self, name: &str, is_control_plane: bool) {
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

    fn apply(&mut self, text: &str) {
        for document in yaml::documents(text) {
            let node = document.content.unwrap().unwrap();
            let field = |name: &str| node.get(name).unwrap().as_str().unwrap();
            let info =
                self.api.store().kinds().find(field("apiVersion"), field("kind")).unwrap().id;
            let value = self.api.decode(info, &node).unwrap();
            let mut object = self.api.object(info, value).unwrap();
            if object.namespace().is_empty() {
                object.meta_mut().namespace = Some("default".into());
            }
            match self.api.store().get_any(info, object.namespace(), object.name()) {
                None => self.api.create(object, self.now).unwrap(),
                Some(_) => self.api.update(object).unwrap(),
            };
        }
    }

    /// Lets time pass, in steps of 10 ms.
    fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.controllers.run(&mut self.api, self.now);
            self.kubelet();
            self.now += Duration::from_millis(10);
        }
    }

    fn kubelet(&mut self) {
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
            let broken = pod.metadata.label("broken") == Some("yes");
            if started.is_some_and(|at| now.as_secs() > at.as_secs())
                && !pods::is_ready(&pod)
                && !broken
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
    fn show(&self) -> String {
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

    fn events(&self) -> String {
        let mut events: Vec<&Rc<Event>> = self.api.store().list::<Event>().collect();
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
}

fn check(actual: String, expected: Expect) {
    expected.assert_eq(&actual);
}

fn deployment(replicas: u32, image: &str, more: &str) -> String {
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

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
";

#[test]
fn a_deployment_becomes_pods_on_workers_behind_a_service() {
    let mut cluster = Cluster::new(2);
    cluster.apply(&format!("{}---\n{SERVICE}", deployment(2, "nginx", "")));
    cluster.pass(100);
    check(
        cluster.show(),
        expect![[r#"
            rs web-69f6d5ffcc 2 wanted 2 there 0 ready
            pod on worker1 not ready
            pod on worker2 not ready
            slice of web [8080]: 10.244.1.1() 10.244.1.2()"#]],
    );
    cluster.pass(3000);
    check(
        cluster.show(),
        expect![[r#"
            rs web-69f6d5ffcc 2 wanted 2 there 2 ready
            pod on worker1 ready
            pod on worker2 ready
            slice of web [8080]: 10.244.1.1(rs) 10.244.1.2(rs)"#]],
    );
    check(
        cluster.events(),
        expect![[r#"
            Normal ScalingReplicaSet Scaled up replica set web-69f6d5ffcc from 0 to 2
            Normal SuccessfulCreate Created pod: web-69f6d5ffcc-jhj9h
            Normal SuccessfulCreate Created pod: web-69f6d5ffcc-7kxm7
            Normal Scheduled Successfully assigned default/web-69f6d5ffcc-7kxm7 to worker1
            Normal Scheduled Successfully assigned default/web-69f6d5ffcc-jhj9h to worker2"#]],
    );
    let deployment = cluster.api.store().get::<Deployment>("default", "web").unwrap();
    check(
        format!("{:#}", serde_json::to_value(&deployment.status).unwrap()),
        expect![[r#"
            {
              "availableReplicas": 2,
              "conditions": [
                {
                  "lastTransitionTime": "2026-01-05T09:00:01Z",
                  "lastUpdateTime": "2026-01-05T09:00:01Z",
                  "message": "Deployment has minimum availability.",
                  "reason": "MinimumReplicasAvailable",
                  "status": "True",
                  "type": "Available"
                },
                {
                  "lastTransitionTime": "2026-01-05T09:00:00Z",
                  "lastUpdateTime": "2026-01-05T09:00:01Z",
                  "message": "ReplicaSet \"web-69f6d5ffcc\" has successfully progressed.",
                  "reason": "NewReplicaSetAvailable",
                  "status": "True",
                  "type": "Progressing"
                }
              ],
              "observedGeneration": 1,
              "readyReplicas": 2,
              "replicas": 2,
              "updatedReplicas": 2
            }"#]],
    );
}

#[test]
fn a_deleted_pod_is_replaced_and_leaves_the_slice() {
    let mut cluster = Cluster::new(2);
    cluster.apply(&format!("{}---\n{SERVICE}", deployment(2, "nginx", "")));
    cluster.pass(3000);
    let name = cluster.api.store().list::<Pod>().next().unwrap().metadata.name().to_string();
    cluster.api.delete(Pod::id(), "default", &name, DeleteOptions::default(), cluster.now).unwrap();
    cluster.pass(100);
    check(
        cluster.show(),
        expect![[r#"
            rs web-69f6d5ffcc 2 wanted 2 there 1 ready
            pod on worker1 not ready
            pod on worker1 ready ending
            pod on worker2 ready
            slice of web [8080]: 10.244.1.1(st) 10.244.1.2(rs) 10.244.1.3()"#]],
    );
    cluster.pass(5000);
    check(
        cluster.show(),
        expect![[r#"
            rs web-69f6d5ffcc 2 wanted 2 there 2 ready
            pod on worker1 ready
            pod on worker2 ready
            slice of web [8080]: 10.244.1.2(rs) 10.244.1.3(rs)"#]],
    );
}

#[test]
fn scaling_down_and_up() {
    let mut cluster = Cluster::new(2);
    cluster.apply(&deployment(5, "nginx", ""));
    cluster.pass(3000);
    cluster.apply(&deployment(2, "nginx", ""));
    cluster.pass(5000);
    check(
        cluster.show(),
        expect![[r#"
            rs web-69f6d5ffcc 2 wanted 2 there 2 ready
            pod on worker2 ready
            pod on worker2 ready"#]],
    );
    cluster.apply(&deployment(0, "nginx", ""));
    cluster.pass(5000);
    check(cluster.show(), expect!["rs web-69f6d5ffcc 0 wanted 0 there 0 ready"]);
}

#[test]
fn a_new_template_rolls_out_within_the_limits() {
    let mut cluster = Cluster::new(2);
    cluster.apply(&deployment(4, "nginx", ""));
    cluster.pass(3000);
    cluster.apply(&deployment(4, "httpd", ""));
    let mut fewest = 9;
    let mut most = 0;
    for _ in 0..2000 {
        cluster.pass(10);
        let pods: Vec<_> = cluster.api.store().list::<Pod>().collect();
        let working = pods.iter().filter(|pod| pods::is_ready(pod) && pods::is_active(pod)).count();
        fewest = fewest.min(working);
        most = most.max(pods.iter().filter(|pod| pods::is_active(pod)).count());
    }
    assert_eq!((fewest, most), (3, 5), "one less and one more than four");
    check(
        cluster.show(),
        expect![[r#"
            rs web-69f6d5ffcc 0 wanted 0 there 0 ready
            rs web-754ddc684f 4 wanted 4 there 4 ready
            pod on worker1 ready
            pod on worker1 ready
            pod on worker2 ready
            pod on worker2 ready"#]],
    );
    cluster.apply(&deployment(4, "nginx", ""));
    cluster.pass(20_000);
    check(
        cluster.show(),
        expect![[r#"
            rs web-69f6d5ffcc 4 wanted 4 there 4 ready
            rs web-754ddc684f 0 wanted 0 there 0 ready
            pod on worker1 ready
            pod on worker1 ready
            pod on worker2 ready
            pod on worker2 ready"#]],
    );
}

#[test]
fn a_pod_that_fits_nowhere_waits_for_room() {
    let mut cluster = Cluster::new(2);
    cluster.apply(&deployment(3, "nginx", ", resources: {requests: {cpu: 800m}}"));
    cluster.pass(2000);
    check(
        cluster.show(),
        expect![[r#"
            rs web-78866d46f4 3 wanted 3 there 2 ready
            pod on nowhere not ready
            pod on worker1 ready
            pod on worker2 ready"#]],
    );
    let told = cluster.events();
    check(
        told.lines().filter(|line| line.starts_with("Warning")).collect::<Vec<_>>().join("\n"),
        expect![
            "Warning FailedScheduling 0/3 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 2 Insufficient cpu. preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."
        ],
    );
    cluster.add_node("worker3", false);
    cluster.pass(2000);
    check(
        cluster.show(),
        expect![[r#"
            rs web-78866d46f4 3 wanted 3 there 3 ready
            pod on worker1 ready
            pod on worker2 ready
            pod on worker3 ready"#]],
    );
}

#[test]
fn a_service_follows_labels_ports_and_its_own_end() {
    let mut cluster = Cluster::new(1);
    let named = SERVICE.replace("targetPort: 8080", "targetPort: http");
    cluster.apply(&named);
    cluster.apply(&deployment(1, "nginx", ", ports: [{name: http, containerPort: 80}]"));
    cluster.pass(3000);
    let other = deployment(1, "httpd", ", ports: [{name: http, containerPort: 8080}]")
        .replace("name: web", "name: other")
        .replace("app: web}", "app: web, v: \"2\"}");
    cluster.apply(&other);
    cluster.pass(3000);
    check(
        cluster.show(),
        expect![[r#"
            rs other-7f6c559f75 1 wanted 1 there 1 ready
            rs web-6cb659d9d9 1 wanted 1 there 1 ready
            pod on worker1 ready
            pod on worker1 ready
            slice of web [80]: 10.244.1.1(rs)
            slice of web [8080]: 10.244.1.2(rs)"#]],
    );
    cluster
        .api
        .delete(Service::id(), "default", "web", DeleteOptions::default(), cluster.now)
        .unwrap();
    cluster.pass(100);
    assert_eq!(cluster.api.store().list::<EndpointSlice>().count(), 0);
}

#[test]
fn deleting_a_deployment_or_a_namespace_leaves_nothing() {
    let mut cluster = Cluster::new(2);
    cluster.apply(&deployment(2, "nginx", ""));
    cluster
        .apply(&deployment(2, "nginx", "").replace("{name: web}", "{name: web, namespace: shop}"));
    cluster.apply(&SERVICE.replace("{name: web}", "{name: web, namespace: shop}"));
    cluster.pass(3000);
    cluster
        .api
        .delete(Deployment::id(), "default", "web", DeleteOptions::default(), cluster.now)
        .unwrap();
    cluster.pass(5000);
    assert_eq!(cluster.api.store().list_in::<Pod>("default").count(), 0);
    assert_eq!(cluster.api.store().list_in::<Pod>("shop").count(), 2);
    cluster.api.delete(Namespace::id(), "", "shop", DeleteOptions::default(), cluster.now).unwrap();
    cluster.pass(5000);
    assert_eq!(cluster.show(), "");
    assert!(cluster.api.store().get::<Namespace>("", "shop").is_none());
}

#[test]
fn a_daemon_set_has_a_pod_on_every_node_that_takes_it() {
    let daemon = |image: &str| {
        format!(
            "apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: agent}}
spec:
  selector: {{matchLabels: {{app: agent}}}}
  template:
    metadata: {{labels: {{app: agent}}}}
    spec: {{containers: [{{name: a, image: {image}}}]}}
"
        )
    };
    let mut cluster = Cluster::new(2);
    cluster.apply(&daemon("one"));
    cluster.pass(3000);
    check(
        cluster.show(),
        expect![[r#"
        pod on worker1 ready
        pod on worker2 ready"#]],
    );
    cluster.add_node("worker3", false);
    cluster.pass(3000);
    check(
        cluster.show(),
        expect![[r#"
        pod on worker1 ready
        pod on worker2 ready
        pod on worker3 ready"#]],
    );
    // A new template: one node after the other.
    cluster.apply(&daemon("two"));
    cluster.pass(20);
    check(
        cluster.show(),
        expect![[r#"
        pod on worker1 ready ending
        pod on worker2 ready
        pod on worker3 ready"#]],
    );
    cluster.pass(20_000);
    let images: Vec<String> = cluster
        .api
        .store()
        .list::<Pod>()
        .map(|pod| pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap())
        .collect();
    assert_eq!(images, ["two", "two", "two"]);
}
