//! Where everything stands on the map: a pure function of the cluster and the width there is.
//!
//! Who asks is on the left, the network in the middle, who answers on the right; a wire always meets a
//! node's gate first.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

use std::net::Ipv4Addr;

use lab::Place;
use lab::view::{ClusterView, NodeView, PodView};
use netsim::Cidr;

/// A point of the map, in its own units.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// From the left.
    pub x: f64,
    /// From the top.
    pub y: f64,
}

/// A rectangle of the map.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rect {
    /// Its left edge.
    pub x: f64,
    /// Its upper edge.
    pub y: f64,
    /// Its width.
    pub w: f64,
    /// Its height.
    pub h: f64,
}

impl Rect {
    /// Its right edge.
    pub fn right(&self) -> f64 {
        self.x + self.w
    }

    /// Its lower edge.
    pub fn bottom(&self) -> f64 {
        self.y + self.h
    }

    /// The height of its middle.
    pub fn middle(&self) -> f64 {
        self.y + self.h / 2.0
    }
}

/// A Pod's tile.
#[derive(Clone, Debug, PartialEq)]
pub struct Tile {
    /// The Pod.
    pub pod: PodView,
    /// Its place.
    pub rect: Rect,
}

/// A node's card.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// The node.
    pub node: NodeView,
    /// Its place.
    pub rect: Rect,
    /// Its gate.
    pub gate: Rect,
    /// Its Pods that have a network of their own.
    pub tiles: Vec<Tile>,
    /// Its Pods that use the node's network, in a line.
    pub on_host: Vec<String>,
    pod_cidr: Option<Cidr>,
}

/// Where something is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// The program on your machine that asks.
    Client,
    /// Docker's published ports on your machine.
    Published,
    /// The Docker network, where a node is connected to it.
    Bus(usize),
    /// A node's gate.
    Gate(usize),
    /// A Pod: of this node, at this place among its tiles.
    Pod(usize, usize),
}

/// Where everything stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Width of the whole.
    pub width: f64,
    /// Height of the whole.
    pub height: f64,
    /// Your machine.
    pub machine: Rect,
    /// In it: whoever asks.
    pub client: Rect,
    /// In it: published ports.
    pub published: Rect,
    /// The Docker network: a line from top to bottom.
    pub bus: Rect,
    /// The nodes.
    pub cards: Vec<Card>,
    /// Pods on no node.
    pub waiting: Vec<Tile>,
}

const MARGIN: f64 = 12.0;
const WIDTH_MIN: f64 = 520.0;
const MACHINE_W: f64 = 142.0;
const MACHINE_H: f64 = 146.0;
/// Width of a gate.
pub(super) const GATE_W: f64 = 56.0;
const HEAD: f64 = 42.0;
const TILE_GAP: f64 = 10.0;
const TILE_H: f64 = 76.0;
const SMALL_H: f64 = 42.0;
const TILE_MIN: f64 = 142.0;
const TILE_MAX: f64 = 252.0;
const CARD_GAP: f64 = 12.0;
/// Between the gate and the Pods: where wires turn.
const CHANNEL: f64 = 22.0;

/// Pods of the cluster's own.
pub fn is_system(pod: &PodView) -> bool {
    pod.namespace == "kube-system" || pod.namespace == "local-path-storage"
}

/// Places everything.
pub fn layout(view: &ClusterView, width: f64) -> Layout {
    let width = width.max(WIDTH_MIN);
    // Where there is room, what a gate has rewritten is read between the machine and the gate.
    let gap = (39.0 + (width - WIDTH_MIN) * 0.2).clamp(39.0, 86.0);
    let bus_x = MARGIN + MACHINE_W + gap;
    let card_x = bus_x + gap;
    let mut top = MARGIN + 22.0;
    let bus_top = top;
    let mut cards = Vec::new();
    for node in &view.nodes {
        let card = card(node, Rect { x: card_x, y: top, w: width - card_x - MARGIN, h: 0.0 });
        top = card.rect.bottom() + CARD_GAP;
        cards.push(card);
    }
    let machine_bottom = bus_top + MACHINE_H + CARD_GAP;
    let bottom = top.max(machine_bottom) - CARD_GAP;
    let column = Rect { x: card_x, y: bottom + 38.0, w: width - card_x - MARGIN, h: 0.0 };
    let waiting = tiles(view.waiting.iter(), column);
    let end = waiting.iter().map(|tile| tile.rect.bottom()).fold(bottom + 20.0, f64::max);
    let machine_y = (bus_top + bottom - MACHINE_H) / 2.0;
    let machine = Rect { x: MARGIN, y: machine_y, w: MACHINE_W, h: MACHINE_H };
    let inside = |y: f64| Rect { x: machine.x + 12.0, y, w: machine.w - 24.0, h: 32.0 };
    Layout {
        width,
        height: end + MARGIN,
        machine,
        client: inside(machine_y + 54.0),
        published: inside(machine_y + 100.0),
        bus: Rect { x: bus_x, y: bus_top, w: 0.0, h: bottom - bus_top },
        cards,
        waiting,
    }
}

fn card(node: &NodeView, at: Rect) -> Card {
    let own = node.pods.iter().filter(|pod| !pod.on_host);
    let left = at.x + GATE_W + CHANNEL;
    let column = Rect { x: left, y: at.y + HEAD, w: at.right() - left - 14.0, h: 0.0 };
    let tiles = tiles(own, column);
    let end = tiles.iter().map(|tile| tile.rect.bottom()).fold(at.y + HEAD + 30.0, f64::max);
    let on_host = node.pods.iter().filter(|pod| pod.on_host);
    let on_host: Vec<String> = on_host.map(|pod| short_of(&pod.name, &node.name)).collect();
    let line = if on_host.is_empty() { 12.0 } else { 26.0 };
    let rect = Rect { h: end + line - at.y, ..at };
    Card {
        node: node.clone(),
        rect,
        gate: Rect { w: GATE_W, ..rect },
        tiles,
        on_host,
        pod_cidr: node.pod_cidr.parse().ok(),
    }
}

/// `etcd` of `etcd-kind-control-plane`, `kindnet` of `kindnet-frz2b`.
fn short_of(pod: &str, node: &str) -> String {
    let own = pod.strip_suffix(node).and_then(|rest| rest.strip_suffix('-'));
    let short = own.or_else(|| pod.rsplit_once('-').map(|(start, _)| start));
    short.unwrap_or(pod).to_string()
}

/// Tiles in rows from left to right; the cluster's own come last and are small.
fn tiles<'a>(pods: impl Iterator<Item = &'a PodView>, column: Rect) -> Vec<Tile> {
    let (mut pods, system): (Vec<_>, Vec<_>) = pods.partition(|pod| !is_system(pod));
    pods.extend(system);
    let room = ((column.w + TILE_GAP) / (TILE_MIN + TILE_GAP)).floor().max(1.0);
    let columns = room.min(pods.len().max(1) as f64);
    let w = ((column.w + TILE_GAP) / columns - TILE_GAP).min(TILE_MAX);
    let (mut x, mut y, mut row_h) = (column.x, column.y, 0.0_f64);
    let mut tiles = Vec::new();
    for pod in pods {
        let h = if is_system(pod) { SMALL_H } else { TILE_H };
        if x > column.x && x + w > column.right() + 0.5 {
            (x, y, row_h) = (column.x, y + row_h + TILE_GAP, 0.0);
        }
        tiles.push(Tile { pod: pod.clone(), rect: Rect { x, y, w, h } });
        x += w + TILE_GAP;
        row_h = row_h.max(h);
    }
    tiles
}

/// Wires of the two directions lie side by side.
const LANE: f64 = 5.0;

impl Layout {
    fn card_of(&self, index: usize) -> Card {
        self.cards.get(index).cloned().unwrap_or_else(|| Card {
            node: NodeView {
                name: String::new(),
                ip: Ipv4Addr::UNSPECIFIED,
                pod_cidr: String::new(),
                is_control_plane: false,
                is_ready: false,
                is_cordoned: false,
                mode: "none",
                rules: 0,
                pods: Vec::new(),
            },
            rect: self.machine,
            gate: self.machine,
            tiles: Vec::new(),
            on_host: Vec::new(),
            pod_cidr: None,
        })
    }

    /// The number of a node.
    pub fn node(&self, name: &str) -> Option<usize> {
        self.cards.iter().position(|card| card.node.name == name)
    }

    /// Where a place is drawn. Programs of your machine are drawn as [`Spot::Client`].
    pub fn spot(&self, place: &Place) -> Option<Spot> {
        match place {
            Place::Machine => Some(Spot::Client),
            Place::Node(name) => self.node(name).map(Spot::Gate),
            Place::Pod { namespace, name, .. } => {
                let mut cards = self.cards.iter().enumerate();
                cards.find_map(|(at, card)| {
                    let is_it = |t: &Tile| t.pod.name == *name && t.pod.namespace == *namespace;
                    card.tiles.iter().position(is_it).map(|tile| Spot::Pod(at, tile))
                })
            }
        }
    }

    /// Where on the Docker network a packet to `dst` leaves it; none: it is for your machine, or leads on
    /// from there.
    pub fn way_out(&self, dst: Ipv4Addr) -> Option<usize> {
        let holds = |card: &Card| card.pod_cidr.is_some_and(|cidr| cidr.contains(dst));
        self.cards.iter().position(|card| card.node.ip == dst || holds(card))
    }

    /// The point of a spot.
    pub fn point(&self, spot: Spot) -> Point {
        let right = |rect: Rect| Point { x: rect.right(), y: rect.middle() };
        match spot {
            Spot::Client => right(self.client),
            Spot::Published => right(self.published),
            Spot::Bus(node) => Point { x: self.bus.x, y: self.card_of(node).gate.middle() },
            Spot::Gate(node) => {
                let gate = self.card_of(node).gate;
                Point { x: gate.x + gate.w / 2.0, y: gate.middle() }
            }
            Spot::Pod(node, tile) => {
                let card = self.card_of(node);
                let rect = card.tiles.get(tile).map_or(card.rect, |tile| tile.rect);
                Point { x: rect.x, y: rect.middle() }
            }
        }
    }

    /// The wire from one spot to another, corner by corner; empty where there is none.
    pub fn wire(&self, from: Spot, to: Spot) -> Vec<Point> {
        let (a, b) = (self.point(from), self.point(to));
        let bus = self.bus.x;
        let point = |x: f64, y: f64| Point { x, y };
        match (from, to) {
            (Spot::Client, Spot::Published) | (Spot::Published, Spot::Client) => {
                let x = self.client.x + self.client.w / 2.0;
                let (above, below) = (self.client.bottom(), self.published.y);
                let (start, end) =
                    if from == Spot::Client { (above, below) } else { (below, above) };
                let x = if from == Spot::Client { x - LANE } else { x + LANE };
                vec![point(x, start), point(x, end)]
            }
            (Spot::Client | Spot::Published, Spot::Gate(_)) => {
                let (x, y) = (bus - LANE, b.y - LANE);
                vec![a, point(x, a.y), point(x, y), point(b.x, y)]
            }
            (Spot::Gate(_), Spot::Bus(_)) => {
                vec![point(a.x, a.y + LANE), point(bus + LANE, a.y + LANE)]
            }
            (Spot::Bus(_), Spot::Bus(_)) => {
                vec![point(bus + LANE, a.y + LANE), point(bus + LANE, b.y - LANE)]
            }
            (Spot::Bus(_), Spot::Gate(_)) => {
                vec![point(bus + LANE, b.y - LANE), point(b.x, b.y - LANE)]
            }
            (Spot::Bus(_), Spot::Client | Spot::Published) => {
                let (x, y) = (bus + LANE, a.y + LANE);
                vec![point(x, y), point(x, b.y + LANE), point(b.x, b.y + LANE)]
            }
            (Spot::Gate(node), Spot::Pod(_, tile)) => self.inner_wire(node, tile, -LANE),
            (Spot::Pod(_, tile), Spot::Gate(node)) => {
                let mut wire = self.inner_wire(node, tile, LANE);
                wire.reverse();
                wire
            }
            _ => Vec::new(),
        }
    }

    /// From a node's gate to one of its Pods.
    fn inner_wire(&self, node: usize, tile: usize, lane: f64) -> Vec<Point> {
        let card = self.card_of(node);
        let Some(tile) = card.tiles.get(tile) else { return Vec::new() };
        let gate = self.point(Spot::Gate(node));
        let point = |x: f64, y: f64| Point { x, y };
        let turn = card.gate.right() + CHANNEL / 2.0 + lane / 2.0;
        let start = [point(gate.x, gate.y + lane), point(turn, gate.y + lane)];
        let is_first_column = tile.rect.x < card.gate.right() + CHANNEL + 1.0;
        let end = if is_first_column {
            let y = tile.rect.middle() + lane;
            vec![point(turn, y), point(tile.rect.x, y)]
        } else {
            // Over the heads of the tiles before it.
            let (x, y) = (tile.rect.x + 18.0 + lane, tile.rect.y - TILE_GAP / 2.0 + lane / 2.0);
            vec![point(turn, y), point(x, y), point(x, tile.rect.y)]
        };
        start.into_iter().chain(end).collect()
    }
}

/// The point that lies at a share of a wire's length.
pub fn along(wire: &[Point], share: f64) -> Option<Point> {
    let length = |(a, b): (&Point, &Point)| (b.x - a.x).hypot(b.y - a.y);
    let parts = || wire.iter().zip(wire.iter().skip(1));
    let mut left = parts().map(length).sum::<f64>() * share.clamp(0.0, 1.0);
    for (a, b) in parts() {
        let here = length((a, b));
        if left <= here && here > 0.0 {
            let part = left / here;
            return Some(Point { x: a.x + (b.x - a.x) * part, y: a.y + (b.y - a.y) * part });
        }
        left -= here;
    }
    wire.last().copied()
}

#[cfg(test)]
mod tests {
    use base::tree::BTreeMap;

    use super::*;

    fn pod(namespace: &str, name: &str, on_host: bool) -> PodView {
        PodView {
            namespace: namespace.to_string(),
            name: name.to_string(),
            ip: None,
            summary: Default::default(),
            is_ready: true,
            is_ending: false,
            on_host,
            labels: BTreeMap::new(),
            image: String::new(),
            serves: Vec::new(),
        }
    }

    fn node(n: u8, pods: Vec<PodView>) -> NodeView {
        NodeView {
            name: format!("node{n}"),
            ip: Ipv4Addr::new(172, 18, 0, n + 2),
            pod_cidr: format!("10.244.{n}.0/24"),
            is_control_plane: n == 0,
            is_ready: true,
            is_cordoned: false,
            mode: "iptables",
            rules: 17,
            pods,
        }
    }

    fn sample(pods: usize) -> ClusterView {
        let own = |n: u8| (0..pods).map(|p| pod("default", &format!("p{n}{p}"), false)).collect();
        let mut control_plane = vec![pod("kube-system", "etcd-node0", true)];
        control_plane.push(pod("kube-system", "coredns-1-2", false));
        ClusterView {
            nodes: vec![node(0, control_plane), node(1, own(1)), node(2, own(2))],
            waiting: vec![pod("default", "late", false)],
            ..ClusterView::default()
        }
    }

    fn overlap(a: &Rect, b: &Rect) -> bool {
        a.x < b.right() && b.x < a.right() && a.y < b.bottom() && b.y < a.bottom()
    }

    #[test]
    fn nothing_covers_anything_at_any_width() {
        for (width, pods) in [(300.0, 1), (600.0, 3), (744.0, 7), (1600.0, 40)] {
            let layout = layout(&sample(pods), width);
            let tiles: Vec<&Tile> =
                layout.cards.iter().flat_map(|card| &card.tiles).chain(&layout.waiting).collect();
            for (at, a) in tiles.iter().enumerate() {
                assert!(a.rect.right() <= layout.width && a.rect.bottom() <= layout.height);
                for b in tiles.iter().skip(at + 1) {
                    assert!(!overlap(&a.rect, &b.rect), "{width} {:?} {:?}", a.rect, b.rect);
                }
            }
            for card in &layout.cards {
                assert!(!overlap(&card.rect, &layout.machine));
                let inside = |tile: &Tile| tile.rect.bottom() <= card.rect.bottom();
                assert!(card.tiles.iter().all(inside));
            }
        }
    }

    #[test]
    fn wires_begin_and_end_where_they_should() {
        let layout = layout(&sample(2), 744.0);
        let spots =
            [Spot::Client, Spot::Published, Spot::Gate(1), Spot::Pod(1, 0), Spot::Pod(1, 1)];
        assert_eq!(layout.wire(spots[0], spots[1]).len(), 2);
        for pair in [(Spot::Published, Spot::Gate(1)), (Spot::Gate(1), Spot::Pod(1, 1))] {
            let (there, back) = (layout.wire(pair.0, pair.1), layout.wire(pair.1, pair.0));
            assert!(there.len() >= 2, "{pair:?}");
            assert!(back.len() >= 2 || matches!(pair.1, Spot::Gate(_)));
        }
        assert_eq!(layout.wire(Spot::Client, Spot::Pod(0, 0)), []);
    }

    #[test]
    fn a_point_on_a_wire() {
        let point = |x, y| Point { x, y };
        let wire = [point(0.0, 0.0), point(10.0, 0.0), point(10.0, 30.0)];
        assert_eq!(along(&wire, 0.0), Some(point(0.0, 0.0)));
        assert_eq!(along(&wire, 0.5), Some(point(10.0, 10.0)));
        assert_eq!(along(&wire, 7.0), Some(point(10.0, 30.0)));
        assert_eq!(along(&[], 0.5), None);
    }

    #[test]
    fn the_way_out_of_the_docker_network() {
        let layout = layout(&sample(1), 744.0);
        assert_eq!(layout.way_out(Ipv4Addr::new(172, 18, 0, 4)), Some(2));
        assert_eq!(layout.way_out(Ipv4Addr::new(10, 244, 1, 9)), Some(1));
        assert_eq!(layout.way_out(Ipv4Addr::new(172, 18, 0, 1)), None);
    }
}
