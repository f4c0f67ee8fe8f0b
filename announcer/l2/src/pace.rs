//! When the next paced frame may go out, and what waits for that in order of importance.

use std::{
    collections::{BTreeSet, VecDeque},
    net::Ipv4Addr,
    num::NonZeroU32,
    time::Duration,
};

use foghorn_clock::Instant;

/// How many frames went out lately: switches with ARP inspection count what comes within a second. All of a second's
/// frames may go at once, so that the addresses of a lost node are announced at once.
#[derive(Debug)]
pub(crate) struct Window {
    limit: u32,
    /// A second, or longer where a second has not even the frames of one task.
    length: Duration,
    /// What went out within that time before the last one, and when.
    sent: VecDeque<(Instant, u32)>,
    count: u32,
}

impl Window {
    /// At most `per_second` frames within any second.
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let limit = per_second.get().max(Task::MOST_FRAMES);
        let length = Duration::from_secs(1) * limit / per_second.get();
        Self { limit, length, sent: VecDeque::new(), count: 0 }
    }

    /// When the next task may go out, whatever its size: were a small one let through earlier, probes would keep
    /// announcements waiting for ever.
    pub(crate) fn ready_at(&self) -> Instant {
        let mut count = self.count;
        let mut ready = Instant::ZERO;
        for (at, frames) in &self.sent {
            if count + Task::MOST_FRAMES <= self.limit {
                break;
            }
            count = count.saturating_sub(*frames);
            ready = *at + self.length;
        }
        ready
    }

    pub(crate) fn take(&mut self, now: Instant, frames: u32) {
        while let Some((_, old)) = self.sent.pop_front_if(|(at, _)| *at + self.length <= now) {
            self.count = self.count.saturating_sub(old);
        }
        self.sent.push_back((now, frames));
        self.count = self.count.saturating_add(frames);
    }
}

/// What is done for an address at a time, in the order in which they are served.
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

    /// Takes the most important task that is due and that the window has room for.
    pub(crate) fn pop(&mut self, now: Instant, window: &mut Window) -> Option<(Task, Ipv4Addr)> {
        let due = Task::BY_IMPORTANCE.into_iter().find_map(|task| self.earliest(task).filter(|e| e.1 <= now));
        let (task, at, address) = due?;
        if task.frames() > 0 {
            if window.ready_at() > now {
                return None;
            }
            window.take(now, task.frames());
        }
        self.0.remove(&(task, at, address));
        Some((task, address))
    }

    /// When [`Schedule::pop`] next has something, and what it is.
    pub(crate) fn next(&self, window: &Window) -> Option<(Instant, &'static str)> {
        let when = |(task, due, _): (Task, Instant, Ipv4Addr)| match task.frames() {
            0 => (due, task.reason()),
            _ => (due.max(window.ready_at()), task.reason()),
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
    fn within_any_second_no_more_goes_than_is_allowed_and_all_of_it_at_once_if_need_be() {
        let mut window = Window::new(NonZeroU32::new(10).unwrap());
        let start = Instant::ZERO + Duration::from_secs(9);
        let mut sent = Vec::new();
        let mut now = start;
        for _ in 0..40 {
            now = now.max(window.ready_at());
            window.take(now, 2);
            sent.push(now);
            now += Duration::from_millis(30);
        }
        assert_eq!(sent.get(4), Some(&(start + Duration::from_millis(120))));
        let within = |from: &Instant| {
            sent.iter().filter(|at| **at >= *from && **at - *from < Duration::from_secs(1)).count()
        };
        assert!(sent.iter().all(|at| within(at) <= 5), "{sent:?}");
        assert!(now - start < Duration::from_secs(8), "the rate is used");
    }

    #[test]
    fn a_rate_of_less_than_one_task_in_a_second_is_kept() {
        let mut window = Window::new(NonZeroU32::MIN);
        let start = Instant::ZERO + Duration::from_secs(9);
        assert!(window.ready_at() <= start);
        window.take(start, 2);
        assert_eq!(window.ready_at(), start + Duration::from_secs(2));
    }

    #[test]
    fn the_more_important_goes_before_the_earlier() {
        let mut window = Window::new(NonZeroU32::new(2).unwrap());
        let mut schedule = Schedule::default();
        let now = Instant::ZERO + Duration::from_secs(9);
        schedule.insert(Task::Repeat, Instant::ZERO, Ipv4Addr::new(192, 0, 2, 1));
        schedule.insert(Task::FirstAnnouncement, now, Ipv4Addr::new(192, 0, 2, 2));
        let first = schedule.pop(now, &mut window);
        assert_eq!(first, Some((Task::FirstAnnouncement, Ipv4Addr::new(192, 0, 2, 2))));
        assert_eq!(schedule.pop(now, &mut window), None, "two frames were all there was");
        let (next, _) = schedule.next(&window).unwrap();
        assert_eq!(next, now + Duration::from_secs(1));
        assert_eq!(schedule.pop(next, &mut window), Some((Task::Repeat, Ipv4Addr::new(192, 0, 2, 1))));
    }
}
