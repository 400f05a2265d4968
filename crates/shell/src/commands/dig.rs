//! `dig`: one question, and the whole answer. Words and columns are those of BIND 9.18.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use base::{Duration, Utc};
use netsim::SockError;
use programs::dns::{Data, Flavour, Kind, Message, Name, Record, Resolver, ResponseCode, Unheard};

use super::Ctx;
use crate::io::{Closed, Exit};

const VERSION: &str = "9.18.33";
/// Datagrams that dig says it can take.
const UDP_MAX: u16 = 1232;
/// Questions of one command; more are not asked.
const QUESTIONS_MAX: usize = 50;

/// The types that can be asked for, by their names.
const KINDS: [(&str, Kind); 9] = [
    ("A", Kind::A),
    ("AAAA", Kind::Aaaa),
    ("ANY", Kind::Any),
    ("CNAME", Kind::Cname),
    ("NS", Kind::Ns),
    ("PTR", Kind::Ptr),
    ("SOA", Kind::Soa),
    ("SRV", Kind::Srv),
    ("TXT", Kind::Txt),
];

/// The type of this name.
pub(super) fn kind_of(word: &str) -> Option<Kind> {
    let found = KINDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    found.map(|(_, kind)| *kind).or_else(|| word.eq_ignore_ascii_case("MX").then_some(MX))
}

/// Mail exchangers: nobody has one here, but people ask.
const MX: Kind = Kind::Other(15);

fn kind_name(kind: Kind) -> String {
    let found = KINDS.iter().find(|(_, known)| *known == kind);
    match found {
        Some((name, _)) => (*name).to_string(),
        None if kind == MX => "MX".to_string(),
        None => format!("TYPE{}", kind.number()),
    }
}

/// `NXDOMAIN` and the like.
pub(super) fn code_name(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_string(),
        ResponseCode::FormErr => "FORMERR".to_string(),
        ResponseCode::ServFail => "SERVFAIL".to_string(),
        ResponseCode::NxDomain => "NXDOMAIN".to_string(),
        ResponseCode::NotImp => "NOTIMP".to_string(),
        ResponseCode::Refused => "REFUSED".to_string(),
        ResponseCode::Other(code) => format!("RESERVED{code}"),
    }
}

/// What a record says, as it is written in zone files.
pub(super) fn data_text(data: &Data) -> String {
    match data {
        Data::A(addr) => addr.to_string(),
        Data::Aaaa(addr) => addr.to_string(),
        Data::Cname(name) | Data::Ns(name) | Data::Ptr(name) => name.to_string(),
        Data::Txt(texts) => {
            let quoted = texts.iter().map(|text| format!("{:?}", String::from_utf8_lossy(text)));
            quoted.collect::<Vec<_>>().join(" ")
        }
        Data::Srv { priority, weight, port, target } => {
            format!("{priority} {weight} {port} {target}")
        }
        Data::Soa { primary, mailbox, serial, minimum } => {
            format!("{primary} {mailbox} {serial} 7200 1800 86400 {minimum}")
        }
        Data::Other(_, bytes) => format!("\\# {}", bytes.len()),
    }
}

/// What is shown.
#[derive(Clone)]
struct Options {
    server: Option<String>,
    short: bool,
    command: bool,
    comments: bool,
    question: bool,
    answer: bool,
    authority: bool,
    additional: bool,
    stats: bool,
    search: bool,
    edns: bool,
    timeout: Duration,
    tries: u32,
}

impl Options {
    fn new() -> Options {
        Options {
            server: None,
            short: false,
            command: true,
            comments: true,
            question: true,
            answer: true,
            authority: true,
            additional: true,
            stats: true,
            search: false,
            edns: true,
            timeout: Duration::from_secs(5),
            tries: 3,
        }
    }

    fn set_all(&mut self, is_on: bool) {
        for part in [
            &mut self.command,
            &mut self.comments,
            &mut self.question,
            &mut self.answer,
            &mut self.authority,
            &mut self.additional,
            &mut self.stats,
        ] {
            *part = is_on;
        }
    }

    /// `+short`, `+noall`, `+time=2`.
    fn plus(&mut self, word: &str) -> Result<(), String> {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let (name, is_on) = match name.strip_prefix("no") {
            Some(rest) => (rest, false),
            None => (name, true),
        };
        let number = || value.parse::<u32>().map_err(|_| format!("Couldn't parse {name}"));
        match name {
            "short" => self.short = is_on,
            "all" => self.set_all(is_on),
            "cmd" => self.command = is_on,
            "comments" => self.comments = is_on,
            "question" => self.question = is_on,
            "answer" => self.answer = is_on,
            "authority" => self.authority = is_on,
            "additional" => self.additional = is_on,
            "stats" => self.stats = is_on,
            "search" | "defname" => self.search = is_on,
            "edns" => self.edns = is_on,
            "time" | "timeout" => {
                self.timeout = Duration::from_secs(u64::from(number()?.clamp(1, 300)));
            }
            "tries" => self.tries = number()?.clamp(1, 10),
            "retry" => self.tries = number()?.saturating_add(1).clamp(1, 10),
            "recurse" | "rec" | "ttlid" | "cookie" | "ignore" | "dnssec" | "class" => {}
            "tcp" | "vc" | "trace" | "multiline" | "identify" | "yaml" => {
                return Err(format!("+{word} is not supported by podwire"));
            }
            _ => return Err(format!("Invalid option: +{word}")),
        }
        Ok(())
    }
}

/// A name and a type.
struct Question {
    text: String,
    kind: Kind,
}

fn questions(args: &[String]) -> Result<(Options, Vec<Question>), String> {
    let mut options = Options::new();
    let mut asked: Vec<Question> = Vec::new();
    let mut kind = None;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if let Some(server) = arg.strip_prefix('@') {
            options.server = Some(server.to_string());
        } else if let Some(word) = arg.strip_prefix('+') {
            options.plus(word)?;
        } else if arg == "-x" {
            let value = args.next().map(String::as_str).unwrap_or_default();
            let addr: Ipv4Addr =
                value.parse().map_err(|_| format!("Invalid IP address {value}"))?;
            asked.push(Question { text: Name::of_addr(addr).to_string(), kind: Kind::Ptr });
        } else if arg == "-t" || arg == "-q" {
            let value = args.next().map(String::as_str).unwrap_or_default();
            match kind_of(value) {
                Some(known) if arg == "-t" => kind = Some(known),
                _ if arg == "-q" => asked.push(Question { text: value.into(), kind: Kind::A }),
                _ => return Err(format!(";; Warning, ignoring invalid type {value}")),
            }
        } else if matches!(arg.as_str(), "-4" | "IN" | "in") {
            // Nothing else is known here.
        } else if arg.starts_with('-') {
            return Err(format!("Invalid option: {arg}"));
        } else if let Some(known) = kind_of(arg) {
            match asked.last_mut() {
                Some(last) if last.kind == Kind::A => last.kind = known,
                _ => kind = Some(known),
            }
        } else if asked.len() < QUESTIONS_MAX {
            asked.push(Question { text: arg.clone(), kind: kind.unwrap_or(Kind::A) });
        }
    }
    if let Some(kind) = kind {
        asked.iter_mut().filter(|asked| asked.kind == Kind::A).for_each(|asked| asked.kind = kind);
    }
    if asked.is_empty() {
        asked.push(Question { text: ".".to_string(), kind: kind.unwrap_or(Kind::Ns) });
    }
    Ok((options, asked))
}

/// How tools ask that are resolvers of their own, whatever the C library: the place's servers, or the one that is
/// named. `None`: that has no address.
pub(super) async fn resolver(ctx: &Ctx, server: Option<&str>) -> Option<Resolver> {
    let mut resolver = ctx.resolver();
    if let Some(server) = server {
        let addrs = resolver.addresses(&ctx.host, server).await.ok()?;
        resolver.conf.nameservers = addrs.into_iter().take(1).collect();
    }
    (resolver.asks_both, resolver.flavour) = (false, Flavour::Glibc);
    Some(resolver)
}

/// `dig [@SERVER] NAME [TYPE] [+OPTION…]`
pub async fn run(ctx: Ctx) -> Exit {
    let (options, asked) = match questions(&ctx.args) {
        Ok(read) => read,
        Err(why) => return ctx.fail(format!("dig: {why}"), 1).await,
    };
    let Some(mut resolver) = resolver(&ctx, options.server.as_deref()).await else {
        let server = options.server.unwrap_or_default();
        return ctx.fail(format!("dig: couldn't get address for '{server}': not found"), 10).await;
    };
    resolver.conf.timeout = options.timeout;
    resolver.conf.attempts = options.tries;
    resolver.udp_size = options.edns.then_some(UDP_MAX);
    let given = options.server.as_ref().map(|server| format!(" @{server}")).unwrap_or_default();
    let words: Vec<&str> =
        ctx.args.iter().map(String::as_str).filter(|word| !word.starts_with('@')).collect();
    // It is printed before the first answer.
    let mut greeting = match options.command && !options.short {
        true => format!(
            "\n; <<>> DiG {VERSION} <<>>{given} {}\n{};; global options: +cmd\n",
            words.join(" "),
            if options.server.is_some() { "; (1 server found)\n" } else { "" },
        ),
        false => String::new(),
    };
    let mut status = 0;
    for question in &asked {
        status = one(&ctx, &options, &resolver, question, &mut greeting).await?;
    }
    Ok(status)
}

/// Why there is no answer, as BIND's tools say it.
pub(super) fn unheard(server: Ipv4Addr, name: &Name, why: Unheard) -> String {
    let why = match why {
        Unheard::TimedOut => "timed out".to_string(),
        Unheard::Failed(SockError::Refused) => "connection refused".to_string(),
        Unheard::Failed(error) => {
            let (name, error) = (name.to_string(), error.to_string().to_lowercase());
            let name = name.trim_end_matches('.');
            return format!(
                ";; UDP setup with {server}#53({server}) for {name} failed: {error}.\n"
            );
        }
    };
    format!(";; communications error to {server}#53: {why}\n")
}

async fn one(
    ctx: &Ctx,
    options: &Options,
    resolver: &Resolver,
    question: &Question,
    greeting: &mut String,
) -> Result<i32, Closed> {
    let names = match options.search {
        true => resolver.conf.candidates(&question.text),
        false => Name::parse(&question.text).into_iter().collect(),
    };
    if names.is_empty() {
        let text = format!("dig: '{}' is not a legal name", question.text);
        return ctx.fail(text, 10).await;
    }
    let server = resolver.conf.nameservers.first().copied().unwrap_or(Ipv4Addr::LOCALHOST);
    let count = names.len();
    for (at, name) in names.iter().enumerate() {
        let begun = ctx.host.now();
        let message = match resolver.query(&ctx.host, name, question.kind).await {
            Ok(message) => message,
            Err(why) => {
                let line = unheard(server, name, why);
                let lines = line.repeat(usize::try_from(options.tries).unwrap_or(1));
                let greeting = std::mem::take(greeting);
                ctx.out(format!("{lines}{greeting};; no servers could be reached\n")).await?;
                return Ok(9);
            }
        };
        if at + 1 < count && message.answers.is_empty() {
            continue;
        }
        let millis = (ctx.host.now() - begun).as_millis();
        let text = if options.short {
            message.answers.iter().map(|record| data_text(&record.data) + "\n").collect()
        } else {
            report(options, &message, server, millis, Utc::at(ctx.host.now()))
        };
        ctx.out(std::mem::take(greeting) + &text).await?;
        break;
    }
    Ok(0)
}

fn report(
    options: &Options,
    message: &Message,
    server: Ipv4Addr,
    millis: u128,
    now: Utc,
) -> String {
    let mut text = String::new();
    if options.comments {
        heading(&mut text, message);
    }
    if let Some((name, kind)) = message.questions.first().filter(|_| options.question) {
        if options.comments {
            text.push_str(";; QUESTION SECTION:\n");
        }
        let line = columns(&[(0, format!(";{name}")), (32, "IN".into()), (40, kind_name(*kind))]);
        let _ = writeln!(text, "{line}\n");
    }
    for (title, is_on, records) in [
        ("ANSWER", options.answer, &message.answers),
        ("AUTHORITY", options.authority, &message.authorities),
        ("ADDITIONAL", options.additional, &message.additionals),
    ] {
        if !is_on || records.is_empty() {
            continue;
        }
        if options.comments {
            let _ = writeln!(text, ";; {title} SECTION:");
        }
        records.iter().for_each(|record| text.push_str(&record_line(record)));
        if options.comments || options.stats {
            text.push('\n');
        }
    }
    if options.stats {
        let size = message.to_bytes(usize::from(u16::MAX)).len();
        let when = now.ctime().replace("  ", " 0");
        let when = match when.rsplit_once(' ') {
            Some((rest, year)) => format!("{rest} UTC {year}"),
            None => when,
        };
        let _ = writeln!(text, ";; Query time: {millis} msec");
        let _ = writeln!(text, ";; SERVER: {server}#53({server}) (UDP)");
        let _ = writeln!(text, ";; WHEN: {when}\n;; MSG SIZE  rcvd: {size}\n");
    }
    text
}

fn heading(text: &mut String, message: &Message) {
    text.push_str(";; Got answer:\n");
    let is_local =
        |(name, _): &&(Name, Kind)| name.labels().last().is_some_and(|label| label == "local");
    if message.questions.first().is_some_and(|question| is_local(&question)) {
        text.push_str(";; WARNING: .local is reserved for Multicast DNS\n");
        text.push_str(
            ";; You are currently testing what happens when an mDNS query is leaked to DNS\n",
        );
    }
    let flags = [
        ("qr", message.is_response),
        ("aa", message.is_authoritative),
        ("tc", message.is_truncated),
        ("rd", message.recursion_desired),
        ("ra", message.recursion_available),
    ];
    let flags: Vec<&str> = flags.iter().filter(|(_, is_on)| *is_on).map(|(f, _)| *f).collect();
    let additional = message.additionals.len() + usize::from(message.udp_size.is_some());
    let _ = writeln!(
        text,
        ";; ->>HEADER<<- opcode: QUERY, status: {}, id: {}\n\
         ;; flags: {}; QUERY: {}, ANSWER: {}, AUTHORITY: {}, ADDITIONAL: {additional}",
        code_name(message.code),
        message.id,
        flags.join(" "),
        message.questions.len(),
        message.answers.len(),
        message.authorities.len(),
    );
    if message.recursion_desired && !message.recursion_available {
        text.push_str(";; WARNING: recursion requested but not available\n");
    }
    text.push('\n');
    if let Some(size) = message.udp_size {
        let _ = writeln!(text, ";; OPT PSEUDOSECTION:\n; EDNS: version: 0, flags:; udp: {size}");
    }
}

fn record_line(record: &Record) -> String {
    let line = columns(&[
        (0, record.name.to_string()),
        (24, record.ttl.to_string()),
        (32, "IN".into()),
        (40, kind_name(record.data.kind())),
        (48, data_text(&record.data)),
    ]);
    line + "\n"
}

/// Words at columns, with tabs of eight between them, or one space where there is no room.
fn columns(words: &[(usize, String)]) -> String {
    let (mut line, mut at) = (String::new(), 0);
    for (column, word) in words {
        if *column > 0 {
            if at >= *column {
                line.push(' ');
                at += 1;
            }
            while at < *column {
                line.push('\t');
                at = at / 8 * 8 + 8;
            }
        }
        line.push_str(word);
        at += word.chars().count();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_filled_with_tabs_where_there_is_room() {
        let line = |name: &str| {
            record_line(&Record {
                name: Name::parse(name).unwrap(),
                ttl: 30,
                data: Data::A(Ipv4Addr::new(10, 96, 0, 1)),
            })
        };
        assert_eq!(line("a.b"), "a.b.\t\t\t30\tIN\tA\t10.96.0.1\n");
        let long = "kubernetes.default.svc.cluster.local";
        assert_eq!(line(long), format!("{long}. 30 IN A\t10.96.0.1\n"));
    }

    #[test]
    fn options_may_stand_anywhere() {
        let args = ["@10.0.0.1", "web", "+short", "SRV", "-x", "10.96.0.1"];
        let args: Vec<String> = args.iter().map(|word| word.to_string()).collect();
        let (options, asked) = questions(&args).unwrap();
        assert!(options.short);
        let asked: Vec<_> = asked.iter().map(|q| (q.text.as_str(), q.kind)).collect();
        assert_eq!(asked, [("web", Kind::Srv), ("1.0.96.10.in-addr.arpa.", Kind::Ptr)]);
        assert!(questions(&["+nonsense".to_string()]).is_err());
    }
}
