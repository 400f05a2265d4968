//! Names of ports and protocols, as `/etc/services` and `/etc/protocols` have them.

/// Name, port, and whether it is known for TCP and for UDP.
const SERVICES: [(&str, u16, bool, bool); 62] = [
    ("tcpmux", 1, true, false),
    ("echo", 7, true, true),
    ("discard", 9, true, true),
    ("systat", 11, true, false),
    ("daytime", 13, true, true),
    ("chargen", 19, true, true),
    ("ftp-data", 20, true, false),
    ("ftp", 21, true, false),
    ("ssh", 22, true, false),
    ("telnet", 23, true, false),
    ("smtp", 25, true, false),
    ("time", 37, true, true),
    ("whois", 43, true, false),
    ("tacacs", 49, true, true),
    ("domain", 53, true, true),
    ("bootps", 67, false, true),
    ("bootpc", 68, false, true),
    ("tftp", 69, false, true),
    ("gopher", 70, true, false),
    ("finger", 79, true, false),
    ("http", 80, true, false),
    ("kerberos", 88, true, true),
    ("pop3", 110, true, false),
    ("sunrpc", 111, true, true),
    ("auth", 113, true, false),
    ("nntp", 119, true, false),
    ("ntp", 123, false, true),
    ("netbios-ns", 137, false, true),
    ("netbios-dgm", 138, false, true),
    ("netbios-ssn", 139, true, false),
    ("imap2", 143, true, false),
    ("snmp", 161, true, true),
    ("snmp-trap", 162, true, true),
    ("bgp", 179, true, false),
    ("irc", 194, true, true),
    ("ldap", 389, true, true),
    ("https", 443, true, true),
    ("microsoft-ds", 445, true, true),
    ("submissions", 465, true, false),
    ("isakmp", 500, false, true),
    ("login", 513, true, false),
    ("who", 513, false, true),
    ("shell", 514, true, false),
    ("syslog", 514, false, true),
    ("printer", 515, true, false),
    ("route", 520, false, true),
    ("submission", 587, true, false),
    ("ipp", 631, true, false),
    ("ldaps", 636, true, true),
    ("domain-s", 853, true, true),
    ("rsync", 873, true, false),
    ("ftps", 990, true, false),
    ("imaps", 993, true, false),
    ("pop3s", 995, true, false),
    ("socks", 1080, true, false),
    ("openvpn", 1194, true, true),
    ("nfs", 2049, true, true),
    ("mysql", 3306, true, false),
    ("postgresql", 5432, true, false),
    ("sip", 5060, true, true),
    ("mdns", 5353, false, true),
    ("http-alt", 8080, true, true),
];

/// The service of a port of `tcp` or `udp`.
pub fn name_of(port: u16, protocol: &str) -> Option<&'static str> {
    let is_it = |(_, known, tcp, udp): &&(_, u16, bool, bool)| {
        *known == port && if protocol == "udp" { *udp } else { *tcp }
    };
    SERVICES.iter().find(is_it).map(|(name, ..)| *name)
}

/// The port of a service: the one for TCP, the one for UDP.
pub fn ports_of(name: &str) -> (Option<u16>, Option<u16>) {
    let alias = match name {
        "www" => "http",
        "mail" => "smtp",
        "imap" => "imap2",
        // An alias of `shell` for TCP.
        "syslog" => return (Some(514), Some(514)),
        other => other,
    };
    let known = |(is_tcp, is_udp): (bool, bool)| {
        let is_it = |(known, _, tcp, udp): &&(&str, u16, bool, bool)| {
            *known == alias && ((is_tcp && *tcp) || (is_udp && *udp))
        };
        SERVICES.iter().find(is_it).map(|(_, port, ..)| *port)
    };
    (known((true, false)), known((false, true)))
}

const PROTOCOLS: [(&str, u8); 20] = [
    ("ip", 0),
    ("icmp", 1),
    ("igmp", 2),
    ("ipencap", 4),
    ("tcp", 6),
    ("egp", 8),
    ("igp", 9),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", 132),
];

/// The name of an IP protocol.
pub fn protocol_name(number: u8) -> Option<&'static str> {
    PROTOCOLS.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
}

/// The number of an IP protocol.
pub fn protocol_number(name: &str) -> Option<u8> {
    PROTOCOLS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_go_together() {
        assert_eq!(name_of(53, "udp"), Some("domain"));
        assert_eq!(name_of(514, "udp"), Some("syslog"));
        assert_eq!(name_of(514, "tcp"), Some("shell"));
        assert_eq!(ports_of("https"), (Some(443), Some(443)));
        assert_eq!(ports_of("www"), (Some(80), None));
        assert_eq!(ports_of("nope"), (None, None));
        assert_eq!(protocol_number("sctp").and_then(protocol_name), Some("sctp"));
    }
}
