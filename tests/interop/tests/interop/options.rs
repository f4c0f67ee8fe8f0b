//! What claims tell servers, and what servers tell claims, besides addresses.

use foghorn_crds::DhcpOption;
use foghorn_interop::{SOON, Scope, Server, W2, World, address, claim, config, relay, with_each};

with_each!(
    { dnsmasq: Dnsmasq, kea: Kea, isc_dhcpd: IscDhcpd, busybox_udhcpd: Udhcpd }:
    a_server_beyond_a_classless_route_is_asked_through_its_gateway,
    a_host_name_that_is_too_long_is_cut,
    a_domain_name_that_is_too_long_is_cut_and_split,
    a_domain_name_in_place_of_the_host_name_is_taken,
    classes_and_options_that_a_server_does_not_know_do_no_harm,
);

// ISC dhcpd has all leases end in 2038 at the latest.
with_each!(
    { dnsmasq: Dnsmasq, kea: Kea, busybox_udhcpd: Udhcpd }:
    a_lease_without_end_is_never_renewed_and_goes_from_node_to_node,
);

fn a_server_beyond_a_classless_route_is_asked_through_its_gateway<S: Server>() {
    let world = World::new();
    let (router, far) = world.router("server");
    // The router has two addresses: which one was asked for shows in ARP.
    router.ip("addr add 203.0.113.3/24 dev eth0\n").unwrap();
    let server = S::on(far);
    let route = ("198.51.100.0/24".parse().unwrap(), address(3));
    server.start(&Scope { route: Some(route), ..Scope::default() }).unwrap();
    relay(&router, "198.51.100.2").unwrap();
    let _node = world.node(1, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    let told = world.store.status("web").lease.unwrap().routes;
    assert_eq!(told.iter().map(|route| (route.destination, route.gateway)).collect::<Vec<_>>(), [route]);
    world.renewed(&["web"]);
    world.wire.wait_for(&[&format!("who-has 203.0.113.3 tell {leased}")], SOON).unwrap();
    assert_eq!(world.wire.with(&[&format!("who-has 203.0.113.1 tell {leased}")]), Vec::<String>::new());
}

fn a_host_name_that_is_too_long_is_cut<S: Server>() {
    let world = World::new();
    let server: S = world.server("server", 2, &Scope::default());
    let _node = world.node(1, config());
    let long = format!("{}.{}", "a".repeat(70), "b".repeat(180));
    let mut web = claim("web");
    web.spec.dhcp.hostname = Some(long);
    world.store.put(web);
    world.address("web", 10);
    world.renewed(&["web"]);
    let name = server.leases().unwrap()[0].host_name.clone().unwrap_or_default();
    assert!(name.starts_with("aaaaaaaaaaaaaaaaaaa"), "{name}");
    assert!(name.split('.').all(|label| label.len() <= 63), "{name}");
}

fn a_domain_name_that_is_too_long_is_cut_and_split<S: Server>() {
    let world = World::new();
    let server: S = world.server("server", 2, &Scope::default());
    let _node = world.node(1, config());
    let mut web = claim("web");
    web.spec.dhcp.fqdn = Some(["a", "b", "c", "d", "e"].map(|label| label.repeat(60)).join(".") + ".");
    world.store.put(web);
    let leased = world.address("web", 10);
    world.renewed(&["web"]);
    assert_eq!(world.store.status("web").address, Some(leased));
    assert_eq!(server.leases().unwrap().len(), 1);
    assert_eq!(world.wire.with(&["NACK"]), Vec::<String>::new());
}

fn a_domain_name_in_place_of_the_host_name_is_taken<S: Server>() {
    let world = World::new();
    let server: S = world.server("server", 2, &Scope::default());
    let _node = world.node(1, config());
    let mut web = claim("web");
    web.spec.dhcp.hostname = None;
    web.spec.dhcp.fqdn = Some("web.example.com.".to_owned());
    world.store.put(web);
    let leased = world.address("web", 10);
    world.renewed(&["web"]);
    assert_eq!(world.store.status("web").address, Some(leased));
    assert_eq!(world.wire.with(&["NACK"]), Vec::<String>::new());
    assert_eq!(world.wire.with(&["Hostname (12)", "Discover"]), Vec::<String>::new());
    assert_eq!(server.leases().unwrap()[0].host_name.as_deref(), S::NAME_FROM_FQDN);
}

fn classes_and_options_that_a_server_does_not_know_do_no_harm<S: Server>() {
    let world = World::new();
    let server: S = world.server("server", 2, &Scope::default());
    let mut config = config();
    config.dhcp.vendor_class = "foghorn".to_owned();
    config.dhcp.user_classes = vec!["one".to_owned(), "two".to_owned()];
    config.dhcp.parameters = vec![6, 42, 119];
    let option = DhcpOption { code: 224, hex: Some("0102ff".to_owned()), ..DhcpOption::default() };
    config.dhcp.options = vec![option];
    config.dhcp.rapid_commit = true;
    config.dhcp.offer_wait_milliseconds = 200;
    let _node = world.node(1, config);
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    world.renewed(&["web"]);
    assert_eq!(server.leases().unwrap()[0].address, leased);
    // One that knows rapid commit sends no offer.
    assert_eq!(world.wire.with(&["Offer"]).is_empty(), S::COMMITS_RAPIDLY);
}

fn a_lease_without_end_is_never_renewed_and_goes_from_node_to_node<S: Server>() {
    let endless = Scope { lease: u32::MAX, renew: u32::MAX, rebind: u32::MAX, ..Scope::default() };
    let (world, _server, first, leased) = World::leasing::<S>(&endless);
    let lease = world.store.status("web").lease.unwrap();
    assert_eq!((lease.renew_at, lease.rebind_at, lease.expires_at), (None, None, None));
    first.stop();
    world.wire.clear();
    let _second = world.node(2, config());
    world.wire.wait_for(&["203.0.113.2.67 >", "ACK"], SOON).unwrap();
    assert_eq!(world.address("web", 10), leased);
    assert_eq!(world.who_has(leased), [W2]);
    assert_eq!(world.wire.with(&["Discover"]), Vec::<String>::new());
}
