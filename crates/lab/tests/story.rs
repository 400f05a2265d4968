//! The story, told to the lab directly: objects in, packets through, and what can be seen of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::cell::RefCell;
use std::rc::Rc;

use base::{Duration, Instant};
use controllers::pods;
use expect_test::{Expect, expect};
use kube_api::core::Pod;
use kube_api::{Api, DeleteOptions, Kind, MetaExt, yaml};
use lab::path::Ending;
use lab::{Lab, Options, Outcome, Place, World};
use programs::http::Headers;
use programs::http::client::{Ask, connect, fetch};

const NGINX: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: nginx}
spec:
  replicas: 2
  selector: {matchLabels: {app: nginx, by: nginx}}
  template:
    metadata: {labels: {app: nginx, by: nginx}}
    spec: {containers: [{name: web, image: nginx}]}
";

const HTTPD: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: httpd}
spec:
  replicas: 2
  selector: {matchLabels: {app: nginx, by: apache}}
  template:
    metadata: {labels: {app: nginx, by: apache}}
    spec: {containers: [{name: web, image: httpd}]}
";

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: nginx}
  ports: [{port: 80, targetPort: 80, nodePort: 30007}]
";

fn apply(lab: &Lab, text: &str) {
    let now = lab.now();
    lab.with("kind", |cluster| {
        for document in yaml::documents(text) {
            create(&mut cluster.api, &document.content.unwrap().unwrap(), now);
        }
    });
}

fn create(api: &mut Api, node: &kube_api::node::Node, now: Instant) {
    let field = |name: &str| node.get(name).unwrap().as_str().unwrap();
    let info = api.store().kinds().find(field("apiVersion"), field("kind")).unwrap().id;
    let value = api.decode(info, node).unwrap();
    let object = api.object(info, value).unwrap();
    api.create(object, now).unwrap();
}

fn pass(world: &World, secs: u64) {
    world.advance(world.lab().now() + Duration::from_secs(secs), u32::MAX);
}

/// `curl localhost:PORT`: how it ended, who answered, and the way.
fn ask(world: &World, from: &Place, addr: &str, port: u16) -> String {
    let lab = world.lab().clone();
    let cause = lab.begin_request(from, &format!("{addr}:{port}"), "curl");
    let addr = addr.parse().unwrap();
    let inside = lab.clone();
    let process = lab.start(from, "curl", move |host| async move {
        host.set_cause(cause);
        let stream = match connect(&host, &[addr], port).await {
            Ok(stream) => stream,
            Err(error) => {
                inside.end_request(cause, Outcome::Failed(error.to_string()), b"");
                return 7;
            }
        };
        let mut headers = Headers::default();
        headers.push("Host", "localhost");
        let ask = Ask { method: "GET".into(), target: "/".into(), headers, body: Vec::new() };
        let (outcome, body) = match fetch(&host, &stream, &ask).await {
            Ok(fetched) => (Outcome::Answered(fetched.response.status), fetched.response.body),
            Err(error) => (Outcome::Failed(format!("{error:?}")), Vec::new()),
        };
        inside.end_request(cause, outcome, &body);
        0
    });
    world.run(&process.unwrap());
    let request = lab.request(cause).unwrap();
    let path: Vec<&str> = request.path.iter().map(Place::short).collect();
    let end = match request.outcome.unwrap() {
        Outcome::Answered(status) => status.to_string(),
        Outcome::Failed(why) => why,
    };
    let first = String::from_utf8_lossy(&request.body);
    let title = if first.contains("nginx") {
        " nginx"
    } else if first.contains("It works!") {
        " apache"
    } else {
        ""
    };
    format!("{end}{title} by {} via {}", request.answered_by.unwrap_or_default(), path.join(" > "))
}

fn pods(lab: &Lab) -> String {
    let line = |pod: &Rc<Pod>| {
        let summary = pods::summary(pod);
        format!(
            "{} {} {}/{} {} {}",
            pod.metadata.name(),
            pods::address(pod).unwrap_or("-"),
            summary.ready,
            summary.total,
            summary.status,
            pods::node_name(pod).unwrap_or("-")
        )
    };
    let list = lab.with("kind", |cluster| {
        let store = cluster.api.store();
        store.list::<Pod>().map(line).collect::<Vec<_>>()
    });
    list.unwrap().join("\n")
}

fn check(actual: &str, expected: Expect) {
    expected.assert_eq(actual);
}

#[test]
fn a_new_lab_has_a_running_cluster() {
    let world = World::new(&Options::default());
    check(
        &pods(world.lab()),
        expect![[r#"
            coredns-6d57ff9f69-mdr2j 10.244.0.2 1/1 Running kind-control-plane
            coredns-6d57ff9f69-nj624 10.244.0.3 1/1 Running kind-control-plane
            etcd-kind-control-plane 172.18.0.2 1/1 Running kind-control-plane
            kindnet-cbtmk 172.18.0.4 1/1 Running kind-worker2
            kindnet-dwd76 172.18.0.2 1/1 Running kind-control-plane
            kindnet-h845l 172.18.0.3 1/1 Running kind-worker
            kube-apiserver-kind-control-plane 172.18.0.2 1/1 Running kind-control-plane
            kube-controller-manager-kind-control-plane 172.18.0.2 1/1 Running kind-control-plane
            kube-proxy-h8f7w 172.18.0.2 1/1 Running kind-control-plane
            kube-proxy-jzs26 172.18.0.3 1/1 Running kind-worker
            kube-proxy-lbp4w 172.18.0.4 1/1 Running kind-worker2
            kube-scheduler-kind-control-plane 172.18.0.2 1/1 Running kind-control-plane
            local-path-provisioner-65d94bd548-tvsmv 10.244.0.4 1/1 Running kind-control-plane"#]],
    );
    let journal: Vec<String> =
        world.lab().journal(|journal| journal.since(0).map(|entry| entry.to_string()).collect());
    check(
        &journal.join("\n"),
        expect![[r#"
            00:00:00.000 000 world: cluster kind created, 3 nodes
            00:00:00.000 000 object: Namespace default created
            00:00:00.000 000 object: Namespace kube-node-lease created
            00:00:00.000 000 object: Namespace kube-public created
            00:00:00.000 000 object: Namespace kube-system created
            00:00:00.000 000 object: Namespace local-path-storage created
            00:00:00.000 000 object: Service default/kubernetes created
            00:00:00.000 000 endpoints: default/kubernetes is served by 172.18.0.2
            00:00:00.000 000 object: Service kube-system/kube-dns created
            00:00:00.000 000 object: Deployment kube-system/coredns created
            00:00:00.000 000 object: DaemonSet kube-system/kube-proxy created
            00:00:00.000 000 object: DaemonSet kube-system/kindnet created
            00:00:00.000 000 object: Deployment local-path-storage/local-path-provisioner created
            00:00:00.000 000 object: Node kind-control-plane created
            00:00:00.000 000 object kind-control-plane: Pod kube-system/etcd-kind-control-plane created
            00:00:00.000 000 object kind-control-plane: Pod kube-system/kube-apiserver-kind-control-plane created
            00:00:00.000 000 object kind-control-plane: Pod kube-system/kube-controller-manager-kind-control-plane created
            00:00:00.000 000 object kind-control-plane: Pod kube-system/kube-scheduler-kind-control-plane created
            00:00:00.001 840 rules kind-control-plane: first sync, 17 rules written, 1.8 ms
            00:00:00.010 000 object: Pod kube-system/kindnet-dwd76 created
            00:00:00.010 000 object: Pod kube-system/kube-proxy-h8f7w created
            00:00:00.015 000 object kind-control-plane: Pod kube-system/kube-proxy-h8f7w goes to kind-control-plane
            00:00:00.015 000 object kind-control-plane: Pod kube-system/kindnet-dwd76 goes to kind-control-plane
            00:00:00.020 000 object: Pod kube-system/coredns-6d57ff9f69-nj624 created
            00:00:00.020 000 object: Pod kube-system/coredns-6d57ff9f69-mdr2j created
            00:00:00.020 000 object: Pod local-path-storage/local-path-provisioner-65d94bd548-tvsmv created
            00:00:00.025 000 object kind-control-plane: Pod kube-system/coredns-6d57ff9f69-mdr2j goes to kind-control-plane
            00:00:00.025 000 object kind-control-plane: Pod kube-system/coredns-6d57ff9f69-nj624 goes to kind-control-plane
            00:00:00.025 000 object kind-control-plane: Pod local-path-storage/local-path-provisioner-65d94bd548-tvsmv goes to kind-control-plane
            00:00:00.400 000 object kind-control-plane: Pod kube-system/etcd-kind-control-plane is ready at 172.18.0.2
            00:00:00.400 000 object kind-control-plane: Pod kube-system/kube-apiserver-kind-control-plane is ready at 172.18.0.2
            00:00:00.400 000 object kind-control-plane: Pod kube-system/kube-controller-manager-kind-control-plane is ready at 172.18.0.2
            00:00:00.400 000 object kind-control-plane: Pod kube-system/kube-scheduler-kind-control-plane is ready at 172.18.0.2
            00:00:00.415 000 object kind-control-plane: Pod kube-system/kindnet-dwd76 is ready at 172.18.0.2
            00:00:00.415 000 object kind-control-plane: Pod kube-system/kube-proxy-h8f7w is ready at 172.18.0.2
            00:00:00.425 000 object kind-control-plane: Pod local-path-storage/local-path-provisioner-65d94bd548-tvsmv is ready at 10.244.0.4
            00:00:00.425 060 object kind-control-plane: Pod kube-system/coredns-6d57ff9f69-mdr2j is ready at 10.244.0.2
            00:00:00.425 060 object kind-control-plane: Pod kube-system/coredns-6d57ff9f69-nj624 is ready at 10.244.0.3
            00:00:00.445 000 endpoints: kube-system/kube-dns is served by 10.244.0.2, 10.244.0.3
            00:00:01.000 000 object: Node kind-worker created
            00:00:01.000 000 object: Node kind-worker2 created
            00:00:01.001 980 rules kind-control-plane: 2 endpoints changed, 24 rules written, 2.0 ms
            00:00:01.002 260 rules kind-worker: first sync, 38 rules written, 2.3 ms
            00:00:01.002 260 rules kind-worker2: first sync, 38 rules written, 2.3 ms
            00:00:01.010 000 object: Pod kube-system/kindnet-h845l created
            00:00:01.010 000 object: Pod kube-system/kindnet-cbtmk created
            00:00:01.010 000 object: Pod kube-system/kube-proxy-jzs26 created
            00:00:01.010 000 object: Pod kube-system/kube-proxy-lbp4w created
            00:00:01.015 000 object kind-worker: Pod kube-system/kube-proxy-jzs26 goes to kind-worker
            00:00:01.015 000 object kind-worker2: Pod kube-system/kube-proxy-lbp4w goes to kind-worker2
            00:00:01.015 000 object kind-worker2: Pod kube-system/kindnet-cbtmk goes to kind-worker2
            00:00:01.015 000 object kind-worker: Pod kube-system/kindnet-h845l goes to kind-worker
            00:00:01.415 000 object kind-worker: Pod kube-system/kindnet-h845l is ready at 172.18.0.3
            00:00:01.415 000 object kind-worker: Pod kube-system/kube-proxy-jzs26 is ready at 172.18.0.3
            00:00:01.415 000 object kind-worker2: Pod kube-system/kindnet-cbtmk is ready at 172.18.0.4
            00:00:01.415 000 object kind-worker2: Pod kube-system/kube-proxy-lbp4w is ready at 172.18.0.4"#]],
    );
}

#[test]
fn the_story() {
    let world = World::new(&Options::default());
    let lab = world.lab();
    let me = Place::Machine;
    // Nobody listens behind the node port yet.
    check(
        &ask(&world, &me, "127.0.0.1", 30007),
        expect!["Receive(Reset) by  via your machine > kind-control-plane"],
    );
    check(
        &ask(&world, &me, "127.0.0.1", 30008),
        expect!["Connection refused by  via your machine"],
    );
    apply(lab, NGINX);
    apply(lab, SERVICE);
    pass(&world, 5);
    check(
        &pods(lab),
        expect![[r#"
            nginx-7b945b68f-djvwl 10.244.1.2 1/1 Running kind-worker
            nginx-7b945b68f-l487f 10.244.2.2 1/1 Running kind-worker2
            coredns-6d57ff9f69-mdr2j 10.244.0.2 1/1 Running kind-control-plane
            coredns-6d57ff9f69-nj624 10.244.0.3 1/1 Running kind-control-plane
            etcd-kind-control-plane 172.18.0.2 1/1 Running kind-control-plane
            kindnet-cbtmk 172.18.0.4 1/1 Running kind-worker2
            kindnet-dwd76 172.18.0.2 1/1 Running kind-control-plane
            kindnet-h845l 172.18.0.3 1/1 Running kind-worker
            kube-apiserver-kind-control-plane 172.18.0.2 1/1 Running kind-control-plane
            kube-controller-manager-kind-control-plane 172.18.0.2 1/1 Running kind-control-plane
            kube-proxy-h8f7w 172.18.0.2 1/1 Running kind-control-plane
            kube-proxy-jzs26 172.18.0.3 1/1 Running kind-worker
            kube-proxy-lbp4w 172.18.0.4 1/1 Running kind-worker2
            kube-scheduler-kind-control-plane 172.18.0.2 1/1 Running kind-control-plane
            local-path-provisioner-65d94bd548-tvsmv 10.244.0.4 1/1 Running kind-control-plane"#]],
    );
    let answers = [0; 4].map(|_| ask(&world, &me, "127.0.0.1", 30007));
    check(
        &answers.join("\n"),
        expect![[r#"
            200 nginx by nginx-7b945b68f-djvwl via your machine > kind-control-plane > kind-worker > nginx-7b945b68f-djvwl
            200 nginx by nginx-7b945b68f-l487f via your machine > kind-control-plane > kind-worker2 > nginx-7b945b68f-l487f
            200 nginx by nginx-7b945b68f-djvwl via your machine > kind-control-plane > kind-worker > nginx-7b945b68f-djvwl
            200 nginx by nginx-7b945b68f-l487f via your machine > kind-control-plane > kind-worker2 > nginx-7b945b68f-l487f"#]],
    );
    // From a node, and from a Pod, to the Service's own address.
    let name = lab
        .with("kind", |cluster| {
            let pods = cluster.api.store().list_in::<Pod>("default");
            pods.map(|pod| pod.metadata.name().to_string()).next().unwrap()
        })
        .unwrap();
    let cluster_ip = lab
        .with("kind", |cluster| {
            let service = cluster.api.store().get::<kube_api::core::Service>("default", "web");
            service.unwrap().spec.clone().unwrap().cluster_ip.unwrap()
        })
        .unwrap();
    check(
        &ask(&world, &Place::Node("kind-worker2".into()), &cluster_ip, 80),
        expect![
            "200 nginx by nginx-7b945b68f-djvwl via kind-worker2 > kind-worker > nginx-7b945b68f-djvwl"
        ],
    );
    let pod =
        Place::Pod { cluster: "kind".into(), namespace: "default".into(), name: name.clone() };
    check(
        &ask(&world, &pod, &cluster_ip, 80),
        expect![
            "200 nginx by nginx-7b945b68f-djvwl via nginx-7b945b68f-djvwl > kind-worker > nginx-7b945b68f-djvwl"
        ],
    );
    // A Pod dies: another takes its place, elsewhere.
    let now = lab.now();
    lab.with("kind", |cluster| {
        cluster.api.delete(Pod::id(), "default", &name, DeleteOptions::default(), now).unwrap();
    });
    pass(&world, 5);
    check(
        &pods(lab),
        expect![[r#"
            nginx-7b945b68f-5nmgr 10.244.1.3 1/1 Running kind-worker
            nginx-7b945b68f-l487f 10.244.2.2 1/1 Running kind-worker2
            coredns-6d57ff9f69-mdr2j 10.244.0.2 1/1 Running kind-control-plane
            coredns-6d57ff9f69-nj624 10.244.0.3 1/1 Running kind-control-plane
            etcd-kind-control-plane 172.18.0.2 1/1 Running kind-control-plane
            kindnet-cbtmk 172.18.0.4 1/1 Running kind-worker2
            kindnet-dwd76 172.18.0.2 1/1 Running kind-control-plane
            kindnet-h845l 172.18.0.3 1/1 Running kind-worker
            kube-apiserver-kind-control-plane 172.18.0.2 1/1 Running kind-control-plane
            kube-controller-manager-kind-control-plane 172.18.0.2 1/1 Running kind-control-plane
            kube-proxy-h8f7w 172.18.0.2 1/1 Running kind-control-plane
            kube-proxy-jzs26 172.18.0.3 1/1 Running kind-worker
            kube-proxy-lbp4w 172.18.0.4 1/1 Running kind-worker2
            kube-scheduler-kind-control-plane 172.18.0.2 1/1 Running kind-control-plane
            local-path-provisioner-65d94bd548-tvsmv 10.244.0.4 1/1 Running kind-control-plane"#]],
    );
    let answers = [0; 4].map(|_| ask(&world, &me, "127.0.0.1", 30007));
    check(
        &answers.join("\n"),
        expect![[r#"
            200 nginx by nginx-7b945b68f-5nmgr via your machine > kind-control-plane > kind-worker > nginx-7b945b68f-5nmgr
            200 nginx by nginx-7b945b68f-l487f via your machine > kind-control-plane > kind-worker2 > nginx-7b945b68f-l487f
            200 nginx by nginx-7b945b68f-5nmgr via your machine > kind-control-plane > kind-worker > nginx-7b945b68f-5nmgr
            200 nginx by nginx-7b945b68f-l487f via your machine > kind-control-plane > kind-worker2 > nginx-7b945b68f-l487f"#]],
    );
    // The Service looks at labels only.
    apply(lab, HTTPD);
    pass(&world, 5);
    let answers = [0; 4].map(|_| ask(&world, &me, "127.0.0.1", 30007));
    check(
        &answers.join("\n"),
        expect![[r#"
            200 nginx by nginx-7b945b68f-5nmgr via your machine > kind-control-plane > kind-worker > nginx-7b945b68f-5nmgr
            200 apache by httpd-c7476b667-k7k5t via your machine > kind-control-plane > kind-worker > httpd-c7476b667-k7k5t
            200 nginx by nginx-7b945b68f-l487f via your machine > kind-control-plane > kind-worker2 > nginx-7b945b68f-l487f
            200 apache by httpd-c7476b667-s9pz9 via your machine > kind-control-plane > kind-worker2 > httpd-c7476b667-s9pz9"#]],
    );
    let journal: Vec<String> =
        lab.journal(|journal| journal.since(0).map(|entry| entry.to_string()).collect());
    let story = journal.iter().skip_while(|line| !line.contains("Deployment default/nginx"));
    check(
        &story.cloned().collect::<Vec<_>>().join("\n"),
        expect![[r#"
            00:01:00.000 200 object: Deployment default/nginx created
            00:01:00.000 200 object: Service default/web created
            00:01:00.003 958 rules kind-worker: 1 Service changed, 2 rules written, 1.5 ms
            00:01:00.008 645 rules kind-control-plane: 1 Service changed, 2 rules written, 1.5 ms
            00:01:00.014 528 rules kind-worker2: 1 Service changed, 2 rules written, 1.5 ms
            00:01:00.020 200 object: Pod default/nginx-7b945b68f-djvwl created
            00:01:00.020 200 object: Pod default/nginx-7b945b68f-l487f created
            00:01:00.025 200 object kind-worker: Pod default/nginx-7b945b68f-djvwl goes to kind-worker
            00:01:00.025 200 object kind-worker2: Pod default/nginx-7b945b68f-l487f goes to kind-worker2
            00:01:01.625 200 object kind-worker: Pod default/nginx-7b945b68f-djvwl is ready at 10.244.1.2
            00:01:01.625 200 object kind-worker2: Pod default/nginx-7b945b68f-l487f is ready at 10.244.2.2
            00:01:01.645 200 endpoints: default/web is served by 10.244.1.2, 10.244.2.2
            00:01:01.649 138 rules kind-worker: 2 endpoints changed, 11 rules written, 1.7 ms
            00:01:01.653 825 rules kind-control-plane: 2 endpoints changed, 11 rules written, 1.7 ms
            00:01:01.659 708 rules kind-worker2: 2 endpoints changed, 11 rules written, 1.7 ms
            00:01:05.000 200 request: #3 curl
            00:01:05.000 860 request: #3 200 from nginx-7b945b68f-djvwl
            00:01:05.000 860 request: #4 curl
            00:01:05.001 520 request: #4 200 from nginx-7b945b68f-l487f
            00:01:05.001 520 request: #5 curl
            00:01:05.002 020 request: #5 200 from nginx-7b945b68f-djvwl
            00:01:05.002 020 request: #6 curl
            00:01:05.002 520 request: #6 200 from nginx-7b945b68f-l487f
            00:01:05.002 520 request: #7 curl
            00:01:05.002 980 request: #7 200 from nginx-7b945b68f-djvwl
            00:01:05.002 980 request: #8 curl
            00:01:05.003 060 request: #8 200 from nginx-7b945b68f-djvwl
            00:01:05.003 060 object kind-worker: Pod default/nginx-7b945b68f-djvwl is asked to end
            00:01:05.013 060 object: Pod default/nginx-7b945b68f-5nmgr created
            00:01:05.018 060 object kind-worker: Pod default/nginx-7b945b68f-5nmgr goes to kind-worker
            00:01:05.023 060 endpoints: default/web is served by 10.244.2.2
            00:01:05.026 898 rules kind-worker: 1 endpoint changed, 6 rules written, 1 chain deleted, 1.6 ms
            00:01:05.031 585 rules kind-control-plane: 1 endpoint changed, 6 rules written, 1 chain deleted, 1.6 ms
            00:01:05.037 468 rules kind-worker2: 1 endpoint changed, 6 rules written, 1 chain deleted, 1.6 ms
            00:01:05.203 060 object kind-worker: Pod default/nginx-7b945b68f-djvwl is not ready any more at 10.244.1.2
            00:01:05.518 060 object kind-worker: Pod default/nginx-7b945b68f-5nmgr is ready at 10.244.1.3
            00:01:05.538 060 endpoints: default/web is served by 10.244.2.2, 10.244.1.3
            00:01:06.026 958 rules kind-worker: 2 endpoints changed, 9 rules written, 1.7 ms
            00:01:06.031 645 rules kind-control-plane: 2 endpoints changed, 9 rules written, 1.7 ms
            00:01:06.037 528 rules kind-worker2: 2 endpoints changed, 9 rules written, 1.7 ms
            00:01:06.303 060 object kind-worker: Pod default/nginx-7b945b68f-djvwl is gone
            00:01:10.003 060 request: #9 curl
            00:01:10.003 580 request: #9 200 from nginx-7b945b68f-5nmgr
            00:01:10.003 580 request: #10 curl
            00:01:10.004 080 request: #10 200 from nginx-7b945b68f-l487f
            00:01:10.004 080 request: #11 curl
            00:01:10.004 580 request: #11 200 from nginx-7b945b68f-5nmgr
            00:01:10.004 580 request: #12 curl
            00:01:10.005 080 request: #12 200 from nginx-7b945b68f-l487f
            00:01:10.005 080 object: Deployment default/httpd created
            00:01:10.025 080 object: Pod default/httpd-c7476b667-k7k5t created
            00:01:10.025 080 object: Pod default/httpd-c7476b667-s9pz9 created
            00:01:10.030 080 object kind-worker: Pod default/httpd-c7476b667-k7k5t goes to kind-worker
            00:01:10.030 080 object kind-worker2: Pod default/httpd-c7476b667-s9pz9 goes to kind-worker2
            00:01:11.630 080 object kind-worker: Pod default/httpd-c7476b667-k7k5t is ready at 10.244.1.4
            00:01:11.630 080 object kind-worker2: Pod default/httpd-c7476b667-s9pz9 is ready at 10.244.2.3
            00:01:11.650 080 endpoints: default/web is served by 10.244.2.2, 10.244.1.3, 10.244.1.4, 10.244.2.3
            00:01:11.654 098 rules kind-worker: 2 endpoints changed, 15 rules written, 1.8 ms
            00:01:11.658 785 rules kind-control-plane: 2 endpoints changed, 15 rules written, 1.8 ms
            00:01:11.664 668 rules kind-worker2: 2 endpoints changed, 15 rules written, 1.8 ms
            00:01:15.005 080 request: #13 curl
            00:01:15.005 580 request: #13 200 from nginx-7b945b68f-5nmgr
            00:01:15.005 580 request: #14 curl
            00:01:15.006 100 request: #14 200 from httpd-c7476b667-k7k5t
            00:01:15.006 100 request: #15 curl
            00:01:15.006 600 request: #15 200 from nginx-7b945b68f-l487f
            00:01:15.006 600 request: #16 curl
            00:01:15.007 120 request: #16 200 from httpd-c7476b667-s9pz9"#]],
    );
}

/// The first SYN, place by place, with the rules that matched.
#[test]
fn the_path_of_a_request() {
    let world = World::new(&Options::default());
    let lab = world.lab();
    apply(lab, NGINX);
    apply(lab, SERVICE);
    pass(&world, 5);
    ask(&world, &Place::Machine, "127.0.0.1", 30007);
    let cause = lab.requests(|requests| requests.iter().last().unwrap().cause);
    let journey = lab.journey(cause);
    let shown = RefCell::new(Vec::new());
    let say = |line: String| shown.borrow_mut().push(line);
    for packet in &journey.packets {
        say(format!("{} {} {}", packet.at, packet.kind.word(), packet.line));
        for stay in &packet.stays {
            let came = stay.came_by().unwrap_or("made here");
            let ended = match stay.ending() {
                Ending::Left(iface) => format!("leaves by {iface}"),
                Ending::Delivered => "delivered".to_string(),
                Ending::Lost(why) => format!("lost: {why}"),
                Ending::Open => "open".to_string(),
            };
            say(format!("- {} ({came}): {} rules asked, {ended}", stay.place, stay.rules_asked()));
            for matched in stay.matched() {
                let (hook, table, rule) = (matched.hook, matched.table, matched.rule);
                let (chain, number, words) = (rule.chain(), rule.number(), rule.words());
                say(format!("-- {hook} {table} {chain} {number}: {words}"));
            }
            for rewritten in stay.rewritten() {
                say(format!("-- {} becomes {}", rewritten.from, rewritten.to));
            }
        }
    }
    check(
        &shown.into_inner().join("\n"),
        expect![[r#"
            00:01:05.000 000 SYN IP 127.0.0.1.41782 > 127.0.0.1.30007: Flags [S], seq 3830826226, win 64240, options [mss 65495,wscale 0,sackOK,eol], length 0
            - your machine (made here): 2 rules asked, leaves by lo
            - your machine (lo): 0 rules asked, delivered
            00:01:05.000 010 SYN-ACK IP 127.0.0.1.30007 > 127.0.0.1.41782: Flags [S.], seq 2393950450, ack 3830826227, win 64240, options [mss 65495,wscale 0,sackOK,eol], length 0
            - your machine (made here): 0 rules asked, leaves by lo
            - your machine (lo): 0 rules asked, delivered
            00:01:05.000 020 ACK IP 127.0.0.1.41782 > 127.0.0.1.30007: Flags [.], ack 2393950451, win 64240, length 0
            - your machine (made here): 0 rules asked, leaves by lo
            - your machine (lo): 0 rules asked, delivered
            00:01:05.000 020 data IP 127.0.0.1.41782 > 127.0.0.1.30007: Flags [P.], seq 3830826227:3830826262, ack 2393950451, win 64240, length 35
            - your machine (made here): 0 rules asked, leaves by lo
            - your machine (lo): 0 rules asked, delivered
            00:01:05.000 030 SYN IP 172.18.0.1.60314 > 172.18.0.2.30007: Flags [S], seq 800096676, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            - your machine (made here): 2 rules asked, leaves by veth62fe332
            - kind-control-plane (eth0): 23 rules asked, leaves by eth0
            -- PREROUTING nat PREROUTING 1: go to KUBE-SERVICES
            -- PREROUTING nat KUBE-SERVICES 6: go to KUBE-NODEPORTS
            -- PREROUTING nat KUBE-NODEPORTS 1: go to KUBE-EXT-LOLE4ISW44XBNF3G
            -- PREROUTING nat KUBE-EXT-LOLE4ISW44XBNF3G 1: go to KUBE-MARK-MASQ
            -- PREROUTING nat KUBE-MARK-MASQ 1: mark 0x0 becomes 0x4000
            -- PREROUTING nat KUBE-EXT-LOLE4ISW44XBNF3G 2: go to KUBE-SVC-LOLE4ISW44XBNF3G
            -- PREROUTING nat KUBE-SVC-LOLE4ISW44XBNF3G 2: go to KUBE-SEP-MQ4W7Q2CV67URU6Q
            -- PREROUTING nat KUBE-SEP-MQ4W7Q2CV67URU6Q 2: DNAT to:10.244.1.2:80
            -- FORWARD filter FORWARD 1: go to KUBE-PROXY-FIREWALL
            -- FORWARD filter FORWARD 2: go to KUBE-FORWARD
            -- FORWARD filter KUBE-FORWARD 2: accepted
            -- POSTROUTING nat POSTROUTING 1: go to KUBE-POSTROUTING
            -- POSTROUTING nat KUBE-POSTROUTING 2: mark 0x4000 becomes 0x0
            -- POSTROUTING nat KUBE-POSTROUTING 3: MASQUERADE random-fully
            -- 172.18.0.2:30007 becomes 10.244.1.2:80
            -- 172.18.0.1:60314 becomes 172.18.0.2:61267
            - your machine (veth62fe332): 0 rules asked, leaves by veth91bd987
            - kind-worker (eth0): 18 rules asked, leaves by veth349bb1e2
            -- PREROUTING nat PREROUTING 1: go to KUBE-SERVICES
            -- FORWARD filter FORWARD 1: go to KUBE-PROXY-FIREWALL
            -- FORWARD filter FORWARD 2: go to KUBE-FORWARD
            -- FORWARD filter FORWARD 3: go to KUBE-SERVICES
            -- FORWARD filter FORWARD 4: go to KUBE-EXTERNAL-SERVICES
            -- POSTROUTING nat POSTROUTING 1: go to KUBE-POSTROUTING
            -- POSTROUTING nat KUBE-POSTROUTING 1: go back
            -- POSTROUTING nat POSTROUTING 2: go to KIND-MASQ-AGENT
            -- POSTROUTING nat KIND-MASQ-AGENT 1: go back
            - Pod default/nginx-7b945b68f-djvwl (eth0): 0 rules asked, delivered
            00:01:05.000 030 ARP ARP, Request who-has 172.18.0.2 tell 172.18.0.1, length 28
            - your machine (made here): 0 rules asked, leaves by veth94681d6
            - kind-control-plane (eth0): 0 rules asked, delivered
            - kind-worker (eth0): 0 rules asked, delivered
            - kind-worker2 (eth0): 0 rules asked, delivered
            00:01:05.000 030 ACK IP 127.0.0.1.30007 > 127.0.0.1.41782: Flags [.], ack 3830826262, win 64205, length 0
            - your machine (made here): 0 rules asked, leaves by lo
            - your machine (lo): 0 rules asked, delivered
            00:01:05.000 040 ARP ARP, Reply 172.18.0.2 is-at ba:c5:4f:37:49:06, length 28
            - kind-control-plane (made here): 0 rules asked, leaves by eth0
            - your machine (veth62fe332): 0 rules asked, delivered
            00:01:05.000 110 ARP ARP, Request who-has 172.18.0.3 tell 172.18.0.2, length 28
            - kind-control-plane (made here): 0 rules asked, leaves by eth0
            - your machine (veth62fe332): 0 rules asked, leaves by veth94681d6
            - your machine (br-kind): 0 rules asked, delivered
            - kind-worker (eth0): 0 rules asked, delivered
            - kind-worker2 (eth0): 0 rules asked, delivered
            00:01:05.000 180 ARP ARP, Reply 172.18.0.3 is-at f2:fc:a4:60:5b:a3, length 28
            - kind-worker (made here): 0 rules asked, leaves by eth0
            - your machine (veth91bd987): 0 rules asked, leaves by veth62fe332
            - kind-control-plane (eth0): 0 rules asked, delivered
            00:01:05.000 320 ARP ARP, Request who-has 10.244.1.2 tell 10.244.1.1, length 28
            - kind-worker (made here): 0 rules asked, leaves by veth349bb1e2
            - Pod default/nginx-7b945b68f-djvwl (eth0): 0 rules asked, delivered
            00:01:05.000 330 ARP ARP, Reply 10.244.1.2 is-at 36:35:73:43:1a:ce, length 28
            - Pod default/nginx-7b945b68f-djvwl (made here): 0 rules asked, leaves by eth0
            - kind-worker (veth349bb1e2): 0 rules asked, delivered
            00:01:05.000 350 SYN-ACK IP 10.244.1.2.80 > 172.18.0.2.61267: Flags [S.], seq 3216751047, ack 800096677, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            - Pod default/nginx-7b945b68f-djvwl (made here): 0 rules asked, leaves by eth0
            - kind-worker (veth349bb1e2): 5 rules asked, leaves by eth0
            -- FORWARD filter FORWARD 2: go to KUBE-FORWARD
            -- FORWARD filter KUBE-FORWARD 3: accepted
            - your machine (veth91bd987): 0 rules asked, leaves by veth62fe332
            - kind-control-plane (eth0): 5 rules asked, leaves by eth0
            -- FORWARD filter FORWARD 2: go to KUBE-FORWARD
            -- FORWARD filter KUBE-FORWARD 3: accepted
            -- 172.18.0.2:61267 becomes 172.18.0.1:60314
            -- 10.244.1.2:80 becomes 172.18.0.2:30007
            - your machine (veth62fe332): 0 rules asked, delivered
            00:01:05.000 490 ACK IP 172.18.0.1.60314 > 172.18.0.2.30007: Flags [.], ack 3216751048, win 64240, length 0
            - your machine (made here): 0 rules asked, leaves by veth62fe332
            - kind-control-plane (eth0): 5 rules asked, leaves by eth0
            -- FORWARD filter FORWARD 2: go to KUBE-FORWARD
            -- FORWARD filter KUBE-FORWARD 3: accepted
            -- 172.18.0.2:30007 becomes 10.244.1.2:80
            -- 172.18.0.1:60314 becomes 172.18.0.2:61267
            - your machine (veth62fe332): 0 rules asked, leaves by veth91bd987
            - kind-worker (eth0): 5 rules asked, leaves by veth349bb1e2
            -- FORWARD filter FORWARD 2: go to KUBE-FORWARD
            -- FORWARD filter KUBE-FORWARD 3: accepted
            - Pod default/nginx-7b945b68f-djvwl (eth0): 0 rules asked, delivered
            00:01:05.000 490 data IP 172.18.0.1.60314 > 172.18.0.2.30007: Flags [P.], seq 800096677:800096712, ack 3216751048, win 64240, length 35
            - your machine (made here): 0 rules asked, leaves by veth62fe332
            - kind-control-plane (eth0): 5 rules asked, leaves by eth0
            -- FORWARD filter FORWARD 2: go to KUBE-FORWARD
            -- FORWARD filter KUBE-FORWARD 3: accepted
            -- 172.18.0.2:30007 becomes 10.244.1.2:80
            -- 172.18.0.1:60314 becomes 172.18.0.2:61267
            - your machine (veth62fe332): 0 rules asked, leaves by veth91bd987
            - kind-worker (eth0): 5 rules asked, leaves by veth349bb1e2
            -- FORWARD filter FORWARD 2: go to KUBE-FORWARD
            -- FORWARD filter KUBE-FORWARD 3: accepted
            - Pod default/nginx-7b945b68f-djvwl (eth0): 0 rules asked, delivered
            00:01:05.000 580 ACK IP 10.244.1.2.80 > 172.18.0.2.61267: Flags [.], ack 800096712, win 64205, length 0
            - Pod default/nginx-7b945b68f-djvwl (made here): 0 rules asked, leaves by eth0
            - kind-worker (veth349bb1e2): 5 rules asked, leaves by eth0
            -- FORWARD filter FORWARD 2: go to KUBE-FORWARD
            -- FORWARD filter KUBE-FORWARD 3: accepted
            - your machine (veth91bd987): 0 rules asked, leaves by veth62fe332
            - kind-control-plane (eth0): 5 rules asked, leaves by eth0
            -- FORWARD filter FORWARD 2: go to KUBE-FORWARD
            -- FORWARD filter KUBE-FORWARD 3: accepted
            -- 172.18.0.2:61267 becomes 172.18.0.1:60314
            -- 10.244.1.2:80 becomes 172.18.0.2:30007
            - your machine (veth62fe332): 0 rules asked, delivered
            00:01:05.000 580 data IP 10.244.1.2.80 > 172.18.0.2.61267: Flags [P.], seq 3216751048:3216751901, ack 800096712, win 64240, length 853: HTTP: HTTP/1.1 200 OK
            - Pod default/nginx-7b945b68f-djvwl (made here): 0 rules asked, leaves by eth0
            - kind-worker (veth349bb1e2): 5 rules asked, leaves by eth0
            -- FORWARD filter FORWARD 2: go to KUBE-FORWARD
            -- FORWARD filter KUBE-FORWARD 3: accepted
            - your machine (veth91bd987): 0 rules asked, leaves by veth62fe332
            - kind-control-plane (eth0): 5 rules asked, leaves by eth0
            -- FORWARD filter FORWARD 2: go to KUBE-FORWARD
            -- FORWARD filter KUBE-FORWARD 3: accepted
            -- 172.18.0.2:61267 becomes 172.18.0.1:60314
            -- 10.244.1.2:80 becomes 172.18.0.2:30007
            - your machine (veth62fe332): 0 rules asked, delivered
            00:01:05.000 720 ACK IP 172.18.0.1.60314 > 172.18.0.2.30007: Flags [.], ack 3216751901, win 63387, length 0
            - your machine (made here): 0 rules asked, leaves by veth62fe332
            - kind-control-plane (eth0): 5 rules asked, leaves by eth0
            -- FORWARD filter FORWARD 2: go to KUBE-FORWARD
            -- FORWARD filter KUBE-FORWARD 3: accepted
            -- 172.18.0.2:30007 becomes 10.244.1.2:80
            -- 172.18.0.1:60314 becomes 172.18.0.2:61267
            00:01:05.000 720 data IP 127.0.0.1.30007 > 127.0.0.1.41782: Flags [P.], seq 2393950451:2393951304, ack 3830826262, win 64240, length 853
            - your machine (made here): 0 rules asked, leaves by lo
            - your machine (lo): 0 rules asked, delivered
            00:01:05.000 730 ACK IP 127.0.0.1.41782 > 127.0.0.1.30007: Flags [.], ack 2393951304, win 63387, length 0
            - your machine (made here): 0 rules asked, leaves by lo
            00:01:05.000 730 FIN IP 127.0.0.1.41782 > 127.0.0.1.30007: Flags [F.], seq 3830826262, ack 2393951304, win 64240, length 0
            - your machine (made here): 0 rules asked, leaves by lo"#]],
    );
}

#[test]
fn one_seed_one_story() {
    let tell = |seed: u64| {
        let world = World::new(&Options { seed, ..Options::default() });
        apply(world.lab(), NGINX);
        apply(world.lab(), SERVICE);
        pass(&world, 5);
        ask(&world, &Place::Machine, "127.0.0.1", 30007);
        world.lab().journal(|journal| journal.fingerprint())
    };
    assert_eq!(tell(1), tell(1));
    assert_ne!(tell(1), tell(2));
}
