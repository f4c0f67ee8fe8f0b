//! What goes wrong in the field: servers that are away, hosts that take addresses, cables that lose frames.

use std::net::UdpSocket;

use foghorn_crds::{ClaimState, conditions::reasons};
use foghorn_interop::{
    Dnsmasq, Kea, SOON, Scope, Server, W1, World, address, claim, config, rules, virtual_mac,
};
use foghorn_lab::{Daemon, until};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

#[test]
fn an_address_is_silent_from_the_second_on_in_which_its_lease_ends_and_comes_back_with_the_server() {
    let world = World::new();
    let server: Kea = world.server("server", 2, &Scope::default());
    let _node = world.node(1, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    server.stop().unwrap();
    let asking = format!("while arping -b -q -c 1 -w 1 -I eth0 {leased} || sleep 0.2; do sleep 0.2; done");
    let mut asking = world.client.spawn(&["sh", "-c", &asking]).unwrap();

    let expiry = world.store.status("web").lease.unwrap().expires_at.unwrap().0;
    world.until("the address is lost", "web", 40, |status| status.address.is_none().then_some(()));
    let late = Timestamp::now().duration_since(expiry);
    assert!(late < SignedDuration::from_secs(1), "told {late:#} after the end");
    assert_eq!(world.reason("web"), reasons::LEASE_EXPIRED);
    until("it was asked for after the end", SOON, || {
        let asked = last_seen(&world, &format!("who-has {leased}"));
        Ok((asked > expiry + SignedDuration::from_secs(3)).then_some(()))
    })
    .unwrap();
    let answered = last_seen(&world, &format!("{leased} is-at"));
    assert!(answered < expiry, "the last answer came at {answered}, the lease ended at {expiry}");
    assert!(answered > expiry - SignedDuration::from_secs(1), "silent since {answered} already");
    asking.kill().unwrap();
    asking.wait().unwrap();

    server.start(&Scope::default()).unwrap();
    assert_eq!(world.address("web", 70), leased);
    assert_eq!(world.who_has(leased), [W1]);
}

#[test]
fn an_address_that_the_server_replaces_at_a_renewal_is_withdrawn_and_the_new_one_announced() {
    let world = World::new();
    let _server: Kea = world.server("server", 2, &Scope::default());
    // Only the answer to a renewal has the client's own address in it.
    let (host, _cable) =
        world.host_behind("w1", 11, rules::leases_only(address(77), |ack| ack[12..16] != [0; 4]));
    let _node = world.node_on(&host, config());
    world.store.put(claim("web"));
    let before = world.address("web", 10);
    let after = world.until("a new address", "web", 20, |status| status.address.filter(|new| *new != before));
    assert_eq!(after, address(77));
    assert_eq!(world.who_has(before), Vec::<String>::new());
    assert_eq!(world.who_has(after), [W1]);
    assert_eq!(world.wire.with(&["Decline"]), Vec::<String>::new());
}

#[test]
fn an_address_that_another_host_takes_is_defended_once_and_then_left_to_it() {
    let world = World::new();
    let _server: Kea = world.server("server", 2, &long());
    let _node = world.node(1, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    let foreign = world.host("foreign", 66);
    // The announcements at the start would look like a defence.
    until("the last announcement", SOON, || {
        Ok((world.wire.with(&[&format!("{leased} is-at {W1}")]).len() >= 5).then_some(()))
    })
    .unwrap();
    world.wire.clear();
    foreign.ip(&format!("addr add {leased}/32 dev eth0\n")).unwrap();
    let announce = ["arping", "-U", "-c", "1", "-I", "eth0", &leased.to_string()];
    foreign.exec(&announce).unwrap();
    world
        .wire
        .wait_for(&[W1, "> ff:ff:ff:ff:ff:ff", &format!("who-has {leased} tell {leased}")], SOON)
        .unwrap();
    assert_eq!(world.store.status("web").address, Some(leased));
    assert_eq!(world.who_has(leased).len(), 2, "both answer, as after any defence");

    foreign.exec(&announce).unwrap();
    world.until("the address is given up", "web", 10, |status| status.address.is_none().then_some(()));
    assert_eq!(world.wire.with(&["Decline"]), Vec::<String>::new(), "an address in use is not declined");
    let status = world.store.status("web");
    assert_eq!(world.reason("web"), reasons::ADDRESS_CONFLICT);
    assert!(status.last_error.as_ref().unwrap().contains("02:0f:09:00:00:42"), "{status:#?}");
    assert_eq!(world.who_has(leased), ["02:0f:09:00:00:42"]);

    let after = world.address("web", 60);
    assert_ne!(after, leased);
    assert_eq!(world.who_has(after), [W1]);
}

#[test]
fn a_switch_that_has_forgotten_a_virtual_hardware_address_learns_it_from_the_renewal() {
    let world = World::new();
    let _server: Kea = world.server("server", 2, &Scope::default());
    let host = world.host("w1", 11);
    // What the switch does not know does not get to the node, and it forgets quickly.
    world
        .switch()
        .ip("link set w1 type bridge_slave flood off\nlink set br0 type bridge ageing_time 200\n")
        .unwrap();
    let _node = world.node_on(&host, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    let (own, known) = (virtual_mac("web"), || world.switch().exec(&["bridge", "fdb", "show", "br", "br0"]));
    until("the switch forgets", SOON, || Ok((!known()?.contains(&own)).then_some(()))).unwrap();
    world.renewed(&["web"]);
    assert_eq!(world.store.status("web").address, Some(leased));
    assert_eq!(world.wire.with(&["Discover"]).len(), 1);
}

#[test]
fn another_dhcp_client_on_the_node_is_not_disturbed_and_does_not_disturb() {
    let world = World::new();
    let server: Dnsmasq = world.server("server", 2, &Scope::default());
    let host = world.host("w1", 11);
    let script = host.dir().join("udhcpc.sh");
    std::fs::write(&script, "#!/bin/sh\n[ \"$1\" = bound ] && ip addr add $ip/24 dev $interface\nexit 0\n")
        .unwrap();
    host.exec(&["chmod", "+x", &script.display().to_string()]).unwrap();
    let udhcpc = Daemon::new(&host, "udhcpc");
    udhcpc.start(&["busybox", "udhcpc", "-f", "-i", "eth0", "-s", &script.display().to_string()]).unwrap();
    let nodes_own = until("a lease of the node's own client", SOON, || {
        Ok(server.leases()?.into_iter().find(|lease| lease.mac == W1).map(|lease| lease.address))
    })
    .unwrap();

    let _node = world.node_on(&host, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    assert_ne!(leased, nodes_own);
    world.renewed(&["web"]);
    // It renews at half of the 120 s whatever T1 is; a signal has it renew now.
    world.wire.clear();
    host.exec(&["kill", "-USR1", &udhcpc.check().unwrap().to_string()]).unwrap();
    let ack = ["203.0.113.2.67 >", "ACK", &format!("Client-Ethernet-Address {W1}")];
    world.wire.wait_for(&ack, SOON).unwrap();
    assert_eq!(world.store.status("web").address, Some(leased));
    assert_eq!(world.wire.with(&["NACK"]), Vec::<String>::new());
    let leases = server.leases().unwrap();
    assert_eq!(leases.len(), 2, "{leases:?}");
}

#[test]
fn a_port_68_that_another_process_has_bound_does_not_matter() {
    let world = World::new();
    let _server: Dnsmasq = world.server("server", 2, &Scope::default());
    let host = world.host("w1", 11);
    let _bound = host.inside(|| UdpSocket::bind("0.0.0.0:68").unwrap()).unwrap().join().unwrap().unwrap();
    let _node = world.node_on(&host, config());
    world.store.put(claim("web"));
    world.address("web", 10);
    world.renewed(&["web"]);
}

#[test]
fn a_server_that_ignores_the_broadcast_flag_is_heard() {
    let world = World::new();
    let _server: Dnsmasq = world.server("server", 2, &Scope::default());
    let (host, _cable) = world.host_behind("w1", 11, rules::without_broadcast_flag());
    let mut config = config();
    config.dhcp.broadcast = true;
    let _node = world.node_on(&host, config);
    world.store.put(claim("web"));
    world.address("web", 10);
    let offer = world.wire.wait_for(&["Offer"], SOON).unwrap();
    assert!(offer.contains(&format!("> {}", virtual_mac("web"))), "not a broadcast: {offer}");
}

#[test]
fn frames_that_come_twice_are_taken_once() {
    let world = World::new();
    let server: Kea = world.server("server", 2, &Scope::default());
    let (host, _cable) = world.host_behind("w1", 11, rules::twice());
    let _node = world.node_on(&host, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    world.renewed(&["web"]);
    assert_eq!(server.leases().unwrap().len(), 1);
    assert!(world.store.reports("web").iter().all(|status| status.address.is_none_or(|a| a == leased)));
}

#[test]
fn frames_that_get_lost_only_take_time() {
    let world = World::new();
    let server: Kea = world.server("server", 2, &long());
    let (host, _cable) = world.host_behind("w1", 11, rules::lossy(3));
    let _node = world.node_on(&host, config());
    world.store.put(claim("web"));
    world.address("web", 60);
    assert_eq!(server.leases().unwrap().len(), 1);
    world.store.delete("web");
    world.until("given back", "web", 10, |status| (status.state == Some(ClaimState::Released)).then_some(()));
}

#[test]
fn an_address_that_two_servers_lease_to_two_claims_stays_with_the_first() {
    let world = World::new();
    let first: Kea = world.server("server", 2, &long());
    let _node = world.node(1, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    first.stop().unwrap();
    let second: Kea = world.server("another", 3, &long());
    world.store.put(claim("api"));
    world.until("a refusal", "api", 20, |status| {
        (status.conditions.first()?.reason == reasons::ADDRESS_SHARED).then_some(())
    });
    let told = world.store.status("api");
    let error = told.last_error.as_deref().unwrap_or_default();
    assert!(error.contains("claim web") && error.contains("two of them"), "names claim and cause: {told:#?}");
    assert_eq!(told.address, None);
    assert_eq!(second.leases().unwrap().len(), 0, "the address is not asked for");
    assert_eq!(world.wire.with(&["Decline"]), Vec::<String>::new());
    assert_eq!(world.wire.with(&["Release"]), Vec::<String>::new());
    assert_eq!(world.store.status("web").address, Some(leased));
    assert_eq!(world.who_has(leased), [W1]);
}

/// A lease that is not renewed while a test lasts.
fn long() -> Scope {
    Scope { lease: 3600, renew: 1800, rebind: 3000, ..Scope::default() }
}

/// When a frame with these words was last on the wire.
fn last_seen(world: &World, words: &str) -> Timestamp {
    let lines = world.wire.with(&[words]);
    let seconds = lines.last().and_then(|line| line.split(' ').next()).unwrap_or("0");
    let nanoseconds: i128 = seconds.replace('.', "").parse::<i128>().unwrap() * 1000;
    Timestamp::from_nanosecond(nanoseconds).unwrap()
}
