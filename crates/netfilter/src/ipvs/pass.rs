//! A packet at a hook (`net/netfilter/ipvs/ip_vs_core.c`, `ip_vs_xmit.c`, `ip_vs_nfct.c`).

use std::net::{Ipv4Addr, SocketAddrV4};

use base::Instant;
use packet::ipv4::End;
use packet::{Head, L4, Packet, protocol};

use super::conn::{VsConn, VsConnId, template_key};
use super::service::ServiceKey;
use super::{Handled, Ipvs, state};
use crate::conntrack::{Conntrack, CtSlot, Direction, Tuple, status};
use crate::ext::addrtype::AddrType;
use crate::ext::link::PktType;
use crate::ext::reject::Reject;
use crate::firewall::{DropReason, HookInput, Skb, Verdict};
use crate::hook::Hook;
use crate::iface::IfName;
use crate::trace::{HookEvent, HookTrace, ServerChoice};

type Passed = Result<(), Verdict>;
type Trace<'a, 'b> = &'a mut Option<&'b mut HookTrace>;

/// `ftp-data`: connections from this port are never scheduled.
const FTP_DATA: u16 = 20;

/// ICMP errors that are taken for what they are about: unreachable, source quench, time exceeded.
fn is_error(head: &Head) -> bool {
    matches!(head.l4, L4::Icmp { kind: 3 | 4 | 11, .. })
}

fn tuple_of(head: &Head) -> Option<Tuple> {
    let has_ports = matches!(head.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
    Tuple::of(head).filter(|_| has_ports)
}

fn drop_because(reason: DropReason) -> Passed {
    Err(Verdict::Drop(reason))
}

/// Rewrites one end of a packet, or of the packet that an error is about and the error's own other end, and
/// writes it down.
fn rewrite(packet: &mut Packet, end: End, to: SocketAddrV4, is_new: bool, trace: Trace<'_, '_>) {
    let head = packet.head();
    let (sport, dport) = head.ports().unwrap_or_default();
    let from = match end {
        End::Source => (head.src, sport),
        End::Destination => (head.dst, dport),
    };
    let mut port = to.port();
    if is_error(head) {
        let quoted = match end {
            End::Source => End::Destination,
            End::Destination => End::Source,
        };
        packet.rewrite_quoted(quoted, *to.ip(), Some(port));
        packet.rewrite(end, *to.ip(), None);
        port = 0;
    } else {
        packet.rewrite(end, *to.ip(), Some(port));
    }
    if let Some(trace) = trace {
        trace.events.push(HookEvent::Translated { end, from, to: (*to.ip(), port), is_new });
    }
}

impl Ipvs {
    /// A packet that has been given to a server goes out: now it gets the server's address. `false`: its
    /// connection is gone.
    pub(crate) fn send(
        &mut self,
        id: VsConnId,
        skb: &mut Skb,
        conntrack: &mut Conntrack,
        trace: Trace<'_, '_>,
    ) -> bool {
        let Some(conn) = self.conns.of(id) else { return false };
        let (addr, is_tracked, service) = (conn.addr, conn.is_tracked, conn.key());
        let is_new = follow_in_conntrack(skb, conntrack, is_tracked, |reply| {
            (reply.src, reply.sport) = (*addr.ip(), addr.port());
        });
        rewrite(&mut skb.packet, End::Destination, addr, is_new, trace);
        skb.ipvs = Handled::Done(service);
        true
    }

    /// What ipvs does to a packet at INPUT, OUTPUT or FORWARD.
    pub(crate) fn look(
        &mut self,
        input: &HookInput<'_>,
        skb: &mut Skb,
        conntrack: &mut Conntrack,
        trace: Trace<'_, '_>,
    ) -> Passed {
        if skb.ipvs != Handled::No {
            return Ok(());
        }
        self.answer(input, skb, conntrack, trace)?;
        if skb.ipvs != Handled::No || input.hook == Hook::Forward {
            return Ok(());
        }
        let is_host = input.surroundings.packet_type() == PktType::Unicast;
        if !is_host && input.hook != Hook::Output {
            return Ok(());
        }
        let head = skb.packet.head();
        if is_error(head) {
            return self.error(input, skb, conntrack, trace);
        }
        match tuple_of(head) {
            Some(tuple) => self.request(&tuple, input, skb, conntrack, trace),
            None => Ok(()),
        }
    }

    /// An answer of a server, or an error about what was sent to one: it comes from the virtual address
    /// (`ip_vs_out`, `handle_response`).
    fn answer(
        &mut self,
        input: &HookInput<'_>,
        skb: &mut Skb,
        conntrack: &mut Conntrack,
        trace: Trace<'_, '_>,
    ) -> Passed {
        let head = skb.packet.head();
        let is_error = is_error(head);
        let tuple = match is_error {
            true => skb.packet.quoted().and_then(|head| tuple_of(&head)).map(|t| t.inverted()),
            false => tuple_of(head),
        };
        let Some(slot) = tuple.and_then(|tuple| self.conns.by_answer(&tuple)) else {
            return Ok(());
        };
        if is_error && !skb.is_trusted && !skb.packet.l4_checksum_ok() {
            return drop_because(DropReason::IcmpUntranslatable);
        }
        let Some(conn) = self.conns.get(slot) else { return Ok(()) };
        let (service, is_tracked, server) = (conn.service, conn.is_tracked, conn.server);
        let key = conn.key();
        rewrite(&mut skb.packet, End::Source, service, false, trace);
        self.count(server, input.now, skb.packet.head().total_len, true);
        if !is_error {
            self.move_state(slot, &skb.packet, true);
            self.conns.renew(slot, input.now);
        }
        skb.ipvs = Handled::Done(key);
        follow_in_conntrack(skb, conntrack, is_tracked, |reply| {
            (reply.dst, reply.dport) = (*service.ip(), service.port());
        });
        Ok(())
    }

    /// An ICMP error about an answer: it is for the server (`ip_vs_in_icmp`).
    fn error(
        &mut self,
        input: &HookInput<'_>,
        skb: &mut Skb,
        conntrack: &mut Conntrack,
        trace: Trace<'_, '_>,
    ) -> Passed {
        let Some(quoted) = skb.packet.quoted().and_then(|head| tuple_of(&head)) else {
            return Ok(());
        };
        let Some(slot) = self.conns.by_request(&quoted.inverted()) else { return Ok(()) };
        if !skb.is_trusted && !skb.packet.l4_checksum_ok() {
            return drop_because(DropReason::IcmpUntranslatable);
        }
        if let Some(conn) = self.conns.get(slot) {
            let server = conn.server;
            self.count(server, input.now, skb.packet.head().total_len, false);
        }
        self.transmit(slot, ServerChoice::Remembered, input, skb, conntrack, trace)
    }

    /// A packet that may be for a virtual service (`ip_vs_in`).
    fn request(
        &mut self,
        tuple: &Tuple,
        input: &HookInput<'_>,
        skb: &mut Skb,
        conntrack: &mut Conntrack,
        trace: Trace<'_, '_>,
    ) -> Passed {
        let now = input.now;
        let mut found = self.conns.by_request(tuple);
        if let Some(slot) = found
            && let Some(is_old) = self.is_outdated(slot, skb, conntrack)
        {
            // What conntrack knows of the connection leads to the old server, so it has to go first, and this
            // packet with it.
            self.give_up(slot, is_old, conntrack, now);
            if is_old {
                return drop_because(DropReason::ServerGone);
            }
            found = None;
        }
        let mut choice = ServerChoice::Remembered;
        if found.is_none() {
            let Some((slot, by)) = self.begin(tuple, input, skb)? else { return Ok(()) };
            (found, choice) = (Some(slot), by);
        }
        let Some(slot) = found else { return Ok(()) };
        if let Some(conn) = self.conns.get(slot) {
            let server = conn.server;
            self.count(server, now, skb.packet.head().total_len, false);
        }
        self.move_state(slot, &skb.packet, false);
        self.conns.renew(slot, now);
        self.transmit(slot, choice, input, skb, conntrack, trace)
    }

    /// Whether a packet must not go where its connection goes: the server is gone, or the packet begins another
    /// connection with the same ports. `Some(true)`: conntrack already knows the old connection.
    fn is_outdated(&self, slot: u32, skb: &Skb, conntrack: &Conntrack) -> Option<bool> {
        let conn = self.conns.get(slot)?;
        let server = self.servers.get(conn.server as usize);
        let is_old = conn.is_tracked
            && matches!(skb.ct, CtSlot::Tracked { conn, .. }
                if conntrack.get(conn).is_some_and(|ct| ct.has(status::CONFIRMED)));
        if state::begins(&skb.packet) {
            let is_quiet = server.is_some_and(|server| server.options.weight == 0);
            let is_over = conn.control.is_none() && state::is_over(conn.protocol, conn.state);
            if (self.settings.expire_nodest_conn && is_quiet)
                || (self.settings.conn_reuse_mode != 0 && is_over)
            {
                return Some(is_old);
            }
        }
        match server {
            Some(server) if server.is_available => None,
            _ if self.settings.expire_nodest_conn => Some(is_old),
            // The packet is dropped, the connection stays.
            _ => Some(true),
        }
    }

    /// Forgets an outdated connection where the settings say so.
    fn give_up(&mut self, slot: u32, is_old: bool, conntrack: &mut Conntrack, now: Instant) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let server = self.servers.get(conn.server as usize);
        let is_gone = server.is_none_or(|server| !server.is_available);
        if is_gone && !self.settings.expire_nodest_conn {
            return;
        }
        conn.is_tracked &= is_old;
        self.expire(slot, conntrack, now);
    }

    /// Gives a packet of no known connection to a server, if a service wants it
    /// (`ip_vs_schedule`, `ip_vs_sched_persist`).
    fn begin(
        &mut self,
        tuple: &Tuple,
        input: &HookInput<'_>,
        skb: &Skb,
    ) -> Result<Option<(u32, ServerChoice)>, Verdict> {
        let Tuple { src, dst, sport, dport, protocol } = *tuple;
        if !state::may_begin(&skb.packet) || sport == FTP_DATA {
            return Ok(None);
        }
        let named = ServiceKey { protocol, addr: dst, port: dport };
        let any = ServiceKey { port: 0, ..named };
        let key = if self.services.contains_key(&named) { named } else { any };
        let Some(service) = self.services.get(&key) else { return Ok(None) };
        // An answer of a server on this very host is no request.
        let is_inside = input.iif.is_none() || input.iif == IfName::new("lo");
        if is_inside && self.conns.by_request(&tuple.inverted()).is_some() {
            return Ok(None);
        }
        let (persistence, scheduler) = (service.persistence, service.scheduler);
        let (client, at) = (SocketAddrV4::new(src, sport), SocketAddrV4::new(dst, dport));
        let mut choice = ServerChoice::By(scheduler);
        let (mut server, mut control) = (None, None);
        if let Some(persistence) = persistence {
            let network = Ipv4Addr::from(u32::from(src) & u32::from(persistence.netmask));
            let front = SocketAddrV4::new(dst, key.port);
            control = self.template(&template_key(protocol, network, front));
            server = control.and_then(|slot| Some(self.conns.get(slot)?.server));
            choice = if control.is_some() { ServerChoice::Persistence } else { choice };
            if control.is_none() {
                let chosen = self.schedule(&key, src).ok_or_else(refusal)?;
                server = Some(chosen);
                let ends = (SocketAddrV4::new(network, 0), front);
                control = self.new_template(&key, ends, chosen, persistence.timeout, input.now);
                if control.is_none() {
                    return Err(Verdict::Drop(DropReason::VirtualTableFull));
                }
            }
        }
        let server = match server {
            Some(server) => server,
            None => self.schedule(&key, src).ok_or_else(refusal)?,
        };
        let Some(known) = self.servers.get(server as usize) else { return Ok(None) };
        let mut addr = known.addr;
        if addr.port() == 0 || key.port == 0 {
            addr.set_port(dport);
        }
        let mut conn = VsConn::new(protocol, (client, at), (server, addr));
        (conn.is_tracked, conn.control) = (self.settings.conntrack, control);
        let Some(slot) = self.conns.insert(conn, input.now) else {
            return Err(Verdict::Drop(DropReason::VirtualTableFull));
        };
        if let Some(template) = control {
            if let Some(template) = self.conns.get_mut(template) {
                template.controls += 1;
            }
            self.conns.renew(template, input.now);
        }
        let now = input.now;
        if let Some(server) = self.servers.get_mut(server as usize) {
            server.bind(false);
            server.stats.count(now, |counts| counts.conns += 1);
        }
        if let Some(service) = self.services.get_mut(&key) {
            service.stats.count(now, |counts| counts.conns += 1);
        }
        Ok(Some((slot, choice)))
    }

    /// The template of a client, if it still leads to a server that is there (`ip_vs_check_template`).
    fn template(&mut self, key: &Tuple) -> Option<u32> {
        let slot = self.conns.template(key)?;
        let server = self.servers.get(self.conns.get(slot)?.server as usize);
        let is_quiet = self.settings.expire_quiescent_template;
        let is_there = |s: &super::Server| s.is_available && !(is_quiet && s.options.weight == 0);
        if server.is_some_and(is_there) {
            return Some(slot);
        }
        self.conns.invalidate(slot);
        None
    }

    fn new_template(
        &mut self,
        key: &ServiceKey,
        ends: (SocketAddrV4, SocketAddrV4),
        server: u32,
        seconds: u32,
        now: Instant,
    ) -> Option<u32> {
        let mut addr = self.servers.get(server as usize)?.addr;
        if key.port == 0 {
            addr.set_port(0);
        }
        let mut conn = VsConn::new(key.protocol, ends, (server, addr));
        conn.is_template = true;
        conn.timeout = base::Duration::from_secs(u64::from(seconds));
        let slot = self.conns.insert(conn, now)?;
        if let Some(server) = self.servers.get_mut(server as usize) {
            server.bind(true);
        }
        Some(slot)
    }

    /// Sends a packet to its server: here, if the server is this very host, else out (`ip_vs_nat_xmit`).
    fn transmit(
        &mut self,
        slot: u32,
        choice: ServerChoice,
        input: &HookInput<'_>,
        skb: &mut Skb,
        conntrack: &mut Conntrack,
        trace: Trace<'_, '_>,
    ) -> Passed {
        let (Some(conn), Some(id)) = (self.conns.get(slot), self.conns.id(slot)) else {
            return Ok(());
        };
        let (service, addr, protocol) = (conn.service, conn.addr, conn.protocol);
        if let Some(trace) = trace {
            let server = (*addr.ip(), addr.port());
            let service = (*service.ip(), service.port());
            trace.events.push(HookEvent::Scheduled { protocol, service, server, choice });
        }
        let is_here = input.surroundings.addr_type(*addr.ip(), None) == AddrType::Local;
        let from_loopback = skb.packet.head().src.is_loopback();
        let to_loopback = addr.ip().is_loopback() && input.hook != Hook::Output;
        match is_here {
            true if to_loopback => drop_because(DropReason::VirtualLoopback),
            false if from_loopback => drop_because(DropReason::VirtualLoopback),
            true => {
                self.send(id, skb, conntrack, trace);
                Ok(())
            }
            false => {
                skb.ipvs = Handled::Chosen(id);
                Err(Verdict::Virtual { server: *addr.ip() })
            }
        }
    }

    /// Counts a packet for its server and its service; one that is gone counts nothing.
    fn count(&mut self, server: u32, now: Instant, len: u16, is_answer: bool) {
        let Some(server) = self.servers.get_mut(server as usize) else { return };
        if !server.is_available {
            return;
        }
        let service = self.services.get_mut(&server.service).map(|service| &mut service.stats);
        let stats = [Some(&mut server.stats), service];
        for stats in stats.into_iter().flatten() {
            stats.count(now, |counts| {
                let (packets, bytes) = match is_answer {
                    true => (&mut counts.out_packets, &mut counts.out_bytes),
                    false => (&mut counts.in_packets, &mut counts.in_bytes),
                };
                *packets += 1;
                *bytes += u64::from(len);
            });
        }
    }

    /// A packet moves its connection's state, and with it the server's count of active connections.
    fn move_state(&mut self, slot: u32, packet: &Packet, is_answer: bool) {
        let timeouts = self.timeouts;
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let next = state::next(packet, conn.state, is_answer);
        conn.state = next;
        conn.timeout = state::timeout(conn.protocol, next, &timeouts);
        let is_active = state::is_active(conn.protocol, next);
        let was_active = std::mem::replace(&mut conn.is_active, is_active);
        let (server, control) = (conn.server, conn.control);
        let assures = state::assures(conn.protocol, next, is_answer);
        if is_active != was_active
            && let Some(server) = self.servers.get_mut(server as usize)
        {
            let (from, to) = match is_active {
                true => (&mut server.inactive, &mut server.active),
                false => (&mut server.active, &mut server.inactive),
            };
            *from = from.saturating_sub(1);
            *to += 1;
        }
        if assures
            && let Some(template) = control
            && let Some(template) = self.conns.get_mut(template)
        {
            template.is_assured = true;
        }
    }
}

/// No server has room: the client hears of it as of a port that nobody listens at (`ip_vs_leave`).
fn refusal() -> Verdict {
    Verdict::Reject(Reject::default(), DropReason::NoServer)
}

/// The packet's connection in conntrack, if it is just beginning, will have other answers than it thought; a
/// packet that is not to be tracked loses its connection (`ip_vs_update_conntrack`, `ip_vs_notrack`). `true`:
/// it was beginning.
fn follow_in_conntrack(
    skb: &mut Skb,
    conntrack: &mut Conntrack,
    is_tracked: bool,
    change: impl FnOnce(&mut Tuple),
) -> bool {
    let CtSlot::Tracked { conn: id, info } = skb.ct else { return false };
    if !is_tracked {
        conntrack.discard(skb.ct);
        skb.ct = CtSlot::Untracked;
        return false;
    }
    const KNOWN: u16 = status::CONFIRMED | status::DYING;
    let is_beginning = conntrack.get(id).is_some_and(|conn| conn.status & KNOWN == 0);
    if is_beginning && info.direction() == Direction::Original {
        conntrack.conn_mut(id, |conn| {
            if conn.original.protocol != protocol::ICMP {
                change(&mut conn.reply);
            }
        });
    }
    is_beginning
}
