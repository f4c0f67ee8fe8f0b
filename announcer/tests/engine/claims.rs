//! Claims from their first DISCOVER to their release.

use std::net::Ipv4Addr;

use crate::{
    network::{self, MS, NIC, NODE, Network, ROUTER, SECOND, link, node},
    server::{DISCOVER, RELEASE, REQUEST, SERVER},
};
use foghorn_announcer::engine::Input;
use foghorn_crds::{ClaimState, ProbeMode, RefusedNetwork, conditions::reasons};
use foghorn_l2::ArpFrame;
use rand::{Rng, SeedableRng, rngs::StdRng};

#[test]
fn a_claim_gets_an_address_from_the_server_and_this_node_answers_for_it() {
    let mut network = Network::new();
    network.claim("web");
    network.run(600 * MS);
    let address = network.address("web").expect("an address within 0.6 s");
    assert_eq!(network.who_has(address), Some(NIC));
    let status = &network.last_report("web").unwrap().status;
    assert_eq!(status.state, Some(ClaimState::Bound));
    assert_eq!(status.holder.as_deref(), Some("w1"));
    let lease = status.lease.as_ref().unwrap();
    assert_eq!(
        (lease.server, lease.prefix_length, lease.routers.as_slice()),
        (SERVER, Some(24), &[ROUTER][..])
    );
    assert_eq!(network.server.leases.len(), 1);
    assert!(network.joined.is_empty(), "nothing is received for the claim once no exchange is in flight");
}

#[test]
fn an_address_is_not_answered_for_while_it_is_checked() {
    let mut network = Network::new();
    network.claim("web");
    network.run(300 * MS);
    let address = *network.server.leases.values().next().unwrap();
    assert_eq!(network.who_has(address), None);
}

#[test]
fn a_node_without_ownership_says_nothing_at_all() {
    let mut network = Network::standby();
    network.claim("web");
    network.run(60 * SECOND);
    assert!(network.sent.is_empty());
    assert!(network.reports.is_empty());
}

#[test]
fn b39_a_node_that_loses_ownership_falls_silent_and_releases_nothing() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    let address = network.address("web").unwrap();
    network.lose();
    let sent = network.sent.len();
    assert_eq!(network.who_has(address), None);
    network.delete("web");
    network.run(10_000 * SECOND);
    assert_eq!(network.sent.len(), sent);
    assert_eq!(network.server.count(RELEASE), 0);
}

#[test]
fn a_deleted_claim_is_silent_before_its_lease_goes_back_by_unicast() {
    let mut network = Network::new();
    network.claim("web");
    network.claim("other");
    network.run(SECOND);
    let (address, other) = (network.address("web").unwrap(), network.address("other").unwrap());
    let before = network.sent.len();
    network.delete("web");
    assert_eq!(network.who_has(address), None);
    network.run(SECOND);
    assert_eq!(network.server.received.last(), Some(&(RELEASE, false)));
    assert_eq!(network.last_report("web").unwrap().status.state, Some(ClaimState::Released));
    let arp = network.sent[before..].iter().filter_map(|(_, frame)| ArpFrame::parse(frame).ok());
    assert!(arp.clone().all(|frame| frame.sender_ip != address), "{:?}", arp.collect::<Vec<_>>());
    assert_eq!(network.who_has(other), Some(NIC));
}

#[test]
fn a_claim_that_is_made_again_after_its_release_gets_an_address_again() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    network.delete("web");
    network.run(SECOND);
    network.input(Input::ClaimGone("default.web.ipv4"));
    network.reports.clear();
    network.claim("web");
    network.run(SECOND);
    assert!(network.address("web").is_some());
}

#[test]
fn a_claim_whose_finalizer_others_took_off_is_released_all_the_same() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    network.input(Input::ClaimGone("default.web.ipv4"));
    network.run(SECOND);
    assert_eq!(network.server.count(RELEASE), 1);
    assert!(network.server.leases.is_empty());
}

#[test]
fn without_a_server_the_claim_says_so_and_gets_its_address_when_the_server_is_back() {
    let mut network = Network::new();
    network.server.alive = false;
    network.claim("web");
    network.run(10 * SECOND);
    let (reason, message) = network.reason("web");
    assert_eq!(reason, reasons::NO_DHCP_ANSWER);
    assert!(message.starts_with("no answer from any DHCP server"), "{message}");
    network.server.alive = true;
    network.run(70 * SECOND);
    assert!(network.address("web").is_some());
}

#[test]
fn a_server_that_answers_late_is_told_of_once_and_the_address_next() {
    let mut network = Network::new();
    network.server.alive = false;
    network.claim("web");
    network.run(6 * SECOND);
    assert_eq!(network.reason("web").0, reasons::NO_DHCP_ANSWER);
    let told = network.reports.len();
    network.server.alive = true;
    network.run(30 * SECOND);
    let reasons: Vec<_> =
        network.reports[told..].iter().map(|report| report.status.conditions[0].reason.as_str()).collect();
    assert_eq!(reasons, [reasons::ANNOUNCED]);
}

#[test]
fn where_neither_way_is_answered_the_message_names_what_is_left() {
    let mut network = Network::new();
    network.server.alive = false;
    network.claim("web");
    network.run(6 * SECOND);
    let message = network.reason("web").1;
    assert!(!message.contains("NodeMac"), "told at the first silence: {message}");
    network.run(1_000 * SECOND);
    let message = network.reason("web").1;
    assert!(message.contains("dhcp.identity NodeMac"), "{message}");
    assert!(network.reports.len() <= 3, "{}", network.reports.len());
}

#[test]
fn addresses_of_nodes_router_and_server_are_refused_by_name_and_others_are_not_delayed() {
    let bad = [
        (NODE, "an address of node w1"),
        (Ipv4Addr::new(203, 0, 113, 12), "belongs to node w2"),
        (ROUTER, "router"),
        (Ipv4Addr::new(203, 0, 113, 255), "broadcast"),
    ];
    for (address, why) in bad {
        let mut network = Network::new();
        network.server.pool.insert(0, address);
        network.claim("bad");
        network.claim("good");
        network.run(SECOND);
        let (reason, message) = network.reason("bad");
        assert_eq!(reason, reasons::ADDRESS_REFUSED);
        assert!(message.contains(why), "{message}");
        assert_eq!(network.address("bad"), None);
        assert!(network.address("good").is_some());
    }
}

#[test]
fn an_address_in_use_is_declined_and_another_one_is_taken() {
    let mut network = Network::new();
    let taken = network.server.pool[0];
    network.hosts.insert(taken, [2, 0, 0, 0, 0, 0x77]);
    network.claim("web");
    network.run(5 * SECOND);
    let (reason, message) = network.reason("web");
    assert_eq!(reason, reasons::ADDRESS_CONFLICT);
    assert!(message.contains("02:00:00:00:00:77"), "{message}");
    network.run(30 * SECOND);
    let address = network.address("web").expect("another address");
    assert_ne!(address, taken);
    assert!(network.server.declined.contains(&taken));
}

#[test]
fn b35_a_conflict_seen_by_rfc_5227_probing_is_declined() {
    let mut network = Network::standby();
    network.configure(|config| config.announce.probe = ProbeMode::Rfc5227);
    network.own(1);
    let taken = network.server.pool[0];
    network.hosts.insert(taken, [2, 0, 0, 0, 0, 0x77]);
    network.claim("web");
    network.run(5 * SECOND);
    assert!(network.server.declined.contains(&taken));
    network.run(8 * SECOND);
    assert_eq!(network.address("web"), None, "the next one is still being looked at");
    network.run(12 * SECOND);
    let address = network.address("web").unwrap();
    assert!(address != taken && network.who_has(address) == Some(NIC));
}

#[test]
fn a_server_that_does_not_know_the_lease_any_more_gives_a_new_address() {
    let mut network = Network::new();
    network.server.lease_time = 120;
    network.claim("web");
    network.run(SECOND);
    let old = network.address("web").unwrap();
    network.server.leases.clear();
    network.server.pool.remove(0);
    network.run(120 * SECOND);
    let new = network.address("web").unwrap();
    assert_ne!(new, old);
    assert_eq!(network.who_has(old), None);
    assert_eq!(network.who_has(new), Some(NIC));
}

#[test]
fn a_short_lease_is_renewed_by_unicast_for_as_long_as_it_is_held() {
    let mut network = Network::new();
    network.server.lease_time = 60;
    network.claim("web");
    network.run(SECOND);
    let address = network.address("web").unwrap();
    network.server.received.clear();
    network.run(300 * SECOND);
    assert_eq!(network.who_has(address), Some(NIC));
    assert!(network.server.received.len() >= 8, "{:?}", network.server.received);
    assert!(network.server.received.iter().all(|message| *message == (REQUEST, false)));
    assert!(network.joined.is_empty());
}

#[test]
fn b28_at_the_end_of_the_lease_the_address_is_withdrawn_to_the_second() {
    let mut network = Network::new();
    network.server.lease_time = 60;
    network.claim("web");
    network.run(SECOND);
    let address = network.address("web").unwrap();
    network.server.alive = false;
    network.run(58 * SECOND);
    assert_eq!(network.who_has(address), Some(NIC));
    network.run(2 * SECOND);
    assert_eq!(network.who_has(address), None);
    assert_eq!(network.address("web"), None);
    assert_eq!(network.reason("web").0, reasons::LEASE_EXPIRED);
}

#[test]
fn a_hundred_claims_get_a_hundred_addresses_within_their_pace() {
    let mut network = Network::new();
    (0..100).for_each(|n| network.claim(&format!("web-{n}")));
    network.run(10 * SECOND);
    let addresses: std::collections::BTreeSet<_> =
        (0..100).filter_map(|n| network.address(&format!("web-{n}"))).collect();
    assert_eq!(addresses.len(), 100);
    assert_eq!(network.server.count(DISCOVER), 100);
}

#[test]
fn a_new_configuration_takes_an_address_away_that_it_forbids() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    let address = network.address("web").unwrap();
    network.configure(|config| config.allowed_subnets = vec!["198.51.100.0/24".parse().unwrap()]);
    assert_eq!(network.who_has(address), None);
    network.run(SECOND);
    assert_eq!(network.address("web"), None);
    let (reason, message) = network.reason("web");
    assert_eq!(reason, reasons::ADDRESS_REFUSED);
    assert!(message.contains("in none of the plane's allowedSubnets"), "{message}");
    assert_eq!(network.server.received.last(), Some(&(RELEASE, false)));
}

#[test]
fn garbage_from_the_wire_changes_nothing() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    let address = network.address("web").unwrap();
    let mut rng = StdRng::seed_from_u64(3);
    let real: Vec<_> = network.sent.iter().map(|(_, frame)| frame.clone()).collect();
    for n in 0..20_000 {
        let mut frame = real[n % real.len()].clone();
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..frame.len());
            frame[at] = rng.random();
        }
        frame.truncate(rng.random_range(0..=frame.len()));
        network.frame(&frame);
    }
    assert_eq!(network.who_has(address), Some(NIC));
}

#[test]
fn an_address_that_was_in_use_elsewhere_may_go_to_another_claim_later() {
    let mut network = Network::new();
    let address = network.server.pool[0];
    network.server.pool = vec![address];
    network.hosts.insert(address, [2, 0, 0, 0, 0, 0x77]);
    network.claim("web");
    network.run(SECOND);
    network.delete("web");
    network.run(SECOND);
    network.input(Input::ClaimGone("default.web.ipv4"));
    network.hosts.remove(&address);
    network.server.declined.clear();
    network.claim("other");
    network.run(2 * SECOND);
    assert_eq!(network.address("other"), Some(address), "{:?}", network.reason("other"));
}

#[test]
fn another_claim_of_the_same_name_is_told_its_address_too() {
    let mut network = Network::new();
    network.claim("web");
    network.run(5 * SECOND);
    let address = network.address("web");
    let mut again = network::claim("web");
    again.metadata.uid = Some("another".into());
    network.put(again);
    network.run(2 * SECOND);
    let report = network.last_report("web").unwrap();
    assert_eq!(report.uid.as_deref(), Some("another"));
    assert_eq!(report.status.address, address);
}

#[test]
fn an_address_that_a_new_configuration_forbids_while_it_is_checked_is_never_announced() {
    let mut network = Network::new();
    network.claim("web");
    network.run(300 * MS);
    let address = *network.server.leases.values().next().unwrap();
    network.configure(|config| config.allowed_subnets = vec!["198.51.100.0/24".parse().unwrap()]);
    network.run(2 * SECOND);
    assert_eq!(network.who_has(address), None);
    assert_eq!(network.reason("web").0, reasons::ADDRESS_REFUSED);
    assert_eq!(network.server.received.last(), Some(&(RELEASE, false)));
}

#[test]
fn a_forbidden_address_goes_back_even_if_its_renewal_still_waits_for_the_way_to_the_server() {
    let mut network = Network::new();
    network.server.lease_time = 120;
    network.claim("web");
    network.run(SECOND);
    let server = network.hosts.remove(&SERVER).unwrap();
    while network.engine.poll_timeout().is_some()
        && network.last_report("web").unwrap().status.state != Some(ClaimState::Renewing)
    {
        network.run(SECOND / 10);
    }
    network.hosts.insert(SERVER, server);
    network.configure(|config| config.allowed_subnets = vec!["198.51.100.0/24".parse().unwrap()]);
    network.run(4 * SECOND);
    assert_eq!(network.server.count(RELEASE), 1);
}

#[test]
fn an_address_that_the_node_itself_takes_is_given_up() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    let address = network.address("web").unwrap();
    let mut link = link();
    link.addresses.push((address, 24));
    network.input(Input::Link(Some(Box::new(link))));
    network.run(SECOND);
    assert_eq!(network.who_has(address), None);
    assert_eq!(network.reason("web").0, reasons::ADDRESS_REFUSED);
}

#[test]
fn what_could_not_be_dated_is_reported_once_the_api_servers_time_is_known() {
    let mut network = Network::standby();
    network.own_without_time(1);
    network.claim("web");
    network.run(5 * SECOND);
    assert!(network.reports.is_empty());
    network.own(1);
    network.run(SECOND);
    assert!(network.address("web").is_some());
}

#[test]
fn an_address_in_use_that_a_node_begins_to_claim_is_kept() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    let address = network.address("web").unwrap();
    network.configure(|config| config.refused_networks.push(node("w3", &format!("{address}/32"))));
    network.run(60 * SECOND);
    assert_eq!(network.address("web"), Some(address));
    assert_eq!(network.who_has(address), Some(NIC));
    assert_eq!(network.server.count(RELEASE), 0);
}

#[test]
fn an_address_in_use_is_given_up_if_the_administrator_refuses_it() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    let address = network.address("web").unwrap();
    network.configure(|config| {
        let refused = RefusedNetwork { by_node: false, ..node("", &format!("{address}/32")) };
        config.refused_networks.push(refused);
    });
    assert_eq!(network.who_has(address), None);
    network.run(SECOND);
    assert_eq!(network.reason("web").0, reasons::ADDRESS_REFUSED);
}
