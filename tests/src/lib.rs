//! What the tests of the proving ground share.
//!
//! - [`shared`]: the reference data;
//! - [`kernel`]: the real Linux kernel, to be asked.

pub mod kernel;

use std::path::PathBuf;

/// The reference data beside the checkout (`../shared`), or where `PODWIRE_SHARED` says.
///
/// `None`, with the reason printed, where there is none: the project builds and passes its tests without.
#[allow(clippy::print_stderr, reason = "a test says why it was skipped")]
pub fn shared(part: &str) -> Option<PathBuf> {
    let root = match std::env::var_os("PODWIRE_SHARED") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
    };
    let path = root.join(part);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: no reference data at {}", path.display());
    None
}
