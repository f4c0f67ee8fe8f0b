//! What a Service's annotations change of how its address is asked for, and what its plane allows of that.

use foghorn_lab::{DhcpConfig, topology::Network, until};
use foghorn_testbed::{Cluster, PATIENCE, Plane, Result, Service, disturbs_nodes, run, shares_the_lab};

const NETWORK: Network = Network::Public;
const ALL: &str = "overrides: {allow: [HardwareAddress, ClientId, Hostname, RequestedAddress]}";

const HARDWARE_ADDRESS: &str = "foghorn.dev/hardware-address";

#[test]
fn a_service_is_known_to_the_server_by_what_it_says_where_its_plane_allows_that() -> Result<()> {
    run(disturbs_nodes().at_most(40), |cluster| {
        let (mac, other_mac) = (cluster.mac(1), cluster.mac(2));
        let reserved = NETWORK.address(61);
        let hosts = vec![format!("{mac},{reserved}")];
        cluster.lab.dhcp(NETWORK).configure(&DhcpConfig { hosts, ..DhcpConfig::of(NETWORK) })?;
        on_an_open_plane(cluster, |shop, open| {
            let wish = NETWORK.address(77).to_string();
            // The server's reservation counts more than the wish.
            let web = annotated(
                cluster,
                shop,
                "web",
                open,
                &[
                    (HARDWARE_ADDRESS, &mac),
                    ("foghorn.dev/hostname", "www"),
                    ("foghorn.dev/requested-address", &wish),
                ],
            )?;
            assert_eq!(web.address()?, reserved);
            let leases = web.leases()?;
            assert_eq!(leases.len(), 1, "{leases:?}");
            assert_eq!((&leases[0].mac, leases[0].host_name.as_deref()), (&mac, Some("www")));
            assert!(cluster.get(NETWORK, reserved)?.contains(" on w"));

            let as_in_kube_vip = [
                ("kube-vip.io/hwaddr", other_mac.as_str()),
                ("kube-vip.io/requestedIP", wish.as_str()),
                ("kube-vip.io/loadbalancerHostname", "kube"),
                ("foghorn.dev/client-id", "00:6b:75:62:65"),
            ];
            let other = annotated(cluster, shop, "wish", open, &as_in_kube_vip)?;
            assert_eq!(other.address()?.to_string(), wish);
            let leases = other.leases()?;
            let lease = leases.first().map(|lease| (&lease.mac, lease.host_name.as_deref()));
            assert_eq!(lease, Some((&other_mac, Some("kube"))), "{leases:?}");
            assert_eq!(leases[0].client_id.as_deref(), Some("00:6b:75:62:65"));
            Ok(())
        })
    })
}

#[test]
fn what_the_plane_does_not_allow_does_not_count_and_the_condition_says_so() -> Result<()> {
    run(shares_the_lab().at_most(30), |cluster| {
        let public = cluster.plane()?;
        let shop = cluster.namespace("shop")?;
        let mac = cluster.mac(1);
        let web = annotated(cluster, &shop, "web", public, &[("kube-vip.io/hwaddr", &mac)])?;
        web.address()?;
        let said = web.reason("Announced")?;
        println!("{said}");
        assert!(said.contains("kube-vip.io/hwaddr does not count"), "{said}");
        assert!(said.contains("HardwareAddress"), "{said}");
        let leases = web.leases()?;
        assert_eq!(leases.len(), 1, "{leases:?}");
        assert_ne!(leases[0].mac, mac);
        Ok(())
    })
}

#[test]
fn a_hardware_address_that_another_service_has_is_waited_for() -> Result<()> {
    run(shares_the_lab().within(65, "leases end and begin one after the other"), |cluster| {
        on_an_open_plane(cluster, |shop, open| {
            let mac = cluster.mac(1);
            let first = annotated(cluster, shop, "first", open, &[(HARDWARE_ADDRESS, &mac)])?;
            first.address()?;
            let second = annotated(cluster, shop, "second", open, &[(HARDWARE_ADDRESS, &mac)])?;
            let said = second.reason("HardwareAddressTaken")?;
            println!("{said}");
            assert!(said.contains(&format!("{shop}/first")) && said.contains(&mac), "{said}");
            assert!(second.claim()?.is_none());
            first.delete()?;
            first.gone()?;
            second.address()?;
            assert_eq!(second.leases()?.len(), 1);
            Ok(())
        })
    })
}

#[test]
fn a_group_s_hardware_address_is_refused_and_another_one_begins_a_new_lease() -> Result<()> {
    run(shares_the_lab().within(65, "leases end and begin one after the other"), |cluster| {
        on_an_open_plane(cluster, |shop, open| {
            let (one, two) = (cluster.mac(1), cluster.mac(2));
            let web = annotated(cluster, shop, "web", open, &[(HARDWARE_ADDRESS, "01:00:5e:00:00:01")])?;
            let said = web.reason("InvalidOverride")?;
            println!("{said}");
            assert!(said.contains(HARDWARE_ADDRESS) && said.contains("01:00:5e:00:00:01"), "{said}");
            assert!(web.claim()?.is_none());

            for (mac, former) in [(&one, &two), (&two, &one)] {
                let annotation = format!("{HARDWARE_ADDRESS}={mac}");
                let annotate = ["-n", shop, "annotate", "--overwrite", "service", "web", &annotation];
                cluster.lab.kubectl(&annotate)?;
                until(&format!("a lease of {mac} and none of {former}"), PATIENCE, || {
                    let leases = cluster.lab.dhcp(NETWORK).leases()?;
                    let has = |mac: &String| leases.iter().any(|lease| lease.mac == *mac);
                    Ok((has(mac) && !has(former)).then_some(()))
                })?;
                let address = web.address()?;
                assert_eq!(cluster.who_has(NETWORK, address)?.len(), 1);
            }
            Ok(())
        })
    })
}

/// Does it in a namespace, with a plane whose Services may use all annotations.
fn on_an_open_plane(cluster: &Cluster, test: impl FnOnce(&str, Plane) -> Result<()>) -> Result<()> {
    let open = cluster.plane_named("open", NETWORK);
    cluster.make_plane(open, ALL)?;
    cluster.wait_ready(open.name)?;
    test(&cluster.namespace("shop")?, open)?;
    cluster.remove_plane(open)
}

/// A Service with these annotations from its beginning.
fn annotated<'a>(
    cluster: &'a Cluster,
    namespace: &str,
    name: &str,
    plane: Plane,
    annotations: &[(&str, &str)],
) -> Result<Service<'a>> {
    let service = cluster.existing(namespace, name, plane);
    let annotations: Vec<_> = annotations.iter().map(|(key, value)| format!("{key}: '{value}'")).collect();
    let metadata = format!("metadata: {{annotations: {{{}}}, ", annotations.join(", "));
    cluster.lab.apply(&service.manifest(Some(plane.class))?.replacen("metadata: {", &metadata, 1))?;
    Ok(service)
}
