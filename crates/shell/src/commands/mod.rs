//! The programs, one file each or one file a family.
//!
//! - [`files`], [`filters`], [`grep`], [`sed`]: the small tools of every Unix;
//! - [`curl`], [`wget`] with [`url`], [`nc`]: a request, a connection, as packets;
//! - [`dig`], [`nslookup`]: names;
//! - [`crate::kubectl`]; [`kind`]; [`docker`]: clusters and their containers;
//! - [`iptables`], [`nft`], [`conntrack`], [`ip`]: what a network namespace has;
//! - [`lab`]: what only this world has.

pub mod conntrack;
pub mod curl;
pub mod dig;
pub mod docker;
pub(crate) mod exec;
pub mod files;
pub mod filters;
pub mod grep;
pub mod ip;
pub mod iptables;
pub mod kind;
pub mod lab;
pub mod nc;
pub mod nft;
pub mod nslookup;
pub mod sed;
mod url;
pub mod wget;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use ::lab::Place;
use netsim::Host;
use programs::dns::Resolver;

use crate::io::{Closed, Exit, Input, Io};
use crate::session::Session;

/// What a program is started with.
#[derive(Clone)]
pub struct Ctx {
    /// The shell it was started by.
    pub session: Rc<Session>,
    /// The place it runs in.
    pub host: Host,
    /// Its input and output.
    pub io: Io,
    /// What it was called as.
    pub name: String,
    /// Its arguments, without its name.
    pub args: Vec<String>,
    /// Variables for it alone.
    pub env: Vec<(String, String)>,
}

/// A running program: its exit code, some day.
pub type Running = Pin<Box<dyn Future<Output = Exit>>>;

/// A program.
pub type Program = fn(Ctx) -> Running;

macro_rules! programs {
    ($($name:literal => $function:path),* $(,)?) => {
        /// All programs by name, for completion and help.
        pub const NAMES: &[&str] = &[$($name),*];

        fn program(name: &str) -> Option<Program> {
            match name {
                $($name => Some(|ctx| Box::pin($function(ctx))),)*
                _ => None,
            }
        }
    };
}

programs! {
    ":" => files::success,
    "[" => files::test,
    "basename" => files::basename,
    "cat" => files::cat,
    "clear" => files::clear,
    "conntrack" => conntrack::run,
    "curl" => curl::run,
    "cut" => filters::cut,
    "date" => files::date,
    "dig" => dig::run,
    "dirname" => files::dirname,
    "docker" => docker::run,
    "echo" => files::echo,
    "env" => files::env,
    "false" => files::failure,
    "getent" => nslookup::getent,
    "grep" => grep::run,
    "head" => filters::head,
    "help" => files::help,
    "host" => nslookup::host,
    "hostname" => files::hostname,
    "ip" => ip::run,
    "ipset" => iptables::sets,
    "nfacct" => iptables::accounts,
    "iptables" => iptables::run,
    "iptables-restore" => iptables::restore,
    "iptables-save" => iptables::save,
    "ipvsadm" => iptables::virtual_servers,
    "kind" => kind::run,
    "kubectl" => crate::kubectl::run,
    "lab" => lab::run,
    "ls" => files::ls,
    "nc" => nc::run,
    "nft" => nft::run,
    "nslookup" => nslookup::run,
    "printf" => files::printf,
    "pwd" => files::pwd,
    "rm" => files::rm,
    "sed" => sed::run,
    "seq" => files::seq,
    "sleep" => files::sleep,
    "sort" => filters::sort,
    "tail" => filters::tail,
    "tee" => filters::tee,
    "test" => files::test,
    "touch" => files::touch,
    "tr" => filters::tr,
    "true" => files::success,
    "uniq" => filters::uniq,
    "wc" => filters::wc,
    "wget" => wget::run,
    "whoami" => files::whoami,
    "xargs" => filters::xargs,
}

/// Programs that are on your machine only.
const ON_MACHINE: [&str; 4] = ["docker", "kind", "kubectl", "lab"];
/// Programs that containers of Pods do not have.
const NOT_IN_PODS: [&str; 8] = [
    "conntrack",
    "ipset",
    "iptables",
    "iptables-restore",
    "iptables-save",
    "ipvsadm",
    "nfacct",
    "nft",
];

/// The program of this name in a place.
pub fn find(name: &str, place: &Place) -> Option<Program> {
    // By its whole path, too.
    let name = match name.rsplit_once('/') {
        Some((directory, last)) if directory.starts_with('/') => last,
        _ => name,
    };
    let is_there = match place {
        Place::Machine => true,
        Place::Node(_) => !ON_MACHINE.contains(&name),
        Place::Pod { .. } => !ON_MACHINE.contains(&name) && !NOT_IN_PODS.contains(&name),
    };
    program(name).filter(|_| is_there)
}

impl Ctx {
    /// Prints to standard output.
    pub async fn out(&self, text: impl AsRef<[u8]>) -> Result<(), Closed> {
        self.io.stdout.write(text).await
    }

    /// Prints to standard error.
    pub async fn err(&self, text: impl AsRef<[u8]>) -> Result<(), Closed> {
        self.io.stderr.write(text).await
    }

    /// Ends with a message on standard error and an exit code.
    pub async fn fail(&self, message: impl AsRef<str>, code: i32) -> Exit {
        self.err(format!("{}\n", message.as_ref())).await?;
        Ok(code)
    }

    /// What the tool of this name can do elsewhere, and not here.
    pub async fn unsupported(&self, what: &str) -> Exit {
        let name = &self.name;
        self.fail(format!("{name}: {what} is not supported by podwire"), 1).await
    }

    /// Reads a file, or standard input for `-`.
    pub async fn read(&self, path: &str) -> Result<Vec<u8>, crate::files::FileError> {
        match path {
            "-" | "/dev/stdin" => Ok(self.io.stdin.read_to_end().await),
            "/dev/null" => Ok(Vec::new()),
            path => {
                let path = self.session.path(path);
                let etc = match self.session.container {
                    Some(_) => None,
                    None => self.session.lab.etc(&self.session.place, &path),
                };
                match etc {
                    Some(text) => Ok(text.into_bytes()),
                    None => self.session.files.read(&path),
                }
            }
        }
    }

    /// How programs here ask for names.
    pub(crate) fn resolver(&self) -> Resolver {
        match &self.session.container {
            Some(container) => container.resolver(),
            None => self.session.lab.resolver(&self.session.place),
        }
    }

    /// Whether the small tools are busybox's here: those of its own image and of Alpine's.
    pub(crate) fn is_busybox(&self) -> bool {
        let image = self.session.container.as_ref().map(|container| container.image.as_str());
        image.is_some_and(|image| image.contains("busybox") || image.contains("alpine"))
    }

    /// A variable that the program sees.
    pub fn var(&self, name: &str) -> Option<String> {
        let own = self.env.iter().rev().find(|(known, _)| known == name);
        own.map(|(_, value)| value.clone()).or_else(|| self.session.var(name))
    }
}

/// Lines of an input as they come.
pub(crate) struct Lines {
    input: Input,
    buffer: Vec<u8>,
    has_ended: bool,
}

impl Lines {
    pub(crate) fn new(input: Input) -> Lines {
        Lines { input, buffer: Vec::new(), has_ended: false }
    }

    /// The next line without its end.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                return Some(String::from_utf8_lossy(line).into_owned());
            }
            if self.has_ended {
                let rest = std::mem::take(&mut self.buffer);
                let rest = String::from_utf8_lossy(&rest).into_owned();
                return (!rest.is_empty()).then_some(rest);
            }
            let more = self.input.read(16 * 1024).await;
            self.has_ended = more.is_empty();
            self.buffer.extend(more);
        }
    }
}

/// The letters of short options, the values of those that take one, and the rest, as `getopt` reads them.
pub(crate) struct Letters {
    given: Vec<(char, String)>,
    pub(crate) words: Vec<String>,
}

impl Letters {
    /// `spec` as for `getopt`: letters, each with `:` after it if it takes a value.
    pub(crate) fn parse(args: &[String], spec: &str) -> Result<Letters, String> {
        let mut result = Letters { given: Vec::new(), words: Vec::new() };
        let takes = |c: char| -> Option<bool> {
            let at = spec.find(c).filter(|_| c != ':')?;
            Some(spec.get(at + c.len_utf8()..).is_some_and(|rest| rest.starts_with(':')))
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--" {
                result.words.extend(args.cloned());
                break;
            }
            let Some(letters) = arg.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
                result.words.push(arg.clone());
                continue;
            };
            if letters.starts_with('-') {
                return Err(format!("unrecognized option '{arg}'"));
            }
            let mut chars = letters.chars();
            while let Some(c) = chars.next() {
                let Some(takes_value) = takes(c) else {
                    return Err(format!("invalid option -- '{c}'"));
                };
                if !takes_value {
                    result.given.push((c, String::new()));
                    continue;
                }
                let value = match chars.as_str() {
                    "" => args.next().cloned(),
                    rest => Some(rest.to_string()),
                };
                let missing = || format!("option requires an argument -- '{c}'");
                result.given.push((c, value.ok_or_else(missing)?));
                break;
            }
        }
        Ok(result)
    }

    pub(crate) fn has(&self, letter: char) -> bool {
        self.given.iter().any(|(c, _)| *c == letter)
    }

    pub(crate) fn value(&self, letter: char) -> Option<&str> {
        self.given.iter().rev().find(|(c, _)| *c == letter).map(|(_, value)| value.as_str())
    }

    pub(crate) fn values(&self, letter: char) -> impl Iterator<Item = &str> {
        self.given.iter().filter(move |(c, _)| *c == letter).map(|(_, value)| value.as_str())
    }
}
