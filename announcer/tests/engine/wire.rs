//! Which frames go out and come in for many claims by one socket, and what is counted.

use std::net::Ipv4Addr;

use foghorn_crds::conditions::reasons;
use foghorn_l2::{ArpFrame, Mac, arp::Operation};

use crate::{
    network::{NIC, Network, ROUTER, SECOND},
    server::{REQUEST, from_server},
};

const RELAYED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const ROUTER_MAC: Mac = [2, 0, 0, 0, 0, 1];

#[test]
fn b40_a_server_behind_the_router_gets_its_renewal_through_the_router() {
    let mut network = Network::new();
    network.server.identifier = RELAYED;
    network.claim("web");
    network.run(SECOND);
    let address = network.address("web").unwrap();
    let before = network.sent.len();
    network.run(1_900 * SECOND);
    let sent: Vec<_> = network.sent[before..].iter().map(|(_, frame)| frame).collect();
    let question =
        sent.iter().filter_map(|frame| ArpFrame::parse(frame).ok()).find(|arp| arp.target_ip == ROUTER);
    let question = question.expect("the router is asked for");
    assert_eq!((question.operation, question.sender_ip), (Operation::Request, address));
    assert_eq!(question.sender_mac, NIC, "never the claim's hardware address");
    let renewal = sent.iter().find(|frame| frame[12..14] == [8, 0]).expect("a renewal");
    assert_eq!(renewal[..6], ROUTER_MAC);
    assert_ne!(renewal[6..12], NIC, "from the claim's own hardware address");
    assert_eq!(
        (renewal[26..30].to_vec(), renewal[30..34].to_vec()),
        (address.octets().into(), RELAYED.octets().into())
    );
    assert_eq!(network.server.received.last(), Some(&(REQUEST, false)));
}

#[test]
fn b40_replies_at_the_nodes_and_at_the_claims_hardware_address_are_both_taken() {
    for to_node in [true, false] {
        let mut network = Network::new();
        network.claim("web");
        network.run(SECOND);
        network.server.to_node = to_node;
        network.run(1_900 * SECOND);
        assert_eq!(network.metric(r#"foghorn_leases{state="BOUND"}"#), 1.0, "{to_node}");
        let forwarded = network.metric("foghorn_dhcp_replies_to_node_total");
        assert_eq!(forwarded, if to_node { 1.0 } else { 0.0 }, "the kernel forwards those");
    }
}

#[test]
fn b44_replies_for_nobody_here_are_counted_and_reach_nobody() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    let request = network.sent.iter().find(|(_, frame)| frame[12..14] == [8, 0]).unwrap().1.clone();
    let mut reply = request[42..].to_vec();
    reply[0] = 2;
    reply.truncate(240);
    reply.extend([53, 1, 5, 255]);
    network.frame(&from_server(&reply, NIC));
    assert_eq!(
        network.metric(r#"foghorn_frames_dropped_total{reason="ignored"}"#),
        1.0,
        "of a former exchange"
    );
    reply[28..34].copy_from_slice(&[2, 9, 9, 9, 9, 9]);
    network.frame(&from_server(&reply, NIC));
    assert_eq!(network.metric(r#"foghorn_frames_dropped_total{reason="foreign"}"#), 1.0);
    assert_eq!(network.metric(r#"foghorn_leases{state="BOUND"}"#), 1.0);
}

#[test]
fn claims_are_counted_by_state_and_reason_and_the_next_expiry_is_told() {
    let mut network = Network::new();
    network.server.pool.truncate(2);
    ["a", "b", "c"].iter().for_each(|name| network.claim(name));
    network.run(10 * SECOND);
    let claims =
        |network: &Network, reason: &str| network.metric(&format!("foghorn_claims{{reason=\"{reason}\"}}"));
    assert_eq!(claims(&network, reasons::ANNOUNCED), 2.0);
    assert_eq!(claims(&network, reasons::NO_DHCP_ANSWER), 1.0);
    let expiry = network.metric("foghorn_lease_earliest_expiry_timestamp_seconds");
    assert!((1_800_003_599.0..=1_800_003_600.0).contains(&expiry), "{expiry}");
    network.lose();
    for reason in [reasons::ANNOUNCED, reasons::NO_DHCP_ANSWER, reasons::ACQUIRING] {
        assert_eq!(claims(&network, reason), 0.0, "{reason}");
    }
    assert_eq!(network.metric(r#"foghorn_leases{state="BOUND"}"#), 0.0);
    assert_eq!(network.metric("foghorn_lease_earliest_expiry_timestamp_seconds"), 0.0);
}

#[test]
fn a_claims_status_tells_its_exchanges_and_its_place_in_the_state_machine() {
    let mut network = Network::new();
    network.server.extra = vec![121, 8, 24, 198, 51, 100, 203, 0, 113, 9];
    network.claim("web");
    network.run(SECOND);
    let status = network.last_report("web").unwrap().status.clone();
    let dhcp = status.dhcp.unwrap();
    assert_eq!(dhcp.state, "BOUND");
    let count = |of: &std::collections::BTreeMap<String, u64>, kind: &str| of.get(kind).copied();
    assert_eq!((count(&dhcp.sent, "DISCOVER"), count(&dhcp.sent, "REQUEST")), (Some(1), Some(1)));
    assert_eq!((count(&dhcp.received, "OFFER"), count(&dhcp.received, "ACK")), (Some(1), Some(1)));
    let lease = status.lease.unwrap();
    let routes: Vec<_> = lease.routes.iter().map(|r| format!("{} {}", r.destination, r.gateway)).collect();
    assert_eq!(routes, ["198.51.100.0/24 203.0.113.9"]);
    assert!(lease.renew_at.is_some() && lease.rebind_at.is_some() && lease.expires_at.is_some());
}
