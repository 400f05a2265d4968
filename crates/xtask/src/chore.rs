//! Where we are, and how a command is run and timed.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// A chore ends well, or with the words to print.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// The checkout, and where programs are looked for.
pub(crate) struct Workspace {
    /// The directory of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    search: Vec<PathBuf>,
}

impl Workspace {
    /// The checkout that this program was built from.
    pub(crate) fn here() -> Outcome<Self> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = own.ancestors().nth(2).ok_or("the xtask crate stands outside a workspace")?;
        let mut search = Vec::from_iter(cargo_bin());
        search.push(root.join("node_modules").join(".bin"));
        search.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        Ok(Self { root: root.to_path_buf(), search })
    }

    /// Where the program `name` is, if it is anywhere.
    pub(crate) fn find(&self, name: &str) -> Option<PathBuf> {
        let file = format!("{name}{}", env::consts::EXE_SUFFIX);
        self.search.iter().map(|dir| dir.join(&file)).find(|path| path.is_file())
    }

    /// The command that `line` spells, one word per space.
    pub(crate) fn line(&self, line: &str) -> Chore<'_> {
        let mut words = line.split_whitespace();
        let program = self.program(words.next().unwrap_or_default());
        words.fold(program, |chore, word| chore.arg(word))
    }

    /// The command without arguments of a program, by its name or its path.
    pub(crate) fn program(&self, program: impl Into<OsString>) -> Chore<'_> {
        Chore { ws: self, program: program.into(), args: vec![], env: vec![] }
    }

    fn path(&self) -> OsString {
        // Fails only where a directory of PATH holds the separator, which came from splitting at it.
        env::join_paths(&self.search).unwrap_or_default()
    }
}

/// `cargo install` puts programs here.
fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| Some(env::home_dir()?.join(".cargo"))).map(|home| home.join("bin"))
}

/// One command, run from the root of the checkout.
pub(crate) struct Chore<'a> {
    ws: &'a Workspace,
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
}

impl Chore<'_> {
    /// With one more argument, whatever it holds.
    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// With a variable of the environment.
    pub(crate) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// The command as one would type it.
    pub(crate) fn text(&self) -> String {
        let env = self
            .env
            .iter()
            .map(|(name, value)| format!("{name}={}", quoted(&value.to_string_lossy())));
        let program = self.program.to_string_lossy();
        let args = self.args.iter().map(|arg| quoted(&arg.to_string_lossy()));
        Vec::from_iter(env.chain([quoted(&program)]).chain(args)).join(" ")
    }

    /// Runs it in the open: its line, its output, and on failure the line again.
    pub(crate) fn run(&self) -> Outcome {
        println!("$ {}", self.text());
        let status = self.command().status().map_err(|e| self.no_start(&e))?;
        if status.success() {
            return Ok(());
        }
        Err(format!("failed ({status}); to run it again:\n  {}", self.text()))
    }

    /// Runs it quietly for what it prints on stdout.
    pub(crate) fn read(&self) -> Outcome<String> {
        let output = self.command().stdin(Stdio::null()).output().map_err(|e| self.no_start(&e))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        Err(format!("{} failed ({}): {}", self.text(), output.status, words.trim_end()))
    }

    /// The command, ready to be started in another way.
    pub(crate) fn command(&self) -> Command {
        let found = self.program.to_str().and_then(|name| self.ws.find(name));
        let mut command = Command::new(found.map_or_else(|| self.program.clone(), Into::into));
        command.args(&self.args).current_dir(&self.ws.root).env("PATH", self.ws.path());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Why it did not even start.
    pub(crate) fn no_start(&self, error: &std::io::Error) -> String {
        format!("{} does not start: {error}", self.program.to_string_lossy())
    }
}

/// `word` as a shell takes it back.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Does one named step, and says how long it took. The seconds are returned.
pub(crate) fn timed(name: &str, step: impl FnOnce() -> Outcome) -> Outcome<f64> {
    println!("── {name}");
    let start = Instant::now();
    let outcome = step();
    let seconds = start.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => {
            println!("── {name}: done in {seconds:.1} s");
            Ok(seconds)
        }
        Err(why) => Err(format!("── {name}: failed after {seconds:.1} s\n{why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_prints_as_a_shell_takes_it_back() {
        let ws = Workspace::here().unwrap();
        let chore = ws.line("cargo test -p web").arg("it's one").env("RUNNER", "a b");
        assert_eq!(chore.text(), r"RUNNER='a b' cargo test -p web 'it'\''s one'");
    }

    #[test]
    fn the_checkout_is_found() {
        assert!(Workspace::here().unwrap().root.join("clippy.toml").is_file());
    }
}
