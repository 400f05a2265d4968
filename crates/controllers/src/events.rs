//! What people read about it all: Event objects, repetitions counted, floods held back
//! (`client-go/tools/record/events_cache.go`).
//!
//! Nothing is remembered here: what was told before is read from the events themselves. They live for an
//! hour ([`Expiry`]), as the API server's flag `--event-ttl` has it.

use std::collections::VecDeque;
use std::rc::Rc;

use base::{Duration, Instant};
use kube_api::core::{Event, EventSource, ObjectReference};
use kube_api::object::{Kind, instant, time};
use kube_api::{Api, Change, MetaExt};

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

/// Messages of one kind about one object that are told one by one; more are told as one
/// (`defaultAggregateMaxEvents`).
const DISTINCT_MAX: usize = 10;

/// What is older than this is no longer of the same series (`defaultAggregateIntervalInSeconds`).
const SERIES: Duration = Duration::from_secs(600);

/// Events of one component about one object at once, and how long until it may tell one more
/// (`defaultSpamBurst`, `defaultSpamQPS`).
const BURST: (u64, Duration) = (25, Duration::from_secs(300));

/// What stands before a message that stands for many.
const COMBINED: &str = "(combined from similar events): ";

/// How long an event is kept.
const TTL: Duration = Duration::from_secs(3600);

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

/// What is known of earlier events like the one to be told.
#[derive(Default)]
struct Earlier {
    /// The very same.
    same: Option<String>,
    /// The one that stands for many.
    combined: Option<String>,
    /// Others that differ in the message only.
    distinct: usize,
    /// All that this component has told about the object, and since when.
    told: u64,
    since: Option<Instant>,
}

impl Earlier {
    fn take(&mut self, event: &Event, like: &Event, now: Instant) {
        let same_object = event.involved_object.uid == like.involved_object.uid
            && event.involved_object.name == like.involved_object.name
            && event.source == like.source;
        if !same_object {
            return;
        }
        self.told += u64::try_from(event.count.unwrap_or(1)).unwrap_or(1);
        let first = event.first_timestamp.as_ref().map(instant);
        self.since = self.since.into_iter().chain(first).min();
        let last = event.last_timestamp.as_ref().map_or(now, instant);
        if event.type_ != like.type_ || event.reason != like.reason {
            return;
        }
        let name = || Some(event.metadata.name().to_string());
        let message = event.message.as_deref().unwrap_or_default();
        if message.starts_with(COMBINED) {
            if last + SERIES >= now {
                self.combined = name();
            }
        } else if event.message == like.message
            && event.involved_object.field_path == like.involved_object.field_path
        {
            self.same = name();
        } else if last + SERIES >= now {
            self.distinct += 1;
        }
    }

    /// The component has told so much about the object that this is passed over in silence.
    fn is_spam(&self, now: Instant) -> bool {
        let since = self.since.unwrap_or(now);
        let earned = now.since(since).as_secs() / BURST.1.as_secs();
        self.told >= BURST.0 + earned
    }
}

/// Writes an event about an object. The same event about the same object is counted, not repeated; of many
/// that differ in their message only, the later ones are told as one.
pub fn record(
    api: &mut Api,
    now: Instant,
    about: ObjectReference,
    severity: Severity,
    reason: &str,
    message: &str,
    from: EventSource,
) {
    let namespace = about.namespace.clone().filter(|ns| !ns.is_empty());
    let namespace = namespace.unwrap_or_else(|| "default".to_string());
    let prefix = format!("{}.", about.name.as_deref().unwrap_or_default());
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
    let mut earlier = Earlier::default();
    for known in api.store().list_named::<Event>(&namespace, &prefix) {
        earlier.take(known, &event, now);
    }
    if earlier.is_spam(now) {
        return;
    }
    let is_combined = earlier.same.is_none() && earlier.distinct + 1 >= DISTINCT_MAX;
    if is_combined {
        event.message = Some(format!("{COMBINED}{message}"));
    }
    let known = if is_combined { earlier.combined } else { earlier.same };
    if let Some(name) = known {
        api.modify::<Event>(&namespace, &name, |known| {
            known.count = Some(known.count.unwrap_or(1).saturating_add(1));
            known.last_timestamp = Some(time(now));
            known.message = event.message.take();
        });
        return;
    }
    event.metadata.name = Some(free_name(api, &namespace, &prefix, now));
    event.metadata.namespace = Some(namespace);
    // An event about something in a namespace that is going away is refused, and that is all right.
    let _ = api.create_typed(event, now);
}

/// Upstream: the object's name and the time in nanoseconds, in hexadecimal.
fn free_name(api: &Api, namespace: &str, prefix: &str, now: Instant) -> String {
    let mut nanos = (base::calendar::EPOCH_UNIX_SECS * 1_000_000 + now.as_micros()) * 1000;
    loop {
        let name = format!("{prefix}{nanos:x}");
        if api.store().get::<Event>(namespace, &name).is_none() {
            return name;
        }
        nanos += 1;
    }
}

/// A component that writes events, on no node in particular.
pub fn component(name: &str) -> EventSource {
    EventSource { component: Some(name.to_string()), host: None }
}

/// Takes events away when they are an hour old.
#[derive(Debug, Default)]
pub struct Expiry {
    /// All live equally long, so whoever came first goes first.
    due: VecDeque<(Instant, Rc<Event>)>,
}

impl Expiry {
    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        let Some(new) = change.new.as_ref().filter(|_| change.old.is_none()) else { return };
        if let Some(event) = Event::of(new) {
            self.due.push_back((now + TTL, event.clone()));
        }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.due.front().map(|(at, _)| *at)
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while self.due.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, event)) = self.due.pop_front() else { break };
            worked = true;
            let (namespace, name) = (event.metadata.namespace(), event.metadata.name());
            let Some(event) = api.store().get::<Event>(namespace, name) else { continue };
            let told = event.last_timestamp.as_ref().map_or(Instant::ZERO, instant);
            // Each time it is told it is written anew, and lives another hour.
            if told + TTL > now + Duration::from_secs(1) {
                let later = told + TTL;
                let place = self.due.partition_point(|(at, _)| *at <= later);
                self.due.insert(place, (later, event.clone()));
            } else {
                api.remove(Event::id(), namespace, name);
            }
        }
        worked
    }
}
