//! `nft` in a namespace. Grammar and words are those of nftables 1.0.6.

use netfilter::nft::command::{Args, Input, nft};

use super::Ctx;
use crate::io::Exit;

/// `nft [OPTIONS] COMMAND`, `nft -f FILE`
pub async fn run(ctx: Ctx) -> Exit {
    let args = match Args::parse(&ctx.args) {
        Ok(args) => args,
        Err(said) => {
            ctx.out(said.out).await?;
            ctx.err(said.err).await?;
            return Ok(said.code);
        }
    };
    let (text, file) = match &args.input {
        Input::Text(text) => (text.clone(), None),
        Input::File(file) => match ctx.read(file).await {
            Ok(bytes) => {
                let name = if file == "-" { "/dev/stdin" } else { file.as_str() };
                (String::from_utf8_lossy(&bytes).into_owned(), Some(name.to_string()))
            }
            Err(error) => {
                let place = "internal:0:0-0: Error: Could not open file";
                ctx.err(format!("{place} \"{file}\": {error}\n\n\n")).await?;
                return Ok(1);
            }
        },
    };
    let now = ctx.host.now();
    let said = ctx.host.net().with_netfilter(ctx.host.ns(), |netfilter| {
        nft(netfilter, &args, &text, file.as_deref(), now)
    });
    let Some(said) = said else {
        return ctx.fail("nft: the network namespace is gone", 1).await;
    };
    ctx.out(said.out).await?;
    ctx.err(said.err).await?;
    Ok(said.code)
}
