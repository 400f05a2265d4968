//! How old Pods make room for new ones (`rolling.go`, `recreate.go`), and how a rollout is scaled (`sync.go`).

use std::rc::Rc;

use kube_api::apps::ReplicaSet;
use kube_api::core::Pod;
use kube_api::{Api, MetaExt};

use super::Rollout;
use super::sets::{MAX, Sets, available, created, desired};
use super::status::Mark;
use crate::pods;

fn total(sets: &[Rc<ReplicaSet>]) -> i32 {
    sets.iter().map(|set| desired(set)).sum()
}

impl Rollout<'_> {
    /// New Pods come as old ones go, within the limits.
    pub(super) fn roll(&self, api: &mut Api, sets: &Sets) {
        let Some(new) = &sets.new else { return };
        let wanted = self.wanted();
        let (surge, max_unavailable) = self.limits();
        let (running, size) = (total(&sets.old), desired(new));
        let target = if size > wanted {
            wanted
        } else {
            let room = (wanted + surge - (running + size)).max(0);
            (size + room).min(wanted)
        };
        if target != size {
            // Up first; what is old is looked at when that is done.
            self.scale_set(api, new, target);
            return;
        }
        if running == 0 {
            return;
        }
        // Pods that do not work go first, then as many as are more than needed.
        let must_stay = wanted - max_unavailable;
        let spare = running + size - must_stay - (size - available(new));
        if spare <= 0 {
            return;
        }
        self.drop_broken(api, &sets.old, spare);
        let sets = self.sets(api);
        let working = sets.all().map(|set| available(set)).sum::<i32>();
        self.drop_old(api, &sets.old, working - must_stay);
    }

    /// (`cleanupUnhealthyReplicas`)
    fn drop_broken(&self, api: &mut Api, old: &[Rc<ReplicaSet>], mut spare: i32) {
        for set in old.iter().filter(|set| desired(set) > 0) {
            let broken = (desired(set) - available(set)).min(spare);
            if broken > 0 {
                self.scale_set(api, set, desired(set) - broken);
                spare -= broken;
            }
        }
    }

    /// (`scaleDownOldReplicaSetsForRollingUpdate`)
    fn drop_old(&self, api: &mut Api, old: &[Rc<ReplicaSet>], mut spare: i32) {
        for set in old {
            let down = desired(set).min(spare);
            if down > 0 {
                self.scale_set(api, set, desired(set) - down);
                spare -= down;
            }
        }
    }

    /// All old Pods go before the first new one comes.
    pub(super) fn recreate(&self, api: &mut Api, sets: &Sets, marks: &mut Vec<Mark>) {
        let running: Vec<_> = sets.old.iter().filter(|set| desired(set) > 0).collect();
        if !running.is_empty() {
            running.iter().for_each(|set| self.scale_set(api, set, 0));
            return;
        }
        let still_there = sets.old.iter().any(|set| {
            api.store().owned::<Pod>(set.metadata.uid()).any(|pod| !pods::has_ended(pod))
        });
        if still_there {
            return;
        }
        let sets = self.with_new_set(api, sets, marks);
        if let Some(new) = sets.new.filter(|new| desired(new) != self.wanted()) {
            self.scale_set(api, &new, self.wanted());
        }
    }

    /// Another number of Pods is wanted in the midst of a rollout, or while it is paused: all ReplicaSets in
    /// proportion (`scale`).
    pub(super) fn scale(&self, api: &mut Api, sets: &Sets) {
        let wanted = self.wanted();
        let active: Vec<Rc<ReplicaSet>> =
            sets.all().filter(|set| desired(set) > 0).cloned().collect();
        let single = match active.as_slice() {
            [] => sets.new.as_ref().or(sets.old.last()),
            [one] => Some(one),
            _ => None,
        };
        if let Some(single) = single {
            if desired(single) != wanted {
                self.scale_set(api, single, wanted);
            }
            return;
        }
        let is_saturated = sets.new.as_ref().is_some_and(|new| {
            let annotated = new.metadata.annotation(super::sets::DESIRED);
            annotated.and_then(|text| text.parse().ok()) == Some(wanted)
                && desired(new) == wanted
                && available(new) == wanted
        });
        if is_saturated {
            for set in sets.old.iter().filter(|set| desired(set) > 0) {
                self.scale_set(api, set, 0);
            }
        } else if self.strategy() != "Recreate" && !active.is_empty() {
            self.scale_in_proportion(api, active);
        }
    }

    fn scale_in_proportion(&self, api: &mut Api, mut sets: Vec<Rc<ReplicaSet>>) {
        let wanted = self.wanted();
        let allowed = if wanted > 0 { wanted + self.limits().0 } else { 0 };
        let to_add = allowed - total(&sets);
        // The largest first; of equals the newest when they grow, the oldest when they shrink.
        base::order::sort_by(&mut sets, |a, b| {
            let by_age =
                if to_add > 0 { created(b).cmp(&created(a)) } else { created(a).cmp(&created(b)) };
            desired(b).cmp(&desired(a)).then(by_age)
        });
        let mut sizes = Vec::new();
        let mut added = 0;
        for set in &sets {
            let part = if to_add == 0 { 0 } else { self.proportion(set, to_add, added) };
            added += part;
            sizes.push(desired(set) + part);
        }
        if let Some(first) = sizes.first_mut().filter(|_| to_add != 0) {
            *first = (*first + to_add - added).max(0);
        }
        for (set, size) in sets.iter().zip(sizes) {
            self.scale_set(api, set, size);
        }
    }

    /// (`GetReplicaSetProportion`)
    fn proportion(&self, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
        if to_add == added {
            return 0;
        }
        let before = set.metadata.annotation(MAX).and_then(|text| text.parse::<i64>().ok());
        let reported = self.deployment.status.as_ref().and_then(|status| status.replicas);
        let before = before.filter(|n| *n > 0).unwrap_or(i64::from(reported.unwrap_or(0)));
        let size = i64::from(desired(set));
        let fraction = if self.wanted() == 0 {
            -size
        } else if before == 0 {
            0
        } else {
            // Rounded to the nearest.
            let max = i64::from(self.wanted() + self.limits().0);
            (2 * size * max + before) / (2 * before) - size
        };
        let fraction = i32::try_from(fraction).unwrap_or(0);
        let allowed = to_add - added;
        if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
    }
}
