//! The inspector: a request's packets, and one of them hop by hop.

use std::rc::Rc;

use lab::path::PacketKind;
use yew::prelude::*;

use crate::film::{Chain, Change, Film, Frame, Group, Hop, Line, Tone};

/// What the inspector needs.
#[derive(Clone, PartialEq, Properties)]
pub struct InspectorProps {
    /// The film; none while no request was sent.
    pub film: Option<Rc<Film>>,
    /// Another packet was chosen.
    pub on_packet: Callback<usize>,
}

/// The inspector.
#[component]
pub fn Inspector(props: &InspectorProps) -> Html {
    let Some(film) = &props.film else {
        return html! {
            <div class="film"><p class="empty">
                { "When a request has been sent, its packets stand here: where each one was, which iptables rules fitted it, what they rewrote, and which route it took." }
            </p></div>
        };
    };
    let shown = film.packets.get(film.shown);
    html! {
        <div class="film">
            { heading(film, shown) }
            { packets(props, film) }
            { shown.map(header).unwrap_or_default() }
            <ol class="hops" aria-label="Places the packet passed">{ for film.hops.iter().map(hop) }</ol>
        </div>
    }
}

fn heading(film: &Film, shown: Option<&Frame>) -> Html {
    let title = match shown {
        Some(frame) => format!("{} of request {}", frame.kind.word(), film.request),
        None => format!("Request {}", film.request),
    };
    html! {
        <>
            <h2 class="q">{ title }</h2>
            <p class="sub">{ shown.map(about).unwrap_or("No packet was sent for it yet.") }</p>
        </>
    }
}

fn about(frame: &Frame) -> &'static str {
    if frame.is_lost {
        return "This packet was lost; the last place below says why.";
    }
    match frame.kind {
        PacketKind::Syn => {
            "The first packet of a connection. Only this one is shown to the nat table: what it decides holds for all that follow."
        }
        PacketKind::SynAck => {
            "The answer: the port is open. Its addresses are turned back on the way, by memory."
        }
        PacketKind::Ack => "Only says what has come.",
        PacketKind::Data => {
            "Carries data. It is rewritten as the first packet was, without any rule of the nat table."
        }
        PacketKind::Fin => "Says that no more data will come.",
        PacketKind::Rst => "Refuses the connection, or breaks it off: nobody listens there.",
        PacketKind::Arp => {
            "Asks which hardware address an IP address has, before a packet can be sent there."
        }
        PacketKind::Udp => "A datagram.",
        PacketKind::Icmp => "The network’s own word: an echo, or an error.",
        PacketKind::Other => "A packet.",
    }
}

fn packets(props: &InspectorProps, film: &Film) -> Html {
    let button = |(at, frame): (usize, &Frame)| {
        let is_on = at == film.shown;
        let choose = props.on_packet.reform(move |_: MouseEvent| at);
        let class = classes!("packet", is_on.then_some("on"), frame.is_lost.then_some("bad"));
        let title = format!("+{} µs  {}\n{}", frame.after, frame.way, frame.line);
        html! {
            <button key={at} class={class} onclick={choose} aria-pressed={is_on.to_string()} title={title}>
                { frame.kind.word() }
            </button>
        }
    };
    let group = |(group, words): &(Group, &'static str)| {
        let mut members =
            film.packets.iter().enumerate().filter(|(_, p)| p.group == *group).peekable();
        if members.peek().is_none() {
            return Html::default();
        }
        html! {
            <div class={classes!("packets", (*group != Group::Network).then_some("aside"))} role="group" aria-label={*words}>
                <span class="over">{ *words }</span>
                { for members.map(button) }
            </div>
        }
    };
    html! { <div class="groups">{ for Group::ALL.iter().map(group) }</div> }
}

fn header(frame: &Frame) -> Html {
    html! {
        <dl class="hdr">
            if !frame.ends.is_empty() {
                <dt>{ "made" }</dt><dd>{ format!("{} · after {} µs", frame.ends, frame.after) }</dd>
            }
            <dt>{ "tcpdump" }</dt><dd class="tcpdump">{ &frame.line }</dd>
        </dl>
    }
}

fn hop(hop: &Hop) -> Html {
    let is_rewritten = !hop.rewritten.is_empty();
    let class = classes!(
        "hop",
        is_rewritten.then_some("nat"),
        hop.is_lost.then_some("bad"),
        hop.is_end.then_some("end"),
    );
    let asked = match hop.asked {
        0 => String::new(),
        1 => "1 rule looked at".to_string(),
        asked => format!("{asked} rules looked at"),
    };
    html! {
        <li class={class}>
            <h3>{ &hop.place }<span class="mono">{ &hop.by }</span></h3>
            <p>{ &hop.sentence }</p>
            { changes(&hop.rewritten) }
            { rules(hop, asked) }
            { hop.route.as_ref().map(|route| html! {
                <p class="route"><span class="mono">{ format!("route {route}") }</span></p>
            }).unwrap_or_default() }
        </li>
    }
}

fn changes(changes: &[Change]) -> Html {
    if changes.is_empty() {
        return Html::default();
    }
    let line = |change: &Change| {
        let why = if change.is_new { "" } else { "by memory" };
        html! {
            <><dt>{ change.end }</dt><dd><del>{ &change.was }</del>{ " " }<ins>{ &change.now }</ins>
            <span class="why">{ why }</span></dd></>
        }
    };
    html! { <dl class="changes">{ for changes.iter().map(line) }</dl> }
}

fn rules(hop: &Hop, asked: String) -> Html {
    if hop.chains.is_empty() {
        return match hop.asked {
            0 => Html::default(),
            _ => html! { <p class="asked">{ format!("{asked}, none fitted") }</p> },
        };
    }
    html! {
        <div class="rules">
            <p class="asked">{ asked }</p>
            { for hop.chains.iter().map(chain) }
        </div>
    }
}

fn chain(chain: &Chain) -> Html {
    let at = match chain.name == chain.hook {
        true => chain.table.to_string(),
        false => format!("{} · {}", chain.table, chain.hook),
    };
    html! {
        <>
            <p class="ch"><b>{ &chain.name }</b><span>{ at }</span></p>
            { for chain.rules.iter().map(rule) }
        </>
    }
}

fn rule(line: &Line) -> Html {
    let (class, sign) = match line.tone {
        Tone::Plain => ("ru", "✓"),
        Tone::Rewrites => ("ru nat", "⇄"),
        Tone::Loses => ("ru bad", "✕"),
    };
    html! {
        <div class={class}>
            <span class="x" aria-hidden="true">{ sign }</span>
            <code>{ &line.text }</code>
            <span class="why">
                { format!("rule {}: {}", line.number, line.effect) }
                if !line.comment.is_empty() { <>{ " · " }{ &line.comment }</> }
            </span>
        </div>
    }
}
