//! Random schedules of faults, in steps of a millisecond.
//!
//! `FOGHORN_MEMBERSHIP_SEED=n` plays the schedules of that number alone and tells what happens in them;
//! `FOGHORN_MEMBERSHIP_SCHEDULES=n` plays more.
#![cfg(test)]

use std::env;

use foghorn_membership_check::{Kind, Schedule};

/// Schedules of each kind.
const SCHEDULES: u64 = 150;

#[test]
fn exact_networks_keep_their_promises_whatever_goes_wrong() {
    play_at_random(Kind::Exact);
}

#[test]
fn networks_that_lose_messages_keep_their_promises_whatever_goes_wrong() {
    play_at_random(Kind::Lossy);
}

#[test]
fn networks_and_members_that_are_late_keep_their_promises_whatever_goes_wrong() {
    play_at_random(Kind::Late);
}

#[test]
fn a_lease_that_others_change_is_made_good() {
    play_at_random(Kind::Meddled);
}

fn play_at_random(kind: Kind) {
    let variable = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = variable("FOGHORN_MEMBERSHIP_SEED");
    let count = variable("FOGHORN_MEMBERSHIP_SCHEDULES").unwrap_or(SCHEDULES);
    let seeds = seed.map_or(0..count, |seed| seed..seed + 1);
    let (mut faults, mut writes, mut connected, mut served) = (0, 0, Vec::new(), Vec::new());
    for number in seeds {
        let schedule = Schedule::random(number, kind);
        let played = schedule.play(seed.is_some());
        if let Some(breach) = played.breach {
            let fewest = schedule.minimised();
            let other = fewest.play(seed.is_some()).breach;
            panic!(
                "FOGHORN_MEMBERSHIP_SEED={number} breaks a promise: {breach:?}\n\
                 the fewest faults that break one, {other:?}, are {fewest}"
            );
        }
        faults += schedule.faults.len();
        writes += played.figures.view_writes;
        connected.push(played.worst.connected);
        served.push(played.worst.served);
    }
    connected.sort_unstable();
    served.sort_unstable();
    println!(
        "{kind:?}: {} schedules, {faults} faults, {writes} views written; \
         two announced for at most {} ms while they heard each other (in the median schedule {} ms), \
         for at most {} ms while the API server answered them",
        connected.len(),
        connected.last().unwrap_or(&0),
        connected.get(connected.len() / 2).unwrap_or(&0),
        served.last().unwrap_or(&0),
    );
}
