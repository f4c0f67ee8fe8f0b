//! `helm uninstall` leaves nothing stuck, whoever is alive.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use foghorn_lab::until;
use foghorn_testbed::{
    Cluster, PATIENCE, PRIVATE, PUBLIC, Plane, Result, Service, condition, reinstalls_the_chart, run,
};

/// What the chart gives the uninstallation, and what Helm and the ends of Pods take besides.
const WITHIN: Duration = Duration::from_secs(60 + 30);

#[test]
fn an_uninstallation_releases_everything_and_the_next_installation_serves_again() -> Result<()> {
    run(
        reinstalls_the_chart().within(95, "the chart is removed, and installed again for the next test"),
        |cluster| {
            let served = Served::on_both_planes(cluster)?;
            served.uninstall()?;
            served.assert_released()?;
            cluster.install()?;
            for service in &served.services {
                let address = service.address()?;
                assert!(cluster.get(service.plane.network, address)?.contains(" on w"));
            }
            Ok(())
        },
    )
}

#[test]
fn an_uninstallation_without_an_operator_releases_everything() -> Result<()> {
    run(reinstalls_the_chart().at_most(50), |cluster| {
        let served = Served::on_both_planes(cluster)?;
        cluster.scale_operator(0)?;
        served.uninstall()?;
        served.assert_released()
    })
}

#[test]
fn an_uninstallation_while_the_operator_is_killed_again_and_again_releases_everything() -> Result<()> {
    run(
        reinstalls_the_chart()
            .within(100, "an uninstallation that is disturbed, and the installation after it"),
        |cluster| {
            let served = Served::on_both_planes(cluster)?;
            let ended = AtomicBool::new(false);
            let (kills, done) = thread::scope(|scope| {
                let killer = scope.spawn(|| {
                    let mut kills = 0;
                    while !ended.load(Ordering::Relaxed) {
                        let pods = cluster.operator_pods().unwrap_or_default();
                        kills += pods.iter().filter(|pod| cluster.kill_operator(pod).is_ok()).count();
                        thread::sleep(Duration::from_millis(100));
                    }
                    kills
                });
                thread::sleep(Duration::from_millis(500));
                let done = cluster.uninstall();
                ended.store(true, Ordering::Relaxed);
                (killer.join().unwrap_or_default(), done)
            });
            done?;
            println!("killed {kills} times");
            assert!(kills > 1, "killed {kills} times");
            served.assert_nothing_left()?;
            served.assert_released()
        },
    )
}

#[test]
fn an_uninstallation_without_operator_and_announcers_leaves_nothing_stuck() -> Result<()> {
    run(reinstalls_the_chart(), |cluster| {
        let served = Served::on_both_planes(cluster)?;
        cluster.scale_operator(0)?;
        for plane in [PUBLIC, PRIVATE] {
            cluster.lab.kubectl(&["-n", &plane.namespace(), "delete", "daemonset", "announcer"])?;
            until("no announcer", PATIENCE, || Ok(cluster.announcers(plane)?.is_empty().then_some(())))?;
        }
        served.uninstall()?;
        served.assert_silent()
    })
}

/// Services with addresses, one on each plane.
struct Served<'a> {
    cluster: &'a Cluster,
    services: Vec<Service<'a>>,
    addresses: Vec<Ipv4Addr>,
}

impl<'a> Served<'a> {
    fn on_both_planes(cluster: &'a Cluster) -> Result<Self> {
        cluster.namespace("shop")?;
        let service = |plane: Plane| cluster.service("shop", plane.name, plane);
        let services = vec![service(PUBLIC)?, service(PRIVATE)?];
        let addresses = services.iter().map(Service::address).collect::<Result<_>>()?;
        Ok(Self { cluster, services, addresses })
    }

    fn uninstall(&self) -> Result<()> {
        let began = Instant::now();
        self.cluster.uninstall()?;
        let took = began.elapsed();
        println!("uninstalled in {took:.1?}");
        assert!(took < WITHIN, "{took:?}");
        self.assert_nothing_left()
    }

    /// Looks that in the API server nothing is left, and the Services wait as if Foghorn had never been.
    fn assert_nothing_left(&self) -> Result<()> {
        let list = |kind: &str| self.cluster.lab.kubectl(&["get", kind, "-A", "-o", "name"]);
        assert_eq!(list("networkplanes")? + &list("addressclaims")?, "");
        let namespaces = list("namespaces")?;
        let ours: Vec<_> = namespaces.lines().filter(|name| name.starts_with("namespace/foghorn-")).collect();
        assert_eq!(ours, ["namespace/foghorn-system"]);
        let roles = list("clusterroles")? + &list("clusterrolebindings")?;
        assert!(!roles.contains("/foghorn-"), "{roles}");
        until("Pods and Jobs are gone", PATIENCE, || {
            let left = self.cluster.lab.kubectl(&["-n", "foghorn-system", "get", "all", "-o", "name"])?;
            Ok(left.trim().is_empty().then_some(()))
        })?;
        for service in &self.services {
            let object = service.object()?;
            assert!(object["metadata"]["finalizers"].is_null(), "{object}");
            assert!(object["status"]["loadBalancer"]["ingress"].is_null(), "{object}");
            assert!(condition(&object, "foghorn.dev/AddressReady").is_none(), "{object}");
            assert_eq!(object["spec"]["type"], "LoadBalancer");
        }
        Ok(())
    }

    fn assert_silent(&self) -> Result<()> {
        for (service, address) in self.services.iter().zip(&self.addresses) {
            assert!(self.cluster.who_has(service.plane.network, *address)?.is_empty(), "{address}");
        }
        Ok(())
    }

    fn assert_released(&self) -> Result<()> {
        for (service, address) in self.services.iter().zip(&self.addresses) {
            let leases = self.cluster.lab.dhcp(service.plane.network).leases()?;
            assert!(leases.iter().all(|lease| lease.address != *address), "{leases:?}");
        }
        self.assert_silent()
    }
}
