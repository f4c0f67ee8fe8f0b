//! `cargo xtask kubectl` and `cargo xtask helm`: the lab's own programs, at this terminal.

use std::process::ExitCode;

use foghorn_lab::{Lab, Result};

use crate::cargo::at_this_terminal;

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
