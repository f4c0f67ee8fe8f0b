//! Random schedules of faults, in steps of a millisecond.
//!
//! `FOGHORN_MEMBERSHIP_SEED=n` plays the schedules of that number alone and tells what happens in them;
//! `FOGHORN_MEMBERSHIP_SCHEDULES=n` plays more.
#![cfg(test)]

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

#[test]
fn replayed_messages_have_no_effect() {
    play_at_random(Kind::Replayed);
}

fn play_at_random(kind: Kind) {
    let (mut faults, mut writes, mut connected, mut served) = (0, 0, Vec::new(), Vec::new());
    foghorn_simkit::play("FOGHORN_MEMBERSHIP", SCHEDULES, |number, journal| {
        let schedule = Schedule::random(number, kind);
        let played = schedule.play(journal);
        if let Some(breach) = played.breach {
            let fewest = schedule.minimised();
            let other = fewest.play(journal).breach;
            return Err(format!(
                "{breach:?}; the fewest faults that break a promise, {other:?}, are {fewest}"
            ));
        }
        faults += schedule.faults.len();
        writes += played.figures.view_writes;
        connected.push(played.worst.connected);
        served.push(played.worst.served);
        Ok(())
    });
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
