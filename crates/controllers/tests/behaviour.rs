//! Controllers and scheduler on their own: objects in, objects out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod world;

use controllers::pods;
use expect_test::expect;
use kube_api::apps::Deployment;
use kube_api::core::{Namespace, Pod, Service};
use kube_api::discovery::EndpointSlice;
use kube_api::{DeleteOptions, Kind, MetaExt};
use world::{Cluster, check, deployment};

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
              "terminatingReplicas": 0,
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
            "Warning FailedScheduling 0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. no new claims to deallocate, preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."
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
