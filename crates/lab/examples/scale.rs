//! How long a Deployment of many Pods takes, from its creation to all of them ready, by the clock on the wall, and
//! how much memory each Pod takes. Where other programs run too, the time of the processor says more.
//!
//! ```sh
//! cargo run --release -p lab --example scale -- 100 300 1000 5000
//! ```
//!
//! Each number is measured in a fresh lab with a worker for every hundred Pods. With `service` as the first word,
//! a Service selects them all.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that prints what it measured"
)]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "it reads the clock")]

use std::time::Instant as Wall;

use base::{Duration, Instant};
use controllers::pods;
use kube_api::apps::Deployment;
use kube_api::core::Pod;
use kube_api::{Kind, from_value};
use lab::kind::{KindConfig, NodeConfig, Role};
use lab::{Options, World};
use serde_json::json;

fn main() {
    let mut sizes: Vec<String> = std::env::args().skip(1).collect();
    let with_service = sizes.first().is_some_and(|word| word == "service");
    if with_service {
        sizes.remove(0);
    }
    if sizes.is_empty() {
        sizes = ["100", "300", "1000", "5000"].map(str::to_string).to_vec();
    }
    println!(
        "{:>6} {:>9} {:>9} {:>9} {:>10} {:>9} {:>13}",
        "Pods", "wall ms", "cpu ms", "µs/Pod", "virtual s", "kB/Pod", "deleted, cpu"
    );
    for size in sizes {
        measure(size.parse().unwrap(), with_service);
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

fn world(pods: u32) -> World {
    let worker = NodeConfig { role: Role::Worker, ..NodeConfig::default() };
    let mut nodes = vec![NodeConfig::default()];
    nodes.extend(std::iter::repeat_n(worker, (pods as usize).div_ceil(100) + 1));
    let cluster = Some(KindConfig { nodes, ..KindConfig::default() });
    World::new(&Options { cluster, ..Options::default() })
}

fn measure(size: u32, with_service: bool) {
    let world = world(size);
    let lab = world.lab();
    let labels = json!({"app": "web"});
    let deployment: Deployment = from_value(json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": size, "selector": {"matchLabels": labels},
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
                status.and_then(|status| status.available_replicas) == i32::try_from(size).ok()
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
    println!(
        "{size:>6} {:>9.1} {:>9.1} {:>9.1} {:>10.2} {:>9.1} {:>10.1} ms",
        wall.as_secs_f64() * 1e3,
        used * 1e3,
        used * 1e6 / f64::from(size),
        virtual_time.as_secs_f64(),
        after.saturating_sub(before) as f64 / f64::from(size),
        (cpu() - began) * 1e3,
    );
}

fn count_not_ready(world: &World) -> usize {
    let count = world.lab().with("kind", |cluster| {
        let all = cluster.api.store().list_in::<Pod>("default");
        all.filter(|pod| !pods::is_ready(pod)).count()
    });
    count.unwrap_or(0)
}
