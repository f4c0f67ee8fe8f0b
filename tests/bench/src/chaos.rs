//! Faults at random for half an hour.

use std::time::{Duration, SystemTime};

use foghorn_lab::{
    Result,
    steps::{say, step},
};
use foghorn_testbed::{Chaos, chaos};

use crate::arena::{NODES, in_arena};

/// For how long, and which.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long faults are made
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// The same faults as in a run that had this seed
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(now);
    let run = Chaos { seed, lasts: Duration::from_secs(60 * arguments.minutes), ..Chaos::default() };
    in_arena(NODES, |plane| {
        step("Services", || {
            plane.scale(run.claims)?;
            plane.whole(run.claims)
        })?;
        let Chaos { overlap, recovery, .. } = run;
        say(&format!(
            "two nodes may answer for {overlap:?}; {recovery:?} after all is healed each address must be served"
        ));
        step(&format!("chaos for {} minutes, seed {seed}", arguments.minutes), || chaos(plane, &run))
            .map(drop)
    })
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}
