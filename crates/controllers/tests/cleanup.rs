//! How objects go: owners, finalizers, namespaces; and what comes back by itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use base::{Duration, Instant, Rng};
use controllers::ControlPlane;
use controllers::manager::Latencies;
use expect_test::{Expect, expect};
use kube_api::core::{Namespace, Pod};
use kube_api::{
    Api, ApiConfig, DeleteOptions, Kind, MetaExt, Patch, Propagation, Request, Status, yaml,
};
use serde_json::{Value, json};

struct Cluster {
    api: Api,
    controllers: ControlPlane,
    now: Instant,
    seen: u64,
}

impl Cluster {
    fn new() -> Cluster {
        let rng = Rng::new(1);
        let mut api = Api::new(ApiConfig::default(), rng.fork("api"));
        for name in ["default", "shop"] {
            let mut namespace = Namespace::default();
            namespace.metadata.name = Some(name.into());
            api.create_typed(namespace, Instant::ZERO).unwrap();
        }
        let controllers = ControlPlane::new(&Latencies::default(), rng.fork("controllers"));
        let mut cluster = Cluster { api, controllers, now: Instant::ZERO, seen: 0 };
        cluster.pass(100);
        cluster
    }

    fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.controllers.run(&mut self.api, self.now);
            self.now += Duration::from_millis(10);
        }
        self.seen = self.api.store().revision();
    }

    fn create(&mut self, text: &str) -> Result<String, Status> {
        let node = yaml::documents(text).remove(0).content.unwrap().unwrap();
        let field = |name: &str| node.get(name).unwrap().as_str().unwrap();
        let kind = self.api.store().kinds().find(field("apiVersion"), field("kind")).unwrap().id;
        let object = self.api.object(kind, self.api.decode(kind, &node).unwrap()).unwrap();
        let created = self.api.create(object, self.now)?;
        Ok(created.meta().uid().to_string())
    }

    fn config_map(&mut self, name: &str, meta: &str) -> String {
        self.create(&format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, {meta}}}}}"
        ))
        .unwrap()
    }

    fn delete(&mut self, kind: &str, name: &str, propagation: Option<Propagation>) {
        let info = self.api.store().kinds().by_name(kind).unwrap().clone();
        let namespace = if info.is_namespaced { "default" } else { "" };
        let options = DeleteOptions { propagation, ..DeleteOptions::default() };
        self.api.delete(info.id, namespace, name, options, self.now).unwrap();
    }

    fn patch(&mut self, kind: &str, name: &str, patch: Value) -> Result<(), Status> {
        let kind = self.api.store().kinds().by_name(kind).unwrap().id;
        let request = Request::new("test", self.now);
        self.api.patch(kind, "default", name, &Patch::Merge(patch), &request).map(|_| ())
    }

    /// What there is of a kind, with its owners and whether it is going.
    fn show(&self, kind: &str) -> String {
        let kind = self.api.store().kinds().by_name(kind).unwrap();
        let mut lines = Vec::new();
        for object in self.api.store().list_any(kind.id).filter(|o| o.name() != "kube-root-ca.crt")
        {
            let owners = object.meta().owner_references.iter().flatten();
            let owners: Vec<&str> = owners.map(|owner| owner.name.as_str()).collect();
            let going = if object.meta().is_terminating() { " going" } else { "" };
            lines.push(format!("{} of [{}]{going}", object.name(), owners.join(" ")));
        }
        lines.join("\n")
    }

    /// What has gone since time last passed, in order.
    fn gone(&self) -> String {
        let changes = self.api.store().changes_since(self.seen).filter(|c| c.new.is_none());
        let kinds = self.api.store().kinds();
        let mut lines: Vec<String> =
            changes.map(|c| kinds.get(c.object().kind()).kind.clone()).collect();
        lines.dedup();
        lines.join(" ")
    }
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: a, image: nginx}]}
";

fn check(found: impl AsRef<str>, expected: Expect) {
    expected.assert_eq(found.as_ref());
}

fn owner(name: &str, uid: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: ConfigMap, name: {name}, uid: {uid:?}, blockOwnerDeletion: true}}"
    )
}

#[test]
fn what_is_owned_goes_after_or_before_its_owner_or_stays() {
    for (propagation, order) in [
        (None, "Deployment ReplicaSet Pod"),
        (Some(Propagation::Background), "Deployment ReplicaSet Pod"),
        (Some(Propagation::Foreground), "Pod ReplicaSet Deployment"),
    ] {
        let mut cluster = Cluster::new();
        cluster.create(DEPLOYMENT).unwrap();
        cluster.pass(500);
        assert_eq!(cluster.api.store().list::<Pod>().count(), 2);
        cluster.delete("deployment", "web", propagation);
        let seen = cluster.seen;
        cluster.pass(500);
        cluster.seen = seen;
        assert_eq!(cluster.gone(), order);
        assert_eq!(cluster.show("pods") + &cluster.show("rs"), "");
    }
    let mut cluster = Cluster::new();
    cluster.create(DEPLOYMENT).unwrap();
    cluster.pass(500);
    cluster.delete("deployment", "web", Some(Propagation::Orphan));
    cluster.pass(500);
    assert_eq!(cluster.show("deployments"), "");
    assert!(cluster.show("rs").ends_with(" of []"), "{}", cluster.show("rs"));
    assert_eq!(cluster.api.store().list::<Pod>().count(), 2);
}

#[test]
fn of_several_owners_those_that_are_gone_are_forgotten() {
    let mut cluster = Cluster::new();
    let (a, b) = (cluster.config_map("a", ""), cluster.config_map("b", ""));
    let both = format!("ownerReferences: [{}, {}]", owner("a", &a), owner("b", &b));
    cluster.config_map("child", &both);
    let strange = "{apiVersion: example.com/v1, kind: Widget, name: w, uid: u}";
    cluster.config_map("unknown", &format!("ownerReferences: [{strange}]"));
    cluster.config_map("stranger", &format!("ownerReferences: [{}]", owner("a", "another-uid")));
    check(
        cluster.show("cm"),
        expect![[r#"
            a of []
            b of []
            child of [a b]
            stranger of [a]
            unknown of [w]"#]],
    );
    cluster.pass(100);
    // One of that name is not the owner.
    check(
        cluster.show("cm"),
        expect![[r#"
            a of []
            b of []
            child of [a b]
            unknown of [w]"#]],
    );
    cluster.delete("cm", "a", None);
    cluster.pass(100);
    check(
        cluster.show("cm"),
        expect![[r#"
            b of []
            child of [b]
            unknown of [w]"#]],
    );
    cluster.delete("cm", "b", None);
    cluster.pass(100);
    check(cluster.show("cm"), expect!["unknown of [w]"]);
}

#[test]
fn what_has_finalizers_stays_until_they_are_gone() {
    let mut cluster = Cluster::new();
    let uid = cluster.config_map("a", "finalizers: [example.com/one, example.com/two]");
    cluster.config_map("child", &format!("ownerReferences: [{}]", owner("a", &uid)));
    cluster.delete("cm", "a", Some(Propagation::Foreground));
    cluster.pass(100);
    check(cluster.show("cm"), expect!["a of [] going"]);
    let more = json!({"metadata": {"finalizers": ["example.com/one", "example.com/new"]}});
    check(
        cluster.patch("cm", "a", more).unwrap_err().to_string(),
        expect![[
            r#"The ConfigMap "a" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"example.com/new"}"#
        ]],
    );
    cluster.patch("cm", "a", json!({"data": {"still": "changes"}})).unwrap();
    cluster.patch("cm", "a", json!({"metadata": {"finalizers": ["example.com/two"]}})).unwrap();
    cluster.pass(100);
    check(cluster.show("cm"), expect!["a of [] going"]);
    cluster.patch("cm", "a", json!({"metadata": {"finalizers": null}})).unwrap();
    check(cluster.show("cm"), expect![""]);
}

#[test]
fn a_namespace_goes_when_it_is_empty() {
    let mut cluster = Cluster::new();
    let in_shop =
        |text: &str| text.replace("metadata: {name: ", "metadata: {namespace: shop, name: ");
    cluster.create(&in_shop(DEPLOYMENT)).unwrap();
    let held =
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: held, finalizers: [example.com/x]}}";
    cluster.create(&in_shop(held)).unwrap();
    cluster.pass(500);
    cluster.delete("ns", "shop", None);
    let late = "{apiVersion: v1, kind: Secret, metadata: {name: late}}";
    check(
        cluster.create(&in_shop(late)).unwrap_err().to_string(),
        expect![[
            r#"Error from server (Forbidden): secrets "late" is forbidden: unable to create new content in namespace shop because it is being terminated"#
        ]],
    );
    cluster.pass(500);
    let shop = cluster.api.store().get::<Namespace>("", "shop").unwrap().clone();
    let status = shop.status.as_ref().unwrap();
    assert_eq!(status.phase.as_deref(), Some("Terminating"));
    let mut told = String::new();
    for condition in status.rest.get("conditions").unwrap().as_array().unwrap() {
        let field = |name: &str| condition.get(name).unwrap().as_str().unwrap().to_string();
        told += &format!("{} {}: {}\n", field("type"), field("status"), field("message"));
    }
    check(
        told,
        expect![[r#"
            NamespaceDeletionDiscoveryFailure False: All resources successfully discovered
            NamespaceDeletionGroupVersionParsingFailure False: All legacy kube types successfully parsed
            NamespaceDeletionContentFailure False: All content successfully deleted, may be waiting on finalization
            NamespaceContentRemaining True: Some resources are remaining: configmaps. has 1 resource instances
            NamespaceFinalizersRemaining True: Some content in the namespace has finalizers remaining: example.com/x in 1 resource instances
        "#]],
    );
    let kind = cluster.api.store().kinds().by_name("cm").unwrap().id;
    let patch = Patch::Merge(json!({"metadata": {"finalizers": []}}));
    let request = Request::new("test", cluster.now);
    cluster.api.patch(kind, "shop", "held", &patch, &request).unwrap();
    cluster.pass(100);
    assert!(cluster.api.store().get::<Namespace>("", "shop").is_none());
    assert_eq!(cluster.api.store().list_in::<Pod>("shop").count(), 0);
    let kept = cluster.api.delete(
        Namespace::id(),
        "",
        "kube-system",
        DeleteOptions::default(),
        cluster.now,
    );
    check(
        kept.unwrap_err().to_string(),
        expect![[r#"Error from server (NotFound): namespaces "kube-system" not found"#]],
    );
}

#[test]
fn what_every_namespace_has_comes_back() {
    let mut cluster = Cluster::new();
    let service = "{apiVersion: v1, kind: Service, metadata: {name: kubernetes}, spec: {clusterIP: 10.96.0.1, ports: [{port: 443}]}}";
    cluster.create(service).unwrap();
    cluster.pass(1000);
    for (kind, name) in [("sa", "default"), ("cm", "kube-root-ca.crt"), ("svc", "kubernetes")] {
        let info = cluster.api.store().kinds().by_name(kind).unwrap().id;
        let found = |cluster: &Cluster| {
            let object = cluster.api.store().get_any(info, "default", name);
            object.map(|object| object.meta().uid().to_string())
        };
        let first = found(&cluster).unwrap();
        cluster.delete(kind, name, None);
        cluster.pass(20);
        assert_eq!(found(&cluster).is_some(), kind != "svc", "{kind}");
        cluster.pass(10_000);
        assert_ne!(found(&cluster).unwrap(), first, "{kind}");
    }
    let service = cluster.api.store().get::<kube_api::core::Service>("default", "kubernetes");
    let spec = service.unwrap().spec.as_ref().unwrap();
    assert_eq!(spec.cluster_ip.as_deref(), Some("10.96.0.1"));
}

#[test]
fn pods_go_when_their_node_has_been_missing_for_a_while() {
    let mut cluster = Cluster::new();
    let node = kube_api::core::Node::id();
    cluster.create("{apiVersion: v1, kind: Node, metadata: {name: one}}").unwrap();
    for (name, on) in [("a", "one"), ("b", "nowhere")] {
        cluster
            .create(&format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{nodeName: {on}, containers: [{{name: c, image: nginx}}]}}}}"
            ))
            .unwrap();
    }
    let names = |cluster: &Cluster| {
        let pods = cluster.api.store().list::<Pod>();
        pods.map(|pod| pod.metadata.name().to_string()).collect::<Vec<_>>().join(" ")
    };
    cluster.pass(59_000);
    assert_eq!(names(&cluster), "a b");
    cluster.pass(2_000);
    assert_eq!(names(&cluster), "a");
    cluster.api.delete(node, "", "one", DeleteOptions::default(), cluster.now).unwrap();
    cluster.pass(40_000);
    // Another one of its name is as good.
    cluster.create("{apiVersion: v1, kind: Node, metadata: {name: one}}").unwrap();
    cluster.pass(120_000);
    assert_eq!(names(&cluster), "a");
    cluster.api.delete(node, "", "one", DeleteOptions::default(), cluster.now).unwrap();
    cluster.pass(60_000);
    assert_eq!(names(&cluster), "");
}

#[test]
fn a_claim_stays_while_a_pod_uses_it_and_a_volume_while_a_claim_does() {
    let mut cluster = Cluster::new();
    cluster.create("{apiVersion: v1, kind: Node, metadata: {name: one}}").unwrap();
    cluster.create("{apiVersion: v1, kind: PersistentVolume, metadata: {name: disk}, spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, hostPath: {path: /x}}}").unwrap();
    cluster.create("{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], storageClassName: '', resources: {requests: {storage: 1Gi}}}}").unwrap();
    cluster.create("{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: one, volumes: [{name: v, persistentVolumeClaim: {claimName: data}}], containers: [{name: c, image: nginx}]}}").unwrap();
    cluster.pass(100);
    let kind =
        |kind: &str, cluster: &Cluster| cluster.api.store().kinds().find("v1", kind).unwrap().id;
    let state = |cluster: &Cluster| {
        let one = |of: &str, namespace: &str, name: &str| {
            let found = cluster.api.store().get_any(kind(of, cluster), namespace, name);
            match found {
                None => format!("{name} gone"),
                Some(object) => {
                    let value = object.to_value();
                    let phase = value["status"]["phase"].as_str().unwrap().to_string();
                    let going = if object.meta().is_terminating() { " going" } else { "" };
                    format!("{name} {phase}{going} {}", value["metadata"]["finalizers"])
                }
            }
        };
        let claim = one("PersistentVolumeClaim", "default", "data");
        format!("{claim}\n{}", one("PersistentVolume", "", "disk"))
    };
    let delete = |cluster: &mut Cluster, of: &str, namespace: &str, name: &str| {
        let options = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
        let (id, now) = (kind(of, cluster), cluster.now);
        cluster.api.delete(id, namespace, name, options, now).unwrap();
        cluster.pass(100);
        state(cluster)
    };
    let protected = delete(&mut cluster, "PersistentVolume", "", "disk");
    expect![[r#"
        data Bound ["kubernetes.io/pvc-protection"]
        disk Bound going ["kubernetes.io/pv-protection"]"#]]
    .assert_eq(&protected);
    let claimed = delete(&mut cluster, "PersistentVolumeClaim", "default", "data");
    expect![[r#"
        data Bound going ["kubernetes.io/pvc-protection"]
        disk Bound going ["kubernetes.io/pv-protection"]"#]]
    .assert_eq(&claimed);
    let free = delete(&mut cluster, "Pod", "default", "a");
    expect![[r#"
        data gone
        disk gone"#]]
    .assert_eq(&free);
}
