//! Garbage from the wire.

use std::{net::SocketAddr, time::Duration};

use foghorn_e2e::{PUBLIC, Result, run};
use foghorn_lab::Probe;

#[test]
fn garbage_and_storms_do_not_slow_the_service_of_others() -> Result<()> {
    run(|cluster| {
        cluster.namespace("shop")?;
        let service = cluster.service("shop", "web", PUBLIC)?;
        let address = service.address()?;
        let before = cluster.announcers(PUBLIC)?;
        let restarts = |cluster: &foghorn_e2e::Cluster| {
            let path = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
            cluster.lab.kubectl(&["-n", &PUBLIC.namespace(), "get", "pods", "-o", path])
        };
        let restarted = restarts(cluster)?;
        assert!(cluster.get(PUBLIC.network, address)?.contains(" on w"));
        let probe = Probe::start(
            &cluster.lab.client(PUBLIC.network),
            SocketAddr::from((address, 80)),
            Duration::from_millis(20),
        )?;
        let sent = foghorn_e2e::garbage(&cluster.lab.client(PUBLIC.network), address)?;
        println!("{sent} frames of garbage");
        let second = cluster.service("shop", "second", PUBLIC)?.address()?;
        let report = probe.finish()?;
        println!("{report}");
        assert!(report.longest_gap < Duration::from_secs(2), "{report}");
        assert_eq!(cluster.who_has(PUBLIC.network, address)?.len(), 1);
        assert!(cluster.get(PUBLIC.network, second)?.contains(" on w"));
        assert_eq!(cluster.announcers(PUBLIC)?, before);
        assert_eq!(restarts(cluster)?, restarted);
        Ok(())
    })
}
