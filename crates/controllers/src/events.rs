//! What people read about it all: Event objects, with repetitions counted
//! (`client-go/tools/record`).

use base::Instant;
use kube_api::core::{Event, EventSource, ObjectReference};
use kube_api::object::{Kind, time};
use kube_api::{Api, MetaExt};

/// Good news or bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Somebody should look at it.
    Warning,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        }
    }
}

/// A reference to an object, as events carry it.
pub fn reference<T: Kind>(object: &T) -> ObjectReference {
    let meta = object.metadata();
    ObjectReference {
        api_version: Some(T::API_VERSION.to_string()),
        kind: Some(T::KIND.to_string()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// Writes an event about an object. The same event about the same object is counted, not repeated.
pub fn record(
    api: &mut Api,
    now: Instant,
    about: ObjectReference,
    severity: Severity,
    reason: &str,
    message: &str,
    from: EventSource,
) {
    let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_string());
    let is_same = |event: &Event| {
        event.involved_object.uid == about.uid
            && event.involved_object.name == about.name
            && event.involved_object.field_path == about.field_path
            && event.reason.as_deref() == Some(reason)
            && event.message.as_deref() == Some(message)
            && event.source.as_ref() == Some(&from)
    };
    let prefix = format!("{}.", about.name.as_deref().unwrap_or_default());
    let known = api
        .store()
        .list_in::<Event>(&namespace)
        .filter(|event| event.metadata.name().starts_with(&prefix))
        .find(|event| is_same(event))
        .map(|event| event.metadata.name().to_string());
    if let Some(name) = known {
        api.modify::<Event>(&namespace, &name, |event| {
            event.count = Some(event.count.unwrap_or(1) + 1);
            event.last_timestamp = Some(time(now));
        });
        return;
    }
    // Upstream: the object's name and the time in nanoseconds, in hexadecimal.
    let nanos = (base::calendar::EPOCH_UNIX_SECS * 1_000_000 + now.as_micros()) * 1000;
    let base_name = format!("{prefix}{nanos:x}");
    let name = (0..)
        .map(|n| if n == 0 { base_name.clone() } else { format!("{prefix}{:x}", nanos + n) })
        .find(|name| api.store().get::<Event>(&namespace, name).is_none())
        .unwrap_or(base_name);
    let mut event = Event {
        involved_object: about,
        reason: Some(reason.to_string()),
        message: Some(message.to_string()),
        type_: Some(severity.name().to_string()),
        first_timestamp: Some(time(now)),
        last_timestamp: Some(time(now)),
        count: Some(1),
        reporting_component: from.component.clone(),
        reporting_instance: from.host.clone(),
        source: Some(from),
        ..Event::default()
    };
    event.metadata.name = Some(name);
    event.metadata.namespace = Some(namespace);
    // An event about something in a namespace that is going away is refused, and that is all right.
    let _ = api.create_typed(event, now);
}

/// A component that writes events, on no node in particular.
pub fn component(name: &str) -> EventSource {
    EventSource { component: Some(name.to_string()), host: None }
}
