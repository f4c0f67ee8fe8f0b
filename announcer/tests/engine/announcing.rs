//! How addresses are announced.

use std::net::Ipv4Addr;

use foghorn_l2::{ArpFrame, arp::Operation};

use crate::network::{NIC, Network, ROUTER, SECOND};

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

/// The ARP requests for other hosts in the name of the address.
fn requests(network: &Network, address: Ipv4Addr) -> Vec<ArpFrame> {
    let arps = network.sent.iter().filter_map(|(_, frame)| ArpFrame::parse(frame).ok());
    let of_address = |arp: &ArpFrame| arp.sender_ip == address && arp.target_ip != address;
    arps.filter(|arp| arp.operation == Operation::Request && of_address(arp)).collect()
}
