//! smoltcp talking to smoltcp: connect, ask, answer, close. Packets go from one's queue into the other's,
//! and nothing else happens to them.

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Checksum, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr, Ipv4Address};

use crate::{ANSWER, REQUEST};

#[derive(Default)]
struct Wire {
    rx: VecDeque<Vec<u8>>,
    tx: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut VecDeque<Vec<u8>>, Option<Vec<u8>>);

impl phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut buffer = self.1.unwrap_or_default();
        buffer.clear();
        buffer.resize(len, 0);
        let result = f(&mut buffer);
        self.0.push_back(buffer);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        let packet = self.rx.pop_front()?;
        Some((Rx(packet), Tx(&mut self.tx, self.spare.pop())))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.tx, self.spare.pop()))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1500;
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities
    }
}

struct End {
    wire: Wire,
    iface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
}

fn end(addr: [u8; 4]) -> End {
    let mut wire = Wire::default();
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = u64::from(addr[3]);
    let mut iface = Interface::new(config, &mut wire, Instant::ZERO);
    iface.update_ip_addrs(|addrs| {
        let _ = addrs.push(IpCidr::new(Ipv4Address::from(addr).into(), 24));
    });
    let mut sockets = SocketSet::new(Vec::new());
    let buffer = |len| SocketBuffer::new(vec![0; len]);
    let mut socket = Socket::new(buffer(64_240), buffer(32_768));
    socket.set_ack_delay(None);
    socket.set_nagle_enabled(false);
    let handle = sockets.add(socket);
    End { wire, iface, sockets, handle }
}

impl End {
    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    fn poll(&mut self, now: Instant) {
        self.iface.poll(now, &mut self.wire, &mut self.sockets);
    }
}

/// Makes `requests` requests one after the other. Returns how many packets were made for that.
pub fn requests(requests: u32) -> u64 {
    let (mut client, mut server) = (end([10, 0, 0, 1]), end([10, 0, 0, 2]));
    let now = Instant::ZERO;
    let mut packets = 0;
    for i in 0..requests {
        let _ = server.socket().listen(80);
        let port = 32768 + (i % 28000) as u16;
        let cx = client.iface.context();
        let socket = client.sockets.get_mut::<Socket<'static>>(client.handle);
        let _ = socket.connect(cx, (Ipv4Address::new(10, 0, 0, 2), 80), port);
        packets += exchange(&mut client, &mut server, now);
    }
    packets
}

fn exchange(client: &mut End, server: &mut End, now: Instant) -> u64 {
    let mut packets = 0;
    let mut has_asked = false;
    loop {
        client.poll(now);
        packets += carry(client, server);
        server.poll(now);
        let socket = server.socket();
        if socket.can_recv() && socket.recv(|data| (data.len(), data.len())).is_ok() {
            let _ = socket.send_slice(ANSWER);
            socket.close();
            server.poll(now);
        }
        packets += carry(server, client);
        client.poll(now);
        let socket = client.socket();
        if socket.state() == State::Established && !has_asked {
            let _ = socket.send_slice(REQUEST);
            has_asked = true;
        }
        if socket.can_recv() {
            let _ = socket.recv(|data| (data.len(), data.len()));
        }
        if socket.state() == State::CloseWait {
            socket.close();
        }
        if socket.state() == State::Closed {
            // The server is in TIME_WAIT; its socket begins anew with the next request.
            server.socket().abort();
            server.poll(now);
            server.wire.tx.clear();
            return packets;
        }
    }
}

fn carry(from: &mut End, to: &mut End) -> u64 {
    let carried = from.wire.tx.len() as u64;
    to.wire.rx.append(&mut from.wire.tx);
    from.wire.spare.extend(to.wire.spare.pop());
    carried
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_request_takes_nine_packets_or_so() {
        let packets = super::requests(10);
        assert!((80..=110).contains(&packets), "{packets}");
    }
}
