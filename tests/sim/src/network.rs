//! The wire: what is sent arrives once, twice or never, and not in order.

use std::time::Duration;

use rand::{Rng as _, rngs::StdRng};

/// How bad the wire is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weather {
    /// Part of the messages that get lost.
    pub loss: f64,
    /// Part of the messages that arrive twice.
    pub duplication: f64,
    /// Longest time on the way; what is sent later may arrive earlier.
    pub delay: Duration,
}

impl Weather {
    /// A wire without faults.
    pub const CALM: Self = Self { loss: 0.0, duplication: 0.0, delay: Duration::from_millis(1) };

    /// When a message that is sent now arrives, each time that it does.
    pub fn arrivals(&self, rng: &mut StdRng) -> Vec<Duration> {
        let copies = 1 + usize::from(rng.random_bool(self.duplication));
        let mut arrivals = Vec::new();
        for _ in 0..copies {
            if !rng.random_bool(self.loss) {
                arrivals.push(rng.random_range(Duration::ZERO..=self.delay));
            }
        }
        arrivals
    }
}
