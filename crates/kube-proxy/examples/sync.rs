//! How long syncs take: `cargo run --release -p kube-proxy --example sync`.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "it measures"
)]

use std::rc::Rc;
use std::time::Instant;

use base::Rng;
use kube_api::core::Service;
use kube_api::discovery::EndpointSlice;
use kube_proxy::sync::install_jumps;
use kube_proxy::{Proxier, ProxyConfig};
use netfilter::Netfilter;
use netfilter::rule::AddrMask;

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

fn main() {
    let only = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let sizes: Vec<usize> = only.map_or(vec![1000, 5000], |size| vec![size]);
    for (services, endpoints) in sizes.into_iter().map(|size| (size, 10)) {
        let (svc, slices) = objects(services, endpoints);
        let addr = "172.18.0.2".parse().unwrap();
        let config =
            ProxyConfig::new("node-1", addr, AddrMask::prefix("10.244.0.0".parse().unwrap(), 16));
        let mut netfilter = Netfilter::new(Rng::new(1));
        install_jumps(&mut netfilter);
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
        let report = proxier.sync(&mut netfilter, true);
        println!("first sync {:?}, {} rules", t.elapsed(), report.rules_written);
        for _ in 0..std::env::args().nth(2).map_or(5, |n| n.parse().unwrap()) {
            let t = Instant::now();
            proxier.sync(&mut netfilter, true);
            println!("full sync {:?}", t.elapsed());
        }
        let mut smaller = (*slices[services / 2]).clone();
        smaller.endpoints.pop();
        let (mut old, mut new) = (slices[services / 2].clone(), Rc::new(smaller));
        for _ in 0..6 {
            let t = Instant::now();
            proxier.observe_slice(Some(&old), Some(&new));
            let report = proxier.sync(&mut netfilter, false);
            println!("one changed {:?}, {} rules", t.elapsed(), report.rules_written);
            std::mem::swap(&mut old, &mut new);
        }
    }
}
