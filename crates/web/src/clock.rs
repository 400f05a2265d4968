//! How fast virtual time passes on the page.

use std::time::Duration;

use base::Instant;

/// How fast the person wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Speed {
    /// Slowly while packets of a request are on their way, as on the wall else.
    #[default]
    Auto,
    /// So many virtual seconds a second.
    Times(f64),
    /// As fast as the engine goes.
    Fast,
}

impl Speed {
    /// The choices, with their words.
    pub const CHOICES: [(&'static str, Speed); 8] = [
        ("auto", Speed::Auto),
        ("1/10000×", Speed::Times(0.0001)),
        ("1/1000×", Speed::Times(0.001)),
        ("1/100×", Speed::Times(0.01)),
        ("1/10×", Speed::Times(0.1)),
        ("1×", Speed::Times(1.0)),
        ("10×", Speed::Times(10.0)),
        ("fast", Speed::Fast),
    ];

    /// The choice of these words.
    pub fn named(name: &str) -> Option<Speed> {
        Speed::CHOICES.iter().find(|(words, _)| *words == name).map(|(_, speed)| *speed)
    }
}

/// What goes on in the world, as far as the clock minds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Going {
    /// Nothing that anybody waits for.
    #[default]
    Quiet,
    /// A command runs.
    Command,
    /// A request waits, and none of its packets is on its way.
    Waiting,
    /// Packets of a request are on their way.
    Packets,
    /// Packets that open a connection are on their way.
    Opening,
}

/// Virtual seconds a second while a connection is opened: a link of 10 µs takes a tenth of a second.
const OPENING: f64 = 1.0 / 9_000.0;
/// While the rest of a request is on its way.
const PACKETS: f64 = 1.0 / 3_500.0;
/// While a command runs that waits for the cluster.
const COMMAND: f64 = 4.0;
/// While a request waits for a timer.
const WAITING: f64 = 8.0;
/// As fast as the engine goes, but the screen has to follow.
const FAST: f64 = 120.0;
/// A tab that was hidden does not catch up with more than this.
const FRAME_MAX: f64 = 0.1;

/// The clock's controls.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// It stands still.
    pub is_paused: bool,
    /// How fast.
    pub speed: Speed,
    /// Requests that the running command has sent before this one; later ones are shown faster.
    pub before: u32,
    /// Microseconds that were too short for the last frame.
    rest: f64,
}

impl Clock {
    /// Virtual seconds a second.
    pub fn rate(&self, going: Going) -> f64 {
        let hurry = f64::from(self.before.min(16)) + 1.0;
        match (self.speed, going) {
            _ if self.is_paused => 0.0,
            (Speed::Times(rate), _) => rate,
            (Speed::Fast, _) => FAST,
            (Speed::Auto, Going::Opening) => OPENING * hurry,
            (Speed::Auto, Going::Packets) => PACKETS * hurry,
            (Speed::Auto, Going::Waiting) => WAITING,
            (Speed::Auto, Going::Command) => COMMAND,
            (Speed::Auto, Going::Quiet) => 1.0,
        }
    }

    /// A frame of so many seconds begins: the virtual time it ends at.
    pub fn target(&mut self, now: Instant, seconds: f64, going: Going) -> Instant {
        let micros = seconds.clamp(0.0, FRAME_MAX) * self.rate(going) * 1e6 + self.rest;
        let whole = micros.max(0.0).floor();
        self.rest = if self.is_paused { 0.0 } else { micros - whole };
        now + Duration::from_micros(whole as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: f64 = 1.0 / 60.0;

    #[test]
    fn a_slow_clock_loses_nothing() {
        let mut clock = Clock { speed: Speed::Times(0.00001), ..Clock::default() };
        let mut now = Instant::ZERO;
        for _ in 0..600 {
            now = clock.target(now, FRAME, Going::Packets);
        }
        assert!((99..=100).contains(&now.as_micros()), "{now}");
    }

    #[test]
    fn slow_while_packets_fly_and_still_when_paused() {
        let mut clock = Clock::default();
        assert!(clock.rate(Going::Opening) < clock.rate(Going::Packets));
        assert_eq!(clock.rate(Going::Quiet), 1.0);
        clock.is_paused = true;
        assert_eq!(clock.target(Instant::from_secs(1), 10.0, Going::Quiet), Instant::from_secs(1));
    }

    #[test]
    fn a_hidden_tab_does_not_catch_up() {
        let mut clock = Clock::default();
        assert_eq!(clock.target(Instant::ZERO, 3600.0, Going::Quiet), Instant::from_millis(100));
    }
}
