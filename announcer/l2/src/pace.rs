//! When the next paced frame may go out: a token bucket, and what waits for it in order of importance.

use std::{collections::BTreeSet, net::Ipv4Addr, num::NonZeroU32, time::Duration};

use foghorn_clock::Instant;

/// A token bucket, kept as the time at which it will be full (the generic cell rate algorithm).
#[derive(Debug)]
pub(crate) struct Bucket {
    interval: Duration,
    burst: Duration,
    full_at: Instant,
}

impl Bucket {
    /// `per_second` frames a second, a tenth of them at once: switches count over a second or less.
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let interval = Duration::from_secs(1) / per_second.get();
        let burst = (per_second.get() / 10).max(Task::MOST_FRAMES);
        Self { interval, burst: interval.saturating_mul(burst), full_at: Instant::ZERO }
    }

    /// When the next task may go out, whatever its size: were a small one let through earlier, probes would keep
    /// announcements waiting for ever.
    pub(crate) fn ready_at(&self) -> Instant {
        (self.full_at + self.interval.saturating_mul(Task::MOST_FRAMES)).saturating_sub(self.burst)
    }

    pub(crate) fn take(&mut self, now: Instant, frames: u32) {
        self.full_at = self.full_at.max(now) + self.interval.saturating_mul(frames);
    }
}

/// What is done for an address at a time, in the order in which the bucket serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// The wait after the last probe is over.
    ProbeEnd,
    /// The first announcement after the address was taken over.
    FirstAnnouncement,
    /// A probe.
    Probe,
    /// A later announcement.
    Repeat,
}

impl Task {
    const BY_IMPORTANCE: [Self; 4] = [Self::ProbeEnd, Self::FirstAnnouncement, Self::Probe, Self::Repeat];

    const MOST_FRAMES: u32 = 2;

    /// The frames it takes.
    const fn frames(self) -> u32 {
        match self {
            Self::ProbeEnd => 0,
            Self::Probe => 1,
            Self::FirstAnnouncement | Self::Repeat => Self::MOST_FRAMES,
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::ProbeEnd | Self::Probe => "ARP probe",
            Self::FirstAnnouncement | Self::Repeat => "gratuitous ARP",
        }
    }
}

/// The tasks that wait, by importance and then by time.
#[derive(Debug, Default)]
pub(crate) struct Schedule(BTreeSet<(Task, Instant, Ipv4Addr)>);

impl Schedule {
    pub(crate) fn insert(&mut self, task: Task, due: Instant, address: Ipv4Addr) {
        self.0.insert((task, due, address));
    }

    pub(crate) fn remove(&mut self, task: Task, due: Instant, address: Ipv4Addr) {
        self.0.remove(&(task, due, address));
    }

    /// Takes the most important task that is due and for which the bucket has the frames.
    pub(crate) fn pop(&mut self, now: Instant, bucket: &mut Bucket) -> Option<(Task, Ipv4Addr)> {
        let due = Task::BY_IMPORTANCE.into_iter().find_map(|task| self.earliest(task).filter(|e| e.1 <= now));
        let (task, at, address) = due?;
        if task.frames() > 0 {
            if bucket.ready_at() > now {
                return None;
            }
            bucket.take(now, task.frames());
        }
        self.0.remove(&(task, at, address));
        Some((task, address))
    }

    /// When [`Schedule::pop`] next has something, and what it is.
    pub(crate) fn next(&self, bucket: &Bucket) -> Option<(Instant, &'static str)> {
        let when = |(task, due, _): (Task, Instant, Ipv4Addr)| match task.frames() {
            0 => (due, task.reason()),
            _ => (due.max(bucket.ready_at()), task.reason()),
        };
        Task::BY_IMPORTANCE.into_iter().filter_map(|task| self.earliest(task)).map(when).min()
    }

    fn earliest(&self, task: Task) -> Option<(Task, Instant, Ipv4Addr)> {
        let from = (task, Instant::ZERO, Ipv4Addr::UNSPECIFIED);
        let to = (task, Instant::NEVER, Ipv4Addr::BROADCAST);
        self.0.range(from..=to).next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_a_second_goes_at_once_and_then_the_rate_holds() {
        let mut bucket = Bucket::new(NonZeroU32::new(100).unwrap());
        let start = Instant::ZERO + Duration::from_secs(9);
        for _ in 0..5 {
            assert!(bucket.ready_at() <= start);
            bucket.take(start, 2);
        }
        assert_eq!(bucket.ready_at(), start + Duration::from_millis(20));
    }

    #[test]
    fn the_more_important_goes_before_the_earlier() {
        let mut bucket = Bucket::new(NonZeroU32::new(10).unwrap());
        let mut schedule = Schedule::default();
        let now = Instant::ZERO + Duration::from_secs(9);
        schedule.insert(Task::Repeat, Instant::ZERO, Ipv4Addr::new(192, 0, 2, 1));
        schedule.insert(Task::FirstAnnouncement, now, Ipv4Addr::new(192, 0, 2, 2));
        let first = schedule.pop(now, &mut bucket);
        assert_eq!(first, Some((Task::FirstAnnouncement, Ipv4Addr::new(192, 0, 2, 2))));
        assert_eq!(schedule.pop(now, &mut bucket), None, "two frames were all there was");
        let (next, _) = schedule.next(&bucket).unwrap();
        assert_eq!(next, now + Duration::from_millis(200));
        assert_eq!(schedule.pop(next, &mut bucket), Some((Task::Repeat, Ipv4Addr::new(192, 0, 2, 1))));
    }
}
