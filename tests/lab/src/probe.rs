//! A client that asks again and again over HTTP, and says how long nobody answered.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Result},
    host::Host,
};

/// How long a request may take.
const LIMIT: Duration = Duration::from_millis(200);
/// The same where only what is lost counts: less than a second, after which the kernel would ask again by itself.
const PATIENCE: Duration = Duration::from_millis(900);

/// A running probe.
#[derive(Debug)]
pub struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<ProbeReport>>,
}

/// What a probe saw.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ProbeReport {
    /// Requests that were answered.
    pub answered: u32,
    /// Requests that were not.
    pub failed: u32,
    /// The longest time from an answer to the next one (or from the start, or to the end).
    pub longest_gap: Duration,
    /// When that gap began, from the start of the probe.
    pub gap_began: Duration,
    /// How many answers had this first line.
    pub answers: BTreeMap<String, u32>,
    /// The last error.
    pub last_error: Option<String>,
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, failed, longest_gap, gap_began, .. } = self;
        write!(f, "{answered} answered, {failed} failed, longest gap {longest_gap:.3?} at {gap_began:.3?}")?;
        self.answers.iter().try_for_each(|(answer, count)| write!(f, "\n  {count} × {answer}"))?;
        self.last_error.iter().try_for_each(|error| write!(f, "\n  last error: {error}"))
    }
}

impl Probe {
    /// Starts asking `http://<target>/` from a host, each request on a connection of its own, with this pause between them.
    ///
    /// # Errors
    /// If the host's namespace cannot be opened.
    pub fn start(host: &Host, target: SocketAddr, pause: Duration) -> Result<Self> {
        Self::with_limit(host, target, pause, LIMIT)
    }

    /// The same, to see what is lost and not how late something is: a request that is late on a busy machine has not failed.
    ///
    /// # Errors
    /// If the host's namespace cannot be opened.
    pub fn start_patient(host: &Host, target: SocketAddr, pause: Duration) -> Result<Self> {
        Self::with_limit(host, target, pause, PATIENCE)
    }

    fn with_limit(host: &Host, target: SocketAddr, pause: Duration, limit: Duration) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = host.inside(move || probe(target, pause, limit, || stopped.load(Ordering::Relaxed)))?;
        Ok(Self { stop, thread })
    }

    /// Ends it.
    ///
    /// # Errors
    /// If it could not enter the host's namespace.
    pub fn finish(self) -> Result<ProbeReport> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| Err(Error::Config("the probe's thread panicked".to_owned())))
    }
}

fn probe(target: SocketAddr, pause: Duration, limit: Duration, stopped: impl Fn() -> bool) -> ProbeReport {
    let mut report = ProbeReport::default();
    let start = Instant::now();
    let mut last_answer = start;
    let gap = |report: &mut ProbeReport, from: Instant, to: Instant| {
        if to - from > report.longest_gap {
            (report.longest_gap, report.gap_began) = (to - from, from - start);
        }
    };
    while !stopped() {
        match get(target, limit) {
            Ok(answer) => {
                let now = Instant::now();
                gap(&mut report, last_answer, now);
                last_answer = now;
                report.answered += 1;
                *report.answers.entry(answer).or_default() += 1;
            }
            Err(error) => {
                report.failed += 1;
                report.last_error = Some(error.to_string());
            }
        }
        thread::sleep(pause);
    }
    gap(&mut report, last_answer, Instant::now());
    report
}

/// The first line of the answer's body.
fn get(target: SocketAddr, limit: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&target, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(format!("GET / HTTP/1.0\r\nHost: {target}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(64 << 10).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no complete answer"));
    };
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        return Err(io::Error::other(status.to_owned()));
    }
    Ok(body.lines().next().unwrap_or_default().to_owned())
}
