//! All the work in one run, so that ratios can be trusted where absolute figures cannot.

use std::fmt;

use crate::{bare, lookup, node_port, router};

/// One piece of work and its speed.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was done.
    pub name: String,
    /// How often in a second.
    pub per_second: f64,
    /// Speed relative to the row it is compared with.
    pub ratio: Option<(f64, &'static str)>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<44} {:>12.0} /s", self.name, self.per_second)?;
        match self.ratio {
            Some((ratio, of)) => write!(f, "   {ratio:.2} of {of}"),
            None => Ok(()),
        }
    }
}

/// How much work there is: 1 for a look, 10 for figures to write down.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub u32);

/// Services present in the node port and lookup rows.
pub const SERVICES: [u32; 3] = [3, 1_000, 10_000];

/// Repeats a piece of work and takes the best time, which noise can only make worse.
fn best(clock: &dyn Fn() -> f64, mut work: impl FnMut() -> u32) -> f64 {
    let mut best = 0.0_f64;
    for _ in 0..3 {
        let start = clock();
        let done = work();
        best = best.max(f64::from(done) / (clock() - start));
    }
    best
}

/// Does it all. `clock` tells seconds; `report` gets each row as it is done.
pub fn all(size: Size, clock: &dyn Fn() -> f64, report: &mut dyn FnMut(&Row)) {
    let requests = 5_000 * size.0;
    let mut row = |name: String, per_second: f64, ratio: Option<(f64, &'static str)>| {
        report(&Row { name, per_second, ratio });
    };
    let ceiling = best(clock, || {
        bare::requests(requests);
        requests
    });
    row("smoltcp to smoltcp, requests".into(), ceiling, None);
    // The first world would pay for memory that the others find there.
    node_port::World::new(SERVICES[0]).requests(requests * 3);
    let mut first = None;
    for services in SERVICES {
        let world = node_port::World::new(services);
        world.requests(100);
        let speed = best(clock, || world.requests(requests));
        let name = format!("through a NodePort, {services} Services, requests");
        row(name, speed, Some((speed / ceiling, "smoltcp to smoltcp")));
        let few = *first.get_or_insert(speed);
        if services > SERVICES[0] {
            row("    the same".into(), speed, Some((speed / few, "the one with 3 Services")));
        }
    }
    let datagrams = 20_000 * size.0;
    row("one router, packets forwarded".into(), best(clock, || router::forward(datagrams)), None);
    let mut first = None;
    for services in SERVICES {
        let mut rules = lookup::Rules::new(services);
        rules.packets(10);
        let speed = best(clock, || rules.packets(requests));
        let few = *first.get_or_insert(speed);
        let name = format!("rules alone, {services} Services, first packets");
        row(name, speed, Some((speed / few, "the one with 3 Services")));
    }
}
