//! DHCP servers as they are on bad days.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use foghorn_lab::{DhcpConfig, Wire, until};
use foghorn_testbed::{
    Cluster, PATIENCE, PRIVATE, PUBLIC, Plane, Result, disturbs_nodes, run, shares_the_lab,
};

/// In which a Service has its address whose server answers, also while the lab is busy.
const NOT_DELAYED: Duration = Duration::from_secs(10);

#[test]
fn without_a_server_the_service_says_so_others_are_not_delayed_and_the_address_comes_with_the_server()
-> Result<()> {
    run(disturbs_nodes().at_most(45), |cluster| {
        cluster.namespace("shop")?;
        cluster.lab.dhcp(PUBLIC.network).stop()?;
        let waiting = cluster.service("shop", "waiting", PUBLIC)?;
        let message = waiting.reason("NoDHCPAnswer")?;
        println!("{message}");
        let began = Instant::now();
        cluster.service("shop", "other", PRIVATE)?.address()?;
        let took = began.elapsed();
        println!("the other plane's Service after {took:.2?}");
        assert!(took < NOT_DELAYED, "{took:?}");
        cluster.lab.dhcp(PUBLIC.network).start()?;
        // The client asks every 64 s at most.
        let address = until("an address", PATIENCE, || Ok(waiting.address().ok()))?;
        assert!(cluster.get(PUBLIC.network, address)?.contains(" on w"));
        Ok(())
    })
}

#[test]
fn a_claim_tells_how_it_stands_with_its_server_and_the_server_knows_the_services_name() -> Result<()> {
    run(shares_the_lab().at_most(35), |cluster| {
        let public = cluster.plane()?;
        let shop = cluster.namespace("shop")?;
        let service = cluster.service(&shop, "web", public)?;
        service.address()?;
        let claim = until("a claim in BOUND", PATIENCE, || {
            Ok(service.claim()?.filter(|claim| claim["status"]["dhcp"]["state"] == "BOUND"))
        })?;
        let status = &claim["status"];
        println!("{status}");
        assert_eq!(status["identity"]["mode"], "VirtualMac");
        let (dhcp, lease) = (&status["dhcp"], &status["lease"]);
        assert!(dhcp["sent"]["DISCOVER"].as_u64() >= Some(1) && dhcp["received"]["ACK"] == 1, "{dhcp}");
        assert_eq!(lease["server"], "203.0.113.2");
        for time in ["acquiredAt", "renewAt", "rebindAt", "expiresAt"] {
            assert!(lease[time].is_string(), "{time}: {lease}");
        }
        until("the plane's identities", PATIENCE, || {
            let plane = cluster.lab.kubectl_json(&["get", "networkplane", public.name])?;
            Ok((plane["status"]["identities"] == serde_json::json!(["VirtualMac"])).then_some(()))
        })?;
        let leases = service.leases()?;
        // A name with a further hyphen has a tag.
        let named = leases.first().and_then(|lease| lease.host_name.as_deref());
        assert!(named.is_some_and(|name| name.starts_with(&format!("web-{shop}"))), "{leases:?}");
        Ok(())
    })
}

#[test]
fn a_short_lease_is_renewed_by_unicast_by_the_owner_and_by_the_next_one() -> Result<()> {
    run(disturbs_nodes().within(175, "two renewals of a lease of 120 s"), |cluster| {
        let short = DhcpConfig { lease_seconds: 120, ..DhcpConfig::of(PUBLIC.network) };
        cluster.lab.dhcp(PUBLIC.network).configure(&short)?;
        cluster.namespace("shop")?;
        let service = cluster.service("shop", "web", PUBLIC)?;
        let address = service.address()?;
        let expiry = |service: &foghorn_testbed::Service<'_>| -> Result<u64> {
            Ok(service.leases()?.first().map_or(0, |lease| lease.expiry))
        };
        let first = expiry(&service)?;
        let wire = Wire::start(&cluster.lab.switch(), PUBLIC.network.bridge(), "udp port 67")?;
        let renewal = format!("{address}.68 > 203.0.113.2.67");
        wire.wait_for(&[&renewal, "Request"], Duration::from_secs(75))?;
        until("a later expiry", PATIENCE, || Ok((expiry(&service)? > first).then_some(())))?;

        let owner = service.holder()?;
        cluster.lab.stop_announcer(PUBLIC.name, &owner)?;
        let next = service.held_by_another(&owner)?;
        wire.clear();
        let second = expiry(&service)?;
        let line = wire.wait_for(&[&renewal, "Request"], Duration::from_secs(75))?;
        println!("renewed by {owner}, then by {next}: {line}");
        until("a later expiry", PATIENCE, || Ok((expiry(&service)? > second).then_some(())))?;
        assert_eq!(service.address()?, address);
        assert_eq!(cluster.who_has(PUBLIC.network, address)?.into_iter().collect::<Vec<_>>(), [next]);
        Ok(())
    })
}

#[test]
fn a_server_that_refuses_the_renewal_gives_a_new_address_that_reaches_the_status() -> Result<()> {
    run(disturbs_nodes().within(110, "a lease of 120 s is refused when it is renewed"), |cluster| {
        let server = cluster.lab.dhcp(PUBLIC.network);
        let short = DhcpConfig { lease_seconds: 120, authoritative: true, ..DhcpConfig::of(PUBLIC.network) };
        server.configure(&short)?;
        cluster.namespace("shop")?;
        let service = cluster.service("shop", "web", PUBLIC)?;
        let old = service.address()?;
        server.stop()?;
        server.forget_leases()?;
        let elsewhere = (PUBLIC.network.address(210), PUBLIC.network.address(219));
        server.configure(&DhcpConfig { range: elsewhere, ..short })?;
        let new = until("a new address", Duration::from_secs(100), || {
            Ok(Some(service.address()?).filter(|address| *address != old))
        })?;
        println!("{old} → {new}");
        assert!(cluster.who_has(PUBLIC.network, old)?.is_empty());
        assert_eq!(cluster.who_has(PUBLIC.network, new)?.len(), 1);
        assert!(cluster.get(PUBLIC.network, new)?.contains(" on w"));
        Ok(())
    })
}

#[test]
fn a_server_that_offers_the_address_of_a_node_or_router_is_refused_by_name() -> Result<()> {
    run(disturbs_nodes().at_most(20), |cluster| {
        cluster.namespace("shop")?;
        offer(cluster, PRIVATE, 12, "AddressRefused", "node w2")?;
        offer(cluster, PUBLIC, 1, "AddressRefused", "router")
    })
}

#[test]
fn a_server_that_offers_a_node_s_address_that_kubernetes_does_not_know_is_refused() -> Result<()> {
    run(disturbs_nodes().at_most(20), |cluster| {
        cluster.namespace("shop")?;
        // The node itself knows all its addresses; to the others it answers the probe.
        offer_to(cluster, PUBLIC, 12, |holder| match holder {
            "w2" => ("AddressRefused", "node w2"),
            _ => ("AddressConflict", "02:0f:09:00:02:0c answers for it"),
        })
    })
}

/// The server of the plane's network offers nothing but the address with this last octet.
fn offer(cluster: &Cluster, plane: Plane, last: u8, reason: &str, words: &str) -> Result<()> {
    offer_to(cluster, plane, last, |_| (reason, words))
}

/// The same, where what is said of it depends on the node that the claim was granted to.
fn offer_to<'a>(
    cluster: &Cluster,
    plane: Plane,
    last: u8,
    expected: impl Fn(&str) -> (&'a str, &'a str),
) -> Result<()> {
    let only = plane.network.address(last);
    let config = DhcpConfig { range: (only, only), ..DhcpConfig::of(plane.network) };
    cluster.lab.dhcp(plane.network).configure(&config)?;
    let service = cluster.service("shop", &format!("offer-{last}"), plane)?;
    let (reason, words) = expected(&service.holder()?);
    let message = service.reason(reason)?;
    println!("{message}");
    assert!(message.contains(words), "{message}");
    sleep(Duration::from_secs(1));
    assert!(service.object()?["status"]["loadBalancer"]["ingress"].is_null());
    service.delete()?;
    service.gone()
}
