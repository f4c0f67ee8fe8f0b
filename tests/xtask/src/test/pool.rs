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

    /// Records what came of it.
    pub(crate) fn record(&self, record: &Record, ended: &Ended) {
        add(record, self.full_name(), ended, None, "");
    }

    /// Records what came of it in a lab, with all that it printed. `state` describes the lab after a failure.
    pub(crate) fn record_in_lab(&self, record: &Record, ended: &Ended, declared: Duration, state: &str) {
        add(record, self.full_name(), ended, Some(declared), state);
    }
}

fn add(record: &Record, name: String, ended: &Ended, declared: Option<Duration>, state: &str) {
    let passed = ended.passed();
    let mut output = if passed && declared.is_none() { String::new() } else { said(&ended.output) };
    if ended.end == End::Hung {
        output.push_str("\nhung: killed after the time limit");
    }
    let Ended { started, took, .. } = *ended;
    let cause = if passed { None } else { cause(&output) };
    let cause = cause.map(|cause| if state.is_empty() { cause } else { format!("{cause}; {state}") });
    record.add(Test { name, cause, passed, started, took, declared }, &output);
}

/// Runs a command that is a test as a whole, and records what came of it.
pub(crate) fn run_command(record: &Record, name: &str, command: Command, limit: Duration) -> Result<()> {
    let ended = run(command, &log_of(name)?, limit)?;
    add(record, name.to_owned(), &ended, None, "");
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

/// So many characters of why a test failed are shown beside its name.
const CAUSE: usize = 160;

/// Why a test failed, from its output: the panic message, or the error that the test returned.
fn cause(output: &str) -> Option<String> {
    let mut lines = output.lines();
    let is_panic = lines.any(|line| line.contains("panicked at "));
    let message: Vec<_> =
        lines.take_while(|line| !line.starts_with("stack backtrace")).map(str::trim).collect();
    let error = || output.lines().find_map(|line| line.find("Error: ").and_then(|at| line.get(at..)));
    let cause = if is_panic { message.join(" ") } else { error().or(output.lines().last())?.to_owned() };
    Some(cause.chars().take(CAUSE).collect())
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
            case.record(record, &ended);
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
            why("test a ... \nthread 'a' (1) panicked at a.rs:1:2:\nnot equal\n  left: 1\nstack backtrace:"),
            "not equal left: 1"
        );
        assert_eq!(why("test a ... Error: Timeout\nFAILED"), "Error: Timeout");
        assert_eq!(why("test a ...\n\nhung: killed"), "hung: killed");
    }
}
