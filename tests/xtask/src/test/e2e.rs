//! The end-to-end tests: in one lab, one file of tests after the other.

use std::path::PathBuf;

use foghorn_lab::{
    Architecture, Config, Error, Lab, LabName, Programs, Result, build_images, install_missing_packages,
};

use super::{LAB, files, tally::Tally};
use crate::{
    cargo::{cargo, run as run_command},
    say,
    steps::{root, step, taking_down},
};

/// The tests that remove Foghorn from the lab.
const LAST: [&str; 2] = ["chart", "uninstall"];

/// Which of them, and what becomes of the lab.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A file of tests such as `failover`, or part of the names of tests
    filter: Option<String>,
    /// Leave the lab up
    #[arg(long)]
    keep: bool,
}

/// The end-to-end tests and nothing else.
pub(crate) fn only(tally: &mut Tally, arguments: &Arguments) -> Result<()> {
    step("Debian packages", install_missing_packages)?;
    step("Kubernetes and Helm", Programs::find_or_build)?;
    let archives = step("images", || build_images(Architecture::of_this_machine()?))?;
    let name = LAB.parse()?;
    Lab::down(&name)?;
    let filter = arguments.filter.as_deref();
    if arguments.keep {
        let ended = in_new_lab(&name, tally, &archives, filter);
        say(&format!("\nthe lab `{LAB}` stays; `cargo xtask lab down --name {LAB}` ends it"));
        ended
    } else {
        taking_down(&name, || in_new_lab(&name, tally, &archives, filter))
    }
}

/// Starts the lab and runs the tests in it.
pub(crate) fn in_new_lab(
    name: &LabName,
    tally: &mut Tally,
    archives: &[PathBuf],
    filter: Option<&str>,
) -> Result<()> {
    let test = ["test", "--workspace", "--features", "foghorn-e2e/lab", "--test"];
    let names = names()?;
    // A file that has this name, or tests in any file.
    let (chosen, filter) = match names.iter().find(|name| Some(name.as_str()) == filter) {
        Some(name) => (vec![name.clone()], None),
        None => (names, filter),
    };
    step("compile the end-to-end tests", || {
        let all: Vec<_> = chosen.iter().flat_map(|name| ["--test", name]).collect();
        run_command(&mut cargo(&[&test[..4], &all, &["--no-run"]].concat())?)
    })?;
    let lab = step(&format!("lab `{name}`"), || {
        let lab = Lab::up(Config { name: name.clone(), ..Config::default() })?;
        archives.iter().try_for_each(|archive| lab.load_image(archive))?;
        Ok(lab)
    })?;
    let before = tally.passed();
    for name in chosen {
        let args = [&test[..], &[&name, "--", "--test-threads=1", "--nocapture"], filter.as_slice()].concat();
        let mut command = cargo(&args)?;
        command.env(LabName::VARIABLE, lab.name().as_str());
        tally.cargo_test(&format!("end to end: {name}"), command)?;
    }
    if tally.passed() == before {
        return Err(Error::Config(format!("no end-to-end test is called {}", filter.unwrap_or_default())));
    }
    Ok(())
}

/// The files of tests, in the order in which they are run.
fn names() -> Result<Vec<String>> {
    let files = files(&root()?.join("tests/e2e/tests"))?;
    let stem = |file: &PathBuf| Some(file.file_stem()?.to_str()?.to_owned());
    let mut names: Vec<_> = files.iter().filter_map(stem).collect();
    names.sort_by_key(|name| (LAST.contains(&name.as_str()), name.clone()));
    Ok(names)
}
