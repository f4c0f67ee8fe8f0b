//! What goes wrong in the field: servers that are away, hosts that take addresses, cables that lose frames.

use std::net::UdpSocket;

use foghorn_crds::{ClaimState, conditions::reasons};
use foghorn_interop::{
    Dnsmasq, Kea, NodesOwnClient, SOON, Scope, Server, W1, W2, World, address, claim, config, rules,
    virtual_mac,
};
use foghorn_lab::until;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

#[test]
fn an_address_is_silent_from_the_second_on_in_which_its_lease_ends_and_comes_back_with_the_server() {
    let (world, server, _node, leased) = World::leasing::<Kea>(&Scope::default());
    server.stop().unwrap();
    let asking = format!("while arping -b -q -c 1 -w 1 -I eth0 {leased} || sleep 0.2; do sleep 0.2; done");
    let mut asking = world.client.spawn(&["sh", "-c", &asking]).unwrap();

    let expiry = world.store.status("web").lease.unwrap().expires_at.unwrap().0;
    world.until("the address is lost", "web", 40, |status| status.address.is_none().then_some(()));
    let late = Timestamp::now().duration_since(expiry);
    assert!(late < SignedDuration::from_secs(1), "told {late:#} after the end");
    assert_eq!(world.reason("web"), reasons::LEASE_EXPIRED);
    until("it was asked for after the end", SOON, || {
        let asked = last_seen(&world, &[&format!("who-has {leased}")]);
        Ok((asked > expiry + SignedDuration::from_secs(3)).then_some(()))
    })
    .unwrap();
    let answered = last_seen(&world, &[&format!("{leased} is-at")]);
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
fn an_address_that_the_server_replaces_at_rebinding_is_withdrawn_and_the_new_one_announced() {
    let world = World::new();
    let _server: Kea = world.server("server", 2, &Scope::default());
    let replaced = rules::leases_only(address(77), |ack| ack[12..16] != [0; 4]);
    let (host, _cable) =
        world.host_behind("w1", 11, rules::both(rules::without_unicast_requests(), replaced));
    let _node = world.node_on(&host, config());
    world.store.put(claim("web"));
    let before = world.address("web", 10);
    let after = world.until("a new address", "web", 30, |status| status.address.filter(|new| *new != before));
    assert_eq!(after, address(77));
    assert_eq!(world.who_has(before), Vec::<String>::new());
    assert_eq!(world.who_has(after), [W1]);
    assert!(world.wire.with(&["Request", &format!("{before}.68 > 203.0.113.2.67")]).is_empty());
}

#[test]
fn an_address_that_another_host_takes_is_defended_once_and_then_left_to_it() {
    let (world, _server, _node, leased) = World::leasing::<Kea>(&long());
    let foreign = world.host("foreign", 66);
    // The announcements at the start would look like a defence.
    until("the last announcement", SOON, || {
        Ok((world.wire.with(&[&format!("who-has {leased} tell {leased}")]).len() >= 2).then_some(()))
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
    // It is declined only once the server has given it again.
    let (asked, declined) = (world.wire.with(&["Discover"]), world.wire.with(&["Decline"]));
    let in_use = declined.iter().filter(|line| asked.first().is_none_or(|asked| *line < asked));
    assert_eq!(in_use.count(), 0, "an address in use is not declined: {declined:?}");
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
    let client = NodesOwnClient::start(&host);
    let own = client.address();
    let _node = world.node_on(&host, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    assert_ne!(leased, own);
    world.renewed(&["web"]);
    // It renews at half of the 120 s whatever T1 is; a signal has it renew now.
    world.wire.clear();
    client.renew();
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
    let (world, first, _node, leased) = World::leasing::<Kea>(&long());
    first.stop().unwrap();
    let second: Kea = world.server("another", 3, &long());
    world.store.put(claim("api"));
    world.until("a refusal", "api", 20, |status| {
        (status.conditions.first()?.reason == reasons::ADDRESS_SHARED).then_some(())
    });
    let told = world.store.status("api");
    let error = told.last_error.as_deref().unwrap_or_default();
    assert!(
        error.contains("claim web") && error.contains("two DHCP servers"),
        "names claim and cause: {told:#?}"
    );
    assert_eq!(told.address, None);
    assert_eq!(second.leases().unwrap().len(), 0, "the address is not asked for");
    assert_eq!(world.wire.with(&["Decline"]), Vec::<String>::new());
    assert_eq!(world.wire.with(&["Release"]), Vec::<String>::new());
    assert_eq!(world.store.status("web").address, Some(leased));
    assert_eq!(world.who_has(leased), [W1]);
}

#[test]
fn renewals_that_do_not_get_through_are_made_up_for_by_rebinding() {
    let world = World::new();
    let _server: Kea = world.server("server", 2, &Scope::default());
    let (host, _cable) = world.host_behind("w1", 11, rules::without_unicast_requests());
    let _node = world.node_on(&host, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    world.renewed(&["web"]);
    world.renewed(&["web"]);
    assert!(world.wire.with(&["Request", &format!("{leased}.68 > 203.0.113.2.67")]).is_empty());
    assert!(world.store.reports("web").iter().all(|status| status.address.is_none_or(|a| a == leased)));
    assert_eq!(world.wire.with(&["Discover"]).len(), 1);
}

#[test]
fn a_cable_that_is_pulled_and_plugged_again_costs_no_address() {
    let world = World::new();
    let _server: Kea = world.server("server", 2, &long());
    let (host, cable) = world.host_behind("w1", 11, rules::twice());
    let _node = world.node_on(&host, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    cable.unplug();
    let log = || std::fs::read_to_string(host.dir().join("node.log")).unwrap();
    until("the node sees it", SOON, || Ok(log().contains("interface not ready").then_some(()))).unwrap();
    world.wire.clear();
    cable.plug();
    let confirmation =
        ["0.0.0.0.68 > 255.255.255.255.67", "Request", &format!("Requested-IP (50), length 4: {leased}")];
    world.wire.wait_for(&confirmation, SOON).unwrap();
    world.wire.wait_for(&["203.0.113.2.67 >", "ACK"], SOON).unwrap();
    assert_eq!(world.store.status("web").address, Some(leased));
    assert_eq!(world.who_has(leased), [W1]);
    assert_eq!(world.wire.with(&["Discover"]), Vec::<String>::new());
}

#[test]
fn a_node_takes_over_while_the_server_is_silent_and_keeps_to_the_end_of_the_lease() {
    let (world, server, first, leased) = World::leasing::<Kea>(&Scope::default());
    server.stop().unwrap();
    first.stop();
    let _second = world.node(2, config());
    world.until("the second node holds it", "web", 10, |status| {
        (status.holder.as_deref()? == "w2").then_some(())
    });
    assert_eq!(world.who_has(leased), [W2]);
    let expiry = world.store.status("web").lease.unwrap().expires_at.unwrap().0;
    world.until("the address is lost", "web", 30, |status| status.address.is_none().then_some(()));
    let late = Timestamp::now().duration_since(expiry);
    assert!(
        late.abs() < SignedDuration::from_secs(1),
        "told {late:#} after the end that the first node knew"
    );
    assert_eq!(world.who_has(leased), Vec::<String>::new());
}

#[test]
fn of_two_servers_the_one_that_leased_an_address_is_kept_to() {
    let world = World::new();
    let first: Kea = world.server("server", 2, &Scope::default());
    let second: Kea = world.server("another", 3, &Scope { range: (80, 89), ..Scope::default() });
    let _node = world.node(1, config());
    world.store.put(claim("web"));
    let leased = world.address("web", 10);
    let server = world.store.status("web").lease.unwrap().server;
    world.renewed(&["web"]);
    assert_eq!(world.store.status("web").lease.unwrap().server, server);
    assert_eq!(world.store.status("web").address, Some(leased));
    assert_eq!(first.leases().unwrap().len() + second.leases().unwrap().len(), 1);
}

#[test]
fn a_host_that_speaks_with_a_derived_hardware_address_harms_nobody() {
    let (world, _server, _node, leased) = World::leasing::<Kea>(&Scope::default());
    speaking_with(&world, &virtual_mac("web"));
    world.renewed(&["web"]);
    assert_eq!(world.store.status("web").address, Some(leased));
    assert_eq!(world.reason("web"), reasons::ANNOUNCED);
}

#[test]
fn a_given_hardware_address_that_another_host_has_is_not_used_while_that_host_is_heard() {
    let world = World::new();
    let _node = world.node(1, config());
    let mut web = claim("web");
    web.spec.dhcp.hardware_address = Some(GIVEN.to_owned());
    world.store.put(web);
    world.wire.wait_for(&[GIVEN, "Discover"], SOON).unwrap();
    speaking_with(&world, GIVEN);
    world.until("the cause is told", "web", 10, |status| {
        (status.conditions.first()?.reason == reasons::HARDWARE_ADDRESS_TAKEN).then_some(())
    });
    let error = world.store.status("web").last_error.unwrap();
    assert!(error.contains("203.0.113.66") && error.contains(GIVEN), "{error}");
    let heard = last_seen(&world, &[GIVEN, "ARP"]);
    let _server: Kea = world.server("server", 2, &long());
    world.address("web", 180);
    let offered = first_seen(&world, &["Offer"]);
    assert!(offered > heard + SignedDuration::from_secs(59), "heard at {heard}, asked before {offered}");
}

const GIVEN: &str = "02:00:5e:10:00:01";

/// Another host that has this hardware address and says so.
fn speaking_with(world: &World, mac: &str) {
    let foreign = world.host("foreign", 66);
    foreign.ip(&format!("link set eth0 address {mac}\n")).unwrap();
    foreign.exec(&["arping", "-U", "-c", "1", "-I", "eth0", "203.0.113.66"]).unwrap();
}

/// A lease that is not renewed while a test lasts.
fn long() -> Scope {
    Scope { lease: 3600, renew: 1800, rebind: 3000, ..Scope::default() }
}

/// When a frame with these words was last on the wire.
fn last_seen(world: &World, words: &[&str]) -> Timestamp {
    world.wire.with(words).last().map_or(Timestamp::UNIX_EPOCH, |line| time_of(line))
}

/// When a frame with these words was first on the wire.
fn first_seen(world: &World, words: &[&str]) -> Timestamp {
    world.wire.with(words).first().map_or(Timestamp::UNIX_EPOCH, |line| time_of(line))
}

/// tcpdump begins with seconds since 1970 and microseconds.
fn time_of(line: &str) -> Timestamp {
    let (seconds, _) = line.split_once(' ').unwrap();
    Timestamp::from_microsecond(seconds.replace('.', "").parse().unwrap()).unwrap()
}
