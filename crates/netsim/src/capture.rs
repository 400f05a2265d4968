//! Watching frames go by, as `tcpdump` does: copies of what an interface sends and receives.
//!
//! As on Linux an incoming frame is seen before any rule has looked at it, an outgoing one after all have;
//! what `lo` carries is seen twice, going out and coming in.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;

use base::Instant;
use packet::Frame;

use crate::exec::Waiters;
use crate::iface::IfId;
use crate::kernel::Kernel;
use crate::ns::NsId;
use crate::path::Meta;
use crate::sim::Net;
use crate::trace::{Cause, PacketId};

/// Which way a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureDirection {
    /// It came in.
    In,
    /// It went out.
    Out,
}

/// A copy of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When it went by.
    pub at: Instant,
    /// The interface.
    pub iface: IfId,
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Which way.
    pub direction: CaptureDirection,
    /// The frame, beginning with its Ethernet header.
    pub bytes: Vec<u8>,
    /// The packet it carries.
    pub packet: PacketId,
    /// What that was sent for.
    pub cause: Cause,
}

/// Bytes of frames that wait to be read; of more, the newest are not kept and counted instead.
pub const CAPTURE_BYTES_MAX: usize = 8 << 20;

/// What a capture looks at and has seen.
#[derive(Debug)]
pub(crate) struct TapState {
    ns: NsId,
    /// `None`: all of the namespace (`-i any`).
    iface: Option<IfId>,
    frames: VecDeque<Captured>,
    bytes: usize,
    missed: u64,
    waiters: Waiters,
}

/// A running capture. Dropping it ends it.
pub struct Tap {
    net: Net,
    id: usize,
}

impl Net {
    /// Captures what an interface of a namespace sends and receives, or all of them do.
    pub fn capture(&self, ns: NsId, iface: Option<IfId>) -> Tap {
        let state = TapState {
            ns,
            iface,
            frames: VecDeque::new(),
            bytes: 0,
            missed: 0,
            waiters: Waiters::new(),
        };
        let id = self.kernel_mut().taps.insert(state);
        Tap { net: self.clone(), id }
    }
}

impl Tap {
    /// The next frame, if one is there.
    pub fn try_next(&self) -> Option<Captured> {
        let mut kernel = self.net.kernel_mut();
        let tap = kernel.taps.get_mut(self.id)?;
        let frame = tap.frames.pop_front()?;
        tap.bytes -= frame.bytes.len();
        Some(frame)
    }

    /// Waits for the next frame.
    pub async fn next(&self) -> Captured {
        poll_fn(|_| {
            if let Some(frame) = self.try_next() {
                return Poll::Ready(frame);
            }
            let mut kernel = self.net.kernel_mut();
            let Kernel { taps, scheduler, .. } = &mut *kernel;
            if let Some(tap) = taps.get_mut(self.id) {
                scheduler.wait(&mut tap.waiters);
            }
            Poll::Pending
        })
        .await
    }

    /// Frames that were not kept because too many waited to be read.
    pub fn missed(&self) -> u64 {
        self.net.kernel().taps.get(self.id).map_or(0, |tap| tap.missed)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut kernel = self.net.kernel_mut();
        if kernel.taps.contains(self.id) {
            kernel.taps.remove(self.id);
        }
    }
}

impl Kernel {
    /// Shows a frame to whoever watches. Costs one comparison where nobody does.
    #[inline]
    pub(crate) fn show(&mut self, id: IfId, frame: &Frame, meta: Meta, way: CaptureDirection) {
        if !self.taps.is_empty() {
            self.show_to_taps(id, frame, meta, way);
        }
    }

    #[cold]
    fn show_to_taps(&mut self, id: IfId, frame: &Frame, meta: Meta, direction: CaptureDirection) {
        let now = self.now;
        let Some(iface) = self.iface(id) else { return };
        let (ns, index, name) = (iface.ns, iface.index, iface.name);
        let Kernel { taps, scheduler, .. } = self;
        for (_, tap) in taps.iter_mut() {
            if tap.ns != ns || tap.iface.is_some_and(|only| only != id) {
                continue;
            }
            let bytes = frame.to_bytes();
            if tap.bytes + bytes.len() > CAPTURE_BYTES_MAX {
                tap.missed += 1;
                continue;
            }
            tap.bytes += bytes.len();
            tap.frames.push_back(Captured {
                at: now,
                iface: id,
                index,
                name: name.to_string(),
                direction,
                bytes,
                packet: meta.id,
                cause: meta.cause,
            });
            scheduler.wake_all(&mut tap.waiters);
        }
    }
}
