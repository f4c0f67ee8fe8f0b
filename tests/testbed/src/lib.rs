//! Foghorn in a lab, under test: what is done to it, and what clients see of it.
//!
//! - A [`Cluster`] is a lab with the chart installed. Each lab test says what it [`Needs`] of it and gets it by [`run()`], which
//!   cleans up after the test, and when it fails prints what the cluster says and what was seen on the wire.
//! - A [`Crowd`] is a plane whose many addresses are watched from outside: a [`Prober`] makes connections and an
//!   [`Observer`] asks ARP; a [`Fault`] is begun and healed again; [`chaos()`] does that at random.

mod answers;
mod backend;
mod background;
mod chaos;
mod cluster;
mod crowd;
mod fault;
mod frames;
mod garbage;
mod holders;
mod inside;
mod lane;
mod lease;
mod leftover;
mod mark;
mod needs;
mod observer;
mod operator;
mod plane;
mod prober;
mod service;
mod traffic;
mod turn;
mod web;

use std::time::Duration;

pub use answers::{Answers, Mac};
pub use backend::Backend;
pub use chaos::{Chaos, chaos};
pub use cluster::{CHART, Cluster, condition};
pub use crowd::{Claim, Crowd};
pub use fault::{Fault, Ongoing};
pub use foghorn_lab::{Error, Metrics, Result, anonymous, fetch, resident};
pub use frames::{Recorded, claim, record, replay};
pub use garbage::garbage;
pub use holders::{Holders, loads};
pub use lane::Lane;
pub use lease::Lease;
pub use leftover::leave_address;
pub use mark::Mark;
pub use needs::{Needs, disturbs_nodes, reinstalls_the_chart, shares_the_lab};
pub use observer::{Observer, who_answers};
pub use operator::OperatorPod;
pub use plane::{PRIVATE, PUBLIC, Plane};
pub use prober::{Prober, Record};
pub use service::Service;
pub use traffic::{all_probed, probed, served};
pub use turn::run;

/// How long a test waits for what comes within seconds. Whether it passes does not depend on the speed of the machine: what
/// Foghorn takes is measured by the benchmarks.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How long a client may be without an answer in a test, whatever else the machine does.
pub const GAP: Duration = Duration::from_secs(15);
