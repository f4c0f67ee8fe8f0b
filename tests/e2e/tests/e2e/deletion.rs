//! A Service goes, in every way in which it can.

use std::{thread::sleep, time::Duration};

use foghorn_testbed::{PATIENCE, PUBLIC, Result, Service, condition, run, shares_the_lab};

#[test]
fn a_deleted_service_leaves_silence_and_no_lease_and_another_one_is_untouched() -> Result<()> {
    run(shares_the_lab().at_most(35), |cluster| {
        let public = cluster.plane()?;
        let shop = cluster.namespace("shop")?;
        let (going, staying) =
            (cluster.service(&shop, "going", public)?, cluster.service(&shop, "staying", public)?);
        let (address, other) = (going.address()?, staying.address()?);
        let before = staying.claim()?;
        going.delete()?;
        going.gone()?;
        assert!(cluster.who_has(public.network, address)?.is_empty());
        assert_not_leased(cluster, address)?;
        assert_eq!(cluster.who_has(public.network, other)?.len(), 1);
        assert!(cluster.get(public.network, other)?.contains(" on w"));
        assert_eq!(staying.claim()?, before);
        Ok(())
    })
}

#[test]
fn a_service_that_becomes_cluster_ip_gives_its_address_back_and_keeps_serving_inside() -> Result<()> {
    run(shares_the_lab().at_most(25), |cluster| {
        let public = cluster.plane()?;
        let shop = cluster.namespace("shop")?;
        let service = cluster.service(&shop, "web", public)?;
        let address = service.address()?;
        let patch = r#"{"spec":{"type":"ClusterIP","loadBalancerClass":null,"loadBalancerIP":null}}"#;
        cluster.lab.kubectl(&["-n", &shop, "patch", "service", "web", "-p", patch])?;
        foghorn_lab::until("the claim is gone", PATIENCE, || Ok(service.claim()?.is_none().then_some(())))?;
        foghorn_lab::until("the Service is as any other", PATIENCE, || {
            let object = service.object()?;
            let clean = object["metadata"]["finalizers"].is_null()
                && condition(&object, "foghorn.dev/AddressReady").is_none()
                && object["status"]["loadBalancer"]["ingress"].is_null();
            Ok(clean.then_some(()))
        })?;
        assert!(cluster.who_has(public.network, address)?.is_empty());
        assert_not_leased(cluster, address)
    })
}

#[test]
fn a_deleted_namespace_gives_all_its_addresses_back() -> Result<()> {
    run(shares_the_lab().at_most(25), |cluster| {
        let public = cluster.plane()?;
        let shop = cluster.namespace("shop")?;
        let services: Vec<Service<'_>> =
            ["a", "b"].into_iter().map(|name| cluster.service(&shop, name, public)).collect::<Result<_>>()?;
        let addresses = services.iter().map(Service::address).collect::<Result<Vec<_>>>()?;
        cluster.lab.kubectl(&["delete", "namespace", &shop, "--timeout=60s"])?;
        services.iter().try_for_each(Service::gone)?;
        addresses.into_iter().try_for_each(|address| assert_not_leased(cluster, address))
    })
}

#[test]
fn a_service_whose_finalizer_others_strip_is_released_all_the_same() -> Result<()> {
    run(shares_the_lab().at_most(40), |cluster| {
        let public = cluster.plane()?;
        let shop = cluster.namespace("shop")?;
        let service = cluster.service(&shop, "web", public)?;
        let address = service.address()?;
        service.delete_at_once()?;
        service.gone()?;
        assert!(cluster.who_has(public.network, address)?.is_empty());
        assert_not_leased(cluster, address)
    })
}

#[test]
fn a_controller_that_keeps_clearing_the_status_is_named() -> Result<()> {
    run(shares_the_lab().at_most(30), |cluster| {
        let public = cluster.plane()?;
        let shop = cluster.namespace("shop")?;
        let service = cluster.service(&shop, "web", public)?;
        let address = service.address()?;
        // Who only takes away leaves no name in managedFields; a cloud's controller writes an address of its own, too.
        let other = r#"{"status":{"loadBalancer":{"ingress":[{"hostname":"cloud.example.org"}]}}}"#;
        let clear = r#"{"metadata":{"finalizers":null},"status":{"loadBalancer":{"ingress":null}}}"#;
        let mut named = None;
        for change in [other, clear].into_iter().cycle().take(40) {
            let args = ["-n", &shop, "patch", "service", "web", "--subresource=status", "--type=merge"];
            cluster
                .lab
                .kubectl(&[&args[..], &["--field-manager=cloud-controller", "-p", change]].concat())?;
            sleep(Duration::from_millis(300));
            named =
                cluster.events(&shop, "web")?.into_iter().find(|event| event.starts_with("StatusDisputed"));
            if named.is_some() {
                break;
            }
        }
        let named = named.unwrap_or_default();
        println!("{named}");
        assert!(named.contains("cloud-controller"), "{named}");
        assert_eq!(
            cluster.who_has(public.network, address)?.len(),
            1,
            "the address itself is not in dispute"
        );
        service.delete()?;
        service.gone()?;
        assert_not_leased(cluster, address)
    })
}

fn assert_not_leased(cluster: &foghorn_testbed::Cluster, address: std::net::Ipv4Addr) -> Result<()> {
    let leases = cluster.lab.dhcp(PUBLIC.network).leases()?;
    assert!(leases.iter().all(|lease| lease.address != address), "{leases:?}");
    Ok(())
}
