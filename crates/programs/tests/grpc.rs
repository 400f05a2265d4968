//! gRPC health checks over real packets: what the client says of servers of all kinds, what the server says to
//! clients of all kinds, and what tshark reads of both.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test says what it skips")]

use std::cell::RefCell;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;
use std::rc::Rc;

use base::Duration;
use expect_test::{Expect, expect};
use netsim::capture::CaptureDirection;
use netsim::exec::timeout;
use netsim::{Cause, Host, NsId, Sim};
use packet::capture::{Record, classic};
use packet::tcpdump::{LinkType, Stamp};
use programs::grpc::http2::{
    self, Connection, END_HEADERS, END_STREAM, What, kind, put, put_headers,
};
use programs::grpc::{self, Health, NOT_SERVING, SERVING, Status};
use programs::http::Response;
use programs::http::server::at_once;
use proptest::prelude::*;

const AT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5000);
const LIMIT: Duration = Duration::from_secs(5);

fn health() -> Health {
    Rc::new(|service| match service {
        "" => Ok(SERVING),
        "sick" => Ok(NOT_SERVING),
        "new" => Ok(0),
        "odd" => Err(Status::new(99, "100 % odd: é\n")),
        _ => Err(Status::new(Status::NOT_FOUND, "unknown service")),
    })
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

    /// A server of health checks; with `http` one of HTTP/1.1 as well.
    fn serve(&self, http: bool) {
        self.start(move |host| async move {
            let listener = host.listen(AT).unwrap();
            let web = at_once(|request| Response::new(200, "text/plain", request.line()));
            grpc::serve(host, listener, health(), http.then_some(web)).await;
        });
    }

    /// A server that says this to everybody, then waits for so long, and closes.
    fn says(&self, bytes: Vec<u8>, and_then: Duration) {
        self.start(move |host| async move {
            let listener = host.listen(AT).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                stream.write_all(&bytes).await.unwrap();
                let mut chunk = [0; 4096];
                let reading = async { while let Ok(1..) = stream.read(&mut chunk).await {} };
                timeout(host.sleep(and_then), reading).await;
            }
        });
    }

    /// What a check of a service comes to.
    fn check(&self, service: &str) -> String {
        let service = service.to_string();
        self.run(move |host| async move {
            let checking = async {
                let connection = grpc::connect(&host, AT).await;
                let since = host.now();
                let said = grpc::check(connection, &service, "test/1", LIMIT).await;
                let said = said.map_or_else(|status| status.error(), grpc::serving_name);
                match (host.now() - since).as_secs() {
                    0 => said,
                    secs => format!("{said} after {secs} s"),
                }
            };
            timeout(host.sleep(LIMIT), checking).await.unwrap_or("no connection".to_string())
        })
    }

    /// Writes bytes, and names the frames that come until the other side closes.
    fn talk(&self, bytes: &[u8]) -> String {
        let bytes = bytes.to_vec();
        let all = self.run(move |host| async move {
            let stream = host.connect(AT).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            host.sleep(Duration::from_millis(100)).await;
            stream.shutdown();
            let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
            while let Ok(read @ 1..) = stream.read(&mut chunk).await {
                all.extend_from_slice(&chunk[..read]);
            }
            all
        });
        frames(&all)
    }
}

/// Names frames: kind, flags, stream, and the payload, or fields as lines.
fn frames(mut all: &[u8]) -> String {
    const KINDS: &str = "DATA HEADERS PRIORITY RST_STREAM SETTINGS PUSH_PROMISE PING GOAWAY WINDOW_UPDATE CONTINUATION";
    let mut out = String::new();
    let mut fields = grpc::hpack::Decoder::default();
    while let Some((head, rest)) = all.split_first_chunk::<9>() {
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let Some((payload, rest)) = rest.split_at_checked(len) else { break };
        all = rest;
        let name = KINDS.split(' ').nth(head[3].into()).unwrap_or("?");
        out += &format!("{name} flags {} stream {id}", head[4]);
        if head[3] == kind::HEADERS {
            for (name, value) in fields.read(payload).unwrap().0 {
                out += &format!("\n    {name}: {value}");
            }
        } else {
            out += " ";
            payload.iter().for_each(|byte| out += &format!("{byte:02x}"));
        }
        out += "\n";
    }
    assert!(all.is_empty(), "{:?} after {out}", String::from_utf8_lossy(all));
    out
}

fn check(actual: impl ToString, expected: Expect) {
    expected.assert_eq(&actual.to_string());
}

/// A client's preface, and its settings.
fn begin() -> Vec<u8> {
    let mut out = http2::PREFACE.to_vec();
    put(&mut out, kind::SETTINGS, 0, 0, &[]);
    out
}

/// The fields of a call.
fn call(path: &str) -> [(&str, &str); 3] {
    [(":method", "POST"), (":path", path), ("content-type", "application/grpc")]
}

const CHECK: &str = "/grpc.health.v1.Health/Check";

#[test]
fn services_have_their_own_status() {
    let machine = Machine::new();
    machine.serve(false);
    assert_eq!(machine.check(""), "SERVING");
    assert_eq!(machine.check("sick"), "NOT_SERVING");
    assert_eq!(machine.check("new"), "UNKNOWN");
    assert_eq!(machine.check("x"), "rpc error: code = NotFound desc = unknown service");
    assert_eq!(machine.check("odd"), "rpc error: code = Code(99) desc = 100 % odd: é\n");
    assert_eq!(machine.check(&"x".repeat(200)), machine.check("x"));
    assert_eq!(
        machine.check(&"x".repeat(20_000)),
        "rpc error: code = ResourceExhausted desc = trying to send message larger than max (20009 vs. 16384)"
    );
}

#[test]
fn one_port_speaks_http_1_and_2() {
    let machine = Machine::new();
    machine.serve(true);
    assert_eq!(machine.check(""), "SERVING");
    let said = machine.run(|host| async move {
        let stream = host.connect(AT).await.unwrap();
        for piece in ["P", "UT /x HTTP/1.0\r\n\r\n"] {
            stream.write_all(piece.as_bytes()).await.unwrap();
            host.sleep(Duration::from_millis(10)).await;
        }
        let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            all.extend_from_slice(&chunk[..read]);
        }
        String::from_utf8(all).unwrap()
    });
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("PUT /x HTTP/1.0"), "{said}");
}

#[test]
fn a_server_that_comes_late_is_found_when_it_is_asked_again() {
    let machine = Machine::new();
    machine.start(|host| async move {
        host.sleep(Duration::from_millis(1500)).await;
        let listener = host.listen(AT).unwrap();
        grpc::serve(host, listener, health(), None).await;
    });
    let begun = machine.sim.net().now();
    assert_eq!(machine.check(""), "SERVING");
    // After 1 s, and then after 1.6 s.
    let took = machine.sim.net().now() - begun;
    assert!((2600..2610).contains(&took.as_millis()), "{took:?}");
}

#[test]
fn servers_that_do_not_speak_it_do_not_count_as_connected() {
    let web =
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
    let mut ping = Vec::new();
    put(&mut ping, 6, 0, 0, b"12345678");
    for bytes in [Vec::new(), web, ping, vec![0, 0, 1, 4, 0, 0, 0, 0, 0, 9]] {
        for silence in [0, 100] {
            let machine = Machine::new();
            machine.says(bytes.clone(), Duration::from_secs(silence));
            assert_eq!(machine.check(""), "no connection", "{bytes:?}, then {silence} s");
        }
    }
    assert_eq!(Machine::new().check(""), "no connection", "nobody there at all");
}

/// What the client says of an answer.
fn said_of(more: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    put(&mut out, kind::SETTINGS, 0, 0, &[]);
    more(&mut out);
    let machine = Machine::new();
    machine.says(out, Duration::from_secs(2));
    machine.check("")
}

#[test]
fn answers_that_are_none_are_named_as_grpc_go_names_them() {
    let good = [(":status", "200"), ("content-type", "application/grpc")];
    let html = [(":status", "404"), ("content-type", "text/html")];
    let framed = [0, 0, 0, 0, 2, 8, 1];
    let trailers = |status: &str| {
        said_of(|out| put_headers(out, 1, true, &[good[0], good[1], ("grpc-status", status)]))
    };
    let whole = |body: &[u8], last: &[(&str, &str)]| {
        said_of(|out| {
            put_headers(out, 1, false, &good);
            put(out, kind::DATA, 0, 1, body);
            put_headers(out, 1, true, last);
        })
    };
    let last = [("grpc-status", "0")];
    let said = [
        said_of(|_| {}),
        said_of(|out| put(out, 7, 0, 0, &[0; 8])),
        said_of(|out| put_headers(out, 1, false, &html)),
        said_of(|out| put(out, kind::RST_STREAM, 0, 1, &[0, 0, 0, 8])),
        said_of(|out| put(out, kind::RST_STREAM, 0, 1, &[0, 0, 0])),
        said_of(|out| put(out, kind::HEADERS, END_HEADERS, 1, &[0xff])),
        said_of(|out| put_headers(out, 0, true, &good)),
        trailers("12"),
        trailers("0"),
        trailers("x"),
        whole(&framed, &last),
        whole(&framed, &[]),
        whole(&framed[..6], &last),
        whole(&[0, 0, 0, 0, 1, 8], &last),
        said_of(|out| {
            put_headers(out, 1, false, &good);
            put(out, kind::DATA, END_STREAM, 1, &framed);
        }),
        said_of(|out| {
            put_headers(out, 1, false, &good);
            put_headers(out, 1, false, &good);
        }),
        // Other streams, kinds that are not known, priorities, windows and padding are no matter.
        said_of(|out| {
            put_headers(out, 3, true, &html);
            put(out, 2, 0, 1, &[0; 5]);
            put(out, 8, 0, 1, &[0, 0, 0, 1]);
            put(out, 77, 255, 1, b"abc");
            put_headers(out, 1, false, &good);
            put(out, kind::DATA, 8, 1, &[2, 0, 0, 0, 0, 2, 8, 2, 0, 0]);
            put_headers(out, 1, true, &last);
        }),
    ];
    check(
        said.join("\n"),
        expect![[r#"
        rpc error: code = Unavailable desc = error reading from server: EOF after 2 s
        rpc error: code = Unavailable desc = error reading from server: EOF after 2 s
        rpc error: code = Unimplemented desc = unexpected HTTP status code received from server: 404 (Not Found); transport: received unexpected content-type "text/html"
        rpc error: code = Canceled desc = stream terminated by RST_STREAM with error code: CANCEL
        rpc error: code = Unavailable desc = error reading from server: connection error: FRAME_SIZE_ERROR
        rpc error: code = Unavailable desc = error reading from server: connection error: COMPRESSION_ERROR
        rpc error: code = Unavailable desc = error reading from server: connection error: PROTOCOL_ERROR
        rpc error: code = Unimplemented desc = 
        rpc error: code = Internal desc = cardinality violation: received no response message from non-client-streaming RPC
        rpc error: code = Internal desc = transport: malformed grpc-status: strconv.ParseInt: parsing "x": invalid syntax
        SERVING
        rpc error: code = Unknown desc = 
        rpc error: code = Internal desc = unexpected EOF
        rpc error: code = Internal desc = grpc: failed to unmarshal the received message: proto: cannot parse invalid wire-format data
        rpc error: code = Internal desc = server closed the stream without sending trailers
        rpc error: code = Internal desc = a HEADERS frame cannot appear in the middle of a stream
        NOT_SERVING"#]],
    );
}

#[test]
fn calls_of_all_kinds_are_answered_on_one_connection() {
    let machine = Machine::new();
    machine.serve(false);
    let mut out = begin();
    put(&mut out, kind::SETTINGS, 1, 0, &[]);
    let framed = [0, 0, 0, 0, 0];
    // Two calls in each other's middle; a window and a ping between them.
    put_headers(&mut out, 1, false, &call(CHECK));
    put_headers(&mut out, 3, false, &call(CHECK));
    put(&mut out, kind::DATA, 0, 3, &[0, 0, 0, 0, 6, 10]);
    put(&mut out, 8, 0, 0, &[0, 1, 0, 0]);
    put(&mut out, 6, 0, 0, b"pingpong");
    put(&mut out, kind::DATA, END_STREAM, 1, &framed);
    put(&mut out, kind::DATA, END_STREAM, 3, b"\x04sick");
    // Fields in Huffman's code, remembered, in two frames, with a priority and padding; then by their number.
    let block = b"\x83\x44\x95\x62\x6b\x2b\x22\xf3\x94\x74\x26\x75\xfb\x85\x7c\x65\x1d\x09\x9d\x8b\xd3\x94\x9d\x7f\x5f\x10application/grpc";
    let padded = [&[3, 0, 0, 0, 0, 0][..], &block[..12], &[0; 3]].concat();
    put(&mut out, kind::HEADERS, 0x28, 5, &padded);
    put(&mut out, 9, END_HEADERS, 5, &block[12..]);
    put(&mut out, kind::DATA, END_STREAM, 5, &framed);
    put(&mut out, kind::HEADERS, END_HEADERS, 7, &[0x83, 0xbf, 0xbe]);
    put(&mut out, kind::DATA, 0, 7, &framed);
    put_headers(&mut out, 7, true, &[("x", "y")]);
    check(
        machine.talk(&out),
        expect![[r#"
        SETTINGS flags 0 stream 0 000300000064
        SETTINGS flags 1 stream 0 
        WINDOW_UPDATE flags 0 stream 0 00000006
        PING flags 1 stream 0 70696e67706f6e67
        WINDOW_UPDATE flags 0 stream 0 00000005
        HEADERS flags 4 stream 1
            :status: 200
            content-type: application/grpc
        DATA flags 0 stream 1 00000000020801
        HEADERS flags 5 stream 1
            grpc-status: 0
            grpc-message: 
        WINDOW_UPDATE flags 0 stream 0 00000005
        HEADERS flags 4 stream 3
            :status: 200
            content-type: application/grpc
        DATA flags 0 stream 3 00000000020802
        HEADERS flags 5 stream 3
            grpc-status: 0
            grpc-message: 
        WINDOW_UPDATE flags 0 stream 0 00000005
        HEADERS flags 4 stream 5
            :status: 200
            content-type: application/grpc
        DATA flags 0 stream 5 00000000020801
        HEADERS flags 5 stream 5
            grpc-status: 0
            grpc-message: 
        WINDOW_UPDATE flags 0 stream 0 00000005
        HEADERS flags 4 stream 7
            :status: 200
            content-type: application/grpc
        DATA flags 0 stream 7 00000000020801
        HEADERS flags 5 stream 7
            grpc-status: 0
            grpc-message: 
    "#]],
    );
}

#[test]
fn calls_that_are_none_are_told_why() {
    let machine = Machine::new();
    machine.serve(false);
    let answer = |fields: &[(&str, &str)], body: &[u8]| {
        let mut out = begin();
        put_headers(&mut out, 1, false, fields);
        put(&mut out, kind::DATA, END_STREAM, 1, body);
        let said = machine.talk(&out);
        let fields = said.lines().filter_map(|line| line.strip_prefix("    "));
        let fields = fields.filter(|line| !line.starts_with("content-type"));
        fields.collect::<Vec<&str>>().join(", ")
    };
    let empty = [0; 5];
    let said = [
        answer(&[], &empty),
        answer(&[call("")[0], call(CHECK)[1], ("content-type", "application/json")], &empty),
        answer(&[(":method", "GET"), call(CHECK)[1], call("")[2]], &empty),
        answer(&call("Check"), &empty),
        answer(&call("/grpc.health.v1.Health/Watch"), &empty),
        answer(&call("/grpc.health/Check"), &empty),
        answer(&call("/pkg.Greeter/SayHello"), &empty),
        answer(&call(&format!("/{}/x", "é".repeat(2000))), &empty).get(..100).unwrap().to_string(),
        answer(&call(CHECK), b""),
        answer(&call(CHECK), b"\0\0"),
        answer(&call(CHECK), b"\x01\0\0\0\0"),
        answer(&call(CHECK), b"\0\0\0\0\x01\x0a"),
        answer(&call(CHECK), b"\0\0\0\0\x03\x0a\x01\xff"),
        answer(&call(CHECK), &[&b"\0\0\x01\0\0"[..], &[0; 10_000]].concat()),
    ];
    check(
        said.join("\n"),
        expect![[r#"
        :status: 415, grpc-status: 3, grpc-message: invalid gRPC request content-type ""
        :status: 415, grpc-status: 3, grpc-message: invalid gRPC request content-type "application/json"
        :status: 405, grpc-status: 13, grpc-message: Received a HEADERS frame with :method "GET" which should be POST
        :status: 200, grpc-status: 12, grpc-message: malformed method name: "Check"
        :status: 200, grpc-status: 12, grpc-message: unknown method Watch for service grpc.health.v1.Health
        :status: 200, grpc-status: 12, grpc-message: unknown service grpc.health
        :status: 200, grpc-status: 12, grpc-message: unknown service pkg.Greeter
        :status: 200, grpc-status: 12, grpc-message: unknown service %C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3
        :status: 200, grpc-status: 13, grpc-message: EOF
        :status: 200, grpc-status: 13, grpc-message: unexpected EOF
        :status: 200, grpc-status: 13, grpc-message: grpc: compressed flag set with identity or empty encoding
        :status: 200, grpc-status: 13, grpc-message: grpc: error unmarshalling request: proto: cannot parse invalid wire-format data
        :status: 200, grpc-status: 13, grpc-message: grpc: error unmarshalling request: proto: cannot parse invalid wire-format data
        :status: 200, grpc-status: 8, grpc-message: grpc: received message larger than max (65536 vs. 16384)"#]],
    );
}

#[test]
fn who_breaks_the_rules_is_told_which_and_sent_away() {
    let machine = Machine::new();
    machine.serve(false);
    let said = |more: &dyn Fn(&mut Vec<u8>)| {
        let mut out = begin();
        more(&mut out);
        let said = machine.talk(&out);
        let said = said
            .strip_prefix("SETTINGS flags 0 stream 0 000300000064\nSETTINGS flags 1 stream 0 \n");
        said.unwrap().lines().collect::<Vec<&str>>().join("; ")
    };
    let frame = |kind: u8, flags: u8, id: u32, payload: &[u8]| {
        said(&|out| put(out, kind, flags, id, payload))
    };
    let said = [
        frame(kind::DATA, 0, 0, b""),
        frame(kind::DATA, 0, 1, b""),
        frame(kind::HEADERS, END_HEADERS, 2, b""),
        frame(kind::HEADERS, END_HEADERS, 1, &[0x80]),
        frame(kind::HEADERS, END_HEADERS | 8, 1, &[9, 0]),
        frame(kind::HEADERS, END_HEADERS | 0x20, 1, &[9, 0]),
        frame(kind::RST_STREAM, 0, 1, &[0; 4]),
        frame(kind::SETTINGS, 0, 0, &[0; 5]),
        frame(kind::SETTINGS, 1, 0, &[0; 6]),
        frame(kind::SETTINGS, 0, 1, &[]),
        frame(5, 0, 1, &[0; 9]),
        frame(6, 0, 0, &[0; 7]),
        frame(8, 0, 0, &[0; 4]),
        frame(9, 0, 1, &[]),
        frame(77, 0, 0, &[0; 16385]),
        said(&|out| {
            put(out, kind::HEADERS, 0, 1, &[]);
            put(out, kind::DATA, 0, 1, &[]);
        }),
        said(&|out| {
            put(out, kind::HEADERS, 0, 1, &[]);
            put(out, 9, 0, 1, &[]);
        }),
        said(&|out| {
            put(out, kind::HEADERS, 0, 1, &[0x82; 10_000]);
            put(out, 9, 0, 1, &[0x82; 10_000]);
        }),
        // What is late for a call that has been answered, given up or refused is no harm.
        said(&|out| {
            put_headers(out, 1, false, &call(CHECK));
            put(out, kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]);
            put(out, kind::DATA, 0, 1, &[]);
            put(out, kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]);
        }),
        said(&|out| {
            for id in 0..101 {
                put_headers(out, 2 * id + 1, false, &call(CHECK));
            }
        }),
    ];
    check(
        said.join("\n"),
        expect![[r#"
        GOAWAY flags 0 stream 0 0000000000000001
        GOAWAY flags 0 stream 0 0000000000000001
        GOAWAY flags 0 stream 0 0000000000000001
        GOAWAY flags 0 stream 0 0000000000000009
        GOAWAY flags 0 stream 0 0000000000000001
        GOAWAY flags 0 stream 0 0000000000000001
        GOAWAY flags 0 stream 0 0000000000000001
        GOAWAY flags 0 stream 0 0000000000000006
        GOAWAY flags 0 stream 0 0000000000000006
        GOAWAY flags 0 stream 0 0000000000000001
        GOAWAY flags 0 stream 0 0000000000000001
        GOAWAY flags 0 stream 0 0000000000000006
        GOAWAY flags 0 stream 0 0000000000000001
        GOAWAY flags 0 stream 0 0000000000000001
        GOAWAY flags 0 stream 0 0000000000000006
        GOAWAY flags 0 stream 0 0000000000000001
        GOAWAY flags 0 stream 0 000000000000000b
        GOAWAY flags 0 stream 0 000000000000000b
        RST_STREAM flags 0 stream 1 00000005
        RST_STREAM flags 0 stream 201 00000007"#]],
    );
    assert_eq!(
        machine.talk(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        "SETTINGS flags 0 stream 0 000300000064\n"
    );
}

#[test]
fn a_connection_that_is_kept_is_answered_for_ever() {
    let machine = Machine::new();
    machine.serve(false);
    let answers = machine.run(|host| async move {
        let mut connection = Connection::new(host.connect(AT).await.unwrap(), Vec::new());
        assert!(connection.write(&begin()).await.is_ok());
        let mut answers = 0;
        for id in (1..4000).step_by(2) {
            let mut out = Vec::new();
            put_headers(&mut out, id, false, &call(CHECK));
            // More than a window in all.
            put(
                &mut out,
                kind::DATA,
                END_STREAM,
                id,
                &[&[0, 0, 0, 0, 100, 0x12, 98][..], &[0; 98]].concat(),
            );
            assert!(connection.write(&out).await.is_ok());
            while let Ok(event) = connection.next().await {
                if let What::Headers(fields) = &event.what
                    && event.is_last
                {
                    answers += usize::from(fields.get("grpc-status") == Some("0"));
                    break;
                }
            }
        }
        answers
    });
    assert_eq!(answers, 2000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes after a good beginning, both sides end.
    #[test]
    fn any_frames_are_survived(
        frames in prop::collection::vec((0u8..11, any::<u8>(), 0u32..4, any::<Vec<u8>>()), 1..6)
    ) {
        let (mut from_client, mut from_server) = (begin(), Vec::new());
        put(&mut from_server, kind::SETTINGS, 0, 0, &[]);
        for (kind, flags, id, payload) in &frames {
            put(&mut from_client, *kind, *flags, *id, payload);
            put(&mut from_server, *kind, *flags, *id, payload);
        }
        let machine = Machine::new();
        machine.serve(true);
        machine.talk(&from_client);
        prop_assert_eq!(machine.check(""), "SERVING");
        let machine = Machine::new();
        machine.says(from_server, Duration::from_secs(1));
        let said = machine.check("");
        prop_assert!(said.contains("rpc error: code = "), "{}", said);
    }
}

#[test]
fn tshark_reads_what_was_meant() {
    let machine = Machine::new();
    machine.serve(false);
    let tap = machine.sim.net().capture(machine.ns, None);
    machine.check("");
    machine.check("odd");
    let mut writer = classic::Writer::new(LinkType::Ethernet, false);
    while let Some(frame) = tap.try_next() {
        // What `lo` carries is seen going out and coming in.
        if frame.direction == CaptureDirection::Out {
            writer.record(&Record::new(0, Stamp(frame.at.as_micros() * 1000), frame.bytes));
        }
    }
    let path = std::env::temp_dir().join(format!("podwire-grpc-{}.pcap", std::process::id()));
    std::fs::write(&path, writer.into_bytes()).unwrap();
    let fields = "http2.type http2.flags http2.header.name http2.header.value grpc.message_length \
        http2.goaway.error _ws.malformed _ws.expert.message";
    let mut command = Command::new("tshark");
    command.arg("-n").arg("-r").arg(&path).args(["-d", "tcp.port==5000,http2", "-Y", "http2"]);
    command.args(["-T", "fields", "-E", "aggregator= ", "-E", "separator=|"]);
    for field in fields.split(' ') {
        command.args(["-e", field]);
    }
    let out = match command.output() {
        Ok(out) => String::from_utf8_lossy(&out.stdout).into_owned(),
        Err(error) => {
            eprintln!("skipped: no tshark: {error}");
            return;
        }
    };
    check(
        out,
        expect![[r#"
            4|0x00||||||
            4|0x00||||||
            4|0x01||||||
            4|0x01||||||
            1 0|0x04 0x01|:method :scheme :path :authority content-type user-agent te grpc-timeout|POST http /grpc.health.v1.Health/Check 127.0.0.1:5000 application/grpc test/1 grpc-go/1.72.2 trailers 5000000u|0|||
            8|0x00||||||
            1 0 1|0x04 0x00 0x05|:status content-type grpc-status grpc-message|200 application/grpc 0 |2|||
            8|0x00||||||
            7|0x00||||0||
            4|0x00||||||
            4|0x00||||||
            4|0x01||||||
            4|0x01||||||
            1 0|0x04 0x01|:method :scheme :path :authority content-type user-agent te grpc-timeout|POST http /grpc.health.v1.Health/Check 127.0.0.1:5000 application/grpc test/1 grpc-go/1.72.2 trailers 5000000u|5|||
            8|0x00||||||
            1|0x05|:status content-type grpc-status grpc-message|200 application/grpc 99 100 %25 odd: %C3%A9%0A||||
            7|0x00||||0||
        "#]],
    );
    std::fs::remove_file(&path).unwrap();
}
