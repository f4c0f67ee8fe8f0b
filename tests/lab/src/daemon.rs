//! Processes that go on after the command that started them: containerd, dnsmasq, the API server, ….

use std::{fs, path::PathBuf, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    command,
    error::{Error, Result},
    host::Host,
    poll,
};

/// A process of a host, found by its pid file `<name>.pid`; it writes to `<name>.log`.
#[derive(Clone, Copy, Debug)]
pub struct Daemon<'a> {
    host: &'a Host,
    name: &'a str,
}

/// Where programs are looked for, as `PATH` has it.
pub(crate) const PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Enters the cgroup, leaves the pid, becomes the daemon. `setsid` around it cuts it off from the terminal.
const BECOME: &str = r#"echo $$ > "$1" && echo $$ > "$0.new" && mv "$0.new" "$0" && shift && exec "$@""#;

impl<'a> Daemon<'a> {
    /// A process of that name on a host.
    #[must_use]
    pub fn new(host: &'a Host, name: &'a str) -> Self {
        Self { host, name }
    }

    /// What it writes to.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.host.dir().join(format!("{}.log", self.name))
    }

    fn pid_file(&self) -> PathBuf {
        self.host.dir().join(format!("{}.pid", self.name))
    }

    /// Starts it on its host with a clean environment, ending an earlier one.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start<S: AsRef<str>>(&self, argv: &[S]) -> Result<()> {
        self.stop()?;
        let log = fs::File::options().create(true).append(true).open(self.log_file());
        let log = log.map_err(Error::io(format!("opening {}", self.log_file().display())))?;
        let errors = log.try_clone().map_err(Error::io("sharing the log file"))?;
        let words = ["setsid", "--fork", "sh", "-c", BECOME].map(str::to_owned);
        let files = [self.pid_file(), self.host.cgroup().procs_file()].map(|path| path.display().to_string());
        let enter = ["nsenter".to_owned(), format!("--net={}", self.host.namespace_file().display())];
        let argv = argv.iter().map(|word| word.as_ref().to_owned());
        let words: Vec<_> = words.into_iter().chain(files).chain(enter).chain(argv).collect();
        let mut start = command::command(&words);
        start.env_clear().env("PATH", PROGRAMS);
        start.env("HOME", self.host.dir()).current_dir(self.host.dir());
        start.stdin(std::process::Stdio::null()).stdout(log).stderr(errors);
        start.status().map_err(Error::io(format!("starting {} on {}", self.name, self.host.name())))?;
        let named = format!("the start of {} on {}", self.name, self.host.name());
        poll::until(&named, Duration::from_secs(10), || Ok(self.pid_file().exists().then_some(())))
    }

    /// Its process id while it runs. A process that only has the number of an earlier one is not it: ours are in the host's cgroup.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        let pid = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        self.host.cgroup().pids().contains(&pid).then_some(pid)
    }

    /// An error with the end of its log if it does not run.
    ///
    /// # Errors
    /// [`Error::Daemon`].
    pub fn check(&self) -> Result<i32> {
        self.pid().ok_or_else(|| Error::Daemon {
            host: self.host.name().to_owned(),
            process: self.name.to_owned(),
            log: self.log_file(),
            tail: command::tail(&self.log_file(), 12),
        })
    }

    /// Ends it: by SIGTERM, after three seconds by SIGKILL. One that does not run is ended already.
    ///
    /// # Errors
    /// If it does not end.
    pub fn stop(&self) -> Result<()> {
        let end = |signal, within| {
            let Some(pid) = self.pid() else { return Ok(()) };
            if let Some(pid) = Pid::from_raw(pid) {
                let _gone = kill_process(pid, signal);
            }
            let named = format!("the end of {} on {}", self.name, self.host.name());
            poll::until(&named, within, || Ok(self.pid().is_none().then_some(())))
        };
        end(Signal::TERM, Duration::from_secs(3)).or_else(|_| end(Signal::KILL, Duration::from_secs(5)))?;
        command::remove_file(&self.pid_file())
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// If it does not end.
    pub fn kill(&self) -> Result<()> {
        if let Some(pid) = self.pid().and_then(Pid::from_raw) {
            let _gone = kill_process(pid, Signal::KILL);
        }
        self.stop()
    }

    /// Its name, from which pid and log file have theirs.
    #[must_use]
    pub fn names_of(host: &Host) -> Vec<String> {
        let files = command::entries(host.dir());
        files.iter().filter_map(|file| file.strip_suffix(".log")).map(str::to_owned).collect()
    }
}
