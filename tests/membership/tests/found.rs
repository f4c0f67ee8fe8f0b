//! Faults that the random schedules and the model checker once found to break a promise.
#![cfg(test)]

use foghorn_clock::Instant;
use foghorn_membership::ClaimId;
use foghorn_membership_check::{Away, Climate, Fault, Hand, Schedule, Weather, World};
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

#[test]
fn an_earlier_lease_that_is_put_back_is_answered_once() {
    let faults = vec![(5000, Fault::Lease(Hand::PutsBack)), (9000, Fault::Crash(2, None))];
    let played = keeps_promises(3, faults);
    assert_eq!(played.view_writes - joins(3), 2, "the view again, and the view without the lost member");
}

#[test]
fn a_hand_that_puts_the_lease_back_again_and_again_is_answered_seldom() {
    let meddled = (5000..15_000).step_by(100).map(|at| (at, Fault::Lease(Hand::PutsBack)));
    let played = keeps_promises(3, meddled.collect());
    assert!(played.view_writes - joins(3) <= 7, "{played:?}");
}

#[test]
fn a_claim_that_nobody_serves_is_kept_and_moves_to_its_endpoint() {
    let claim = ClaimId(1);
    let on = |node| Fault::Endpoint(claim, node);
    let faults = vec![
        (5000, on(Some(2))),
        (7000, on(None)),
        (9000, Fault::Crash(2, Some(100))),
        (12_000, on(Some(1))),
        (14_000, Fault::Crash(1, None)),
    ];
    keeps_promises(3, faults);
}

/// Node 1, the only member, does not know that the Lease is gone until it renews it; node 0 does not hear it.
#[test]
fn a_deleted_lease_is_not_taken_from_a_member_that_is_not_heard() {
    let faults = vec![
        (4000, Fault::WatchLags(1, 6000)),
        (5000, Fault::Crash(0, Some(10))),
        (7600, Fault::Isolate(0, false, 2500)),
        (9300, Fault::Lease(Hand::Deletes)),
    ];
    keeps_promises(2, faults);
}

/// Node 1 does not hear of the view that node 0 has written, and that is lost with the Lease.
#[test]
fn no_view_has_the_epoch_of_one_that_was_lost() {
    for at in (5000..6000).step_by(50) {
        keeps_promises(2, vec![(5000, Fault::Cut(0, 1, None, 600)), (at, Fault::Lease(Hand::PutsBack))]);
        keeps_promises(2, vec![(5000, Fault::Cut(0, 1, None, 600)), (at, Fault::Lease(Hand::Restores))]);
    }
}

/// It is held by one that does not know that.
#[test]
fn a_deleted_claim_is_taken_from_a_holder_without_api_server() {
    for node in [0, 1] {
        let mut world = World::<Instant>::new(Schedule::plane(3));
        let mut weather = Weather::new(0, Climate::FAIR);
        let mut pass = |world: &mut World<Instant>, milliseconds: u64| {
            world.pass(&mut weather, milliseconds);
        };
        pass(&mut world, 4000);
        let claim = ClaimId(1);
        world.suffer(&Fault::Endpoint(claim, Some(node)));
        pass(&mut world, 1000);
        assert_eq!(world.announcers(claim), [node]);
        world.suffer(&Fault::NoApi(node, Away::Refuses, 20_000));
        pass(&mut world, 3000);
        world.suffer(&Fault::Delete(claim));
        pass(&mut world, 1500);
        assert_eq!(world.holders(claim), [0; 0], "node {node}");
        assert!(world.claims().iter().all(|claim| world.holders(*claim).len() == 1));
    }
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
