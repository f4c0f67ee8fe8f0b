//! How fast a lost member is noticed.

use std::time::Duration;

/// The times of a plane's members, all derived from the interval between two rounds and the number of them that may be
/// missed. docs/failover.md has the inequalities between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timings {
    /// Between two rounds.
    pub interval: Duration,
    /// A member that its coordinator has not heard for so long is dead.
    pub dead: Duration,
    /// A member may announce for so long after it sent the report that its coordinator has acknowledged.
    pub permit: Duration,
    /// A coordinator that a member has not heard for so long is dead.
    pub coordinator_dead: Duration,
    /// A coordinator may announce for so long after it sent the round that every member has reported on.
    pub coordinator_permit: Duration,
    /// A turn that comes later than this after the one before says nothing of others.
    pub late: Duration,
    /// A further wait for each reason why somebody else should act first.
    pub patience: Duration,
    /// For so long the API server has to fail before its absence counts.
    pub api_failing: Duration,
    /// A node that is new is heard for so long before it is let in.
    pub join: Duration,
    /// Between two renewals of the Lease.
    pub renewal: Duration,
    /// A Lease that does not change for so long has no living members.
    pub abandoned: Duration,
    /// For so long two members of which one is dead may go on without API server and majority.
    pub grace: Duration,
}

/// Figures that no times can be derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "heartbeats each {interval:?}, of which {missed} may be missed: the interval must be from 50 ms to 10 s, and the number from 3 to 15"
)]
pub struct TimingsError {
    /// The refused interval.
    pub interval: Duration,
    /// The refused number.
    pub missed: u32,
}

impl Timings {
    /// By how much the rate of a member's clock may differ from the true one.
    pub const CLOCK_ERROR_PERCENT: u32 = 1;

    /// The times for rounds each `interval`, of which `missed` in a row mean that somebody is dead.
    ///
    /// # Errors
    /// If the figures are out of range.
    pub fn new(interval: Duration, missed: u32) -> Result<Self, TimingsError> {
        let range = Duration::from_millis(50)..=Duration::from_secs(10);
        if !range.contains(&interval) || !(3..=15).contains(&missed) {
            return Err(TimingsError { interval, missed });
        }
        let tenths = |tenths: u32| interval * (missed * 10 + tenths) / 10;
        let [dead, permit, coordinator_dead, coordinator_permit] = [5, 4, 10, 9].map(tenths);
        // 2 % of `dead` are more than a tenth of the interval when many may be missed.
        let shorter = |short: Duration, long: Duration| short.min(long * 97 / 100);
        Ok(Self {
            interval,
            dead,
            permit: shorter(permit, dead),
            coordinator_dead,
            coordinator_permit: shorter(coordinator_permit, coordinator_dead),
            late: dead.saturating_sub(interval * 2),
            patience: interval * 3,
            api_failing: interval * 4,
            join: (interval * 10).max(Duration::from_secs(1)),
            renewal: Duration::from_secs(2),
            abandoned: Duration::from_secs(10),
            grace: interval * 60,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_times_are_those_of_the_document() {
        let ms = Duration::from_millis;
        let timings = Timings::new(ms(100), 3).unwrap();
        let of = [timings.dead, timings.permit, timings.coordinator_dead, timings.coordinator_permit];
        assert_eq!(of, [ms(350), ms(339) + Duration::from_micros(500), ms(400), ms(388)]);
        assert_eq!(timings.late, ms(150));
    }

    #[test]
    fn whoever_is_taken_for_dead_is_silent_before_another_speaks() {
        for (interval, missed) in [(50, 3), (100, 3), (200, 5), (100, 15), (10_000, 15)] {
            let timings = Timings::new(Duration::from_millis(interval), missed).unwrap();
            let slow = 100 + Timings::CLOCK_ERROR_PERCENT;
            let fast = 100 - Timings::CLOCK_ERROR_PERCENT;
            assert!(timings.permit * slow < timings.dead * fast, "{timings:?}");
            assert!(timings.coordinator_permit * slow < timings.coordinator_dead * fast, "{timings:?}");
            assert!(timings.permit >= timings.interval * missed, "{timings:?}");
            assert!(timings.late <= timings.dead - timings.interval * 2, "{timings:?}");
        }
    }

    #[test]
    fn figures_out_of_range_are_refused() {
        for (interval, missed) in [(49, 3), (10_001, 3), (100, 2), (100, 16)] {
            assert!(Timings::new(Duration::from_millis(interval), missed).is_err());
        }
    }
}
