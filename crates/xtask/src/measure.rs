//! Benchmarks and fuzzing: they take as long as one lets them, so no test run waits for them.

use std::fs;

use crate::chore::{Outcome, Workspace, timed};
use crate::setup;

/// Measures the data plane and the control plane natively.
pub(crate) fn bench(ws: &Workspace, size: u32) -> Outcome {
    ws.line("cargo run --quiet --release -p bench --").arg(size.to_string()).run()?;
    ws.line("cargo run --quiet --release -p lab --example scale").run()
}

/// The same work in a headless browser.
pub(crate) fn bench_web(ws: &Workspace) -> Outcome {
    let driver = setup::chromedriver(ws).ok_or("ChromeDriver is missing")?;
    let tests = "cargo test --release -p bench --target wasm32-unknown-unknown --test browser";
    let run = ws.line(tests).arg("--").arg("--nocapture");
    run.env("CHROMEDRIVER", driver).env("WASM_BINDGEN_TEST_TIMEOUT", "600").run()
}

/// Runs every fuzz target of `tests/fuzz` for some seconds. Stable Rust with the compiler's own switches
/// unlocked does; what a sanitizer would find, safe code does not have.
pub(crate) fn fuzz(ws: &Workspace, seconds: u32) -> Outcome {
    setup::cargo_fuzz(ws)?;
    let mut targets = vec![];
    let dir = ws.root.join("tests/fuzz/fuzz_targets");
    for entry in fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))? {
        let name = entry.map_err(|e| e.to_string())?.file_name();
        targets.extend(name.to_str().and_then(|name| name.strip_suffix(".rs")).map(String::from));
    }
    targets.sort();
    for target in targets {
        let mut run = ws.line("cargo fuzz run --fuzz-dir tests/fuzz -s none").arg(&target);
        // What was found before, and what a run begins with.
        let corpus = ws.root.join("tests/fuzz/corpus").join(&target);
        fs::create_dir_all(&corpus).map_err(|e| format!("{}: {e}", corpus.display()))?;
        run = run.arg(corpus);
        let seeds = ws.root.join("tests/fuzz/seeds").join(&target);
        if seeds.exists() {
            run = run.arg(seeds);
        }
        run = run.arg("--");
        let words = ws.root.join("tests/fuzz").join(format!("{target}.dict"));
        if words.exists() {
            run = run.arg(format!("-dict={}", words.display()));
        }
        let run = run.arg(format!("-max_total_time={seconds}")).arg("-timeout=20");
        let run = run.arg("-max_len=2000").env("RUSTC_BOOTSTRAP", "1");
        timed(&target, || run.run())?;
    }
    Ok(())
}
