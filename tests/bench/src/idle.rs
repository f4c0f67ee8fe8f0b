//! What it takes only to have the addresses: processor time and memory of each announcer, and writes to the API server.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use foghorn_lab::{
    ApiWrite, Lab, Result, cpu_time, resident,
    steps::{say, step},
};
use foghorn_testbed::Crowd;
use jiff::Timestamp;
use serde_json::{Map, json};

use crate::{
    arena::in_arena,
    figures::{self, Case, Figure, median},
};

/// Announcements are repeated, statuses are written.
const SETTLE: Duration = Duration::from_secs(30);
/// The plane's announcements in a second: the first ones are not what is measured.
const ANNOUNCEMENTS: u32 = 10_000;

/// Of what size, and for how long.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Nodes, each with an announcer
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=20))]
    nodes: u8,
    /// Claims on the plane
    #[arg(long, value_delimiter = ',', default_values_t = [1000], value_parser = clap::value_parser!(u16).range(1..=4000))]
    claims: Vec<u16>,
    /// For how many seconds it is measured
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Print the results as JSON, one object a line that starts with `{`
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    in_arena(arguments.nodes, |plane| {
        plane.announce_at(ANNOUNCEMENTS)?;
        let mut sizes = arguments.claims.clone();
        sizes.sort_unstable();
        for claims in sizes {
            let heading = format!("{claims} claims on {} nodes", arguments.nodes);
            let case = step(&heading, || hold(plane, claims.into(), Duration::from_secs(arguments.seconds)))?;
            if arguments.json {
                let settings = Map::from_iter([("nodes".to_owned(), json!(arguments.nodes))]);
                say(&figures::json("idle", "held", &settings, &case));
            } else {
                say(&figures::table(&[case]));
            }
        }
        Ok(())
    })
}

fn hold(plane: &Crowd, claims: usize, lasts: Duration) -> Result<Case> {
    plane.scale(claims)?;
    plane.whole(claims)?;
    sleep(SETTLE);
    let announcers = announcers(&plane.lab, &plane.name)?;
    let used = || announcers.iter().map(|pid| cpu_time(*pid)).collect::<Result<Vec<_>>>();
    let (before, since, began) = (used()?, Timestamp::now(), Instant::now());
    sleep(lasts);
    let (after, seconds) = (used()?, began.elapsed().as_secs_f64());
    let writes = plane.lab.api_writes(&plane.namespace(), since)?;
    let memory = announcers.iter().map(|pid| Ok(resident(*pid)? as f64 / 1e6)).collect::<Result<Vec<_>>>()?;
    let shares: Vec<f64> = after
        .iter()
        .zip(&before)
        .map(|(after, before)| 100.0 * after.saturating_sub(*before).as_secs_f64() / seconds)
        .collect();
    let most = |figures: &[f64]| figures.iter().copied().reduce(f64::max);
    let per_second = |resource: &str| {
        let is_meant = |write: &&ApiWrite| write.resource.starts_with(resource);
        writes.iter().filter(is_meant).count() as f64 / seconds
    };
    Ok(Case {
        claims,
        figures: vec![
            Figure::new(
                "cpu_percent",
                "median: an announcer's processor time, of one core",
                median(shares.clone()),
            ),
            Figure::new(
                "cpu_worst_percent",
                "the same of the busiest, which is the coordinator",
                most(&shares),
            ),
            Figure::new("rss_mb", "median: an announcer's resident memory", median(memory.clone())),
            Figure::new("rss_worst_mb", "the same of the largest", most(&memory)),
            Figure::new("lease_writes_per_s", "writes of the plane's Lease", per_second("leases")),
            Figure::new(
                "claim_writes_per_s",
                "writes of claims, one for each DHCP renewal",
                per_second("addressclaims"),
            ),
        ],
    })
}

/// The process of each node's announcer.
fn announcers(lab: &Lab, plane: &str) -> Result<Vec<i32>> {
    let of_node = |node: &foghorn_lab::Host| lab.announcer_pids(plane, node.name());
    let pids = lab.nodes().iter().map(of_node).collect::<Result<Vec<_>>>()?;
    Ok(pids.into_iter().flatten().collect())
}
