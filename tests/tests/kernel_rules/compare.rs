//! Plays a case in both worlds, says what differs, and makes the case smaller while it still does.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::bytes::{Fields, Reader, words};
use crate::case::{Case, History, Seen};
use crate::nft;
use crate::worlds::World;

/// What a world made of a case, in words that are equal where the worlds are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Step, and what the router sent because of it.
    packets: Vec<(u16, String)>,
    /// `table chain number` and its counters; number 0 is the policy.
    counters: BTreeMap<(String, String, usize), String>,
    /// The connections in the end, sorted.
    connections: Vec<String>,
    /// The elements of sets in the end, sorted.
    elements: Vec<String>,
    /// The table of nftables in the end.
    nft: Vec<String>,
}

impl Told {
    /// Packets that went in.
    fn pairs(&self) -> usize {
        self.packets.len()
    }
}

/// Plays a case in one world. `Err`: it does not take the ruleset.
fn play(case: &Case, world: &mut dyn World, ignores: Ignores<'_>) -> Result<Told, String> {
    world.load(&case.sets, &case.ruleset())?;
    let mut history = History::new();
    let is_known = |port| case.names_port(port);
    let mut reader = Reader { is_known: &is_known, ignores, met: Vec::new() };
    let mut told = Told::default();
    for step in &case.steps {
        let Some((cable, bytes)) = case.packet(step, &history) else { continue };
        let out = world.send(&cable, &bytes);
        let sent = u16::from_be_bytes([bytes[4], bytes[5]]);
        let mut line = String::new();
        for (cable, out) in &out {
            let _ = write!(line, "{cable}: {}; ", words(out, sent, &mut reader));
        }
        if out.is_empty() {
            line.push_str("nothing");
        }
        told.packets.push((step.id, line));
        history.insert(step.id, Seen { cable, bytes, out });
    }
    let saved = world.save();
    let (saved, nft) = saved.split_once(nft::MARK).unwrap_or((&saved, ""));
    told.counters = counters(saved);
    told.nft = nft::told(nft);
    told.connections = connections(&world.connections(), &mut reader);
    if !case.sets.is_empty() {
        told.elements = elements(&world.sets());
    }
    Ok(told)
}

/// The counters in what `iptables-save -c` prints.
fn counters(save: &str) -> BTreeMap<(String, String, usize), String> {
    let mut counters = BTreeMap::new();
    let mut rules: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut table = String::new();
    for line in save.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.to_string();
        } else if let Some(chain) = line.strip_prefix(':') {
            let words: Vec<&str> = chain.split(' ').collect();
            if let [name, policy, count] = words[..]
                && policy != "-"
            {
                counters.insert((table.clone(), name.to_string(), 0), count.to_string());
            }
        } else if let Some((count, rule)) = line.split_once(" -A ") {
            let chain = rule.split(' ').next().unwrap_or_default().to_string();
            let number = rules.entry((table.clone(), chain.clone())).or_default();
            *number += 1;
            counters.insert((table.clone(), chain, *number), count.to_string());
        }
    }
    counters
}

/// The elements in what `ipset save` prints.
fn elements(save: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        save.lines().filter(|line| line.starts_with("add ")).map(String::from).collect();
    lines.sort();
    lines
}

/// The lines of `conntrack -L` without what is a matter of time.
fn connections(list: &str, reader: &mut Reader<'_>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in list.lines() {
        let mut kept = String::new();
        for (at, word) in line.split_whitespace().enumerate() {
            // Protocol, its number, and then the seconds that are left.
            let is_sctp_state = at == 3 && line.starts_with("sctp") && !word.contains('=');
            if at == 2
                || word.starts_with("use=")
                || is_sctp_state && (reader.ignores)("sctp-state")
            {
                continue;
            }
            let named = word.split_once('=').filter(|(k, _)| ["sport", "dport", "id"].contains(k));
            match named.and_then(|(k, port)| Some((k, port.parse().ok()?))) {
                Some((k, port)) => {
                    let _ = write!(kept, "{k}={} ", reader.port(port));
                }
                None => {
                    let _ = write!(kept, "{word} ");
                }
            }
        }
        lines.push(kept);
    }
    lines.sort();
    lines
}

/// What differs, in words; `None`: nothing.
fn difference(case: &Case, kernel: &Told, engine: &Told) -> Option<String> {
    let mut out = String::new();
    for ((id, kernel), (_, engine)) in kernel.packets.iter().zip(&engine.packets) {
        if kernel != engine {
            let _ = writeln!(out, "packet {id}\n  kernel: {kernel}\n  engine: {engine}");
        }
    }
    if kernel.packets.len() != engine.packets.len() {
        let _ = writeln!(out, "not the same packets could follow from what each world sent");
    }
    for (key, theirs) in &kernel.counters {
        let ours = engine.counters.get(key).map_or("no such rule", String::as_str);
        if theirs != ours {
            let (table, chain, number) = key;
            let rule = rule_text(case, table, chain, *number);
            let _ = writeln!(
                out,
                "counter of {table} {chain} {number} ({rule})\n  kernel: {theirs}\n  engine: {ours}"
            );
        }
    }
    for (what, kernel, engine) in [
        ("connection", &kernel.connections, &engine.connections),
        ("element", &kernel.elements, &engine.elements),
        ("line of nft", &kernel.nft, &engine.nft),
    ] {
        for line in kernel.iter().filter(|line| !engine.contains(line)) {
            let _ = writeln!(out, "{what} of the kernel alone: {line}");
        }
        for line in engine.iter().filter(|line| !kernel.contains(line)) {
            let _ = writeln!(out, "{what} of the engine alone: {line}");
        }
    }
    (!out.is_empty()).then_some(out)
}

fn rule_text(case: &Case, table: &str, chain: &str, number: usize) -> String {
    let mut rules =
        case.rules.iter().filter(|rule| rule.table.to_string() == table && rule.chain == chain);
    match number {
        0 => "policy".to_string(),
        n => rules.nth(n - 1).map(|rule| rule.text.clone()).unwrap_or_default(),
    }
}

/// Begins the words about a ruleset that only one world takes.
const REFUSED: &str = "only the ";

/// Begins the words about a ruleset that neither takes.
const NOBODY: &str = "nobody takes the ruleset";

/// What a known failure leaves out of the comparison.
pub(crate) type Ignores<'a> = &'a dyn Fn(&str) -> bool;

/// Both worlds, and what is not compared.
pub(crate) struct Worlds<'a> {
    pub(crate) kernel: &'a mut dyn World,
    pub(crate) engine: &'a mut dyn World,
    pub(crate) ignores: Ignores<'a>,
}

impl Worlds<'_> {
    /// Plays a case in both worlds: how many packets went in, and what differs. A ruleset that only one of
    /// them takes differs too.
    pub(crate) fn play(&mut self, case: &Case) -> (usize, Option<String>) {
        let theirs = play(case, self.kernel, self.ignores);
        match (theirs, play(case, self.engine, self.ignores)) {
            (Ok(theirs), Ok(ours)) => (theirs.pairs(), difference(case, &theirs, &ours)),
            (Err(theirs), Ok(_)) => {
                (0, Some(format!("only the engine takes the ruleset: {theirs}")))
            }
            (Ok(_), Err(ours)) => (0, Some(format!("only the kernel takes the ruleset: {ours}"))),
            // A ruleset that both refuse says nothing, and none is to be made.
            (Err(theirs), Err(_)) => (0, Some(format!("{NOBODY}: {theirs}"))),
        }
    }

    /// A difference that is there every time. What is left to chance may collide with what is not, once.
    pub(crate) fn difference(&mut self, case: &Case) -> Option<String> {
        let mut last = None;
        for _ in 0..3 {
            last = Some(self.play(case).1?);
        }
        last
    }
}

/// Makes a case smaller while the worlds still differ in the same way.
pub(crate) struct Shrinker<'a, 'w> {
    worlds: &'a mut Worlds<'w>,
    /// One of them refuses the ruleset.
    is_refusal: bool,
}

impl<'a, 'w> Shrinker<'a, 'w> {
    /// The smallest case found that still differs.
    pub(crate) fn shrink(case: &Case, difference: &str, worlds: &'a mut Worlds<'w>) -> Case {
        let is_refusal = difference.starts_with(REFUSED);
        let mut shrinker = Shrinker { worlds, is_refusal };
        let mut best = case.clone();
        loop {
            let before = best.clone();
            shrinker.drop_pieces(&mut best, |case| &mut case.steps);
            shrinker.drop_pieces(&mut best, |case| &mut case.rules);
            shrinker.drop_pieces(&mut best, |case| &mut case.drops);
            shrinker.drop_pieces(&mut best, |case| &mut case.sets);
            shrinker.drop_pieces(&mut best, |case| &mut case.nft);
            shrinker.make_plain(&mut best);
            shrinker.drop_matches(&mut best);
            if best == before {
                return best;
            }
        }
    }

    /// Takes a smaller case if it still differs.
    fn try_less(&mut self, best: &mut Case, less: Case) -> bool {
        let difference = self.worlds.play(&less).1;
        let is_same = difference.is_some_and(|text| {
            text.starts_with(REFUSED) == self.is_refusal && !text.starts_with(NOBODY)
        });
        if is_same && less != *best {
            *best = less;
            return true;
        }
        false
    }

    /// Drops a half, quarters, … down to single ones, from the end.
    fn drop_pieces<T>(&mut self, best: &mut Case, part: impl Fn(&mut Case) -> &mut Vec<T>) {
        let mut piece = part(best).len().div_ceil(2);
        while piece > 0 {
            let mut to = part(best).len();
            while to > 0 {
                let from = to.saturating_sub(piece);
                let mut less = best.clone();
                part(&mut less).drain(from..to);
                self.try_less(best, less);
                to = from.min(part(best).len());
            }
            piece = if piece == 1 { 0 } else { piece.div_ceil(2) };
        }
    }

    /// Makes fields of packets what they usually are.
    fn make_plain(&mut self, best: &mut Case) {
        let changes: [fn(&mut Fields); 7] = [
            |fields| fields.len = 0,
            |fields| fields.tos = 0,
            |fields| fields.ttl = 64,
            |fields| fields.has_options = false,
            |fields| fields.is_corrupt = false,
            |fields| fields.mss = 0,
            |fields| fields.window = 64240,
        ];
        for at in 0..best.steps.len() {
            for change in changes {
                let mut less = best.clone();
                change(&mut less.steps[at].fields);
                if less != *best {
                    self.try_less(best, less);
                }
            }
        }
    }

    /// Drops matches and address, interface and protocol options of rules.
    fn drop_matches(&mut self, best: &mut Case) {
        const OPTIONS: [&str; 6] = ["-m", "-s", "-d", "-i", "-o", "-p"];
        for at in 0..best.rules.len() {
            let mut number = 0;
            loop {
                let words: Vec<&str> = best.rules[at].text.split(' ').collect();
                let starts: Vec<usize> = (0..words.len())
                    .filter(|&n| OPTIONS.contains(&words[n]) || ["-j", "-g"].contains(&words[n]))
                    .map(|n| n - usize::from(n > 0 && words[n - 1] == "!" && words[n] != "-m"))
                    .collect();
                let (Some(&from), to) = (starts.get(number), starts.get(number + 1)) else { break };
                let mut kept = words.clone();
                kept.drain(from..to.copied().unwrap_or(words.len()));
                let mut less = best.clone();
                less.rules[at].text = kept.join(" ");
                if !self.try_less(best, less) {
                    number += 1;
                }
            }
        }
    }
}
