//! Gateways on the loopback interface that answer as they should, and as they should not.
#![cfg(test)]

mod datagrams;
mod double;
mod listening;
mod upnp;
