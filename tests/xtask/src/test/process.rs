//! One test in a process of its own.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use foghorn_lab::{Error, Result};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process_group};

const PAUSE: Duration = Duration::from_millis(10);

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// By itself, with this status.
    Status(ExitStatus),
    /// It hung and was killed.
    Hung,
}

/// What came of a process.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) end: End,
    pub(crate) started: Timestamp,
    pub(crate) took: Duration,
    /// Its standard output and error.
    pub(crate) output: String,
}

impl Ended {
    pub(crate) fn passed(&self) -> bool {
        matches!(self.end, End::Status(status) if status.success())
    }
}

/// A program that is killed when the thread that started it ends: nothing goes on in a lab when the run was killed.
pub(crate) fn that_ends_with_us(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Runs a command with its output in the file `log`. After `limit` it is killed, with all processes that it started and
/// that did not become daemons.
pub(crate) fn run(mut command: Command, log: &Path, limit: Duration) -> Result<Ended> {
    let io = |doing: &str| Error::io(format!("{doing} {}", log.display()));
    let file = File::create(log).map_err(io("creating"))?;
    let errors = file.try_clone().map_err(io("sharing"))?;
    command.stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0);
    let (started, start) = (Timestamp::now(), Instant::now());
    let mut child = command
        .spawn()
        .map_err(Error::io(format!("starting {}", command.get_program().to_string_lossy())))?;
    let end = wait(&mut child, start + limit)?;
    let output = fs::read(log).map_err(io("reading"))?;
    let output = String::from_utf8_lossy(&output).into_owned();
    Ok(Ended { end, started, took: start.elapsed(), output })
}

fn wait(child: &mut Child, deadline: Instant) -> Result<End> {
    let waiting = || Error::io("waiting for a test");
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().map_err(waiting())? {
            return Ok(End::Status(status));
        }
        sleep(PAUSE);
    }
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may end at this moment.
        let _gone = kill_process_group(group, Signal::KILL);
    }
    child.wait().map_err(waiting())?;
    Ok(End::Hung)
}

#[cfg(test)]
mod tests {
    use std::{env, os::unix::process::ExitStatusExt as _, thread};

    use super::*;

    fn run_shell(name: &str, script: &str, limit: Duration) -> Ended {
        let log = env::temp_dir().join(format!("foghorn-process-{}-{name}", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let ended = run(command, &log, limit).unwrap();
        fs::remove_file(log).unwrap();
        ended
    }

    #[test]
    fn a_test_does_not_outlive_the_run() {
        let start = || {
            let child = that_ends_with_us(Path::new("sleep")).arg("300").spawn().unwrap();
            let name = format!("/proc/{}/comm", child.id());
            // Until then it is `setpriv`.
            while fs::read_to_string(&name).unwrap().trim() != "sleep" {
                sleep(PAUSE);
            }
            child
        };
        let mut child = thread::spawn(start).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    }

    #[test]
    fn output_and_errors_are_in_one_piece() {
        let ended = run_shell("output", "echo one; echo two >&2; exit 3", Duration::from_secs(60));
        assert_eq!(ended.output, "one\ntwo\n");
        assert!(!ended.passed() && ended.end != End::Hung);
        assert!(run_shell("well", "true", Duration::from_secs(60)).passed());
    }

    #[test]
    fn a_process_that_hangs_is_killed_with_its_children() {
        let began = Instant::now();
        let ended = run_shell("hung", "echo begun; sleep 300 & sleep 300", Duration::from_secs(1));
        assert_eq!((ended.end, ended.output.as_str()), (End::Hung, "begun\n"));
        assert!(began.elapsed() < Duration::from_secs(200));
    }
}
