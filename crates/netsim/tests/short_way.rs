//! A router that lets packets follow those before them hears of every change at once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::cell::RefCell;
use std::rc::Rc;

use base::Duration;
use common::{World, addr, cidr, udp_echo, world};
use netfilter::text::{RestoreOptions, restore};
use netsim::exec::timeout;
use netsim::{Cause, Fault, Route, RouteKind};

const RULES: &str = "*nat
-A POSTROUTING -o right -j MASQUERADE
COMMIT
*filter
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
";

/// Asks over and over from one socket; says each time whether an answer came.
fn asks_for_ever(world: &World) -> Rc<RefCell<Vec<bool>>> {
    let answered = Rc::new(RefCell::new(Vec::new()));
    let log = answered.clone();
    world.net.start(world.server, "echo", Cause(0), |host| udp_echo(host, 9));
    world.net.start(world.client, "asks", Cause(0), |host| async move {
        let socket = host.bind_udp(addr("0.0.0.0:4000")).unwrap();
        loop {
            socket.send_to(b"there?", addr("10.0.2.2:9"), None).unwrap();
            let wait = host.sleep(Duration::from_millis(100));
            let answer = timeout(wait, socket.recv_from()).await;
            log.borrow_mut().push(matches!(answer, Some(Ok(_))));
            host.sleep(Duration::from_millis(100)).await;
        }
    });
    answered
}

/// Whether the answers came during the next second.
fn hears(world: &World, answered: &RefCell<Vec<bool>>) -> bool {
    // What is on its way when something changes may still get through.
    let settle = world.net.now() + Duration::from_millis(200);
    world.sim.advance(settle, u32::MAX);
    answered.borrow_mut().clear();
    world.sim.advance(world.net.now() + Duration::from_secs(1), u32::MAX);
    let answers = answered.borrow();
    assert!(answers.len() > 3 && answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    answers[0]
}

#[test]
fn every_change_is_heeded_by_the_next_packet_of_a_connection() {
    let world = world();
    let (net, router) = (&world.net, world.router);
    net.with_netfilter(router, |nf| restore(nf, RULES, RestoreOptions::default()).unwrap());
    let answered = asks_for_ever(&world);
    let rule = |verb: &str| {
        let text = format!("*filter\n{verb}\nCOMMIT\n");
        let options = RestoreOptions { noflush: true, ..RestoreOptions::default() };
        net.with_netfilter(router, |nf| restore(nf, &text, options).unwrap());
    };
    let fault = |text: &str| text.parse::<Fault>().unwrap();
    let server = cidr("10.0.2.2/32");
    let hole = || Route::special(RouteKind::Blackhole, server);
    type Step<'a> = (&'a str, &'a dyn Fn(), &'a dyn Fn());
    let steps: [Step<'_>; 7] = [
        ("a route", &|| net.add_route(router, hole()).unwrap(), &|| {
            assert_eq!(net.remove_route(router, server), 1);
        }),
        ("a rule", &|| rule("-I FORWARD 1 -j DROP"), &|| rule("-D FORWARD 1")),
        ("a port", &|| rule("-I FORWARD 1 -p udp --dport 9 -j DROP"), &|| rule("-D FORWARD 1")),
        ("ip_forward", &|| net.set_forwarding(router, false), &|| net.set_forwarding(router, true)),
        ("cut", &|| net.apply_fault(fault("cut server/eth0")).unwrap(), &|| {
            net.heal_fault(&fault("cut server/eth0")).unwrap();
        }),
        ("partition", &|| net.apply_fault(fault("partition server")).unwrap(), &|| {
            net.heal_fault(&fault("partition server")).unwrap();
        }),
        ("power", &|| net.set_power(router, false), &|| net.set_power(router, true)),
    ];
    assert!(hears(&world, &answered), "before everything");
    for (name, change, undo) in steps {
        change();
        assert!(!hears(&world, &answered), "{name} is heeded");
        undo();
        assert!(hears(&world, &answered), "{name} is as before");
    }
    let counted = net.with_netfilter(router, |nf| {
        let forward = nf.table(netfilter::TableName::Filter)?.chain("FORWARD")?.rules.first()?;
        Some(forward.counters.packets)
    });
    assert!(counted.flatten().is_some_and(|packets| packets > 50), "{counted:?}");
}

#[test]
fn rules_that_look_at_ports_count_their_own_connections_only() {
    let world = world();
    let rules = "*filter\n-A FORWARD -p udp -m udp --sport 4000\n-A FORWARD -p udp -m udp --dport 5000\n\
                 -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n";
    world.net.with_netfilter(world.router, |nf| {
        restore(nf, rules, RestoreOptions::default()).unwrap();
    });
    world.net.start(world.server, "echo", Cause(0), |host| udp_echo(host, 9));
    world.net.start(world.client, "asks", Cause(0), |host| async move {
        let sockets = ["0.0.0.0:4000", "0.0.0.0:5000"].map(|at| host.bind_udp(addr(at)).unwrap());
        for _ in 0..10 {
            for socket in &sockets {
                socket.send_to(b"there?", addr("10.0.2.2:9"), None).unwrap();
                socket.recv_from().await.unwrap();
            }
        }
        0
    });
    world.sim.advance(world.net.now() + Duration::from_secs(5), u32::MAX);
    let counted = world.net.with_netfilter(world.router, |nf| {
        let chain = nf.table(netfilter::TableName::Filter).unwrap().chain("FORWARD").unwrap();
        chain.rules.iter().map(|rule| rule.counters.packets).collect::<Vec<_>>()
    });
    // The first packet of each connection is not of an established one.
    assert_eq!(counted, Some(vec![10, 10, 38]));
}
