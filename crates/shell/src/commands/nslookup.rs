//! `nslookup`, `host`, `getent`: names and addresses. In busybox's and Alpine's images `nslookup` is busybox's
//! (1.36), elsewhere BIND's (9.18).

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use base::Duration;
use programs::dns::{Data, Kind, Message, Name, Record, Resolver, ResponseCode, Unheard};

use super::Ctx;
use super::dig::{code_name, data_text, kind_of, resolver};
use crate::io::{Closed, Exit};

/// What is asked, of whom, and how long.
#[derive(Default)]
struct Asked {
    name: String,
    kinds: Vec<Kind>,
    server: Option<String>,
    timeout: Option<u64>,
    tries: Option<u32>,
}

fn asked(args: &[String]) -> Result<Asked, String> {
    let mut asked = Asked::default();
    let mut words = Vec::new();
    for arg in args {
        let Some(option) = arg.strip_prefix('-') else {
            words.push(arg.clone());
            continue;
        };
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "type" | "querytype" | "query" | "q" | "ty" => {
                let kind = kind_of(value).ok_or(format!("unknown query type: {value}"))?;
                asked.kinds.push(kind);
            }
            "timeout" | "t" => asked.timeout = value.parse().ok().filter(|secs| *secs > 0),
            "retry" => asked.tries = value.parse().ok().map(|again: u32| again.clamp(0, 9) + 1),
            "nodebug" => {}
            "debug" | "port" => {
                return Err(format!("nslookup: -{option} is not supported by podwire"));
            }
            _ => return Err(format!("*** Invalid option: {option}")),
        }
    }
    let mut words = words.into_iter();
    asked.name = words.next().unwrap_or_default();
    asked.server = words.next();
    Ok(asked)
}

/// The name under `in-addr.arpa` of an address.
fn reverse(name: &str) -> Option<Name> {
    name.parse().ok().map(Name::of_addr)
}

fn dotless(name: &Name) -> String {
    name.to_string().trim_end_matches('.').to_string()
}

/// `nslookup [-type=TYPE] NAME [SERVER]`
pub async fn run(ctx: Ctx) -> Exit {
    let asked = match asked(&ctx.args) {
        Ok(asked) => asked,
        Err(why) => return ctx.fail(why, 1).await,
    };
    if asked.name.is_empty() {
        return ctx.unsupported("asking without a name").await;
    }
    let is_busybox = ctx.is_busybox();
    let Some(mut resolver) = resolver(&ctx, asked.server.as_deref()).await else {
        let server = asked.server.unwrap_or_default();
        let text = match is_busybox {
            true => format!("nslookup: bad address '{server}'"),
            false => format!("nslookup: couldn't get address for '{server}': not found"),
        };
        return ctx.fail(text, 1).await;
    };
    resolver.conf.attempts = asked.tries.unwrap_or(if is_busybox { 1 } else { 3 });
    if let Some(secs) = asked.timeout {
        resolver.conf.timeout = Duration::from_secs(secs);
    }
    match is_busybox {
        true => busybox(&ctx, &resolver, &asked).await,
        false => bind(&ctx, &resolver, &asked).await,
    }
}

// ---- busybox ---------------------------------------------------------------------------------------------

/// The names that busybox asks for: all of the search list at once, but only for a name without a dot.
fn busybox_questions(resolver: &Resolver, asked: &Asked) -> Vec<(String, Kind)> {
    let searched = |kind: Kind| -> Vec<(String, Kind)> {
        let search = &resolver.conf.search;
        if asked.name.contains('.') || search.is_empty() || search.iter().any(|s| s == ".") {
            return vec![(asked.name.clone(), kind)];
        }
        search.iter().map(|domain| (format!("{}.{domain}", asked.name), kind)).collect()
    };
    if let (true, Some(name)) = (asked.kinds.is_empty(), reverse(&asked.name)) {
        return vec![(dotless(&name), Kind::Ptr)];
    }
    let kinds = if asked.kinds.is_empty() { &[Kind::A, Kind::Aaaa][..] } else { &asked.kinds };
    kinds.iter().flat_map(|kind| searched(*kind)).collect()
}

async fn busybox(ctx: &Ctx, resolver: &Resolver, asked: &Asked) -> Exit {
    let server = server_of(resolver);
    let mut status = 0;
    let mut is_first = true;
    for (name, kind) in busybox_questions(resolver, asked) {
        let Some(question) = Name::parse(&name) else {
            return ctx.fail(format!("nslookup: invalid name '{name}'"), 1).await;
        };
        let Ok(message) = resolver.query(&ctx.host, &question, kind).await else {
            ctx.out(";; connection timed out; no servers could be reached\n\n").await?;
            return Ok(1);
        };
        if std::mem::take(&mut is_first) {
            ctx.out(format!("Server:\t\t{server}\nAddress:\t{server}:53\n\n")).await?;
        }
        if message.code != ResponseCode::NoError {
            status = 1;
            let code = code_name(message.code);
            ctx.out(format!("** server can't find {name}: {code}\n\n")).await?;
            continue;
        }
        let mut text = String::new();
        if !message.is_authoritative && !message.answers.is_empty() {
            text.push_str("Non-authoritative answer:\n");
        }
        message.answers.iter().for_each(|record| text.push_str(&line(record)));
        ctx.out(format!("{text}\n")).await?;
    }
    Ok(status)
}

/// A record as both tools print it.
fn line(record: &Record) -> String {
    let name = dotless(&record.name);
    let data = data_text(&record.data);
    let bare = data.trim_end_matches('.');
    match &record.data {
        Data::A(_) | Data::Aaaa(_) => format!("Name:\t{name}\nAddress: {data}\n"),
        Data::Cname(_) => format!("{name}\tcanonical name = {bare}\n"),
        Data::Ptr(_) => format!("{name}\tname = {bare}\n"),
        Data::Ns(_) => format!("{name}\tnameserver = {bare}\n"),
        Data::Txt(_) => format!("{name}\ttext = {data}\n"),
        Data::Srv { .. } => format!("{name}\tservice = {bare}\n"),
        Data::Soa { primary, mailbox, serial, minimum } => format!(
            "{name}\n\torigin = {}\n\tmail addr = {}\n\tserial = {serial}\n\trefresh = 7200\n\
             \tretry = 1800\n\texpire = 86400\n\tminimum = {minimum}\n",
            dotless(primary),
            dotless(mailbox),
        ),
        Data::Other(..) => String::new(),
    }
}

// ---- BIND ------------------------------------------------------------------------------------------------

/// BIND's line: of names that are said by a record, the dot at the end stays.
fn bind_line(record: &Record) -> String {
    let name = dotless(&record.name);
    match &record.data {
        Data::Cname(_) | Data::Ptr(_) | Data::Ns(_) | Data::Srv { .. } => {
            let bare = line(record);
            format!("{}.\n", bare.trim_end())
        }
        Data::Txt(_) => format!("{name}\ttext = {}\n", data_text(&record.data)),
        _ => line(record),
    }
}

/// The first of the search list that exists; else what became of the last one.
async fn searched(
    ctx: &Ctx,
    resolver: &Resolver,
    name: &str,
    kind: Kind,
) -> Result<(Name, Message), Unheard> {
    let names = match reverse(name).filter(|_| kind == Kind::Ptr) {
        Some(name) => vec![name],
        None => resolver.conf.candidates(name),
    };
    let mut last = (Name::default(), Message::default());
    last.1.code = ResponseCode::NxDomain;
    for name in names {
        let message = resolver.query(&ctx.host, &name, kind).await?;
        let is_found = message.code == ResponseCode::NoError;
        last = (name, message);
        if is_found {
            break;
        }
    }
    Ok(last)
}

async fn unheard(ctx: &Ctx, resolver: &Resolver, name: &str, why: Unheard) -> Result<i32, Closed> {
    let name = Name::parse(name).unwrap_or_default();
    let line = super::dig::unheard(server_of(resolver), &name, why);
    let lines = line.repeat(usize::try_from(resolver.conf.attempts).unwrap_or(1));
    ctx.out(format!("{lines};; no servers could be reached\n\n")).await?;
    Ok(1)
}

/// The server that is asked first.
fn server_of(resolver: &Resolver) -> Ipv4Addr {
    resolver.conf.nameservers.first().copied().unwrap_or(Ipv4Addr::LOCALHOST)
}

async fn bind(ctx: &Ctx, resolver: &Resolver, asked: &Asked) -> Exit {
    let server = server_of(resolver);
    let is_reverse = asked.kinds.is_empty() && reverse(&asked.name).is_some();
    let first = match asked.kinds.first() {
        Some(kind) => *kind,
        None if is_reverse => Kind::Ptr,
        None => Kind::A,
    };
    let (name, message) = match searched(ctx, resolver, &asked.name, first).await {
        Ok(found) => found,
        Err(why) => return unheard(ctx, resolver, &asked.name, why).await,
    };
    let mut text = String::new();
    if !is_reverse {
        let _ = writeln!(text, "Server:\t\t{server}\nAddress:\t{server}#53\n");
    }
    if message.code != ResponseCode::NoError {
        let shown = if is_reverse { dotless(&name) } else { asked.name.clone() };
        let code = code_name(message.code);
        ctx.out(format!("{text}** server can't find {shown}: {code}\n\n")).await?;
        return Ok(1);
    }
    if !message.is_authoritative {
        text.push_str("Non-authoritative answer:\n");
    }
    message.answers.iter().for_each(|record| text.push_str(&bind_line(record)));
    if asked.kinds.is_empty() && !is_reverse {
        // Without a type, IPv6 addresses are asked for, too.
        if let Ok(more) = resolver.query(&ctx.host, &name, Kind::Aaaa).await {
            let addrs = more.answers.iter().filter(|r| matches!(r.data, Data::Aaaa(_)));
            addrs.for_each(|record| text.push_str(&bind_line(record)));
        }
    } else if message.answers.is_empty() {
        let _ = writeln!(text, "*** Can't find {}: No answer", asked.name);
    }
    ctx.out(format!("{text}\n")).await?;
    Ok(0)
}

// ---- host and getent -------------------------------------------------------------------------------------

/// `host [-t TYPE] NAME [SERVER]`
pub async fn host(ctx: Ctx) -> Exit {
    let mut words: Vec<&String> = Vec::new();
    let mut kind = None;
    let mut args = ctx.args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-t" => {
                let word = args.next().map(String::as_str).unwrap_or_default();
                kind = kind_of(word);
                if kind.is_none() {
                    return ctx.fail(format!("host: invalid type: {word}\n"), 1).await;
                }
            }
            option if option.starts_with('-') => {
                return ctx.unsupported(&format!("option {option}")).await;
            }
            _ => words.push(arg),
        }
    }
    let Some(name) = words.first() else {
        return ctx.fail("Usage: host [-t type] hostname [server]", 1).await;
    };
    let given = words.get(1).map(|server| server.as_str());
    let Some(resolver) = resolver(&ctx, given).await else {
        let server = given.unwrap_or_default();
        return ctx.fail(format!("host: couldn't get address for '{server}': not found"), 1).await;
    };
    let is_reverse = reverse(name).is_some();
    let kind = kind.unwrap_or(if is_reverse { Kind::Ptr } else { Kind::A });
    let (found, message) = match searched(&ctx, &resolver, name, kind).await {
        Ok(found) => found,
        Err(why) => return unheard(&ctx, &resolver, name, why).await,
    };
    if let Some(given) = given {
        let addr = server_of(&resolver);
        let about = format!("Name: {given}\nAddress: {addr}#53\nAliases: \n\n");
        ctx.out(format!("Using domain server:\n{about}")).await?;
    }
    if message.code != ResponseCode::NoError {
        let shown = if is_reverse { found.to_string() } else { (*name).clone() };
        let code = message.code;
        let number = if code == ResponseCode::NxDomain { 3 } else { 2 };
        ctx.out(format!("Host {shown} not found: {number}({})\n", code_name(code))).await?;
        return Ok(1);
    }
    let mut text = String::new();
    for record in &message.answers {
        let what = match record.data {
            Data::A(_) => "has address",
            Data::Aaaa(_) => "has IPv6 address",
            Data::Cname(_) => "is an alias for",
            Data::Ptr(_) => "domain name pointer",
            Data::Ns(_) => "name server",
            Data::Srv { .. } => "has SRV record",
            Data::Txt(_) => "descriptive text",
            Data::Soa { .. } => "has SOA record",
            Data::Other(..) => continue,
        };
        let _ = writeln!(text, "{} {what} {}", dotless(&record.name), data_text(&record.data));
    }
    ctx.out(text).await?;
    Ok(0)
}

/// `getent hosts NAME`, `getent ahosts NAME`
pub async fn getent(ctx: Ctx) -> Exit {
    let (database, names) = match ctx.args.split_first() {
        Some((database, names)) => (database.as_str(), names),
        None => return ctx.fail("Usage: getent [OPTION...] database [key ...]", 1).await,
    };
    if !matches!(database, "hosts" | "ahosts" | "ahostsv4") {
        return ctx.unsupported(&format!("database '{database}'")).await;
    }
    let resolver = ctx.resolver();
    if names.is_empty() {
        for (name, addr) in &resolver.names.hosts {
            ctx.out(format!("{:<15} {name}\n", addr.to_string())).await?;
        }
        return Ok(0);
    }
    let mut status = 0;
    for name in names {
        let Ok((canonical, addrs)) = resolver.lookup(&ctx.host, name).await else {
            status = 2;
            continue;
        };
        for (at, addr) in addrs.iter().enumerate() {
            let addr = addr.to_string();
            if database == "hosts" {
                ctx.out(format!("{addr:<15} {canonical}\n")).await?;
                continue;
            }
            let shown = if at == 0 { canonical.as_str() } else { "" };
            ctx.out(format!("{addr:<15} STREAM {shown}\n")).await?;
            ctx.out(format!("{addr:<15} DGRAM  \n{addr:<15} RAW    \n")).await?;
        }
    }
    Ok(status)
}
