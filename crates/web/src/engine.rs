//! The world behind the page: it owns [`World`] and [`Shell`], lets time pass within a frame's budget, and
//! keeps the pictures that the page draws.
//!
//! Nothing here knows a browser: the page hands in what its clock says and what was typed.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

use std::collections::VecDeque;

use base::tree::BTreeMap;
use std::rc::Rc;

use base::{Duration, Instant};
use lab::journal::Topic;
use lab::view::{self, ClusterView};
use lab::{Lab, Options, World};
use netsim::{Cause, Process};
use shell::{Shell, SyntaxError, Terminal as _};

use crate::clock::{Clock, Going, Speed};
use crate::files::{TabFiles, quoted};
use crate::film::{Film, film};
use crate::line_editor::{Key, LineEditor, Typed, keys};
use crate::map::layout::{Layout, layout};
use crate::map::packets::Traffic;
use crate::terminal::{Screen, coloured};

/// Steps of the engine between two looks at the frame's budget.
const STEPS_A_LOOK: u32 = 64;
/// A command that does not end when it is asked to is ended after so long, in the reader's milliseconds.
const PATIENCE_MS: f64 = 400.0;
/// How far one press of the step button looks for the next packet.
const STEP_HORIZON: Duration = Duration::from_secs(2);
/// At most so many engine steps a press.
const STEP_BUDGET: u32 = 20_000;
/// A gate blinks for so long (`--blink` in `www/tokens.css`).
const BLINK_MS: f64 = 1_400.0;
/// A frame's share of a second, when packets turn up in the middle of one.
const FRAME: f64 = 1.0 / 60.0;
/// What is said of a map whose size nobody has told yet.
const MAP_SIZE: (f64, f64) = (720.0, 480.0);

struct Running {
    process: Process,
    /// Requests sent before it began.
    requests_before: u32,
    /// When it was asked to end.
    asked_at: Option<f64>,
}

/// The world, its shell and its clock.
pub struct Engine {
    world: World,
    /// The tabs.
    pub files: Rc<TabFiles>,
    /// What the terminal shows.
    pub screen: Rc<Screen>,
    /// The clock's controls.
    pub clock: Clock,
    /// Packets on the map.
    pub traffic: Traffic,
    shell: Shell,
    editor: LineEditor,
    typed: VecDeque<Key>,
    commands: VecDeque<String>,
    /// Lines of a command that goes on in the next.
    begun: String,
    running: Option<Running>,
    is_line_old: bool,
    view: Rc<ClusterView>,
    layout: Rc<Layout>,
    map_size: (f64, f64),
    reader: f64,
    next_entry: u64,
    /// How often each node's rules were rewritten, and when the reader could see the last time.
    rewrites: BTreeMap<String, (u64, f64)>,
}

impl Engine {
    /// A new lab with a running cluster.
    pub fn new(options: &Options) -> Engine {
        let world = World::new(options);
        let (files, screen) = (TabFiles::samples(), Rc::new(Screen::default()));
        let shell = Shell::new(world.lab(), files.clone(), screen.clone());
        let next_entry = world.lab().journal(|journal| journal.next_serial());
        let mut engine = Engine {
            world,
            files,
            screen,
            clock: Clock::default(),
            traffic: Traffic::default(),
            shell,
            editor: LineEditor::default(),
            typed: VecDeque::new(),
            commands: VecDeque::new(),
            begun: String::new(),
            running: None,
            is_line_old: true,
            view: Rc::default(),
            layout: Rc::default(),
            map_size: MAP_SIZE,
            reader: 0.0,
            next_entry,
            rewrites: BTreeMap::new(),
        };
        engine.look();
        engine.draw_line();
        engine
    }

    /// The lab.
    pub fn lab(&self) -> &Lab {
        self.world.lab()
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.lab().now()
    }

    /// The cluster as it was when it was last looked at.
    pub fn view(&self) -> &Rc<ClusterView> {
        &self.view
    }

    /// Where everything stands.
    pub fn layout(&self) -> &Rc<Layout> {
        &self.layout
    }

    /// The nodes whose rules were rewritten just now, and how often they were.
    pub fn rewrites(&self) -> BTreeMap<String, u64> {
        let is_fresh = |seen: &f64| self.reader - seen < BLINK_MS;
        let fresh = self.rewrites.iter().filter(|(_, (_, seen))| is_fresh(seen));
        base::order::map(fresh.map(|(node, (count, _))| (node.clone(), *count)))
    }

    /// The map has so much room.
    pub fn set_map_size(&mut self, width: f64, height: f64) {
        if (width, height) != self.map_size && width > 0.0 && height > 0.0 {
            self.map_size = (width, height);
            self.place();
        }
    }

    /// A command runs.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Nobody waits for anything: no command, no packet of a request.
    pub fn is_idle(&self) -> bool {
        let waits = self.is_running() || !self.commands.is_empty() || !self.typed.is_empty();
        !waits && !self.traffic.is_busy(self.now())
    }

    /// What goes on, as far as the clock minds.
    pub fn going(&self) -> Going {
        let now = self.now();
        if self.traffic.is_opening(now) {
            Going::Opening
        } else if self.traffic.is_busy(now) {
            Going::Packets
        } else if self.running.is_none() {
            Going::Quiet
        } else if self.open_request() {
            Going::Waiting
        } else {
            Going::Command
        }
    }

    fn open_request(&self) -> bool {
        let before = self.running.as_ref().map_or(u32::MAX, |running| running.requests_before);
        self.lab().requests(|requests| {
            let newest = requests.iter().next_back();
            newest.is_some_and(|newest| newest.cause.0 > before && newest.done.is_none())
        })
    }

    fn newest_request(&self) -> u32 {
        let newest = |requests: &lab::requests::Requests| {
            requests.iter().next_back().map_or(0, |newest| newest.cause.0)
        };
        self.lab().requests(newest)
    }
}

/// Time.
impl Engine {
    /// A frame: `reader` is the page's clock in milliseconds, `is_over` says when the frame's budget is used
    /// up.
    pub fn frame(&mut self, reader: f64, is_over: impl Fn() -> bool) {
        let seconds = (reader - self.reader) / 1000.0;
        self.reader = reader;
        self.serve();
        let newest = self.newest_request();
        let before = self.running.as_ref().map_or(newest, |running| running.requests_before);
        self.clock.before = newest.saturating_sub(before).saturating_sub(1);
        self.advance(seconds, is_over);
        self.finish();
        self.serve();
        self.traffic.follow(self.world.lab(), &self.layout, reader);
    }

    fn advance(&mut self, seconds: f64, is_over: impl Fn() -> bool) {
        let going = self.going();
        let is_calm = !matches!(going, Going::Opening | Going::Packets);
        let mut until = self.clock.target(self.now(), seconds, going);
        let mut seen = self.lab().net().next_step();
        for count in 1_u32.. {
            if !self.world.step(until) {
                break;
            }
            let newest = self.lab().net().next_step();
            if is_calm && newest != seen && self.clock.speed == Speed::Auto {
                // Packets of a request have turned up: from here on it goes slowly.
                until = until.min(self.clock.target(self.now(), FRAME, Going::Opening));
            }
            seen = newest;
            let has_ended = self.running.as_ref().is_some_and(|r| r.process.exit_code().is_some());
            if has_ended || (count % STEPS_A_LOOK == 0 && is_over()) {
                break;
            }
        }
    }

    /// Lets the world go on up to the next thing that happens to a packet of a request, or else up to the next
    /// thing that happens.
    pub fn step(&mut self) {
        self.clock.is_paused = true;
        let before = self.lab().net().next_step();
        let horizon = self.now() + STEP_HORIZON;
        for _ in 0..STEP_BUDGET {
            if !self.world.step(horizon) || self.lab().net().next_step() != before {
                break;
            }
        }
        self.finish();
    }

    /// The running command has ended, or is made to.
    fn finish(&mut self) {
        let Some(running) = &self.running else { return };
        if running.asked_at.is_some_and(|asked_at| self.reader - asked_at > PATIENCE_MS) {
            running.process.kill();
        }
        if running.process.exit_code().is_some() {
            self.running = None;
            self.screen.fresh_line();
            self.is_line_old = true;
        }
    }
}

/// The terminal.
impl Engine {
    /// Something was typed or pasted.
    pub fn type_in(&mut self, data: &str) {
        for key in keys(data) {
            if key == Key::Interrupt && self.running.is_some() {
                self.interrupt();
            } else {
                self.typed.push_back(key);
            }
        }
        self.serve();
    }

    fn interrupt(&mut self) {
        self.typed.clear();
        self.commands.clear();
        let Some(running) = &mut self.running else { return };
        self.screen.raw("^C");
        if running.asked_at.replace(self.reader).is_some() {
            running.process.kill();
        } else {
            running.process.terminate();
        }
    }

    /// Runs a command so that everybody sees it: as if it had been typed.
    pub fn run(&mut self, command: &str) {
        self.commands.push_back(command.to_string());
        self.serve();
    }

    /// The terminal has so many columns.
    pub fn set_columns(&mut self, columns: usize) {
        self.screen.set_columns(columns);
        if self.running.is_none() {
            self.is_line_old = true;
        }
    }

    /// Does with what was typed what can be done while no command runs.
    fn serve(&mut self) {
        while self.running.is_none() {
            if let Some(command) = self.commands.pop_front() {
                self.begun.clear();
                self.editor.set(&command);
                self.press(Key::Enter);
            } else if let Some(key) = self.typed.pop_front() {
                self.press(key);
            } else {
                break;
            }
        }
        if self.running.is_none() && self.is_line_old {
            self.draw_line();
        }
    }

    fn press(&mut self, key: Key) {
        if key == Key::Enter {
            self.draw_line();
        }
        match self.editor.press(key) {
            Typed::Edited => {}
            Typed::Entered(line) => {
                self.screen.raw("\r\n");
                self.editor.forget_row();
                self.editor.remember(&line);
                self.enter(&line);
            }
            Typed::GivenUp => {
                self.screen.raw("^C\r\n");
                self.editor.forget_row();
                self.begun.clear();
            }
            Typed::Cleared => {
                self.screen.raw("\x1b[H\x1b[2J\x1b[3J");
                self.editor.forget_row();
            }
        }
        self.is_line_old = true;
    }

    fn enter(&mut self, line: &str) {
        let text = format!("{}{line}", std::mem::take(&mut self.begun));
        if text.trim().is_empty() {
            return;
        }
        let requests_before = self.newest_request();
        match self.shell.start(&text) {
            Ok(process) => {
                self.running = Some(Running { process, requests_before, asked_at: None });
            }
            Err(SyntaxError::Incomplete) => self.begun = format!("{text}\n"),
            Err(SyntaxError::Wrong(words)) => self.screen.show(format!("{words}\n").as_bytes()),
        }
    }

    fn draw_line(&mut self) {
        let (prompt, width) = match self.begun.is_empty() {
            true => coloured(&self.shell.prompt()),
            false => coloured("> "),
        };
        let columns = self.screen.columns();
        let text = self.editor.draw((&prompt, width), columns);
        self.screen.raw(&text);
        self.is_line_old = false;
    }
}

/// What the page shows.
impl Engine {
    /// Looks at the world anew. `true`: the cluster is not as it was.
    pub fn look(&mut self) -> bool {
        let lab = self.world.lab();
        let current = lab.current().or_else(|| lab.clusters().into_iter().next());
        let view = current.and_then(|name| lab.with(&name, |cluster| view::cluster(cluster)));
        let view = view.unwrap_or_default();
        let has_rewritten = self.count_rewrites();
        if view == *self.view {
            return has_rewritten;
        }
        self.view = Rc::new(view);
        self.place();
        true
    }

    fn count_rewrites(&mut self) -> bool {
        let from = self.next_entry;
        let (rewrites, reader) = (&mut self.rewrites, self.reader);
        self.next_entry = self.world.lab().journal(|journal| {
            for entry in journal.since(from).filter(|entry| entry.topic == Topic::Rules) {
                let seen = rewrites.entry(entry.place.clone()).or_default();
                *seen = (seen.0 + 1, reader);
            }
            journal.next_serial()
        });
        self.next_entry != from
    }

    fn place(&mut self) {
        let (width, height) = self.map_size;
        let mut placed = layout(&self.view, width);
        let excess = placed.height / height;
        if excess > 1.05 {
            // Wider and smaller: more tiles in a row.
            placed = layout(&self.view, width * excess.min(2.5));
        }
        self.layout = Rc::new(placed);
    }

    /// The film of a request.
    pub fn film(&self, request: u32, packet: Option<usize>) -> Film {
        let lab = self.lab();
        let Some(known) = lab.request(Cause(request)) else { return Film::default() };
        film(&known, &lab.journey(Cause(request)), packet, &self.layout)
    }

    /// What the Apply button runs while this tab is shown.
    pub fn apply_command(&self, tab: &str) -> Option<String> {
        if self.files.is_kind_config(tab) {
            let file = quoted(tab);
            let create = format!("kind create cluster --config {file}");
            let old = self.lab().current().map(|name| match name.as_str() {
                "kind" => "kind delete cluster; ".to_string(),
                name => format!("kind delete cluster --name {name}; "),
            });
            return Some(format!("{}{create}", old.unwrap_or_default()));
        }
        let files: Vec<String> =
            self.files.manifests().iter().map(|name| format!(" -f {}", quoted(name))).collect();
        (!files.is_empty()).then(|| format!("kubectl apply{}", files.concat()))
    }

    /// What a Service's button runs: a request to its port on your machine, if it has one there.
    pub fn send_command(&self, service: &view::ServiceView) -> Option<String> {
        let ports = service.ports.iter().filter_map(|port| u16::try_from(port.node_port?).ok());
        let published = |node_port: u16| {
            self.lab().machine(|machine| {
                let mut all = machine.published().iter();
                let found = all.find(|published| published.mapping.container_port == node_port);
                found.map(|published| published.mapping.host_port)
            })
        };
        let mut ports = ports.filter_map(published);
        ports.next().map(|port| format!("curl -s localhost:{port}"))
    }

    /// The ports that are published on your machine.
    pub fn published(&self) -> Vec<u16> {
        self.lab().machine(|machine| {
            machine.published().iter().map(|published| published.mapping.host_port).collect()
        })
    }

    /// The event log's hash.
    pub fn fingerprint(&self) -> String {
        self.lab().journal(|journal| journal.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of a sixtieth of a second until nothing goes on, at most so many.
    fn settle(engine: &mut Engine, frames: u32) -> (u32, String) {
        let mut shown = Vec::new();
        for frame in 0..frames {
            engine.frame(engine.reader + 1000.0 / 60.0, || false);
            shown.extend(engine.screen.take());
            if engine.is_idle() {
                return (frame, String::from_utf8_lossy(&shown).into_owned());
            }
        }
        (frames, String::from_utf8_lossy(&shown).into_owned())
    }

    #[test]
    fn a_command_is_shown_run_and_followed_by_a_prompt() {
        let mut engine = Engine::new(&Options::default());
        engine.type_in("echo one\rfor i in 1 2\rdo echo $i; done\r");
        let (_, shown) = settle(&mut engine, 600);
        let plain = shown.replace("\x1b[36m", "").replace("\x1b[0m", "");
        assert!(
            plain.contains("echo one\r\u{1b}[14C\r\none\r\n") || plain.contains("one\r\n"),
            "{plain:?}"
        );
        assert!(plain.contains("1\r\n2\r\n"), "{plain:?}");
        assert!(plain.trim_end().contains("you@laptop:~$"), "{plain:?}");
    }

    #[test]
    fn nonsense_is_answered_and_the_page_goes_on() {
        let mut engine = Engine::new(&Options::default());
        for text in
            ["if fi\r", "\u{7f}\u{1b}[A\r", "kubectl apply -f nothing.yml\r", "|\r", "🦀 $(\x03"]
        {
            engine.type_in(text);
            settle(&mut engine, 1200);
        }
        engine.type_in("echo still here\r");
        let (_, shown) = settle(&mut engine, 600);
        assert!(shown.contains("still here\r\n"), "{shown:?}");
    }

    #[test]
    fn ctrl_c_ends_what_runs() {
        let mut engine = Engine::new(&Options::default());
        engine.type_in("sleep 100000\r");
        settle(&mut engine, 10);
        assert!(engine.is_running());
        engine.type_in("\x03");
        let (frames, shown) = settle(&mut engine, 600);
        assert!(!engine.is_running() && frames < 120, "{frames} {shown:?}");
    }

    #[test]
    fn the_first_minute() {
        let mut engine = Engine::new(&Options::default());
        let apply = engine.apply_command("service.yml").unwrap();
        assert_eq!(apply, "kubectl apply -f deployment.yml -f service.yml");
        engine.run(&apply);
        let (_, shown) = settle(&mut engine, 6000);
        assert!(shown.contains("created"), "{shown}");
        for _ in 0..600 {
            engine.frame(engine.reader + 1000.0 / 60.0, || false);
        }
        engine.look();
        let service = engine.view().services.iter().find(|s| s.name == "nginx-service").unwrap();
        let send = engine.send_command(service).unwrap();
        assert_eq!(send, "curl -s localhost:30007");
        engine.run(&send);
        let (frames, shown) = settle(&mut engine, 6000);
        assert!(shown.contains("nginx"), "{shown}");
        // Slow enough to be followed, quick enough to be waited for.
        let seconds = f64::from(frames) / 60.0;
        assert!((2.0..9.0).contains(&seconds), "{seconds} s");
        let film = engine.film(1, None);
        assert!(film.hops.iter().any(|hop| !hop.rewritten.is_empty()), "{film:#?}");
    }
}
