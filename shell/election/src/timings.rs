//! How long a tenure lasts without a renewal, and how often it is renewed.

use std::time::Duration;

/// The times of an election, known to agree with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    duration: Duration,
    renew_deadline: Duration,
    retry: Duration,
}

/// Times that do not agree with each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingsError {
    /// The Lease resource counts in seconds.
    #[error("the lease duration is {0:?}; it must be whole seconds from 1 s to 60 s")]
    Duration(Duration),
    /// The holder would go on after another took over.
    #[error(
        "the renew deadline {renew_deadline:?} must be shorter than the lease duration {duration:?} by more than 2 %, \
         the error of two clocks"
    )]
    Deadline {
        /// The refused renew deadline.
        renew_deadline: Duration,
        /// The lease duration it was given with.
        duration: Duration,
    },
    /// One lost write would end a tenure, or writes would follow each other without a pause.
    #[error(
        "the retry period {retry:?} must be from 100 ms to half of the renew deadline {renew_deadline:?}"
    )]
    Retry {
        /// The refused retry period.
        retry: Duration,
        /// The renew deadline it was given with.
        renew_deadline: Duration,
    },
}

impl Timings {
    /// By how much the rate of a member's clock may differ from the true one.
    pub const CLOCK_ERROR_PERCENT: u32 = 1;
    /// The longest lease duration; a longer one in a record is taken for this.
    pub const MAX_DURATION: Duration = Duration::from_secs(60);
    /// Those of a plane's Lease: another takes over 5 s after the last renewal.
    pub const PLANE: Self = Self {
        duration: Duration::from_secs(5),
        renew_deadline: Duration::from_secs(3),
        retry: Duration::from_secs(1),
    };
    /// Those of the operator's Lease, as the components of Kubernetes have them.
    pub const OPERATOR: Self = Self {
        duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };

    /// The times of an election: how long others wait before they take over, how long the holder may act after it sent
    /// a renewal, and how often it renews.
    ///
    /// # Errors
    /// If with these two members could hold at once, or a single lost write would end a tenure.
    pub fn new(duration: Duration, renew_deadline: Duration, retry: Duration) -> Result<Self, TimingsError> {
        let whole = duration.subsec_nanos() == 0;
        if !whole || duration.is_zero() || duration > Self::MAX_DURATION {
            return Err(TimingsError::Duration(duration));
        }
        if renew_deadline >= duration
            || renew_deadline * (100 + Self::CLOCK_ERROR_PERCENT)
                >= duration * (100 - Self::CLOCK_ERROR_PERCENT)
        {
            return Err(TimingsError::Deadline { renew_deadline, duration });
        }
        if retry < Duration::from_millis(100) || retry > renew_deadline / 2 {
            return Err(TimingsError::Retry { retry, renew_deadline });
        }
        Ok(Self { duration, renew_deadline, retry })
    }

    /// How long others wait, from when they saw the last change, before they take over.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.duration
    }

    /// How long the holder may act, from when it sent its last successful write.
    #[must_use]
    pub const fn renew_deadline(self) -> Duration {
        self.renew_deadline
    }

    /// How often the holder renews, and how soon what failed is tried again.
    #[must_use]
    pub const fn retry(self) -> Duration {
        self.retry
    }

    /// How long an answer is waited for: short enough for a second attempt within the renew deadline.
    #[must_use]
    pub fn call_timeout(self) -> Duration {
        self.renew_deadline / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_given_times_agree_with_each_other() {
        for timings in [Timings::PLANE, Timings::OPERATOR] {
            assert_eq!(Timings::new(timings.duration, timings.renew_deadline, timings.retry), Ok(timings));
        }
    }

    #[test]
    fn a_holder_that_could_outlast_the_wait_of_others_is_refused() {
        let ms = Duration::from_millis;
        assert!(Timings::new(ms(5000), ms(4890), ms(1000)).is_ok());
        for deadline in [ms(4902), ms(5000), Duration::MAX] {
            let error = Timings::new(ms(5000), deadline, ms(1000)).unwrap_err();
            assert!(matches!(error, TimingsError::Deadline { .. }), "{error}");
        }
    }

    #[test]
    fn durations_that_a_lease_cannot_express_are_refused() {
        let ms = Duration::from_millis;
        for duration in [ms(0), ms(4500), ms(61_000)] {
            assert_eq!(Timings::new(duration, ms(300), ms(100)), Err(TimingsError::Duration(duration)));
        }
    }

    #[test]
    fn a_retry_period_leaves_room_for_a_second_attempt() {
        let ms = Duration::from_millis;
        assert!(Timings::new(ms(5000), ms(3000), ms(1500)).is_ok());
        for retry in [ms(0), ms(99), ms(1501)] {
            assert!(matches!(Timings::new(ms(5000), ms(3000), retry), Err(TimingsError::Retry { .. })));
        }
    }
}
