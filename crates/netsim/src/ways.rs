//! Ways that have been found, so that the next packet of the same kind need not look for its own
//! (the kernel's `dst_entry`, `net/core/dst.c`).
//!
//! **Invariant:** what is kept here is what looking again would find: it counts only while neither the tables
//! of the namespace ([`crate::route::Fib::version`]) nor any interface or setting of the world
//! ([`Ways::changed`]) has changed.
//! **Invariant:** memory is bounded; a new way takes the place of another.

use std::net::Ipv4Addr;

use crate::iface::IfId;
use crate::ns::NsId;
use crate::path::Way;

/// Ways kept in the whole world.
const SLOTS: usize = 1024;

/// What a way was looked for with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sought {
    pub(crate) ns: NsId,
    pub(crate) src: Ipv4Addr,
    pub(crate) dst: Ipv4Addr,
    pub(crate) mark: u32,
    /// The interface it came in by; [`IfId::NONE`] for what is made here.
    pub(crate) came_in: IfId,
}

/// Where it leads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    /// To a socket here.
    Local,
    /// Out.
    Out(Way),
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    sought: Sought,
    /// Versions of the namespace's tables and of everything else.
    versions: (u64, u64),
    found: Found,
}

/// The ways that have been found.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    slots: Vec<Option<Kept>>,
    version: u64,
}

impl Ways {
    /// An interface or a setting may have changed: nothing that was found before counts any more.
    pub(crate) fn changed(&mut self) {
        self.version += 1;
    }

    /// Rises with every change of an interface or a setting.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    #[inline]
    pub(crate) fn get(&self, sought: &Sought, tables: u64) -> Option<Found> {
        let kept = self.slots.get(slot(sought))?.as_ref()?;
        let counts = kept.versions == (tables, self.version) && kept.sought == *sought;
        counts.then_some(kept.found)
    }

    pub(crate) fn keep(&mut self, sought: Sought, tables: u64, found: Found) {
        self.slots.resize(SLOTS, None);
        if let Some(place) = self.slots.get_mut(slot(&sought)) {
            *place = Some(Kept { sought, versions: (tables, self.version), found });
        }
    }
}

#[inline]
fn slot(sought: &Sought) -> usize {
    let words = [
        u64::from(u32::from(sought.src)) << 32 | u64::from(u32::from(sought.dst)),
        u64::from(sought.ns.slot) << 32 | u64::from(sought.came_in.slot),
        u64::from(sought.mark),
    ];
    let mixed = words.into_iter().fold(0_u64, |mixed, word| {
        (mixed.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    (mixed >> 48) as usize % SLOTS
}
