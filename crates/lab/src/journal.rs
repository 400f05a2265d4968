//! What has happened, a line each, and a fingerprint of all of it.

use std::collections::VecDeque;
use std::fmt;

use base::Instant;
use sha2::{Digest, Sha256};

/// Entries kept; of more, the oldest are forgotten. The fingerprint covers all.
const ENTRIES_MAX: usize = 20_000;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// An object was created, changed or deleted.
    Object,
    /// The endpoints of a Service changed.
    Endpoints,
    /// A node's rules were rewritten.
    Rules,
    /// A request began or ended.
    Request,
    /// A cluster, a node, a fault.
    World,
}

impl Topic {
    /// All of them.
    pub const ALL: [Topic; 5] =
        [Topic::Object, Topic::Endpoints, Topic::Rules, Topic::Request, Topic::World];

    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Topic::Object => "object",
            Topic::Endpoints => "endpoints",
            Topic::Rules => "rules",
            Topic::Request => "request",
            Topic::World => "world",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Rises by one with every entry.
    pub serial: u64,
    /// When.
    pub at: Instant,
    /// What it is about.
    pub topic: Topic,
    /// Where, if it was at one place: a node's name.
    pub place: String,
    /// What, in one line.
    pub text: String,
    /// It is bad news.
    pub is_bad: bool,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at, self.topic.name())?;
        if !self.place.is_empty() {
            write!(f, " {}", self.place)?;
        }
        write!(f, ": {}", self.text)
    }
}

/// The story so far.
#[derive(Debug, Default)]
pub struct Journal {
    entries: VecDeque<Entry>,
    next_serial: u64,
    hasher: Sha256,
}

impl Journal {
    pub(crate) fn note(&mut self, at: Instant, topic: Topic, place: &str, text: String) {
        self.write(at, topic, place, text, false);
    }

    pub(crate) fn complain(&mut self, at: Instant, topic: Topic, place: &str, text: String) {
        self.write(at, topic, place, text, true);
    }

    fn write(&mut self, at: Instant, topic: Topic, place: &str, text: String, is_bad: bool) {
        let serial = self.next_serial;
        self.next_serial += 1;
        let entry = Entry { serial, at, topic, place: place.to_string(), text, is_bad };
        self.hasher.update(entry.to_string());
        self.hasher.update(b"\n");
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Takes more into the fingerprint than entries: packets.
    pub(crate) fn absorb(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The entries from number `serial` on that are still kept.
    pub fn since(&self, serial: u64) -> impl Iterator<Item = &Entry> {
        let at = self.entries.partition_point(|entry| entry.serial < serial);
        self.entries.range(at..)
    }

    /// The number the next entry will have.
    pub fn next_serial(&self) -> u64 {
        self.next_serial
    }

    /// SHA-256 of everything so far, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        let digest = self.hasher.clone().finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
