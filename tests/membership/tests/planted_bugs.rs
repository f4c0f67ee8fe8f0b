//! Members that break a rule are found out.
#![cfg(test)]

use foghorn_membership::Bug;
use foghorn_membership_check::{Fault, Kind, Schedule};

/// So many schedules of each kind are played at most, until one finds the bug.
const SCHEDULES: u64 = 150;

#[test]
fn announcing_without_a_fence_is_found() {
    let faults = [(4000, Fault::Rebalance), (5000, Fault::Isolate(2, true, 3000))];
    assert_found_by(&faults, &[], Bug::NoFence);
}

#[test]
fn acknowledgements_that_count_from_their_arrival_are_found() {
    let faults =
        [(4000, Fault::Rebalance), (5000, Fault::Stop(2, 500)), (5200, Fault::Isolate(2, true, 3000))];
    assert_found_by(&faults, &[], Bug::ArrivalIsARight);
}

#[test]
fn a_renewal_that_gives_a_right_is_found() {
    assert_found_by(&[(5000, Fault::Stop(0, 1000))], &[], Bug::RenewalIsARight);
}

/// A member that takes a claim by an older right hears at once that another has a later one; so nobody listens to that
/// here. The first changes of the table arrive once more, and at one of two members only.
#[test]
fn a_stale_table_is_found_where_nobody_hears_of_later_rights() {
    let faults = [
        (5000, Fault::Twice(0, 200, 20)),
        (5000, Fault::Cut(0, 2, None, 20)),
        (5000, Fault::Rebalance),
        (5100, Fault::Cordon(1, 3000)),
        (5195, Fault::Cut(0, 2, None, 20)),
    ];
    assert_found_by(&faults, &[Bug::DeafToTaken], Bug::StaleTable);
}

#[test]
fn a_member_that_does_not_give_way_is_found() {
    assert_found_at_random(Bug::DeafToTaken);
}

#[test]
fn a_second_vote_is_found() {
    assert_found_at_random(Bug::DoubleVote);
}

/// The faults break a promise with the bug, and none without it.
fn assert_found_by(faults: &[(u64, Fault)], others: &[Bug], bug: Bug) {
    let play = |bugs: &[Bug]| Schedule::of(3, faults.to_vec()).with(bugs).play(false).breach;
    assert_eq!(play(others), None);
    let breach = play(&[others, &[bug]].concat());
    println!("{bug:?} is found: {breach:?}");
    assert!(breach.is_some(), "{bug:?} is not found");
}

fn assert_found_at_random(bug: Bug) {
    let found = (0..SCHEDULES).find_map(|seed| {
        [Kind::Exact, Kind::Lossy, Kind::Late].into_iter().find_map(|kind| {
            let schedule = Schedule::random(seed, kind).with(&[bug]);
            Some((schedule.play(false).breach?, seed, kind))
        })
    });
    let (breach, seed, kind) = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
    println!("{bug:?} is found by schedule {seed}, {kind:?}: {breach:?}");
}
