//! `cargo xtask bench`: all the work of this crate, natively. With a second word, only that much of the
//! node port's work, for a profiler, with as many Services as a third word says; after a first word of 0, of
//! smoltcp's alone.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a benchmark holds the clock and prints"
)]

use std::time::Instant;

use bench::node_port::World;
use bench::run::{Size, all};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u32>().ok());
    if let (Some(0), Some(requests)) = (number(0), number(1)) {
        return println!("{} packets", bench::bare::requests(requests));
    }
    if let Some(requests) = number(1) {
        let answered = World::new(number(2).unwrap_or(3)).requests(requests);
        return println!("{answered} of {requests} requests answered");
    }
    let start = Instant::now();
    let size = Size(number(0).unwrap_or(10));
    all(size, &|| start.elapsed().as_secs_f64(), &mut |row| println!("{row}"));
}
