//! Which process holds a Lease, and until when, without sockets, clock or API.
//!
//! [`Election`] decides when to read and write one `coordination.k8s.io/v1` Lease and until when its holder may act.
//!
//! The right to act is a deadline, [`Election::permit`], compared with a fresh clock before each act; it is never an
//! event. It runs from the moment the last successful write was *sent*, so that neither a slow answer nor a process
//! that was stopped can lengthen it. Others wait longer than it lasts, from when they *saw* the record change. Hence
//! two members never hold at once as long as each one's clock runs at a rate within [`Timings::CLOCK_ERROR_PERCENT`]
//! of the true one; how far the clocks are apart does not matter, and no time that is written in a record is compared
//! with a clock.

mod election;
mod epoch;
mod identity;
mod messages;
mod record;
mod timings;

pub use election::Election;
pub use epoch::{Epoch, EpochError};
pub use identity::{Identity, IdentityError};
pub use messages::{Answer, Input, LostReason, Output};
pub use record::{Precondition, Record, Write};
pub use timings::{Timings, TimingsError};
