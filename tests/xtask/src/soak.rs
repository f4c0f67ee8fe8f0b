//! `cargo xtask soak`: what a release must pass beyond the tests. Each part has a short form in `cargo xtask test`.

use std::{fs, process::ExitCode};

use foghorn_lab::{
    Architecture, Error, Result,
    foghorn::root,
    prepare,
    steps::{say, step},
};

use crate::cargo::{cargo, run as run_command};

/// How long it takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Minutes of faults at random
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1440))]
    chaos: u32,
    /// Minutes of fuzzing for each target
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1440))]
    fuzz: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    step("the lab tests with release images", || xtask(&["test", "e2e", "--release", "--strict"]))?;
    step("the demo with release images", || xtask(&["demo", "--exit", "--name", "soak"]))?;
    for architecture in Architecture::ALL {
        let name = architecture.name();
        if architecture.has_target()? {
            step(&format!("images for {name}"), || prepare::images(architecture).map(drop))?;
        } else {
            say(&format!(
                "skipped: images for {name}: Rust's target {} is not installed",
                architecture.target()
            ));
        }
    }
    let minutes = arguments.chaos.to_string();
    step("chaos", || xtask(&["bench", "chaos", "--minutes", &minutes]))?;
    let seconds = (60 * arguments.fuzz).to_string();
    for target in fuzz_targets()? {
        step(&format!("fuzz {target}"), || xtask(&["fuzz", &target, "--seconds", &seconds]))?;
    }
    say("\nall of it passed");
    Ok(ExitCode::SUCCESS)
}

/// Another task of the project.
fn xtask(args: &[&str]) -> Result<()> {
    run_command(&mut cargo(&[&["xtask"], args].concat())?)
}

/// The names of the fuzz targets, sorted.
fn fuzz_targets() -> Result<Vec<String>> {
    let folder = root()?.join("tests/fuzz/fuzz/fuzz_targets");
    let files = fs::read_dir(&folder).map_err(Error::io(format!("reading {}", folder.display())))?;
    let stems = files.flatten().filter_map(|file| file.path().file_stem()?.to_str().map(str::to_owned));
    let mut targets: Vec<_> = stems.collect();
    targets.sort();
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fuzz_target_has_a_corpus_that_tests_replay() {
        let corpus = root().unwrap().join("tests/fuzz/corpus");
        let targets = fuzz_targets().unwrap();
        assert!(!targets.is_empty());
        for target in targets {
            assert!(corpus.join(&target).is_dir(), "{target}");
        }
    }
}
