//! Connections made by chance: what hosts say, what is lost or wrong in it, and who complains.

use std::net::Ipv4Addr;

use crate::bytes::Fields;
use crate::case::{Kind, Step, plain};
use crate::generate::Generator;
use crate::town::{HOSTS, OWN, VIRTUAL};

const PORTS: [u16; 6] = [80, 443, 53, 8080, 5000, 22];
const SOURCE_PORTS: [u16; 5] = [40000, 40001, 40002, 1000, 500];

impl Generator<'_> {
    /// A few connections, their packets mixed.
    pub(crate) fn flows(&mut self, steps: &mut Vec<Step>) {
        let count = 2 + self.below(4);
        let mut flows: Vec<Vec<(Kind, Fields)>> = (0..count).map(|_| self.flow()).collect();
        flows.retain(|flow| !flow.is_empty());
        // The number that each flow's packets have got so far.
        let mut ids: Vec<Vec<u16>> = vec![Vec::new(); flows.len()];
        let mut next = vec![0usize; flows.len()];
        while next.iter().zip(&flows).any(|(next, flow)| *next < flow.len()) {
            let at = self.below(flows.len() as u32) as usize;
            // Mostly a few packets of one connection after the other.
            for _ in 0..1 + self.below(4) {
                let Some((kind, fields)) = flows[at].get(next[at]) else { break };
                next[at] += 1;
                let id = steps.len() as u16 + 1;
                let to = |local: &u16| ids[at][usize::from(*local)];
                let kind = match kind {
                    Kind::From(cable) => Kind::From(cable.clone()),
                    Kind::Answers(local) => Kind::Answers(to(local)),
                    Kind::Like(local) => Kind::Like(to(local)),
                    Kind::ErrorAbout(local) => Kind::ErrorAbout(to(local)),
                };
                ids[at].push(id);
                steps.push(Step { id, kind, fields: fields.clone() });
            }
        }
    }

    fn flow(&mut self) -> Vec<(Kind, Fields)> {
        let (cable, src) = self.one(&HOSTS);
        let dst = match self.below(10) {
            0..=4 => self.one(&HOSTS).1,
            5..=6 => self.one(&VIRTUAL),
            _ if self.may("to-router") => self.one(&OWN),
            _ => self.one(&HOSTS).1,
        };
        if src == dst {
            return Vec::new();
        }
        if self.chance(6)
            && let Some(flow) = self.odd_flow(cable, src, dst)
        {
            return flow;
        }
        let is_to_router = OWN.contains(&dst);
        let (feature, protocol) = match self.below(20) {
            0..=9 => ("tcp", 6),
            10..=13 => ("udp", 17),
            14..=16 => ("icmp", 1),
            17..=18 => ("sctp", 132),
            _ => ("other-protocol", 253),
        };
        let is_echo = is_to_router && feature == "icmp" && !self.may("echo-to-router");
        let is_sctp = is_to_router && feature == "sctp" && !self.may("sctp-to-router");
        if !self.may(feature) || is_echo || is_sctp {
            return Vec::new();
        }
        let first = Fields {
            src,
            dst,
            protocol,
            sport: if matches!(protocol, 6 | 17 | 132) { self.one(&SOURCE_PORTS) } else { 0 },
            dport: if matches!(protocol, 6 | 17 | 132) { self.one(&PORTS) } else { 0 },
            ..plain()
        };
        let is_new = self.known.insert((src, dst, first.sport, first.dport));
        if protocol == 6 && !is_new && !self.may("tcp-again") {
            return Vec::new();
        }
        let mut flow = match protocol {
            6 => self.tcp_flow(cable, first),
            132 => self.sctp_flow(cable, first),
            _ => self.plain_flow(cable, first),
        };
        self.errors(&mut flow);
        flow
    }

    /// Datagrams with an address that no host has.
    fn odd_flow(
        &mut self,
        cable: &str,
        src: Ipv4Addr,
        dst: Ipv4Addr,
    ) -> Option<Vec<(Kind, Fields)>> {
        let odd = |text: &str| text.parse::<Ipv4Addr>().ok();
        let (feature, src, dst) = match self.below(6) {
            0 => ("to-broadcast", src, odd("10.1.0.255")?),
            1 => ("to-broadcast", src, Ipv4Addr::BROADCAST),
            2 => ("to-multicast", src, odd("224.0.0.251")?),
            3 => ("to-loopback", src, Ipv4Addr::LOCALHOST),
            4 => ("from-itself", self.one(&OWN), dst),
            _ => ("from-nowhere", self.one(&[Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST]), dst),
        };
        if !self.may(feature) {
            return None;
        }
        let fields = Fields { src, dst, protocol: 17, sport: 40000, dport: 53, ..plain() };
        Some(vec![(Kind::From(cable.to_string()), fields.clone()), (Kind::Like(0), fields)])
    }

    /// Small things that any packet may have.
    fn vary(&mut self, mut fields: Fields) -> Fields {
        if self.may("corrupt") && self.chance(3) {
            fields.is_corrupt = true;
        }
        if self.may("low-ttl") && self.may("own-state") && self.chance(4) {
            fields.ttl = self.one(&[1, 2]);
        }
        if self.may("ip-options") && self.chance(3) {
            fields.has_options = true;
        }
        if self.chance(10) {
            fields.tos = self.one(&[0x10, 0x08, 0xb8, 0x03]);
        }
        fields
    }

    fn tcp_flow(&mut self, cable: &str, first: Fields) -> Vec<(Kind, Fields)> {
        let (mine, yours) = (1000 * (1 + self.below(9)), 500_000);
        // Whether it is an answer, flags, bytes of data.
        let script = [
            (false, 0x02, 0),
            (true, 0x12, 0),
            (false, 0x10, 0),
            (false, 0x18, 20),
            (true, 0x10, 0),
            (true, 0x18, 30),
            (false, 0x10, 0),
            (false, 0x11, 0),
            (true, 0x11, 0),
            (false, 0x10, 0),
        ];
        let from =
            if self.may("mid-stream") && self.chance(10) { self.below(4) as usize } else { 0 };
        let to = (from + 2 + self.below(9) as usize).min(script.len());
        let (mut seq, mut ack) = (mine, yours);
        let mut flow: Vec<(Kind, Fields)> = Vec::new();
        for (is_answer, flags, len) in script[from..to].iter().copied() {
            let (now, then) = if is_answer { (&mut ack, seq) } else { (&mut seq, ack) };
            let mut fields = Fields { flags, len, seq: *now, ..first.clone() };
            fields.ack = if flags & 0x10 != 0 { then } else { 0 };
            *now += u32::from(len) + u32::from(flags & 0x03 != 0);
            if flags & 0x02 != 0 && self.chance(40) {
                fields.mss = 1460;
            }
            if self.may("odd-flags") && self.chance(6) {
                fields.flags = self
                    .one(&[0x02, 0x12, 0x10, 0x11, 0x04, 0x14, 0x00, 0x29, 0x03, 0x06, 0x3f, 0x52]);
            }
            if self.may("odd-seq") && self.chance(4) {
                fields.seq =
                    fields.seq.wrapping_add(self.one(&[1, 100_000, 0x8000_0000, u32::MAX]));
            }
            let fields = self.vary(fields);
            let kind = match (is_answer, flow.is_empty()) {
                (_, true) => Kind::From(cable.to_string()),
                (true, _) => Kind::Answers(0),
                (false, _) => Kind::Like(0),
            };
            // Lost on the way, and sent again.
            let again = self.chance(6).then(|| (Kind::Like(flow.len() as u16), fields.clone()));
            flow.push((kind, fields));
            flow.extend(again);
        }
        flow
    }

    fn sctp_flow(&mut self, cable: &str, first: Fields) -> Vec<(Kind, Fields)> {
        // Whether it is an answer, chunk type, tag, initiation tag.
        let script = [
            (false, 1, 0, 0xa0a0),
            (true, 2, 0xa0a0, 0xb0b0),
            (false, 10, 0xb0b0, 0),
            (true, 11, 0xa0a0, 0),
            (false, 0, 0xb0b0, 0),
            (true, 3, 0xa0a0, 0),
            (false, 7, 0xb0b0, 0),
            (true, 8, 0xa0a0, 0),
            (false, 14, 0xb0b0, 0),
        ];
        let to = 1 + self.below(script.len() as u32) as usize;
        let mut flow = Vec::new();
        for (is_answer, flags, seq, ack) in script[..to].iter().copied() {
            let mut fields = Fields { flags, seq, ack, ..first.clone() };
            if self.may("odd-tag") && self.chance(5) {
                fields.seq = 0xdead;
            }
            let kind = match (is_answer, flow.is_empty()) {
                (_, true) => Kind::From(cable.to_string()),
                (true, _) => Kind::Answers(0),
                (false, _) => Kind::Like(0),
            };
            flow.push((kind, self.vary(fields)));
        }
        flow
    }

    fn plain_flow(&mut self, cable: &str, first: Fields) -> Vec<(Kind, Fields)> {
        let id = self.one(&[7, 8, 40000]);
        let mut icmp = if self.chance(85) { (8, 0, id) } else { (13, 0, id) };
        if self.may("odd-icmp") && self.chance(6) {
            icmp = self.one(&[(0, 0, 7), (9, 0, 0), (8, 1, 7), (40, 0, 0), (17, 0, 9)]);
        }
        let first = Fields { icmp, ..first };
        let mut flow = vec![(Kind::From(cable.to_string()), self.vary(first.clone()))];
        for _ in 0..self.below(4) {
            let kind = if self.chance(50) { Kind::Answers(0) } else { Kind::Like(0) };
            let has_none = first.protocol == 253 && !self.may("other-data");
            let len = if has_none { 0 } else { self.one(&[0, 1, 12, 33]) };
            flow.push((kind, self.vary(Fields { len, ..first.clone() })));
        }
        flow
    }

    /// Complaints about packets of a flow.
    fn errors(&mut self, flow: &mut Vec<(Kind, Fields)>) {
        if flow.is_empty() || !self.may("icmp-error") || !self.chance(25) {
            return;
        }
        let about = self.below(flow.len() as u32) as u16;
        let mut icmp =
            self.one(&[(3, 0, 0), (3, 1, 0), (3, 3, 0), (3, 4, 0), (11, 0, 0), (12, 0, 0)]);
        if self.may("icmp-redirect") && self.chance(10) {
            icmp = (5, 1, 0);
        }
        let fields = self.vary(Fields { icmp, protocol: 1, ..plain() });
        flow.push((Kind::ErrorAbout(about), fields));
    }
}
