//! A plane under test in the lab: what is done to it, and what clients see of it.
//!
//! A [`Prober`] makes connections and an [`Observer`] asks ARP, both from a host outside the cluster; a [`Fault`] is begun on a
//! [`Plane`] and healed again; [`chaos()`] does that at random and checks that each address has one holder that serves.

mod answers;
mod backend;
mod background;
mod chaos;
mod fault;
mod lease;
mod observer;
mod plane;
mod prober;

pub use answers::{Answers, Mac};
pub use backend::Backend;
pub use chaos::{Chaos, chaos};
pub use fault::{Fault, Ongoing};
pub use lease::Lease;
pub use observer::{Observer, who_answers};
pub use plane::{Claim, Plane};
pub use prober::{Prober, Record};
