//! When the client acts.
#![cfg(test)]

mod harness;

use std::time::Duration;

use foghorn_clock::Instant;
use foghorn_dhcp::{
    ClientConfig, Destination, Input, LostReason, MessageKind, Output, Problem, State, Verdict,
};
use harness::{ADDRESS, Harness, Reply, SERVER, identity, seconds};

#[test]
fn b20_a_client_starts_at_once_unless_told_to_spread() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    assert_eq!(harness.kinds(), [MessageKind::Discover]);

    let start_jitter = Duration::from_millis(200);
    let waits: Vec<_> = (0..50)
        .map(|seed| {
            let mut harness =
                Harness::with(ClientConfig { start_jitter, ..ClientConfig::new(identity()) }, seed);
            harness.input(Input::Start);
            assert_eq!((harness.kinds(), harness.client.state()), (vec![], State::Init));
            let waited = harness.next_timer();
            assert_eq!(harness.kinds(), [MessageKind::Discover]);
            waited
        })
        .collect();
    assert!(waits.iter().all(|wait| *wait <= start_jitter));
    assert!(waits.iter().max().unwrap().abs_diff(*waits.iter().min().unwrap()) > start_jitter / 2);
}

#[test]
fn b21_discover_is_repeated_after_4_8_16_32_and_64_seconds_for_ever() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    for expected in [4, 8, 16, 32, 64, 64, 64, 64] {
        let waited = harness.next_timer();
        assert!(waited.abs_diff(seconds(expected)) <= seconds(1), "{waited:?} instead of {expected} s");
    }
    assert_eq!(harness.kinds(), [MessageKind::Discover; 9]);
}

#[test]
fn b21_a_request_is_given_up_after_four_and_acquisition_begins_again() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    let first = harness.last_sent();
    harness.answer(&Reply::offer());
    for expected in [4, 8, 16, 32] {
        let waited = harness.next_timer();
        assert!(waited.abs_diff(seconds(expected)) <= seconds(1), "{waited:?} instead of {expected} s");
    }
    use MessageKind::{Discover, Request};
    assert_eq!(harness.kinds(), [Discover, Request, Request, Request, Request, Discover]);
    assert_ne!(harness.last_sent().xid, first.xid);
    let problem = harness.client.problem(harness.now).unwrap();
    assert_eq!(problem, Problem::OfferWithdrawn { address: ADDRESS, server: SERVER, sent: 4 });
}

#[test]
fn b22_confirmation_of_a_bare_memory_gives_up_within_seconds_and_asks_for_the_address() {
    let mut harness = Harness::new();
    let began = harness.now;
    harness.input(Input::Confirm(ADDRESS));
    assert_eq!(harness.client.state(), State::Rebooting);
    while harness.client.state() == State::Rebooting {
        harness.next_timer();
    }
    assert!(harness.now - began <= seconds(6));
    use MessageKind::{Discover, Request};
    assert_eq!(harness.kinds(), [Request, Request, Request, Discover]);
    assert_eq!(harness.last_sent().address(50), Some(ADDRESS));
}

#[test]
fn b23_t1_and_t2_are_a_half_and_seven_eighths_unless_the_server_says_better() {
    // What the server says, and T1 and T2 of a lease of 1000 s.
    let cases: [(Option<u32>, Option<u32>, u64, u64); 12] = [
        (None, None, 500, 875),
        (Some(300), Some(600), 300, 600),
        (Some(300), None, 300, 875),
        (None, Some(900), 500, 900),
        (None, Some(350), 200, 350),
        (Some(900), None, 500, 875),
        (Some(0), Some(0), 500, 875),
        (Some(600), Some(600), 500, 875),
        (Some(700), Some(600), 500, 875),
        (Some(500), Some(1000), 500, 875),
        (Some(500), Some(u32::MAX), 500, 875),
        (Some(1), Some(900), 500, 875),
    ];
    for (given_t1, given_t2, t1, t2) in cases {
        let mut ack = Reply::ack(1000);
        for (code, given) in [(58, given_t1), (59, given_t2)] {
            if let Some(value) = given {
                ack = ack.with(code, &value.to_be_bytes());
            }
        }
        let (renew, rebind) = times(&ack, 1);
        assert!(renew.abs_diff(seconds(t1)) <= seconds(1), "{given_t1:?} {given_t2:?}: T1 {renew:?}");
        assert!(rebind.abs_diff(seconds(t2)) <= seconds(1), "{given_t1:?} {given_t2:?}: T2 {rebind:?}");
    }
}

#[test]
fn b24_t1_and_t2_are_spread_by_a_second_and_keep_their_order() {
    let ack = Reply::ack(100).with(58, &98u32.to_be_bytes()).with(59, &99u32.to_be_bytes());
    let mut renewals: Vec<Duration> = (0..200)
        .map(|seed| {
            let (renew, rebind) = times(&ack, seed);
            assert!(renew < rebind && rebind < seconds(100));
            renew
        })
        .collect();
    renewals.sort();
    assert!(renewals[0] >= seconds(97) && renewals[199] <= seconds(99));
    assert!(renewals[199] - renewals[0] > seconds(1));
}

#[test]
fn b25_a_renewal_is_repeated_after_half_of_the_time_to_t2_with_a_floor_of_a_minute() {
    let mut harness = Harness::bound(8000);
    let lease = harness.lease();
    let mut sent = Vec::new();
    while harness.client.state() != State::Rebinding {
        harness.next_timer();
        sent.push(harness.now);
    }
    assert_eq!(*sent.last().unwrap(), lease.rebind_at);
    for pair in sent.windows(2) {
        let half = (lease.rebind_at - pair[0]) / 2;
        assert_eq!(pair[1], (pair[0] + half.max(seconds(60))).min(lease.rebind_at));
    }
    assert!(sent.len() > 5);
    assert!(harness.transmits()[..sent.len() - 1].iter().all(|t| t.to == Destination::Server(SERVER)));
}

#[test]
fn b25_rebinding_is_repeated_towards_the_end_and_never_past_it() {
    let mut harness = Harness::bound(8000);
    let lease = harness.lease();
    harness.advance(lease.rebind_at - harness.now);
    while harness.client.state() == State::Rebinding {
        let waited = harness.timer();
        assert!(waited >= seconds(60) || harness.now + waited == lease.expires_at);
        harness.next_timer();
    }
    assert_eq!(harness.now, lease.expires_at);
}

#[test]
fn b25_what_a_repeated_renewal_or_rebinding_is_granted_counts_from_that_repetition() {
    for state in [State::Renewing, State::Rebinding] {
        let mut harness = Harness::bound(86_400);
        while harness.client.state() != state {
            harness.next_timer();
        }
        let first = harness.last_sent().xid;
        harness.next_timer();
        assert_eq!(harness.client.state(), state);
        harness.reply(&Reply::ack(3600).xid(first));
        assert_eq!(harness.client.state(), state, "an hour of then is over");
        harness.answer(&Reply::ack(3600));
        assert_eq!(harness.lease().expires_at, harness.now + seconds(3600));
    }
}

#[test]
fn b26_an_infinite_lease_has_no_timers() {
    let harness = Harness::bound(u32::MAX);
    assert_eq!(harness.client.poll_timeout(), None);
    assert_eq!(harness.lease().expires_at, Instant::NEVER);
}

#[test]
fn b26_a_lease_too_short_to_renew_is_taken_for_20_seconds() {
    let harness = Harness::bound(5);
    assert_eq!(harness.lease().expires_at - harness.now, seconds(20));
}

#[test]
fn b26_a_lease_of_a_minute_is_renewed_by_unicast_at_t1_and_goes_on() {
    let mut harness = Harness::bound(60);
    for _ in 0..100 {
        let waited = harness.next_timer();
        assert!(waited.abs_diff(seconds(30)) <= seconds(1));
        assert_eq!(harness.last_sent().to, Destination::Server(SERVER));
        harness.now += Duration::from_millis(5);
        harness.answer(&Reply::ack(60));
        assert_eq!(harness.client.state(), State::Bound);
    }
    assert_eq!(harness.lost(), Vec::<&LostReason>::new());
    assert!(matches!(harness.outputs.last(), Some(Output::Renewed(_))));
}

#[test]
fn b27_the_lease_counts_from_the_first_request_and_not_from_the_ack() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.now += seconds(1);
    harness.answer(&Reply::offer());
    let requested = harness.now;
    harness.next_timer();
    harness.now += seconds(2);
    harness.answer(&Reply::ack(60));
    assert_eq!(harness.lease().bound_at, requested);
    assert_eq!(harness.lease().expires_at, requested + seconds(60));
}

#[test]
fn b27_a_process_stopped_past_the_end_of_the_lease_loses_it_before_anything_else() {
    for stopped in [3600, 3601, 100_000] {
        let mut harness = Harness::bound(3600);
        harness.advance(seconds(stopped));
        assert_eq!(harness.outputs[0], Output::Lost { address: ADDRESS, reason: LostReason::Expired });
        assert_eq!(harness.kinds(), [MessageKind::Discover], "no renewal, no release");
    }
}

#[test]
fn b27_an_ack_that_comes_with_the_end_of_the_lease_is_too_late() {
    let mut harness = Harness::bound(3600);
    harness.next_timer();
    let xid = harness.last_sent().xid;
    harness.now += seconds(3600);
    harness.reply(&Reply::ack(3600).xid(xid));
    assert_eq!(harness.lost(), [&LostReason::Expired]);
    assert_eq!(harness.client.state(), State::Selecting);
}

#[test]
fn b27_a_process_stopped_past_t2_asks_any_server_and_not_the_old_one() {
    let mut harness = Harness::bound(3600);
    harness.advance(seconds(3300));
    assert_eq!(harness.client.state(), State::Rebinding);
    assert_eq!(harness.transmits().len(), 1);
    assert_eq!(harness.last_sent().to, Destination::Broadcast);
}

#[test]
fn b28_the_lease_ends_to_the_second_and_is_acquired_anew() {
    let mut harness = Harness::bound(120);
    let expires_at = harness.lease().expires_at;
    harness.run(seconds(120) - Duration::from_nanos(1));
    assert_eq!(harness.lost(), Vec::<&LostReason>::new());
    harness.run(Duration::from_nanos(1));
    assert_eq!(harness.now, expires_at);
    assert_eq!(harness.lost(), [&LostReason::Expired]);
    assert_eq!(harness.last_sent().option(53), Some([1].as_slice()));
    assert_eq!(harness.last_sent().address(50), Some(ADDRESS));
}

#[test]
fn b31_naks_are_followed_by_waits_that_double_to_a_minute() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
        harness.answer(&Reply::offer());
        harness.answer(&Reply::nak());
        assert_eq!(harness.client.state(), State::Init);
        assert_eq!(harness.next_timer(), seconds(expected));
        assert_eq!(harness.client.state(), State::Selecting);
    }
}

#[test]
fn b35_conflicts_are_followed_by_waits_of_ten_seconds_to_a_minute() {
    let requested_address = Some(ADDRESS);
    let mut harness = Harness::with(ClientConfig { requested_address, ..ClientConfig::new(identity()) }, 1);
    harness.input(Input::Start);
    for expected in [10, 20, 40, 60, 60] {
        harness.answer(&Reply::offer());
        harness.answer(&Reply::ack(3600));
        harness.input(Input::Checked(Verdict::Conflict));
        assert_eq!(harness.next_timer(), seconds(expected));
        assert_eq!(harness.last_sent().address(50), None, "an address in use is not wished for");
    }
}

#[test]
fn silence_is_told_with_its_length() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    assert_eq!(harness.client.problem(harness.now), None);
    harness.run(seconds(14));
    assert_eq!(
        harness.client.problem(harness.now).unwrap().to_string(),
        "no answer from any DHCP server for 14 s (DISCOVERs sent: 3)"
    );
    harness.answer(&Reply::offer());
    harness.answer(&Reply::ack(60));
    harness.input(Input::Checked(Verdict::Clear));
    assert_eq!(harness.client.problem(harness.now), None);
}

#[test]
fn a_silent_renewal_names_the_server() {
    let mut harness = Harness::bound(3600);
    harness.next_timer();
    harness.advance(seconds(5));
    assert_eq!(
        harness.client.problem(harness.now).unwrap().to_string(),
        "no answer from DHCP server 192.0.2.1 for 5 s (REQUESTs sent: 1)"
    );
}

/// T1 and T2 that follow from an ACK.
fn times(ack: &Reply, seed: u64) -> (Duration, Duration) {
    let mut harness = Harness::with(ClientConfig::new(identity()), seed);
    harness.acquire(ack);
    let lease = harness.lease();
    (lease.renew_at - lease.bound_at, lease.rebind_at - lease.bound_at)
}

/// A server sends its reply to an address in use there, where nobody answers for this one.
#[test]
fn an_address_that_is_not_answered_for_is_extended_as_after_a_restart() {
    let mut harness = Harness::bound(3600);
    harness.client.set_answered_for(false);
    for state in [State::Renewing, State::Rebinding] {
        harness.run(seconds(if state == State::Renewing { 1900 } else { 1400 }));
        assert_eq!(harness.client.state(), state);
        let sent = harness.last_sent();
        assert_eq!((sent.to, sent.ciaddr), (Destination::Broadcast, std::net::Ipv4Addr::UNSPECIFIED));
        assert_eq!((sent.address(50), sent.option(54)), (Some(ADDRESS), None));
    }
    let sent = harness.last_sent();
    harness.answer(&Reply::ack(3600).xid(sent.xid));
    assert_eq!(harness.client.state(), State::Bound);
    harness.client.set_answered_for(true);
    harness.run(seconds(1900));
    assert_eq!((harness.last_sent().to, harness.last_sent().ciaddr), (Destination::Server(SERVER), ADDRESS));
}
