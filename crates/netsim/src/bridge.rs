//! A switch inside a namespace: learns who is behind which port, floods what it does not know
//! (`net/bridge/br_input.c`, `br_forward.c`, `br_fdb.c`).
//!
//! There is no spanning tree, no VLAN, and rules do not see what is only bridged (`br_netfilter` is not
//! loaded).

use base::tree::BTreeMap;
use base::{Duration, Instant};
use netfilter::IfName;
use packet::{Body, Mac};

use crate::drops::DropReason;
use crate::iface::{IfId, IfKind};
use crate::kernel::Kernel;
use crate::ns::NsId;
use crate::path::Parcel;
use crate::trace::StepKind;

/// A station that was not heard of for this long is forgotten (`ageing_time`).
pub const AGEING: Duration = Duration::from_secs(300);

/// Stations a bridge remembers; of more, none is learnt until some are forgotten.
pub const STATIONS_MAX: usize = 4096;

/// Which station is behind which port.
#[derive(Debug)]
pub struct Fdb {
    stations: BTreeMap<Mac, (IfId, Instant)>,
    ageing: Duration,
    /// A full table is not swept again before.
    next_sweep: Instant,
}

impl Default for Fdb {
    fn default() -> Self {
        Fdb { stations: BTreeMap::new(), ageing: AGEING, next_sweep: Instant::ZERO }
    }
}

impl Fdb {
    /// `mac` has sent something through `port`. A station may move.
    pub(crate) fn learn(&mut self, mac: Mac, port: IfId, now: Instant) {
        if mac.is_group() || mac == Mac::ZERO {
            return;
        }
        if self.stations.len() >= STATIONS_MAX && !self.stations.contains_key(&mac) {
            if now < self.next_sweep {
                return;
            }
            self.next_sweep = now + Duration::from_secs(1);
            let ageing = self.ageing;
            self.stations.retain(|_, (_, heard)| now - *heard < ageing);
            if self.stations.len() >= STATIONS_MAX {
                return;
            }
        }
        self.stations.insert(mac, (port, now));
    }

    /// The port behind which `mac` was last heard.
    pub(crate) fn port_of(&self, mac: Mac, now: Instant) -> Option<IfId> {
        let known = self.stations.get(&mac).filter(|(_, heard)| now - *heard < self.ageing);
        known.map(|(port, _)| *port)
    }

    /// A port is gone.
    pub(crate) fn forget_port(&mut self, port: IfId) {
        self.stations.retain(|_, (at, _)| *at != port);
    }

    /// `ip link set … type bridge ageing_time`
    pub(crate) fn set_ageing(&mut self, ageing: Duration) {
        self.ageing = ageing;
    }

    /// Stations, their ports, and when each was last heard; those that are forgotten by `now` left out.
    pub fn entries(&self, now: Instant) -> impl Iterator<Item = (Mac, IfId, Instant)> {
        let heard = self.stations.iter().map(|(mac, (port, heard))| (*mac, *port, *heard));
        heard.filter(move |(.., heard)| now - *heard < self.ageing)
    }
}

impl Kernel {
    /// A frame has come in by a port and the bridge has looked at it (`br_handle_frame_finish`).
    pub(crate) fn switch(&mut self, bridge: IfId, port: IfId, parcel: Box<Parcel>) {
        let now = self.now;
        let (src, dst) = (parcel.frame.src, parcel.frame.dst);
        let is_ours = self.is_station_here(bridge, dst);
        let Some(iface) = self.iface_at_work(bridge) else {
            return self.lose(parcel, DropReason::Down);
        };
        let (ns, is_up, name) = (iface.ns, iface.is_up, iface.name);
        let IfKind::Bridge { ports, fdb } = &mut iface.kind else {
            return self.lose_at(ns, parcel, DropReason::Down);
        };
        if !is_up {
            return self.lose_at(ns, parcel, DropReason::Down);
        }
        fdb.learn(src, port, now);
        if is_ours {
            return self.up_from_bridge(bridge, parcel);
        }
        let out: Vec<IfId> = match fdb.port_of(dst, now) {
            Some(known) if !dst.is_group() => vec![known],
            _ => ports.clone(),
        };
        let out = self.open_ports(out, Some(port));
        self.flood(ns, (bridge, name), out, parcel, dst.is_group());
    }

    /// The address of the bridge itself or of one of its ports.
    fn is_station_here(&self, bridge: IfId, mac: Mac) -> bool {
        let Some(iface) = self.iface(bridge) else { return false };
        if iface.mac == mac {
            return true;
        }
        let IfKind::Bridge { ports, .. } = &iface.kind else { return false };
        ports.iter().any(|port| self.iface(*port).is_some_and(|port| port.mac == mac))
    }

    fn open_ports(&self, ports: Vec<IfId>, except: Option<IfId>) -> Vec<IfId> {
        let is_open = |id: &IfId| self.iface(*id).is_some_and(|port| port.is_up);
        ports.into_iter().filter(|id| Some(*id) != except && is_open(id)).collect()
    }

    /// A frame that the namespace itself sends by its bridge.
    pub(crate) fn switch_own(&mut self, bridge: IfId, parcel: Box<Parcel>) {
        let now = self.now;
        let dst = parcel.frame.dst;
        let Some(iface) = self.iface(bridge) else { return self.lose(parcel, DropReason::Down) };
        let (ns, name) = (iface.ns, iface.name);
        let IfKind::Bridge { ports, fdb } = &iface.kind else {
            return self.lose_at(ns, parcel, DropReason::Down);
        };
        let out = match fdb.port_of(dst, now) {
            Some(known) if !dst.is_group() => vec![known],
            _ => ports.clone(),
        };
        let out = self.open_ports(out, None);
        self.flood(ns, (bridge, name), out, parcel, false);
    }

    /// Sends a frame by each of the ports, and up to the bridge's own namespace if `also_up`.
    fn flood(
        &mut self,
        ns: NsId,
        (bridge, name): (IfId, IfName),
        out: Vec<IfId>,
        parcel: Box<Parcel>,
        also_up: bool,
    ) {
        if out.is_empty() && !also_up {
            return self.lose_at(ns, parcel, DropReason::NoPort);
        }
        if self.tracer.wants(parcel.meta.cause) {
            let port_name = |port: &IfId| self.iface(*port).map(|iface| iface.name);
            let ports = out.iter().filter_map(port_name).collect();
            self.note(ns, parcel.meta, &parcel.frame.body, || StepKind::Switched {
                bridge: name,
                ports,
            });
        }
        let mut copies = out.len() + usize::from(also_up);
        if matches!(parcel.frame.body, Body::Ipv4(_)) {
            self.counts.made += copies as u64 - 1;
        }
        let mut last = Some(parcel);
        for port in out {
            copies -= 1;
            let copy = if copies == 0 { last.take() } else { last.as_ref().map(|p| self.copy(p)) };
            if let Some(copy) = copy {
                self.out_by_port(ns, port, copy);
            }
        }
        if let Some(parcel) = last {
            self.up_from_bridge(bridge, parcel);
        }
    }

    /// A bridge cannot fragment: what a port does not take is lost (`is_skb_forwardable`).
    fn out_by_port(&mut self, ns: NsId, port: IfId, parcel: Box<Parcel>) {
        let mtu = self.iface(port).map_or(u16::MAX, |iface| iface.mtu);
        if parcel.frame.body_len() > usize::from(mtu) + 4 {
            return self.lose_at(ns, parcel, DropReason::TooBig { mtu });
        }
        self.transmit(port, parcel);
    }

    /// The bridge is also an interface of its namespace; the frame is for that. Its address may be that
    /// of a port.
    fn up_from_bridge(&mut self, bridge: IfId, mut parcel: Box<Parcel>) {
        if let Some(iface) = self.iface(bridge)
            && !parcel.frame.dst.is_group()
        {
            parcel.frame.dst = iface.mac;
        }
        self.arrive(bridge, parcel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stations_move_and_are_forgotten() {
        let mut fdb = Fdb::default();
        let port = |slot| IfId { slot, serial: 0 };
        let mac = Mac::local(7);
        fdb.learn(mac, port(1), Instant::ZERO);
        assert_eq!(fdb.port_of(mac, Instant::from_secs(299)), Some(port(1)));
        assert_eq!(fdb.port_of(mac, Instant::from_secs(300)), None);
        fdb.learn(mac, port(2), Instant::from_secs(1));
        assert_eq!(fdb.port_of(mac, Instant::from_secs(300)), Some(port(2)));
        fdb.learn(Mac::BROADCAST, port(1), Instant::ZERO);
        assert_eq!(fdb.port_of(Mac::BROADCAST, Instant::ZERO), None);
        fdb.set_ageing(Duration::from_secs(10));
        assert_eq!(fdb.entries(Instant::from_secs(11)).count(), 0);
    }

    #[test]
    fn a_flood_of_addresses_does_not_grow_the_table_for_ever() {
        let mut fdb = Fdb::default();
        let port = IfId { slot: 1, serial: 0 };
        for i in 0..3 * STATIONS_MAX as u64 {
            fdb.learn(Mac::local(i + 1), port, Instant::ZERO);
        }
        assert_eq!(fdb.entries(Instant::ZERO).count(), STATIONS_MAX);
        fdb.learn(Mac::local(1 << 40), port, Instant::from_secs(400));
        assert_eq!(fdb.entries(Instant::from_secs(400)).count(), 1);
    }
}
