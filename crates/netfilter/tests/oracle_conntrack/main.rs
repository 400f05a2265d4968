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
        let mut wanted = router.pass(side, &packet, step);
        let mut got = ours.pass(side, packet, step, router.now());
        let is_chance = left_to_chance(&mut wanted.0) & left_to_chance(&mut got.0);
        if let Some((side, bytes)) = &wanted.0.sent {
            last[*side as usize] = Some(bytes.clone());
        }
        let times_differ = wanted.1.iter().zip(&got.1).any(|(a, b)| a.abs_diff(*b) > 2);
        let differs = wanted.0 != got.0 || times_differ;
        if is_chance && !differs {
            // From here on the two routers' packets are not the same any more.
            return Ok(packets);
        }
        if differs {
            return Err(format!(
                "{}\n{told}kernel: {:?} {:?}\nours:   {:?} {:?}\n",
                scenario.name, wanted.0, wanted.1, got.0, got.1
            ));
        }
    }
    Ok(packets)
}

/// Takes out the ports that a router has drawn because others were taken. `true`: there were some.
fn left_to_chance(said: &mut Said) -> bool {
    let mut was_any = false;
    for line in &mut said.lines {
        let words = line.split(' ').map(|word| {
            let port = word.strip_prefix("sport=").or_else(|| word.strip_prefix("dport="));
            match port.and_then(|port| port.parse::<u16>().ok()) {
                Some(port) if !script::KNOWN_PORTS.iter().any(|known| known.contains(&port)) => {
                    was_any = true;
                    "port=?"
                }
                _ => word,
            }
        });
        *line = words.collect::<Vec<_>>().join(" ");
    }
    if was_any {
        said.lines.sort();
        said.sent = None;
    }
    was_any
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

/// Command lines given to both programs, after packets of four kinds have passed.
const COMMANDS: &str = "
-L
-L -o extended
-L -o id
-L -o save
-L -o xml
-L -o save,extended
-L -p tcp
-L -p tcp --state ESTABLISHED
-L -p tcp --state TIME_WAIT
-L -p udp --dport 8080
-L -p udp --orig-port-dst 8081
-L -p tcp --reply-port-src 9090 --sport 40000
-L -p icmp --icmp-type 8
-L -p icmp --icmp-id 1
-L -p 99
-L -p sctp
-L -s 10.1.0.2
-L -s 10.1.0.0/24 -d 10.2.0.2
-L -d 10.9.0.0/16
-L -r 10.2.0.7
-L -q 10.2.0.9
-L -n
-L -g
-L -j
-L --src-nat 10.2.0.9
-L --dst-nat 10.2.0.8
-L -n 10.2.0.9 -g 10.2.0.7
-L -u ASSURED
-L -u SEEN_REPLY
-L -u UNREPLIED
-L -u ASSURED,SEEN_REPLY
-L -m 0
-L -m 1
-L -m 0/0
-L -f ipv4
-L -f ipv6
-L -w 0
-L -w 1
-L -z
-L conntrack
-L expect
-L dying
-L unconfirmed
-Lp tcp
--dump --proto udp
--dump --protonum=udp
-G -p tcp -s 10.1.0.2 -d 10.2.0.2 --sport 40000 --dport 8080
-G -p udp -s 10.1.0.2 -d 10.2.0.2 --sport 1 --dport 2
-G -p icmp -s 10.1.0.2 -d 10.2.0.2 --icmp-type 8 --icmp-code 0 --icmp-id 40000
-G -p udp -s 10.1.0.2
-G -p icmp
-C
-C conntrack
-C expect
-V
-L -o foo
-L --dport 1
-L -D
-D -E
-Q
--what
-L -p foo
-L -s foo
-L -s 1.2.3.4/40
-L -p tcp --state FOO
-L -u FOO
-L foo
-L -s
-L -p udp --dport
-L -e NEW
-S -o xml
-F -p tcp
-C -p tcp
-p tcp
-D -j
-D -p udp --dport 8081
-D -p icmp
-D -p icmp
-D -s 10.1.0.2
-L
-F
-F expect
";

/// What is not the same on two machines: times, numbers, and the order of a hash table.
fn comparable((stdout, stderr, code): (String, String, i32)) -> (Vec<String>, String, i32) {
    let mut lines: Vec<String> = stdout.lines().map(without_numbers).collect();
    lines.sort();
    (lines, stderr, code)
}

fn without_numbers(line: &str) -> String {
    let tag = |line: String, before: &str| match line.split_once(before) {
        Some((head, tail)) => {
            let end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
            format!("{head}{before}#{}", &tail[end..])
        }
        None => line,
    };
    let line = tag(line.to_string(), "use=1 id=");
    let line = tag(line, "<id>");
    let line = tag(line, "<timeout>");
    let line = tag(line, "-A -t ");
    let mut words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    let at = if line.starts_with("ipv4") { 4 } else { 2 };
    if line.contains("src=") && words.len() > at {
        words[at] = "#";
    }
    words.join(" ")
}

#[test]
fn the_program_says_what_the_real_one_says() {
    let Some(mut router) = Router::start() else { return };
    let nat = "-A PREROUTING -p tcp -j DNAT --to-destination 10.2.0.7:9090\n\
        -A POSTROUTING -p tcp -j SNAT --to-source 10.2.0.9";
    let steps = "> S 1000 0\n< SA 5000 1001\n> A 1001 5001\n> udp\n> ping\n> proto 99";
    let scenario = Scenario::new("all kinds", nat, steps);
    router.begin(&scenario);
    let mut ours = ours::Router::new(&scenario, router.now());
    for step in &scenario.steps {
        let script::Act::Send(side, packet) = step.act(&router.reply_tuple(), &[None, None]) else {
            panic!("{}", step.text)
        };
        router.pass(side, &packet, step);
        ours.pass(side, packet, step, router.now());
    }
    let mut wrong = String::new();
    for line in COMMANDS.trim().lines() {
        let args: Vec<&str> = line.split(' ').collect();
        let wanted = comparable(router.program(&args));
        let got = comparable(ours.program(&args, router.now()));
        if wanted != got {
            wrong.push_str(&format!("conntrack {line}\n  real: {wanted:?}\n  ours: {got:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
