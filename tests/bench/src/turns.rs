//! How long the heartbeat thread is busy at a time when many claims are told at once. Nodes, network and API server are
//! simulated; the members are the real ones.

use foghorn_lab::{Error, Result};
use foghorn_membership_check::{Fault, Figures, gathered};
use serde_json::{Map, json};

use crate::figures::{self, Case, Figure};

/// Milliseconds until all claims are held.
const ASSIGNING: u64 = 2_000;

/// Of what size.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Members of the plane
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=100))]
    members: u8,
    /// Claims that are told at once
    #[arg(long, value_delimiter = ',', default_values_t = [10_000], value_parser = clap::value_parser!(u16).range(1..=30_000))]
    claims: Vec<u16>,
    /// Print the results as JSON, one object a line that starts with `{`
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut cases = Vec::new();
    for claims in &arguments.claims {
        let case = burst(arguments.members.into(), *claims)?;
        if arguments.json {
            let settings = Map::from_iter([("members".to_owned(), json!(arguments.members))]);
            println!("{}", figures::json("turns", "burst", &settings, &case));
        }
        cases.push(case);
    }
    if !arguments.json {
        println!("{}", figures::table(&cases));
    }
    Ok(())
}

fn burst(members: usize, claims: u16) -> Result<Case> {
    let (mut world, mut weather) = gathered(members);
    let coordinator = world.coordinator().filter(|_| world.is_in_order());
    let coordinator = coordinator.ok_or_else(|| Error::Config("the members do not gather".to_owned()))?;
    weather.figures = Figures::default();
    world.suffer(&Fault::Claims(claims.into()));
    world.pass(&mut weather, ASSIGNING);
    let held = world.claims().iter().filter(|claim| world.holders(**claim).len() == 1).count();
    let all = world.claims().len();
    if held != all {
        return Err(Error::Config(format!("{held} of {all} claims are held by one member")));
    }
    let turns = &weather.figures.longest_turns;
    let others = turns.iter().enumerate().filter(|(node, _)| *node != coordinator).map(|(_, turn)| *turn);
    let tables = weather.figures.tables.get(coordinator).map_or(0, Vec::len);
    Ok(Case {
        claims: claims.into(),
        figures: vec![
            Figure::new(
                "coordinator_ms",
                "the longest turn of the one that assigns",
                turns.get(coordinator).map(|turn| 1e3 * turn),
            ),
            Figure::new(
                "member_ms",
                "the longest turn of any other member",
                others.reduce(f64::max).map(|turn| 1e3 * turn),
            ),
            Figure::new("tables", "messages with assignments that it sent", tables as f64),
        ],
    })
}
