//! A `NetworkPlane` becomes a namespace with announcers.
//!
//! [`acceptance`] judges the spec, [`World`](world::World) is what is seen of the cluster, `children` and `daemonset`
//! say what the plane should have (`keys`: the heartbeat keys in turn; `config` with `nodes`: what announcers are told),
//! `status` with `findings`, `pods` and `view` what is to be said of it, and `controller` does it.

pub mod acceptance;
mod apply;
mod children;
mod config;
mod controller;
mod daemonset;
mod deletion;
mod events;
mod findings;
#[cfg(test)]
pub(crate) mod fixtures;
mod keys;
mod nodes;
mod pods;
mod ports;
mod status;
mod view;
mod world;

pub(crate) use apply::api_of;
pub(crate) use children::owner_of;
pub use config::refused_networks;
pub use controller::run;
pub(crate) use daemonset::wants_datapath;
pub(crate) use deletion::{DATAPATH_SECONDS, delete_namespace};
