//! Other programs at this terminal, cargo above all.

use std::{
    env,
    process::{Command, ExitCode},
};

use foghorn_lab::{Error, Result, foghorn::root};

/// cargo in the folder of the repository, as if it were called by hand.
pub(crate) fn cargo(args: &[&str]) -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root()?);
    // What `cargo run` tells this program of itself would make build scripts that look at it run again.
    for (name, _) in env::vars_os() {
        let of_this_program =
            ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|own| name.to_string_lossy().starts_with(own));
        if of_this_program {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// Runs it with this terminal.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .map_err(|source| Error::Io { doing: format!("running {}", shown(command)), source })?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Config(format!("`{}` failed ({status})", shown(command))))
    }
}

/// Runs it with this terminal and ends as it does.
pub(crate) fn at_this_terminal(mut command: Command) -> Result<ExitCode> {
    let status = command.status().map_err(|source| {
        let doing = format!("running {}", command.get_program().to_string_lossy());
        Error::Io { doing, source }
    })?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Program and arguments in one line.
pub(crate) fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once(program).chain(args).collect::<Vec<_>>().join(" ")
}
