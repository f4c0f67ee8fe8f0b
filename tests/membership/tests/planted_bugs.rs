//! Members that break a rule are found out.
#![cfg(test)]

use foghorn_membership::Bug;
use foghorn_membership_check::{Kind, Schedule};

/// So many schedules of each kind are played at most, until one finds the bug.
const SCHEDULES: u64 = 150;

#[test]
fn announcing_without_a_fence_is_found() {
    assert_found(&[Bug::NoFence]);
}

#[test]
fn acknowledgements_that_count_from_their_arrival_are_found() {
    assert_found(&[Bug::ArrivalIsARight]);
}

#[test]
fn a_renewal_that_gives_a_right_is_found() {
    assert_found(&[Bug::RenewalIsARight]);
}

#[test]
fn a_member_that_does_not_give_way_is_found() {
    assert_found(&[Bug::DeafToTaken]);
}

#[test]
fn a_stale_table_is_found() {
    assert_found(&[Bug::StaleTable]);
}

#[test]
fn judging_others_after_being_away_is_found() {
    assert_found(&[Bug::NeverLate]);
}

#[test]
fn a_second_vote_is_found() {
    assert_found(&[Bug::DoubleVote]);
}

fn assert_found(bugs: &[Bug]) {
    let found = (0..SCHEDULES).find_map(|seed| {
        [Kind::Exact, Kind::Lossy, Kind::Late].into_iter().find_map(|kind| {
            let schedule = Schedule::random(seed, kind).with(bugs);
            Some((schedule.play(false).breach?, seed, kind))
        })
    });
    let (breach, seed, kind) = found.unwrap_or_else(|| panic!("{bugs:?} is not found"));
    println!("{bugs:?} is found by schedule {seed}, {kind:?}: {breach:?}");
}
