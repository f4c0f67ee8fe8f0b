//! The engine of one node on a network that answers.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

mod announcing;
mod claims;
mod grants;
mod identity;
mod moments;
mod network;
mod ping;
mod server;
mod takeover;
mod wire;
