//! Connection tracking held against the kernel's: the same packets go through a real router's namespace and
//! through ours, and after each of them both must say the same about the packet, about its connection, and
//! have sent on the same bytes.
//!
//! Needs root, `ip`, `iptables-legacy`, `conntrack` and `python3`; says why where it is skipped.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(
    clippy::print_stderr,
    reason = "why a test is skipped, and which seed it ran with, is printed"
)]
#![allow(clippy::disallowed_methods, reason = "a real kernel lives in real time")]
#![allow(clippy::disallowed_types, reason = "a real kernel lives in real time")]

mod kernel;
mod ours;
mod random;
mod scenarios;
mod script;

use kernel::Router;
use script::{Scenario, Side, State};

/// What one of the two routers says after a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    /// What the packet was to connection tracking.
    state: State,
    /// `conntrack -L` about its protocol, without the times.
    lines: Vec<String>,
    /// The packet as it was sent on, and at which end; the TTL and the IP checksum are made alike.
    sent: Option<(Side, String)>,
}

/// What differs is told with everything that led to it.
fn compare(router: &mut Router, scenario: &Scenario) -> Result<usize, String> {
    router.begin(scenario);
    let mut ours = ours::Router::new(scenario, router.now());
    let mut told = String::new();
    let mut packets = 0;
    // The packet last sent on to either side, for errors about it.
    let mut last = [None, None];
    for (number, step) in scenario.steps.iter().enumerate() {
        told.push_str(&format!("  {number}: {}\n", step.text));
        let (side, packet) = match step.act(&router.reply_tuple(), &last) {
            script::Act::Send(side, packet) => (side, packet),
            script::Act::Sleep(millis) => {
                std::thread::sleep(std::time::Duration::from_millis(millis));
                continue;
            }
            script::Act::Set(name, value) => {
                router.set(&name, &value);
                ours.set(&name, &value);
                continue;
            }
        };
        packets += 1;
        let wanted = router.pass(side, &packet, step);
        let got = ours.pass(side, packet, step, router.now());
        if let Some((side, bytes)) = &wanted.0.sent {
            last[*side as usize] = Some(bytes.clone());
        }
        let times_differ = wanted.1.iter().zip(&got.1).any(|(a, b)| a.abs_diff(*b) > 2);
        if wanted.0 != got.0 || times_differ {
            return Err(format!(
                "{}\n{told}kernel: {:?} {:?}\nours:   {:?} {:?}\n",
                scenario.name, wanted.0, wanted.1, got.0, got.1
            ));
        }
    }
    Ok(packets)
}

fn run(scenarios: &[Scenario]) {
    let Some(mut router) = Router::start() else { return };
    let mut packets = 0;
    let mut wrong = Vec::new();
    for scenario in scenarios {
        match compare(&mut router, scenario) {
            Ok(count) => packets += count,
            Err(difference) => wrong.push(difference),
        }
    }
    let count = scenarios.len();
    eprintln!("{count} sequences, {packets} packets that both saw alike, {} differ", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn scripted_sequences_are_seen_as_the_kernel_sees_them() {
    run(&scenarios::all());
}

#[test]
fn random_tcp_sequences_are_seen_as_the_kernel_sees_them() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let count = std::env::var("COUNT").ok().and_then(|count| count.parse().ok()).unwrap_or(60);
    eprintln!("seed {seed} (SEED and COUNT choose others)");
    run(&random::scenarios(seed, count));
}
