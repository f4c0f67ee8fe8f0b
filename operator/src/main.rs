//! Foghorn's operator.

use std::{error::Error, process::ExitCode, time::Duration};

use clap::Parser;
use foghorn_operator::{
    args::{Arguments, Command},
    leader, uninstall,
};
use foghorn_shell::logs::{self, LogArgs};

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(options) => logged(&options.log.clone(), || leader::run(*options)),
        Command::Uninstall(options) => {
            let deadline = Duration::from_secs(options.deadline_seconds);
            logged(&options.log, || uninstall::run(deadline))
        }
    }
}

/// Starts the logs, does the work, and says in one line why it failed, if so.
fn logged<E: Error>(log: &LogArgs, work: impl FnOnce() -> Result<(), E>) -> ExitCode {
    if let Err(error) = logs::init(log) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the operator ends");
            ExitCode::FAILURE
        }
    }
}
