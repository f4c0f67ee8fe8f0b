//! Events that come at the worst moment, and hosts that mean no good.

use foghorn_announcer::engine::Input;
use foghorn_crds::{AddressClaim, ClaimState, DhcpRequest, IdentityMode};
use foghorn_l2::{ArpFrame, Mac};

use crate::{
    network::{MS, NIC, NODE, Network, ROUTER, SECOND, claim, link},
    server::{DECLINE, RELEASE, SERVER, SERVER_MAC, from_server},
};

const MAC: Mac = [2, 0, 0x5e, 0, 0, 7];

#[test]
fn claims_that_wait_for_one_hardware_address_do_not_wake_each_other_for_ever() {
    let mut network = Network::new();
    ["a", "b", "c", "d"].iter().for_each(|name| network.put(given(name)));
    network.run(3 * SECOND);
    network.delete("b");
    network.run(2 * SECOND);
    network.gone("b");
    network.configure(|config| config.dhcp.identity = IdentityMode::VirtualMac);
    network.frame(&ArpFrame::request(MAC, ROUTER, NODE).build());
    network.run(SECOND);
    network.delete("a");
    network.run(2 * SECOND);
    network.gone("a");
    network.run(100 * SECOND);
    let held = ["c", "d"].iter().filter(|name| network.address(name).is_some()).count();
    assert_eq!(held, 1, "the hardware address went to one of those that waited");
}

#[test]
fn b28_a_process_held_up_past_the_end_of_a_lease_answers_and_announces_nothing() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    let address = network.address("web").unwrap();
    network.server.alive = false;
    network.run(3_590 * SECOND);
    assert_eq!(network.who_has(address), Some(NIC));
    // A gratuitous ARP is due as well by then.
    network.now += 100 * SECOND;
    let before = network.sent.len();
    assert_eq!(network.who_has(address), None);
    let arps = network.sent[before..].iter().filter_map(|(_, frame)| ArpFrame::parse(frame).ok());
    assert_eq!(arps.filter(|arp| arp.sender_ip == address).count(), 0);
}

#[test]
fn an_address_whose_lease_ends_with_its_check_may_go_to_another_claim() {
    let mut network = Network::new();
    network.server.lease_time = 20;
    network.claim("web");
    network.run(300 * MS);
    network.server.alive = false;
    network.now += 60 * SECOND;
    network.run(SECOND);
    network.delete("web");
    network.run(SECOND);
    network.gone("web");
    network.server.leases.clear();
    (network.server.alive, network.server.lease_time) = (true, 3_600);
    network.claim("api");
    network.run(5 * SECOND);
    assert_eq!(network.address("api"), Some(network.server.pool[0]));
    assert_eq!(network.server.count(DECLINE), 0);
}

#[test]
fn a_kept_lease_is_not_that_of_another_claim_of_the_same_name() {
    let mut network = Network::new();
    network.claim("web");
    network.run(SECOND);
    let address = network.address("web").unwrap();
    network.input(Input::Link(None));
    network.gone("web");
    let mut another = given("web");
    another.metadata.uid = Some("another".into());
    network.put(another);
    network.input(Input::Link(Some(Box::new(link()))));
    assert_eq!(network.who_has(address), None);
}

#[test]
fn b39_a_release_that_waits_for_its_way_outlives_a_host_with_the_same_hardware_address() {
    let mut network = Network::new();
    network.put(given("web"));
    network.run(2 * SECOND);
    network.hosts.remove(&SERVER);
    network.delete("web");
    network.frame(&ArpFrame::request(MAC, ROUTER, NODE).build());
    network.hosts.insert(SERVER, SERVER_MAC);
    network.run(10 * SECOND);
    assert_eq!(network.server.count(RELEASE), 1);
}

#[test]
fn what_is_released_stays_released_whatever_hardware_addresses_are_heard() {
    let mut network = Network::new();
    network.put(given("web"));
    network.run(2 * SECOND);
    network.frame(&ArpFrame::request(MAC, ROUTER, NODE).build());
    network.run(SECOND);
    network.delete("web");
    network.run(120 * SECOND);
    assert_eq!(network.last_report("web").unwrap().status.state, Some(ClaimState::Released));
    assert_eq!(network.server.leases.len(), 0);
}

#[test]
fn an_offer_that_nobody_waits_for_says_nothing_of_a_claim() {
    let mut network = Network::new();
    network.configure(|config| config.allowed_subnets = vec!["203.0.113.0/24".parse().unwrap()]);
    network.claim("web");
    network.run(SECOND);
    let mut offer = network.sent[0].1[42..282].to_vec();
    offer[0] = 2;
    offer[4..8].copy_from_slice(&[9, 9, 9, 9]);
    offer[16..20].copy_from_slice(&[198, 51, 100, 12]);
    offer.extend([53, 1, 2, 54, 4, 203, 0, 113, 66, 51, 4, 0, 0, 14, 16, 255]);
    network.frame(&from_server(&offer, [0xff; 6]));
    network.server.alive = false;
    network.run(2_000 * SECOND);
    network.frame(&from_server(&offer, [0xff; 6]));
    network.run(1_700 * SECOND);
    let error = network.last_report("web").unwrap().status.last_error.clone().unwrap();
    assert!(!error.contains("198.51.100.12"), "{error}");
}

#[test]
fn an_unreadable_answer_to_nothing_says_nothing_and_one_to_an_exchange_gives_way_to_silence() {
    let mut network = Network::new();
    network.server.alive = false;
    network.claim("web");
    let unreadable = |network: &Network, xid: Option<[u8; 4]>| {
        let mut message = network.sent[0].1[42..282].to_vec();
        message[0] = 2;
        if let Some(xid) = xid {
            message[4..8].copy_from_slice(&xid);
        }
        message.extend([53, 1, 2, 51, 2, 0, 60, 255]);
        from_server(&message, [0xff; 6])
    };
    network.frame(&unreadable(&network, Some([9; 4])));
    network.run(6 * SECOND);
    assert_eq!(network.reason("web").0, "NoDHCPAnswer");
    network.frame(&unreadable(&network, None));
    network.run(10 * SECOND);
    assert_eq!(network.reason("web").0, "UnusableDHCPAnswer");
    network.run(300 * SECOND);
    assert_eq!(network.reason("web").0, "NoDHCPAnswer");
}

#[test]
fn the_spread_of_confirmations_is_not_that_of_what_comes_later() {
    let mut first = Network::new();
    let names: Vec<_> = (0..40).map(|n| format!("web-{n}")).collect();
    names.iter().for_each(|name| first.claim(name));
    first.run(20 * SECOND);
    let mut next = Network::standby();
    next.configure(|config| config.dhcp.max_per_second = 1);
    names.iter().for_each(|name| next.put(first.stored(name)));
    (next.server, next.now) = (first.server, first.now);
    next.own(2);
    next.run(100 * SECOND);
    next.server.leases.clear();
    let (mut without, mut longest) = (0, 0);
    for _ in 0..2_500 {
        next.run(SECOND);
        without = if next.address("web-0").is_none() { without + 1 } else { 0 };
        longest = longest.max(without);
    }
    assert!((1..=5).contains(&longest), "{longest} s");
}

fn given(name: &str) -> AddressClaim {
    let mut claim = claim(name);
    let hardware_address = Some("02:00:5e:00:00:07".into());
    claim.spec.dhcp = DhcpRequest { hardware_address, ..DhcpRequest::default() };
    claim
}
