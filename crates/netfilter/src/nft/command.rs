//! `nft`, carried out.

use base::Instant;

use super::edit::Edit;
use super::error::Failure;
use super::lex::Span;
use super::list::List;
use super::parse::command::{Command, Named, Place, Verb, What, commands};
use super::value::Style;
use crate::firewall::Netfilter;
use crate::text::command::Output;

/// What `nft --version` says.
pub const VERSION: &str = "nftables v1.0.6 (Lester Gooch #5)";

/// Where the text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The arguments themselves.
    Text(String),
    /// A file; `-` is the standard input.
    File(String),
}

/// What the arguments say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// How lists are printed.
    pub style: Style,
    /// `-c`: nothing is changed.
    pub check: bool,
    /// The text.
    pub input: Input,
}

/// What `nft --help` says.
const USAGE: &str = "\
Usage: nft [ options ] [ cmds... ]

Options (general):
  -h, --help                      Show this help
  -v, --version                   Show version information
  -V                              Show extended version information

Options (ruleset input handling):
  -f, --file <filename>           Read input from <filename>
  -D, --define <name=value>       Define variable, e.g. --define foo=1.2.3.4
  -i, --interactive               Read input from interactive CLI
  -I, --includepath <directory>   Add <directory> to the paths searched for include files. Default is: /etc
  -c, --check                     Check commands validity without actually applying the changes.
  -o, --optimize                  Optimize ruleset

Options (ruleset list formatting):
  -a, --handle                    Output rule handle.
  -s, --stateless                 Omit stateful information of ruleset.
  -t, --terse                     Omit contents of sets.
  -S, --service                   Translate ports to service names as described in /etc/services.
  -N, --reversedns                Translate IP addresses to names.
  -u, --guid                      Print UID/GID as defined in /etc/passwd and /etc/group.
  -n, --numeric                   Print fully numerical output.
  -y, --numeric-priority          Print chain priority numerically.
  -p, --numeric-protocol          Print layer 4 protocols numerically.
  -T, --numeric-time              Print time values numerically.

Options (command output formatting):
  -e, --echo                      Echo what has been added, inserted or replaced.
  -j, --json                      Format output in JSON
  -d, --debug <level [,level...]> Specify debugging level (scanner, parser, eval, netlink, mnl, proto-ctx, segtree, all)

";

/// Long options and the letters they stand for.
const LONG: [(&str, char); 20] = [
    ("help", 'h'),
    ("version", 'v'),
    ("file", 'f'),
    ("define", 'D'),
    ("interactive", 'i'),
    ("includepath", 'I'),
    ("check", 'c'),
    ("optimize", 'o'),
    ("handle", 'a'),
    ("stateless", 's'),
    ("terse", 't'),
    ("service", 'S'),
    ("reversedns", 'N'),
    ("guid", 'u'),
    ("numeric", 'n'),
    ("numeric-priority", 'y'),
    ("numeric-protocol", 'p'),
    ("numeric-time", 'T'),
    ("echo", 'e'),
    ("json", 'j'),
];

fn failed(err: String) -> Output {
    Output { out: String::new(), err, code: 1 }
}

impl Args {
    /// Reads the arguments. `Err`: nothing more is to be done than to print this.
    pub fn parse(args: &[String]) -> Result<Args, Output> {
        let mut parsed =
            Args { style: Style::default(), check: false, input: Input::Text(String::new()) };
        let (mut file, mut words) = (None, Vec::new());
        let mut at = 0;
        while let Some(arg) = args.get(at) {
            at += 1;
            if !arg.starts_with('-') || arg == "-" || !words.is_empty() {
                if arg.starts_with('-') && arg.len() > 1 && is_option(arg) {
                    let text = args.join(" ");
                    return Err(failed(format!(
                        "Error: syntax error, options must be specified before commands\nnft {text} \n   ^{}~~\n",
                        " ".repeat(
                            args.iter()
                                .take(at - 1)
                                .map(|arg| arg.len() + 1)
                                .sum::<usize>()
                                .saturating_sub(1)
                        )
                    )));
                }
                words.push(arg.as_str());
                continue;
            }
            let (letters, mut value) = match arg.strip_prefix("--") {
                Some(long) => {
                    let (name, value) = match long.split_once('=') {
                        Some((name, value)) => (name, Some(value.to_string())),
                        None => (long, None),
                    };
                    match LONG.iter().find(|(known, _)| *known == name) {
                        Some((_, letter)) => (letter.to_string(), value),
                        None => return Err(failed(format!("nft: unrecognized option '{arg}'\n"))),
                    }
                }
                None => (arg.get(1..).unwrap_or_default().to_string(), None),
            };
            for (index, letter) in letters.char_indices() {
                if letter == 'f' {
                    let rest = letters.get(index + 1..).filter(|rest| !rest.is_empty());
                    let given = value.take().or_else(|| rest.map(str::to_string));
                    file = given.or_else(|| {
                        at += 1;
                        args.get(at - 1).cloned()
                    });
                    if file.is_none() {
                        return Err(failed(
                            "nft: option requires an argument -- 'f'\n".to_string(),
                        ));
                    }
                    break;
                }
                parsed.option(letter)?;
            }
        }
        parsed.input = match file {
            Some(file) => Input::File(file),
            None if words.is_empty() => {
                return Err(failed("nft: no command specified\n".to_string()));
            }
            None => Input::Text(words.join(" ")),
        };
        Ok(parsed)
    }

    fn option(&mut self, letter: char) -> Result<(), Output> {
        let style = &mut self.style;
        match letter {
            'h' => return Err(Output { out: USAGE.to_string(), err: String::new(), code: 0 }),
            'v' | 'V' => {
                return Err(Output { out: format!("{VERSION}\n"), err: String::new(), code: 0 });
            }
            'a' => style.handles = true,
            's' => style.stateless = true,
            't' => style.terse = true,
            'S' => style.services = true,
            'y' => style.numeric_priority = true,
            'p' => style.numeric_protocol = true,
            'T' => style.numeric_time = true,
            'n' => {
                (style.numeric_priority, style.numeric_protocol) = (true, true);
                (style.numeric_time, style.numeric_symbols) = (true, true);
            }
            'c' => self.check = true,
            'N' | 'u' | 'D' | 'i' | 'I' | 'o' | 'e' | 'j' | 'd' => {
                return Err(failed(format!("nft: option -{letter}: not supported by podwire\n")));
            }
            _ => return Err(failed(format!("nft: invalid option -- '{letter}'\n"))),
        }
        Ok(())
    }
}

fn is_option(arg: &str) -> bool {
    let letters = arg.trim_start_matches('-');
    let is_number = letters.bytes().all(|byte| byte.is_ascii_digit());
    !is_number && (arg.starts_with("--") || letters.len() == 1)
}

/// `nft` with this text. `file`: the name of the file it stands in.
pub fn nft(
    netfilter: &mut Netfilter,
    args: &Args,
    text: &str,
    file: Option<&str>,
    now: Instant,
) -> Output {
    let mut output = Output::default();
    // A line ends with one, whoever typed it.
    let line = format!("{text}\n");
    let text = if file.is_none() { &line } else { text };
    let result =
        commands(text).and_then(|commands| run(netfilter, args, &commands, now, &mut output.out));
    if let Err(failure) = result {
        output.err = failure.text(text, file);
        output.code = 1;
    }
    output
}

/// Puts a text of rules in, as `nft -f` does.
///
/// # Errors
/// In nft's words, with the line; nothing is changed then.
pub fn load(netfilter: &mut Netfilter, text: &str, now: Instant) -> Result<(), String> {
    let args = Args { style: Style::default(), check: false, input: Input::File("-".to_string()) };
    let output = nft(netfilter, &args, text, Some("/dev/stdin"), now);
    if output.code == 0 { Ok(()) } else { Err(output.err) }
}

/// The whole ruleset as `nft list ruleset` prints it.
pub fn list_ruleset(netfilter: &Netfilter, style: Style, now: Instant) -> String {
    let mut out = String::new();
    for table in &netfilter.nft().tables {
        super::print::Printer { table, style, now }.table(&mut out);
    }
    out
}

fn run(
    netfilter: &mut Netfilter,
    args: &Args,
    commands: &[Command],
    now: Instant,
    out: &mut String,
) -> Result<(), Failure> {
    netfilter.edit_nft(|rules| {
        // Lists show what was before, whatever else the text does.
        for command in commands {
            if matches!(command.verb, Verb::List | Verb::Reset | Verb::Get) {
                List { rules, style: args.style, now, out }.run(command)?;
            }
        }
        let mut edit = Edit::new(rules, now);
        let mut result = Ok(());
        for command in commands {
            result = change(&mut edit, command);
            if result.is_err() {
                break;
            }
        }
        let is_good = result.is_ok() && !args.check;
        edit.end(is_good);
        result
    })
}

fn change(edit: &mut Edit<'_>, command: &Command) -> Result<(), Failure> {
    let (verb, whole, now) = (command.verb, command.span, edit.now);
    match (verb, command.what.clone()) {
        (Verb::List | Verb::Reset | Verb::Get, _) => Ok(()),
        (Verb::Flush, What::Ruleset(family)) => {
            let meant = |edit: &Edit<'_>| {
                let mut tables = edit.rules.tables.iter();
                tables.position(|table| family.is_none_or(|family| family == table.family))
            };
            while let Some(index) = meant(edit) {
                edit.delete_table(Some(index), whole)?;
            }
            Ok(())
        }
        (Verb::Flush, What::Table(spec)) => edit.flush_table(&spec.at),
        (Verb::Flush, What::Chain(at, spec, _)) => {
            edit.flush_chain(&at, &Named { name: spec.name, handle: None, span: spec.span })
        }
        (Verb::Flush, What::SetName(at, named, _)) => edit.flush_set(&at, &named),
        (Verb::Delete, What::Table(spec)) => {
            let index = edit.find_table(&spec.at);
            edit.delete_table(index, spec.at.span)
        }
        (Verb::Delete, What::TableHandle(family, handle, span)) => {
            let mut tables = edit.rules.tables.iter();
            let index = tables.position(|table| table.family == family && table.handle == handle);
            edit.delete_table(index, span)
        }
        (Verb::Delete, What::Chain(at, spec, handle)) => {
            edit.delete_chain(&at, &Named { name: spec.name, handle, span: spec.span })
        }
        (Verb::Delete, What::Rule(at, chain, Place::Handle(handle, span), _)) => {
            edit.delete_rule(&at, &chain, handle, span)
        }
        (Verb::Delete, What::SetName(at, named, is_map)) => edit.delete_set(&at, &named, is_map),
        (Verb::Delete, What::Elements(at, named, specs)) => {
            edit.delete_elements(&at, &named, &specs)
        }
        (Verb::Delete, What::CounterName(at, named)) => edit.delete_counter(&at, &named),
        (Verb::Rename, What::Rename(at, named, name)) => edit.rename(&at, &named, &name, whole),
        (_, What::Table(spec)) => edit.add_table(verb, spec),
        (_, What::Chain(at, spec, _)) => edit.add_chain(verb, &at, spec, whole),
        (_, What::Rule(at, chain, place, Some(rule))) => {
            edit.add_rule(verb, &at, &chain, place, rule, whole).map(drop)
        }
        (_, What::Set(at, spec, _)) => edit.add_set(verb, &at, spec),
        (_, What::Elements(at, named, specs)) => edit.put_elements(verb, &at, &named, &specs, now),
        (_, What::Counter(at, spec)) => edit.add_counter(verb, &at, spec),
        _ => Err(Failure::unsupported("this", Span { ..whole })),
    }
}
