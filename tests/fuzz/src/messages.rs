//! BOOTP messages of strangers.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, MessageType};
use foghorn_dhcp::{
    Route,
    wire::{self, Reply, ReplyKind},
};
use foghorn_sim::messages::answer;
use ipnet::Ipv4Net;

/// Reads the octets as a message, and as the options of one that is right but for them.
pub fn fuzz(octets: &[u8]) {
    message(octets);
    let hardware_address = [2, 0, 0, 0, 0, 1];
    let offer = answer(MessageType::Offer, 1, hardware_address, Ipv4Addr::LOCALHOST, []);
    let mut offer = offer.unwrap_or_default();
    // In place of the end mark.
    offer.pop();
    offer.extend(octets);
    message(&offer);
}

fn message(octets: &[u8]) {
    let addressee = wire::addressee(octets);
    let Ok(reply) = wire::parse(octets) else { return };
    assert_eq!(addressee, Some((reply.xid, reply.hardware_address)));
    let has_room = octets.len() - 240;
    assert!(octets.starts_with(&[2, 1, 6]));
    if let Some(mask) = reply.subnet_mask.map(Ipv4Addr::to_bits) {
        assert_eq!(mask.leading_ones() + mask.count_zeros(), 32, "a mask with holes");
    }
    // 192 are those of `file` and `sname`.
    assert!(reply.routers.len() * 4 <= has_room + 192, "more routers than octets");
    for Route { destination, prefix_length, .. } in &reply.routes {
        let host = u32::MAX.checked_shr(u32::from(*prefix_length)).unwrap_or_default();
        assert!(*prefix_length <= 32 && destination.to_bits() & host == 0, "a route with a host in it");
    }
    if let Some(text) = &reply.message {
        assert!(!text.is_empty() && text.chars().count() <= 200 && !text.contains(char::is_control));
    }

    let padded = [octets, &[0; 60]].concat();
    assert_eq!(wire::parse(&padded).as_ref(), Ok(&reply), "padding matters");
    let written = written(&reply).map(|octets| wire::parse(&octets));
    // dhcproto leaves out what has no octets.
    let client_id = reply.client_id.clone().filter(|id| !id.is_empty());
    assert_eq!(written, Some(Ok(Reply { client_id, ..reply })), "written and read again");
}

/// The reply as another implementation writes it.
fn written(reply: &Reply) -> Option<Vec<u8>> {
    let kind = match reply.kind {
        ReplyKind::Offer => MessageType::Offer,
        ReplyKind::Ack => MessageType::Ack,
        ReplyKind::Nak => MessageType::Nak,
    };
    let routers = Some(reply.routers.clone()).filter(|routers| !routers.is_empty());
    let route =
        |route: &Route| Some((Ipv4Net::new(route.destination, route.prefix_length).ok()?, route.gateway));
    let routes =
        Some(reply.routes.iter().filter_map(route).collect::<Vec<_>>()).filter(|routes| !routes.is_empty());
    let options = [
        reply.server_id.map(DhcpOption::ServerIdentifier),
        reply.lease_time.map(DhcpOption::AddressLeaseTime),
        reply.renewal_time.map(DhcpOption::Renewal),
        reply.rebinding_time.map(DhcpOption::Rebinding),
        reply.subnet_mask.map(DhcpOption::SubnetMask),
        routers.map(DhcpOption::Router),
        reply.client_id.clone().map(DhcpOption::ClientIdentifier),
        reply.message.clone().map(DhcpOption::Message),
        routes.map(DhcpOption::ClasslessStaticRoute),
        reply.rapid_commit.then_some(DhcpOption::RapidCommit),
    ];
    answer(kind, reply.xid, reply.hardware_address, reply.address, options.into_iter().flatten())
}
