//! A real Kubernetes cluster in network namespaces.
//!
//! [`Lab::up`] makes a control plane, nodes with two networks each, a DHCP server, a gateway and a client on each network,
//! and an "internet" host; [`Lab::down`] leaves nothing of it behind. Every host is a network namespace `fhlab-<lab>-<host>` and a
//! cgroup, every node a mount namespace as well, all state is below [`state_dir`]. [`topology`] has the names and addresses.

mod api;
mod audit;
mod cgroup;
mod clean;
mod command;
mod control_plane;
mod cut;
mod daemon;
mod dhcp;
mod error;
mod fault;
pub mod foghorn;
mod gateway;
mod host;
mod http;
mod images;
mod jobs;
mod lab;
mod lab_dir;
pub mod miniupnpd;
mod name;
mod namespace;
mod network;
mod node;
mod packages;
mod pki;
mod poll;
pub mod prepare;
mod probe;
mod process;
mod programs;
mod progress;
mod slow_api;
mod status;
pub mod steps;
mod throttle;
pub mod topology;
pub mod upnp;
mod wide;
mod wire;

pub use audit::ApiWrite;
pub use cgroup::Cgroup;
pub use clean::leftovers;
pub use daemon::Daemon;
pub use dhcp::{DhcpConfig, DhcpServer, Lease};
pub use error::{Error, Result};
pub use gateway::Gateway;
pub use host::Host;
pub use http::{Metrics, fetch};
pub use images::{
    Architecture, Binary, IMAGE_VALUES, Image, build_image, build_images, build_lab_images, build_test_images,
};
pub use lab::{Config, Lab};
pub use lab_dir::{labs, state_dir};
pub use miniupnpd::{EXTERNAL_ADDRESS, Forwards};
pub use name::LabName;
pub use node::ProxyMode;
pub use packages::{Apt, Need, install, install_missing as install_missing_packages, without_services};
pub use poll::until;
pub use probe::{Probe, ProbeReport};
pub use process::{anonymous, cpu_time, resident};
pub use programs::Programs;
pub use progress::Progress;
pub use slow_api::SlowApi;
pub use status::{DaemonStatus, HostStatus};
pub use throttle::Throttle;
pub use wire::Wire;
