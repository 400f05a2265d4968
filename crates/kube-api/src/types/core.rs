//! The core group (`v1`): Pods, Services, Endpoints, Nodes, Namespaces, Events, ReplicationControllers.

#![allow(missing_docs, reason = "types and fields are those of the Kubernetes API reference")]

use base::tree::BTreeMap;

use super::meta::{LabelSelector, ObjectMeta};
use super::{IntOrString, Projected, Quantity, Rest, Time};

objects! { "core/v1", "v1";

    struct Affinity {
        node_affinity: Option<NodeAffinity> = "nodeAffinity",
        pod_affinity: Option<PodAffinity> = "podAffinity",
        pod_anti_affinity: Option<PodAntiAffinity> = "podAntiAffinity",
    }

    struct ClientIPConfig {
        timeout_seconds: Option<i32> = "timeoutSeconds",
    }

    struct Container {
        args: Option<Vec<String>> = "args",
        command: Option<Vec<String>> = "command",
        env: Option<Vec<EnvVar>> = "env",
        image: Option<String> = "image",
        image_pull_policy: Option<String> = "imagePullPolicy",
        liveness_probe: Option<Probe> = "livenessProbe",
        name: String = "name",
        ports: Option<Vec<ContainerPort>> = "ports",
        readiness_probe: Option<Probe> = "readinessProbe",
        resources: Option<ResourceRequirements> = "resources",
        startup_probe: Option<Probe> = "startupProbe",
        termination_message_path: Option<String> = "terminationMessagePath",
        termination_message_policy: Option<String> = "terminationMessagePolicy",
        volume_mounts: Option<Vec<VolumeMount>> = "volumeMounts",
        rest: Rest = "",
    }

    struct ContainerPort {
        container_port: i32 = "containerPort",
        host_ip: Option<String> = "hostIP",
        host_port: Option<i32> = "hostPort",
        name: Option<String> = "name",
        protocol: Option<String> = "protocol",
    }

    struct ContainerState {
        running: Option<ContainerStateRunning> = "running",
        terminated: Option<ContainerStateTerminated> = "terminated",
        waiting: Option<ContainerStateWaiting> = "waiting",
    }

    struct ContainerStateRunning {
        started_at: Option<Time> = "startedAt",
    }

    struct ContainerStateTerminated {
        container_id: Option<String> = "containerID",
        exit_code: i32 = "exitCode",
        finished_at: Option<Time> = "finishedAt",
        message: Option<String> = "message",
        reason: Option<String> = "reason",
        signal: Option<i32> = "signal",
        started_at: Option<Time> = "startedAt",
    }

    struct ContainerStateWaiting {
        message: Option<String> = "message",
        reason: Option<String> = "reason",
    }

    struct ContainerStatus {
        container_id: Option<String> = "containerID",
        image: String = "image",
        image_id: String = "imageID",
        last_state: Option<ContainerState> = "lastState",
        name: String = "name",
        ready: bool = "ready",
        restart_count: i32 = "restartCount",
        started: Option<bool> = "started",
        state: Option<ContainerState> = "state",
        rest: Rest = "",
    }

    struct DaemonEndpoint {
        port: i32 = "Port",
    }

    struct EmptyDirVolumeSource {
        rest: Rest = "",
    }

    struct EndpointAddress {
        hostname: Option<String> = "hostname",
        ip: String = "ip",
        node_name: Option<String> = "nodeName",
        target_ref: Option<ObjectReference> = "targetRef",
    }

    struct EndpointPort {
        app_protocol: Option<String> = "appProtocol",
        name: Option<String> = "name",
        port: i32 = "port",
        protocol: Option<String> = "protocol",
    }

    struct EndpointSubset {
        addresses: Option<Vec<EndpointAddress>> = "addresses",
        not_ready_addresses: Option<Vec<EndpointAddress>> = "notReadyAddresses",
        ports: Option<Vec<EndpointPort>> = "ports",
    }

    struct Endpoints: kind {
        metadata: ObjectMeta = "metadata",
        subsets: Option<Vec<EndpointSubset>> = "subsets",
    }

    struct EnvVar {
        name: String = "name",
        value: Option<String> = "value",
        rest: Rest = "",
    }

    struct Event: kind {
        action: Option<String> = "action",
        count: Option<i32> = "count",
        first_timestamp: Option<Time> = "firstTimestamp",
        involved_object: ObjectReference = "involvedObject",
        last_timestamp: Option<Time> = "lastTimestamp",
        message: Option<String> = "message",
        metadata: ObjectMeta = "metadata",
        reason: Option<String> = "reason",
        reporting_component: Option<String> = "reportingComponent",
        reporting_instance: Option<String> = "reportingInstance",
        source: Option<EventSource> = "source",
        type_: Option<String> = "type",
        rest: Rest = "",
    }

    struct EventSource {
        component: Option<String> = "component",
        host: Option<String> = "host",
    }

    struct ExecAction {
        command: Option<Vec<String>> = "command",
    }

    struct HTTPGetAction {
        host: Option<String> = "host",
        http_headers: Option<Vec<HTTPHeader>> = "httpHeaders",
        path: Option<String> = "path",
        port: IntOrString = "port",
        scheme: Option<String> = "scheme",
    }

    struct HTTPHeader {
        name: String = "name",
        value: String = "value",
    }

    struct HostIP {
        ip: String = "ip",
    }

    struct LoadBalancerIngress {
        hostname: Option<String> = "hostname",
        ip: Option<String> = "ip",
        ip_mode: Option<String> = "ipMode",
        rest: Rest = "",
    }

    struct LoadBalancerStatus {
        ingress: Option<Vec<LoadBalancerIngress>> = "ingress",
    }

    struct Namespace: kind {
        metadata: ObjectMeta = "metadata",
        spec: Option<NamespaceSpec> = "spec",
        status: Option<NamespaceStatus> = "status",
    }

    struct NamespaceSpec {
        finalizers: Option<Vec<String>> = "finalizers",
    }

    struct NamespaceStatus {
        phase: Option<String> = "phase",
        rest: Rest = "",
    }

    struct Node: kind {
        metadata: ObjectMeta = "metadata",
        spec: Option<NodeSpec> = "spec",
        status: Option<NodeStatus> = "status",
    }

    struct NodeAddress {
        address: String = "address",
        type_: String = "type",
    }

    struct NodeAffinity {
        preferred_during_scheduling_ignored_during_execution: Option<Vec<PreferredSchedulingTerm>> = "preferredDuringSchedulingIgnoredDuringExecution",
        required_during_scheduling_ignored_during_execution: Option<NodeSelector> = "requiredDuringSchedulingIgnoredDuringExecution",
    }

    struct NodeCondition {
        last_heartbeat_time: Option<Time> = "lastHeartbeatTime",
        last_transition_time: Option<Time> = "lastTransitionTime",
        message: Option<String> = "message",
        reason: Option<String> = "reason",
        status: String = "status",
        type_: String = "type",
    }

    struct NodeDaemonEndpoints {
        kubelet_endpoint: Option<DaemonEndpoint> = "kubeletEndpoint",
    }

    struct NodeSelector {
        node_selector_terms: Vec<NodeSelectorTerm> = "nodeSelectorTerms",
    }

    struct NodeSelectorRequirement {
        key: String = "key",
        operator: String = "operator",
        values: Option<Vec<String>> = "values",
    }

    struct NodeSelectorTerm {
        match_expressions: Option<Vec<NodeSelectorRequirement>> = "matchExpressions",
        match_fields: Option<Vec<NodeSelectorRequirement>> = "matchFields",
    }

    struct NodeSpec {
        pod_cidr: Option<String> = "podCIDR",
        pod_cidrs: Option<Vec<String>> = "podCIDRs",
        provider_id: Option<String> = "providerID",
        taints: Option<Vec<Taint>> = "taints",
        unschedulable: Option<bool> = "unschedulable",
        rest: Rest = "",
    }

    struct NodeStatus {
        addresses: Option<Vec<NodeAddress>> = "addresses",
        allocatable: Option<BTreeMap<String, Quantity>> = "allocatable",
        capacity: Option<BTreeMap<String, Quantity>> = "capacity",
        conditions: Option<Vec<NodeCondition>> = "conditions",
        daemon_endpoints: Option<NodeDaemonEndpoints> = "daemonEndpoints",
        node_info: Option<NodeSystemInfo> = "nodeInfo",
        rest: Rest = "",
    }

    struct NodeSystemInfo {
        architecture: String = "architecture",
        container_runtime_version: String = "containerRuntimeVersion",
        kernel_version: String = "kernelVersion",
        kube_proxy_version: String = "kubeProxyVersion",
        kubelet_version: String = "kubeletVersion",
        operating_system: String = "operatingSystem",
        os_image: String = "osImage",
        boot_id: String = "bootID",
        machine_id: String = "machineID",
        system_uuid: String = "systemUUID",
        rest: Rest = "",
    }

    struct ObjectReference {
        api_version: Option<String> = "apiVersion",
        field_path: Option<String> = "fieldPath",
        kind: Option<String> = "kind",
        name: Option<String> = "name",
        namespace: Option<String> = "namespace",
        resource_version: Option<String> = "resourceVersion",
        uid: Option<String> = "uid",
    }

    struct PersistentVolumeClaim: kind {
        metadata: ObjectMeta = "metadata",
        rest: Rest = "",
    }

    struct Pod: kind {
        metadata: ObjectMeta = "metadata",
        spec: Option<PodSpec> = "spec",
        status: Option<PodStatus> = "status",
    }

    struct PodAffinity {
        preferred_during_scheduling_ignored_during_execution: Option<Vec<WeightedPodAffinityTerm>> = "preferredDuringSchedulingIgnoredDuringExecution",
        required_during_scheduling_ignored_during_execution: Option<Vec<PodAffinityTerm>> = "requiredDuringSchedulingIgnoredDuringExecution",
    }

    struct PodAffinityTerm {
        label_selector: Option<LabelSelector> = "labelSelector",
        match_label_keys: Option<Vec<String>> = "matchLabelKeys",
        mismatch_label_keys: Option<Vec<String>> = "mismatchLabelKeys",
        namespace_selector: Option<LabelSelector> = "namespaceSelector",
        namespaces: Option<Vec<String>> = "namespaces",
        topology_key: String = "topologyKey",
    }

    struct PodAntiAffinity {
        preferred_during_scheduling_ignored_during_execution: Option<Vec<WeightedPodAffinityTerm>> = "preferredDuringSchedulingIgnoredDuringExecution",
        required_during_scheduling_ignored_during_execution: Option<Vec<PodAffinityTerm>> = "requiredDuringSchedulingIgnoredDuringExecution",
    }

    struct PodCondition {
        last_transition_time: Option<Time> = "lastTransitionTime",
        message: Option<String> = "message",
        observed_generation: Option<i64> = "observedGeneration",
        reason: Option<String> = "reason",
        status: String = "status",
        type_: String = "type",
        rest: Rest = "",
    }

    struct PodIP {
        ip: String = "ip",
    }

    struct PodSchedulingGate {
        name: String = "name",
    }

    struct PodSecurityContext {
        rest: Rest = "",
    }

    struct PodSpec {
        active_deadline_seconds: Option<i64> = "activeDeadlineSeconds",
        affinity: Option<Affinity> = "affinity",
        containers: Vec<Container> = "containers",
        dns_policy: Option<String> = "dnsPolicy",
        enable_service_links: Option<bool> = "enableServiceLinks",
        host_network: Option<bool> = "hostNetwork",
        hostname: Option<String> = "hostname",
        init_containers: Option<Vec<Container>> = "initContainers",
        node_name: Option<String> = "nodeName",
        node_selector: Option<BTreeMap<String, String>> = "nodeSelector",
        preemption_policy: Option<String> = "preemptionPolicy",
        priority: Option<i32> = "priority",
        priority_class_name: Option<String> = "priorityClassName",
        restart_policy: Option<String> = "restartPolicy",
        scheduler_name: Option<String> = "schedulerName",
        scheduling_gates: Option<Vec<PodSchedulingGate>> = "schedulingGates",
        security_context: Option<PodSecurityContext> = "securityContext",
        service_account: Option<String> = "serviceAccount",
        service_account_name: Option<String> = "serviceAccountName",
        subdomain: Option<String> = "subdomain",
        termination_grace_period_seconds: Option<i64> = "terminationGracePeriodSeconds",
        tolerations: Option<Vec<Toleration>> = "tolerations",
        topology_spread_constraints: Option<Vec<TopologySpreadConstraint>> = "topologySpreadConstraints",
        volumes: Option<Vec<Volume>> = "volumes",
        rest: Rest = "",
    }

    struct PodStatus {
        conditions: Option<Vec<PodCondition>> = "conditions",
        container_statuses: Option<Vec<ContainerStatus>> = "containerStatuses",
        host_ip: Option<String> = "hostIP",
        host_ips: Option<Vec<HostIP>> = "hostIPs",
        init_container_statuses: Option<Vec<ContainerStatus>> = "initContainerStatuses",
        message: Option<String> = "message",
        nominated_node_name: Option<String> = "nominatedNodeName",
        observed_generation: Option<i64> = "observedGeneration",
        phase: Option<String> = "phase",
        pod_ip: Option<String> = "podIP",
        pod_ips: Option<Vec<PodIP>> = "podIPs",
        qos_class: Option<String> = "qosClass",
        reason: Option<String> = "reason",
        start_time: Option<Time> = "startTime",
        rest: Rest = "",
    }

    struct PodTemplateSpec {
        metadata: Option<ObjectMeta> = "metadata",
        spec: Option<PodSpec> = "spec",
    }

    struct PreferredSchedulingTerm {
        preference: NodeSelectorTerm = "preference",
        weight: i32 = "weight",
    }

    struct Probe {
        exec: Option<ExecAction> = "exec",
        failure_threshold: Option<i32> = "failureThreshold",
        http_get: Option<HTTPGetAction> = "httpGet",
        initial_delay_seconds: Option<i32> = "initialDelaySeconds",
        period_seconds: Option<i32> = "periodSeconds",
        success_threshold: Option<i32> = "successThreshold",
        tcp_socket: Option<TCPSocketAction> = "tcpSocket",
        termination_grace_period_seconds: Option<i64> = "terminationGracePeriodSeconds",
        timeout_seconds: Option<i32> = "timeoutSeconds",
        rest: Rest = "",
    }

    struct ReplicationController: kind {
        metadata: ObjectMeta = "metadata",
        spec: Option<ReplicationControllerSpec> = "spec",
        status: Option<ReplicationControllerStatus> = "status",
    }

    struct ReplicationControllerCondition {
        last_transition_time: Option<Time> = "lastTransitionTime",
        message: Option<String> = "message",
        reason: Option<String> = "reason",
        status: String = "status",
        type_: String = "type",
    }

    struct ReplicationControllerSpec {
        min_ready_seconds: Option<i32> = "minReadySeconds",
        replicas: Option<i32> = "replicas",
        selector: Option<BTreeMap<String, String>> = "selector",
        template: Option<PodTemplateSpec> = "template",
    }

    struct ReplicationControllerStatus {
        available_replicas: Option<i32> = "availableReplicas",
        conditions: Option<Vec<ReplicationControllerCondition>> = "conditions",
        fully_labeled_replicas: Option<i32> = "fullyLabeledReplicas",
        observed_generation: Option<i64> = "observedGeneration",
        ready_replicas: Option<i32> = "readyReplicas",
        replicas: i32 = "replicas",
    }

    struct ResourceRequirements {
        limits: Option<BTreeMap<String, Quantity>> = "limits",
        requests: Option<BTreeMap<String, Quantity>> = "requests",
        rest: Rest = "",
    }

    struct Service: kind {
        metadata: ObjectMeta = "metadata",
        spec: Option<ServiceSpec> = "spec",
        status: Option<ServiceStatus> = "status",
    }

    struct ServicePort {
        app_protocol: Option<String> = "appProtocol",
        name: Option<String> = "name",
        node_port: Option<i32> = "nodePort",
        port: i32 = "port",
        protocol: Option<String> = "protocol",
        target_port: Option<IntOrString> = "targetPort",
    }

    struct ServiceSpec {
        allocate_load_balancer_node_ports: Option<bool> = "allocateLoadBalancerNodePorts",
        cluster_ip: Option<String> = "clusterIP",
        cluster_ips: Option<Vec<String>> = "clusterIPs",
        external_ips: Option<Vec<String>> = "externalIPs",
        external_name: Option<String> = "externalName",
        external_traffic_policy: Option<String> = "externalTrafficPolicy",
        health_check_node_port: Option<i32> = "healthCheckNodePort",
        internal_traffic_policy: Option<String> = "internalTrafficPolicy",
        ip_families: Option<Vec<String>> = "ipFamilies",
        ip_family_policy: Option<String> = "ipFamilyPolicy",
        load_balancer_source_ranges: Option<Vec<String>> = "loadBalancerSourceRanges",
        ports: Option<Vec<ServicePort>> = "ports",
        publish_not_ready_addresses: Option<bool> = "publishNotReadyAddresses",
        selector: Option<BTreeMap<String, String>> = "selector",
        session_affinity: Option<String> = "sessionAffinity",
        session_affinity_config: Option<SessionAffinityConfig> = "sessionAffinityConfig",
        traffic_distribution: Option<String> = "trafficDistribution",
        type_: Option<String> = "type",
        rest: Rest = "",
    }

    struct ServiceStatus {
        load_balancer: Option<LoadBalancerStatus> = "loadBalancer",
        rest: Rest = "",
    }

    struct SessionAffinityConfig {
        client_ip: Option<ClientIPConfig> = "clientIP",
    }

    struct TCPSocketAction {
        host: Option<String> = "host",
        port: IntOrString = "port",
    }

    struct Taint {
        effect: String = "effect",
        key: String = "key",
        value: Option<String> = "value",
        rest: Rest = "",
    }

    struct Toleration {
        effect: Option<String> = "effect",
        key: Option<String> = "key",
        operator: Option<String> = "operator",
        toleration_seconds: Option<i64> = "tolerationSeconds",
        value: Option<String> = "value",
    }

    struct TopologySpreadConstraint {
        label_selector: Option<LabelSelector> = "labelSelector",
        match_label_keys: Option<Vec<String>> = "matchLabelKeys",
        max_skew: i32 = "maxSkew",
        min_domains: Option<i32> = "minDomains",
        node_affinity_policy: Option<String> = "nodeAffinityPolicy",
        node_taints_policy: Option<String> = "nodeTaintsPolicy",
        topology_key: String = "topologyKey",
        when_unsatisfiable: String = "whenUnsatisfiable",
    }

    struct Volume {
        empty_dir: Option<EmptyDirVolumeSource> = "emptyDir",
        name: String = "name",
        projected: Option<Projected> = "projected",
        rest: Rest = "",
    }

    struct VolumeMount {
        mount_path: String = "mountPath",
        name: String = "name",
        read_only: Option<bool> = "readOnly",
        rest: Rest = "",
    }

    struct WeightedPodAffinityTerm {
        pod_affinity_term: PodAffinityTerm = "podAffinityTerm",
        weight: i32 = "weight",
    }
}
