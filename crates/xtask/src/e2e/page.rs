//! The page as a test sees it: what can be clicked and read, and how long to wait for it.
//!
//! Whatever the page shows comes after some frames, so nothing here looks once: it waits, up to [`PATIENCE`].

use std::cell::Cell;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::webdriver::Browser;
use crate::chore::Outcome;

/// How long anything may take, in real time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// The page in its browser.
pub(crate) struct Page {
    browser: Browser,
    shots: PathBuf,
    commands: Cell<u32>,
}

/// A row of `kubectl get pods -o wide`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodRow {
    /// The Pod's name.
    pub(crate) name: String,
    /// True if all its containers are ready and none is on its way out.
    pub(crate) is_ready: bool,
    /// Its address, once it has one.
    pub(crate) address: Option<Ipv4Addr>,
}

impl Page {
    /// A page not yet open. Its screenshots go into the directory `shots`.
    pub(crate) fn new(browser: Browser, shots: PathBuf) -> Self {
        Self { browser, shots, commands: Cell::new(0) }
    }

    /// Opens it.
    pub(crate) fn open(&self, url: &str) -> Outcome {
        self.browser.open(url)
    }

    /// Looks until there is something.
    pub(crate) fn wait<T>(&self, what: &str, look: impl Fn() -> Outcome<Option<T>>) -> Outcome<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if Instant::now() > end {
                return Err(format!("waited {} s for {what}", PATIENCE.as_secs()));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Waits until `look` gives true.
    pub(crate) fn until(&self, what: &str, look: impl Fn() -> Outcome<bool>) -> Outcome {
        self.wait(what, || Ok(look()?.then_some(())))
    }

    /// Clicks the first element of `css`. The page may draw it anew meanwhile, so this tries again.
    pub(crate) fn click(&self, css: &str) -> Outcome {
        let mut why = String::new();
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match self.browser.click(css) {
                Ok(()) => return Ok(()),
                Err(error) => why = error,
            }
            thread::sleep(PAUSE);
        }
        Err(format!("cannot click {css}: {why}"))
    }

    /// The texts of all elements of `css`.
    pub(crate) fn texts(&self, css: &str) -> Outcome<Vec<String>> {
        self.map(css, "element.textContent")
    }

    /// The attribute `name` of all elements of `css`.
    pub(crate) fn attributes(&self, css: &str, name: &str) -> Outcome<Vec<String>> {
        self.map(css, &format!("element.getAttribute({name:?})"))
    }

    fn map(&self, css: &str, script: &str) -> Outcome<Vec<String>> {
        let script = format!(
            "return Array.from(document.querySelectorAll(arguments[0]), (element) => {script} ?? '')"
        );
        let found = self.browser.eval(&script, json!([css]))?;
        let found = found.as_array().map_or(&[][..], Vec::as_slice);
        Ok(found.iter().map(|text| text.as_str().unwrap_or_default().to_string()).collect())
    }

    /// Chooses the last option of a `<select>`, and gives its name.
    pub(crate) fn choose_last(&self, css: &str) -> Outcome<String> {
        let script = "const select = document.querySelector(arguments[0]);
            select.selectedIndex = select.options.length - 1;
            for (const kind of ['input', 'change']) select.dispatchEvent(new Event(kind, { bubbles: true }));
            return select.selectedOptions[0].textContent";
        let name = self.browser.eval(script, json!([css]))?;
        Ok(name.as_str().unwrap_or_default().to_string())
    }

    /// Calls `window.podwire.NAME(…)`, the page's hooks for tests.
    fn hook(&self, name: &str, arguments: Value) -> Outcome<Value> {
        let script = "const [name, given] = arguments; return window.podwire[name](...given)";
        self.browser.eval(script, json!([name, arguments]))
    }

    /// Waits until the page has put up its hooks.
    pub(crate) fn until_started(&self) -> Outcome {
        self.until("window.podwire", || {
            let found =
                self.browser.eval("return typeof window.podwire === 'object'", json!([]))?;
            Ok(found == true)
        })
    }

    /// Puts `text` into the file `name` of the editor.
    pub(crate) fn set_file(&self, name: &str, text: &str) -> Outcome {
        self.hook("setFile", json!([name, text])).map(drop)
    }

    /// All that the terminal shows.
    pub(crate) fn terminal(&self) -> Outcome<String> {
        Ok(self.hook("terminalText", json!([]))?.as_str().unwrap_or_default().to_string())
    }

    /// Waits until the terminal shows `text`.
    pub(crate) fn until_terminal(&self, text: &str) -> Outcome {
        self.until(&format!("{text:?} in the terminal"), || Ok(self.terminal()?.contains(text)))
    }

    /// What the world is, as one word.
    pub(crate) fn fingerprint(&self) -> Outcome<String> {
        Ok(self.hook("fingerprint", json!([]))?.to_string())
    }

    /// Waits until no command runs in the terminal.
    pub(crate) fn until_idle(&self) -> Outcome {
        self.until("a free terminal", || Ok(self.hook("idle", json!([]))? != false))
    }

    /// Types a command, does not wait. When it has ended, the terminal shows [`end`] of the number given back.
    pub(crate) fn start(&self, command: &str) -> Outcome<u32> {
        self.until_idle()?;
        let number = self.commands.get() + 1;
        self.commands.set(number);
        // Not `return`: where this is a promise, nobody waits for it here.
        let script = "window.podwire.run(arguments[0])";
        self.browser.eval(script, json!([format!("{command}; {}", echo(number))]))?;
        Ok(number)
    }

    /// Types a command, and gives what it has printed when it has ended.
    pub(crate) fn run(&self, command: &str) -> Outcome<String> {
        let number = self.start(command)?;
        let text = self.wait(&format!("the end of {command:?}"), || {
            let text = self.terminal()?;
            Ok(text.contains(&end(number)).then_some(text))
        })?;
        Ok(output(&text, number).to_string())
    }

    /// The Pods whose names begin with `prefix`, as kubectl shows them.
    pub(crate) fn pods(&self, prefix: &str) -> Outcome<Vec<PodRow>> {
        let text = self.run("kubectl get pods -o wide")?;
        Ok(text.lines().filter_map(pod_row).filter(|row| row.name.starts_with(prefix)).collect())
    }

    /// Waits until exactly `count` Pods of `prefix` are there and ready, and the map shows them.
    pub(crate) fn until_ready(&self, prefix: &str, count: usize) -> Outcome<Vec<PodRow>> {
        self.wait(&format!("{count} Pods {prefix}*"), || {
            let pods = self.pods(prefix)?;
            let is_ready = pods.len() == count && pods.iter().all(|pod| pod.is_ready);
            let tiles = self.attributes(".pod-tile[data-pod]", "data-pod")?;
            let has_tile = |pod: &PodRow| tiles.iter().any(|tile| tile.ends_with(&pod.name));
            Ok((is_ready && pods.iter().all(has_tile)).then_some(pods))
        })
    }

    /// Keeps a picture of the window.
    pub(crate) fn shot(&self, name: &str) -> Outcome {
        let file = self.shots.join(format!("{name}.png"));
        fs::write(&file, self.browser.screenshot()?).map_err(|e| format!("{}: {e}", file.display()))
    }

    /// Errors in the console since the last time this was asked.
    pub(crate) fn console_errors(&self) -> Outcome<Vec<String>> {
        self.browser.console_errors()
    }

    /// What there is to say after a failure: the end of the terminal, the console's errors, a picture.
    pub(crate) fn last_words(&self) -> String {
        let terminal = self.terminal().unwrap_or_default();
        let lines = Vec::from_iter(terminal.trim_end().lines());
        let mut text = "The terminal's last lines:".to_string();
        for line in &lines[lines.len().saturating_sub(40)..] {
            text += &format!("\n  {line}");
        }
        for error in self.console_errors().unwrap_or_default() {
            text += &format!("\nIn the console: {error}");
        }
        match self.shot("failure") {
            Ok(()) => text + &format!("\nA picture: {}", self.shots.join("failure.png").display()),
            Err(why) => text + &format!("\nNo picture: {why}"),
        }
    }
}

/// Prints [`end`], without being it: the terminal shows also what was typed.
fn echo(number: u32) -> String {
    format!("echo end''-{number}.")
}

/// What stands in the terminal after command `number`.
pub(crate) fn end(number: u32) -> String {
    format!("end-{number}.")
}

/// What command `number` printed: from its line, or else from the end of the one before, to its end.
fn output(text: &str, number: u32) -> &str {
    let text = &text[..text.rfind(&end(number)).unwrap_or(text.len())];
    let after = |mark: String| Some(text.rfind(&mark)? + mark.len());
    &text[after(echo(number)).or_else(|| after(end(number - 1))).unwrap_or(0)..]
}

/// `NAME READY STATUS … IP NODE …`
fn pod_row(line: &str) -> Option<PodRow> {
    let words = Vec::from_iter(line.split_whitespace());
    let (have, want) = words.get(1)?.split_once('/')?;
    let is_ready = have == want && *words.get(2)? == "Running";
    let address = words.iter().find_map(|word| word.parse().ok());
    Some(PodRow { name: words[0].to_string(), is_ready, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_out() {
        let text =
            "you:~$ echo a; echo end''-1.\na\nend-1.\nyou:~$ echo b; echo end''-2.\nb\nend-2.\n";
        assert_eq!(output(text, 1), "\na\n");
        assert_eq!(output(text, 2), "\nb\n");
        assert_eq!(output("a\nend-1.\nb\nend-2.\n", 2), "\nb\n");
        assert_eq!(output("a\nend-1.\n", 1), "a\n");
    }

    #[test]
    fn rows_of_kubectl() {
        let row = pod_row(
            "web-5d4-x 1/1   Running   0   3s   10.244.1.2   kind-worker   <none>   <none>",
        )
        .unwrap();
        assert!(row.is_ready);
        assert_eq!(row.address, Some(Ipv4Addr::new(10, 244, 1, 2)));
        assert!(
            !pod_row("web-5d4-x 0/1 ContainerCreating 0 3s <none> kind-worker").unwrap().is_ready
        );
        assert!(
            !pod_row("web-5d4-x 1/1 Terminating 0 3s 10.244.1.2 kind-worker").unwrap().is_ready
        );
        assert_eq!(pod_row("NAME READY STATUS"), None);
    }
}
