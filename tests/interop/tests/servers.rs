//! What Foghorn's clients and each DHCP server have to say to each other.

use std::time::Duration;

use foghorn_interop::{Dnsmasq, IscDhcpd, Kea, Scope, Server, Udhcpd, World, claim, config, identity};
use foghorn_lab::until;

/// One test of each behaviour for each server.
macro_rules! with_each_server {
    ($($behaviour:ident),+ $(,)?) => {
        mod dnsmasq { $(#[test] fn $behaviour() { super::$behaviour::<super::Dnsmasq>(); })+ }
        mod kea { $(#[test] fn $behaviour() { super::$behaviour::<super::Kea>(); })+ }
        mod isc_dhcpd { $(#[test] fn $behaviour() { super::$behaviour::<super::IscDhcpd>(); })+ }
        mod busybox_udhcpd { $(#[test] fn $behaviour() { super::$behaviour::<super::Udhcpd>(); })+ }
    };
}

with_each_server!(a_lease_is_acquired_renewed_by_unicast_and_given_back,);

fn a_lease_is_acquired_renewed_by_unicast_and_given_back<S: Server>() {
    let world = World::new();
    let server: S = world.server("server", 2, &Scope::default());
    let _node = world.node(1, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 10);

    let leases = server.leases().unwrap();
    assert_eq!(leases.len(), 1, "{leases:?}");
    assert_eq!(leases[0].address, leased);
    assert_eq!(leases[0].mac, hardware_address("web"));
    assert_eq!(leases[0].host_name.as_deref(), Some("web-default"));
    assert_eq!(world.who_has(leased), [NODE_MAC]);

    let expires = |world: &World| world.store.status("web").lease.and_then(|lease| lease.expires_at);
    let first = expires(&world);
    let renewal = world.wire.wait_for(&[&format!("{leased}.68 > 203.0.113.2.67"), "Request"], SOON).unwrap();
    assert!(renewal.contains(&format!("Client-IP {leased}")), "{renewal}");
    until("the renewal is told", SOON, || Ok((expires(&world) != first).then_some(()))).unwrap();
    assert!(world.store.reports("web").iter().all(|status| status.address.is_none_or(|a| a == leased)));
    assert_eq!(world.wire.with(&["NACK"]), Vec::<String>::new());

    world.store.delete("web");
    until("the lease is gone from the server's store", SOON, || {
        Ok(server.leases()?.is_empty().then_some(()))
    })
    .unwrap();
    assert_eq!(world.who_has(leased), Vec::<String>::new());
}

const SOON: Duration = Duration::from_secs(20);
/// The hardware address of node `w1`.
const NODE_MAC: &str = "02:0f:09:00:00:0b";

/// The Service's own hardware address, as people write it.
fn hardware_address(service: &str) -> String {
    identity(service).hardware_address.map(|octet| format!("{octet:02x}")).join(":")
}
