//! What the chains are called (`pkg/proxy/iptables/proxier.go`, `portProtoHash`).

use std::rc::Rc;

use sha2::{Digest, Sha256};

use crate::service::PortName;

/// Base 32 of RFC 4648.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Sixteen letters that stand for a text: the beginning of its SHA-256 in base 32.
fn hash(text: &str) -> [u8; 16] {
    let digest = Sha256::digest(text.as_bytes());
    let mut bits: u128 = 0;
    for byte in digest.iter().take(10) {
        bits = bits << 8 | u128::from(*byte);
    }
    std::array::from_fn(|i| ALPHABET[(bits >> (75 - 5 * i) & 31) as usize])
}

fn chain(prefix: &str, hash: &[u8; 16]) -> Rc<str> {
    let mut name = String::with_capacity(32);
    name.push_str(prefix);
    name.extend(hash.iter().map(|letter| char::from(*letter)));
    name.into()
}

/// The chains of one port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainNames {
    hash: [u8; 16],
}

impl ChainNames {
    /// The chains of this port.
    pub fn new(port: &PortName) -> ChainNames {
        ChainNames { hash: hash(&format!("{port}{}", port.protocol.name())) }
    }

    /// `KUBE-SVC-…`: among all endpoints.
    pub fn cluster(&self) -> Rc<str> {
        chain("KUBE-SVC-", &self.hash)
    }

    /// `KUBE-SVL-…`: among the endpoints of this node.
    pub fn local(&self) -> Rc<str> {
        chain("KUBE-SVL-", &self.hash)
    }

    /// `KUBE-EXT-…`: from outside.
    pub fn external(&self) -> Rc<str> {
        chain("KUBE-EXT-", &self.hash)
    }

    /// `KUBE-FW-…`: from outside, if the sender may.
    pub fn firewall(&self) -> Rc<str> {
        chain("KUBE-FW-", &self.hash)
    }
}

/// Names the chains of one port's endpoints: `KUBE-SEP-…`.
#[derive(Debug)]
pub struct EndpointChains {
    text: String,
    len: usize,
}

impl EndpointChains {
    /// Those of this port.
    pub fn new(port: &PortName) -> EndpointChains {
        let text = format!("{port}{}", port.protocol.name());
        EndpointChains { len: text.len(), text }
    }

    /// The chain that leads to `endpoint`, `10.244.1.5:8080`.
    pub fn of(&mut self, endpoint: &str) -> Rc<str> {
        self.text.truncate(self.len);
        self.text.push_str(endpoint);
        chain("KUBE-SEP-", &hash(&self.text))
    }
}

/// Whether a chain is one that kube-proxy makes for a Service or an endpoint (`isServiceChainName`).
pub fn is_service_chain(chain: &str) -> bool {
    ["KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-FW-", "KUBE-EXT-"]
        .iter()
        .any(|prefix| chain.starts_with(prefix))
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
        assert_eq!(&*EndpointChains::new(&name).of("10.244.1.5:8080"), "KUBE-SEP-AFGSLHOD2HFNCBX4");
    }
}
