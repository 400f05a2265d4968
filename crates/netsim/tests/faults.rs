//! Every fault by name: the world is sound without it, not with it, and sound again after it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use base::Duration;
use common::{World, addr, ask, assert_conserved, echo, ping, run, udp_echo, volley, world};
use netfilter::text::{RestoreOptions, restore};
use netsim::{Cause, Fault, SockError};

/// Measures three times: without the fault, with it, and after it. The first and the last have to be alike.
fn with_fault<T: PartialEq + std::fmt::Debug>(
    world: &World,
    fault: &str,
    mut measure: impl FnMut(&World) -> T,
) -> (T, T) {
    let fault: Fault = fault.parse().unwrap();
    let before = measure(world);
    world.net.apply_fault(fault.clone()).unwrap();
    assert_eq!(world.net.faults(), std::slice::from_ref(&fault));
    let during = measure(world);
    world.net.heal_fault(&fault).unwrap();
    assert_eq!(world.net.faults(), []);
    // What was learnt of neighbours in the meantime is asked for anew.
    for ns in [world.client, world.router, world.server] {
        world.net.flush_neighbours(ns, |_, _| true);
    }
    let after = measure(world);
    assert_eq!(before, after, "{fault} is healed");
    assert_conserved(&world.net);
    (before, during)
}

fn served() -> World {
    let world = world();
    world.net.start(world.server, "udp echo", Cause(0), |host| udp_echo(host, 9));
    world.net.start(world.server, "echo", Cause(0), |host| echo(host, 7));
    world
}

fn is_heard(world: &World) -> bool {
    ping(&world.sim, world.client, "10.0.2.2").is_some()
}

fn echoed(world: &World) -> Vec<u8> {
    volley(&world.sim, world.client, "10.0.2.2:9", 200)
}

#[test]
fn what_keeps_everything_away() {
    for fault in [
        "cut router/right",
        "cut server/eth0",
        "down router/left",
        "down client/eth0",
        "power-off router",
        "power-off server",
        "partition client,router server",
        "partition server",
        "loss router/right 100%",
    ] {
        let (before, during) = with_fault(&served(), fault, is_heard);
        assert_eq!((before, during), (true, false), "{fault}");
    }
}

#[test]
fn a_cable_cut_in_one_direction_carries_the_other() {
    let heard = |world: &World| {
        let rx = || {
            let ifaces = world.net.ifaces(world.server);
            ifaces.iter().find(|iface| iface.name == "eth0").unwrap().stats.rx_packets
        };
        let before = rx();
        (is_heard(world), rx() > before)
    };
    // Asked for the neighbour first, so that it is the echo request that goes or does not go.
    let world = served();
    assert!(is_heard(&world));
    let (before, during) = with_fault(&world, "cut-in server/eth0", heard);
    assert_eq!((before, during), ((true, true), (false, false)));
    let (_, during) = with_fault(&world, "cut-out server/eth0", heard);
    assert_eq!(during, (false, true));
}

#[test]
fn loss_takes_about_as_many_as_it_says() {
    let (before, during) = with_fault(&served(), "loss router/left 25%", echoed);
    assert_eq!(before.len(), 200);
    // There and back: a little more than half arrive.
    assert!((80..145).contains(&during.len()), "{}", during.len());
}

#[test]
fn delay_and_jitter_take_time() {
    let world = served();
    assert!(is_heard(&world));
    let time = |world: &World| {
        assert!(is_heard(world));
        ping(&world.sim, world.client, "10.0.2.2")
    };
    let (before, during) = with_fault(&world, "delay router/left 30ms", time);
    assert_eq!(during.unwrap() - before.unwrap(), Duration::from_millis(60));
    let times = |world: &World| {
        let mut all: Vec<_> = (0..20).map(|_| time(world)).collect();
        all.sort();
        all.dedup();
        all.len()
    };
    let (before, during) = with_fault(&world, "jitter router/left 5ms", times);
    assert_eq!(before, 1);
    assert!(during > 10, "{during} different times");
}

#[test]
fn duplicates_come_twice() {
    let (before, during) = with_fault(&served(), "duplicate router/right 50%", echoed);
    assert_eq!(before.len(), 200);
    assert!((350..550).contains(&during.len()), "{}", during.len());
}

#[test]
fn reordered_datagrams_overtake_each_other() {
    let in_order = |world: &World| {
        run(&world.sim, world.client, |host| async move {
            let socket = host.bind_udp(addr("0.0.0.0:0")).unwrap();
            for i in 0..50 {
                socket.send_to(&[i], addr("10.0.2.2:9"), None).unwrap();
            }
            host.sleep(Duration::from_secs(1)).await;
            let mut back = Vec::new();
            while back.len() < 50 {
                back.push(socket.recv_from().await.unwrap().0[0]);
            }
            back.is_sorted()
        })
    };
    let world = served();
    assert!(is_heard(&world));
    let (before, during) = with_fault(&world, "reorder router/left 20%", in_order);
    assert_eq!((before, during), (Some(true), Some(false)));
}

#[test]
fn corrupted_packets_are_not_believed_and_tcp_gets_over_it() {
    let (before, during) = with_fault(&served(), "corrupt router/left 40%", echoed);
    assert_eq!(before, (0..200).collect::<Vec<u8>>());
    assert!((40..110).contains(&during.len()), "{}", during.len());
    let data: Vec<u8> = (0..30_000u32).map(|i| (i % 251) as u8).collect();
    let world = served();
    let sent = data.clone();
    let asked =
        move |world: &World| {
            let sent = sent.clone();
            run(&world.sim, world.client, |host| async move {
                ask(host, addr("10.0.2.2:7"), sent).await
            })
        };
    let (_, during) = with_fault(&world, "corrupt router/left 10%", asked);
    assert!(during == Some(Ok(data)));
}

#[test]
fn a_slow_link_takes_its_time_and_its_queue_overflows() {
    let millis = |world: &World| {
        let before = world.net.now();
        let result = run(&world.sim, world.client, |host| async move {
            ask(host, addr("10.0.2.2:7"), vec![7; 20_000]).await.map(|data| data.len())
        });
        assert_eq!(result, Some(Ok(20_000)));
        (world.net.now() - before).as_millis() > 2000
    };
    // 20,000 bytes at 8,000 bytes a second: two seconds and a half each way.
    let (before, during) = with_fault(&served(), "rate router/right 64kbit", millis);
    assert_eq!((before, during), (false, true));
    let flood = |world: &World| {
        let before = world.net.packet_counts().dropped;
        run(&world.sim, world.client, |host| async move {
            let socket = host.bind_udp(addr("0.0.0.0:0")).unwrap();
            for _ in 0..1000 {
                socket.send_to(&[0; 1400], addr("10.0.2.2:5"), None).unwrap();
                host.sleep(Duration::from_micros(100)).await;
            }
        });
        world.net.packet_counts().dropped > before
    };
    let (before, during) = with_fault(&served(), "rate router/right 1mbit", flood);
    assert_eq!((before, during), (false, true));
}

#[test]
fn who_is_silent_to_arp_cannot_be_reached() {
    let world = served();
    let connect = |world: &World| {
        // Who asks is known by its question: the last connection has to be over.
        world.sim.advance(world.net.now() + Duration::from_secs(90), u32::MAX);
        world.net.flush_neighbours(world.router, |_, _| true);
        world.net.flush_neighbours(world.server, |_, _| true);
        run(&world.sim, world.client, |host| async move {
            host.connect(addr("10.0.2.2:7")).await.map(drop)
        })
    };
    let (before, during) = with_fault(&world, "arp-silence server/eth0", connect);
    assert_eq!((before, during), (Some(Ok(())), Some(Err(SockError::HostUnreachable))));
}

#[test]
fn a_full_table_of_connections_takes_no_new_ones() {
    let world = served();
    world.net.with_netfilter(world.router, |nf| {
        let rules = "*filter\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n";
        restore(nf, rules, RestoreOptions::default()).unwrap()
    });
    let (before, during) = with_fault(&world, "conntrack-limit router 0", is_heard);
    assert_eq!((before, during), (true, false));
}

#[test]
fn an_interface_that_was_down_has_its_routes_again() {
    let world = served();
    let fault: Fault = "down client/eth0".parse().unwrap();
    let routes = |world: &World| world.net.routes(world.client).len();
    assert_eq!(routes(&world), 2);
    world.net.apply_fault(fault.clone()).unwrap();
    assert_eq!(routes(&world), 0);
    world.net.heal_fault(&fault).unwrap();
    assert_eq!(routes(&world), 2);
    assert!(is_heard(&world));
    // By hand the default route stays lost, as on Linux.
    world.net.set_up(world.c, false);
    world.net.set_up(world.c, true);
    assert_eq!(routes(&world), 1);
}

#[test]
fn faults_are_refused_where_they_make_no_sense() {
    let world = served();
    let apply = |text: &str| world.net.apply_fault(text.parse().unwrap()).unwrap_err().to_string();
    assert_eq!(apply("cut nowhere/eth0"), "no such place: nowhere");
    assert_eq!(apply("cut client/eth9"), "no such interface: client/eth9");
    assert_eq!(apply("loss client/lo 5%"), "client/lo is not the end of a cable");
    let fault: Fault = "power-off client".parse().unwrap();
    world.net.apply_fault(fault.clone()).unwrap();
    assert_eq!(apply("power-off client"), "this fault is there already");
    world.net.heal_fault(&fault).unwrap();
    assert_eq!(world.net.heal_fault(&fault).unwrap_err().to_string(), "there is no such fault");
}
