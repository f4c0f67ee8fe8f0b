//! New addresses wait for the node's proxy, those that are taken over do not.

use std::{net::Ipv4Addr, sync::Arc};

use foghorn_announcer::engine::{Input, Proxy};

use crate::network::{MS, NIC, Network, SECOND};

/// A claim that holds an address, 600 ms after it was made; its status is reported and not published.
fn held() -> (Network, Ipv4Addr) {
    let mut network = Network::new();
    network.publishes = false;
    network.claim("web");
    network.run(600 * MS);
    let address = network.address("web").unwrap();
    (network, address)
}

fn publish(network: &mut Network) {
    let claim = network.stored("web");
    network.input(Input::Claim(Arc::new(claim)));
}

#[test]
fn a_new_address_is_answered_for_once_the_proxy_has_it() {
    let (mut network, address) = held();
    assert_eq!(network.engine.waiting_for_proxy(), 1);
    assert_eq!(network.who_has(address), None);
    let before = network.now;
    network.run(50 * MS);
    publish(&mut network);
    network.input(Input::Proxy(Proxy::Seen { queued: before, synced: network.now }));
    assert_eq!(network.who_has(address), None, "that was another change");
    network.run(50 * MS);
    network.input(Input::Proxy(Proxy::Seen { queued: network.now, synced: network.now }));
    assert_eq!(network.who_has(address), Some(NIC));
    assert_eq!(network.engine.waiting_for_proxy(), 0);
}

#[test]
fn without_kube_proxy_a_new_address_waits_a_second() {
    let (mut network, address) = held();
    publish(&mut network);
    network.run(900 * MS);
    assert_eq!(network.who_has(address), None);
    network.run(200 * MS);
    assert_eq!(network.who_has(address), Some(NIC));
}

#[test]
fn an_address_that_is_not_published_is_answered_for_after_two_seconds() {
    let (mut network, address) = held();
    network.run(1_400 * MS);
    assert_eq!(network.who_has(address), None);
    network.run(600 * MS);
    assert_eq!(network.who_has(address), Some(NIC));
}

#[test]
fn a_renewed_address_and_one_that_is_taken_over_never_wait() {
    let (mut network, address) = held();
    network.run(3 * SECOND);
    publish(&mut network);
    let before = network.sent.len();
    network.run(7_200 * SECOND);
    assert!(network.sent.len() > before, "it was renewed");
    assert_eq!(network.who_has(address), Some(NIC));
    let claim = network.stored("web");
    let mut next = Network::new();
    next.publishes = false;
    next.now = network.now;
    next.know_the_time();
    next.put(claim);
    assert_eq!(next.who_has(address), Some(NIC));
    assert_eq!(next.engine.waiting_for_proxy(), 0);
}

#[test]
fn a_claim_that_is_revoked_while_it_waits_stays_silent() {
    let (mut network, address) = held();
    network.lose();
    network.run(10 * SECOND);
    assert_eq!(network.who_has(address), None);
    assert_eq!(network.engine.waiting_for_proxy(), 0);
}
