//! How a new address is checked for another user (RFC 5227, section 2.1).

use std::time::Duration;

use rand::{Rng, rngs::StdRng};

/// Probes that are sent before an address counts as free.
pub(crate) const PROBES: u8 = 3;

const SECOND: Duration = Duration::from_secs(1);
const FAST_INTERVAL: Duration = Duration::from_millis(100);
const FAST_WAIT: Duration = Duration::from_millis(200);
/// `ANNOUNCE_WAIT`.
const FULL_WAIT: Duration = Duration::from_secs(2);

/// How a new address is checked for another user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probing {
    /// Three ARP probes, 100 ms apart, and 200 ms to wait for an answer.
    Fast,
    /// With the times of RFC 5227: after a random part of a second, three ARP probes 1 to 2 s apart, and 2 s to wait
    /// for an answer.
    Rfc5227,
    /// Not at all: every address is clear at once.
    Off,
}

impl Probing {
    /// Before the first probe.
    pub(crate) fn delay(self, rng: &mut StdRng) -> Duration {
        match self {
            Self::Fast | Self::Off => Duration::ZERO,
            Self::Rfc5227 => rng.random_range(Duration::ZERO..=SECOND),
        }
    }

    /// Between a probe and the next.
    pub(crate) fn interval(self, rng: &mut StdRng) -> Duration {
        match self {
            Self::Fast | Self::Off => FAST_INTERVAL,
            Self::Rfc5227 => rng.random_range(SECOND..=2 * SECOND),
        }
    }

    /// After the last probe.
    pub(crate) const fn wait(self) -> Duration {
        match self {
            Self::Fast | Self::Off => FAST_WAIT,
            Self::Rfc5227 => FULL_WAIT,
        }
    }
}
