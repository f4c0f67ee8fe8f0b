//! What the configuration of a plane changes.
#![cfg(test)]

mod harness;

use std::{net::Ipv4Addr, time::Duration};

use foghorn_dhcp::{
    ClientConfig, Input, MessageKind, Mode, Output, Problem, Rejection, State, Verdict, wire,
};
use harness::{ADDRESS, Harness, OTHER_ADDRESS, OTHER_SERVER, Reply, SERVER, Sent, identity, seconds};

#[test]
fn b12_a_domain_name_takes_the_place_of_the_host_name() {
    let mut config = ClientConfig::new(identity());
    config.hostname = Some("web".to_owned());
    config.fqdn = Some("Web.shop.example.com.".to_owned());
    for sent in exchange(config) {
        assert_eq!(sent.option(81), Some(b"\x05\0\0\x03web\x04shop\x07example\x03com\0".as_slice()));
        assert_eq!(sent.option(12), None);
    }
}

#[test]
fn b12_a_domain_name_of_full_length_is_split_over_two_options() {
    let name = ["a", "b", "c"].map(|letter| letter.repeat(63)).join(".") + "." + &"d".repeat(61) + ".";
    let config = ClientConfig { fqdn: Some(name), ..ClientConfig::new(identity()) };
    for sent in exchange(config) {
        let parts: Vec<_> = sent.options.iter().filter(|(code, _)| *code == 81).collect();
        assert_eq!(parts.iter().map(|(_, value)| value.len()).collect::<Vec<_>>(), [255, 3]);
    }
}

#[test]
fn b45_classes_and_further_options_are_sent_only_where_they_are_given() {
    let mut config = ClientConfig::new(identity());
    config.vendor_class = Some(b"foghorn".to_vec());
    config.user_classes = vec![b"edge".to_vec(), Vec::new(), b"x".to_vec()];
    config.options = vec![(51, vec![0, 0, 14, 16]), (224, vec![7; 300]), (53, vec![9])];
    config.parameters = vec![1, 121, 3, 119];
    for sent in exchange(config) {
        assert_eq!(sent.option(60), Some(b"foghorn".as_slice()));
        assert_eq!(sent.option(77), Some(b"\x04edge\x01x".as_slice()));
        assert_eq!(sent.option(51), Some([0, 0, 14, 16].as_slice()));
        let long: Vec<_> = sent.options.iter().filter(|(code, _)| *code == 224).collect();
        assert_eq!(long.iter().map(|(_, value)| value.len()).sum::<usize>(), 300, "split as RFC 3396 says");
        assert_eq!(sent.option(55), Some([1, 121, 3, 119].as_slice()));
        assert_eq!(sent.options.iter().filter(|(code, _)| *code == 53).count(), 1, "the type is ours");
    }
}

#[test]
fn b46_ipv6_only_and_relay_options_are_neither_asked_for_nor_heeded() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    let asked = harness.last_sent().option(55).unwrap().to_vec();
    assert!([108, 116, 82].iter().all(|code| !asked.contains(code)), "{asked:?}");
    let odd = [(108, 1800_u32.to_be_bytes().to_vec()), (116, vec![1]), (82, vec![1, 1, 1])];
    let with = |reply: Reply| odd.iter().fold(reply, |reply, (code, value)| reply.with(*code, value));
    harness.answer(&with(Reply::offer()));
    harness.answer(&with(Reply::ack(3600)));
    harness.input(Input::Checked(Verdict::Clear));
    harness.next_timer();
    assert_eq!(harness.client.state(), State::Renewing);
    assert_eq!(harness.last_sent().option(82), None);
}

#[test]
fn b37_an_ack_to_a_discover_with_rapid_commit_is_a_lease_if_the_server_says_so_too() {
    let config = ClientConfig { rapid_commit: true, ..ClientConfig::new(identity()) };
    let mut harness = Harness::with(config, 1);
    harness.input(Input::Start);
    assert_eq!(harness.last_sent().option(80), Some([].as_slice()));
    harness.answer(&Reply::ack(60));
    assert_eq!(harness.client.state(), State::Selecting);
    harness.answer(&Reply::ack(60).with(80, &[]));
    assert_eq!(harness.client.state(), State::Checking);
    assert_eq!(harness.kinds(), [MessageKind::Discover]);
}

#[test]
fn b37_a_lease_by_rapid_commit_counts_from_the_discover_that_it_answers() {
    let config = ClientConfig { rapid_commit: true, ..ClientConfig::new(identity()) };
    let mut harness = Harness::with(config, 1);
    harness.input(Input::Start);
    let first = harness.last_sent().xid;
    // The server is away for longer than its leases last.
    harness.run(seconds(3_000));
    harness.next_timer();
    let asked = harness.now;
    harness.reply(&Reply::ack(600).with(80, &[]).xid(first));
    assert_eq!(harness.client.state(), State::Selecting, "a lease of fifty minutes ago");
    harness.advance(seconds(1));
    harness.answer(&Reply::ack(600).with(80, &[]));
    assert_eq!(harness.lease().expires_at, asked + seconds(600));
}

#[test]
fn b37_an_offer_with_rapid_commit_is_a_plain_one_and_its_request_says_nothing_of_it() {
    let config = ClientConfig { rapid_commit: true, ..ClientConfig::new(identity()) };
    let mut harness = Harness::with(config, 1);
    harness.input(Input::Start);
    harness.answer(&Reply::offer().with(80, &[]));
    assert_eq!(harness.client.state(), State::Requesting);
    assert_eq!(harness.last_sent().option(80), None);
}

#[test]
fn b34_the_best_offer_of_a_window_is_the_one_of_the_address_wished_for() {
    let mut harness = collecting();
    harness.answer(&Reply::offer().address(OTHER_ADDRESS));
    assert_eq!(harness.client.state(), State::Selecting);
    harness.answer(&Reply::offer().from(OTHER_SERVER));
    assert_eq!(harness.client.state(), State::Requesting, "nothing better can come");
    let request = harness.last_sent();
    assert_eq!((request.address(50), request.address(54)), (Some(ADDRESS), Some(OTHER_SERVER)));
}

#[test]
fn b34_without_it_the_first_offer_of_a_window_is_taken_at_its_end() {
    let mut harness = collecting();
    harness.answer(&Reply::offer().address(OTHER_ADDRESS));
    harness.answer(&Reply::offer().from(OTHER_SERVER).address(Ipv4Addr::new(192, 0, 2, 99)));
    assert_eq!(harness.next_timer(), seconds(2));
    let request = harness.last_sent();
    assert_eq!((request.address(50), request.address(54)), (Some(OTHER_ADDRESS), Some(SERVER)));
}

#[test]
fn b34_the_last_leases_server_is_preferred_to_one_that_is_faster() {
    let config = ClientConfig { offer_wait: Duration::from_secs(2), ..ClientConfig::new(identity()) };
    let mut harness = Harness::with(config, 1);
    harness.input(Input::Start);
    harness.answer(&Reply::offer());
    harness.next_timer();
    harness.answer(&Reply::ack(3600));
    harness.input(Input::Checked(Verdict::Clear));
    harness.input(Input::Conflict);
    harness.next_timer();
    harness.answer(&Reply::offer().from(OTHER_SERVER).address(OTHER_ADDRESS));
    harness.answer(&Reply::offer().address(Ipv4Addr::new(192, 0, 2, 99)));
    harness.next_timer();
    assert_eq!(harness.last_sent().address(54), Some(SERVER));
}

#[test]
fn b43_a_silent_take_over_sends_nothing_before_t1() {
    let lease = {
        let mut harness = Harness::bound(3600);
        harness.next_timer();
        harness.lease()
    };
    let config = ClientConfig { confirm_takeover: false, ..ClientConfig::new(identity()) };
    let mut harness = Harness::with(config, 2);
    harness.input(Input::Resume(lease.clone()));
    assert_eq!(harness.outputs, [Output::Bound(lease.clone())]);
    assert_eq!(harness.client.poll_timeout().unwrap().0, lease.renew_at);
    harness.next_timer();
    assert_eq!((harness.client.state(), harness.last_sent().ciaddr), (State::Renewing, ADDRESS));
}

#[test]
fn an_offer_that_is_not_to_be_had_is_passed_over_in_silence_and_named() {
    for (why, text) in [
        (Rejection::Shared, "DHCP server 192.0.2.1 gives 192.0.2.100, which it gave another Service already"),
        (
            Rejection::Refused,
            "DHCP server 192.0.2.1 offered 192.0.2.100, which may not be used here; not taken",
        ),
    ] {
        let mut harness = Harness::new();
        harness.input(Input::Start);
        reject(&mut harness, why);
        harness.run(seconds(3));
        assert_eq!(harness.kinds(), [MessageKind::Discover]);
        assert_eq!(harness.client.problem(harness.now).unwrap().to_string(), text);
        harness.answer(&Reply::offer().from(OTHER_SERVER).address(OTHER_ADDRESS));
        assert_eq!(harness.client.state(), State::Requesting, "another server has another address");
    }
}

#[test]
fn a_lease_that_another_client_here_holds_is_neither_declined_nor_given_back() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.answer(&Reply::offer());
    harness.answer(&Reply::ack(3600));
    harness.input(Input::Checked(Verdict::Shared));
    assert_eq!(harness.kinds(), [MessageKind::Discover, MessageKind::Request]);
    let shared = Problem::Shared { address: ADDRESS, server: SERVER };
    assert_eq!(harness.client.problem(harness.now), Some(shared));
    assert!(harness.timer() >= seconds(10), "{:?}", harness.timer());
}

#[test]
fn an_unreadable_answer_to_the_exchange_is_named_instead_of_silence() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    let octets = Reply::offer().with(121, &[33, 1, 2, 3]).octets();
    let fault = wire::parse(&octets).unwrap_err();
    harness.input(Input::Malformed(&fault));
    harness.run(seconds(3));
    let problem = harness.client.problem(harness.now).unwrap().to_string();
    assert_eq!(problem, "unreadable answer: DHCP option 121 has 4 octets in all");
    assert_eq!(harness.client.counters().ignored, 1);
}

#[test]
fn b44_a_reply_is_known_by_its_transaction() {
    let config = ClientConfig { mode: Mode::NodeMac, ..ClientConfig::new(identity()) };
    let mut harness = Harness::with(config, 1);
    assert_eq!(harness.client.awaits(), None);
    harness.input(Input::Start);
    assert_eq!(harness.client.awaits(), Some(harness.last_sent().xid));
    assert_eq!(wire::addressee(&Reply::offer().xid(7).octets()), Some((7, identity().hardware_address)));
    assert_eq!(wire::addressee(&[0; 33]), None);
}

fn exchange(config: ClientConfig) -> Vec<Sent> {
    let mut harness = Harness::with(config, 1);
    harness.input(Input::Start);
    harness.answer(&Reply::offer());
    harness.transmits().into_iter().map(Sent::read).collect()
}

fn collecting() -> Harness {
    let mut config = ClientConfig::new(identity());
    config.offer_wait = Duration::from_secs(2);
    config.requested_address = Some(ADDRESS);
    let mut harness = Harness::with(config, 1);
    harness.input(Input::Start);
    harness
}

fn reject(harness: &mut Harness, why: Rejection) {
    let offer = wire::parse(&Reply::offer().xid(harness.last_sent().xid).octets()).unwrap();
    harness.input(Input::Reject(&offer, why));
}
