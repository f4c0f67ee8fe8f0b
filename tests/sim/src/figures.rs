//! What came of simulated schedules, in numbers.

use std::{fmt, ops::AddAssign, time::Duration};

use foghorn_dhcp::LostReason;

/// Numbers of one schedule, or the sum of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Schedules played.
    pub schedules: u32,
    /// Life of all claims together.
    pub lived: Duration,
    /// Time in which they announced an address.
    pub announced: Duration,
    /// Messages that clients sent.
    pub sent: u64,
    /// The most that one client sent in a day.
    pub most_in_a_day: u32,
    /// Clients that took over from another node.
    pub fail_overs: u32,
    /// Addresses lost to the end of the lease.
    pub expired: u32,
    /// Addresses lost to a NAK.
    pub refused: u32,
    /// Addresses lost otherwise: replaced, forbidden, in use elsewhere.
    pub otherwise_lost: u32,
    /// Two that announced one address at once, by leases of which the server had forgotten the first.
    pub doubles: u32,
    /// The longest that a claim of a quiet network was without address.
    pub longest_gap: Duration,
}

impl Figures {
    pub(crate) fn lost(&mut self, reason: &LostReason) {
        match reason {
            LostReason::Expired => self.expired += 1,
            LostReason::Nak { .. } => self.refused += 1,
            LostReason::Replaced(_) | LostReason::Conflict | LostReason::Refused => self.otherwise_lost += 1,
        }
    }

    fn lease_days(&self) -> f64 {
        self.lived.as_secs_f64() / 86_400.0
    }
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.lived += other.lived;
        self.announced += other.announced;
        self.sent += other.sent;
        self.most_in_a_day = self.most_in_a_day.max(other.most_in_a_day);
        self.fail_overs += other.fail_overs;
        self.expired += other.expired;
        self.refused += other.refused;
        self.otherwise_lost += other.otherwise_lost;
        self.doubles += other.doubles;
        self.longest_gap = self.longest_gap.max(other.longest_gap);
    }
}

impl Figures {
    /// The heading of the lines that [`Display`](fmt::Display) writes.
    pub const HEADING: &str = "schedules   weeks  announced  messages/day  most/day  fail-overs  expired  \
                               refused  otherwise lost  doubles  longest gap";
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.lease_days();
        let announced = 100.0 * self.announced.as_secs_f64() / self.lived.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "printed with one digit")]
        let per_day = self.sent as f64 / days;
        write!(
            f,
            "{:>9} {:>7.1} {announced:>9.2}% {per_day:>13.1} {:>9} {:>11} {:>8} {:>8} {:>15} {:>8} {:>10.1} s",
            self.schedules,
            days / 7.0,
            self.most_in_a_day,
            self.fail_overs,
            self.expired,
            self.refused,
            self.otherwise_lost,
            self.doubles,
            self.longest_gap.as_secs_f64(),
        )
    }
}
