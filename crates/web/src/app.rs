//! The page: it hands frames to the [`Engine`], and shows what that has become.

mod panels;

use base::tree::BTreeMap;
use std::cell::RefCell;
use std::rc::Rc;

use lab::view::ServiceView;
use lab::{Entry, Options};
use wasm_bindgen::JsCast;
use wasm_bindgen::JsValue;
use wasm_bindgen::closure::Closure;
use web_sys::{Element, HtmlCanvasElement, HtmlInputElement, Window};
use yew::prelude::*;

use crate::advice::{Advice, advise};
use crate::clock::Speed;
use crate::engine::Engine;
use crate::events::newest;
use crate::film::Film;
use crate::glue::{Door, Editor, Terminal};
use crate::inspector::Inspector;
use crate::map::paint::{Painter, Palette, Scene};
use crate::requests::{Row, rows};

/// Milliseconds of a frame that the engine may take.
const BUDGET_MS: f64 = 8.0;
/// Milliseconds between two looks at the world.
const LOOK_MS: f64 = 90.0;
/// Where the choice of the theme is kept.
const THEME_KEY: &str = "podwire-theme";
/// A request's film still grows for so many virtual microseconds after its answer: goodbyes are said.
const GOODBYES: std::time::Duration = std::time::Duration::from_millis(5);

/// A panel, where only one has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panel {
    /// The editor.
    Files,
    /// The map.
    Map,
    /// The inspector.
    Inspector,
    /// The terminal.
    Terminal,
    /// Requests and events.
    Requests,
}

impl Panel {
    const ALL: [(Panel, &'static str, &'static str); 5] = [
        (Panel::Files, "Files", "show-files"),
        (Panel::Map, "Map", "show-map"),
        (Panel::Inspector, "Packet", "show-inspector"),
        (Panel::Terminal, "Terminal", "show-terminal"),
        (Panel::Requests, "Requests", "show-requests"),
    ];

    fn class(self) -> &'static str {
        Panel::ALL.iter().find(|(panel, ..)| *panel == self).map_or("", |(.., class)| class)
    }
}

/// Which colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// As the system has it.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    const ALL: [(Theme, &'static str); 3] =
        [(Theme::System, "system"), (Theme::Light, "light"), (Theme::Dark, "dark")];

    fn name(self) -> &'static str {
        Theme::ALL.iter().find(|(theme, _)| *theme == self).map_or("system", |(_, name)| name)
    }

    fn named(name: &str) -> Theme {
        Theme::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map_or(Theme::System, |(theme, _)| *theme)
    }
}

/// What can happen to the page.
#[derive(Debug)]
pub enum Msg {
    /// A frame begins; the page's clock in milliseconds.
    Frame(f64),
    /// A tab is to be shown.
    OpenTab(String),
    /// A tab is to be closed.
    CloseTab(String),
    /// A new tab.
    AddTab,
    /// A tab's name is to be changed.
    BeginRename(String),
    /// It is to be this.
    Rename(String),
    /// A file was edited.
    Edited(String, String),
    /// Apply was pressed.
    Apply,
    /// A command is to be run visibly.
    Run(String),
    /// Something was typed in the terminal.
    Typed(String),
    /// The terminal has another width.
    Columns(u32),
    /// Pause, or run.
    ToggleClock,
    /// A step.
    Step,
    /// A speed was chosen.
    Speed(String),
    /// A request was chosen.
    SelectRequest(u32),
    /// A packet was chosen.
    SelectPacket(usize),
    /// A Service is pointed at.
    PointAt(Option<Rc<ServiceView>>),
    /// Events, or else requests, are to be shown.
    ShowEvents(bool),
    /// A panel is to be shown.
    Show(Panel),
    /// A theme was chosen.
    SetTheme(Theme),
}

/// The page.
pub struct App {
    engine: Rc<RefCell<Engine>>,
    editor: Option<Editor>,
    terminal: Option<Rc<Terminal>>,
    painter: Painter,
    palette: Palette,
    frame: Option<Closure<dyn FnMut(f64)>>,
    editor_place: NodeRef,
    terminal_place: NodeRef,
    canvas: NodeRef,
    stage: NodeRef,
    time: NodeRef,
    rate: NodeRef,
    rename_field: NodeRef,
    tabs: Vec<String>,
    tab: String,
    renaming: Option<String>,
    files_seen: u64,
    looked_at: f64,
    journal_seen: u64,
    rows: Rc<Vec<Row>>,
    entries: Rc<Vec<Entry>>,
    rewrites: Rc<BTreeMap<String, u64>>,
    published: Rc<Vec<u16>>,
    film: Option<Rc<Film>>,
    film_key: (u32, Option<usize>, u64, usize),
    wires: Rc<Vec<Vec<crate::map::layout::Point>>>,
    marks: Rc<BTreeMap<String, Vec<(f64, bool)>>>,
    /// The request that was chosen; none: the newest.
    request: Option<u32>,
    packet: Option<usize>,
    pointed: Option<Rc<ServiceView>>,
    shows_events: bool,
    panel: Panel,
    theme: Theme,
    shown_theme: &'static str,
    is_still: bool,
    advice: Advice,
    is_running: bool,
}

fn window() -> Option<Window> {
    web_sys::window()
}

fn prefers(query: &str) -> bool {
    let list = window().and_then(|window| window.match_media(query).ok().flatten());
    list.is_some_and(|list| list.matches())
}

fn now_ms() -> f64 {
    window().and_then(|window| window.performance()).map_or(0.0, |clock| clock.now())
}

impl Component for App {
    type Message = Msg;
    type Properties = ();

    fn create(_: &Context<Self>) -> Self {
        let engine = Engine::new(&Options::default());
        let tabs = engine.files.names();
        let tab = tabs.first().cloned().unwrap_or_default();
        let mut app = App {
            engine: Rc::new(RefCell::new(engine)),
            editor: None,
            terminal: None,
            painter: Painter::default(),
            palette: Palette::default(),
            frame: None,
            editor_place: NodeRef::default(),
            terminal_place: NodeRef::default(),
            canvas: NodeRef::default(),
            stage: NodeRef::default(),
            time: NodeRef::default(),
            rate: NodeRef::default(),
            rename_field: NodeRef::default(),
            tabs,
            tab,
            renaming: None,
            files_seen: 0,
            looked_at: 0.0,
            journal_seen: u64::MAX,
            rows: Rc::default(),
            entries: Rc::default(),
            rewrites: Rc::default(),
            published: Rc::default(),
            film: None,
            film_key: Default::default(),
            wires: Rc::default(),
            marks: Rc::default(),
            request: None,
            packet: None,
            pointed: None,
            shows_events: false,
            panel: Panel::Map,
            theme: saved_theme(),
            shown_theme: "",
            is_still: prefers("(prefers-reduced-motion: reduce)"),
            advice: Advice::default(),
            is_running: false,
        };
        app.advice = advise(&app.engine.borrow(), None);
        app.wear_theme();
        app
    }

    fn rendered(&mut self, ctx: &Context<Self>, first: bool) {
        if first {
            self.begin(ctx);
        }
        if self.renaming.is_some()
            && let Some(field) = self.rename_field.cast::<HtmlInputElement>()
        {
            let _ = field.focus();
        }
    }

    fn update(&mut self, ctx: &Context<Self>, msg: Msg) -> bool {
        match msg {
            Msg::Frame(at) => return self.on_frame(ctx, at),
            Msg::Edited(name, text) => {
                let engine = self.engine.borrow();
                engine.files.set(&name, &text);
                return false;
            }
            Msg::Typed(data) => {
                self.engine.borrow_mut().type_in(&data);
                return false;
            }
            Msg::Columns(columns) => {
                self.engine.borrow_mut().set_columns(columns as usize);
                return false;
            }
            Msg::OpenTab(name) => self.open_tab(&name),
            Msg::CloseTab(name) => self.close_tab(&name),
            Msg::AddTab => self.add_tab(),
            Msg::BeginRename(name) => self.renaming = Some(name),
            Msg::Rename(to) => self.rename(&to),
            Msg::Apply => self.apply(),
            Msg::Run(command) => self.run(&command),
            Msg::ToggleClock => {
                let clock = &mut self.engine.borrow_mut().clock;
                clock.is_paused = !clock.is_paused;
            }
            Msg::Step => self.engine.borrow_mut().step(),
            Msg::Speed(name) => {
                if let Some(speed) = Speed::named(&name) {
                    self.engine.borrow_mut().clock.speed = speed;
                }
            }
            Msg::SelectRequest(number) => self.select(Some(number), None),
            Msg::SelectPacket(packet) => self.select(self.request, Some(packet)),
            Msg::PointAt(service) => self.pointed = service,
            Msg::ShowEvents(shows) => self.shows_events = shows,
            Msg::Show(panel) => self.panel = panel,
            Msg::SetTheme(theme) => self.choose_theme(theme),
        }
        true
    }

    fn view(&self, ctx: &Context<Self>) -> Html {
        html! {
            <div class={classes!("page", self.panel.class())}>
                { self.head(ctx) }
                { self.files_panel(ctx) }
                { self.map_panel(ctx) }
                <section class={format!("panel inspector flow-{}", self.shown_request().unwrap_or(1) % 3)} aria-label="Inspector">
                    <div class="tabs"><button class="on" aria-current="true">{ "Packet" }</button></div>
                    <Inspector film={self.film.clone()} on_packet={ctx.link().callback(Msg::SelectPacket)} />
                </section>
                { self.dock(ctx) }
                { self.panels(ctx) }
            </div>
        }
    }
}

/// Beginning, and frames.
impl App {
    fn begin(&mut self, ctx: &Context<Self>) {
        let link = ctx.link();
        if let Some(place) = self.editor_place.cast::<Element>() {
            let edited = link.callback(|(name, text)| Msg::Edited(name, text));
            let apply = link.callback(|()| Msg::Apply);
            let on_change = move |name, text| edited.emit((name, text));
            self.editor = Some(Editor::new(&place, on_change, move || apply.emit(())));
        }
        if let Some(place) = self.terminal_place.cast::<Element>() {
            let (typed, columns) = (link.callback(Msg::Typed), link.callback(Msg::Columns));
            let on_data = move |data| typed.emit(data);
            let terminal = Terminal::new(&place, on_data, move |count| columns.emit(count));
            self.engine.borrow_mut().set_columns(terminal.columns());
            self.terminal = Some(Rc::new(terminal));
        }
        self.open_tab(&self.tab.clone());
        self.open_door();
        let tick = link.callback(Msg::Frame);
        self.frame = Some(Closure::new(move |at| tick.emit(at)));
        self.next_frame();
        let document = window().and_then(|window| window.document());
        if let Some(loading) = document.and_then(|document| document.get_element_by_id("loading")) {
            loading.remove();
        }
    }

    /// `window.podwire`
    fn open_door(&self) {
        let terminal = self.terminal.clone();
        let text = move || JsValue::from(terminal.as_ref().map(|t| t.text()).unwrap_or_default());
        let (one, two, three, four) =
            (self.engine.clone(), self.engine.clone(), self.engine.clone(), self.engine.clone());
        Door::default()
            .tells("terminalText", text)
            .takes_two("setFile", move |name, text| one.borrow().files.set(&name, &text))
            .takes("run", move |command| two.borrow_mut().run(&command))
            .tells("fingerprint", move || JsValue::from(three.borrow().fingerprint()))
            .tells("idle", move || JsValue::from(four.borrow().is_idle()))
            .open();
    }

    fn next_frame(&self) {
        if let (Some(window), Some(frame)) = (window(), &self.frame) {
            // Only a document without a window has no frames.
            let _ = window.request_animation_frame(frame.as_ref().unchecked_ref());
        }
    }

    fn on_frame(&mut self, ctx: &Context<Self>, at: f64) -> bool {
        self.next_frame();
        let end = now_ms() + BUDGET_MS;
        self.engine.borrow_mut().frame(at, || now_ms() >= end);
        self.show_output();
        self.show_clock();
        self.paint(at);
        let is_running = self.engine.borrow().is_running();
        let is_due = at - self.looked_at >= LOOK_MS || is_running != self.is_running;
        if !is_due {
            return false;
        }
        self.looked_at = at;
        let was_running = std::mem::replace(&mut self.is_running, is_running);
        self.look(ctx) || was_running != is_running
    }

    fn show_output(&self) {
        let bytes = self.engine.borrow().screen.take();
        if let (false, Some(terminal)) = (bytes.is_empty(), &self.terminal) {
            terminal.write(&bytes);
        }
    }

    /// The clock's texts change with every frame; they are written past the page's components.
    fn show_clock(&self) {
        let engine = self.engine.borrow();
        if let Some(time) = self.time.cast::<Element>() {
            time.set_text_content(Some(&engine.now().to_string()));
        }
        if let Some(rate) = self.rate.cast::<Element>() {
            let words = rate_words(engine.clock.rate(engine.going()));
            if rate.text_content().as_deref() != Some(&words) {
                rate.set_text_content(Some(&words));
            }
        }
    }

    fn paint(&mut self, at: f64) {
        let Some(canvas) = self.canvas.cast::<HtmlCanvasElement>() else { return };
        let engine = self.engine.borrow();
        let ratio = window().map_or(1.0, |window| window.device_pixel_ratio());
        let scene = Scene {
            layout: engine.layout(),
            traffic: &engine.traffic,
            now: engine.now(),
            reader: at,
            palette: &self.palette,
            is_still: self.is_still,
        };
        self.painter.paint(&canvas, ratio, &scene);
    }

    /// Looks at the world. `true`: something that is shown has changed.
    fn look(&mut self, _: &Context<Self>) -> bool {
        let mut changed = self.wear_theme();
        changed |= self.follow_files();
        if let Some(stage) = self.stage.cast::<Element>() {
            let (width, height) =
                (f64::from(stage.client_width()), f64::from(stage.client_height()));
            self.engine.borrow_mut().set_map_size(width, height);
        }
        changed |= self.engine.borrow_mut().look();
        changed |= self.read_journal();
        changed |= self.make_film();
        let advice = advise(&self.engine.borrow(), self.rows.first());
        if advice != self.advice {
            self.advice = advice;
            changed = true;
        }
        changed
    }

    fn read_journal(&mut self) -> bool {
        let engine = self.engine.borrow();
        let rewrites = engine.rewrites();
        let blinks = rewrites != *self.rewrites;
        if blinks {
            self.rewrites = Rc::new(rewrites);
        }
        let newest_entry = engine.lab().journal(|journal| journal.next_serial());
        if newest_entry == self.journal_seen {
            return blinks;
        }
        self.journal_seen = newest_entry;
        self.rows = Rc::new(rows(engine.lab()));
        self.entries = Rc::new(newest(engine.lab()));
        self.published = Rc::new(engine.published());
        true
    }

    fn shown_request(&self) -> Option<u32> {
        self.request.or_else(|| self.rows.first().map(|row| row.number))
    }

    fn make_film(&mut self) -> bool {
        let Some(number) = self.shown_request() else { return false };
        let engine = self.engine.borrow();
        let done = engine.lab().request(netsim::Cause(number)).and_then(|request| request.done);
        let grows = done.is_none_or(|done| engine.now() < done + GOODBYES);
        let steps = if grows { engine.lab().net().next_step() } else { 0 };
        let place = Rc::as_ptr(engine.layout()) as usize;
        let key = (number, self.packet, steps, place);
        if key == self.film_key {
            return false;
        }
        self.film_key = key;
        let film = engine.film(number, self.packet);
        let nodes = film.hops.iter().filter(|hop| !hop.marks.is_empty());
        let mut marks: BTreeMap<String, Vec<(f64, bool)>> = BTreeMap::new();
        for hop in nodes {
            marks.entry(hop.place.clone()).or_default().extend(&hop.marks);
        }
        self.marks = Rc::new(marks);
        self.wires = Rc::new(film.wires.clone());
        self.film = Some(Rc::new(film));
        true
    }
}

/// Files.
impl App {
    fn open_tab(&mut self, name: &str) {
        self.tab = name.to_string();
        let text = self.engine.borrow().files.text(name).unwrap_or_default();
        if let Some(editor) = &self.editor {
            editor.open(name, &text);
        }
    }

    fn close_tab(&mut self, name: &str) {
        self.engine.borrow().files.close(name);
        self.follow_files();
    }

    fn add_tab(&mut self) {
        let name = {
            let engine = self.engine.borrow();
            let name = engine.files.free_name();
            engine.files.set(&name, "");
            name
        };
        self.follow_files();
        self.open_tab(&name);
    }

    fn rename(&mut self, to: &str) {
        let Some(from) = self.renaming.take() else { return };
        let is_renamed = from != to && self.engine.borrow().files.rename(&from, to);
        if is_renamed {
            self.follow_files();
            self.open_tab(to.trim());
        }
    }

    /// Commands may have written files.
    fn follow_files(&mut self) -> bool {
        let (revision, names) = {
            let engine = self.engine.borrow();
            (engine.files.revision(), engine.files.names())
        };
        if revision == self.files_seen {
            return false;
        }
        self.files_seen = revision;
        for gone in self.tabs.iter().filter(|name| !names.contains(name)) {
            if let Some(editor) = &self.editor {
                editor.forget(gone);
            }
        }
        self.tabs = names;
        if self.tabs.contains(&self.tab) {
            let text = self.engine.borrow().files.text(&self.tab).unwrap_or_default();
            if let Some(editor) = &self.editor {
                editor.set_text(&text);
            }
        } else {
            let first = self.tabs.first().cloned().unwrap_or_default();
            self.open_tab(&first);
        }
        true
    }

    fn apply(&mut self) {
        let command = self.engine.borrow().apply_command(&self.tab);
        if let Some(command) = command {
            self.run(&command);
        }
    }

    fn run(&mut self, command: &str) {
        self.request = None;
        self.packet = None;
        self.pointed = None;
        self.engine.borrow_mut().run(command);
    }

    fn select(&mut self, request: Option<u32>, packet: Option<usize>) {
        self.request = request.or_else(|| self.shown_request());
        self.packet = packet;
        self.make_film();
    }
}

/// The theme.
impl App {
    fn choose_theme(&mut self, theme: Theme) {
        self.theme = theme;
        if let Some(Ok(Some(storage))) = window().map(|window| window.local_storage()) {
            // Without storage the choice holds until the page is closed.
            let _ = storage.set_item(THEME_KEY, theme.name());
        }
        self.wear_theme();
    }

    fn wear_theme(&mut self) -> bool {
        let shown = match self.theme {
            Theme::Dark => "dark",
            Theme::Light => "light",
            Theme::System if prefers("(prefers-color-scheme: light)") => "light",
            Theme::System => "dark",
        };
        if shown == self.shown_theme {
            return false;
        }
        self.shown_theme = shown;
        let Some(window) = window() else { return false };
        let Some(root) = window.document().and_then(|d| d.document_element()) else { return false };
        let _ = root.set_attribute("data-theme", shown);
        if let Ok(Some(style)) = window.get_computed_style(&root) {
            self.palette = Palette::of(&style);
        }
        if let Some(terminal) = &self.terminal {
            terminal.retheme();
        }
        true
    }
}

fn saved_theme() -> Theme {
    let storage = window().and_then(|window| window.local_storage().ok().flatten());
    let saved = storage.and_then(|storage| storage.get_item(THEME_KEY).ok().flatten());
    Theme::named(&saved.unwrap_or_default())
}

/// `1/9000×`
fn rate_words(rate: f64) -> String {
    if rate == 0.0 {
        "paused".to_string()
    } else if rate < 1.0 {
        format!("1/{:.0}×", 1.0 / rate)
    } else {
        format!("{rate:.0}×")
    }
}
