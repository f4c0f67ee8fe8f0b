//! Who a claim is on the wire, and how a node finds out what its network carries.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use foghorn_crds::{IdentityInUse, IdentityMode, PlaneConfig, conditions::reasons};
use foghorn_interop::{
    Dnsmasq, Kea, NodesOwnClient, SOON, Scope, Server, Udhcpd, W1, World, claim, config, mac, relay, rules,
    virtual_mac, with_each,
};
use foghorn_lab::until;

with_each!(
    { dnsmasq: Dnsmasq, kea: Kea, isc_dhcpd: IscDhcpd }:
    claims_with_one_hardware_address_are_told_apart,
);

with_each!(
    { kea: Kea, isc_dhcpd: IscDhcpd, busybox_udhcpd: Udhcpd }:
    a_server_with_one_address_for_each_hardware_address_is_named_and_the_first_claim_keeps_its_own,
);

with_each!(
    { dnsmasq: Dnsmasq, kea: Kea, isc_dhcpd: IscDhcpd, busybox_udhcpd: Udhcpd }:
    a_hardware_address_in_the_message_alone_is_answered,
);

#[test]
fn a_network_that_carries_foreign_hardware_addresses_sees_the_claims_own() {
    let (world, _server, _node, _) = World::leasing::<Kea>(&Scope::default());
    assert_eq!(discovers(&world, "web"), 1);
    assert_eq!(mode(&world, "web"), Some(IdentityInUse::VirtualMac));
    assert_eq!(sources(&world), [virtual_mac("web")]);
}

#[test]
fn a_server_that_is_away_for_a_while_makes_no_network_look_poor() {
    let world = World::new();
    let _node = world.node(1, config());
    world.store.put(claim("web"));
    until("two messages without an answer", SOON, || Ok((discovers(&world, "web") == 2).then_some(())))
        .unwrap();
    let _server: Kea = world.server("server", 2, &Scope::default());
    world.address("web", 60);
    assert!(!world.wire.with(&["Discover", &format!("{W1} > ")]).is_empty(), "the other way was tried");
    assert_eq!(mode(&world, "web"), Some(IdentityInUse::VirtualMac));
}

#[test]
fn a_macvlan_receives_one_hardware_address_and_sends_from_that_one_alone() {
    let world = World::new();
    let _server: Kea = world.server("server", 2, &Scope::default());
    let host = world.host_on_macvlan("w1", 11);
    let _node = world.node_on(&host, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    world.renewed(&["web"]);
    assert_eq!(mode(&world, "web"), Some(IdentityInUse::VirtualChaddr));
    assert_eq!(sources(&world), [W1]);
    assert_eq!(discovers(&world, "web"), 1, "known from the kind of the interface");
    assert_eq!(world.who_has(leased), [W1]);
}

#[test]
fn a_bridge_of_the_node_receives_for_its_claims_too() {
    let world = World::new();
    let _server: Kea = world.server("server", 2, &Scope::default());
    let host = world.host_on_bridge("w1", 11);
    let _node = world.node_on(&host, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    world.renewed(&["web"]);
    assert_eq!(discovers(&world, "web"), 1);
    assert_eq!(mode(&world, "web"), Some(IdentityInUse::VirtualMac));
    assert_eq!(world.who_has(leased), [W1]);
}

#[test]
fn answers_come_through_a_relay_where_foreign_frames_are_dropped() {
    let world = World::new();
    let (router, far) = world.router("server");
    let server = Kea::on(far);
    server.start(&Scope::default()).unwrap();
    relay(&router, "198.51.100.2").unwrap();
    let (host, _cable) = world.host_behind("w1", 11, rules::only_own(mac(11)));
    let _node = world.node_on(&host, config());
    world.store.put(claim("web"));
    world.address("web", 45);
    world.renewed(&["web"]);
    assert_eq!(mode(&world, "web"), Some(IdentityInUse::VirtualChaddr));
    world.store.delete("web");
    until("the lease is gone", SOON, || Ok(server.leases()?.is_empty().then_some(()))).unwrap();
}

#[test]
fn where_foreign_frames_are_dropped_the_claims_hardware_address_stays_in_the_message() {
    let world = World::new();
    let _server: Kea = world.server("server", 2, &Scope::default());
    let (host, _cable) = world.host_behind("w1", 11, rules::only_own(mac(11)));
    let _node = world.node_on(&host, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 45);
    world.renewed(&["web"]);
    assert_eq!(mode(&world, "web"), Some(IdentityInUse::VirtualChaddr));
    assert_eq!(sources(&world), [W1]);
    assert_eq!(world.who_has(leased), [W1]);
    // What one claim has found out the others need not.
    world.store.put(claim("api"));
    world.address("api", 10);
    assert_eq!(discovers(&world, "api"), 1);
}

#[test]
fn where_answers_come_to_no_other_hardware_address_than_the_nodes_that_one_may_be_used() {
    let world = World::new();
    let _server: Dnsmasq = world.server("server", 2, &Scope::default());
    let rule = rules::both(rules::only_own(mac(11)), rules::without_broadcast_flag());
    let (host, _cable) = world.host_behind("w1", 11, rule);
    let _node = world.node_on(&host, with(IdentityMode::NodeMac));
    world.store.put(claim("web"));
    world.store.put(claim("api"));
    let addresses = [world.address("web", 10), world.address("api", 10)];
    world.renewed(&["web", "api"]);
    assert_eq!([world.address("web", 1), world.address("api", 1)], addresses);
    assert_eq!(sources(&world), [W1]);
}

#[test]
fn a_port_that_shuts_on_a_foreign_frame_is_not_shut_twice() {
    let world = World::new();
    let _server: Kea = world.server("server", 2, &Scope::default());
    let shut = Arc::new(AtomicBool::new(false));
    let rule = rules::shut_on_foreign_source(mac(11), shut.clone());
    let (host, cable) = world.host_behind("w1", 11, rule);
    let _node = world.node_on(&host, config());
    world.store.put(claim("web"));
    let is_shut = || shut.load(Ordering::Relaxed);
    until("the port shuts", SOON, || Ok(is_shut().then_some(()))).unwrap();
    cable.unplug();
    let log = || std::fs::read_to_string(host.dir().join("node.log")).unwrap();
    until("the node sees it", SOON, || Ok(log().contains("interface not ready").then_some(()))).unwrap();
    shut.store(false, Ordering::Relaxed);
    cable.plug();
    world.address("web", 30);
    world.renewed(&["web"]);
    assert_eq!(mode(&world, "web"), Some(IdentityInUse::VirtualChaddr));
    assert!(!is_shut(), "no second foreign frame");
}

#[test]
fn a_claim_beyond_a_ports_limit_of_mac_addresses_gets_an_address() {
    let world = World::new();
    let _server: Kea = world.server("server", 2, &Scope::default());
    let (host, _cable) = world.host_behind("w1", 11, rules::limited(mac(11), 1));
    let _node = world.node_on(&host, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    world.store.put(claim("api"));
    world.address("api", 45);
    world.renewed(&["web", "api"]);
    assert_eq!(mode(&world, "web"), Some(IdentityInUse::VirtualMac));
    assert_eq!(mode(&world, "api"), Some(IdentityInUse::VirtualChaddr));
    let message = &world.store.status("api").conditions[0].message;
    assert!(message.contains("may limit the number of MAC addresses"), "{message}");
    assert_eq!(world.address("web", 1), leased);
}

fn a_server_with_one_address_for_each_hardware_address_is_named_and_the_first_claim_keeps_its_own<
    S: Server,
>() {
    let world = World::new();
    let server: S = world.server("server", 2, &Scope { ignores_client_ids: true, ..Scope::default() });
    let _node = world.node(1, with(IdentityMode::NodeMac));
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    world.store.put(claim("api"));
    world.until("the cause is told", "api", 20, |status| {
        (status.conditions.first()?.reason == reasons::ADDRESS_SHARED).then_some(())
    });
    let told = world.store.status("api");
    let message = &told.conditions[0].message;
    assert!(message.contains("claim web"), "who has it: {message}");
    assert!(message.contains("hardware addresses alone"), "the cause: {message}");
    assert!(message.contains("dhcp.identity") && message.contains("VirtualChaddr"), "the remedy: {message}");
    world.renewed(&["web"]);
    assert_eq!(world.store.status("web").address, Some(leased));
    assert_eq!(world.who_has(leased), [W1]);
    assert!(world.store.reports("web").iter().all(|status| status.address.is_none_or(|a| a == leased)));
    assert_eq!(server.leases().unwrap().len(), 1);
    for message in ["Decline", "Release"] {
        assert_eq!(world.wire.with(&[message]), Vec::<String>::new());
    }
}

#[test]
fn the_nodes_own_address_stays_the_nodes_where_a_server_cannot_tell_them_apart() {
    let world = World::new();
    let server: Udhcpd = world.server("server", 2, &Scope::default());
    let host = world.host("w1", 11);
    let client = NodesOwnClient::start(&host);
    let own = client.address();
    let _node = world.node_on(&host, with(IdentityMode::NodeMac));
    world.store.put(claim("web"));
    let told = world.until("the cause is told", "web", 20, |status| {
        let condition = status.conditions.first()?;
        (condition.reason == reasons::ADDRESS_SHARED).then(|| condition.message.clone())
    });
    assert!(told.contains("node w1's own"), "{told}");
    client.renew();
    world.wire.wait_for(&["ACK", &format!("Client-IP {own}")], SOON).unwrap();
    assert_eq!(server.leases().unwrap().len(), 1);
    for message in ["Decline", "Release"] {
        assert_eq!(world.wire.with(&[message]), Vec::<String>::new());
    }
}

/// By their client identifiers, as RFC 2131 has it.
fn claims_with_one_hardware_address_are_told_apart<S: Server>() {
    let world = World::new();
    let server: S = world.server("server", 2, &Scope::default());
    let _node = world.node(1, with(IdentityMode::NodeMac));
    world.store.put(claim("web"));
    world.store.put(claim("api"));
    let addresses = [world.address("web", 10), world.address("api", 10)];
    assert_ne!(addresses[0], addresses[1]);
    world.renewed(&["web", "api"]);
    assert_eq!([world.address("web", 1), world.address("api", 1)], addresses);
    assert_eq!(mode(&world, "web"), Some(IdentityInUse::NodeMac));
    let leases = server.leases().unwrap();
    assert_eq!(leases.len(), 2, "{leases:?}");
    assert!(leases.iter().all(|lease| lease.mac == W1), "{leases:?}");

    world.store.delete("web");
    until("one lease is gone", SOON, || Ok((server.leases()?.len() == 1).then_some(()))).unwrap();
    assert_eq!(server.leases().unwrap()[0].address, addresses[1]);
}

/// Behind a cable that carries the node's own frames and broadcasts only.
fn a_hardware_address_in_the_message_alone_is_answered<S: Server>() {
    let world = World::new();
    let server: S = world.server("server", 2, &Scope::default());
    let (host, _cable) = world.host_behind("w1", 11, rules::only_own(mac(11)));
    let _node = world.node_on(&host, with(IdentityMode::VirtualChaddr));
    world.store.put(claim("web"));
    world.address("web", 10);
    world.renewed(&["web"]);
    assert_eq!(world.wire.with(&["Discover"]).len(), 1, "the lease goes on");
    assert_eq!(sources(&world), [W1]);
    assert_eq!(server.leases().unwrap()[0].mac, virtual_mac("web"));
    world.store.delete("web");
    until("the lease is gone", SOON, || Ok(server.leases()?.is_empty().then_some(()))).unwrap();
}

fn with(identity: IdentityMode) -> PlaneConfig {
    let mut config = config();
    config.dhcp.identity = identity;
    config
}

fn mode(world: &World, claim: &str) -> Option<IdentityInUse> {
    world.store.status(claim).identity?.mode
}

/// How often a claim asked for an address.
fn discovers(world: &World, claim: &str) -> usize {
    world.wire.with(&["Discover", &format!("Client-Ethernet-Address {}", virtual_mac(claim))]).len()
}

/// The hardware addresses that DHCP messages came from, those of the server left out.
fn sources(world: &World) -> Vec<String> {
    let messages = world.wire.with(&[".67: "]);
    let mut sources: Vec<_> =
        messages.iter().filter_map(|line| Some(line.split(' ').nth(1)?.to_owned())).collect();
    sources.sort();
    sources.dedup();
    sources
}
