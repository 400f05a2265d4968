//! The cluster's story, a line each.

use std::rc::Rc;

use lab::{Entry, Lab};
use yew::prelude::*;

use crate::requests::moment;

/// Lines shown at most.
const ENTRIES_MAX: u64 = 250;

/// The newest entries of the journal, newest first.
pub fn newest(lab: &Lab) -> Vec<Entry> {
    lab.journal(|journal| {
        let from = journal.next_serial().saturating_sub(ENTRIES_MAX);
        let mut entries: Vec<Entry> = journal.since(from).cloned().collect();
        entries.reverse();
        entries
    })
}

/// What the list needs.
#[derive(Clone, PartialEq, Properties)]
pub struct EventsProps {
    /// The entries, newest first.
    pub entries: Rc<Vec<Entry>>,
}

/// The list of events.
#[component]
pub fn EventsList(props: &EventsProps) -> Html {
    let line = |entry: &Entry| {
        let topic = entry.topic.name();
        html! {
            <li key={entry.serial} class={classes!("event", entry.is_bad.then_some("bad"))}>
                <span class="mono when">{ moment(entry.at) }</span>
                <span class={classes!("topic", topic)}>{ topic }</span>
                <span class="where">{ &entry.place }</span>
                <span class="what">{ &entry.text }</span>
            </li>
        }
    };
    html! { <ol class="events">{ for props.entries.iter().map(line) }</ol> }
}
