//! `-j TCPMSS`: lowers the segment size that a SYN announces (`net/netfilter/xt_TCPMSS.c`).

use std::fmt::Write as _;

use super::TargetExt;
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};

/// Options of `-j TCPMSS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tcpmss {
    /// `--set-mss`
    Set(u16),
    /// `--clamp-mss-to-pmtu`: the path's MTU less the two headers.
    Clamp,
}

impl Tcpmss {
    /// The largest size to leave, where the path takes `mtu` bytes.
    pub(crate) fn size(self, mtu: Option<u16>) -> Option<u16> {
        match self {
            Tcpmss::Set(size) => Some(size),
            Tcpmss::Clamp => mtu.and_then(|mtu| mtu.checked_sub(40)),
        }
    }

    pub(super) fn save(self, out: &mut String) {
        let _ = match self {
            Tcpmss::Set(size) => write!(out, " --set-mss {size}"),
            Tcpmss::Clamp => write!(out, " --clamp-mss-to-pmtu"),
        };
    }

    pub(super) fn list(self, out: &mut String) {
        let _ = match self {
            Tcpmss::Set(size) => write!(out, " TCPMSS set {size}"),
            Tcpmss::Clamp => write!(out, " TCPMSS clamp to PMTU"),
        };
    }
}

static OPTIONS: Options =
    Options { ext: "TCPMSS", table: &[Opt::new("set-mss", 0), Opt::flag("clamp-mss-to-pmtu", 1)] };

#[derive(Default)]
pub(super) struct Parser(Option<Tcpmss>);

impl super::TargetParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        // Of the two, the last one counts.
        self.0 = Some(match given.opt.id {
            0 => Tcpmss::Set(given.number32(0, 65_515)? as u16),
            _ => Tcpmss::Clamp,
        });
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        match self.0 {
            Some(_) => Ok(()),
            None => Err(ParseError::new("TCPMSS target: At least one parameter is required")),
        }
    }

    fn finish(self: Box<Self>) -> Result<TargetExt, ParseError> {
        Ok(TargetExt::Tcpmss(self.0.unwrap_or(Tcpmss::Clamp)))
    }
}
