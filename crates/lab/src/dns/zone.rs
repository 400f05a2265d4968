//! One name server's own copy of what the API server knows.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::Ipv4Addr;

use base::{Duration, Instant, Utc};
use kube_api::{AnyObject, Change};
use netsim::Net;
use programs::dns::{Answer, Data, Kind, Name, Record, Zone};

use super::records::{DOMAIN, Records, TTL};
use crate::machine::GATEWAY;

/// Changes that have happened, and that a server has not heard of yet: when it does, what has changed, and
/// whether it is gone.
type Pending = VecDeque<(Instant, AnyObject, bool)>;

/// What one server knows.
pub(super) struct Copy {
    net: Net,
    /// How long after a change it hears of it; servers differ.
    delay: Duration,
    pending: RefCell<Pending>,
    records: RefCell<Records>,
    /// When it last heard of something.
    modified: Cell<Instant>,
}

impl Copy {
    pub(super) fn new(net: &Net, name: &str) -> Copy {
        let mut rng = net.rng(&format!("coredns/{name}"));
        Copy {
            net: net.clone(),
            delay: Duration::from_micros(2_000 + u64::from(rng.below(18_000))),
            pending: RefCell::default(),
            records: RefCell::default(),
            modified: Cell::new(net.now()),
        }
    }

    pub(super) fn observe(&self, change: &Change, now: Instant) {
        // What nobody asks for is not kept waiting for ever.
        self.catch_up(now);
        let is_gone = change.new.is_none();
        let due = now + self.delay;
        self.pending.borrow_mut().push_back((due, change.object().clone(), is_gone));
    }

    pub(super) fn take(&self, object: &AnyObject, is_gone: bool) {
        self.records.borrow_mut().take(object, is_gone);
    }

    fn catch_up(&self, now: Instant) {
        let mut pending = self.pending.borrow_mut();
        while let Some((due, ..)) = pending.front().filter(|(due, ..)| *due <= now) {
            self.modified.set(*due);
            if let Some((_, object, is_gone)) = pending.pop_front() {
                self.take(&object, is_gone);
            }
        }
    }
}

fn domain() -> Name {
    Name::parse(DOMAIN).unwrap_or_default()
}

impl Zone for Copy {
    fn lookup(&self, name: &Name, kind: Kind) -> Answer {
        self.catch_up(self.net.now());
        let records = self.records.borrow();
        let answer =
            |data: Vec<Data>| Answer::Records(data.into_iter().map(|data| (TTL, data)).collect());
        if let Some(addr) = name.reverse_addr().filter(|_| kind == Kind::Ptr) {
            let names = records.names_of(addr);
            // Addresses that are nobody's here fall through to the next server.
            return if names.is_empty() { Answer::NotMine } else { answer(names) };
        }
        let zone = domain();
        if !name.is_in(&zone) {
            return Answer::NotMine;
        }
        let own = name.labels().len().saturating_sub(zone.labels().len());
        if own == 0 && kind == Kind::Soa {
            return answer(self.authority(name).map(|soa| soa.data).into_iter().collect());
        }
        let labels: Vec<&str> = name.labels().iter().take(own).map(String::as_str).collect();
        records.lookup(&labels, kind).map_or(Answer::NoSuchName, answer)
    }

    fn authority(&self, _: &Name) -> Option<Record> {
        let serial = Utc::at(self.modified.get()).unix_secs();
        let data = Data::Soa {
            primary: Name::parse(&format!("ns.dns.{DOMAIN}"))?,
            mailbox: Name::parse(&format!("hostmaster.{DOMAIN}"))?,
            serial: u32::try_from(serial).unwrap_or(u32::MAX),
            minimum: TTL,
        };
        Some(Record { name: domain(), ttl: TTL, data })
    }

    /// The addresses of the hosts that a service's records name.
    fn additional(&self, answers: &[Record]) -> Vec<Record> {
        let mut all: Vec<Record> = Vec::new();
        for record in answers {
            let Data::Srv { target, .. } = &record.data else { continue };
            if all.iter().any(|known| known.name == *target) {
                continue;
            }
            if let Answer::Records(found) = self.lookup(target, Kind::A) {
                let name = || target.clone();
                all.extend(found.into_iter().map(|(ttl, data)| Record { name: name(), ttl, data }));
            }
        }
        all
    }

    fn is_recursive(&self) -> bool {
        false
    }

    /// The node's own name server: `forward . /etc/resolv.conf` in a Pod with `dnsPolicy: Default`.
    fn upstream(&self) -> Vec<Ipv4Addr> {
        vec![GATEWAY]
    }
}
