//! Frames from outside the world: what a test, or the reader of a capture, puts on a cable.

use packet::{Body, Frame};

use crate::iface::IfId;
use crate::path::{Meta, Parcel};
use crate::queue::Event;
use crate::sim::Net;
use crate::trace::Cause;

impl Net {
    /// Lets a frame arrive at an interface now, as if the station at the other end of its cable had sent it.
    pub fn inject(&self, iface: IfId, frame: Frame) {
        let mut kernel = self.kernel_mut();
        if matches!(frame.body, Body::Ipv4(_)) {
            kernel.counts.made += 1;
        }
        let meta = Meta { id: kernel.new_packet_id(), cause: Cause(0) };
        let (at, parcel) = (kernel.now, Box::new(Parcel { frame, meta, kept: None }));
        kernel.queue.push(at, Event::Arrive { iface, parcel });
    }
}
