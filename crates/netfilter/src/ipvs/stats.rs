//! What is counted of services and servers, and rates (`net/netfilter/ipvs/ip_vs_est.c`).

use base::Instant;

/// Connections, packets and bytes, or how many of them come in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections.
    pub conns: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Packets to clients.
    pub out_packets: u64,
    /// Bytes from clients, IP headers included.
    pub in_bytes: u64,
    /// Bytes to clients.
    pub out_bytes: u64,
}

impl Counts {
    fn fields(&self) -> [u64; 5] {
        [self.conns, self.in_packets, self.out_packets, self.in_bytes, self.out_bytes]
    }
}

/// Time between two estimates, in milliseconds.
const PERIOD: u64 = 2000;

/// After so many estimates without traffic nothing is left of a rate.
const STEPS_MAX: u64 = 200;

/// What is counted, and how fast it rises.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// What has been counted.
    pub counts: Counts,
    /// Number of the period that the averages stand for.
    period: u64,
    /// What had been counted by then.
    last: [u64; 5],
    /// Rates in units of 1/1024 (the first three) and of 1/32 a second.
    averages: [u64; 5],
}

impl Stats {
    /// Nothing counted; rates begin at `now`.
    pub(super) fn new(now: Instant) -> Stats {
        Stats { period: now.as_millis() / PERIOD, ..Stats::default() }
    }

    /// Counts something that happens at `now`.
    #[inline]
    pub(super) fn count(&mut self, now: Instant, count: impl FnOnce(&mut Counts)) {
        self.advance(now);
        count(&mut self.counts);
    }

    /// Forgets what has been counted.
    pub(super) fn zero(&mut self, now: Instant) {
        *self = Stats::new(now);
    }

    fn advance(&mut self, now: Instant) {
        let period = now.as_millis() / PERIOD;
        let steps = period.saturating_sub(self.period).min(STEPS_MAX);
        for _ in 0..steps {
            let fields = self.counts.fields();
            for (at, (average, last)) in self.averages.iter_mut().zip(&mut self.last).enumerate() {
                let count = fields.get(at).copied().unwrap_or_default();
                let scale = if at < 3 { 9 } else { 4 };
                let rate = (count - *last) << scale;
                *last = count;
                // An average that falls rounds down as one that rises does (an arithmetic shift).
                *average = if rate >= *average {
                    *average + (rate - *average) / 4
                } else {
                    *average - (*average - rate).div_ceil(4)
                };
            }
        }
        self.period = self.period.max(period);
    }

    /// What comes in a second, on average of the last while.
    pub fn rates(&self, now: Instant) -> Counts {
        let mut stats = *self;
        stats.advance(now);
        let [conns, in_packets, out_packets, in_bytes, out_bytes] = stats.averages;
        let many = |average: u64| (average + 0x1ff) >> 10;
        let bytes = |average: u64| (average + 0xf) >> 5;
        Counts {
            conns: many(conns),
            in_packets: many(in_packets),
            out_packets: many(out_packets),
            in_bytes: bytes(in_bytes),
            out_bytes: bytes(out_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_comes_near_what_comes_in_a_second_and_falls_to_nothing() {
        let mut stats = Stats::new(Instant::ZERO);
        for millis in (0..60_000).step_by(100) {
            stats.count(Instant::from_millis(millis), |counts| {
                counts.in_packets += 1;
                counts.in_bytes += 60;
            });
        }
        let rates = stats.rates(Instant::from_millis(60_000));
        assert_eq!((rates.in_packets, rates.in_bytes), (10, 600));
        assert_eq!(stats.rates(Instant::from_millis(600_000)), Counts::default());
    }
}
