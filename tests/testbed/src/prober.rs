//! A client that makes a connection every 10 ms, each on its own, and what it saw.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use foghorn_lab::{Host, Result};
use tokio::{
    net::TcpStream,
    time::{interval, timeout},
};

use crate::background::{Background, Stop};

const PAUSE: Duration = Duration::from_millis(10);
/// Less than a second, after which the kernel would ask again by itself.
const LIMIT: Duration = Duration::from_millis(200);

/// A running prober.
#[derive(Debug)]
pub struct Prober {
    record: Arc<Mutex<Record>>,
    work: Background,
}

/// What a prober saw. Times count from its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    began: Instant,
    /// How long it has been running.
    pub ran: Duration,
    /// Attempts that were begun.
    pub attempts: usize,
    /// When connections were complete, in order.
    pub completed: Vec<Duration>,
    /// How late an attempt was begun at worst: what the machine takes away from the measurement.
    pub worst_delay: Duration,
}

impl Prober {
    /// Starts making TCP connections from a host, one every 10 ms whatever becomes of those before it. An attempt is given up
    /// after 200 ms; a connection that is complete is reset. The host's ARP cache is left to the kernel, as a real client's is.
    ///
    /// # Errors
    /// If the host's namespace cannot be opened.
    pub fn start(host: &Host, target: SocketAddr) -> Result<Self> {
        let record = Arc::new(Mutex::new(Record::new()));
        let shared = Arc::clone(&record);
        let work = Background::start(host, move |stop| probe(target, shared, stop))?;
        Ok(Self { record, work })
    }

    /// What it saw so far.
    #[must_use]
    pub fn record(&self) -> Record {
        let mut record = locked(&self.record).clone();
        record.ran = record.began.elapsed();
        record
    }

    /// Ends it, and gives all that it saw.
    ///
    /// # Errors
    /// If it could not enter the host's namespace.
    pub fn finish(self) -> Result<Record> {
        let record = self.record();
        self.work.finish()?;
        Ok(record)
    }
}

impl Record {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            ran: Duration::ZERO,
            attempts: 0,
            completed: Vec::new(),
            worst_delay: Duration::ZERO,
        }
    }

    /// The longest time between two completed connections (or from the start, or to the end).
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        self.gaps().map(|(_, gap)| gap).max().unwrap_or_default()
    }

    /// How long there has been no gap longer than this.
    #[must_use]
    pub fn steady_for(&self, allowed: Duration) -> Duration {
        let last = self.gaps().filter(|(_, gap)| *gap > allowed).map(|(end, _)| end).last();
        self.ran.saturating_sub(last.unwrap_or_default())
    }

    /// Where each gap ended and how long it was.
    fn gaps(&self) -> impl Iterator<Item = (Duration, Duration)> {
        let ends = self.completed.iter().chain([&self.ran]);
        let begins = [&Duration::ZERO].into_iter().chain(&self.completed);
        begins.zip(ends).map(|(begin, end)| (*end, end.saturating_sub(*begin)))
    }
}

async fn probe(target: SocketAddr, record: Arc<Mutex<Record>>, mut stop: Stop) -> Result<()> {
    let mut ticks = interval(PAUSE);
    loop {
        let due = tokio::select! {
            _ = &mut stop => return Ok(()),
            due = ticks.tick() => due,
        };
        let mut now = locked(&record);
        now.worst_delay = now.worst_delay.max(due.elapsed());
        now.attempts += 1;
        tokio::spawn(attempt(target, Arc::clone(&record)));
    }
}

async fn attempt(target: SocketAddr, record: Arc<Mutex<Record>>) {
    let Ok(Ok(stream)) = timeout(LIMIT, TcpStream::connect(target)).await else { return };
    let mut now = locked(&record);
    let time = now.began.elapsed();
    now.completed.push(time);
    // Without it the ports of ended connections would be used up; if it fails, some are.
    let _kept = stream.set_zero_linger();
}

fn locked(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_between_two_completed_connections_or_at_an_end() {
        assert_eq!(record(&[10, 20, 420, 430], 440).longest_gap(), milliseconds(400));
        assert_eq!(record(&[310, 320], 330).longest_gap(), milliseconds(310));
        assert_eq!(record(&[10, 20], 330).longest_gap(), milliseconds(310));
        assert_eq!(record(&[], 330).longest_gap(), milliseconds(330));
    }

    #[test]
    fn connections_are_steady_since_the_end_of_the_last_gap() {
        let allowed = milliseconds(100);
        assert_eq!(record(&[10, 420, 430, 440], 450).steady_for(allowed), milliseconds(30));
        assert_eq!(record(&[10, 20], 50).steady_for(allowed), milliseconds(50));
        assert_eq!(record(&[10, 20], 450).steady_for(allowed), Duration::ZERO);
    }

    fn record(completed: &[u64], ran: u64) -> Record {
        let completed = completed.iter().copied().map(milliseconds).collect();
        Record { completed, ran: milliseconds(ran), ..Record::new() }
    }

    fn milliseconds(n: u64) -> Duration {
        Duration::from_millis(n)
    }
}
