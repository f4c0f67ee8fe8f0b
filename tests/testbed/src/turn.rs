//! The turn of one test in a lab.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Mutex, MutexGuard, PoisonError},
};

use foghorn_lab::{Lab, LabName, Result, Wire, topology::Network};
use foghorn_schedule::DECLARE;

use crate::{Cluster, Lane, Needs};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs a test on the lab that `FOGHORN_LAB` names, with the chart installed and no Service of the test's own there.
/// With `FOGHORN_LANE` the lab is shared: the test has that lane's plane and namespaces and leaves all others alone. If
/// [`DECLARE`] is set, the test's declaration is printed instead.
///
/// # Errors
/// What the test gives, after the state of the cluster and the frames on both networks were printed.
pub fn run<F: FnOnce(&Cluster) -> Result<()>>(needs: Needs, test: F) -> Result<()> {
    if env::var_os(DECLARE).is_some() {
        println!("{}", needs.declared_by::<F>().line());
        return Ok(());
    }
    let _turn: MutexGuard<'_, ()> = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::new(Lab::open(&LabName::from_environment()?)?, Lane::of_this_process());
    cluster.make_ready()?;
    let before = cluster.namespace_names()?;
    let switch = cluster.lab.switch();
    let watch = |network: Network| Wire::start(&switch, network.bridge(), "arp or port 67 or port 68");
    let wires = [watch(Network::Private)?, watch(Network::Public)?];
    let ended = catch_unwind(AssertUnwindSafe(|| test(&cluster)));
    if !matches!(ended, Ok(Ok(()))) {
        cluster.tell_logs();
        for (wire, network) in wires.iter().zip(["private", "public"]) {
            let lines = wire.lines();
            println!("--- the last frames on the {network} network");
            lines.iter().skip(lines.len().saturating_sub(60)).for_each(|line| println!("{line}"));
        }
        cluster.tell_state();
    }
    let cleaned = cluster.clean();
    match ended {
        Ok(ended) => ended.and(cleaned).and_then(|()| cluster.check_left(&before))?,
        Err(panic) => resume_unwind(panic),
    }
    cluster.end_turn()
}
