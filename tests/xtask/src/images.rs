//! `cargo xtask images`: the images of operator and announcer as archives.

use std::process::ExitCode;

use clap::ValueEnum;
use foghorn_lab::{Architecture, Result, install_missing_packages, prepare, steps::say};

/// What the images are built for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The processor; may be given more than once [default: this machine's]
    #[arg(long, value_enum)]
    arch: Vec<Arch>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Arch {
    Amd64,
    Arm64,
}

impl From<Arch> for Architecture {
    fn from(arch: Arch) -> Self {
        match arch {
            Arch::Amd64 => Self::Amd64,
            Arch::Arm64 => Self::Arm64,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    install_missing_packages()?;
    let mut architectures: Vec<Architecture> = arguments.arch.iter().copied().map(Into::into).collect();
    if architectures.is_empty() {
        architectures.push(Architecture::of_this_machine()?);
    }
    architectures.into_iter().try_for_each(build)?;
    Ok(ExitCode::SUCCESS)
}

/// Builds the images for one architecture and prints where they are.
fn build(architecture: Architecture) -> Result<()> {
    for archive in prepare::images(architecture)? {
        say(&archive.display().to_string());
    }
    Ok(())
}
