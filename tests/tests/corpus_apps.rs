//! Applications that people really run, from the shared corpus: every Service's port reaches the Pods that it
//! should, by real connections from another Pod to its name, and whoever calls somebody can.
//!
//! Without the corpus beside the repository it says so and is skipped.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it says what it has found")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use base::{Duration, Instant};
use kube_api::MetaExt;
use kube_api::core::{Pod, Service};
use lab::{Options, Place, World};
use netsim::exec::timeout;
use netsim::{Cause, Host, TcpStream};
use serde_json::Value;
use shell::script::{PlayOptions, play};
use shell::{Files, MemoryFiles, Shell, Transcript};

/// How long an application has.
const SETTLES: Duration = Duration::from_secs(90);
/// How long a connection may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Files whose Pods want volumes that nobody provides in a cluster of kind: they wait there, too.
const WITHOUT_VOLUMES: [&str; 4] = [
    "vsphere/simple-statefulset.yaml",
    "statefulset.md.d/block01.yaml",
    "application/mysql/mysql-deployment.yaml",
    "flocker/flocker-pod-with-rc.yml",
];

/// Files that do not work here, and why; when one starts to work, it is to be taken from here.
const KNOWN: [(&str, &str); 2] = [
    ("cockroachdb/cockroachdb-statefulset.yaml", "the shell of its container has no arrays"),
    (
        "mtls-echo/mtls-echo.yaml",
        "its container mounts a volume it does not name, which is refused",
    ),
];

/// The Pod that asks.
const CLIENT: &str = "podwire-client";

fn corpus() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    if root.join("expect.jsonl").exists() {
        return Some(root);
    }
    eprintln!("skipped: there is no corpus at {}", root.display());
    None
}

fn rows(root: &Path, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(root.join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(row: &Value, name: &str) -> Option<u16> {
    row.get(name).and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok())
}

/// A default cluster with these files applied, and a Pod that asks.
struct App {
    world: World,
    said: String,
}

impl App {
    fn new(root: &Path, files: &[&str], namespaces: &BTreeSet<&str>, workers: usize) -> App {
        let memory = MemoryFiles::default();
        let mut script = format!("kubectl run {CLIENT} --image=nicolaka/netshoot -- sleep 1d\n");
        for namespace in namespaces {
            script.push_str(&format!("kubectl create namespace {namespace}\n"));
        }
        for (at, file) in files.iter().enumerate() {
            let content = fs::read(root.join(file)).unwrap();
            let name = format!("{}/{at}.yaml", memory.home());
            memory.write(&name, &content).unwrap();
            script.push_str(&format!("kubectl apply -f {at}.yaml\n"));
        }
        let mut options = Options::default();
        if let Some(nodes) = options.cluster.as_mut().map(|cluster| &mut cluster.nodes) {
            nodes.extend(nodes.last().cloned());
            nodes.truncate(workers + 1);
        }
        let world = World::new(&options);
        let terminal = Rc::new(Transcript::default());
        let files = Rc::new(memory);
        let shell = Shell::new(world.lab(), files.clone(), terminal.clone());
        let options = PlayOptions { keep_going: true, quiet: false };
        play(&world, &shell, &script, options);
        let mut app = App { world, said: String::new() };
        app.world.advance(app.world.lab().now() + Duration::from_secs(1), u32::MAX);
        files.write(&format!("{}/supplies.yaml", files.home()), app.supplies().as_bytes()).unwrap();
        play(&app.world, &shell, "kubectl create -f supplies.yaml\n", options);
        app.world.advance(app.world.lab().now() + SETTLES, u32::MAX);
        app.said = terminal.take();
        app
    }

    /// The Secrets and ConfigMaps that Pods refer to, which whoever applies these files has made before. Those
    /// that are there already stay as they are.
    fn supplies(&self) -> String {
        let mut wanted: BTreeMap<(String, &str, String), BTreeSet<String>> = BTreeMap::new();
        let pods = |cluster: &mut lab::cluster::Cluster| -> Vec<Rc<Pod>> {
            cluster.api.store().list::<Pod>().cloned().collect()
        };
        for pod in self.world.lab().with("kind", pods).unwrap() {
            let namespace = pod.metadata.namespace().to_string();
            if namespace != "kube-system" {
                let pod = kube_api::types::to_value(&*pod);
                references(&namespace, &pod, &mut wanted);
            }
        }
        let mut manifest = String::new();
        for ((namespace, kind, name), keys) in wanted {
            // "value", in base64 where it is a secret.
            let (of, value) =
                if kind == "Secret" { ("cG9k", "dmFsdWU=") } else { ("pod", "value") };
            let keys: String = keys.iter().map(|key| format!("  {key}: {value}\n")).collect();
            manifest.push_str(&format!(
                "---\napiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata:\n  of: {of}\n{keys}"
            ));
        }
        manifest
    }

    /// The Pods of a namespace and their addresses.
    fn pods(&self, namespace: &str) -> Vec<Rc<Pod>> {
        let pods = |cluster: &mut lab::cluster::Cluster| {
            cluster.api.store().list_in::<Pod>(namespace).cloned().collect()
        };
        self.world.lab().with("kind", pods).unwrap()
    }

    fn place(&self, pod: &Pod) -> Place {
        match pod.spec.as_ref().unwrap().host_network {
            Some(true) => {
                Place::Node(controllers::pods::node_name(pod).unwrap_or_default().to_string())
            }
            _ => Place::Pod {
                cluster: "kind".into(),
                namespace: pod.metadata.namespace().into(),
                name: pod.metadata.name().into(),
            },
        }
    }

    /// Runs a program in a Pod, with its resolver.
    fn run<T: 'static, F: Future<Output = T> + 'static>(
        &self,
        pod: &Pod,
        program: impl FnOnce(Host, programs::dns::Resolver) -> F,
    ) -> Option<T> {
        let lab = self.world.lab();
        let container = pod.spec.as_ref()?.containers.first()?.name.clone();
        let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
        let runs = lab.with("kind", |cluster| cluster.container(namespace, name, &container))?;
        let resolver = runs?.resolver();
        let result = Rc::new(RefCell::new(None));
        let slot = result.clone();
        let process = lab.start(&self.place(pod), "client", |host| {
            let running = program(host, resolver);
            async move {
                *slot.borrow_mut() = Some(running.await);
                0
            }
        })?;
        let end: Instant = lab.now() + Duration::from_secs(600);
        while process.exit_code().is_none() && self.world.step(end) {}
        result.take()
    }

    /// The Pods that connections to a Service's name and port have reached, and the name's addresses.
    fn reached(&self, service: &str, namespace: &str, port: u16, count: usize) -> Reached {
        let client = self.pods("default").into_iter().find(|p| p.metadata.name() == CLIENT);
        let client = client.unwrap();
        let name = format!("{service}.{namespace}");
        let lab = self.world.lab().clone();
        let place = self.place(&client);
        let found = self.run(&client, move |host, resolver| async move {
            let addrs = resolver.addresses(&host, &name).await.unwrap_or_default();
            let (mut streams, mut causes): (Vec<TcpStream>, Vec<Cause>) = (Vec::new(), Vec::new());
            for at in 0..count {
                let Some(addr) = addrs.get(at % addrs.len().max(1)) else { break };
                let to = SocketAddrV4::new(*addr, port);
                let cause = lab.begin_request(&place, &to.to_string(), "connect");
                host.set_cause(cause);
                causes.push(cause);
                if let Some(Ok(stream)) = timeout(host.sleep(LIMIT), host.connect(to)).await {
                    streams.push(stream);
                }
            }
            (addrs, streams, causes)
        });
        let (addrs, streams, causes) = found.unwrap();
        // A Pod in which nobody listens is reached, too: it is the one that refuses.
        let pod = |cause: &Cause| match self.world.lab().journey(*cause).pod() {
            Some(Place::Pod { name, .. }) => Some(name.clone()),
            _ => None,
        };
        let pods = causes.iter().filter_map(pod).collect();
        Reached { pods, addrs, connected: streams.len() }
    }

    fn port_of(&self, service: &str, namespace: &str) -> Option<u16> {
        let find = |cluster: &mut lab::cluster::Cluster| {
            let service = cluster.api.store().get::<Service>(namespace, service)?.clone();
            let port = service.spec.as_ref()?.ports.as_ref()?.first()?.port;
            u16::try_from(port).ok()
        };
        self.world.lab().with("kind", find).flatten()
    }
}

/// The Secrets and ConfigMaps that a part of a Pod refers to, and their keys.
fn references(
    namespace: &str,
    part: &Value,
    wanted: &mut BTreeMap<(String, &'static str, String), BTreeSet<String>>,
) {
    for (name, inner) in part.as_object().into_iter().flatten() {
        let (kind, field) = match name.as_str() {
            "secretKeyRef" | "secretRef" => ("Secret", "name"),
            "secret" => ("Secret", "secretName"),
            "configMapKeyRef" | "configMapRef" | "configMap" => ("ConfigMap", "name"),
            _ => {
                references(namespace, inner, wanted);
                continue;
            }
        };
        let Some(referred) = inner.get(field).and_then(Value::as_str) else { continue };
        let keys = wanted.entry((namespace.to_string(), kind, referred.to_string())).or_default();
        let items = inner.get("items").and_then(Value::as_array).into_iter().flatten();
        let items = items.chain([inner]).filter_map(|item| item.get("key")?.as_str());
        keys.extend(items.map(str::to_string));
    }
    for inner in part.as_array().into_iter().flatten() {
        references(namespace, inner, wanted);
    }
}

struct Reached {
    pods: BTreeSet<String>,
    addrs: Vec<Ipv4Addr>,
    connected: usize,
}

/// What is wrong with a Service's port, if anything.
fn wrong(app: &App, row: &Value) -> Option<String> {
    let (service, namespace) = (text(row, "service"), text(row, "namespace"));
    let port = number(row, "port")?;
    let expected = row.get("expectedBackends").and_then(Value::as_u64)? as usize;
    let reached = app.reached(service, namespace, port, (3 * expected).max(1));
    let is_headless = row.get("headless").and_then(Value::as_bool) == Some(true);
    let what = format!("{namespace}/{service}:{port}");
    if is_headless && reached.addrs.len() != expected {
        return Some(format!("{what}: {} addresses, not {expected}", reached.addrs.len()));
    }
    if reached.pods.len() == expected {
        return None;
    }
    Some(format!(
        "{what}: {} Pods reached {:?}, not {expected}; {} of {} connections to {:?}",
        reached.pods.len(),
        reached.pods,
        reached.connected,
        3 * expected,
        reached.addrs,
    ))
}

/// What is wrong with a call from a workload to a Service, if anything.
fn broken(app: &App, row: &Value) -> Option<String> {
    let (to, to_namespace) = (text(row, "toService").to_string(), text(row, "toNamespace"));
    let (_, from) = text(row, "from").split_once('/')?;
    let from_namespace = text(row, "fromNamespace");
    let what = format!("{from} > {to}");
    let port = number(row, "port").or_else(|| app.port_of(&to, to_namespace));
    let Some(port) = port else { return Some(format!("{what}: no port")) };
    let prefix = format!("{from}-");
    let pods = app.pods(from_namespace);
    let pod = pods.iter().find(|pod| pod.metadata.name().starts_with(&prefix));
    let Some(pod) = pod else { return Some(format!("{what}: no Pod")) };
    let name = if from_namespace == to_namespace { to } else { format!("{to}.{to_namespace}") };
    let connected = app.run(pod, move |host, resolver| async move {
        let addrs = resolver.addresses(&host, &name).await.map_err(|error| error.to_string())?;
        let addr = addrs.first().ok_or("no address")?;
        let connecting = host.connect(SocketAddrV4::new(*addr, port));
        match timeout(host.sleep(LIMIT), connecting).await {
            Some(connected) => connected.map(drop).map_err(|error| error.to_string()),
            None => Err("timed out".to_string()),
        }
    });
    match connected {
        Some(Ok(())) => None,
        Some(Err(why)) => Some(format!("{what}:{port}: {why}")),
        None => Some(format!("{what}: its container does not run")),
    }
}

#[test]
fn applications_reach_each_other() {
    let Some(root) = corpus() else { return };
    let mut apps: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows(&root, "expect.jsonl") {
        apps.entry(text(&row, "app").to_string()).or_default().push(row);
    }
    let edges = rows(&root, "edges.jsonl");
    let (mut ports, mut calls, mut failures) = (0, 0, Vec::new());
    for (name, services) in &apps {
        let files: Vec<&str> = services
            .first()
            .and_then(|row| row.get("apply")?.as_array())
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let app = {
            // Three Pods that do not want to be together.
            let workers = if name.starts_with("zookeeper") { 3 } else { 2 };
            App::new(&root, &files, &BTreeSet::new(), workers)
        };
        let before = failures.len();
        for row in services {
            ports += 1;
            failures.extend(wrong(&app, row).map(|why| format!("{name}: {why}")));
        }
        for row in edges.iter().filter(|row| text(row, "app") == name) {
            calls += 1;
            failures.extend(broken(&app, row).map(|why| format!("{name}: {why}")));
        }
        if failures.len() > before {
            println!("---- {name}\n{}", app.said);
        }
    }
    println!(
        "{} applications, {ports} ports, {calls} calls; wrong: {}",
        apps.len(),
        failures.len()
    );
    failures.iter().for_each(|why| println!("  {why}"));
    assert!(failures.is_empty(), "{} of {} are wrong", failures.len(), ports + calls);
}

#[test]
fn services_of_single_files_reach_their_pods() {
    let Some(root) = corpus() else { return };
    let mut files: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows(&root, "expect-single-file.jsonl") {
        files.entry(text(&row, "file").to_string()).or_default().push(row);
    }
    let (mut ports, mut skipped, mut failures) = (0, 0, Vec::new());
    for (file, services) in &files {
        // Files that are to be applied into a namespace say so elsewhere.
        let namespaces = services.iter().map(|row| text(row, "namespace"));
        let namespaces = namespaces.filter(|name| *name != "default").collect();
        let content = fs::read_to_string(root.join(file)).unwrap_or_default();
        // This cluster has one family of addresses, and refuses what wants two.
        let is_refused = content.contains("RequireDualStack") || content.contains("- IPv6");
        if is_refused || WITHOUT_VOLUMES.iter().any(|known| file.contains(known)) {
            skipped += services.len();
            continue;
        }
        let workers = if content.contains("zk-hs") { 3 } else { 2 };
        let app = App::new(&root, &[file], &namespaces, workers);
        let rows = services.iter().filter(|row| text(row, "protocol") == "TCP");
        let found: Vec<String> =
            rows.inspect(|_| ports += 1).filter_map(|row| wrong(&app, row)).collect();
        match KNOWN.iter().find(|(known, _)| file.contains(known)) {
            Some((_, why)) if found.is_empty() => {
                failures.push(format!("{file} works, though {why}"))
            }
            Some(_) => skipped += services.len(),
            None => failures.extend(found.into_iter().map(|why| format!("{file}: {why}"))),
        }
    }
    println!("{} files, {ports} ports, {skipped} skipped; wrong: {}", files.len(), failures.len());
    failures.iter().for_each(|why| println!("  {why}"));
    assert!(failures.is_empty(), "{} of {ports} are wrong", failures.len());
}
