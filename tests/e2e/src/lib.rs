//! Foghorn in a real cluster, seen from outside: on the wire and with kubectl.
//!
//! All tests share one lab with the chart installed; [`run`] gives it to one test at a time, cleans up after each, and
//! when one fails prints what the cluster says and what was seen on the wire.

mod cluster;
mod frames;
mod garbage;
mod holders;
mod inside;
mod leftover;
mod mark;
mod operator;
mod plane;
mod service;
mod traffic;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Mutex, MutexGuard, PoisonError},
};

pub use cluster::{CHART, Cluster, condition};
pub use foghorn_lab::{Error, Metrics, Result, fetch, resident};
use foghorn_lab::{Lab, LabName, Wire, topology::Network};
pub use frames::claim;
pub use garbage::garbage;
pub use holders::{Holders, loads};
pub use leftover::leave_address;
pub use mark::Mark;
pub use operator::OperatorPod;
pub use plane::{PRIVATE, PUBLIC, Plane};
pub use service::Service;
pub use traffic::{all_probed, probed, served};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs a test on the lab that `FOGHORN_LAB` names, with the chart installed and no Service there.
///
/// # Errors
/// What the test gives, after the state of the cluster and the frames on both networks were printed.
pub fn run(test: impl FnOnce(&Cluster) -> Result<()>) -> Result<()> {
    let _turn: MutexGuard<'_, ()> = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::new(Lab::open(&LabName::from_environment()?)?);
    // Nothing is cleaned without an operator.
    cluster.heal()?;
    cluster.install()?;
    cluster.clean()?;
    let switch = cluster.lab.switch();
    let watch = |network: Network| Wire::start(&switch, network.bridge(), "arp or port 67 or port 68");
    let wires = [watch(Network::Private)?, watch(Network::Public)?];
    let ended = catch_unwind(AssertUnwindSafe(|| test(&cluster)));
    if !matches!(ended, Ok(Ok(()))) {
        cluster.tell_logs();
        for (wire, network) in wires.iter().zip(["private", "public"]) {
            let lines = wire.lines();
            println!("--- the last frames on the {network} network");
            lines.iter().skip(lines.len().saturating_sub(40)).for_each(|line| println!("{line}"));
        }
        cluster.tell_state();
    }
    let cleaned = cluster.clean();
    match ended {
        Ok(ended) => ended.and(cleaned),
        Err(panic) => resume_unwind(panic),
    }
}
