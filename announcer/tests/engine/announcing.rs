//! How addresses are announced, and what becomes of them if another host claims them.

use std::net::Ipv4Addr;

use foghorn_crds::OnConflict;
use foghorn_l2::{ArpFrame, arp::Operation};

use crate::network::{CLIENT_MAC, NIC, Network, ROUTER, SECOND};

#[test]
fn the_router_is_asked_in_the_name_of_a_new_address() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    let address = network.address("web").unwrap();
    let asked = requests(&network, address);
    assert_eq!(asked.first(), Some(&ArpFrame::request(NIC, address, ROUTER)));
    network.run(600 * SECOND);
    assert!(requests(&network, address).len() >= 10, "with each refresh");
    assert_eq!(network.conflicts, [], "its answers are no claims");
    let before = network.sent.len();
    network.delete("web");
    network.run(600 * SECOND);
    let later = network.sent[before..].iter().filter_map(|(_, frame)| ArpFrame::parse(frame).ok());
    assert_eq!(later.filter(|arp| arp.sender_ip == address).count(), 0);
}

#[test]
fn the_next_holder_asks_the_router_at_once() {
    let mut first = Network::new();
    first.claim("web");
    first.run(SECOND);
    let address = first.address("web").unwrap();
    let mut next = Network::standby();
    next.now = first.now + SECOND;
    next.put(first.stored("web"));
    next.server = first.server;
    next.own(2);
    next.run(SECOND / 5);
    assert_eq!(requests(&next, address), [ArpFrame::request(NIC, address, ROUTER)]);
}

#[test]
fn only_a_router_of_the_network_of_the_address_is_asked() {
    for (gateway, asked) in [([203, 0, 113, 9], true), ([198, 51, 100, 9], false)] {
        let mut network = Network::new();
        network.server.extra = [&[121, 5, 0][..], &gateway].concat();
        network.claim("web");
        network.run(60 * SECOND);
        let address = network.address("web").unwrap();
        let targets: Vec<_> = requests(&network, address).iter().map(|arp| arp.target_ip).collect();
        assert_eq!(targets.is_empty(), !asked);
        assert!(targets.iter().all(|target| *target == Ipv4Addr::from(gateway)), "{targets:?}");
    }
}

#[test]
fn a_second_claim_ends_an_address_unless_the_plane_defends_it() {
    for (on_conflict, kept) in [(OnConflict::Withdraw, None), (OnConflict::Defend, Some(NIC))] {
        let mut network = Network::new();
        network.configure(|config| config.announce.on_conflict = on_conflict);
        network.claim("web");
        network.run(10 * SECOND);
        let address = network.address("web").unwrap();
        network.server.alive = false;
        let before = network.sent.len();
        for _ in 0..2 {
            network.frame(&ArpFrame::gratuitous_request(CLIENT_MAC, address).build());
            network.run(2 * SECOND);
        }
        assert_eq!(network.who_has(address), kept, "{on_conflict:?}");
        let defences = network.sent[before..].iter().filter_map(|(_, frame)| ArpFrame::parse(frame).ok());
        let defences = defences.filter(|arp| arp.sender_ip == address && arp.target_ip == address);
        assert_eq!(defences.count(), 1, "one in ten seconds (RFC 5227, 2.4)");
        let defended: Vec<_> = network.conflicts.iter().map(|conflict| conflict.defended).collect();
        assert_eq!(defended, [true, kept.is_some()]);
    }
}

/// The ARP requests for other hosts in the name of the address.
fn requests(network: &Network, address: Ipv4Addr) -> Vec<ArpFrame> {
    let arps = network.sent.iter().filter_map(|(_, frame)| ArpFrame::parse(frame).ok());
    let of_address = |arp: &ArpFrame| arp.sender_ip == address && arp.target_ip != address;
    arps.filter(|arp| arp.operation == Operation::Request && of_address(arp)).collect()
}
