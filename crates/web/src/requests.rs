//! The list of requests.

use std::rc::Rc;

use base::{Duration, Instant};
use lab::{Lab, Outcome, Request};
use yew::prelude::*;

/// Rows shown at most.
const ROWS_MAX: usize = 200;

/// A request as the list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its number.
    pub number: u32,
    /// When it was sent.
    pub at: Instant,
    /// From where.
    pub from: String,
    /// Where to.
    pub to: String,
    /// The places that it passed.
    pub path: String,
    /// Who answered, or what became of it.
    pub answer: String,
    /// The HTTP status, or the failure in a word or two.
    pub status: String,
    /// The same at length.
    pub why: String,
    /// How that is to be shown.
    pub mood: Mood,
    /// How long it took.
    pub took: Option<Duration>,
}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It is on its way.
    Open,
    /// Well.
    Good,
    /// Not well.
    Bad,
}

/// The newest requests, newest first.
pub fn rows(lab: &Lab) -> Vec<Row> {
    lab.requests(|requests| requests.iter().rev().take(ROWS_MAX).map(row).collect())
}

fn row(request: &Request) -> Row {
    let path: Vec<&str> = request.path.iter().map(|place| place.short()).collect();
    let (status, mood) = match &request.outcome {
        None => ("on its way".to_string(), Mood::Open),
        Some(Outcome::Answered(status @ ..400)) => (status.to_string(), Mood::Good),
        Some(Outcome::Answered(status)) => (status.to_string(), Mood::Bad),
        Some(Outcome::Failed(why)) => (in_brief(why), Mood::Bad),
    };
    let why = match &request.outcome {
        Some(Outcome::Failed(why)) => why.clone(),
        _ => status.clone(),
    };
    Row {
        number: request.cause.0,
        at: request.at,
        from: request.from.short().to_string(),
        to: request.to.clone(),
        path: path.join(" → "),
        answer: request.answered_by.clone().unwrap_or_else(|| "–".to_string()),
        status,
        why,
        mood,
        took: request.done.map(|done| done.since(request.at)),
    }
}

/// A failure, as curl says it, in a word or two.
fn in_brief(why: &str) -> String {
    const WORDS: [(&str, &str); 7] = [
        ("timed out", "timed out"),
        ("Timeout", "timed out"),
        ("Couldn't connect", "refused"),
        ("refused", "refused"),
        ("resolve", "unknown host"),
        ("Empty reply", "no answer"),
        ("reset", "broken off"),
    ];
    match WORDS.iter().find(|(sign, _)| why.contains(sign)) {
        Some((_, words)) => (*words).to_string(),
        None if why.chars().count() > 18 => why.chars().take(17).chain(['…']).collect(),
        None => why.to_string(),
    }
}

/// `1.9 ms`
pub fn brief(took: Duration) -> String {
    match took.as_micros() {
        micros @ 0..1_000 => format!("{micros} µs"),
        micros @ 1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        micros => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// `41.203` of minutes, seconds and milliseconds.
pub fn moment(at: Instant) -> String {
    let millis = at.as_millis();
    format!("{:02}:{:02}.{:03}", millis / 60_000, millis / 1000 % 60, millis % 1000)
}

/// What the list needs.
#[derive(Clone, PartialEq, Properties)]
pub struct RequestsProps {
    /// The requests.
    pub rows: Rc<Vec<Row>>,
    /// The one that the inspector shows.
    pub selected: Option<u32>,
    /// One was chosen.
    pub on_select: Callback<u32>,
}

/// The list of requests.
#[component]
pub fn RequestsList(props: &RequestsProps) -> Html {
    if props.rows.is_empty() {
        return html! {
            <p class="empty">{ "No request yet. What you send with curl, or with " }<b>{ "Send request" }</b>
            { ", stands here, and every packet of it can be followed." }</p>
        };
    }
    let line = |row: &Row| {
        let is_on = props.selected == Some(row.number);
        let number = row.number;
        let choose = {
            let on_select = props.on_select.clone();
            Callback::from(move |()| on_select.emit(number))
        };
        let click = choose.reform(|_: MouseEvent| ());
        let mood = match row.mood {
            Mood::Open => "pill",
            Mood::Good => "pill ok",
            Mood::Bad => "pill bad",
        };
        let flow = format!("fl flow-{}", number % 3);
        let took = row.took.map_or_else(|| "–".to_string(), brief);
        html! {
            <tr key={number} class={classes!("request-row", is_on.then_some("on"))} data-request={number.to_string()}
                onclick={click}>
                <td class="mono">
                    <button class="row-button" aria-pressed={is_on.to_string()}
                        aria-label={format!("Request {number}: {} to {}, {}", row.from, row.to, row.status)}>
                        <i class={flow} aria-hidden="true"></i>{ format!("#{number}") }
                    </button>
                </td>
                <td class="mono">{ moment(row.at) }</td>
                <td>{ &row.from }</td>
                <td class="mono">{ &row.to }</td>
                <td><span class={mood} title={row.why.clone()}>{ &row.status }</span></td>
                <td class="mono">{ took }</td>
                <td class="mono answer" title={row.answer.clone()}>{ &row.answer }</td>
                <td class="way" title={row.path.clone()}>{ &row.path }</td>
            </tr>
        }
    };
    html! {
        <table class="requests">
            <thead><tr>
                <th>{ "#" }</th><th>{ "time" }</th><th>{ "from" }</th><th>{ "to" }</th><th>{ "status" }</th>
                <th>{ "took" }</th><th>{ "answered by" }</th><th>{ "path" }</th>
            </tr></thead>
            <tbody>{ for props.rows.iter().map(line) }</tbody>
        </table>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_brief() {
        for (why, words) in [
            (
                "Failed to connect to localhost port 1 after 0 ms: Couldn't connect to server",
                "refused",
            ),
            ("Connection timed out after 1001 milliseconds", "timed out"),
            ("Could not resolve host: nowhere", "unknown host"),
            ("something else that is long", "something else th…"),
        ] {
            assert_eq!(in_brief(why), words);
        }
    }

    #[test]
    fn durations_in_brief() {
        for (micros, text) in [(120, "120 µs"), (1_940, "1.9 ms"), (3_000_000, "3.0 s")] {
            assert_eq!(brief(Duration::from_micros(micros)), text);
        }
        assert_eq!(moment(Instant::from_millis(61_203)), "01:01.203");
    }
}
