//! Jobs whose numbers fail each for themselves (`pkg/controller/job/backoff_utils.go`, `indexed_job_utils.go`): each has
//! its own retries, and one that has used them up is given up while the others go on.

use std::rc::Rc;

use base::tree::BTreeMap;
use base::{Duration, Instant};
use kube_api::MetaExt;
use kube_api::core::Pod;

use super::{BACKOFF, Counted, Sync, count, finished_at, index_of};
use crate::indexes::Indexes;
use crate::pods;

/// On a Pod: how often its number has failed before.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";

/// The last failure of each number: the how manyth it was, counted from 0, and when it was.
#[derive(Default)]
pub(super) struct Failures(BTreeMap<i32, (u32, Instant)>);

fn before(pod: &Pod) -> u32 {
    pod.metadata.annotation(FAILURES).and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Failures {
    pub(super) fn of(all: &[Rc<Pod>]) -> Failures {
        let mut last: BTreeMap<i32, (u32, Instant)> = BTreeMap::new();
        for pod in all.iter().filter(|pod| pods::phase(pod) == "Failed") {
            let Some(index) = index_of(pod) else { continue };
            let failure = (before(pod), finished_at(pod).unwrap_or(Instant::ZERO));
            let known = last.entry(index).or_insert(failure);
            *known = (*known).max(failure);
        }
        Failures(last)
    }

    /// How often a number has failed.
    pub(super) fn next(&self, index: i32) -> u32 {
        self.0.get(&index).map_or(0, |(before, _)| before + 1)
    }

    /// Until when a number's failure is to be slept over.
    pub(super) fn until(&self, index: i32) -> Option<Instant> {
        let (before, ended) = self.0.get(&index)?;
        let wait: Duration = BACKOFF.0.saturating_mul(1 << (*before).min(16)).min(BACKOFF.1);
        Some(*ended + wait)
    }
}

impl Sync {
    pub(super) fn is_per_index(&self) -> bool {
        self.is_indexed() && self.spec.backoff_limit_per_index.is_some()
    }

    /// Numbers that have used up their retries.
    pub(super) fn given_up(&self) -> Indexes {
        Indexes::parse(self.status.failed_indexes.as_deref().unwrap_or_default())
    }

    /// A Pod has failed, and with it its number perhaps.
    pub(super) fn count_for_index(&mut self, pod: &Pod, is_final: bool) {
        let limit = self.spec.backoff_limit_per_index.filter(|_| self.is_per_index());
        let (Some(limit), Some(index)) = (limit, index_of(pod)) else { return };
        if is_final || before(pod) >= u32::try_from(limit).unwrap_or(0) {
            let mut given_up = self.given_up();
            given_up.insert(index);
            self.status.failed_indexes = Some(given_up.to_string());
        }
    }

    /// Whether the Job has failed by its numbers, and why.
    pub(super) fn failed_indexes(&self, counted: &Counted) -> Option<(&'static str, &'static str)> {
        if !self.is_per_index() {
            return None;
        }
        let given_up = count(self.given_up().len());
        if self.spec.max_failed_indexes.is_some_and(|max| given_up > max) {
            let what = "Job has exceeded the specified maximal number of failed indexes";
            return Some(("MaxFailedIndexesExceeded", what));
        }
        let is_over = self.status.succeeded.unwrap_or(0) + given_up >= self.completions();
        let is_failed = given_up > 0 && is_over && counted.active.is_empty();
        is_failed.then_some(("FailedIndexes", "Job has failed indexes"))
    }
}
