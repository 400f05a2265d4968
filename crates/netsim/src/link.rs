//! What lies between two interfaces, and what it does to frames: the time they take, how many fit, which
//! are lost, doubled, held back or damaged (what `tc netem` and `tbf` do on a real link).

use base::{Duration, Instant, Rng};

use crate::drops::DropReason;

/// Bytes that wait for a link of limited rate unless it says otherwise.
pub const QUEUE_BYTES: u32 = 256 * 1024;

/// How a link treats the frames of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Time a frame takes to cross.
    pub latency: Duration,
    /// A frame takes up to so much longer or shorter, by chance; so frames may overtake each other.
    pub jitter: Duration,
    /// Nothing gets through.
    pub is_cut: bool,
    /// Frames lost, in parts per million.
    pub loss_ppm: u32,
    /// Frames that arrive twice, in parts per million.
    pub duplicate_ppm: u32,
    /// Frames held back so that later ones overtake them, in parts per million.
    pub reorder_ppm: u32,
    /// Frames with a flipped bit, in parts per million.
    pub corrupt_ppm: u32,
    /// Bytes a second; `None`: as many as there are.
    pub rate: Option<u64>,
    /// Bytes that may wait for their turn where there is a rate; a frame more is dropped.
    pub queue_bytes: u32,
}

impl LinkConfig {
    /// A sound link that takes `latency`.
    pub fn new(latency: Duration) -> LinkConfig {
        LinkConfig {
            latency,
            jitter: Duration::ZERO,
            is_cut: false,
            loss_ppm: 0,
            duplicate_ppm: 0,
            reorder_ppm: 0,
            corrupt_ppm: 0,
            rate: None,
            queue_bytes: QUEUE_BYTES,
        }
    }

    /// Whatever is sent arrives, after the latency.
    #[inline]
    pub(crate) fn is_sure(&self) -> bool {
        !self.is_cut && self.is_plain()
    }

    /// Nothing is left to chance and nothing has to wait.
    #[inline]
    fn is_plain(&self) -> bool {
        self.loss_ppm | self.duplicate_ppm | self.reorder_ppm | self.corrupt_ppm == 0
            && self.jitter.is_zero()
            && self.rate.is_none()
    }
}

impl Default for LinkConfig {
    /// A virtual Ethernet pair: 10 µs.
    fn default() -> Self {
        LinkConfig::new(Duration::from_micros(10))
    }
}

/// What becomes of a frame that is put on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) arrives: Instant,
    /// A second one arrives then.
    pub(crate) again: Option<Instant>,
    /// One of its bits is flipped: which one, to be taken modulo its length.
    pub(crate) flipped: Option<u32>,
}

/// Decides about a frame of `len` bytes. The order of the draws is part of a seed's story.
pub(crate) fn fate(
    link: &LinkConfig,
    busy_until: &mut Instant,
    len: usize,
    now: Instant,
    rng: &mut Rng,
) -> Result<Fate, DropReason> {
    if link.is_cut {
        return Err(DropReason::LinkCut);
    }
    if link.is_plain() {
        return Ok(Fate { arrives: now + link.latency, again: None, flipped: None });
    }
    let mut hits = |ppm: u32| ppm > 0 && rng.below(1_000_000) < ppm;
    if hits(link.loss_ppm) {
        return Err(DropReason::LinkLoss);
    }
    let is_doubled = hits(link.duplicate_ppm);
    let is_held_back = hits(link.reorder_ppm);
    let is_flipped = hits(link.corrupt_ppm);
    let flipped = is_flipped.then(|| rng.next_u32());
    let mut sent = || -> Result<Instant, DropReason> {
        let Some(rate) = link.rate else { return Ok(now) };
        let starts = now.max(*busy_until);
        let waiting = (starts - now).as_micros().saturating_mul(u128::from(rate)) / 1_000_000;
        if waiting.saturating_add(len as u128) > u128::from(link.queue_bytes) && starts > now {
            return Err(DropReason::LinkQueueFull);
        }
        let takes = (len as u64).saturating_mul(1_000_000).div_ceil(rate.max(1));
        *busy_until = starts + Duration::from_micros(takes);
        Ok(*busy_until)
    };
    let mut crossing = |leaves: Instant| {
        let spread = u32::try_from(link.jitter.as_micros()).unwrap_or(u32::MAX / 2);
        let drawn = u64::from(rng.below(spread.saturating_mul(2).saturating_add(1)));
        let at = leaves + link.latency + Duration::from_micros(drawn);
        let at = Instant::from_micros(at.as_micros().saturating_sub(u64::from(spread)));
        at.max(leaves)
    };
    let leaves = sent()?;
    let mut arrives = crossing(leaves);
    if is_held_back {
        arrives += link.latency + link.latency + Duration::from_millis(1);
    }
    // A second copy takes its own turn on the link; where it finds no room there is none.
    let again = if is_doubled { sent().ok().map(crossing) } else { None };
    Ok(Fate { arrives, again, flipped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_makes_frames_wait_and_a_full_queue_drops_them() {
        let link = LinkConfig {
            rate: Some(1_000_000),
            queue_bytes: 3000,
            ..LinkConfig::new(Duration::from_millis(1))
        };
        let (mut busy, mut rng) = (Instant::ZERO, Rng::new(1));
        let mut send = |now| fate(&link, &mut busy, 1000, now, &mut rng).map(|fate| fate.arrives);
        let at = |micros| Ok(Instant::from_micros(micros));
        assert_eq!(send(Instant::ZERO), at(2000));
        assert_eq!(send(Instant::ZERO), at(3000));
        assert_eq!(send(Instant::ZERO), at(4000));
        assert_eq!(send(Instant::ZERO), Err(DropReason::LinkQueueFull));
        assert_eq!(send(Instant::from_micros(1500)), at(5000));
    }
}
