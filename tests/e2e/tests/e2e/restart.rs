//! Announcers that start again while the API server is away, and claims that nobody can have.

use std::{collections::BTreeSet, net::Ipv4Addr};

use foghorn_lab::{topology::Network, until};
use foghorn_testbed::{Cluster, PATIENCE, PUBLIC, Result, disturbs_nodes, run, served};

#[test]
fn the_only_announcer_goes_on_after_a_restart_while_the_api_server_is_away() -> Result<()> {
    run(disturbs_nodes().within(100, "two nodes start again"), |cluster| {
        let (service, address) = served(cluster)?;
        let node = service.holder()?;
        let others = others(cluster, &node);
        others.iter().try_for_each(|other| cluster.lab.power_off(other))?;
        until("a view of one member", PATIENCE, || Ok((cluster.members(PUBLIC)?.len() == 1).then_some(())))?;
        cluster.lab.stop_api()?;
        cluster.lab.kill_announcer(PUBLIC.name, &node)?;
        let back = answers_alone(cluster, &node, address);
        cluster.lab.start_api()?;
        others.iter().try_for_each(|other| cluster.lab.power_on(other))?;
        back?;
        cluster.all_members(PUBLIC)?;
        assert_eq!(service.address()?, address);
        assert_eq!(cluster.who_has(PUBLIC.network, address)?, BTreeSet::from([node]));
        assert_eq!(service.leases()?.len(), 1);
        Ok(())
    })
}

#[test]
fn an_announcer_that_starts_again_while_the_api_server_is_away_can_have_claims() -> Result<()> {
    run(disturbs_nodes().at_most(50), |cluster| {
        let (service, address) = served(cluster)?;
        let node = service.holder()?;
        let others = others(cluster, &node);
        let cables = |act: &dyn Fn(&str, Network) -> Result<()>| {
            others.iter().try_for_each(|other| act(other, PUBLIC.network))
        };
        cluster.lab.stop_api()?;
        cluster.lab.kill_announcer(PUBLIC.name, &node)?;
        let moved = until("another node answers", PATIENCE, || {
            let owners = cluster.who_has(PUBLIC.network, address)?;
            Ok((owners.len() == 1 && !owners.contains(&node)).then_some(()))
        });
        // Those that are left have to be without a carrier before the one that was killed gets the claim back.
        let back = moved
            .and_then(|()| cables(&|other, network| cluster.lab.unplug(other, network)))
            .and_then(|()| answers_alone(cluster, &node, address));
        cables(&|other, network| cluster.lab.plug(other, network))?;
        cluster.lab.start_api()?;
        back?;
        cluster.all_members(PUBLIC)?;
        assert_eq!(service.address()?, address);
        assert_eq!(service.leases()?.len(), 1);
        Ok(())
    })
}

#[test]
fn a_claim_that_no_node_can_have_says_why_and_is_served_again_with_the_same_address() -> Result<()> {
    run(disturbs_nodes().at_most(45), |cluster| {
        let (service, address) = served(cluster)?;
        let nodes: Vec<String> = cluster.lab.nodes().iter().map(|node| node.name().to_owned()).collect();
        nodes.iter().try_for_each(|node| cluster.lab.unplug(node, PUBLIC.network))?;
        let told = service.reason("NoMember");
        let claim = service.claim()?.unwrap_or_default();
        nodes.iter().try_for_each(|node| cluster.lab.plug(node, PUBLIC.network))?;
        println!("{}", told?);
        assert_eq!(claim["status"]["state"], "Unassigned", "{claim:#}");
        assert!(claim["status"]["holder"].is_null() && claim["status"]["lease"].is_object(), "{claim:#}");
        assert_eq!(service.address()?, address);
        let holder = service.holder()?;
        assert_eq!(cluster.who_has(PUBLIC.network, address)?, BTreeSet::from([holder]));
        assert_eq!(service.leases()?.len(), 1);
        Ok(())
    })
}

fn others(cluster: &Cluster, node: &str) -> Vec<String> {
    let nodes = cluster.lab.nodes();
    nodes.iter().map(|other| other.name().to_owned()).filter(|other| other != node).collect()
}

fn answers_alone(cluster: &Cluster, node: &str, address: Ipv4Addr) -> Result<()> {
    until(&format!("{node} answers again"), PATIENCE, || {
        Ok((cluster.who_has(PUBLIC.network, address)? == BTreeSet::from([node.to_owned()])).then_some(()))
    })
}
