//! `conntrack`: the connections that a namespace keeps track of. Words are those of conntrack-tools 1.4.7.

use netfilter::conntrack::text;

use super::Ctx;
use crate::io::Exit;

/// `conntrack -L | -C | -S | -F`
pub async fn run(ctx: Ctx) -> Exit {
    let command = ctx.args.first().map(String::as_str);
    match command {
        Some("-L" | "--dump") => list(&ctx).await,
        Some("-C" | "--count") => {
            let count = ctx.host.net().with_netfilter(ctx.host.ns(), |nf| nf.conntrack().count());
            ctx.out(format!("{}\n", count.unwrap_or(0))).await?;
            Ok(0)
        }
        Some("-F" | "--flush") => {
            ctx.host.net().with_netfilter(ctx.host.ns(), |nf| {
                let now = ctx.host.now();
                let ids: Vec<_> =
                    nf.conntrack().entries(now).into_iter().map(|(id, _)| id).collect();
                ids.into_iter().for_each(|id| nf.conntrack_mut().remove(id));
            });
            ctx.err(
                "conntrack v1.4.7 (conntrack-tools): connection tracking table has been emptied.\n",
            )
            .await?;
            Ok(0)
        }
        Some(other) if other.starts_with('-') => ctx.unsupported(&format!("'{other}'")).await,
        _ => {
            ctx.fail(
                "conntrack v1.4.7 (conntrack-tools): you need to supply a command: -L, -C or -F",
                2,
            )
            .await
        }
    }
}

/// The fields of a line that an option asks for: the option, and the words that fit.
fn wanted(option: &str, value: &str) -> Option<String> {
    Some(match option {
        "-s" | "--src" | "--orig-src" => format!("src={value}"),
        "-d" | "--dst" | "--orig-dst" => format!("dst={value}"),
        "--sport" | "--orig-port-src" => format!("sport={value}"),
        "--dport" | "--orig-port-dst" => format!("dport={value}"),
        "-p" | "--proto" => value.to_ascii_lowercase(),
        _ => return None,
    })
}

async fn list(ctx: &Ctx) -> Exit {
    let mut filters = Vec::new();
    let mut args = ctx.args.iter().skip(1);
    while let Some(option) = args.next() {
        if option == "conntrack" {
            continue;
        }
        let value = args.next().map(String::as_str).unwrap_or_default();
        match wanted(option, value) {
            Some(filter) => filters.push(filter),
            None => return ctx.unsupported(&format!("'{option}'")).await,
        }
    }
    let now = ctx.host.now();
    let lines = ctx.host.net().with_netfilter(ctx.host.ns(), |nf| {
        let entries = nf.conntrack().entries(now);
        entries.into_iter().map(|(_, conn)| text::line(conn, now)).collect::<Vec<String>>()
    });
    let mut shown = 0;
    for line in lines.unwrap_or_default() {
        // The first tuple's fields come first: they are what the options are about.
        let fits = |filter: &String| {
            let name = filter.split_inclusive('=').next().unwrap_or_default();
            let field = line.split_whitespace().find(|word| word.starts_with(name));
            field == Some(filter.as_str())
        };
        if filters.iter().all(fits) {
            ctx.out(format!("{}\n", line.trim_end_matches('\n'))).await?;
            shown += 1;
        }
    }
    let footer =
        format!("conntrack v1.4.7 (conntrack-tools): {shown} flow entries have been shown.\n");
    ctx.err(footer).await?;
    Ok(0)
}
