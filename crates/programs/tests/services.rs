//! HTTP, DNS, echo, proxies and health checks over real packets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::cell::RefCell;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use base::Duration;
use expect_test::{Expect, expect};
use netsim::{Cause, Host, NsId, Sim};
use programs::dns::{
    self, Answer, Data, Flavour, Kind, Message, Name, Record, ResolvConf, ResolveError, Resolver,
    Zone,
};
use programs::health::{Check, Schedule};
use programs::http::client::Ask;
use programs::http::{FetchError, Headers, Limits, Response, fetch, serve_with};
use programs::resolve::Names;
use programs::{echo, health, proxy};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn at(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(HERE, port)
}

struct Machine {
    sim: Sim,
    ns: NsId,
}

impl Machine {
    fn new() -> Machine {
        let sim = Sim::new(1);
        let ns = sim.net().add_namespace("machine");
        Machine { sim, ns }
    }

    fn start<F: Future<Output = ()> + 'static>(&self, program: impl FnOnce(Host) -> F) {
        self.sim.net().start(self.ns, "server", Cause(0), |host| {
            let running = program(host);
            async move {
                running.await;
                0
            }
        });
    }

    fn run<T: 'static, F: Future<Output = T> + 'static>(
        &self,
        program: impl FnOnce(Host) -> F,
    ) -> T {
        let result = Rc::new(RefCell::new(None));
        let slot = result.clone();
        let process = self.sim.net().start(self.ns, "client", Cause(1), |host| {
            let running = program(host);
            async move {
                *slot.borrow_mut() = Some(running.await);
                0
            }
        });
        let end = self.sim.net().now() + Duration::from_secs(600);
        while process.exit_code().is_none() && self.sim.step(end) {}
        result.take().expect("the client has not finished")
    }

    /// A server that says what it was asked.
    fn web(&self, port: u16, limits: Limits) {
        self.start(|host| async move {
            let listener = host.listen(at(port)).unwrap();
            serve_with(host, listener, limits, |request| {
                let text = |body: &str| Response::new(200, "text/plain", body);
                match request.path() {
                    "/chunks" => {
                        let mut response = text(&"abcdefgh".repeat(2000));
                        response.headers.push("Transfer-Encoding", "chunked");
                        response
                    }
                    "/missing" => Response::new(404, "text/plain", "no"),
                    _ => text(&format!(
                        "{} {} {}",
                        request.method,
                        request.target,
                        String::from_utf8_lossy(&request.body)
                    )),
                }
            })
            .await;
        });
    }

    /// Writes bytes to a port, says that they are all, and reads everything that comes.
    fn talk(&self, port: u16, pieces: &[&[u8]]) -> String {
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        self.run(move |host| async move {
            let stream = host.connect(at(port)).await.unwrap();
            for piece in pieces {
                stream.write_all(&piece).await.unwrap();
                host.sleep(Duration::from_millis(20)).await;
            }
            stream.shutdown();
            let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
            while let Ok(read @ 1..) = stream.read(&mut chunk).await {
                all.extend_from_slice(&chunk[..read]);
            }
            String::from_utf8_lossy(&all).replace("\r\n", "\n")
        })
    }
}

fn check(actual: impl ToString, expected: Expect) {
    expected.assert_eq(&actual.to_string());
}

#[test]
fn a_connection_carries_many_requests_also_when_they_come_at_once() {
    let machine = Machine::new();
    machine.web(80, Limits::default());
    check(
        machine.talk(
            80,
            &[
                b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nHEAD /b HTTP/1.1\r\nHost: x\r\n\r\nPOST /c HTTP/1.1\r\n",
                b"Host: x\r\nContent-Length: 3\r\n\r\nabc\r\nGET /d HTTP/1.0\r\n\r\nGET /never HTTP/1.1\r\nHost: x\r\n\r\n",
            ],
        ),
        expect![[r#"
            HTTP/1.1 200 OK
            Content-Type: text/plain
            Content-Length: 7

            GET /a HTTP/1.1 200 OK
            Content-Type: text/plain
            Content-Length: 8

            HTTP/1.1 200 OK
            Content-Type: text/plain
            Content-Length: 11

            POST /c abcHTTP/1.1 200 OK
            Content-Type: text/plain
            Content-Length: 7
            Connection: close

            GET /d "#]],
    );
}

#[test]
fn bodies_in_chunks_and_bodies_that_are_asked_for() {
    let machine = Machine::new();
    machine.web(80, Limits::default());
    let head = b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n";
    check(
        machine.talk(80, &[head, b"3\r\nab", b"c\r\n2;x=y\r\nde\r\n0\r\n\r\n"]),
        expect![[r#"
            HTTP/1.1 100 Continue

            HTTP/1.1 200 OK
            Content-Type: text/plain
            Content-Length: 13
            Connection: close

            POST /p abcde"#]],
    );
}

#[test]
fn what_is_no_request_or_too_long_is_refused() {
    let machine = Machine::new();
    machine.web(80, Limits { body_max: 4, ..Limits::default() });
    let status = |request: &str| {
        let answer = machine.talk(80, &[request.as_bytes()]);
        answer.lines().next().unwrap_or("nothing").to_string()
    };
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(70_000));
    for (request, answer) in [
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("\u{1}\u{2}\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde",
            "HTTP/1.1 413 Payload Too Large",
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            "HTTP/1.1 413 Payload Too Large",
        ),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "HTTP/1.1 400 Bad Request",
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
            "HTTP/1.1 413 Payload Too Large",
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 400 Bad Request",
        ),
        ("POST / HTTP/1.1\r\nHost: x\r\nExpect: gold\r\n\r\n", "HTTP/1.1 417 Expectation Failed"),
        (&long, "HTTP/1.1 431 Request Header Fields Too Large"),
        ("GET / HTTP/1.1\r\nHost: x", "nothing"),
    ] {
        assert_eq!(status(request), answer, "{}", &request[..request.len().min(80)]);
    }
}

#[test]
fn an_idle_connection_is_closed() {
    let machine = Machine::new();
    machine.web(80, Limits { idle: Some(Duration::from_secs(5)), ..Limits::default() });
    let waited = machine.run(|host| async move {
        let stream = host.connect(at(80)).await.unwrap();
        let begun = host.now();
        assert_eq!(stream.read(&mut [0; 10]).await, Ok(0));
        host.now().since(begun)
    });
    assert_eq!(waited.as_secs(), 5);
}

/// Asks once, and says what came or how it failed.
fn ask(machine: &Machine, method: &'static str, port: u16, path: &'static str) -> String {
    machine.run(move |host| async move {
        let mut headers = Headers::default();
        headers.push("Host", "web");
        let (method, target) = (method.to_string(), path.to_string());
        let ask = Ask { method, target, headers, body: Vec::new() };
        let stream = match host.connect(at(port)).await {
            Ok(stream) => stream,
            Err(error) => return format!("{error}"),
        };
        match fetch(&host, &stream, &ask).await {
            Ok(fetched) => {
                let body = String::from_utf8_lossy(&fetched.response.body).into_owned();
                let shown = if body.len() > 60 { format!("{} bytes", body.len()) } else { body };
                format!("{} {shown}", fetched.response.status)
            }
            Err(FetchError::Partial { missing, .. }) => format!("partial, {missing:?} missing"),
            Err(error) => format!("{error:?}"),
        }
    })
}

#[test]
fn a_client_reads_what_comes_and_says_how_it_failed() {
    let machine = Machine::new();
    machine.web(80, Limits::default());
    machine.start(|host| async move {
        let listener = host.listen(at(81)).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    machine.start(|host| async move {
        let listener = host.listen(at(83)).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").await.unwrap();
        }
    });
    machine.start(|host| async move {
        let listener = host.listen(at(84)).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            stream.abort();
        }
    });
    let told = [
        ask(&machine, "GET", 80, "/a"),
        ask(&machine, "GET", 80, "/chunks"),
        ask(&machine, "HEAD", 80, "/d"),
        ask(&machine, "GET", 80, "/missing"),
        ask(&machine, "GET", 9, "/"),
        ask(&machine, "GET", 81, "/"),
        ask(&machine, "GET", 83, "/"),
        ask(&machine, "GET", 84, "/"),
    ];
    check(
        told.join("\n"),
        expect![[r#"
        200 GET /a 
        200 16000 bytes
        200 
        404 no
        Connection refused
        Empty
        partial, Some(6) missing
        Receive(Reset)"#]],
    );
}

/// A zone of plain values.
struct Plain(Vec<(&'static str, Vec<Data>)>);

impl Zone for Plain {
    fn lookup(&self, name: &Name, kind: Kind) -> Answer {
        if !name.is_in(&Name::parse("cluster.local").unwrap()) && name.reverse_addr().is_none() {
            return Answer::NotMine;
        }
        let Some((_, all)) =
            self.0.iter().find(|(known, _)| Name::parse(known).as_ref() == Some(name))
        else {
            return Answer::NoSuchName;
        };
        let wanted = |data: &&Data| data.kind() == kind || matches!(data, Data::Cname(_));
        Answer::Records(all.iter().filter(wanted).map(|data| (5, data.clone())).collect())
    }

    fn authority(&self, _: &Name) -> Option<Record> {
        let name = |text| Name::parse(text).unwrap();
        let (primary, mailbox) = (name("ns.dns.cluster.local"), name("hostmaster.cluster.local"));
        let data = Data::Soa { primary, mailbox, serial: 1, minimum: 5 };
        Some(Record { name: name("cluster.local"), ttl: 5, data })
    }
}

fn zone() -> Rc<dyn Zone> {
    let a = |last| Data::A(Ipv4Addr::new(10, 96, 0, last));
    let name = |text| Name::parse(text).unwrap();
    let target = name("web.default.svc.cluster.local");
    Rc::new(Plain(vec![
        ("web.default.svc.cluster.local", vec![a(1)]),
        ("pods.default.svc.cluster.local", vec![a(2), a(3), a(4)]),
        ("many.default.svc.cluster.local", (0..100).map(a).collect()),
        ("alias.default.svc.cluster.local", vec![Data::Cname(target.clone())]),
        ("v6.default.svc.cluster.local", vec![Data::Aaaa("fd00::1".parse().unwrap())]),
        (
            "_http._tcp.web.default.svc.cluster.local",
            vec![Data::Srv { priority: 0, weight: 100, port: 80, target: target.clone() }],
        ),
        ("1.0.96.10.in-addr.arpa", vec![Data::Ptr(target)]),
    ]))
}

fn resolver(flavour: Flavour, nameservers: Vec<Ipv4Addr>) -> Resolver {
    let text =
        "search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";
    let conf = ResolvConf { nameservers, ..ResolvConf::parse(text) };
    Resolver { names: Names::localhost(), conf, flavour, asks_both: true, udp_size: None }
}

fn resolve(machine: &Machine, resolver: &Resolver, name: &'static str) -> String {
    let resolver = resolver.clone();
    machine.run(move |host| async move {
        let begun = host.now();
        let told = match resolver.addresses(&host, name).await {
            Ok(addrs) if addrs.len() > 5 => format!("{} addresses", addrs.len()),
            Ok(addrs) => addrs.iter().map(|addr| format!("{addr} ")).collect(),
            Err(error) => format!("{error}"),
        };
        format!("{name}: {told} after {} s\n", host.now().since(begun).as_secs())
    })
}

#[test]
fn names_are_resolved_as_a_pod_resolves_them() {
    let machine = Machine::new();
    machine.start(|host| async move { dns::serve(host, HERE, zone()).await.unwrap() });
    let mut told = String::new();
    for flavour in [Flavour::Glibc, Flavour::Musl] {
        let resolver = resolver(flavour, vec![HERE]);
        let names = [
            "localhost",
            "10.9.8.7",
            "web",
            "web.default",
            "web.default.svc.cluster.local",
            "alias",
            "many",
            "v6",
            "nope",
            "v6.default.svc.cluster.local.",
            "nope.cluster.local.",
        ];
        told += &format!("{flavour:?}\n");
        told.extend(names.iter().map(|name| resolve(&machine, &resolver, name)));
    }
    check(
        told,
        expect![[r#"
        Glibc
        localhost: 127.0.0.1  after 0 s
        10.9.8.7: 10.9.8.7  after 0 s
        web: 10.96.0.1  after 0 s
        web.default: 10.96.0.1  after 0 s
        web.default.svc.cluster.local: 10.96.0.1  after 0 s
        alias: 10.96.0.1  after 0 s
        many: 100 addresses after 0 s
        v6: Temporary failure in name resolution after 0 s
        nope: Temporary failure in name resolution after 0 s
        v6.default.svc.cluster.local.: No address associated with hostname after 0 s
        nope.cluster.local.: Name or service not known after 0 s
        Musl
        localhost: 127.0.0.1  after 0 s
        10.9.8.7: 10.9.8.7  after 0 s
        web: 10.96.0.1  after 0 s
        web.default: 10.96.0.1  after 0 s
        web.default.svc.cluster.local: 10.96.0.1  after 0 s
        alias: 10.96.0.1  after 0 s
        many: 100 addresses after 0 s
        v6: No address associated with hostname after 0 s
        nope: Temporary failure in name resolution after 5 s
        v6.default.svc.cluster.local.: No address associated with hostname after 0 s
        nope.cluster.local.: Name or service not known after 0 s
    "#]],
    );
}

#[test]
fn addresses_take_turns() {
    let machine = Machine::new();
    machine.start(|host| async move { dns::serve(host, HERE, zone()).await.unwrap() });
    let resolver = resolver(Flavour::Musl, vec![HERE]);
    let told: String = (0..4).map(|_| resolve(&machine, &resolver, "pods")).collect();
    check(
        told,
        expect![[r#"
        pods: 10.96.0.2 10.96.0.3 10.96.0.4  after 0 s
        pods: 10.96.0.3 10.96.0.4 10.96.0.2  after 0 s
        pods: 10.96.0.4 10.96.0.2 10.96.0.3  after 0 s
        pods: 10.96.0.2 10.96.0.3 10.96.0.4  after 0 s
    "#]],
    );
}

#[test]
fn all_that_is_asked_for_is_answered() {
    let machine = Machine::new();
    machine.start(|host| async move { dns::serve(host, HERE, zone()).await.unwrap() });
    let ask = |name: &str, kind| {
        let name = Name::parse(name).unwrap();
        let resolver = resolver(Flavour::Glibc, vec![HERE]);
        let answer =
            machine.run(move |host| async move { resolver.query(&host, &name, kind).await });
        answer.ok().map(|answer| {
            (answer.code, answer.answers.len(), answer.authorities.len(), answer.is_truncated)
        })
    };
    let told = [
        ask("_http._tcp.web.default.svc.cluster.local", Kind::Srv),
        ask("1.0.96.10.in-addr.arpa", Kind::Ptr),
        ask("alias.default.svc.cluster.local", Kind::A),
        ask("alias.default.svc.cluster.local", Kind::Cname),
        ask("web.default.svc.cluster.local", Kind::Txt),
        ask("nope.default.svc.cluster.local", Kind::A),
        ask("many.default.svc.cluster.local", Kind::A),
        ask("example.com", Kind::A),
    ];
    let told: String = told.iter().map(|told| format!("{told:?}\n")).collect();
    check(
        told,
        expect![[r#"
            Some((NoError, 1, 0, false))
            Some((NoError, 1, 0, false))
            Some((NoError, 2, 0, false))
            Some((NoError, 1, 0, false))
            Some((NoError, 0, 1, false))
            Some((NxDomain, 0, 1, false))
            Some((NoError, 100, 0, false))
            Some((Refused, 0, 0, false))
        "#]],
    );
}

#[test]
fn bytes_that_are_no_question_are_not_answered_and_do_no_harm() {
    let machine = Machine::new();
    machine.start(|host| async move { dns::serve(host, HERE, zone()).await.unwrap() });
    let answers = machine.run(|host| async move {
        let socket = host.bind_udp(at(0)).unwrap();
        let name = Name::parse("web.default.svc.cluster.local").unwrap();
        let good = Message::question(7, name, Kind::A);
        let mut two = good.clone();
        two.questions.push(two.questions[0].clone());
        let mut notify = good.clone();
        notify.opcode = 4;
        let mut answer = good.clone();
        answer.is_response = true;
        for bytes in [vec![], vec![0; 11], vec![0xff; 40], answer.to_bytes(512)] {
            socket.send_to(&bytes, at(53), None).unwrap();
        }
        let mut told = String::new();
        for question in [two, notify, good] {
            socket.send_to(&question.to_bytes(512), at(53), None).unwrap();
            let (bytes, ..) = socket.recv_from().await.unwrap();
            told += &format!("{:?} ", Message::parse(&bytes).unwrap().code);
        }
        told
    });
    check(answers, expect!["FormErr NotImp NoError "]);
}

#[test]
fn a_silent_server_costs_time_and_a_closed_port_does_not() {
    let machine = Machine::new();
    let silent = Ipv4Addr::new(127, 0, 0, 2);
    machine.start(move |host| async move {
        let socket = host.bind_udp(SocketAddrV4::new(silent, 53)).unwrap();
        loop {
            let _ = socket.recv_from().await;
        }
    });
    let told = resolve(&machine, &resolver(Flavour::Glibc, vec![silent]), "web")
        + &resolve(&machine, &resolver(Flavour::Musl, vec![silent]), "web")
        + &resolve(&machine, &resolver(Flavour::Glibc, vec![HERE]), "web");
    machine.start(|host| async move { dns::serve(host, HERE, zone()).await.unwrap() });
    let told = told
        + &resolve(&machine, &resolver(Flavour::Glibc, vec![silent, HERE]), "web")
        + &resolve(&machine, &resolver(Flavour::Musl, vec![silent, HERE]), "web");
    check(
        told,
        expect![[r#"
            web: Temporary failure in name resolution after 10 s
            web: Temporary failure in name resolution after 5 s
            web: Temporary failure in name resolution after 0 s
            web: 10.96.0.1  after 5 s
            web: 10.96.0.1  after 0 s
        "#]],
    );
    assert_eq!(ResolveError::TryAgain.to_string(), "Temporary failure in name resolution");
}

#[test]
fn echo_servers_give_back() {
    let machine = Machine::new();
    machine.start(|host| async move {
        let listener = host.listen(at(7)).unwrap();
        echo::tcp(host, listener).await;
    });
    machine.start(|host| async move { echo::udp(host.bind_udp(at(7)).unwrap()).await });
    assert_eq!(machine.talk(7, &[b"one ", b"two"]), "one two");
    let back = machine.run(|host| async move {
        let socket = host.bind_udp(at(0)).unwrap();
        socket.send_to(b"hello", at(7), None).unwrap();
        socket.recv_from().await.unwrap()
    });
    assert_eq!((&back.0[..], back.1), (&b"hello"[..], at(7)));
}

#[test]
fn a_proxy_passes_on_what_is_said_after_one_side_has_finished() {
    let machine = Machine::new();
    machine.start(|host| async move {
        // Answers only when everything has been said.
        let listener = host.listen(at(70)).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let (mut all, mut chunk) = (Vec::new(), [0; 100]);
            while let Ok(read @ 1..) = stream.read(&mut chunk).await {
                all.extend_from_slice(&chunk[..read]);
            }
            all.reverse();
            stream.write_all(&all).await.unwrap();
        }
    });
    machine.start(|host| async move {
        let listener = host.listen(at(71)).unwrap();
        proxy::publish(host, listener, at(70)).await;
    });
    assert_eq!(machine.talk(71, &[b"abc", b"def"]), "fedcba");
}

#[test]
fn a_datagram_proxy_keeps_senders_apart_and_forgets_them() {
    let machine = Machine::new();
    machine.start(|host| async move { echo::udp(host.bind_udp(at(7)).unwrap()).await });
    machine.start(|host| async move {
        let socket = host.bind_udp(at(77)).unwrap();
        proxy::publish_udp(host, socket, at(7)).await;
    });
    let told = machine.run(|host| async move {
        let (a, b) = (host.bind_udp(at(0)).unwrap(), host.bind_udp(at(0)).unwrap());
        let mut told = Vec::new();
        for round in 0..2u8 {
            a.send_to(&[b'a', round], at(77), None).unwrap();
            b.send_to(&[b'b', round], at(77), None).unwrap();
            for socket in [&a, &b] {
                let (data, from, _) = socket.recv_from().await.unwrap();
                assert_eq!(from, at(77));
                told.extend(data);
            }
            host.sleep(Duration::from_secs(200)).await;
        }
        told
    });
    assert_eq!(told, [b'a', 0, b'b', 0, b'a', 1, b'b', 1]);
}

#[test]
fn health_is_what_some_answers_in_a_row_say() {
    let machine = Machine::new();
    let log: Rc<RefCell<String>> = Rc::default();
    let schedule = Schedule { initial_delay: Duration::from_secs(1), ..Schedule::default() };
    let checks = [
        Check::Tcp(at(90)),
        Check::Http { addr: at(90), path: "/healthz".to_string(), headers: Headers::default() },
    ];
    for (number, check) in checks.into_iter().enumerate() {
        let log = log.clone();
        machine.start(move |host| async move {
            let clock = host.clone();
            health::watch(host, check, schedule, move |healthy, why| {
                let line =
                    format!("{} {number} {healthy} {}\n", clock.now(), why.unwrap_or_default());
                log.borrow_mut().push_str(&line);
            })
            .await;
        });
    }
    machine.start(|host| async move {
        host.sleep(Duration::from_secs(35)).await;
        let listener = host.listen(at(90)).unwrap();
        let serving = serve_with(host.clone(), listener, Limits::default(), |request| {
            Response::new(if request.path() == "/healthz" { 200 } else { 404 }, "text/plain", "")
        });
        netsim::exec::select(serving, host.sleep(Duration::from_secs(30))).await;
    });
    machine.sim.advance(base::Instant::from_secs(120), u32::MAX);
    check(
        log.borrow(),
        expect![[r#"
        00:00:21.000 020 0 false dial tcp 127.0.0.1:90: connect: connection refused
        00:00:21.000 020 1 false Get "http://127.0.0.1:90/healthz": dial tcp 127.0.0.1:90: connect: connection refused
        00:00:41.000 020 0 true 
        00:00:41.000 040 1 true 
        00:01:31.000 020 0 false dial tcp 127.0.0.1:90: connect: connection refused
        00:01:31.000 020 1 false Get "http://127.0.0.1:90/healthz": dial tcp 127.0.0.1:90: connect: connection refused
    "#]],
    );
    let why = machine.run(|host| async move {
        let check =
            Check::Http { addr: at(91), path: "/".to_string(), headers: Headers::default() };
        health::once(&host, &check, Duration::from_secs(1)).await
    });
    check(
        why.unwrap_err(),
        expect![[
            r#"Get "http://127.0.0.1:91/": dial tcp 127.0.0.1:91: connect: connection refused"#
        ]],
    );
}
