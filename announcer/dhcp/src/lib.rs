//! DHCPv4 client state machine, without sockets or clock.
//!
//! One [`Client`] holds one lease. It is told the time and what happened ([`Input`]), and says what to do
//! ([`Output`]); after each call the caller drains the outputs with [`Client::poll_output`] and arms one timer with
//! [`Client::poll_timeout`]. [`frame`] and [`wire`] stand between the client and the bytes of strangers.
//!
//! Many clients share one packet socket: a claim has a hardware address of its own ([`Identity`]), or else the
//! transaction identifier ([`Client::awaits`]) tells whom a reply is for. The client itself drops what is not for its
//! present exchange, therefore a wrong delivery does no harm.

mod backoff;
mod client;
mod config;
mod event;
pub mod frame;
mod identity;
mod lease;
mod message;
mod names;
mod options;
mod phase;
mod replies;
mod route;
mod sending;
mod way;
pub mod wire;

pub use client::Client;
pub use config::{ClientConfig, PARAMETERS};
pub use event::{
    Counters, Destination, Input, LostReason, MessageKind, Output, Problem, Rejection, Transmit, Verdict,
};
pub use identity::{Family, Identity, Owner};
pub use lease::Lease;
pub use phase::State;
pub use route::Route;
pub use way::Mode;
