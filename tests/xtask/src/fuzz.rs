//! `cargo xtask fuzz`: looks for octets that break a promise.

use std::{
    fs,
    process::{ExitCode, Stdio},
};

use foghorn_lab::{Error, Result, foghorn::root};

use crate::cargo::{cargo, run as run_command};

/// What is fuzzed, and how long.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The target: a file in tests/fuzz/fuzz/fuzz_targets
    target: String,
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { target, seconds } = arguments;
    let mut version = cargo(&["fuzz", "--version"])?;
    version.stdout(Stdio::null()).stderr(Stdio::null());
    run_command(&mut version).map_err(|_| {
        Error::Config("cargo-fuzz is not installed: `cargo install cargo-fuzz` installs it".to_owned())
    })?;
    // New finds go to the first folder that is named; the committed ones are only read.
    let finds = root()?.join("target/fuzz").join(target);
    fs::create_dir_all(&finds)
        .map_err(|source| Error::Io { doing: format!("making {}", finds.display()), source })?;
    // Without the sanitizer, which safe code can do without, any toolchain will do.
    let mut fuzz =
        cargo(&["fuzz", "run", "--fuzz-dir", "tests/fuzz/fuzz", "--target-dir", "target/fuzz-build"])?;
    fuzz.args(["--sanitizer", "none", "--release", target]).arg(finds);
    fuzz.arg(format!("tests/fuzz/corpus/{target}")).arg("--").arg(format!("-max_total_time={seconds}"));
    run_command(&mut fuzz)?;
    Ok(ExitCode::SUCCESS)
}
