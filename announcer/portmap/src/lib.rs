//! Which ports a gateway is to forward, and what it takes to have it so: a pure machine, without sockets or clock.
//!
//! It keeps what a node's claims want at one gateway: looks for the gateway, asks for ports and asks again before they end,
//! notices that the gateway has forgotten them, and takes back what is not wanted any more. What is another's is neither
//! overwritten nor removed.

mod answers;
mod choice;
mod claim;
mod epoch;
mod io;
mod leftovers;
mod link;
mod machine;
mod questions;
mod slot;
mod whose;

pub use io::{
    Answer, Ask, Client, Config, Entry, Fault, Input, Mapping, Notice, Output, Plane, Port, Protocol, Report,
    Request, Standing, Transport, Trouble, Wanted,
};
pub use machine::Machine;
