//! EndpointSlices and Endpoints: objects in, objects out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use base::{Duration, Instant, Rng};
use controllers::ControlPlane;
use controllers::manager::Latencies;
use expect_test::{Expect, expect};
use kube_api::core::{Endpoints, Event, Namespace, Node, Pod, PodCondition, Service};
use kube_api::discovery::{Endpoint, EndpointSlice};
use kube_api::object::time;
use kube_api::{AnyObject, Api, ApiConfig, DeleteOptions, Kind, MetaExt, yaml};

struct Cluster {
    api: Api,
    controllers: ControlPlane,
    now: Instant,
}

impl Cluster {
    fn new() -> Cluster {
        let rng = Rng::new(1);
        let mut api = Api::new(ApiConfig::default(), rng.fork("api"));
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some("default".into());
        api.create_typed(namespace, Instant::ZERO).unwrap();
        for (name, zone) in [("n1", "east"), ("n2", "west")] {
            let mut node = Node::default();
            node.metadata.name = Some(name.into());
            let zone = ("topology.kubernetes.io/zone".to_string(), zone.to_string());
            node.metadata.labels = Some([zone].into());
            api.create_typed(node, Instant::ZERO).unwrap();
        }
        let controllers = ControlPlane::new(&Latencies::default(), rng.fork("controllers"));
        Cluster { api, controllers, now: Instant::ZERO }
    }

    fn apply(&mut self, text: &str) {
        for document in yaml::documents(text) {
            let node = document.content.unwrap().unwrap();
            let field = |name: &str| node.get(name).unwrap().as_str().unwrap();
            let kind =
                self.api.store().kinds().find(field("apiVersion"), field("kind")).unwrap().id;
            let value = self.api.decode(kind, &node).unwrap();
            let mut object = self.api.object(kind, value).unwrap();
            object.meta_mut().namespace = Some("default".into());
            match self.api.store().get_any(kind, "default", object.name()) {
                None => self.api.create(object, self.now).unwrap(),
                Some(_) => self.api.update(object).unwrap(),
            };
        }
        self.pass(30);
    }

    fn service(&mut self, spec: &str) {
        let text =
            format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {spec}\n");
        self.apply(&text);
    }

    /// A Pod that runs: `10.244.1.N`, with a port `http` of some number.
    fn pod(&mut self, n: usize, labels: &str, port: i32, is_ready: bool) {
        let node = if n.is_multiple_of(2) { "n2" } else { "n1" };
        let name = format!("p{n:04}");
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {labels}}}\nspec:\n  nodeName: {node}\n  hostname: host{n}\n  subdomain: web\n  containers: [{{name: a, image: a, ports: [{{name: http, containerPort: {port}}}]}}]\n"
        );
        let node = yaml::documents(&text).remove(0).content.unwrap().unwrap();
        let value = self.api.decode(Pod::id(), &node).unwrap();
        let object = self.api.object(Pod::id(), value).unwrap();
        self.api.create(object, self.now).unwrap();
        self.api.modify::<Pod>("default", &name, |pod| {
            let status = pod.status.get_or_insert_default();
            status.pod_ip = Some(format!("10.244.{}.{}", n / 250, n % 250));
            status.phase = Some("Running".into());
        });
        self.ready(n, is_ready);
    }

    fn ready(&mut self, n: usize, is_ready: bool) {
        let now = self.now;
        self.api.modify::<Pod>("default", &format!("p{n:04}"), |pod| {
            let condition = PodCondition {
                type_: "Ready".into(),
                status: if is_ready { "True" } else { "False" }.into(),
                last_transition_time: Some(time(now)),
                ..PodCondition::default()
            };
            pod.status.get_or_insert_default().conditions = Some(vec![condition]);
        });
    }

    fn delete<T: Kind>(&mut self, name: &str) {
        let options = DeleteOptions::default();
        self.api.delete(T::id(), "default", name, options, self.now).unwrap();
        self.pass(30);
    }

    fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.controllers.run(&mut self.api, self.now);
            self.now += Duration::from_millis(10);
        }
    }

    /// Slices and Endpoints, a line each.
    fn show(&self) -> String {
        let mut lines = Vec::new();
        for slice in self.api.store().list::<EndpointSlice>() {
            let ports: Vec<String> = slice
                .ports
                .iter()
                .flatten()
                .map(|p| format!("{}:{}", p.name.clone().unwrap(), p.port.unwrap()))
                .collect();
            let endpoints: Vec<String> = slice.endpoints.iter().map(endpoint).collect();
            lines.push(format!("slice [{}] {}", ports.join(" "), endpoints.join(" ")));
        }
        lines.sort();
        for endpoints in self.api.store().list::<Endpoints>() {
            for subset in endpoints.subsets.iter().flatten() {
                let ips = |list: &Option<Vec<kube_api::core::EndpointAddress>>| {
                    let ips: Vec<String> = list.iter().flatten().map(|a| a.ip.clone()).collect();
                    ips.join(" ")
                };
                let ports: Vec<String> =
                    subset.ports.iter().flatten().map(|p| p.port.to_string()).collect();
                lines.push(format!(
                    "endpoints {} [{}] ready: {} not ready: {}",
                    endpoints.metadata.name(),
                    ports.join(" "),
                    ips(&subset.addresses),
                    ips(&subset.not_ready_addresses)
                ));
            }
        }
        lines.join("\n")
    }

    fn sizes(&self) -> Vec<usize> {
        let mut sizes: Vec<usize> =
            self.api.store().list::<EndpointSlice>().map(|slice| slice.endpoints.len()).collect();
        sizes.sort_unstable();
        sizes
    }

    /// Objects that have changed since `revision`, by kind.
    fn written(&self, revision: u64) -> (usize, usize) {
        let of = |is: fn(&AnyObject) -> bool| {
            let changes = self.api.store().changes_since(revision);
            changes.filter(|change| is(change.object())).count()
        };
        let slices = of(|object| matches!(object, AnyObject::EndpointSlice(_)));
        (slices, of(|object| matches!(object, AnyObject::Endpoints(_))))
    }
}

fn endpoint(endpoint: &Endpoint) -> String {
    let c = endpoint.conditions.clone().unwrap_or_default();
    let flags = [(c.ready, 'r'), (c.serving, 's'), (c.terminating, 't')];
    let flags: String = flags.iter().filter(|(on, _)| *on == Some(true)).map(|(_, f)| *f).collect();
    let hints = endpoint.hints.as_ref().map(|hints| {
        let zones = hints.for_zones.iter().flatten().map(|zone| zone.name.clone());
        let nodes = hints.for_nodes.iter().flatten().map(|node| node.name.clone());
        format!("→{}", zones.chain(nodes).collect::<Vec<_>>().join(","))
    });
    format!("{}({flags}){}", endpoint.addresses.concat(), hints.unwrap_or_default())
}

fn check(actual: String, expected: Expect) {
    expected.assert_eq(&actual);
}

const WEB: &str = "{selector: {app: web}, ports: [{name: main, port: 80, targetPort: http}]}";

#[test]
fn pods_come_change_their_labels_end_and_go() {
    let mut cluster = Cluster::new();
    cluster.service(WEB);
    let mut told = vec![cluster.show()];
    cluster.pod(1, "{app: web}", 8080, true);
    cluster.pod(2, "{app: web}", 8080, false);
    cluster.pod(3, "{app: web}", 9090, true);
    cluster.pod(4, "{app: db}", 8080, true);
    cluster.pass(30);
    told.push(cluster.show());
    cluster.ready(2, true);
    cluster.api.modify::<Pod>("default", "p0001", |pod| {
        pod.metadata.labels.get_or_insert_default().insert("app".into(), "other".into());
    });
    cluster.delete::<Pod>("p0003");
    told.push(cluster.show());
    cluster.api.remove(Pod::id(), "default", "p0003");
    cluster.pass(30);
    told.push(cluster.show());
    cluster.service("{selector: {app: db}, ports: [{name: main, port: 80, targetPort: http}]}");
    told.push(cluster.show());
    cluster.delete::<Service>("web");
    told.push(cluster.show());
    check(
        told.join("\n--\n"),
        expect![[r#"
        slice [] 
        --
        slice [main:8080] 10.244.0.1(rs) 10.244.0.2()
        slice [main:9090] 10.244.0.3(rs)
        endpoints web [8080] ready: 10.244.0.1 not ready: 10.244.0.2
        endpoints web [9090] ready: 10.244.0.3 not ready: 
        --
        slice [main:8080] 10.244.0.2(rs)
        slice [main:9090] 10.244.0.3(st)
        endpoints web [8080] ready: 10.244.0.2 not ready: 
        --
        slice [main:8080] 10.244.0.2(rs)
        endpoints web [8080] ready: 10.244.0.2 not ready: 
        --
        slice [main:8080] 10.244.0.4(rs)
        endpoints web [8080] ready: 10.244.0.4 not ready: 
        --
    "#]],
    );
}

#[test]
fn a_slice_as_the_server_has_it() {
    let mut cluster = Cluster::new();
    cluster.service("{clusterIP: None, selector: {app: web}, ports: [{port: 80}]}");
    cluster.pass(2000);
    cluster.pod(1, "{app: web}", 8080, true);
    cluster.pass(30);
    let slice = cluster.api.store().list::<EndpointSlice>().next().unwrap();
    check(
        format!("{:#}", kube_api::to_value(&**slice)),
        expect![[r#"
            {
              "addressType": "IPv4",
              "apiVersion": "discovery.k8s.io/v1",
              "endpoints": [
                {
                  "addresses": [
                    "10.244.0.1"
                  ],
                  "conditions": {
                    "ready": true,
                    "serving": true,
                    "terminating": false
                  },
                  "hostname": "host1",
                  "nodeName": "n1",
                  "targetRef": {
                    "kind": "Pod",
                    "name": "p0001",
                    "namespace": "default",
                    "uid": "bd5e82db-874c-4598-bfbb-531ddbe0f37d"
                  },
                  "zone": "east"
                }
              ],
              "kind": "EndpointSlice",
              "metadata": {
                "annotations": {
                  "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-05T09:00:02Z"
                },
                "creationTimestamp": "2026-01-05T09:00:00Z",
                "generateName": "web-",
                "generation": 2,
                "labels": {
                  "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                  "kubernetes.io/service-name": "web",
                  "service.kubernetes.io/headless": ""
                },
                "name": "web-m4dcl",
                "namespace": "default",
                "ownerReferences": [
                  {
                    "apiVersion": "v1",
                    "blockOwnerDeletion": true,
                    "controller": true,
                    "kind": "Service",
                    "name": "web",
                    "uid": "9126353a-8875-4ae0-b5cd-3bea2a0ff389"
                  }
                ],
                "resourceVersion": "14",
                "uid": "a85b8fcc-2f04-499c-a4fb-346a591b02a2"
              },
              "ports": [
                {
                  "name": "",
                  "port": 80,
                  "protocol": "TCP"
                }
              ]
            }"#]],
    );
    let endpoints = cluster.api.store().get::<Endpoints>("default", "web").unwrap();
    check(
        format!("{:#}", kube_api::to_value(&endpoints.metadata)),
        expect![[r#"
            {
              "annotations": {
                "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-05T09:00:02Z"
              },
              "creationTimestamp": "2026-01-05T09:00:00Z",
              "labels": {
                "endpoints.kubernetes.io/managed-by": "endpoint-controller",
                "service.kubernetes.io/headless": ""
              },
              "name": "web",
              "namespace": "default",
              "resourceVersion": "15",
              "uid": "04951825-4b78-4af8-bf95-150d8bb40651"
            }"#]],
    );
}

#[test]
fn addresses_that_are_not_ready_may_be_published() {
    let mut cluster = Cluster::new();
    cluster.service(
        "{selector: {app: web}, publishNotReadyAddresses: true, ports: [{name: main, port: 80}]}",
    );
    cluster.pod(1, "{app: web}", 8080, false);
    cluster.pod(2, "{app: web}", 8080, true);
    cluster.delete::<Pod>("p0002");
    check(
        cluster.show(),
        expect![[r#"
        slice [main:80] 10.244.0.1(r) 10.244.0.2(rst)
        endpoints web [80] ready: 10.244.0.1 10.244.0.2 not ready: "#]],
    );
}

#[test]
fn hints_say_for_whom_an_endpoint_is_meant() {
    let mut told = Vec::new();
    for wish in ["PreferClose", "PreferSameZone", "PreferSameNode"] {
        let mut cluster = Cluster::new();
        cluster.service(&format!(
            "{{selector: {{app: web}}, trafficDistribution: {wish}, ports: [{{name: main, port: 80}}]}}"
        ));
        cluster.pod(1, "{app: web}", 8080, true);
        cluster.pod(2, "{app: web}", 8080, false);
        cluster.pass(30);
        told.push(cluster.show().lines().next().unwrap().to_string());
    }
    check(
        told.join("\n"),
        expect![[r#"
        slice [main:80] 10.244.0.1(rs)→east 10.244.0.2()
        slice [main:80] 10.244.0.1(rs)→east 10.244.0.2()
        slice [main:80] 10.244.0.1(rs)→east,n1 10.244.0.2()"#]],
    );
}

#[test]
fn a_hundred_a_slice_and_what_is_there_stays_where_it_is() {
    let mut cluster = Cluster::new();
    cluster.service(WEB);
    for n in 1..=250 {
        cluster.pod(n, "{app: web}", 8080, true);
    }
    cluster.pass(30);
    assert_eq!(cluster.sizes(), [50, 100, 100]);
    // One Pod changes: one slice is written.
    let before = cluster.api.store().revision();
    cluster.ready(120, false);
    cluster.pass(30);
    assert_eq!(cluster.written(before).0, 1);
    // A Pod goes and another comes: the slice that is changed anyway takes it.
    let before = cluster.api.store().revision();
    cluster.api.remove(Pod::id(), "default", "p0007");
    cluster.pod(251, "{app: web}", 8080, true);
    cluster.pass(30);
    assert_eq!((cluster.sizes(), cluster.written(before).0), (vec![50, 100, 100], 1));
    // Sixty do not fit into the slice with fifty; upstream makes a new one.
    for n in 300..360 {
        cluster.pod(n, "{app: web}", 8080, true);
    }
    cluster.pass(30);
    assert_eq!(cluster.sizes(), [50, 60, 100, 100]);
    // Ten go into the fullest that has room for them.
    for n in 400..410 {
        cluster.pod(n, "{app: web}", 8080, true);
    }
    cluster.pass(30);
    assert_eq!(cluster.sizes(), [50, 70, 100, 100]);
    // The last Pods of a slice go, and it with them.
    for n in (300..360).chain(400..410) {
        cluster.api.remove(Pod::id(), "default", &format!("p{n:04}"));
    }
    cluster.pass(30);
    assert_eq!(cluster.sizes(), [50, 100, 100]);
    let endpoints = |cluster: &Cluster| -> usize {
        let endpoints = cluster.api.store().get::<Endpoints>("default", "web").unwrap().clone();
        let subset = endpoints.subsets.clone().unwrap().remove(0);
        subset.addresses.iter().flatten().count()
            + subset.not_ready_addresses.iter().flatten().count()
    };
    cluster.pass(1000);
    assert_eq!(endpoints(&cluster), 250);
}

#[test]
fn endpoints_hold_a_thousand_and_say_so() {
    let mut cluster = Cluster::new();
    cluster.service(WEB);
    for n in 1..=1010 {
        cluster.pod(n, "{app: web}", 8080, n > 20);
    }
    cluster.pass(1000);
    let endpoints = cluster.api.store().get::<Endpoints>("default", "web").unwrap();
    let subset = endpoints.subsets.clone().unwrap().remove(0);
    let counts = (subset.addresses.unwrap().len(), subset.not_ready_addresses.unwrap().len());
    assert_eq!(counts, (990, 10));
    let note = endpoints.metadata.annotation("endpoints.kubernetes.io/over-capacity");
    assert_eq!(note, Some("truncated"));
    assert_eq!(cluster.sizes().iter().sum::<usize>(), 1010);
}

#[test]
fn slices_and_endpoints_that_somebody_else_touches_are_put_right() {
    let mut cluster = Cluster::new();
    cluster.service(WEB);
    cluster.pod(1, "{app: web}", 8080, true);
    cluster.pass(30);
    let before = cluster.show();
    let slice = cluster.api.store().list::<EndpointSlice>().next().unwrap();
    let name = slice.metadata.name().to_string();
    cluster.api.modify::<EndpointSlice>("default", &name, |slice| slice.endpoints.clear());
    cluster.pass(30);
    assert_eq!(cluster.show(), before);
    cluster.delete::<EndpointSlice>(&name);
    assert_eq!(cluster.show(), before);
    cluster.delete::<Endpoints>("web");
    assert_eq!(cluster.show(), before);
}

#[test]
fn a_service_of_the_same_name_is_another_one() {
    let mut cluster = Cluster::new();
    cluster.service(WEB);
    cluster.pod(1, "{app: web}", 8080, true);
    cluster.pass(30);
    let options = DeleteOptions::default();
    cluster.api.delete(Service::id(), "default", "web", options, cluster.now).unwrap();
    cluster.service(WEB);
    let service = cluster.api.store().get::<Service>("default", "web").unwrap().clone();
    let slices: Vec<_> = cluster.api.store().list::<EndpointSlice>().cloned().collect();
    assert_eq!(slices.len(), 1);
    assert_eq!(slices[0].metadata.controller().unwrap().uid, service.metadata.uid());
    assert_eq!(slices[0].endpoints.len(), 1);
}

const OUTSIDE: &str = "apiVersion: v1
kind: Endpoints
metadata: {name: web, labels: {who: me}, annotations: {why: because}}
subsets:
- addresses: [{ip: 192.168.0.7}, {ip: 192.168.0.8, hostname: h}]
  notReadyAddresses: [{ip: 192.168.0.9}]
  ports: [{name: main, port: 5432}]
- addresses: [{ip: 192.168.0.7}, {ip: fd00::1}]
  ports: [{name: other, port: 9}]
";

#[test]
fn endpoints_that_people_write_are_mirrored() {
    let mut cluster = Cluster::new();
    cluster.apply(OUTSIDE);
    assert!(cluster.sizes().is_empty(), "there is no Service");
    cluster.service("{ports: [{name: main, port: 5432}, {name: other, port: 9}]}");
    let mut told = vec![cluster.show()];
    let slice = cluster.api.store().list::<EndpointSlice>().next().unwrap();
    let (labels, annotations) = (&slice.metadata.labels, &slice.metadata.annotations);
    told.push(format!("{labels:?} {annotations:?}"));
    cluster.apply(&OUTSIDE.replace("{ip: 192.168.0.7}, ", ""));
    told.push(cluster.show());
    // With a selector, a Service has its own.
    cluster.service("{selector: {a: b}, ports: [{name: main, port: 5432}]}");
    told.push(cluster.show());
    check(
        told.join("\n--\n"),
        expect![[r#"
        slice [main:5432] 192.168.0.7(r) 192.168.0.8(r) 192.168.0.9()
        slice [other:9] 192.168.0.7(r)
        slice [other:9] fd00::1(r)
        endpoints web [5432] ready: 192.168.0.7 192.168.0.8 not ready: 192.168.0.9
        endpoints web [9] ready: 192.168.0.7 fd00::1 not ready: 
        --
        Some({"endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io", "kubernetes.io/service-name": "web", "who": "me"}) Some({"why": "because"})
        --
        slice [main:5432] 192.168.0.8(r) 192.168.0.9()
        slice [other:9] fd00::1(r)
        endpoints web [5432] ready: 192.168.0.8 not ready: 192.168.0.9
        endpoints web [9] ready: fd00::1 not ready: 
        --
        slice [] "#]],
    );
}

#[test]
fn mirroring_ends_with_a_label_or_with_the_endpoints() {
    let mut cluster = Cluster::new();
    cluster.service("{ports: [{name: main, port: 5432}]}");
    cluster.apply(OUTSIDE);
    assert_eq!(cluster.sizes().iter().sum::<usize>(), 5);
    let skip = "who: me, endpointslice.kubernetes.io/skip-mirror: \"true\"";
    cluster.apply(&OUTSIDE.replace("who: me", skip));
    assert!(cluster.sizes().is_empty());
    cluster.apply(OUTSIDE);
    assert_eq!(cluster.sizes().iter().sum::<usize>(), 5);
    cluster.delete::<Endpoints>("web");
    assert!(cluster.sizes().is_empty());
}

#[test]
fn too_many_addresses_are_not_mirrored() {
    let mut cluster = Cluster::new();
    cluster.service("{ports: [{name: main, port: 5432}]}");
    let ips: Vec<String> =
        (0..1003).map(|n| format!("{{ip: 10.9.{}.{}}}", n / 250, n % 250)).collect();
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Endpoints\nmetadata: {{name: web}}\nsubsets:\n- addresses: [{}]\n  ports: [{{name: main, port: 1}}]\n",
        ips.join(", ")
    ));
    assert_eq!(cluster.sizes(), [1000]);
    let mut events = cluster.api.store().list::<Event>();
    let event = events.find(|e| e.reason.as_deref() != Some("RegisteredNode")).unwrap();
    check(
        format!("{} {}", event.reason.clone().unwrap(), event.message.clone().unwrap()),
        expect![
            "TooManyAddressesToMirror A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 3 addresses were skipped"
        ],
    );
}
