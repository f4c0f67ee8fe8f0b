//! What time it is on the API server's clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foghorn_clock::Instant;
use jiff::{SignedDuration, Timestamp};

/// Times in the status of a resource are the API server's, whatever the nodes' clocks say. The difference is measured
/// with each answer, by its `Date` header; clones share one measurement.
///
/// A `Date` is a whole second, cut off. So an answer bounds the difference only to a second and the time of the exchange,
/// but answers at other moments within the second narrow it down, usually to some milliseconds.
#[derive(Clone, Debug, Default)]
pub struct ApiClock(Arc<Mutex<Option<Bounds>>>);

/// Of the API server's time since 1970 less the local time since boot.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    least: SignedDuration,
    most: SignedDuration,
    measured: Instant,
}

impl ApiClock {
    /// Takes note of an answer with this `Date`, to a request that was sent and answered at these instants.
    pub fn observe(&self, sent: Instant, received: Instant, date: Timestamp) {
        let (Some(sent), Some(answered)) = (signed(sent), signed(received)) else { return };
        let date = date.as_duration();
        let (Some(least), Some(most)) =
            (date.checked_sub(answered), (date + SignedDuration::from_secs(1)).checked_sub(sent))
        else {
            return;
        };
        let mut bounds = self.bounds();
        let new = Bounds { least, most, measured: received };
        // Bounds that exclude each other: one of the clocks was set, or they drifted.
        *bounds = Some(match *bounds {
            Some(old) if old.least.max(least) <= old.most.min(most) => {
                Bounds { least: old.least.max(least), most: old.most.min(most), ..new }
            }
            Some(_) | None => new,
        });
    }

    /// Goes by what was once read until there is an answer.
    pub fn remember(&self, at: Instant, time: Timestamp) {
        let Some(at) = signed(at) else { return };
        let Some(difference) = time.as_duration().checked_sub(at) else { return };
        self.bounds().get_or_insert(Bounds { least: difference, most: difference, measured: Instant::ZERO });
    }

    /// The API server's time at a local instant; `None` before the first answer.
    #[must_use]
    pub fn timestamp(&self, at: Instant) -> Option<Timestamp> {
        let since_epoch = signed(at)?.checked_add(self.difference()?)?;
        Timestamp::from_duration(since_epoch).ok()
    }

    /// The local instant of a time of the API server, the start of the kernel if it was before; `None` before the first
    /// answer.
    #[must_use]
    pub fn instant(&self, at: Timestamp) -> Option<Instant> {
        let since_boot = at.as_duration().checked_sub(self.difference()?)?;
        Some(Instant::from_boot(since_boot.max(SignedDuration::ZERO).unsigned_abs()))
    }

    /// When the last answer came; the start of the kernel if what is known is only remembered.
    #[must_use]
    pub fn measured(&self) -> Option<Instant> {
        self.bounds().map(|bounds| bounds.measured)
    }

    fn difference(&self) -> Option<SignedDuration> {
        let bounds = (*self.bounds())?;
        bounds.least.checked_add(bounds.most.checked_sub(bounds.least)? / 2)
    }

    fn bounds(&self) -> MutexGuard<'_, Option<Bounds>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn signed(at: Instant) -> Option<SignedDuration> {
    SignedDuration::try_from(at.since_boot()).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nothing_is_known_before_the_first_answer() {
        let clock = ApiClock::default();
        assert_eq!(clock.timestamp(at(1)), None);
        assert_eq!(clock.measured(), None);
    }

    #[test]
    fn one_answer_tells_the_time_to_half_a_second() {
        let clock = ApiClock::default();
        clock.observe(at(5000), at(5010), second(1_000_000));
        let error = clock.timestamp(at(5010)).unwrap().duration_since(second(1_000_000)).as_millis();
        assert!((490..=520).contains(&error), "{error}");
        assert_eq!(clock.measured(), Some(at(5010)));
    }

    #[test]
    fn answers_around_the_turn_of_a_second_narrow_it_down() {
        let clock = ApiClock::default();
        clock.observe(at(5980), at(5990), second(1_000_000));
        clock.observe(at(6000), at(6010), second(1_000_001));
        let turn = clock.timestamp(at(5995)).unwrap().duration_since(second(1_000_001)).as_millis();
        assert!((-20..=20).contains(&turn), "{turn}");
    }

    #[test]
    fn a_clock_that_was_set_is_measured_anew() {
        let clock = ApiClock::default();
        clock.observe(at(5000), at(5010), second(1_000_000));
        clock.observe(at(6000), at(6010), second(2_000_000));
        let error = clock.timestamp(at(6005)).unwrap().duration_since(second(2_000_000)).as_secs();
        assert_eq!(error, 0);
    }

    #[test]
    fn what_is_remembered_counts_until_there_is_an_answer() {
        let clock = ApiClock::default();
        clock.remember(at(5000), second(1_000_000));
        assert_eq!(clock.timestamp(at(6000)), Some(second(1_000_001)));
        assert_eq!(clock.measured(), Some(Instant::ZERO));
        clock.observe(at(7000), at(7010), second(2_000_000));
        clock.remember(at(5000), second(1_000_000));
        assert!(clock.timestamp(at(7010)).unwrap() >= second(2_000_000));
    }

    #[test]
    fn an_instant_survives_the_way_there_and_back() {
        let clock = ApiClock::default();
        clock.observe(at(5000), at(5010), second(1_000_000));
        let there = clock.timestamp(at(7777)).unwrap();
        assert_eq!(clock.instant(there), Some(at(7777)));
        assert_eq!(clock.instant(second(5)), Some(Instant::ZERO));
    }

    fn at(millis: u64) -> Instant {
        Instant::from_boot(Duration::from_millis(millis))
    }

    fn second(since_epoch: i64) -> Timestamp {
        Timestamp::from_second(since_epoch).unwrap()
    }
}
