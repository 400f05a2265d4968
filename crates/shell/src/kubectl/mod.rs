//! kubectl
use crate::commands::Ctx;
use crate::io::Exit;
/// x
pub async fn run(ctx: Ctx) -> Exit {
    ctx.unsupported("x").await
}
