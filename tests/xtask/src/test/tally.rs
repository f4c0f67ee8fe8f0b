//! What has passed, failed and been skipped.

use std::{
    fmt,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use foghorn_lab::{
    Error, Result,
    steps::{say, step},
};

use crate::cargo::shown;

/// Counts tests of cargo one by one, and each check of another kind as one.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    passed: u32,
    failed: u32,
    skipped: Vec<String>,
}

impl Tally {
    /// A step that passes or fails as a whole.
    pub(crate) fn check(&mut self, heading: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let done = step(heading, work);
        self.count(&done);
        done
    }

    fn count(&mut self, done: &Result<()>) {
        match done {
            Ok(()) => self.passed += 1,
            Err(_) => self.failed += 1,
        }
    }

    /// A step that is not done on this machine, with the reason.
    pub(crate) fn skip(&mut self, what: &str) {
        say(&format!("\n==> skipped: {what}"));
        self.skipped.push(what.to_owned());
    }

    /// `cargo test`, whose results are counted.
    pub(crate) fn cargo_test(&mut self, heading: &str, command: Command) -> Result<()> {
        step(heading, || self.count_results(command))
    }

    fn count_results(&mut self, mut command: Command) -> Result<()> {
        let (doing, before) = (format!("running {}", shown(&command)), self.failed);
        let child = command.stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|source| Error::Io { doing, source })?;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).split(b'\n').map_while(std::io::Result::ok) {
                let line = String::from_utf8_lossy(&line);
                say(&line);
                self.add(&line);
            }
        }
        let doing = "waiting for cargo".to_owned();
        if child.wait().map_err(|source| Error::Io { doing, source })?.success() {
            return Ok(());
        }
        if self.failed == before {
            // It did not compile.
            self.failed += 1;
        }
        Err(Error::Config(format!("`{}` failed", shown(&command))))
    }

    /// How many have passed so far.
    pub(crate) fn passed(&self) -> u32 {
        self.passed
    }

    /// Adds what a line like `test result: ok. 3 passed; 0 failed; …` says.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else { continue };
            match (number.parse::<u32>(), what) {
                (Ok(number), "passed") => self.passed += number,
                (Ok(number), "failed") => self.failed += number,
                _ => {}
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        writeln!(f)?;
        skipped.iter().try_for_each(|what| writeln!(f, "skipped: {what}"))?;
        write!(f, "{passed} passed, {failed} failed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_cargo_test_are_added_up() {
        let mut tally = Tally::default();
        tally.add("running 3 tests");
        tally.add(
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.00s",
        );
        tally.add("test result: FAILED. 40 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 9.1s");
        assert_eq!(tally.to_string(), "\n43 passed, 2 failed");
    }

    #[test]
    fn a_check_counts_as_one_and_what_is_skipped_is_named() {
        let mut tally = Tally::default();
        tally.count(&Ok(()));
        tally.count(&Err(Error::NotRoot));
        tally.skipped.push("images for another processor".to_owned());
        assert_eq!(tally.to_string(), "\nskipped: images for another processor\n1 passed, 1 failed");
    }

    #[test]
    fn cargo_that_fails_without_a_result_is_one_failure() {
        let mut tally = Tally::default();
        tally.count_results(Command::new("false")).unwrap_err();
        assert_eq!((tally.passed, tally.failed), (0, 1));
    }
}
