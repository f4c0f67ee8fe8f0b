//! What strangers send on the network.

use std::{collections::BTreeSet, net::SocketAddr, thread::sleep, time::Duration};

use foghorn_lab::{Probe, until};
use foghorn_testbed::{GAP, PATIENCE, PUBLIC, Result, disturbs_nodes, probed, run, served, shares_the_lab};

#[test]
fn garbage_and_storms_do_not_slow_the_service_of_others() -> Result<()> {
    run(disturbs_nodes().at_most(25), |cluster| {
        let shop = cluster.namespace("shop")?;
        let service = cluster.service(&shop, "web", PUBLIC)?;
        let address = service.address()?;
        let before = cluster.announcers(PUBLIC)?;
        let restarts = |cluster: &foghorn_testbed::Cluster| {
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
        let sent = foghorn_testbed::garbage(&cluster.lab.client(PUBLIC.network), address)?;
        println!("{sent} frames of garbage");
        let second = cluster.service(&shop, "second", PUBLIC)?.address()?;
        let report = probe.finish()?;
        println!("{report}");
        assert!(report.longest_gap < GAP, "{report}");
        assert_eq!(cluster.who_has(PUBLIC.network, address)?.len(), 1);
        assert!(cluster.get(PUBLIC.network, second)?.contains(" on w"));
        assert_eq!(cluster.announcers(PUBLIC)?, before);
        assert_eq!(restarts(cluster)?, restarted);
        Ok(())
    })
}

#[test]
fn a_host_that_claims_an_address_is_named_in_an_event_and_the_address_stays() -> Result<()> {
    run(shares_the_lab().at_most(30), |cluster| {
        let public = cluster.plane()?;
        let (service, address) = served(cluster)?;
        let owner = service.holder()?;
        let stranger = cluster.lab.host("gw-public")?;
        let report = probed(cluster, address, || {
            foghorn_testbed::claim(&stranger, address)?;
            sleep(Duration::from_secs(3));
            Ok(())
        })?;
        println!("{report}");
        assert!(report.longest_gap < GAP, "{report}");
        assert_eq!(cluster.who_has(public.network, address)?, BTreeSet::from([owner]));
        assert_eq!(service.address()?, address);
        let note = until("an event that names the host", PATIENCE, || {
            let events =
                cluster.lab.kubectl_json(&["-n", &public.namespace(), "get", "events.events.k8s.io"])?;
            let is_it = |event: &&serde_json::Value| {
                event["reason"] == "ForeignClaimant"
                    && event["regarding"]["kind"] == "AddressClaim"
                    && event["regarding"]["name"] == service.claim_name().as_str()
            };
            let found = events["items"].as_array().into_iter().flatten().find(is_it);
            Ok(found.map(|event| event["note"].as_str().unwrap_or_default().to_owned()))
        })?;
        println!("{note}");
        // The gateway of the public network, see the lab's addresses.
        assert!(note.starts_with(&format!("02:0f:09:00:02:01 claims {address} too")), "{note}");
        Ok(())
    })
}
