//! `-m owner`: whose socket sent it?

use std::fmt::Write as _;

use super::{Facts, Match, but};
use crate::firewall::Sender;
use crate::rule::{Header, Wanted};
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::text::words::parse_number;
use crate::trace::{Field, Miss, Seen};

/// First and last user or group.
type Ids = (u32, u32);

/// Options of `-m owner`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// `--uid-owner`
    pub uid: Option<Wanted<Ids>>,
    /// `--gid-owner`
    pub gid: Option<Wanted<Ids>>,
    /// `--socket-exists`
    pub socket: Option<Wanted<()>>,
    /// `--suppl-groups`
    pub groups: bool,
}

impl Owner {
    pub(crate) fn check(&self, facts: &Facts<'_>) -> Result<(), Miss> {
        let sender = facts.surroundings.sender();
        // What is not there fits only what is reversed (`owner_mt`).
        let Sender::Program(uid, gid) = sender else {
            let is_missing = sender == Sender::None;
            let wishes = [
                self.uid.map(|w| (w.not, Field::UserId)),
                self.gid.map(|w| (w.not, Field::GroupId)),
                self.socket.map(|w| (w.not == is_missing, Field::Socket)),
            ];
            let missed = wishes.into_iter().flatten().find(|(fits, _)| !fits);
            return match missed {
                Some((_, field)) => Err(Miss::new(field, Seen::Nothing)),
                None => Ok(()),
            };
        };
        if self.socket.is_some_and(|w| w.not) {
            return Err(Miss::new(Field::Socket, Seen::Number(uid)));
        }
        let ids = [(self.uid, uid, Field::UserId), (self.gid, gid, Field::GroupId)];
        for (wanted, seen, field) in ids {
            if let Some(Wanted { not, value: (first, last) }) = wanted
                && (first..=last).contains(&seen) == not
            {
                return Err(Miss::new(field, Seen::Number(seen)));
            }
        }
        Ok(())
    }

    /// Whether the kernel would take it (`owner_check`).
    pub(super) fn is_sound(&self) -> bool {
        [self.uid, self.gid].into_iter().flatten().all(|w| w.value.0 <= w.value.1)
    }

    pub(super) fn wanted(&self, field: Field) -> Option<String> {
        match field {
            Field::UserId => self.uid.map(|w| format!("{}{}", but(w.not), ids(w.value))),
            Field::GroupId => self.gid.map(|w| format!("{}{}", but(w.not), ids(w.value))),
            Field::Socket => self.socket.map(|w| if w.not { "none" } else { "one" }.to_string()),
            _ => None,
        }
    }

    pub(super) fn save(&self, out: &mut String) {
        out.push_str(" -m owner");
        if let Some(w) = &self.socket {
            let _ = write!(out, " {}--socket-exists", w.bang());
        }
        if let Some(w) = &self.uid {
            let _ = write!(out, " {}--uid-owner {}", w.bang(), ids(w.value));
        }
        if let Some(w) = &self.gid {
            let _ = write!(out, " {}--gid-owner {}", w.bang(), ids(w.value));
        }
        if self.groups {
            out.push_str(" --suppl-groups");
        }
    }

    pub(super) fn list(&self, out: &mut String) {
        if let Some(w) = &self.socket {
            let _ = write!(out, " {}owner socket exists", w.bang());
        }
        if let Some(w) = &self.uid {
            let _ = write!(out, " {}owner UID match {}", w.bang(), ids(w.value));
        }
        if let Some(w) = &self.gid {
            let _ = write!(out, " {}owner GID match {}", w.bang(), ids(w.value));
        }
        if self.groups {
            out.push_str(" incl. suppl. groups");
        }
    }
}

fn ids((first, last): Ids) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

const UID: u8 = 0;
const GID: u8 = 1;
const SOCKET: u8 = 2;

static OPTIONS: Options = Options {
    ext: "owner",
    table: &[
        Opt::new("uid-owner", UID).may_not(),
        Opt::new("gid-owner", GID).may_not(),
        Opt::flag("socket-exists", SOCKET).may_not(),
        Opt::flag("suppl-groups", 3),
    ],
};

#[derive(Default)]
pub(super) struct Parser(Owner);

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let not = given.not;
        match given.opt.id {
            UID => self.0.uid = Some(Wanted { not, value: parse_ids(given)? }),
            GID => self.0.gid = Some(Wanted { not, value: parse_ids(given)? }),
            SOCKET => self.0.socket = Some(Wanted { not, value: () }),
            _ if self.0.gid.is_none() => {
                return Err(given.bad("you need to use --gid-owner first"));
            }
            _ => self.0.groups = true,
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        if self.0 == Owner::default() {
            return Err(ParseError::new(
                "owner: At least one of --uid-owner, --gid-owner or --socket-exists is required",
            ));
        }
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(Some(Match::Owner(self.0)))
    }
}

/// A number, two of them, or the one name that every system has.
fn parse_ids(given: &Given<'_, '_>) -> Result<Ids, ParseError> {
    let id = |text: &str| parse_number(text).filter(|id| *id != u32::MAX);
    let found = match given.value.split_once('-') {
        _ if given.value == "root" => Some((0, 0)),
        Some((first, last)) => id(first).zip(id(last)),
        None => id(given.value).map(|id| (id, id)),
    };
    found.ok_or_else(|| given.bad(given.value))
}
