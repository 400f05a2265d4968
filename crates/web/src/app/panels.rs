//! What the page is made of, panel by panel.

use std::rc::Rc;

use wasm_bindgen::JsCast;
use web_sys::{HtmlInputElement, HtmlSelectElement};
use yew::prelude::*;

use super::{App, Msg, Panel, Theme};
use crate::advice::{APPLY, Advice, SEND};
use crate::clock::Speed;
use crate::events::EventsList;
use crate::map::view::Map;
use crate::requests::RequestsList;
use crate::services::{Offer, Services, is_own};

/// The panels.
impl App {
    pub(super) fn head(&self, ctx: &Context<Self>) -> Html {
        let engine = self.engine.borrow();
        let view = engine.view();
        let nodes = view.nodes.len();
        let cluster = match view.name.as_str() {
            "" => "no cluster".to_string(),
            name => format!("kind-{name}"),
        };
        let pick_theme = ctx.link().callback(|event: Event| {
            let select =
                event.target().and_then(|target| target.dyn_into::<HtmlSelectElement>().ok());
            Msg::SetTheme(Theme::named(&select.map(|select| select.value()).unwrap_or_default()))
        });
        html! {
            <header class="head">
                <h1 class="brand">
                    <svg viewBox="0 0 20 20" fill="none" stroke-width="2" aria-hidden="true"><circle cx="4" cy="10" r="2.5"/><circle cx="16" cy="4.5" r="2.5"/><circle cx="16" cy="15.5" r="2.5"/><path d="M6.4 9 13.6 5.4M6.4 11l7.2 3.6"/></svg>
                    { "podwire" }
                </h1>
                <div class="context"><b>{ cluster }</b>{ format!(" · {nodes} nodes · {}", engine.lab().balancing().name()) }</div>
                { self.clock_controls(ctx, engine.clock.is_paused, engine.clock.speed) }
                <select class="theme" aria-label="Theme" onchange={pick_theme}>
                    { for Theme::ALL.iter().map(|(theme, name)| html! {
                        <option value={*name} selected={*theme == self.theme}>{ format!("◐ {name}") }</option>
                    }) }
                </select>
            </header>
        }
    }

    fn clock_controls(&self, ctx: &Context<Self>, is_paused: bool, speed: Speed) -> Html {
        let link = ctx.link();
        let pick = link.callback(|event: Event| {
            let select =
                event.target().and_then(|target| target.dyn_into::<HtmlSelectElement>().ok());
            Msg::Speed(select.map(|select| select.value()).unwrap_or_default())
        });
        let (label, icon) = match is_paused {
            true => ("Run the clock", "M3 2v10l9-5z"),
            false => ("Pause the clock", "M3 2h3v10H3zM8 2h3v10H8z"),
        };
        html! {
            <div class="clock" role="group" aria-label="Clock">
                <span class="rate" ref={self.rate.clone()}></span>
                <span class="time" id="clock-time" ref={self.time.clone()}></span>
                <button id="clock-toggle" class={classes!(is_paused.then_some("on"))} title={label} aria-label={label}
                    aria-pressed={is_paused.to_string()} onclick={link.callback(|_| Msg::ToggleClock)}>
                    <svg width="14" height="14" viewBox="0 0 14 14" fill="currentColor" aria-hidden="true"><path d={icon}/></svg>
                </button>
                <button id="clock-step" title="Step to the next thing that happens to a packet"
                    aria-label="Step to the next thing that happens to a packet" onclick={link.callback(|_| Msg::Step)}>
                    <svg width="14" height="14" viewBox="0 0 14 14" fill="currentColor" aria-hidden="true"><path d="M1 2v10l8-5zM10 2h2v10h-2z"/></svg>
                </button>
                <select id="speed" aria-label="Speed" onchange={pick}>
                    { for Speed::CHOICES.iter().map(|(name, choice)| html! {
                        <option value={*name} selected={*choice == speed}>{ *name }</option>
                    }) }
                </select>
            </div>
        }
    }

    pub(super) fn files_panel(&self, ctx: &Context<Self>) -> Html {
        let link = ctx.link();
        let command = self.engine.borrow().apply_command(&self.tab);
        let is_kind = self.engine.borrow().files.is_kind_config(&self.tab);
        let button = if is_kind { "Recreate cluster" } else { "Apply" };
        let is_next = self.advice.button == APPLY;
        html! {
            <section class="panel files" aria-label="Files">
                <div class="tabs">
                    { for self.tabs.iter().map(|name| self.tab(ctx, name)) }
                    <button id="add-file" aria-label="New file" title="New file" onclick={link.callback(|_| Msg::AddTab)}>{ "+" }</button>
                </div>
                <div class="editor" ref={self.editor_place.clone()}></div>
                <div class="foot">
                    <code>{ command.clone().unwrap_or_else(|| "No manifest to apply".to_string()) }</code>
                    <span class="sp"></span>
                    <button id="apply" class={classes!("btn", "primary", is_next.then_some("next"))} disabled={command.is_none()}
                        title="Ctrl-Enter" onclick={link.callback(|_| Msg::Apply)}>{ button }</button>
                </div>
            </section>
        }
    }

    fn tab(&self, ctx: &Context<Self>, name: &str) -> Html {
        let link = ctx.link();
        let (to_open, to_close, to_rename) = (name.to_string(), name.to_string(), name.to_string());
        let is_on = self.tab == name;
        if self.renaming.as_deref() == Some(name) {
            return self.rename_tab(ctx, name);
        }
        html! {
            <div key={name} class={classes!("tab", is_on.then_some("on"))} data-file={name.to_string()}>
                <button class="open" aria-current={is_on.then_some("true")} title="Double-click to rename"
                    onclick={link.callback(move |_| Msg::OpenTab(to_open.clone()))}
                    ondblclick={link.callback(move |_| Msg::BeginRename(to_rename.clone()))}>{ name }</button>
                <button class="close" aria-label={format!("Delete {name}")} title={format!("Delete {name}")}
                    onclick={link.callback(move |_| Msg::CloseTab(to_close.clone()))}>{ "×" }</button>
            </div>
        }
    }

    fn rename_tab(&self, ctx: &Context<Self>, name: &str) -> Html {
        let link = ctx.link();
        let kept = name.to_string();
        let read = |event: &Event| {
            let field =
                event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
            field.map(|field| field.value()).unwrap_or_default()
        };
        let finish = link.callback(move |event: FocusEvent| Msg::Rename(read(&event)));
        let key = link.batch_callback(move |event: KeyboardEvent| match event.key().as_str() {
            "Enter" => Some(Msg::Rename(read(&event))),
            "Escape" => Some(Msg::Rename(kept.clone())),
            _ => None,
        });
        html! {
            <div key={format!("rename {name}")} class="tab on" data-file={name.to_string()}>
                <input ref={self.rename_field.clone()} aria-label="File name" value={name.to_string()} onblur={finish} onkeydown={key} />
            </div>
        }
    }

    pub(super) fn map_panel(&self, ctx: &Context<Self>) -> Html {
        let engine = self.engine.borrow();
        let Advice { button, words } = &self.advice;
        let offers = engine.view().services.iter().map(|service| Offer {
            command: engine.send_command(service).filter(|_| is_own(service)),
            service: Rc::new(service.clone()),
        });
        let offers: Rc<Vec<Offer>> = Rc::new(offers.collect());
        html! {
            <main class="map" aria-label="Map">
                <div class="mapbar">
                    <p id="status-line" class="advice" role="status" aria-live="polite">
                        if !button.is_empty() { <b>{ *button }</b> }
                        <span>{ words }</span>
                    </p>
                </div>
                <div class="stage" ref={self.stage.clone()}>
                    { legend() }
                    <Map layout={engine.layout().clone()} rewrites={self.rewrites.clone()} pointed={self.pointed.clone()}
                        published={self.published.clone()} wires={self.wires.clone()} marks={self.marks.clone()}
                        flow={self.shown_request().unwrap_or(1)} is_running={self.is_running} />
                    <canvas ref={self.canvas.clone()} aria-hidden="true"></canvas>
                </div>
                <Services offers={offers} rows={self.rows.clone()} is_next={*button == SEND}
                    on_point={ctx.link().callback(Msg::PointAt)} on_run={ctx.link().callback(Msg::Run)} />
            </main>
        }
    }

    pub(super) fn dock(&self, ctx: &Context<Self>) -> Html {
        let link = ctx.link();
        let side = |shows: bool, name: &str| {
            let is_on = shows == self.shows_events;
            html! {
                <button class={classes!(is_on.then_some("on"))} aria-pressed={is_on.to_string()}
                    onclick={link.callback(move |_| Msg::ShowEvents(shows))}>{ name.to_string() }</button>
            }
        };
        html! {
            <div class="dock">
                <section class="panel shell" aria-label="Terminal">
                    <div class="tabs"><button class="on" aria-current="true">{ "Terminal" }</button></div>
                    <div class="around"><div id="terminal" class="terminal" ref={self.terminal_place.clone()}></div></div>
                </section>
                <section class="panel lists" aria-label="Requests and events">
                    <div class="tabs">{ side(false, "Requests") }{ side(true, "Events") }</div>
                    <div class="list" tabindex="0" role="region" aria-label={if self.shows_events { "Events" } else { "Requests" }}>
                        if self.shows_events {
                            <EventsList entries={self.entries.clone()} />
                        } else {
                            <RequestsList rows={self.rows.clone()} selected={self.shown_request()}
                                on_select={link.callback(Msg::SelectRequest)} />
                        }
                    </div>
                </section>
            </div>
        }
    }

    pub(super) fn panels(&self, ctx: &Context<Self>) -> Html {
        let button = |(panel, name, _): &(Panel, &'static str, &'static str)| {
            let panel = *panel;
            let is_on = panel == self.panel;
            html! {
                <button class={classes!(is_on.then_some("on"))} aria-pressed={is_on.to_string()}
                    onclick={ctx.link().callback(move |_| Msg::Show(panel))}>{ *name }</button>
            }
        };
        html! { <nav class="panels" aria-label="Panels">{ for Panel::ALL.iter().map(button) }</nav> }
    }
}

fn legend() -> Html {
    let item = |d: &'static str, word: &'static str, hollow: bool| {
        let fill = if hollow { "none" } else { "" };
        html! { <span><svg viewBox="0 0 12 12" aria-hidden="true"><path d={d} fill={if fill.is_empty() { None } else { Some(fill) }} stroke-width="2"/></svg>{ word }</span> }
    };
    html! {
        <div class="legend" aria-hidden="true">
            { item("M6 2a4 4 0 1 1 0 8a4 4 0 0 1 0-8z", "SYN", false) }
            { item("M6 2a4 4 0 1 1 0 8a4 4 0 0 1 0-8z", "SYN-ACK", true) }
            { item("M1.5 3h9v6h-9z", "data", false) }
            { item("M6 4.5a1.5 1.5 0 1 1 0 3a1.5 1.5 0 0 1 0-3z", "ACK", false) }
            { item("M6 2l4 4l-4 4l-4-4z", "FIN", false) }
        </div>
    }
}
