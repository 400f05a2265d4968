//! A program for every container image, found by the repository's name whatever its registry or tag.
//!
//! - [`web`]: nginx, httpd and the servers that say who they are;
//! - [`ingress`]: the proxy of an ingress controller;
//! - [`system`]: what Kubernetes itself runs.
//!
//! A container opens exactly the ports that its program opens. Declaring a port opens nothing; an image
//! that is not known stands for a server on the ports it declares, and says so in every answer.

pub mod ingress;
pub mod system;
pub mod web;

use std::future::Future;
use std::pin::Pin;

use base::Duration;
use netsim::Host;

use crate::files::Files;
use crate::log::Log;

/// What a container is started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// `nginx:1.27`
    pub image: String,
    /// Instead of the image's entrypoint.
    pub command: Vec<String>,
    /// Instead of the image's arguments.
    pub args: Vec<String>,
    /// Environment, in order.
    pub env: Vec<(String, String)>,
    /// Ports it declares; of interest only for images that are not known.
    pub declared_ports: Vec<u16>,
    /// Its host name: the Pod's.
    pub hostname: String,
    /// The directory it begins in; the image's own when empty.
    pub working_dir: String,
    /// Its files: ConfigMaps and other volumes among them.
    pub files: Files,
}

/// Images whose only program is a shell with its tools.
const SHELLS: &str = "alpine alpine/curl amazonlinux bash busybox centos curlimages/curl debian fedora \
    nicolaka/netshoot radial/busyboxplus ubuntu e2e-test-images/busybox appropriate/curl alpine/git \
    jonlabelle/network-tools wbitt/network-multitool praqma/network-multitool";

impl Container {
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

/// The program of a container.
pub fn program(host: Host, container: Container, log: Log) -> Program {
    match repository(&container.image) {
        "nginx" | "nginxinc/nginx-unprivileged" => Box::pin(web::nginx(host, container, log)),
        "httpd" => Box::pin(web::httpd(host, log)),
        "ingress-nginx/controller" => Box::pin(ingress::controller(host, container, log)),
        "hashicorp/http-echo" => Box::pin(web::http_echo(host, container, log)),
        "traefik/whoami" => Box::pin(web::whoami(host, container, log)),
        "kindest/kindnetd"
        | "kube-proxy"
        | "kube-controller-manager"
        | "kube-scheduler"
        | "etcd"
        | "coredns/coredns"
        | "coredns"
        | "kube-apiserver"
        | "kindest/local-path-provisioner" => system::program(host, container, log),
        "busybox" | "alpine" | "curlimages/curl" | "nicolaka/netshoot" | "ubuntu" | "debian"
        | "pause" => Box::pin(shell(host, container, log)),
        _ => Box::pin(web::generic(host, container, log)),
    }
}

/// An image whose program is a shell: it ends when its command ends. Commands that wait are understood;
/// without a command there is nobody at the keyboard, and it ends at once.
async fn shell(host: Host, container: Container, log: Log) -> i32 {
    let words: Vec<&str> =
        container.command.iter().chain(&container.args).map(String::as_str).collect();
    let line = words.join(" ");
    let is_pause = repository(&container.image) == "pause";
    if line.is_empty() && !is_pause {
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

/// Runs a server until it is asked to end, which it does after `grace`.
pub(crate) async fn until_terminated(
    host: &Host,
    server: impl Future<Output = ()>,
    grace: Duration,
) -> i32 {
    match netsim::exec::select(server, host.terminated()).await {
        netsim::exec::Either::First(()) => 0,
        netsim::exec::Either::Second(()) => {
            host.sleep(grace).await;
            0
        }
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
