//! What people have sent, and what became of it.

use base::Instant;
use netsim::Cause;

use crate::place::Place;

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An HTTP status.
    Answered(u16),
    /// No answer, and why: `refused`, `timed out`, …
    Failed(String),
}

/// A request that somebody started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number; packets that were sent for it carry it.
    pub cause: Cause,
    /// When it was sent.
    pub at: Instant,
    /// Where it was sent from.
    pub from: Place,
    /// Where to: `localhost:30007`.
    pub to: String,
    /// The command that sent it.
    pub command: String,
    /// When it was over.
    pub done: Option<Instant>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The Pod that answered, if one did.
    pub answered_by: Option<String>,
    /// The answer's body.
    pub body: Vec<u8>,
    /// The places its first packets passed.
    pub path: Vec<Place>,
    /// The number of the first step that may be about it.
    pub first_step: u64,
}

/// Requests kept; of more, the oldest are forgotten.
const REQUESTS_MAX: usize = 2000;

/// All requests, oldest first.
#[derive(Debug, Default)]
pub struct Requests {
    list: std::collections::VecDeque<Request>,
    next: u32,
}

impl Requests {
    /// A request begins; its number is for its packets.
    pub(crate) fn begin(
        &mut self,
        at: Instant,
        from: &Place,
        to: &str,
        command: &str,
        first_step: u64,
    ) -> Cause {
        self.next += 1;
        let cause = Cause(self.next);
        if self.list.len() >= REQUESTS_MAX {
            self.list.pop_front();
        }
        self.list.push_back(Request {
            cause,
            at,
            from: from.clone(),
            to: to.to_string(),
            command: command.to_string(),
            done: None,
            outcome: None,
            answered_by: None,
            body: Vec::new(),
            path: Vec::new(),
            first_step,
        });
        cause
    }

    pub(crate) fn get_mut(&mut self, cause: Cause) -> Option<&mut Request> {
        self.list.iter_mut().rev().find(|request| request.cause == cause)
    }

    /// A request by its number.
    pub fn get(&self, cause: Cause) -> Option<&Request> {
        self.list.iter().rev().find(|request| request.cause == cause)
    }

    /// All that are kept, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Request> {
        self.list.iter()
    }
}
