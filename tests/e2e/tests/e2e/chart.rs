//! The chart: what an upgrade changes and what it leaves alone.

use std::{
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    process,
    time::{Duration, Instant},
};

use foghorn_lab::{Error, Probe, topology::Network, until};
use foghorn_testbed::{
    CHART, Cluster, PATIENCE, PRIVATE, PUBLIC, Plane, Result, reinstalls_the_chart, run, shares_the_lab,
};
use serde_json::Value;

const SHOP: Plane = Plane { name: "shop-net", class: "foghorn.dev/shop-net", network: Network::Public };
const VERSION: &str = "foghorn.dev/schema-version";
const DEFINITION: &str = "networkplanes.foghorn.dev";

#[test]
fn an_upgrade_adds_a_plane_and_another_removes_it_and_nobody_else_loses_a_request() -> Result<()> {
    run(reinstalls_the_chart().within(65, "several upgrades of the chart"), |cluster| {
        cluster.namespace("shop")?;
        let (public, private) =
            (cluster.service("shop", "public", PUBLIC)?, cluster.service("shop", "private", PRIVATE)?);
        let (at_public, at_private) = (public.address()?, private.address()?);
        cluster.get(PUBLIC.network, at_public)?;
        cluster.get(PRIVATE.network, at_private)?;
        let probe = |plane: Plane, address| {
            Probe::start_patient(
                &cluster.lab.client(plane.network),
                SocketAddr::from((address, 80)),
                Duration::from_millis(20),
            )
        };
        let probes = [probe(PUBLIC, at_public)?, probe(PRIVATE, at_private)?];

        let values = format!("{CHART}/examples/two-planes.yaml");
        cluster.upgrade(&values, &["planes.shop-net.interface.regex=eth[1-9]"])?;
        cluster.wait_ready(SHOP.name)?;
        let third = cluster.service("shop", "third", SHOP)?;
        let address = third.address()?;
        assert!(cluster.get(SHOP.network, address)?.contains(" on w"));
        assert_eq!(third.leases()?.len(), 1);

        let began = Instant::now();
        cluster.upgrade(&values, &[])?;
        cluster.plane_gone(SHOP)?;
        println!("the plane was gone {:.1?} after the upgrade began", began.elapsed());
        let reports = probes.into_iter().map(Probe::finish).collect::<Result<Vec<_>>>()?;
        for report in &reports {
            println!("{report}");
            assert_eq!(report.failed, 0, "{report}");
        }
        assert!(cluster.who_has(SHOP.network, address)?.is_empty());
        let leases = cluster.lab.dhcp(SHOP.network).leases()?;
        assert!(leases.iter().all(|lease| lease.address != address), "{leases:?}");
        let object = third.object()?;
        assert!(object["status"]["loadBalancer"]["ingress"].is_null(), "{object}");
        assert!(object["metadata"]["finalizers"].is_null(), "{object}");
        assert_eq!((public.address()?, private.address()?), (at_public, at_private));
        Ok(())
    })
}

#[test]
fn an_upgrade_from_a_chart_with_an_older_definition_brings_in_the_present_one() -> Result<()> {
    run(reinstalls_the_chart().at_most(50), |cluster| {
        cluster.uninstall()?;
        let mut definition = cluster.lab.kubectl_json(&["get", "crd", DEFINITION])?;
        let present = definition["metadata"]["annotations"][VERSION].clone();
        let ours = fields(&definition);
        cluster.lab.kubectl(&["delete", "crd", DEFINITION, "addressclaims.foghorn.dev"])?;

        definition["metadata"] = serde_json::json!({ "name": DEFINITION, "annotations": { VERSION: "0" } });
        if let Some(fields) = spec_of(&mut definition).as_object_mut() {
            fields.remove("allowedSubnets");
        }
        definition["status"] = Value::Null;
        let older = older_chart(cluster, &definition)?;
        let values = format!("{CHART}/examples/two-planes.yaml");
        cluster.helm_upgrade(&older.display().to_string(), &values, &["operator.replicas=0"])?;
        let live = cluster.lab.kubectl_json(&["get", "crd", DEFINITION])?;
        assert_eq!(live["metadata"]["annotations"][VERSION], "0");
        assert!(fields(&live)["allowedSubnets"].is_null());

        cluster.upgrade(&values, &[])?;
        let live = until("the present definition", PATIENCE, || {
            let live = cluster.lab.kubectl_json(&["get", "crd", DEFINITION])?;
            Ok((live["metadata"]["annotations"][VERSION] == present).then_some(live))
        })?;
        assert_eq!(fields(&live), ours);
        [PUBLIC, PRIVATE].iter().try_for_each(|plane| cluster.wait_ready(plane.name))
    })
}

#[test]
fn a_newer_definition_is_left_alone() -> Result<()> {
    run(reinstalls_the_chart().at_most(40), |cluster| {
        let mark = |version: &str| {
            let mark = format!("{VERSION}={version}");
            cluster.lab.kubectl(&["annotate", "--overwrite", "crd", DEFINITION, &mark])
        };
        let of_the_future = r#"[{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/ofTheFuture", "value": {"type": "string"}}]"#;
        mark("4000")?;
        cluster.lab.kubectl(&["patch", "crd", DEFINITION, "--type=json", "-p", of_the_future])?;
        let before = cluster.lab.kubectl_json(&["get", "crd", DEFINITION])?;
        cluster.restart_operator()?;
        [PUBLIC, PRIVATE].iter().try_for_each(|plane| cluster.wait_ready(plane.name))?;
        cluster.namespace("shop")?;
        cluster.service("shop", "web", PUBLIC)?.address()?;
        let after = cluster.lab.kubectl_json(&["get", "crd", DEFINITION])?;
        assert_eq!(before["spec"], after["spec"]);
        assert_eq!(after["metadata"]["annotations"][VERSION], "4000");

        mark("0")?;
        cluster.restart_operator()?;
        until("the present definition", PATIENCE, || {
            let live = cluster.lab.kubectl_json(&["get", "crd", DEFINITION])?;
            Ok(fields(&live)["ofTheFuture"].is_null().then_some(()))
        })
    })
}

#[test]
fn wrong_values_are_refused_with_a_message_that_names_them() -> Result<()> {
    run(shares_the_lab().at_most(20), |cluster| {
        let long = format!("planes.{}.interface.name=eth1", "x".repeat(41));
        let cases: &[(&[&str], &[&str])] = &[
            (&["planes.shop.interfce.name=eth1"], &["/planes/shop", "interfce"]),
            (&["operator.replica=2"], &["/operator", "replica"]),
            (&["planes.shop.interface.name=eth1", "planes.shop.class=7"], &["/planes/shop/class", "number"]),
            (
                &["planes.shop.interface.name=eth1", "planes.shop.interface.regex=eth.*"],
                &["/planes/shop/interface"],
            ),
            (&["planes.shop.default=true"], &["/planes/shop", "interface"]),
            (&["planes.system.interface.name=eth1"], &["planes.system", "reserved"]),
            (&["planes.Shop.interface.name=eth1"], &["planes.Shop", "lower case"]),
            (&[&long], &["planes.xxxx", "at most 40"]),
            (
                &["planes.shop.interface.name=eth1", "planes.shop.lease.durationSeconds=5"],
                &["/planes/shop/lease", "durationSeconds"],
            ),
            (
                &[
                    "planes.shop.interface.name=eth1",
                    "planes.shop.failureDetection.mode=Custom",
                    "planes.shop.failureDetection.intervalMilliseconds=49",
                    "planes.shop.failureDetection.missedHeartbeats=3",
                ],
                &["/planes/shop/failureDetection/intervalMilliseconds", "49", "50"],
            ),
            (
                &[
                    "planes.shop.interface.name=eth1",
                    "planes.shop.failureDetection.mode=Custom",
                    "planes.shop.failureDetection.missedHeartbeats=3",
                ],
                &["planes.shop.failureDetection", "mode Custom needs intervalMilliseconds"],
            ),
            (
                &["planes.shop.interface.name=eth1", "planes.shop.failureDetection.missedHeartbeats=3"],
                &["planes.shop.failureDetection", "missedHeartbeats", "mode Custom only", "Fast"],
            ),
            (
                &["planes.shop.interface.name=eth1", "planes.shop.hostAddress.mode=Fenced"],
                &["planes.shop.hostAddress", "Fenced needs guard.mode Drop or Reject, or unguarded: true"],
            ),
            (
                &["planes.shop.interface.name=eth1", "planes.shop.hostAddress.maxPerNode=0"],
                &["/planes/shop/hostAddress/maxPerNode", "0", "1"],
            ),
            (
                &["planes.shop.interface.name=eth1", "planes.shop.portForwarding.mode=On"],
                &["/planes/shop/portForwarding/mode", "OptIn"],
            ),
            (
                &[
                    "planes.shop.interface.name=eth1",
                    "planes.shop.portForwarding.externalPorts[0]=70000-80000",
                ],
                &["/planes/shop/portForwarding/externalPorts/0", "70000-80000"],
            ),
            (
                &["planes.shop.interface.name=eth1", "planes.shop.portForwarding.externalPorts[0]=9000-8000"],
                &["planes.shop.portForwarding.externalPorts", "9000-8000", "the lower one comes first"],
            ),
            (
                &["planes.shop.interface.name=eth1", "planes.shop.portForwarding.lease=60"],
                &["planes.shop.portForwarding.lease", "60 s is too short"],
            ),
            (
                &["planes.shop.interface.name=eth1", "planes.shop.portForwarding.mode=All"],
                &["planes.shop.portForwarding", "mode All needs allowedNamespaces and externalPorts"],
            ),
            (
                &[
                    "planes.shop.interface.name=eth1",
                    "planes.shop.placement.preferredNodes[0].weight=101",
                    "planes.shop.placement.preferredNodes[0].matchLabels.site=north",
                ],
                &["/planes/shop/placement/preferredNodes/0/weight", "101", "100"],
            ),
            (
                &["planes.shop.interface.name=eth1", "planes.shop.apiOutage=Wait"],
                &["/planes/shop/apiOutage", "Quorum", "Hold"],
            ),
            (
                &[
                    "planes.a.interface.name=eth0",
                    "planes.b.interface.name=eth1",
                    "planes.b.class=foghorn.dev/a",
                ],
                &["planes a and b", "foghorn.dev/a"],
            ),
            (
                &[
                    "planes.a.interface.name=eth0",
                    "planes.a.default=true",
                    "planes.b.interface.name=eth1",
                    "planes.b.default=true",
                ],
                &["planes a, b", "at most one"],
            ),
            (
                &["planes.shop.interface.name=eth1", "planes.shop.dhcp.sendHostname=true"],
                &["/planes/shop/dhcp", "sendHostname"],
            ),
            (
                &["planes.shop.interface.name=eth1", "planes.shop.dhcp.hostname=x-{pod}"],
                &["/planes/shop/dhcp/hostname", "x-{pod}"],
            ),
            (
                &[
                    "planes.shop.interface.name=eth1",
                    "planes.shop.dhcp.options[0].code=224",
                    "planes.shop.dhcp.options[0].text=shop",
                    "planes.shop.dhcp.options[0].hex=00",
                ],
                &["/planes/shop/dhcp/options/0"],
            ),
            (
                &[
                    "planes.shop.interface.name=eth1",
                    "planes.shop.dhcp.options[0].code=61",
                    "planes.shop.dhcp.options[0].text=shop",
                ],
                &["planes.shop.dhcp.options", "option 61"],
            ),
            (
                &["planes.shop.interface.name=eth1", "planes.shop.overrides.allow[0]=Everything"],
                &["/planes/shop/overrides/allow/0", "HardwareAddress"],
            ),
            (
                &["planes.shop.interface.name=eth1", "planes.shop.announce.probe=Slow"],
                &["/planes/shop/announce/probe", "RFC5227"],
            ),
            (&["announcer.metricsAddress=node-1"], &["/announcer/metricsAddress", "node-1"]),
            (&["operator.refusedNetworks[0]=10.0.0.0"], &["/operator/refusedNetworks/0", "10.0.0.0"]),
            (&["planes.a.interface.subnet=203.0.113.0"], &["/planes/a/interface/subnet", "203.0.113.0"]),
        ];
        for (values, words) in cases {
            let mut args = vec!["upgrade", "foghorn", CHART, "-n", "foghorn-system", "--dry-run=server"];
            values.iter().for_each(|value| args.extend(["--set", value]));
            let said = cluster.lab.helm(&args).err().map(|error| error.to_string()).unwrap_or_default();
            println!("{values:?}: {}", said.lines().skip(1).collect::<Vec<_>>().join(" "));
            let said = said.lines().skip(1).collect::<String>();
            for word in *words {
                assert!(said.contains(word), "{values:?} without {word:?}: {said}");
            }
        }
        Ok(())
    })
}

#[test]
fn the_switches_for_metrics_make_a_service_and_monitors_that_find_the_pods() -> Result<()> {
    run(reinstalls_the_chart().at_most(10), |cluster| {
        let values = format!("{CHART}/examples/two-planes.yaml");
        cluster.upgrade(&values, &["metrics.service.enabled=true"])?;
        let operator = cluster.leading_operator()?;
        let slices = ["-n", "foghorn-system", "get", "endpointslices", "-o"];
        let of_service = "jsonpath={.items[*].endpoints[*].addresses}{.items[*].ports[*].port}";
        let labels = "kubernetes.io/service-name=foghorn-operator-metrics";
        until("the operator behind its Service", PATIENCE, || {
            let said = cluster.lab.kubectl(&[&slices[..], &[of_service, "-l", labels]].concat())?;
            Ok((said.contains(&operator.address) && said.ends_with("8080")).then_some(()))
        })?;
        cluster.upgrade(&values, &[])?;

        // The cluster has no Prometheus Operator, so that they are not applied.
        let args = ["template", "foghorn", CHART, "--kube-version", "1.36.0"];
        let made = cluster.lab.helm(&[&args[..], &["--set", "metrics.podMonitor.enabled=true"]].concat())?;
        assert_eq!(made.matches("kind: PodMonitor").count(), 2, "{made}");
        for (selector, count) in [
            (
                "app.kubernetes.io/name=foghorn,app.kubernetes.io/instance=foghorn,app.kubernetes.io/component=operator",
                1,
            ),
            ("app.kubernetes.io/name=foghorn-announcer", 2 * usize::from(cluster.lab.config().nodes)),
        ] {
            let label = selector.split(',').next_back().unwrap_or_default().replace('=', ": ");
            assert!(made.contains(&label), "{label}");
            let ports = "jsonpath={.items[*].spec.containers[*].ports[?(@.name==\"metrics\")].containerPort}";
            // Pods that are on their way out are there for a while.
            until(&format!("{count} Pods of {selector}"), PATIENCE, || {
                let found = cluster.lab.kubectl(&["get", "pods", "-A", "-l", selector, "-o", ports])?;
                Ok((found.split_whitespace().count() == count).then_some(()))
            })?;
        }
        Ok(())
    })
}

#[test]
fn of_two_operators_one_leads_and_when_it_is_killed_the_other_goes_on() -> Result<()> {
    run(reinstalls_the_chart(), |cluster| {
        cluster.namespace("shop")?;
        cluster.upgrade(&format!("{CHART}/examples/two-planes.yaml"), &["operator.replicas=2"])?;
        until("two operators", PATIENCE, || Ok((cluster.operator_pods()?.len() == 2).then_some(())))?;
        let leader = cluster.leading_operator()?;
        let claims = || cluster.lab.kubectl_json(&["get", "addressclaims", "-A"]);
        let first = cluster.service("shop", "first", PUBLIC)?;
        let address = first.address()?;
        assert_eq!(claims()?["items"].as_array().map(Vec::len), Some(1));

        cluster.kill_operator(&leader)?;
        let killed = Instant::now();
        let second = cluster.service("shop", "second", PUBLIC)?;
        let other = until("another operator leads", PATIENCE, || {
            Ok(Some(cluster.leading_operator()?).filter(|now| *now != leader))
        })?;
        println!("{} instead of {} after {:.1?}", other.name, leader.name, killed.elapsed());
        second.address()?;
        println!("a Service made meanwhile had its address after {:.1?}", killed.elapsed());
        assert_eq!(first.address()?, address);
        assert_eq!(claims()?["items"].as_array().map(Vec::len), Some(2));
        cluster.scale_operator(1)
    })
}

/// The chart as it may have been before, in a folder of the lab.
fn older_chart(cluster: &Cluster, definition: &Value) -> Result<PathBuf> {
    let folder = cluster.lab.dir().join(format!("older-chart-{}", process::id()));
    let io = |error: std::io::Error| Error::Config(format!("{}: {error}", folder.display()));
    let copied = process::Command::new("cp").arg("-r").arg(CHART).arg(&folder).status().map_err(io)?;
    assert!(copied.success(), "the chart is copied by cp, PATH is {:?}", env::var("PATH"));
    fs::write(folder.join("crds/networkplanes.yaml"), definition.to_string()).map_err(io)?;
    Ok(folder)
}

/// The fields of a plane's spec.
fn fields(definition: &Value) -> Value {
    spec_of(&mut definition.clone()).take()
}

fn spec_of(definition: &mut Value) -> &mut Value {
    &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
}
