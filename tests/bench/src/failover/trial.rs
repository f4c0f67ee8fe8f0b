//! One run of a case: what was seen.

use std::{fmt, time::Duration};

use foghorn_lab::ApiWrite;
use jiff::Timestamp;

/// What one run has shown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Trial {
    /// Who was hit: the node, and whether it was the coordinator.
    pub(crate) victim: String,
    /// The longest time between two completed connections.
    pub(crate) gap: Duration,
    /// The longest time without an answer to ARP: what a client sees that does not know the hardware address yet.
    pub(crate) silence: Duration,
    /// For how long two nodes answered ARP.
    pub(crate) overlap: Duration,
    /// How late the prober was at worst.
    pub(crate) delay: Duration,
    /// What was written to the API server; `None` where Foghorn has no part in it.
    pub(crate) writes: Option<Writes>,
}

/// Writes to the API server in the plane's namespace, from the fault to the end of the gap's measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Writes {
    /// Of the Lease, renewals included.
    pub(crate) leases: usize,
    /// Of the Lease with other transitions than before: a new view.
    pub(crate) views: usize,
    /// Of claims.
    pub(crate) claims: usize,
    /// Views and claims before the first announcement by another node; `None` if none announced.
    pub(crate) before: Option<usize>,
}

/// A time of each run, in seconds.
pub(crate) fn seconds(trials: &[Trial], of: impl Fn(&Trial) -> Duration) -> Vec<f64> {
    trials.iter().map(|trial| of(trial).as_secs_f64()).collect()
}

impl Writes {
    /// Counts writes; `transitions` is what the Lease had before them, `announced` when another node announced for the first time.
    pub(crate) fn of(writes: &[ApiWrite], mut transitions: i64, announced: Option<Timestamp>) -> Self {
        let mut counted = Self { before: announced.map(|_| 0), ..Self::default() };
        for write in writes {
            let counts = if write.resource == "leases" {
                counted.leases += 1;
                let view = write.transitions.is_some_and(|now| now != transitions);
                transitions = write.transitions.unwrap_or(transitions);
                counted.views += usize::from(view);
                view
            } else {
                counted.claims += 1;
                true
            };
            if counts && announced.is_some_and(|announced| write.at < announced) {
                counted.before = counted.before.map(|before| before + 1);
            }
        }
        counted
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { victim, gap, silence, overlap, delay, writes } = self;
        let seconds = |time: &Duration| time.as_secs_f64();
        write!(f, "{victim:<16} gap {:.3} s, no ARP answer {:.3} s", seconds(gap), seconds(silence))?;
        write!(f, ", two nodes {} ms, prober late {} ms", overlap.as_millis(), delay.as_millis())?;
        let Some(Writes { leases, views, claims, before }) = writes else { return Ok(()) };
        write!(f, "; writes: Lease {leases} ({views} views), claims {claims}")?;
        before.map_or(Ok(()), |before| write!(f, ", before the first announcement {before}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_is_a_write_of_the_lease_and_no_view() {
        let writes = [write(1, "leases", 3), write(2, "leases", 4), write(3, "leases", 4)];
        let counted = Writes::of(&writes, 3, Some(at(10)));
        assert_eq!(counted, Writes { leases: 3, views: 1, claims: 0, before: Some(1) });
    }

    #[test]
    fn only_what_is_written_before_the_first_announcement_delays_it() {
        let writes =
            [write(1, "leases", 4), write(5, "addressclaims/status", 0), write(6, "addressclaims/status", 0)];
        assert_eq!(Writes::of(&writes, 3, Some(at(5))).before, Some(1));
        assert_eq!(Writes::of(&writes, 3, None), Writes { leases: 1, views: 1, claims: 2, before: None });
    }

    fn write(second: i64, resource: &str, transitions: i64) -> ApiWrite {
        let transitions = (resource == "leases").then_some(transitions);
        ApiWrite { at: at(second), resource: resource.to_owned(), name: String::new(), transitions }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }
}
