//! Foghorn's announcer.

use clap::Parser;
use foghorn_announcer::{args::Args, run};

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    foghorn_shell::logs::init(&args.log)?;
    run::run(args)
}
