//! Time, as a member reads it on its own clock.

use std::{fmt::Debug, hash::Hash, ops::Add, time::Duration};

use foghorn_clock::Instant;

/// A reading of one member's clock. The machine is generic over it, so that a model checker can count in few steps.
///
/// Readings of different members are never compared. A stamp that came back from another member is one of this member's
/// own readings.
pub trait Time: Copy + Ord + Hash + Debug + Add<Duration, Output = Self> {
    /// Before every deadline.
    const ZERO: Self;
    /// After every deadline.
    const NEVER: Self;

    /// The time from `earlier` to this reading; zero if `earlier` is the later one.
    #[must_use]
    fn since(self, earlier: Self) -> Duration;
}

impl Time for Instant {
    const ZERO: Self = Self::ZERO;
    const NEVER: Self = Self::NEVER;

    fn since(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}
