//! The owner of a plane's addresses is lost in every way that the lab knows.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    thread::sleep,
    time::{Duration, Instant},
};

use foghorn_lab::Wire;
use foghorn_testbed::{
    Cluster, GAP, PATIENCE, PUBLIC, Result, Service, disturbs_nodes, probed, run, served, shares_the_lab,
};

#[test]
fn an_announcer_that_is_killed_is_followed_by_another_node_with_the_same_address() -> Result<()> {
    run(shares_the_lab().at_most(35), |cluster| {
        let public = cluster.plane()?;
        // One that is started again soon enough is a later life of the node, and has the address again.
        lose(cluster, "killed announcer", |owner| cluster.lab.kill_announcer_for_long(public.name, owner))?;
        Ok(())
    })
}

#[test]
fn a_node_that_loses_power_is_followed_and_has_nothing_to_say_when_it_comes_back() -> Result<()> {
    run(disturbs_nodes().at_most(35), |cluster| {
        let lost = lose(cluster, "lost power", |owner| cluster.lab.power_off(owner))?;
        let wire = watch(cluster)?;
        cluster.lab.power_on(&lost.owner)?;
        silent(cluster, &wire, &lost)
    })
}

#[test]
fn an_announcer_that_is_stopped_is_followed_and_says_nothing_stale_when_it_is_resumed() -> Result<()> {
    run(shares_the_lab().at_most(40), |cluster| {
        let public = cluster.plane()?;
        let lost =
            lose(cluster, "stopped announcer", |owner| cluster.lab.stop_announcer(public.name, owner))?;
        let before = lost.service.claim()?.unwrap_or_default();
        let wire = watch(cluster)?;
        cluster.lab.resume_announcer(public.name, &lost.owner)?;
        silent(cluster, &wire, &lost)?;
        let after = lost.service.claim()?.unwrap_or_default();
        assert_eq!(after["status"], before["status"], "a resumed announcer wrote a status");
        Ok(())
    })
}

#[test]
fn a_cable_that_is_pulled_moves_the_addresses_although_the_node_is_well() -> Result<()> {
    run(disturbs_nodes().at_most(45), |cluster| {
        let lost = lose(cluster, "pulled cable", |owner| cluster.lab.unplug(owner, PUBLIC.network))?;
        let plane = cluster.lab.kubectl_json(&["get", "networkplane", PUBLIC.name])?;
        println!("{}", foghorn_testbed::condition(&plane, "InterfacesReady").cloned().unwrap_or_default());
        let wire = watch(cluster)?;
        cluster.lab.plug(&lost.owner, PUBLIC.network)?;
        silent(cluster, &wire, &lost)
    })
}

#[test]
fn a_node_that_is_cut_from_the_api_keeps_what_it_has_while_others_reach_it() -> Result<()> {
    run(disturbs_nodes().at_most(40), |cluster| {
        let (service, address) = served(cluster)?;
        let owner = service.holder()?;
        let report = probed(cluster, address, || {
            cluster.lab.cut_api(&owner)?;
            sleep(Duration::from_secs(10));
            cluster.lab.mend_api(&owner)
        })?;
        println!("cut from the API: {report}");
        assert_eq!(cluster.who_has(PUBLIC.network, address)?, BTreeSet::from([owner]));
        assert!(report.longest_gap < GAP, "{report}");
        Ok(())
    })
}

#[test]
fn announcers_whose_connections_die_without_a_word_while_they_ask_ask_again() -> Result<()> {
    run(disturbs_nodes().at_most(50), |cluster| {
        cluster.namespace("shop")?;
        let slow = cluster.lab.slow_api(Duration::from_secs(4))?;
        for node in cluster.lab.nodes() {
            cluster.lab.kill_announcer(PUBLIC.name, node.name())?;
        }
        // By now their next lives have connected and asked. With the relay goes what it knows of these connections: what ends
        // them reaches nobody.
        sleep(Duration::from_secs(7));
        drop(slow);
        let began = Instant::now();
        cluster.services("shop", 3, PUBLIC)?;
        println!("all have addresses after {:.1?}", began.elapsed());
        Ok(())
    })
}

#[test]
fn without_an_api_server_everybody_keeps_what_it_has_and_a_lost_node_is_followed() -> Result<()> {
    run(disturbs_nodes().within(85, "the API server ends and starts again twice"), |cluster| {
        let (service, address) = served(cluster)?;
        let owner = service.holder()?;
        cluster.lab.stop_api()?;
        sleep(Duration::from_secs(5));
        assert_eq!(cluster.who_has(PUBLIC.network, address)?, BTreeSet::from([owner.clone()]));
        let report = probed(cluster, address, || {
            cluster.lab.power_off(&owner)?;
            foghorn_lab::until("another node answers", PATIENCE, || {
                let owners = cluster.who_has(PUBLIC.network, address)?;
                Ok((owners.len() == 1 && !owners.contains(&owner)).then_some(()))
            })
        });
        cluster.lab.start_api()?;
        println!("a node lost while the API server is away: {}", report?);
        let next = service.held_by_another(&owner)?;
        cluster.lab.power_on(&owner)?;
        cluster.all_members(PUBLIC)?;
        assert_eq!(service.address()?, address);
        assert_eq!(cluster.who_has(PUBLIC.network, address)?, BTreeSet::from([next]));
        assert_eq!(service.leases()?.len(), 1);
        Ok(())
    })
}

#[test]
fn a_rollout_hands_every_address_over_before_its_announcer_ends() -> Result<()> {
    run(shares_the_lab().at_most(50), |cluster| {
        let public = cluster.plane()?;
        let (service, address) = served(cluster)?;
        let namespace = public.namespace();
        let kubectl = |args: &[&str]| cluster.lab.kubectl(&[&["-n", namespace.as_str()], args].concat());
        let wire = watch(cluster)?;
        let report = probed(cluster, address, || {
            kubectl(&["rollout", "restart", "daemonset/announcer"])?;
            kubectl(&["rollout", "status", "daemonset/announcer", "--timeout=120s"]).map(drop)
        })?;
        println!("rollout: {report}");
        assert!(report.longest_gap < GAP, "{report}");
        assert_eq!(service.address()?, address);
        assert_eq!(cluster.who_has(public.network, address)?.len(), 1);
        assert_eq!(releases(&wire, &service)?, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn a_lease_that_foreign_hands_delete_or_spoil_is_written_again_and_an_event_says_so() -> Result<()> {
    run(shares_the_lab().at_most(30), |cluster| {
        let public = cluster.plane()?;
        let (service, address) = served(cluster)?;
        let owner = service.holder()?;
        let namespace = public.namespace();
        let kubectl = |args: &[&str]| cluster.lab.kubectl(&[&["-n", namespace.as_str()], args].concat());
        let report = probed(cluster, address, || {
            kubectl(&["delete", "lease", &namespace])?;
            cluster.all_members(public)?;
            kubectl(&["annotate", "lease", &namespace, "foghorn.dev/view={", "--overwrite"])?;
            cluster.all_members(public)
        })?;
        println!("foreign hands: {report}");
        assert!(report.longest_gap < GAP, "{report}");
        assert_eq!(cluster.who_has(public.network, address)?, BTreeSet::from([owner]));
        for words in ["deleted", "cannot be read"] {
            foghorn_lab::until(&format!("an event with {words:?}"), PATIENCE, || {
                let events = kubectl(&["get", "events.events.k8s.io", "-o", "jsonpath={.items[*].note}"])?;
                Ok(events.contains(words).then_some(()))
            })?;
        }
        Ok(())
    })
}

/// A Service whose owner was lost.
struct Lost<'a> {
    service: Service<'a>,
    address: Ipv4Addr,
    owner: String,
    new_owner: String,
}

/// Makes a Service, takes its owner away, and checks that another one goes on with the same address and lease.
fn lose<'a>(cluster: &'a Cluster, what: &str, fault: impl Fn(&str) -> Result<()>) -> Result<Lost<'a>> {
    let (service, address) = served(cluster)?;
    let owner = service.holder()?;
    let began = Instant::now();
    let mut new_owner = String::new();
    let report = probed(cluster, address, || {
        fault(&owner)?;
        new_owner = service.held_by_another(&owner)?;
        println!("{what}: {owner} → {new_owner} in status after {:.2?}", began.elapsed());
        Ok(())
    })?;
    println!("{what}: {report}");
    assert!(report.longest_gap < GAP, "{report}");
    assert_eq!(service.address()?, address);
    assert_eq!(service.leases()?.len(), 1);
    let owners = cluster.who_has(PUBLIC.network, address)?;
    assert_eq!(owners, BTreeSet::from([new_owner.clone()]), "{what}");
    Ok(Lost { service, address, owner, new_owner })
}

/// Nothing comes from the former owner for the address, and nobody gives it back.
fn silent(cluster: &Cluster, wire: &Wire, lost: &Lost<'_>) -> Result<()> {
    sleep(Duration::from_secs(1));
    let owners = cluster.who_has(PUBLIC.network, lost.address)?;
    sleep(Duration::from_secs(4));
    let mac = node_mac(cluster, &lost.owner);
    let said: Vec<_> = wire
        .with(&[&format!("{mac} >"), &lost.address.to_string()])
        .into_iter()
        // The node asks for the address itself when it routes to it.
        .filter(|line| line.contains("is-at") || line.contains(&format!("tell {}", lost.address)))
        .collect();
    assert!(said.is_empty(), "the former owner said:\n{}", said.join("\n"));
    assert_eq!(releases(wire, &lost.service)?, Vec::<String>::new());
    assert_eq!(owners, BTreeSet::from([lost.new_owner.clone()]));
    assert_eq!(lost.service.leases()?.len(), 1);
    Ok(())
}

/// The DHCP releases of a Service's lease.
fn releases(wire: &Wire, service: &Service<'_>) -> Result<Vec<String>> {
    let claim = service.claim()?.unwrap_or_default();
    let mac = claim["status"]["identity"]["hardwareAddress"].as_str().unwrap_or_default().to_owned();
    Ok(wire.with(&["Release", &mac]))
}

fn watch(cluster: &Cluster) -> Result<Wire> {
    Wire::start(&cluster.lab.switch(), PUBLIC.network.bridge(), "arp or port 67 or port 68")
}

/// The hardware address of a node on the public network.
fn node_mac(cluster: &Cluster, node: &str) -> String {
    let specs = cluster.lab.specs();
    let cables = specs.iter().filter(|spec| spec.name == node).flat_map(|spec| &spec.cables);
    cables.filter(|cable| cable.network == PUBLIC.network).map(foghorn_lab::topology::Cable::mac).collect()
}
