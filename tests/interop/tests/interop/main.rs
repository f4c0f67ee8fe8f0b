//! Foghorn and DHCP servers, for real: needs root and two minutes. `cargo test -p foghorn-interop --features root`.

mod failures;
mod identities;
mod options;
mod servers;
