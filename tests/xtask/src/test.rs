//! `cargo xtask test`: all tests, those first that fail fast.

mod e2e;
mod tally;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use clap::Subcommand;
use foghorn_lab::{Architecture, Error, Lab, Programs, Result, build_images, install_missing_packages};
use tally::Tally;

use crate::{
    cargo::{cargo, run as run_command},
    crds, demo, images, say,
    steps::{root, taking_down},
};

/// The lab of the end-to-end tests and of the demo; whatever runs under this name is taken down.
const LAB: &str = "test";
/// The lab that the lab's own test makes.
const LAB_OF_SELF_TEST: &str = "selftest";

/// Tests with real DHCP servers at once: they spend their time waiting for leases to run out.
const INTEROP_THREADS: &str = "--test-threads=16";

/// The oldest Kubernetes that the chart allows; Helm takes a still older one if it is told nothing.
const OLDEST: &str = "1.33.0";

/// Which tests.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// Only what needs no lab: nothing is installed
    #[arg(long)]
    quick: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// Only the end-to-end tests
    E2e(e2e::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut tally = Tally::default();
    let ended = match &arguments.part {
        Some(Part::E2e(arguments)) => e2e::only(&mut tally, arguments),
        None if arguments.quick => {
            tally.skip("all that needs a lab: --quick");
            quick(&mut tally)
        }
        None => quick(&mut tally).and_then(|()| with_labs(&mut tally)),
    };
    if let Err(error) = &ended {
        say(&format!("\n{error}"));
    }
    say(&tally.to_string());
    Ok(if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What needs nothing but Rust, and changes nothing outside the checkout.
fn quick(tally: &mut Tally) -> Result<()> {
    tally.check("rustfmt and clippy are installed", components)?;
    tally.check("formatting", || run_command(&mut cargo(&["fmt", "--all", "--check"])?))?;
    tally.check("clippy", || {
        let clippy =
            ["clippy", "--quiet", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
        run_command(&mut cargo(&clippy)?)
    })?;
    tally.check("the chart has the generated definitions", crds::check)?;
    tally.cargo_test("tests without a lab", cargo(&["test", "--workspace"])?)
}

/// What needs the lab's programs and root. Only this part installs packages and builds Kubernetes and Helm.
fn with_labs(tally: &mut Tally) -> Result<()> {
    tally.check("Debian packages", install_missing_packages)?;
    let mut helm = String::new();
    tally
        .check("Kubernetes and Helm", || Programs::find_or_build().map(|programs| helm = programs.helm()))?;
    tally.check("helm lint and template, with each example", || chart(&helm))?;
    let interop = [
        "test",
        "--workspace",
        "--features",
        "foghorn-interop/root",
        "--test",
        "interop",
        "--",
        INTEROP_THREADS,
    ];
    tally.cargo_test("DHCP servers", cargo(&interop)?)?;
    let kernel = ["test", "--workspace", "--features", "foghorn-datapath/root", "--test", "kernel"];
    tally.cargo_test("the datapath and the kernel", cargo(&kernel)?)?;
    let system = ["test", "--workspace", "--features", "foghorn-lab/root", "--test", "system"];
    tally.cargo_test("the lab and what is not its own", cargo(&system)?)?;
    taking_down(&LAB_OF_SELF_TEST.parse()?, || {
        let test =
            ["test", "--workspace", "--features", "foghorn-lab/root", "--test", "real", "--", "--nocapture"];
        tally.cargo_test("the lab itself", cargo(&test)?)
    })?;
    let native = Architecture::of_this_machine()?;
    let mut archives = Vec::new();
    tally.check("images", || build_images(native).map(|built| archives = built))?;
    for architecture in Architecture::ALL.into_iter().filter(|architecture| *architecture != native) {
        let (name, target) = (architecture.name(), architecture.target());
        if architecture.has_target()? {
            tally.check(&format!("images for {name}"), || images::build(architecture))?;
        } else {
            tally.skip(&format!(
                "images for {name}: no Rust target, `rustup target add {target}` installs it"
            ));
        }
    }
    let name = LAB.parse()?;
    Lab::down(&name)?;
    taking_down(&name, || e2e::in_new_lab(&name, tally, &archives, None))?;
    tally.check("the demo", || demo::demo(&name, 3, true))
}

fn components() -> Result<()> {
    for (component, command) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        let mut version = cargo(&[command, "--version"])?;
        version.stdout(Stdio::null()).stderr(Stdio::null());
        run_command(&mut version).map_err(|_| {
            Error::Config(format!(
                "{component} is not installed: `rustup component add {component}` installs it"
            ))
        })?;
    }
    Ok(())
}

/// Lints and renders the chart as it is and with the values of each example.
fn chart(helm: &str) -> Result<()> {
    let chart = root()?.join("helm/foghorn");
    let mut values = vec![chart.join("values.yaml")];
    values.extend(files(&chart.join("examples"))?);
    for values in values {
        say(&format!("    {}", values.display()));
        for args in [&["lint", "--strict", "--quiet"][..], &["template", "foghorn", "--kube-version", OLDEST]]
        {
            let mut command = Command::new(helm);
            command.args(args).arg(&chart).arg("--values").arg(&values).stdout(Stdio::null());
            run_command(&mut command)?;
        }
    }
    Ok(())
}

/// The files in a folder, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)
        .map_err(|source| Error::Io { doing: format!("reading {}", folder.display()), source })?;
    let mut files: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}
