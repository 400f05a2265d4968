//! Which nodes Pods get, whom they drive away, and what is said when there is none.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod world;

use controllers::pods;
use expect_test::{Expect, expect};
use kube_api::core::{Node, Pod};
use world::{Cluster, check};

fn pod(name: &str, labels: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{{labels}}}}}
spec: {{containers: [{{name: a, image: nginx}}], {spec}}}
"
    )
}

fn node_of(cluster: &Cluster, name: &str) -> String {
    pods::node_name(&cluster.get::<Pod>(name)).unwrap_or("nowhere").to_string()
}

fn label(cluster: &mut Cluster, node: &str, key: &str, value: &str) {
    cluster.api.modify::<Node>("", node, |node| {
        let labels = node.metadata.labels.get_or_insert_default();
        labels.insert(key.to_string(), value.to_string());
    });
}

/// Three workers: two in zone a, one in zone b.
fn zones() -> Cluster {
    let mut cluster = Cluster::new(3);
    for (node, zone) in [("worker1", "a"), ("worker2", "a"), ("worker3", "b")] {
        label(&mut cluster, node, "topology.kubernetes.io/zone", zone);
        label(&mut cluster, node, "kubernetes.io/hostname", node);
    }
    cluster
}

fn refused(cluster: &mut Cluster, manifest: &str, expected: Expect) {
    cluster.apply(manifest);
    cluster.pass(100);
    let told = cluster.told(&["FailedScheduling"]);
    let last = told.lines().last().unwrap_or_default();
    check(last.replace("Warning FailedScheduling ", ""), expected);
}

#[test]
fn why_there_is_no_node() {
    let mut cluster = zones();
    refused(
        &mut cluster,
        &pod("a", "", "nodeSelector: {disk: ssd}"),
        expect![
            "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
        ],
    );
    refused(
        &mut cluster,
        &pod("b", "", "").replace("image: nginx", "image: nginx, resources: {requests: {cpu: 2}}"),
        expect![
            "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 Insufficient cpu. no new claims to deallocate, preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
        ],
    );
    refused(
        &mut cluster,
        &pod("c", "", "volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]"),
        expect![[
            r#"0/4 nodes are available: persistentvolumeclaim "data" not found. no new claims to deallocate, preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."#
        ]],
    );
    refused(
        &mut cluster,
        &pod("d", "", "preemptionPolicy: Never, nodeSelector: {disk: ssd}"),
        expect![
            "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."
        ],
    );
    cluster.api.modify::<Node>("", "worker3", |node| {
        node.spec.get_or_insert_default().unschedulable = Some(true);
    });
    let near = "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: none}}}]}}";
    refused(
        &mut cluster,
        &pod("e", "", near),
        expect![
            "0/4 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 2 node(s) didn't match pod affinity rules. no new claims to deallocate, preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
        ],
    );
    let port = pod("f", "", "")
        .replace("image: nginx", "image: nginx, ports: [{containerPort: 80, hostPort: 80}]");
    cluster.apply(&port);
    cluster.apply(&port.replace("name: f", "name: g"));
    refused(
        &mut cluster,
        &port.replace("name: f", "name: h"),
        expect![
            "0/4 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 2 node(s) didn't have free ports for the requested pod ports. no new claims to deallocate, preemption: 0/4 nodes are available: 2 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
        ],
    );
}

#[test]
fn pods_keep_apart_and_near() {
    let mut cluster = zones();
    let apart = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: topology.kubernetes.io/zone, labelSelector: {matchLabels: {app: db}}}]}}";
    cluster.apply(&pod("db1", "app: db", apart));
    cluster.apply(&pod("db2", "app: db", apart));
    cluster.pass(100);
    let zone_b = [node_of(&cluster, "db1"), node_of(&cluster, "db2")];
    assert!(zone_b.iter().filter(|node| *node == "worker3").count() == 1, "{zone_b:?}");
    refused(
        &mut cluster,
        &pod("db3", "app: db", apart),
        expect![
            "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 node(s) didn't match pod anti-affinity rules. no new claims to deallocate, preemption: 0/4 nodes are available: 1 Preemption is not helpful for scheduling, 3 No preemption victims found for incoming pod."
        ],
    );
    // Who wants nothing of others is not wanted by them either.
    refused(
        &mut cluster,
        &pod("plain", "app: db", ""),
        expect![
            "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 node(s) didn't satisfy existing pods anti-affinity rules. no new claims to deallocate, preemption: 0/4 nodes are available: 1 Preemption is not helpful for scheduling, 3 No preemption victims found for incoming pod."
        ],
    );
    let near = "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: db}}}]}}";
    cluster.apply(&pod("web", "app: web", near));
    cluster.pass(100);
    assert!(zone_b.contains(&node_of(&cluster, "web")));
    // The first of those who want to be near each other may go anywhere, the next follow it.
    let together = near.replace("app: db", "app: team");
    for name in ["t1", "t2", "t3"] {
        cluster.apply(&pod(name, "app: team", &together));
        cluster.pass(50);
    }
    let nodes = ["t1", "t2", "t3"].map(|name| node_of(&cluster, name));
    assert!(nodes[0] != "nowhere" && nodes.iter().all(|node| *node == nodes[0]), "{nodes:?}");
}

#[test]
fn a_pod_that_waits_for_company_goes_when_it_has_come() {
    let mut cluster = zones();
    let near = "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: db}}}]}}";
    cluster.apply(&pod("web", "", near));
    cluster.pass(1000);
    assert_eq!(node_of(&cluster, "web"), "nowhere");
    cluster.apply(&pod("db", "app: db", ""));
    cluster.pass(2000);
    assert_eq!(node_of(&cluster, "web"), node_of(&cluster, "db"));
}

#[test]
fn topology_spread() {
    let mut cluster = zones();
    let spread = |mode: &str| {
        format!(
            "topologySpreadConstraints: [{{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: {mode}, labelSelector: {{matchLabels: {{app: web}}}}}}]"
        )
    };
    for n in 0..6 {
        cluster.apply(&pod(&format!("web{n}"), "app: web", &spread("DoNotSchedule")));
    }
    cluster.pass(200);
    let in_b = (0..6).filter(|n| node_of(&cluster, &format!("web{n}")) == "worker3").count();
    assert_eq!(in_b, 3);
    // Zone b is closed: the skew would be too large.
    cluster.api.modify::<Node>("", "worker3", |node| {
        node.spec.get_or_insert_default().unschedulable = Some(true);
    });
    cluster.apply(&pod("web6", "app: web", &spread("DoNotSchedule")));
    cluster.pass(100);
    assert_ne!(node_of(&cluster, "web6"), "nowhere", "the skew is 1");
    refused(
        &mut cluster,
        &pod("web7", "app: web", &spread("DoNotSchedule")),
        expect![
            "0/4 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 2 node(s) didn't match pod topology spread constraints. no new claims to deallocate, preemption: 0/4 nodes are available: 2 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
        ],
    );
    cluster.apply(&pod("web8", "app: web", &spread("ScheduleAnyway")));
    cluster.pass(100);
    assert_ne!(node_of(&cluster, "web8"), "nowhere");
}

#[test]
fn wishes_and_soft_taints_decide_among_nodes() {
    let mut cluster = zones();
    let wish = "affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 10, preference: {matchExpressions: [{key: topology.kubernetes.io/zone, operator: In, values: [b]}]}}]}}";
    for n in 0..4 {
        cluster.apply(&pod(&format!("p{n}"), "", wish));
    }
    cluster.pass(100);
    assert_eq!(cluster.nodes_of("p"), "worker3: 4");
    for node in ["worker1", "worker3"] {
        cluster.api.modify::<Node>("", node, |node| {
            let taint = kube_api::core::Taint {
                key: "busy".into(),
                effect: "PreferNoSchedule".into(),
                ..Default::default()
            };
            node.spec.get_or_insert_default().taints = Some(vec![taint]);
        });
    }
    for n in 0..4 {
        cluster.apply(&pod(&format!("q{n}"), "", ""));
    }
    cluster.pass(100);
    assert_eq!(cluster.nodes_of("q"), "worker2: 4");
}

#[test]
fn the_more_important_drives_the_less_important_away() {
    let mut cluster = Cluster::new(2);
    cluster.apply("apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: high}\nvalue: 1000\n");
    let with = |name: &str, cpu: &str, more: &str| {
        pod(name, "", more).replace(
            "image: nginx",
            &format!("image: nginx, resources: {{requests: {{cpu: {cpu}}}}}"),
        )
    };
    for (name, cpu) in [("a", "600m"), ("b", "300m"), ("c", "650m")] {
        cluster.apply(&with(name, cpu, ""));
        cluster.pass(50);
    }
    cluster.pass(2000);
    cluster.apply(&with("boss", "500m", "priorityClassName: high"));
    cluster.pass(200);
    check(
        cluster.pods(),
        expect![[r#"
            a ready ending
            b ready
            boss not ready
            c ready"#]],
    );
    let boss = cluster.get::<Pod>("boss");
    assert_eq!(boss.spec.as_ref().unwrap().priority, Some(1000));
    check(
        format!("{:?}", boss.status.as_ref().unwrap().nominated_node_name),
        expect![[r#"Some("worker1")"#]],
    );
    let told = cluster.told(&["Preempted", "FailedScheduling"]);
    check(
        told.replace(boss.metadata.uid.as_deref().unwrap(), "UID"),
        expect![[r#"
            Normal Preempted Preempted by pod UID on node worker1
            Warning FailedScheduling 0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu."#]],
    );
    cluster.pass(5000);
    check(
        cluster.pods(),
        expect![[r#"
            b ready
            boss ready
            c ready"#]],
    );
    // Who may not drive others away waits.
    refused(
        &mut cluster,
        &with("meek", "700m", "priorityClassName: high, preemptionPolicy: Never"),
        expect![
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."
        ],
    );
}

#[test]
fn a_gated_pod_is_not_looked_at() {
    let mut cluster = Cluster::new(1);
    cluster.apply(&pod("held", "", "schedulingGates: [{name: example.com/wait}]"));
    cluster.pass(1000);
    assert_eq!((node_of(&cluster, "held").as_str(), cluster.events().as_str()), ("nowhere", ""));
    assert_eq!(pods::summary(&cluster.get::<Pod>("held")).status, "SchedulingGated");
    cluster.api.modify::<Pod>("default", "held", |pod| {
        pod.spec.get_or_insert_default().scheduling_gates = None;
    });
    cluster.pass(1000);
    assert_eq!(node_of(&cluster, "held"), "worker1");
}

#[test]
fn pods_of_one_owner_are_spread_over_nodes() {
    let mut cluster = Cluster::new(4);
    cluster.apply(&world::deployment(40, "nginx", ""));
    cluster.pass(300);
    check(cluster.nodes_of("web-"), expect!["worker1: 10, worker2: 10, worker3: 10, worker4: 10"]);
}
