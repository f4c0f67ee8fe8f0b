//! True time, and how the members' clocks read it.

use std::{
    cell::Cell,
    hash::{Hash, Hasher},
    ops::Add,
    time::Duration,
};

use foghorn_clock::Instant;
use foghorn_membership::Time;

/// Milliseconds, as many as it takes for no time that the machine measures to end later than this.
const HORIZON: i64 = 60_000;

thread_local! {
    static PRESENT: Cell<u64> = const { Cell::new(0) };
}

/// A point of true time in milliseconds; in the model checker also the members' own time.
///
/// Its hash is that of its distance from the present, see [`Moment::is_present`]: states that differ only in when they
/// come about are then one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// The start of each world. It is far enough from zero for zero to be long past.
    pub const START: Self = Self(10 * HORIZON.unsigned_abs());
    /// It never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// Hashes on this thread are taken relative to this moment from now on.
    pub fn is_present(self) {
        PRESENT.set(self.0);
    }

    /// The milliseconds from `earlier` to this moment, zero if `earlier` is the later one.
    #[must_use]
    pub const fn after(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// So many milliseconds later.
    #[must_use]
    pub const fn plus(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
}

impl Hash for Moment {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let distance = i64::try_from(self.0)
            .unwrap_or(i64::MAX)
            .saturating_sub_unsigned(PRESENT.get())
            .clamp(-HORIZON, HORIZON);
        distance.hash(state);
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        let whole = by.as_nanos().div_ceil(1_000_000);
        self.plus(u64::try_from(whole).unwrap_or(u64::MAX))
    }
}

impl Time for Moment {
    const ZERO: Self = Self(0);
    const NEVER: Self = Self::NEVER;

    fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.after(earlier))
    }
}

/// A node's clock: what it read at the start, and by how many millionths it is fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Clock {
    /// What it shows at the start, in milliseconds.
    pub offset: u64,
    /// By how many millionths it is fast.
    pub fast: i32,
}

/// A time that can be read from a node's clock.
pub trait Reading: Time {
    /// What the clock shows.
    fn read(clock: &Clock, now: Moment) -> Self;
}

impl Reading for Moment {
    fn read(_: &Clock, now: Moment) -> Self {
        now
    }
}

impl Reading for Instant {
    fn read(clock: &Clock, now: Moment) -> Self {
        let rate = u64::try_from(1_000_000 + i64::from(clock.fast)).unwrap_or_default();
        let elapsed = Duration::from_nanos(now.after(Moment::START).saturating_mul(rate));
        Self::from_boot(Duration::from_millis(clock.offset) + elapsed)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use super::*;

    #[test]
    fn moments_at_the_same_distance_from_the_present_have_the_same_hash() {
        let hash = |present: u64, moment: u64| {
            Moment(present).is_present();
            let mut hasher = DefaultHasher::new();
            Moment(moment).hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(100_000, 100_050), hash(200_000, 200_050));
        assert_ne!(hash(100_000, 100_050), hash(100_000, 100_100));
        assert_eq!(hash(100_000, 1), hash(900_000, 2), "both are beyond the horizon");
    }

    #[test]
    fn a_fast_clock_shows_more_than_a_slow_one() {
        let after_a_minute = |fast| Instant::read(&Clock { offset: 5, fast }, Moment::START.plus(60_000));
        assert_eq!(after_a_minute(0), Instant::from_boot(Duration::from_millis(60_005)));
        assert_eq!(after_a_minute(10_000), Instant::from_boot(Duration::from_millis(60_605)));
        assert_eq!(after_a_minute(-10_000), Instant::from_boot(Duration::from_millis(59_405)));
    }
}
