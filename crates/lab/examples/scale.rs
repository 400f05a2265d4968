//! How long a Deployment of many Pods takes, from its creation to all of them ready and from its deletion to all of
//! them gone, and how much memory each Pod takes. Where other programs run too, the time of the processor
//! says more than the clock on the wall.
//!
//! ```sh
//! cargo run --release -p lab --example scale              # what docs/benchmarks.md shows
//! cargo run --release -p lab --example scale -- 1000 1000x50 1000x50s
//! ```
//!
//! Each word is a measurement in a fresh lab: the number of Pods, the number of workers (one for every hundred Pods
//! where nothing is said), and `s` when a Service is to select them all.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that prints what it measured"
)]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "it reads the clock")]

use std::process::Command;
use std::time::Instant as Wall;

use base::{Duration, Instant};
use controllers::pods;
use kube_api::apps::Deployment;
use kube_api::core::Pod;
use kube_api::{Kind, from_value};
use lab::kind::{KindConfig, NodeConfig, Role};
use lab::{Options, World};
use serde_json::json;

/// What is measured when nothing is said.
const ALL: [&str; 7] = ["100", "300", "1000", "5000", "300x3s", "1000x10s", "1000x50s"];

/// One measurement.
struct Size {
    pods: u32,
    workers: usize,
    with_service: bool,
}

impl Size {
    fn parse(word: &str) -> Size {
        let plain = word.strip_suffix('s');
        let (pods, workers) = match plain.unwrap_or(word).split_once('x') {
            Some((pods, workers)) => (pods.parse().unwrap(), workers.parse().ok()),
            None => (plain.unwrap_or(word).parse::<u32>().unwrap(), None),
        };
        let workers = workers.unwrap_or((pods as usize).div_ceil(100));
        Size { pods, workers, with_service: plain.is_some() }
    }
}

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if let [row, word] = words.as_slice()
        && row == "row"
    {
        return measure(&Size::parse(word));
    }
    if words.is_empty() {
        words = ALL.map(str::to_string).to_vec();
    }
    println!(
        "{:>6} {:>7} {:>7} {:>9} {:>9} {:>7} {:>9} {:>7} {:>11} {:>7}",
        "Pods",
        "workers",
        "Service",
        "ready ms",
        "cpu ms",
        "µs/Pod",
        "virtual s",
        "kB/Pod",
        "gone cpu ms",
        "µs/Pod"
    );
    for word in words {
        // A process of its own: what an earlier lab has given back would count as no memory at all.
        let own = std::env::current_exe().unwrap();
        assert!(Command::new(own).args(["row", &word]).status().unwrap().success());
    }
}

/// Time that this process has had the processor for, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos: u64 = stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
    nanos as f64 / 1e9
}

/// Memory of this process, in kB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0)
}

fn world(workers: usize) -> World {
    let worker = NodeConfig { role: Role::Worker, ..NodeConfig::default() };
    let mut nodes = vec![NodeConfig::default()];
    nodes.extend(std::iter::repeat_n(worker, workers));
    let cluster = Some(KindConfig { nodes, ..KindConfig::default() });
    World::new(&Options { cluster, ..Options::default() })
}

fn measure(size: &Size) {
    let Size { pods: count, workers, with_service } = *size;
    let world = world(workers);
    let lab = world.lab();
    let labels = json!({"app": "web"});
    let deployment: Deployment = from_value(json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": count, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]}}},
    }))
    .unwrap();
    let (before, began, at) = (memory(), (Wall::now(), cpu()), lab.now());
    lab.with("kind", |cluster| {
        if with_service {
            let service = json!({"metadata": {"name": "web", "namespace": "default"},
                "spec": {"selector": labels, "ports": [{"port": 80}]}});
            cluster
                .api
                .create_typed(from_value::<kube_api::core::Service>(service).unwrap(), at)
                .unwrap();
        }
        cluster.api.create_typed(deployment, at).unwrap();
    });
    let ready = |limit: Instant| {
        while world.next_at().is_some_and(|next| next <= limit) {
            world.step(limit);
            let done = lab.with("kind", |cluster| {
                let web = cluster.api.store().get::<Deployment>("default", "web");
                let status = web.and_then(|web| web.status.as_ref());
                status.and_then(|status| status.available_replicas) == i32::try_from(count).ok()
            });
            if done == Some(true) {
                return true;
            }
        }
        false
    };
    let is_ready = ready(at + Duration::from_secs(120));
    let (wall, used, virtual_time) = (began.0.elapsed(), cpu() - began.1, lab.now().since(at));
    assert!(is_ready, "{} Pods are not ready", count_not_ready(&world));
    let after = memory();
    let began = cpu();
    lab.with("kind", |cluster| {
        let now = at + virtual_time;
        cluster.api.delete(Deployment::id(), "default", "web", Default::default(), now).unwrap();
    });
    world.advance(lab.now() + Duration::from_secs(60), u32::MAX);
    let left = lab.with("kind", |cluster| cluster.api.store().list_in::<Pod>("default").count());
    assert_eq!(left, Some(0));
    let gone = cpu() - began;
    println!(
        "{count:>6} {workers:>7} {:>7} {:>9.1} {:>9.1} {:>7.1} {:>9.2} {:>7.1} {:>11.1} {:>7.1}",
        if with_service { "yes" } else { "no" },
        wall.as_secs_f64() * 1e3,
        used * 1e3,
        used * 1e6 / f64::from(count),
        virtual_time.as_secs_f64(),
        after.saturating_sub(before) as f64 / f64::from(count),
        gone * 1e3,
        gone * 1e6 / f64::from(count),
    );
}

fn count_not_ready(world: &World) -> usize {
    let count = world.lab().with("kind", |cluster| {
        let all = cluster.api.store().list_in::<Pod>("default");
        all.filter(|pod| !pods::is_ready(pod)).count()
    });
    count.unwrap_or(0)
}
