//! The engine of one node on a network that answers.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

mod announcing;
mod claims;
mod endpoints;
mod grants;
mod identity;
mod moments;
mod network;
mod node_mac;
mod ping;
mod proxy;
mod server;
mod strangers;
mod takeover;
mod wire;
