//! The structure of the map, as SVG.

use base::tree::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

use lab::view::{PodView, ServiceView};
use yew::prelude::*;

use super::layout::{Card, Layout, Point, Rect, Tile, is_system};

/// Bars that stand for a gate's rules.
const BAR_STEP: f64 = 9.0;
/// A character of the map's small texts is about so wide.
const CHAR_W: f64 = 6.4;

/// What the map needs.
#[derive(Clone, PartialEq, Properties)]
pub struct MapProps {
    /// Where everything stands.
    pub layout: Rc<Layout>,
    /// How often each node's rules were rewritten.
    pub rewrites: Rc<BTreeMap<String, u64>>,
    /// The Service that is pointed at.
    pub pointed: Option<Rc<ServiceView>>,
    /// Published ports of your machine.
    pub published: Rc<Vec<u16>>,
    /// The wires of the packet that the inspector shows.
    pub wires: Rc<Vec<Vec<Point>>>,
    /// Which rules fitted that packet, by node.
    pub marks: Rc<BTreeMap<String, Vec<(f64, bool)>>>,
    /// The flow's number, for its colour.
    pub flow: u32,
    /// A command runs on your machine.
    pub is_running: bool,
}

/// The map without its packets.
#[component]
pub fn Map(props: &MapProps) -> Html {
    let layout = &props.layout;
    let title = format!(
        "Your machine, the Docker network, {} nodes with {} Pods",
        layout.cards.len(),
        layout.cards.iter().map(|card| card.tiles.len()).sum::<usize>()
    );
    let is_dimmed = props.pointed.is_some();
    // Lists with keys stand in groups of their own: next to others, Yew would make their elements anew.
    html! {
        <svg class={classes!("map-svg", is_dimmed.then_some("pointing"))} role="img" aria-label={title}
            viewBox={format!("0 0 {:.0} {:.0}", layout.width, layout.height)} preserveAspectRatio="xMidYMid meet">
            { wires(layout) }
            { machine(props) }
            <g>{ for layout.cards.iter().map(|card| node(props, card)) }</g>
            <g>{ waiting(props) }</g>
            <g>{ for props.wires.iter().map(|wire| html! {
                <path class={format!("path flow-{}", props.flow % 3)} d={path(wire)} />
            }) }</g>
        </svg>
    }
}

/// An SVG path through these points.
fn path(wire: &[Point]) -> String {
    let mut d = String::new();
    for (at, point) in wire.iter().enumerate() {
        let command = if at == 0 { 'M' } else { 'L' };
        let _ = write!(d, "{command}{:.1} {:.1}", point.x, point.y);
    }
    d
}

fn rect(class: impl Into<Classes>, at: Rect, radius: u32) -> Html {
    let class: Classes = class.into();
    html! {
        <rect class={class} x={at.x.to_string()} y={at.y.to_string()} width={at.w.to_string()}
            height={at.h.to_string()} rx={radius.to_string()} />
    }
}

fn text(class: &'static str, x: f64, y: f64, words: impl ToString) -> Html {
    html! { <text class={class} x={format!("{x:.1}")} y={format!("{y:.1}")}>{ words.to_string() }</text> }
}

/// As much of a name as fits; the end of a Pod's name tells it apart, so the middle is left out.
fn fit(name: &str, width: f64, char_w: f64) -> String {
    let room = (width / char_w).floor() as usize;
    let length = name.chars().count();
    if length <= room {
        return name.to_string();
    }
    let tail = 9.min(room.saturating_sub(2));
    let head: String = name.chars().take(room.saturating_sub(tail + 1)).collect();
    let tail: String = name.chars().skip(length - tail).collect();
    format!("{head}…{tail}")
}

fn wires(layout: &Layout) -> Html {
    let bus = layout.bus;
    let line = |x1: f64, y1: f64, x2: f64, y2: f64| format!("M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}");
    let machine = layout.published;
    let ports = layout.cards.iter().map(|card| {
        let y = card.gate.middle();
        html! { <path class="wire" d={line(bus.x, y, card.gate.x, y)} /> }
    });
    html! {
        <g aria-hidden="true">
            <path class="wire bus" d={line(bus.x, bus.y, bus.x, bus.bottom())} />
            <path class="wire" d={line(layout.machine.right(), machine.middle(), bus.x, machine.middle())} />
            { for ports }
            <g class="center">
                { text("dim", bus.x, bus.y - 10.0, "Docker network") }
                { text("addr", bus.x, bus.bottom() + 17.0, "172.18.0.0/16") }
            </g>
        </g>
    }
}

fn machine(props: &MapProps) -> Html {
    let layout = &props.layout;
    let at = layout.machine;
    let ports: Vec<String> = props.published.iter().map(|port| format!(":{port}")).collect();
    let ports = if ports.is_empty() {
        "no port published".to_string()
    } else {
        format!("published {}", ports.join(" "))
    };
    let client = if props.is_running { "pod busy" } else { "pod" };
    html! {
        <g class="machine">
            { rect("card soft", at, 12) }
            { text("name", at.x + 14.0, at.y + 25.0, "Your machine") }
            { text("addr", at.x + 14.0, at.y + 42.0, "172.18.0.1") }
            { rect(classes!(client), layout.client, 8) }
            { text("addr ink", layout.client.x + 10.0, layout.client.middle() + 4.0, "terminal, curl") }
            { rect("gate", layout.published, 8) }
            { text("addr", layout.published.x + 10.0, layout.published.middle() + 4.0,
                fit(&ports, layout.published.w - 12.0, CHAR_W)) }
        </g>
    }
}

fn node(props: &MapProps, card: &Card) -> Html {
    let at = card.rect;
    let left = card.gate.right() + 22.0;
    let name = &card.node.name;
    let is_down = !card.node.is_ready;
    let status = match (is_down, card.node.is_cordoned) {
        (true, _) => " · not ready",
        (_, true) => " · cordoned",
        _ => "",
    };
    let name_w = name.chars().count() as f64 * 7.6 + 14.0;
    let room = at.right() - left - name_w - 6.0;
    let whole = format!("{}   Pods {}{status}", card.node.ip, card.node.pod_cidr);
    let is_wide = whole.chars().count() as f64 * CHAR_W <= room;
    let address = if is_wide { whole } else { format!("{}{status}", card.node.ip) };
    // An address is never cut: where there is no room behind the name, it stands below.
    let is_tight = address.chars().count() as f64 * CHAR_W > room;
    let (name_y, address_x, address_y) = match is_tight {
        true => (at.y + 19.0, left, at.y + 35.0),
        false => (at.y + 26.0, left + name_w, at.y + 26.0),
    };
    let address = fit(&address, at.right() - address_x - 6.0, CHAR_W);
    html! {
        <g key={name.clone()} class={classes!("node-card", is_down.then_some("down"))} data-node={name.clone()}>
            { rect("card", at, 12) }
            { gate(props, card) }
            { text("name", left, name_y, name) }
            { text("addr", address_x, address_y, address) }
            <g>{ for card.tiles.iter().map(|tile| pod(props, tile)) }</g>
            { host_line(card, left) }
        </g>
    }
}

fn host_line(card: &Card, left: f64) -> Html {
    if card.on_host.is_empty() {
        return Html::default();
    }
    let words = format!("on the node’s own network: {}", card.on_host.join(", "));
    let width = card.rect.right() - left - 12.0;
    let room = (width / 5.9).floor().max(4.0) as usize;
    let shown: String = match words.chars().count() > room {
        true => words.chars().take(room - 1).chain(['…']).collect(),
        false => words.clone(),
    };
    html! {
        <g>
            <title>{ words }</title>
            { text("dim", left, card.rect.bottom() - 9.0, shown) }
        </g>
    }
}

/// The gate: bars for its rules, those lit that fitted the packet that is shown.
fn gate(props: &MapProps, card: &Card) -> Html {
    let gate = card.gate;
    // Without kube-proxy there are still the rules of others.
    let mode = if card.node.mode == "none" { "netfilter" } else { card.node.mode };
    let count = card.node.rules;
    let marks = props.marks.get(&card.node.name);
    let is_pointed = props.pointed.is_some();
    let is_lit = is_pointed || marks.is_some();
    let room = ((gate.h - 62.0) / BAR_STEP).floor().max(3.0) as usize;
    let bars = room.min(count.max(1));
    let top = gate.y + 30.0 + (gate.h - 62.0 - bars as f64 * BAR_STEP) / 2.0;
    let bar = |at: usize| {
        let hits = marks.into_iter().flatten();
        let mine = hits.filter(|(share, _)| ((share * bars as f64) as usize).min(bars - 1) == at);
        let class = mine.fold("rule", |class, (_, rewrites)| match (class, rewrites) {
            ("rule nat", _) | (_, true) => "rule nat",
            _ => "rule hit",
        });
        let place =
            Rect { x: gate.x + 11.0, y: top + at as f64 * BAR_STEP, w: gate.w - 22.0, h: 4.0 };
        rect(class, place, 2)
    };
    let blinks = props.rewrites.get(&card.node.name).copied().unwrap_or_default();
    let middle = gate.x + gate.w / 2.0;
    html! {
        <g class={format!("gate-group flow-{}", props.flow % 3)}>
            <title>{ format!("The gate of {}: {mode}, {count} rules of kube-proxy. Every packet passes here.", card.node.name) }</title>
            { rect(classes!("gate", is_lit.then_some("lit")), gate, 12) }
            <g>{ if blinks > 0 { html! { <g key={blinks}>{ rect("blink", gate, 12) }</g> } } else { Html::default() } }</g>
            <g class="center">
                { text("dim", middle, gate.y + 19.0, mode) }
                { text("dim", middle, gate.bottom() - 11.0, format!("{count} rules")) }
            </g>
            { for (0..bars).map(bar) }
        </g>
    }
}

fn is_endpoint(service: &ServiceView, pod: &PodView) -> bool {
    service.namespace == pod.namespace
        && service.endpoints.iter().any(|end| end.pod.as_deref() == Some(&pod.name))
}

fn pod(props: &MapProps, tile: &Tile) -> Html {
    let Tile { pod, rect: at } = tile;
    let is_lit = props.pointed.as_ref().is_some_and(|service| is_endpoint(service, pod));
    let is_starting = !pod.is_ready && !pod.is_ending;
    let class = classes!(
        "pod-tile",
        is_system(pod).then_some("system"),
        is_lit.then_some("lit"),
        pod.is_ending.then_some("ending"),
        is_starting.then_some("starting"),
    );
    let light = match (pod.is_ending, pod.is_ready, pod.summary.status.as_str()) {
        (true, ..) => "light off",
        (_, true, _) => "light ok",
        (_, _, "Error" | "CrashLoopBackOff" | "ImagePullBackOff" | "ErrImagePull" | "Failed") => {
            "light bad"
        }
        _ => "light warn",
    };
    let title = format!(
        "Pod {}/{}\n{}, {}/{} ready, {} restarts\nimage {}\n{}",
        pod.namespace,
        pod.name,
        pod.summary.status,
        pod.summary.ready,
        pod.summary.total,
        pod.summary.restarts,
        pod.image,
        pod.labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    let name = fit(&pod.name, at.w - 34.0, 6.9);
    html! {
        <g key={format!("{}/{}", pod.namespace, pod.name)} class={class} data-pod={pod.name.clone()}
            data-ready={pod.is_ready.to_string()}>
            <title>{ title }</title>
            { rect("pod", *at, 8) }
            <circle class={light} cx={(at.x + 14.0).to_string()} cy={(at.y + 17.0).to_string()} r="4" />
            { text("pod-name", at.x + 24.0, at.y + 21.0, name) }
            { text("addr", at.x + 12.0, at.y + if is_system(pod) { 35.0 } else { 40.0 }, address(pod)) }
            { readiness(pod, *at) }
            { if is_system(pod) { Html::default() } else { label(pod, *at) } }
        </g>
    }
}

/// The Pod's address; its state while that is worth more.
fn address(pod: &PodView) -> String {
    match &pod.ip {
        _ if pod.is_ending => "ending".to_string(),
        Some(ip) if pod.summary.status == "Running" => ip.clone(),
        _ => pod.summary.status.clone(),
    }
}

fn readiness(pod: &PodView, at: Rect) -> Html {
    let restarts = match pod.summary.restarts {
        0 => String::new(),
        restarts => format!("↻{restarts} "),
    };
    let words = format!("{restarts}{}/{}", pod.summary.ready, pod.summary.total);
    let y = at.y + if is_system(pod) { 35.0 } else { 40.0 };
    html! { <g class="end">{ text("addr", at.right() - 10.0, y, words) }</g> }
}

/// The label that Services look for: matched, or not.
fn label(pod: &PodView, at: Rect) -> Html {
    let own = |key: &str| key == "pod-template-hash" || key.contains("kubernetes.io/");
    let shown = pod.labels.iter().find(|(key, _)| !own(key));
    let Some((key, value)) = shown else { return Html::default() };
    let words = fit(&format!("{key}={value}"), at.w - 44.0, 6.4);
    let w = words.chars().count() as f64 * 6.4 + 18.0;
    let place = Rect { x: at.x + 11.0, y: at.y + 50.0, w, h: 18.0 };
    let class = if pod.serves.is_empty() { "tag" } else { "tag matched" };
    let title = match pod.serves.is_empty() {
        true => "No Service counts this Pod among its endpoints".to_string(),
        false => format!("Endpoint of {}", pod.serves.join(", ")),
    };
    html! {
        <g class={class}>
            <title>{ title }</title>
            { rect("", place, 9) }
            { text("", place.x + 9.0, place.y + 12.8, words) }
        </g>
    }
}

fn waiting(props: &MapProps) -> Html {
    let Some(first) = props.layout.waiting.first() else { return Html::default() };
    html! {
        <g>
            { text("dim", first.rect.x, first.rect.y - 8.0, "on no node yet") }
            <g>{ for props.layout.waiting.iter().map(|tile| pod(props, tile)) }</g>
        </g>
    }
}
