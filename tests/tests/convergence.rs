//! Whatever was done to a cluster, it ends in one state: objects, Pods, addresses, slices, rules and what
//! answers agree; and when everything has been deleted, nothing is left.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::rc::Rc;

use base::Duration;
use base::tree::BTreeMap;
use kube_api::apps::Deployment;
use kube_api::core::{Pod, Service};
use kube_api::discovery::EndpointSlice;
use kube_api::labels::Selector;
use kube_api::{Api, MetaExt};
use lab::{Options, World};
use proptest::prelude::*;
use shell::{MemoryFiles, Shell, Transcript};

const APPS: [&str; 3] = ["web", "api", "db"];

/// Something a person does.
#[derive(Clone, Debug)]
enum Act {
    Deploy {
        app: &'static str,
        image: &'static str,
        replicas: u8,
    },
    Serve {
        app: &'static str,
        kind: &'static str,
        port: u16,
        target: &'static str,
    },
    /// Types a line.
    Type(String),
    Pass(u16),
}

fn act() -> impl Strategy<Value = Act> {
    let app = || prop::sample::select(APPS.to_vec());
    let image = prop::sample::select(vec!["nginx", "httpd", "nginx:nope", "lab/crash"]);
    let kind = prop::sample::select(vec!["ClusterIP", "NodePort", "None"]);
    let target = prop::sample::select(vec!["80", "http", "8080"]);
    let line = prop::sample::select(vec![
        "kubectl scale deployment APP --replicas=0",
        "kubectl scale deployment APP --replicas=3",
        "kubectl rollout restart deployment APP",
        "kubectl delete pod -l app=APP --wait=false",
        "kubectl delete pod -l app=APP --grace-period=1",
        "kubectl delete deployment APP --wait=false",
        "kubectl delete deployment APP",
        "kubectl delete service APP",
        "kubectl label pods -l app=APP app=other --overwrite",
        "kubectl label pods -l app=other app=APP --overwrite",
        "kubectl cordon kind-worker",
        "kubectl uncordon kind-worker",
        "kubectl drain kind-worker2 --ignore-daemonsets --delete-emptydir-data --force",
        "kubectl uncordon kind-worker2",
        "lab fault kube-proxy-stop kind-worker",
        "lab heal kube-proxy-stop kind-worker",
        "lab set load-balancing random",
        "lab set load-balancing round-robin",
        "docker exec kind-worker2 curl -s -m 1 APP",
        "kubectl apply -f set.yml",
        "kubectl scale statefulset stateful --replicas=0",
        "kubectl delete statefulset stateful --cascade=orphan",
        "kubectl delete pod stateful-0 --wait=false",
        "kubectl apply -f daemons.yml",
        "kubectl delete daemonset daemons",
        "kubectl apply -f job.yml",
        "kubectl delete job job --cascade=foreground --wait=false",
        "kubectl apply -f policy.yml",
        "kubectl delete networkpolicy deny",
        "kubectl apply -f budget.yml",
        "kubectl rollout undo deployment APP",
        "kubectl set image deployment APP main=httpd",
        "kubectl patch service APP -p '{\"spec\": {\"type\": \"NodePort\"}}'",
        "kubectl taint node kind-worker2 key=value:NoExecute",
        "kubectl taint node kind-worker2 key-",
        "lab fault node-down kind-worker2",
        "lab heal node-down kind-worker2",
        "lab fault node-cut kind-worker",
        "lab fault kubelet-stop kind-worker2",
        "kubectl create namespace other",
        "kubectl -n other create deployment there --image=nginx",
        "kubectl delete namespace other --wait=false",
        "kubectl exec deployment/APP -- sh -c 'wget -qO- web'",
    ]);
    prop_oneof![
        3 => (app(), image, 0..4u8).prop_map(|(app, image, replicas)| Act::Deploy { app, image, replicas }),
        2 => (app(), kind, prop::sample::select(vec![80, 8080]), target)
            .prop_map(|(app, kind, port, target)| Act::Serve { app, kind, port, target }),
        6 => (app(), line).prop_map(|(app, line)| Act::Type(line.replace("APP", app))),
        2 => (1..20_000u16).prop_map(Act::Pass),
    ]
}

fn deployment(app: &str, image: &str, replicas: u8) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {app}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{deploy: {app}}}}}
  template:
    metadata: {{labels: {{deploy: {app}, app: {app}}}}}
    spec:
      containers:
      - {{name: main, image: \"{image}\", ports: [{{name: http, containerPort: 80}}]}}
"
    )
}

fn service(app: &str, kind: &str, port: u16, target: &str) -> String {
    let addressing = match kind {
        "None" => "clusterIP: None".to_string(),
        kind => format!("type: {kind}"),
    };
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {app}}}
spec:
  {addressing}
  selector: {{app: {app}}}
  ports: [{{port: {port}, targetPort: {target}}}]
"
    )
}

const FILES: [(&str, &str); 5] = [
    (
        "set.yml",
        "apiVersion: apps/v1
kind: StatefulSet
metadata: {name: stateful}
spec:
  replicas: 3
  serviceName: stateful
  selector: {matchLabels: {set: stateful}}
  template:
    metadata: {labels: {set: stateful, app: db}}
    spec: {containers: [{name: main, image: nginx, ports: [{name: http, containerPort: 80}]}]}
",
    ),
    (
        "daemons.yml",
        "apiVersion: apps/v1
kind: DaemonSet
metadata: {name: daemons}
spec:
  selector: {matchLabels: {set: daemons}}
  template:
    metadata: {labels: {set: daemons}}
    spec: {containers: [{name: main, image: httpd}]}
",
    ),
    (
        "job.yml",
        "apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec:
  completions: 3
  parallelism: 2
  template:
    spec: {restartPolicy: Never, containers: [{name: main, image: busybox, command: [sleep, '5']}]}
",
    ),
    (
        "policy.yml",
        "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {matchLabels: {app: nobody}}}
",
    ),
    (
        "budget.yml",
        "apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: budget}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
",
    ),
];

/// A world and somebody at its keyboard.
struct Bench {
    world: World,
    shell: Shell,
    screen: Rc<Transcript>,
    files: Rc<MemoryFiles>,
}

impl Bench {
    fn new(seed: u64) -> Bench {
        let world = World::new(&Options { seed, ..Options::default() });
        let (screen, files) = (Rc::new(Transcript::default()), Rc::new(MemoryFiles::default()));
        let shell = Shell::new(world.lab(), files.clone(), screen.clone());
        for (name, text) in FILES {
            use shell::Files;
            files.write(&format!("{}/{name}", files.home()), text.as_bytes()).unwrap();
        }
        let bench = Bench { world, shell, screen, files };
        bench.pass(30_000);
        bench
    }

    fn pass(&self, millis: u64) {
        let until = self.world.lab().now() + Duration::from_millis(millis);
        self.world.advance(until, u32::MAX);
    }

    /// Types a line and waits for its end, a minute at most; gives what it printed.
    fn run(&self, line: &str) -> String {
        self.screen.take();
        let process = self.shell.start(line).unwrap();
        for _ in 0..600 {
            if process.exit_code().is_some() {
                break;
            }
            self.pass(100);
        }
        process.kill();
        self.screen.take()
    }

    fn apply(&self, text: &str) {
        use shell::Files;
        self.files.write(&format!("{}/m.yml", self.files.home()), text.as_bytes()).unwrap();
        self.run("kubectl apply -f m.yml");
    }

    fn act(&self, act: &Act) {
        match act {
            Act::Deploy { app, image, replicas } => self.apply(&deployment(app, image, *replicas)),
            // A Service cannot lose its address by being applied, so it is made anew.
            Act::Serve { app, kind, port, target } => {
                self.run(&format!("kubectl delete service {app}"));
                self.apply(&service(app, kind, *port, target));
            }
            Act::Type(line) => drop(self.run(line)),
            Act::Pass(millis) => self.pass(u64::from(*millis)),
        }
    }

    /// Puts right what is broken on purpose, and waits until everything has come to rest.
    fn settle(&self) {
        for line in [
            "lab heal kube-proxy-stop kind-worker",
            "lab heal node-down kind-worker2",
            "lab heal node-cut kind-worker",
            "lab heal kubelet-stop kind-worker2",
            "kubectl taint node kind-worker2 key-",
            "kubectl uncordon kind-worker",
            "kubectl uncordon kind-worker2",
            // Pods that no Deployment knows any more would be in nobody's plan.
            "kubectl delete pod -l app=other --wait=false",
        ] {
            self.run(line);
        }
        self.pass(400_000);
    }

    fn with<R>(&self, look: impl FnOnce(&Api) -> R) -> R {
        self.world.lab().with("kind", |cluster| look(&cluster.api)).unwrap()
    }
}

fn is_ready(pod: &Pod) -> bool {
    controllers::pods::is_ready(pod) && !pod.metadata.is_terminating()
}

fn pods(api: &Api, labels: &BTreeMap<String, String>) -> Vec<Rc<Pod>> {
    let selector = Selector::of_labels(labels);
    let all = api.store().list_in::<Pod>("default");
    all.filter(|pod| selector.matches(pod.metadata.labels.as_ref())).cloned().collect()
}

/// Deployments have their Pods, no more and no less.
fn check_deployments(api: &Api) {
    for deployment in api.store().list_in::<Deployment>("default") {
        let spec = deployment.spec.as_ref().unwrap();
        let container = &spec.template.spec.as_ref().unwrap().containers[0];
        let can_run = ["nginx", "httpd"].contains(&container.image.as_deref().unwrap());
        let labels =
            BTreeMap::from([("deploy".to_string(), deployment.metadata.name().to_string())]);
        let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap();
        let found = pods(api, &labels);
        let states: Vec<String> = found
            .iter()
            .map(|pod| format!("{} {:?}", pod.metadata.name(), pod.status.as_ref().unwrap().phase))
            .collect();
        if can_run {
            assert_eq!(found.len(), wanted, "{}: {states:?}", deployment.metadata.name());
            assert!(found.iter().all(|pod| is_ready(pod)), "{states:?}");
        }
    }
}

/// No address is used twice; the address a Pod reports is the one its namespace has; no namespace is
/// left of a Pod that is gone.
fn check_addresses(bench: &Bench) {
    let mut addresses = BTreeMap::new();
    let mut namespaces = BTreeSet::new();
    let own: Vec<Rc<Pod>> = bench.with(|api| {
        // One that has ended still says which address it had.
        let is_own = |pod: &&Rc<Pod>| {
            pod.spec.as_ref().unwrap().host_network != Some(true)
                && !controllers::pods::has_ended(pod)
        };
        api.store().list::<Pod>().filter(is_own).cloned().collect()
    });
    for pod in own {
        let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
        let ns = bench.world.lab().with("kind", |cluster| cluster.pod_ns(namespace, name)).unwrap();
        namespaces.extend(ns);
        let Some(ip) = pod.status.as_ref().and_then(|status| status.pod_ip.clone()) else {
            continue;
        };
        let other = addresses.insert(ip.clone(), name.to_string());
        assert_eq!(other, None, "{ip} is {name}'s too");
        let interfaces = bench.world.lab().net().ifaces(ns.unwrap());
        let has =
            interfaces.iter().flat_map(|iface| &iface.addrs).any(|a| a.addr.to_string() == ip);
        assert!(has, "{name} says {ip}, its namespace does not");
    }
    let all = bench.world.lab().net().namespaces();
    let lost: Vec<&String> = all
        .iter()
        .filter(|(name, ns)| {
            name.starts_with("kind/") && name.contains("pod") && !namespaces.contains(ns)
        })
        .map(|(name, _)| name)
        .collect();
    assert!(lost.is_empty(), "namespaces without a Pod: {lost:?}");
}

/// What a Service's slices say, what its Pods say, and what is in the rules of every node.
fn check_services(bench: &Bench) -> Vec<(String, String, u16, bool)> {
    let mut destinations = BTreeSet::new();
    let mut to_ask = Vec::new();
    bench.with(|api| {
        for service in api.store().list::<Service>() {
            let spec = service.spec.as_ref().unwrap();
            let (namespace, name) = (service.metadata.namespace(), service.metadata.name());
            let of_service = |slice: &&Rc<EndpointSlice>| {
                slice.metadata.label("kubernetes.io/service-name") == Some(name)
            };
            let slices: Vec<_> =
                api.store().list_in::<EndpointSlice>(namespace).filter(of_service).collect();
            let mut ready = BTreeSet::new();
            for slice in &slices {
                for endpoint in &slice.endpoints {
                    if endpoint.conditions.as_ref().is_none_or(|c| c.ready == Some(true)) {
                        let ports = slice.ports.iter().flatten().filter_map(|port| port.port);
                        ready.extend(ports.map(|port| format!("{}:{port}", endpoint.addresses[0])));
                    }
                }
            }
            if namespace == "default"
                && let Some(labels) = &spec.selector
            {
                let port = &spec.ports.as_ref().unwrap()[0];
                let expected: BTreeSet<String> = pods(api, labels)
                    .iter()
                    .filter(|pod| is_ready(pod))
                    .filter_map(|pod| {
                        let number = controllers::endpointslice::find_port(pod, port)?;
                        Some(format!("{}:{number}", controllers::pods::address(pod)?))
                    })
                    .collect();
                assert_eq!(ready, expected, "slices of {name} and its Pods");
            }
            let ip = spec.cluster_ip.clone().unwrap_or_default();
            if ip != "None" {
                if namespace == "default" && name != "kubernetes" {
                    let port = &spec.ports.as_ref().unwrap()[0];
                    let answers = ready.iter().any(|addr| addr.ends_with(":80"));
                    to_ask.push((name.to_string(), ip, u16::try_from(port.port).unwrap(), answers));
                }
                destinations.extend(ready);
            }
        }
    });
    for node in ["kind-control-plane", "kind-worker", "kind-worker2"] {
        let rules = bench.run(&format!("docker exec {node} iptables-save -t nat"));
        let found: BTreeSet<String> = rules
            .lines()
            .filter(|line| line.starts_with("-A KUBE-SEP"))
            .filter_map(|line| Some(line.split_once("--to-destination ")?.1.trim().to_string()))
            .collect();
        assert_eq!(found, destinations, "rules of {node} and slices");
    }
    to_ask
}

fn check(bench: &Bench) {
    bench.with(check_deployments);
    check_addresses(bench);
    for (name, ip, port, answers) in check_services(bench) {
        for node in ["kind-control-plane", "kind-worker"] {
            let url = format!("http://{ip}:{port}/");
            let code = bench.run(&format!(
                "docker exec {node} curl -s -m 5 -o /dev/null -w '%{{http_code}}' {url}; echo \" $?\""
            ));
            let expected = if answers { "200 0\n" } else { "000 7\n" };
            assert_eq!(code, expected, "{name} from {node}");
        }
    }
}

/// What is there besides the objects: namespaces, interfaces and routes, rules without counters.
fn belongings(bench: &Bench) -> BTreeSet<String> {
    let net = bench.world.lab().net();
    let mut lines = BTreeSet::new();
    for (name, ns) in net.namespaces() {
        lines.insert(name.clone());
        let interfaces = net.ifaces(ns).into_iter();
        lines.extend(interfaces.map(|iface| format!("{name}: {} {:?}", iface.name, iface.addrs)));
        lines.extend(net.routes(ns).into_iter().map(|route| format!("{name}: {route:?}")));
    }
    for node in ["kind-control-plane", "kind-worker", "kind-worker2"] {
        let rules = bench.run(&format!("docker exec {node} iptables-save"));
        let plain = rules.lines().filter(|line| !line.starts_with('#'));
        lines.extend(plain.map(|line| format!("{node}: {}", line.split(" [").next().unwrap())));
    }
    lines
}

fn objects(bench: &Bench) -> BTreeSet<String> {
    bench.with(|api| {
        let kinds = api.store().kinds().all();
        let kinds = kinds.iter().filter(|kind| kind.plural != "events");
        kinds
            .flat_map(|kind| api.store().list_any(kind.id).map(|o| (kind.plural.clone(), o)))
            .map(|(plural, object)| format!("{plural} {}/{}", object.namespace(), object.name()))
            .collect()
    })
}

/// What is missing and what is too much.
fn difference(before: &BTreeSet<String>, after: &BTreeSet<String>) -> String {
    let lost = before.difference(after).map(|line| format!("- {line}\n"));
    lost.chain(after.difference(before).map(|line| format!("+ {line}\n"))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_cluster_comes_to_rest_and_everything_agrees(
        seed in 0..1_000u64,
        acts in prop::collection::vec(act(), 1..14),
    ) {
        let bench = Bench::new(seed);
        bench.pass(60_000);
        let (before, objects_before) = (belongings(&bench), objects(&bench));
        acts.iter().for_each(|act| bench.act(act));
        bench.settle();
        check(&bench);
        bench.run("kubectl delete deployments,replicasets,statefulsets,daemonsets,jobs,pods --all --wait=false");
        bench.run("kubectl delete networkpolicies,poddisruptionbudgets --all");
        bench.run("kubectl delete namespace other --wait=false");
        bench.run("kubectl delete controllerrevisions --all");
        bench.run("kubectl delete services web api db");
        bench.run("lab set load-balancing round-robin");
        bench.pass(200_000);
        prop_assert_eq!(difference(&objects_before, &objects(&bench)), "");
        prop_assert_eq!(difference(&before, &belongings(&bench)), "");
    }
}

/// More of them with `PODWIRE_CASES`.
fn cases() -> u32 {
    std::env::var("PODWIRE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}
