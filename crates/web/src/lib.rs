//! The browser lab: a page that shows the world and lets you act in it.
//!
//! In reading order:
//! - [`engine`]: the world, its shell and its time, without a browser: what the page shows and does;
//!   [`clock`]: how fast it goes; [`files`]: the tabs, which are the shell's files; [`terminal`],
//!   [`line_editor`]: what the terminal shows, and the line that is typed;
//! - [`film`]: a request's packets in plain words; [`map`]: where everything stands, what flies, how it is drawn;
//! - [`advice`]: what to do next; [`app`]: the page; [`services`], [`inspector`], [`requests`], [`events`]: its
//!   panels;
//! - [`glue`]: the JavaScript it leans on, and the door for scripts.
//!
//! Scripts and tests find `window.podwire` with `terminalText()`, `setFile(name, text)`, `run(command)`,
//! `fingerprint()` and `idle()`.
//!
//! **Invariant:** the page changes the world only by commands that everybody sees in the terminal, and by the
//! clock.
//! **Invariant:** whatever was typed, pasted or answered is shown as text, never as markup.
//! **Invariant:** only [`app`], [`glue`] and [`map::paint`] know the browser.

pub mod advice;
pub mod app;
pub mod clock;
pub mod engine;
pub mod events;
pub mod files;
pub mod film;
pub mod glue;
pub mod inspector;
pub mod line_editor;
pub mod map;
pub mod requests;
pub mod services;
pub mod terminal;

/// Puts the page into its document.
pub fn start() {
    let document = web_sys::window().and_then(|window| window.document());
    let Some(document) = document else { return };
    if let Some(root) = document.get_element_by_id("app") {
        yew::Renderer::<app::App>::with_root(root).render();
    }
}
