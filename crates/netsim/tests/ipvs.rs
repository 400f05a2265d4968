//! Virtual servers on a router: real connections through it, from elsewhere and from itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use base::Duration;
use common::{World, addr, ask, cidr, echo, run, udp_echo, world};
use netfilter::ipvs::command::ipvsadm;
use netfilter::text::{RestoreOptions, restore};
use netsim::{Cause, SockError};

/// A router with the virtual address 10.96.0.10 on an interface of its own, and these commands typed there.
fn director(commands: &str) -> World {
    let world = world();
    let dummy = world.net.add_dummy(world.router, "kube-ipvs0");
    world.net.add_addr(dummy, cidr("10.96.0.10/32"));
    world.net.set_up(dummy, false);
    commands.lines().for_each(|line| {
        assert_eq!(typed(&world, line.trim()), "", "{line}");
    });
    let ipvs = |nf: &mut netfilter::Netfilter| nf.ipvs_mut().settings.conntrack = true;
    world.net.with_netfilter(world.router, ipvs);
    world
}

fn typed(world: &World, line: &str) -> String {
    let args: Vec<String> = line.split_whitespace().map(str::to_string).collect();
    let now = world.net.now();
    let output = world.net.with_netfilter(world.router, |nf| ipvsadm(nf, &args, "", now)).unwrap();
    output.out + &output.err
}

const ECHO: &str = "-A -t 10.96.0.10:80 -s rr
    -a -t 10.96.0.10:80 -r 10.0.2.2:8080 -m
    -A -u 10.96.0.10:53 -s rr
    -a -u 10.96.0.10:53 -r 10.0.2.2:9 -m";

#[test]
fn a_client_elsewhere_and_the_director_itself_reach_the_server() {
    let world = director(ECHO);
    world.net.start(world.server, "echo", Cause(0), |host| echo(host, 8080));
    world.net.start(world.server, "udp", Cause(0), |host| udp_echo(host, 9));
    let data = vec![7; 5000];
    let sent = data.clone();
    let answer = run(&world.sim, world.client, |host| ask(host, addr("10.96.0.10:80"), sent));
    assert_eq!(answer.unwrap().unwrap(), data);
    assert_eq!(common::volley(&world.sim, world.client, "10.96.0.10:53", 5), [0, 1, 2, 3, 4]);
    // Its own packets have the virtual address as their source: they have to be masqueraded.
    let rules = "*nat\n-A POSTROUTING -s 10.96.0.10 -j MASQUERADE\nCOMMIT\n";
    world.net.with_netfilter(world.router, |nf| {
        restore(nf, rules, RestoreOptions::default()).unwrap();
    });
    let sent = data.clone();
    let answer = run(&world.sim, world.router, |host| ask(host, addr("10.96.0.10:80"), sent));
    assert_eq!(answer.unwrap().unwrap(), data);
    assert_eq!(common::volley(&world.sim, world.router, "10.96.0.10:53", 5), [0, 1, 2, 3, 4]);
    let list = typed(&world, "-Ln --stats");
    let conns = |line: &str| line.split_whitespace().nth(2).unwrap().to_string();
    let lines: Vec<&str> = list.lines().filter(|line| line.contains("10.0.2.2")).collect();
    assert_eq!(lines.iter().map(|line| conns(line)).collect::<Vec<_>>(), ["2", "2"], "{list}");
    assert_eq!(world.net.packets_in_flight(), 0);
}

#[test]
fn a_service_without_servers_refuses_and_one_that_gets_some_answers() {
    let world = director("-A -t 10.96.0.10:80 -s rr");
    world.net.start(world.server, "echo", Cause(0), |host| echo(host, 8080));
    let ask_it = || run(&world.sim, world.client, |host| ask(host, addr("10.96.0.10:80"), vec![1]));
    assert_eq!(ask_it().unwrap(), Err(SockError::Refused));
    assert_eq!(typed(&world, "-a -t 10.96.0.10:80 -r 10.0.2.2:8080 -m"), "");
    assert_eq!(ask_it().unwrap(), Ok(vec![1]));
}

#[test]
fn a_connection_that_the_router_let_pass_before_becomes_a_virtual_one_when_it_is_asked_for() {
    let world = director("-A -t 10.96.0.10:81 -s rr");
    world.net.start(world.server, "echo", Cause(0), |host| udp_echo(host, 9));
    // Between the same two addresses, first without, then with a virtual service.
    assert_eq!(common::volley(&world.sim, world.client, "10.0.2.2:9", 20).len(), 20);
    ECHO.lines().skip(2).for_each(|line| assert_eq!(typed(&world, line.trim()), ""));
    assert_eq!(common::volley(&world.sim, world.client, "10.96.0.10:53", 20).len(), 20);
    assert_eq!(common::volley(&world.sim, world.client, "10.0.2.2:9", 20).len(), 20);
}

#[test]
fn long_packets_are_refused_with_what_the_sender_sent() {
    let world = director(ECHO);
    world.net.start(world.server, "echo", Cause(0), |host| echo(host, 8080));
    world.net.set_mtu(world.right, 600).unwrap();
    world.net.set_mtu(world.s, 600).unwrap();
    let data = vec![7; 20_000];
    let sent = data.clone();
    let answer = run(&world.sim, world.client, |host| ask(host, addr("10.96.0.10:80"), sent));
    assert_eq!(answer.unwrap().unwrap(), data);
}

#[test]
fn connections_of_both_kinds_are_forgotten_together() {
    let world = director(ECHO);
    world.net.start(world.server, "udp", Cause(0), |host| udp_echo(host, 9));
    typed(&world, "--set 0 0 5");
    assert_eq!(common::volley(&world.sim, world.client, "10.96.0.10:53", 2), [0, 1]);
    let count = || {
        let now = world.net.now();
        let count = |nf: &mut netfilter::Netfilter| nf.conntrack().entries(now).len();
        world.net.with_netfilter(world.router, count).unwrap()
    };
    assert_eq!(count(), 1);
    world.sim.advance(world.net.now() + Duration::from_secs(6), u32::MAX);
    assert_eq!((count(), typed(&world, "-Lnc").lines().count()), (0, 2));
}
