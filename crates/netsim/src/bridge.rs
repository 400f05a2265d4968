//! A switch inside a namespace: learns who is behind which port, floods what it does not know.

use std::collections::BTreeMap;

use base::{Duration, Instant};
use packet::Mac;

use crate::iface::IfId;

/// A station that was not heard of for this long is forgotten (`ageing_time`).
pub const AGEING: Duration = Duration::from_secs(300);

/// Which station is behind which port.
#[derive(Debug, Default)]
pub struct Fdb(BTreeMap<Mac, (IfId, Instant)>);

impl Fdb {
    /// `mac` has sent something through `port`.
    pub(crate) fn learn(&mut self, mac: Mac, port: IfId, now: Instant) {
        if !mac.is_group() {
            self.0.insert(mac, (port, now));
        }
    }

    /// The port behind which `mac` was last heard.
    pub(crate) fn port_of(&self, mac: Mac, now: Instant) -> Option<IfId> {
        self.0.get(&mac).filter(|(_, heard)| now - *heard < AGEING).map(|(port, _)| *port)
    }

    /// A port is gone.
    pub(crate) fn forget_port(&mut self, port: IfId) {
        self.0.retain(|_, (at, _)| *at != port);
    }

    /// Stations, their ports, and when each was last heard.
    pub fn entries(&self) -> impl Iterator<Item = (Mac, IfId, Instant)> {
        self.0.iter().map(|(mac, (port, heard))| (*mac, *port, *heard))
    }
}
