//! The machine with a gateway, on a clock of its own.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub
)]

mod chance;
mod descriptions;
mod gateway;
mod liars;
mod life;
mod outdated;
mod troubles;
mod world;
