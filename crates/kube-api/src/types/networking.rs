//! NetworkPolicies, Ingresses and their classes (`networking.k8s.io/v1`).

#![allow(missing_docs, reason = "types and fields are those of the Kubernetes API reference")]

use super::meta::{LabelSelector, ObjectMeta};
use super::{IntOrString, Rest};

objects! { "networking/v1", "networking.k8s.io/v1";

    struct HTTPIngressPath {
        backend: IngressBackend = "backend",
        path: Option<String> = "path",
        path_type: String = "pathType",
    }

    struct HTTPIngressRuleValue {
        paths: Vec<HTTPIngressPath> = "paths",
    }

    struct IPBlock {
        cidr: String = "cidr",
        except: Option<Vec<String>> = "except",
    }

    struct Ingress: kind {
        metadata: ObjectMeta = "metadata",
        spec: Option<IngressSpec> = "spec",
        status: Option<IngressStatus> = "status",
    }

    struct IngressBackend {
        service: Option<IngressServiceBackend> = "service",
        rest: Rest = "",
    }

    struct IngressClass: kind {
        metadata: ObjectMeta = "metadata",
        spec: Option<IngressClassSpec> = "spec",
    }

    struct IngressClassSpec {
        controller: Option<String> = "controller",
        rest: Rest = "",
    }

    struct IngressLoadBalancerIngress {
        hostname: Option<String> = "hostname",
        ip: Option<String> = "ip",
        rest: Rest = "",
    }

    struct IngressLoadBalancerStatus {
        ingress: Option<Vec<IngressLoadBalancerIngress>> = "ingress",
    }

    struct IngressRule {
        host: Option<String> = "host",
        http: Option<HTTPIngressRuleValue> = "http",
    }

    struct IngressServiceBackend {
        name: String = "name",
        port: Option<ServiceBackendPort> = "port",
    }

    struct IngressSpec {
        default_backend: Option<IngressBackend> = "defaultBackend",
        ingress_class_name: Option<String> = "ingressClassName",
        rules: Option<Vec<IngressRule>> = "rules",
        tls: Option<Vec<IngressTLS>> = "tls",
    }

    struct IngressStatus {
        load_balancer: Option<IngressLoadBalancerStatus> = "loadBalancer",
    }

    struct IngressTLS {
        hosts: Option<Vec<String>> = "hosts",
        secret_name: Option<String> = "secretName",
    }

    struct NetworkPolicy: kind {
        metadata: ObjectMeta = "metadata",
        spec: Option<NetworkPolicySpec> = "spec",
    }

    struct NetworkPolicyEgressRule {
        ports: Option<Vec<NetworkPolicyPort>> = "ports",
        to: Option<Vec<NetworkPolicyPeer>> = "to",
    }

    struct NetworkPolicyIngressRule {
        from: Option<Vec<NetworkPolicyPeer>> = "from",
        ports: Option<Vec<NetworkPolicyPort>> = "ports",
    }

    struct NetworkPolicyPeer {
        ip_block: Option<IPBlock> = "ipBlock",
        namespace_selector: Option<LabelSelector> = "namespaceSelector",
        pod_selector: Option<LabelSelector> = "podSelector",
    }

    struct NetworkPolicyPort {
        end_port: Option<i32> = "endPort",
        port: Option<IntOrString> = "port",
        protocol: Option<String> = "protocol",
    }

    struct NetworkPolicySpec {
        egress: Option<Vec<NetworkPolicyEgressRule>> = "egress",
        ingress: Option<Vec<NetworkPolicyIngressRule>> = "ingress",
        pod_selector: Option<LabelSelector> = "podSelector",
        policy_types: Option<Vec<String>> = "policyTypes",
    }

    struct ServiceBackendPort {
        name: Option<String> = "name",
        number: Option<i32> = "number",
    }
}
