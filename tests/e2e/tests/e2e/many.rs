//! Many Services on one plane.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    time::{Duration, Instant},
};

use foghorn_lab::until;
use foghorn_testbed::{Result, anonymous, disturbs_nodes, resident, run};

const SERVICES: usize = 100;
const MEBIBYTE: u64 = 1 << 20;

#[test]
fn a_hundred_services_have_a_hundred_addresses_and_the_announcer_stays_small() -> Result<()> {
    run(disturbs_nodes().within(65, "a hundred Services are made and deleted"), |cluster| {
        let public = cluster.plane()?;
        let shop = cluster.namespace("shop")?;
        let first = cluster.service(&shop, "web-000", public)?;
        first.address()?;
        let (mut manifests, manifest) = (String::new(), first.manifest(Some(public.class))?);
        for n in 1..SERVICES {
            let one = manifest.replace("web-000", &format!("web-{n:03}"));
            let _infallible = write!(manifests, "{one}");
        }
        let began = Instant::now();
        cluster.lab.apply(&manifests)?;
        println!("{} Services made within {:.2?}", SERVICES - 1, began.elapsed());
        let addresses: BTreeSet<String> = until("a hundred addresses", Duration::from_secs(120), || {
            let path = "jsonpath={range .items[*]}{.status.loadBalancer.ingress[0].ip}{\"\\n\"}{end}";
            let text = cluster.lab.kubectl(&["-n", &shop, "get", "services", "-o", path])?;
            let addresses: BTreeSet<_> = text.split_whitespace().map(str::to_owned).collect();
            Ok((addresses.len() == SERVICES).then_some(addresses))
        })?;
        println!("all addresses {:.2?} after the first Service was sent", began.elapsed());
        let leases = cluster.lab.dhcp(public.network).leases()?;
        let leased: BTreeSet<_> = leases.iter().map(|lease| lease.address.to_string()).collect();
        assert!(leased.is_superset(&addresses), "{leases:?}");
        for address in &addresses {
            let address = address.parse().map_err(|_| foghorn_testbed::Error::Config(address.clone()))?;
            assert!(cluster.get(public.network, address)?.contains(" on w"), "{address}");
        }
        for node in cluster.lab.nodes() {
            for pid in cluster.lab.announcer_pids(public.name, node.name())? {
                let (memory, all) = (anonymous(pid)?, resident(pid)?);
                let mebibytes = |memory| memory as f64 / MEBIBYTE as f64;
                println!(
                    "announcer on {}: {:.1} MiB, {:.1} of them allocated",
                    node.name(),
                    mebibytes(all),
                    mebibytes(memory)
                );
                // Without the program's own code, which differs between the images of tests and releases.
                assert!(memory < 12 * MEBIBYTE, "{memory}");
            }
        }
        Ok(())
    })
}
