//! Random TCP conversations: mostly what two stacks would say, with mischief now and then.

use base::Rng;

use super::script::Scenario;

struct End {
    seq: u32,
    ack: u32,
}

/// `count` conversations that belong to `seed`.
pub(crate) fn scenarios(seed: u64, count: u32) -> Vec<Scenario> {
    let rng = Rng::new(seed);
    (0..count)
        .map(|number| {
            let mut rng = rng.fork(&format!("conversation/{number}"));
            let nat = match rng.below(4) {
                0 => "-A PREROUTING -p tcp -j DNAT --to-destination 10.2.0.7:9090",
                1 => "-A POSTROUTING -p tcp -j SNAT --to-source 10.2.0.9",
                _ => "",
            };
            let steps = conversation(&mut rng);
            Scenario::new(&format!("seed {seed}, conversation {number}"), nat, &steps)
        })
        .collect()
}

fn conversation(rng: &mut Rng) -> String {
    let near_wrap = rng.below(4) == 0;
    let start = if near_wrap { u32::MAX - 50 } else { 1000 + rng.below(100_000) };
    let mut ends = [End { seq: start, ack: 0 }, End { seq: 500_000 + rng.below(1000), ack: 0 }];
    let mut lines = String::new();
    if rng.below(8) == 0 {
        lines.push_str("set nf_conntrack_tcp_be_liberal 1\n");
    }
    let scaled = rng.below(2) == 0;
    let starts_in_middle = rng.below(8) == 0;
    let options = if scaled { " ws7 sackok" } else { "" };
    if !starts_in_middle {
        lines.push_str(&format!("> S {} 0 w{}{options}\n", ends[0].seq, 1 + rng.below(3000)));
        ends[0].seq = ends[0].seq.wrapping_add(1);
        if rng.below(6) != 0 {
            ends[1].ack = ends[0].seq;
            lines.push_str(&format!("< SA {} {} w500{options}\n", ends[1].seq, ends[1].ack));
            ends[1].seq += 1;
            ends[0].ack = ends[1].seq;
        }
    } else {
        ends[0].ack = ends[1].seq;
        ends[1].ack = ends[0].seq;
    }
    for _ in 0..4 + rng.below(8) {
        segment(rng, &mut ends, &mut lines);
    }
    lines
}

fn segment(rng: &mut Rng, ends: &mut [End; 2], lines: &mut String) {
    let from = rng.below(2) as usize;
    let arrow = [">", "<"][from];
    let flags = match rng.below(30) {
        0..=13 => "A",
        14..=18 => "PA",
        19..=23 => "FA",
        24 => "R",
        25 => "RA",
        26 => "S",
        27 => "SA",
        28 => "SFA",
        _ => "U",
    };
    let End { seq, ack } = ends[from];
    let mischief = |rng: &mut Rng, number: u32| match rng.below(24) {
        0 => number.wrapping_add(1),
        1 => number.wrapping_sub(1),
        2 => number.wrapping_add(700),
        3 => number.wrapping_sub(700),
        4 => number.wrapping_add(100_000),
        5 => number.wrapping_sub(100_000),
        6 => 0,
        _ => number,
    };
    let (said_seq, said_ack) = (mischief(rng, seq), mischief(rng, ack));
    let len = if flags == "PA" { 1 + rng.below(400) } else { 0 };
    let window = [0, 1, 100, 500, 500, 500, 2000][rng.below(7) as usize];
    let sack = match rng.below(10) {
        0 => format!(" sack:{}-{}", ack.wrapping_add(10), ack.wrapping_add(60)),
        _ => String::new(),
    };
    lines.push_str(&format!("{arrow} {flags} {said_seq} {said_ack} w{window} d{len}{sack}\n"));
    if said_seq == seq {
        ends[from].seq = seq.wrapping_add(len + u32::from(flags.contains('F')));
        // The other end hears of it, mostly.
        if rng.below(5) != 0 {
            ends[1 - from].ack = ends[from].seq;
        }
    }
}
