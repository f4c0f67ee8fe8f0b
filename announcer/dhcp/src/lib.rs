//! DHCPv4 client state machine, without sockets or clock.
//!
//! One [`Client`] holds one lease. It is told the time and what happened ([`Input`]), and says what to do
//! ([`Output`]); after each call the caller drains the outputs with [`Client::poll_output`] and arms one timer with
//! [`Client::poll_timeout`]. [`frame`] and [`wire`] stand between the client and the bytes of strangers.
//!
//! Many clients share one packet socket: every claim has a hardware address of its own ([`Identity`]), so a map from
//! [`Reply::hardware_address`] to the client delivers a reply. The client itself drops what is not for its present
//! exchange, therefore a wrong delivery does no harm.
//!
//! [`Reply::hardware_address`]: wire::Reply::hardware_address

mod backoff;
mod client;
mod config;
mod event;
pub mod frame;
mod hostname;
mod identity;
mod lease;
mod message;
mod options;
mod phase;
mod replies;
pub mod wire;

pub use client::Client;
pub use config::ClientConfig;
pub use event::{Counters, Destination, Input, LostReason, MessageKind, Output, Problem, Transmit, Verdict};
pub use identity::{Family, Identity, Owner};
pub use lease::Lease;
pub use phase::State;
