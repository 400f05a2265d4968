//! Small worlds, and what packets meet in them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{Ipv4Addr, SocketAddrV4};

use base::{Duration, Instant};
use expect_test::{Expect, expect};
use netfilter::text::{RestoreOptions, restore};
use netsim::exec::timeout;
use netsim::{
    Cause, Cidr, Host, IfId, LinkConfig, Net, NsId, Route, Sim, SockError, TraceMode, UdpSocket,
};

/// `client 10.0.1.2 ─ router ─ server 10.0.2.2`, everything traced.
struct World {
    sim: Sim,
    client: NsId,
    router: NsId,
    server: NsId,
    router_iface: IfId,
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn addr(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

fn world() -> World {
    let sim = Sim::new(1);
    let net = sim.net().clone();
    let [client, router, server] =
        ["client", "router", "server"].map(|name| net.add_namespace(name));
    net.set_forwarding(router, true);
    let cable = LinkConfig::default;
    let (c, r1) = net.add_veth((client, "eth0"), (router, "left"), cable());
    let (s, r2) = net.add_veth((server, "eth0"), (router, "right"), cable());
    for (iface, at) in
        [(c, "10.0.1.2/24"), (r1, "10.0.1.1/24"), (s, "10.0.2.2/24"), (r2, "10.0.2.1/24")]
    {
        net.add_addr(iface, cidr(at));
    }
    for (ns, gateway, dev) in [(client, [10, 0, 1, 1], c), (server, [10, 0, 2, 1], s)] {
        net.add_route(ns, Route::via(Cidr::DEFAULT, gateway.into(), dev)).unwrap();
    }
    net.set_trace(TraceMode::All);
    World { sim, client, router, server, router_iface: r2 }
}

/// A server that sends every line back until the client has finished.
async fn echo(host: Host, port: u16) -> i32 {
    let listener = host.listen(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        host.spawn(async move {
            let mut buffer = [0; 1000];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        });
    }
    0
}

/// Sends `data` and reads as much back.
async fn ask(host: Host, to: SocketAddrV4, data: &[u8]) -> Result<Vec<u8>, SockError> {
    let stream = host.connect(to).await?;
    stream.write_all(data).await?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while answer.len() < data.len() {
        match stream.read(&mut buffer).await? {
            0 => break,
            read => answer.extend_from_slice(&buffer[..read]),
        }
    }
    Ok(answer)
}

/// Runs `program` in a namespace until nothing happens any more, or for ten minutes.
fn run<T: 'static, F: Future<Output = T> + 'static>(
    sim: &Sim,
    ns: NsId,
    program: impl FnOnce(Host) -> F,
) -> Option<T> {
    let result = std::rc::Rc::new(std::cell::RefCell::new(None));
    let slot = result.clone();
    let process = sim.net().start(ns, "test", Cause(1), |host| {
        let running = program(host);
        async move {
            *slot.borrow_mut() = Some(running.await);
            0
        }
    });
    let end = sim.net().now() + Duration::from_secs(600);
    while process.exit_code().is_none() && sim.step(end) {}
    result.take()
}

/// All steps, as `time namespace step packet`.
fn story(net: &Net) -> String {
    let name = |id| net.name_of(id).unwrap_or_default();
    net.steps_since(0)
        .iter()
        .map(|step| {
            let at = step.at.as_micros();
            let kind = step.kind.to_string();
            format!("{at:05} {:<6} {:<38} {}\n", name(step.ns), kind, step.tcpdump())
        })
        .collect()
}

fn lines_with(story: &str, words: &str) -> String {
    story.lines().filter(|line| line.contains(words)).map(|line| format!("{line}\n")).collect()
}

fn check(actual: impl std::fmt::Display, expected: Expect) {
    expected.assert_eq(&actual.to_string());
}

#[test]
fn a_connection_crosses_a_router() {
    let World { sim, client, server, .. } = world();
    let net = sim.net();
    net.start(server, "echo", Cause(0), |host| echo(host, 7));
    let answer =
        run(&sim, client, |host| async move { ask(host, addr("10.0.2.2:7"), b"hello").await });
    assert_eq!(answer, Some(Ok(b"hello".to_vec())));
    let story = story(net);
    check(
        lines_with(&story, "ARP"),
        expect![[r#"
            00000 client made                                   ARP, Request who-has 10.0.1.1 tell 10.0.1.2, length 28
            00000 client out by eth0                            ARP, Request who-has 10.0.1.1 tell 10.0.1.2, length 28
            00010 router in by left                             ARP, Request who-has 10.0.1.1 tell 10.0.1.2, length 28
            00010 router delivered                              ARP, Request who-has 10.0.1.1 tell 10.0.1.2, length 28
            00010 router made                                   ARP, Reply 10.0.1.1 is-at e2:55:a0:96:58:1a, length 28
            00010 router out by left                            ARP, Reply 10.0.1.1 is-at e2:55:a0:96:58:1a, length 28
            00020 client in by eth0                             ARP, Reply 10.0.1.1 is-at e2:55:a0:96:58:1a, length 28
            00020 client delivered                              ARP, Reply 10.0.1.1 is-at e2:55:a0:96:58:1a, length 28
            00030 router made                                   ARP, Request who-has 10.0.2.2 tell 10.0.2.1, length 28
            00030 router out by right                           ARP, Request who-has 10.0.2.2 tell 10.0.2.1, length 28
            00040 server in by eth0                             ARP, Request who-has 10.0.2.2 tell 10.0.2.1, length 28
            00040 server delivered                              ARP, Request who-has 10.0.2.2 tell 10.0.2.1, length 28
            00040 server made                                   ARP, Reply 10.0.2.2 is-at 8a:3a:f8:ef:b6:39, length 28
            00040 server out by eth0                            ARP, Reply 10.0.2.2 is-at 8a:3a:f8:ef:b6:39, length 28
            00050 router in by right                            ARP, Reply 10.0.2.2 is-at 8a:3a:f8:ef:b6:39, length 28
            00050 router delivered                              ARP, Reply 10.0.2.2 is-at 8a:3a:f8:ef:b6:39, length 28
        "#]],
    );
    check(
        lines_with(&lines_with(&story, "server"), "IP"),
        expect![[r#"
            00060 server in by eth0                             IP 10.0.1.2.58885 > 10.0.2.2.7: Flags [S], seq 186822268, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            00060 server for this host                          IP 10.0.1.2.58885 > 10.0.2.2.7: Flags [S], seq 186822268, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            00060 server delivered                              IP 10.0.1.2.58885 > 10.0.2.2.7: Flags [S], seq 186822268, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            00060 server made                                   IP 10.0.2.2.7 > 10.0.1.2.58885: Flags [S.], seq 4036600234, ack 186822269, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            00060 server route 0.0.0.0/0 via 10.0.2.1 dev eth0  IP 10.0.2.2.7 > 10.0.1.2.58885: Flags [S.], seq 4036600234, ack 186822269, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            00060 server out by eth0                            IP 10.0.2.2.7 > 10.0.1.2.58885: Flags [S.], seq 4036600234, ack 186822269, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            00100 server in by eth0                             IP 10.0.1.2.58885 > 10.0.2.2.7: Flags [.], ack 4036600235, win 64240, length 0
            00100 server for this host                          IP 10.0.1.2.58885 > 10.0.2.2.7: Flags [.], ack 4036600235, win 64240, length 0
            00100 server delivered                              IP 10.0.1.2.58885 > 10.0.2.2.7: Flags [.], ack 4036600235, win 64240, length 0
            00100 server in by eth0                             IP 10.0.1.2.58885 > 10.0.2.2.7: Flags [P.], seq 186822269:186822274, ack 4036600235, win 64240, length 5
            00100 server for this host                          IP 10.0.1.2.58885 > 10.0.2.2.7: Flags [P.], seq 186822269:186822274, ack 4036600235, win 64240, length 5
            00100 server delivered                              IP 10.0.1.2.58885 > 10.0.2.2.7: Flags [P.], seq 186822269:186822274, ack 4036600235, win 64240, length 5
            00100 server made                                   IP 10.0.2.2.7 > 10.0.1.2.58885: Flags [.], ack 186822274, win 64235, length 0
            00100 server route 0.0.0.0/0 via 10.0.2.1 dev eth0  IP 10.0.2.2.7 > 10.0.1.2.58885: Flags [.], ack 186822274, win 64235, length 0
            00100 server out by eth0                            IP 10.0.2.2.7 > 10.0.1.2.58885: Flags [.], ack 186822274, win 64235, length 0
            00100 server made                                   IP 10.0.2.2.7 > 10.0.1.2.58885: Flags [P.], seq 4036600235:4036600240, ack 186822274, win 64240, length 5
            00100 server route 0.0.0.0/0 via 10.0.2.1 dev eth0  IP 10.0.2.2.7 > 10.0.1.2.58885: Flags [P.], seq 4036600235:4036600240, ack 186822274, win 64240, length 5
            00100 server out by eth0                            IP 10.0.2.2.7 > 10.0.1.2.58885: Flags [P.], seq 4036600235:4036600240, ack 186822274, win 64240, length 5
        "#]],
    );
    sim.advance(Instant::from_secs(100), u32::MAX);
    let counts = net.packet_counts();
    assert_eq!(counts.made, counts.delivered + counts.dropped);
    assert_eq!(counts.dropped, 0);
}

#[test]
fn what_is_closed_unreachable_or_silent_fails_in_its_own_way() {
    let World { sim, client, server, router, router_iface } = world();
    let net = sim.net().clone();
    let connect = |to: &str| {
        let (to, before) = (addr(to), net.now());
        let result = run(&sim, client, |host| async move { host.connect(to).await.map(drop) });
        (result.unwrap().unwrap_err(), (net.now() - before).as_millis())
    };
    // Nobody listens: a reset.
    assert_eq!(connect("10.0.2.2:81"), (SockError::Refused, 0));
    // Nobody has the address: the router's ARP goes unanswered, and it says so after three seconds.
    assert_eq!(connect("10.0.2.9:80"), (SockError::HostUnreachable, 3000));
    // The same on our own link.
    assert_eq!(connect("10.0.1.9:80"), (SockError::HostUnreachable, 3000));
    // The router has no route.
    assert_eq!(connect("10.9.9.9:80"), (SockError::NetUnreachable, 0));
    net.start(server, "echo", Cause(0), |host| echo(host, 7));
    let rules = |rules: &str| {
        let text = format!("*filter\n{rules}\nCOMMIT\n");
        net.with_netfilter(router, |nf| restore(nf, &text, RestoreOptions::default()).unwrap());
    };
    // A rule drops: silence, until the kernel gives up.
    rules("-A FORWARD -p tcp --dport 7 -j DROP");
    let (error, millis) = connect("10.0.2.2:7");
    assert_eq!(error, SockError::TimedOut);
    assert!((127_000..128_000).contains(&millis), "{millis}");
    // A rule refuses, in one way or another.
    rules("-A FORWARD -p tcp --dport 7 -j REJECT");
    assert_eq!(connect("10.0.2.2:7"), (SockError::Refused, 0));
    rules("-A FORWARD -p tcp --dport 7 -j REJECT --reject-with tcp-reset");
    assert_eq!(connect("10.0.2.2:7"), (SockError::Refused, 0));
    rules("-A FORWARD -p tcp --dport 7 -j REJECT --reject-with icmp-admin-prohibited");
    assert_eq!(connect("10.0.2.2:7"), (SockError::HostUnreachable, 0));
    rules("");
    // A cable is cut: the router believes its neighbour to be there for a while, then asks in vain.
    net.set_link(router_iface, |link| link.is_cut = true);
    let (error, millis) = connect("10.0.2.2:7");
    assert_eq!(error, SockError::HostUnreachable);
    assert!((3_000..40_000).contains(&millis), "{millis}");
    // No route of our own.
    net.remove_route(client, Cidr::DEFAULT);
    assert_eq!(connect("10.0.2.2:7"), (SockError::NetUnreachable, 0));
    let story = story(&net);
    check(
        lines_with(&story, "lost:").lines().map(|l| &l[6..]).collect::<Vec<_>>().join("\n"),
        expect![[r#"
            0 router lost: the next hop does not answer ARP IP 10.0.1.2.44208 > 10.0.2.9.80: Flags [S], seq 575802106, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            0 router lost: the next hop does not answer ARP IP 10.0.1.2.44208 > 10.0.2.9.80: Flags [S], seq 575802106, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            0 router lost: the next hop does not answer ARP IP 10.0.1.2.44208 > 10.0.2.9.80: Flags [S], seq 575802106, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            0 client lost: the next hop does not answer ARP IP 10.0.1.2.53099 > 10.0.1.9.80: Flags [S], seq 339572247, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            0 client lost: the next hop does not answer ARP IP 10.0.1.2.53099 > 10.0.1.9.80: Flags [S], seq 339572247, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            0 client lost: the next hop does not answer ARP IP 10.0.1.2.53099 > 10.0.1.9.80: Flags [S], seq 339572247, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            0 router lost: no route to this destination     IP 10.0.1.2.33940 > 10.9.9.9.80: Flags [S], seq 1753083455, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            0 router lost: dropped by rule 1 of chain FORWARD in table filter IP 10.0.1.2.44536 > 10.0.2.2.7: Flags [S], seq 3113122909, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            0 router lost: dropped by rule 1 of chain FORWARD in table filter IP 10.0.1.2.44536 > 10.0.2.2.7: Flags [S], seq 3113122909, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            0 router lost: dropped by rule 1 of chain FORWARD in table filter IP 10.0.1.2.44536 > 10.0.2.2.7: Flags [S], seq 3113122909, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            40 router lost: dropped by rule 1 of chain FORWARD in table filter IP 10.0.1.2.44536 > 10.0.2.2.7: Flags [S], seq 3113122909, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            40 router lost: dropped by rule 1 of chain FORWARD in table filter IP 10.0.1.2.44536 > 10.0.2.2.7: Flags [S], seq 3113122909, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            40 router lost: dropped by rule 1 of chain FORWARD in table filter IP 10.0.1.2.44536 > 10.0.2.2.7: Flags [S], seq 3113122909, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            40 router lost: dropped by rule 1 of chain FORWARD in table filter IP 10.0.1.2.44536 > 10.0.2.2.7: Flags [S], seq 3113122909, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            140 router lost: dropped by rule 1 of chain FORWARD in table filter IP 10.0.1.2.44536 > 10.0.2.2.7: Flags [S], seq 3113122909, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            140 router lost: refused by rule 1 of chain FORWARD in table filter IP 10.0.1.2.43112 > 10.0.2.2.7: Flags [S], seq 1004424552, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            160 router lost: refused by rule 1 of chain FORWARD in table filter IP 10.0.1.2.57817 > 10.0.2.2.7: Flags [S], seq 2880237374, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            180 router lost: refused by rule 1 of chain FORWARD in table filter IP 10.0.1.2.39427 > 10.0.2.2.7: Flags [S], seq 1876513380, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            200 router lost: the link is cut                  IP 10.0.1.2.36943 > 10.0.2.2.7: Flags [S], seq 1579534819, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            200 router lost: the link is cut                  IP 10.0.1.2.36943 > 10.0.2.2.7: Flags [S], seq 1579534819, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            200 router lost: the link is cut                  IP 10.0.1.2.36943 > 10.0.2.2.7: Flags [S], seq 1579534819, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            200 router lost: the link is cut                  ARP, Request who-has 10.0.2.2 tell 10.0.2.1, length 28
            200 router lost: the link is cut                  ARP, Request who-has 10.0.2.2 tell 10.0.2.1, length 28
            200 router lost: the link is cut                  ARP, Request who-has 10.0.2.2 tell 10.0.2.1, length 28
            200 router lost: the link is cut                  IP 10.0.1.2.36943 > 10.0.2.2.7: Flags [S], seq 1579534819, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            200 router lost: the link is cut                  ARP, Request who-has 10.0.2.2 tell 10.0.2.1, length 28
            200 router lost: the link is cut                  ARP, Request who-has 10.0.2.2 tell 10.0.2.1, length 28
            200 router lost: the link is cut                  ARP, Request who-has 10.0.2.2 tell 10.0.2.1, length 28
            200 router lost: the next hop does not answer ARP IP 10.0.1.2.36943 > 10.0.2.2.7: Flags [S], seq 1579534819, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0"#]],
    );
}

#[test]
fn much_data_arrives_whole_over_a_link_that_loses_some() {
    let World { sim, client, server, router_iface, .. } = world();
    let net = sim.net();
    net.set_trace(TraceMode::Off);
    net.start(server, "echo", Cause(0), |host| echo(host, 7));
    net.set_link(router_iface, |link| link.loss_ppm = 20_000);
    let data: Vec<u8> = (0..100_000u32).map(|i| (i * 7 % 251) as u8).collect();
    let sent = data.clone();
    let answer = run(&sim, client, |host| async move {
        let stream = host.connect(addr("10.0.2.2:7")).await?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        for chunk in sent.chunks(1000) {
            stream.write_all(chunk).await?;
            let want = answer.len() + chunk.len();
            while answer.len() < want {
                let read = stream.read(&mut buffer).await?;
                answer.extend_from_slice(&buffer[..read]);
            }
        }
        Ok::<_, SockError>(answer)
    });
    assert!(answer == Some(Ok(data)));
    let counts = net.packet_counts();
    assert!(counts.dropped > 0, "the link lost nothing: {counts:?}");
}

#[test]
fn closing_with_unread_data_resets() {
    let World { sim, client, server, .. } = world();
    sim.net().start(server, "rude", Cause(0), |host| async move {
        let listener = host.listen(addr("0.0.0.0:7")).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        host.sleep(Duration::from_secs(1)).await;
        drop(stream);
        0
    });
    let result = run(&sim, client, |host| async move {
        let stream = host.connect(addr("10.0.2.2:7")).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.read(&mut [0; 10]).await
    });
    assert_eq!(result, Some(Err(SockError::Reset)));
}

#[test]
fn datagrams_and_what_a_connected_socket_learns() {
    let World { sim, client, server, .. } = world();
    sim.net().start(server, "udp echo", Cause(0), |host| async move {
        let socket = host.bind_udp(addr("0.0.0.0:53")).unwrap();
        while let Ok((data, from, to)) = socket.recv_from().await {
            socket.send_to(&data, from, to).unwrap();
        }
        0
    });
    let ask = |host: &Host, to: &'static str| {
        let socket: UdpSocket = host.bind_udp(addr("0.0.0.0:0")).unwrap();
        socket.connect(addr(to)).unwrap();
        socket.send_to(b"question", addr(to), None).unwrap();
        let sleep = host.sleep(Duration::from_secs(5));
        async move { timeout(sleep, socket.recv_from()).await.map(|r| r.map(|(data, ..)| data)) }
    };
    let results = run(&sim, client, |host| async move {
        [
            ask(&host, "10.0.2.2:53").await,
            ask(&host, "10.0.2.2:54").await,
            ask(&host, "10.0.2.9:53").await,
        ]
    });
    let expected = [
        Some(Ok(b"question".to_vec())),
        Some(Err(SockError::Refused)),
        // A router's "host unreachable" is only a hint; the socket goes on waiting.
        None,
    ];
    assert_eq!(results, Some(expected));
}

#[test]
fn loopback_and_ones_own_address() {
    let World { sim, client, .. } = world();
    sim.net().start(client, "echo", Cause(0), |host| echo(host, 7));
    for to in ["127.0.0.1:7", "127.9.9.9:7", "10.0.1.2:7", "0.0.0.0:7"] {
        let answer = run(&sim, client, |host| async move { ask(host, addr(to), b"me").await });
        assert_eq!(answer, Some(Ok(b"me".to_vec())), "{to}");
    }
    let story = story(sim.net());
    assert_eq!(lines_with(&story, "eth0"), "", "nothing left the machine");
}

#[test]
fn ports_are_taken_and_given_back() {
    let World { sim, client, .. } = world();
    let results = run(&sim, client, |host| async move {
        let first = host.listen(addr("0.0.0.0:80"));
        let second = host.listen(addr("127.0.0.1:80")).err();
        let foreign = host.listen(addr("10.0.2.2:81")).err();
        drop(first);
        (second, foreign, host.listen(addr("127.0.0.1:80")).is_ok())
    });
    let expected = (Some(SockError::AddrInUse), Some(SockError::AddrNotAvailable), true);
    assert_eq!(results, Some(expected));
}

#[test]
fn killing_a_process_closes_its_connections() {
    let World { sim, client, server, .. } = world();
    let net = sim.net();
    let process = net.start(server, "silent", Cause(0), |host| async move {
        let listener = host.listen(addr("0.0.0.0:7")).unwrap();
        let _stream = listener.accept().await;
        host.sleep(Duration::from_secs(1000)).await;
        0
    });
    let killer = process.clone();
    let read = run(&sim, client, |host| async move {
        let stream = host.connect(addr("10.0.2.2:7")).await.unwrap();
        host.sleep(Duration::from_secs(1)).await;
        killer.kill();
        stream.read(&mut [0; 1]).await
    });
    assert_eq!(read, Some(Ok(0)));
    assert_eq!(process.exit_code(), Some(137));
    let again =
        run(&sim, client, |host| async move { host.connect(addr("10.0.2.2:7")).await.map(drop) });
    assert_eq!(again, Some(Err(SockError::Refused)));
}

#[test]
fn a_connection_that_nobody_will_accept_is_reset() {
    let World { sim, client, server, .. } = world();
    let process = sim.net().start(server, "deaf", Cause(0), |host| async move {
        let _listener = host.listen(addr("0.0.0.0:7")).unwrap();
        host.sleep(Duration::from_secs(1000)).await;
        0
    });
    for wait in [0, 1] {
        let (killer, wait) = (process.clone(), Duration::from_secs(wait));
        let read = run(&sim, client, |host| async move {
            let stream = host.connect(addr("10.0.2.2:7")).await?;
            host.sleep(wait).await;
            killer.kill();
            stream.read(&mut [0; 1]).await
        });
        let expected = if wait.is_zero() { SockError::Reset } else { SockError::Refused };
        assert_eq!(read, Some(Err(expected)));
    }
}

#[test]
fn a_bridge_learns_and_floods() {
    let sim = Sim::new(1);
    let net = sim.net().clone();
    let host = net.add_namespace("host");
    let bridge = net.add_bridge(host, "br0");
    net.add_addr(bridge, cidr("10.0.0.1/24"));
    let mut boxes = Vec::new();
    for i in 2..5u8 {
        let ns = net.add_namespace(&format!("box{i}"));
        let (port, eth0) =
            net.add_veth((host, &format!("port{i}")), (ns, "eth0"), LinkConfig::default());
        net.set_master(port, bridge);
        net.add_addr(eth0, Cidr::new([10, 0, 0, i].into(), 24));
        net.start(ns, "echo", Cause(0), |host| echo(host, 7));
        boxes.push(ns);
    }
    net.start(host, "echo", Cause(0), |host| echo(host, 7));
    net.set_trace(TraceMode::All);
    for to in ["10.0.0.3:7", "10.0.0.1:7"] {
        let answer = run(&sim, boxes[0], |host| async move { ask(host, addr(to), b"x").await });
        assert_eq!(answer, Some(Ok(b"x".to_vec())), "{to}");
    }
    let answer = run(&sim, host, |host| async move { ask(host, addr("10.0.0.4:7"), b"x").await });
    assert_eq!(answer, Some(Ok(b"x".to_vec())));
    let story = story(&net);
    check(
        lines_with(&story, "switched")
            .lines()
            .take(4)
            .map(|l| l.to_string() + "\n")
            .collect::<String>(),
        expect![[r#"
            00060 host   switched by br0 to port3, port4        ARP, Request who-has 10.0.0.3 tell 10.0.0.2, length 28
            00130 host   switched by br0 to port2               ARP, Reply 10.0.0.3 is-at 56:ad:34:14:42:ca, length 28
            00200 host   switched by br0 to port3               IP 10.0.0.2.39592 > 10.0.0.3.7: Flags [S], seq 741279446, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
            00270 host   switched by br0 to port2               IP 10.0.0.3.7 > 10.0.0.2.39592: Flags [S.], seq 542179457, ack 741279447, win 64240, options [mss 1460,wscale 0,sackOK,eol], length 0
        "#]],
    );
}

#[test]
fn the_same_seed_gives_the_same_story_and_another_seed_another() {
    let story_of = |seed| {
        let sim = Sim::new(seed);
        let net = sim.net().clone();
        let [a, b] = ["a", "b"].map(|name| net.add_namespace(name));
        let (x, y) = net.add_veth((a, "eth0"), (b, "eth0"), LinkConfig::default());
        net.add_addr(x, cidr("10.0.0.1/24"));
        net.add_addr(y, cidr("10.0.0.2/24"));
        net.set_trace(TraceMode::All);
        net.start(b, "echo", Cause(0), |host| echo(host, 7));
        run(&sim, a, |host| async move { ask(host, addr("10.0.0.2:7"), b"hello").await });
        story(&net)
    };
    assert_eq!(story_of(1), story_of(1));
    assert_ne!(story_of(1), story_of(2));
}
