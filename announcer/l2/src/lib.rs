//! ARP: answering, probing, announcing and resolving, without sockets or clock.
//!
//! [`L2`] is the machine of one interface, [`Gateway`] watches the network's gateway; [`arp`] reads and writes their
//! frames. [`Echoes`] answers pings.

mod announced;
pub mod arp;
mod echo;
mod gateway;
mod limit;
mod link;
mod pace;
mod probing;
mod resolver;

pub use arp::{ArpFrame, Mac};
pub use echo::{EchoRequest, Echoes};
pub use gateway::Gateway;
pub use link::{Config, Input, Kind, L2, Output};
pub use probing::Probing;
