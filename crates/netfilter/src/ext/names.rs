//! Which extension a name means, and which of iptables' are not here.

use super::*;

/// Matches of iptables 1.8.9 that podwire does not have, so that the message can say so.
const UNSUPPORTED_MATCHES: [&str; 29] = [
    "ah",
    "bpf",
    "cgroup",
    "cluster",
    "connlabel",
    "cpu",
    "dccp",
    "devgroup",
    "dst",
    "ecn",
    "esp",
    "eui64",
    "frag",
    "hbh",
    "helper",
    "ipcomp",
    "ipv6header",
    "osf",
    "policy",
    "rateest",
    "realm",
    "rt",
    "socket",
    "srh",
    "string",
    "tcpmss",
    "time",
    "u32",
    "mh",
];

/// Targets of iptables 1.8.9 that podwire does not have.
const UNSUPPORTED_TARGETS: [&str; 16] = [
    "AUDIT",
    "CLASSIFY",
    "CLUSTERIP",
    "CONNSECMARK",
    "ECN",
    "HMARK",
    "IDLETIMER",
    "LED",
    "NFQUEUE",
    "RATEEST",
    "SECMARK",
    "SYNPROXY",
    "TCPOPTSTRIP",
    "TEE",
    "TPROXY",
    "ULOG",
];

/// Targets that podwire has.
const TARGETS: [&str; 19] = [
    "CHECKSUM",
    "CONNMARK",
    "CT",
    "DNAT",
    "DSCP",
    "LOG",
    "MARK",
    "MASQUERADE",
    "NETMAP",
    "NFLOG",
    "NOTRACK",
    "REDIRECT",
    "REJECT",
    "SET",
    "SNAT",
    "TCPMSS",
    "TOS",
    "TRACE",
    "TTL",
];

/// Whether a chain of this name would hide a target.
pub(crate) fn is_target(name: &str) -> bool {
    matches!(name, "ACCEPT" | "DROP" | "RETURN" | "QUEUE")
        || TARGETS.contains(&name)
        || UNSUPPORTED_TARGETS.contains(&name)
}

/// Whether `-p name` can bring a match of its name along.
pub(crate) fn is_protocol_match(name: &str) -> bool {
    matches!(name, "tcp" | "udp" | "sctp" | "icmp" | "dccp" | "esp" | "ah" | "ipcomp")
}

/// The parser for `-m name`.
pub(crate) fn match_parser(name: &str) -> Result<Box<dyn MatchParser>, ParseError> {
    Ok(match name {
        "addrtype" => Box::new(addrtype::Parser::default()),
        "comment" => Box::new(comment::Parser::default()),
        "connbytes" => Box::new(connbytes::Parser::default()),
        "connlimit" => Box::new(connlimit::Parser::default()),
        "connmark" => Box::new(mark::Parser::new(true)),
        "conntrack" => Box::new(conntrack::Parser::default()),
        "state" => Box::new(conntrack::StateParser::default()),
        "dscp" => Box::new(tos::DscpParser::default()),
        "hashlimit" => Box::new(hashlimit::Parser::default()),
        "icmp" => Box::new(icmp::Parser::default()),
        "iprange" => Box::new(iprange::Parser::default()),
        "ipvs" => Box::new(ipvs::Parser::default()),
        "length" => Box::new(length::Parser::default()),
        "limit" => Box::new(limit::Parser::default()),
        "mac" => Box::new(link::MacParser::default()),
        "mark" => Box::new(mark::Parser::new(false)),
        "multiport" => Box::new(multiport::Parser::default()),
        "nfacct" => Box::new(nfacct::Parser::default()),
        "owner" => Box::new(owner::Parser::default()),
        "physdev" => Box::new(link::PhysdevParser::default()),
        "pkttype" => Box::new(link::PktTypeParser::default()),
        "quota" => Box::new(quota::Parser::default()),
        "recent" => Box::new(recent::Parser::default()),
        "rpfilter" => Box::new(rpfilter::Parser::default()),
        "sctp" => Box::new(sctp::Parser::default()),
        "set" => Box::new(set::Parser::default()),
        "statistic" => Box::new(statistic::Parser::default()),
        "tcp" => Box::new(tcp::Parser::default()),
        "tos" => Box::new(tos::Parser::default()),
        "ttl" => Box::new(ttl::Parser::default()),
        "udp" => Box::new(udp::Parser::default()),
        _ if UNSUPPORTED_MATCHES.contains(&name) => {
            return Err(ParseError::unsupported(&format!("match `{name}'")));
        }
        _ => {
            return Err(ParseError::new(format!(
                "Couldn't load match `{name}':No such file or directory\n"
            )));
        }
    })
}

/// The parser for `-j name`; `None`: it can only be a chain.
pub(crate) fn target_parser(name: &str) -> Result<Option<Box<dyn TargetParser>>, ParseError> {
    Ok(Some(match name {
        "MARK" => Box::new(mark::TargetParser::default()),
        "CONNMARK" => Box::new(mark::ConnmarkParser::default()),
        "DNAT" | "SNAT" | "MASQUERADE" | "REDIRECT" | "NETMAP" => match nat::Parser::new(name) {
            Some(parser) => Box::new(parser),
            None => return Ok(None),
        },
        "REJECT" => Box::new(reject::Parser::default()),
        "LOG" => Box::new(log::LogParser::default()),
        "NFLOG" => Box::new(log::NflogParser::default()),
        "CT" | "NOTRACK" | "TRACE" | "CHECKSUM" => match plain::Parser::new(name) {
            Some(parser) => Box::new(parser),
            None => return Ok(None),
        },
        "TCPMSS" => Box::new(tcpmss::Parser::default()),
        "TOS" => Box::new(tos::TargetParser::default()),
        "DSCP" => Box::new(tos::DscpTargetParser::default()),
        "TTL" => Box::new(ttl::TargetParser::default()),
        "SET" => Box::new(set::TargetParser::default()),
        _ if UNSUPPORTED_TARGETS.contains(&name) => {
            return Err(ParseError::unsupported(&format!("target `{name}'")));
        }
        _ => return Ok(None),
    }))
}
