//! Servers, clients and the proxy between them, over real segments.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::cell::RefCell;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use base::Duration;
use expect_test::{Expect, expect};
use netsim::{Cause, Host, NsId, Sim};
use programs::http::client::Ask;
use programs::http::{FetchError, Headers, client, fetch};
use programs::{Container, Log, images, proxy};

struct Machine {
    sim: Sim,
    ns: NsId,
    log: Log,
}

impl Machine {
    fn new() -> Machine {
        let sim = Sim::new(1);
        let ns = sim.net().add_namespace("machine");
        Machine { sim, ns, log: Log::default() }
    }

    fn container(&self, image: &str, args: &[&str], ports: &[u16]) -> netsim::Process {
        let container = Container {
            image: image.to_string(),
            args: args.iter().map(|arg| arg.to_string()).collect(),
            declared_ports: ports.to_vec(),
            hostname: "pod-1".to_string(),
            ..Container::default()
        };
        let log = self.log.clone();
        self.sim.net().start(self.ns, image, Cause(0), |host| images::program(host, container, log))
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

    /// The response's head and body, or the error.
    fn get(&self, method: &str, port: u16, target: &str) -> String {
        let mut headers = Headers::default();
        headers.push("Host", format!("localhost:{port}"));
        headers.push("User-Agent", "test");
        let ask = Ask { method: method.into(), target: target.into(), headers, body: vec![] };
        let result = self.run(|host| async move {
            let stream = client::connect(&host, &[Ipv4Addr::LOCALHOST], port).await;
            fetch(&host, &stream.map_err(FetchError::Connect)?, &ask).await
        });
        match result {
            Ok(fetched) => {
                let head = String::from_utf8(fetched.response.head()).unwrap();
                let body = String::from_utf8(fetched.response.body).unwrap();
                format!("{head}{body}").replace("\r\n", "\n")
            }
            Err(error) => format!("{error:?}"),
        }
    }
}

fn check(actual: String, expected: Expect) {
    expected.assert_eq(&actual);
}

#[test]
fn nginx_answers_as_nginx() {
    let machine = Machine::new();
    machine.container("nginx:1.27", &[], &[]);
    check(
        machine.get("HEAD", 80, "/"),
        expect![[r#"
            HTTP/1.1 200 OK
            Server: nginx/1.27.5
            Date: Mon, 05 Jan 2026 09:00:00 GMT
            Content-Type: text/html
            Content-Length: 615
            Last-Modified: Wed, 16 Apr 2025 12:01:11 GMT
            Connection: keep-alive
            ETag: "67ff9c07-267"
            Accept-Ranges: bytes

        "#]],
    );
    assert!(machine.get("GET", 80, "/").contains("<h1>Welcome to nginx!</h1>"));
    check(
        machine.get("GET", 80, "/nope"),
        expect![[r#"
        HTTP/1.1 404 Not Found
        Server: nginx/1.27.5
        Date: Mon, 05 Jan 2026 09:00:00 GMT
        Content-Type: text/html
        Content-Length: 153
        Connection: keep-alive

        <html>
        <head><title>404 Not Found</title></head>
        <body>
        <center><h1>404 Not Found</h1></center>
        <hr><center>nginx/1.27.5</center>
        </body>
        </html>
    "#]],
    );
    check(
        machine.log.lines().into_iter().map(|(_, line)| line + "\n").collect(),
        expect![[r#"
            /docker-entrypoint.sh: /docker-entrypoint.d/ is not empty, will attempt to perform configuration
            /docker-entrypoint.sh: Looking for shell scripts in /docker-entrypoint.d/
            /docker-entrypoint.sh: Launching /docker-entrypoint.d/10-listen-on-ipv6-by-default.sh
            10-listen-on-ipv6-by-default.sh: info: Getting the checksum of /etc/nginx/conf.d/default.conf
            10-listen-on-ipv6-by-default.sh: info: Enabled listen on IPv6 in /etc/nginx/conf.d/default.conf
            /docker-entrypoint.sh: Sourcing /docker-entrypoint.d/15-local-resolvers.envsh
            /docker-entrypoint.sh: Launching /docker-entrypoint.d/20-envsubst-on-templates.sh
            /docker-entrypoint.sh: Launching /docker-entrypoint.d/30-tune-worker-processes.sh
            /docker-entrypoint.sh: Configuration complete; ready for start up
            2026/01/05 09:00:00 [notice] 1#1: using the "epoll" event method
            2026/01/05 09:00:00 [notice] 1#1: nginx/1.27.5
            2026/01/05 09:00:00 [notice] 1#1: built by gcc 12.2.0 (Debian 12.2.0-14) 
            2026/01/05 09:00:00 [notice] 1#1: OS: Linux 6.12.0-podwire
            2026/01/05 09:00:00 [notice] 1#1: getrlimit(RLIMIT_NOFILE): 1048576:1048576
            2026/01/05 09:00:00 [notice] 1#1: start worker processes
            2026/01/05 09:00:00 [notice] 1#1: start worker process 29
            127.0.0.1 - - [05/Jan/2026:09:00:00 +0000] "HEAD / HTTP/1.1" 200 0 "-" "test" "-"
            127.0.0.1 - - [05/Jan/2026:09:00:00 +0000] "GET / HTTP/1.1" 200 615 "-" "test" "-"
            2026/01/05 09:00:00 [error] 29#29: *3 open() "/usr/share/nginx/html/nope" failed (2: No such file or directory), client: 127.0.0.1, server: localhost, request: "GET /nope HTTP/1.1", host: "localhost:80"
            127.0.0.1 - - [05/Jan/2026:09:00:00 +0000] "GET /nope HTTP/1.1" 404 153 "-" "test" "-"
        "#]],
    );
}

#[test]
fn others_answer_as_themselves() {
    let machine = Machine::new();
    machine.container("httpd", &[], &[]);
    check(
        machine.get("GET", 80, "/"),
        expect![[r#"
        HTTP/1.1 200 OK
        Date: Mon, 05 Jan 2026 09:00:00 GMT
        Server: Apache/2.4.63 (Unix)
        Last-Modified: Mon, 11 Jun 2007 18:53:14 GMT
        ETag: "2d-432a5e4a73a80"
        Accept-Ranges: bytes
        Content-Length: 45
        Content-Type: text/html

        <html><body><h1>It works!</h1></body></html>
    "#]],
    );
    machine.container("hashicorp/http-echo", &["-listen=:5000", "-text", "hello"], &[]);
    check(
        machine.get("GET", 5000, "/"),
        expect![[r#"
        HTTP/1.1 200 OK
        Content-Type: text/plain; charset=utf-8
        X-App-Name: http-echo
        X-App-Version: 1.0.0
        Date: Mon, 05 Jan 2026 09:00:00 GMT
        Content-Length: 6

        hello
    "#]],
    );
    machine.container("example.com/team/shop:2", &[], &[9000]);
    check(
        machine.get("GET", 9000, "/"),
        expect![[r#"
        HTTP/1.1 200 OK
        Content-Type: text/plain; charset=utf-8
        Content-Length: 104

        podwire: stand-in for image example.com/team/shop:2, Pod pod-1, port 9000; request from 127.0.0.1:52537
    "#]],
    );
}

#[test]
fn a_port_that_is_taken_ends_the_program() {
    let machine = Machine::new();
    machine.container("httpd", &[], &[]);
    let second = machine.container("nginx", &[], &[]);
    machine.sim.advance(base::Instant::from_secs(1), u32::MAX);
    assert_eq!(second.exit_code(), Some(1));
    check(
        machine.log.lines().pop().unwrap().1,
        expect!["nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)"],
    );
}

#[test]
fn servers_end_some_time_after_they_are_asked_to() {
    let machine = Machine::new();
    let process = machine.container("nginx", &[], &[]);
    machine.sim.advance(base::Instant::from_secs(1), u32::MAX);
    process.terminate();
    machine.sim.advance(base::Instant::from_millis(1199), u32::MAX);
    assert_eq!(process.exit_code(), None);
    machine.sim.advance(base::Instant::from_millis(1201), u32::MAX);
    assert_eq!(process.exit_code(), Some(0));
    check(machine.get("GET", 80, "/"), expect!["Connect(Refused)"]);
}

#[test]
fn a_published_port_passes_on_and_breaks_when_nobody_is_there() {
    let machine = Machine::new();
    machine.sim.net().start(machine.ns, "docker-proxy", Cause(0), |host| async move {
        let listener = host.listen(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 30007)).unwrap();
        proxy::publish(host, listener, "127.0.0.1:80".parse().unwrap()).await;
        0
    });
    machine.sim.advance(base::Instant::from_secs(1), u32::MAX);
    // The proxy takes the connection before it knows that nobody is behind it.
    check(machine.get("GET", 30007, "/"), expect!["Receive(Reset)"]);
    machine.container("httpd", &[], &[]);
    assert!(machine.get("GET", 30007, "/").contains("It works!"));
}
