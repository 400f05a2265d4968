//! `kubectl events` (`kubectl/pkg/cmd/events`).

use std::rc::Rc;

use base::Instant;
use base::tree::BTreeSet;
use kube_api::MetaExt;
use kube_api::core::Event;

use super::kube::{Fail, Kube, error};
use super::table::since;
use crate::flags::Args;
use crate::tabwriter;

/// `kubectl events [--for TYPE/NAME] [--types Warning] [-w]`
pub(crate) async fn run(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let about = match args.get("for") {
        None => None,
        Some(word) => {
            let wrong = || error("--for must be in resource/name form");
            let (kind, name) = word.split_once('/').ok_or_else(wrong)?;
            Some((kube.kind(kind)?.kind, name.to_string()))
        }
    };
    let types: Vec<String> =
        args.get("types").unwrap_or_default().split(',').map(str::to_lowercase).collect();
    let types: Vec<&String> = types.iter().filter(|kind| !kind.is_empty()).collect();
    if let Some(bad) = types.iter().find(|t| !["normal", "warning"].contains(&t.as_str())) {
        return Err(error(format!("valid --types are Normal or Warning, got {bad:?}")));
    }
    let fits = |event: &Event| {
        let involved = &event.involved_object;
        let kind = event.type_.as_deref().unwrap_or_default().to_lowercase();
        about.as_ref().is_none_or(|(kind, name)| {
            involved.kind.as_deref() == Some(kind) && involved.name.as_deref() == Some(name)
        }) && (types.is_empty() || types.contains(&&kind))
    };
    let mut seen: BTreeSet<String> = BTreeSet::default();
    let mut is_first = true;
    loop {
        let mut found = list(kube, &fits)?;
        // What is shown is remembered while it is there.
        let before = std::mem::take(&mut seen);
        found.retain(|event| {
            let key = key(event);
            let is_new = !before.contains(&key);
            seen.insert(key);
            is_new
        });
        if found.is_empty() && is_first && !args.is_on("watch") {
            let place = match kube.all_namespaces {
                true => "No events found.\n".to_string(),
                false => format!("No events found in {} namespace.\n", kube.namespace),
            };
            kube.err(place).await?;
            return Ok(0);
        }
        if !found.is_empty() {
            let heads = is_first && !args.is_on("no-headers");
            kube.out(text(&found, kube.all_namespaces, heads, kube.now())).await?;
            is_first = false;
        }
        if !args.is_on("watch") {
            return Ok(0);
        }
        kube.changed(None).await;
    }
}

/// An event as it is now: one that has happened again is new.
fn key(event: &Event) -> String {
    let (namespace, name) = (event.metadata.namespace(), event.metadata.name());
    format!("{namespace}/{name}/{}", event.count.unwrap_or(0))
}

/// `5s`, `5s (x3 over 1m)`
pub(super) fn last_seen(event: &Event, now: Instant) -> String {
    let (first, last) = (event.first_timestamp.as_ref(), event.last_timestamp.as_ref());
    match event.count {
        Some(count) if count > 1 => {
            format!("{} (x{count} over {})", since(last, now), since(first, now))
        }
        _ => since(first, now),
    }
}

fn list(kube: &Kube<'_>, fits: &dyn Fn(&Event) -> bool) -> Result<Vec<Rc<Event>>, Fail> {
    let mut found: Vec<Rc<Event>> = kube.api(|api| {
        let all = api.store().list::<Event>();
        let here = |event: &&Rc<Event>| {
            kube.all_namespaces || event.metadata.namespace() == kube.namespace
        };
        all.filter(here).filter(|event| fits(event)).cloned().collect()
    })?;
    base::order::sort_by_key(&mut found, |event| event.last_timestamp);
    Ok(found)
}

fn text(events: &[Rc<Event>], all_namespaces: bool, heads: bool, now: Instant) -> String {
    let mut out = String::new();
    if heads {
        out.push_str(if all_namespaces { "NAMESPACE\t" } else { "" });
        out.push_str("LAST SEEN\tTYPE\tREASON\tOBJECT\tMESSAGE\n");
    }
    for event in events {
        let seen = last_seen(event, now);
        if all_namespaces {
            out.push_str(&format!("{}\t", event.metadata.namespace()));
        }
        let involved = &event.involved_object;
        out.push_str(&format!(
            "{seen}\t{}\t{}\t{}/{}\t{}\n",
            event.type_.as_deref().unwrap_or_default(),
            event.reason.as_deref().unwrap_or_default(),
            involved.kind.as_deref().unwrap_or_default(),
            involved.name.as_deref().unwrap_or_default(),
            event.message.as_deref().unwrap_or_default().trim(),
        ));
    }
    tabwriter::layout(&out, tabwriter::TABLE)
}
