//! All controllers of a cluster: changes are handed to each, and each works when its time comes.

use base::{Duration, Instant, Rng};
use kube_api::Api;

use crate::cleanup::Cleanup;
use crate::cronjob::CronJobs;
use crate::daemonset::DaemonSets;
use crate::deployment::Deployments;
use crate::disruption::Disruptions;
use crate::endpointslice::EndpointSlices;
use crate::endpointslice::mirror::Mirror;
use crate::events::Expiry;
use crate::hpa::Autoscalers;
use crate::job::Jobs;
use crate::namespaces::Namespaces;
use crate::nodelifecycle::NodeLifecycle;
use crate::podgc::PodGc;
use crate::replicaset::ReplicaSets;
use crate::scheduler::Scheduler;
use crate::statefulset::StatefulSets;
use crate::volumes::Volumes;

/// How long after a change each controller has dealt with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latencies {
    /// Controllers of workloads and budgets.
    pub workloads: Duration,
    /// The scheduler.
    pub scheduler: Duration,
    /// EndpointSlice and Endpoints controllers; changes within this time are dealt with at once.
    pub endpoints: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies {
            workloads: Duration::from_millis(10),
            scheduler: Duration::from_millis(5),
            endpoints: Duration::from_millis(20),
        }
    }
}

/// The controllers of one cluster.
#[derive(Debug)]
pub struct ControlPlane {
    seen: u64,
    deployments: Deployments,
    replica_sets: ReplicaSets,
    daemon_sets: DaemonSets,
    stateful_sets: StatefulSets,
    jobs: Jobs,
    cron_jobs: CronJobs,
    disruptions: Disruptions,
    autoscalers: Autoscalers,
    expiry: Expiry,
    scheduler: Scheduler,
    endpoint_slices: EndpointSlices,
    mirror: Mirror,
    namespaces: Namespaces,
    cleanup: Cleanup,
    node_lifecycle: NodeLifecycle,
    pod_gc: PodGc,
    volumes: Volumes,
}

impl ControlPlane {
    /// Controllers that have seen nothing yet. `rng` breaks the scheduler's ties.
    pub fn new(latencies: &Latencies, rng: Rng) -> ControlPlane {
        ControlPlane {
            seen: 0,
            deployments: Deployments::new(latencies.workloads),
            replica_sets: ReplicaSets::new(latencies.workloads),
            daemon_sets: DaemonSets::new(latencies.workloads),
            stateful_sets: StatefulSets::new(latencies.workloads),
            jobs: Jobs::new(latencies.workloads),
            cron_jobs: CronJobs::new(latencies.workloads),
            disruptions: Disruptions::new(latencies.workloads),
            autoscalers: Autoscalers::default(),
            expiry: Expiry::default(),
            scheduler: Scheduler::new(latencies.scheduler, rng),
            endpoint_slices: EndpointSlices::new(latencies.endpoints),
            mirror: Mirror::new(latencies.endpoints),
            namespaces: Namespaces::new(latencies.workloads),
            cleanup: Cleanup::new(latencies.workloads),
            node_lifecycle: NodeLifecycle::new(latencies.workloads),
            pod_gc: PodGc::default(),
            volumes: Volumes::new(latencies.workloads),
        }
    }

    /// Looks at what has changed and does what is due.
    pub fn run(&mut self, api: &mut Api, now: Instant) {
        loop {
            self.observe(api, now);
            // Each works on what is due; what that changes is observed before the next round.
            let worked = self.deployments.work(api, now)
                | self.replica_sets.work(api, now)
                | self.daemon_sets.work(api, now)
                | self.stateful_sets.work(api, now)
                | self.jobs.work(api, now)
                | self.cron_jobs.work(api, now)
                | self.disruptions.work(api, now)
                | self.autoscalers.work(api, now)
                | self.expiry.work(api, now)
                | self.scheduler.work(api, now)
                | self.endpoint_slices.work(api, now)
                | self.cleanup.work(api, now)
                | self.node_lifecycle.work(api, now)
                | self.pod_gc.work(api, now)
                | self.mirror.work(api, now)
                | self.volumes.work(api, now)
                | self.namespaces.work(api, now);
            if !worked {
                return;
            }
        }
    }

    fn observe(&mut self, api: &Api, now: Instant) {
        let store = api.store();
        for change in store.changes_since(self.seen) {
            self.deployments.observe(change, store, now);
            self.replica_sets.observe(change, store, now);
            self.daemon_sets.observe(change, store, now);
            self.stateful_sets.observe(change, store, now);
            self.jobs.observe(change, store, now);
            self.cron_jobs.observe(change, now);
            self.disruptions.observe(change, store, now);
            self.autoscalers.observe(change, now);
            self.expiry.observe(change, now);
            self.scheduler.observe(change, now);
            self.endpoint_slices.observe(change, store, now);
            self.mirror.observe(change, now);
            self.node_lifecycle.observe(change, now);
            self.pod_gc.observe(change, store, now);
            self.volumes.observe(change, api, now);
            self.namespaces.observe(change, store, now);
            self.cleanup.observe(change, store, now);
        }
        self.seen = store.revision();
    }

    /// A node's last heartbeat was then, or its heartbeats come again.
    pub fn set_silent(&mut self, node: &str, since: Option<Instant>) {
        self.node_lifecycle.set_silent(node, since);
    }

    /// When the next work is due.
    pub fn next_at(&self) -> Option<Instant> {
        [
            self.deployments.next_at(),
            self.replica_sets.next_at(),
            self.daemon_sets.next_at(),
            self.stateful_sets.next_at(),
            self.jobs.next_at(),
            self.cron_jobs.next_at(),
            self.disruptions.next_at(),
            self.autoscalers.next_at(),
            self.expiry.next_at(),
            self.scheduler.next_at(),
            self.endpoint_slices.next_at(),
            self.mirror.next_at(),
            self.namespaces.next_at(),
            self.cleanup.next_at(),
            self.node_lifecycle.next_at(),
            self.pod_gc.next_at(),
            self.volumes.next_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
