//! What Foghorn tells of itself: metrics, probes, events, conditions.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    thread::sleep,
    time::{Duration, Instant},
};

use foghorn_lab::{
    Error, Host,
    topology::{Network, node_number},
    until,
};
use foghorn_testbed::{
    Cluster, Metrics, PATIENCE, PRIVATE, PUBLIC, Plane, Result, condition, disturbs_nodes, fetch, run,
    shares_the_lab,
};
use serde_json::Value;

#[test]
fn the_metrics_of_announcers_tell_who_assigns_who_holds_and_what_was_said_on_the_wire() -> Result<()> {
    run(shares_the_lab().at_most(20), |cluster| {
        let public = cluster.plane()?;
        let shop = cluster.namespace("shop")?;
        let service = cluster.service(&shop, "web", public)?;
        let address = service.address()?;
        cluster.get(public.network, address)?;
        assert_eq!(cluster.who_has(public.network, address)?.len(), 1);
        cluster.all_members(public)?;
        let (holder, coordinator) = (service.holder()?, cluster.coordinator(public)?);
        for node in cluster.lab.nodes() {
            let if_it_is = |name: &str| if node.name() == name { 1.0 } else { 0.0 };
            let holds = if_it_is(&holder);
            let metrics = announcer_metrics(cluster, public, &node)?;
            assert_eq!(metrics.get("foghorn_coordinating", &[]), Some(if_it_is(&coordinator)), "{metrics:?}");
            assert_eq!(metrics.get("foghorn_members", &[]), Some(3.0), "{metrics:?}");
            assert_eq!(metrics.get("foghorn_claims_granted", &[]), Some(holds), "{metrics:?}");
            assert_eq!(metrics.get("foghorn_claims_held", &[]), Some(holds), "{metrics:?}");
            for path in ["path=\"wire\"", "path=\"udp\""] {
                assert!(
                    metrics.count("foghorn_heartbeats_received_total", &[path]) > 0.0,
                    "{path} {metrics:?}"
                );
            }
            assert_eq!(metrics.count("foghorn_leases", &[]), holds, "{metrics:?}");
            let requests = ["verb=\"get\"", "resource=\"leases\"", "code=\"200\""];
            assert!(metrics.count("foghorn_api_requests_total", &requests) > 0.0, "{metrics:?}");
        }
        let metrics = announcer_metrics(cluster, public, &cluster.lab.node(&holder)?)?;
        assert_eq!(metrics.get("foghorn_leases", &["state=\"BOUND\""]), Some(1.0), "{metrics:?}");
        for (kind, direction) in
            [("DISCOVER", "sent"), ("OFFER", "received"), ("REQUEST", "sent"), ("ACK", "received")]
        {
            let labels = [format!("type=\"{kind}\""), format!("direction=\"{direction}\"")];
            let labels: Vec<_> = labels.iter().map(String::as_str).collect();
            assert!(metrics.count("foghorn_dhcp_messages_total", &labels) >= 1.0, "{labels:?} {metrics:?}");
        }
        for kind in ["reply", "gratuitous", "probe", "request"] {
            let label = format!("kind=\"{kind}\"");
            assert!(metrics.count("foghorn_arp_frames_sent_total", &[&label]) >= 1.0, "{kind} {metrics:?}");
        }
        assert!(metrics.count("foghorn_status_writes_total", &[]) >= 1.0, "{metrics:?}");

        service.delete()?;
        service.gone()?;
        let released = ["type=\"RELEASE\"", "direction=\"sent\""];
        until("the metrics after the release", PATIENCE, || {
            let after = announcer_metrics(cluster, public, &cluster.lab.node(&holder)?)?;
            let counted = after.count("foghorn_dhcp_messages_total", &released)
                > metrics.count("foghorn_dhcp_messages_total", &released);
            Ok((counted && after.get("foghorn_claims_held", &[]) == Some(0.0)).then_some(()))
        })
    })
}

#[test]
fn the_metrics_of_the_operator_count_planes_claims_and_requests() -> Result<()> {
    run(shares_the_lab().at_most(30), |cluster| {
        let public = cluster.plane()?;
        let shop = cluster.namespace("shop")?;
        cluster.service(&shop, "web", public)?.address()?;
        let pod = cluster.leading_operator()?;
        let node = cluster.lab.node(&pod.node)?;
        let bound = [format!("plane=\"{}\"", public.name), "state=\"Bound\"".to_owned()];
        let bound: Vec<_> = bound.iter().map(String::as_str).collect();
        let metrics = until("claim and planes in the operator's metrics", PATIENCE, || {
            let planes =
                cluster.lab.kubectl_json(&["get", "networkplanes"])?["items"].as_array().map_or(0, Vec::len);
            let metrics = Metrics::fetch(&node, &format!("{}:8080", pod.address))?;
            let counted = metrics.get("foghorn_operator_claims", &bound) == Some(1.0)
                && metrics.get("foghorn_operator_planes", &[]) == Some(planes as f64);
            Ok(counted.then_some(metrics))
        })?;
        assert_eq!(metrics.get("foghorn_operator_leading", &[]), Some(1.0), "{metrics:?}");
        for controller in ["plane", "service"] {
            let labels = [format!("controller=\"{controller}\""), "result=\"ok\"".to_owned()];
            let labels: Vec<_> = labels.iter().map(String::as_str).collect();
            assert!(metrics.count("foghorn_operator_reconciles_total", &labels) >= 1.0, "{metrics:?}");
        }
        assert!(metrics.count("foghorn_api_requests_total", &["code=\"200\""]) > 0.0, "{metrics:?}");
        Ok(())
    })
}

#[test]
fn the_probes_of_an_announcer_answer_on_its_node_only_and_not_while_it_is_stopped() -> Result<()> {
    run(shares_the_lab().at_most(20), |cluster| {
        let public = cluster.plane()?;
        let holder = cluster.coordinator(public)?;
        let nodes = cluster.lab.nodes();
        let Some(node) = nodes.iter().find(|node| node.name() != holder) else {
            return Err(Error::Config("a lab of two nodes at least".to_owned()));
        };
        let port = port(cluster, public, "probes")?;
        let probe = |path: &str| fetch(node, &format!("http://127.0.0.1:{port}{path}"));
        assert_eq!(probe("/healthz")?.0, 200);
        assert_eq!(probe("/readyz")?.0, 200);
        let from_outside = format!("http://{}:{port}/healthz", private_address(node)?);
        assert!(fetch(&cluster.lab.client(Network::Private), &from_outside).is_err());

        cluster.lab.stop_announcer(public.name, node.name())?;
        let stopped = probe("/healthz");
        cluster.lab.resume_announcer(public.name, node.name())?;
        assert!(stopped.is_err(), "{stopped:?}");
        until("it is well again", PATIENCE, || {
            Ok((probe("/healthz")?.0 == 200 && probe("/readyz")?.0 == 200).then_some(()))
        })
    })
}

#[test]
fn an_announcer_without_its_configuration_lives_and_is_not_ready() -> Result<()> {
    run(shares_the_lab().at_most(25), |cluster| {
        let shop = cluster.namespace("shop")?;
        cluster.lab.apply(&format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{name: announcer, namespace: {shop}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: announcer
    image: localhost/foghorn-announcer:dev
    imagePullPolicy: Never
    args: [--plane=none, "--metrics-address=0.0.0.0:9000", "--probe-address=0.0.0.0:9001"]
    env:
    - {{name: POD_NAMESPACE, value: {shop}}}
    - {{name: POD_NAME, value: announcer}}
    - {{name: NODE_NAME, valueFrom: {{fieldRef: {{fieldPath: spec.nodeName}}}}}}
"#
        ))?;
        cluster.lab.kubectl(&[
            "-n",
            &shop,
            "wait",
            "pod/announcer",
            "--for=condition=Ready",
            "--timeout=30s",
        ])?;
        let pod = cluster.lab.kubectl_json(&["-n", &shop, "get", "pod", "announcer"])?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let node = cluster.lab.node(&text(&pod["spec"]["nodeName"]))?;
        let probe =
            |path: &str| fetch(&node, &format!("http://{}:9001{path}", text(&pod["status"]["podIP"])));
        let (alive, _) = until("its probes", PATIENCE, || probe("/healthz").map(Some))?;
        let (ready, said) = probe("/readyz")?;
        println!("{ready}: {said}");
        assert_eq!((alive, ready), (200, 503));
        assert!(said.contains("configuration:") && said.contains("claims:"), "{said}");
        Ok(())
    })
}

#[test]
fn an_operator_that_is_cut_off_from_the_api_server_is_not_ready() -> Result<()> {
    run(disturbs_nodes().at_most(35), |cluster| {
        let pod = cluster.leading_operator()?;
        let node = cluster.lab.node(&pod.node)?;
        let readyz = || fetch(&node, &format!("http://{}:8081/readyz", pod.address));
        assert_eq!(readyz()?.0, 200);
        cluster.lab.cut_api(&pod.node)?;
        let cut = Instant::now();
        let not_ready = until("it is not ready", PATIENCE, || {
            Ok(readyz().is_ok_and(|(status, _)| status == 503).then_some(()))
        });
        println!("after {:.1?}: {:?}", cut.elapsed(), readyz());
        cluster.lab.mend_api(&pod.node)?;
        not_ready?;
        until("it is ready again", PATIENCE, || Ok((readyz()?.0 == 200).then_some(())))
    })
}

#[test]
fn nothing_is_written_and_no_event_told_while_only_endpoints_change() -> Result<()> {
    // A plane that another test makes beside it is written into the configuration of all planes.
    run(disturbs_nodes().within(65, "fifteen seconds in which nothing changes, on two planes"), |cluster| {
        let (public, private) = (PUBLIC, PRIVATE);
        let shop = cluster.namespace_with_pods("shop")?;
        for plane in [public, private] {
            let service = cluster.existing(&shop, plane.name, plane);
            service.apply_selecting()?;
            service.address()?;
            service.reason("Announced")?;
        }
        sleep(Duration::from_secs(2));
        let own =
            [shop.clone(), public.namespace(), private.namespace(), public.name.into(), private.name.into()];
        let before = versions(cluster, &own)?;
        let endpoints = || {
            let versions = "jsonpath={.items[*].metadata.resourceVersion}";
            cluster.lab.kubectl(&["-n", &shop, "get", "endpointslices", "-o", versions])
        };
        let endpoints_before = endpoints()?;
        let began = Instant::now();
        cluster.lab.kubectl(&["-n", &shop, "scale", "deployment/web", "--replicas=1"])?;
        sleep(Duration::from_secs(5));
        cluster.lab.kubectl(&["-n", &shop, "scale", "deployment/web", "--replicas=2"])?;
        cluster.lab.kubectl(&["-n", &shop, "rollout", "status", "deployment/web", "--timeout=30s"])?;
        sleep(Duration::from_secs(15).saturating_sub(began.elapsed()));
        assert_ne!(endpoints()?, endpoints_before);
        let after = versions(cluster, &own)?;
        for (what, version) in &after {
            assert_eq!(Some(version), before.get(what), "{what} was written to");
        }
        assert_eq!(before.len(), after.len());
        println!("{} objects and events as they were", after.len());
        Ok(())
    })
}

#[test]
fn a_node_whose_interface_is_not_in_order_is_named_with_the_cause_and_holds_nothing() -> Result<()> {
    run(disturbs_nodes().at_most(25), |cluster| {
        let service = cluster.service(&cluster.namespace("shop")?, "web", PUBLIC)?;
        let address = service.address()?;
        let cases: [(&str, &[&str], &[&str]); 3] = [
            ("InterfaceWithoutAddress", &["addr del ADDRESS/24 dev eth1"], &["addr add ADDRESS/24 dev eth1"]),
            (
                "InterfaceNotFound",
                &["link set eth1 down", "link set eth1 name away1", "link set away1 up"],
                &["link set away1 down", "link set away1 name eth1", "link set eth1 up"],
            ),
            ("InterfaceDown", &["link set eth1 down"], &["link set eth1 up"]),
        ];
        for (reason, broken, mended) in cases {
            let node = cluster.lab.node(&service.holder()?)?;
            let own = node_number(node.name()).map(|number| Network::Public.address(10 + number));
            let own = own.unwrap_or(Ipv4Addr::UNSPECIFIED).to_string();
            let ip = |lines: &[&str]| -> Result<()> {
                lines.iter().try_for_each(|line| {
                    let line = line.replace("ADDRESS", &own);
                    node.exec(&["ip"].into_iter().chain(line.split(' ')).collect::<Vec<_>>()).map(drop)
                })
            };
            ip(broken)?;
            let told = named_and_silent(cluster, reason, node.name(), address);
            ip(mended)?;
            told?;
            cluster.wait_ready(PUBLIC.name)?;
        }
        assert_eq!(service.address()?, address);
        Ok(())
    })
}

/// Waits until the plane names the node and the reason, and another node has the address.
fn named_and_silent(cluster: &Cluster, reason: &str, node: &str, address: Ipv4Addr) -> Result<()> {
    let said = until(&format!("{reason} on {node}"), PATIENCE, || {
        let plane = cluster.lab.kubectl_json(&["get", "networkplane", PUBLIC.name])?;
        let ready = condition(&plane, "Ready").is_some_and(|found| found["status"] == "False");
        let found = condition(&plane, "InterfacesReady").filter(|found| found["reason"] == reason && ready);
        Ok(found.map(|found| found["message"].as_str().unwrap_or_default().to_owned()))
    })?;
    println!("{reason}: {said}");
    if !said.contains(&format!("node {node}:")) {
        return Err(Error::Config(format!("{reason} does not name {node}: {said}")));
    }
    until(&format!("another node than {node} has {address}"), PATIENCE, || {
        let owners = cluster.who_has(PUBLIC.network, address)?;
        Ok((owners.len() == 1 && !owners.contains(node)).then_some(()))
    })
}

/// The resource versions of all that Foghorn writes but Leases and Pods, its events included, of these namespaces and of
/// what has such a name.
fn versions(cluster: &Cluster, own: &[String]) -> Result<BTreeMap<String, Value>> {
    let kinds = "networkplanes,addressclaims,services,namespaces,configmaps,daemonsets,serviceaccounts,rolebindings,events.events.k8s.io";
    let objects = cluster.lab.kubectl_json(&["get", kinds, "-A"])?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let key = |object: &Value| {
        let metadata = &object["metadata"];
        format!("{} {}/{}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
    };
    let of_others = |object: &Value| {
        object["kind"] == "Event" && !text(&object["reportingController"]).contains("foghorn")
    };
    let items = objects["items"].as_array().cloned().unwrap_or_default();
    let is_own = |object: &Value| {
        let (name, namespace) = (&object["metadata"]["name"], &object["metadata"]["namespace"]);
        own.iter().any(|own| if namespace.is_null() { name == own } else { namespace == own })
    };
    let items = items.iter().filter(|object| is_own(object) && !of_others(object));
    Ok(items.map(|object| (key(object), object["metadata"]["resourceVersion"].clone())).collect())
}

fn announcer_metrics(cluster: &Cluster, plane: Plane, node: &Host) -> Result<Metrics> {
    let authority = format!("{}:{}", private_address(node)?, port(cluster, plane, "metrics")?);
    Metrics::fetch(&cluster.lab.client(Network::Private), &authority)
}

fn port(cluster: &Cluster, plane: Plane, name: &str) -> Result<u64> {
    let object = cluster.lab.kubectl_json(&["get", "networkplane", plane.name])?;
    let port = object["status"]["ports"][name].as_u64();
    port.ok_or_else(|| Error::Config(format!("plane {} has no port for {name}: {object}", plane.name)))
}

fn private_address(node: &Host) -> Result<Ipv4Addr> {
    let number = node_number(node.name());
    let number = number.ok_or_else(|| Error::Config(format!("{} is no node", node.name())))?;
    Ok(Network::Private.address(10 + number))
}
