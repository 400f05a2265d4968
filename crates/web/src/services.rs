//! The Services below the map: what each is, who serves it, and the button that asks it.

use std::rc::Rc;

use lab::view::ServiceView;
use yew::prelude::*;

use crate::advice::SEND;
use crate::requests::Row;

/// Bars shown at most.
const BARS_MAX: usize = 12;
/// Height of the tallest bar.
const BAR_H: usize = 26;

/// A Service, and the command of its button.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The Service.
    pub service: Rc<ServiceView>,
    /// What asks it from your machine, if anything does.
    pub command: Option<String>,
}

/// A Service of a person's, and not of the cluster's own.
pub fn is_own(service: &ServiceView) -> bool {
    let is_system = service.namespace == "kube-system";
    !is_system && (service.namespace.as_str(), service.name.as_str()) != ("default", "kubernetes")
}

/// What the list needs.
#[derive(Clone, PartialEq, Properties)]
pub struct ServicesProps {
    /// The Services.
    pub offers: Rc<Vec<Offer>>,
    /// The requests, to count who has answered.
    pub rows: Rc<Vec<Row>>,
    /// To ask is what should be done next.
    pub is_next: bool,
    /// One is pointed at, or none any more.
    pub on_point: Callback<Option<Rc<ServiceView>>>,
    /// A button's command is to be run.
    pub on_run: Callback<String>,
}

/// The list of Services.
#[component]
pub fn Services(props: &ServicesProps) -> Html {
    let (own, system): (Vec<_>, Vec<_>) = props.offers.iter().partition(|o| is_own(&o.service));
    let first = own.iter().position(|offer| offer.command.is_some());
    html! {
        <div class="services" role="group" aria-label="Services">
            { for own.iter().enumerate().map(|(at, offer)| card(props, offer, first == Some(at))) }
            if first.is_none() { { nothing_to_ask() } }
            if !system.is_empty() {
                <div class="system">{ for system.iter().map(|offer| line(props, &offer.service)) }</div>
            }
        </div>
    }
}

fn nothing_to_ask() -> Html {
    html! {
        <div class="svc">
            <div>
                <div class="h">{ "Send a request" }</div>
                <div class="a">{ "once a Service’s NodePort is published on your machine" }</div>
            </div>
            <button id="send-request" class="btn primary" disabled=true>{ SEND }</button>
        </div>
    }
}

fn card(props: &ServicesProps, offer: &Offer, is_first: bool) -> Html {
    let service = &offer.service;
    let (shared, none) = (Some(service.clone()), None);
    let ports = service.ports.iter().map(|port| match port.node_port {
        Some(node_port) => format!("NodePort {node_port} → {} → {}", port.port, port.target),
        None => format!("{} → {}", port.port, port.target),
    });
    let ports = ports.collect::<Vec<_>>().join(", ");
    let address = service.cluster_ip.clone().unwrap_or_default();
    html! {
        <div key={format!("{}/{}", service.namespace, service.name)} class="svc" data-service={service.name.clone()}
            onmouseenter={points::<MouseEvent>(props, shared.clone())} onmouseleave={points::<MouseEvent>(props, none.clone())}
            onfocusin={points::<FocusEvent>(props, shared)} onfocusout={points::<FocusEvent>(props, none)}>
            <div>
                <div class="h">{ &service.name }</div>
                <div class="a">{ format!("{address}  {ports}") }</div>
                { endpoints(service) }
            </div>
            { answers(props, service) }
            { offer.command.as_ref().map(|command| button(props, command, is_first)).unwrap_or_default() }
        </div>
    }
}

fn points<E: 'static>(props: &ServicesProps, at: Option<Rc<ServiceView>>) -> Callback<E> {
    props.on_point.reform(move |_: E| at.clone())
}

fn button(props: &ServicesProps, command: &str, is_first: bool) -> Html {
    let (title, command) = (command.to_string(), command.to_string());
    let class = classes!("btn", "primary", (props.is_next && is_first).then_some("next"));
    html! {
        <button id={is_first.then_some("send-request")} class={class} title={title}
            onclick={props.on_run.reform(move |_: MouseEvent| command.clone())}>{ SEND }</button>
    }
}

/// A Service of the cluster's own.
fn line(props: &ServicesProps, service: &Rc<ServiceView>) -> Html {
    html! {
        <div class="a" data-service={service.name.clone()}
            onmouseenter={points::<MouseEvent>(props, Some(service.clone()))} onmouseleave={points::<MouseEvent>(props, None)}>
            <b>{ &service.name }</b>{ " " }{ service.cluster_ip.clone().unwrap_or_default() }
        </div>
    }
}

/// Who has answered how often.
fn answers(props: &ServicesProps, service: &ServiceView) -> Html {
    let pods = service.endpoints.iter().filter_map(|end| end.pod.as_ref());
    let count = |pod: &String| props.rows.iter().filter(|row| row.answer == *pod).count();
    let counts: Vec<usize> = pods.map(count).collect();
    let most = counts.iter().copied().max().unwrap_or_default();
    if most == 0 {
        return Html::default();
    }
    let words = counts.iter().map(usize::to_string).collect::<Vec<_>>().join(" : ");
    let bar =
        |count: &usize| html! { <i style={format!("height:{}px", BAR_H * count / most)}></i> };
    html! {
        <>
            <div class="bars" role="img" aria-label={format!("Answers per Pod: {words}")}>
                { for counts.iter().take(BARS_MAX).map(bar) }
            </div>
            if counts.len() <= 6 { <div class="a">{ words }</div> }
        </>
    }
}

fn endpoints(service: &ServiceView) -> Html {
    let ready: Vec<&str> = service
        .endpoints
        .iter()
        .filter(|end| end.is_ready)
        .map(|end| end.address.as_str())
        .collect();
    match ready.as_slice() {
        [] => html! { <div class="a none">{ "no ready endpoints" }</div> },
        [.., _] if ready.len() > 3 => {
            html! { <div class="a">{ format!("{} endpoints", ready.len()) }</div> }
        }
        ready => html! { <div class="a">{ format!("endpoints {}", ready.join(" ")) }</div> },
    }
}
