//! Targets with little to say: `CT`, `NOTRACK`, `TRACE`, `CHECKSUM`.

use super::TargetExt;
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};

/// The targets of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// `CT`, and its older form `NOTRACK`: the packet is excepted from connection tracking.
    Ct {
        /// `--notrack`; without it the target does nothing.
        notrack: bool,
        /// Written as `NOTRACK`.
        is_old: bool,
    },
    /// Every rule that looks at the packet from here on is to be reported. podwire's own trace shows all
    /// rules anyway.
    Trace,
    /// Fills in the checksum, for programs that read packets with unfinished ones. Here they are finished.
    Checksum,
}

impl Plain {
    pub(super) fn name(self) -> &'static str {
        match self {
            Plain::Ct { is_old: false, .. } => "CT",
            Plain::Ct { is_old: true, .. } => "NOTRACK",
            Plain::Trace => "TRACE",
            Plain::Checksum => "CHECKSUM",
        }
    }

    pub(super) fn save(self, out: &mut String) {
        out.push_str(match self {
            Plain::Ct { notrack: true, is_old: false } => " --notrack",
            Plain::Checksum => " --checksum-fill",
            Plain::Ct { .. } | Plain::Trace => "",
        });
    }

    pub(super) fn list(self, out: &mut String) {
        out.push_str(match self {
            Plain::Ct { is_old: true, .. } => " NOTRACK",
            Plain::Ct { notrack: true, .. } => " CT notrack",
            Plain::Ct { .. } => " CT",
            Plain::Checksum => " CHECKSUM fill",
            Plain::Trace => "",
        });
    }
}

const NOTRACK_ID: u8 = 0;

static CT: Options = Options {
    ext: "CT",
    table: &[
        Opt::flag("notrack", NOTRACK_ID),
        Opt::new("helper", 1),
        Opt::new("timeout", 2),
        Opt::new("ctevents", 3),
        Opt::new("expevents", 4),
        Opt::new("zone-orig", 5),
        Opt::new("zone-reply", 6),
        Opt::new("zone", 7),
    ],
};
static NOTRACK: Options = Options { ext: "NOTRACK", table: &[] };
static TRACE: Options = Options { ext: "TRACE", table: &[] };
static CHECKSUM: Options =
    Options { ext: "CHECKSUM", table: &[Opt::flag("checksum-fill", 0).must()] };

pub(super) struct Parser(Plain);

impl Parser {
    pub(super) fn new(name: &str) -> Option<Self> {
        Some(Parser(match name {
            "CT" => Plain::Ct { notrack: false, is_old: false },
            "NOTRACK" => Plain::Ct { notrack: true, is_old: true },
            "TRACE" => Plain::Trace,
            "CHECKSUM" => Plain::Checksum,
            _ => return None,
        }))
    }
}

impl super::TargetParser for Parser {
    fn options(&self) -> &'static Options {
        match self.0 {
            Plain::Ct { is_old: false, .. } => &CT,
            Plain::Ct { is_old: true, .. } => &NOTRACK,
            Plain::Trace => &TRACE,
            Plain::Checksum => &CHECKSUM,
        }
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let Plain::Ct { .. } = self.0 else { return Ok(()) };
        if given.opt.id != NOTRACK_ID {
            return Err(ParseError::unsupported(&format!("CT: option \"--{}\"", given.opt.name)));
        }
        self.0 = Plain::Ct { notrack: true, is_old: false };
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<TargetExt, ParseError> {
        Ok(TargetExt::Plain(self.0))
    }
}
