//! Every check, in order, fast things first.

use crate::chore::{Outcome, Workspace, timed};
use crate::setup::{self, Needs};
use crate::{e2e, site, tidy};

/// One check with a name.
struct Step {
    name: &'static str,
    needs: Needs,
    run: fn(&Workspace) -> Outcome,
}

const STEPS: &[Step] = &[
    Step { name: "format", needs: Needs::Rust, run: format },
    Step { name: "tidy", needs: Needs::Rust, run: tidy::tidy },
    Step { name: "clippy", needs: Needs::Rust, run: clippy },
    Step { name: "clippy-web", needs: Needs::Wasm, run: clippy_web },
    Step { name: "native", needs: Needs::Rust, run: native },
    Step { name: "web", needs: Needs::Browser, run: web },
    Step { name: "site", needs: Needs::Site, run: site::build },
    Step { name: "e2e", needs: Needs::Browser, run: end_to_end },
];

/// Runs all steps, or those named; stops at the first that fails.
pub(crate) fn test(ws: &Workspace, names: &[&str]) -> Outcome {
    let steps = chosen(names)?;
    let mut table = vec![];
    let outcome = run(ws, &steps, &mut table);
    for (name, seconds) in &table {
        println!("{seconds:>8.1} s  {name}");
    }
    println!("{:>8.1} s  in all", table.iter().fold(0.0, |sum, row| sum + row.1));
    outcome.map(|()| println!("All is well."))
}

/// The steps named, in their own order; all of them if none is named.
fn chosen(names: &[&str]) -> Outcome<Vec<&'static Step>> {
    let known = Vec::from_iter(STEPS.iter().map(|step| step.name));
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!("no test is named {name:?}; there are: {}", known.join(" ")));
    }
    Ok(STEPS.iter().filter(|step| names.is_empty() || names.contains(&step.name)).collect())
}

fn run(ws: &Workspace, steps: &[&'static Step], table: &mut Vec<(&'static str, f64)>) -> Outcome {
    // What needs no tools comes first, and says what is wrong before anything is installed.
    let mut ready = Needs::Rust;
    for step in steps {
        if step.needs > ready {
            table.push(("setup", timed("setup", || setup::setup(ws, step.needs))?));
            ready = step.needs;
        }
        let again = |why| format!("{why}\nThis step alone: cargo xtask test {}", step.name);
        table.push((step.name, timed(step.name, || (step.run)(ws)).map_err(again)?));
    }
    Ok(())
}

fn format(ws: &Workspace) -> Outcome {
    // Names the files only; `cargo fmt --all` puts them right.
    ws.line("cargo fmt --all --check -- -l").run()
}

fn clippy(ws: &Workspace) -> Outcome {
    ws.line("cargo clippy --workspace --all-targets -- -D warnings").run()
}

fn clippy_web(ws: &Workspace) -> Outcome {
    ws.line("cargo clippy -p web --target wasm32-unknown-unknown -- -D warnings").run()
}

fn native(ws: &Workspace) -> Outcome {
    setup::oracles(ws);
    ws.line("cargo test --workspace").run()
}

/// The tests of `web` in a headless browser; `crates/web/webdriver.json` says how that is started.
fn web(ws: &Workspace) -> Outcome {
    let driver = setup::chromedriver(ws).ok_or("ChromeDriver is missing")?;
    let tests = ws.line("cargo test -p web --target wasm32-unknown-unknown");
    tests.env("CHROMEDRIVER", driver).run()
}

fn end_to_end(ws: &Workspace) -> Outcome {
    e2e::drive(ws, "dist")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &[&str]) -> Outcome<Vec<&'static str>> {
        Ok(chosen(wanted)?.iter().map(|step| step.name).collect())
    }

    #[test]
    fn steps_keep_their_order_however_they_are_named() {
        assert_eq!(names(&["e2e", "tidy"]).unwrap(), ["tidy", "e2e"]);
        assert_eq!(names(&[]).unwrap().len(), STEPS.len());
    }

    #[test]
    fn an_unknown_step_is_an_error() {
        assert!(names(&["tody"]).unwrap_err().contains("\"tody\"; there are: format tidy"));
    }
}
