//! How long syncs take: `cargo run --release -p kube-proxy --example sync`. Arguments: how many Services, how many
//! full syncs, how many changes, and the mode.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "it measures"
)]

use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Instant;

use base::Rng;
use kube_api::core::Service;
use kube_api::discovery::EndpointSlice;
use kube_proxy::jumps::install_jumps;
use kube_proxy::nftables::Engine;
use kube_proxy::{Mode, Proxier, ProxyConfig, SyncReport};
use netfilter::ext::addrtype::AddrType;
use netfilter::rule::AddrMask;
use netfilter::{Hook, HookInput, IfName, Netfilter, Skb, Surroundings};

fn objects(services: usize, endpoints: usize) -> (Vec<Service>, Vec<Rc<EndpointSlice>>) {
    let mut all = (Vec::new(), Vec::new());
    for i in 0..services {
        let ip = format!("10.{}.{}.{}", 96 + i / 65536, i / 256 % 256, i % 256);
        let service = serde_json::json!({
            "metadata": {"name": format!("service-{i}"), "namespace": "default"},
            "spec": {"clusterIP": ip, "type": "ClusterIP", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
        });
        let addrs: Vec<_> = (0..endpoints)
            .map(|e| {
                let n = i * endpoints + e;
                serde_json::json!({"addresses": [format!("10.{}.{}.{}", 128 + n / 65536, n / 256 % 256, n % 256)],
                    "conditions": {"ready": true}, "nodeName": format!("node-{}", n % 50)})
            })
            .collect();
        let slice = serde_json::json!({
            "metadata": {"name": format!("service-{i}-abcde"), "namespace": "default", "labels": {"kubernetes.io/service-name": format!("service-{i}")}},
            "addressType": "IPv4", "endpoints": addrs, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        });
        all.0.push(kube_api::from_value(service).unwrap());
        all.1.push(Rc::new(kube_api::from_value(slice).unwrap()));
    }
    all
}

struct Nowhere;

impl Surroundings for Nowhere {
    fn addr_type(&self, _: Ipv4Addr, _: Option<IfName>) -> AddrType {
        AddrType::Unicast
    }

    fn masquerade_source(&self) -> Option<Ipv4Addr> {
        None
    }

    fn primary_address(&self, _: IfName) -> Option<Ipv4Addr> {
        None
    }
}

/// Sends a packet through PREROUTING, to the last Service.
fn ask(netfilter: &mut Netfilter) {
    let segment = [&[0x9c, 0x40, 0, 80][..], &[0; 8], &[0x50, 2, 0, 0, 0, 0, 0, 0]].concat();
    let (from, to) = (Ipv4Addr::new(10, 244, 1, 2), Ipv4Addr::new(10, 96, 0, 7));
    let packet = packet::reply::finish(from, to, packet::protocol::TCP, 64, segment);
    let input = HookInput {
        hook: Hook::Prerouting,
        iif: IfName::new("eth0"),
        oif: IfName::NONE,
        now: base::Instant::ZERO,
        surroundings: &Nowhere,
    };
    let _ = netfilter.hook(&input, &mut Skb::new(packet), None);
}

fn sync(proxier: &mut Proxier, netfilter: &mut Netfilter, full: bool) -> SyncReport {
    let now = base::Instant::ZERO;
    match proxier.config().mode {
        Mode::Nftables => proxier.sync_nftables(&mut Engine::new(netfilter, now), full, now),
        _ => proxier.sync(netfilter, full),
    }
}

fn main() {
    let mode = std::env::args().nth(4).and_then(|name| Mode::parse(&name)).unwrap_or_default();
    let only = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let sizes: Vec<usize> = only.map_or(vec![1000, 5000], |size| vec![size]);
    for (services, endpoints) in sizes.into_iter().map(|size| (size, 10)) {
        let (svc, slices) = objects(services, endpoints);
        let addr = "172.18.0.2".parse().unwrap();
        let pods = AddrMask::prefix("10.244.0.0".parse().unwrap(), 16);
        let config = ProxyConfig { mode, ..ProxyConfig::new("node-1", addr, pods) };
        let mut netfilter = Netfilter::new(Rng::new(1));
        if mode == Mode::Iptables {
            install_jumps(&mut netfilter, &config);
        }
        let mut proxier = Proxier::new(config);
        let t = Instant::now();
        for service in &svc {
            proxier.observe_service(
                "default",
                service.metadata.name.as_deref().unwrap(),
                Some(service),
            );
        }
        for slice in &slices {
            proxier.observe_slice(None, Some(slice));
        }
        println!("{services}x{endpoints}: heard in {:?}", t.elapsed());
        let t = Instant::now();
        let report = sync(&mut proxier, &mut netfilter, true);
        println!("first sync {:?}, {} rules", t.elapsed(), report.rules_written);
        for _ in 0..std::env::args().nth(2).map_or(5, |n| n.parse().unwrap()) {
            let t = Instant::now();
            sync(&mut proxier, &mut netfilter, true);
            println!("full sync {:?}", t.elapsed());
        }
        let mut smaller = (*slices[services / 2]).clone();
        smaller.endpoints.pop();
        let (mut old, mut new) = (slices[services / 2].clone(), Rc::new(smaller));
        for _ in 0..6 {
            let t = Instant::now();
            proxier.observe_slice(Some(&old), Some(&new));
            let report = sync(&mut proxier, &mut netfilter, false);
            println!("one changed {:?}, {} rules", t.elapsed(), report.rules_written);
            std::mem::swap(&mut old, &mut new);
        }
        // A Service comes and goes, and a packet for another one makes the rules be put in order for finding.
        let mut other = svc[services / 2].clone();
        let name = other.metadata.name.clone().unwrap();
        ask(&mut netfilter);
        for round in 0..std::env::args().nth(3).map_or(6, |n| n.parse().unwrap()) {
            other.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].port += 1;
            let t = Instant::now();
            let is_there = round % 2 == 1;
            proxier.observe_service("default", &name, is_there.then_some(&other));
            let report = sync(&mut proxier, &mut netfilter, false);
            let synced = t.elapsed();
            ask(&mut netfilter);
            println!(
                "one {} {synced:?}, with a packet {:?}, {} rules",
                if is_there { "comes" } else { "goes" },
                t.elapsed(),
                report.rules_written
            );
        }
    }
}
