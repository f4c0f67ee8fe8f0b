//! Random faults against a few members and one API server. What must hold: never two members with a right to act at the
//! same moment, epochs that rise with each tenure, and a holder soon after all is quiet again.
//!
//! Each schedule is a number; a failure names it, and `FOGHORN_ELECTION_SEED=<number>` plays that one alone and prints what
//! happens; `FOGHORN_ELECTION_SCHEDULES=<number>` plays more.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "all numbers are this program's own"
)]

mod world;

use foghorn_simkit::Journal;
use world::{Flaw, World};

const SCHEDULES: u64 = 4000;

#[test]
fn never_do_two_members_hold_at_the_same_moment() {
    let play = |seed, journal: &Journal| World::new(seed, None, journal.clone()).run();
    let tenures: usize = foghorn_simkit::play("FOGHORN_ELECTION", SCHEDULES, play).iter().sum();
    println!("{tenures} tenures");
    assert!(tenures >= 1);
}

/// How many of the first schedules catch a wrong use of the machine.
fn caught(flaw: Flaw) -> usize {
    (0..300).filter(|seed| World::new(*seed, Some(flaw), Journal::default()).run().is_err()).count()
}

#[test]
fn a_right_that_lasts_until_an_event_is_caught() {
    assert!(caught(Flaw::UntilEvent) > 0);
}

#[test]
fn a_right_that_runs_from_the_arrival_of_the_answer_for_the_lease_duration_is_caught() {
    assert!(caught(Flaw::FromArrival) > 0);
}

#[test]
fn an_api_server_that_ignores_preconditions_is_caught() {
    assert!(caught(Flaw::NoPreconditions) > 0);
}

#[test]
fn a_clock_that_runs_at_half_its_rate_is_caught() {
    assert!(caught(Flaw::SlowClock) > 0);
}
