//! Packets on the canvas above the map.

use lab::path::PacketKind;
use netsim::Cause;
use wasm_bindgen::JsCast;
use web_sys::{CanvasRenderingContext2d, CssStyleDeclaration, HtmlCanvasElement};

use base::Instant;

use super::layout::{GATE_W, Layout, Point, along};
use super::packets::{Flight, Note, Said, TRAIL_MS, Traffic};

const FONT: &str = "11px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace";
/// Lines of a chip.
const LINE: f64 = 16.0;

/// Lines of a chip: the words, their colour, and whether they are struck out.
type Lines<'a> = [(&'a str, &'a str, bool)];

/// How wide a chip with these lines is.
fn chip_width(lines: &Lines<'_>) -> f64 {
    let widest = lines.iter().map(|(words, ..)| words.chars().count()).max().unwrap_or(0);
    widest as f64 * 6.65 + 16.0
}

/// The theme's colours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Palette {
    flows: [String; 3],
    ink: String,
    faint: String,
    raised: String,
    line: String,
    ground: String,
    nat: String,
    bad: String,
}

impl Palette {
    /// Reads the tokens.
    pub fn of(style: &CssStyleDeclaration) -> Palette {
        let token = |name: &str| {
            let value = style.get_property_value(name).unwrap_or_default();
            value.trim().to_string()
        };
        Palette {
            flows: [token("--flow-a"), token("--flow-b"), token("--flow-c")],
            ink: token("--ink"),
            faint: token("--ink-3"),
            raised: token("--raised"),
            line: token("--line"),
            ground: token("--bg"),
            nat: token("--nat"),
            bad: token("--bad"),
        }
    }

    fn flow(&self, cause: Cause) -> &str {
        let [a, b, c] = &self.flows;
        match cause.0 % 3 {
            1 => a,
            2 => b,
            _ => c,
        }
    }
}

/// What is to be painted, and how.
pub struct Scene<'a> {
    /// The map.
    pub layout: &'a Layout,
    /// What flies.
    pub traffic: &'a Traffic,
    /// The virtual time.
    pub now: Instant,
    /// The reader's time, in milliseconds.
    pub reader: f64,
    /// Colours.
    pub palette: &'a Palette,
    /// The reader prefers that nothing moves.
    pub is_still: bool,
}

/// The canvas, and whether something stands on it.
#[derive(Default)]
pub struct Painter {
    is_dirty: bool,
}

impl Painter {
    /// Paints a frame; `ratio` is the number of device pixels to a CSS pixel.
    pub fn paint(&mut self, canvas: &HtmlCanvasElement, ratio: f64, scene: &Scene<'_>) {
        let traffic = scene.traffic;
        let is_empty =
            traffic.flights.is_empty() && traffic.trails.is_empty() && traffic.notes.is_empty();
        if is_empty && !self.is_dirty {
            return;
        }
        self.is_dirty = !is_empty;
        let Some(context) = context(canvas) else { return };
        let (width, height) = (f64::from(canvas.client_width()), f64::from(canvas.client_height()));
        fit(canvas, width * ratio, height * ratio);
        let _ = context.set_transform(ratio, 0.0, 0.0, ratio, 0.0, 0.0);
        context.clear_rect(0.0, 0.0, width, height);
        // As `preserveAspectRatio="xMidYMid meet"` places the structure.
        let layout = scene.layout;
        let scale = (width / layout.width).min(height / layout.height);
        let left = (width - layout.width * scale) / 2.0;
        let top = (height - layout.height * scale) / 2.0;
        let _ = context.translate(left, top);
        let _ = context.scale(scale, scale);
        Brush { context: &context, scene }.all();
    }
}

fn context(canvas: &HtmlCanvasElement) -> Option<CanvasRenderingContext2d> {
    canvas.get_context("2d").ok()??.dyn_into().ok()
}

fn fit(canvas: &HtmlCanvasElement, width: f64, height: f64) {
    let (width, height) = (width.round() as u32, height.round() as u32);
    if canvas.width() != width || canvas.height() != height {
        canvas.set_width(width);
        canvas.set_height(height);
    }
}

struct Brush<'a> {
    context: &'a CanvasRenderingContext2d,
    scene: &'a Scene<'a>,
}

impl Brush<'_> {
    fn all(&self) {
        let Scene { traffic, reader, palette, .. } = self.scene;
        self.context.set_font(FONT);
        self.context.set_line_join("round");
        for trail in &traffic.trails {
            let age = (reader - trail.since) / TRAIL_MS;
            self.line(&trail.wire, palette.flow(trail.cause), 0.75 * (1.0 - age).max(0.0), 2.5);
        }
        for flight in &traffic.flights {
            self.flight(flight);
        }
        // Several rewritings at one gate stand one below the other.
        let mut rows: Vec<(Point, f64)> = Vec::new();
        for note in &traffic.notes {
            let mut row = 0.0;
            if matches!(note.what, Said::Rewritten { .. }) {
                row = rows.iter().filter(|(at, _)| *at == note.at).map(|(_, height)| height).sum();
                rows.push((note.at, 2.0 * LINE + 10.0));
            }
            self.note(note, row);
        }
        self.context.set_global_alpha(1.0);
    }

    fn line(&self, wire: &[Point], colour: &str, alpha: f64, width: f64) {
        let c = self.context;
        c.set_global_alpha(alpha);
        c.set_stroke_style_str(colour);
        c.set_line_width(width);
        c.begin_path();
        for (at, point) in wire.iter().enumerate() {
            if at == 0 { c.move_to(point.x, point.y) } else { c.line_to(point.x, point.y) }
        }
        c.stroke();
        c.set_global_alpha(1.0);
    }

    fn flight(&self, flight: &Flight) {
        let Scene { palette, now, is_still, .. } = self.scene;
        let share = if *is_still { 1.0 } else { flight.share(*now) };
        let Some(at) = along(&flight.wire, share) else { return };
        let is_arp = flight.kind == PacketKind::Arp;
        let colour = if is_arp { &palette.faint } else { palette.flow(flight.cause) };
        if !is_arp {
            self.line(&flight.wire, colour, 0.35, 2.0);
        }
        self.shape(flight.kind, at, colour);
        self.label(flight, at);
    }

    /// A form for each kind of packet.
    fn shape(&self, kind: PacketKind, at: Point, colour: &str) {
        let c = self.context;
        c.set_fill_style_str(colour);
        c.set_stroke_style_str(&self.scene.palette.ground);
        c.set_line_width(2.0);
        c.begin_path();
        let Point { x, y } = at;
        match kind {
            PacketKind::Data => c.rect(x - 6.5, y - 5.0, 13.0, 10.0),
            PacketKind::Fin | PacketKind::Rst => {
                c.move_to(x, y - 7.5);
                c.line_to(x + 7.5, y);
                c.line_to(x, y + 7.5);
                c.line_to(x - 7.5, y);
                c.close_path();
            }
            PacketKind::Udp | PacketKind::Icmp => {
                c.move_to(x - 7.0, y + 6.0);
                c.line_to(x, y - 7.0);
                c.line_to(x + 7.0, y + 6.0);
                c.close_path();
            }
            kind => {
                let radius = match kind {
                    PacketKind::Arp => 3.0,
                    PacketKind::Ack => 4.5,
                    _ => 7.0,
                };
                let _ = c.arc(x, y, radius, 0.0, std::f64::consts::TAU);
            }
        }
        c.stroke();
        c.fill();
        if kind == PacketKind::SynAck {
            // Hollow: the answer to the question.
            c.set_fill_style_str(&self.scene.palette.ground);
            c.begin_path();
            let _ = c.arc(x, y, 3.0, 0.0, std::f64::consts::TAU);
            c.fill();
        }
    }

    fn label(&self, flight: &Flight, at: Point) {
        let words = match flight.kind {
            PacketKind::Ack | PacketKind::Arp => return,
            PacketKind::Syn | PacketKind::Udp => {
                format!("{} → {}", flight.kind.word(), flight.label)
            }
            kind => kind.word().to_string(),
        };
        let palette = self.scene.palette;
        let at = Point { x: at.x + 12.0, y: at.y - 14.0 };
        self.chip(at, &[(&words, &palette.ink, false)], &palette.line);
    }

    /// Lines of text on a plate.
    fn chip(&self, at: Point, lines: &Lines<'_>, border: &str) {
        let c = self.context;
        let width = chip_width(lines);
        let height = lines.len() as f64 * LINE + 6.0;
        let x = at.x.min(self.scene.layout.width - width - 4.0).max(4.0);
        let y = (at.y - height / 2.0).min(self.scene.layout.height - height - 2.0).max(2.0);
        c.set_fill_style_str(&self.scene.palette.raised);
        c.set_stroke_style_str(border);
        c.set_line_width(1.0);
        c.begin_path();
        let _ = c.round_rect_with_f64(x, y, width, height, 6.0);
        c.fill();
        c.stroke();
        for (at, (words, colour, is_struck)) in lines.iter().enumerate() {
            let base = y + 15.0 + at as f64 * LINE;
            c.set_fill_style_str(colour);
            let _ = c.fill_text(words, x + 8.0, base);
            if *is_struck {
                c.fill_rect(x + 8.0, base - 4.0, words.chars().count() as f64 * 6.62, 1.0);
            }
        }
    }

    fn note(&self, note: &Note, row: f64) {
        let Scene { reader, palette, is_still, .. } = self.scene;
        let age = (reader - note.since) / note.lasts();
        let alpha = ((1.0 - age) * 4.0).clamp(0.0, 1.0);
        self.context.set_global_alpha(alpha);
        match &note.what {
            Said::Arrived => self.ring(note, age),
            Said::Lost(why) => {
                // It falls off the wire.
                let fall = if *is_still { 18.0 } else { (age * 6.0).min(1.0) * 18.0 };
                let at = Point { x: note.at.x, y: note.at.y + fall };
                self.shape(PacketKind::Syn, at, &palette.bad);
                let words = format!("lost: {why}");
                self.chip(
                    Point { x: at.x + 14.0, y: at.y + 14.0 },
                    &[(&words, &palette.bad, false)],
                    &palette.bad,
                );
            }
            Said::Rewritten { end, was, now } => {
                let (was, now) = (format!("{end} {was}"), format!("{end} {now}"));
                let lines = [
                    (was.as_str(), palette.faint.as_str(), true),
                    (now.as_str(), palette.nat.as_str(), false),
                ];
                // On the side that packets come from: there are wires, and no words.
                let beside = note.at.x - GATE_W / 2.0 - 6.0 - chip_width(&lines);
                let x = beside.max(self.scene.layout.machine.right() + 4.0);
                self.chip(Point { x, y: note.at.y - 2.0 + row }, &lines, &palette.nat);
            }
        }
        self.context.set_global_alpha(1.0);
    }

    fn ring(&self, note: &Note, age: f64) {
        let radius = if self.scene.is_still { 10.0 } else { 6.0 + age * 14.0 };
        let c = self.context;
        c.set_stroke_style_str(self.scene.palette.flow(note.cause));
        c.set_line_width(2.0);
        c.begin_path();
        let _ = c.arc(note.at.x, note.at.y, radius, 0.0, std::f64::consts::TAU);
        c.stroke();
    }
}
