//! Files as people write and paste them: what becomes of them, and how they are refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "how long a file takes")]

use std::time::Instant as Wall;

use base::{Instant, Rng};
use expect_test::{Expect, expect};
use kube_api::core::Namespace;
use kube_api::manifest::{Options, Validate, read};
use kube_api::{Api, ApiConfig, Metadata};

fn api() -> Api {
    let mut api = Api::new(ApiConfig::default(), Rng::new(1));
    let mut namespace = Namespace::default();
    namespace.metadata_mut().name = Some("default".into());
    api.create_typed(namespace, Instant::ZERO).unwrap();
    api
}

/// Applies a file; a line or more for every object.
fn apply_to(api: &mut Api, text: &str, options: &Options<'_>) -> String {
    let mut told = Vec::new();
    for found in read(api, "f.yaml", text.as_bytes(), options) {
        let manifest = match found {
            Ok(manifest) => manifest,
            Err(refusal) => {
                told.push(format!("{}\n{}", refusal.message, refusal.places));
                continue;
            }
        };
        let (kind, namespace, name) = (manifest.kind.id, &manifest.namespace, &manifest.name);
        told.extend(manifest.warnings.iter().map(|warning| format!("Warning: {warning}")));
        let exists = api.store().get_any(kind, namespace, name).is_some();
        let object = api.object(kind, manifest.value.clone());
        let result = object.and_then(|object| match exists {
            false => api.create(object, Instant::ZERO),
            true => api.update(object),
        });
        match result {
            Ok(object) => {
                let (namespace, name) = (object.namespace(), object.name());
                api.provenance_mut().set(kind, namespace, name, manifest.origin());
                told.push(format!("{} ok", manifest.kind.object_name(name)));
            }
            Err(status) => told.push(format!("{status}\n{}", manifest.places(&status))),
        }
    }
    told.join("\n")
}

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&apply_to(&mut api(), text, &Options::default()));
}

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

#[test]
fn forms_that_files_have() {
    check(
        "\u{feff}---\r\n# nothing\r\n---\r\napiVersion: v1\r\nkind: ConfigMap\r\nmetadata: {name: a, labels: null}\r\n...\r\n---\r\n",
        expect!["configmap/a ok"],
    );
    check(
        "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"a\"}}\n{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\",\n \"metadata\": {\"name\": \"b\"}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n",
        expect![[r#"
            configmap/a ok
            configmap/b ok
            configmap/c ok"#]],
    );
    check(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n- apiVersion: v1\n  kind: ConfigMapList\n  items:\n  - {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n  - {metadata: {name: c}}\n",
        expect![[r#"
            configmap/a ok
            configmap/b ok
            unable to decode "f.yaml": Object 'Kind' is missing in '{"metadata":{"name":"c"}}'
            podwire: f.yaml:11"#]],
    );
    // Of equal keys the last counts, as kubectl has it.
    check(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nmetadata: {name: b}\n",
        expect!["configmap/b ok"],
    );
    check(
        "{{ .Values.all }}",
        expect![[r#"
        error parsing f.yaml: json: offset 2: invalid character '{' looking for beginning of object key string
        podwire: f.yaml:1: {{ … }} belongs to a template; render it first, as `helm template` does"#]],
    );
    check(
        "{a: 1",
        expect![[r#"
        error parsing f.yaml: json: offset 2: invalid character 'a' looking for beginning of object key string
        podwire: f.yaml:1"#]],
    );
    check(
        "{kind: ConfigMap, apiVersion: v1, metadata: {name: flow}}",
        expect!["configmap/flow ok"],
    );
}

#[test]
fn documents_that_are_no_objects() {
    check(
        "hello",
        expect![[r#"
        error validating "f.yaml": error validating data: invalid object to validate; if you choose to ignore these errors, turn validation off with --validate=false
        podwire: f.yaml:1"#]],
    );
    check(
        "- a\n- b\n",
        expect![[r#"
        error validating "f.yaml": error validating data: invalid object to validate; if you choose to ignore these errors, turn validation off with --validate=false
        podwire: f.yaml:1"#]],
    );
    check(
        "metadata: {name: a}\n",
        expect![[r#"
        error validating "f.yaml": error validating data: [apiVersion not set, kind not set]; if you choose to ignore these errors, turn validation off with --validate=false
        podwire: f.yaml:1"#]],
    );
    check(
        "kind: Pod\n",
        expect![[r#"
        error validating "f.yaml": error validating data: apiVersion not set; if you choose to ignore these errors, turn validation off with --validate=false
        podwire: f.yaml:1"#]],
    );
    check(
        "apiVersion: v1\n",
        expect![[r#"
        error validating "f.yaml": error validating data: kind not set; if you choose to ignore these errors, turn validation off with --validate=false
        podwire: f.yaml:1"#]],
    );
    check(
        "apiVersion: 1\nkind: [Pod]\n",
        expect![[r#"
        error validating "f.yaml": error validating data: [apiVersion isn't string type, kind isn't string type]; if you choose to ignore these errors, turn validation off with --validate=false
        podwire: f.yaml:1"#]],
    );
    check(
        "apiVersion: v1\nkind: ''\n",
        expect![[r#"
        unable to decode "f.yaml": Object 'Kind' is missing in '{"apiVersion":"v1","kind":""}'
        podwire: f.yaml:1"#]],
    );
}

#[test]
fn kinds_that_are_not_there() {
    let of = |version: &str, kind: &str| {
        format!("\n\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: a, namespace: b}}\n")
    };
    check(
        &of("extensions/v1beta1", "Deployment"),
        expect![[r#"
        resource mapping not found for name: "a" namespace: "b" from "f.yaml": no matches for kind "Deployment" in version "extensions/v1beta1"
        ensure CRDs are installed first
        podwire: f.yaml:3: in Kubernetes 1.35 Deployment is in "apps/v1""#]],
    );
    check(
        &of("policy/v1beta1", "PodSecurityPolicy"),
        expect![[r#"
        resource mapping not found for name: "a" namespace: "b" from "f.yaml": no matches for kind "PodSecurityPolicy" in version "policy/v1beta1"
        ensure CRDs are installed first
        podwire: f.yaml:3: PodSecurityPolicy was removed from Kubernetes"#]],
    );
    check(
        &of("networking.k8s.io/v1beta1", "Ingress"),
        expect![[r#"
        resource mapping not found for name: "a" namespace: "b" from "f.yaml": no matches for kind "Ingress" in version "networking.k8s.io/v1beta1"
        ensure CRDs are installed first
        podwire: f.yaml:3: in Kubernetes 1.35 Ingress is in "networking.k8s.io/v1""#]],
    );
    check(
        &of("v1", "pod"),
        expect![[r#"
        resource mapping not found for name: "a" namespace: "b" from "f.yaml": no matches for kind "pod" in version "v1"
        ensure CRDs are installed first
        podwire: f.yaml:3: this cluster has kind "Pod" in "v1""#]],
    );
    check(
        &of("v1", "Deployment"),
        expect![[r#"
        resource mapping not found for name: "a" namespace: "b" from "f.yaml": no matches for kind "Deployment" in version "v1"
        ensure CRDs are installed first
        podwire: f.yaml:3: this cluster has kind "Deployment" in "apps/v1""#]],
    );
    check(
        &of("kind.x-k8s.io/v1alpha4", "Cluster"),
        expect![[r#"
        resource mapping not found for name: "a" namespace: "b" from "f.yaml": no matches for kind "Cluster" in version "kind.x-k8s.io/v1alpha4"
        ensure CRDs are installed first
        podwire: f.yaml:3: this is for kind: kind create cluster --config"#]],
    );
    check(
        &of("kubeadm.k8s.io/v1beta3", "ClusterConfiguration"),
        expect![[r#"
        resource mapping not found for name: "a" namespace: "b" from "f.yaml": no matches for kind "ClusterConfiguration" in version "kubeadm.k8s.io/v1beta3"
        ensure CRDs are installed first
        podwire: f.yaml:3: this is a file for a component of Kubernetes, not an object"#]],
    );
    check(
        &of("networking.istio.io/v1", "VirtualService"),
        expect![[r#"
        resource mapping not found for name: "a" namespace: "b" from "f.yaml": no matches for kind "VirtualService" in version "networking.istio.io/v1"
        ensure CRDs are installed first
        podwire: f.yaml:3: a kind of its own: its CustomResourceDefinition must be applied first"#]],
    );
}

#[test]
fn several_mistakes_at_once_each_with_its_place() {
    check(
        &format!(
            "{MAP}---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replica: 2\n  template:\n    spec:\n      containers:\n      - name: a\n        imag: nginx\n"
        ),
        expect![[r#"
            configmap/a ok
            Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec.replica", unknown field "spec.template.spec.containers[0].imag"
            podwire: f.yaml:9 (document 2): spec.replica: unknown field
            podwire: f.yaml:14 (document 2): spec.template.spec.containers[0].imag: unknown field"#]],
    );
    check(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: Web\n  labels:\n    app: “web”\nspec:\n  restartPolicy: Sometimes\n  containers:\n  - name: <your-name>\n    image: nginx\n    ports:\n    - containerPort: 70000\n",
        expect![[r#"
            The Pod "Web" is invalid: 
            * metadata.name: Invalid value: "Web": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            * metadata.labels: Invalid value: "“web”": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            * spec.containers[0].name: Invalid value: "<your-name>": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            * spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive
            * spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"
            podwire: f.yaml:4: metadata.name
            podwire: f.yaml:5: metadata.labels: there are typographic quotes; YAML wants " or '
            podwire: f.yaml:10: spec.containers[0].name: <…> stands for a value; put it in
            podwire: f.yaml:13: spec.containers[0].ports[0].containerPort
            podwire: f.yaml:8: spec.restartPolicy"#]],
    );
    check(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n\tname: a\n",
        expect![[r#"
        error parsing f.yaml: error converting YAML to JSON: yaml: line 4: found character that cannot start any token
        podwire: f.yaml:4: there is a tab in the indentation; YAML wants spaces"#]],
    );
    check(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n\u{a0}\u{a0}name: a\n",
        expect![[r#"
        ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "\u00a0\u00a0name"
        podwire: f.yaml:4: there is a character that looks like a space and is none (a non-breaking space?); type it anew"#]],
    );
    check(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80:80}]}\n",
        expect![[r#"
        Service in version "v1" cannot be handled as a Service: json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32
        podwire: f.yaml:4"#]],
    );
    check(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: {day: 2024-01-02}}\nspec: {containers: [{name: a, image: b, env: [{name: A, value: yes}]}]}\n",
        expect![[r#"
            Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal bool into Go struct field EnvVar.spec.containers.env.value of type string
            podwire: f.yaml:4"#]],
    );
}

#[test]
fn what_nobody_knows_is_refused_warned_of_or_dropped() {
    let text = format!("{MAP}dat: {{}}\n");
    let with = |validate| apply_to(&mut api(), &text, &Options { validate, ..Options::default() });
    expect![[r#"
        ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dat"
        podwire: f.yaml:4"#]].assert_eq(&with(Validate::Strict));
    expect![[r#"
        Warning: unknown field "dat"
        configmap/a ok"#]]
    .assert_eq(&with(Validate::Warn));
    expect!["configmap/a ok"].assert_eq(&with(Validate::Ignore));
}

#[test]
fn a_namespace_that_is_not_the_one_asked_for() {
    let options = Options { namespace: Some("b"), ..Options::default() };
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: c\n";
    expect![[r#"
        the namespace from the provided object "c" does not match the namespace "b". You must pass '--namespace=c' to perform this operation.
        podwire: f.yaml:5"#]].assert_eq(&apply_to(&mut api(), text, &options));
}

#[test]
fn versions_besides_the_one_that_is_kept() {
    let mut api = api();
    let told = apply_to(
        &mut api,
        "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\nspec:\n  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}\n  maxReplicas: 10\n  targetCPUUtilizationPercentage: 50\n",
        &Options::default(),
    );
    expect!["horizontalpodautoscaler.autoscaling/a ok"].assert_eq(&told);
    let kind = api.store().kinds().by_name("hpa").unwrap().id;
    let value = api.store().get_any(kind, "default", "a").unwrap().to_value();
    expect![[r#""autoscaling/v2" {"maxReplicas":10,"metrics":[{"resource":{"name":"cpu","target":{"averageUtilization":50,"type":"Utilization"}},"type":"Resource"}],"minReplicas":1,"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"}}"#]].assert_eq(&format!("{} {}", value["apiVersion"], value["spec"]));
}

const CRONTABS: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, kind: CronTab, shortNames: [ct]}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [cronSpec]
            properties:
              cronSpec: {type: string}
              image: {type: string}
              replicas: {type: integer, minimum: 1, maximum: 10, default: 1}
  - name: v1beta1
    served: true
    storage: false
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

#[test]
fn definitions_define_kinds() {
    let mut api = api();
    let mut apply = |text: &str| apply_to(&mut api, text, &Options::default());
    let tab = |version: &str, spec: &str| {
        format!(
            "apiVersion: stable.example.com/{version}\nkind: CronTab\nmetadata: {{name: a}}\nspec: {spec}\n"
        )
    };
    expect![[r#"
        resource mapping not found for name: "a" namespace: "" from "f.yaml": no matches for kind "CronTab" in version "stable.example.com/v1"
        ensure CRDs are installed first
        podwire: f.yaml:1: a kind of its own: its CustomResourceDefinition must be applied first"#]].assert_eq(&apply(&tab("v1", "{}")));
    expect!["customresourcedefinition.apiextensions.k8s.io/crontabs.stable.example.com ok"]
        .assert_eq(&apply(CRONTABS));
    expect![[r#"
        CronTab in version "v1" cannot be handled as a CronTab: strict decoding error: unknown field "spec.replica"
        podwire: f.yaml:4"#]].assert_eq(&apply(&tab("v1", "{cronSpec: '* * * * *', replica: 3}")));
    expect![[r#"
        The CronTab "a" is invalid: 
        * spec.cronSpec: Required value
        * spec.replicas: Invalid value: 20: spec.replicas in body should be less than or equal to 10
        podwire: f.yaml:4: spec.cronSpec
        podwire: f.yaml:4: spec.replicas"#]]
    .assert_eq(&apply(&tab("v1", "{replicas: 20}")));
    expect!["crontab.stable.example.com/a ok"]
        .assert_eq(&apply(&tab("v1beta1", "{cronSpec: '* * * * *'}")));
    let info = api.store().kinds().by_name("ct").unwrap().clone();
    expect!["crontabs.stable.example.com v1 crontab"].assert_eq(&format!(
        "{} {} {}",
        info.resource(),
        info.version,
        info.singular
    ));
    let object = api.store().get_any(info.id, "default", "a").unwrap().to_value();
    expect![[r#""stable.example.com/v1" {"cronSpec":"* * * * *","replicas":1}"#]]
        .assert_eq(&format!("{} {}", object["apiVersion"], object["spec"]));
    // With the definition everything of its kind goes.
    let crd = api.store().kinds().by_name("crd").unwrap().id;
    let conditions =
        api.store().get_any(crd, "", "crontabs.stable.example.com").unwrap().to_value();
    assert_eq!(conditions["status"]["conditions"][1]["type"], "Established");
    api.remove(crd, "", "crontabs.stable.example.com").unwrap();
    assert!(api.store().get_any(info.id, "default", "a").is_none());
    assert!(api.store().kinds().by_name("ct").is_err());
    // And may come back.
    apply_to(&mut api, CRONTABS, &Options::default());
    assert_eq!(api.store().kinds().by_name("crontab").unwrap().id, info.id);
}

#[test]
fn definitions_that_define_nothing() {
    check(
        &CRONTABS.replace("{name: crontabs.stable", "{name: other.stable"),
        expect![[r#"
        The CustomResourceDefinition "other.stable.example.com" is invalid: metadata.name: Invalid value: "other.stable.example.com": must be spec.names.plural+"."+spec.group
        podwire: f.yaml:3"#]],
    );
    check(
        &CRONTABS
            .replace("storage: false", "storage: true")
            .replace("scope: Namespaced", "scope: Everywhere"),
        expect![[r#"
        The CustomResourceDefinition "crontabs.stable.example.com" is invalid: 
        * spec.scope: Unsupported value: "Everywhere": supported values: "Cluster", "Namespaced"
        * spec.versions: Invalid value: [{"name":"v1","schema":{"openAPIV3Schema":{"properties":{"spec":{"properties":{"cronSpec":{"type":"string"},"image":{"type":"string"},"replicas":{"default":1,"maximum":10,"minimum":1,"type":"integer"}},"required":["cronSpec"],"type":"object"}},"type":"object"}},"served":true,"storage":true},{"name":"v1beta1","schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}},"served":true,"storage":true}]: must have exactly one version marked as storage version
        podwire: f.yaml:6: spec.scope
        podwire: f.yaml:8: spec.versions"#]],
    );
}

#[test]
fn every_field_knows_its_file_and_line() {
    let mut api = api();
    let text = "# first\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata:\n    name: web\n    labels:\n      app.kubernetes.io/name: web\n  spec:\n    selector: {app: web}\n    ports:\n    - name: http\n      port: 80\n    - name: https\n      port: 443\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  key: value\n";
    apply_to(&mut api, text, &Options::default());
    let place = |api: &Api, kind: &str, name: &str, field: &str| {
        let kind = api.store().kinds().by_name(kind).unwrap().id;
        let (file, line) = api.provenance().place(kind, "default", name, field).unwrap();
        assert_eq!(&*file, "f.yaml");
        line
    };
    for (field, line) in [
        ("spec.ports[1].port", 17),
        ("spec.ports[1]", 16),
        // What is not written has the place of what is around it.
        ("spec.ports[0].targetPort", 14),
        ("spec.clusterIP", 11),
        ("spec.selector.app", 12),
        ("metadata.labels.app.kubernetes.io/name", 10),
        ("status", 5),
    ] {
        assert_eq!(place(&api, "svc", "web", field), line, "{field}");
    }
    assert_eq!(place(&api, "cm", "a", "data.key"), 23);
    // After a changed file its new places count.
    apply_to(&mut api, &format!("# one\n# two\n{MAP}data: {{key: x}}\n"), &Options::default());
    assert_eq!(place(&api, "cm", "a", "data.key"), 6);
    let kind = api.store().kinds().by_name("cm").unwrap().id;
    assert_eq!(api.provenance().get(kind, "default", "a").unwrap().document, 1);
}

/// Reads a text, in a time that a person waits.
fn in_time(text: &str) -> Vec<String> {
    let began = Wall::now();
    let told = apply_to(&mut api(), text, &Options::default());
    let took = began.elapsed();
    // Unoptimised, on a machine that does other things too.
    assert!(took.as_secs() < 30, "{} bytes took {took:?}", text.len());
    told.lines().map(str::to_string).collect()
}

#[test]
fn too_much_of_everything() {
    let big = "x".repeat(100);
    let lines: String = (0..50_000).map(|n| format!("  key{n}: {big}\n")).collect();
    let told = in_time(&format!("{MAP}data:\n{lines}"));
    assert_eq!(
        told[0],
        "The ConfigMap \"a\" is invalid: []: Too long: may not be more than 1048576 bytes"
    );

    let many: String = (0..1000)
        .map(|n| format!("---\n{}", MAP.replace("name: a", &format!("name: a{n}"))))
        .collect();
    let told = in_time(&many);
    assert_eq!((told.len(), told[999].as_str()), (1000, "configmap/a999 ok"));

    let deep = format!("{MAP}data: {}", "[".repeat(200_000));
    assert!(in_time(&deep)[0].contains("exceeded max depth"), "{:?}", in_time(&deep));
    let deep = format!("{{\"apiVersion\": \"v1\", \"x\": {}", "[".repeat(200_000));
    assert!(in_time(&deep)[0].contains("exceeded max depth"), "{:?}", in_time(&deep));

    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_string();
    for i in 1..20 {
        let aliases = vec![format!("*a{}", i - 1); 9].join(", ");
        laughs += &format!("a{i}: &a{i} [{aliases}]\n");
    }
    let told = in_time(&laughs);
    assert!(told[0].ends_with("yaml: document contains excessive aliasing"), "{told:?}");
    // The same in every document of a file.
    let told = in_time(&format!("{}---\n", laughs.replace("x, x", "y, y")).repeat(200));
    assert!(told[0].contains("excessive aliasing"), "{told:?}");

    let keys: String = (0..100_000).map(|n| format!("k{n}: {n}\n")).collect();
    assert!(in_time(&keys)[0].contains("apiVersion not set"));
}
