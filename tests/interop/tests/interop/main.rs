//! Foghorn and DHCP servers and gateways, for real: needs root, and two minutes if most of the tests run at once.
//! `cargo test -p foghorn-interop --test interop -- --test-threads=16`

mod failures;
mod gateways;
mod identities;
mod leftovers;
mod mappings;
mod options;
mod servers;
