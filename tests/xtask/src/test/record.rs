//! What the parts of a run and its tests took, and what came of them.

use std::{
    cmp::Reverse,
    fmt::{self, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use foghorn_lab::{Error, Result, steps::say};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::busy::Busy;

/// So many of the slowest tests are listed.
const SLOWEST: usize = 20;

/// A run of the tests. Tests that run side by side are all recorded here.
#[derive(Default, Debug)]
pub(crate) struct Record(Mutex<Content>);

#[derive(Default, Debug)]
struct Content {
    parts: Vec<Part>,
    tests: Vec<Test>,
    skipped: Vec<String>,
}

/// A part of the run.
#[derive(Clone, PartialEq, Debug)]
struct Part {
    name: String,
    took: Duration,
    /// How busy the cores were meanwhile, in per cent.
    busy: u64,
}

/// One test.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) passed: bool,
    /// Why it failed, in a line.
    pub(crate) cause: Option<String>,
    pub(crate) started: Timestamp,
    pub(crate) took: Duration,
    /// How long it may take, if it says so.
    pub(crate) declared: Option<Duration>,
}

impl Test {
    fn late(&self) -> bool {
        self.declared.is_some_and(|declared| self.took > declared)
    }
}

impl Record {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does a part of the run: a heading before, its duration after.
    pub(crate) fn part<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        say(&format!("\n==> {name}"));
        let (start, before) = (Instant::now(), Busy::now());
        let done = work();
        let (took, busy) = (start.elapsed(), Busy::now().percent_since(before));
        let how = if done.is_ok() { "done" } else { "FAILED" };
        say(&format!("    {how} after {:.1} s, cores {busy} % busy", took.as_secs_f32()));
        self.content().parts.push(Part { name: name.to_owned(), took, busy });
        done
    }

    /// A part that passes or fails as a whole counts as one test.
    pub(crate) fn check<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let (started, start) = (Timestamp::now(), Instant::now());
        let done = self.part(name, work);
        let (name, passed) = (name.to_owned(), done.is_ok());
        let cause = done.as_ref().err().map(ToString::to_string);
        let test = Test { name, passed, cause, started, took: start.elapsed(), declared: None };
        self.content().tests.push(test);
        done
    }

    /// Adds a test and prints it, with the output that belongs to it in one piece.
    pub(crate) fn add(&self, test: Test, output: &str) {
        let how = if test.passed { "ok" } else { "FAILED" };
        let mut text = format!("{how:6} {:6.1} s  {}", test.took.as_secs_f32(), test.name);
        if let Some(declared) = test.declared.filter(|_| test.late()) {
            // Writing to a string cannot fail.
            let _always = write!(text, "  LATE: {} s declared", declared.as_secs());
        }
        for line in output.lines() {
            let _always = write!(text, "\n       {line}");
        }
        say(&text);
        self.content().tests.push(test);
    }

    /// Something is not done on this machine, with the reason.
    pub(crate) fn skip(&self, what: &str) {
        say(&format!("\n==> skipped: {what}"));
        self.content().skipped.push(what.to_owned());
    }

    /// The tests that ran at that time. The clocks that are compared may differ by a second.
    pub(crate) fn running_at(&self, time: Timestamp) -> Vec<String> {
        let second = Duration::from_secs(1);
        let ran = |test: &&Test| test.started <= time + second && time <= test.started + test.took + second;
        self.content().tests.iter().filter(ran).map(|test| test.name.clone()).collect()
    }

    /// Fails if a test failed.
    pub(crate) fn result(&self) -> Result<()> {
        let failed = self.count(|test| !test.passed);
        if failed == 0 { Ok(()) } else { Err(Error::Config(format!("{failed} tests failed"))) }
    }

    /// Fails if a test took longer than it declares.
    pub(crate) fn punctual(&self) -> Result<()> {
        let late = self.count(Test::late);
        if late == 0 {
            Ok(())
        } else {
            Err(Error::Config(format!("{late} tests took longer than they declare, and --strict was given")))
        }
    }

    fn count(&self, is_it: impl Fn(&Test) -> bool) -> usize {
        self.content().tests.iter().filter(|test| is_it(test)).count()
    }

    /// All of it as JSON: `parts`, `tests` and `skipped`, with times in seconds.
    pub(crate) fn json(&self) -> Value {
        let Content { parts, tests, skipped } = &*self.content();
        let parts: Vec<_> = parts
            .iter()
            .map(|part| json!({"name": part.name, "seconds": part.took.as_secs_f64(), "busyPercent": part.busy}))
            .collect();
        let tests: Vec<_> = tests
            .iter()
            .map(|test| {
                json!({
                    "name": test.name,
                    "passed": test.passed,
                    "cause": test.cause,
                    "seconds": test.took.as_secs_f64(),
                    "declaredSeconds": test.declared.map(|declared| declared.as_secs()),
                    "late": test.late(),
                })
            })
            .collect();
        json!({"parts": parts, "tests": tests, "skipped": skipped})
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Content { parts, tests, skipped } = &*self.content();
        writeln!(f, "\n  seconds  cores busy  part")?;
        for Part { name, took, busy } in parts {
            writeln!(f, "  {:7.1}  {busy:8} %  {name}", took.as_secs_f32())?;
        }
        let mut slowest: Vec<_> = tests.iter().collect();
        slowest.sort_by_key(|test| Reverse(test.took));
        writeln!(f, "\n  seconds  declared  the slowest tests")?;
        for test in slowest.iter().take(SLOWEST) {
            write_test(f, test)?;
        }
        let late: Vec<_> = slowest.iter().filter(|test| test.late()).collect();
        if !late.is_empty() {
            writeln!(f, "\n  seconds  declared  later than declared")?;
            late.into_iter().try_for_each(|test| write_test(f, test))?;
        }
        let failed: Vec<_> = tests.iter().filter(|test| !test.passed).collect();
        writeln!(f)?;
        for test in &failed {
            let cause = test.cause.iter().flat_map(|cause| cause.lines()).next().unwrap_or_default();
            writeln!(f, "failed: {}: {cause}", test.name)?;
        }
        skipped.iter().try_for_each(|what| writeln!(f, "skipped: {what}"))?;
        write!(f, "{} passed, {} failed", tests.len() - failed.len(), failed.len())
    }
}

fn write_test(f: &mut fmt::Formatter<'_>, test: &Test) -> fmt::Result {
    let declared = test.declared.map(|declared| declared.as_secs().to_string()).unwrap_or_default();
    writeln!(f, "  {:7.1}  {declared:>8}  {}", test.took.as_secs_f32(), test.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str, passed: bool, seconds: u64, declared: Option<u64>) -> Test {
        Test {
            name: name.to_owned(),
            passed,
            cause: (!passed).then(|| "why".to_owned()),
            started: Timestamp::UNIX_EPOCH,
            took: Duration::from_secs(seconds),
            declared: declared.map(Duration::from_secs),
        }
    }

    #[test]
    fn the_last_line_counts_what_passed_and_failed() {
        let record = Record::default();
        record.add(test("well", true, 1, None), "");
        record.add(test("ill", false, 2, None), "why");
        record.skip("images for another processor");
        let text = record.to_string();
        assert!(
            text.ends_with("failed: ill: why\nskipped: images for another processor\n1 passed, 1 failed"),
            "{text}"
        );
        assert!(record.result().is_err());
    }

    #[test]
    fn a_part_that_fails_is_one_failed_test() {
        let record = Record::default();
        record.check("formatting", || Err::<(), _>(Error::NotRoot)).unwrap_err();
        record.check("images", || Ok(())).unwrap();
        assert!(
            record
                .to_string()
                .ends_with(&format!("failed: formatting: {}\n1 passed, 1 failed", Error::NotRoot))
        );
        assert_eq!(record.json()["parts"][1]["name"], "images");
    }

    #[test]
    fn a_test_that_takes_longer_than_declared_is_late_but_passes() {
        let record = Record::default();
        record.add(test("slow", true, 61, Some(60)), "");
        record.add(test("fast", true, 59, Some(60)), "");
        record.result().unwrap();
        assert!(record.punctual().is_err());
        assert_eq!(record.json()["tests"][0]["late"], true);
        assert_eq!(record.json()["tests"][1]["late"], false);
    }
}
