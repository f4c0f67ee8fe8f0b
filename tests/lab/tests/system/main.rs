//! Parts of the lab on a real system, and what they leave alone: needs root and seconds. `cargo test -p foghorn-lab --features root`.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says by a panic what failed")]

mod cgroups;
mod packages;
mod strangers;

use foghorn_lab::LabName;

/// The name of a lab that no other test has.
fn lab_name(test: &str) -> LabName {
    format!("{test}-{}", std::process::id()).parse().unwrap()
}
