//! Random faults against a few members and one API server. What must hold: never two members with a right to act at the
//! same moment, epochs that rise with each tenure, and a holder soon after all is quiet again.
//!
//! Each schedule is a number; a failure names it, and `FOGHORN_SEED=<number>` runs that one alone.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "all numbers are this program's own"
)]

mod world;

use world::{Flaw, World};

const SCHEDULES: u64 = 4000;

#[test]
fn never_do_two_members_hold_at_the_same_moment() {
    let seeds = match std::env::var("FOGHORN_SEED") {
        Ok(seed) => seed.parse().map(|seed| seed..seed + 1).expect("FOGHORN_SEED is a number"),
        Err(_) => 0..SCHEDULES,
    };
    let mut tenures = 0;
    for seed in seeds {
        match World::new(seed, None).run() {
            Ok(count) => tenures += count,
            Err(violation) => panic!("schedule {seed}: {violation}"),
        }
    }
    println!("{tenures} tenures");
    assert!(tenures >= 1);
}

/// How many of the first schedules catch a wrong use of the machine.
fn caught(flaw: Flaw) -> usize {
    (0..300).filter(|seed| World::new(*seed, Some(flaw)).run().is_err()).count()
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
