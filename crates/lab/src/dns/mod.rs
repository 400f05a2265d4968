//! Names: what the cluster's name servers know, and whom a place asks.
//!
//! - [`records`]: Services and EndpointSlices as names, as CoreDNS's plugin `kubernetes` has them;
//! - [`zone`]: one name server's own copy of them, which follows the API a little later;
//! - [`files`]: `/etc/resolv.conf` and `/etc/hosts` of nodes and your machine; those of Pods are the kubelet's;
//! - [`docker`]: the name server of Docker's network, on your machine.

pub(crate) mod docker;
pub(crate) mod files;
mod records;
mod zone;

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use base::Instant;
use kube_api::core::{Namespace, Service};
use kube_api::discovery::EndpointSlice;
use kube_api::{Api, Change, Kind};
use netsim::Net;
use programs::dns::Zone;
use programs::images::repository;

use zone::Copy;

/// The name servers of a cluster. Cheap to copy; all copies are the same.
#[derive(Clone, Default)]
pub(crate) struct ClusterDns(Rc<RefCell<Vec<Weak<Copy>>>>);

impl ClusterDns {
    /// An object has changed: every server hears of it in its own time.
    pub(crate) fn observe(&self, change: &Change, now: Instant) {
        let is_of_interest = change.of::<Service>().is_some()
            || change.of::<EndpointSlice>().is_some()
            || change.of::<Namespace>().is_some();
        if !is_of_interest {
            return;
        }
        self.0
            .borrow_mut()
            .retain(|copy| copy.upgrade().inspect(|copy| copy.observe(change, now)).is_some());
    }

    /// What a name server in a container answers from; nothing for other images.
    pub(crate) fn zone(
        &self,
        image: Option<&str>,
        name: &str,
        api: &Api,
        net: &Net,
    ) -> Option<Rc<dyn Zone>> {
        if !matches!(repository(image?), "coredns/coredns" | "coredns") {
            return None;
        }
        let copy = Rc::new(Copy::new(net, name));
        let store = api.store();
        store.list::<Namespace>().for_each(|o| copy.take(&Kind::wrap(o.clone()), false));
        store.list::<Service>().for_each(|o| copy.take(&Kind::wrap(o.clone()), false));
        store.list::<EndpointSlice>().for_each(|o| copy.take(&Kind::wrap(o.clone()), false));
        self.0.borrow_mut().push(Rc::downgrade(&copy));
        Some(copy)
    }
}
