//! How far a build is, and an early end for it.

use std::{
    io::{self, BufRead as _, BufReader, IsTerminal as _, Read, Write as _},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    command::shown,
    error::{Error, Result},
};

/// How far a build is. One thread builds and counts; another one shows the count and may end the build.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicUsize,
    total: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ended: bool,
    child: Option<Pid>,
}

impl Progress {
    /// How many packages are compiled, and of how many; `None` while that is unknown.
    #[must_use]
    pub fn counts(&self) -> Option<(usize, usize)> {
        let total = self.total.load(Relaxed);
        (total > 0).then(|| (self.done.load(Relaxed).min(total), total))
    }

    /// Interrupts the running command and each one to come.
    pub fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        interrupt(&state);
    }

    /// Sets how many packages there are to compile.
    pub(crate) fn expect(&self, total: usize) {
        self.total.store(total, Relaxed);
    }

    /// Runs the command and counts the packages in what it writes; `sort` says what a line is.
    pub(crate) fn watch(&self, command: &mut Command, sort: impl Fn(&str) -> Line + Sync) -> Result<()> {
        let doing = || Error::io(format!("running `{}`", shown(command)));
        let (starting, waiting) = (doing(), doing());
        let pipes = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().map_err(starting)?;
        self.attach(&child);
        let text = Mutex::new(String::new());
        let read = |stream: Option<Box<dyn Read + Send>>| {
            let lines = stream.into_iter().flat_map(|stream| BufReader::new(stream).split(b'\n'));
            for line in lines.map_while(io::Result::ok) {
                let line = String::from_utf8_lossy(&line);
                match sort(&line) {
                    Line::Package => _ = self.done.fetch_add(1, Relaxed),
                    Line::Noise => {}
                    Line::Text => {
                        let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
                        text.push_str(&line);
                        text.push('\n');
                    }
                }
            }
        };
        let output = child.stdout.take().map(|stream| Box::new(stream) as Box<_>);
        let errors = child.stderr.take().map(|stream| Box::new(stream) as Box<_>);
        thread::scope(|scope| {
            scope.spawn(|| read(output));
            read(errors);
        });
        // From here on its process ID may become that of another process.
        self.state().child = None;
        let status = child.wait().map_err(waiting)?;
        if status.success() {
            return Ok(());
        }
        if self.state().ended {
            return Err(Error::Interrupted(shown(command)));
        }
        let text = text.into_inner().unwrap_or_else(PoisonError::into_inner);
        Err(Error::Command {
            command: shown(command),
            status: status.to_string(),
            output: text.trim_end().to_owned(),
        })
    }

    fn attach(&self, child: &Child) {
        let mut state = self.state();
        state.child = Some(Pid::from_child(child));
        if state.ended {
            interrupt(&state);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn interrupt(state: &State) {
    if let Some(child) = state.child {
        // It may have ended by itself. A shell that starts the build in the background lets it ignore SIGINT.
        let _gone = kill_process(child, Signal::TERM);
    }
}

/// What a line of a build's output is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    /// One more package is compiled.
    Package,
    /// Part of the error text if the build fails.
    Text,
    /// Neither.
    Noise,
}

/// What erases the line that [`rewrite`] wrote.
fn erase() -> &'static str {
    if io::stdout().is_terminal() { "\r\x1b[K" } else { "" }
}

/// Prints a line, in place of the line that [`rewrite`] wrote. A reader that is gone, such as `head`, is no error.
pub fn say(line: &str) {
    let _gone = writeln!(io::stdout().lock(), "{}{line}", erase());
}

/// Writes a line that the next line replaces; for a terminal.
pub(crate) fn rewrite(line: &str) {
    let mut stdout = io::stdout().lock();
    let _gone = write!(stdout, "{}{line}", erase()).and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::command::command;

    fn sort(line: &str) -> Line {
        match line {
            "noise" => Line::Noise,
            line if line.starts_with("package") => Line::Package,
            _ => Line::Text,
        }
    }

    #[test]
    fn packages_are_counted_once_their_number_is_known() {
        let progress = Progress::default();
        assert_eq!(progress.counts(), None);
        progress.expect(3);
        let script = "echo package a; echo noise; echo package b >&2";
        progress.watch(&mut command(&["sh", "-c", script]), sort).unwrap();
        assert_eq!(progress.counts(), Some((2, 3)));
    }

    #[test]
    fn a_failure_has_all_text_and_no_packages() {
        let script = "echo package a; echo noise; echo one >&2; echo two >&2; exit 3";
        let failed = Progress::default().watch(&mut command(&["sh", "-c", script]), sort).unwrap_err();
        assert!(failed.to_string().ends_with("failed (exit status: 3):\none\ntwo"), "{failed}");
    }

    #[test]
    fn the_end_interrupts_what_runs_and_what_comes() {
        let (progress, start) = (Progress::default(), Instant::now());
        let sleep = || progress.watch(&mut command(&["sleep", "60"]), sort);
        thread::scope(|scope| {
            let running = scope.spawn(sleep);
            while progress.state().child.is_none() {
                thread::yield_now();
            }
            progress.end();
            assert!(matches!(running.join().unwrap(), Err(Error::Interrupted(_))));
        });
        assert!(matches!(sleep(), Err(Error::Interrupted(_))));
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
