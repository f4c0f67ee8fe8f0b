//! ARP: answering, probing, announcing and resolving, without sockets or clock.
//!
//! [`L2`] is the machine of one interface, [`Gateway`] watches the network's gateway; [`arp`] reads and writes their
//! frames.

pub mod arp;
mod gateway;
mod limit;
mod link;
mod pace;
mod probing;
mod resolver;

pub use arp::{ArpFrame, Mac};
pub use gateway::Gateway;
pub use link::{Config, Input, Kind, L2, Output};
pub use probing::Probing;
