//! The lab: what is done in it, and what is asked of it.

use std::cell::RefCell;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::rc::Rc;

use base::Duration;
use kube_api::MetaExt;
use kube_api::core::{LoadBalancerIngress, Pod, Service};
use lab::{Options, Place, World};
use netfilter::nft::command::{list_ruleset, load};
use netfilter::nft::value::Style;
use netfilter::text::{RestoreOptions, restore, save};
use netfilter::{Netfilter, TableName};
use netsim::exec::timeout;
use netsim::{Cidr, Host, NsId, Route, SockError};
use shell::script::{PlayOptions, play};
use shell::{Files, MemoryFiles, Shell, Transcript};

use crate::script::{Deed, Scenario};

/// How long a client waits, in both worlds: shorter than the time after which a SYN is sent again.
pub(crate) const PATIENCE: Duration = Duration::from_millis(700);

/// Somebody who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// The lab's name of the namespace.
    pub(crate) ns: String,
    pub(crate) protocol: String,
    pub(crate) port: u16,
    /// Who it says it is.
    pub(crate) name: String,
}

/// A lab, and what was added to it.
pub(crate) struct Ours {
    pub(crate) world: World,
    shell: Shell,
    terminal: Rc<Transcript>,
    /// Servers that no Pod brought along.
    added: Vec<Server>,
    /// Pods whose UDP servers run: stand-ins, since no image is one.
    udp: Vec<Server>,
}

impl Ours {
    pub(crate) fn new(files: &Path) -> Ours {
        let world = World::new(&Options::default());
        let memory = MemoryFiles::default();
        for entry in fs::read_dir(files).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            memory.write(&format!("{}/{name}", memory.home()), &fs::read(&path).unwrap()).unwrap();
        }
        let terminal = Rc::new(Transcript::default());
        let shell = Shell::new(world.lab(), Rc::new(memory), terminal.clone());
        Ours { world, shell, terminal, added: Vec::new(), udp: Vec::new() }
    }

    pub(crate) fn command(&self, text: &str) -> Result<(), String> {
        let code = play(&self.world, &self.shell, text, PlayOptions::default());
        let shown = self.terminal.take();
        if code == 0 { Ok(()) } else { Err(format!("{shown}[exit {code}]")) }
    }

    fn pass(&self, time: Duration) {
        self.world.advance(self.world.lab().now() + time, u32::MAX);
    }

    /// `host`, a node's name, `pod/NAME`.
    fn place(name: &str) -> Place {
        match name.strip_prefix("pod/") {
            _ if name == "host" => Place::Machine,
            Some(pod) => Place::Pod {
                cluster: "kind".to_string(),
                namespace: "default".to_string(),
                name: pod.to_string(),
            },
            None => Place::Node(name.to_string()),
        }
    }

    fn ns(&self, place: &str) -> NsId {
        let place = Ours::place(place);
        self.world.lab().ns(&place).unwrap_or_else(|| panic!("there is no {place}"))
    }

    pub(crate) fn do_deed(&mut self, deed: &Deed) {
        let net = self.world.lab().net().clone();
        match deed {
            Deed::Listens { place, protocol, port } => {
                let ns = Ours::place(place).ns_name();
                let name = place.replace('/', "-");
                let server = Server { ns, protocol: protocol.clone(), port: *port, name };
                self.start(&server, Ours::place(place));
                self.added.push(server);
            }
            Deed::Link { place, iface, is_up } => {
                let views = net.ifaces(self.ns(place));
                let view = views.iter().find(|view| view.name == *iface);
                net.set_up(view.unwrap_or_else(|| panic!("no {iface} in {place}")).id, *is_up);
            }
            Deed::Forwarding { place, is_on } => net.set_forwarding(self.ns(place), *is_on),
            Deed::Route { place, to, via } => {
                let ns = self.ns(place);
                let routes = net.routes(ns);
                let way = routes.iter().find(|route| route.dst.contains(*via)).unwrap();
                let views = net.ifaces(ns);
                let dev = views.iter().find(|view| view.name == way.dev).unwrap().id;
                net.add_route(ns, Route::via(Cidr::host(*to), *via, dev)).unwrap();
            }
            Deed::Status { service, addr } => {
                let ingress = LoadBalancerIngress {
                    ip: Some(addr.to_string()),
                    ip_mode: Some("VIP".to_string()),
                    ..LoadBalancerIngress::default()
                };
                let set = |service: &mut Service| {
                    let status = service.status.get_or_insert_default();
                    status.load_balancer.get_or_insert_default().ingress = Some(vec![ingress]);
                };
                let done = self
                    .world
                    .lab()
                    .with("kind", |cluster| cluster.api.modify::<Service>("default", service, set));
                assert!(done.flatten().is_some(), "there is no Service {service}");
                self.pass(Duration::from_secs(3));
            }
        }
    }

    /// Starts a server of the test's own.
    fn start(&self, server: &Server, place: Place) {
        let local = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, server.port);
        let name = server.name.clone();
        let is_udp = server.protocol == "udp";
        let started = self.world.lab().start(&place, "server", move |host| async move {
            if is_udp {
                serve_udp(host, local, name).await
            } else {
                serve_tcp(host, local, name).await
            }
        });
        assert!(started.is_some(), "{place} is not there");
        self.pass(Duration::from_millis(10));
    }

    /// Everybody who answers, in all places.
    pub(crate) fn servers(&mut self) -> Vec<Server> {
        let mut servers = self.added.clone();
        let lab = self.world.lab().clone();
        let pods: Vec<Rc<Pod>> = lab
            .with("kind", |cluster| cluster.api.store().list::<Pod>().cloned().collect())
            .unwrap();
        for pod in pods {
            let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name().to_string());
            let place = Place::Pod {
                cluster: "kind".to_string(),
                namespace: namespace.to_string(),
                name: name.clone(),
            };
            let spec = pod.spec.clone().unwrap_or_default();
            let node = Place::Node(spec.node_name.clone().unwrap_or_default());
            // A Pod in its node's network has its node's host name.
            let (place, name) = match spec.host_network {
                Some(true) => (node.clone(), node.short().to_string()),
                _ => (place, name),
            };
            if lab.ns(&place).is_none() || namespace == "kube-system" {
                continue;
            }
            for container in &spec.containers {
                let args = container.args.clone().unwrap_or_default();
                let flag = args.iter().position(|arg| arg == "--port");
                let port = flag.and_then(|at| args.get(at + 1)?.parse().ok()).unwrap_or(80);
                let ns = place.ns_name();
                if container.image.as_deref() == Some("traefik/whoami") {
                    let (ns, name) = (ns.clone(), name.clone());
                    servers.push(Server { ns, protocol: "tcp".to_string(), port, name });
                }
                let ports = container.ports.iter().flatten();
                for port in ports.filter(|port| port.protocol.as_deref() == Some("UDP")) {
                    let (port, protocol) = (port.container_port as u16, "udp".to_string());
                    let server = Server { ns: ns.clone(), protocol, port, name: name.clone() };
                    if !self.udp.contains(&server) {
                        self.start(&server, place.clone());
                        self.udp.push(server.clone());
                    }
                    servers.push(server);
                }
            }
        }
        servers
    }

    /// The address that a target's name stands for.
    pub(crate) fn resolve(&self, name: &str) -> Ipv4Addr {
        if let Ok(addr) = name.parse() {
            return addr;
        }
        let find = |cluster: &mut lab::cluster::Cluster| {
            if let Some(node) = cluster.node(name) {
                return Some(node.ip);
            }
            let store = cluster.api.store();
            let text = match name.strip_prefix("pod/") {
                Some(pod) => {
                    let pod = store.get::<Pod>("default", pod)?;
                    controllers::pods::address(pod)?.to_string()
                }
                None => {
                    let service = store.get::<Service>("default", name)?;
                    service.spec.as_ref()?.cluster_ip.clone()?
                }
            };
            text.parse().ok()
        };
        let localhost = (name == "localhost").then_some(Ipv4Addr::LOCALHOST);
        let found = localhost.or_else(|| self.world.lab().with("kind", find).flatten());
        found.unwrap_or_else(|| panic!("{name} has no address"))
    }

    /// Asks, and says what came of each time.
    pub(crate) fn ask(&self, scenario: &Scenario, to: SocketAddrV4) -> Vec<String> {
        let answers = Rc::new(RefCell::new(Vec::new()));
        let (slot, times) = (answers.clone(), scenario.times);
        let is_udp = scenario.protocol == "udp";
        let place = Ours::place(&scenario.from);
        let client = self.world.lab().start(&place, "client", move |host| async move {
            for _ in 0..times {
                let until = host.net().sleep_until(host.now() + PATIENCE);
                let answer = match is_udp {
                    true => timeout(until, ask_udp(&host, to)).await,
                    false => timeout(until, ask_tcp(&host, to)).await,
                };
                slot.borrow_mut().push(match answer {
                    None => "28 timed out".to_string(),
                    Some(Ok(text)) => outcome(&text),
                    Some(Err(error)) => failure(error),
                });
            }
            0
        });
        self.world.run(&client.unwrap_or_else(|| panic!("{place} is not there")));
        self.pass(Duration::from_millis(200));
        answers.take()
    }

    /// The namespaces that have rules, and their names.
    pub(crate) fn filtered(&self) -> Vec<(String, NsId)> {
        let net = self.world.lab().net();
        let has = |ns: &NsId| net.with_netfilter(*ns, |netfilter| !netfilter.is_idle());
        net.namespaces().into_iter().filter(|(_, ns)| has(ns) == Some(true)).collect()
    }

    fn netfilter<R>(&self, ns: NsId, f: impl FnOnce(&mut Netfilter) -> R) -> R {
        self.world.lab().net().with_netfilter(ns, f).unwrap()
    }

    /// The rules of a namespace, those of iptables and those of nft. From now on all its counters begin anew, those of
    /// `nth` and `numgen inc` too.
    pub(crate) fn begin_anew(&self, ns: NsId) -> (String, String) {
        let now = self.world.lab().now();
        self.netfilter(ns, |netfilter| {
            let rules = save::save(netfilter, None, false, "now");
            restore(netfilter, &rules, RestoreOptions::default()).unwrap();
            let nft = list_ruleset(netfilter, Style::default(), now);
            load(netfilter, &format!("flush ruleset\n{nft}"), now).unwrap();
            (rules, nft)
        })
    }

    pub(crate) fn forget_connections(&self, ns: NsId) {
        let now = self.world.lab().now();
        self.netfilter(ns, |netfilter| {
            let ids: Vec<_> =
                netfilter.conntrack().entries(now).iter().map(|(id, _)| *id).collect();
            ids.into_iter().for_each(|id| netfilter.conntrack_mut().remove(id, now));
        });
    }

    /// `iptables-save -c -t nat` and `conntrack -L`.
    pub(crate) fn look(&self, ns: NsId) -> (String, String) {
        let now = self.world.lab().now();
        self.netfilter(ns, |netfilter| {
            let nat = save::save(netfilter, Some(TableName::Nat), true, "now");
            (nat, netfilter::conntrack::text::list(netfilter.conntrack(), now))
        })
    }
}

/// Who answered, and whom they saw.
fn outcome(text: &str) -> String {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    match (field("Hostname: "), field("RemoteAddr: ")) {
        (Some(name), Some(peer)) => {
            format!("{} saw {}", name.trim(), peer.rsplit_once(':').unwrap_or_default().0)
        }
        _ => "52 empty reply".to_string(),
    }
}

/// How curl would have failed.
fn failure(error: SockError) -> String {
    match error {
        SockError::Refused => "7 refused".to_string(),
        SockError::HostUnreachable | SockError::Prohibited => "7 host unreachable".to_string(),
        SockError::NetUnreachable => "7 net unreachable".to_string(),
        SockError::Reset | SockError::BrokenPipe => "56 reset".to_string(),
        SockError::TimedOut => "28 timed out".to_string(),
        other => format!("7 {other}"),
    }
}

async fn ask_tcp(host: &Host, to: SocketAddrV4) -> Result<String, SockError> {
    let stream = host.connect(to).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(String::from_utf8_lossy(&answer).into_owned()),
            read => answer.extend_from_slice(&buffer[..read]),
        }
    }
}

async fn ask_udp(host: &Host, to: SocketAddrV4) -> Result<String, SockError> {
    let socket = host.bind_udp(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(to)?;
    socket.send_to(b"who?", to, None)?;
    let (data, ..) = socket.recv_from().await?;
    Ok(String::from_utf8_lossy(&data).into_owned())
}

async fn serve_udp(host: Host, local: SocketAddrV4, name: String) -> i32 {
    let Ok(socket) = host.bind_udp(local) else { return 1 };
    while let Ok((_, peer, asked)) = socket.recv_from().await {
        let answer = format!("Hostname: {name}\nRemoteAddr: {peer}\n");
        let _ = socket.send_to(answer.as_bytes(), peer, asked);
    }
    0
}

async fn serve_tcp(host: Host, local: SocketAddrV4, name: String) -> i32 {
    let Ok(listener) = host.listen(local) else { return 1 };
    programs::http::serve(host, listener, move |request| {
        let body = format!("Hostname: {name}\nRemoteAddr: {}\n", request.peer);
        programs::http::Response::new(200, "text/plain", body)
    })
    .await;
    0
}
