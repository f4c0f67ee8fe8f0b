//! Members that break a rule are found out.
#![cfg(test)]

use foghorn_membership::Bug;
use foghorn_membership_check::{Away, Breach, Fault, Kind, Schedule};
use foghorn_simkit::Journal;

/// So many schedules of each kind are played at most, until one finds the bug.
const SCHEDULES: u64 = 150;

#[test]
fn announcing_without_a_fence_is_found() {
    let faults = [(4000, Fault::Rebalance), (5000, Fault::Isolate(2, true, 3000))];
    assert_found_by(&faults, Bug::NoFence);
}

#[test]
fn acknowledgements_that_count_from_their_arrival_are_found() {
    let faults =
        [(4000, Fault::Rebalance), (5000, Fault::Stop(2, 500)), (5200, Fault::Isolate(2, true, 3000))];
    assert_found_by(&faults, Bug::ArrivalIsARight);
}

#[test]
fn a_renewal_that_gives_a_right_is_found() {
    assert_found_by(&[(5000, Fault::Stop(0, 1000))], Bug::RenewalIsARight);
}

/// A member that takes a claim by an older right hears at once that another has a later one; so this one does not listen
/// to that.
#[test]
fn a_stale_table_is_found() {
    let faults = [(5000, Fault::Twice(0, 200, 20)), (5000, Fault::Rebalance), (5100, Fault::Cordon(1, 3000))];
    let deaf = (1, Bug::DeafToTaken);
    assert_eq!(breach(&faults, &[deaf]), None);
    assert!(breach(&faults, &[deaf, (1, Bug::StaleTable)]).is_some());
}

#[test]
fn a_member_that_does_not_give_way_is_found() {
    assert_found_at_random(Bug::DeafToTaken);
}

#[test]
fn a_second_vote_is_found() {
    assert_found_at_random(Bug::DoubleVote);
}

/// The coordinator is in its second life, and has never heard the first one of node 1, whose third it hears now.
#[test]
fn a_ghost_that_joins_is_found() {
    let mut faults: Vec<_> = [(4000, 1), (5500, 2), (7000, 0), (8500, 1)]
        .map(|(at, node)| (at, Fault::Crash(node, Some(500))))
        .into();
    faults.extend([(11_000, Fault::Rebalance), (26_000, Fault::Replay(1, 25_000, 2900))]);
    assert_found_by(&faults, Bug::GhostJoins);
}

/// Nodes 1 and 2 do not hear each other, and ask at about the same time for a view of the same epoch without the one that is
/// lost. Node 3 agrees with the one, node 4 with the other, and both hear both.
#[test]
fn a_ghost_that_votes_is_found() {
    let cuts = [(1, 2), (2, 1), (2, 3), (3, 2)].map(|(from, to)| (5000, Fault::Cut(from, to, None, 8000)));
    let found = (300..1000).step_by(20).find_map(|stopped| {
        let lost = [Fault::ApiDown(Away::Refuses, 8000), Fault::Crash(0, None), Fault::Stop(1, stopped)];
        let mut faults = [&cuts[..], &lost.map(|fault| (5100, fault))].concat();
        faults.extend(
            (5700..6700).step_by(50).flat_map(|at| [3, 4].map(|node| (at, Fault::Replay(node, 100, 100)))),
        );
        let play = |bugs: &[(usize, Bug)]| {
            Schedule::of(5, faults.clone()).with(bugs).play(&Journal::default()).breach
        };
        assert_eq!(play(&[]), None, "{stopped}");
        play(&[1, 2].map(|node| (node, Bug::GhostVotes))).map(|breach| (stopped, breach))
    });
    println!("{:?} is found: {found:?}", Bug::GhostVotes);
    assert!(found.is_some(), "{:?} is not found", Bug::GhostVotes);
}

/// The faults break a promise with the bug, and none without it.
fn assert_found_by(faults: &[(u64, Fault)], bug: Bug) {
    assert_eq!(breach(faults, &[]), None);
    let found = breach(faults, &[0, 1, 2].map(|node| (node, bug)));
    println!("{bug:?} is found: {found:?}");
    assert!(found.is_some(), "{bug:?} is not found");
}

fn breach(faults: &[(u64, Fault)], bugs: &[(usize, Bug)]) -> Option<Breach> {
    Schedule::of(3, faults.to_vec()).with(bugs).play(&Journal::default()).breach
}

fn assert_found_at_random(bug: Bug) {
    let found = (0..SCHEDULES).find_map(|seed| {
        [Kind::Exact, Kind::Lossy, Kind::Late].into_iter().find_map(|kind| {
            let schedule = Schedule::random(seed, kind);
            let bugs: Vec<_> = (0..schedule.nodes()).map(|node| (node, bug)).collect();
            let schedule = schedule.with(&bugs);
            Some((schedule.play(&Journal::default()).breach?, seed, kind))
        })
    });
    let (breach, seed, kind) = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
    println!("{bug:?} is found by schedule {seed}, {kind:?}: {breach:?}");
}
