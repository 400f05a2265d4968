//! What the kernel decides, in small worlds: routing, neighbours, fragments, path MTU, martians, sysctls.
//!
//! The answers in this file were looked up in real network namespaces where there was doubt.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use base::Duration;
use common::{World, addr, ask, assert_conserved, cidr, echo, ip, ping, run, udp_echo, world};
use expect_test::{Expect, expect};
use netfilter::TableName;
use netfilter::text::{RestoreOptions, restore};
use netsim::exec::timeout;
use netsim::route::{RouteKind, Scope};
use netsim::rule::PolicyRule;
use netsim::socket::ListenOptions;
use netsim::{
    Cause, Cidr, DropReason, Flow, LinkConfig, Route, Sim, SockError, StepKind, TraceMode,
};
use packet::{L4, Mac, protocol};

fn check(actual: impl std::fmt::Display, expected: Expect) {
    expected.assert_eq(&actual.to_string());
}

/// Why packets were dropped, each reason with the number of times.
fn drops(world: &World) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for step in world.net.steps_since(0) {
        if let StepKind::Dropped(reason) = &step.kind {
            let place = world.net.name_of(step.ns).unwrap_or_default();
            *counts.entry(format!("{place}: {reason}")).or_insert(0u32) += 1;
        }
    }
    counts.iter().map(|(line, count)| format!("{count} × {line}\n")).collect()
}

fn traced() -> World {
    let world = world();
    world.net.set_trace(TraceMode::All);
    world
}

fn connect(world: &World, to: &'static str) -> Result<(), SockError> {
    run(&world.sim, world.client, |host| async move { host.connect(addr(to)).await.map(drop) })
        .unwrap()
}

#[test]
fn routes_that_refuse_say_so_in_their_own_way() {
    let world = traced();
    for (kind, dst) in [
        (RouteKind::Blackhole, "10.7.0.0/16"),
        (RouteKind::Unreachable, "10.8.0.0/16"),
        (RouteKind::Prohibit, "10.9.0.0/16"),
        (RouteKind::Throw, "10.10.0.0/16"),
    ] {
        world.net.add_route(world.router, Route::special(kind, cidr(dst))).unwrap();
        world.net.add_route(world.client, Route::special(kind, cidr(dst))).unwrap();
    }
    // At home: the errors of connect(2).
    assert_eq!(connect(&world, "10.7.0.1:80"), Err(SockError::InvalidArgument));
    assert_eq!(connect(&world, "10.8.0.1:80"), Err(SockError::HostUnreachable));
    assert_eq!(connect(&world, "10.9.0.1:80"), Err(SockError::AccessDenied));
    assert_eq!(connect(&world, "10.10.0.1:80"), Err(SockError::NetUnreachable));
    world.net.remove_route(world.client, cidr("10.8.0.0/16"));
    world.net.remove_route(world.client, cidr("10.9.0.0/16"));
    // On the way: what the router answers.
    assert_eq!(connect(&world, "10.8.0.1:80"), Err(SockError::HostUnreachable));
    assert_eq!(connect(&world, "10.9.0.1:80"), Err(SockError::HostUnreachable));
    check(
        drops(&world),
        expect![[r#"
            1 × router: the route is prohibited
            1 × router: the route says unreachable
        "#]],
    );
}

#[test]
fn policy_rules_send_marked_packets_another_way() {
    let world = world();
    let (net, router) = (&world.net, world.router);
    let other = net.add_namespace("other");
    let (o, third) = net.add_veth((other, "eth0"), (router, "third"), LinkConfig::default());
    net.add_addr(o, cidr("10.0.3.2/24"));
    net.add_addr(third, cidr("10.0.3.1/24"));
    // The other has the server's address too, and answers as it.
    net.add_addr(o, cidr("10.0.2.2/32"));
    net.add_route(other, Route::via(Cidr::DEFAULT, ip("10.0.3.1"), o)).unwrap();
    net.start(other, "udp echo", Cause(0), |host| udp_echo(host, 9));
    let way = Route { table: 100, ..Route::via(Cidr::DEFAULT, ip("10.0.3.2"), third) };
    net.add_route(router, way).unwrap();
    let rule = PolicyRule { fwmark: Some((1, u32::MAX)), ..PolicyRule::lookup(0, 100) };
    net.add_rule(router, rule, None).unwrap();
    net.with_netfilter(router, |nf| {
        let rules = "*mangle\n-A PREROUTING -i left -p udp -j MARK --set-mark 1\nCOMMIT\n";
        restore(nf, rules, RestoreOptions::default()).unwrap()
    });
    let back = common::volley(&world.sim, world.client, "10.0.2.2:9", 3);
    assert_eq!(back, [0, 1, 2]);
    net.flush_rules(router);
    net.add_rule(router, PolicyRule::lookup(0, 254), Some(32766)).unwrap();
    assert_eq!(common::volley(&world.sim, world.client, "10.0.2.2:9", 3), []);
}

#[test]
fn the_source_address_is_that_of_the_route_or_of_the_interface() {
    let world = world();
    let net = &world.net;
    net.add_addr(world.c, cidr("10.0.1.77/24"));
    net.add_addr(world.c, cidr("172.16.0.5/16"));
    let src = Some(ip("10.0.1.77"));
    let route = Route { src, ..Route::via(cidr("10.5.0.0/16"), ip("10.0.1.1"), world.c) };
    net.add_route(world.client, route).unwrap();
    let get = |to: &str| {
        let found = net.route_get(world.client, &Flow::to(ip(to)));
        found.map(|found| format!("{} {:?}", found.kind.name(), found.src.unwrap()))
    };
    assert_eq!(get("10.0.2.2").unwrap(), "unicast 10.0.1.2");
    assert_eq!(get("10.5.1.1").unwrap(), "unicast 10.0.1.77");
    assert_eq!(get("172.16.9.9").unwrap(), "unicast 172.16.0.5");
    assert_eq!(get("127.3.3.3").unwrap(), "local 127.0.0.1");
    // A second address of a network is reached from the first.
    assert_eq!(get("10.0.1.77").unwrap(), "local 10.0.1.2");
    assert_eq!(get("10.0.1.255").unwrap(), "broadcast 10.0.1.2");
    // With the first address of a network go the others, and the routes that name them.
    net.remove_addr(world.c, cidr("10.0.1.2/24")).unwrap();
    assert_eq!(get("10.5.1.1").unwrap(), "unicast 172.16.0.5", "by the default route");
    assert_eq!(get("172.16.9.9").unwrap(), "unicast 172.16.0.5");
    // With the last address goes every route of the interface.
    net.remove_addr(world.c, cidr("172.16.0.5/16")).unwrap();
    assert_eq!(net.routes(world.client), []);
}

#[test]
fn what_is_refused_of_routes_and_addresses() {
    let world = world();
    let net = &world.net;
    let refused = |route: Route| net.add_route(world.client, route).unwrap_err().to_string();
    let via = |gateway: &str| Route::via(cidr("10.5.0.0/16"), ip(gateway), world.c);
    assert_eq!(refused(via("10.99.0.1")), "Error: Nexthop has invalid gateway.");
    net.add_route(world.client, via("10.0.1.1")).unwrap();
    assert_eq!(refused(via("10.0.1.1")), "RTNETLINK answers: File exists");
    let onlink = Route { onlink: true, metric: 7, ..via("10.99.0.1") };
    net.add_route(world.client, onlink).unwrap();
    let foreign = Route { src: Some(ip("9.9.9.9")), metric: 8, ..via("10.0.1.1") };
    assert_eq!(refused(foreign), "Error: Invalid prefsrc address.");
    let mut bits = via("10.0.1.1");
    bits.dst = cidr("10.6.0.1/16");
    assert_eq!(refused(bits), "Error: Invalid prefix for given prefix length.");
    let again =
        net.add_if_addr(world.c, netsim::iface::IfAddr::new(cidr("10.0.1.2/24"), Scope::UNIVERSE));
    assert_eq!(again.unwrap_err().to_string(), "Error: ipv4: Address already assigned.");
    let gone = net.remove_addr(world.c, cidr("10.0.1.9/24"));
    assert_eq!(gone.unwrap_err().to_string(), "Error: ipv4: Address not found.");
}

#[test]
fn neighbours_go_through_their_states() {
    let world = world();
    let (net, sim) = (&world.net, &world.sim);
    let states = |ns| {
        let all = net.neighbours(ns);
        all.iter().map(|n| format!("{} {}\n", n.addr, n.state.name())).collect::<String>()
    };
    assert!(ping(sim, world.client, "10.0.1.1").is_some());
    assert_eq!(states(world.client), "10.0.1.1 REACHABLE\n");
    // The router knows who asked, but has not been answered itself: it asks after five seconds.
    assert_eq!(states(world.router), "10.0.1.2 DELAY\n");
    sim.advance(net.now() + Duration::from_secs(6), u32::MAX);
    assert_eq!(states(world.router), "10.0.1.2 REACHABLE\n");
    sim.advance(net.now() + Duration::from_secs(40), u32::MAX);
    assert_eq!(states(world.client), "10.0.1.1 STALE\n");
    net.apply_fault("cut client/eth0".parse().unwrap()).unwrap();
    assert!(ping(sim, world.client, "10.0.1.1").is_none());
    sim.advance(net.now() + Duration::from_millis(1500), u32::MAX);
    assert_eq!(states(world.client), "10.0.1.1 PROBE\n");
    sim.advance(net.now() + Duration::from_secs(3), u32::MAX);
    assert_eq!(states(world.client), "10.0.1.1 FAILED\n");
    net.heal_fault(&"cut client/eth0".parse().unwrap()).unwrap();
    assert!(ping(sim, world.client, "10.0.1.1").is_some());
}

#[test]
fn set_neighbours_stay_and_announced_ones_move() {
    let world = world();
    let (net, sim) = (&world.net, &world.sim);
    let permanent = netsim::neigh::NeighState::Permanent;
    let mac = Mac::local(99);
    net.put_neighbour(world.c, ip("10.0.1.1"), (Some(mac), permanent), (false, true)).unwrap();
    assert!(ping(sim, world.client, "10.0.1.1").is_none(), "nobody has that address");
    net.flush_neighbours(world.client, |_, _| true);
    assert_eq!(net.neighbours(world.client).len(), 1);
    net.remove_neighbour(world.c, ip("10.0.1.1")).unwrap();
    assert!(ping(sim, world.client, "10.0.1.1").is_some());
    // The router gets another card and says so: the client believes it.
    sim.advance(net.now() + Duration::from_secs(2), u32::MAX);
    net.set_mac(world.left, mac).unwrap();
    net.announce(world.left, ip("10.0.1.1"));
    sim.advance(net.now() + Duration::from_millis(1), u32::MAX);
    let known = net.neighbours(world.client);
    assert_eq!((known[0].mac, known[0].state.name()), (Some(mac), "STALE"));
}

#[test]
fn a_proxy_answers_for_what_is_behind_it() {
    let world = world();
    let (net, sim) = (&world.net, &world.sim);
    // The client believes the server to be on its own link.
    net.add_route(world.client, Route::link(cidr("10.0.2.0/24"), world.c)).unwrap();
    assert!(ping(sim, world.client, "10.0.2.2").is_none());
    net.set_sysctl(world.router, "net.ipv4.conf.left.proxy_arp", "1").unwrap();
    assert!(ping(sim, world.client, "10.0.2.2").is_some());
}

#[test]
fn arp_ignore_answers_only_for_the_interface() {
    let world = world();
    let (net, sim) = (&world.net, &world.sim);
    net.add_route(world.client, Route::link(cidr("10.0.2.1/32"), world.c)).unwrap();
    assert!(ping(sim, world.client, "10.0.2.1").is_some());
    net.flush_neighbours(world.client, |_, _| true);
    net.set_sysctl(world.router, "net.ipv4.conf.all.arp_ignore", "1").unwrap();
    assert!(ping(sim, world.client, "10.0.2.1").is_none());
}

#[test]
fn rp_filter_and_its_kin() {
    let world = traced();
    let (net, sim) = (&world.net, &world.sim);
    // The client sends from an address that the router would answer by the other interface.
    net.add_addr(world.c, cidr("10.0.2.50/32"));
    let from_there = |host: netsim::Host| async move {
        let socket = host.bind_udp(addr("10.0.2.50:0")).unwrap();
        socket.send_to(b"x", addr("10.0.1.1:5"), None).unwrap();
        timeout(host.sleep(Duration::from_millis(100)), socket.recv_from()).await.is_some()
    };
    run(sim, world.client, from_there);
    assert_eq!(drops(&world), "");
    for (value, expected) in [("1", 1), ("2", 1), ("0", 1)] {
        net.set_sysctl(world.router, "net.ipv4.conf.all.rp_filter", value).unwrap();
        run(sim, world.client, from_there);
        let line = format!("{expected} × router: the way back is another one (rp_filter)\n");
        assert_eq!(drops(&world), line, "{value}");
    }
    net.set_sysctl(world.router, "net.ipv4.conf.left.rp_filter", "1").unwrap();
    run(sim, world.client, from_there);
    assert_eq!(drops(&world), "2 × router: the way back is another one (rp_filter)\n");
    // One's own address does not come from outside, unless it may.
    net.set_sysctl(world.router, "net.ipv4.conf.left.rp_filter", "0").unwrap();
    net.add_addr(world.c, cidr("10.0.2.1/32"));
    let as_router = |host: netsim::Host| async move {
        let socket = host.bind_udp(addr("10.0.2.1:0")).unwrap();
        socket.send_to(b"x", addr("10.0.1.1:5"), None).unwrap();
        host.sleep(Duration::from_millis(10)).await;
    };
    run(sim, world.client, as_router);
    assert!(drops(&world).contains("1 × router: an address that cannot come from there"));
    net.set_sysctl(world.router, "net.ipv4.conf.all.accept_local", "1").unwrap();
    run(sim, world.client, as_router);
    assert!(drops(&world).contains("1 × router: an address that cannot come from there"));
}

#[test]
fn addresses_of_the_loopback_network_stay_at_home() {
    let world = traced();
    let (net, sim) = (&world.net, &world.sim);
    let knock = |host: netsim::Host| async move {
        let raw = host.raw_socket(protocol::UDP);
        let bytes = vec![0, 7, 0, 9, 0, 8, 0, 0];
        let packet =
            packet::reply::finish(ip("10.0.1.2"), ip("127.0.0.1"), protocol::UDP, 64, bytes);
        let _ = host.net().inject(
            host.net().iface_named(host.net().namespace("router").unwrap(), "left").unwrap(),
            &frame(host.net(), &packet),
            Cause(1),
        );
        drop(raw);
    };
    run(sim, world.client, knock);
    assert_eq!(drops(&world), "1 × router: an address that cannot come from there\n");
    net.set_route_localnet(world.router, true);
    run(sim, world.client, knock);
    assert_eq!(drops(&world), "1 × router: an address that cannot come from there\n");
    // Out goes nothing from 127.0.0.1 either.
    let result = run(sim, world.client, |host| async move {
        host.connect_from(addr("10.0.1.1:80"), Some(ip("127.0.0.1"))).await.map(drop)
    });
    assert_eq!(result, Some(Err(SockError::InvalidArgument)));
}

/// A frame for the router's left interface.
fn frame(net: &netsim::Net, packet: &packet::Packet) -> Vec<u8> {
    let router = net.namespace("router").unwrap();
    let left = net.ifaces(router).into_iter().find(|i| i.name == "left").unwrap();
    let body = packet::Body::Ipv4(packet.clone());
    packet::Frame { dst: left.mac, src: Mac::local(3), body }.to_bytes()
}

#[test]
fn long_datagrams_go_in_pieces_and_are_put_together() {
    let world = traced();
    let (net, sim) = (&world.net, &world.sim);
    net.start(world.server, "udp echo", Cause(0), |host| udp_echo(host, 9));
    // A middle link that takes less than the ends.
    net.set_mtu(world.s, 900).unwrap();
    net.set_mtu(world.right, 900).unwrap();
    let there_and_back = |len: usize| {
        let data: Vec<u8> = (0..len).map(|i| (i % 253) as u8).collect();
        let sent = data.clone();
        let back = run(sim, world.client, |host| async move {
            let socket = host.bind_udp(addr("0.0.0.0:0")).unwrap();
            socket.send_to(&sent, addr("10.0.2.2:9"), None).unwrap();
            let soon = host.sleep(Duration::from_secs(2));
            timeout(soon, socket.recv_from()).await.map(|got| got.unwrap().0)
        });
        back.flatten().is_some_and(|back| back == data)
    };
    assert!(there_and_back(8000));
    assert!(there_and_back(65_507));
    assert_eq!(drops(&world), "");
    // 1400 bytes fit the first link: they ask not to be cut, and the router says how much it takes.
    assert!(!there_and_back(1400));
    check(
        drops(&world),
        expect![[r#"
        1 × router: longer than the next link takes (900 bytes)
    "#]],
    );
    assert_eq!(net.path_mtus(world.client)[0].1, 900);
    assert!(there_and_back(1400), "from now on they are cut at home");
    // A router that tracks connections puts the pieces together, and cuts again.
    net.with_netfilter(world.router, |nf| {
        let rules = "*nat\n-A POSTROUTING -o right -j MASQUERADE\nCOMMIT\n";
        restore(nf, rules, RestoreOptions::default()).unwrap()
    });
    assert!(there_and_back(8000));
    assert_conserved(net);
    assert_eq!(net.packets_in_flight(), 0);
}

#[test]
fn what_waits_for_its_other_pieces_waits_thirty_seconds() {
    let world = traced();
    let (net, sim) = (&world.net, &world.sim);
    let mut payload = vec![0, 7, 0, 9, 0, 100, 0, 0];
    payload.resize(64, 1);
    let whole = packet::reply::finish(ip("10.0.1.2"), ip("10.0.1.1"), protocol::UDP, 64, payload);
    // "More fragments" is set, and none follow.
    let mut bytes = frame(net, &whole);
    bytes[14 + 6] |= 0x20;
    bytes[14 + 10..14 + 12].fill(0);
    let check = packet::checksum::of(&bytes[14..34]);
    bytes[24..26].copy_from_slice(&check.to_be_bytes());
    net.inject(world.left, &bytes, Cause(1));
    sim.advance(net.now() + Duration::from_secs(29), u32::MAX);
    assert_eq!((drops(&world).as_str(), net.packets_in_flight()), ("", 1));
    sim.advance(net.now() + Duration::from_secs(2), u32::MAX);
    assert_eq!(drops(&world), "1 × router: not all fragments came in time\n");
    let told = net.steps_since(0).iter().any(|step| {
        step.kind == StepKind::Made && step.tcpdump().contains("ip reassembly time exceeded")
    });
    assert!(told);
}

#[test]
fn a_connection_learns_what_the_way_takes() {
    let world = traced();
    let (net, sim) = (&world.net, &world.sim);
    net.start(world.server, "echo", Cause(0), |host| echo(host, 7));
    // Only the link in the middle is narrow: the ends do not know.
    net.set_mtu(world.right, 800).unwrap();
    let data: Vec<u8> = (0..20_000u32).map(|i| (i % 251) as u8).collect();
    let sent = data.clone();
    let back =
        run(sim, world.client, |host| async move { ask(host, addr("10.0.2.2:7"), sent).await });
    assert!(back == Some(Ok(data)));
    let shown = drops(&world);
    assert!(shown.contains("router: longer than the next link takes (800 bytes)"), "{shown}");
    assert_eq!(net.path_mtus(world.client).len(), 1);
    // The next connection knows from the beginning.
    let syn = |from: u64| {
        net.steps_since(from).iter().find(|s| s.tcpdump().contains("Flags [S]")).unwrap().tcpdump()
    };
    let from = net.next_step();
    connect(&world, "10.0.2.2:7").unwrap();
    assert!(syn(from).contains("mss 760"), "{}", syn(from));
    let from = net.next_step();
    let result = run(sim, world.client, |host| async move {
        let listener = host.listen(addr("127.0.0.1:0")).unwrap();
        host.connect(listener.local_addr().unwrap()).await.map(drop)
    });
    assert_eq!(result, Some(Ok(())));
    assert!(syn(from).contains("mss 65495"), "{}", syn(from));
}

#[test]
fn a_link_whose_other_end_takes_less_loses_what_is_too_long() {
    let world = traced();
    world.net.start(world.server, "echo", Cause(0), |host| echo(host, 7));
    world.net.set_mtu(world.s, 700).unwrap();
    let back = run(&world.sim, world.client, |host| async move {
        let data = ask(host.clone(), addr("10.0.2.2:7"), vec![1; 5000]);
        timeout(host.sleep(Duration::from_secs(10)), data).await.is_some()
    });
    // The server's SYN says what it takes, so TCP copes; datagrams do not.
    assert_eq!(back, Some(true));
    assert_eq!(drops(&world), "");
    assert_eq!(common::volley(&world.sim, world.client, "10.0.2.2:9", 1), []);
    run(&world.sim, world.client, |host| async move {
        let socket = host.bind_udp(addr("0.0.0.0:0")).unwrap();
        socket.send_to(&[0; 1000], addr("10.0.2.2:9"), None).unwrap();
        host.sleep(Duration::from_millis(10)).await;
    });
    assert_eq!(
        drops(&world),
        "1 × router: longer than the other end of the link takes (700 bytes)\n"
    );
}

#[test]
fn traceroute_sees_every_router() {
    let world = world();
    let hops = run(&world.sim, world.client, |host| async move {
        let errors = host.raw_socket(protocol::ICMP);
        let mut hops = Vec::new();
        for ttl in 1..=3 {
            let socket = host.bind_udp(addr("0.0.0.0:0")).unwrap();
            socket.set_ttl(Some(ttl));
            socket.send_to(b"probe", addr("10.0.2.2:33434"), None).unwrap();
            let (packet, _) = errors.recv().await.unwrap();
            let quoted = packet.quoted().unwrap();
            assert_eq!(quoted.dst, ip("10.0.2.2"));
            let L4::Icmp { kind, code, .. } = packet.head().l4 else { panic!("not ICMP") };
            assert_eq!(packet.head().tos, 0xc0);
            hops.push(format!("{} {kind}/{code}", packet.head().src));
        }
        hops.join(", ")
    });
    assert_eq!(hops.unwrap(), "10.0.1.1 11/0, 10.0.2.2 3/3, 10.0.2.2 3/3");
}

#[test]
fn rules_know_whose_socket_sends() {
    let world = world();
    let rules = "*filter\n-A OUTPUT -m owner --uid-owner 0\n\
        -A OUTPUT -m owner --socket-exists ! --uid-owner 0\n-A OUTPUT -m owner ! --socket-exists\nCOMMIT\n";
    let ends = [world.client, world.server];
    for ns in ends {
        world.net.with_netfilter(ns, |nf| restore(nf, rules, RestoreOptions::default()).unwrap());
    }
    // A program asks; that nobody listens is said by the other side's kernel.
    assert_eq!(connect(&world, "10.0.2.2:80"), Err(SockError::Refused));
    let counted = ends.map(|ns| {
        let packets = |nf: &mut netfilter::Netfilter| {
            let output = nf.table(TableName::Filter).unwrap().chain("OUTPUT").unwrap();
            output.rules.iter().map(|rule| rule.counters.packets).collect::<Vec<_>>()
        };
        world.net.with_netfilter(ns, packets).unwrap()
    });
    assert_eq!(counted, [[1, 0, 0], [0, 1, 0]]);
}

#[test]
fn icmp_errors_are_not_sent_without_end() {
    let world = world();
    let answered = |world: &World, gap: Duration| {
        run(&world.sim, world.client, |host| async move {
            let mut count = 0;
            for _ in 0..20 {
                let socket = host.bind_udp(addr("0.0.0.0:0")).unwrap();
                socket.connect(addr("10.0.2.2:53")).unwrap();
                socket.send(b"x").unwrap();
                let soon = timeout(host.sleep(Duration::from_millis(1)), socket.recv_from()).await;
                count += u32::from(soon == Some(Err(SockError::Refused)));
                host.sleep(gap).await;
            }
            count
        })
        .unwrap()
    };
    assert_eq!(answered(&world, Duration::ZERO), 6);
    // The first comes too early.
    assert_eq!(answered(&world, Duration::from_secs(1)), 19);
    world.net.set_sysctl(world.server, "net.ipv4.icmp_ratelimit", "0").unwrap();
    assert_eq!(answered(&world, Duration::ZERO), 20);
}

#[test]
fn broadcasts_reach_everybody_and_ourselves() {
    let world = world();
    let (net, sim) = (&world.net, &world.sim);
    net.start(world.router, "udp echo", Cause(0), |host| udp_echo(host, 9));
    let answers = |allowed: bool, to: &'static str| {
        run(sim, world.client, move |host| async move {
            let own = host.bind_udp(addr("0.0.0.0:9")).unwrap();
            let socket = host.bind_udp(addr("0.0.0.0:0")).unwrap();
            socket.set_broadcast(allowed);
            socket.send_to(b"who?", addr(to), None)?;
            let soon = || host.sleep(Duration::from_millis(50));
            let heard = timeout(soon(), own.recv_from()).await.is_some();
            Ok::<_, SockError>((heard, timeout(soon(), socket.recv_from()).await.is_some()))
        })
    };
    assert_eq!(answers(false, "10.0.1.255:9"), Some(Err(SockError::AccessDenied)));
    // The server answers from the broadcast address it was asked at only if told so; here it cannot.
    assert!(answers(true, "10.0.1.255:9").unwrap().unwrap().0);
    assert!(answers(true, "255.255.255.255:9").unwrap().unwrap().0);
    assert_eq!(connect(&world, "10.0.1.255:80"), Err(SockError::NetUnreachable));
    // Ping to everybody is not answered.
    assert!(ping(sim, world.client, "10.0.1.1").is_some());
    net.set_sysctl(world.router, "net.ipv4.icmp_echo_ignore_all", "1").unwrap();
    assert!(ping(sim, world.client, "10.0.1.1").is_none());
}

#[test]
fn a_short_accept_queue_makes_clients_wait() {
    let world = traced();
    let (net, sim) = (&world.net, &world.sim);
    net.start(world.server, "slow", Cause(0), |host| async move {
        let options = ListenOptions { backlog: 1, reuses_address: true };
        let listener = host.listen_with(addr("0.0.0.0:7"), options).unwrap();
        host.sleep(Duration::from_secs(2)).await;
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
        0
    });
    let times = run(sim, world.client, |host| async move {
        let mut times = Vec::new();
        let mut held = Vec::new();
        for _ in 0..3 {
            let before = host.now();
            held.push(host.connect(addr("10.0.2.2:7")).await.unwrap());
            times.push((host.now() - before).as_millis() / 1000);
        }
        host.sleep(Duration::from_millis(1)).await;
        let server = host.net().namespace("server").unwrap();
        let queue = host.net().sockets(server);
        (times, queue.iter().filter(|s| s.state.name() == "ESTAB").count())
    });
    // Two wait to be accepted; the third's SYN is dropped until there is room.
    assert_eq!(times, Some((vec![0, 0, 3], 3)));
    assert!(drops(&world).contains("server: the listener's queue is full"));
}

#[test]
fn sockets_are_listed() {
    let world = world();
    let (net, sim) = (&world.net, &world.sim);
    net.start(world.server, "web", Cause(0), |host| echo(host, 80));
    net.start(world.server, "dns", Cause(0), |host| udp_echo(host, 53));
    net.start(world.client, "curl", Cause(0), |host| async move {
        let stream = host.connect(addr("10.0.2.2:80")).await.unwrap();
        host.sleep(Duration::from_secs(5)).await;
        drop(stream);
        host.sleep(Duration::from_secs(500)).await;
        0
    });
    sim.advance(net.now() + Duration::from_secs(1), u32::MAX);
    let list = |ns| {
        let line = |s: netsim::socket::SocketView| {
            let peer = s.peer.map_or("*".to_string(), |peer| peer.ip().to_string());
            let (kind, state) = (s.transport.name(), s.state.name());
            let owner = s.process.unwrap_or_default();
            format!("{kind} {state} {} {} {} {peer} {owner}\n", s.recv_q, s.send_q, s.local.ip())
        };
        net.sockets(ns).into_iter().map(line).collect::<String>()
    };
    check(
        list(world.server),
        expect![[r#"
        udp UNCONN 0 0 0.0.0.0 * dns
        tcp LISTEN 0 4096 0.0.0.0 * web
        tcp ESTAB 0 0 10.0.2.2 10.0.1.2 web
    "#]],
    );
    check(
        list(world.client),
        expect![[r#"
        tcp ESTAB 0 0 10.0.1.2 10.0.2.2 curl
    "#]],
    );
    sim.advance(net.now() + Duration::from_secs(10), u32::MAX);
    check(
        list(world.client),
        expect![[r#"
        tcp TIME-WAIT 0 0 10.0.1.2 10.0.2.2 
    "#]],
    );
    // Without SO_REUSEADDR a port that was in use lately is not given away.
    let result = run(sim, world.client, |host| async move {
        let strict = ListenOptions { reuses_address: false, ..ListenOptions::default() };
        let port = host.net().sockets(host.ns())[0].local.port();
        let local = std::net::SocketAddrV4::new(ip("0.0.0.0"), port);
        (host.listen_with(local, strict).err(), host.listen(local).is_ok())
    });
    assert_eq!(result, Some((Some(SockError::AddrInUse), true)));
}

#[test]
fn settings_by_name() {
    let world = world();
    let (net, ns) = (&world.net, world.client);
    let get = |name: &str| net.sysctl(ns, name).map_err(|error| error.to_string());
    let set = |name: &str, value: &str| {
        net.set_sysctl(ns, name, value).map_err(|error| error.to_string())
    };
    assert_eq!(get("net.ipv4.ip_forward"), Ok("0".into()));
    set("net.ipv4.ip_forward", "1").unwrap();
    for name in ["net.ipv4.conf.all.forwarding", "net/ipv4/conf/eth0/forwarding"] {
        assert_eq!(get(name), Ok("1".into()), "{name}");
    }
    assert_eq!(get("net.ipv4.ip_local_port_range"), Ok("32768\t60999".into()));
    set("net.ipv4.ip_local_port_range", "40000 40000").unwrap();
    let port = run(&world.sim, ns, |host| async move {
        host.bind_udp(addr("0.0.0.0:0")).unwrap().local_addr().unwrap().port()
    });
    assert_eq!(port, Some(40_000));
    let bad = "setting key \"net.ipv4.ip_default_ttl\": Invalid argument";
    assert_eq!(set("net.ipv4.ip_default_ttl", "256"), Err(bad.into()));
    let missing = "cannot stat /proc/sys/net/ipv4/nonsense: No such file or directory";
    assert_eq!(get("net.ipv4.nonsense"), Err(missing.into()));
    assert!(get("net.ipv4.conf.nope.rp_filter").is_err());
    assert!(set("net.netfilter.nf_conntrack_count", "5").is_err());
    for strange in ["", ".", "/", "net", "net.ipv4.conf.", "net.ipv4.conf.all", "é.é/é"] {
        assert!(get(strange).is_err(), "{strange}");
    }
    let all = net.sysctls(ns);
    assert!(all.iter().all(|(name, value)| get(name).as_ref() == Ok(value)));
    assert!(all.is_sorted() && all.len() > 50);
}

#[test]
fn a_capture_sees_both_directions_and_costs_nothing_after() {
    let world = world();
    let (net, sim) = (&world.net, &world.sim);
    let tap = net.capture(world.router, None);
    let only = net.capture(world.router, Some(world.right));
    assert!(ping(sim, world.client, "10.0.2.2").is_some());
    let seen = |tap: &netsim::Tap| {
        let frames = std::iter::from_fn(|| tap.try_next());
        frames
            .map(|f| {
                format!("{} {} {:?} {}\n", f.at.as_micros(), f.name, f.direction, f.bytes.len())
            })
            .collect::<String>()
    };
    check(
        seen(&tap),
        expect![[r#"
           10 left In 42
           10 left Out 42
           30 left In 98
           30 right Out 42
           50 right In 42
           50 right Out 98
           70 right In 98
           70 left Out 98
    "#]],
    );
    assert_eq!(seen(&only).lines().count(), 4);
    drop((tap, only));
    assert!(ping(sim, world.client, "10.0.2.2").is_some());
}

#[test]
fn a_trace_keeps_to_its_limits_and_to_its_cause() {
    let world = world();
    let net = &world.net;
    net.set_trace(TraceMode::One(Cause(2)));
    assert!(ping(&world.sim, world.client, "10.0.2.2").is_some());
    assert_eq!(net.steps_since(0).len(), 0, "that was for cause 1");
    net.set_trace(TraceMode::One(Cause(1)));
    net.set_trace_limits(7, usize::MAX);
    assert!(ping(&world.sim, world.client, "10.0.2.2").is_some());
    assert_eq!(net.steps_since(0).len(), 7);
    // Steps share what has not changed: the last packet's are left.
    net.set_trace_limits(usize::MAX, 100);
    let left = net.steps_since(0);
    assert!((1..7).contains(&left.len()) && left.iter().all(|step| step.bytes.len() <= 100));
    net.set_trace_limits(usize::MAX, 0);
    assert_eq!(net.steps_since(0).len(), 0);
}

#[test]
fn interfaces_come_and_go() {
    let sim = Sim::new(1);
    let net = sim.net().clone();
    let ns = net.add_namespace("box");
    let dummy = net.add_dummy(ns, "d0");
    net.add_addr(dummy, cidr("10.9.0.1/24"));
    assert!(ping(&sim, ns, "10.9.0.1").is_some(), "one's own address needs no wire");
    assert!(ping(&sim, ns, "10.9.0.2").is_none());
    let counts = net.packet_counts();
    assert!(counts.dropped > 0);
    assert_eq!(
        net.check_link_name(ns, "d0").unwrap_err().to_string(),
        "RTNETLINK answers: File exists"
    );
    assert!(net.check_link_name(ns, "far-too-long-a-name").is_err());
    net.rename(dummy, "d1").unwrap();
    assert_eq!(net.iface_named(ns, "d1"), Some(dummy));
    assert!(net.set_mtu(dummy, 10).is_err());
    let bridge = net.add_bridge(ns, "br0");
    net.set_master(dummy, bridge);
    net.remove_iface(bridge);
    assert_eq!(net.ifaces(ns).iter().find(|i| i.id == dummy).unwrap().master, None);
    net.remove_iface(dummy);
    assert_eq!(net.ifaces(ns).len(), 1);
    assert_eq!(net.routes(ns).len(), 0);
    assert_conserved(&net);
}

#[test]
fn a_queue_of_datagrams_is_bounded() {
    let world = traced();
    let socket = std::rc::Rc::new(std::cell::RefCell::new(None));
    let slot = socket.clone();
    run(&world.sim, world.server, |host| async move {
        *slot.borrow_mut() = Some(host.bind_udp(addr("0.0.0.0:9")).unwrap());
    });
    run(&world.sim, world.client, |host| async move {
        let socket = host.bind_udp(addr("0.0.0.0:0")).unwrap();
        for _ in 0..500 {
            socket.send_to(&[0; 1000], addr("10.0.2.2:9"), None).unwrap();
            host.sleep(Duration::from_micros(200)).await;
        }
    });
    let full = world
        .net
        .steps_since(0)
        .into_iter()
        .filter(|step| step.kind == StepKind::Dropped(DropReason::ReceiveBufferFull));
    assert!(full.count() > 300);
}
