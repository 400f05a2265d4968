//! NetworkPolicies, by packets: who reaches whom while a policy is there, and that nothing is left when it is gone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::net::{Ipv4Addr, SocketAddrV4};

use base::Duration;
use expect_test::expect;
use kube_api::core::Pod;
use kube_api::networking::NetworkPolicy;
use kube_api::{DeleteOptions, Kind, MetaExt, yaml};
use lab::path::Ending;
use lab::{Lab, Options, Outcome, Place, World};
use netfilter::TableName;
use netsim::exec::timeout;

/// Servers and clients; servers listen on TCP 80 (nginx), 8080, 8085, 9090 and UDP 53.
const PODS: [(&str, &str, &str, &str); 6] = [
    ("default", "web", "kind-worker", "app: web, tier: front"),
    ("default", "api", "kind-worker2", "app: api"),
    ("default", "friend", "kind-worker", "role: friend"),
    ("default", "stranger", "kind-worker2", "role: stranger"),
    ("shop", "buyer", "kind-worker2", "role: friend"),
    ("shop", "thief", "kind-worker", "role: thief"),
];

struct Town {
    world: World,
}

impl Town {
    fn new() -> Town {
        let town = Town { world: World::new(&Options::default()) };
        town.apply(
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: sales}}\n",
        );
        for (namespace, name, node, labels) in PODS {
            town.apply(&format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}\nspec: {{nodeName: {node}, containers: [{{name: a, image: nginx, ports: [{{name: http, containerPort: 80}}, {{name: alt, containerPort: {}}}, {{name: dns, containerPort: 53, protocol: UDP}}]}}]}}\n",
                if name == "web" { 8080 } else { 9090 }
            ));
        }
        town.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: host, labels: {app: web}}\nspec: {nodeName: kind-worker2, hostNetwork: true, containers: [{name: a, image: nginx}]}\n");
        town.apply("apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: NodePort, selector: {app: web, tier: front}, ports: [{port: 80, nodePort: 30007}]}\n");
        town.pass(10_000);
        for (namespace, name, ..) in PODS {
            town.serve(&pod_place(namespace, name));
        }
        town.serve(&place("node"));
        town
    }

    fn lab(&self) -> &Lab {
        self.world.lab()
    }

    fn pass(&self, millis: u64) {
        let until = self.lab().now() + Duration::from_millis(millis);
        self.world.advance(until, u32::MAX);
    }

    fn apply(&self, text: &str) {
        let now = self.lab().now();
        let act = |cluster: &mut lab::cluster::Cluster| {
            for document in yaml::documents(text) {
                let node = document.content.unwrap().unwrap();
                let field = |name: &str| node.get(name).unwrap().as_str().unwrap();
                let api = &mut cluster.api;
                let kind = api.store().kinds().find(field("apiVersion"), field("kind")).unwrap().id;
                let value = api.decode(kind, &node).map_err(|error| error.0.to_string()).unwrap();
                let object = api.object(kind, value).unwrap();
                api.create(object, now).unwrap();
            }
        };
        self.lab().with("kind", act).unwrap();
    }

    fn serve(&self, place: &Place) {
        let all = Ipv4Addr::UNSPECIFIED;
        for port in [8080, 8085, 9090] {
            let serve = move |host: netsim::Host| async move {
                let listener = host.listen(SocketAddrV4::new(all, port)).unwrap();
                programs::echo::tcp(host, listener).await;
                0
            };
            self.lab().start(place, "echo", serve).unwrap();
        }
        let serve = move |host: netsim::Host| async move {
            programs::echo::udp(host.bind_udp(SocketAddrV4::new(all, 53)).unwrap()).await;
            0
        };
        self.lab().start(place, "echo", serve).unwrap();
    }

    fn address(&self, name: &str) -> Ipv4Addr {
        match name {
            "machine" => return Ipv4Addr::new(172, 18, 0, 1),
            "node" => return Ipv4Addr::new(172, 18, 0, 3),
            "node2" => return Ipv4Addr::new(172, 18, 0, 4),
            "control" => return Ipv4Addr::new(172, 18, 0, 2),
            _ => {}
        }
        let find = |cluster: &mut lab::cluster::Cluster| {
            let store = cluster.api.store();
            if name == "svc" {
                let service = store.get::<kube_api::core::Service>("default", "web").unwrap();
                return service.spec.clone().unwrap().cluster_ip.unwrap().parse().unwrap();
            }
            let pod = store.list::<Pod>().find(|pod| pod.metadata.name() == name).unwrap();
            controllers::pods::address(pod).unwrap().parse().unwrap()
        };
        self.lab().with("kind", find).unwrap()
    }

    /// Whether `from` reaches `to`, `web:80` or `web:53/udp`.
    fn reaches(&self, from: &str, to: &str) -> bool {
        let (to, is_udp) = match to.strip_suffix("/udp") {
            Some(to) => (to, true),
            None => (to, false),
        };
        let (name, port) = to.split_once(':').unwrap();
        let remote = SocketAddrV4::new(self.address(name), port.parse().unwrap());
        let ask = move |host: netsim::Host| async move {
            let patience = host.sleep(Duration::from_secs(2));
            let done = timeout(patience, async {
                if !is_udp {
                    return host.connect(remote).await.is_ok();
                }
                let socket = host.bind_udp(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)).unwrap();
                socket.connect(remote).unwrap();
                socket.send(b"hello").unwrap();
                socket.recv_from().await.is_ok()
            });
            i32::from(done.await == Some(true))
        };
        let process = self.lab().start(&place(from), "ask", ask).unwrap();
        self.world.run(&process) == Some(1)
    }

    fn delete_policies(&self) {
        let now = self.lab().now();
        let delete = |cluster: &mut lab::cluster::Cluster| {
            let api = &mut cluster.api;
            let all: Vec<_> = api.store().list::<NetworkPolicy>().cloned().collect();
            for policy in all {
                let (namespace, name) = (policy.metadata.namespace(), policy.metadata.name());
                let options = DeleteOptions::default();
                api.delete(NetworkPolicy::id(), namespace, name, options, now).unwrap();
            }
        };
        self.lab().with("kind", delete).unwrap();
        self.pass(200);
        self.nothing_is_left();
    }

    fn nothing_is_left(&self) {
        for node in ["kind-control-plane", "kind-worker", "kind-worker2"] {
            let ns = self.lab().ns(&Place::Node(node.into())).unwrap();
            self.lab().net().with_netfilter(ns, |netfilter| {
                let chains = netfilter.table(TableName::Filter).unwrap().chains();
                let left: Vec<String> = chains
                    .map(|chain| chain.name.to_string())
                    .filter(|name| {
                        ["KUBE-ROUTER", "KUBE-POD-FW", "KUBE-NWPLCY"]
                            .iter()
                            .any(|prefix| name.starts_with(prefix))
                    })
                    .collect();
                assert!(left.is_empty(), "{node}: {left:?}");
                assert_eq!(netfilter.stores().sets.iter().count(), 0, "{node}");
            });
        }
    }

    /// With these policies in force, what is open and what is shut.
    fn check(&self, what: &str, policies: &[&str], open: &str, shut: &str) {
        for (number, policy) in policies.iter().enumerate() {
            self.apply(&policy_text(&format!("p{number}"), policy));
        }
        self.pass(200);
        for (list, expected) in [(open, true), (shut, false)] {
            for pair in list.split(", ").filter(|pair| !pair.is_empty()) {
                let (from, to) = pair.split_once(" > ").unwrap();
                assert_eq!(self.reaches(from, to), expected, "{what}: {pair}");
            }
        }
        self.delete_policies();
    }
}

fn policy_text(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: default}}\nspec: {{{spec}}}\n"
    )
}

fn pod_place(namespace: &str, name: &str) -> Place {
    Place::Pod { cluster: "kind".into(), namespace: namespace.into(), name: name.into() }
}

fn place(name: &str) -> Place {
    match name {
        "machine" => Place::Machine,
        "control" => Place::Node("kind-control-plane".into()),
        "node" => Place::Node("kind-worker".into()),
        "node2" => Place::Node("kind-worker2".into()),
        _ => {
            let (namespace, ..) = PODS.iter().find(|(_, pod, ..)| *pod == name).unwrap();
            pod_place(namespace, name)
        }
    }
}

const WEB: &str = "podSelector: {matchLabels: {app: web}}";

#[test]
fn what_comes_in() {
    let town = Town::new();
    let all = "friend > web:80, stranger > web:80, buyer > web:80, thief > web:80";
    town.check("no policy", &[], all, "");
    let deny = format!("{WEB}, policyTypes: [Ingress]");
    town.check(
        "default deny, of the selected alone, from both nodes; what goes out is free",
        &[&deny],
        "friend > api:80, stranger > api:80, web > api:80, web > friend:80",
        all,
    );
    town.check(
        "an empty selector is all Pods of the namespace, and of no other",
        &["podSelector: {}, policyTypes: [Ingress]"],
        "friend > buyer:80, web > thief:80",
        "friend > web:80, friend > api:80, stranger > friend:80, buyer > stranger:80",
    );
    town.check(
        "a Pod reaches itself, and its own node reaches it",
        &["podSelector: {}, policyTypes: [Ingress]"],
        "web > web:80, node > web:80, node2 > api:80",
        "node2 > web:80, machine > web:80",
    );
    town.check(
        "by labels, which mean the policy's namespace",
        &[&format!(
            "{WEB}, ingress: [{{from: [{{podSelector: {{matchLabels: {{role: friend}}}}}}]}}]"
        )],
        "friend > web:80, friend > web:53/udp, friend > web:9090",
        "stranger > web:80, buyer > web:80, thief > web:80",
    );
    town.check(
        "by namespace",
        &[&format!(
            "{WEB}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{team: sales}}}}}}]}}]"
        )],
        "buyer > web:80, thief > web:80",
        "friend > web:80, stranger > web:80",
    );
    town.check(
        "by both at once",
        &[&format!(
            "{WEB}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{team: sales}}}}, podSelector: {{matchLabels: {{role: friend}}}}}}]}}]"
        )],
        "buyer > web:80",
        "friend > web:80, thief > web:80, stranger > web:80",
    );
    town.check(
        "by either",
        &[&format!(
            "{WEB}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{team: sales}}}}}}, {{podSelector: {{matchLabels: {{role: friend}}}}}}]}}]"
        )],
        "buyer > web:80, thief > web:80, friend > web:80",
        "stranger > web:80",
    );
    town.check(
        "an empty namespace selector is all namespaces",
        &[&format!("{WEB}, ingress: [{{from: [{{namespaceSelector: {{}}}}]}}]")],
        all,
        "machine > web:80, node2 > web:80",
    );
    town.check("an empty rule is everybody", &[&format!("{WEB}, ingress: [{{}}]")], all, "");
    town.check(
        "an empty list of peers is everybody, on that port",
        &[&format!("{WEB}, ingress: [{{from: [], ports: [{{port: 80}}]}}]")],
        "friend > web:80, thief > web:80",
        "friend > web:8080, friend > web:53/udp",
    );
}

#[test]
fn ports() {
    let town = Town::new();
    let with = |ports: &str| format!("{WEB}, ingress: [{{ports: [{ports}]}}]");
    town.check(
        "several ports and protocols",
        &[&with("{port: 8080}, {port: 53, protocol: UDP}")],
        "friend > web:8080, stranger > web:53/udp",
        "friend > web:80, friend > web:8085",
    );
    town.check(
        "a range",
        &[&with("{port: 8080, endPort: 8085}")],
        "friend > web:8080, stranger > web:8085",
        "friend > web:80, friend > web:9090, friend > web:53/udp",
    );
    town.check(
        "a protocol without a port is all its ports",
        &[&with("{protocol: UDP}")],
        "friend > web:53/udp",
        "friend > web:80, friend > web:8080",
    );
    town.check(
        "a name means the port of each Pod",
        &["podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: alt}]}]"],
        "friend > web:8080, stranger > api:9090",
        "friend > web:9090, stranger > api:8080, friend > api:80",
    );
    town.check(
        "a name with peers, and of its own protocol",
        &[&format!(
            "{WEB}, ingress: [{{from: [{{podSelector: {{matchLabels: {{role: friend}}}}}}], ports: [{{port: alt}}, {{port: dns, protocol: UDP}}]}}]"
        )],
        "friend > web:8080, friend > web:53/udp",
        "stranger > web:8080, stranger > web:53/udp, friend > web:80",
    );
    town.check("a name that no Pod has", &[&with("{port: nothing}")], "", "friend > web:80");
    town.check("SCTP alone", &[&with("{port: 80, protocol: SCTP}")], "", "friend > web:80");
}

#[test]
fn several_policies_are_their_union() {
    let town = Town::new();
    let deny = format!("{WEB}, policyTypes: [Ingress]");
    let friends =
        format!("{WEB}, ingress: [{{from: [{{podSelector: {{matchLabels: {{role: friend}}}}}}]}}]");
    let alt = format!("{WEB}, ingress: [{{ports: [{{port: 8080}}]}}]");
    town.check(
        "what one allows is allowed",
        &[&deny, &friends, &alt],
        "friend > web:80, friend > web:8080, stranger > web:8080",
        "stranger > web:80, buyer > web:80",
    );
}

#[test]
fn what_goes_out() {
    let town = Town::new();
    let friend = "podSelector: {matchLabels: {role: friend}}";
    town.check(
        "default deny: answers go out all the same, and the own node is reached",
        &[&format!("{friend}, policyTypes: [Egress]")],
        "stranger > friend:80, web > friend:80, buyer > web:80, friend > node:8080",
        "friend > web:80, friend > api:80, friend > web:53/udp, friend > svc:80, friend > node2:80",
    );
    town.check(
        "names alone can be asked for",
        &[&format!(
            "{friend}, policyTypes: [Egress], egress: [{{ports: [{{port: 53, protocol: UDP}}]}}]"
        )],
        "friend > api:53/udp, friend > web:53/udp",
        "friend > api:80, friend > web:80",
    );
    town.check(
        "through a Service it is the Pod behind it that counts",
        &[&format!("{friend}, egress: [{{to: [{{podSelector: {{matchLabels: {{app: web}}}}}}]}}], policyTypes: [Egress]")],
        "friend > svc:80, friend > web:80",
        "friend > api:80, friend > buyer:80",
    );
    town.check(
        "into another namespace, by the name of a port",
        &[&format!(
            "{friend}, policyTypes: [Egress], egress: [{{to: [{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: shop}}}}}}], ports: [{{port: alt}}]}}]"
        )],
        "friend > buyer:9090, friend > thief:9090",
        "friend > buyer:80, friend > api:9090",
    );
    town.check(
        "without policyTypes, egress rules isolate both ways",
        &[&format!("{friend}, egress: [{{}}]")],
        "friend > api:80, friend > web:80",
        "stranger > friend:80, buyer > friend:80",
    );
    town.check(
        "both ends must agree",
        &[
            &format!("{friend}, policyTypes: [Egress], egress: [{{to: [{{podSelector: {{matchLabels: {{app: api}}}}}}]}}]"),
            "podSelector: {matchLabels: {app: api}}, ingress: [{ports: [{port: 8080}]}]",
        ],
        "friend > api:8080, stranger > api:8080",
        "friend > api:80, friend > web:80, stranger > api:80",
    );
}

#[test]
fn blocks_of_addresses() {
    let town = Town::new();
    let from = |block: &str| format!("{WEB}, ingress: [{{from: [{{ipBlock: {{{block}}}}}]}}]");
    town.check(
        "Pods are in a block too, and exceptions are not",
        &[&from("cidr: 10.244.0.0/16, except: [10.244.2.0/24]")],
        "friend > web:80, thief > web:80",
        "stranger > web:80, buyer > web:80, node2 > web:80",
    );
    town.check(
        "what one block excepts another may hold",
        &[&format!(
            "{WEB}, ingress: [{{from: [{{ipBlock: {{cidr: 10.244.0.0/16, except: [10.244.2.0/24]}}}}, {{ipBlock: {{cidr: 10.244.2.0/24}}}}]}}]"
        )],
        "friend > web:80, stranger > web:80",
        "node2 > web:80",
    );
    town.check(
        "the whole of the internet",
        &[&from("cidr: 0.0.0.0/0, except: [10.244.0.0/16]")],
        "node2 > web:80",
        "friend > web:80, stranger > web:80",
    );
    // A node port of the Pod's own node: rules see the client. Of another node: they see that node, which has put
    // its own address in (masquerading); of the client nothing is known any more.
    let machine = "machine > node:30007";
    town.check(
        "a client by its address",
        &[&from("cidr: 172.18.0.1/32")],
        machine,
        "machine > node2:30007",
    );
    town.check(
        "a client by the address of the node that it came through",
        &[&from("cidr: 172.18.0.4/32")],
        "machine > node2:30007",
        machine,
    );
    town.check(
        "out to a block",
        &["podSelector: {matchLabels: {role: friend}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.244.2.0/24}}]}]"],
        "friend > api:80, friend > buyer:80",
        "friend > web:80, friend > node2:80",
    );
}

#[test]
fn host_network_pods_are_their_nodes() {
    let town = Town::new();
    town.check(
        "a policy that selects one does nothing to it, and selectors do not mean it",
        &[
            &format!("{WEB}, policyTypes: [Ingress]"),
            "podSelector: {matchLabels: {app: api}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]",
        ],
        "friend > node2:80, web > api:80",
        "friend > web:80, node > api:80",
    );
}

#[test]
fn a_connection_that_stands_outlives_a_policy() {
    let town = Town::new();
    let remote = SocketAddrV4::new(town.address("web"), 8080);
    let talk = move |host: netsim::Host| async move {
        let stream = host.connect(remote).await.unwrap();
        for round in 0..10_u8 {
            stream.write_all(&[round]).await.unwrap();
            let mut buffer = [0; 1];
            assert_eq!(stream.read(&mut buffer).await, Ok(1));
            host.sleep(Duration::from_millis(300)).await;
        }
        0
    };
    let process = town.lab().start(&place("stranger"), "talk", talk).unwrap();
    town.pass(500);
    town.apply(&policy_text("deny-all", "podSelector: {}, policyTypes: [Ingress, Egress]"));
    town.pass(300);
    assert!(!town.reaches("stranger", "web:8080"), "a new connection is not let through");
    assert_eq!(town.world.run(&process), Some(0));
    town.delete_policies();
    assert!(town.reaches("stranger", "web:8080"));
}

#[test]
fn labels_of_pods_and_namespaces_count_as_they_are_now() {
    let town = Town::new();
    town.apply(&policy_text(
        "friends",
        &format!(
            "{WEB}, ingress: [{{from: [{{podSelector: {{matchLabels: {{role: friend}}}}}}, {{namespaceSelector: {{matchLabels: {{team: ops}}}}}}]}}]"
        ),
    ));
    town.pass(200);
    assert!(!town.reaches("stranger", "web:80"));
    assert!(!town.reaches("thief", "web:80"));
    let set = |cluster: &mut lab::cluster::Cluster| {
        cluster.api.modify::<Pod>("default", "stranger", |pod| {
            pod.metadata.labels.get_or_insert_default().insert("role".into(), "friend".into());
        });
        cluster.api.modify::<kube_api::core::Namespace>("", "shop", |namespace| {
            namespace.metadata.labels.get_or_insert_default().insert("team".into(), "ops".into());
        });
        cluster.api.modify::<Pod>("default", "api", |pod| {
            pod.metadata.labels.get_or_insert_default().insert("app".into(), "web".into());
        });
    };
    town.lab().with("kind", set).unwrap();
    town.pass(200);
    assert!(town.reaches("stranger", "web:80"));
    assert!(town.reaches("thief", "web:80"));
    assert!(!town.reaches("web", "api:80"), "it is selected now");
    // A new Pod of a kind that is allowed.
    town.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: new, labels: {role: friend}}\nspec: {nodeName: kind-worker2, containers: [{name: a, image: nginx}]}\n");
    town.pass(5000);
    let new = pod_place("default", "new");
    let remote = SocketAddrV4::new(town.address("web"), 80);
    let ask =
        move |host: netsim::Host| async move { i32::from(host.connect(remote).await.is_ok()) };
    let process = town.lab().start(&new, "ask", ask).unwrap();
    assert_eq!(town.world.run(&process), Some(1));
    town.delete_policies();
}

#[test]
fn probes_come_through() {
    let town = Town::new();
    town.apply(&policy_text("deny-all", "podSelector: {}, policyTypes: [Ingress, Egress]"));
    town.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: probed}\nspec: {nodeName: kind-worker, containers: [{name: a, image: nginx, readinessProbe: {httpGet: {port: 80}, periodSeconds: 1}, livenessProbe: {tcpSocket: {port: 80}, periodSeconds: 1}}]}\n");
    town.pass(20_000);
    let look = |cluster: &mut lab::cluster::Cluster| {
        let pod = cluster.api.store().get::<Pod>("default", "probed").unwrap().clone();
        (controllers::pods::is_ready(&pod), controllers::pods::summary(&pod).restarts)
    };
    assert_eq!(town.lab().with("kind", look), Some((true, 0)));
    town.delete_policies();
}

#[test]
fn what_is_dropped_names_the_policy() {
    let town = Town::new();
    town.apply(&policy_text("deny-all", "podSelector: {}, policyTypes: [Ingress]"));
    town.pass(200);
    let lab = town.lab().clone();
    let from = place("stranger");
    let cause = lab.begin_request(&from, "web:80", "curl");
    let remote = SocketAddrV4::new(town.address("web"), 80);
    let inside = lab.clone();
    let ask = move |host: netsim::Host| async move {
        host.set_cause(cause);
        let connected = timeout(host.sleep(Duration::from_secs(2)), host.connect(remote)).await;
        inside.end_request(cause, Outcome::Failed(format!("{:?}", connected.is_some())), b"");
        0
    };
    let process = lab.start(&from, "curl", ask).unwrap();
    town.world.run(&process);
    let journey = lab.journey(cause);
    let lost = journey.packets.iter().find_map(|packet| packet.lost()).unwrap();
    let told = format!("{}: {}", lost.0, lost.1);
    expect!["kind-worker: dropped by NetworkPolicy default/deny-all"].assert_eq(&told);
    let stay = journey.packets[0].stays.last().unwrap();
    assert!(matches!(stay.ending(), Ending::Lost(_)));
    let rules: Vec<String> = stay.matched().map(|matched| matched.rule.line()).collect();
    expect![[r#"
        -A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
        -A FORWARD -m comment --comment "kube-router netpol" -j KUBE-ROUTER-FORWARD
        -A KUBE-ROUTER-FORWARD -d 10.244.1.3/32 -m comment --comment "ingress of pod default/web" -j KUBE-POD-FW-ZMJHBLAUJBRKODYL
        -A KUBE-POD-FW-ZMJHBLAUJBRKODYL -m comment --comment "policy default/deny-all" -j KUBE-NWPLCY-YNGFLXM27PQHN54T
        -A KUBE-POD-FW-ZMJHBLAUJBRKODYL -m comment --comment "policy default/deny-all" -m mark ! --mark 0x10000/0x10000 -j DROP"#]].assert_eq(&rules.join("\n"));
}
