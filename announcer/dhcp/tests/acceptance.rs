//! Which replies count.
#![cfg(test)]

mod harness;

use std::net::Ipv4Addr;

use foghorn_dhcp::{
    Input, Lease, MessageKind, Output, State, Verdict,
    wire::{self, WireError},
};
use harness::{ACK, ADDRESS, Harness, OFFER, OTHER_ADDRESS, OTHER_SERVER, Reply, SERVER, identity, seconds};

#[test]
fn a_well_formed_reply_is_read_in_full() {
    let octets = Reply::ack(60).xid(7).with(58, &[0, 0, 0, 30]).with(59, &[0, 0, 0, 50]).octets();
    let reply = wire::parse(&octets).unwrap();
    assert_eq!(reply.kind, wire::ReplyKind::Ack);
    assert_eq!((reply.xid, reply.hardware_address), (7, identity().hardware_address));
    assert_eq!((reply.address, reply.server_id), (ADDRESS, Some(SERVER)));
    assert_eq!((reply.lease_time, reply.renewal_time, reply.rebinding_time), (Some(60), Some(30), Some(50)));
    assert_eq!(reply.subnet_mask, Some(Ipv4Addr::new(255, 255, 255, 0)));
    assert_eq!(reply.routers, [Ipv4Addr::new(192, 0, 2, 254)]);
    assert_eq!((reply.client_id, reply.message), (None, None));
}

#[test]
fn b13_what_is_no_reply_for_an_ethernet_client_is_refused_by_its_cause() {
    let with = |at: usize, value: u8| {
        let mut octets = Reply::offer().octets();
        octets[at] = value;
        wire::parse(&octets).unwrap_err()
    };
    assert_eq!(with(0, 1), WireError::NotAReply(1));
    assert_eq!(with(1, 6), WireError::NotEthernet { htype: 6, hlen: 6 });
    assert_eq!(with(2, 255), WireError::NotEthernet { htype: 1, hlen: 255 });
    assert_eq!(with(239, 98), WireError::Cookie);
    assert_eq!(wire::parse(&Reply::offer().octets()[..239]).unwrap_err(), WireError::Short(239));
}

#[test]
fn b13_a_reply_has_one_message_type() {
    let parse = |reply: Reply| wire::parse(&reply.octets()).unwrap_err();
    assert_eq!(parse(Reply::offer().with(53, &[ACK])), WireError::OptionLength { code: 53, length: 2 });
    assert_eq!(parse(Reply::offer().without(53)), WireError::NoMessageType);
    assert_eq!(parse(Reply::new(1)), WireError::MessageType(1));
}

#[test]
fn b38_forcerenew_is_not_read() {
    assert_eq!(wire::parse(&Reply::new(9).octets()).unwrap_err(), WireError::MessageType(9));
}

#[test]
fn options_of_wrong_length_are_refused() {
    for (code, length) in [(1, 3), (51, 2), (51, 8), (54, 0), (58, 5), (59, 3), (3, 0), (3, 6), (52, 2)] {
        let reply = Reply::new(OFFER).without(code).with(code, &vec![0; length]);
        let error = wire::parse(&reply.octets()).unwrap_err();
        assert_eq!(error, WireError::OptionLength { code, length });
    }
}

#[test]
fn an_option_that_reaches_past_the_end_is_refused() {
    let mut octets = Reply::offer().octets();
    octets.pop();
    octets.extend([61, 200, 1]);
    assert_eq!(wire::parse(&octets).unwrap_err(), WireError::OptionTruncated(61));
    octets.truncate(octets.len() - 2);
    assert_eq!(wire::parse(&octets).unwrap_err(), WireError::OptionTruncated(61));
}

#[test]
fn a_mask_with_holes_is_refused() {
    let reply = Reply::offer().with(1, &[255, 0, 255, 0]);
    assert_eq!(wire::parse(&reply.octets()), Err(WireError::SubnetMask(Ipv4Addr::new(255, 0, 255, 0))));
}

#[test]
fn a_hostname_that_is_no_text_hides_no_later_option() {
    let reply = Reply::offer().with(12, &[0xff, 0xfe]).with(3, &[192, 0, 2, 254]);
    assert_eq!(wire::parse(&reply.octets()).unwrap().routers, [Ipv4Addr::new(192, 0, 2, 254)]);
}

#[test]
fn what_a_server_says_is_shown_without_control_characters() {
    let nak = Reply::nak().without(56).with(56, b"no\x1b[31m\nlease\xff");
    assert_eq!(wire::parse(&nak.octets()).unwrap().message.as_deref(), Some("no[31mlease\u{fffd}"));
}

#[test]
fn b13_replies_for_others_are_ignored() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    let xid = harness.last_sent().xid;
    harness.reply(&Reply::offer().xid(xid.wrapping_add(1)));
    let mut foreign = Reply::offer().xid(xid);
    foreign.hardware_address[5] ^= 1;
    harness.reply(&foreign);
    assert_eq!(harness.client.state(), State::Selecting);
    assert_eq!(harness.client.counters().ignored, 2);
}

#[test]
fn b14_a_reply_with_a_foreign_client_identifier_is_ignored() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.answer(&Reply::offer().with(61, &[1, 2, 3]));
    assert_eq!(harness.client.state(), State::Selecting);
    harness.answer(&Reply::offer().with(61, &identity().client_id));
    assert_eq!(harness.client.state(), State::Requesting);
}

#[test]
fn b15_an_offer_without_server_or_lease_time_or_of_no_hosts_address_is_ignored() {
    let unusable = [
        Reply::offer().without(54),
        Reply::offer().from(Ipv4Addr::UNSPECIFIED),
        Reply::offer().without(51),
        Reply::offer().address(Ipv4Addr::UNSPECIFIED),
        Reply::offer().address(Ipv4Addr::new(224, 0, 0, 5)),
        Reply::offer().address(Ipv4Addr::BROADCAST),
        Reply::offer().address(Ipv4Addr::LOCALHOST),
    ];
    for offer in unusable {
        let mut harness = Harness::new();
        harness.input(Input::Start);
        harness.answer(&offer);
        assert_eq!(harness.client.state(), State::Selecting, "{offer:?}");
        let problem = harness.client.problem(harness.now).unwrap().to_string();
        assert!(problem.starts_with("unusable OFFER from"), "{problem}");
    }
}

#[test]
fn b16_a_split_option_is_put_together() {
    let reply = Reply::offer().with(3, &[192, 0]).with(3, &[2, 254]).with(0, &[]);
    assert_eq!(wire::parse(&reply.octets()).unwrap().routers, [Ipv4Addr::new(192, 0, 2, 254)]);
}

#[test]
fn b16_overload_says_where_more_options_are() {
    let router = [3, 4, 192, 0, 2, 254, 255];
    let mask = [1, 4, 255, 255, 255, 0, 255];
    let read = |overload: Option<u8>| {
        let mut reply = Reply::offer();
        reply.file = router.to_vec();
        reply.sname = mask.to_vec();
        if let Some(value) = overload {
            reply = reply.with(52, &[value]);
        }
        wire::parse(&reply.octets()).map(|reply| (reply.routers.len(), reply.subnet_mask.is_some()))
    };
    assert_eq!(read(None), Ok((0, false)));
    assert_eq!(read(Some(1)), Ok((1, false)));
    assert_eq!(read(Some(2)), Ok((0, true)));
    assert_eq!(read(Some(3)), Ok((1, true)));
    assert_eq!(read(Some(4)), Err(WireError::Overload(4)));
}

#[test]
fn b16_an_option_split_over_fields_is_put_together_in_the_order_of_the_fields() {
    let mut reply = Reply::offer().with(52, &[3]).with(3, &[192]);
    reply.file = vec![3, 2, 0, 2];
    reply.sname = vec![3, 1, 254];
    assert_eq!(wire::parse(&reply.octets()).unwrap().routers, [Ipv4Addr::new(192, 0, 2, 254)]);
}

#[test]
fn b17_the_ack_counts_and_not_the_offer() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.answer(&Reply::offer().with(3, &[192, 0, 2, 9]));
    harness.answer(&Reply::ack(60).address(OTHER_ADDRESS));
    let lease = harness.lease();
    assert_eq!(lease.address, OTHER_ADDRESS);
    assert_eq!(lease.expires_at, harness.now + seconds(60));
    assert_eq!(lease.routers, [Ipv4Addr::new(192, 0, 2, 254)]);
}

#[test]
fn b18_an_ack_without_lease_time_is_ignored() {
    for ack in [Reply::ack(60).without(51), Reply::ack(0)] {
        let mut harness = Harness::new();
        harness.input(Input::Start);
        harness.answer(&Reply::offer());
        harness.answer(&ack);
        assert_eq!(harness.client.state(), State::Requesting);
    }
}

#[test]
fn b19_a_lease_without_mask_or_router_is_a_lease() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.answer(&Reply::offer());
    harness.answer(&Reply::ack(60).without(1).without(3));
    let lease = harness.lease();
    assert_eq!((lease.subnet_mask, lease.routers), (None, vec![]));
}

#[test]
fn classless_routes_lead_to_a_server_behind_a_router() {
    let mut harness = Harness::new();
    let routes = [0, 192, 0, 2, 254, 24, 198, 51, 100, 192, 0, 2, 253, 32, 198, 51, 100, 7, 0, 0, 0, 0];
    harness.acquire(&Reply::ack(3600).with(121, &routes));
    let hop = |octets: [u8; 4]| harness.lease().next_hop(octets.into()).map(|hop| hop.octets());
    assert_eq!(hop([192, 0, 2, 9]), Some([192, 0, 2, 9]), "on the link");
    assert_eq!(hop([198, 51, 100, 9]), Some([192, 0, 2, 253]));
    assert_eq!(hop([198, 51, 100, 7]), Some([198, 51, 100, 7]), "a route without a gateway is on the link");
    assert_eq!(hop([203, 0, 113, 9]), Some([192, 0, 2, 254]));
    let lease = harness.lease();
    let without_mask = Lease { subnet_mask: None, routes: Vec::new(), ..lease };
    let router = Some(Ipv4Addr::new(192, 0, 2, 254));
    assert_eq!(
        without_mask.next_hop(Ipv4Addr::new(192, 0, 2, 9)),
        router,
        "b19: nothing is known to be on the link"
    );
    let plain = Harness::bound(3600).lease();
    assert_eq!(plain.next_hop(Ipv4Addr::new(203, 0, 113, 9)), Some(Ipv4Addr::new(192, 0, 2, 254)));
}

#[test]
fn the_router_of_a_lease_is_in_the_network_of_its_address() {
    let plain = Harness::bound(3600).lease();
    let near = |last| Some(Ipv4Addr::new(192, 0, 2, last));
    assert_eq!(plain.router(), near(254));
    let far = Ipv4Addr::new(198, 51, 100, 1);
    for changed in [
        Lease { subnet_mask: None, ..plain.clone() },
        Lease { routers: Vec::new(), ..plain.clone() },
        Lease { routers: vec![far], ..plain.clone() },
        Lease { routers: vec![plain.address], ..plain.clone() },
    ] {
        assert_eq!(changed.router(), None, "{changed:?}");
    }
    let mut harness = Harness::new();
    harness.acquire(&Reply::ack(3600).with(121, &[24, 198, 51, 100, 192, 0, 2, 253, 0, 192, 0, 2, 252]));
    let mut classless = harness.lease();
    assert_eq!(classless.router(), near(252), "the default route");
    classless.routes.pop();
    assert_eq!(classless.router(), near(253), "without one, another router");
}

#[test]
fn b34_the_first_usable_offer_is_taken_and_later_ones_are_ignored() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.answer(&Reply::offer());
    harness.answer(&Reply::offer().from(OTHER_SERVER).address(OTHER_ADDRESS));
    assert_eq!(harness.kinds(), [MessageKind::Discover, MessageKind::Request]);
    assert_eq!(harness.last_sent().address(54), Some(SERVER));
}

#[test]
fn b34_an_ack_from_another_server_than_the_one_asked_is_ignored() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.answer(&Reply::offer());
    harness.answer(&Reply::ack(60).from(OTHER_SERVER));
    harness.answer(&Reply::ack(60).without(54));
    assert_eq!(harness.client.state(), State::Requesting);
}

#[test]
fn b37_an_ack_to_a_discover_is_ignored_also_with_rapid_commit() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.answer(&Reply::ack(60));
    harness.answer(&Reply::ack(60).with(80, &[]));
    assert_eq!(harness.client.state(), State::Selecting);
    harness.answer(&Reply::offer().with(80, &[]));
    assert_eq!(harness.client.state(), State::Requesting, "an OFFER with it is a plain one");
}

#[test]
fn a_repeated_ack_changes_nothing() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.answer(&Reply::offer());
    harness.answer(&Reply::ack(60));
    harness.answer(&Reply::ack(600));
    harness.input(Input::Checked(Verdict::Clear));
    harness.answer(&Reply::ack(600));
    assert_eq!(harness.lease().expires_at, harness.now + seconds(60));
    assert_eq!(harness.outputs.iter().filter(|output| matches!(output, Output::Bound(_))).count(), 1);
}

#[test]
fn an_ack_that_waited_longer_than_its_lease_is_ignored() {
    let mut harness = Harness::new();
    harness.input(Input::Start);
    harness.answer(&Reply::offer());
    harness.now += seconds(61);
    harness.answer(&Reply::ack(60));
    assert!(harness.client.lease().is_none());
}
