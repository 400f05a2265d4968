//! Random worlds, faults and traffic, by seed: no packet is lost without a reason, the same seed gives the
//! same story, and no bytes make it fall over.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use base::{Duration, Instant, Rng};
use common::{addr, assert_conserved, echo, udp_echo};
use netfilter::text::save::save;
use netfilter::text::{RestoreOptions, restore};
use netsim::{Cause, Cidr, Fault, IfId, LinkConfig, Net, NsId, Route, RouteKind, Sim, TraceMode};

struct Place {
    ns: NsId,
    eth0: IfId,
    addr: std::net::Ipv4Addr,
}

/// Some boxes on bridges, a router between the bridges.
fn build(sim: &Sim, rng: &mut Rng) -> Vec<Place> {
    let net = sim.net().clone();
    let router = net.add_namespace("router");
    net.set_forwarding(router, true);
    if rng.below(2) == 0 {
        let rules = "*nat\n-A POSTROUTING -s 10.0.0.0/24 -o br1 -j MASQUERADE\nCOMMIT\n";
        net.with_netfilter(router, |nf| restore(nf, rules, RestoreOptions::default()).unwrap());
    }
    let mut places = Vec::new();
    for net_number in 0..2u8 {
        let bridge = net.add_bridge(router, &format!("br{net_number}"));
        net.add_addr(bridge, Cidr::new([10, 0, net_number, 1].into(), 24));
        for host in 0..2 + rng.below(3) as u8 {
            let ns = net.add_namespace(&format!("box{net_number}{host}"));
            let port = format!("p{net_number}{host}");
            let (outside, eth0) =
                net.add_veth((router, &port), (ns, "eth0"), LinkConfig::default());
            net.set_master(outside, bridge);
            let addr = [10, 0, net_number, 10 + host].into();
            net.add_addr(eth0, Cidr::new(addr, 24));
            let gateway = [10, 0, net_number, 1].into();
            net.add_route(ns, Route::via(Cidr::DEFAULT, gateway, eth0)).unwrap();
            if rng.below(3) == 0 {
                net.set_mtu(eth0, 600 + rng.below(900)).unwrap();
            }
            net.start(ns, "udp echo", Cause(0), |host| udp_echo(host, 9));
            net.start(ns, "echo", Cause(0), |host| echo(host, 7));
            places.push(Place { ns, eth0, addr });
        }
    }
    places
}

fn random_fault(net: &Net, rng: &mut Rng) -> Option<Fault> {
    let places: Vec<String> = net.namespaces().into_iter().map(|(name, _)| name).collect();
    let place = &places[rng.below(places.len() as u32) as usize];
    let percent = rng.below(100);
    let text = match rng.below(14) {
        0 => format!("cut {place}/eth0"),
        1 => format!("cut-out {place}/eth0"),
        2 => format!("cut-in {place}/eth0"),
        3 => format!("loss {place}/eth0 {percent}%"),
        4 => format!("delay {place}/eth0 {percent}ms"),
        5 => format!("jitter {place}/eth0 {percent}ms"),
        6 => format!("duplicate {place}/eth0 {percent}%"),
        7 => format!("reorder {place}/eth0 {percent}%"),
        8 => format!("corrupt {place}/eth0 {percent}%"),
        9 => format!("rate {place}/eth0 {}kbit", 1 + percent * 10),
        10 => format!("down {place}/eth0"),
        11 => format!("power-off {place}"),
        12 => format!("partition {place}"),
        _ => format!("arp-silence {place}/eth0"),
    };
    text.parse().ok()
}

fn talk(net: &Net, from: &Place, to: std::net::Ipv4Addr, rng: &mut Rng) {
    let len = rng.below(4000) as usize;
    match rng.below(4) {
        0 => net.start(from.ns, "tcp", Cause(1), move |host| async move {
            let to = std::net::SocketAddrV4::new(to, 7);
            let _ = common::ask(host, to, vec![1; len]).await;
            0
        }),
        1 | 2 => net.start(from.ns, "udp", Cause(1), move |host| async move {
            let Ok(socket) = host.bind_udp(addr("0.0.0.0:0")) else { return 1 };
            socket.set_broadcast(true);
            let port = if len.is_multiple_of(2) { 9 } else { 10 };
            let _ = socket.send_to(&vec![2; len], std::net::SocketAddrV4::new(to, port), None);
            host.sleep(Duration::from_secs(1)).await;
            0
        }),
        _ => net.start(from.ns, "ping", Cause(1), move |host| async move {
            let _ = host.ping_socket().send_echo(to, 1, &vec![3; len], Some(1 + (len % 4) as u8));
            0
        }),
    };
}

/// Lets a world run for a while; gives it, and all that its router saw. `text`: the router's rules.
fn live(seed: u64, mode: TraceMode, text: Option<&str>) -> (Sim, Vec<String>) {
    let mut rng = Rng::new(seed).fork("test");
    let sim = Sim::new(seed);
    let net = sim.net().clone();
    net.set_trace(mode);
    net.set_trace_limits(2000, 1 << 20);
    let places = build(&sim, &mut rng);
    let router = net.namespace("router").unwrap();
    if let Some(text) = text {
        net.with_netfilter(router, |nf| restore(nf, text, RestoreOptions::default()).unwrap());
    }
    let tap = net.capture(router, None);
    let mut seen = Vec::new();
    let mut until = Instant::ZERO;
    for _ in 0..60 {
        let at = |rng: &mut Rng| rng.below(places.len() as u32) as usize;
        let from = &places[at(&mut rng)];
        let to = match rng.below(8) {
            0 => [10, 0, 0, 255].into(),
            1 => [10, 0, rng.below(3) as u8, rng.below(30) as u8].into(),
            2 => [127, 0, 0, 1].into(),
            3 if text.is_some() => [10, 0, 0, 1].into(),
            _ => places[at(&mut rng)].addr,
        };
        talk(&net, from, to, &mut rng);
        if text.is_some() && rng.below(6) == 0 {
            change(&net, router, &mut rng);
        }
        if rng.below(3) == 0
            && let Some(fault) = random_fault(&net, &mut rng)
        {
            let _ = net.apply_fault(fault);
        }
        if rng.below(4) == 0
            && let Some(fault) = net.faults().first()
        {
            net.heal_fault(fault).unwrap();
        }
        if rng.below(4) == 0 {
            let frame: Vec<u8> = (0..rng.below(80)).map(|_| rng.next_u32() as u8).collect();
            net.inject(from.eth0, &frame, Cause(1));
        }
        if rng.below(40) == 0 {
            net.remove_iface(places[at(&mut rng)].eth0);
        }
        until += Duration::from_millis(u64::from(rng.below(3000)));
        sim.advance(until, u32::MAX);
        assert_conserved(&net);
        seen.extend(std::iter::from_fn(|| tap.try_next()).map(|f| format!("{f:?}")));
    }
    for fault in net.faults() {
        net.heal_fault(&fault).unwrap();
    }
    sim.advance(until + Duration::from_secs(3000), 2_000_000);
    assert_conserved(&net);
    let counts = net.packet_counts();
    assert!(counts.made > 100, "{counts:?}");
    (sim, seen)
}

/// What can be seen of a world in which everything is written down.
fn story(seed: u64) -> String {
    let (sim, _) = live(seed, TraceMode::All, None);
    let (net, counts) = (sim.net(), sim.net().packet_counts());
    let steps: Vec<String> =
        net.steps_since(0).iter().map(|s| format!("{} {} {}", s.at, s.kind, s.tcpdump())).collect();
    assert!(steps.len() <= 2000);
    format!("{counts:?}\n{}", steps.join("\n"))
}

#[test]
fn what_is_made_is_delivered_dropped_or_on_its_way_and_a_seed_tells_one_story() {
    for seed in 0..12 {
        let first = story(seed);
        if seed % 4 == 0 {
            assert!(first == story(seed), "seed {seed}");
        }
    }
    assert_ne!(story(1), story(2));
}

/// Changes a rule or a route of the router.
fn change(net: &Net, router: NsId, rng: &mut Rng) {
    let rule = match rng.below(4) {
        0 => "-A FORWARD -p udp -m udp --dport 9",
        1 => "-I FORWARD 1 -s 10.0.1.10 -p tcp -m tcp --dport 7",
        2 => "-A FORWARD -m limit --limit 1/sec -j LOG",
        _ => "-D FORWARD 1",
    };
    let text = format!("*filter\n{rule}\nCOMMIT\n");
    let options = RestoreOptions { noflush: true, ..RestoreOptions::default() };
    let _ = net.with_netfilter(router, |nf| restore(nf, &text, options));
    if rng.below(3) == 0 {
        let lost = Cidr::new([10, 0, 1, 10].into(), 32);
        let hole = Route::special(RouteKind::Blackhole, lost);
        if net.add_route(router, hole).is_err() {
            net.remove_route(router, lost);
        }
    }
}

const RULES: &str = "*mangle
-A FORWARD -p udp -j MARK --set-xmark 0x2/0x2
COMMIT
*nat
-A PREROUTING -d 10.0.0.1 -p tcp -m tcp --dport 7 -j DNAT --to-destination 10.0.1.10:7
-A PREROUTING -d 10.0.0.1 -p udp -m udp --dport 9 -j DNAT --to-destination 10.0.1.11
-A POSTROUTING -s 10.0.0.0/24 -o br1 -j MASQUERADE
COMMIT
*filter
:EARLY - [0:0]
-A FORWARD -j EARLY
SPECIAL-A EARLY -m conntrack --ctstate INVALID -j DROP
-A EARLY -m mark --mark 0x2/0x2 -m conntrack --ctstate NEW
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -p udp -m udp --dport 10 -j REJECT
COMMIT
";

/// By turns: nothing more; what is otherwise in every packet; what is otherwise in every connection.
const SPECIAL: [&str; 3] = [
    "",
    "-A EARLY -p tcp -m tcp --tcp-flags FIN FIN\n",
    "-A EARLY -p tcp -m tcp --sport 32768:46000\n-A EARLY -p tcp -m tcp --dport 32768:46000\n",
];

/// What is written down goes the long way, asking every rule; what is not takes every short cut there is.
#[test]
fn what_is_written_down_goes_as_what_is_not() {
    let outcome = |seed: u64, mode| {
        let (sim, mut seen) =
            live(seed, mode, Some(&RULES.replace("SPECIAL", SPECIAL[seed as usize % 3])));
        let (net, now) = (sim.net(), sim.net().now());
        let router = net.namespace("router").unwrap();
        seen.push(format!("{:?} {:#?}", net.packet_counts(), net.ifaces(router)));
        let state = net.with_netfilter(router, |nf| {
            let conns = nf.conntrack().entries(now).len();
            format!("{conns} {:?} {}", nf.conntrack().stats, save(nf, None, true, ""))
        });
        seen.extend(state);
        seen
    };
    for seed in 0..12 {
        let (long, short) = (outcome(seed, TraceMode::All), outcome(seed, TraceMode::Off));
        assert!(long.len() > 50, "seed {seed}: {}", long.len());
        let first = long.iter().zip(&short).find(|(long, short)| long != short);
        assert_eq!(first, None, "seed {seed}");
        assert_eq!(long.len(), short.len(), "seed {seed}");
    }
}

#[test]
fn whatever_bytes_come_in_nothing_falls_over() {
    let mut rng = Rng::new(5);
    let sim = Sim::new(5);
    let net = sim.net().clone();
    let places = build(&sim, &mut rng);
    let place = &places[0];
    // Frames that once were real, so that the bytes get further than the first check.
    let tap = net.capture(place.ns, None);
    for to in [places[1].addr, places[3].addr] {
        for _ in 0..12 {
            talk(&net, place, to, &mut rng);
        }
    }
    sim.advance(Instant::from_secs(5), u32::MAX);
    let real: Vec<Vec<u8>> = std::iter::from_fn(|| tap.try_next()).map(|f| f.bytes).collect();
    assert!(real.len() > 20);
    drop(tap);
    for i in 0..20_000u32 {
        let mut frame = real[rng.below(real.len() as u32) as usize].clone();
        for _ in 0..rng.below(6) {
            let at = rng.below(frame.len() as u32) as usize;
            frame[at] = rng.next_u32() as u8;
        }
        if rng.below(8) == 0 {
            frame.truncate(rng.below(frame.len() as u32 + 1) as usize);
        }
        fix_checksum(&mut frame);
        net.inject(places[(i % 2) as usize].eth0, &frame, Cause(0));
        if i % 64 == 0 {
            sim.advance(net.now() + Duration::from_millis(50), u32::MAX);
        }
    }
    sim.advance(net.now() + Duration::from_secs(200), u32::MAX);
    assert_conserved(&net);
}

/// Half-way honest: the IP header's checksum is made right, so that what follows is looked at.
fn fix_checksum(frame: &mut [u8]) {
    let Some(header) = frame.get_mut(14..34) else { return };
    header[10..12].fill(0);
    let check = packet::checksum::of(header);
    header[10..12].copy_from_slice(&check.to_be_bytes());
}
