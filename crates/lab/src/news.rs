//! A change of an object as a line of the journal, where it is worth one.

use controllers::pods;
use kube_api::core::Pod;
use kube_api::discovery::EndpointSlice;
use kube_api::{AnyObject, Change, Kind, MetaExt};

use crate::journal::Topic;

/// A line for the journal.
pub(crate) struct News {
    pub(crate) topic: Topic,
    pub(crate) place: String,
    pub(crate) text: String,
    pub(crate) is_bad: bool,
}

/// What is worth telling of a change.
pub(crate) fn of(change: &Change) -> Option<News> {
    if change.of::<Pod>().is_some() {
        return pod(change);
    }
    if change.of::<EndpointSlice>().is_some() {
        return slice(change);
    }
    let kind = match change.object() {
        AnyObject::Service(_) => "Service",
        AnyObject::Deployment(_) => "Deployment",
        AnyObject::DaemonSet(_) => "DaemonSet",
        AnyObject::Node(_) => "Node",
        AnyObject::Namespace(_) => "Namespace",
        _ => return None,
    };
    let what = match (&change.old, &change.new) {
        (None, _) => "created",
        (_, None) => "deleted",
        (Some(old), Some(new)) if !old.same_spec(new) => "changed",
        _ => return None,
    };
    let name = qualified(change.object().meta());
    Some(plain(Topic::Object, "", format!("{kind} {name} {what}")))
}

fn plain(topic: Topic, place: &str, text: String) -> News {
    News { topic, place: place.to_string(), text, is_bad: false }
}

fn qualified(meta: &dyn MetaExt) -> String {
    match meta.namespace() {
        "" => meta.name().to_string(),
        namespace => format!("{namespace}/{}", meta.name()),
    }
}

fn pod(change: &Change) -> Option<News> {
    let new = change.new.as_ref().and_then(Pod::of);
    let old = change.old.as_ref().and_then(Pod::of);
    let pod = new.or(old)?;
    let name = qualified(&pod.metadata);
    let place = pods::node_name(pod).unwrap_or_default();
    let (Some(new), Some(old)) = (new, old) else {
        let what = if new.is_some() { "created" } else { "is gone" };
        return Some(plain(Topic::Object, place, format!("Pod {name} {what}")));
    };
    let differs = |of: &dyn Fn(&Pod) -> bool| (of(old) != of(new)).then(|| of(new));
    if differs(&|pod| pod.metadata.is_terminating()).is_some() {
        return Some(plain(Topic::Object, place, format!("Pod {name} is asked to end")));
    }
    if pods::node_name(old) != pods::node_name(new) {
        return Some(plain(Topic::Object, place, format!("Pod {name} goes to {place}")));
    }
    let address = pods::address(new).unwrap_or("no address");
    if let Some(is_ready) = differs(&|pod| pods::is_ready(pod)) {
        let what = if is_ready { "is ready" } else { "is not ready any more" };
        let text = format!("Pod {name} {what} at {address}");
        return Some(News { is_bad: !is_ready, ..plain(Topic::Object, place, text) });
    }
    let (before, after) = (pods::summary(old), pods::summary(new));
    let is_bad = ["Err", "ImagePull", "Crash", "Failed", "Init:Err"];
    let is_bad = is_bad.iter().any(|word| after.status.contains(word));
    if before.status == after.status || !is_bad {
        return None;
    }
    let text = format!("Pod {name}: {}", after.status);
    Some(News { is_bad: true, ..plain(Topic::Object, place, text) })
}

fn slice(change: &Change) -> Option<News> {
    let service = change.object().meta().label("kubernetes.io/service-name")?.to_string();
    let namespace = change.object().namespace();
    let of = |object: &Option<AnyObject>| -> Vec<String> {
        let slice = object.as_ref().and_then(EndpointSlice::of);
        let ready = |e: &&kube_api::discovery::Endpoint| {
            e.conditions.as_ref().is_none_or(|conditions| conditions.ready != Some(false))
        };
        let endpoints = slice.into_iter().flat_map(|slice| slice.endpoints.iter()).filter(ready);
        endpoints.flat_map(|endpoint| endpoint.addresses.iter().cloned()).collect()
    };
    let (before, after) = (of(&change.old), of(&change.new));
    if before == after {
        return None;
    }
    let shown = if after.is_empty() { "nobody".to_string() } else { after.join(", ") };
    let text = format!("{namespace}/{service} is served by {shown}");
    Some(News { is_bad: after.is_empty(), ..plain(Topic::Endpoints, "", text) })
}
