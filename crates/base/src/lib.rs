//! The few things every room needs and none may own: time as a value, randomness
//! as a value, and a map whose order nobody may look at.
//!
//! In reading order:
//! - [`time`]: [`Instant`], a point on the virtual clock;
//! - [`calendar`]: [`Utc`], what the clocks of the world show; [`zones`]: what they show elsewhere;
//! - [`rng`]: [`Rng`], one seed, forked by name;
//! - [`order`]: sorting, and sorted maps from pairs, in little code;
//! - [`Items`]: the items of a list that may be missing;
//! - [`tree`]: sorted maps and sets, in little code;
//! - [`FastMap`]: hash lookups on the packet path.
//!
//! **Invariant:** nothing here reads a clock, a file or the machine's randomness. A world is a pure
//! function of its seed and of the commands it is given.

pub mod calendar;
pub mod items;
pub mod order;
pub mod rng;
pub mod time;
pub mod tree;
pub mod zones;

pub use calendar::Utc;
pub use items::Items;
pub use rng::Rng;
pub use time::{Duration, Instant};

/// A hash map with a fixed, seedless hash, for lookups on the packet path.
///
/// Its iteration order is the same on every machine of one word size, but not across word sizes
/// (native and wasm differ), so it must never be observed; `clippy::iter_over_hash_type` is denied.
#[allow(
    clippy::disallowed_types,
    reason = "the one sanctioned hash map: fixed hash, never iterated"
)]
pub type FastMap<K, V> =
    std::collections::HashMap<K, V, std::hash::BuildHasherDefault<rustc_hash::FxHasher>>;
