//! ARP: answering, probing, announcing and resolving, without sockets or clock.
//!
//! [`L2`] is the machine of one interface; [`arp`] reads and writes its frames.

pub mod arp;
mod limit;
mod link;
mod pace;
mod probing;
mod resolver;

pub use arp::{ArpFrame, Mac};
pub use link::{Config, Input, Kind, L2, Output};
pub use probing::Probing;
