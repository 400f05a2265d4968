//! The tools, their versions, and how they are installed where they are missing.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::chore::{Outcome, Workspace, timed};

/// How much of the tools a chore needs; each holds the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needs {
    /// What `rust-toolchain.toml` gives.
    Rust,
    /// The standard library for WebAssembly.
    Wasm,
    /// All that builds the page.
    Site,
    /// All that tests it: a browser and its driver.
    Browser,
}

/// A program that `cargo install` builds.
struct CargoTool {
    /// The programs it must give; the first one is asked for its version.
    programs: &'static [&'static str],
    version: &'static str,
    why: &'static str,
    install: &'static str,
}

/// The versions that are known to work together. `Trunk.toml` and `Cargo.toml` name the same ones.
/// The debug profile builds in half the time, and what these tools do is short.
const CARGO_TOOLS: &[CargoTool] = &[
    CargoTool {
        programs: &["trunk"],
        version: "0.21.14",
        why: "builds and serves the page",
        // Without the check for updates: nothing here talks to the network by itself.
        install: "cargo install --locked trunk --version 0.21.14 --debug --force \
                  --no-default-features --features rustls",
    },
    CargoTool {
        programs: &["wasm-bindgen", "wasm-bindgen-test-runner"],
        version: "0.2.130",
        why: "joins WebAssembly and JavaScript, and runs the browser tests",
        // Without --locked: its lock file names a crate version that may not be found.
        install: "cargo install wasm-bindgen-cli --version 0.2.130 --debug --force",
    },
];

/// Fuzzing wants one tool more; nothing else needs it.
const CARGO_FUZZ: CargoTool = CargoTool {
    programs: &["cargo-fuzz"],
    version: "0.13.2",
    why: "runs the fuzz targets",
    install: "cargo install --locked cargo-fuzz --version 0.13.2 --debug --force",
};

/// How each package manager installs a browser with its driver.
const BROWSER_PACKAGES: &[(&str, &[&str])] = &[
    (
        "apt-get",
        &["apt-get update", "apt-get install -y --no-install-recommends chromium chromium-driver"],
    ),
    ("dnf", &["dnf install -y chromium chromedriver"]),
    ("apk", &["apk add chromium chromium-chromedriver"]),
    ("pacman", &["pacman -S --noconfirm --needed chromium"]),
    ("brew", &["brew install --cask google-chrome chromedriver"]),
];

/// Real tools that some tests compare with: the program, and Debian's package of it.
const ORACLES: &[(&str, &str)] = &[
    ("tshark", "tshark"),
    ("tcpdump", "tcpdump"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("conntrack", "conntrack"),
    ("ipset", "ipset"),
];

/// Installs what is missing of what `needs` names.
pub(crate) fn setup(ws: &Workspace, needs: Needs) -> Outcome {
    if needs >= Needs::Wasm {
        wasm_target(ws)?;
    }
    if needs >= Needs::Site {
        CARGO_TOOLS.iter().try_for_each(|tool| cargo_tool(ws, tool))?;
        npm_packages(ws)?;
    }
    if needs >= Needs::Browser {
        browser(ws)?;
    }
    Ok(())
}

fn wasm_target(ws: &Workspace) -> Outcome {
    let libraries =
        ws.line("rustc --print target-libdir --target wasm32-unknown-unknown").read()?;
    if PathBuf::from(libraries.trim()).is_dir() {
        return Ok(());
    }
    if ws.find("rustup").is_none() {
        return Err("Install Rust's standard library for wasm32-unknown-unknown; \
                    with rustup (https://rustup.rs) this happens by itself."
            .to_string());
    }
    println!("Rust's standard library for WebAssembly is missing.");
    let add = ws.line("rustup target add wasm32-unknown-unknown");
    timed("rustup target", || add.run()).map(drop)
}

fn cargo_tool(ws: &Workspace, tool: &CargoTool) -> Outcome {
    let name = tool.programs[0];
    let is_there = tool.programs.iter().all(|program| ws.find(program).is_some());
    let version = ws.line(name).arg("--version").read().unwrap_or_default();
    if is_there && version.split_whitespace().any(|word| word == tool.version) {
        return Ok(());
    }
    println!("{name} {} is missing: it {}. This takes some minutes, once.", tool.version, tool.why);
    timed(name, || ws.line(tool.install).run()).map(drop)
}

/// Installs the fuzzer's driver where it is missing.
pub(crate) fn cargo_fuzz(ws: &Workspace) -> Outcome {
    cargo_tool(ws, &CARGO_FUZZ)
}

fn npm_packages(ws: &Workspace) -> Outcome {
    if ws.find("node").is_none() || ws.find("npm").is_none() {
        return Err("Install Node.js 20 or newer with npm (https://nodejs.org): \
                    it bundles the page's editor and terminal."
            .to_string());
    }
    let changed = |name: &str| fs::metadata(ws.root.join(name)).and_then(|m| m.modified()).ok();
    if is_fresh(changed("node_modules/.package-lock.json"), changed("package-lock.json")) {
        return Ok(());
    }
    println!(
        "node_modules is missing or older than package-lock.json: it holds editor, terminal, wasm-opt."
    );
    timed("npm ci", || ws.line("npm ci --no-audit --no-fund").run()).map(drop)
}

/// True if what is installed is at least as new as the list of what to install.
fn is_fresh(installed: Option<SystemTime>, wanted: Option<SystemTime>) -> bool {
    installed.is_some_and(|installed| wanted.is_none_or(|wanted| wanted <= installed))
}

/// ChromeDriver, if it is anywhere: as the environment says, on PATH, or where Debian and Ubuntu hide it.
pub(crate) fn chromedriver(ws: &Workspace) -> Option<PathBuf> {
    let named = env::var_os("CHROMEDRIVER").map(PathBuf::from);
    // GitHub's runners name the directory.
    let github = env::var_os("CHROMEWEBDRIVER").map(|dir| PathBuf::from(dir).join("chromedriver"));
    let hidden = ["/usr/lib/chromium/chromedriver", "/usr/lib/chromium-browser/chromedriver"];
    let known = named.into_iter().chain(github).chain(ws.find("chromedriver"));
    known.chain(hidden.map(PathBuf::from)).find(|path| path.is_file())
}

fn has_browser(ws: &Workspace) -> bool {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
    let mac = PathBuf::from("/Applications/Google Chrome.app");
    names.iter().any(|name| ws.find(name).is_some()) || mac.is_dir()
}

fn browser(ws: &Workspace) -> Outcome {
    let is_there = || has_browser(ws) && chromedriver(ws).is_some();
    if is_there() {
        return Ok(());
    }
    println!("Chromium or ChromeDriver is missing: the page is tested in them.");
    if let Err(why) = timed("browser", || install_browser(ws)) {
        println!("{why}");
    }
    if is_there() {
        return Ok(());
    }
    Err("Install Chromium (or Chrome) and the ChromeDriver of the same version, so that both are on PATH."
        .to_string())
}

fn install_browser(ws: &Workspace) -> Outcome {
    let Some((manager, lines)) = BROWSER_PACKAGES.iter().find(|(name, _)| ws.find(name).is_some())
    else {
        return Err("No known package manager is here.".to_string());
    };
    // Homebrew refuses to run as root; the others need it.
    let prefix = if *manager == "brew" { "" } else { root_prefix(ws)? };
    lines.iter().try_for_each(|line| {
        ws.line(&format!("{prefix}{line}")).env("DEBIAN_FRONTEND", "noninteractive").run()
    })
}

/// What makes a command run as root.
fn root_prefix(ws: &Workspace) -> Outcome<&'static str> {
    if is_root(ws) {
        Ok("")
    } else if ws.find("sudo").is_some() {
        Ok("sudo ")
    } else {
        Err("Installing packages needs root, and there is no sudo.".to_string())
    }
}

fn is_root(ws: &Workspace) -> bool {
    ws.line("id -u").read().is_ok_and(|id| id.trim() == "0")
}

/// Tries to install the real tools that some tests compare with. Nothing depends on it.
pub(crate) fn oracles(ws: &Workspace) {
    let missing =
        || Vec::from_iter(ORACLES.iter().filter(|(program, _)| !is_installed(ws, program)));
    if missing().is_empty() {
        return;
    }
    if ws.find("apt-get").is_some() && is_root(ws) {
        let packages = Vec::from_iter(missing().iter().map(|(_, package)| *package)).join(" ");
        let install = format!("apt-get install -y --no-install-recommends {packages}");
        let lines = ["apt-get update", &install];
        let run = |line: &str| ws.line(line).env("DEBIAN_FRONTEND", "noninteractive").run();
        if let Err(why) = timed("oracles", || lines.into_iter().try_for_each(run)) {
            println!("{why}");
        }
    }
    for (program, _) in missing() {
        println!("{program} is not here: parity tests that need it will be skipped and say so.");
    }
}

/// True if the program is on PATH or where administrators' programs are.
fn is_installed(ws: &Workspace, program: &str) -> bool {
    let places = ["/usr/sbin", "/sbin"].map(|dir| PathBuf::from(dir).join(program));
    ws.find(program).is_some() || places.iter().any(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_files_name_the_same_versions() {
        let ws = Workspace::here().unwrap();
        let read = |name: &str| fs::read_to_string(ws.root.join(name)).unwrap();
        let bindgen = CARGO_TOOLS[1].version;
        assert!(read("Trunk.toml").contains(&format!("wasm_bindgen = \"{bindgen}\"")));
        assert!(read("Cargo.toml").contains(&format!("wasm-bindgen = \"={bindgen}\"")));
        for tool in CARGO_TOOLS {
            assert!(tool.install.contains(tool.version), "{}", tool.install);
        }
    }

    #[test]
    fn packages_are_installed_again_after_their_list_changed() {
        let early = Some(SystemTime::UNIX_EPOCH);
        let late = early.map(|t| t + Duration::from_secs(1));
        assert!(is_fresh(late, early));
        assert!(is_fresh(early, early));
        assert!(!is_fresh(early, late));
        assert!(!is_fresh(None, early));
    }
}
