//! What a Service's annotations change of how its address is asked for, and what its plane allows of that.

use std::time::Duration;

use foghorn_e2e::{Cluster, PUBLIC, Plane, Result, Service, run};
use foghorn_lab::{DhcpConfig, topology::Network, until};

/// Of this plane Services may have all that they like.
const OPEN: Plane = Plane { name: "open", class: "foghorn.dev/open", network: Network::Public };
const ALL: &str = "overrides: {allow: [HardwareAddress, ClientId, Hostname, RequestedAddress]}";

const HARDWARE_ADDRESS: &str = "foghorn.dev/hardware-address";
const MAC: &str = "02:00:5e:10:00:01";
const OTHER_MAC: &str = "02:00:5e:10:00:02";

#[test]
fn a_service_is_known_to_the_server_by_what_it_says_where_its_plane_allows_that() -> Result<()> {
    run(|cluster| {
        let reserved = OPEN.network.address(61);
        let hosts = vec![format!("{MAC},{reserved}")];
        cluster.lab.dhcp(OPEN.network).configure(&DhcpConfig { hosts, ..DhcpConfig::of(OPEN.network) })?;
        on_an_open_plane(cluster, || {
            let wish = OPEN.network.address(77).to_string();
            // The server's reservation counts more than the wish.
            let web = annotated(
                cluster,
                "web",
                OPEN,
                &[
                    (HARDWARE_ADDRESS, MAC),
                    ("foghorn.dev/hostname", "www"),
                    ("foghorn.dev/requested-address", &wish),
                ],
            )?;
            assert_eq!(web.address()?, reserved);
            let leases = web.leases()?;
            assert_eq!(leases.len(), 1, "{leases:?}");
            assert_eq!((leases[0].mac.as_str(), leases[0].host_name.as_deref()), (MAC, Some("www")));
            assert!(cluster.get(OPEN.network, reserved)?.contains(" on w"));

            let as_in_kube_vip = [
                ("kube-vip.io/hwaddr", OTHER_MAC),
                ("kube-vip.io/requestedIP", wish.as_str()),
                ("kube-vip.io/loadbalancerHostname", "kube"),
                ("foghorn.dev/client-id", "00:6b:75:62:65"),
            ];
            let other = annotated(cluster, "wish", OPEN, &as_in_kube_vip)?;
            assert_eq!(other.address()?.to_string(), wish);
            let leases = other.leases()?;
            let lease = leases.first().map(|lease| (lease.mac.as_str(), lease.host_name.as_deref()));
            assert_eq!(lease, Some((OTHER_MAC, Some("kube"))), "{leases:?}");
            assert_eq!(leases[0].client_id.as_deref(), Some("00:6b:75:62:65"));
            Ok(())
        })
    })
}

#[test]
fn what_the_plane_does_not_allow_does_not_count_and_the_condition_says_so() -> Result<()> {
    run(|cluster| {
        cluster.namespace("shop")?;
        let web = annotated(cluster, "web", PUBLIC, &[("kube-vip.io/hwaddr", MAC)])?;
        web.address()?;
        let said = web.reason("Announced")?;
        println!("{said}");
        assert!(said.contains("kube-vip.io/hwaddr does not count"), "{said}");
        assert!(said.contains("HardwareAddress"), "{said}");
        let leases = web.leases()?;
        assert_eq!(leases.len(), 1, "{leases:?}");
        assert_ne!(leases[0].mac, MAC);
        Ok(())
    })
}

#[test]
fn a_hardware_address_that_another_service_has_is_waited_for() -> Result<()> {
    run(|cluster| {
        on_an_open_plane(cluster, || {
            let first = annotated(cluster, "first", OPEN, &[(HARDWARE_ADDRESS, MAC)])?;
            first.address()?;
            let second = annotated(cluster, "second", OPEN, &[(HARDWARE_ADDRESS, MAC)])?;
            let said = second.reason("HardwareAddressTaken")?;
            println!("{said}");
            assert!(said.contains("shop/first") && said.contains(MAC), "{said}");
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
    run(|cluster| {
        on_an_open_plane(cluster, || {
            let web = annotated(cluster, "web", OPEN, &[(HARDWARE_ADDRESS, "01:00:5e:00:00:01")])?;
            let said = web.reason("InvalidOverride")?;
            println!("{said}");
            assert!(said.contains(HARDWARE_ADDRESS) && said.contains("01:00:5e:00:00:01"), "{said}");
            assert!(web.claim()?.is_none());

            for (mac, former) in [(MAC, OTHER_MAC), (OTHER_MAC, MAC)] {
                let annotation = format!("{HARDWARE_ADDRESS}={mac}");
                cluster.lab.kubectl(&[
                    "-n",
                    "shop",
                    "annotate",
                    "--overwrite",
                    "service",
                    "web",
                    &annotation,
                ])?;
                until(&format!("a lease of {mac} and none of {former}"), Duration::from_secs(60), || {
                    let leases = cluster.lab.dhcp(OPEN.network).leases()?;
                    let has = |mac| leases.iter().any(|lease| lease.mac == mac);
                    Ok((has(mac) && !has(former)).then_some(()))
                })?;
                let address = web.address()?;
                assert_eq!(cluster.who_has(OPEN.network, address)?.len(), 1);
            }
            Ok(())
        })
    })
}

/// Does it in the namespace `shop`, with a plane whose Services may say all.
fn on_an_open_plane(cluster: &Cluster, test: impl FnOnce() -> Result<()>) -> Result<()> {
    cluster.make_plane(OPEN, ALL)?;
    cluster.wait_ready(OPEN.name)?;
    cluster.namespace("shop")?;
    test()?;
    cluster.remove_plane(OPEN)
}

/// A Service of the namespace `shop` with these annotations from its beginning.
fn annotated<'a>(
    cluster: &'a Cluster,
    name: &str,
    plane: Plane,
    annotations: &[(&str, &str)],
) -> Result<Service<'a>> {
    let service = cluster.existing("shop", name, plane);
    let annotations: Vec<_> = annotations.iter().map(|(key, value)| format!("{key}: '{value}'")).collect();
    let metadata = format!("metadata: {{annotations: {{{}}}, ", annotations.join(", "));
    cluster.lab.apply(&service.manifest(Some(plane.class)).replacen("metadata: {", &metadata, 1))?;
    Ok(service)
}
