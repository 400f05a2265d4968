//! What every verb has at hand: the API server, the namespace, the clock, and how to fail.

use std::pin::Pin;

use base::{Duration, Instant};
use kube_api::{AnyObject, Api, KindInfo, Status};

use crate::commands::Ctx;
use crate::flags::{Args, FlagError};
use crate::io::Closed;

/// From a change at the API server until a watcher has heard of it.
const WATCH_DELIVERY: Duration = Duration::from_millis(20);

/// Why a verb ends early.
#[derive(Debug)]
pub(crate) enum Fail {
    /// With this on standard error, and exit code 1.
    Message(String),
    /// Everything is said already; with this exit code.
    Said(i32),
    /// Nobody reads what is written.
    Closed(Closed),
}

impl From<Closed> for Fail {
    fn from(closed: Closed) -> Fail {
        Fail::Closed(closed)
    }
}

impl From<Status> for Fail {
    fn from(status: Status) -> Fail {
        Fail::Message(status.to_string())
    }
}

impl From<FlagError> for Fail {
    fn from(error: FlagError) -> Fail {
        Fail::Message(format!("error: {error}"))
    }
}

/// `error: …`
pub(crate) fn error(text: impl AsRef<str>) -> Fail {
    Fail::Message(format!("error: {}", text.as_ref()))
}

/// A verb under way, boxed, so that not all verbs are one function.
pub(crate) type Doing<'a> = Pin<Box<dyn Future<Output = Result<i32, Fail>> + 'a>>;

/// A cluster to speak to.
pub(crate) struct Kube<'a> {
    pub(crate) ctx: &'a Ctx,
    cluster: String,
    /// `-n`, or `default`.
    pub(crate) namespace: String,
    /// `-n` was given.
    pub(crate) has_namespace: bool,
    /// `-A`
    pub(crate) all_namespaces: bool,
}

const REFUSED: &str = "The connection to the server localhost:8080 was refused - did you specify the right host or port?";

impl<'a> Kube<'a> {
    pub(crate) fn new(ctx: &'a Ctx, args: &Args) -> Result<Kube<'a>, Fail> {
        let lab = &ctx.session.lab;
        let cluster = match args.get("context") {
            Some(context) => {
                let name = context.strip_prefix("kind-").map(str::to_string);
                let found = name.filter(|name| lab.clusters().contains(name));
                found.ok_or_else(|| error(format!("context {context:?} does not exist")))?
            }
            None => lab.current().ok_or_else(|| Fail::Message(REFUSED.to_string()))?,
        };
        let namespace = args.get("namespace").map(str::to_string);
        let of_context = lab.with(&cluster, |cluster| cluster.context_namespace.clone()).flatten();
        Ok(Kube {
            ctx,
            cluster,
            has_namespace: namespace.is_some(),
            namespace: namespace.or(of_context).unwrap_or_else(|| "default".to_string()),
            all_namespaces: args.is_on("all-namespaces"),
        })
    }

    /// Asks the API server.
    pub(crate) fn api<R>(&self, ask: impl FnOnce(&mut Api) -> R) -> Result<R, Fail> {
        let answer = self.ctx.session.lab.with(&self.cluster, |cluster| ask(&mut cluster.api));
        answer.ok_or_else(|| Fail::Message(REFUSED.to_string()))
    }

    /// Looks at the cluster as a whole.
    pub(crate) fn cluster<R>(
        &self,
        look: impl FnOnce(&mut lab::cluster::Cluster) -> R,
    ) -> Result<R, Fail> {
        let answer = self.ctx.session.lab.with(&self.cluster, look);
        answer.ok_or_else(|| Fail::Message(REFUSED.to_string()))
    }

    pub(crate) fn cluster_name(&self) -> &str {
        &self.cluster
    }

    pub(crate) fn now(&self) -> Instant {
        self.ctx.host.now()
    }

    /// Waits for the next change of objects. `false`: the deadline came first.
    pub(crate) async fn changed(&self, deadline: Option<Instant>) -> bool {
        let changed = self.ctx.session.lab.changed(&self.cluster);
        let happened = match deadline {
            None => {
                changed.changed().await;
                true
            }
            Some(deadline) => {
                let sleep = self.ctx.host.net().sleep_until(deadline);
                netsim::exec::timeout(sleep, changed.changed()).await.is_some()
            }
        };
        self.ctx.host.sleep(WATCH_DELIVERY).await;
        happened
    }

    /// A deadline from a flag; none where it is 0 or not there.
    pub(crate) fn deadline(&self, args: &Args, flag: &str) -> Result<Option<Instant>, Fail> {
        let timeout = args.duration(flag)?.filter(|timeout| *timeout > Duration::ZERO);
        Ok(timeout.map(|timeout| self.now() + timeout))
    }

    /// The kind that people mean.
    pub(crate) fn kind(&self, typed: &str) -> Result<KindInfo, Fail> {
        let found = self.api(|api| api.store().kinds().by_name(typed).cloned())?;
        let kind = found.map_err(|unknown| Fail::Message(unknown.to_string()))?;
        if matches!(kind.plural.as_str(), "leases" | "nodes") {
            // Heartbeats are written down when somebody looks.
            let now = self.now();
            self.cluster(|cluster| cluster.beat(now))?;
        }
        Ok(kind)
    }

    /// The namespace that objects of a kind are asked for in; empty where the kind has none.
    pub(crate) fn namespace_of(&self, kind: &KindInfo) -> &str {
        if kind.is_namespaced { &self.namespace } else { "" }
    }

    /// An object.
    pub(crate) fn get(&self, kind: &KindInfo, name: &str) -> Result<AnyObject, Fail> {
        self.get_in(kind, self.namespace_of(kind), name)
    }

    /// An object in a namespace.
    pub(crate) fn get_in(
        &self,
        kind: &KindInfo,
        namespace: &str,
        name: &str,
    ) -> Result<AnyObject, Fail> {
        let found = self.api(|api| api.store().get_any(kind.id, namespace, name).cloned())?;
        found.ok_or_else(|| Fail::from(Status::not_found(&kind.resource(), name)))
    }

    /// What the API server says of old kinds, in a header of each answer.
    pub(crate) async fn warn_of_old(&self, kinds: &[&KindInfo]) -> Result<(), Fail> {
        if kinds.iter().any(|kind| kind.plural == "endpoints" && kind.group.is_empty()) {
            let text = "Warning: v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\n";
            return self.err(text).await;
        }
        if kinds.iter().any(|kind| kind.plural == "componentstatuses") {
            return self.err("Warning: v1 ComponentStatus is deprecated in v1.19+\n").await;
        }
        Ok(())
    }

    pub(crate) async fn out(&self, text: impl AsRef<[u8]>) -> Result<(), Fail> {
        Ok(self.ctx.out(text).await?)
    }

    pub(crate) async fn err(&self, text: impl AsRef<[u8]>) -> Result<(), Fail> {
        Ok(self.ctx.err(text).await?)
    }

    /// Refuses what kubectl can do and podwire cannot.
    pub(crate) fn unsupported(&self, what: &str) -> Fail {
        Fail::Message(format!("kubectl: {what} is not supported by podwire"))
    }
}
