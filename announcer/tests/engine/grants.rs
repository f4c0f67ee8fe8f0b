//! Claims that are granted to this node and taken from it, one by one and in whatever state.

use std::{collections::BTreeSet, mem, net::Ipv4Addr, time::Duration};

use foghorn_announcer::engine::Input;
use foghorn_crds::{ClaimState, DhcpRequest, IdentityMode};
use foghorn_dhcp::frame::UdpChecksum;
use foghorn_l2::{ArpFrame, Mac, arp::Operation};
use foghorn_netio::Link;

use crate::{
    network::{CLIENT, CLIENT_MAC, MS, NIC, NODE, Network, SECOND, claim, full, link},
    server::{DISCOVER, RELEASE, SERVER},
};

const OTHER_NIC: Mac = [2, 0, 0, 0, 0, 0x12];
const GIVEN: Mac = [2, 0, 0x5e, 0, 0, 7];

#[test]
fn a_node_works_on_what_is_granted_to_it_and_on_nothing_else() {
    let mut network = Network::standby();
    network.know_the_time();
    ["web", "other"].iter().for_each(|name| network.claim(name));
    network.grant("web", 1);
    network.run(SECOND);
    let address = network.address("web").unwrap();
    assert_eq!(network.who_has(address), Some(NIC));
    assert_eq!((network.engine.granted(), network.server.count(DISCOVER)), (1, 1));
    assert!(network.last_report("other").is_none());
    assert_eq!(network.last_report("web").unwrap().status.epoch.as_deref(), Some("1.1.0.7"));
}

#[test]
fn a_claim_that_is_granted_before_it_is_known_is_begun_when_it_is() {
    let mut network = Network::standby();
    network.know_the_time();
    network.grant("web", 1);
    network.run(SECOND);
    assert!(network.sent.is_empty());
    network.claim("web");
    network.run(SECOND);
    assert!(network.address("web").is_some());
}

#[test]
fn a_claim_that_is_revoked_before_it_is_known_is_not_begun() {
    let mut network = Network::standby();
    network.grant("web", 1);
    network.revoke("web");
    network.claim("web");
    network.run(SECOND);
    assert!(network.sent.is_empty());
}

#[test]
fn a_later_grant_changes_the_number_in_what_is_told_and_begins_nothing_anew() {
    let mut network = Network::new();
    network.claim("web");
    network.run(20 * SECOND);
    let address = network.address("web").unwrap();
    let (sent, told) = (network.sent.len(), network.reports.len());
    network.grant("web", 5);
    assert_eq!((network.sent.len(), network.reports.len()), (sent, told));
    assert_eq!(network.who_has(address), Some(NIC));
    network.run(1_900 * SECOND);
    let status = &network.last_report("web").unwrap().status;
    assert_eq!((status.epoch.as_deref(), status.address), (Some("1.5.0.7"), Some(address)));
    assert_eq!(network.server.count(DISCOVER), 1);
}

#[test]
fn a_claim_that_is_revoked_leaves_nothing_behind_whatever_state_it_is_in() {
    for (state, metric, reach) in STATES {
        let mut network = Network::standby();
        network.know_the_time();
        reach(&mut network);
        assert_eq!(network.metric(metric), 1.0, "{state}");
        let leased: Vec<_> = network.server.leases.values().copied().collect();
        let (sent, told, released) =
            (network.sent.len(), network.reports.len(), network.server.count(RELEASE));

        network.revoke("web");
        assert!(network.joined.is_empty(), "{state}");
        assert_eq!((network.engine.granted(), network.engine.announced()), (0, 0), "{state}");
        for address in &leased {
            assert_eq!(network.who_has(*address), None, "{state}");
        }
        network.run(10 * SECOND);
        assert_eq!(network.engine.poll_timeout(), None, "{state}");
        assert_eq!((network.sent.len(), network.reports.len()), (sent, told), "{state}");
        assert_eq!(in_metrics(&network), [""; 0], "{state}");

        network.server.alive = true;
        network.hosts.insert(SERVER, [2, 0, 0, 0, 0, 2]);
        network.put(claim("web"));
        network.grant("web", 3);
        network.run(100 * SECOND);
        assert!(
            network.address("web").is_some_and(|address| network.who_has(address) == Some(NIC)),
            "{state}"
        );
        assert_eq!(network.server.count(RELEASE), released, "{state}");
    }
}

#[test]
fn a_claim_that_is_revoked_while_it_asks_makes_room_for_the_next() {
    let mut network = Network::standby();
    network.configure(|config| config.dhcp.max_in_flight = 1);
    network.server.alive = false;
    ["a", "b", "c"].iter().for_each(|name| network.claim(name));
    ["a", "b", "c"].iter().for_each(|name| network.grant(name, 1));
    assert_eq!(network.speakers.iter().map(|name| &**name).collect::<Vec<_>>(), [full("a")]);
    network.revoke("b");
    network.revoke("a");
    network.run(SECOND);
    let speakers: BTreeSet<_> = network.speakers.iter().map(|name| &**name).collect();
    assert_eq!(speakers, BTreeSet::from([&*full("a"), &*full("c")]));
}

#[test]
fn what_was_still_to_be_sent_or_told_of_a_revoked_claim_is_not() {
    let mut network = Network::new();
    ["web", "other"].iter().for_each(|name| network.claim(name));
    network.run(SECOND);
    for name in ["web", "other"] {
        let question = ArpFrame::request(CLIENT_MAC, CLIENT, network.address(name).unwrap()).build();
        let input = Input::Frame { bytes: &question, udp_checksum: UdpChecksum::Verify };
        network.engine.handle_input(network.now, input);
    }
    let before = network.sent.len();
    network.revoke("web");
    assert_eq!(network.speakers[before..].iter().map(|name| &**name).collect::<Vec<_>>(), [full("other")]);
}

#[test]
fn replies_to_a_revoked_claim_are_for_nobody_here() {
    let mut network = Network::standby();
    network.configure(|config| config.dhcp.identity = IdentityMode::NodeMac);
    network.server.alive = false;
    network.claim("web");
    network.grant("web", 1);
    network.revoke("web");
    network.server.alive = true;
    let offer = network.server.answer(&network.sent[0].1).unwrap();
    network.frame(&offer);
    assert_eq!(network.metric(r#"foghorn_frames_dropped_total{reason="foreign"}"#), 1.0);
}

#[test]
fn every_frame_names_the_claim_that_it_speaks_for() {
    let mut network = Network::new();
    ["web", "other"].iter().for_each(|name| network.claim(name));
    network.run(60 * SECOND);
    for name in ["web", "other"] {
        let address = network.address(name).unwrap();
        assert_eq!(network.who_has(address), Some(NIC));
        assert_eq!(network.speakers.last().map(|name| &**name), Some(&*full(name)));
    }
    for ((_, frame), speaker) in network.sent.iter().zip(&network.speakers) {
        let Ok(arp) = ArpFrame::parse(frame) else { continue };
        let of_claim = [arp.sender_ip, arp.target_ip]
            .into_iter()
            .find(|ip| ![CLIENT, Ipv4Addr::UNSPECIFIED].contains(ip));
        let named = ["web", "other"].into_iter().find(|name| network.address(name) == of_claim);
        assert_eq!(named.map(full).as_deref(), Some(&**speaker), "{arp:?}");
    }
}

#[test]
fn a_question_in_the_nodes_own_name_speaks_for_the_claim_whose_release_waits_for_it() {
    let mut network = Network::new();
    ["a", "b", "web"].iter().for_each(|name| network.claim(name));
    network.run(60 * SECOND);
    let before = network.sent.len();
    network.delete("web");
    let question = ArpFrame::parse(&network.sent[before].1).unwrap();
    assert_eq!((question.operation, question.sender_ip), (Operation::Request, NODE));
    assert_eq!(*network.speakers[before], *full("web"));
    assert_eq!(network.server.count(RELEASE), 1);
}

#[test]
fn a_question_that_nobody_waits_for_any_longer_is_not_asked_again() {
    let mut network = Network::new();
    network.claim("web");
    network.run(60 * SECOND);
    network.hosts.remove(&SERVER);
    network.delete("web");
    let sent = network.sent.len();
    network.revoke("web");
    network.run(10 * SECOND);
    assert_eq!(network.sent.len(), sent);
}

#[test]
fn at_a_hand_over_two_nodes_announce_and_neither_takes_the_other_for_a_conflict() {
    let (mut before, mut after) = (Network::new(), Network::standby());
    before.claim("web");
    before.run(20 * SECOND);
    let address = before.address("web").unwrap();
    before.input(Input::Peers(BTreeSet::from([OTHER_NIC])));
    after.input(Input::Link(Some(Box::new(Link { mac: Some(OTHER_NIC), ..link() }))));
    after.input(Input::Peers(BTreeSet::from([NIC])));
    after.now = before.now;
    after.know_the_time();
    after.put(before.stored("web"));
    mem::swap(&mut after.server, &mut before.server);

    after.grant("web", 2);
    let announcements: Vec<_> = after.sent.drain(..).map(|(_, frame)| frame).collect();
    assert!(announcements.iter().any(|frame| is_announcement(frame, address, OTHER_NIC)), "at once");
    let (sent, told) = (before.sent.len(), before.reports.len());
    announcements.iter().for_each(|frame| before.frame(frame));
    assert_eq!((before.sent.len(), before.reports.len()), (sent, told), "no defence, nothing lost");
    assert_eq!(before.who_has(address), Some(NIC), "until it is revoked");
    let repeated = ArpFrame::gratuitous_request(NIC, address).build();
    for _ in 0..3 {
        after.frame(&repeated);
        after.run(2 * SECOND);
    }
    assert_eq!(after.who_has(address), Some(OTHER_NIC));
    let conflicts = "foghorn_address_conflicts_total";
    assert_eq!((before.metric(conflicts), after.metric(conflicts)), (0.0, 0.0));
    before.revoke("web");
    assert_eq!(before.who_has(address), None);

    after.input(Input::Peers(BTreeSet::new()));
    after.frame(&repeated);
    assert_eq!(after.metric(conflicts), 1.0, "it is no announcer any more");
    let told = after.conflicts.last().unwrap();
    assert_eq!((told.address, told.mac, told.defended), (address, NIC, true));
}

#[test]
fn a_lease_in_hand_when_the_interface_went_away_is_forgotten_with_the_grant() {
    for (revoked, announced) in [(true, None), (false, Some(NIC))] {
        let mut network = Network::new();
        network.publishes = false;
        network.claim("web");
        network.run(SECOND);
        let address = network.address("web").unwrap();
        network.input(Input::Link(None));
        if revoked {
            network.revoke("web");
        }
        network.grant("web", 2);
        network.input(Input::Link(Some(Box::new(link()))));
        assert_eq!(network.who_has(address), announced, "the claim's status tells of no lease");
        network.run(3 * SECOND);
        assert_eq!(network.who_has(address), Some(NIC));
    }
}

#[test]
fn a_release_that_is_cut_off_half_way_is_gone_on_with_by_the_next_holder() {
    let mut before = Network::new();
    before.claim("web");
    before.run(60 * SECOND);
    before.hosts.remove(&SERVER);
    before.delete("web");
    before.revoke("web");
    before.run(10 * SECOND);
    assert_eq!(before.server.count(RELEASE), 0);

    let mut after = Network::standby();
    after.now = before.now;
    after.know_the_time();
    after.put(before.stored("web"));
    after.server = before.server;
    after.grant("web", 2);
    after.run(SECOND);
    assert_eq!(after.server.count(RELEASE), 1);
    assert_eq!(after.last_report("web").unwrap().status.state, Some(ClaimState::Released));
}

/// A claim's state by name and as metrics count it, and how a network comes to have one in it.
type State = (&'static str, &'static str, fn(&mut Network));

const STATES: [State; 8] = [
    ("asking", r#"foghorn_leases{state="SELECTING"}"#, |network| {
        network.server.alive = false;
        begin(network, 10 * MS);
    }),
    ("asking as the node", r#"foghorn_leases{state="SELECTING"}"#, |network| {
        network.configure(|config| config.dhcp.identity = IdentityMode::NodeMac);
        network.server.alive = false;
        begin(network, 10 * MS);
    }),
    ("checking", r#"foghorn_leases{state="CHECKING"}"#, |network| begin(network, 300 * MS)),
    ("bound", r#"foghorn_leases{state="BOUND"}"#, |network| begin(network, SECOND)),
    ("renewing", r#"foghorn_leases{state="RENEWING"}"#, |network| {
        begin(network, SECOND);
        network.hosts.remove(&SERVER);
        network.run(2_000 * SECOND);
    }),
    ("confirming", r#"foghorn_leases{state="REBOOTING"}"#, |network| {
        begin(network, 2 * SECOND);
        network.revoke("web");
        network.server.alive = false;
        network.put(network.stored("web"));
        network.grant("web", 2);
        network.run(SECOND);
    }),
    ("releasing", r#"foghorn_leases{state="RELEASED"}"#, |network| {
        begin(network, 60 * SECOND);
        network.hosts.remove(&SERVER);
        network.delete("web");
        network.run(MS);
    }),
    ("in another host's way", r#"foghorn_claims{reason="HardwareAddressTaken"}"#, |network| {
        let mut claim = claim("web");
        let hardware_address = Some("02:00:5e:00:00:07".into());
        claim.spec.dhcp = DhcpRequest { hardware_address, ..DhcpRequest::default() };
        network.server.alive = false;
        network.put(claim);
        network.grant("web", 1);
        network.frame(&ArpFrame::request(GIVEN, CLIENT, NODE).build());
        network.run(20 * SECOND);
    }),
];

fn begin(network: &mut Network, time: Duration) {
    network.claim("web");
    network.grant("web", 1);
    network.run(time);
}

/// What the metrics show of claims in hand, but for zeros.
fn in_metrics(network: &Network) -> Vec<String> {
    let of_claims = ["foghorn_leases{", "foghorn_claims{", "foghorn_lease_earliest_expiry"];
    let metrics = network.metrics();
    let shown = metrics.lines().filter(|line| of_claims.iter().any(|name| line.starts_with(name)));
    shown.filter(|line| !line.ends_with(" 0")).map(str::to_owned).collect()
}

fn is_announcement(frame: &[u8], address: Ipv4Addr, mac: Mac) -> bool {
    ArpFrame::parse(frame)
        .is_ok_and(|arp| (arp.sender_ip, arp.target_ip, arp.sender_mac) == (address, address, mac))
}
