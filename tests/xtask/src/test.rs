//! `cargo xtask test`: all tests, those first that fail fast.

mod busy;
mod chart;
mod labs;
mod leftovers;
mod pool;
mod process;
mod programs;
mod record;

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

use clap::Subcommand;
use foghorn_lab::{Error, Lab, Result, build_test_images, install_missing_packages, prepare, steps::say};
use foghorn_schedule::{LABS, LANES};
use leftovers::Before;
use pool::{cases, run_all, run_command as run_as_test};
use programs::{Compiled, compile};
use record::Record;

use crate::{
    cargo::{cargo, run as run_command},
    crds,
};

/// The lab that the lab's own test makes.
const LAB_OF_SELF_TEST: &str = "selftest";
/// The lab of the demo.
const LAB_OF_DEMO: &str = "testdemo";
/// Tests with real servers at once: they spend their time waiting for leases to run out.
const SERVERS: usize = 12;
/// After this time a test counts as hung.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Which tests.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// Only what needs no lab; installs nothing
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    report: Report,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// Only the lab tests
    E2e(E2e),
}

/// What is done with the times that were measured.
#[derive(clap::Args)]
struct Report {
    /// Fail if a lab test takes longer than it declares
    #[arg(long, global = true)]
    strict: bool,
    /// Write times and results to this file, as JSON
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Which lab tests, and what becomes of the labs.
#[derive(clap::Args)]
struct E2e {
    /// Parts of the names of tests, e.g. `failover` or `dhcp,chart`
    #[arg(default_value = "")]
    filter: String,
    /// How many labs
    #[arg(long, default_value_t = LABS, value_parser = at_least_one)]
    labs: usize,
    /// How many tests run side by side in the shared lab
    #[arg(long, default_value_t = LANES, value_parser = at_least_one)]
    lanes: usize,
    /// Leave the labs up
    #[arg(long)]
    keep: bool,
    /// With the images that users run instead of the programs that the tests were compiled with
    #[arg(long)]
    release: bool,
}

fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    text.parse().ok().filter(|number| (1..=16).contains(number)).ok_or_else(|| "1 to 16".to_owned())
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (record, before) = (Record::default(), Before::now());
    let ended = match &arguments.part {
        Some(Part::E2e(e2e)) => only_e2e(&record, e2e),
        None if arguments.quick => {
            record.skip("all that needs a lab: --quick");
            compiled(&record).and_then(|compiled| {
                record.part("tests without a lab", || without_labs(&record, &compiled, cores()))
            })
        }
        None => compiled(&record).and_then(|compiled| all(&record, &compiled)),
    };
    let keeps = matches!(&arguments.part, Some(Part::E2e(e2e)) if e2e.keep);
    let left = if keeps || arguments.quick {
        Ok(())
    } else {
        record.check("nothing is left", || before.check(&record))
    };
    let ended = ended.and(left);
    let strict = if arguments.report.strict { record.punctual() } else { Ok(()) };
    let ended = ended.and_then(|()| record.result()).and(strict);
    if let Err(error) = &ended {
        say(&format!("\n{error}"));
    }
    if let Some(file) = &arguments.report.json {
        let text = format!("{:#}\n", record.json());
        fs::write(file, text).map_err(Error::io(format!("writing {}", file.display())))?;
    }
    say(&record.to_string());
    Ok(if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is checked without a run, and the programs for the rest.
fn compiled(record: &Record) -> Result<Compiled> {
    record.check("formatting", || run_command(&mut cargo(&["fmt", "--all", "--check"])?))?;
    let compiled = record.check("compile and lint", compile)?;
    record.check("the chart has the generated definitions", || crds::check(compiled.program("crdgen")?))?;
    Ok(compiled)
}

/// The tests that need no lab.
fn without_labs(record: &Record, compiled: &Compiled, threads: usize) -> Result<()> {
    let tests = cases(compiled.without_labs(), "")?;
    let budget = cases([compiled.test("e2e")?], "budget::")?;
    run_all(record, [budget, tests].concat(), threads, LIMIT)
}

/// All tests. Only this installs packages and builds Kubernetes and Helm.
fn all(record: &Record, compiled: &Compiled) -> Result<()> {
    record.check("Debian packages", install_missing_packages)?;
    let programs = record.check("Kubernetes and Helm", prepare::kubernetes)?;
    record.check("helm lint and template, with each example", || chart::check(&programs.helm()))?;
    let images = record.check("images", || build_test_images(&compiled.programs))?;
    record.part("tests without a lab; servers, the kernel, the lab itself and the demo", || {
        side_by_side(record, compiled, &images)
    })?;
    record.skip("release images, long chaos, fuzzing: `cargo xtask soak`");
    let unfiltered = E2e { filter: String::new(), labs: LABS, lanes: LANES, keep: false, release: false };
    e2e(record, compiled, &images, &unfiltered)
}

/// What computes, beside what waits most of the time and has labs of its own.
fn side_by_side(record: &Record, compiled: &Compiled, images: &[PathBuf]) -> Result<()> {
    let servers = cases([compiled.test("interop")?], "")?;
    let others = ["kernel", "system", "real"].map(|name| compiled.test(name));
    let others = cases(others.into_iter().collect::<Result<Vec<_>>>()?, "")?;
    let demo = demo(compiled, images)?;
    thread::scope(|scope| {
        let without_labs = scope.spawn(|| without_labs(record, compiled, cores()));
        let demo = scope.spawn(|| run_as_test(record, "demo", demo, LIMIT));
        let others = scope.spawn(|| run_all(record, others, 1, LIMIT));
        let servers = run_all(record, servers, SERVERS, LIMIT);
        let panicked = |_| Err(Error::Config("a thread of the tests panicked".to_owned()));
        let ended = [without_labs, others, demo].map(|thread| thread.join().unwrap_or_else(panicked));
        ended.into_iter().fold(servers, Result::and)
    })?;
    [LAB_OF_SELF_TEST, LAB_OF_DEMO].into_iter().try_for_each(|lab| Lab::down(&lab.parse()?))
}

/// `cargo xtask demo --exit` with these images.
fn demo(compiled: &Compiled, images: &[PathBuf]) -> Result<Command> {
    let mut demo = Command::new(compiled.program("xtask")?);
    demo.args(["demo", "--exit", "--name", LAB_OF_DEMO]);
    for image in images {
        demo.arg("--image").arg(image);
    }
    Ok(demo)
}

/// The lab tests and nothing else.
fn only_e2e(record: &Record, arguments: &E2e) -> Result<()> {
    let compiled = record.check("compile and lint", compile)?;
    record.check("Debian packages", install_missing_packages)?;
    record.check("Kubernetes and Helm", prepare::kubernetes)?;
    let images = record.check("images", || {
        if arguments.release { prepare::all() } else { build_test_images(&compiled.programs) }
    })?;
    e2e(record, &compiled, &images, arguments)
}

fn e2e(record: &Record, compiled: &Compiled, images: &[PathBuf], arguments: &E2e) -> Result<()> {
    let E2e { filter, labs, lanes, keep, .. } = arguments;
    let program = compiled.test("e2e")?;
    let tests = labs::declarations(program, filter)?;
    let labs = (*labs).min(tests.len());
    labs::end(labs)?;
    let ended = record
        .check("labs", || labs::start(labs, images))
        .and_then(|()| record.part("lab tests", || labs::run(record, program, tests, labs, *lanes)))
        .and_then(|()| record.check("the labs are clean", || labs::check_clean(record, labs)));
    if *keep {
        say(&format!("\nthe labs {} to {} stay", labs::lab_name(0)?, labs::lab_name(labs - 1)?));
        return ended;
    }
    ended.and(record.check("take the labs down", || labs::end(labs)))
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}
