//! Manifests against the API server: what it makes of them, and how it refuses them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use base::{Instant, Rng};
use expect_test::{Expect, expect};
use kube_api::core::{Namespace, Service};
use kube_api::{Api, ApiConfig, DeleteOptions, Kind, MetaExt, Metadata, yaml};

fn api() -> Api {
    let mut api = Api::new(ApiConfig::default(), Rng::new(1));
    let mut namespace = Namespace::default();
    namespace.metadata_mut().name = Some("default".into());
    api.create_typed(namespace, Instant::ZERO).unwrap();
    api
}

/// Creates every document, or changes what is there; says what came of each.
fn apply(api: &mut Api, text: &str) -> String {
    let mut told = Vec::new();
    for document in yaml::documents(text) {
        let node = document.content.unwrap().unwrap();
        let field = |name: &str| node.get(name).unwrap().as_str().unwrap();
        let info = api.store().kinds().find(field("apiVersion"), field("kind")).unwrap().clone();
        let value = match api.decode(info.id, &node) {
            Ok(value) => value,
            Err(refused) => {
                told.push(refused.0.to_string());
                continue;
            }
        };
        let object = api.object(info.id, value).unwrap();
        let is_there = |api: &Api| {
            let namespace =
                if object.namespace().is_empty() { "default" } else { object.namespace() };
            api.store().get_any(info.id, namespace, object.name()).is_some()
        };
        let result = match is_there(api) {
            false => api.create(object, Instant::ZERO),
            true => {
                let mut object = object;
                object.meta_mut().namespace = Some("default".into());
                api.update(object)
            }
        };
        told.push(match result {
            Ok(object) => format!("{} ok", info.object_name(object.name())),
            Err(status) => status.to_string(),
        });
    }
    told.join("\n")
}

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&apply(&mut api(), text));
}

const NGINX: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: nginx}
spec:
  selector: {matchLabels: {app: nginx}}
  template:
    metadata: {labels: {app: nginx}}
    spec: {containers: [{name: nginx, image: nginx}]}
";

fn service(name: &str, spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

#[test]
fn defaults_are_filled_in() {
    let mut api = api();
    apply(&mut api, NGINX);
    let kind = api.store().kinds().by_name("deploy").unwrap().id;
    let deployment = api.store().get_any(kind, "default", "nginx").unwrap().to_value();
    expect![[r#"
        {
          "apiVersion": "apps/v1",
          "kind": "Deployment",
          "metadata": {
            "creationTimestamp": "2026-01-05T09:00:00Z",
            "generation": 1,
            "name": "nginx",
            "namespace": "default",
            "resourceVersion": "2",
            "uid": "f00c4ca9-9354-4493-b312-3a116e1d7059"
          },
          "spec": {
            "progressDeadlineSeconds": 600,
            "replicas": 1,
            "revisionHistoryLimit": 10,
            "selector": {
              "matchLabels": {
                "app": "nginx"
              }
            },
            "strategy": {
              "rollingUpdate": {
                "maxSurge": "25%",
                "maxUnavailable": "25%"
              },
              "type": "RollingUpdate"
            },
            "template": {
              "metadata": {
                "labels": {
                  "app": "nginx"
                }
              },
              "spec": {
                "containers": [
                  {
                    "image": "nginx",
                    "imagePullPolicy": "Always",
                    "name": "nginx",
                    "resources": {},
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File"
                  }
                ],
                "dnsPolicy": "ClusterFirst",
                "restartPolicy": "Always",
                "schedulerName": "default-scheduler",
                "securityContext": {},
                "terminationGracePeriodSeconds": 30
              }
            }
          },
          "status": {}
        }"#]]
    .assert_eq(&format!("{:#}", deployment));
}

#[test]
fn node_ports_out_of_range_and_taken() {
    let port = |number| format!("{{type: NodePort, ports: [{{port: 80, nodePort: {number}}}]}}");
    check(
        &[
            service("a", &port(80)),
            service("b", &port(30007)),
            service("c", &port(30007)),
            service("d", &port(70000)),
        ]
        .join("---\n"),
        expect![[r#"
            The Service "a" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767
            service/b ok
            The Service "c" is invalid: spec.ports[0].nodePort: Invalid value: 30007: provided port is already allocated
            The Service "d" is invalid: spec.ports[0].nodePort: Invalid value: 70000: provided port is not in the valid range. The range of valid ports is 30000-32767"#]],
    );
}

#[test]
fn addresses_taken_and_outside() {
    let ip = |ip| format!("{{clusterIP: {ip}, ports: [{{port: 80}}]}}");
    check(
        &["10.96.0.10", "10.96.0.10", "10.97.0.1", "10.96.0.0", "nonsense", "None"]
            .iter()
            .zip("abcdef".chars())
            .map(|(addr, name)| service(&name.to_string(), &ip(addr)))
            .collect::<Vec<_>>()
            .join("---\n"),
        expect![[r#"
            service/a ok
            The Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.10"]: failed to allocate IP 10.96.0.10: provided IP is already allocated
            The Service "c" is invalid: spec.clusterIPs: Invalid value: ["10.97.0.1"]: failed to allocate IP 10.97.0.1: the provided network does not match the current range
            The Service "d" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.0"]: failed to allocate IP 10.96.0.0: the provided IP (10.96.0.0) is not in the valid range. The range of valid IPs is 10.96.0.0/16
            The Service "e" is invalid: spec.clusterIPs[0]: Invalid value: "nonsense": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            service/f ok"#]],
    );
}

#[test]
fn what_a_service_may_not_say() {
    check(
        &service("a", "{}"),
        expect![[r#"The Service "a" is invalid: spec.ports: Required value"#]],
    );
    check(
        &service("a", "{ports: [{port: 0}, {port: 99999, protocol: tcp}]}"),
        expect![[r#"
        The Service "a" is invalid: 
        * spec.ports[0].name: Required value
        * spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
        * spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive
        * spec.ports[1].name: Required value
        * spec.ports[1].port: Invalid value: 99999: must be between 1 and 65535, inclusive
        * spec.ports[1].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"
        * spec.ports[1].targetPort: Invalid value: 99999: must be between 1 and 65535, inclusive"#]],
    );
    check(
        &service("a", "{type: Nodeport, ports: [{port: 80}]}"),
        expect![[
            r#"The Service "a" is invalid: spec.type: Unsupported value: "Nodeport": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort""#
        ]],
    );
    check(
        &service("a", "{ports: [{port: 80, nodePort: 30007}]}"),
        expect![[
            r#"The Service "a" is invalid: spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"#
        ]],
    );
    check(
        &service("a", "{ports: [{port: 80, targetPort: HTTP}]}"),
        expect![[r#"
        The Service "a" is invalid: 
        * spec.ports[0].targetPort: Invalid value: "HTTP": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)
        * spec.ports[0].targetPort: Invalid value: "HTTP": must contain at least one letter (a-z)"#]],
    );
    check(
        &service("a", "{ports: [{name: a, port: 80}, {name: b, port: 80}]}"),
        expect![[
            r#"The Service "a" is invalid: spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}"#
        ]],
    );
    check(
        &service("9a", "{ports: [{port: 80}]}"),
        expect![[
            r#"The Service "9a" is invalid: metadata.name: Invalid value: "9a": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"#
        ]],
    );
}

#[test]
fn what_a_deployment_may_not_say() {
    check(
        &NGINX.replace("name: nginx}\nspec", "name: Nginx_1}\nspec"),
        expect![[
            r#"The Deployment "Nginx_1" is invalid: metadata.name: Invalid value: "Nginx_1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#
        ]],
    );
    check(
        &NGINX.replace("{labels: {app: nginx}}", "{labels: {app: other}}"),
        expect![[
            r#"The Deployment "nginx" is invalid: spec.template.metadata.labels: Invalid value: {"app":"other"}: `selector` does not match template `labels`"#
        ]],
    );
    check(
        &NGINX.replace("  selector: {matchLabels: {app: nginx}}\n", ""),
        expect![[r#"
            The Deployment "nginx" is invalid: 
            * spec.selector: Required value
            * spec.template.metadata.labels: Invalid value: {"app":"nginx"}: `selector` does not match template `labels`"#]],
    );
    check(
        &NGINX.replace("image: nginx", "imagePullPolicy: Sometimes, ports: [{containerPort: 0}]"),
        expect![[r#"
            The Deployment "nginx" is invalid: 
            * spec.template.spec.containers[0].image: Required value
            * spec.template.spec.containers[0].ports[0].containerPort: Required value
            * spec.template.spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never""#]],
    );
    check(
        &NGINX.replace("spec: {containers", "spec: {restartPolicy: Never, containers"),
        expect![[
            r#"The Deployment "nginx" is invalid: spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#
        ]],
    );
    check(
        &NGINX.replace("[{name: nginx, image: nginx}]", "[]"),
        expect![[
            r#"The Deployment "nginx" is invalid: spec.template.spec.containers: Required value"#
        ]],
    );
}

#[test]
fn selectors_and_addresses_do_not_change() {
    let other = NGINX.replace("app: nginx", "app: web");
    check(
        &format!("{NGINX}---{other}"),
        expect![[r#"
            deployment.apps/nginx ok
            The Deployment "nginx" is invalid: spec.selector: Invalid value: {"matchLabels":{"app":"web"}}: field is immutable"#]],
    );
    let ip = |ip| service("a", &format!("{{clusterIP: {ip}, ports: [{{port: 80}}]}}"));
    check(
        &format!("{}---\n{}", ip("10.96.0.20"), ip("10.96.0.21")),
        expect![[r#"
            service/a ok
            The Service "a" is invalid: spec.clusterIPs[0]: Invalid value: ["10.96.0.21"]: may not change once set"#]],
    );
}

#[test]
fn a_missing_namespace_and_a_name_twice() {
    let elsewhere = NGINX.replace("{name: nginx}\nspec", "{name: nginx, namespace: shop}\nspec");
    check(&elsewhere, expect![[r#"Error from server (NotFound): namespaces "shop" not found"#]]);
    let mut api = api();
    apply(&mut api, NGINX);
    let kind = api.store().kinds().by_name("deploy").unwrap().id;
    let object = api.store().get_any(kind, "default", "nginx").unwrap().clone();
    let error = api.create(object, Instant::ZERO).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Error from server (AlreadyExists): deployments.apps \"nginx\" already exists"
    );
}

#[test]
fn a_service_keeps_its_address_and_ports_and_gives_them_back() {
    let mut api = api();
    let node_port = service("web", "{type: NodePort, ports: [{port: 80}]}");
    apply(&mut api, &node_port);
    let read = |api: &Api| {
        let spec = api.store().get::<Service>("default", "web").unwrap().spec.clone().unwrap();
        (spec.cluster_ip.unwrap(), spec.ports.unwrap()[0].node_port)
    };
    let first = read(&api);
    assert!(first.1.unwrap() >= 30086, "dynamic ports come from the upper band: {first:?}");
    apply(&mut api, &node_port);
    assert_eq!(read(&api), first);
    apply(&mut api, &service("web", "{ports: [{port: 80}]}"));
    assert_eq!(read(&api), (first.0.clone(), None));
    let taken =
        format!("{{type: NodePort, ports: [{{port: 80, nodePort: {}}}]}}", first.1.unwrap());
    assert_eq!(apply(&mut api, &service("other", &taken)), "service/other ok");
    let deleted =
        api.delete(Service::id(), "default", "web", DeleteOptions::default(), Instant::ZERO);
    assert_eq!(deleted.unwrap().meta().name(), "web");
    let same_ip = format!("{{clusterIP: {}, ports: [{{port: 80}}]}}", first.0);
    assert_eq!(apply(&mut api, &service("third", &same_ip)), "service/third ok");
}

#[test]
fn the_same_seed_gives_the_same_names_and_addresses() {
    let made = |seed| {
        let mut api = Api::new(ApiConfig::default(), Rng::new(seed));
        let mut namespace = Namespace::default();
        namespace.metadata_mut().name = Some("default".into());
        api.create_typed(namespace, Instant::ZERO).unwrap();
        apply(&mut api, &service("web", "{type: NodePort, ports: [{port: 80}]}"));
        format!("{:?}", api.store().get::<Service>("default", "web").unwrap())
    };
    assert_eq!(made(1), made(1));
    assert_ne!(made(1), made(2));
}

/// What a Service has been given: type, cluster IP, node ports, health check, families.
fn given(api: &Api, name: &str) -> String {
    let service = api.store().get::<Service>("default", name).unwrap();
    let spec = service.spec.clone().unwrap();
    let ports: Vec<String> = spec
        .ports
        .iter()
        .flatten()
        .map(|port| format!("{}:{}", port.port, port.node_port.unwrap_or(0)))
        .collect();
    format!(
        "{} ip={} ports={} check={} families={} {} etp={} alloc={:?}",
        spec.type_.unwrap_or_default(),
        if spec.cluster_ip.as_deref().is_some_and(|ip| ip.starts_with("10.96.")) {
            "given"
        } else {
            spec.cluster_ip.as_deref().unwrap_or("-")
        },
        ports.join(","),
        spec.health_check_node_port.unwrap_or(0) != 0,
        spec.ip_families.unwrap_or_default().join("+"),
        spec.ip_family_policy.unwrap_or_default(),
        spec.external_traffic_policy.unwrap_or_default(),
        spec.allocate_load_balancer_node_ports,
    )
}

#[test]
fn a_service_that_changes_its_type_keeps_and_loses_what_upstream_says() {
    let mut api = api();
    let mut told = String::new();
    let mut at = |api: &mut Api, spec: &str| {
        told.push_str(&format!("{}\n  {}\n", apply(api, &service("a", spec)), given(api, "a")));
    };
    at(&mut api, "{type: NodePort, ports: [{name: x, port: 80, nodePort: 30080}]}");
    // Another port, and the one that is there under its name keeps its number.
    at(
        &mut api,
        "{type: NodePort, ports: [{name: x, port: 81}, {name: z, port: 82, nodePort: 30082}]}",
    );
    at(&mut api, "{type: ClusterIP, ports: [{name: x, port: 81}]}");
    at(&mut api, "{type: ExternalName, externalName: example.com}");
    at(&mut api, "{type: ClusterIP, ports: [{name: x, port: 81}]}");
    at(
        &mut api,
        "{type: LoadBalancer, allocateLoadBalancerNodePorts: false, ports: [{name: x, port: 81}]}",
    );
    at(
        &mut api,
        "{type: LoadBalancer, externalTrafficPolicy: Local, ports: [{name: x, port: 81, nodePort: 30080}]}",
    );
    at(&mut api, "{type: ClusterIP, ports: [{name: x, port: 81}]}");
    // What was given back can be had again.
    at(&mut api, "{type: NodePort, ports: [{name: x, port: 80, nodePort: 30082}]}");
    expect![[r#"
        service/a ok
          NodePort ip=given ports=80:30080 check=false families=IPv4 SingleStack etp=Cluster alloc=None
        service/a ok
          NodePort ip=given ports=81:30080,82:30082 check=false families=IPv4 SingleStack etp=Cluster alloc=None
        service/a ok
          ClusterIP ip=given ports=81:0 check=false families=IPv4 SingleStack etp= alloc=None
        service/a ok
          ExternalName ip=- ports= check=false families=  etp= alloc=None
        service/a ok
          ClusterIP ip=given ports=81:0 check=false families=IPv4 SingleStack etp= alloc=None
        service/a ok
          LoadBalancer ip=given ports=81:0 check=false families=IPv4 SingleStack etp=Cluster alloc=Some(false)
        service/a ok
          LoadBalancer ip=given ports=81:30080 check=true families=IPv4 SingleStack etp=Local alloc=Some(true)
        service/a ok
          ClusterIP ip=given ports=81:0 check=false families=IPv4 SingleStack etp= alloc=None
        service/a ok
          NodePort ip=given ports=80:30082 check=false families=IPv4 SingleStack etp=Cluster alloc=None
    "#]].assert_eq(&told);
}

#[test]
fn node_ports_of_one_number() {
    check(
        &[
            service("tcp", "{type: NodePort, ports: [{port: 53, nodePort: 30053}]}"),
            service("udp", "{type: NodePort, ports: [{port: 53, protocol: UDP, nodePort: 30053}]}"),
            service(
                "both",
                "{type: NodePort, ports: [{name: a, port: 53, nodePort: 30054}, {name: b, port: 53, protocol: UDP, nodePort: 30054}]}",
            ),
        ]
        .join("---\n"),
        expect![[r#"
            service/tcp ok
            The Service "udp" is invalid: spec.ports[0].nodePort: Invalid value: 30053: provided port is already allocated
            service/both ok"#]],
    );
    let mut api = api();
    let spec = "{type: NodePort, ports: [{name: a, port: 53}, {name: b, port: 53, protocol: UDP}]}";
    apply(&mut api, &service("dns", spec));
    let dns = api.store().get::<Service>("default", "dns").unwrap().spec.clone().unwrap();
    let numbers: Vec<_> = dns.ports.unwrap().iter().map(|port| port.node_port).collect();
    assert_eq!(numbers[0], numbers[1], "the same port of another protocol shares its number");
}

#[test]
fn families_of_a_cluster_that_knows_ipv4() {
    let mut api = api();
    let ports = "ports: [{port: 80}]";
    let texts = [
        service("prefer", &format!("{{ipFamilyPolicy: PreferDualStack, {ports}}}")),
        service("require", &format!("{{ipFamilyPolicy: RequireDualStack, {ports}}}")),
        service("six", &format!("{{ipFamilies: [IPv6], {ports}}}")),
        service("two", &format!("{{ipFamilies: [IPv4, IPv6], {ports}}}")),
        service("bare", "{clusterIP: None}"),
        service("headless", "{clusterIP: None, selector: {a: b}}"),
    ];
    let told = apply(&mut api, &texts.join("---\n"));
    let shown = ["prefer", "bare", "headless"].map(|name| given(&api, name));
    expect![[r#"
        service/prefer ok
        The Service "require" is invalid: spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services
        The Service "six" is invalid: spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster
        The Service "two" is invalid: spec.ipFamilyPolicy: Invalid value: "SingleStack": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified
        service/bare ok
        service/headless ok
        ClusterIP ip=given ports=80:0 check=false families=IPv4 PreferDualStack etp= alloc=None
        ClusterIP ip=None ports= check=false families=IPv4+IPv6 RequireDualStack etp= alloc=None
        ClusterIP ip=None ports= check=false families=IPv4 SingleStack etp= alloc=None"#]].assert_eq(&format!("{told}\n{}", shown.join("\n")));
}

#[test]
fn what_a_refused_service_asked_for_is_free_again() {
    let mut api = api();
    let refused = "{type: NodePort, clusterIP: 10.96.0.77, ports: [{name: a, port: 1, nodePort: 30001}, {name: b, port: 2, nodePort: 99}]}";
    let fine = "{type: NodePort, clusterIP: 10.96.0.77, ports: [{port: 1, nodePort: 30001}]}";
    let told = apply(&mut api, &[service("a", refused), service("b", fine)].join("---\n"));
    assert!(told.ends_with("service/b ok"), "{told}");
}

#[test]
fn pods_that_are_alike_become_alike() {
    let mut api = api();
    let pod = |name: &str, image: &str| -> kube_api::core::Pod {
        kube_api::from_value(serde_json::json!({
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
            "spec": {"hostAliases": [{"ip": "10.0.0.1"}], "automountServiceAccountToken": false, "containers": [{"name": "c", "image": image,
                "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}}}]},
        }))
        .unwrap()
    };
    let mut create = |name: &str, image: &str| api.create_typed(pod(name, image), Instant::ZERO);
    let one = create("one", "nginx").unwrap();
    let two = create("two", "nginx").unwrap();
    let other = create("other", "nginx:1").unwrap();
    assert_eq!((&one.spec, &one.status), (&two.spec, &two.status));
    let policy = |pod: &kube_api::core::Pod| {
        pod.spec.as_ref().unwrap().containers[0].image_pull_policy.clone().unwrap()
    };
    assert_eq!([policy(&one), policy(&two), policy(&other)], ["Always", "Always", "IfNotPresent"]);
    assert_eq!(two.metadata.label("app"), Some("two"));
    // What each has of its own is looked at all the same, and what is wrong stays wrong.
    create("three", "nginx").unwrap();
    assert!(create("Four", "nginx").unwrap_err().to_string().contains("metadata.name"));
    for _ in 0..2 {
        assert!(create("five", " nginx").unwrap_err().to_string().contains("whitespace"));
    }
}

#[test]
fn a_part_of_an_object_is_what_the_whole_has_there() {
    let spec: kube_api::core::PodSpec = kube_api::from_value(serde_json::json!({
        "containers": [{"name": "c"}], "nodeName": "n", "hostAliases": [{"ip": "10.0.0.1"}],
        "setHostnameAsFQDN": true, "readinessGates": [],
    }))
    .unwrap();
    let whole = kube_api::types::to_value(&spec);
    for name in ["containers", "nodeName", "hostAliases", "setHostnameAsFQDN", "volumes", "nope"] {
        assert_eq!(kube_api::types::part(&spec, name).as_ref(), whole.get(name), "{name}");
    }
}

#[test]
fn a_pod_can_talk_to_the_api_server_unless_it_or_its_account_says_otherwise() {
    let mut api = api();
    let pod = |name: &str, more: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{{more}containers: [{{name: a, image: nginx}}]}}\n"
        )
    };
    let account = |name: &str, more: &str| {
        format!("---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}}}\n{more}")
    };
    let own = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: own}\nspec:\n  containers:\n  - {name: a, image: nginx}\n  - name: b\n    image: nginx\n    volumeMounts: [{name: mine, mountPath: /var/run/secrets/kubernetes.io/serviceaccount}]\n  volumes: [{name: mine, emptyDir: {}}]\n";
    let text = [
        account("silent", "automountServiceAccountToken: false\n"),
        pod("plain", ""),
        pod("quiet", "automountServiceAccountToken: false, "),
        pod("silent", "serviceAccountName: silent, "),
        pod("loud", "serviceAccountName: silent, automountServiceAccountToken: true, "),
        pod("lost", "serviceAccountName: nobody, "),
        own.to_string(),
    ]
    .concat();
    let told = apply(&mut api, &text);
    let mut shown = String::new();
    for pod in api.store().list::<kube_api::core::Pod>() {
        let value = kube_api::to_value(&**pod);
        let volumes: Vec<&str> = value["spec"]["volumes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|volume| volume["name"].as_str())
            .collect();
        let mounts: Vec<String> = value["spec"]["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|container| container["volumeMounts"].to_string())
            .collect();
        shown.push_str(&format!("{} {volumes:?} {mounts:?}\n", pod.metadata.name()));
    }
    expect![[r#"
        serviceaccount/silent ok
        pod/plain ok
        pod/quiet ok
        pod/silent ok
        pod/loud ok
        Error from server (Forbidden): pods "lost" is forbidden: error looking up service account default/nobody: serviceaccount "nobody" not found
        pod/own ok

        loud ["kube-api-access-tpzpz"] ["[{\"mountPath\":\"/var/run/secrets/kubernetes.io/serviceaccount\",\"name\":\"kube-api-access-tpzpz\",\"readOnly\":true}]"]
        own ["mine", "kube-api-access-kmbsf"] ["[{\"mountPath\":\"/var/run/secrets/kubernetes.io/serviceaccount\",\"name\":\"kube-api-access-kmbsf\",\"readOnly\":true}]", "[{\"mountPath\":\"/var/run/secrets/kubernetes.io/serviceaccount\",\"name\":\"mine\"}]"]
        plain ["kube-api-access-qb27r"] ["[{\"mountPath\":\"/var/run/secrets/kubernetes.io/serviceaccount\",\"name\":\"kube-api-access-qb27r\",\"readOnly\":true}]"]
        quiet [] ["null"]
        silent [] ["null"]
    "#]].assert_eq(&format!("{told}\n\n{shown}"));
    let plain = api.store().get::<kube_api::core::Pod>("default", "plain").unwrap();
    let volume = &kube_api::to_value(&**plain)["spec"]["volumes"][0]["projected"];
    assert_eq!(volume["sources"][0]["serviceAccountToken"]["expirationSeconds"], 3607);
}
