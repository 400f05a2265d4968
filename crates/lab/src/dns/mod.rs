//! Names: what the cluster's name servers know, and whom a place asks.
//!
//! - [`records`]: Services and EndpointSlices as names, as CoreDNS's plugin `kubernetes` has them;
//! - [`zone`]: one name server's own copy of them, which follows the API a little later;
//! - [`files`]: `/etc/resolv.conf` and `/etc/hosts` of nodes, Pods and your machine;
//! - [`docker`]: the name server of Docker's network, on your machine.

pub(crate) mod docker;
pub(crate) mod files;
mod records;
mod zone;

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::{Rc, Weak};

use base::Instant;
use kube_api::core::{Namespace, Pod, Service};
use kube_api::discovery::EndpointSlice;
use kube_api::{Api, Change, Kind};
use netsim::Net;
use programs::Container;
use programs::images::repository;

use zone::Copy;

/// The name servers of a cluster. Cheap to copy; all copies are the same.
#[derive(Clone, Default)]
pub(crate) struct ClusterDns {
    /// The address of the Service `kube-dns`.
    pub(crate) address: Option<Ipv4Addr>,
    copies: Rc<RefCell<Vec<Weak<Copy>>>>,
}

impl ClusterDns {
    pub(crate) fn new(address: Option<Ipv4Addr>) -> ClusterDns {
        ClusterDns { address, copies: Rc::default() }
    }

    /// An object has changed: every server hears of it in its own time.
    pub(crate) fn observe(&self, change: &Change, now: Instant) {
        let is_of_interest = change.of::<Service>().is_some()
            || change.of::<EndpointSlice>().is_some()
            || change.of::<Namespace>().is_some();
        if !is_of_interest {
            return;
        }
        self.copies
            .borrow_mut()
            .retain(|copy| copy.upgrade().inspect(|copy| copy.observe(change, now)).is_some());
    }

    /// Gives a container what it needs to know of names: how to ask, and, to a name server, what to answer.
    pub(crate) fn equip(
        &self,
        program: &mut Container,
        pod: &Pod,
        ip: Ipv4Addr,
        api: &Api,
        net: &Net,
    ) {
        for (path, text) in [
            ("/etc/resolv.conf", files::pod_resolv(pod, self.address)),
            ("/etc/hosts", files::pod_hosts(pod, ip, &program.hostname)),
            ("/etc/hostname", format!("{}\n", program.hostname)),
        ] {
            // What is mounted there is the Pod's own wish.
            if program.files.read(path).is_none() {
                let _ = program.files.write(path, text.into_bytes());
            }
        }
        if matches!(repository(&program.image), "coredns/coredns" | "coredns") {
            let copy = Rc::new(Copy::new(net, &program.hostname));
            let store = api.store();
            store.list::<Namespace>().for_each(|o| copy.take(&Kind::wrap(o.clone()), false));
            store.list::<Service>().for_each(|o| copy.take(&Kind::wrap(o.clone()), false));
            store.list::<EndpointSlice>().for_each(|o| copy.take(&Kind::wrap(o.clone()), false));
            self.copies.borrow_mut().push(Rc::downgrade(&copy));
            program.zone = Some(copy);
        }
    }
}
