//! tshark reads every capture without a malformed packet or a bad checksum, and finds the interfaces, the
//! directions and the comments.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test says what it skips")]

mod samples;

use std::process::Command;

use packet::Packet;
use packet::capture::{Direction, Iface, Record, ng};
use packet::ipv4::End;
use packet::tcpdump::{LinkType, Stamp};

fn tshark(path: &std::path::Path, args: &[&str]) -> Option<String> {
    let checks = ["ip.check_checksum:TRUE", "tcp.check_checksum:TRUE", "udp.check_checksum:TRUE"];
    let mut command = Command::new("tshark");
    command.arg("-n").arg("-r").arg(path);
    for check in checks {
        command.args(["-o", check]);
    }
    match command.args(args).output() {
        Ok(out) => Some(String::from_utf8_lossy(&out.stdout).into_owned()),
        Err(error) => {
            eprintln!("skipped: no tshark: {error}");
            None
        }
    }
}

/// Whole packets, as they were made and after they have been rewritten.
fn packets() -> Vec<Packet> {
    let mut all = Vec::new();
    for frame in samples::generated(3, 200) {
        let Ok(packet) = Packet::parse_checked(frame[14..].to_vec()) else { continue };
        if frame[12..14] == [8, 0] && packet.l4_checksum_ok() && packet.head().ports().is_some() {
            let mut rewritten = packet.clone();
            rewritten.rewrite(End::Destination, [10, 0, 0, 9].into(), Some(8443));
            rewritten.rewrite(End::Source, [172, 18, 0, 3].into(), Some(40123));
            rewritten.decrement_ttl();
            rewritten.set_dscp(10);
            rewritten.lower_mss(1000);
            all.extend([packet, rewritten]);
        }
    }
    all
}

#[test]
fn every_file_is_read_without_a_complaint() {
    let mut writer = ng::Writer::new("podwire", "Linux", "podwire tcpdump");
    let ifaces = [
        ("eth0", LinkType::Ethernet),
        ("veth1", LinkType::Ethernet),
        ("any", LinkType::Sll2),
        ("tun0", LinkType::Raw),
    ];
    for (name, link) in ifaces {
        let description = format!("{name} of node worker");
        writer.iface(&Iface { name: name.to_string(), description, link });
    }
    let mut wanted = String::new();
    for (index, packet) in packets().iter().enumerate() {
        let iface = index as u32 % 4;
        let frame = samples::ethernet(0x0800, packet.bytes());
        let bytes = match iface {
            2 => samples::cooked(&frame, 1, 0),
            3 => packet.bytes().to_vec(),
            _ => frame,
        };
        let mut record = Record::new(iface, Stamp(1_767_603_600_000_000_001 + index as u64), bytes);
        record.direction = if index % 2 == 0 { Direction::In } else { Direction::Out };
        record.comments.push(format!("packet {index}, after DNAT"));
        writer.record(&record);
        let (name, _) = ifaces[iface as usize];
        let way = if index % 2 == 0 { "0x00000001" } else { "0x00000002" };
        wanted +=
            &format!("{name}\tpacket {index}, after DNAT\t{way}\t1767603600.{:09}\n", index + 1);
    }
    let dir = std::env::temp_dir().join(format!("podwire-tshark-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("all.pcapng");
    std::fs::write(&path, writer.into_bytes()).unwrap();
    let bad = "ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 || _ws.malformed";
    // DNS and HTTP in the samples are damaged on purpose; the packets that carry them are not.
    let plain = [
        "--disable-protocol",
        "dns",
        "--disable-protocol",
        "mdns",
        "--disable-protocol",
        "http",
        "--disable-protocol",
        "vxlan",
        "--disable-protocol",
        "tls",
        "--disable-protocol",
        "ssh",
    ];
    let Some(complaints) = tshark(&path, &[&plain[..], &["-Y", bad]].concat()) else { return };
    assert_eq!(complaints, "");
    let fields = [
        "-T",
        "fields",
        "-e",
        "frame.interface_name",
        "-e",
        "frame.comment",
        "-e",
        "frame.packet_flags",
        "-e",
        "frame.time_epoch",
    ];
    let told = tshark(&path, &fields).unwrap();
    for (wanted, told) in wanted.lines().zip(told.lines()) {
        assert_eq!(told, wanted);
    }
    assert_eq!(told.lines().count(), wanted.lines().count());
    std::fs::remove_dir_all(&dir).unwrap();
}
