//! Times of day on the API server's clock.
//!
//! Nodes' clocks differ; a lease goes from node to node. So the times in a claim's status are the API server's, and
//! each node knows what that clock read at one instant of its own.

use std::time::Duration;

use foghorn_clock::Instant;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// What the API server's clock read at one instant of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiTime {
    /// Our clock.
    pub at: Instant,
    /// The API server's.
    pub time: Timestamp,
    /// When, by our clock, the API server last told its time.
    pub measured: Instant,
}

impl ApiTime {
    /// What the API server's clock reads at `instant`; `None` for [`Instant::NEVER`] and what no calendar has.
    #[must_use]
    pub fn timestamp(&self, instant: Instant) -> Option<Timestamp> {
        let signed = |duration: Duration| SignedDuration::try_from(duration).ok();
        if instant >= self.at {
            self.time.checked_add(signed(instant - self.at)?).ok()
        } else {
            self.time.checked_sub(signed(self.at - instant)?).ok()
        }
    }

    /// When the API server's clock reads `time`; at most as early as the start of the kernel.
    #[must_use]
    pub fn instant(&self, time: Timestamp) -> Instant {
        let ahead = time.duration_since(self.time);
        match Duration::try_from(ahead) {
            Ok(ahead) => self.at + ahead,
            Err(_) => self.at.saturating_sub(ahead.unsigned_abs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_timestamps_are_one_to_one_both_ways_in_time() {
        for instant in [100, 1_000, 5_000].map(|s| Instant::from_boot(Duration::from_secs(s))) {
            let timestamp = known().timestamp(instant).unwrap();
            assert_eq!(known().instant(timestamp), instant);
        }
        let later = Instant::from_boot(Duration::from_secs(1_060));
        assert_eq!(known().timestamp(later), Some(Timestamp::from_second(1_800_000_060).unwrap()));
    }

    #[test]
    fn what_has_no_timestamp_has_none_and_what_was_before_the_kernel_is_its_start() {
        assert_eq!(known().timestamp(Instant::NEVER), None);
        assert_eq!(known().instant(Timestamp::from_second(0).unwrap()), Instant::ZERO);
    }

    fn known() -> ApiTime {
        let at = Instant::from_boot(Duration::from_secs(1_000));
        ApiTime { at, time: Timestamp::from_second(1_800_000_000).unwrap(), measured: at }
    }
}
