//! tshark is the second opinion on DNS messages as they are written.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test says what it skips")]

use std::net::Ipv4Addr;
use std::process::Command;

use packet::capture::{Record as Captured, classic};
use packet::protocol;
use packet::reply::finish;
use packet::tcpdump::{LinkType, Stamp};
use programs::dns::{Data, Kind, Message, Name, Record};

fn messages() -> Vec<Message> {
    let name = |text| Name::parse(text).unwrap();
    let (web, alias) =
        (name("web.default.svc.cluster.local"), name("alias.default.svc.cluster.local"));
    let record = |name: &Name, data| Record { name: name.clone(), ttl: 5, data };
    let question = Message::question(1, web.clone(), Kind::A);
    let mut addrs = question.answer();
    addrs.is_authoritative = true;
    addrs.answers =
        (1..4).map(|last| record(&web, Data::A(Ipv4Addr::new(10, 96, 0, last)))).collect();
    let mut renamed = Message::question(2, alias.clone(), Kind::A).answer();
    renamed.answers = vec![
        record(&alias, Data::Cname(web.clone())),
        record(&web, Data::A(Ipv4Addr::new(10, 96, 0, 1))),
    ];
    renamed.udp_size = Some(1232);
    let service = name("_http._tcp.web.default.svc.cluster.local");
    let mut served = Message::question(3, service.clone(), Kind::Srv).answer();
    let srv = Data::Srv { priority: 1, weight: 33, port: 8080, target: web.clone() };
    served.answers = vec![record(&service, srv)];
    served.additionals = vec![record(&web, Data::A(Ipv4Addr::new(10, 96, 0, 1)))];
    let back = Name::of_addr(Ipv4Addr::new(10, 96, 0, 1));
    let mut named = Message::question(4, back.clone(), Kind::Ptr).answer();
    named.answers = vec![record(&back, Data::Ptr(web.clone()))];
    let mut nothing = Message::question(5, name("nope.cluster.local"), Kind::A).answer();
    nothing.code = programs::dns::ResponseCode::NxDomain;
    let (primary, mailbox) = (name("ns.dns.cluster.local"), name("hostmaster.cluster.local"));
    let soa = Data::Soa { primary, mailbox, serial: 7, minimum: 30 };
    nothing.authorities = vec![record(&name("cluster.local"), soa)];
    let mut texts = Message::question(6, web.clone(), Kind::Txt).answer();
    texts.answers = vec![record(&web, Data::Txt(vec![b"a=b".to_vec(), b"c".to_vec()]))];
    texts.is_truncated = true;
    vec![question, addrs, renamed, served, named, nothing, texts]
}

#[test]
fn tshark_reads_what_was_meant() {
    let mut writer = classic::Writer::new(LinkType::Raw, false);
    for message in messages() {
        let bytes = message.to_bytes(512);
        let (from, to): (u16, u16) = if message.is_response { (53, 40000) } else { (40000, 53) };
        let mut datagram = [from.to_be_bytes(), to.to_be_bytes()].concat();
        datagram.extend((8 + bytes.len() as u16).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(bytes);
        let ip = finish([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::UDP, 64, datagram);
        writer.record(&Captured::new(0, Stamp(0), ip.into_bytes()));
    }
    let path = std::env::temp_dir().join(format!("podwire-dns-{}.pcap", std::process::id()));
    std::fs::write(&path, writer.into_bytes()).unwrap();
    let fields = [
        "dns.id",
        "dns.flags",
        "dns.qry.name",
        "dns.qry.type",
        "dns.a",
        "dns.cname",
        "dns.srv.port",
        "dns.srv.target",
        "dns.ptr.domain_name",
        "dns.soa.mname",
        "dns.soa.minimum_ttl",
        "dns.txt",
        "dns.rr.udp_payload_size",
        "_ws.malformed",
    ];
    let mut command = Command::new("tshark");
    command.arg("-n").arg("-r").arg(&path).args(["-T", "fields"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let out = match command.output() {
        Ok(out) => String::from_utf8_lossy(&out.stdout).replace('\t', "|"),
        Err(error) => {
            eprintln!("skipped: no tshark: {error}");
            return;
        }
    };
    expect_test::expect![[r#"
        0x0001|0x0100|web.default.svc.cluster.local|1||||||||||
        0x0001|0x8500|web.default.svc.cluster.local|1|10.96.0.1,10.96.0.2,10.96.0.3|||||||||
        0x0002|0x8100|alias.default.svc.cluster.local|1|10.96.0.1|web.default.svc.cluster.local|||||||1232|
        0x0003|0x8100|_http._tcp.web.default.svc.cluster.local|33|10.96.0.1||8080|web.default.svc.cluster.local||||||
        0x0004|0x8100|1.0.96.10.in-addr.arpa|12|||||web.default.svc.cluster.local|||||
        0x0005|0x8103|nope.cluster.local|1||||||ns.dns.cluster.local|30|||
        0x0006|0x8300|web.default.svc.cluster.local|16||||||||a=b,c||
    "#]].assert_eq(&out);
    std::fs::remove_file(&path).unwrap();
}
