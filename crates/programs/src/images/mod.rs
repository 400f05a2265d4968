//! A program for every container image, found by the repository's name whatever its registry or tag.
//!
//! - [`nginx`], [`httpd`]: web servers with files and configuration; [`site`]: their files;
//! - [`echo`], [`agnhost`]: servers that say who they are and who has asked;
//! - [`redis`]; [`greet`]: databases and others, as far as their first answer;
//! - [`ingress`]: the proxy of an ingress controller;
//! - [`web`]: what they have in common, and the server that stands for images that are not known;
//! - [`system`]: what Kubernetes itself runs; [`tools`]: what images have beside their server.
//!
//! A container opens exactly the ports that its program opens. Declaring a port opens nothing; an image
//! that is not known stands for a server on the ports it declares, and says so in every answer.

mod agnhost;
mod echo;
mod greet;
mod httpd;
pub mod ingress;
mod nginx;
mod redis;
mod site;
pub mod system;
pub mod tools;
mod web;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use base::Duration;
use netsim::Host;

use crate::dns::{Flavour, ResolvConf, Resolver, Zone};
use crate::files::Files;
use crate::log::Log;
use crate::resolve::Names;

/// What a container is started with.
#[derive(Clone, Default)]
pub struct Container {
    /// `nginx:1.27`
    pub image: String,
    /// Instead of the image's entrypoint.
    pub command: Vec<String>,
    /// Instead of the image's arguments.
    pub args: Vec<String>,
    /// Environment, in order.
    pub env: Rc<[(String, String)]>,
    /// Ports it declares; of interest only for images that are not known.
    pub declared_ports: Vec<u16>,
    /// Its host name: the Pod's.
    pub hostname: String,
    /// The directory it begins in; the image's own when empty.
    pub working_dir: String,
    /// Its files: ConfigMaps and other volumes among them.
    pub files: Files,
    /// It is to end some time: an init container, or one that is not started again.
    pub is_task: bool,
    /// What a name server in it answers from.
    pub zone: Option<Rc<dyn Zone>>,
}

/// Images whose only program is a shell with its tools.
const SHELLS: &str = "alpine alpine/curl amazonlinux bash busybox centos curlimages/curl debian fedora \
    nicolaka/netshoot radial/busyboxplus ubuntu e2e-test-images/busybox appropriate/curl alpine/git \
    jonlabelle/network-tools wbitt/network-multitool praqma/network-multitool";

/// Images of this kind are built on Alpine, whose C library is musl.
const ALPINE: [&str; 5] = ["alpine", "curlimages/", "netshoot", "http-https-echo", "ealen/"];

impl Container {
    /// How programs in it ask for names: by its files, with its image's C library.
    pub fn resolver(&self) -> Resolver {
        let text = |path: &str| {
            let content = self.files.read(path).unwrap_or_default();
            String::from_utf8_lossy(&content).into_owned()
        };
        let is_alpine = ALPINE.iter().any(|part| self.image.contains(part));
        Resolver {
            names: Names::parse(&text("/etc/hosts")),
            conf: ResolvConf::parse(&text("/etc/resolv.conf")),
            flavour: if is_alpine { Flavour::Musl } else { Flavour::Glibc },
            asks_both: true,
            udp_size: None,
        }
    }

    /// The command line, when it is one for a shell and its tools: [`crate::Commands`] run it. `None` when
    /// the image's own program runs.
    pub fn command_line(&self) -> Option<Vec<String>> {
        let words: Vec<String> = self.command.iter().chain(&self.args).cloned().collect();
        let first = words.first().map(|word| word.rsplit('/').next().unwrap_or(word));
        let name = repository(&self.image);
        if SHELLS.split_whitespace().any(|shell| shell == name) {
            let entrypoint = if name.ends_with("curl") && self.command.is_empty() {
                "curl"
            } else if words.is_empty() {
                "sh"
            } else {
                return Some(words);
            };
            return Some(std::iter::once(entrypoint.to_string()).chain(words).collect());
        }
        let is_tool =
            matches!(first, Some("sh" | "bash" | "ash" | "sleep" | "echo" | "true" | "false"));
        is_tool.then_some(words)
    }

    /// The same container with a command line that the image itself has the program for; `None` when it
    /// does not have it. An image that is not known has every program.
    pub fn own_program(&self, argv: &[String]) -> Option<Container> {
        let first = argv.first()?;
        let name = repository(&self.image);
        let is_shell = SHELLS.split_whitespace().any(|shell| shell == name);
        let has = !is_shell
            && match name {
                "nginx" | "nginxinc/nginx-unprivileged" => first.ends_with("nginx"),
                "httpd" => first.contains("httpd"),
                _ => true,
            };
        has.then(|| Container { command: argv.to_vec(), args: Vec::new(), ..self.clone() })
    }
}

/// A running program: its exit code, some day.
pub type Program = Pin<Box<dyn Future<Output = i32>>>;

/// The part of an image's name that says what it is: `docker.io/library/nginx:1.27@sha256:…` → `nginx`,
/// `registry.k8s.io/e2e-test-images/agnhost:2.39` → `e2e-test-images/agnhost`.
pub fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    let (path, last) = match image.rsplit_once('/') {
        Some((path, last)) => (Some(path), last),
        None => (None, image),
    };
    let name_len = last.split(':').next().unwrap_or_default().len();
    let end = path.map_or(0, |path| path.len() + 1) + name_len;
    let named = image.get(..end).unwrap_or(image);
    // A first part with a dot or a colon, or `localhost`, is a registry.
    let without_registry = match named.split_once('/') {
        Some((registry, rest)) if registry.contains(['.', ':']) || registry == "localhost" => rest,
        _ => named,
    };
    without_registry.strip_prefix("library/").unwrap_or(without_registry)
}

/// Why an image cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchImage;

/// Whether an image can be pulled. By convention `invalid/…` and everything tagged `nope` do not exist.
pub fn pull(image: &str) -> Result<(), NoSuchImage> {
    let is_missing = image.is_empty() || repository(image).starts_with("invalid/");
    if is_missing || image.ends_with(":nope") { Err(NoSuchImage) } else { Ok(()) }
}

/// How many bytes an image takes, as it was pulled: those that everybody pulls nearly as they are, others made up.
pub fn size(image: &str) -> u64 {
    let name = repository(image);
    match name {
        "busybox" => 2_236_931,
        "alpine" => 3_644_324,
        "nginx" => 72_404_038,
        "httpd" => 58_765_160,
        "redis" => 45_006_722,
        "nicolaka/netshoot" => 198_403_913,
        _ => 20_000_000 + base::Rng::new(0).fork(image).next_u64() % 80_000_000,
    }
}

/// The program of a container.
pub fn program(host: Host, container: Container, log: Log) -> Program {
    let name = repository(&container.image).to_string();
    let words = container.words();
    if words.iter().any(|word| word == "http.server") {
        return Box::pin(web::python(host, container, log));
    }
    if let Some(web) = echo::find(&name) {
        return Box::pin(echo::run(host, container, log, web));
    }
    if let Some(server) = greet::find(&name) {
        return Box::pin(greet::run(host, container, log, server));
    }
    // `bitnami/redis`, `gb-redis-follower`, `redis-slave`
    let last = name.rsplit('/').next().unwrap_or_default();
    if ["redis", "valkey", "gb-redis"].iter().any(|known| last.starts_with(known)) {
        return Box::pin(redis::redis(host, container, log));
    }
    match name.as_str() {
        "nginx"
        | "nginxinc/nginx-unprivileged"
        | "bitnami/nginx"
        | "nginx-slim"
        | "google-containers/nginx" => Box::pin(nginx::nginx(host, container, log, None)),
        "google-samples/hello-frontend" => {
            Box::pin(nginx::nginx(host, container, log, Some(FRONTEND)))
        }
        "httpd" => Box::pin(httpd::httpd(host, container, log)),
        "ingress-nginx/controller" => Box::pin(ingress::controller(host, container, log)),
        "hashicorp/http-echo" => Box::pin(echo::http_echo(host, container, log)),
        "e2e-test-images/agnhost" | "agnhost" => Box::pin(agnhost::agnhost(host, container, log)),
        "lab/slow" => Box::pin(web::slow(host, container, log)),
        "lab/crash" => Box::pin(crash(host, log)),
        // It declares one port, and listens on another.
        "lab/broken" => Box::pin(web::generic(host, container, log, &[8081])),
        "kindest/kindnetd"
        | "kube-proxy"
        | "kube-controller-manager"
        | "kube-scheduler"
        | "etcd"
        | "coredns/coredns"
        | "coredns"
        | "kube-apiserver"
        | "kindest/local-path-provisioner" => system::program(host, container, log),
        "pause" | "kubernetes/pause" | "google_containers/pause" => {
            Box::pin(async move { web::until_asked(&host, Duration::ZERO).await })
        }
        _ if SHELLS.split_whitespace().any(|shell| shell == name) => {
            Box::pin(shell(host, container, log))
        }
        _ => {
            let known = greet::known_ports(&name);
            Box::pin(async move { web::generic(host, container, log, &known).await })
        }
    }
}

/// The configuration of the front end in Kubernetes' own tutorial.
const FRONTEND: &str = "# The identifier Backend is internal to nginx, and used to name this specific upstream\n\
    upstream Backend {\n    # hello is the internal DNS name used by the backend Service inside Kubernetes\n    server hello;\n}\n\n\
    server {\n    listen 80;\n\n    location / {\n        # The following statement will proxy traffic to the upstream named Backend\n        \
    proxy_pass http://Backend;\n    }\n}\n";

/// `lab/crash`: ends a second after it was started.
async fn crash(host: Host, log: Log) -> i32 {
    log.line(host.now(), "starting");
    host.sleep(Duration::from_secs(1)).await;
    log.line(host.now(), "fatal: nothing works");
    1
}

/// An image whose program is a shell: it ends when its command ends. Commands that wait are understood;
/// without a command there is nobody at the keyboard, and it ends at once.
async fn shell(host: Host, container: Container, log: Log) -> i32 {
    let words: Vec<&str> =
        container.command.iter().chain(&container.args).map(String::as_str).collect();
    if words.is_empty() {
        return 0;
    }
    if let Some(said) = words.strip_prefix(&["echo"]) {
        log.line(host.now(), said.join(" "));
        return 0;
    }
    let secs = match words.as_slice() {
        ["sleep", secs] => secs.trim_end_matches('s').parse().ok(),
        _ => None,
    };
    match secs {
        Some(secs) => {
            host.sleep(Duration::from_secs(secs)).await;
            0
        }
        // A shell that waits ignores SIGTERM, being process 1; it is killed when its grace is over.
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_whatever_the_registry_and_tag() {
        for (image, name) in [
            ("nginx", "nginx"),
            ("nginx:1.27-alpine", "nginx"),
            ("docker.io/library/nginx@sha256:abc", "nginx"),
            ("localhost:5000/httpd:2.4", "httpd"),
            ("hashicorp/http-echo:1.0", "hashicorp/http-echo"),
            ("registry.k8s.io/e2e-test-images/agnhost:2.39", "e2e-test-images/agnhost"),
            ("gcr.io/google-samples/hello-app:1.0", "google-samples/hello-app"),
            ("", ""),
        ] {
            assert_eq!(repository(image), name, "{image}");
        }
        assert!(pull("nginx:nope").is_err());
        assert!(pull("docker.io/invalid/thing").is_err());
        assert!(pull("nginx").is_ok());
    }
}
