//! Services with `externalTrafficPolicy: Local`: who announces their addresses, and what becomes of their leases.

use foghorn_crds::{ClaimState, conditions::reasons};

use crate::{
    network::{MS, NIC, Network, SECOND},
    server::{DISCOVER, RELEASE},
};

#[test]
fn an_address_without_endpoint_is_silent_and_its_lease_is_kept() {
    let mut network = Network::new();
    network.claim("web");
    network.run(20 * SECOND);
    let address = network.address("web").unwrap();
    network.serve_on("web", &[]);
    assert_eq!(network.who_has(address), None, "at once");
    let (reason, message) = network.reason("web");
    assert_eq!(reason, reasons::NO_SERVING_NODE);
    assert!(message.contains("no node has a ready endpoint"), "{message}");
    let sent = network.sent.len();
    // Six times as long as the lease.
    network.run(6 * 3_600 * SECOND);
    assert_eq!((network.who_has(address), network.server.count(DISCOVER)), (None, 1));
    assert!(network.sent[sent..].iter().all(|(_, frame)| frame[12..14] == [8, 0]), "no ARP in its name");
    let status = &network.last_report("web").unwrap().status;
    assert_eq!((status.address, status.conditions[0].status.as_str()), (Some(address), "False"));
    assert_eq!(status.state, Some(ClaimState::Bound));
    assert!(status.lease.is_some());

    network.serve_on("web", &["w1", "w2"]);
    assert_eq!(network.who_has(address), Some(NIC), "at once");
    assert_eq!(network.reason("web").0, reasons::ANNOUNCED);
}

#[test]
fn a_new_claim_without_endpoint_has_an_address_that_is_silent() {
    let mut network = Network::new();
    network.claim("web");
    network.serve_on("web", &[]);
    network.run(SECOND);
    let address = network.address("web").unwrap();
    assert_eq!(network.who_has(address), None);
    assert_eq!(network.reason("web").0, reasons::NO_SERVING_NODE);
    network.serve_on("web", &["w1"]);
    assert_eq!(network.who_has(address), Some(NIC));
}

#[test]
fn a_kept_lease_is_released_when_its_claim_is_deleted() {
    let mut network = Network::new();
    network.claim("web");
    network.serve_on("web", &[]);
    network.run(60 * SECOND);
    network.delete("web");
    assert_eq!(network.server.count(RELEASE), 1, "at once");
    network.run(SECOND);
    assert_eq!(network.last_report("web").unwrap().status.state, Some(ClaimState::Released));
}

#[test]
fn an_address_that_moves_is_answered_for_until_its_new_node_had_the_time() {
    let mut network = Network::new();
    network.claim("web");
    network.run(20 * SECOND);
    let address = network.address("web").unwrap();
    network.serve_on("web", &["w2"]);
    network.run(900 * MS);
    assert_eq!(network.who_has(address), Some(NIC));
    network.run(200 * MS);
    assert_eq!(network.who_has(address), None);
    let (reason, message) = network.reason("web");
    assert_eq!(reason, reasons::NO_SERVING_NODE);
    assert!(message.contains("on w2"), "{message}");
    network.run(3_600 * SECOND);
    assert_eq!(network.who_has(address), None);
}

#[test]
fn a_kept_address_is_announced_at_once_by_its_next_holder() {
    let mut before = Network::new();
    before.claim("web");
    before.serve_on("web", &[]);
    before.run(60 * SECOND);
    let address = before.address("web").unwrap();

    let mut after = Network::standby();
    after.now = before.now;
    after.know_the_time();
    after.put(before.stored("web"));
    after.server = before.server;
    after.serve_on("web", &["w1"]);
    after.grant("web", 2);
    assert_eq!(after.who_has(address), Some(NIC), "without a probe");
}

#[test]
fn a_kept_address_that_may_no_longer_be_had_is_given_up() {
    let mut network = Network::new();
    network.claim("web");
    network.serve_on("web", &[]);
    network.run(60 * SECOND);
    let address = network.address("web").unwrap();
    network.configure(|config| config.allowed_subnets = vec!["198.51.100.0/24".parse().unwrap()]);
    network.run(SECOND);
    assert_ne!(network.address("web"), Some(address));
    assert_eq!(network.server.count(RELEASE), 1);
}
