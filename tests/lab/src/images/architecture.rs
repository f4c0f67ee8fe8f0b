//! The processors that images are built for.

use std::{env, path::Path, process::Command};

use crate::{
    command::{command, run},
    error::{Error, Result},
    packages::Apt,
    progress::say,
};

/// A processor architecture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
}

impl Architecture {
    /// All that images are built for.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// That of this machine.
    ///
    /// # Errors
    /// If it is none of them.
    pub fn of_this_machine() -> Result<Self> {
        let found = Self::ALL.into_iter().find(|architecture| architecture.rust_name() == env::consts::ARCH);
        found.ok_or_else(|| Error::Config(format!("no images are built for {}", env::consts::ARCH)))
    }

    /// The name that container images have for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The name of Rust's target.
    #[must_use]
    pub fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.rust_name())
    }

    fn rust_name(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// Whether Rust's standard library is there for it.
    ///
    /// # Errors
    /// If `rustc` cannot be run.
    pub fn has_target(self) -> Result<bool> {
        let rustc = ["rustc", "--print", "target-libdir", "--target", &self.target()];
        Ok(Path::new(run(&mut command(&rustc))?.trim()).is_dir())
    }

    /// cargo for static binaries, with Debian's cross compiler if they are not for this machine.
    pub(super) fn cargo(self, subcommand: &str) -> Result<Command> {
        let target = self.target();
        if !self.has_target()? {
            return Err(Error::Config(format!(
                "the Rust target {target} is not installed: rustup target add {target}"
            )));
        }
        let program = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let mut cargo = command(&[program.as_str(), subcommand, "--target", &target]);
        cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
        // What cargo tells this program of itself: ring's build script would look at it, and all be compiled anew for another caller.
        let told = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|own| name.starts_with(own));
        for (name, _) in env::vars_os().filter(|(name, _)| told(&name.to_string_lossy())) {
            cargo.env_remove(name);
        }
        if self != Self::of_this_machine()? {
            let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
            cargo.env(linker, self.cross_compiler()?);
        }
        Ok(cargo)
    }

    /// The C compiler for it, which is installed if it is not there.
    fn cross_compiler(self) -> Result<String> {
        let gcc = format!("{}-linux-gnu-gcc", self.rust_name());
        if command(&[gcc.as_str(), "--version"]).output().is_err() {
            let compiler = format!("gcc-{}-linux-gnu", self.rust_name().replace('_', "-"));
            let libc = format!("libc6-dev-{}-cross", self.name());
            say(&format!(
                "installing the Debian packages {compiler} and {libc} to compile for {}",
                self.name()
            ));
            let apt = Apt::new();
            apt.update()?;
            apt.install(&[&compiler, &libc])?;
        }
        Ok(gcc)
    }
}
