//! Addresses that are also on the interface of the node that holds them.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use foghorn_lab::{Lab, topology::Network, until};
use foghorn_testbed::{Cluster, Error, PATIENCE, Result, Service, leave_address, run, shares_the_lab};
use serde_json::Value;

const MODE: &str = "hostAddress: {mode: Fenced, unguarded: true}";
/// Ten seconds, which the kernel rounds up, and what it takes to look.
const RUN_OUT: Duration = Duration::from_secs(20);

#[test]
fn a_plane_that_becomes_fenced_has_its_address_on_the_holder_and_on_no_other_node() -> Result<()> {
    run(shares_the_lab().within(65, "the kernel ends the addresses after ten seconds"), |cluster| {
        let (service, address) = served(cluster, "")?;
        let fenced = service.plane;
        let text = address.to_string();
        let ping = || cluster.lab.client(fenced.network).exec(&["ping", "-c", "1", "-W", "1", &text]);
        assert!(cluster.on_interfaces(address)?.is_empty());
        let answered = ping()?;
        assert!(!answered.contains("DUP"), "the announcer answers: {answered}");

        let patch = r#"{"spec":{"hostAddress":{"mode":"Fenced","unguarded":true}}}"#;
        cluster.patch_plane(fenced, patch)?;
        let entry = on_its_holder_only(cluster, &service, address)?.1;
        println!("{entry}");
        assert_eq!(entry["label"], "eth1", "{entry}");
        assert_eq!(entry["prefixlen"], 32, "{entry}");
        assert_eq!(entry["deprecated"], true, "{entry}");
        assert_eq!(entry["preferred_life_time"], 0, "{entry}");
        assert!(entry["valid_life_time"].as_u64().is_some_and(|seconds| seconds <= 10), "{entry}");
        let answered = ping()?;
        assert!(!answered.contains("DUP"), "the kernel answers: {answered}");
        assert!(cluster.get(fenced.network, address)?.contains(" on w"));
        cluster.remove_plane(fenced)
    })
}

#[test]
fn an_address_goes_from_the_node_of_an_announcer_that_is_killed_or_stopped() -> Result<()> {
    run(shares_the_lab().within(65, "the kernel ends the addresses after ten seconds"), |cluster| {
        let (service, address) = served(cluster, MODE)?;
        let fenced = service.plane;
        type Fault = fn(&Lab, &str, &str) -> Result<()>;
        let faults: [(&str, Fault); 2] =
            [("killed", Lab::kill_announcer_for_long), ("stopped", Lab::stop_announcer)];
        for (what, fault) in faults {
            let (holder, _) = on_its_holder_only(cluster, &service, address)?;
            let began = Instant::now();
            fault(&cluster.lab, fenced.name, &holder)?;
            until(&format!("{address} is not on {holder}"), RUN_OUT, || {
                Ok((!cluster.on_interfaces(address)?.contains_key(&holder)).then_some(()))
            })?;
            println!("{what}: the address was on {holder} for another {:.1?}", began.elapsed());
            let next = service.held_by_another(&holder)?;
            assert_eq!(on_its_holder_only(cluster, &service, address)?.0, next);
            // One that was killed waits to be started again.
            let _none_there = cluster.lab.resume_announcer(fenced.name, &holder);
            cluster.all_members(fenced)?;
        }
        assert!(cluster.get(fenced.network, address)?.contains(" on w"));
        cluster.remove_plane(fenced)
    })
}

#[test]
fn what_an_announcer_left_is_taken_away_by_the_next_one_and_what_is_not_the_planes_stays() -> Result<()> {
    run(shares_the_lab().at_most(50), |cluster| {
        let (service, address) = served(cluster, MODE)?;
        let fenced = service.plane;
        let (holder, _) = on_its_holder_only(cluster, &service, address)?;
        let other = cluster.lab.nodes().into_iter().find(|node| node.name() != holder);
        let other = other.ok_or_else(|| Error::Config("the lab has one node only".to_owned()))?;
        let foreign = fenced.network.address(250);
        let began = Instant::now();
        leave_address(&other, "eth1", foreign)?;
        leave_address(&other, "eth1", address)?;
        assert_eq!(cluster.on_interfaces(address)?.len(), 2);
        cluster.lab.kill_announcer(fenced.name, other.name())?;
        assert_eq!(on_its_holder_only(cluster, &service, address)?.0, holder);
        let left: Vec<_> = cluster.on_interfaces(foreign)?.into_keys().collect();
        println!("what was left was there for {:.1?}", began.elapsed());
        assert_eq!(left, [other.name()], "the kernel has not yet taken anything away");
        cluster.remove_plane(fenced)
    })
}

#[test]
fn a_fenced_plane_without_a_guard_that_does_not_say_unguarded_is_refused() -> Result<()> {
    run(shares_the_lab().at_most(20), |cluster| {
        let fenced = cluster.plane_named("fenced", Network::Public);
        let refused = cluster.make_plane(fenced, "hostAddress: {mode: Fenced}");
        let said = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(
            said.contains(
                "hostAddress.mode Fenced needs guard.mode Drop or Reject, or hostAddress.unguarded"
            ),
            "{said}"
        );
        Ok(())
    })
}

/// A Service on a plane of its own, of whose spec there is more.
fn served<'a>(cluster: &'a Cluster, more: &str) -> Result<(Service<'a>, Ipv4Addr)> {
    let fenced = cluster.plane_named("fenced", Network::Public);
    cluster.make_plane(fenced, more)?;
    cluster.wait_ready(fenced.name)?;
    cluster.all_members(fenced)?;
    let service = cluster.service(&cluster.namespace("shop")?, "web", fenced)?;
    let address = service.address()?;
    Ok((service, address))
}

/// Waits until the node that holds the address is the only one that has it on an interface; the node, and what is there.
fn on_its_holder_only(
    cluster: &Cluster,
    service: &Service<'_>,
    address: Ipv4Addr,
) -> Result<(String, Value)> {
    until(&format!("{address} is on the interface of its holder only"), PATIENCE, || {
        let holder = service.holder()?;
        let mut found = cluster.on_interfaces(address)?;
        let entry = found.remove(&holder).filter(|_| found.is_empty());
        Ok(entry.map(|entry| (holder, entry)))
    })
}
