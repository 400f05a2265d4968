//! Why a packet is gone.

use std::fmt;

use packet::Malformed;

use crate::route::RouteKind;

/// Why a packet is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Netfilter dropped it.
    Netfilter(netfilter::DropReason),
    /// Netfilter refused it and told the sender.
    Rejected(netfilter::DropReason),
    /// No route leads there.
    NoRoute,
    /// A route or a policy rule says so.
    RouteSays(RouteKind),
    /// It is for somebody else, and this namespace does not forward (`ip_forward` is 0).
    NotForwarding,
    /// Its time to live ran out.
    TtlExceeded,
    /// It is longer than the next link takes and must not be fragmented.
    TooBig {
        /// The link's MTU.
        mtu: u16,
    },
    /// It is longer than the interface at the other end of the link takes.
    TooBigForPeer {
        /// That interface's MTU.
        mtu: u16,
    },
    /// An address that cannot be where it came from: a loopback address from outside, our own address
    /// or a broadcast address as source, no address at all.
    Martian,
    /// The way back to its source does not lead by the interface it came in by (`rp_filter`).
    ReversePath,
    /// Nobody here listens to this multicast group.
    NotMember,
    /// The frame is for another station.
    OtherHost,
    /// The interface is down or gone, or the namespace is switched off.
    Down,
    /// The other end of the cable is down.
    NoCarrier,
    /// The link is cut.
    LinkCut,
    /// The link lost it.
    LinkLoss,
    /// The link is busy and its queue full.
    LinkQueueFull,
    /// The link damaged it beyond recognition.
    LinkDamage,
    /// The network is parted between its sender and here.
    Partitioned,
    /// A dummy interface sends nothing.
    Dummy,
    /// The next hop does not answer ARP.
    NoNeighbour,
    /// The table of neighbours is full.
    NeighbourTableFull,
    /// Too many packets wait for the same neighbour.
    QueueFull,
    /// The bridge has no other port to send it to.
    NoPort,
    /// The accept queue or the queue of half-open connections is full.
    ListenOverflow,
    /// The socket's receive buffer is full.
    ReceiveBufferFull,
    /// Not all fragments came in time.
    FragmentTimeout,
    /// The fragments contradict each other, or there are too many.
    BadFragments,
    /// The checksum of its payload is wrong.
    BadChecksum,
    /// The stack does not take it.
    NotAccepted,
    /// Not a packet.
    Malformed(Malformed),
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            DropReason::Netfilter(reason) => {
                return write!(f, "dropped{} {reason}", if reason.is_by() { " by" } else { ":" });
            }
            DropReason::Rejected(reason) => {
                return write!(f, "refused{} {reason}", if reason.is_by() { " by" } else { ":" });
            }
            DropReason::Malformed(why) => return why.fmt(f),
            DropReason::TooBig { mtu } => {
                return write!(f, "longer than the next link takes ({mtu} bytes)");
            }
            DropReason::TooBigForPeer { mtu } => {
                return write!(f, "longer than the other end of the link takes ({mtu} bytes)");
            }
            DropReason::NoRoute => "no route to this destination",
            DropReason::RouteSays(RouteKind::Blackhole) => "the route is a blackhole",
            DropReason::RouteSays(RouteKind::Prohibit) => "the route is prohibited",
            DropReason::RouteSays(_) => "the route says unreachable",
            DropReason::NotForwarding => "for another host, and ip_forward is 0 here",
            DropReason::TtlExceeded => "its time to live ran out",
            DropReason::Martian => "an address that cannot come from there",
            DropReason::ReversePath => "the way back is another one (rp_filter)",
            DropReason::NotMember => "nobody here listens to this multicast group",
            DropReason::OtherHost => "the frame is for another station",
            DropReason::Down => "the interface is down",
            DropReason::NoCarrier => "the other end of the cable is down",
            DropReason::LinkCut => "the link is cut",
            DropReason::LinkLoss => "lost on the link",
            DropReason::LinkQueueFull => "the link is busy and its queue full",
            DropReason::LinkDamage => "damaged on the link beyond recognition",
            DropReason::Partitioned => "the network is parted between its sender and here",
            DropReason::Dummy => "a dummy interface sends nothing",
            DropReason::NoNeighbour => "the next hop does not answer ARP",
            DropReason::NeighbourTableFull => "the table of neighbours is full",
            DropReason::QueueFull => "too many packets wait for the next hop",
            DropReason::NoPort => "the bridge has nowhere to send it",
            DropReason::ListenOverflow => "the listener's queue is full",
            DropReason::ReceiveBufferFull => "the socket's receive buffer is full",
            DropReason::FragmentTimeout => "not all fragments came in time",
            DropReason::BadFragments => "the fragments do not fit together",
            DropReason::BadChecksum => "the checksum is wrong",
            DropReason::NotAccepted => "the stack does not take it",
        };
        f.write_str(text)
    }
}
