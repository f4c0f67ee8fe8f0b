//! A node that goes on with what another one held, or with what it held itself before its interface went away.

use std::{net::Ipv4Addr, time::Duration};

use foghorn_announcer::engine::{ApiTime, Input};
use foghorn_clock::Instant;
use foghorn_crds::{AddressClaim, ClaimState, IdentityInUse, IdentityMode, TakeoverMode};
use foghorn_l2::ArpFrame;
use foghorn_netio::Link;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use crate::{
    network::{MS, NIC, Network, Port, SECOND, link, node},
    server::{DECLINE, DISCOVER, RELEASE, REQUEST, Server},
};

#[test]
fn the_next_owner_announces_at_once_and_confirms_with_the_same_identity() {
    let (first, address) = bound();
    let mut next = Network::standby();
    take_over(&mut next, first, 5 * SECOND);
    assert_eq!(next.who_has(address), Some(NIC), "before the server was asked anything");
    next.run(SECOND);
    assert_eq!(next.address("web"), Some(address));
    assert_eq!(next.server.received, [(REQUEST, true)], "one REQUEST by INIT-REBOOT");
    assert_eq!(next.server.leases.len(), 1);
    assert_eq!(next.last_report("web").unwrap().status.epoch.as_deref(), Some("1.2.0.7"));
}

#[test]
fn what_was_taken_over_is_told_when_the_others_that_were_too_are_announced_though_it_is_confirmed_before() {
    let (first, _) = bound();
    let mut next = Network::standby();
    take_over(&mut next, first, 5 * SECOND);
    next.run(250 * MS);
    assert_eq!(next.server.received, [(REQUEST, true)]);
    assert!(next.reports.is_empty());
    next.run(100 * MS);
    assert_eq!(next.last_report("web").unwrap().status.state, Some(ClaimState::Bound));
}

#[test]
fn the_next_owner_keeps_an_address_that_a_node_claims() {
    // It was announced, no node could have it for a while, or it was still being checked.
    for (state, keeps) in
        [(ClaimState::Bound, true), (ClaimState::Unassigned, true), (ClaimState::Checking, false)]
    {
        let (mut first, address) = bound();
        let status = first.stored_claim.status.as_mut().unwrap();
        status.state = Some(state);
        status.address = status.address.filter(|_| state == ClaimState::Bound);
        let mut next = Network::standby();
        next.configure(|config| config.refused_networks.push(node("w3", &format!("{address}/32"))));
        take_over(&mut next, first, 5 * SECOND);
        next.run(SECOND);
        let (announced, released) = (next.who_has(address) == Some(NIC), next.server.count(RELEASE));
        assert_eq!((announced, released), (keeps, 0), "{state:?}");
    }
}

#[test]
fn a_lease_that_ran_out_meanwhile_is_asked_for_anew_before_it_is_announced() {
    let (first, address) = bound();
    let mut next = Network::standby();
    take_over(&mut next, first, 4_000 * SECOND);
    assert_eq!(next.who_has(address), None);
    next.run(SECOND);
    assert_eq!(next.address("web"), Some(address), "the server still has the lease for this identity");
}

#[test]
fn a_lease_of_a_dead_owner_is_released_by_the_next_without_being_announced() {
    let (mut first, address) = bound();
    first.stored_claim.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    let mut next = Network::standby();
    take_over(&mut next, first, 5 * SECOND);
    next.run(SECOND);
    assert!(next.server.leases.is_empty());
    assert_eq!(next.last_report("web").unwrap().status.state, Some(ClaimState::Released));
    let arp = next.sent.iter().filter_map(|(_, frame)| ArpFrame::parse(frame).ok());
    assert!(arp.clone().all(|frame| frame.sender_ip != address), "{:?}", arp.collect::<Vec<_>>());
}

#[test]
fn an_interface_that_goes_and_comes_back_is_taken_up_with_the_same_address() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    let address = network.address("web").unwrap();
    network.input(Input::Link(None));
    assert_eq!(network.who_has(address), None);
    let claim = network.stored("web");
    network.put(claim);
    network.input(Input::Link(Some(Box::new(link()))));
    assert_eq!(network.who_has(address), Some(NIC));
}

#[test]
fn an_address_that_was_given_back_for_a_dead_owner_may_go_to_another_claim() {
    let (mut first, address) = bound();
    first.stored_claim.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    let mut next = Network::standby();
    take_over(&mut next, first, 5 * SECOND);
    next.run(SECOND);
    next.claim("other");
    next.run(2 * SECOND);
    assert_eq!(next.address("other"), Some(address), "{:?}", next.reason("other"));
}

#[test]
fn a_lease_that_its_dead_owner_was_still_checking_is_checked_before_it_is_announced() {
    let mut first = Network::standby();
    first.configure(|config| config.announce.max_per_second = 1);
    first.own(1);
    (0..4).for_each(|n| first.claim(&format!("web-{n}")));
    first.run(3 * SECOND);
    let claim = first.stored("web-3");
    let status = claim.status.clone().unwrap();
    assert_eq!((status.state, status.address), (Some(ClaimState::Checking), None));
    let address = status.lease.unwrap().address;

    let mut next = Network::standby();
    next.server = first.server;
    next.now = first.now + 5 * SECOND;
    next.hosts.insert(address, [2, 0, 0, 0, 0, 0x77]);
    next.put(claim);
    next.own(2);
    assert_eq!(next.who_has(address), None);
    next.run(5 * SECOND);
    assert_eq!(next.who_has(address), None);
    assert!(next.server.declined.contains(&address));
    next.run(30 * SECOND);
    assert!(next.address("web-3").is_some_and(|other| other != address));
}

#[test]
fn a_claim_that_is_deleted_while_a_dead_owners_lease_is_checked_gives_that_lease_back() {
    let (mut first, _) = bound();
    first.stored_claim.status.as_mut().unwrap().address = None;
    let mut next = Network::standby();
    take_over(&mut next, first, SECOND);
    next.run(200 * MS);
    next.delete("web");
    next.run(SECOND);
    assert!(next.server.leases.is_empty());
    assert_eq!(next.last_report("web").unwrap().status.state, Some(ClaimState::Released));
}

#[test]
fn b43_a_silent_take_over_tells_the_server_nothing_before_t1() {
    let (first, address) = bound();
    let mut next = Network::standby();
    next.configure(|config| config.dhcp.takeover = TakeoverMode::Silent);
    take_over(&mut next, first, 5 * SECOND);
    assert_eq!(next.who_has(address), Some(NIC));
    next.run(1_700 * SECOND);
    assert_eq!(next.server.received, []);
    next.run(200 * SECOND);
    assert_eq!(next.server.received, [(REQUEST, false)], "the renewal, by unicast");
    assert_eq!(next.who_has(address), Some(NIC));
}

#[test]
fn b43_a_node_whose_clock_is_an_hour_off_takes_over_and_withdraws_by_the_api_servers_time() {
    for off in [-3_600_i64, 3_600] {
        let (first, address) = bound();
        let stored = first.stored_claim;
        let end = first.now + 3_599 * SECOND;
        let mut next = Network::standby();
        next.server.alive = false;
        // Its own clock reads another time than the first node's; what it was told of the API server's is true.
        let shift = |instant: Instant| match off {
            ..0 => instant + Duration::from_secs(off.unsigned_abs()),
            _ => instant + 2 * Duration::from_secs(off.unsigned_abs()),
        };
        next.now = shift(first.now);
        let time = Timestamp::from_second(1_800_000_001).unwrap();
        next.put(stored);
        next.input(Input::ApiTime(ApiTime { at: next.now, time, measured: next.now }));
        next.own_without_time(2);
        assert_eq!(next.who_has(address), Some(NIC), "{off}");
        let left = shift(end) - next.now;
        next.run(left - 2 * SECOND);
        assert_eq!(next.who_has(address), Some(NIC), "{off}: the lease is good to its end");
        next.run(4 * SECOND);
        assert_eq!(next.who_has(address), None, "{off}: and not longer");
    }
}

#[test]
fn b43_without_a_fresh_offset_to_the_api_servers_clock_a_lease_is_confirmed_before_it_is_announced() {
    let (first, address) = bound();
    let mut next = Network::standby();
    next.server = first.server;
    next.server.received.clear();
    next.now = first.now + 5 * SECOND;
    next.put(first.stored_claim);
    let time = Timestamp::from_second(1_800_000_006).unwrap();
    let measured = next.now.saturating_sub(601 * SECOND);
    next.input(Input::ApiTime(ApiTime { at: next.now, time, measured }));
    next.own_without_time(2);
    assert_eq!(next.who_has(address), None);
    next.run(2 * SECOND);
    assert_eq!(next.server.received, [(REQUEST, true)], "INIT-REBOOT");
    assert_eq!(next.who_has(address), Some(NIC));
    assert_eq!(next.server.leases.len(), 1);
}

#[test]
fn b43_what_cannot_be_confirmed_without_an_offset_is_not_announced() {
    let (first, address) = bound();
    let mut next = Network::standby();
    next.server.alive = false;
    next.put(first.stored_claim);
    next.own_without_time(2);
    next.run(100 * SECOND);
    assert_eq!(next.who_has(address), None);
    next.server = first.server;
    next.run(100 * SECOND);
    assert_eq!(next.who_has(address), Some(NIC), "the wish is granted once the server is back");
}

#[test]
fn b39_a_claim_that_is_deleted_is_given_back_also_without_an_offset() {
    let (first, address) = bound();
    let mut next = Network::standby();
    next.server = first.server;
    let mut claim = first.stored_claim;
    claim.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    next.put(claim);
    next.own_without_time(2);
    next.run(SECOND);
    assert_eq!(next.server.count(RELEASE), 1);
    assert_eq!(next.who_has(address), None);
}

#[test]
fn b42_a_lease_outlives_an_interface_that_goes_before_its_status_is_written() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    // The API server has not heard of the address.
    network.input(Input::Link(None));
    network.run(SECOND);
    network.server.received.clear();
    network.input(Input::Link(Some(Box::new(link()))));
    let address = network.address("web").unwrap();
    assert_eq!(network.who_has(address), Some(NIC), "announced at once");
    network.run(SECOND);
    assert_eq!(network.server.received, [(REQUEST, true)], "and confirmed");
    assert_eq!(network.last_report("web").unwrap().status.state, Some(ClaimState::Bound));
}

#[test]
fn b42_another_hardware_address_of_the_interface_changes_neither_chaddr_nor_client_identifier() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    let address = network.address("web").unwrap();
    let identity = network.last_report("web").unwrap().status.identity.clone();
    let nic = [2, 0, 0, 0, 0, 0x99];
    network.input(Input::Link(Some(Box::new(Link { mac: Some(nic), ..link() }))));
    network.run(SECOND);
    assert_eq!(network.who_has(address), Some(nic));
    assert_eq!(network.last_report("web").unwrap().status.identity, identity);
    assert_eq!(network.server.leases.len(), 1);
}

#[test]
fn b36_a_former_holder_that_still_answers_delays_the_probe_and_is_no_conflict() {
    let mut first = Network::new();
    first.claim("web");
    // It dies while it looks whether the address is free.
    first.run(300 * MS);
    first.run(SECOND);
    let mut claim = first.stored("web");
    let status = claim.status.as_mut().unwrap();
    let address = status.address.take().unwrap();
    (status.holder, status.holder_hardware_address) = (Some("w2".into()), Some("02:00:00:00:00:12".into()));
    let mut next = Network::standby();
    next.server = first.server;
    next.hosts.insert(address, [2, 0, 0, 0, 0, 0x12]);
    next.put(claim);
    next.own(2);
    next.run(2 * SECOND);
    assert_eq!((next.server.count(DECLINE), next.who_has(address)), (0, None), "waited for");
    next.hosts.remove(&address);
    next.run(2 * SECOND);
    assert_eq!(next.who_has(address), Some(NIC));
}

#[test]
fn b42_an_address_that_the_renewal_before_replaced_is_not_announced_again() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    let old = network.address("web").unwrap();
    let stored = network.stored("web");
    let client = network.server.leases.keys().next().unwrap().clone();
    let new = Ipv4Addr::new(203, 0, 113, 99);
    network.server.leases.insert(client, new);
    network.run(1_900 * SECOND);
    assert_eq!(network.who_has(new), Some(NIC));
    // The watch has not brought the new status yet.
    network.put(stored);
    network.input(Input::Link(None));
    network.input(Input::Link(Some(Box::new(link()))));
    assert_eq!((network.who_has(old), network.who_has(new)), (None, Some(NIC)));
}

#[test]
fn confirmations_after_a_take_over_keep_to_the_planes_rate() {
    let mut first = Network::new();
    let names: Vec<_> = (0..60).map(|n| format!("web-{n}")).collect();
    names.iter().for_each(|name| first.claim(name));
    first.run(10 * SECOND);
    let mut next = Network::standby();
    next.configure(|config| config.dhcp.max_per_second = 10);
    names.iter().for_each(|name| next.put(first.stored(name)));
    next.server = first.server;
    next.server.received.clear();
    next.own(2);
    next.run(3 * SECOND);
    let early = next.server.count(REQUEST);
    assert!((10..=50).contains(&early), "{early} of 60 within half of the 6 s that they take");
    next.run(3 * SECOND);
    assert_eq!((next.server.count(REQUEST), next.server.count(DISCOVER)), (60, 0));
}

#[test]
fn b20_first_exchanges_keep_to_the_planes_rate_and_the_first_ones_begin_at_once() {
    let mut network = Network::standby();
    network.configure(|config| (config.dhcp.max_per_second, config.dhcp.max_in_flight) = (10, 100));
    network.own(1);
    (0..60).for_each(|n| network.claim(&format!("web-{n}")));
    assert_eq!(network.server.count(DISCOVER), 10);
    network.run(2_500 * MS);
    let begun = network.server.count(DISCOVER);
    assert!((25..=36).contains(&begun), "{begun}");
    network.run(4 * SECOND);
    assert_eq!(network.server.leases.len(), 60);
}

#[test]
fn b39_a_claim_that_is_deleted_while_a_take_over_is_confirmed_is_given_back() {
    let (first, _) = bound();
    let mut next = Network::standby();
    next.server = first.server;
    next.server.alive = false;
    next.put(first.stored_claim.clone());
    next.own_without_time(2);
    next.run(SECOND);
    next.server.alive = true;
    let mut claim = first.stored_claim;
    claim.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    next.put(claim);
    next.run(5 * SECOND);
    assert_eq!(next.server.count(RELEASE), 1);
}

#[test]
fn b42_an_interface_that_comes_back_is_confirmed_also_where_take_overs_are_silent() {
    let mut network = Network::standby();
    network.configure(|config| config.dhcp.takeover = TakeoverMode::Silent);
    network.own(1);
    network.claim("web");
    network.run(SECOND);
    network.server.received.clear();
    network.input(Input::Link(None));
    network.run(SECOND);
    network.input(Input::Link(Some(Box::new(link()))));
    network.run(10 * SECOND);
    assert_eq!(network.server.received, [(REQUEST, true)]);
}

#[test]
fn what_was_found_about_the_network_outlives_a_silent_take_over() {
    let mut first = Network::new();
    first.port = Port::OneAddress;
    first.claim("web");
    first.run(20 * SECOND);
    let mut before = first;
    for view in [2, 3] {
        let mut next = Network::standby();
        next.configure(|config| config.dhcp.takeover = TakeoverMode::Silent);
        next.port = Port::OneAddress;
        next.now = before.now;
        next.put(before.stored("web"));
        next.server = before.server;
        next.own(view);
        next.run(10 * SECOND);
        let mode = next.last_report("web").and_then(|report| report.status.identity.as_ref()?.mode);
        assert_eq!(mode, Some(IdentityInUse::VirtualChaddr));
        before = next;
    }
    assert!(is_held_for(&mut before, 4_000), "the address is lost at the end of its lease");
}

#[test]
fn a_take_over_by_a_port_that_refuses_foreign_frames_keeps_the_lease() {
    let (first, _) = bound();
    let mut next = Network::standby();
    next.port = Port::OneAddress;
    take_over(&mut next, first, 5 * SECOND);
    next.run(SECOND);
    assert!(is_held_for(&mut next, 4_000));
    assert_eq!(next.server.count(DISCOVER), 0);
}

#[test]
fn a_lease_is_gone_on_with_by_the_identity_that_it_was_got_with() {
    let (first, address) = bound();
    let mut next = Network::standby();
    next.configure(|config| config.dhcp.identity = IdentityMode::NodeMac);
    take_over(&mut next, first, 5 * SECOND);
    next.run(5 * SECOND);
    assert_eq!(next.who_has(address), Some(NIC));
    let identity = next.last_report("web").unwrap().status.identity.clone().unwrap();
    assert_eq!(identity.mode, Some(IdentityInUse::VirtualMac));
    assert_ne!(identity.hardware_address, "02:00:00:00:00:11");
}

fn is_held_for(network: &mut Network, seconds: u32) -> bool {
    (0..seconds / 10).all(|_| {
        network.run(10 * SECOND);
        network.address("web").is_some()
    })
}

struct First {
    server: Server,
    stored_claim: AddressClaim,
    now: Instant,
}

/// A node that holds the claim `web`, a second after it began.
fn bound() -> (First, Ipv4Addr) {
    let mut first = Network::new();
    first.claim("web");
    first.run(SECOND);
    let address = first.address("web").unwrap();
    (First { stored_claim: first.stored("web"), now: first.now, server: first.server }, address)
}

fn take_over(next: &mut Network, first: First, later: Duration) {
    next.server = first.server;
    next.server.received.clear();
    next.now = first.now + later;
    next.put(first.stored_claim);
    next.own(2);
}
