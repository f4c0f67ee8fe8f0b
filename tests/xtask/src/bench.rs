//! `cargo xtask bench`: what Foghorn takes of time and machine.

mod acquire;
mod claims;
mod exchanges;
mod figures;
mod timeline;
mod usage;

use std::process::ExitCode;

use clap::Subcommand;
use foghorn_lab::Result;

/// Which benchmark.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// From Services to addresses by DHCP, and what it costs to have them
    Acquire(acquire::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.bench {
        Bench::Acquire(arguments) => acquire::run(arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
