//! From state to state, and what the caller is told.
#![cfg(test)]

mod harness;

use foghorn_clock::Instant;
use foghorn_dhcp::{
    Destination, Input, Lease, LostReason, MessageKind, Output, Problem, State, Verdict, wire,
};
use harness::{ADDRESS, Harness, OTHER_ADDRESS, OTHER_SERVER, Reply, SERVER, seconds};

#[test]
fn an_address_is_acquired_checked_and_bound() {
    let mut harness = Harness::new();
    assert_eq!((harness.client.state(), harness.client.poll_timeout()), (State::Init, None));
    harness.input(Input::Start);
    assert_eq!(harness.client.state(), State::Selecting);
    harness.answer(&Reply::offer());
    assert_eq!(harness.client.state(), State::Requesting);
    harness.answer(&Reply::ack(3600));
    assert_eq!(harness.client.state(), State::Checking);
    assert!(!harness.client.exchange_in_flight());
    let lease = harness.lease();
    assert_eq!(harness.outputs.last(), Some(&Output::Check(lease.clone())));
    harness.input(Input::Checked(Verdict::Clear));
    assert_eq!(harness.client.state(), State::Bound);
    assert_eq!(harness.outputs.last(), Some(&Output::Bound(lease)));
    let counters = harness.client.counters();
    use MessageKind::{Ack, Discover, Offer, Request};
    assert_eq!(counters.sent, [(Discover, 1), (Request, 1)].into());
    assert_eq!(counters.received, [(Offer, 1), (Ack, 1)].into());
    assert_eq!(counters.ignored, 0);
}

#[test]
fn b29_a_nak_in_requesting_starts_again_at_init_with_a_new_xid() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    let xid = harness.last_sent().xid;
    harness.answer(&Reply::offer());
    harness.answer(&Reply::nak());
    assert_eq!(harness.client.state(), State::Init);
    assert_eq!(harness.lost(), Vec::<&LostReason>::new(), "nothing was in use");
    let problem = harness.client.problem(harness.now).unwrap().to_string();
    assert_eq!(problem, "DHCP server refused 192.0.2.100: lease not found");
    harness.next_timer();
    assert_ne!(harness.last_sent().xid, xid);
}

#[test]
fn b29_a_nak_to_a_renewal_rebinding_or_confirmation_ends_the_use_at_once() {
    let cases = [(State::Renewing, Some(1802)), (State::Rebinding, Some(3300)), (State::Rebooting, None)];
    for (state, after) in cases {
        let mut harness = Harness::bound(3600);
        match after {
            Some(after) => harness.advance(seconds(after)),
            None => harness.input(Input::LinkUp),
        }
        assert_eq!(harness.client.state(), state);
        harness.answer(&Reply::nak());
        assert_eq!(harness.lost(), [&LostReason::Nak { message: Some("lease not found".to_owned()) }]);
        assert_eq!(harness.client.state(), State::Init);
        assert!(harness.next_timer() <= seconds(1));
        assert_eq!(harness.client.state(), State::Selecting);
        assert_eq!(harness.last_sent().address(50), Some(ADDRESS), "the same address, if it can be had");
    }
}

#[test]
fn b29_a_nak_in_bound_selecting_or_init_is_ignored() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    let xid = harness.last_sent().xid;
    harness.answer(&Reply::nak());
    assert_eq!(harness.client.state(), State::Selecting);
    harness.answer(&Reply::offer());
    harness.answer(&Reply::nak());
    harness.reply(&Reply::nak().xid(xid));
    assert_eq!(harness.client.counters().received[&MessageKind::Nak], 1, "the second one finds it in INIT");
    harness.next_timer();
    harness.answer(&Reply::offer());
    harness.answer(&Reply::ack(60));
    harness.input(Input::Checked(Verdict::Clear));
    harness.reply(&Reply::nak().xid(xid));
    assert_eq!(harness.client.state(), State::Bound);
}

#[test]
fn b30_a_nak_from_another_server_counts_only_past_t2() {
    let foreign = Reply::nak().from(OTHER_SERVER);
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.answer(&Reply::offer());
    harness.answer(&foreign);
    harness.answer(&Reply::nak().without(54));
    assert_eq!(harness.client.state(), State::Requesting);

    let mut harness = Harness::bound(3600);
    harness.input(Input::LinkUp);
    harness.answer(&foreign);
    assert_eq!(harness.client.state(), State::Rebooting, "a lease in use has a known server");
    harness.advance(seconds(1810));
    harness.run(seconds(10));
    assert_eq!(harness.client.state(), State::Renewing);
    harness.answer(&foreign);
    assert_eq!(harness.client.state(), State::Renewing);
    harness.advance(seconds(1500));
    assert_eq!(harness.client.state(), State::Rebinding);
    harness.answer(&foreign);
    assert_eq!(harness.client.state(), State::Init);
}

#[test]
fn b30_a_nak_from_any_server_ends_a_bare_memory() {
    let mut harness = Harness::new();
    harness.input(Input::Confirm(ADDRESS));
    harness.answer(&Reply::nak().from(OTHER_SERVER));
    assert_eq!(harness.client.state(), State::Init);
    let expected = Problem::Nak { address: ADDRESS, message: Some("lease not found".to_owned()) };
    assert_eq!(harness.client.problem(harness.now), Some(expected));
}

#[test]
fn b32_another_address_at_renewal_withdraws_the_old_one_and_is_checked_first() {
    let mut harness = Harness::bound(3600);
    harness.next_timer();
    assert_eq!(harness.client.state(), State::Renewing);
    harness.answer(&Reply::ack(3600).address(OTHER_ADDRESS));
    let lost = Output::Lost { address: ADDRESS, reason: LostReason::Replaced(OTHER_ADDRESS) };
    let lease = harness.lease();
    assert_eq!(harness.outputs[1..], [lost, Output::Check(lease.clone())]);
    assert_eq!((lease.address, lease.bound_at), (OTHER_ADDRESS, harness.now));
    harness.input(Input::Checked(Verdict::Clear));
    assert_eq!(harness.outputs.last(), Some(&Output::Bound(lease)));
}

#[test]
fn b32_another_address_from_another_server_at_rebinding_is_checked_first_too() {
    let mut harness = Harness::bound(3600);
    harness.advance(seconds(3300));
    assert_eq!(harness.client.state(), State::Rebinding);
    harness.answer(&Reply::ack(600).address(OTHER_ADDRESS).from(OTHER_SERVER));
    assert_eq!(harness.lost(), [&LostReason::Replaced(OTHER_ADDRESS)]);
    assert_eq!(harness.client.state(), State::Checking);
    harness.input(Input::Checked(Verdict::Clear));
    let lease = harness.lease();
    assert_eq!((lease.address, lease.server_id), (OTHER_ADDRESS, OTHER_SERVER));
}

#[test]
fn b33_the_server_that_answers_a_rebinding_is_the_server_from_then_on() {
    let mut harness = Harness::bound(3600);
    harness.advance(seconds(3300));
    harness.answer(&Reply::ack(3600).from(OTHER_SERVER));
    assert_eq!(harness.outputs.last(), Some(&Output::Renewed(harness.lease())));
    harness.next_timer();
    assert_eq!(harness.last_sent().to, Destination::Server(OTHER_SERVER));
}

#[test]
fn b35_a_conflict_while_checking_is_declined_and_named() {
    let mut harness = checking();
    harness.input(Input::Checked(Verdict::Conflict));
    assert_eq!(harness.kinds().last(), Some(&MessageKind::Decline));
    assert_eq!(harness.client.state(), State::Init);
    assert_eq!(
        harness.client.problem(harness.now),
        Some(Problem::Conflict { address: ADDRESS, server: SERVER })
    );
}

#[test]
fn a_refused_address_is_given_back_and_named() {
    let mut harness = checking();
    harness.input(Input::Checked(Verdict::Refused));
    let release = harness.last_sent();
    assert_eq!((release.option(53), release.to), (Some([7].as_slice()), Destination::Server(SERVER)));
    assert_eq!(
        harness.client.problem(harness.now).unwrap().to_string(),
        "DHCP server 192.0.2.1 leased 192.0.2.100, which may not be used here; given back"
    );
    assert_eq!(harness.next_timer(), seconds(10));
    assert_eq!(harness.client.state(), State::Selecting);
}

#[test]
fn an_address_in_use_that_is_refused_later_is_withdrawn_and_given_back() {
    let mut harness = Harness::bound(3600);
    harness.input(Input::Refused);
    assert_eq!(harness.lost(), [&LostReason::Refused]);
    let release = harness.last_sent();
    assert_eq!((release.option(53), release.to), (Some([7].as_slice()), Destination::Server(SERVER)));
    assert_eq!(harness.next_timer(), seconds(10));
    assert_eq!(harness.client.state(), State::Selecting);
}

#[test]
fn b36_an_address_in_use_is_withdrawn_but_never_declined() {
    let mut harness = Harness::bound(3600);
    harness.input(Input::Conflict);
    assert_eq!(harness.lost(), [&LostReason::Conflict]);
    assert_eq!(harness.kinds(), []);
    assert_eq!(harness.next_timer(), seconds(1), "if the server gives it again, that one is declined");
    assert_eq!(harness.kinds(), [MessageKind::Discover]);
}

#[test]
fn b39_neither_links_nor_conflicts_nor_the_end_of_a_lease_release_it() {
    let mut harness = Harness::bound(3600);
    harness.input(Input::LinkUp);
    harness.run(seconds(2_000));
    harness.input(Input::Conflict);
    harness.run(seconds(100_000));
    assert!(!harness.kinds().contains(&MessageKind::Release));
}

#[test]
fn b39_a_client_without_lease_ends_without_a_message() {
    for start in [false, true] {
        let mut harness = Harness::new();
        if start {
            harness.input(Input::Start);
        }
        harness.outputs.clear();
        harness.input(Input::Release);
        assert_eq!(harness.outputs, [Output::Released]);
        assert_eq!((harness.client.state(), harness.client.poll_timeout()), (State::Released, None));
        harness.input(Input::Release);
        assert_eq!(harness.outputs, [Output::Released], "once");
    }
}

#[test]
fn b39_an_address_whose_ack_is_on_its_way_is_given_back_too() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.answer(&Reply::offer());
    harness.input(Input::Release);
    assert_eq!(harness.kinds().last(), Some(&MessageKind::Release));
}

#[test]
fn b39_an_expired_lease_is_not_released() {
    let mut harness = Harness::bound(60);
    harness.now += seconds(61);
    harness.input(Input::Release);
    assert_eq!(harness.lost(), [&LostReason::Expired]);
    assert_eq!(harness.kinds(), []);
    assert_eq!(harness.outputs.last(), Some(&Output::Released));
}

#[test]
fn b40_a_renewal_goes_to_the_server_identifier_exactly() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    for reply in [Reply::offer(), Reply::ack(60)] {
        let mut octets = reply.from(OTHER_SERVER).xid(harness.last_sent().xid).octets();
        // `siaddr` and `giaddr` name other hosts.
        octets[20..24].copy_from_slice(&[192, 0, 2, 21]);
        octets[24..28].copy_from_slice(&[192, 0, 2, 22]);
        let reply = wire::parse(&octets).unwrap();
        harness.input(Input::Reply(&reply));
    }
    harness.input(Input::Checked(Verdict::Clear));
    harness.next_timer();
    assert_eq!(harness.last_sent().to, Destination::Server(OTHER_SERVER));
}

#[test]
fn b42_a_link_that_comes_up_confirms_the_lease_without_interrupting_it() {
    let mut harness = Harness::bound(3600);
    harness.input(Input::LinkUp);
    assert_eq!(harness.client.state(), State::Rebooting);
    harness.answer(&Reply::ack(3600));
    assert_eq!(harness.client.state(), State::Bound);
    assert!(matches!(harness.outputs[..], [Output::Transmit(_), Output::Renewed(_)]));
}

#[test]
fn b42_a_link_that_comes_up_begins_an_unanswered_acquisition_again() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.run(seconds(100));
    harness.outputs.clear();
    harness.input(Input::LinkUp);
    assert_eq!(harness.kinds(), [MessageKind::Discover]);
    assert_eq!(harness.last_sent().secs, 0);
}

#[test]
fn b43_a_lease_taken_over_is_in_use_at_once_and_confirmed_in_the_background() {
    let mut harness = Harness::new();
    let lease = remembered(&harness, 3600);
    harness.input(Input::Resume(lease.clone()));
    assert_eq!(harness.outputs[0], Output::Bound(lease));
    let request = harness.last_sent();
    assert_eq!((request.address(50), request.address(54)), (Some(ADDRESS), None));
    harness.answer(&Reply::ack(3600));
    assert_eq!(harness.client.state(), State::Bound);
    assert_eq!(harness.lease().expires_at, harness.now + seconds(3600));
}

#[test]
fn b43_silence_after_a_take_over_leaves_the_lease_to_its_own_times() {
    let mut harness = Harness::new();
    let lease = remembered(&harness, 3600);
    harness.input(Input::Resume(lease.clone()));
    harness.run(seconds(10));
    assert_eq!((harness.client.state(), harness.lease()), (State::Bound, lease.clone()));
    assert_eq!(harness.kinds(), [MessageKind::Request; 3]);
    assert_eq!(harness.client.poll_timeout().unwrap().0, lease.renew_at);
    harness.run(lease.expires_at - harness.now);
    assert_eq!(harness.lost(), [&LostReason::Expired]);
}

#[test]
fn b43_a_lease_taken_over_past_t1_or_t2_goes_on_where_it_is() {
    for (left, state) in [(1000, State::Renewing), (100, State::Rebinding)] {
        let mut harness = Harness::new();
        let lease = remembered(&harness, left);
        harness.input(Input::Resume(lease));
        harness.run(seconds(10));
        assert_eq!(harness.client.state(), state);
    }
}

#[test]
fn b43_a_lease_that_ends_during_its_confirmation_is_lost_then() {
    let mut harness = Harness::new();
    let lease = remembered(&harness, 2);
    harness.input(Input::Resume(lease));
    harness.run(seconds(2));
    assert_eq!(harness.lost(), [&LostReason::Expired]);
}

#[test]
fn b43_an_expired_lease_is_acquired_anew_with_its_address_as_wish() {
    let mut harness = Harness::new();
    let lease = remembered(&harness, 0);
    harness.input(Input::Resume(lease));
    assert_eq!(harness.kinds(), [MessageKind::Discover]);
    assert_eq!(harness.outputs.len(), 1);
    assert_eq!(harness.last_sent().address(50), Some(ADDRESS));
}

#[test]
fn b43_a_memory_without_time_is_checked_before_use() {
    let mut harness = Harness::new();
    harness.input(Input::Confirm(ADDRESS));
    harness.answer(&Reply::ack(3600));
    assert_eq!(harness.outputs.last(), Some(&Output::Check(harness.lease())));
}

#[test]
fn a_recorded_lease_with_times_in_disorder_is_put_in_order() {
    let mut harness = Harness::new();
    let lease = Lease { renew_at: Instant::NEVER, rebind_at: Instant::NEVER, ..remembered(&harness, 100) };
    harness.input(Input::Resume(lease));
    let lease = harness.lease();
    assert_eq!((lease.renew_at, lease.rebind_at), (lease.expires_at, lease.expires_at));
}

#[test]
fn a_lease_that_ends_while_it_is_checked_is_lost() {
    let mut harness = checking();
    harness.advance(seconds(3600));
    assert_eq!(harness.lost(), [&LostReason::Expired]);
    harness.outputs.clear();
    harness.input(Input::Checked(Verdict::Clear));
    assert_eq!(harness.outputs, [], "a late verdict means nothing");
}

#[test]
fn a_good_renewal_ends_the_trouble_of_a_bad_one() {
    let mut harness = Harness::bound(3600);
    harness.next_timer();
    harness.answer(&Reply::ack(3600).without(51));
    let problem = harness.client.problem(harness.now).unwrap().to_string();
    assert_eq!(problem, "unusable ACK from DHCP server 192.0.2.1: it has no lease time (51)");
    harness.answer(&Reply::ack(3600));
    assert_eq!(harness.client.problem(harness.now), None);
}

#[test]
fn a_client_that_ended_may_start_again() {
    let mut harness = Harness::bound(3600);
    harness.input(Input::Release);
    harness.acquire(&Reply::ack(60));
}

fn checking() -> Harness {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.answer(&Reply::offer());
    harness.answer(&Reply::ack(3600));
    harness
}

/// A lease of an hour with `left` seconds left, as a node that takes over reads it.
fn remembered(harness: &Harness, left: u64) -> Lease {
    let expires_at = harness.now + seconds(left);
    Lease {
        address: ADDRESS,
        server_id: SERVER,
        subnet_mask: None,
        routers: vec![],
        routes: Vec::new(),
        bound_at: expires_at.saturating_sub(seconds(3600)),
        renew_at: expires_at.saturating_sub(seconds(1800)),
        rebind_at: expires_at.saturating_sub(seconds(450)),
        expires_at,
    }
}
