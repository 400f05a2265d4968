//! EndpointSlices (`discovery.k8s.io/v1`).

#![allow(missing_docs, reason = "types and fields are those of the Kubernetes API reference")]

use super::Rest;
use super::core::ObjectReference;
use super::meta::ObjectMeta;

objects! { "discovery/v1", "discovery.k8s.io/v1";

    struct Endpoint {
        addresses: Vec<String> = "addresses",
        conditions: Option<EndpointConditions> = "conditions",
        hints: Option<EndpointHints> = "hints",
        hostname: Option<String> = "hostname",
        node_name: Option<String> = "nodeName",
        target_ref: Option<ObjectReference> = "targetRef",
        zone: Option<String> = "zone",
        rest: Rest = "",
    }

    struct EndpointConditions {
        ready: Option<bool> = "ready",
        serving: Option<bool> = "serving",
        terminating: Option<bool> = "terminating",
    }

    struct EndpointHints {
        for_nodes: Option<Vec<ForNode>> = "forNodes",
        for_zones: Option<Vec<ForZone>> = "forZones",
    }

    struct EndpointPort {
        app_protocol: Option<String> = "appProtocol",
        name: Option<String> = "name",
        port: Option<i32> = "port",
        protocol: Option<String> = "protocol",
    }

    struct EndpointSlice: kind {
        address_type: String = "addressType",
        endpoints: Vec<Endpoint> = "endpoints",
        metadata: ObjectMeta = "metadata",
        ports: Option<Vec<EndpointPort>> = "ports",
    }

    struct ForNode {
        name: String = "name",
    }

    struct ForZone {
        name: String = "name",
    }
}
