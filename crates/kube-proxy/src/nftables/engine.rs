//! The table in a namespace's netfilter.

use std::rc::Rc;

use base::Instant;
use netfilter::Netfilter;
use netfilter::nft::command::load;
use netfilter::nft::model::{Family, Table, Value};
use netfilter::nft::print::{Printer, key_text};
use netfilter::nft::value::Style;

use super::Tables;

/// The table of a node.
pub struct Engine<'a> {
    netfilter: &'a mut Netfilter,
    now: Instant,
}

impl Engine<'_> {
    /// The table in this netfilter.
    pub fn new(netfilter: &mut Netfilter, now: Instant) -> Engine<'_> {
        Engine { netfilter, now }
    }

    fn table(&self) -> Option<&Table> {
        self.netfilter.nft().table(Family::Ip, "kube-proxy")
    }
}

impl Tables for Engine<'_> {
    fn run(&mut self, lines: &str) -> Result<(), String> {
        load(self.netfilter, lines, self.now)
    }

    fn chains(&self) -> Vec<(Rc<str>, usize)> {
        let Some(table) = self.table() else { return Vec::new() };
        table.chains.values().map(|chain| (chain.name.clone(), chain.rules.len())).collect()
    }

    fn sets(&self) -> Vec<Rc<str>> {
        let Some(table) = self.table() else { return Vec::new() };
        let sets = table.sets.values().filter(|set| set.data.is_none());
        sets.map(|set| set.name.clone()).collect()
    }

    fn elements(&self, container: &str) -> Option<Vec<(String, String)>> {
        let table = self.table()?;
        let set = table.set(container)?;
        let printer = Printer { table, style: Style::default(), now: self.now };
        let mut elements = Vec::with_capacity(set.elements.len());
        for (high, element) in &set.elements {
            let (mut key, mut value) = (String::new(), String::new());
            let low = element.low.as_ref().unwrap_or(high);
            key_text(set, low, high, printer.style, &mut key);
            if let Some(Value::Action(action)) = &element.value {
                printer.action(action, &mut value);
            }
            elements.push((key, value));
        }
        Some(elements)
    }
}
