//! `cargo xtask kubectl` and `cargo xtask helm`: the lab's own programs, at this terminal.

use std::process::ExitCode;

use foghorn_lab::{Lab, Result};

use crate::cargo::at_this_terminal;

/// The lab, and what the program is given.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The lab's name
    #[arg(long, env = "LAB", default_value = "foghorn")]
    name: String,
    /// Arguments, as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub(crate) fn run_kubectl(arguments: &Arguments) -> Result<ExitCode> {
    at_this_terminal(Lab::open(&arguments.name)?.kubectl_command(&arguments.args))
}

pub(crate) fn run_helm(arguments: &Arguments) -> Result<ExitCode> {
    at_this_terminal(Lab::open(&arguments.name)?.helm_command(&arguments.args))
}
