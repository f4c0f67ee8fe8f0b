//! Foghorn's announcer.

use clap::Parser;
use foghorn_announcer::{args::Args, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    foghorn_shell::logs::init(&args.log)?;
    run::run(args).await
}
