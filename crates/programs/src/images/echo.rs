//! Servers that say who they are and who has asked: one HTTP server, and a table of the images that it stands for;
//! [`answers`] has what each of them answers.

mod answers;

use std::cell::Cell;

use base::Utc;
use netsim::Host;

use self::answers::Asked;
use super::Container;
use super::web::{GRACE, flag, keep, listen, own_addr, port, slashed, text, until_asked};
use crate::http::{Response, serve};
use crate::log::Log;

/// What an image answers.
type Answer = fn(&Asked<'_>) -> Response;

/// An image's server.
pub(super) struct Web {
    /// Repositories, without their registry.
    names: &'static str,
    /// The port, and what decides it: flags and variables.
    port: u16,
    from: &'static str,
    answer: Answer,
    /// What it prints when it starts; `{port}`, `{hostname}`, `{date}` and `{iso}` are filled in.
    hello: &'static str,
    /// What it prints of a request, with `{peer}`, `{method}`, `{path}`, `{status}`, `{count}`, `{uptime}`, … in it.
    access: &'static str,
}

/// All of them.
const WEBS: &[Web] = &[
    Web {
        names: "traefik/whoami containous/whoami",
        port: 80,
        from: "--port WHOAMI_PORT_NUMBER",
        answer: answers::whoami,
        hello: "{date} Starting up on port {port}",
        access: "",
    },
    Web {
        names: "jwilder/whoami",
        port: 8000,
        from: "PORT",
        answer: answers::iam,
        hello: "Listening on :{port}",
        access: "",
    },
    Web {
        names: "mendhak/http-https-echo",
        port: 8080,
        from: "HTTP_PORT",
        answer: answers::mendhak,
        hello: "Listening on ports {port} for http, and 8443 for https.",
        access: "",
    },
    Web {
        names: "ealen/echo-server",
        port: 80,
        from: "--port PORT",
        answer: answers::ealen,
        hello: "Listening on port {port}.",
        access: "",
    },
    Web {
        names: "kicbase/echo-server jmalloc/echo-server inanimate/echo-server",
        port: 8080,
        from: "PORT",
        answer: answers::echo_server,
        hello: "Echo server listening on port {port}.",
        access: "{peer} | {method} {path}",
    },
    Web {
        names: "echoserver google_containers/echoserver",
        port: 8080,
        from: "",
        answer: answers::echoserver,
        hello: "Generating self-signed cert\nStarting nginx",
        access: "{ip} - - [{date}] \"{method} {path} HTTP/1.1\" {status} {size} \"-\" \"{agent}\"",
    },
    Web {
        names: "crccheck/hello-world",
        port: 8000,
        from: "",
        answer: answers::whale,
        hello: "httpd started",
        access: "[::ffff:{ip}]:{port}: response:{status}",
    },
    Web {
        names: "google-samples/hello-app google_samples/hello-app",
        port: 8080,
        from: "PORT",
        answer: answers::hello_app,
        hello: "{date} Server listening on port {port}",
        access: "{date} Serving request: {path}",
    },
    Web {
        names: "google-samples/node-hello google_samples/node-hello",
        port: 8080,
        from: "",
        answer: |_| Response::new(200, "text/plain", "Hello Kubernetes!"),
        hello: "",
        access: "Received request for URL: {path}",
    },
    Web {
        names: "google-samples/kubernetes-bootcamp jocatalin/kubernetes-bootcamp",
        port: 8080,
        from: "",
        answer: answers::bootcamp,
        hello: "Kubernetes Bootcamp App Started At: {iso} | Running On:  {hostname} \n",
        access: "Running On: {hostname} | Total Requests: {count} | App Uptime: {uptime} seconds | Log Time: {iso}",
    },
    Web {
        names: "google-samples/hello-go-gke google_samples/hello-go-gke",
        port: 80,
        from: "",
        answer: |_| Response::new(200, "application/json", "{\"message\":\"Hello\"}\n"),
        hello: "",
        access: "",
    },
    Web {
        names: "paulbouwer/hello-kubernetes",
        port: 8080,
        from: "PORT HANDLER_PORT",
        answer: answers::hello_kubernetes,
        hello: "Listening on: http://{hostname}:{port}",
        access: "::ffff:{ip} - - [{date}] \"{method} {path} HTTP/1.1\" {status} {size} \"-\" \"{agent}\"",
    },
    Web {
        names: "nginxdemos/hello nginxdemos/nginx-hello",
        port: 80,
        from: "",
        answer: answers::nginx_hello,
        hello: "",
        access: "{ip} - - [{date}] \"{method} {path} HTTP/1.1\" {status} {size} \"-\" \"{agent}\" \"-\"",
    },
    Web {
        names: "stefanprodan/podinfo",
        port: 9898,
        from: "--port PODINFO_PORT",
        answer: answers::podinfo,
        hello: "{\"level\":\"info\",\"msg\":\"Starting HTTP Server.\",\"addr\":\":{port}\"}",
        access: "",
    },
    Web {
        names: "serve_hostname",
        port: 9376,
        from: "--port",
        answer: |asked| text(asked.hostname()),
        hello: "",
        access: "",
    },
    Web {
        names: "kennethreitz/httpbin mccutchen/go-httpbin",
        port: 80,
        from: "--port PORT",
        answer: answers::httpbin,
        hello: "",
        access: "",
    },
    Web {
        names: "release/examples-helloworld-v1 release/examples-helloworld-v2",
        port: 5000,
        from: "",
        answer: answers::istio_hello,
        hello: "",
        access: "{ip} - - [{date}] \"{method} {path} HTTP/1.1\" {status} -",
    },
    Web {
        names: "elasticsearch elasticsearch/elasticsearch opensearchproject/opensearch",
        port: 9200,
        from: "",
        answer: answers::elasticsearch,
        hello: "",
        access: "",
    },
    Web {
        names: "prom/prometheus prometheus/prometheus",
        port: 9090,
        from: "--web.listen-address",
        answer: answers::prometheus,
        hello: "",
        access: "",
    },
];

/// The server of an image, if it is one of these.
pub(super) fn find(repository: &str) -> Option<&'static Web> {
    WEBS.iter().find(|web| web.names.split(' ').any(|name| name == repository))
}

/// Runs an image's server.
pub(super) async fn run(host: Host, container: Container, log: Log, web: &'static Web) -> i32 {
    // One image has another port than its relative.
    let default = match super::repository(&container.image) {
        "mccutchen/go-httpbin" | "nginxdemos/nginx-hello" => 8080,
        _ => web.port,
    };
    let port = port(&container, web.from, default);
    let complain = format!("listen tcp 0.0.0.0:{port}: bind: {{error}}");
    let Some(listener) = listen(&host, port, &log, &complain) else { return 1 };
    let fill = move |template: &str, now: Utc| {
        let date = match template.starts_with("{date}") {
            true => slashed(now),
            false => now.access_log(),
        };
        let iso = now.rfc3339_micros();
        template
            .replace("{port}", &port.to_string())
            .replace("{date}", &date)
            .replace("{iso}", &format!("{}Z", iso.get(..23).unwrap_or_default()))
    };
    let hello = fill(web.hello, Utc::at(host.now())).replace("{hostname}", &container.hostname);
    hello.lines().for_each(|line| log.line(host.now(), line));
    let clock = host.clone();
    let addr = own_addr(&host);
    let access = web.access;
    let (started, count) = (host.now(), Cell::new(0u64));
    let server = serve(host.clone(), listener, move |request| {
        let now = Utc::at(clock.now());
        let asked = Asked { container: &container, request, port, addr, now };
        let mut response = (web.answer)(&asked);
        response.headers.push("Date", now.http());
        count.set(count.get() + 1);
        if !access.is_empty() {
            let uptime = clock.now().since(started).as_millis();
            let line = fill(access, now)
                .replace("{peer}", &request.peer.to_string())
                .replace("{ip}", &request.peer.ip().to_string())
                .replace("{method}", &request.method)
                .replace("{status}", &response.status.to_string())
                .replace("{size}", &response.body.len().to_string())
                .replace("{hostname}", &container.hostname)
                .replace("{count}", &count.get().to_string())
                .replace("{uptime}", &format!("{}.{:03}", uptime / 1000, uptime % 1000))
                .replace("{agent}", request.headers.get("user-agent").unwrap_or("-"))
                .replace("{path}", request.path());
            log.line(clock.now(), line);
        }
        response
    });
    keep(&host, server);
    until_asked(&host, GRACE).await
}

/// hashicorp/http-echo: answers with its `-text`, on its `-listen` (default :5678).
pub(super) async fn http_echo(host: Host, container: Container, log: Log) -> i32 {
    let words = container.words();
    let Some(said) = flag(&words, "text").or_else(|| container.var("ECHO_TEXT")) else {
        log.line(host.now(), "Missing -text option or ECHO_TEXT env var!");
        return 127;
    };
    let said = format!("{said}\n");
    let port = port(&container, "-listen", 5678);
    let status = flag(&words, "status-code").and_then(|code| code.parse().ok()).unwrap_or(200);
    let complain = format!("listen tcp 0.0.0.0:{port}: bind: {{error}}");
    let Some(listener) = listen(&host, port, &log, &complain) else { return 1 };
    let now = slashed(Utc::at(host.now()));
    log.line(host.now(), format!("{now} [INFO] server is listening on :{port}"));
    let clock = host.clone();
    let server = serve(host.clone(), listener, move |request| {
        let now = Utc::at(clock.now());
        let mut response = Response::new(status, "text/plain; charset=utf-8", said.clone());
        response.headers.push("X-App-Name", "http-echo");
        response.headers.push("X-App-Version", "1.0.0");
        response.headers.push("Date", now.http());
        let agent = request.headers.get("user-agent").unwrap_or_default();
        let host = request.headers.get("host").unwrap_or_default();
        let (peer, line, size) = (request.peer, request.line(), said.len());
        let text =
            format!("{} {host} {peer} \"{line}\" {status} {size} \"{agent}\" 13.4µs", slashed(now));
        log.line(clock.now(), text);
        response
    });
    keep(&host, server);
    until_asked(&host, GRACE).await
}
