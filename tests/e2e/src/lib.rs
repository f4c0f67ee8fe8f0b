//! Foghorn in a real cluster, seen from outside: on the wire and with kubectl.
//!
//! Each test says what it [`Needs`] of its lab. [`run`] gives it the lab with the chart installed, cleans up after it, and
//! when it fails prints what the cluster says and what was seen on the wire.

mod cluster;
mod frames;
mod garbage;
mod holders;
mod inside;
mod lane;
mod leftover;
mod mark;
mod needs;
mod operator;
mod plane;
mod service;
mod traffic;
mod turn;
mod web;

pub use cluster::{CHART, Cluster, condition};
pub use foghorn_lab::{Error, Metrics, Result, anonymous, fetch};
pub use frames::claim;
pub use garbage::garbage;
pub use holders::{Holders, loads};
pub use lane::Lane;
pub use leftover::leave_address;
pub use mark::Mark;
pub use needs::{Needs, disturbs_nodes, reinstalls_the_chart, shares_the_lab};
pub use operator::OperatorPod;
pub use plane::{PRIVATE, PUBLIC, Plane};
pub use service::Service;
pub use traffic::{all_probed, probed, served};
pub use turn::run;
