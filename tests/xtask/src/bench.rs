//! `cargo xtask bench`: what Foghorn takes of time and machine, which another program measures.

use std::process::ExitCode;

use foghorn_lab::Result;

use crate::cargo::{at_this_terminal, cargo};

/// What that program is given.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// The benchmark and its arguments; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut bench = cargo(&["run", "--quiet", "--package", "foghorn-bench", "--"])?;
    bench.args(&arguments.args);
    at_this_terminal(bench)
}
