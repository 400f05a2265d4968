//! Pods whose node is not there any more (`pkg/controller/podgc`, `gcOrphaned`).
//!
//! Nobody runs them, and nobody would ever say that they have ended: they are taken away when their node has been
//! missing for a while.

use std::rc::Rc;

use base::{Duration, Instant};
use kube_api::core::{Node, Pod};
use kube_api::{Api, Change, DeleteOptions, Kind, MetaExt, Store};

use crate::queue::WorkQueue;

/// How often it is looked for nodes that are missing (`gcCheckPeriod`).
const TURN: Duration = Duration::from_secs(20);
/// How long a node may be missing (`quarantineTime`).
const QUARANTINE: Duration = Duration::from_secs(40);

/// The garbage collector of Pods.
#[derive(Debug, Default)]
pub struct PodGc {
    /// Nodes that are missing.
    queue: WorkQueue<String>,
}

impl PodGc {
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, store: &Store, now: Instant) {
        let missing = if let Some(node) = change.of::<Node>() {
            change.new.is_none().then(|| node.metadata.name())
        } else if let Some(pod) = change.of::<Pod>().filter(|_| change.new.is_some()) {
            let was =
                change.old.as_ref().and_then(Pod::of).and_then(|was| crate::pods::node_name(was));
            let node = crate::pods::node_name(pod).filter(|node| was != Some(*node));
            node.filter(|node| store.get::<Node>("", node).is_none())
        } else {
            None
        };
        if let Some(node) = missing {
            let turn = TURN.as_secs();
            let noticed = Instant::from_secs((now.as_secs() / turn + 1) * turn);
            self.queue.add(node.to_string(), noticed + QUARANTINE);
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some(node) = self.queue.pop(now) {
            worked = true;
            // It may have come back.
            if api.store().get::<Node>("", &node).is_some() {
                continue;
            }
            let pods: Vec<Rc<Pod>> = api.store().pods_on(&node).cloned().collect();
            for pod in pods {
                collect(api, &pod, now);
            }
        }
        worked
    }
}

fn collect(api: &mut Api, pod: &Pod, now: Instant) {
    let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
    if !crate::pods::has_ended(pod) {
        let message = "PodGC: node no longer exists";
        crate::pods::disrupt(api, pod, "DeletionByPodGC", message, now);
        api.modify::<Pod>(namespace, name, |pod| {
            pod.status.get_or_insert_default().phase = Some("Failed".to_string());
        });
    }
    let options = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
    // One that has gone meanwhile needs no collecting.
    let _ = api.delete(Pod::id(), namespace, name, options, now);
}
