//! The clock of the state machines.

use std::time::Duration;

use foghorn_clock::Instant;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// What `CLOCK_BOOTTIME` reads: it goes on while the computer sleeps or the process is stopped.
#[must_use]
pub fn now() -> Instant {
    Instant::from_boot(since_zero(clock_gettime(ClockId::Boottime)))
}

/// How long ago `stamp`, a reading of `CLOCK_REALTIME`, was; nothing if that clock was set back since.
pub(crate) fn age(stamp: Duration) -> Duration {
    since_zero(clock_gettime(ClockId::Realtime)).saturating_sub(stamp)
}

/// Nothing if the clock stands before its zero.
pub(crate) fn since_zero(time: Timespec) -> Duration {
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_forward() {
        let before = now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(now() - before >= Duration::from_millis(2));
    }

    #[test]
    fn a_stamp_of_the_future_has_no_age() {
        let realtime = since_zero(clock_gettime(ClockId::Realtime));
        assert_eq!(age(realtime + Duration::from_secs(3_600)), Duration::ZERO);
        assert!(age(realtime.saturating_sub(Duration::from_secs(9))) >= Duration::from_secs(9));
    }
}
