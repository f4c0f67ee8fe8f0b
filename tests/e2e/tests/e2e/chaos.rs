//! Faults at random.

use std::time::Duration;

use foghorn_e2e::{Result, disturbs_nodes, run};
use foghorn_testbed::{Chaos, Plane, chaos};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// How long faults are made.
const LASTS: Duration = Duration::from_secs(120);

#[test]
fn each_address_has_one_holder_that_serves_after_whatever_has_happened() -> Result<()> {
    run(disturbs_nodes(), |cluster| {
        let plane = Plane::make(&cluster.lab, "chaos")?;
        let _backend = plane.serve()?;
        let seed = StdRng::from_os_rng().random();
        println!("seed {seed}");
        let run = Chaos { seed, lasts: LASTS, ..Chaos::default() };
        plane.scale(run.claims)?;
        chaos(&plane, &run)?;
        plane.remove()
    })
}
