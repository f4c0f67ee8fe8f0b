//! The clock by which gateways tell that they have lost their mappings (RFC 6887, 8.5; RFC 6886, 3.6).

use foghorn_clock::Instant;

/// How much the clock may differ besides its share, in seconds.
const SLACK: u64 = 2;

/// What a gateway's clock of mappings read, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch {
    seconds: u32,
    at: Instant,
}

impl Epoch {
    pub(crate) const fn new(seconds: u32, at: Instant) -> Self {
        Self { seconds, at }
    }

    /// Whether a gateway whose clock reads `self` after it has read `before` has kept its mappings: both clocks went by the same
    /// time, up to a sixteenth.
    pub(crate) fn follows(self, before: Self) -> bool {
        let (now, then) = (u64::from(self.seconds), u64::from(before.seconds));
        if now + 1 < then {
            return false;
        }
        let ours = self.at.saturating_since(before.at).as_secs();
        let theirs = now.saturating_sub(then);
        ours + SLACK >= theirs - theirs / 16 && theirs + SLACK >= ours - ours / 16
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_that_goes_on_has_kept_its_mappings() {
        assert!(at(1_000, 0).follows(at(1_000, 0)));
        assert!(at(1_030, 30).follows(at(1_000, 0)));
        assert!(at(4_600, 3_600).follows(at(1_000, 0)));
        assert!(at(4_500, 3_600).follows(at(1_000, 0)), "a slow one");
        assert!(at(999, 0).follows(at(1_000, 0)), "two answers on the way at once");
    }

    #[test]
    fn a_clock_that_is_set_back_or_stands_has_not() {
        assert!(!at(0, 30).follows(at(1_000, 0)));
        assert!(!at(1_000, 30).follows(at(1_000, 0)));
        assert!(!at(2_000, 30).follows(at(1_000, 0)), "one that is set forward is another one");
    }

    #[test]
    fn no_reading_is_too_large() {
        assert!(!at(u32::MAX, 0).follows(at(0, 0)));
        assert!(!at(0, u64::from(u32::MAX)).follows(at(u32::MAX, 0)));
    }

    fn at(seconds: u32, ours: u64) -> Epoch {
        Epoch::new(seconds, Instant::from_boot(Duration::from_secs(ours)))
    }
}
