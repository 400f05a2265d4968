//! The name servers on your machine: Docker's, which knows the containers of its network, and the machine's own.
//! There is no internet behind them, so that no other name exists.

use base::tree::BTreeMap;
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;

use netsim::{Cause, Net, NsId};
use programs::dns::{Answer, Data, Kind, Name, Record, Zone, serve};

use crate::machine::GATEWAY;

/// Where a machine's own service listens (`systemd-resolved`).
const STUB: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
/// How long Docker's answers may be remembered, in seconds.
const TTL: u32 = 600;
/// How long it may be remembered that there is no such name: the root zone's.
const NO_SUCH_NAME_TTL: u32 = 86_400;

/// Containers and their addresses.
pub(crate) type Containers = Rc<RefCell<BTreeMap<String, Ipv4Addr>>>;

struct Docker(Containers);

impl Zone for Docker {
    fn lookup(&self, name: &Name, kind: Kind) -> Answer {
        let containers = self.0.borrow();
        if let Some(addr) = name.reverse_addr() {
            let mut all = containers.iter();
            let found = all.find(|(_, known)| **known == addr);
            return match found.and_then(|(name, _)| Name::parse(&format!("{name}.kind"))) {
                Some(name) if kind == Kind::Ptr => Answer::Records(vec![(TTL, Data::Ptr(name))]),
                Some(_) => Answer::Records(Vec::new()),
                None => Answer::NoSuchName,
            };
        }
        let container = match name.labels() {
            [container] => container,
            [container, network] if network == "kind" => container,
            _ => return Answer::NoSuchName,
        };
        match containers.get(container) {
            Some(addr) if kind == Kind::A => Answer::Records(vec![(TTL, Data::A(*addr))]),
            Some(_) => Answer::Records(Vec::new()),
            None => Answer::NoSuchName,
        }
    }

    fn is_authoritative(&self) -> bool {
        false
    }

    /// The root's: nobody else has a name.
    fn authority(&self, _: &Name) -> Option<Record> {
        let data = Data::Soa {
            primary: Name::parse("a.root-servers.net")?,
            mailbox: Name::parse("nstld.verisign-grs.com")?,
            serial: 2_026_010_100,
            minimum: NO_SUCH_NAME_TTL,
        };
        Some(Record { name: Name::default(), ttl: NO_SUCH_NAME_TTL, data })
    }
}

/// Starts both of them in your machine's namespace.
pub(crate) fn start(net: &Net, machine: NsId, containers: &Containers) {
    let nothing = Containers::default();
    for (name, addr, known) in
        [("dockerd", GATEWAY, containers.clone()), ("systemd-resolve", STUB, nothing)]
    {
        net.start(machine, name, Cause(0), |host| async move {
            // The machine is new: the port is free.
            i32::from(serve(host, addr, Rc::new(Docker(known))).await.is_err())
        });
    }
}
