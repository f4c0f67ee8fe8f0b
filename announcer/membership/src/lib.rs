//! Which node announces which of a plane's addresses, and until when.

mod epoch;
mod io;
mod member;
mod message;
mod names;
#[cfg(feature = "planted-bugs")]
mod planted;
mod time;
mod timings;
mod view;

pub use epoch::{Epoch, Grant, GrantError};
pub use io::{Answer, Claim, Event, Input, Nowhere, Output, Placement, Preference, Settings, To};
pub use member::Member;
pub use message::{
    Acks, Body, Digest, Entry, Health, Holding, Inventory, Message, Path, Report, Round, Table,
};
pub use names::{ClaimId, MemberId, Seat};
#[cfg(feature = "planted-bugs")]
pub use planted::Bug;
pub use time::Time;
pub use timings::{Timings, TimingsError};
pub use view::{Change, Content, Precondition, Record, View, Write};
