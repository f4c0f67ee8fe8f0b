//! Faults that the random schedules and the model checker once found to break a promise.
#![cfg(test)]

use foghorn_membership_check::{Away, Fault, Hand, Schedule};
use foghorn_simkit::Journal;

#[test]
fn of_two_lives_of_a_node_the_later_one_is_let_in_and_the_earlier_one_never_again() {
    let played = keeps_promises(3, vec![(5000, Fault::Crash(2, Some(10)))]);
    assert_eq!(played.view_writes - joins(3), 1);
}

#[test]
fn a_coordinator_that_was_stopped_assigns_nothing_when_it_goes_on() {
    let faults = vec![(5000, Fault::Stop(0, 3000)), (5100, Fault::Rebalance)];
    keeps_promises(3, faults);
}

#[test]
fn the_last_member_writes_its_view_again_although_it_was_away_when_the_lease_was_restored() {
    let faults = vec![
        (5000, Fault::Crash(1, None)),
        (7000, Fault::Stop(0, 400)),
        (7200, Fault::Lease(Hand::Restores)),
    ];
    keeps_promises(2, faults);
}

#[test]
fn a_coordinator_that_leaves_is_not_let_in_again_and_its_successor_finds_no_foreign_hand() {
    let faults = vec![(4000, Fault::Rebalance), (6000, Fault::Leave(0, None))];
    let played = keeps_promises(3, faults);
    assert_eq!(played.view_writes - joins(3), 1);
}

#[test]
fn a_coordinator_that_gave_up_its_claims_while_it_could_not_assign_assigns_them_later() {
    let faults = vec![
        (5000, Fault::ApiDown(Away::Refuses, 5000)),
        (6000, Fault::Crash(1, Some(3000))),
        (7000, Fault::Cable(0, 1000)),
    ];
    keeps_promises(2, faults);
}

/// The silence timers start again when it goes on; that is no sign of life of those whom it does not hear.
#[test]
fn a_member_that_is_cut_off_and_then_stopped_for_a_moment_stays_silent() {
    let faults =
        vec![(4000, Fault::Rebalance), (5000, Fault::Isolate(1, true, 3000)), (5750, Fault::Stop(1, 400))];
    keeps_promises(3, faults);
}

#[test]
fn a_member_that_is_cut_off_stays_silent_although_old_messages_arrive_once_more() {
    let faults = vec![
        (4000, Fault::Rebalance),
        (5000, Fault::Twice(2, 500, 102)),
        (5100, Fault::Isolate(1, true, 3000)),
    ];
    keeps_promises(3, faults);
}

/// Views that are written until all members are in.
fn joins(members: u64) -> u64 {
    members
}

fn keeps_promises(nodes: usize, faults: Vec<(u64, Fault)>) -> foghorn_membership_check::Figures {
    let schedule = Schedule::of(nodes, faults);
    let played = schedule.play(&Journal::default());
    assert_eq!(played.breach, None, "{schedule}");
    played.figures
}
