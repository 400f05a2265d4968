//! What lies between two interfaces.

use base::Duration;

/// How a link treats the frames of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Time a frame takes to cross.
    pub latency: Duration,
    /// Nothing gets through.
    pub is_cut: bool,
    /// Frames lost, in parts per million.
    pub loss_ppm: u32,
}

impl LinkConfig {
    /// A sound link that takes `latency`.
    pub fn new(latency: Duration) -> LinkConfig {
        LinkConfig { latency, is_cut: false, loss_ppm: 0 }
    }
}

impl Default for LinkConfig {
    /// A virtual Ethernet pair: 10 µs.
    fn default() -> Self {
        LinkConfig::new(Duration::from_micros(10))
    }
}
