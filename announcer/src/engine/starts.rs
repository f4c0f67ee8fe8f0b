//! Spreads the first exchanges of many claims, so that a thousand Services do not flood a home router.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use foghorn_clock::Instant;
use foghorn_crds::DhcpSpec;
use rand::{Rng, rngs::StdRng};

/// How long a started exchange counts as in flight if nothing comes of it. One that gets no answer must not keep
/// others from trying.
const IN_FLIGHT: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_secs(1);

/// How fast exchanges begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How many are in flight at once.
    at_once: usize,
    /// The time between two of them, on average.
    interval: Duration,
    /// The longest that one which had to wait is put off further.
    jitter: Duration,
}

impl Pace {
    pub(super) fn of(dhcp: &DhcpSpec) -> Self {
        Self {
            at_once: usize::try_from(dhcp.max_in_flight.max(1)).unwrap_or(usize::MAX),
            interval: SECOND / dhcp.max_per_second.max(1),
            jitter: Duration::from_millis(dhcp.start_jitter_milliseconds.into()),
        }
    }

    /// The time in which so many may begin.
    pub(super) fn time_for(&self, claims: usize) -> Duration {
        self.interval.saturating_mul(u32::try_from(claims).unwrap_or(u32::MAX))
    }
}

/// Claims that wait for their first exchange, and those that are in it.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// In order of arrival, which comes with it.
    waiting: VecDeque<(Instant, String)>,
    /// Those whose turn has come, and when they begin.
    put_off: BTreeSet<(Instant, String)>,
    in_flight: VecDeque<(Instant, String)>,
    /// When a second's worth of exchanges may begin at once again (the generic cell rate algorithm).
    rested_at: Instant,
}

impl Starts {
    /// Puts a claim at the end of the queue.
    pub(super) fn push(&mut self, now: Instant, claim: String) {
        self.waiting.push_back((now, claim));
    }

    /// The claim has its address, or is no longer wanted.
    pub(super) fn finish(&mut self, claim: &str) {
        let before = self.in_flight.len();
        self.in_flight.retain(|(_, in_flight)| in_flight != claim);
        let began = self.in_flight.len() < before;
        if !began {
            self.waiting.retain(|(_, waiting)| waiting != claim);
        }
        self.put_off.retain(|(_, put_off)| put_off != claim);
    }

    /// The next claim that begins now.
    pub(super) fn next(&mut self, now: Instant, pace: &Pace, rng: &mut StdRng) -> Option<String> {
        while self.in_flight.front().is_some_and(|(started, _)| *started + IN_FLIGHT <= now) {
            self.in_flight.pop_front();
        }
        loop {
            if self.put_off.first().is_some_and(|(at, _)| *at <= now) {
                return self.put_off.pop_first().map(|(_, claim)| claim);
            }
            if self.in_flight.len() >= pace.at_once || self.ready_at(pace) > now {
                return None;
            }
            let (since, claim) = self.waiting.pop_front()?;
            self.rested_at = self.rested_at.max(now) + pace.interval;
            let had_to_wait = since < now;
            let delay =
                if had_to_wait { rng.random_range(Duration::ZERO..=pace.jitter) } else { Duration::ZERO };
            self.in_flight.push_back((now + delay, claim.clone()));
            if delay.is_zero() {
                return Some(claim);
            }
            self.put_off.insert((now + delay, claim));
        }
    }

    /// When [`next`](Self::next) is worth another try.
    pub(super) fn due(&self, pace: &Pace) -> Option<Instant> {
        let put_off = self.put_off.first().map(|(at, _)| *at);
        let waiting = self.waiting.front().map(|_| {
            let full = self.in_flight.len() >= pace.at_once;
            let room = self.in_flight.front().filter(|_| full).map(|(started, _)| *started + IN_FLIGHT);
            room.unwrap_or(Instant::ZERO).max(self.ready_at(pace))
        });
        put_off.into_iter().chain(waiting).min()
    }

    fn ready_at(&self, pace: &Pace) -> Instant {
        (self.rested_at + pace.interval).saturating_sub(SECOND.max(pace.interval))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_next_claim_starts_when_one_has_finished() {
        let mut queue = Queue::of(3, Pace { at_once: 2, ..pace() });
        assert_eq!(queue.next(at(0)).as_deref(), Some("claim-0"));
        assert_eq!(queue.next(at(0)).as_deref(), Some("claim-1"));
        assert_eq!(queue.next(at(0)), None);
        queue.starts.finish("claim-0");
        assert_eq!(queue.next(at(0)).as_deref(), Some("claim-2"));
        assert_eq!(queue.starts.due(&queue.pace), None);
    }

    #[test]
    fn claims_that_get_no_answer_do_not_hold_the_others_back() {
        let mut queue = Queue::of(2, Pace { at_once: 1, jitter: Duration::ZERO, ..pace() });
        assert!(queue.next(at(0)).is_some());
        assert_eq!(queue.starts.due(&queue.pace), Some(at(0) + IN_FLIGHT));
        assert_eq!(queue.next(at(1)), None);
        assert_eq!(queue.next(at(2)).as_deref(), Some("claim-1"));
    }

    #[test]
    fn a_claim_that_is_no_longer_wanted_does_not_start() {
        let mut queue = Queue::of(1, pace());
        queue.starts.finish("claim-0");
        assert_eq!(queue.next(at(0)), None);
    }

    #[test]
    fn b20_the_first_begin_at_once_and_those_that_have_to_wait_are_put_off_by_a_random_time() {
        let mut queue = Queue::of(40, Pace { at_once: 20, ..pace() });
        (0..20).for_each(|n| assert_eq!(queue.next(at(0)), Some(format!("claim-{n}"))));
        assert_eq!(queue.next(at(0)), None);
        (0..20).for_each(|n| queue.starts.finish(&format!("claim-{n}")));
        let later = at(1);
        let mut begins = Vec::new();
        while let Some(due) = queue.starts.due(&queue.pace) {
            let now = due.max(later);
            begins.extend(queue.next(now).map(|_| now - later));
        }
        assert_eq!(begins.len(), 20);
        assert!(begins.iter().all(|wait| *wait <= Duration::from_millis(200)), "{begins:?}");
        assert!(begins.first() != begins.last(), "{begins:?}");
    }

    #[test]
    fn b20_no_more_begin_in_a_second_than_the_plane_allows() {
        let mut queue =
            Queue::of(200, Pace { interval: Duration::from_millis(20), jitter: Duration::ZERO, ..pace() });
        let begun_at_once = std::iter::from_fn(|| queue.next(at(0))).count();
        assert_eq!(begun_at_once, 50);
        let mut begins = Vec::new();
        while let Some(due) = queue.starts.due(&queue.pace) {
            begins.extend(queue.next(due).map(|_| due));
        }
        assert_eq!(begins.len(), 150);
        assert_eq!(*begins.last().unwrap() - at(0), Duration::from_secs(3));
    }

    struct Queue {
        starts: Starts,
        pace: Pace,
        rng: StdRng,
    }

    impl Queue {
        fn of(claims: usize, pace: Pace) -> Self {
            let mut starts = Starts::default();
            (0..claims).for_each(|n| starts.push(at(0), format!("claim-{n}")));
            Self { starts, pace, rng: StdRng::seed_from_u64(1) }
        }

        fn next(&mut self, now: Instant) -> Option<String> {
            self.starts.next(now, &self.pace, &mut self.rng)
        }
    }

    fn pace() -> Pace {
        Pace { at_once: 1000, interval: Duration::from_millis(1), jitter: Duration::from_millis(200) }
    }

    fn at(second: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(1000 + second))
    }
}
