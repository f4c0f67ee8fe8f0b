//! Networks that bind ARP to leases: with `NodeMac` the MAC address that answers is the one that the lease has.

use std::net::Ipv4Addr;

use foghorn_announcer::engine::Input;
use foghorn_crds::{IdentityMode, TakeoverMode};
use foghorn_l2::{ArpFrame, Mac, arp::Operation};
use foghorn_netio::Link;

use crate::{
    network::{MS, NIC, Network, SECOND, link},
    server::{DISCOVER, REQUEST},
};

const OTHER_NIC: Mac = [2, 0, 0, 0, 0, 0x12];

#[test]
fn the_announced_mac_address_is_that_of_the_lease() {
    let mut first = node(NIC, TakeoverMode::Confirm);
    let address = bound(&mut first);
    assert_eq!(first.who_has(address), Some(NIC));
    assert_eq!(first.server.chaddrs[&address], NIC);
}

#[test]
fn the_next_node_gets_the_lease_for_its_own_mac_address() {
    for takeover in [TakeoverMode::Confirm, TakeoverMode::Silent] {
        let mut first = node(NIC, takeover);
        let address = bound(&mut first);
        let mut next = node(OTHER_NIC, takeover);
        take_over(&mut next, first);
        next.run(2 * SECOND);
        assert_eq!(next.address("web"), Some(address));
        assert_eq!((next.who_has(address), next.server.chaddrs[&address]), (Some(OTHER_NIC), OTHER_NIC));
        assert_eq!((next.server.count(DISCOVER), next.server.count(REQUEST)), (1, 2));
    }
}

#[test]
fn the_address_is_announced_again_once_the_lease_has_the_new_mac_address() {
    let mut first = node(NIC, TakeoverMode::Confirm);
    let address = bound(&mut first);
    let mut next = node(OTHER_NIC, TakeoverMode::Confirm);
    first.server.alive = false;
    take_over(&mut next, first);
    next.run(2_100 * MS);
    let before = next.sent.len();
    next.server.alive = true;
    next.run(4 * SECOND);
    let arps = next.sent[before..].iter().filter_map(|(_, frame)| ArpFrame::parse(frame).ok());
    let said: Vec<_> = arps.filter(|arp| arp.sender_ip == address).map(|arp| arp.operation).collect();
    assert!(said.contains(&Operation::Reply), "a take-over has both forms: {said:?}");
    assert!(said.contains(&Operation::Request), "a take-over has both forms: {said:?}");
}

#[test]
fn a_server_that_binds_an_address_to_its_mac_address_gives_the_next_node_another() {
    let mut first = node(NIC, TakeoverMode::Confirm);
    first.server.by_hardware_address = true;
    let address = bound(&mut first);
    let mut next = node(OTHER_NIC, TakeoverMode::Confirm);
    take_over(&mut next, first);
    next.run(5 * SECOND);
    let other = next.address("web").unwrap();
    assert_ne!(other, address);
    assert_eq!(next.who_has(address), None);
    assert_eq!((next.who_has(other), next.server.chaddrs[&other]), (Some(OTHER_NIC), OTHER_NIC));
}

/// A node without grants, on a plane with `NodeMac`.
fn node(nic: Mac, takeover: TakeoverMode) -> Network {
    let mut network = Network::standby();
    network.input(Input::Link(Some(Box::new(Link { mac: Some(nic), ..link() }))));
    network.configure(|config| {
        (config.dhcp.identity, config.dhcp.takeover) = (IdentityMode::NodeMac, takeover);
    });
    network
}

fn bound(network: &mut Network) -> Ipv4Addr {
    network.own(1);
    network.claim("web");
    network.run(2 * SECOND);
    network.address("web").unwrap()
}

fn take_over(next: &mut Network, first: Network) {
    let stored = first.stored("web");
    (next.server, next.now) = (first.server, first.now);
    next.own(2);
    next.put(stored);
}
