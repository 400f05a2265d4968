//! The built page from end to end: served under some path, opened in a headless browser, used as a person would.

mod page;
mod server;
mod story;
mod webdriver;

use std::fs;

use crate::chore::{Outcome, Workspace};
use page::Page;
use webdriver::Browser;

/// Plays the story against the page in the directory `dir`. Screenshots go to `target/e2e/`.
pub(crate) fn drive(ws: &Workspace, dir: &str) -> Outcome {
    let dist = ws.root.join(dir);
    if !dist.join("index.html").is_file() {
        return Err(format!("{dir} holds no page; build it with: cargo xtask build"));
    }
    let shots = ws.root.join("target").join("e2e");
    fs::create_dir_all(&shots).map_err(|e| format!("{}: {e}", shots.display()))?;
    let port = server::serve(dist).map_err(|e| format!("no port to serve it on: {e}"))?;
    let page = Page::new(Browser::start(ws)?, shots);
    let url = format!("http://127.0.0.1:{port}{}", server::PREFIX);
    let outcome = story::play(&page, &url);
    outcome.map_err(|why| format!("{why}\n{}", page.last_words()))
}
