//! What the options of a command come to when all are read.

use super::values::{addresses, plain_target, wanted_address};
use super::*;

impl Reader {
    /// All words are read: what was loaded says whether it has all it needs.
    pub(super) fn check_extensions(
        &mut self,
        words: &Words<'_>,
        not: bool,
    ) -> Result<(), ParseError> {
        if self.is_over {
            return Ok(());
        }
        if self.is_drop_in_nat() {
            return Err(ParseError::new(
                "\nThe \"nat\" table is not intended for filtering, the use of DROP is therefore inhibited.\n\n",
            ));
        }
        for m in &self.matches {
            m.parser.check()?;
            m.parser.options().complete(m.seen)?;
        }
        if let Some(target) = &self.target {
            target.parser.check()?;
            target.parser.options().complete(target.seen)?;
        }
        if !words.is_at_end() {
            return Err(ParseError::new("unknown arguments found on commandline"));
        }
        if self.command.is_none() {
            return Err(ParseError::new("no command specified"));
        }
        if not {
            return Err(ParseError::new("nothing appropriate following !"));
        }
        if self.wait_interval && !self.wait {
            return Err(ParseError::new("--wait-interval only makes sense with --wait\n"));
        }
        Ok(())
    }

    fn is_drop_in_nat(&self) -> bool {
        let is_policy = matches!(self.command, Some(('P', _)));
        let dropped = |word: &Option<String>| word.as_deref() == Some("DROP");
        self.table.as_deref() == Some("nat")
            && (dropped(&self.plain_target) || (is_policy && dropped(&self.second)))
    }

    pub(super) fn finish(mut self, table: &str, is_command: bool) -> Result<Line, ParseError> {
        if self.is_restore && table == "nat" {
            self.table = Some("nat".to_string());
            if self.is_drop_in_nat() {
                return Err(ParseError::new(
                    "\nThe \"nat\" table is not intended for filtering, the use of DROP is therefore inhibited.\n\n",
                ));
            }
        }
        let (letter, chain) = self.command.clone().unwrap_or(('h', String::new()));
        let takes_rule = matches!(letter, 'A' | 'C' | 'D' | 'I' | 'R');
        let rules = if takes_rule && !self.is_over { self.rules()? } else { Vec::new() };
        if letter == 'R' && rules.len() != 1 {
            return Err(ParseError::new("Replacement rule does not specify a unique address"));
        }
        if is_command {
            self.check_options(letter)?;
            if chain.len() >= NAME_MAX {
                return Err(ParseError::new(format!(
                    "chain name `{chain}' too long (must be under {NAME_MAX} chars)"
                )));
            }
            if takes_rule {
                self.check_interfaces(&chain)?;
            }
        }
        let table = is_command.then(|| table.to_string());
        let command = self.command(letter, chain);
        Ok(Line {
            command,
            table,
            list: self.list,
            rules,
            counters: self.counters,
            warnings: self.around.warnings,
        })
    }

    fn command(&self, letter: char, chain: String) -> Command {
        let some = Some(chain.clone()).filter(|chain| !chain.is_empty());
        let (number, zero) = (self.number, self.with_zero);
        let second = self.second.clone().unwrap_or_default();
        match letter {
            'A' => Command::Append { chain },
            'C' => Command::Check { chain },
            'D' => match number {
                Some(number) => Command::DeleteNumber { chain, number },
                None => Command::Delete { chain },
            },
            'I' => Command::Insert { chain, number: number.unwrap_or(1) },
            'R' => Command::Replace { chain, number: number.unwrap_or(1) },
            'L' => Command::List { chain: some, number, zero },
            'S' => Command::ListRules { chain: some, number, zero },
            'F' => Command::Flush { chain: some },
            'Z' => Command::Zero { chain: some, number },
            'N' => Command::NewChain { chain },
            'X' => Command::DeleteChain { chain: some },
            'E' => Command::Rename { chain, to: second },
            'P' => Command::Policy { chain, policy: second },
            'V' => Command::Version { not: self.is_version == Some(true) },
            _ => Command::Help,
        }
    }

    /// Some options make no sense with some commands (`generic_opt_check`).
    fn check_options(&self, letter: char) -> Result<(), ParseError> {
        let illegal = match letter {
            'A' | 'I' | 'R' => "nx0",
            'C' | 'D' if self.number.is_none() => "nx0c",
            'D' => "nsdpjxio0cf",
            'L' => "sdpjiocf",
            'P' => "nsdpjxio0f",
            'h' | 'V' => "",
            _ => "nsdpjxio0cf",
        };
        // In the order in which iptables numbers its options.
        let order = "nsdpjxio0cf";
        match order.chars().find(|c| illegal.contains(*c) && self.used.contains(*c)) {
            Some(c) => Err(ParseError::new(format!("Illegal option `-{c}' with this command"))),
            None => Ok(()),
        }
    }

    fn check_interfaces(&self, chain: &str) -> Result<(), ParseError> {
        let wrong = match chain {
            "PREROUTING" | "INPUT" => self.used.contains('o').then_some('o'),
            "POSTROUTING" | "OUTPUT" => self.used.contains('i').then_some('i'),
            _ => None,
        };
        match wrong {
            Some(c) => Err(ParseError::new(format!("Can't use -{c} with {chain}\n"))),
            None => Ok(()),
        }
    }

    fn rules(&mut self) -> Result<Vec<RuleSpec>, ParseError> {
        let sources = self.source.as_deref().map(addresses).transpose()?;
        let destinations = self.destination.as_deref().map(addresses).transpose()?;
        let mut header = self.header.clone();
        let nots = [header.src, header.dst].map(|w| w.is_some_and(|w| w.not));
        let many = |list: &Option<Vec<AddrMask>>| list.as_ref().is_some_and(|l| l.len() > 1);
        if (nots.contains(&true)) && (many(&sources) || many(&destinations)) {
            return Err(ParseError::new(
                "! not allowed with multiple source or destination IP addresses",
            ));
        }
        header.protocol = header.protocol.filter(|protocol| protocol.value != 0);
        let is_any = |w: &Wanted<IfPattern>| w.value.is_any() && !w.not;
        header.iif = header.iif.filter(|w| !is_any(w));
        header.oif = header.oif.filter(|w| !is_any(w));
        let mut matches = Vec::new();
        for m in std::mem::take(&mut self.matches) {
            matches.extend(m.parser.finish(&header)?);
        }
        let target = match (self.target.take(), self.plain_target.take()) {
            (Some(target), _) => Target::Ext(target.parser.finish()?),
            (None, None) => Target::Continue,
            (None, Some(name)) if self.is_goto => Target::Goto(name.as_str().into()),
            (None, Some(name)) => plain_target(&name),
        };
        let all = |list: Option<Vec<AddrMask>>| match list {
            None => vec![None],
            Some(list) => list.into_iter().map(Some).collect(),
        };
        let mut rules = Vec::new();
        let destinations = all(destinations);
        for source in all(sources) {
            for destination in &destinations {
                let src = wanted_address(source, nots.first());
                let dst = wanted_address(*destination, nots.get(1));
                let header = Header { src, dst, ..header.clone() };
                let (matches, target) = (matches.clone(), target.clone());
                rules.push(RuleSpec { header, matches, target, origin: 0 });
            }
        }
        Ok(rules)
    }
}
