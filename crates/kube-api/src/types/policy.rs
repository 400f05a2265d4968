//! PodDisruptionBudgets (`policy/v1`).

#![allow(missing_docs, reason = "types and fields are those of the Kubernetes API reference")]

use base::tree::BTreeMap;
use serde_json::Value;

use super::meta::{LabelSelector, ObjectMeta};
use super::{IntOrString, Time};

objects! { "policy/v1", "policy/v1";

    struct PodDisruptionBudget: kind {
        metadata: ObjectMeta = "metadata",
        spec: Option<PodDisruptionBudgetSpec> = "spec",
        status: Option<PodDisruptionBudgetStatus> = "status",
    }

    struct PodDisruptionBudgetSpec {
        max_unavailable: Option<IntOrString> = "maxUnavailable",
        min_available: Option<IntOrString> = "minAvailable",
        selector: Option<LabelSelector> = "selector",
        unhealthy_pod_eviction_policy: Option<String> = "unhealthyPodEvictionPolicy",
    }

    struct PodDisruptionBudgetStatus {
        conditions: Option<Vec<Value>> = "conditions",
        current_healthy: i32 = "currentHealthy",
        desired_healthy: i32 = "desiredHealthy",
        disrupted_pods: Option<BTreeMap<String, Time>> = "disruptedPods",
        disruptions_allowed: i32 = "disruptionsAllowed",
        expected_pods: i32 = "expectedPods",
        observed_generation: Option<i64> = "observedGeneration",
    }
}
