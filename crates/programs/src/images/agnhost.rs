//! agnhost, the test image of Kubernetes (`test/images/agnhost`): its subcommands that speak over a network.

use std::cell::Cell;
use std::net::SocketAddrV4;
use std::rc::Rc;

use base::{Duration, Utc};
use netsim::exec::timeout;
use netsim::{Host, SockError, UdpSocket};

use super::Container;
use super::site;
use super::web::{GRACE, any, flag, keep, listen, port_of, text, until_asked};
use crate::grpc::{self, Health, Status};
use crate::http::{Request, Response, serve};
use crate::log::Log;

/// How a program of Go ends that is process 1 and does not know what to do with SIGTERM.
const UNCAUGHT: i32 = 2;

/// A program of the image.
#[derive(Clone)]
struct Agnhost {
    host: Host,
    container: Container,
    log: Log,
    words: Vec<String>,
}

/// `agnhost SUBCOMMAND`; without one it does nothing, for ever.
pub(super) async fn agnhost(host: Host, container: Container, log: Log) -> i32 {
    let words = container.words();
    let is_itself = |word: &String| word.rsplit('/').next() == Some("agnhost");
    let skip = usize::from(words.first().is_some_and(is_itself));
    let words: Vec<String> = words.into_iter().skip(skip).collect();
    let name = words.first().cloned().unwrap_or_else(|| "pause".to_string());
    let agnhost = Agnhost { host, container, log, words };
    match name.as_str() {
        "netexec" => agnhost.netexec().await,
        "serve-hostname" => agnhost.serve_hostname().await,
        "porter" => agnhost.porter().await,
        "test-webserver" => agnhost.test_webserver().await,
        "liveness" => agnhost.liveness().await,
        "connect" => agnhost.connect().await,
        "grpc-health-checking" => agnhost.grpc_health_checking().await,
        "pause" => until_asked(&agnhost.host, Duration::ZERO).await,
        "help" | "--help" => 0,
        other => {
            agnhost.say(&format!("podwire: agnhost {other} is not supported"));
            1
        }
    }
}

impl Agnhost {
    fn say(&self, text: &str) {
        self.log.line(self.host.now(), text);
    }

    /// A line as klog prints it.
    fn klog(&self, line: u32, text: &str) {
        let now = Utc::at(self.host.now());
        let date = now.to_string();
        let (month, day) =
            (date.get(5..7).unwrap_or_default(), date.get(8..10).unwrap_or_default());
        self.say(&format!("I{month}{day} {}       1 log.go:{line}] {text}", now.time_of_day()));
    }

    fn port(&self, name: &str, default: u16) -> u16 {
        flag(&self.words, name).and_then(port_of).unwrap_or(default)
    }

    fn is_on(&self, name: &str, default: bool) -> bool {
        let bare = self.words.iter().any(|word| word.trim_start_matches('-') == name);
        let prefix = format!("{name}=");
        let mut given = self.words.iter();
        let given = given.find_map(|word| word.trim_start_matches('-').strip_prefix(&prefix));
        given.map_or(default || bare, |value| value == "true")
    }

    /// Opens a web server; the program ends with 1 where it cannot.
    fn web(&self, port: u16, answer: impl Fn(&Request) -> Response + 'static) -> Result<(), i32> {
        let complain = format!("listen tcp :{port}: bind: {{error}}");
        let listener = listen(&self.host, port, &self.log, &complain).ok_or(1)?;
        keep(&self.host, serve(self.host.clone(), listener, answer));
        Ok(())
    }

    async fn until_end(&self, opened: Result<(), i32>) -> i32 {
        match opened {
            Ok(()) => until_asked(&self.host, GRACE).await,
            Err(code) => code,
        }
    }

    async fn netexec(&self) -> i32 {
        let (http, udp) = (self.port("http-port", 8080), self.port("udp-port", 8081));
        let (hostname, clock) = (self.container.hostname.clone(), self.host.clone());
        let started = self.host.now();
        let opened = self.web(http, move |request| {
            netexec_answer(
                &hostname,
                request,
                Utc::at(clock.now()),
                (clock.now() - started).as_secs_f64(),
            )
        });
        self.klog(245, &format!("Started HTTP server on port {http}"));
        if let Ok(socket) = self.host.bind_udp(any(udp)) {
            self.klog(396, &format!("Started UDP server on port  {udp}"));
            keep(&self.host, datagrams(socket, self.container.hostname.clone()));
        }
        self.until_end(opened).await
    }

    async fn serve_hostname(&self) -> i32 {
        let port = self.port("port", 9376);
        let hostname = self.container.hostname.clone();
        if self.is_on("udp", false)
            && let Ok(socket) = self.host.bind_udp(any(port))
        {
            let hostname = hostname.clone();
            keep(&self.host, async move {
                loop {
                    match socket.recv_from().await {
                        Ok((_, from, to)) => drop(socket.send_to(hostname.as_bytes(), from, to)),
                        Err(SockError::BrokenPipe) => return,
                        Err(_) => {}
                    }
                }
            });
        }
        if self.is_on("tcp", false) {
            let complain = format!("listen tcp :{port}: bind: {{error}}");
            let Some(listener) = listen(&self.host, port, &self.log, &complain) else { return 1 };
            keep(&self.host, async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let _ = stream.write_all(format!("{hostname}\n").as_bytes()).await;
                    stream.shutdown();
                }
            });
            return self.until_end(Ok(())).await;
        }
        let opened = self.web(port, move |_| text(hostname.clone()));
        self.klog(245, &format!("Serving on port {port}."));
        self.until_end(opened).await
    }

    /// `SERVE_PORT_80=text`: answers with the text on port 80.
    async fn porter(&self) -> i32 {
        let mut opened = Ok(());
        for (name, value) in self.container.env.iter() {
            let port = name.strip_prefix("SERVE_PORT_").and_then(|port| port.parse().ok());
            if let (Some(port), Ok(())) = (port, opened) {
                let value = value.clone();
                opened = self.web(port, move |_| text(value.clone()));
            }
        }
        self.until_end(opened).await
    }

    async fn test_webserver(&self) -> i32 {
        let port = self.port("port", 80);
        let opened = self.web(port, |request| match request.path() {
            "/" => site::html(200, "<pre>\n<a href=\".dockerenv\">.dockerenv</a>\n<a href=\"agnhost\">agnhost</a>\n</pre>\n"),
            _ => Response::new(404, "text/plain; charset=utf-8", "404 page not found\n"),
        });
        self.until_end(opened).await
    }

    /// Healthy for ten seconds, and then no more.
    async fn liveness(&self) -> i32 {
        let (clock, started) = (self.host.clone(), self.host.now());
        let opened = self.web(8080, move |request| {
            let secs = (clock.now() - started).as_secs_f64();
            match request.path() {
                "/started" => text(format!("{secs}s")),
                "/healthz" if secs > 10.0 => {
                    Response::new(500, "text/plain; charset=utf-8", format!("error: {secs}"))
                }
                "/healthz" => text("ok"),
                _ => Response::new(404, "text/plain; charset=utf-8", "404 page not found\n"),
            }
        });
        self.until_end(opened).await
    }

    /// Serves until `--delay-unhealthy-sec` are over, or its web server has been asked for `/make-not-serving`.
    async fn grpc_health_checking(&self) -> i32 {
        let (port, http) = (self.port("port", 5000), self.port("http-port", 8080));
        let delay = flag(&self.words, "delay-unhealthy-sec").and_then(|secs| secs.parse().ok());
        let delay = delay.map(Duration::from_secs);
        let known = flag(&self.words, "service").unwrap_or_default().to_string();
        let (started, forced) = (self.host.now(), Rc::new(Cell::new(None)));
        let (here, is_forced) = (self.clone(), forced.clone());
        let opened = self.web(http, move |request| {
            let is_serving = match request.path() {
                "/make-serving" => true,
                "/make-not-serving" => false,
                _ => {
                    return Response::new(404, "text/plain; charset=utf-8", "404 page not found\n");
                }
            };
            let what = if is_serving { "healthy" } else { "unhealthy" };
            here.klog(245, &format!("Mark as {what}"));
            is_forced.set(Some(is_serving));
            text(go_duration(here.host.now() - started))
        });
        if let Err(code) = opened {
            return code;
        }
        self.klog(245, &format!("Http server starting to listen on :{http}"));
        let complain = format!(
            "Error while starting the listening service listen tcp :{port}: bind: {{error}}"
        );
        let Some(listener) = listen(&self.host, port, &self.log, &complain) else { return 1 };
        self.klog(245, &format!("gRPC server starting to listen on :{port}"));
        let (here, since) = (self.clone(), go_time(Utc::at(started)));
        let health: Health = Rc::new(move |service| {
            let what = "Serving the Check request for health check, started at";
            here.klog(245, &format!("{what} {since} m=+0.000000000"));
            if service != known {
                return Err(Status::new(Status::NOT_FOUND, "unknown service"));
            }
            let is_late = delay.is_some_and(|delay| here.host.now() - started >= delay);
            let is_forced = forced.get();
            let is_serving = is_forced != Some(false) && !is_late;
            Ok(if is_serving { grpc::SERVING } else { grpc::NOT_SERVING })
        });
        keep(&self.host, grpc::serve(self.host.clone(), listener, health, None));
        self.host.terminated().await;
        UNCAUGHT
    }

    /// `connect HOST:PORT [--timeout=1s]`: says nothing when it works.
    async fn connect(&self) -> i32 {
        let target = self.words.iter().skip(1).find(|word| !word.starts_with('-'));
        let Some((name, port)) = target.and_then(|target| target.rsplit_once(':')) else {
            self.say("OTHER: missing port in address");
            return 1;
        };
        let limit = flag(&self.words, "timeout").and_then(|t| t.trim_end_matches('s').parse().ok());
        let limit = Duration::from_secs(limit.unwrap_or(10));
        let resolver = self.container.resolver();
        let addrs = resolver.addresses(&self.host, name).await.unwrap_or_default();
        let (Some(addr), Ok(port)) = (addrs.first(), port.parse()) else {
            self.say(&format!("DNS: lookup {name}: no such host"));
            return 1;
        };
        let connecting = self.host.connect(SocketAddrV4::new(*addr, port));
        let why = match timeout(self.host.sleep(limit), connecting).await {
            Some(Ok(_)) => return 0,
            None | Some(Err(SockError::TimedOut)) => "TIMEOUT".to_string(),
            Some(Err(SockError::Refused)) => "REFUSED".to_string(),
            Some(Err(error)) => format!("OTHER: {}", error.to_string().to_lowercase()),
        };
        self.say(&why);
        1
    }
}

/// A time as Go prints it: `2026-01-05 09:00:00.25 +0000 UTC`.
fn go_time(at: Utc) -> String {
    let text = at.rfc3339_micros().replace('T', " ").replace('Z', "");
    format!("{} +0000 UTC", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A duration as Go prints it: `1h0m2.5s`, `12.003s`, `250ms`, `40µs`.
fn go_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    let (scale, unit) = match micros {
        0 => return "0s".to_string(),
        1..1000 => (1, "µs"),
        1000..1_000_000 => (1000, "ms"),
        _ => (1_000_000, "s"),
    };
    let (minutes, rest) =
        if unit == "s" { (micros / 60_000_000, micros % 60_000_000) } else { (0, micros) };
    let number = format!("{}.{:06}", rest / scale, rest % scale * (1_000_000 / scale));
    let before = match (minutes / 60, minutes % 60) {
        (0, 0) => String::new(),
        (0, minutes) => format!("{minutes}m"),
        (hours, minutes) => format!("{hours}h{minutes}m"),
    };
    format!("{before}{}{unit}", number.trim_end_matches('0').trim_end_matches('.'))
}

fn netexec_answer(hostname: &str, request: &Request, now: Utc, age: f64) -> Response {
    let query = site::query(request);
    let given = |name: &str| {
        let found = query.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    match request.path() {
        "/hostname" | "/hostName" => text(hostname),
        "/clientip" => text(request.peer.to_string()),
        "/echo" => {
            let code = given("code").parse().ok().filter(|code| (200..600).contains(code));
            Response::new(code.unwrap_or(200), "text/plain; charset=utf-8", given("msg"))
        }
        "/header" => text(request.headers.get(given("key")).unwrap_or_default()),
        "/healthz" => text(""),
        "/" => {
            let at = now.rfc3339_micros().replace('T', " ").replace('Z', "000");
            text(format!("NOW: {at} +0000 UTC m=+{age:.9}"))
        }
        "/shell" | "/dial" | "/upload" | "/redirect" | "/shutdown" | "/exit" => {
            let body = format!("podwire: netexec {} is not supported\n", request.path());
            Response::new(501, "text/plain; charset=utf-8", body)
        }
        _ => Response::new(404, "text/plain; charset=utf-8", "404 page not found\n"),
    }
}

/// The UDP side of netexec.
async fn datagrams(socket: UdpSocket, hostname: String) {
    loop {
        let (data, from, to) = match socket.recv_from().await {
            Ok(received) => received,
            Err(SockError::BrokenPipe) => return,
            Err(_) => continue,
        };
        let asked = String::from_utf8_lossy(&data);
        let asked = asked.trim();
        let answer = match asked.split_once(' ') {
            Some((word, said)) if word.eq_ignore_ascii_case("echo") => said.to_string(),
            _ if asked.eq_ignore_ascii_case("hostname") => hostname.clone(),
            _ if asked.eq_ignore_ascii_case("clientip") => from.to_string(),
            _ => continue,
        };
        let _ = socket.send_to(answer.as_bytes(), from, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_go_prints_them() {
        let printed = |micros| go_duration(Duration::from_micros(micros));
        let all =
            [0, 40, 1000, 250_500, 1_000_000, 12_003_000, 60_000_000, 3_600_000_000, 3_662_500_001];
        assert_eq!(
            all.map(printed).join(" "),
            "0s 40µs 1ms 250.5ms 1s 12.003s 1m0s 1h0m0s 1h1m2.500001s"
        );
        let at = |micros| go_time(Utc::at(base::Instant::from_micros(micros)));
        assert_eq!(at(0), "2026-01-05 09:00:00 +0000 UTC");
        assert_eq!(at(10_250_000), "2026-01-05 09:00:10.25 +0000 UTC");
    }
}
