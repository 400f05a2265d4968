//! `conntrack`: the connections that a namespace keeps track of. What it understands and prints stands in
//! [`netfilter::conntrack::command`]; here it is given its namespace and its streams.

use std::time::Duration;

use netfilter::conntrack::Heard;
use netfilter::conntrack::command::{self, EventPrinter, Run};

use super::Ctx;
use crate::io::Exit;

/// How often `conntrack -E` looks for what has happened.
const LOOK: Duration = Duration::from_millis(20);

/// Looks after which expired connections are swept up, so that their end is told about when it comes.
const LOOKS_PER_SWEEP: u32 = 50;

/// `conntrack COMMAND [OPTION]…`
pub async fn run(ctx: Ctx) -> Exit {
    let now = ctx.host.now();
    // Events carry the number of the process; processes have none here, but two seldom start at once.
    let portid = 300 + (now.as_millis() % 32_000) as u32;
    let run = ctx.host.net().with_netfilter(ctx.host.ns(), |netfilter| {
        command::run(&ctx.args, netfilter.conntrack_mut(), now, portid)
    });
    match run {
        Some(Run::Done(output)) => {
            ctx.out(output.stdout).await?;
            ctx.err(output.stderr).await?;
            Ok(output.code.into())
        }
        Some(Run::Listen(printer)) => listen(&ctx, *printer).await,
        None => Ok(1),
    }
}

/// `-E`, until it is interrupted.
async fn listen(ctx: &Ctx, mut printer: EventPrinter) -> Exit {
    let net = ctx.host.net();
    let ns = ctx.host.ns();
    let listener = net.with_netfilter(ns, |netfilter| netfilter.conntrack_mut().listen());
    let Some(mut listener) = listener else { return Ok(1) };
    ctx.out(printer.head()).await?;
    let mut looks = 0;
    loop {
        let heard = net.with_netfilter(ns, |netfilter| netfilter.conntrack().hear(&mut listener));
        match heard {
            Some(Some(Heard::Event(event))) => {
                if let Some(line) = printer.line(&event) {
                    ctx.out(line).await?;
                }
            }
            Some(Some(Heard::Lost(_))) => ctx.err(EventPrinter::LOST).await?,
            Some(None) => {
                ctx.host.sleep(LOOK).await;
                looks += 1;
                if looks % LOOKS_PER_SWEEP == 0 {
                    let now = ctx.host.now();
                    net.with_netfilter(ns, |netfilter| netfilter.conntrack_mut().gc(now));
                }
            }
            // The namespace is gone.
            None => break,
        }
    }
    let output = printer.finish();
    ctx.out(output.stdout).await?;
    ctx.err(output.stderr).await?;
    Ok(0)
}
