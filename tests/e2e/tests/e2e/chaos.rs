//! Faults at random.

use std::time::Duration;

use foghorn_testbed::{Chaos, Crowd, Result, chaos, disturbs_nodes, run};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// How long faults are made; `cargo xtask bench chaos` makes them for half an hour.
const LASTS: Duration = Duration::from_secs(60);

#[test]
fn each_address_has_one_holder_that_serves_after_whatever_has_happened() -> Result<()> {
    run(disturbs_nodes().within(155, "a minute of faults, and the plane before and after"), |cluster| {
        let plane = Crowd::make(&cluster.lab, "chaos")?;
        let _backend = plane.serve()?;
        let seed = StdRng::from_os_rng().random();
        println!("seed {seed}");
        let run = Chaos { seed, lasts: LASTS, ..Chaos::default() };
        plane.scale(run.claims)?;
        chaos(&plane, &run)?;
        plane.remove()
    })
}
