//! What the client sends, octet by octet.
#![cfg(test)]

mod harness;

use std::net::Ipv4Addr;

use foghorn_dhcp::{ClientConfig, Destination, Input, MessageKind, Output, Verdict};
use harness::{ADDRESS, Harness, Reply, SERVER, Sent, identity, seconds};

const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

#[test]
fn b01_fixed_fields_are_those_of_an_ethernet_client() {
    for sent in one_of_each() {
        assert_eq!(sent.octets[..4], [1, 1, 6, 0], "{sent:?}");
        assert_eq!(sent.octets[16..28], [0; 12], "yiaddr, siaddr and giaddr are zero");
        assert_eq!(sent.octets[28..34], identity().hardware_address);
        assert_eq!(sent.octets[34..44], [0; 10]);
        assert_eq!(sent.octets[236..240], [99, 130, 83, 99]);
    }
}

#[test]
fn b01_ciaddr_is_zero_until_bound() {
    for sent in acquisition() {
        assert_eq!(sent.ciaddr, NONE);
    }
}

#[test]
fn b02_all_is_broadcast_from_nowhere_until_bound() {
    for sent in acquisition() {
        assert_eq!((sent.from, sent.to), (NONE, Destination::Broadcast));
    }
}

#[test]
fn b02_messages_have_300_octets_at_least() {
    for sent in one_of_each() {
        assert!(sent.octets.len() >= 300, "{sent:?}");
    }
}

#[test]
fn b03_the_selecting_request_has_the_xid_of_the_offer_and_each_other_exchange_a_new_one() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    let discover = harness.last_sent();
    harness.answer(&Reply::offer());
    assert_eq!(harness.last_sent().xid, discover.xid);
    harness.answer(&Reply::ack(60));
    harness.input(Input::Checked(Verdict::Clear));
    let mut seen = vec![discover.xid];
    harness.next_timer();
    seen.push(harness.last_sent().xid);
    harness.advance(seconds(25));
    seen.push(harness.last_sent().xid);
    harness.input(Input::LinkUp);
    seen.push(harness.last_sent().xid);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 4, "DISCOVER, renewal, rebinding and confirmation");
}

#[test]
fn b03_two_clients_have_different_xids() {
    let first_xid = |seed| {
        let mut harness = Harness::with(ClientConfig::new(identity()), seed);
        harness.input(Input::Start);
        harness.last_sent().xid
    };
    assert_ne!(first_xid(1), first_xid(2));
}

#[test]
fn b04_secs_counts_from_the_start_and_the_request_repeats_the_discovers() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    assert_eq!(harness.last_sent().secs, 0);
    let passed = harness.next_timer();
    let discover = harness.last_sent();
    assert_eq!(u64::from(discover.secs), passed.as_secs());
    harness.now += seconds(2);
    harness.answer(&Reply::offer());
    assert_eq!(harness.last_sent().secs, discover.secs);
    harness.next_timer();
    assert_eq!(harness.last_sent().secs, discover.secs, "also when repeated");
}

#[test]
fn b04_secs_saturates() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.advance(seconds(100_000));
    assert_eq!(harness.last_sent().secs, u16::MAX);
}

#[test]
fn b05_every_message_has_the_same_client_identifier() {
    for sent in one_of_each() {
        assert_eq!(sent.option(61), Some(identity().client_id.as_slice()), "{sent:?}");
    }
}

#[test]
fn b06_discover_and_request_ask_for_the_same_parameters_and_tell_a_maximum_size() {
    let sent = acquisition();
    let parameters = sent[0].option(55).unwrap();
    assert_eq!(parameters, [1, 121, 3, 51, 54, 58, 59], "classless routes before the router");
    for sent in &sent {
        assert_eq!(sent.option(55), Some(parameters));
        let maximum = u16::from_be_bytes(sent.option(57).unwrap().try_into().unwrap());
        assert!(maximum >= 576);
    }
}

#[test]
fn b06_the_parameters_keep_their_order() {
    let parameters = vec![1, 121, 3, 51];
    let mut harness = Harness::with(ClientConfig { parameters, ..ClientConfig::new(identity()) }, 1);
    harness.input(Input::Start);
    assert_eq!(harness.last_sent().option(55), Some([1, 121, 3, 51].as_slice()));
}

#[test]
fn b07_selecting_request_names_the_address_and_the_server() {
    let request = &acquisition()[1];
    assert_eq!(request.option(53), Some([3].as_slice()));
    assert_eq!((request.address(50), request.address(54)), (Some(ADDRESS), Some(SERVER)));
}

#[test]
fn b08_init_reboot_request_names_the_address_and_no_server() {
    let mut harness = Harness::bound(3600);
    harness.input(Input::LinkUp);
    let request = harness.last_sent();
    assert_eq!(request.option(53), Some([3].as_slice()));
    assert_eq!((request.address(50), request.address(54)), (Some(ADDRESS), None));
    assert_eq!((request.ciaddr, request.from, request.to), (NONE, NONE, Destination::Broadcast));
}

#[test]
fn b09_renewing_request_has_ciaddr_and_no_server_id() {
    let mut harness = Harness::with(ClientConfig { broadcast: true, ..ClientConfig::new(identity()) }, 1);
    harness.acquire(&Reply::ack(3600));
    harness.next_timer();
    let request = harness.last_sent();
    assert_eq!(request.option(53), Some([3].as_slice()));
    assert_eq!((request.address(50), request.address(54)), (None, None));
    assert_eq!((request.ciaddr, request.from, request.to), (ADDRESS, ADDRESS, Destination::Server(SERVER)));
    assert!(!request.broadcast);
}

#[test]
fn b10_rebinding_request_is_a_renewal_by_broadcast() {
    let mut harness = Harness::bound(3600);
    harness.advance(seconds(3300));
    let request = harness.last_sent();
    assert_eq!((request.address(50), request.address(54)), (None, None));
    assert_eq!((request.ciaddr, request.from, request.to), (ADDRESS, ADDRESS, Destination::Broadcast));
    assert!(!request.broadcast);
}

#[test]
fn b11_decline_is_broadcast_with_address_and_server_and_without_parameters() {
    let decline = declined();
    assert_eq!(decline.option(53), Some([4].as_slice()));
    assert_eq!((decline.address(50), decline.address(54)), (Some(ADDRESS), Some(SERVER)));
    assert_eq!((decline.ciaddr, decline.from, decline.to), (NONE, NONE, Destination::Broadcast));
    assert_eq!(decline.option(55), None);
}

#[test]
fn b11_release_is_unicast_to_the_server_and_sent_once() {
    let mut harness = Harness::bound(3600);
    harness.input(Input::Release);
    let release = harness.last_sent();
    assert_eq!(release.option(53), Some([7].as_slice()));
    assert_eq!((release.address(50), release.address(54)), (None, Some(SERVER)));
    assert_eq!((release.ciaddr, release.from, release.to), (ADDRESS, ADDRESS, Destination::Server(SERVER)));
    assert_eq!(release.option(55), None);
    assert_eq!(harness.outputs.last(), Some(&Output::Released));
    harness.input(Input::Release);
    harness.run(seconds(10_000));
    assert_eq!(harness.kinds(), [MessageKind::Release]);
}

#[test]
fn b12_the_hostname_is_in_discover_and_request() {
    let hostname = Some("Web_1.default".to_owned());
    let mut harness = Harness::with(ClientConfig { hostname, ..ClientConfig::new(identity()) }, 1);
    harness.input(Input::Start);
    harness.answer(&Reply::offer());
    for sent in harness.transmits() {
        assert_eq!(Sent::read(sent).option(12), Some(b"web-1.default".as_slice()));
    }
    assert_eq!(acquisition()[0].option(12), None);
}

#[test]
fn b34_a_wish_is_in_the_discover_and_an_offer_of_another_address_is_taken() {
    let requested_address = Some(Ipv4Addr::new(192, 0, 2, 77));
    let mut harness = Harness::with(ClientConfig { requested_address, ..ClientConfig::new(identity()) }, 1);
    harness.input(Input::Start);
    assert_eq!(harness.last_sent().address(50), requested_address);
    harness.answer(&Reply::offer());
    assert_eq!(harness.last_sent().address(50), Some(ADDRESS));
}

#[test]
fn b41_the_broadcast_flag_is_tried_the_other_way_after_two_silent_discovers() {
    for broadcast in [false, true] {
        let mut harness = Harness::with(ClientConfig { broadcast, ..ClientConfig::new(identity()) }, 1);
        harness.input(Input::Start);
        (0..4).for_each(|_| {
            harness.next_timer();
        });
        let flags: Vec<bool> = harness.transmits().iter().map(|sent| Sent::read(sent).broadcast).collect();
        assert_eq!(flags, [broadcast, broadcast, !broadcast, broadcast, !broadcast]);
        harness.answer(&Reply::offer());
        assert_eq!(harness.last_sent().broadcast, !broadcast, "what was answered is kept");
    }
}

#[test]
fn b45_nothing_else_is_told_about_the_client() {
    for sent in one_of_each() {
        for (code, _) in &sent.options {
            assert!([50, 53, 54, 55, 57, 61].contains(code), "option {code}");
        }
    }
}

/// DISCOVER and selecting REQUEST.
fn acquisition() -> Vec<Sent> {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.answer(&Reply::offer());
    harness.transmits().into_iter().map(Sent::read).collect()
}

fn declined() -> Sent {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.answer(&Reply::offer());
    harness.answer(&Reply::ack(3600));
    harness.input(Input::Checked(Verdict::Conflict));
    harness.last_sent()
}

/// DISCOVER, the four forms of REQUEST, RELEASE and DECLINE.
fn one_of_each() -> Vec<Sent> {
    let mut harness = Harness::bound(3600);
    harness.next_timer();
    harness.advance(seconds(1500));
    harness.input(Input::LinkUp);
    harness.input(Input::Release);
    let mut sent = acquisition();
    sent.extend(harness.transmits().into_iter().map(Sent::read));
    sent.push(declined());
    assert_eq!(sent.iter().map(|s| s.option(53).unwrap()[0]).collect::<Vec<_>>(), [1, 3, 3, 3, 3, 7, 4]);
    sent
}
