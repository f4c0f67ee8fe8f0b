//! Tests that run side by side, each in a process of its own.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use foghorn_lab::{Error, Result, foghorn::root};

use super::{
    process::{End, Ended, run, that_ends_with_us},
    programs::{Program, list},
    record::{Record, Test},
};

/// A test in a program.
#[derive(Clone, Debug)]
pub(crate) struct Case<'a> {
    pub(crate) program: &'a Program,
    pub(crate) name: String,
}

impl Case<'_> {
    /// The test's name with its program's.
    fn full_name(&self) -> String {
        format!("{} {}", self.program.package.trim_start_matches("foghorn-"), self.name)
    }

    /// Runs it. A process that is not done within `limit` is killed.
    pub(crate) fn run(&self, variables: &[(&str, String)], limit: Duration) -> Result<Ended> {
        let mut command = that_ends_with_us(&self.program.file);
        command.args(["--exact", &self.name, "--nocapture", "--test-threads=1"]);
        command.current_dir(&self.program.folder).env("CARGO_MANIFEST_DIR", &self.program.folder);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        run(command, &log_of(&self.full_name())?, limit)
    }

    /// Records what came of it. What a test that passed has printed is shown if `verbose`.
    pub(crate) fn record(&self, record: &Record, ended: &Ended, declared: Option<Duration>, verbose: bool) {
        add(record, self.full_name(), ended, declared, verbose);
    }
}

fn add(record: &Record, name: String, ended: &Ended, declared: Option<Duration>, verbose: bool) {
    let passed = ended.passed();
    let mut output = if passed && !verbose { String::new() } else { said(&ended.output) };
    if ended.end == End::Hung {
        output = format!("{output}\nit hung, and was killed");
    }
    let Ended { started, took, .. } = *ended;
    let cause = if passed { None } else { cause(&output) };
    record.add(Test { name, cause, passed, started, took, declared }, &output);
}

/// Runs a command that is a test as a whole, and records what came of it.
pub(crate) fn run_command(record: &Record, name: &str, command: Command, limit: Duration) -> Result<()> {
    let ended = run(command, &log_of(name)?, limit)?;
    add(record, name.to_owned(), &ended, None, false);
    Ok(())
}

/// The file for the output of a test of that name.
fn log_of(name: &str) -> Result<PathBuf> {
    let logs = root()?.join("target/test-logs");
    fs::create_dir_all(&logs).map_err(Error::io(format!("making {}", logs.display())))?;
    Ok(logs.join(format!("{}.log", name.replace([' ', ':'], "_"))))
}

/// What a test printed, without the words of the test harness around it.
fn said(output: &str) -> String {
    let of_harness =
        |line: &&str| line.is_empty() || line.starts_with("running ") || line.starts_with("test result: ");
    let lines: Vec<_> = output.lines().filter(|line| !of_harness(line)).collect();
    lines.join("\n")
}

/// The line of a test's output that says why it failed: what it panicked with, or the error that it gave.
fn cause(output: &str) -> Option<String> {
    let mut lines = output.lines();
    let panicked = lines.find(|line| line.contains("panicked at ")).and_then(|_| lines.next());
    let error = || output.lines().find_map(|line| line.find("Error: ").and_then(|at| line.get(at..)));
    panicked.or_else(error).or(output.lines().last()).map(str::to_owned)
}

/// All tests of these programs whose name contains the filter.
pub(crate) fn cases<'a>(
    programs: impl IntoIterator<Item = &'a Program>,
    filter: &str,
) -> Result<Vec<Case<'a>>> {
    let mut cases = Vec::new();
    for program in programs {
        let names = list(program)?.into_iter().filter(|name| name.contains(filter));
        cases.extend(names.map(|name| Case { program, name }));
    }
    Ok(cases)
}

/// Runs them in so many threads; a failure does not keep the others from running.
pub(crate) fn run_all(record: &Record, cases: Vec<Case<'_>>, threads: usize, limit: Duration) -> Result<()> {
    let cases = Mutex::new(cases.into_iter());
    let work = || -> Result<()> {
        loop {
            let next = cases.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(case) = next else { return Ok(()) };
            let ended = case.run(&[], limit)?;
            case.record(record, &ended, None, false);
        }
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(Error::Config("a thread of the tests panicked".to_owned())))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_harness_are_left_out() {
        let output =
            "\nrunning 1 test\ntest dhcp::renewed ... 203.0.113.50\nok\n\ntest result: ok. 1 passed\n\n";
        assert_eq!(said(output), "test dhcp::renewed ... 203.0.113.50\nok");
    }

    #[test]
    fn why_a_test_failed_is_found_in_its_output() {
        let why = |output: &str| cause(output).unwrap_or_default();
        assert_eq!(
            why("test a ... \nthread 'a' (1) panicked at a.rs:1:2:\nnot equal\nstack backtrace:"),
            "not equal"
        );
        assert_eq!(why("test a ... Error: Timeout\nFAILED"), "Error: Timeout");
        assert_eq!(why("test a ...\n\nit hung, and was killed"), "it hung, and was killed");
    }
}
