//! Spreads the first exchanges of many claims, so that a thousand Services do not flood a home router.

use std::{collections::VecDeque, time::Duration};

use foghorn_clock::Instant;

/// How long a started exchange counts as in flight if nothing comes of it. One that gets no answer must not keep
/// others from trying.
const IN_FLIGHT: Duration = Duration::from_secs(2);

/// Claims that wait for their first exchange, and those that are in it.
#[derive(Debug, Default)]
pub(super) struct Starts {
    waiting: VecDeque<String>,
    in_flight: VecDeque<(Instant, String)>,
}

impl Starts {
    /// Puts a claim at the end of the queue.
    pub(super) fn push(&mut self, claim: String) {
        self.waiting.push_back(claim);
    }

    /// The claim has its address, or is no longer wanted.
    pub(super) fn finish(&mut self, claim: &str) {
        self.waiting.retain(|waiting| waiting != claim);
        self.in_flight.retain(|(_, in_flight)| in_flight != claim);
    }

    /// The next claim that may start, if fewer than `limit` are in flight.
    pub(super) fn next(&mut self, now: Instant, limit: usize) -> Option<String> {
        while self.in_flight.front().is_some_and(|(started, _)| *started + IN_FLIGHT <= now) {
            self.in_flight.pop_front();
        }
        if self.in_flight.len() >= limit {
            return None;
        }
        let claim = self.waiting.pop_front()?;
        self.in_flight.push_back((now, claim.clone()));
        Some(claim)
    }

    /// When [`next`](Self::next) is worth another try.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.front()?;
        Some(self.in_flight.front().map_or(Instant::ZERO, |(started, _)| *started + IN_FLIGHT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_claim_starts_when_one_has_finished() {
        let mut starts = queue(3);
        assert_eq!(starts.next(at(0), 2).as_deref(), Some("claim-0"));
        assert_eq!(starts.next(at(0), 2).as_deref(), Some("claim-1"));
        assert_eq!(starts.next(at(0), 2), None);
        starts.finish("claim-0");
        assert_eq!(starts.next(at(0), 2).as_deref(), Some("claim-2"));
        assert_eq!(starts.due(), None);
    }

    #[test]
    fn claims_that_get_no_answer_do_not_hold_the_others_back() {
        let mut starts = queue(2);
        assert!(starts.next(at(0), 1).is_some());
        assert_eq!(starts.due(), Some(at(0) + IN_FLIGHT));
        assert_eq!(starts.next(at(1), 1), None);
        assert_eq!(starts.next(at(2), 1).as_deref(), Some("claim-1"));
    }

    #[test]
    fn a_claim_that_is_no_longer_wanted_does_not_start() {
        let mut starts = queue(1);
        starts.finish("claim-0");
        assert_eq!(starts.next(at(0), 1), None);
    }

    fn queue(claims: usize) -> Starts {
        let mut starts = Starts::default();
        (0..claims).for_each(|n| starts.push(format!("claim-{n}")));
        starts
    }

    fn at(second: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(second))
    }
}
