//! Waiting times that double.

use std::time::Duration;

/// A waiting time that doubles up to a cap.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    next: Duration,
    cap: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, cap: Duration) -> Self {
        Self { first, next: first, cap }
    }

    /// The time to wait now; the following one is twice as long.
    pub(crate) fn take(&mut self) -> Duration {
        let now = self.next;
        self.next = now.saturating_mul(2).min(self.cap);
        now
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_cap_and_starts_again_after_a_reset() {
        let mut backoff = Backoff::new(Duration::from_secs(4), Duration::from_secs(10));
        let taken = [backoff.take(), backoff.take(), backoff.take(), backoff.take()].map(|d| d.as_secs());
        assert_eq!(taken, [4, 8, 10, 10]);
        backoff.reset();
        assert_eq!(backoff.take().as_secs(), 4);
    }
}
