//! The time type of the pure state machines.
//!
//! A machine never reads a clock: it is told the time with each call. The shell reads `CLOCK_BOOTTIME`, which also
//! runs while the computer sleeps, so that a process that was stopped or suspended finds its deadlines passed.

use std::{
    fmt,
    ops::{Add, AddAssign, Sub},
    time::Duration,
};

/// A point on the clock that counts from the start of the kernel, sleep included.
///
/// Arithmetic saturates: a deadline that cannot be represented is one that never comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(Duration);

impl Instant {
    /// The start of the kernel: before every deadline.
    pub const ZERO: Self = Self(Duration::ZERO);
    /// After every deadline.
    pub const NEVER: Self = Self(Duration::MAX);

    /// The instant at which the clock reads `since_boot`.
    #[must_use]
    pub const fn from_boot(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// What the clock reads at this instant.
    #[must_use]
    pub const fn since_boot(self) -> Duration {
        self.0
    }

    /// The time from `earlier` to this instant, zero if `earlier` is the later one.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This instant moved back by `by`, at most to the start of the kernel.
    #[must_use]
    pub const fn saturating_sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, by: Duration) {
        *self = *self + by;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}s", self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let one = Duration::from_secs(1);
        assert_eq!(Instant::NEVER + one, Instant::NEVER);
        assert_eq!(Instant::ZERO.saturating_sub(one), Instant::ZERO);
        assert_eq!(Instant::ZERO - Instant::NEVER, Duration::ZERO);
        assert_eq!((Instant::ZERO + one) - Instant::ZERO, one);
    }
}
