//! Where in the world something is, as people say it.

use std::fmt;

use netsim::{Net, NsId};

/// A place where commands run and packets pass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Your machine.
    Machine,
    /// A node, by its container's name.
    Node(String),
    /// A Pod.
    Pod {
        /// Its cluster.
        cluster: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// The network namespace of your machine.
pub(crate) const MACHINE: &str = "host";

/// What a Pod's network namespace is called.
pub(crate) fn pod_ns_name(cluster: &str, namespace: &str, name: &str) -> String {
    format!("{cluster}/pod/{namespace}/{name}")
}

impl Place {
    /// The place that a network namespace of this name is.
    pub fn of_name(name: &str) -> Place {
        let mut parts = name.splitn(4, '/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(cluster), Some("pod"), Some(namespace), Some(pod)) => Place::Pod {
                cluster: cluster.to_string(),
                namespace: namespace.to_string(),
                name: pod.to_string(),
            },
            (Some(MACHINE), None, None, None) => Place::Machine,
            _ => Place::Node(name.to_string()),
        }
    }

    /// The place that a network namespace is, or was.
    pub fn of(net: &Net, ns: NsId) -> Place {
        Place::of_name(&net.name_of(ns).unwrap_or_default())
    }

    /// The name of its network namespace.
    pub fn ns_name(&self) -> String {
        match self {
            Place::Machine => MACHINE.to_string(),
            Place::Node(name) => name.clone(),
            Place::Pod { cluster, namespace, name } => pod_ns_name(cluster, namespace, name),
        }
    }

    /// Its name alone: `your machine`, `kind-worker`, `nginx-…`.
    pub fn short(&self) -> &str {
        match self {
            Place::Machine => "your machine",
            Place::Node(name) | Place::Pod { name, .. } => name,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Machine => f.write_str("your machine"),
            Place::Node(name) => f.write_str(name),
            Place::Pod { namespace, name, .. } => write!(f, "Pod {namespace}/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_and_its_namespace() {
        for name in ["host", "kind-worker2", "kind/pod/default/web-1"] {
            assert_eq!(Place::of_name(name).ns_name(), name);
        }
        assert_eq!(Place::of_name("kind/pod/shop/web-1").to_string(), "Pod shop/web-1");
    }
}
