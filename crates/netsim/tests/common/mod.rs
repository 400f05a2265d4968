//! What tests of small worlds have in common.

#![allow(dead_code, reason = "no test uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::cell::RefCell;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use base::Duration;
use netsim::exec::timeout;
use netsim::{Cause, Cidr, Host, IfId, LinkConfig, Net, NsId, Route, Sim, SockError};

pub(crate) fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

pub(crate) fn addr(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

pub(crate) fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// `client 10.0.1.2 ─ router ─ server 10.0.2.2`
pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) net: Net,
    pub(crate) client: NsId,
    pub(crate) router: NsId,
    pub(crate) server: NsId,
    /// The ends of the two cables.
    pub(crate) c: IfId,
    pub(crate) left: IfId,
    pub(crate) right: IfId,
    pub(crate) s: IfId,
}

pub(crate) fn world() -> World {
    world_of(1)
}

pub(crate) fn world_of(seed: u64) -> World {
    let sim = Sim::new(seed);
    let net = sim.net().clone();
    let [client, router, server] =
        ["client", "router", "server"].map(|name| net.add_namespace(name));
    net.set_forwarding(router, true);
    let (c, left) = net.add_veth((client, "eth0"), (router, "left"), LinkConfig::default());
    let (s, right) = net.add_veth((server, "eth0"), (router, "right"), LinkConfig::default());
    for (iface, at) in
        [(c, "10.0.1.2/24"), (left, "10.0.1.1/24"), (s, "10.0.2.2/24"), (right, "10.0.2.1/24")]
    {
        net.add_addr(iface, cidr(at));
    }
    for (ns, gateway, dev) in [(client, "10.0.1.1", c), (server, "10.0.2.1", s)] {
        net.add_route(ns, Route::via(Cidr::DEFAULT, ip(gateway), dev)).unwrap();
    }
    World { sim, net, client, router, server, c, left, right, s }
}

/// Runs `program` in a namespace until it ends, or for twenty minutes.
pub(crate) fn run<T: 'static, F: Future<Output = T> + 'static>(
    sim: &Sim,
    ns: NsId,
    program: impl FnOnce(Host) -> F,
) -> Option<T> {
    let result = Rc::new(RefCell::new(None));
    let slot = result.clone();
    let process = sim.net().start(ns, "test", Cause(1), |host| {
        let running = program(host);
        async move {
            *slot.borrow_mut() = Some(running.await);
            0
        }
    });
    let end = sim.net().now() + Duration::from_secs(1200);
    while process.exit_code().is_none() && sim.step(end) {}
    result.take()
}

/// A TCP server that sends back what it gets.
pub(crate) async fn echo(host: Host, port: u16) -> i32 {
    let listener = host.listen(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        host.spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        });
    }
    0
}

/// A UDP server that sends back what it gets.
pub(crate) async fn udp_echo(host: Host, port: u16) -> i32 {
    let socket = host.bind_udp(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)).unwrap();
    loop {
        if let Ok((data, from, to)) = socket.recv_from().await {
            let _ = socket.send_to(&data, from, to);
        }
    }
}

/// Sends `data` over TCP and reads as much back.
pub(crate) async fn ask(host: Host, to: SocketAddrV4, data: Vec<u8>) -> Result<Vec<u8>, SockError> {
    let stream = host.connect(to).await?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    for chunk in data.chunks(1000) {
        stream.write_all(chunk).await?;
        let want = answer.len() + chunk.len();
        while answer.len() < want {
            match stream.read(&mut buffer).await? {
                0 => return Ok(answer),
                read => answer.extend_from_slice(&buffer[..read]),
            }
        }
    }
    Ok(answer)
}

/// Sends an echo request and says how long the answer took; `None`: none came within five seconds.
pub(crate) fn ping(sim: &Sim, ns: NsId, to: &str) -> Option<Duration> {
    let to = ip(to);
    run(sim, ns, |host| async move {
        let socket = host.ping_socket();
        let sent = host.now();
        socket.send_echo(to, 1, &[7; 56], None).ok()?;
        let (packet, at) =
            timeout(host.sleep(Duration::from_secs(5)), socket.recv()).await?.ok()?;
        packet.head().is_icmp_error().then_some(()).map_or(Some(at - sent), |()| None)
    })
    .flatten()
}

/// How many of `count` datagrams, one every ten milliseconds, come back, copies included; and in which
/// order.
pub(crate) fn volley(sim: &Sim, ns: NsId, to: &str, count: u8) -> Vec<u8> {
    let to = addr(to);
    run(sim, ns, |host| async move {
        let socket = host.bind_udp(addr("0.0.0.0:0")).unwrap();
        let mut back = Vec::new();
        for i in 0..count {
            let _ = socket.send_to(&[i; 100], to, None);
            let soon = host.sleep(Duration::from_millis(10));
            if let Some(Ok((data, ..))) = timeout(soon, socket.recv_from()).await {
                back.push(data[0]);
            }
        }
        while let Some(Ok((data, ..))) =
            timeout(host.sleep(Duration::from_secs(1)), socket.recv_from()).await
        {
            back.push(data[0]);
        }
        back
    })
    .unwrap()
}

/// Every packet that was made is delivered, dropped or in flight.
pub(crate) fn assert_conserved(net: &Net) {
    let counts = net.packet_counts();
    let in_flight = net.packets_in_flight();
    assert_eq!(counts.made, counts.delivered + counts.dropped + in_flight, "{counts:?}");
}
