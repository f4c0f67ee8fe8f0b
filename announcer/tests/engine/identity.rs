//! Who claims are to the DHCP server, on networks of all kinds.

use std::collections::BTreeSet;

use crate::{
    network::{CLIENT, NIC, NODE, Network, Port, ROUTER, SECOND, claim, config, link},
    server::{DECLINE, DISCOVER, RELEASE, REQUEST},
};
use foghorn_announcer::engine::Input;
use foghorn_crds::{
    AddressClaim, ClaimState, DhcpRequest, IdentityInUse, IdentityMode, PlaneConfig, conditions::reasons,
};
use foghorn_l2::{ArpFrame, Mac};
use foghorn_netio::Link;

#[test]
fn where_foreign_frames_get_through_a_claim_has_its_own_hardware_address() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    assert_eq!(mode(&network, "web"), Some(IdentityInUse::VirtualMac));
    assert!(sources(&network).iter().all(|source| *source != NIC));
    assert_eq!(network.server.count(DISCOVER), 1);
}

#[test]
fn a_switch_that_drops_foreign_sources_is_found_out_after_two_silent_discovers() {
    let mut network = Network::new();
    network.port = Port::OneAddress;
    network.claim("web");
    network.run(20 * SECOND);
    assert!(network.address("web").is_some());
    assert_eq!(mode(&network, "web"), Some(IdentityInUse::VirtualChaddr));
    network.claim("api");
    network.run(SECOND);
    assert!(network.address("api").is_some(), "the second claim need not find out again");
}

#[test]
fn a_switch_that_shuts_its_port_sees_no_second_foreign_frame() {
    let mut network = Network::new();
    network.port = Port::Shuts;
    network.claim("web");
    assert!(network.port == Port::Shut);
    network.input(Input::Link(None));
    network.run(30 * SECOND);
    network.port = Port::Shuts;
    network.input(Input::Link(Some(Box::new(link()))));
    network.run(SECOND);
    assert!(network.address("web").is_some());
    assert!(network.port == Port::Shuts, "the port is open");
    assert_eq!(mode(&network, "web"), Some(IdentityInUse::VirtualChaddr));
}

#[test]
fn a_claim_beyond_a_ports_limit_of_mac_addresses_gets_an_address() {
    let mut network = Network::new();
    network.port = Port::Limited(2);
    for name in ["web", "api"] {
        network.claim(name);
        network.run(5 * SECOND);
        assert_eq!(mode(&network, name), Some(IdentityInUse::VirtualMac));
    }
    network.claim("one-too-many");
    network.run(30 * SECOND);
    assert!(network.address("one-too-many").is_some());
    assert_eq!(mode(&network, "one-too-many"), Some(IdentityInUse::VirtualChaddr));
    let (reason, message) = network.reason("one-too-many");
    assert_eq!(reason, reasons::ANNOUNCED);
    assert!(message.contains("may limit the number of MAC addresses"), "{message}");
    assert!(!network.reason("web").1.contains("limit"));
    let before = ["web", "api", "one-too-many"].map(|name| network.address(name));
    network.run(7_000 * SECOND);
    assert_eq!(["web", "api", "one-too-many"].map(|name| network.address(name)), before, "renewed");
    assert_eq!(network.server.count(DISCOVER), 3, "no lease was lost");
}

#[test]
fn leases_outlive_a_port_that_carries_other_mac_addresses_by_now() {
    let mut network = Network::new();
    network.port = Port::Limited(2);
    ["web", "api"].iter().for_each(|name| network.claim(name));
    network.run(5 * SECOND);
    let before = ["web", "api"].map(|name| network.address(name));
    network.carried = [[2, 0, 0, 0, 0, 0xaa], [2, 0, 0, 0, 0, 0xbb]].into();
    network.run(7_000 * SECOND);
    assert_eq!(["web", "api"].map(|name| network.address(name)), before);
    assert_eq!(network.server.count(DISCOVER), 2);
}

#[test]
fn a_port_that_is_shut_on_one_mac_address_too_many_is_not_shut_twice() {
    let mut network = Network::new();
    network.port = Port::ShutsAbove(2);
    ["web", "api"].iter().for_each(|name| network.claim(name));
    network.run(5 * SECOND);
    let before = ["web", "api"].map(|name| network.address(name));
    network.claim("one-too-many");
    assert!(network.port == Port::Shut);
    network.input(Input::Link(None));
    network.run(30 * SECOND);
    (network.port, network.carried) = (Port::ShutsAbove(2), BTreeSet::new());
    network.input(Input::Link(Some(Box::new(link()))));
    network.run(30 * SECOND);
    assert_eq!(["web", "api"].map(|name| network.address(name)), before);
    assert_eq!(mode(&network, "web"), Some(IdentityInUse::VirtualMac));
    assert!(network.address("one-too-many").is_some());
    assert_eq!(mode(&network, "one-too-many"), Some(IdentityInUse::VirtualChaddr));
    assert!(network.port != Port::Shut, "the port is open");
}

#[test]
fn wifi_and_macvlan_send_with_the_interfaces_hardware_address_from_the_start() {
    for kind in ["wlan", "macvlan"] {
        let mut network = Network::standby();
        network.input(Input::Link(Some(Box::new(Link { kind: Some(kind.into()), ..link() }))));
        network.own(1);
        network.claim("web");
        network.run(SECOND);
        assert_eq!(mode(&network, "web"), Some(IdentityInUse::VirtualChaddr), "{kind}");
        assert!(sources(&network).iter().all(|source| *source == NIC), "{kind}");
    }
}

#[test]
fn what_was_found_is_gone_on_with_by_the_next_holder() {
    let mut first = Network::new();
    first.port = Port::OneAddress;
    first.claim("web");
    first.run(20 * SECOND);
    let stored = first.stored("web");
    let mut next = Network::new();
    (next.port, next.server) = (Port::OneAddress, first.server);
    next.put(stored);
    next.run(5 * SECOND);
    assert_eq!(sources(&next), [NIC], "the confirmation");
    assert_eq!(next.last_report("web").unwrap().status.state, Some(ClaimState::Bound));
}

#[test]
fn by_the_nodes_hardware_address_replies_find_their_claim_by_the_transaction() {
    let mut network = with(IdentityMode::NodeMac);
    (0..10).for_each(|n| network.claim(&format!("web-{n}")));
    network.run(5 * SECOND);
    let mut addresses: Vec<_> = (0..10).filter_map(|n| network.address(&format!("web-{n}"))).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 10);
    assert!(network.joined.is_empty());
    assert!(sources(&network).iter().all(|source| *source == NIC));
    let status = &network.last_report("web-0").unwrap().status;
    assert_eq!(status.identity.as_ref().unwrap().hardware_address, "02:00:00:00:00:11");
}

#[test]
fn a_server_that_gives_one_address_for_a_hardware_address_is_named_with_the_remedy() {
    let mut network = with(IdentityMode::NodeMac);
    network.server.by_hardware_address = true;
    network.claim("web");
    network.run(2 * SECOND);
    network.claim("api");
    network.run(60 * SECOND);
    let address = network.address("web").unwrap();
    assert_eq!(network.address("api"), None);
    let (reason, message) = network.reason("api");
    assert_eq!(reason, reasons::ADDRESS_SHARED);
    assert!(message.contains("default.web.ipv4") && message.contains("set dhcp.identity to"), "{message}");
    assert_eq!((network.server.count(DECLINE), network.server.count(RELEASE)), (0, 0));
    assert_eq!(network.who_has(address), Some(NIC), "the first claim is not disturbed");
}

#[test]
fn two_claims_that_are_leased_one_address_at_once_do_not_both_announce_it() {
    let mut network = with(IdentityMode::NodeMac);
    network.server.by_hardware_address = true;
    network.claim("web");
    network.claim("api");
    network.run(2 * SECOND);
    let addresses = [network.address("web"), network.address("api")];
    assert_eq!(addresses.iter().flatten().count(), 1, "{addresses:?}");
    assert_eq!((network.server.count(DECLINE), network.server.count(RELEASE)), (0, 0));
}

#[test]
fn the_nodes_own_address_from_a_server_that_knows_it_by_its_hardware_address_is_left_alone() {
    let mut network = with(IdentityMode::NodeMac);
    network.server.by_hardware_address = true;
    network.server.leases.insert(NIC.to_vec(), NODE);
    network.claim("web");
    network.run(30 * SECOND);
    let (reason, message) = network.reason("web");
    assert_eq!(reason, reasons::ADDRESS_SHARED);
    assert!(message.contains("w1's own"), "{message}");
    assert_eq!((network.server.count(REQUEST), network.server.count(DECLINE)), (0, 0));
}

#[test]
fn a_hardware_address_and_client_identifier_may_be_given() {
    let mut network = Network::new();
    network.put(overridden("web", "02:00:5e:00:00:07"));
    network.run(SECOND);
    let status = network.last_report("web").unwrap().status.clone();
    let identity = status.identity.unwrap();
    assert_eq!(
        (identity.hardware_address.as_str(), identity.client_id.as_str()),
        ("02:00:5e:00:00:07", "00abcd")
    );
    assert!(network.server.leases.contains_key(&[0, 0xab, 0xcd][..]));
}

#[test]
fn a_mac_address_given_alone_makes_an_ordinary_client_of_the_claim() {
    for identity in [IdentityMode::VirtualMac, IdentityMode::NodeMac] {
        let mut network = with(identity);
        let mut web = overridden("web", "02:00:5e:00:00:07");
        web.spec.dhcp.client_id = None;
        network.put(web);
        network.run(SECOND);
        let identity = network.last_report("web").unwrap().status.identity.clone().unwrap();
        assert_eq!(identity.client_id, "0102005e000007");
        assert!(network.server.leases.contains_key(&[1, 2, 0, 0x5e, 0, 0, 7][..]));
    }
}

#[test]
fn a_hardware_address_that_no_claim_may_have_is_named_and_not_used() {
    for (mac, reason) in [
        ("02:00:00:00:00:11", reasons::HARDWARE_ADDRESS_TAKEN),
        ("ff:ff:ff:ff:ff:ff", reasons::INVALID_OVERRIDE),
        ("00:50:56:00:00:01", reasons::INVALID_OVERRIDE),
    ] {
        let mut network = Network::new();
        network.put(overridden("web", mac));
        network.run(30 * SECOND);
        assert_eq!(network.reason("web").0, reason, "{mac}");
        assert_eq!(network.sent.len(), 0, "{mac}");
    }
    let mut network = Network::standby();
    let allowed = vec!["00:50:56:00:00:01".to_owned()];
    network.input(Input::Config(Box::new(PlaneConfig { allowed_hardware_addresses: allowed, ..config() })));
    network.own(1);
    network.put(overridden("web", "00:50:56:00:00:01"));
    network.run(SECOND);
    assert!(network.address("web").is_some());
}

#[test]
fn of_two_claims_with_one_hardware_address_the_first_has_it_until_it_goes() {
    let mut network = Network::new();
    network.put(overridden("web", "02:00:5e:00:00:07"));
    let mut other = overridden("api", "02:00:5e:00:00:07");
    other.spec.dhcp.client_id = None;
    network.put(other);
    network.run(2 * SECOND);
    let (reason, message) = network.reason("api");
    assert_eq!(reason, reasons::HARDWARE_ADDRESS_TAKEN);
    assert!(message.contains("default.web.ipv4"), "{message}");
    network.delete("web");
    network.run(2 * SECOND);
    network.gone("web");
    network.run(2 * SECOND);
    assert!(network.address("api").is_some());
}

#[test]
fn a_hardware_address_that_the_router_has_is_not_used_once_the_router_is_heard() {
    let mac: Mac = [2, 0, 0x5e, 0, 0, 7];
    let mut network = Network::new();
    network.server.alive = false;
    network.put(overridden("web", "02:00:5e:00:00:07"));
    network.run(SECOND);
    network.frame(&ArpFrame::request(mac, ROUTER, NODE).build());
    let sent = network.sent.len();
    network.run(30 * SECOND);
    let (reason, message) = network.reason("web");
    assert_eq!(reason, reasons::HARDWARE_ADDRESS_TAKEN);
    assert!(message.contains(&ROUTER.to_string()), "{message}");
    (0..10_000).for_each(|_| network.frame(&ArpFrame::request(mac, ROUTER, NODE).build()));
    network.server.alive = true;
    network.run(59 * SECOND);
    assert_eq!(network.sent.len(), sent, "not one more frame with the router's hardware address");
    let told = network.reports.len();
    network.run(3 * SECOND);
    assert!(network.address("web").is_some(), "the router is gone for a minute");
    let sent = network.last_report("web").unwrap().status.dhcp.clone().unwrap().sent;
    assert_eq!(sent.get("DISCOVER"), Some(&1), "what was not sent is not counted");
    assert!(network.reports.len() <= told + 2, "{:?}", &network.reports[told..]);
}

#[test]
fn a_host_that_speaks_with_a_derived_hardware_address_keeps_no_claim_from_its_lease() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    let address = network.address("web").unwrap();
    let mac = sources(&network)[0];
    for _ in 0..70 {
        network.frame(&ArpFrame::request(mac, CLIENT, NODE).build());
        network.run(60 * SECOND);
    }
    assert_eq!(network.address("web"), Some(address), "renewed after half an hour");
    assert_eq!(network.who_has(address), Some(NIC));
}

#[test]
fn an_unreadable_answer_is_named_in_the_claim() {
    let mut network = Network::new();
    network.server.alive = false;
    network.claim("web");
    let discover = network.sent[0].1.clone();
    let mut octets = discover[42..].to_vec();
    octets[0] = 2;
    let payload = [&octets[..240], &[53, 1, 2, 51, 2, 0, 60, 255]].concat();
    network.frame(&crate::server::from_server(&payload, [0xff; 6]));
    network.run(10 * SECOND);
    let (reason, message) = network.reason("web");
    assert_eq!(reason, reasons::UNUSABLE_DHCP_ANSWER);
    assert!(message.contains("option 51"), "{message}");
}

#[test]
fn what_a_plane_or_service_changes_of_how_it_asks_counts_from_the_next_message() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    let mut renamed = network.stored("web");
    renamed.spec.dhcp.hostname = Some("shop".into());
    network.put(renamed);
    network.run(2000 * SECOND);
    let renewal = &network.sent.iter().rev().find(|(_, frame)| frame.len() > 200).unwrap().1;
    assert!(renewal.windows(6).any(|window| window == b"\x0c\x04shop"), "{renewal:x?}");
    assert_eq!(network.server.leases.len(), 1);
}

#[test]
fn an_identity_that_changes_under_a_lease_waits_for_its_end() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    let address = network.address("web").unwrap();
    network.configure(|config| config.dhcp.identity = IdentityMode::NodeMac);
    network.run(3000 * SECOND);
    assert_eq!(network.address("web"), Some(address));
    assert_eq!(mode(&network, "web"), Some(IdentityInUse::VirtualMac));
    network.server.alive = false;
    network.run(4000 * SECOND);
    network.server.alive = true;
    network.run(200 * SECOND);
    assert_eq!(mode(&network, "web"), Some(IdentityInUse::NodeMac));
    assert_eq!(network.reason("web").0, reasons::ANNOUNCED);
}

fn with(identity: IdentityMode) -> Network {
    let mut network = Network::standby();
    network.configure(|config| config.dhcp.identity = identity);
    network.own(1);
    network
}

fn overridden(name: &str, mac: &str) -> AddressClaim {
    let mut claim = claim(name);
    claim.spec.dhcp = DhcpRequest {
        hardware_address: Some(mac.into()),
        client_id: Some("00abcd".into()),
        ..DhcpRequest::default()
    };
    claim
}

fn mode(network: &Network, name: &str) -> Option<IdentityInUse> {
    network.last_report(name)?.status.identity.as_ref()?.mode
}

/// The Ethernet sources of the DHCP frames that were sent.
fn sources(network: &Network) -> Vec<Mac> {
    let dhcp = network.sent.iter().filter(|(_, frame)| frame[12..14] == [8, 0]);
    dhcp.map(|(_, frame)| frame[6..12].try_into().unwrap()).collect()
}
