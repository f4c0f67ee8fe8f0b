//! How frames are made, and how the client finds out what the network carries.
#![cfg(test)]

mod harness;

use foghorn_dhcp::{ClientConfig, Destination, Input, MessageKind, Mode, State};
use harness::{ADDRESS, Harness, OTHER_ADDRESS, Reply, Sent, identity, seconds};

#[test]
fn b41_without_the_claims_own_hardware_address_on_the_frame_a_broadcast_is_asked_for() {
    for mode in [Mode::VirtualChaddr, Mode::NodeMac] {
        let mut harness = Harness::with(ClientConfig { mode, ..ClientConfig::new(identity()) }, 1);
        harness.acquire(&Reply::ack(3600));
        assert_eq!(harness.client.mode(), Some(mode));
        harness.next_timer();
        // The holder of an address receives what is sent to it; but not what is sent to a `chaddr` that is not its own.
        assert_eq!(harness.last_sent().broadcast, mode == Mode::VirtualChaddr);
        harness.input(Input::LinkUp);
        assert!(harness.last_sent().broadcast);
        assert!(harness.transmits().iter().all(|sent| sent.mode == mode));
    }
}

#[test]
fn b41_the_interfaces_hardware_address_is_tried_after_two_silent_discovers() {
    let mut harness = finding();
    assert_eq!(harness.client.mode(), None);
    harness.next_timer();
    harness.next_timer();
    let (mac, chaddr) = (Mode::VirtualMac, Mode::VirtualChaddr);
    assert_eq!(modes(&harness), [mac, mac, chaddr]);
    assert!(harness.last_sent().broadcast);
    let offer = Reply::offer().xid(harness.last_sent().xid);
    harness.reply(&offer);
    assert_eq!(modes(&harness), [mac, mac, chaddr, mac], "one more try, lest the server was only slow");
    assert_eq!(harness.client.state(), State::Selecting);
    assert_eq!(harness.next_timer(), seconds(1));
    assert_eq!(harness.client.state(), State::Requesting);
    assert_eq!(modes(&harness).last(), Some(&chaddr));
    harness.answer(&Reply::ack(3600));
    assert_eq!(harness.client.mode(), Some(chaddr));
}

#[test]
fn a_server_that_was_away_is_answered_by_the_preferred_way_once_it_is_back() {
    let mut harness = finding();
    (0..4).for_each(|_| {
        harness.next_timer();
    });
    assert_eq!(modes(&harness).last(), Some(&Mode::VirtualChaddr));
    let offer = Reply::offer().xid(harness.last_sent().xid);
    harness.reply(&offer);
    harness.answer(&Reply::offer());
    assert_eq!((harness.client.state(), harness.client.mode()), (State::Requesting, Some(Mode::VirtualMac)));
}

#[test]
fn a_late_answer_counts_for_the_way_that_it_answers() {
    let mut harness = finding();
    let first = harness.last_sent().xid;
    harness.next_timer();
    harness.next_timer();
    harness.reply(&Reply::offer().xid(first));
    assert_eq!((harness.client.state(), harness.client.mode()), (State::Requesting, Some(Mode::VirtualMac)));
    assert_eq!(harness.last_sent().xid, first);
}

#[test]
fn what_was_found_is_kept_under_a_lease_and_begun_with_after_it() {
    let mut harness = finding();
    harness.next_timer();
    harness.next_timer();
    let offer = Reply::offer().xid(harness.last_sent().xid);
    harness.reply(&offer);
    harness.next_timer();
    harness.answer(&Reply::ack(3600));
    harness.input(Input::Checked(foghorn_dhcp::Verdict::Clear));
    harness.outputs.clear();
    harness.run(seconds(3600));
    assert!(modes(&harness).iter().all(|mode| *mode == Mode::VirtualChaddr), "{:?}", modes(&harness));
    let offer = Reply::offer().address(OTHER_ADDRESS).xid(harness.last_sent().xid);
    harness.reply(&offer);
    assert_eq!(harness.client.state(), State::Requesting, "no second doubt");
    assert!(harness.kinds().contains(&MessageKind::Discover));
}

#[test]
fn a_confirmation_is_no_trial() {
    let mut harness = bound();
    harness.input(Input::LinkUp);
    harness.run(seconds(1700));
    assert_eq!(modes(&harness), [Mode::VirtualMac; 3]);
    assert_eq!(harness.lease().address, ADDRESS);
}

#[test]
fn a_lease_that_is_not_extended_by_the_known_way_is_by_the_other() {
    let (mac, chaddr) = (Mode::VirtualMac, Mode::VirtualChaddr);
    let mut harness = bound();
    harness.run(seconds(3500));
    let extensions = modes(&harness);
    assert_eq!(extensions[..3], [mac, chaddr, mac], "renewals");
    let mut harness = bound();
    harness.next_timer();
    harness.next_timer();
    assert_eq!(modes(&harness), [mac, chaddr]);
    harness.answer(&Reply::ack(3600));
    assert_eq!((harness.client.state(), harness.client.mode()), (State::Bound, Some(mac)));
    harness.next_timer();
    assert_eq!(modes(&harness), [mac, chaddr, mac], "the known way is the first again");
}

#[test]
fn each_state_of_an_extension_begins_by_the_known_way() {
    let mut harness = bound();
    harness.run(seconds(3590));
    let sent = harness.transmits();
    let first = sent.iter().position(|sent| sent.to == Destination::Broadcast).unwrap();
    assert_eq!(sent[first].mode, Mode::VirtualMac, "rebinding");
    assert_eq!(sent[first + 1].mode, Mode::VirtualChaddr);
    harness.run(seconds(20));
    let discover = harness.transmits().into_iter().find(|sent| sent.kind == MessageKind::Discover).unwrap();
    assert_eq!(discover.mode, Mode::VirtualMac);
}

#[test]
fn a_way_that_is_given_is_the_only_one() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.run(seconds(600));
    assert!(modes(&harness).iter().all(|mode| *mode == Mode::VirtualMac));
    let xids: Vec<u32> = harness.transmits().iter().map(|sent| Sent::read(sent).xid).collect();
    assert!(xids.iter().all(|xid| *xid == xids[0]), "one transaction");
}

fn finding() -> Harness {
    let config = ClientConfig { finds_mode: true, ..ClientConfig::new(identity()) };
    let mut harness = Harness::with(config, 1);
    harness.input(Input::Start);
    harness
}

/// A client that has found out that its own MAC address is carried, with a lease of an hour.
fn bound() -> Harness {
    let mut harness = finding();
    harness.answer(&Reply::offer());
    harness.answer(&Reply::ack(3600));
    harness.input(Input::Checked(foghorn_dhcp::Verdict::Clear));
    harness.outputs.clear();
    harness
}

fn modes(harness: &Harness) -> Vec<Mode> {
    harness.transmits().iter().map(|sent| sent.mode).collect()
}
