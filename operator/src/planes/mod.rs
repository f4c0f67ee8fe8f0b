//! A `NetworkPlane` becomes a namespace with announcers.
//!
//! [`acceptance`] judges the spec, [`World`](world::World) is what is seen of the cluster, `children` and `daemonset`
//! say what the plane should have, `status` what is to be said of it, and `controller` does it.

pub mod acceptance;
mod apply;
mod children;
mod config;
mod controller;
mod daemonset;
mod deletion;
mod events;
#[cfg(test)]
pub(crate) mod fixtures;
mod ports;
mod status;
mod world;

pub(crate) use apply::api_of;
pub use config::refused_networks;
pub use controller::run;
