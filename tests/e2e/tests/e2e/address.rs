//! A Service gets an address from the network's DHCP server.

use std::time::{Duration, Instant};

use foghorn_lab::{DhcpConfig, until};
use foghorn_testbed::{PATIENCE, PRIVATE, PUBLIC, Result, condition, disturbs_nodes, run, shares_the_lab};

/// dnsmasq waits for an answer to its ping until the third second has begun.
const PING_CHECK: Duration = Duration::from_secs(2);

#[test]
fn a_dhcp_service_is_answered_by_one_node_and_status_claim_and_event_agree() -> Result<()> {
    run(shares_the_lab().at_most(30), |cluster| {
        let public = cluster.plane()?;
        let private = cluster.private_plane()?;
        let shop = cluster.namespace("shop")?;
        for plane in [public, private] {
            let name = plane.name;
            let began = Instant::now();
            let service = cluster.service(&shop, name, plane)?;
            let address = service.address()?;
            println!("{name}: {address} after {:.2?}", began.elapsed());

            let leases = service.leases()?;
            assert_eq!(leases.len(), 1, "{leases:?}");
            assert_eq!(leases[0].address, address);
            let named = leases[0].host_name.as_deref();
            assert!(named.is_some_and(|known| known.starts_with(&format!("{name}-{shop}"))), "{leases:?}");
            let owners = cluster.who_has(plane.network, address)?;
            assert_eq!(owners.len(), 1, "{owners:?}");
            assert!(cluster.get(plane.network, address)?.contains(" on w"));

            let claim = service.claim()?.unwrap_or_default();
            assert_eq!(claim["status"]["address"], address.to_string().as_str());
            assert_eq!(claim["status"]["state"], "Bound");
            assert_eq!(claim["status"]["holder"].as_str(), owners.first().map(String::as_str));
            let object = service.object()?;
            assert_eq!(object["status"]["loadBalancer"]["ingress"][0]["ipMode"], "VIP");
            let ready = condition(&object, "foghorn.dev/AddressReady").cloned().unwrap_or_default();
            assert_eq!(
                (ready["status"].as_str(), ready["reason"].as_str()),
                (Some("True"), Some("Announced"))
            );
            until("an event with the address", PATIENCE, || {
                let events = cluster.events(&shop, name)?;
                let tells = |e: &String| e.contains("AddressAssigned") && e.contains(&address.to_string());
                Ok(events.iter().any(tells).then_some(()))
            })?;
        }
        Ok(())
    })
}

#[test]
fn a_client_that_connects_as_soon_as_the_address_is_published_is_served() -> Result<()> {
    run(shares_the_lab().at_most(60), |cluster| {
        let plane = cluster.plane()?;
        let namespace = cluster.namespace("first")?;
        for number in 0..10 {
            let service = cluster.service(&namespace, &format!("first-{number}"), plane)?;
            let url = format!("http://{}/", service.address()?);
            // One connection. The kernel asks ARP for three seconds.
            let began = Instant::now();
            let page = cluster.lab.client(plane.network).exec(&["curl", "-sS", "--max-time", "4", &url])?;
            println!("{url} answers after {:.2?}", began.elapsed());
            assert!(page.contains(" on w"), "{page}");
        }
        Ok(())
    })
}

#[test]
fn a_server_that_checks_by_ping_is_waited_for() -> Result<()> {
    run(disturbs_nodes().at_most(25), |cluster| {
        let slow = DhcpConfig { ping_check: true, ..DhcpConfig::of(PUBLIC.network) };
        cluster.lab.dhcp(PUBLIC.network).configure(&slow)?;
        let shop = cluster.namespace("shop")?;
        let began = Instant::now();
        let address = cluster.service(&shop, "web", PUBLIC)?.address()?;
        let took = began.elapsed();
        println!("with ping check: {address} after {took:.2?}");
        assert!(took > PING_CHECK, "the server has not checked by ping: {took:?}");
        Ok(())
    })
}

#[test]
fn a_service_without_a_class_is_served_by_the_default_plane_and_a_foreign_class_is_not_touched() -> Result<()>
{
    run(shares_the_lab().at_most(30), |cluster| {
        let shop = cluster.namespace("shop")?;
        let classless = cluster.existing(&shop, "classless", PRIVATE);
        let foreign = classless.sibling("foreign");
        classless.apply(None)?;
        foreign.apply(Some("example.org/other"))?;
        let address = classless.address()?;
        assert!(cluster.get(PRIVATE.network, address)?.contains(" on w"));

        std::thread::sleep(Duration::from_secs(2));
        let object = foreign.object()?;
        assert!(object["metadata"]["finalizers"].is_null(), "{object}");
        assert!(condition(&object, "foghorn.dev/AddressReady").is_none(), "{object}");
        assert!(object["status"]["loadBalancer"]["ingress"].is_null(), "{object}");
        assert_eq!(cluster.events(&shop, "foreign")?, Vec::<String>::new());
        assert!(foreign.claim()?.is_none());
        Ok(())
    })
}

#[test]
fn a_claim_names_the_nodes_that_serve_its_service_where_no_other_may_have_the_address() -> Result<()> {
    run(shares_the_lab().at_most(30), |cluster| {
        let public = cluster.plane()?;
        let shop = cluster.namespace_with_pods("shop")?;
        let service = cluster.existing(&shop, "local", public);
        service.apply_selecting()?;
        service.address()?;
        let patch =
            |patch: &str| cluster.lab.kubectl(&["-n", &shop, "patch", "service", "local", "-p", patch]);
        let serving =
            || service.claim().map(|claim| claim.unwrap_or_default()["spec"]["servingNodes"].clone());
        assert!(serving()?.is_null());
        patch(r#"{"spec":{"externalTrafficPolicy":"Local"}}"#)?;
        let nodes = foghorn_lab::until("the nodes that serve the Service", PATIENCE, || {
            Ok(serving()?.as_array().filter(|nodes| !nodes.is_empty()).cloned())
        })?;
        assert!(
            nodes.iter().all(|node| node.as_str().is_some_and(|node| node.starts_with('w'))),
            "{nodes:?}"
        );

        patch(r#"{"spec":{"selector":{"app":"nobody"}}}"#)?;
        println!("{}", service.reason("NoServingNode")?);
        patch(r#"{"spec":{"externalTrafficPolicy":"Cluster","selector":{"app":"web"}}}"#)?;
        // The address was there all the time, so that it tells nothing about the change.
        foghorn_lab::until("a claim that any node may have", PATIENCE, || {
            Ok(serving()?.is_null().then_some(()))
        })
    })
}

#[test]
fn what_is_not_served_yet_is_said_on_the_service() -> Result<()> {
    run(shares_the_lab().at_most(20), |cluster| {
        let public = cluster.plane()?;
        let shop = cluster.namespace("shop")?;
        let fixed = cluster.service(&shop, "fixed", public)?;
        let patch = r#"{"spec":{"loadBalancerIP":"203.0.113.60"}}"#;
        cluster.lab.kubectl(&["-n", &shop, "patch", "service", "fixed", "-p", patch])?;
        println!("{}", fixed.reason("RequestNotSupported")?);
        Ok(())
    })
}
