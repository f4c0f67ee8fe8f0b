//! Which node has an address, and when it moves.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    thread::sleep,
    time::{Duration, Instant},
};

use foghorn_lab::{topology::Network, until};
use foghorn_testbed::{
    Cluster, GAP, Holders, Mark, PATIENCE, PUBLIC, Plane, Result, Service, all_probed, disturbs_nodes, loads,
    probed, run, served, shares_the_lab,
};

/// What would move has moved after this time.
const QUIET: Duration = Duration::from_secs(3);

#[test]
fn addresses_are_spread_and_only_those_of_a_lost_node_move_until_rebalancing_is_asked_for() -> Result<()> {
    run(shares_the_lab(), |cluster| {
        let public = cluster.plane()?;
        cluster.all_members(public)?;
        let shop = cluster.namespace("shop")?;
        let services = cluster.services(&shop, 9, public)?;
        let fresh = cluster.holders(&services)?;
        assert_eq!(loads(&fresh), [3, 3, 3], "{fresh:?}");

        let lost = cluster.coordinator(public)?;
        let left = lose(cluster, &services, &lost)?;
        println!("{lost} is lost: {:?}", loads(&left));
        assert!(fresh.iter().all(|(service, node)| *node == lost || left[service] == *node), "{left:?}");
        assert_eq!(loads(&left), [5, 4], "{left:?}");

        come_back(cluster, public, &lost)?;
        assert_eq!(cluster.holders(&services)?, left, "{lost} came back");

        let addresses = services.iter().map(Service::address).collect::<Result<Vec<_>>>()?;
        let reports = all_probed(cluster, &addresses, || {
            cluster.lab.kubectl(&[
                "annotate",
                "plane",
                public.name,
                "foghorn.dev/rebalance=x",
                "--overwrite",
            ])?;
            until("the addresses are spread", PATIENCE, || {
                Ok((loads(&cluster.holders(&services)?) == [3, 3, 3]).then_some(()))
            })
        })?;
        let worst = reports.iter().map(|report| report.longest_gap).max().unwrap_or_default();
        println!("rebalancing: longest gap of nine clients {worst:.3?}");
        assert!(worst < GAP, "{reports:?}");
        Ok(())
    })
}

#[test]
fn in_a_single_plane_one_node_has_all_addresses_and_after_its_loss_another_one() -> Result<()> {
    run(shares_the_lab().at_most(50), |cluster| {
        let (own, shop) = own_plane(cluster, "placement: {mode: Single}")?;
        let services = cluster.services(&shop, 4, own)?;
        let fresh = cluster.holders(&services)?;
        assert_eq!(loads(&fresh), [4], "{fresh:?}");
        let lost = fresh["web-1"].clone();
        let left = lose(cluster, &services, &lost)?;
        assert_eq!(loads(&left), [4], "{left:?}");
        come_back(cluster, own, &lost)?;
        assert_eq!(cluster.holders(&services)?, left, "{lost} came back");
        cluster.remove_plane(own)
    })
}

#[test]
fn new_addresses_go_to_the_node_of_the_greatest_weight_and_lost_ones_to_the_next() -> Result<()> {
    run(shares_the_lab(), |cluster| {
        let prefer = |weight: u32, node: &str| {
            format!("{{weight: {weight}, matchLabels: {{kubernetes.io/hostname: {node}}}}}")
        };
        let preferred = [prefer(5, "w1"), prefer(50, "w3")].join(", ");
        let (own, shop) = own_plane(cluster, &format!("placement: {{preferredNodes: [{preferred}]}}"))?;
        let services = cluster.services(&shop, 3, own)?;
        assert_eq!(nodes(&cluster.holders(&services)?), ["w3"]);
        let left = lose(cluster, &services, "w3")?;
        assert_eq!(nodes(&left), ["w1"]);
        come_back(cluster, own, "w3")?;
        assert_eq!(cluster.holders(&services)?, left, "w3 came back");
        let new = cluster.service(&shop, "new", own)?;
        assert_eq!(nodes(&cluster.holders(&[new])?), ["w3"]);
        cluster.remove_plane(own)
    })
}

#[test]
fn a_node_that_is_cordoned_excluded_or_out_of_service_hands_over_and_the_plane_says_why() -> Result<()> {
    run(disturbs_nodes().at_most(55), |cluster| {
        let (service, address) = served(cluster)?;
        for mark in Mark::ALL {
            let owner = service.holder()?;
            let mut next = String::new();
            let report = probed(cluster, address, || {
                cluster.mark(mark, &owner)?;
                next = service.held_by_another(&owner)?;
                Ok(())
            })?;
            println!("{mark:?}: {owner} → {next}, {report}");
            assert!(report.longest_gap < GAP, "{report}");
            let said = cluster.plane_reason(PUBLIC, "Placement", "NodesPassedOver")?;
            assert_eq!(said, format!("{owner} is passed over: {}", mark.words()));
            cluster.unmark_all(mark)?;
            cluster.plane_reason(PUBLIC, "Placement", "AllNodes")?;
            sleep(QUIET);
            assert_eq!(cluster.who_has(PUBLIC.network, address)?, BTreeSet::from([next]), "{mark:?} ended");
        }
        Ok(())
    })
}

#[test]
fn a_taint_that_evicts_the_announcer_moves_the_address_once_and_without_a_gap() -> Result<()> {
    run(disturbs_nodes().at_most(35), |cluster| {
        let (service, address) = served(cluster)?;
        let owner = service.holder()?;
        let taint = |taint: &str| cluster.lab.kubectl(&["taint", "node", &owner, taint]).map(drop);
        let mut next = String::new();
        let report = probed(cluster, address, || {
            taint("node.kubernetes.io/out-of-service=nodeshutdown:NoExecute")?;
            next = service.held_by_another(&owner)?;
            Ok(())
        })?;
        println!("evicted: {owner} → {next}, {report}");
        assert!(report.longest_gap < GAP, "{report}");
        taint("node.kubernetes.io/out-of-service-")?;
        cluster.wait_ready(PUBLIC.name)?;
        cluster.all_members(PUBLIC)?;
        sleep(QUIET);
        assert_eq!(cluster.who_has(PUBLIC.network, address)?, BTreeSet::from([next]), "{owner} came back");
        Ok(())
    })
}

#[test]
fn if_every_node_would_be_passed_over_the_addresses_stay() -> Result<()> {
    run(disturbs_nodes().at_most(45), |cluster| {
        let (service, address) = served(cluster)?;
        let owner = service.holder()?;
        let report = probed(cluster, address, || {
            let nodes = cluster.lab.nodes();
            let others = nodes.iter().map(foghorn_lab::Host::name).filter(|name| *name != owner);
            others.chain([&*owner]).try_for_each(|node| cluster.mark(Mark::Cordoned, node))?;
            println!("{}", cluster.plane_reason(PUBLIC, "Placement", "NoOtherNode")?);
            sleep(QUIET);
            Ok(())
        })?;
        assert_eq!(cluster.who_has(PUBLIC.network, address)?, BTreeSet::from([owner]));
        assert!(report.longest_gap < GAP, "{report}");
        Ok(())
    })
}

#[test]
fn a_plane_that_ignores_the_label_leaves_addresses_on_nodes_that_have_it() -> Result<()> {
    run(disturbs_nodes().at_most(40), |cluster| {
        let (own, shop) = own_plane(cluster, "placement: {ignoreExcludeLabel: true}")?;
        let services = cluster.services(&shop, 3, own)?;
        let before = cluster.holders(&services)?;
        cluster.mark(Mark::Excluded, "w1")?;
        // The other plane shows that the label is known by now.
        cluster.plane_reason(PUBLIC, "Placement", "NodesPassedOver")?;
        cluster.plane_reason(own, "Placement", "AllNodes")?;
        sleep(QUIET);
        assert_eq!(cluster.holders(&services)?, before);
        cluster.remove_plane(own)
    })
}

#[test]
fn with_a_local_traffic_policy_the_address_follows_the_endpoints() -> Result<()> {
    run(shares_the_lab().within(80, "an announcer is away until its addresses have moved"), |cluster| {
        let public = cluster.plane()?;
        cluster.all_members(public)?;
        let shop = cluster.namespace("shop")?;
        serve_on(cluster, &shop, "w1")?;
        let service = cluster.existing(&shop, "solo", public);
        let manifest = service.selecting(Some(public.class)).replace("app: web", "app: solo");
        cluster.lab.apply(&manifest.replace("  type:", "  externalTrafficPolicy: Local\n  type:"))?;
        let address = service.address()?;
        assert!(cluster.get(public.network, address)?.contains(" on w1"));
        answered_by(cluster, address, &["w1"])?;

        for (from, to) in [("w1", "w2"), ("w2", "w3")] {
            serve_on(cluster, &shop, to)?;
            end_on(cluster, &shop, from)?;
            answered_by(cluster, address, &[to])?;
            assert!(cluster.get(public.network, address)?.contains(&format!(" on {to}")));
        }

        end_on(cluster, &shop, "w3")?;
        println!("{}", service.reason("NoServingNode")?);
        assert_eq!(service.address()?, address, "the status keeps the address");
        answered_by(cluster, address, &[])?;
        sleep(QUIET);
        answered_by(cluster, address, &[])?;

        serve_on(cluster, &shop, "w1")?;
        service.reason("Announced")?;
        assert_eq!(service.address()?, address);
        answered_by(cluster, address, &["w1"])?;
        assert!(cluster.get(public.network, address)?.contains(" on w1"));
        assert_eq!(service.leases()?.len(), 1);
        let events = cluster.events(&shop, "solo")?;
        assert!(!events.iter().any(|event| event.starts_with("AddressLost")), "{events:?}");
        Ok(())
    })
}

/// Makes a plane with more fields, of which all nodes are members, and a namespace.
fn own_plane(cluster: &Cluster, fields: &str) -> Result<(Plane, String)> {
    let own = cluster.plane_named("own", Network::Public);
    cluster.make_plane(own, fields)?;
    cluster.wait_ready(own.name)?;
    cluster.all_members(own)?;
    Ok((own, cluster.namespace("shop")?))
}

/// Stops the Services' announcer on a node, and gives who has the addresses then.
fn lose(cluster: &Cluster, services: &[Service<'_>], node: &str) -> Result<Holders> {
    let began = Instant::now();
    let plane = services.first().map_or(PUBLIC, |service| service.plane);
    cluster.lab.stop_announcer(plane.name, node)?;
    let holders = until(&format!("others have what {node} had"), PATIENCE, || {
        let holders = cluster.holders(services)?;
        Ok((!nodes(&holders).contains(&node)).then_some(holders))
    })?;
    println!("without {node} all answer after {:.2?}, of which an ARP scan takes 1 s", began.elapsed());
    Ok(holders)
}

/// Lets the announcer on a node go on, and waits until it could have addresses.
fn come_back(cluster: &Cluster, plane: Plane, node: &str) -> Result<()> {
    cluster.lab.resume_announcer(plane.name, node)?;
    cluster.all_members(plane)?;
    sleep(QUIET);
    Ok(())
}

/// Waits until these nodes answer for the address.
fn answered_by(cluster: &Cluster, address: Ipv4Addr, nodes: &[&str]) -> Result<()> {
    let nodes: BTreeSet<String> = nodes.iter().map(|&node| node.to_owned()).collect();
    until(&format!("{nodes:?} answer for {address}"), PATIENCE, || {
        Ok((cluster.who_has(PUBLIC.network, address)? == nodes).then_some(()))
    })
}

/// Starts a Pod with the label `app: solo` on a node, and waits until it is ready.
fn serve_on(cluster: &Cluster, namespace: &str, node: &str) -> Result<()> {
    cluster.lab.apply(&format!(
        r"
apiVersion: v1
kind: Pod
metadata: {{name: solo-{node}, namespace: {namespace}, labels: {{app: solo}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: localhost/web:1
    imagePullPolicy: Never
    env: [{{name: NODE_NAME, value: {node}}}]
"
    ))?;
    let pod = format!("pod/solo-{node}");
    cluster.lab.kubectl(&["-n", namespace, "wait", "--for=condition=Ready", &pod, "--timeout=30s"]).map(drop)
}

fn end_on(cluster: &Cluster, namespace: &str, node: &str) -> Result<()> {
    cluster.lab.kubectl(&["-n", namespace, "delete", "pod", &format!("solo-{node}")]).map(drop)
}

/// The nodes that have something.
fn nodes(holders: &Holders) -> Vec<&str> {
    let nodes: BTreeSet<_> = holders.values().map(String::as_str).collect();
    nodes.into_iter().collect()
}
