//! Planes stay apart.

use std::{net::SocketAddr, thread::sleep, time::Duration};

use foghorn_lab::{Probe, topology::Network, until};
use foghorn_testbed::{PATIENCE, Plane, Result, condition, disturbs_nodes, run, shares_the_lab};
use serde_json::Value;

#[test]
fn two_planes_on_the_same_nodes_share_nothing() -> Result<()> {
    run(shares_the_lab().at_most(40), |cluster| {
        let public = cluster.plane()?;
        let private = cluster.private_plane()?;
        let shop = cluster.namespace("shop")?;
        let (of_public, of_private) =
            (cluster.service(&shop, "public", public)?, cluster.service(&shop, "private", private)?);
        let (at_public, at_private) = (of_public.address()?, of_private.address()?);
        let plane = |plane: Plane| cluster.lab.kubectl_json(&["get", "networkplane", plane.name]);
        let (a, b) = (plane(public)?, plane(private)?);
        for path in [
            "/spec/loadBalancerClass",
            "/status/namespace",
            "/status/leaseName",
            "/status/ports/metrics",
            "/status/ports/probes",
        ] {
            let (a, b) = (a.pointer(path), b.pointer(path));
            assert!(a.is_some() && a != b, "{path}: {a:?} {b:?}");
        }
        // Each answers for its own address only, on its own network only.
        assert_eq!(cluster.who_has(public.network, at_public)?.len(), 1);
        assert_eq!(cluster.who_has(private.network, at_private)?.len(), 1);
        assert!(cluster.who_has(public.network, at_private)?.is_empty());
        assert!(cluster.who_has(private.network, at_public)?.is_empty());
        assert!(of_public.claim()?.is_some() && of_private.claim()?.is_some());
        Ok(())
    })
}

#[test]
fn the_token_of_one_plane_is_refused_on_the_claims_of_another_and_on_services() -> Result<()> {
    run(shares_the_lab().at_most(20), |cluster| {
        let public = cluster.plane()?;
        let private = cluster.private_plane()?;
        let account = format!("--as=system:serviceaccount:{}:announcer", public.namespace());
        let may = |verb: &str, what: &str, namespace: &str| {
            let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
            let subresource = format!("--subresource={subresource}");
            let args = ["auth", "can-i", verb, resource, "-n", namespace, &subresource, &account];
            cluster.lab.kubectl(&args).is_ok_and(|said| said.trim() == "yes")
        };
        assert!(may("update", "addressclaims.foghorn.dev/status", &public.namespace()));
        assert!(may("update", "leases.coordination.k8s.io", &public.namespace()));
        for verb in ["get", "list", "update", "patch", "delete"] {
            assert!(!may(verb, "addressclaims.foghorn.dev/status", &private.namespace()), "{verb}");
            assert!(!may(verb, "leases.coordination.k8s.io", &private.namespace()), "{verb}");
            assert!(!may(verb, "services", "default"), "{verb}");
            assert!(!may(verb, "secrets", "default"), "{verb}");
        }
        for verb in ["update", "patch", "delete"] {
            assert!(!may(verb, "addressclaims.foghorn.dev", &public.namespace()), "{verb}");
        }
        let args = ["-n", &private.namespace(), "get", "addressclaims", &account];
        let refused = cluster.lab.kubectl(&args).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains("forbidden"), "{refused}");
        Ok(())
    })
}

#[test]
fn deleting_one_plane_leaves_the_other_serving_without_a_lost_request() -> Result<()> {
    run(shares_the_lab().within(100, "a plane is made twice"), |cluster| {
        let private = cluster.private_plane()?;
        let own = cluster.plane_named("going", Network::Public);
        cluster.make_plane(own, "")?;
        cluster.wait_ready(own.name)?;
        let shop = cluster.namespace("shop")?;
        let (on_going, on_staying) =
            (cluster.service(&shop, "going", own)?, cluster.service(&shop, "staying", private)?);
        let (going, staying) = (on_going.address()?, on_staying.address()?);
        assert!(cluster.get(private.network, staying)?.contains(" on w"));
        let probe = Probe::start_patient(
            &cluster.lab.client(private.network),
            SocketAddr::from((staying, 80)),
            Duration::from_millis(20),
        )?;
        sleep(Duration::from_millis(500));
        cluster.lab.kubectl(&["delete", "networkplane", own.name, "--timeout=60s"])?;
        sleep(Duration::from_secs(1));
        let report = probe.finish()?;
        println!("{report}");
        assert_eq!(report.failed, 0, "{report}");
        assert!(cluster.who_has(own.network, going)?.is_empty());
        let leases = cluster.lab.dhcp(own.network).leases()?;
        assert!(leases.iter().all(|lease| lease.address != going), "{leases:?}");
        until("the Service of the plane that is gone has no address", PATIENCE, || {
            let object = on_going.object()?;
            Ok(object["status"]["loadBalancer"]["ingress"].is_null().then_some(()))
        })?;
        cluster.plane_gone(own)?;
        cluster.make_plane(own, "")?;
        cluster.wait_ready(own.name)?;
        let back = on_going.address()?;
        assert!(cluster.get(own.network, back)?.contains(" on w"));
        cluster.remove_plane(own)
    })
}

#[test]
fn a_plane_edit_reaches_running_announcers_without_a_restart() -> Result<()> {
    run(shares_the_lab().at_most(40), |cluster| {
        let public = cluster.plane()?;
        let shop = cluster.namespace("shop")?;
        let service = cluster.service(&shop, "web", public)?;
        service.address()?;
        let pods = cluster.announcers(public)?;
        let edit = |subnets: &str| {
            let patch = format!(r#"{{"spec":{{"allowedSubnets":{subnets}}}}}"#);
            cluster.patch_plane(public, &patch)
        };
        edit(r#"["203.0.113.240/29"]"#)?;
        println!("{}", service.reason("AddressRefused")?);
        edit("null")?;
        service.reason("Announced")?;
        assert_eq!(cluster.announcers(public)?, pods);
        Ok(())
    })
}

#[test]
fn an_address_on_kube_ipvs0_leaves_a_plane_by_subnet_as_it_is() -> Result<()> {
    run(disturbs_nodes().at_most(40), |cluster| {
        let own = cluster.plane_named("by-subnet", Network::Public);
        cluster.make_plane(own, "")?;
        let subnet = Network::Public.cidr();
        cluster.patch_plane(
            own,
            &format!(r#"{{"spec":{{"interface":{{"name":null,"subnet":"{subnet}"}}}}}}"#),
        )?;
        cluster.wait_ready(own.name)?;
        let service = cluster.service(&cluster.namespace("shop")?, "web", own)?;
        let address = service.address()?;
        let holder = service.holder()?;
        // As kube-proxy does on each node in IPVS mode, but that this interface is like any other.
        for node in cluster.lab.nodes() {
            node.ip(&format!(
                "link add kube-ipvs0 type bridge\nlink set kube-ipvs0 up\naddress add {address}/32 dev kube-ipvs0"
            ))?;
        }
        sleep(Duration::from_secs(3));
        let plane = cluster.lab.kubectl_json(&["get", "networkplane", own.name])?;
        for node in cluster.lab.nodes() {
            node.ip("link delete kube-ipvs0")?;
        }
        let found = condition(&plane, "InterfacesReady");
        assert!(found.is_some_and(|found| found["status"] == "True"), "{plane}");
        assert_eq!((service.address()?, service.holder()?), (address, holder));
        cluster.remove_plane(own)
    })
}

#[test]
fn the_younger_of_two_planes_with_one_class_or_lease_name_has_a_condition_and_no_announcers() -> Result<()> {
    run(shares_the_lab().at_most(20), |cluster| {
        let public = cluster.plane()?;
        let plane = |name: &str, class: &str, more: &str| {
            format!(
                "apiVersion: foghorn.dev/v1alpha1\nkind: NetworkPlane\nmetadata: {{name: {name}}}\nspec: {{loadBalancerClass: {class}, interface: {{name: eth1}}{more}}}\n---\n"
            )
        };
        let [same_class, same_lease] = ["same-class", "same-lease"].map(|name| cluster.name(name));
        let lease = format!(", lease: {{name: {}}}", public.namespace());
        let manifests = plane(&same_class, public.class, "")
            + &plane(&same_lease, &format!("foghorn.dev/{same_lease}"), &lease);
        cluster.lab.apply(&manifests)?;
        for (name, reason) in [(&same_class, "ClassTaken"), (&same_lease, "LeaseNameTaken")] {
            let said = until(reason, PATIENCE, || {
                let object = cluster.lab.kubectl_json(&["get", "networkplane", name])?;
                Ok(condition(&object, "Accepted")
                    .filter(|c| c["reason"] == reason)
                    .map(|c| c["message"].clone()))
            })?;
            println!("{said}");
            assert!(said.as_str().unwrap_or_default().contains(public.name), "{said}");
            let sets = cluster.lab.kubectl_json(&["-n", &format!("foghorn-{name}"), "get", "daemonsets"])?;
            assert_eq!(sets["items"], Value::Array(Vec::new()));
        }
        cluster.lab.kubectl(&["delete", "networkplane", &same_class, &same_lease, "--timeout=60s"])?;
        cluster.wait_ready(public.name)
    })
}

#[test]
fn what_the_operator_made_is_repaired_when_others_change_it() -> Result<()> {
    run(shares_the_lab().at_most(20), |cluster| {
        let public = cluster.plane()?;
        let namespace = public.namespace();
        cluster.lab.kubectl(&["-n", &namespace, "delete", "rolebinding", "announcer"])?;
        cluster.lab.kubectl(&[
            "-n",
            &namespace,
            "patch",
            "configmap",
            "plane",
            "-p",
            r#"{"data":{"plane.json":"{}"}}"#,
        ])?;
        let patch = r#"{"spec":{"template":{"spec":{"hostNetwork":false}}}}"#;
        cluster.lab.kubectl(&["-n", &namespace, "patch", "daemonset", "announcer", "-p", patch])?;
        until("all is as it was", PATIENCE, || {
            cluster.lab.kubectl(&["-n", &namespace, "get", "rolebinding", "announcer"])?;
            let map = cluster.lab.kubectl_json(&["-n", &namespace, "get", "configmap", "plane"])?;
            let set = cluster.lab.kubectl_json(&["-n", &namespace, "get", "daemonset", "announcer"])?;
            let repaired = map["data"]["plane.json"].as_str().is_some_and(|text| text.contains(public.name))
                && set["spec"]["template"]["spec"]["hostNetwork"] == true;
            Ok(repaired.then_some(()))
        })?;
        cluster.wait_ready(public.name)
    })
}

#[test]
fn specs_that_make_no_sense_are_refused_with_a_reason() -> Result<()> {
    run(shares_the_lab().at_most(20), |cluster| {
        let public = cluster.plane()?;
        let apply = |name: &str, spec: &str| {
            let text = format!(
                "apiVersion: foghorn.dev/v1alpha1\nkind: NetworkPlane\nmetadata: {{name: {name}}}\nspec: {{loadBalancerClass: foghorn.dev/x, {spec}}}\n"
            );
            cluster.lab.apply(&text).err().map(|error| error.to_string()).unwrap_or_default()
        };
        let eth1 = "interface: {name: eth1}";
        let selecting = |operator: &str| {
            format!(
                "allowedNamespaces: {{selector: {{matchExpressions: [{{key: stage, operator: {operator}}}]}}}}"
            )
        };
        let cases = [
            ("system", eth1.to_owned(), "reserved"),
            (&"x".repeat(41), eth1.to_owned(), "at most 40"),
            ("two", "interface: {name: eth1, regex: e.*}".to_owned(), "exactly one of"),
            (
                "half",
                format!("{eth1}, failureDetection: {{mode: Custom, missedHeartbeats: 3}}"),
                "must both be given",
            ),
            ("fast", format!("{eth1}, failureDetection: {{missedHeartbeats: 3}}"), "must both be given"),
            (
                "weight",
                format!("{eth1}, placement: {{preferredNodes: [{{weight: 101, matchLabels: {{a: b}}}}]}}"),
                "100",
            ),
            ("lease", format!("{eth1}, lease: {{name: Not_Valid}}"), "spec.lease.name"),
            ("subnet", format!("{eth1}, allowedSubnets: [203.0.113.0/33]"), "spec.allowedSubnets"),
            ("operator", format!("{eth1}, {}", selecting("in")), "Unsupported value"),
            ("values", format!("{eth1}, {}", selecting("In")), "values must be given"),
        ];
        for (name, spec, words) in cases {
            let said = apply(name, &spec);
            assert!(said.contains(words), "{name}: {said}");
        }
        let patch = r#"{"spec":{"loadBalancerClass":"foghorn.dev/other"}}"#;
        let said = cluster.patch_plane(public, patch);
        assert!(said.is_err_and(|error| error.to_string().contains("loadBalancerClass is immutable")));
        Ok(())
    })
}
