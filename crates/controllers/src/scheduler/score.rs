//! Which of the nodes that can take a Pod is best: each plugin gives 0 to 100, in whole numbers, and counts
//! with its weight (`default_plugins.go`).

use kube_api::MetaExt;
use kube_api::core::{Node, Pod};

use base::Rng;

use super::cache::{Cache, NodeInfo};
use super::spread::{Kind, Others};
use super::taints;
use super::wants::Wants;
use crate::affinity;

const BEST: i64 = 100;
const RESOURCES: [&str; 2] = ["cpu", "memory"];
const ZONE: &str = "topology.kubernetes.io/zone";

/// The best of these nodes; among equals chance decides.
pub(super) fn best(
    cache: &Cache,
    pod: &Pod,
    wants: &Wants,
    others: &Others,
    fitting: &[String],
    rng: &Rng,
) -> String {
    if let [only] = fitting {
        return only.clone();
    }
    let infos: Vec<(&Node, &NodeInfo)> = fitting
        .iter()
        .filter_map(|name| cache.nodes.get(name))
        .filter_map(|info| Some((&**info.node.as_ref()?, info)))
        .collect();
    let mut totals = vec![0i64; infos.len()];
    let mut add = |weight: i64, scores: Vec<i64>| {
        for (total, score) in totals.iter_mut().zip(scores) {
            *total += weight * score;
        }
    };
    add(3, reversed(each(&infos, |node, _| intolerable(pod, node))));
    add(2, normalized(each(&infos, |node, _| affinity::preference(pod, node))));
    add(2, spread_out(pod, others, &infos));
    add(2, stretched(each(&infos, |node, _| drawn(others, node))));
    add(1, each(&infos, |_, info| least_allocated(info, wants)));
    if wants.requests.values().any(|milli| *milli > 0) {
        add(1, each(&infos, |_, info| balanced(info, wants)));
    }
    let highest = totals.iter().copied().max().unwrap_or(0);
    let equal: Vec<&String> =
        fitting.iter().zip(&totals).filter(|(_, t)| **t == highest).map(|(name, _)| name).collect();
    let purpose = format!("schedule/{}/{}", pod.metadata.namespace(), pod.metadata.name());
    let at = rng.fork(&purpose).below(u32::try_from(equal.len()).unwrap_or(1).max(1));
    equal.get(at as usize).copied().or(fitting.first()).cloned().unwrap_or_default()
}

fn each(infos: &[(&Node, &NodeInfo)], score: impl Fn(&Node, &NodeInfo) -> i64) -> Vec<i64> {
    infos.iter().map(|(node, info)| score(node, info)).collect()
}

/// The highest becomes 100 (`DefaultNormalizeScore`).
fn normalized(mut scores: Vec<i64>) -> Vec<i64> {
    let highest = scores.iter().copied().max().unwrap_or(0);
    if highest > 0 {
        scores.iter_mut().for_each(|score| *score = *score * BEST / highest);
    }
    scores
}

fn reversed(scores: Vec<i64>) -> Vec<i64> {
    normalized(scores).into_iter().map(|score| BEST - score).collect()
}

/// The lowest becomes 0, the highest 100 (`interpodaffinity`).
fn stretched(mut scores: Vec<i64>) -> Vec<i64> {
    let lowest = scores.iter().copied().min().unwrap_or(0);
    let range = scores.iter().copied().max().unwrap_or(0) - lowest;
    scores.iter_mut().for_each(|s| *s = if range > 0 { (*s - lowest) * BEST / range } else { 0 });
    scores
}

fn intolerable(pod: &Pod, node: &Node) -> i64 {
    let soft = taints::of(node).filter(|taint| taint.effect == "PreferNoSchedule");
    i64::try_from(soft.filter(|taint| !taints::tolerates(pod, taint)).count()).unwrap_or(0)
}

/// How much other Pods draw this one to a node.
fn drawn(others: &Others, node: &Node) -> i64 {
    let wishes = others.terms.iter().filter_map(|(term, domains)| match term.kind {
        Kind::Prefers(weight) => Some((weight, domains)),
        _ => None,
    });
    let all = wishes.chain(others.drawn.iter().map(|(weight, domains)| (*weight, domains)));
    all.map(|(weight, d)| i64::from(weight) * i64::from(d.count(node).unwrap_or(0))).sum()
}

/// The emptier, the better (`LeastAllocated`).
fn least_allocated(info: &NodeInfo, wants: &Wants) -> i64 {
    let mut sum = 0;
    for (at, resource) in RESOURCES.iter().enumerate() {
        let has = info.allocatable(resource);
        let weight = |weights: &[i128; 2]| weights.get(at).copied().unwrap_or(0);
        let requested = weight(&info.weight) + weight(&wants.weight);
        if has > 0 && requested <= has {
            sum += i64::try_from((has - requested) * i128::from(BEST) / has).unwrap_or(0);
        }
    }
    sum / RESOURCES.len() as i64
}

/// The more alike the shares of CPU and memory in use, the better (`BalancedAllocation`).
fn balanced(info: &NodeInfo, wants: &Wants) -> i64 {
    let share = |resource: &str| {
        let has = info.allocatable(resource).max(1);
        let wanted = wants.requests.get(resource).copied().unwrap_or(0);
        ((info.requested(resource) + wanted) * 10_000 / has).min(10_000)
    };
    // The standard deviation of two numbers is half of what they differ by.
    let deviation = (share("cpu") - share("memory")).abs() / 2;
    i64::try_from((10_000 - deviation) / 100).unwrap_or(0)
}

/// Where fewer of the same are, it is better: by the Pod's own soft constraints, or else by those that hold for
/// all (`podtopologyspread/scoring.go`).
fn spread_out(pod: &Pod, others: &Others, infos: &[(&Node, &NodeInfo)]) -> Vec<i64> {
    let mut raw = vec![0i64; infos.len()];
    if others.spread.is_empty() {
        let Some(owner) = pod.metadata.controller() else { return raw };
        let counts = each(infos, |_, info| i64::from(info.siblings(&owner.uid)));
        add_skew(&mut raw, &counts, infos.len(), 3);
        add_zones(&mut raw, &counts, infos);
    }
    for (constraint, domains, _) in &others.spread {
        if constraint.when_unsatisfiable == "ScheduleAnyway" {
            let counts = each(infos, |node, _| i64::from(domains.count(node).unwrap_or(0)));
            add_skew(&mut raw, &counts, domains.len(), i64::from(constraint.max_skew));
        }
    }
    let (lowest, highest) =
        (raw.iter().copied().min().unwrap_or(0), raw.iter().copied().max().unwrap_or(0));
    let score =
        |raw: i64| if highest > 0 { BEST * (highest + lowest - raw) / highest } else { BEST };
    raw.into_iter().map(score).collect()
}

fn add_zones(raw: &mut [i64], counts: &[i64], infos: &[(&Node, &NodeInfo)]) {
    let mut zones: Vec<(&str, i64)> = Vec::new();
    for ((node, _), count) in infos.iter().zip(counts) {
        let Some(zone) = node.metadata.label(ZONE) else { continue };
        match zones.iter_mut().find(|(known, _)| *known == zone) {
            Some((_, sum)) => *sum += count,
            None => zones.push((zone, *count)),
        }
    }
    if zones.is_empty() {
        return;
    }
    let of = |node: &Node| {
        let zone = node.metadata.label(ZONE);
        zones.iter().find(|(known, _)| Some(*known) == zone).map_or(0, |(_, sum)| *sum)
    };
    let sums = each(infos, |node, _| of(node));
    add_skew(raw, &sums, zones.len(), 5);
}

fn add_skew(raw: &mut [i64], counts: &[i64], size: usize, max_skew: i64) {
    for (raw, count) in raw.iter_mut().zip(counts) {
        *raw += count * ln_milli(size as u64 + 2) + (max_skew - 1) * 1000;
    }
}

/// Thousandths of the natural logarithm, in whole numbers: the same everywhere.
fn ln_milli(n: u64) -> i64 {
    let n = n.max(1);
    let whole = u64::from(n.ilog2());
    // 1 to 2 with 16 binary digits; each squaring gives one more digit of its logarithm.
    let mut rest = (n << 16) >> whole;
    let mut bits = whole;
    for _ in 0..12 {
        rest = (rest * rest) >> 16;
        bits <<= 1;
        if rest >= 2 << 16 {
            rest >>= 1;
            bits |= 1;
        }
    }
    i64::try_from(bits * 693_147 / (4096 * 1000)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms() {
        for (n, milli) in [(1, 0), (2, 693), (3, 1098), (10, 2302), (102, 4624), (5002, 8517)] {
            assert!((ln_milli(n) - milli).abs() <= 1, "{n}: {}", ln_milli(n));
        }
    }
}
