//! Weeks of lease life, in seconds.
//!
//! `FOGHORN_SIM_SEED=n` plays the schedules of that number alone and tells what happens in them;
//! `FOGHORN_SIM_SCHEDULES=n` plays more.
#![cfg(test)]

use std::time::{Duration, Instant};

use foghorn_sim::{Figures, Schedule, World};
use foghorn_simkit::Journal;

const MINUTE: u32 = 60;
const HOUR: u32 = 3600;
const DAY: u32 = 86_400;
const INFINITE: u32 = u32::MAX;

#[test]
fn leases_of_a_minute_keep_their_promises_whatever_goes_wrong() {
    play_at_random(MINUTE, 10);
}

#[test]
fn leases_of_an_hour_keep_their_promises_whatever_goes_wrong() {
    play_at_random(HOUR, 100);
}

#[test]
fn leases_of_a_day_keep_their_promises_whatever_goes_wrong() {
    play_at_random(DAY, 60);
}

#[test]
fn leases_without_end_keep_their_promises_whatever_goes_wrong() {
    play_at_random(INFINITE, 60);
}

#[test]
fn a_calm_network_sees_one_message_at_each_t1_and_is_never_without_an_address() {
    for lease_time in [MINUTE, HOUR, DAY] {
        let days = 14 * lease_time / DAY.min(lease_time * 7);
        let lasting = Duration::from_secs(u64::from(days * DAY));
        let figures = World::play(Schedule::calm(1, lease_time, lasting), Journal::default());
        let renewals = days * DAY / (lease_time / 2);
        assert!(figures.sent <= 6 * u64::from(2 + renewals + renewals / 20), "{figures}");
        assert_eq!(
            figures.expired + figures.refused + figures.otherwise_lost + figures.doubles,
            0,
            "{figures}"
        );
        assert!(figures.longest_gap < Duration::from_secs(2), "{figures}");
    }
}

#[test]
fn the_same_number_plays_the_same_schedule() {
    let play = || World::play(Schedule::random(7, HOUR), Journal::default());
    assert_eq!(play(), play());
}

/// Plays many schedules, sums up, and bounds what one client sends: a DISCOVER and four REQUESTs each minute, the most
/// that loss and servers that do not keep their offers bring about, and two REQUESTs (at T1 and T2) for each renewal.
fn play_at_random(lease_time: u32, schedules: u64) {
    let started = Instant::now();
    let mut sum = Figures::default();
    let play = |seed, journal: &Journal| {
        sum += World::play(Schedule::random(seed, lease_time), journal.clone());
        Ok(())
    };
    foghorn_simkit::play("FOGHORN_SIM", schedules, play);
    println!("lease time  {}  seconds", Figures::HEADING);
    println!("{lease_time:>10}  {sum}  {:>7.2}", started.elapsed().as_secs_f32());
    let most = 5 * DAY / MINUTE + 2 * DAY / (lease_time / 2);
    assert!(sum.most_in_a_day <= most, "{} messages of a client in a day: {most} allowed", sum.most_in_a_day);
}
