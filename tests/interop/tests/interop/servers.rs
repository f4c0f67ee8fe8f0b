//! What Foghorn's clients and each DHCP server have to say to each other.

use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use foghorn_crds::{AddressClaim, conditions::reasons};
use foghorn_interop::{
    Refuses, SOON, Scope, Server, W1, W2, World, address, claim, config, relay, virtual_mac, with_each,
};
use foghorn_lab::{topology::Network, until};

with_each!(
    { dnsmasq: Dnsmasq, kea: Kea, isc_dhcpd: IscDhcpd, busybox_udhcpd: Udhcpd }:
    a_lease_is_acquired_renewed_by_unicast_and_given_back,
    another_node_goes_on_with_the_lease,
    another_server_with_the_same_leases_extends_one_when_the_first_is_gone,
    a_server_that_has_lost_its_leases_gives_the_same_address_again,
    after_a_change_of_range_a_claim_moves_to_a_new_address,
    a_network_that_is_renumbered_moves_its_claims,
    a_node_that_takes_over_a_forgotten_lease_gets_another_address,
    an_address_is_reserved_by_hardware_address,
    an_address_that_is_wished_for_is_given,
    an_address_that_is_in_use_is_not_taken,
    many_claims_have_as_many_leases,
    a_lease_that_came_through_a_relay_is_renewed_through_the_router,
);

// udhcpd says nothing to a renewal of what it does not know.
with_each!(
    { dnsmasq: Dnsmasq, kea: Kea, isc_dhcpd: IscDhcpd }:
    a_renewal_of_an_address_that_is_leased_to_another_by_now_is_refused,
);

// The others have no such thing.
with_each!(
    { dnsmasq: Dnsmasq, isc_dhcpd: IscDhcpd }:
    an_address_is_not_answered_for_while_the_server_looks_whether_it_is_in_use,
);

fn a_lease_is_acquired_renewed_by_unicast_and_given_back<S: Server>() {
    let (world, server, _node, leased) = World::leasing::<S>(&Scope::default());

    let leases = server.leases().unwrap();
    assert_eq!(leases.len(), 1, "{leases:?}");
    assert_eq!(leases[0].address, leased);
    assert_eq!(leases[0].mac, virtual_mac("web"));
    assert_eq!(leases[0].host_name.as_deref(), Some("web-default"));
    assert_eq!(world.who_has(leased), [W1]);

    world.renewed(&["web"]);
    let renewal = world.wire.wait_for(&[&format!("{leased}.68 > 203.0.113.2.67"), "Request"], SOON).unwrap();
    assert!(renewal.contains(&format!("Client-IP {leased}")), "{renewal}");
    assert!(world.store.reports("web").iter().all(|status| status.address.is_none_or(|a| a == leased)));
    assert_eq!(world.wire.with(&["NACK"]), Vec::<String>::new());

    world.store.delete("web");
    until("the lease is gone from the server's store", SOON, || {
        Ok(server.leases()?.is_empty().then_some(()))
    })
    .unwrap();
    assert_eq!(world.who_has(leased), Vec::<String>::new());
}

fn another_node_goes_on_with_the_lease<S: Server>() {
    let (world, server, first, leased) = World::leasing::<S>(&Scope::default());
    first.stop();
    assert_eq!(world.who_has(leased), Vec::<String>::new());

    world.wire.clear();
    let _second = world.node(2, config());
    let confirmation = world.wire.wait_for(&["0.0.0.0.68 > 255.255.255.255.67", "Request"], SOON).unwrap();
    assert!(confirmation.contains(&format!("Requested-IP (50), length 4: {leased}")), "{confirmation}");
    assert!(!confirmation.contains("Server-ID (54), length"), "{confirmation}");
    world.wire.wait_for(&["203.0.113.2.67 >", "ACK"], SOON).unwrap();
    world.until("the second node holds it", "web", 10, |status| {
        (status.holder.as_deref()? == "w2").then_some(())
    });
    assert_eq!(world.store.status("web").address, Some(leased));
    assert_eq!(world.who_has(leased), [W2]);
    assert_eq!(server.leases().unwrap().len(), 1);

    let renewal = [&format!("{leased}.68 > 203.0.113.2.67") as &str, "Request"];
    world.wire.wait_for(&renewal, SOON).unwrap();
    assert_eq!(world.wire.with(&["Discover"]), Vec::<String>::new());
}

fn another_server_with_the_same_leases_extends_one_when_the_first_is_gone<S: Server>() {
    let world = World::new();
    let first: S = world.server("server", 2, &Scope::default());
    let second = S::on(world.host("another", 3));
    let _node = world.node(1, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    first.leases().unwrap();
    first.stop().unwrap();
    second.inherit(&first).unwrap();
    second.start(&Scope::default()).unwrap();

    let rebinding = [&format!("{leased}.68 > 255.255.255.255.67") as &str, "Request"];
    world.wire.wait_for(&rebinding, SOON).unwrap();
    world.until("the lease is the second server's", "web", 10, |status| {
        (status.lease.as_ref()?.server == address(3)).then_some(())
    });
    assert_eq!(world.store.status("web").address, Some(leased));
    assert_eq!(world.who_has(leased), [W1]);
    assert_eq!(second.leases().unwrap().len(), 1);
}

/// As routers do that keep them in memory and are switched off and on.
fn a_server_that_has_lost_its_leases_gives_the_same_address_again<S: Server>() {
    let (world, server, _node, leased) = World::leasing::<S>(&Scope::default());
    server.stop().unwrap();
    server.forget().unwrap();
    server.start(&Scope::default()).unwrap();
    until("the server knows it again", Duration::from_secs(60), || {
        Ok(server.leases()?.iter().any(|lease| lease.address == leased).then_some(()))
    })
    .unwrap();
    world.until("it is announced", "web", 10, |status| (status.address? == leased).then_some(()));
    assert!(world.store.reports("web").iter().all(|status| status.address.is_none_or(|a| a == leased)));
    assert_eq!(server.leases().unwrap()[0].mac, virtual_mac("web"));
    assert_eq!(world.who_has(leased), [W1]);
}

fn after_a_change_of_range_a_claim_moves_to_a_new_address<S: Server>() {
    let (world, server, _node, before) = World::leasing::<S>(&Scope::default());
    server.stop().unwrap();
    server.forget().unwrap();
    server.start(&Scope { range: (80, 89), ..Scope::default() }).unwrap();

    let after = world.until("a new address", "web", 60, |status| status.address.filter(|new| *new != before));
    assert!((80..90).contains(&after.octets()[3]), "{after}");
    assert_eq!(world.who_has(before), Vec::<String>::new());
    assert_eq!(world.who_has(after), [W1]);
    assert_eq!(!world.wire.with(&["NACK"]).is_empty(), S::REFUSES == Refuses::All);
}

fn a_network_that_is_renumbered_moves_its_claims<S: Server>() {
    let (world, server, _node, before) = World::leasing::<S>(&Scope::default());
    server.stop().unwrap();
    server.host().ip("addr flush dev eth0\naddr add 198.51.100.2/24 dev eth0\n").unwrap();
    server.start(&Scope { network: Network::Private, ..Scope::default() }).unwrap();
    let after = world.until("a new address", "web", 60, |status| status.address.filter(|new| *new != before));
    assert_eq!(after.octets()[..3], [198, 51, 100]);
    assert_eq!(world.store.status("web").lease.unwrap().server, Network::Private.address(2));
    assert_eq!(!world.wire.with(&["NACK"]).is_empty(), S::REFUSES == Refuses::All);
    assert_eq!(world.who_has(before), Vec::<String>::new());
    assert_eq!(world.who_has(after), [W1]);
}

fn a_node_that_takes_over_a_forgotten_lease_gets_another_address<S: Server>() {
    let (world, server, first, before) = World::leasing::<S>(&Scope::default());
    first.stop();
    server.stop().unwrap();
    server.forget().unwrap();
    server.start(&Scope { range: (80, 89), ..Scope::default() }).unwrap();

    let _second = world.node(2, config());
    let after = world.until("a new address", "web", 60, |status| status.address.filter(|new| *new != before));
    assert_eq!(!world.wire.with(&["NACK"]).is_empty(), S::REFUSES != Refuses::None);
    assert!((80..90).contains(&after.octets()[3]), "{after}");
    assert_eq!(world.who_has(before), Vec::<String>::new());
    assert_eq!(world.who_has(after), [W2]);
}

fn a_renewal_of_an_address_that_is_leased_to_another_by_now_is_refused<S: Server>() {
    let (world, server, _node, before) = World::leasing::<S>(&Scope::default());
    server.stop().unwrap();
    server.forget().unwrap();
    server.start(&Scope::default()).unwrap();
    let udhcpc = ["busybox", "udhcpc", "-f", "-q", "-n", "-i", "eth0", "-s", "/bin/true", "-r"];
    world.client.exec(&[&udhcpc[..], &[&before.to_string()]].concat()).unwrap();
    assert_eq!(server.leases().unwrap()[0].address, before);

    let after = world.until("a new address", "web", 30, |status| status.address.filter(|new| *new != before));
    assert_eq!(world.wire.with(&["NACK"]).len(), 1);
    assert_eq!(world.who_has(before), Vec::<String>::new());
    assert_eq!(world.who_has(after), [W1]);
    let told = world.store.reports("web");
    let refused = told.iter().flat_map(|status| &status.conditions).any(|c| c.reason == reasons::DHCP_NAK);
    assert!(refused, "the claim says why: {told:#?}");
}

fn an_address_is_reserved_by_hardware_address<S: Server>() {
    let world = World::new();
    let reservations = vec![(virtual_mac("web"), address(70))];
    let _server: S = world.server("server", 2, &Scope { reservations, ..Scope::default() });
    let _node = world.node(1, config());
    world.store.put(claim("other"));
    world.store.put(claim("web"));
    assert_eq!(world.address("web", 10), address(70));
    assert_ne!(world.address("other", 10), address(70));
}

fn an_address_that_is_wished_for_is_given<S: Server>() {
    let world = World::new();
    let _server: S = world.server("server", 2, &Scope::default());
    let _node = world.node(1, config());
    world.store.put(wishing());
    assert_eq!(world.address("web", 10), address(55));
}

fn an_address_that_is_in_use_is_not_taken<S: Server>() {
    let world = World::new();
    let server: S = world.server("server", 2, &Scope::default());
    let foreign = world.host("foreign", 66);
    foreign.ip("addr add 203.0.113.55/32 dev eth0\n").unwrap();
    let _node = world.node(1, config());
    world.store.put(wishing());
    let leased = world.address("web", 40);
    assert_ne!(leased, address(55));
    assert_eq!(world.wire.with(&["Decline"]).len(), 1);
    assert_eq!(world.wire.with(&[&format!("203.0.113.55 is-at {W1}")]), Vec::<String>::new());
    let leases = server.leases().unwrap();
    assert_eq!(leases.iter().map(|lease| lease.address).collect::<Vec<_>>(), [leased], "{leases:?}");
}

fn an_address_is_not_answered_for_while_the_server_looks_whether_it_is_in_use<S: Server>() {
    let world = World::new();
    let _server: S = world.server("server", 2, &Scope { ping: true, ..Scope::default() });
    let _node = world.node(1, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 15);
    world.wire.wait_for(&[&format!("who-has {leased} tell 203.0.113.2")], SOON).unwrap();
    world.renewed(&["web"]);
    assert_eq!(world.store.status("web").address, Some(leased));
    assert_eq!(world.wire.with(&["Decline"]), Vec::<String>::new());
}

fn many_claims_have_as_many_leases<S: Server>() {
    let world = World::new();
    let server: S = world.server("server", 2, &Scope { range: (50, 99), ..Scope::default() });
    let _node = world.node(1, config());
    let claims: Vec<_> = (0..30).map(|number| format!("web-{number}")).collect();
    claims.iter().for_each(|name| world.store.put(claim(name)));
    let addresses: BTreeSet<_> = claims.iter().map(|name| world.address(name, 30)).collect();
    assert_eq!(addresses.len(), claims.len());
    world.renewed(&claims.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(server.leases().unwrap().len(), claims.len());
    claims.iter().for_each(|name| world.store.delete(name));
    until("all leases are given back", SOON, || Ok(server.leases()?.is_empty().then_some(()))).unwrap();
}

fn a_lease_that_came_through_a_relay_is_renewed_through_the_router<S: Server>() {
    let world = World::new();
    let (router, far) = world.router("server");
    let server = S::on(far);
    server.start(&Scope::default()).unwrap();
    relay(&router, "198.51.100.2").unwrap();
    let _node = world.node(1, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    assert_eq!(world.store.status("web").lease.unwrap().server, "198.51.100.2".parse::<Ipv4Addr>().unwrap());

    let renewal = world.wire.wait_for(&[&format!("{leased}.68 > 198.51.100.2.67"), "Request"], SOON).unwrap();
    assert!(renewal.contains("> 02:0f:09:00:00:01"), "by way of the router: {renewal}");
    // udhcpd answers by way of the relay, which has forwarded a copy of the renewal.
    world.wire.wait_for(&[&format!("> {leased}.68"), "ACK", &format!("Client-IP {leased}")], SOON).unwrap();
    world.store.delete("web");
    world.wire.wait_for(&[&format!("{leased}.68 > 198.51.100.2.67"), "Release"], SOON).unwrap();
    until("the lease is gone", SOON, || Ok(server.leases()?.is_empty().then_some(()))).unwrap();
}

/// A claim that would like to have .55.
fn wishing() -> AddressClaim {
    let mut claim = claim("web");
    claim.spec.dhcp.requested_address = Some(address(55));
    claim
}
