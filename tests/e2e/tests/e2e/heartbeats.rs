//! What heartbeats bear without moving an address.

use std::{
    collections::BTreeSet,
    thread::sleep,
    time::{Duration, Instant},
};

use foghorn_lab::{Wire, topology::Network, until};
use foghorn_testbed::{
    Cluster, GAP, Holders, PATIENCE, Plane, Result, Service, disturbs_nodes, loads, probed, record, replay,
    run, served, shares_the_lab,
};

/// The EtherType of heartbeats.
const ETHERTYPE: u16 = 0x88b5;
const COUNT: usize = 9;
/// How long a neighbour listens.
const RECORDED: Duration = Duration::from_secs(3);
/// No announcer is taken for lost because the machine is busy.
const PATIENT: &str = "{mode: Custom, intervalMilliseconds: 200, missedHeartbeats: 15}";
/// The same with half the heartbeats.
const SLOWER: &str = r#"{"mode":"Custom","intervalMilliseconds":400,"missedHeartbeats":15}"#;

#[test]
fn a_way_that_is_not_heard_on_is_told_with_the_nodes_and_moves_nothing() -> Result<()> {
    run(disturbs_nodes().within(155, "all announcers start anew twice"), |cluster| {
        let own = own_plane(cluster, PATIENT)?;
        let services = spread(cluster, own)?;
        let plane = cluster.lab.kubectl_json(&["get", "networkplane", own.name])?;
        let port = plane["status"]["ports"]["metrics"].as_u64().and_then(|port| u16::try_from(port).ok());
        let port = port.unwrap_or_default();
        let (udp, wire) = (("HeartbeatUDP", "between node addresses"), ("HeartbeatWire", "on eth1"));
        unheard(cluster, own, &services, udp, wire.0, || cluster.lab.cut_udp("w1", port))?;
        cluster.lab.mend_udp("w1")?;
        heard(cluster, own)?;
        let cut = || cluster.lab.cut_ethertype("w1", own.network, ETHERTYPE);
        unheard(cluster, own, &services, wire, udp.0, cut)?;
        cluster.lab.mend_ethertype("w1")?;
        heard(cluster, own)?;
        cluster.remove_plane(own)
    })
}

#[test]
fn what_a_neighbour_records_of_former_lives_and_sends_again_moves_nothing() -> Result<()> {
    run(shares_the_lab().at_most(60), |cluster| {
        let public = cluster.plane()?;
        let (service, address) = served(cluster)?;
        let neighbour = cluster.lab.host("gw-public")?;
        let recorded = record(&neighbour, ETHERTYPE, RECORDED)?;
        let former = cluster.members(public)?;
        for (id, node) in &former {
            cluster.lab.kill_announcer(public.name, node)?;
            until(&format!("another life of {node}"), PATIENCE, || {
                let members = cluster.members(public)?;
                Ok((members.len() == former.len() && !members.contains_key(id)).then_some(()))
            })?;
        }
        let (members, holder) = (cluster.members(public)?, service.holder()?);
        assert!(members.keys().all(|id| !former.contains_key(id)), "{members:?} {former:?}");
        let wire =
            Wire::start(&cluster.lab.switch(), public.network.bridge(), &format!("ether proto {ETHERTYPE}"))?;
        let mut sent = 0;
        let report = probed(cluster, address, || {
            for _ in 0..3 {
                sent += replay(&neighbour, recorded.clone())?;
            }
            Ok(())
        })?;
        println!("{sent} frames of {} recorded ones; {report}", recorded.len());
        assert!(recorded.len() > 30 && sent == 3 * recorded.len());
        assert!(wire.lines().len() > sent * 3 / 2, "the switch has not seen what was sent again");
        // A switch looks for a node where a frame with its MAC address came from last, so that packets go astray.
        assert!(report.longest_gap < GAP, "{report}");
        assert_eq!(cluster.members(public)?, members);
        assert_eq!(cluster.who_has(public.network, address)?, BTreeSet::from([holder]));
        Ok(())
    })
}

#[test]
fn an_announcer_with_a_fifth_of_a_core_is_not_taken_for_lost() -> Result<()> {
    run(
        disturbs_nodes().within(65, "20 s with a fifth of a core, before and after which it starts slowly"),
        |cluster| {
            let own = own_plane(cluster, PATIENT)?;
            let services = spread(cluster, own)?;
            let (members, before) = (cluster.members(own)?, cluster.holders(&services)?);
            let node = cluster.coordinator(own)?;
            let throttle = cluster.lab.throttle_announcer(own.name, &node, 20)?;
            let began = Instant::now();
            // On a busy machine it takes longer to be felt.
            let waits = until("the limit is felt", PATIENCE, || {
                let waits = throttle.waits()?;
                Ok((began.elapsed() > Duration::from_secs(20) && waits > 100).then_some(waits))
            })?;
            println!("the announcer of {node} had to wait {waits} times");
            assert_eq!(cluster.members(own)?, members);
            drop(throttle);
            assert_eq!(cluster.holders(&services)?, before);
            cluster.remove_plane(own)
        },
    )
}

#[test]
fn a_node_whose_announcer_goes_up_and_down_does_not_make_the_addresses_of_others_move() -> Result<()> {
    run(shares_the_lab(), |cluster| {
        let public = cluster.plane()?;
        let services = spread(cluster, public)?;
        let before = cluster.holders(&services)?;
        let flapping = "w2";
        let wire = Wire::start(&cluster.lab.switch(), public.network.bridge(), "arp")?;
        let began = Instant::now();
        let mut kills = 0;
        while began.elapsed() < Duration::from_secs(20) {
            // It may not be up again yet.
            kills += u32::from(cluster.lab.kill_announcer(public.name, flapping).is_ok());
            sleep(Duration::from_secs(1));
        }
        println!("killed {kills} times");
        assert!(kills > 5, "{kills}");
        cluster.all_members(public)?;
        let after = cluster.holders(&services)?;
        println!("{:?}, then {:?}", loads(&before), loads(&after));
        for service in services.iter().filter(|service| before[&service.name] != flapping) {
            let owner = &before[&service.name];
            assert_eq!(after[&service.name], *owner, "{}", service.name);
            let said = cluster.claimants(&wire, service.address()?);
            assert_eq!(said, BTreeSet::from([owner.clone()]), "{} moved in between", service.name);
        }
        Ok(())
    })
}

#[test]
fn a_change_of_failure_detection_takes_effect_and_moves_nothing() -> Result<()> {
    run(shares_the_lab().within(70, "two modes, each observed for seconds"), |cluster| {
        let own = own_plane(cluster, PATIENT)?;
        let services = spread(cluster, own)?;
        let (members, before) = (cluster.members(own)?, cluster.holders(&services)?);
        let [first, ..] = &services[..] else { return Ok(()) };
        let port =
            cluster.lab.kubectl_json(&["get", "networkplane", own.name])?["status"]["ports"]["metrics"]
                .clone();
        let often = heartbeats(cluster, &port.to_string())?;
        let mut seldom = 0;
        let report = probed(cluster, first.address()?, || {
            cluster.patch_plane(own, &format!(r#"{{"spec":{{"failureDetection":{SLOWER}}}}}"#))?;
            // The kubelet is not asked: announcers watch their plane's configuration.
            sleep(Duration::from_secs(5));
            seldom = heartbeats(cluster, &port.to_string())?;
            Ok(())
        })?;
        println!("{often} heartbeats in 3 s before, {seldom} after; {report}");
        assert!(seldom > 0 && seldom * 3 < often * 2, "the change has no effect");
        assert!(report.longest_gap < GAP, "{report}");
        assert_eq!(cluster.members(own)?, members);
        assert_eq!(cluster.holders(&services)?, before);
        cluster.remove_plane(own)
    })
}

/// Makes a plane with that failure detection.
fn own_plane(cluster: &Cluster, detection: &str) -> Result<Plane> {
    let own = cluster.plane_named("own", Network::Public);
    cluster.make_plane(own, &format!("failureDetection: {detection}"))?;
    cluster.wait_ready(own.name)?;
    Ok(own)
}

/// Services of a plane that all nodes are members of.
fn spread(cluster: &Cluster, plane: Plane) -> Result<Vec<Service<'_>>> {
    cluster.all_members(plane)?;
    cluster.services(&cluster.namespace("shop")?, COUNT, plane)
}

/// Both ways are heard on.
fn heard(cluster: &Cluster, plane: Plane) -> Result<()> {
    for type_ in ["HeartbeatUDP", "HeartbeatWire"] {
        println!("{}", cluster.plane_reason(plane, type_, "AllHeard")?);
    }
    Ok(())
}

/// Starts the announcers anew while w1 is cut off by one way: the condition of that way tells it in those words, that of the
/// other way does not, and nothing moves.
fn unheard(
    cluster: &Cluster,
    plane: Plane,
    services: &[Service<'_>],
    (silent, by): (&str, &str),
    well: &str,
    cut: impl FnOnce() -> Result<()>,
) -> Result<()> {
    heard(cluster, plane)?;
    cut()?;
    let kubectl = |args: &[&str]| cluster.lab.kubectl(&[&["-n", &*plane.namespace()], args].concat());
    kubectl(&["rollout", "restart", "daemonset/announcer"])?;
    kubectl(&["rollout", "status", "daemonset/announcer", "--timeout=120s"])?;
    cluster.all_members(plane)?;
    let (members, before) = (cluster.members(plane)?, cluster.holders(services)?);
    let pair = |node: &str, others: &str| format!("node {node}: not heard {by}: {others}");
    let pairs = [pair("w1", "w2, w3"), pair("w2", "w1"), pair("w3", "w1")].join("; ");
    until(&pairs, PATIENCE, || {
        Ok((cluster.plane_reason(plane, silent, "PathNeverHeard")? == pairs).then_some(()))
    })?;
    println!("{silent}: {pairs}");
    cluster.plane_reason(plane, well, "AllHeard")?;
    sleep(Duration::from_secs(5));
    assert_eq!(cluster.members(plane)?, members);
    let after: Holders = cluster.holders(services)?;
    assert_eq!(after, before);
    Ok(())
}

/// How many heartbeats of a plane go between the nodes by UDP in three seconds.
fn heartbeats(cluster: &Cluster, port: &str) -> Result<usize> {
    let wire = Wire::start(&cluster.lab.switch(), Network::Private.bridge(), &format!("udp port {port}"))?;
    sleep(Duration::from_secs(3));
    Ok(wire.lines().len())
}
