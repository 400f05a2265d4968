//! Which real server a new connection gets (`net/netfilter/ipvs/ip_vs_rr.c` and its neighbours).

use std::net::Ipv4Addr;

use super::Ipvs;
use super::service::{Server, ServiceKey};

/// How a service chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// In turns.
    RoundRobin,
    /// In turns, as often as the weights say.
    WeightedRoundRobin,
    /// The fewest connections.
    LeastConnection,
    /// The fewest connections for its weight.
    WeightedLeastConnection,
    /// By the client's address.
    SourceHashing,
    /// By the virtual address.
    DestinationHashing,
    /// The fewest active connections for its weight, counting the new one.
    ShortestExpectedDelay,
    /// One without active connections, else as [`Scheduler::ShortestExpectedDelay`].
    NeverQueue,
}

const NAMES: [(Scheduler, &str); 8] = [
    (Scheduler::RoundRobin, "rr"),
    (Scheduler::WeightedRoundRobin, "wrr"),
    (Scheduler::LeastConnection, "lc"),
    (Scheduler::WeightedLeastConnection, "wlc"),
    (Scheduler::SourceHashing, "sh"),
    (Scheduler::DestinationHashing, "dh"),
    (Scheduler::ShortestExpectedDelay, "sed"),
    (Scheduler::NeverQueue, "nq"),
];

/// Schedulers of the kernel that are not here.
pub(super) const ABSENT: [&str; 6] = ["lblc", "lblcr", "mh", "fo", "ovf", "twos"];

impl Scheduler {
    /// The scheduler of this name.
    pub fn of(name: &str) -> Option<Scheduler> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(scheduler, _)| *scheduler)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }
}

/// Where a service's turns stand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    /// The server that was last; none: the next is the first.
    at: Option<u32>,
    /// Of weighted turns: the weight that a server must have, the greatest, and the step between two.
    weight: u32,
    greatest: u32,
    step: u32,
}

impl Turn {
    /// A server goes: the turn stays with the one before it.
    pub(super) fn forget(&mut self, servers: &[u32], id: u32) {
        if self.at == Some(id) {
            let place = servers.iter().position(|other| *other == id).unwrap_or(0);
            self.at = place.checked_sub(1).and_then(|before| servers.get(before)).copied();
        }
    }
}

/// Buckets of the hashing schedulers (`IP_VS_SH_TAB_BITS`).
const BUCKETS: u32 = 256;

/// The bucket of an address: `hash_32` of its number.
fn bucket(addr: Ipv4Addr) -> u32 {
    u32::from(addr).wrapping_mul(0x61c8_8647) >> 24
}

impl Ipvs {
    /// The servers of a service or their weights have changed.
    pub(super) fn weigh(&mut self, key: &ServiceKey) {
        let weights = |ipvs: &Ipvs| -> (u32, u32) {
            let weights = ipvs.servers(key).map(|server| server.options.weight);
            weights.fold((0, 0), |(greatest, divisor), weight| {
                (greatest.max(weight), common_divisor(divisor, weight))
            })
        };
        let (greatest, divisor) = weights(self);
        let step = divisor.max(1);
        let Some(service) = self.services.get_mut(key) else { return };
        if service.scheduler != Scheduler::WeightedRoundRobin {
            return;
        }
        let turn = &mut service.turn;
        let greatest = greatest.saturating_sub(step - 1);
        (turn.at, turn.step, turn.greatest) = (None, step, greatest);
        if turn.weight > greatest || turn.weight == 0 {
            turn.weight = greatest;
        } else if step > 1 {
            turn.weight = turn.weight / step * step + 1;
        }
    }

    /// The server for a new connection from `client`; none has room, or there is none.
    pub(super) fn schedule(&mut self, key: &ServiceKey, client: Ipv4Addr) -> Option<u32> {
        let scheduler = self.services.get(key)?.scheduler;
        let chosen = match scheduler {
            Scheduler::RoundRobin => self.in_turn(key, 0)?,
            Scheduler::WeightedRoundRobin => self.in_weighted_turn(key)?,
            Scheduler::SourceHashing => self.hashed(key, bucket(client), true)?,
            Scheduler::DestinationHashing => self.hashed(key, bucket(key.addr), false)?,
            _ => self.least(key, scheduler)?,
        };
        if let Some(service) = self.services.get_mut(key) {
            service.turn.at = Some(chosen);
        }
        Some(chosen)
    }

    fn open_server(&self, id: u32) -> Option<&Server> {
        self.servers.get(id as usize).filter(|server| server.is_open())
    }

    /// The next open server of at least this weight behind the last one, round to it again.
    fn in_turn(&self, key: &ServiceKey, weight: u32) -> Option<u32> {
        let service = self.services.get(key)?;
        let at = service.turn.at;
        let start = service.servers.iter().position(|id| Some(*id) == at).map_or(0, |p| p + 1);
        let (before, behind) = service.servers.split_at_checked(start)?;
        let fits = |id: &&u32| self.open_server(**id).is_some_and(|s| s.options.weight >= weight);
        behind.iter().chain(before).find(fits).copied()
    }

    /// The next server that has the weight which is asked for just now; with each round less is asked for.
    fn in_weighted_turn(&mut self, key: &ServiceKey) -> Option<u32> {
        let Turn { greatest, step, .. } = self.services.get(key)?.turn;
        if greatest == 0 {
            return None;
        }
        // Every weight is asked for, and the first one again for the servers before the last.
        for _ in 0..=greatest / step.max(1) + 1 {
            let service = self.services.get(key)?;
            let Turn { at, weight, .. } = service.turn;
            let start = service.servers.iter().position(|id| Some(*id) == at).map_or(0, |p| p + 1);
            let behind = service.servers.get(start..).unwrap_or_default();
            let fits =
                |id: &&u32| self.open_server(**id).is_some_and(|s| s.options.weight >= weight);
            if let Some(found) = behind.iter().find(fits).copied() {
                return Some(found);
            }
            let service = self.services.get_mut(key)?;
            service.turn.at = None;
            service.turn.weight = weight.checked_sub(step).filter(|w| *w > 0).unwrap_or(greatest);
        }
        None
    }

    /// The server of a bucket: the servers stand there over and over, each as often as its weight says.
    fn hashed(&self, key: &ServiceKey, bucket: u32, is_weighted: bool) -> Option<u32> {
        let ids = &self.services.get(key)?.servers;
        let share = |id: &u32| match self.servers.get(*id as usize) {
            Some(server) if is_weighted => server.options.weight.clamp(1, BUCKETS),
            _ => 1,
        };
        let round: u32 = ids.iter().map(share).sum();
        let mut place = bucket.checked_rem(round)?;
        for id in ids {
            match place.checked_sub(share(id)) {
                Some(rest) => place = rest,
                None => return self.open_server(*id).map(|_| *id),
            }
        }
        None
    }

    /// The server with the least to do.
    fn least(&self, key: &ServiceKey, scheduler: Scheduler) -> Option<u32> {
        let mut best: Option<(u32, u64, u64)> = None;
        for id in &self.services.get(key)?.servers {
            let Some(server) = self.open_server(*id) else { continue };
            let (active, inactive) = (u64::from(server.active), u64::from(server.inactive));
            let load = match scheduler {
                Scheduler::ShortestExpectedDelay | Scheduler::NeverQueue => active + 1,
                _ => (active << 8) + inactive,
            };
            if scheduler == Scheduler::NeverQueue && active == 0 {
                return Some(*id);
            }
            let weight = match scheduler {
                Scheduler::LeastConnection => 1,
                _ => u64::from(server.options.weight),
            };
            if best.is_none_or(|(_, least, of)| least * weight > load * of) {
                best = Some((*id, load, weight));
            }
        }
        best.map(|(id, ..)| id)
    }
}

fn common_divisor(a: u32, b: u32) -> u32 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
