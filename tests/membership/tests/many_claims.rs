//! Planes of many claims: what a burst of them costs, and that all of them arrive.
#![cfg(test)]

use foghorn_clock::Instant;
use foghorn_membership::ClaimId;
use foghorn_membership_check::{Fault, Figures, Weather, World, gathered};

/// More do not fit into one message.
const IN_A_MESSAGE: usize = 4_096;

#[test]
fn a_burst_of_claims_is_assigned_in_one_turn() {
    let (mut world, mut weather) = plane(50);
    let coordinator = world.coordinator().unwrap();
    world.suffer(&Fault::Claims(10_000));
    weather.figures = Figures::default();
    world.pass(&mut weather, 20);
    let tables = weather.figures.tables.get(coordinator).cloned().unwrap_or_default();
    assert_eq!(tables.iter().sum::<usize>(), 10_000);
    assert_eq!(tables.len(), 10_000_usize.div_ceil(IN_A_MESSAGE), "{tables:?}");
}

#[test]
fn a_table_of_many_claims_arrives_whole() {
    let (mut world, mut weather) = plane(3);
    world.suffer(&Fault::Claims(30_000));
    world.pass(&mut weather, 1000);
    expect_all_held(&world);
    let tables = weather.figures.tables.iter().flatten();
    assert!(tables.clone().all(|entries| *entries <= IN_A_MESSAGE), "{:?}", tables.max());

    // Its successor asks for inventories, and one that joins has to be told all.
    let coordinator = world.coordinator().unwrap();
    world.suffer(&Fault::Crash(coordinator, Some(1000)));
    world.pass(&mut weather, 5000);
    expect_all_held(&world);
    assert!(world.is_in_order());
}

fn expect_all_held(world: &World<Instant>) {
    let holders: Vec<usize> =
        world.claims().iter().map(|claim: &ClaimId| world.holders(*claim).len()).collect();
    assert!(holders.iter().all(|holders| *holders == 1));
}

fn plane(nodes: usize) -> (World<Instant>, Weather) {
    let (world, weather) = gathered(nodes);
    assert!(world.is_in_order());
    (world, weather)
}
