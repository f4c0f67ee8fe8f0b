//! `cargo xtask kubectl` and `cargo xtask helm`: the lab's own programs, at this terminal.

use std::process::{Command, ExitCode};

use foghorn_lab::{Error, Lab, Result};

use crate::name::Name;

/// The lab, and what the program is given.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    lab: Name,
    /// Arguments, as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub(crate) fn run_kubectl(arguments: &Arguments) -> Result<ExitCode> {
    at_this_terminal(Lab::open(&arguments.lab.name)?.kubectl_command(&arguments.args))
}

pub(crate) fn run_helm(arguments: &Arguments) -> Result<ExitCode> {
    at_this_terminal(Lab::open(&arguments.lab.name)?.helm_command(&arguments.args))
}

/// Runs the command with this terminal and ends as it does.
pub(crate) fn at_this_terminal(mut command: Command) -> Result<ExitCode> {
    let status = command.status().map_err(|source| {
        let doing = format!("running {}", command.get_program().to_string_lossy());
        Error::Io { doing, source }
    })?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
