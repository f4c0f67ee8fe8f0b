//! Planes that stay apart: replies leave by the plane they came in on, and nothing else of a node is reached by a plane's addresses.

use std::{net::Ipv4Addr, thread::sleep, time::Duration};

use foghorn_lab::{
    Host, ProxyMode, Wire,
    topology::{Network, node_number},
    until,
};
use foghorn_testbed::{Cluster, PATIENCE, Plane, Result, Service, disturbs_nodes, run, shares_the_lab};
use serde_json::Value;

const BOTH: &str = "returnPath: {mode: Auto}, guard: {mode: Drop}";
/// The host behind the gateways.
const INTERNET: Ipv4Addr = Network::Internet.address(100);
const CONNECTIONS: usize = 250;

#[test]
fn a_client_beyond_the_public_gateway_is_answered_by_that_gateway_wherever_the_pod_is() -> Result<()> {
    run(shares_the_lab().at_most(60), |cluster| {
        let service = apart(cluster, Network::Public, BOTH)?;
        let address = service.address()?;
        let holder = service.holder()?;
        let other = another(cluster, &holder);
        let node = cluster.lab.node(&holder)?;
        // What a distribution may have set: it is for the node's own network, and stays.
        node.sysctl(vec![("ipv4/conf/eth0/rp_filter", "1")])?;
        let wire = Wire::start(&node, "eth0", &format!("host {INTERNET}"))?;
        for (role, on, host_network) in [
            ("near", &holder, false),
            ("far", &other, false),
            ("host-near", &holder, true),
            ("host-far", &other, true),
        ] {
            lead_to(cluster, &service, role, on, host_network)?;
            let lost = CONNECTIONS - answered(cluster, address, CONNECTIONS)?;
            println!("{role} on {on}, the address on {holder}: {lost} of {CONNECTIONS} connections lost");
            assert_eq!(lost, 0, "{role}");
        }
        assert_eq!(wire.lines(), Vec::<String>::new(), "the client's packets passed the private network");
        node.sysctl(vec![("ipv4/conf/eth0/rp_filter", "0")])?;
        remove(cluster, service.plane)
    })
}

#[test]
fn of_two_planes_each_answers_the_same_client_by_its_own_gateway_and_takes_nothing_by_the_others_interface()
-> Result<()> {
    run(shares_the_lab().within(80, "two planes"), |cluster| {
        let public = apart(cluster, Network::Public, "returnPath: {mode: Auto}")?;
        let private = apart(cluster, Network::Private, "returnPath: {mode: Auto}")?;
        let [of_public, of_private] = [public.address()?, private.address()?];
        let internet = cluster.lab.host("inet")?;
        let by_private = format!("route replace {of_private} via {}", Network::Internet.address(1));
        internet.ip(&by_private)?;
        let client = cluster.lab.client(Network::Public);
        let holder = cluster.lab.node(&private.holder()?)?;
        client.ip(&format!("route replace {of_private} via {}", public_address(holder.name())))?;
        let wrong_way = || client.exec(&["curl", "-sS", "--max-time", "1", &format!("http://{of_private}/")]);
        until("without a guard the private address is served on the public interface", PATIENCE, || {
            wrong_way().map(Some)
        })?;

        for plane in [public.plane, private.plane] {
            let patch = r#"{"spec":{"guard":{"mode":"Drop"}}}"#;
            cluster.patch_plane(plane, patch)?;
        }
        until("with a guard it is not", PATIENCE, || Ok(wrong_way().is_err().then_some(())))?;
        let of_client = |address| format!("host {address} and host {INTERNET}");
        let wires = [
            Wire::start(&cluster.lab.node(&public.holder()?)?, "eth0", &of_client(of_public))?,
            Wire::start(&holder, "eth1", &of_client(of_private))?,
        ];
        for address in [of_public, of_private, of_public] {
            assert_eq!(answered(cluster, address, CONNECTIONS)?, CONNECTIONS, "{address}");
        }
        for wire in wires {
            assert_eq!(wire.lines(), Vec::<String>::new(), "a packet of one plane on the other's network");
        }
        internet.ip(&format!("route del {of_private}"))?;
        client.ip(&format!("route del {of_private}"))?;
        remove(cluster, private.plane)?;
        remove(cluster, public.plane)
    })
}

#[test]
fn of_a_guarded_address_on_the_node_only_the_services_ports_are_open() -> Result<()> {
    run(shares_the_lab().at_most(40), |cluster| {
        let mode = "hostAddress: {mode: Fenced}, guard: {mode: Reject}";
        let service = apart(cluster, Network::Public, mode)?;
        let address = service.address()?;
        let object = service.object()?;
        let node_port = object["spec"]["ports"][0]["nodePort"].as_u64().unwrap_or_default();
        assert!(cluster.get(Network::Public, address)?.contains(" on w"));
        let holder = service.holder()?;
        let own = public_address(&holder);
        let client = cluster.lab.client(Network::Public);
        let opens = |address: Ipv4Addr, port: u64| {
            let target = format!("telnet://{address}:{port}");
            let said =
                client.exec(&["sh", "-c", &format!("curl -sv -m 1 {target} </dev/null 2>&1 || true")])?;
            Ok::<_, foghorn_lab::Error>(said.contains("Connected to"))
        };
        assert!(opens(own, 10250)?, "the kubelet can be reached by the node's own address");
        assert!(!opens(address, 10250)?, "the kubelet by the Service's address");
        let plane = cluster.lab.kubectl_json(&["get", "networkplane", service.plane.name])?;
        let metrics = plane["status"]["ports"]["metrics"].as_u64().unwrap_or_default();
        assert!(!opens(own, metrics)?, "the metrics of announcers on the public network");
        assert!(!opens(address, node_port)?, "the NodePort by the Service's address");
        assert!(opens(address, 80)?);
        let refused =
            client.exec(&["sh", "-c", &format!("curl -sS -m 2 http://{address}:81/ 2>&1 || true")])?;
        assert!(refused.contains("Couldn't connect"), "{refused}");
        let ping = client.exec(&["ping", "-c", "3", "-i", "0.2", "-W", "10", &address.to_string()])?;
        assert!(ping.contains("3 received"), "{ping}");
        remove(cluster, service.plane)
    })
}

#[test]
fn what_others_flush_or_a_kill_interrupts_is_there_again_and_source_ranges_count() -> Result<()> {
    run(shares_the_lab().within(65, "rules that are flushed come back within ten seconds"), |cluster| {
        let service = apart(cluster, Network::Public, BOTH)?;
        let address = service.address()?;
        assert_eq!(answered(cluster, address, 10)?, 10);
        let node = cluster.lab.node(&service.holder()?)?;
        let (table, path) = (table(service.plane), return_path(cluster, service.plane)?);
        let (priority, number) = (&path["priority"], &path["table"]);
        node.ip(&format!("rule del pref {priority} table {number}\nroute flush table {number}"))?;
        until("the rule is there again", PATIENCE, || {
            Ok((answered(cluster, address, 10)? == 10).then_some(()))
        })?;
        node.exec(&["nft", "delete", "table", "inet", &table])?;
        until("the table is there again", PATIENCE, || {
            Ok(node.exec(&["nft", "list", "table", "inet", &table]).ok())
        })?;
        for pid in cluster.lab.datapath_pids(service.plane.name, node.name())? {
            node.exec(&["kill", "-9", &pid.to_string()])?;
        }
        assert_eq!(answered(cluster, address, CONNECTIONS)?, CONNECTIONS, "while the container starts again");

        let patch = r#"{"spec":{"loadBalancerSourceRanges":["203.0.113.0/24"]}}"#;
        patch_service(cluster, &service, patch)?;
        until("the internet is no source", PATIENCE, || {
            Ok((answered(cluster, address, 1)? == 0).then_some(()))
        })?;
        assert!(cluster.get(Network::Public, address)?.contains(" on w"));

        let off = r#"{"spec":{"returnPath":{"mode":"Off"},"guard":{"mode":"Off"}}}"#;
        cluster.patch_plane(service.plane, off)?;
        nothing_left(cluster, service.plane, &path)?;
        cluster.remove_plane(service.plane)
    })
}

#[test]
fn with_kube_proxy_in_iptables_mode_it_is_the_same() -> Result<()> {
    run(disturbs_nodes().at_most(45), |cluster| {
        let service = apart(cluster, Network::Public, BOTH)?;
        let address = service.address()?;
        cluster.lab.set_proxy_mode(ProxyMode::Iptables)?;
        let same = until("kube-proxy has brought the Service to its nodes", PATIENCE, || {
            Ok((answered(cluster, address, 10)? == 10).then_some(()))
        })
        .and_then(|()| {
            sleep(Duration::from_secs(2));
            let wire =
                Wire::start(&cluster.lab.node(&service.holder()?)?, "eth0", &format!("host {INTERNET}"))?;
            let answers = answered(cluster, address, CONNECTIONS)?;
            let rules = cluster.lab.node(&service.holder()?)?.exec(&["iptables-save", "-t", "nat"])?;
            Ok((answers, wire.lines(), rules.contains("KUBE-SVC")))
        });
        cluster.lab.set_proxy_mode(ProxyMode::Nftables)?;
        assert_eq!(same?, (CONNECTIONS, Vec::new(), true));
        remove(cluster, service.plane)
    })
}

#[test]
fn an_interface_without_an_address_of_the_node_serves_a_plane_with_a_return_path() -> Result<()> {
    run(disturbs_nodes().at_most(35), |cluster| {
        let addresses = |act: &str| {
            cluster.lab.nodes().iter().try_for_each(|node| {
                node.ip(&format!("addr {act} {}/24 dev eth1", public_address(node.name())))
            })
        };
        addresses("del")?;
        let served = apart(cluster, Network::Public, BOTH).and_then(|service| {
            let address = service.address()?;
            let near = cluster.get(Network::Public, address);
            let far = answered(cluster, address, CONNECTIONS);
            remove(cluster, service.plane)?;
            Ok((near?, far?))
        });
        addresses("add")?;
        let (near, far) = served?;
        assert!(near.contains(" on w"), "{near}");
        assert_eq!(far, CONNECTIONS);
        cluster.wait_ready(foghorn_testbed::PUBLIC.name)
    })
}

#[test]
fn a_node_that_starts_anew_has_again_what_its_plane_wants() -> Result<()> {
    run(disturbs_nodes().at_most(55), |cluster| {
        let service = apart(cluster, Network::Public, BOTH)?;
        // The Pods of the node that starts anew get other addresses.
        lead_to_own_pods(cluster, &service)?;
        let address = service.address()?;
        let node = cluster.lab.node(&service.holder()?)?;
        let table = || node.exec(&["nft", "list", "table", "inet", &table(service.plane)]);
        table()?;
        cluster.lab.reboot(node.name())?;
        assert!(table().is_err(), "it cannot be in force yet");
        until("the table is there again", PATIENCE, || Ok(table().ok()))?;
        cluster.all_members(service.plane)?;
        cluster.plane_reason(service.plane, "Datapath", "InForce")?;
        until("the internet is answered", PATIENCE, || {
            Ok((answered(cluster, address, 10)? == 10).then_some(()))
        })?;
        assert_eq!(answered(cluster, address, CONNECTIONS)?, CONNECTIONS);
        remove(cluster, service.plane)
    })
}

#[test]
fn where_a_policy_of_the_cluster_takes_the_right_away_the_plane_says_so_and_serves_its_own_network()
-> Result<()> {
    run(shares_the_lab().at_most(35), |cluster| {
        let plane = cluster.plane_named("apart", Network::Public);
        let policy = cluster.name("without-the-right");
        let manifests = WITHOUT_THE_RIGHT.replace("NAMESPACE", &plane.namespace()).replace("POLICY", &policy);
        cluster.lab.apply(&manifests)?;
        // The API server learns of it a moment later.
        sleep(Duration::from_secs(3));
        let told = cluster.make_plane(plane, BOTH).and_then(|()| {
            cluster.wait_ready(plane.name)?;
            let namespace = cluster.namespace("apart")?;
            let address = cluster.service(&namespace, "web", plane)?.address()?;
            let answer = cluster.get(Network::Public, address)?;
            Ok((cluster.plane_reason(plane, "Datapath", "NotPermitted")?, answer))
        });
        let kinds = "mutatingadmissionpolicybindings,mutatingadmissionpolicies";
        cluster.lab.kubectl(&["delete", kinds, &policy])?;
        let (message, answer) = told?;
        println!("{message}");
        assert!(message.contains("NET_ADMIN") && answer.contains(" on w"), "{message}; {answer}");
        remove(cluster, plane)
    })
}

/// A Service on a plane of its own, whose return path and guard are in force on all nodes.
fn apart<'a>(cluster: &'a Cluster, network: Network, more: &str) -> Result<Service<'a>> {
    let plane = cluster.plane_named(&format!("apart-{}", network.name()), network);
    cluster.make_plane(plane, more)?;
    cluster.wait_ready(plane.name)?;
    cluster.all_members(plane)?;
    let namespace = cluster.namespace(&format!("apart-{}", network.name()))?;
    let service = cluster.service(&namespace, "web", plane)?;
    service.address()?;
    println!("{}", cluster.plane_reason(plane, "Datapath", "InForce")?);
    // A node's kube-proxy may know of the address a moment later than the client.
    sleep(Duration::from_secs(1));
    Ok(service)
}

/// The plane's nftables table on a node.
fn table(plane: Plane) -> String {
    plane.namespace()
}

/// What the announcers know of the plane's return path; null if it has none.
fn return_path(cluster: &Cluster, plane: Plane) -> Result<Value> {
    let map = cluster.lab.kubectl_json(&["-n", &plane.namespace(), "get", "configmap", "plane"])?;
    let config: Value =
        serde_json::from_str(map["data"]["plane.json"].as_str().unwrap_or_default()).unwrap_or_default();
    Ok(config["returnPath"].clone())
}

/// Removes the plane, and waits until nothing of it is left on any node.
fn remove(cluster: &Cluster, plane: Plane) -> Result<()> {
    let path = return_path(cluster, plane)?;
    cluster.remove_plane(plane)?;
    nothing_left(cluster, plane, &path)
}

/// Makes web Pods in the Service's namespace and leads it to them alone.
fn lead_to_own_pods(cluster: &Cluster, service: &Service<'_>) -> Result<()> {
    cluster.namespace_with_pods("apart-public")?;
    patch_service(cluster, service, r#"{"spec":{"selector":{"app":"web"}}}"#)?;
    leave_web_servers(cluster, service)
}

/// Only what the selector finds is to be behind the Service.
fn leave_web_servers(cluster: &Cluster, service: &Service<'_>) -> Result<()> {
    let slice = ["-n", &service.namespace, "delete", "endpointslice", &service.name, "--ignore-not-found"];
    cluster.lab.kubectl(&slice).map(drop)
}

/// Makes a Pod of that role on a node, and leads the Service to it alone.
fn lead_to(
    cluster: &Cluster,
    service: &Service<'_>,
    role: &str,
    node: &str,
    host_network: bool,
) -> Result<()> {
    let namespace = service.namespace.as_str();
    cluster.lab.apply(&format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {role}, namespace: {namespace}, labels: {{role: {role}}}}}
spec:
  nodeName: {node}
  hostNetwork: {host_network}
  terminationGracePeriodSeconds: 0
  containers: [{{name: web, image: localhost/web:1, imagePullPolicy: Never, env: [{{name: PORT, value: '18080'}}, {{name: POD_NAME, value: {role}}}]}}]
"
    ))?;
    cluster.lab.kubectl(&["-n", namespace, "wait", "pod", role, "--for=condition=Ready", "--timeout=60s"])?;
    let patch = format!(
        r#"{{"spec":{{"selector":{{"app":null,"role":"{role}"}},"ports":[{{"port":80,"targetPort":18080}}]}}}}"#
    );
    patch_service(cluster, service, &patch)?;
    leave_web_servers(cluster, service)?;
    let address = service.address()?;
    until(&format!("an answer from {role}"), PATIENCE, || {
        let said = cluster.lab.client(Network::Public).exec(&[
            "curl",
            "-sS",
            "--max-time",
            "1",
            &format!("http://{address}/"),
        ])?;
        Ok(said.starts_with(&format!("{role} on")).then_some(()))
    })?;
    sleep(Duration::from_secs(1));
    cluster.lab.kubectl(&["-n", namespace, "get", "endpointslices"]).map(drop)
}

fn patch_service(cluster: &Cluster, service: &Service<'_>, patch: &str) -> Result<()> {
    let what = ["-n", &service.namespace, "patch", "service", &service.name, "--type=merge", "-p", patch];
    cluster.lab.kubectl(&what).map(drop)
}

/// A node's own address on the public network.
fn public_address(node: &str) -> Ipv4Addr {
    Network::Public.address(10 + node_number(node).unwrap_or_default())
}

/// How many of so many connections of the internet's host are answered.
fn answered(cluster: &Cluster, address: Ipv4Addr, connections: usize) -> Result<usize> {
    let url = format!("http://{address}/?[1-{connections}]");
    let script =
        format!("curl -s -m 2 -o /dev/null -H 'Connection: close' -w '%{{http_code}}\\n' '{url}' || true");
    let codes = cluster.lab.host("inet")?.exec(&["sh", "-c", &script])?;
    Ok(codes.lines().filter(|code| *code == "200").count())
}

fn another(cluster: &Cluster, holder: &str) -> String {
    let nodes = cluster.lab.nodes();
    nodes.iter().map(Host::name).find(|node| *node != holder).unwrap_or_default().to_owned()
}

/// Waits until no table, rule or route of the plane is on any node.
fn nothing_left(cluster: &Cluster, plane: Plane, path: &Value) -> Result<()> {
    for node in cluster.lab.nodes() {
        until(&format!("nothing is left on {}", node.name()), PATIENCE, || {
            let tables = node.exec(&["nft", "list", "tables", "inet"])?;
            let rules = node.exec(&["ip", "rule"])?;
            let rule = path["table"].as_u64().map(|number| format!("lookup {number}"));
            let has_rule = rule.is_some_and(|rule| rules.contains(&rule));
            let has_table = tables.lines().any(|line| line.ends_with(&format!(" {}", table(plane))));
            Ok((!has_table && !has_rule).then_some(()))
        })?;
    }
    Ok(())
}

/// Of the second container of the plane's Pods.
const WITHOUT_THE_RIGHT: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: POLICY}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  matchConditions:
  - name: announcers
    expression: "object.metadata.namespace == 'NAMESPACE' && size(object.spec.containers) == 2"
  mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: "[JSONPatch{op: 'remove', path: '/spec/containers/1/securityContext/capabilities/add'}]"
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: POLICY}
spec: {policyName: POLICY}
"#;
