//! When the next paced frame may go out, and what waits for that in order of importance.
//!
//! Switches with ARP inspection count the ARP frames that come in by a port within a second, and shut the port above their
//! limit: 15 by default on those of several vendors. If a node loses its port for what it announces, its successor
//! announces more. So there are two limits. The plane's holds for all frames, and only what users wait for, the probes and
//! the first announcement of an address, uses all of it at once. What can wait keeps to few frames a second besides.

use std::{
    collections::{BTreeSet, VecDeque},
    net::Ipv4Addr,
    num::NonZeroU32,
    time::Duration,
};

use foghorn_clock::Instant;

use crate::link::Config;

const SECOND: Duration = Duration::from_secs(1);
/// What is sent a second apart may reach a switch closer together.
const SPAN: Duration = Duration::from_millis(1_100);
/// Frames in a second, the first ones included, up to which one that can wait may go out. More than these go out while more
/// addresses than these are new: then the switches have to take more anyway.
const CALM: usize = 10;
/// A process that was late for one frame sends those that have become due meanwhile together, up to this time's.
const LATE: Duration = Duration::from_millis(20);

/// What is done for an address at a time, in the order in which they are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// The wait after the last probe is over.
    ProbeEnd,
    /// The first announcement after the address was taken over.
    First,
    /// The announcement that answers another host's claim.
    Defence,
    /// A probe.
    Probe,
    /// A later announcement of an address that was taken over just now.
    Repeat,
    /// An announcement of an address that is known already.
    Refresh,
}

impl Task {
    const BY_IMPORTANCE: [Self; 6] =
        [Self::ProbeEnd, Self::First, Self::Defence, Self::Probe, Self::Repeat, Self::Refresh];

    /// Whether it is sent as soon as the plane's limit allows.
    const fn is_urgent(self) -> bool {
        match self {
            Self::ProbeEnd | Self::First | Self::Defence | Self::Probe => true,
            Self::Repeat | Self::Refresh => false,
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::ProbeEnd | Self::Probe => "ARP probe",
            Self::First | Self::Defence | Self::Repeat | Self::Refresh => "ARP announcement",
        }
    }
}

/// The tasks that wait, and how many frames went out lately.
#[derive(Debug)]
pub(crate) struct Pace {
    limit: usize,
    refresh: Option<Duration>,
    /// By importance and then by time.
    tasks: BTreeSet<(Task, Instant, Ipv4Addr)>,
    /// Those of the tasks that are refreshes.
    refreshes: usize,
    /// When the frames of the last second went out.
    sent: VecDeque<Instant>,
    /// No frame that can wait goes out before.
    calm: Instant,
}

impl Pace {
    pub(crate) fn new(config: &Config) -> Self {
        let mut pace = Self {
            limit: 0,
            refresh: None,
            tasks: BTreeSet::new(),
            refreshes: 0,
            sent: VecDeque::new(),
            calm: Instant::ZERO,
        };
        pace.configure(config);
        pace
    }

    /// Takes other limits. What was sent before counts.
    pub(crate) fn configure(&mut self, config: &Config) {
        self.limit = count(config.max_per_second);
        self.refresh = config.refresh;
    }

    pub(crate) fn insert(&mut self, task: Task, due: Instant, address: Ipv4Addr) {
        if self.tasks.insert((task, due, address)) && task == Task::Refresh {
            self.refreshes += 1;
        }
    }

    pub(crate) fn remove(&mut self, task: Task, due: Instant, address: Ipv4Addr) {
        if self.tasks.remove(&(task, due, address)) && task == Task::Refresh {
            self.refreshes -= 1;
        }
    }

    /// Removes all tasks. What was sent before counts.
    pub(crate) fn clear(&mut self) {
        self.tasks.clear();
        self.refreshes = 0;
    }

    /// Takes the most important task that is due and that there is room for.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Task, Ipv4Addr)> {
        let due = Task::BY_IMPORTANCE.into_iter().find_map(|task| self.earliest(task).filter(|e| e.1 <= now));
        let (task, at, address) = due?;
        if self.ready_for(task) > now {
            return None;
        }
        if !task.is_urgent() {
            let interval = SECOND / u32::try_from(self.calm_limit()).unwrap_or(u32::MAX).max(1);
            self.calm = self.calm.max(now.saturating_sub(LATE)) + interval;
        }
        self.remove(task, at, address);
        if task != Task::ProbeEnd {
            self.take(now);
        }
        Some((task, address))
    }

    /// When [`Pace::pop`] next has something, and what it is.
    pub(crate) fn next(&self) -> Option<(Instant, &'static str)> {
        let tasks = Task::BY_IMPORTANCE.into_iter().filter_map(|task| self.earliest(task));
        tasks.map(|(task, due, _)| (due.max(self.ready_for(task)), task.reason())).min()
    }

    /// When the next frame may go out that is sent as soon as the plane's limit allows.
    pub(crate) fn ready(&self) -> Instant {
        self.room(self.limit)
    }

    /// A frame goes out.
    pub(crate) fn take(&mut self, now: Instant) {
        while self.sent.pop_front_if(|at| *at + SPAN <= now).is_some() {}
        self.sent.push_back(now);
    }

    fn ready_for(&self, task: Task) -> Instant {
        if task == Task::ProbeEnd {
            Instant::ZERO
        } else if task.is_urgent() {
            self.ready()
        } else {
            self.room(self.calm_limit()).max(self.calm)
        }
    }

    /// From when on fewer than `most` frames have gone out within a second.
    fn room(&self, most: usize) -> Instant {
        let last = self.sent.len().checked_sub(most).and_then(|index| self.sent.get(index));
        last.map_or(Instant::ZERO, |at| *at + SPAN)
    }

    /// The most frames within a second with one that can wait: twice what the refreshes take where that is more, so that they
    /// are not late where there are many.
    fn calm_limit(&self) -> usize {
        let new = self.tasks.len().saturating_sub(self.refreshes);
        let seconds = self.refresh.map_or(0, |interval| usize::try_from(interval.as_secs()).unwrap_or(0));
        let refreshed = self.refreshes.saturating_mul(4).checked_div(seconds).unwrap_or(0);
        new.max(CALM).max(refreshed).min(self.limit)
    }

    fn earliest(&self, task: Task) -> Option<(Task, Instant, Ipv4Addr)> {
        let from = (task, Instant::ZERO, Ipv4Addr::UNSPECIFIED);
        let to = (task, Instant::NEVER, Ipv4Addr::BROADCAST);
        self.tasks.range(from..=to).next().copied()
    }
}

fn count(number: NonZeroU32) -> usize {
    usize::try_from(number.get()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first_frames_use_all_of_the_limit_at_once() {
        let mut pace = pace(50);
        insert(&mut pace, Task::First, 60);
        assert_eq!(run(&mut pace, NOW).len(), 50);
        assert_eq!(pace.next(), Some((NOW + SPAN, "ARP announcement")));
        assert_eq!(run(&mut pace, NOW + SPAN).len(), 10);
    }

    #[test]
    fn what_can_wait_is_spread_and_counts_the_first_frames() {
        let mut pace = pace(200);
        insert(&mut pace, Task::First, 8);
        assert_eq!(run(&mut pace, NOW).len(), 8);
        insert(&mut pace, Task::Repeat, 8);
        let mut sent = Vec::new();
        while let Some((at, _)) = pace.next() {
            sent.extend(run(&mut pace, at).iter().map(|_| (at - NOW).as_millis()));
        }
        assert_eq!(sent[..3], [0, 80, 1_100], "two more within the second, then the first ones are over");
        assert!(sent[2..].windows(2).all(|pair| pair[1] - pair[0] >= 80), "{sent:?}");
    }

    #[test]
    fn refreshes_of_many_addresses_are_not_late() {
        let mut pace = pace(200);
        insert(&mut pace, Task::Refresh, 1_000);
        let at = NOW + Duration::from_secs(60);
        let (mut now, mut sent) = (NOW, 0);
        while now < at {
            sent += run(&mut pace, now).len();
            now += Duration::from_millis(10);
        }
        assert_eq!(sent, 1_000, "in half the time would do");
    }

    #[test]
    fn the_more_important_goes_before_the_earlier() {
        let mut pace = pace(1);
        pace.insert(Task::Repeat, Instant::ZERO, address(1));
        pace.insert(Task::Defence, NOW, address(2));
        pace.insert(Task::First, NOW, address(3));
        pace.insert(Task::ProbeEnd, NOW, address(4));
        let ended = [(Task::ProbeEnd, address(4)), (Task::First, address(3))];
        assert_eq!(run(&mut pace, NOW), ended, "one frame, and what needs none");
        assert_eq!(run(&mut pace, NOW + SPAN), [(Task::Defence, address(2))]);
        assert_eq!(run(&mut pace, NOW + 2 * SPAN), [(Task::Repeat, address(1))]);
    }

    #[test]
    fn a_changed_limit_and_cleared_tasks_forget_no_frame() {
        let mut pace = pace(10);
        insert(&mut pace, Task::First, 10);
        assert_eq!(run(&mut pace, NOW).len(), 10);
        pace.clear();
        pace.configure(&config(12));
        insert(&mut pace, Task::First, 10);
        assert_eq!(run(&mut pace, NOW).len(), 2);
    }

    proptest! {
        #[test]
        fn in_any_second_at_most_the_limit_goes(
            limit in 1..40_u32,
            steps in prop::collection::vec((0..1_500_u64, 0..6_usize, 0..60_u32), 1..40),
        ) {
            let mut pace = pace(limit);
            let (mut now, mut sent) = (NOW, Vec::new());
            for (wait, task, many) in steps {
                for (task, _) in run(&mut pace, now) {
                    sent.extend((task != Task::ProbeEnd).then_some(now));
                }
                now += Duration::from_millis(wait);
                (0..many).for_each(|n| pace.insert(Task::BY_IMPORTANCE[task], now, address(n)));
            }
            let limit = usize::try_from(limit).unwrap();
            prop_assert!(sent.windows(limit + 1).all(|of| of[limit] - of[0] > SECOND), "{sent:?}");
        }
    }

    const NOW: Instant = Instant::from_boot(Duration::from_secs(9));

    fn config(limit: u32) -> Config {
        Config { max_per_second: NonZeroU32::new(limit).unwrap(), ..Config::default() }
    }

    fn pace(limit: u32) -> Pace {
        Pace::new(&config(limit))
    }

    fn insert(pace: &mut Pace, task: Task, many: u32) {
        (0..many).for_each(|n| pace.insert(task, NOW, address(n)));
    }

    fn address(n: u32) -> Ipv4Addr {
        Ipv4Addr::from(0xc000_0200 + n)
    }

    fn run(pace: &mut Pace, now: Instant) -> Vec<(Task, Ipv4Addr)> {
        std::iter::from_fn(|| pace.pop(now)).collect()
    }
}
