//! A deterministic simulation of weeks of lease life: real DHCP clients, simulated servers, network and nodes.
//!
//! A [`Schedule`] comes from one number; [`World::play`] plays it. Two things check the client all the while: a
//! [`Witness`](witness::Witness) for each client, which believes what that client says, and the world, which knows
//! what the servers said.

mod claim;
mod faults;
mod figures;
pub mod messages;
mod network;
mod schedule;
mod server;
pub mod witness;
mod world;

pub use figures::Figures;
pub use network::Weather;
pub use schedule::{Fault, Forgets, Habits, Schedule};
pub use server::{Key, ServerConfig, Unknown};
pub use world::{WITHOUT_ADDRESS, World};
