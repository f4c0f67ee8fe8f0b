//! Other hosts with the MAC address of a claim, and copies of the cluster on the same network.

use std::{collections::BTreeSet, net::Ipv4Addr};

use foghorn_announcer::engine::{Input, Stranger};
use foghorn_crds::DhcpRequest;
use foghorn_l2::{ArpFrame, Mac};

use crate::{
    network::{CLIENT, NIC, NODE, Network, SECOND, claim, full},
    server::{DECLINE, DISCOVER, RELEASE},
};

/// Where the Ethernet source of a frame is, and the transaction in one of DHCP.
const SOURCE: std::ops::Range<usize> = 6..12;
const TRANSACTION: std::ops::Range<usize> = 46..50;

#[test]
fn a_host_that_speaks_arp_with_a_claims_mac_address_is_reported() {
    let mut network = bound();
    let mac = own_mac(&network);
    network.frame(&ArpFrame::request(mac, Ipv4Addr::UNSPECIFIED, NODE).build());
    assert_eq!(network.strangers, [Stranger { claim: full("web").into(), mac }]);
    (0..1_000).for_each(|_| network.frame(&ArpFrame::request(mac, CLIENT, NODE).build()));
    assert_eq!(network.strangers.len(), 1, "once a minute");
    assert!(network.address("web").is_some());
}

#[test]
fn a_lease_table_that_answers_for_its_owner_is_no_stranger() {
    let mut network = Network::new();
    let mut web = claim("web");
    web.spec.dhcp =
        DhcpRequest { hardware_address: Some("02:00:5e:00:00:07".into()), ..DhcpRequest::default() };
    network.put(web);
    network.run(SECOND);
    let address = network.address("web").unwrap();
    let asked = ArpFrame::request(NIC, Ipv4Addr::UNSPECIFIED, address);
    network.frame(&ArpFrame::reply_to(&asked, own_mac(&network)).build());
    network.run(SECOND);
    assert_eq!(network.strangers, []);
    assert_eq!(network.address("web"), Some(address));
    assert_eq!(network.who_has(address), Some(NIC));
}

#[test]
fn a_copy_of_the_cluster_that_asks_for_the_same_lease_is_reported() {
    let mut network = bound();
    let foreign = of_transaction(&dhcp(&network), [9; 4]);
    network.frame(&foreign);
    network.run(9 * SECOND);
    network.frame(&foreign);
    assert_eq!(network.strangers, [], "announcers that hand a claim over may both ask");
    network.run(2 * SECOND);
    network.frame(&foreign);
    assert_eq!(network.strangers.len(), 1);
}

#[test]
fn messages_of_this_cluster_are_never_a_strangers() {
    let mut network = bound();
    let peer: Mac = [2, 0, 0, 0, 0, 0x12];
    network.input(Input::Peers(BTreeSet::from([peer])));
    let mut of_peer = of_transaction(&dhcp(&network), [9; 4]);
    of_peer[SOURCE].copy_from_slice(&peer);
    let mut through_the_interface = of_peer.clone();
    through_the_interface[SOURCE].copy_from_slice(&NIC);
    for _ in 0..10 {
        network.frame(&dhcp(&network));
        network.frame(&of_peer);
        network.frame(&through_the_interface);
        network.run(30 * SECOND);
    }
    assert_eq!(network.strangers, []);
    let once_in_a_while = of_transaction(&dhcp(&network), [9; 4]);
    for _ in 0..3 {
        network.frame(&once_in_a_while);
        network.run(1_000 * SECOND);
    }
    assert_eq!(network.strangers, [], "hand-overs");
}

#[test]
fn a_lease_of_another_seed_is_neither_used_nor_released() {
    let first = bound();
    let address = first.address("web").unwrap();
    let mut copy = Network::standby();
    copy.configure(|config| config.dhcp.identity_seed = "drill".into());
    (copy.server.leases, copy.now) = (first.server.leases.clone(), first.now);
    copy.own(1);
    copy.put(first.stored("web"));
    assert_eq!(copy.who_has(address), None);
    copy.run(2 * SECOND);
    let other = copy.address("web").unwrap();
    assert_ne!(other, address);
    assert_ne!(own_mac(&copy), own_mac(&first));
    let identity = copy.last_report("web").unwrap().status.identity.clone().unwrap();
    assert_eq!(identity.seed.as_deref(), Some("drill"));
    copy.delete("web");
    copy.run(2 * SECOND);
    assert_eq!((copy.server.count(RELEASE), copy.server.count(DECLINE)), (1, 0), "its own lease");
    assert_eq!(copy.server.leases.values().collect::<Vec<_>>(), [&address]);
}

#[test]
fn a_copy_that_gets_its_seed_late_lets_go_in_silence() {
    let mut network = bound();
    let address = network.address("web").unwrap();
    network.configure(|config| config.dhcp.identity_seed = "drill".into());
    assert_eq!(network.who_has(address), None);
    network.run(2 * SECOND);
    assert_ne!(network.address("web"), Some(address));
    assert_eq!(network.server.count(RELEASE), 0);
    assert!(network.server.leases.values().any(|leased| *leased == address));
}

#[test]
fn the_clusters_own_uid_as_a_seed_changes_nothing() {
    let mut network = bound();
    let address = network.address("web");
    network.configure(|config| config.dhcp.identity_seed = config.cluster_id.clone());
    network.run(2 * SECOND);
    assert_eq!(network.address("web"), address);
    assert_eq!(network.server.count(DISCOVER), 1);
}

fn bound() -> Network {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    assert!(network.address("web").is_some());
    network
}

fn own_mac(network: &Network) -> Mac {
    dhcp(network)[SOURCE].try_into().unwrap()
}

/// The last DHCP frame that was sent.
fn dhcp(network: &Network) -> Vec<u8> {
    network.sent.iter().rev().find(|(_, frame)| frame[12..14] == [8, 0]).unwrap().1.clone()
}

fn of_transaction(frame: &[u8], transaction: [u8; 4]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[TRANSACTION].copy_from_slice(&transaction);
    // No checksum.
    frame[40..42].fill(0);
    frame
}
