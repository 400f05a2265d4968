//! What the chains are called (`pkg/proxy/iptables/proxier.go`, `portProtoHash`).

use std::rc::Rc;

use sha2::{Digest, Sha256};

use crate::service::PortName;

/// Base 32 of RFC 4648.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Sixteen letters that stand for a text: the beginning of its SHA-256 in base 32.
pub fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let mut bits: u128 = 0;
    for byte in digest.iter().take(10) {
        bits = bits << 8 | u128::from(*byte);
    }
    let letter = |i: u32| {
        let index = (bits >> (75 - 5 * i)) & 31;
        char::from(ALPHABET[index as usize])
    };
    (0..16).map(letter).collect()
}

/// The chains of one port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainNames {
    hash: String,
}

impl ChainNames {
    /// The chains of this port.
    pub fn new(port: &PortName) -> ChainNames {
        ChainNames { hash: hash(&format!("{port}{}", port.protocol.name())) }
    }

    /// `KUBE-SVC-…`: among all endpoints.
    pub fn cluster(&self) -> Rc<str> {
        format!("KUBE-SVC-{}", self.hash).into()
    }

    /// `KUBE-SVL-…`: among the endpoints of this node.
    pub fn local(&self) -> Rc<str> {
        format!("KUBE-SVL-{}", self.hash).into()
    }

    /// `KUBE-EXT-…`: from outside.
    pub fn external(&self) -> Rc<str> {
        format!("KUBE-EXT-{}", self.hash).into()
    }

    /// `KUBE-FW-…`: from outside, if the sender may.
    pub fn firewall(&self) -> Rc<str> {
        format!("KUBE-FW-{}", self.hash).into()
    }
}

/// `KUBE-SEP-…`: to one endpoint of a port.
pub fn endpoint(port: &PortName, endpoint: &str) -> Rc<str> {
    format!("KUBE-SEP-{}", hash(&format!("{port}{}{endpoint}", port.protocol.name()))).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Protocol;

    #[test]
    fn names_as_real_clusters_have_them() {
        for (namespace, service, port, protocol, expected) in [
            ("default", "kubernetes", "https", Protocol::Tcp, "NPX46M4PTMTKRN6Y"),
            ("kube-system", "kube-dns", "dns", Protocol::Udp, "TCOU7JCQXEZGVUNU"),
            ("kube-system", "kube-dns", "dns-tcp", Protocol::Tcp, "ERIFXISQEP7F7OF4"),
            ("kube-system", "kube-dns", "metrics", Protocol::Tcp, "JD5MR3NA4I4DYORP"),
            ("default", "web", "http", Protocol::Tcp, "CDGGSHYLG3RE2FKL"),
            ("default", "nginx", "", Protocol::Tcp, "2CMXP7HKUVJN7L6M"),
        ] {
            let name = PortName {
                namespace: namespace.into(),
                service: service.into(),
                port: port.into(),
                protocol,
            };
            assert_eq!(&*ChainNames::new(&name).cluster(), format!("KUBE-SVC-{expected}"));
        }
    }

    #[test]
    fn an_endpoint_s_chain() {
        let name = PortName {
            namespace: "default".into(),
            service: "web".into(),
            port: "http".into(),
            protocol: Protocol::Tcp,
        };
        assert_eq!(&*endpoint(&name, "10.244.1.5:8080"), "KUBE-SEP-AFGSLHOD2HFNCBX4");
    }
}
