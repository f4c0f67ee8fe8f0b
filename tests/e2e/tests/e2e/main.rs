//! The lab tests. Each declares what it needs of its lab; `cargo xtask test` runs them.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod address;
mod budget;
mod chaos;
mod chart;
mod deletion;
mod dhcp;
mod docs;
mod failover;
mod heartbeats;
mod host_address;
mod many;
mod operations;
mod overrides;
mod placement;
mod planes;
mod policy;
mod port_forwarding;
mod restart;
mod return_path;
mod uninstall;
mod wire;
