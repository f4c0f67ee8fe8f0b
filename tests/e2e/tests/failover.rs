//! The owner of a plane's addresses is lost in every way that the lab knows.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    thread::sleep,
    time::{Duration, Instant},
};

use foghorn_e2e::{Cluster, PUBLIC, Result, Service, run};
use foghorn_lab::{Probe, Wire};

const PAUSE: Duration = Duration::from_millis(50);

#[test]
fn an_announcer_that_is_killed_is_followed_by_another_node_with_the_same_address() -> Result<()> {
    run(|cluster| {
        // Its container starts again at once, and is another member.
        lose(cluster, "killed announcer", |owner| cluster.lab.kill_announcer(PUBLIC.name, owner))?;
        Ok(())
    })
}

#[test]
fn a_node_that_loses_power_is_followed_and_has_nothing_to_say_when_it_comes_back() -> Result<()> {
    run(|cluster| {
        let lost = lose(cluster, "lost power", |owner| cluster.lab.power_off(owner))?;
        let wire = watch(cluster)?;
        cluster.lab.power_on(&lost.owner)?;
        silent(cluster, &wire, &lost)
    })
}

#[test]
fn an_announcer_that_is_stopped_is_followed_and_says_nothing_stale_when_it_is_resumed() -> Result<()> {
    run(|cluster| {
        let lost =
            lose(cluster, "stopped announcer", |owner| cluster.lab.stop_announcer(PUBLIC.name, owner))?;
        let before = lost.service.claim()?.unwrap_or_default();
        let wire = watch(cluster)?;
        cluster.lab.resume_announcer(PUBLIC.name, &lost.owner)?;
        silent(cluster, &wire, &lost)?;
        let after = lost.service.claim()?.unwrap_or_default();
        assert_eq!(after["status"], before["status"], "a resumed announcer wrote a status");
        Ok(())
    })
}

#[test]
fn a_cable_that_is_pulled_moves_the_addresses_although_the_node_is_well() -> Result<()> {
    run(|cluster| {
        let lost = lose(cluster, "pulled cable", |owner| cluster.lab.unplug(owner, PUBLIC.network))?;
        let plane = cluster.lab.kubectl_json(&["get", "networkplane", PUBLIC.name])?;
        println!("{}", foghorn_e2e::condition(&plane, "InterfacesReady").cloned().unwrap_or_default());
        let wire = watch(cluster)?;
        cluster.lab.plug(&lost.owner, PUBLIC.network)?;
        silent(cluster, &wire, &lost)
    })
}

#[test]
fn a_node_that_is_cut_from_the_api_falls_silent_before_another_one_speaks() -> Result<()> {
    run(|cluster| {
        let wire = watch(cluster)?;
        let lost = lose(cluster, "API cut", |owner| cluster.lab.cut_api(owner))?;
        let claim_of = |node: &str| format!("{} is-at {}", lost.address, node_mac(cluster, node));
        let first = wire.wait_for(&[&claim_of(&lost.new_owner)], PAUSE)?;
        let late: Vec<_> = wire
            .with(&[&claim_of(&lost.owner)])
            .into_iter()
            .filter(|line| time(line) > time(&first))
            .collect();
        assert!(late.is_empty(), "the former owner spoke after {first}:\n{}", late.join("\n"));
        cluster.lab.mend_api(&lost.owner)
    })
}

#[test]
fn without_an_api_server_the_owner_falls_silent_and_takes_up_again_when_it_is_back() -> Result<()> {
    run(|cluster| {
        cluster.namespace("shop")?;
        let service = cluster.service("shop", "web", PUBLIC)?;
        let address = service.address()?;
        cluster.lab.stop_api()?;
        foghorn_lab::until("silence", Duration::from_secs(30), || {
            Ok(cluster.who_has(PUBLIC.network, address)?.is_empty().then_some(()))
        })?;
        cluster.lab.start_api()?;
        foghorn_lab::until("one owner again", Duration::from_secs(60), || {
            Ok((cluster.who_has(PUBLIC.network, address)?.len() == 1).then_some(()))
        })?;
        assert_eq!(service.address()?, address);
        assert_eq!(service.leases()?.len(), 1);
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
    cluster.namespace("shop")?;
    let service = cluster.service("shop", "web", PUBLIC)?;
    let address = service.address()?;
    let owner = cluster.holder(PUBLIC)?;
    assert!(cluster.get(PUBLIC.network, address)?.contains(" on w"));
    let probe = Probe::start(&cluster.lab.client(PUBLIC.network), SocketAddr::from((address, 80)), PAUSE)?;
    sleep(Duration::from_secs(1));
    let began = Instant::now();
    fault(&owner)?;
    let new_owner = service.held_by_another(&owner)?;
    println!("{what}: {owner} → {new_owner} in status after {:.2?}", began.elapsed());
    sleep(Duration::from_secs(2));
    let report = probe.finish()?;
    println!("{what}: {report}");
    assert!(report.longest_gap < Duration::from_secs(20), "{report}");
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
    assert_eq!(wire.with(&["Release"]), Vec::<String>::new());
    assert_eq!(owners, BTreeSet::from([lost.new_owner.clone()]));
    assert_eq!(lost.service.leases()?.len(), 1);
    Ok(())
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

/// When a frame was seen, in seconds.
fn time(line: &str) -> f64 {
    line.split_whitespace().next().and_then(|time| time.parse().ok()).unwrap_or_default()
}
