//! What a member is told, and what it says.

use std::fmt;

use foghorn_clock::Instant;

use crate::{Epoch, Record, Write};

/// What a member is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Whether this member could do the holder's work. At first it could not. One that no longer can gives the Lease up.
    Eligible(bool),
    /// A watch shows this state of the Lease, or that there is none. It may be late: it starts clocks and questions,
    /// but never by itself ends a tenure.
    Observed(Option<Record>),
    /// The API call of this number came to this end. An answer to an earlier call than the last one is ignored.
    Answered {
        /// The number in [`Output::Read`] or [`Output::Write`].
        call: u64,
        /// How it ended.
        answer: Answer,
    },
    /// This process will end: give the Lease up, so that another can take it at once. [`Output::Left`] follows.
    Leave,
}

/// How an API call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a read: the present state of the Lease, or that there is none.
    Found(Option<Record>),
    /// To a write: it took place and this is the state after it.
    Written(Record),
    /// To a write: its precondition was not met, nothing was changed.
    Conflict,
    /// Anything else. A write may have taken place or may still do so.
    Failed,
}

/// What a member wants done, or says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Read the Lease from the API server itself, not from a cache. A call that is still under way is abandoned.
    Read {
        /// To be given back with the answer.
        call: u64,
    },
    /// Write the Lease. To repeat an attempt is harmless: its precondition is met at most once. A call that is still under way is abandoned.
    Write {
        /// To be given back with the answer.
        call: u64,
        /// What to write.
        write: Write,
    },
    /// This member holds the Lease and may act until `permit`. Repeated whenever `permit` moves.
    Holding {
        /// Of this tenure; greater than that of every tenure before it.
        epoch: Epoch,
        /// To be compared with a fresh clock before each act.
        permit: Instant,
    },
    /// The tenure is over. It may have been since its permit passed: this comes when the machine is called.
    Lost {
        /// Of the tenure that is over.
        epoch: Epoch,
        /// Why.
        reason: LostReason,
    },
    /// After [`Input::Leave`]: the Lease is given up, or that could not be done in time. Nothing more follows.
    Left,
}

/// Why a tenure ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LostReason {
    /// No renewal was confirmed within the renew deadline.
    Expired,
    /// The Lease has another holder; empty if somebody released it.
    Replaced {
        /// `spec.holderIdentity` as found.
        by: String,
    },
    /// The Lease was deleted.
    Deleted,
    /// Somebody who is no member changed the transitions of the Lease, or made it again.
    Tampered,
    /// This member can no longer do the work.
    NotEligible,
    /// This process ends.
    Left,
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired => f.write_str("no renewal of the lease was confirmed within the renew deadline"),
            Self::Replaced { by } if by.is_empty() => f.write_str("somebody else released the lease"),
            Self::Replaced { by } => write!(f, "the lease is held by {by}"),
            Self::Deleted => f.write_str("the lease was deleted"),
            Self::Tampered => {
                f.write_str("the lease was changed by somebody who does not take part in the election")
            }
            Self::NotEligible => f.write_str("this member can no longer do the work"),
            Self::Left => f.write_str("this process ends"),
        }
    }
}
