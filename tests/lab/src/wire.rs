//! Watching the wire: what really goes over it, whatever the programs say.

use std::{
    io::{BufRead as _, BufReader},
    process::Child,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use crate::{
    error::{Error, Result},
    host::Host,
    poll,
};

/// tcpdump on an interface of a host; it ends when this is dropped.
///
/// Each line has the time in seconds since 1970, the Ethernet header and what tcpdump makes of the rest, with numbers for names.
#[derive(Debug)]
pub struct Wire {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Wire {
    /// Starts watching; every frame from then on is seen. The interface is e.g. `eth0` of a client, or a bridge of the switch
    /// ([`Network::bridge`](crate::topology::Network::bridge)), which sees all frames of its network; the filter is tcpdump's, e.g. `arp or port 67`.
    ///
    /// # Errors
    /// If tcpdump does not start, e.g. because it does not understand the filter.
    pub fn start(host: &Host, interface: &str, filter: &str) -> Result<Self> {
        let argv = [
            "tcpdump",
            "-i",
            interface,
            "-n",
            "-e",
            "-tt",
            "-l",
            "--immediate-mode",
            "-vv",
            "-s",
            "1024",
            filter,
        ];
        let mut child = host.spawn(&argv)?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (listening, started) = mpsc::channel();
        let stderr = child.stderr.take().ok_or_else(no_pipe)?;
        thread::spawn(move || {
            let mut said = String::new();
            for line in BufReader::new(stderr).lines().map_while(std::io::Result::ok) {
                if line.contains("listening on") {
                    // The one who waits may be gone.
                    let _gone = listening.send(Ok(()));
                }
                said = format!("{said}{line}\n");
            }
            let _gone = listening.send(Err(said));
        });
        let (stdout, collected) = (child.stdout.take().ok_or_else(no_pipe)?, Arc::clone(&lines));
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
                let mut lines = collected.lock().unwrap_or_else(PoisonError::into_inner);
                // tcpdump goes on in indented lines.
                match lines.last_mut() {
                    Some(last) if line.starts_with(char::is_whitespace) => {
                        *last = format!("{last} {}", line.trim());
                    }
                    _ => lines.push(line),
                }
            }
        });
        let wire = Self { child, lines };
        match started.recv_timeout(Duration::from_secs(5)) {
            Ok(Ok(())) => Ok(wire),
            said => {
                let (command, status) = (argv.join(" "), format!("on {}", host.name()));
                let output = said.ok().and_then(std::result::Result::err).unwrap_or_default();
                Err(Error::Command { command, status, output })
            }
        }
    }

    /// All that was seen so far, one frame a line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The lines that contain all of these words.
    #[must_use]
    pub fn with(&self, words: &[&str]) -> Vec<String> {
        let mut lines = self.lines();
        lines.retain(|line| words.iter().all(|word| line.contains(word)));
        lines
    }

    /// Waits for a line that contains all of these words.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the last lines seen.
    pub fn wait_for(&self, words: &[&str], within: Duration) -> Result<String> {
        let what = format!("a frame with {}", words.join(", "));
        let found = poll::until(&what, within, || Ok(self.with(words).into_iter().next()));
        found.map_err(|_| {
            let lines = self.lines();
            let last = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n");
            Error::Timeout { what, within, detail: format!("; seen at last:\n{last}") }
        })
    }

    /// Forgets what was seen so far.
    pub fn clear(&self) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn no_pipe() -> Error {
    Error::Config("tcpdump has no output".to_owned())
}
