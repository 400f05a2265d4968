//! What the echo servers of images answer.

use std::net::Ipv4Addr;

use base::Utc;

use crate::http::{Request, Response};
use crate::images::Container;
use crate::images::site;
use crate::images::web::text;

/// A request, and who is asked.
pub(super) struct Asked<'a> {
    pub(super) container: &'a Container,
    pub(super) request: &'a Request,
    pub(super) port: u16,
    pub(super) addr: Ipv4Addr,
    pub(super) now: Utc,
}

impl Asked<'_> {
    fn host(&self) -> &str {
        self.request.headers.get("host").unwrap_or_default()
    }

    pub(super) fn hostname(&self) -> &str {
        &self.container.hostname
    }
}

fn json(body: String) -> Response {
    Response::new(200, "application/json; charset=utf-8", body)
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Pairs as members of a JSON object.
fn members(pairs: &[(String, String)], lower: bool, between: &str, colon: &str) -> String {
    let member = |(name, value): &(String, String)| {
        let name = if lower { name.to_ascii_lowercase() } else { name.clone() };
        format!("{}{colon}{}", quoted(&name), quoted(value))
    };
    pairs.iter().map(member).collect::<Vec<_>>().join(between)
}

/// Header fields by their names.
fn sorted(request: &Request) -> Vec<(String, String)> {
    let mut fields = request.headers.0.clone();
    base::order::sort_by(&mut fields, |a, b| a.0.cmp(&b.0));
    fields
}

pub(super) fn whoami(asked: &Asked<'_>) -> Response {
    let request = asked.request;
    match request.path() {
        "/health" => return Response::new(200, "text/plain; charset=utf-8", ""),
        "/api" => {
            let fields: Vec<String> = sorted(request)
                .iter()
                .map(|(name, value)| format!("{}:[{}]", quoted(name), quoted(value)))
                .collect();
            return json(format!(
                "{{\"hostname\":{},\"ip\":[\"127.0.0.1\",\"{}\"],\"headers\":{{{}}},\"url\":\"/api\",\"host\":{},\"method\":{},\"remoteAddr\":\"{}\"}}\n",
                quoted(asked.hostname()),
                asked.addr,
                fields.join(","),
                quoted(asked.host()),
                quoted(&request.method),
                request.peer
            ));
        }
        _ => {}
    }
    let fields = request.headers.0.iter().map(|(name, value)| format!("{name}: {value}\n"));
    let fields: String = fields.collect();
    let name = asked.container.var("WHOAMI_NAME").map(|name| format!("Name: {name}\n"));
    text(format!(
        "{}Hostname: {}\nIP: 127.0.0.1\nIP: {}\nRemoteAddr: {}\n{}\n{fields}\n",
        name.unwrap_or_default(),
        asked.hostname(),
        asked.addr,
        request.peer,
        request.line(),
    ))
}

pub(super) fn iam(asked: &Asked<'_>) -> Response {
    text(format!("I'm {}\n", asked.hostname()))
}

pub(super) fn mendhak(asked: &Asked<'_>) -> Response {
    let request = asked.request;
    let host = asked.host();
    let pad = ",\n    ";
    let mut query = members(&site::query(request), false, pad, ": ");
    if !query.is_empty() {
        query = format!("\n    {query}\n  ");
    }
    let mut response = json(format!(
        "{{\n  \"path\": {},\n  \"headers\": {{\n    {}\n  }},\n  \"method\": {},\n  \"body\": {},\n  \
         \"fresh\": false,\n  \"hostname\": {},\n  \"ip\": \"::ffff:{}\",\n  \"ips\": [],\n  \
         \"protocol\": \"http\",\n  \"query\": {{{query}}},\n  \"subdomains\": [],\n  \"xhr\": false,\n  \
         \"os\": {{\n    \"hostname\": {}\n  }},\n  \"connection\": {{}}\n}}",
        quoted(request.path()),
        members(&request.headers.0, true, pad, ": "),
        quoted(&request.method),
        quoted(&String::from_utf8_lossy(&request.body)),
        quoted(host.split(':').next().unwrap_or_default()),
        request.peer.ip(),
        quoted(asked.hostname()),
    ));
    response.headers.push("X-Powered-By", "Express");
    response
}

pub(super) fn ealen(asked: &Asked<'_>) -> Response {
    let request = asked.request;
    let host = asked.host();
    let mut environment = asked.container.env.to_vec();
    if !environment.iter().any(|(name, _)| name == "HOSTNAME") {
        environment.insert(0, ("HOSTNAME".to_string(), asked.hostname().to_string()));
    }
    json(format!(
        "{{\"host\":{{\"hostname\":{},\"ip\":\"::ffff:{}\",\"ips\":[]}},\"http\":{{\"method\":{},\"baseUrl\":\"\",\
         \"originalUrl\":{},\"protocol\":\"http\"}},\"request\":{{\"params\":{{\"0\":{}}},\"query\":{{{}}},\
         \"cookies\":{{}},\"body\":{{}},\"headers\":{{{}}}}},\"environment\":{{{}}}}}",
        quoted(host.split(':').next().unwrap_or_default()),
        request.peer.ip(),
        quoted(&request.method),
        quoted(&request.target),
        quoted(request.path()),
        members(&site::query(request), false, ",", ":"),
        members(&request.headers.0, true, ",", ":"),
        members(&environment, false, ",", ":"),
    ))
}

pub(super) fn echo_server(asked: &Asked<'_>) -> Response {
    let request = asked.request;
    let fields = sorted(request);
    let fields = fields.iter().map(|(name, value)| format!("{name}: {value}\n"));
    text(format!(
        "Request served by {}\n\nHTTP/1.{} {} {}\n\n{}",
        asked.hostname(),
        request.minor_version,
        request.method,
        request.target,
        fields.collect::<String>()
    ))
}

pub(super) fn echoserver(asked: &Asked<'_>) -> Response {
    let request = asked.request;
    let fields = sorted(request);
    let fields = fields.iter().map(|(name, value)| format!("{}={value}\n", name.to_lowercase()));
    let query = request.target.split_once('?').map_or("nil", |(_, query)| query);
    // The older image says nothing of itself.
    let head = match asked.container.tag() {
        "1.4" | "1.0" | "1.2" | "1.3" => String::new(),
        _ => format!("\n\nHostname: {}\n\n", asked.hostname()),
    };
    let body = match request.body.is_empty() {
        true => "-no body in request-".into(),
        false => String::from_utf8_lossy(&request.body),
    };
    Response::new(
        200,
        "text/plain",
        format!(
            "{head}CLIENT VALUES:\nclient_address={}\ncommand={}\nreal path={}\nquery={query}\n\
             request_version=1.{}\nrequest_uri=http://{}:{}{}\n\nSERVER VALUES:\n\
             server_version=nginx: 1.10.0 - lua: 10001\n\nHEADERS RECEIVED:\n{}BODY:\n{body}",
            request.peer.ip(),
            request.method,
            request.target,
            request.minor_version,
            asked.host().split(':').next().unwrap_or_default(),
            asked.port,
            request.target,
            fields.collect::<String>(),
        ),
    )
}

/// The image's page.
const WHALE: &str = r#"<pre>
Hello World


                                       ##         .
                                 ## ## ##        ==
                              ## ## ## ## ##    ===
                           /""""""""""""""""\___/ ===
                      ~~~ {~~ ~~~~ ~~~ ~~~~ ~~ ~ /  ===- ~~~
                           \______ o          _,/
                            \      \       _,'
                             `'--.._\..--''
</pre>
"#;

pub(super) fn whale(asked: &Asked<'_>) -> Response {
    match asked.request.path() {
        "/" | "/index.html" => site::html(200, WHALE),
        _ => site::html(
            404,
            "<HTML><HEAD><TITLE>404 Not Found</TITLE></HEAD>\n<BODY><H1>404 Not Found</H1>\nThe requested URL was not found\n</BODY></HTML>\n",
        ),
    }
}

pub(super) fn hello_app(asked: &Asked<'_>) -> Response {
    let version = if asked.container.tag().starts_with('2') { "2.0.0" } else { "1.0.0" };
    let hostname = asked.hostname();
    text(format!("Hello, world!\nVersion: {version}\nHostname: {hostname}\n"))
}

pub(super) fn bootcamp(asked: &Asked<'_>) -> Response {
    let version = asked.container.tag().trim_start_matches('v').split('.').next().unwrap_or("1");
    let version = if version == "latest" { "1" } else { version };
    let hostname = asked.hostname();
    let body = format!("Hello Kubernetes bootcamp! | Running on: {hostname} | v={version}\n");
    Response::new(200, "text/plain", body)
}

pub(super) fn hello_kubernetes(asked: &Asked<'_>) -> Response {
    let message = asked.container.var("MESSAGE").unwrap_or("Hello world!");
    let row = |name: &str, value: &str| {
        format!("    <tr>\n      <th>{name}:</th>\n      <td>{value}</td>\n    </tr>\n")
    };
    let var = |name: &str| asked.container.var(name).unwrap_or("-");
    let rows = [
        row("namespace", var("KUBERNETES_NAMESPACE")),
        row("pod", asked.hostname()),
        row("node", &format!("{} (Linux 6.12.0-podwire)", var("KUBERNETES_NODE_NAME"))),
    ];
    site::html(
        200,
        format!(
            "<!DOCTYPE html>\n<html>\n<head>\n    <title>Hello Kubernetes!</title>\n</head>\n<body>\n\
             \x20 <div class=\"main\">\n    <div class=\"content\">\n      <div id=\"message\">\n  {message}\n</div>\n\
             <div id=\"info\">\n  <table>\n{}  </table>\n</div>\n    </div>\n  </div>\n</body>\n</html>\n",
            rows.concat()
        ),
    )
}

pub(super) fn nginx_hello(asked: &Asked<'_>) -> Response {
    let request = asked.request;
    let mut seed = 0xcbf2_9ce4_8422_2325_u64;
    for byte in format!("{}{}", request.peer, asked.now).bytes() {
        seed = (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let rows = [
        ("Server address", format!("{}:{}", asked.addr, asked.port)),
        ("Server name", asked.hostname().to_string()),
        ("Date", asked.now.access_log()),
        ("URI", request.target.clone()),
        ("Request ID", format!("{seed:016x}{:016x}", seed.rotate_left(29))),
    ];
    let mut response = if asked.container.tag().contains("plain-text") {
        let lines = rows.map(|(name, value)| format!("{name}: {value}\n"));
        Response::new(200, "text/plain", lines.concat())
    } else {
        let lines = rows.map(|(name, value)| {
            let name = name.replace("Server", "Server&nbsp;");
            format!("<p><span>{name}:</span> <span>{value}</span></p>\n")
        });
        site::html(
            200,
            format!(
                "<!DOCTYPE html>\n<html>\n<head>\n<title>Hello World</title>\n</head>\n<body>\n<div class=\"info\">\n{}\
                 </div>\n</body>\n</html>\n",
                lines.concat().replace("Server&nbsp; ", "Server&nbsp;")
            ),
        )
    };
    response.headers.push("Server", "nginx/1.27.5");
    response.headers.push("Cache-Control", "no-cache");
    response
}

pub(super) fn podinfo(asked: &Asked<'_>) -> Response {
    let message =
        asked.container.var("PODINFO_UI_MESSAGE").unwrap_or("greetings from podinfo v6.9.0");
    match asked.request.path() {
        "/" => json(format!(
            "{{\n  \"hostname\": {},\n  \"version\": \"6.9.0\",\n  \"revision\": \"fb3b01be30a3f353b221365cd3b4f9484a0885ea\",\n  \
             \"color\": {},\n  \"logo\": \"https://raw.githubusercontent.com/stefanprodan/podinfo/gh-pages/cuddle_clap.gif\",\n  \
             \"message\": {},\n  \"goos\": \"linux\",\n  \"goarch\": \"amd64\",\n  \"runtime\": \"go1.24.3\",\n  \
             \"num_goroutine\": \"8\",\n  \"num_cpu\": \"8\"\n}}",
            quoted(asked.hostname()),
            quoted(asked.container.var("PODINFO_UI_COLOR").unwrap_or("#34577c")),
            quoted(message),
        )),
        "/healthz" | "/readyz" => json("{\n  \"status\": \"OK\"\n}".to_string()),
        "/version" => json("{\n  \"commit\": \"fb3b01be30a3f353b221365cd3b4f9484a0885ea\",\n  \"version\": \"6.9.0\"\n}".to_string()),
        _ => Response::new(404, "text/plain; charset=utf-8", "404 page not found\n"),
    }
}

pub(super) fn httpbin(asked: &Asked<'_>) -> Response {
    let request = asked.request;
    let pad = ", \n    ";
    let headers =
        format!("\"headers\": {{\n    {}\n  }}", members(&sorted(request), false, pad, ": "));
    let peer = request.peer.ip();
    let url = format!("http://{}{}", asked.host(), request.target);
    let args = members(&site::query(request), false, pad, ": ");
    let args = format!("\"args\": {{{args}}}");
    match request.path() {
        "/headers" => json(format!("{{\n  {headers}\n}}\n")),
        "/ip" => json(format!("{{\n  \"origin\": \"{peer}\"\n}}\n")),
        "/hostname" => json(format!("{{\n  \"hostname\": {}\n}}\n", quoted(asked.hostname()))),
        "/user-agent" => {
            let agent = request.headers.get("user-agent").unwrap_or_default();
            json(format!("{{\n  \"user-agent\": {}\n}}\n", quoted(agent)))
        }
        "/get" | "/anything" => json(format!(
            "{{\n  {args}, \n  {headers}, \n  \"origin\": \"{peer}\", \n  \"url\": {}\n}}\n",
            quoted(&url)
        )),
        "/" => site::html(
            200,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<title>httpbin.org</title>\n</head>\n<body>\n<h1>httpbin</h1>\n</body>\n</html>\n",
        ),
        path => {
            let status = path.strip_prefix("/status/").and_then(|status| status.parse().ok());
            match status.filter(|status| (200..600).contains(status)) {
                Some(status) => Response::new(status, "text/html; charset=utf-8", ""),
                None => site::html(
                    404,
                    "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 3.2 Final//EN\">\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>The requested URL was not found on the server.  If you entered the URL manually please check your spelling and try again.</p>\n",
                ),
            }
        }
    }
}

pub(super) fn istio_hello(asked: &Asked<'_>) -> Response {
    let version = if asked.container.image.contains("v2") { "v2" } else { "v1" };
    match asked.request.path() {
        "/hello" => {
            site::html(200, format!("Hello version: {version}, instance: {}\n", asked.hostname()))
        }
        "/health" => site::html(200, "Helloworld is healthy"),
        _ => site::html(
            404,
            "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n",
        ),
    }
}

pub(super) fn elasticsearch(asked: &Asked<'_>) -> Response {
    let mut response = json(format!(
        "{{\n  \"name\" : {},\n  \"cluster_name\" : \"docker-cluster\",\n  \"version\" : {{\n    \"number\" : \"8.17.0\",\n    \
         \"build_flavor\" : \"default\",\n    \"build_type\" : \"docker\"\n  }},\n  \"tagline\" : \"You Know, for Search\"\n}}\n",
        quoted(asked.hostname())
    ));
    response.headers.push("X-elastic-product", "Elasticsearch");
    response
}

pub(super) fn prometheus(asked: &Asked<'_>) -> Response {
    match asked.request.path() {
        "/-/ready" => text("Prometheus Server is Ready.\n"),
        "/-/healthy" => text("Prometheus Server is Healthy.\n"),
        "/" => {
            let mut response = site::html(302, "<a href=\"/query\">Found</a>.\n\n");
            response.headers.push("Location", "/query");
            response
        }
        _ => Response::new(404, "text/plain; charset=utf-8", "404 page not found\n"),
    }
}
