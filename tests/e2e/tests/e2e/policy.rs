//! What a plane allows, and how it says what keeps it from its work.

use foghorn_lab::{topology::Network, until};
use foghorn_testbed::{
    Cluster, PATIENCE, PRIVATE, Plane, Result, condition, disturbs_nodes, run, shares_the_lab,
};

#[test]
fn a_plane_whose_announcers_cannot_be_made_says_why() -> Result<()> {
    run(shares_the_lab().at_most(35), |cluster| {
        let narrow = narrow(cluster);
        cluster.make_plane(narrow, "nodeSelector: {no: node}")?;
        println!("{}", cluster.plane_reason(narrow, "AnnouncersReady", "NoNodes")?);
        cluster.lab.kubectl(&["-n", &narrow.namespace(), "create", "quota", "none", "--hard=pods=0"])?;
        let patch = r#"{"spec":{"nodeSelector":null}}"#;
        cluster.patch_plane(narrow, patch)?;
        let said = cluster.plane_reason(narrow, "AnnouncersReady", "FailedCreate")?;
        println!("{said}");
        assert!(said.contains("exceeded quota"), "{said}");
        assert_eq!(cluster.plane_reason(narrow, "Ready", "FailedCreate")?, said);
        cluster.lab.kubectl(&["-n", &narrow.namespace(), "delete", "quota", "none"])?;
        cluster.wait_ready(narrow.name)?;
        cluster.remove_plane(narrow)
    })
}

#[test]
fn two_default_planes_are_a_condition_and_take_nothing_from_a_service_that_has_a_claim() -> Result<()> {
    run(disturbs_nodes().at_most(40), |cluster| {
        let (narrow, shop) = (narrow(cluster), cluster.namespace("shop")?);
        let old = cluster.service(&shop, "named", PRIVATE)?.sibling("old");
        old.apply(None)?;
        let address = old.address()?;
        let claim = old.claim()?;

        cluster.make_plane(narrow, "default: true")?;
        for (plane, other) in [(PRIVATE, narrow), (narrow, PRIVATE)] {
            let said = cluster.plane_reason(plane, "TwoDefaults", "TwoDefaults")?;
            assert!(said.contains(other.name), "{said}");
        }
        let new = old.sibling("new");
        new.apply(None)?;
        let said = new.reason("DefaultPlaneAmbiguous")?;
        println!("{said}");
        assert!(said.contains(narrow.name) && said.contains(PRIVATE.name), "{said}");
        assert!(new.claim()?.is_none());
        assert_eq!((old.address()?, old.claim()?), (address, claim));

        cluster.remove_plane(narrow)?;
        new.address()?;
        until("no condition is left", PATIENCE, || {
            let plane = cluster.lab.kubectl_json(&["get", "networkplane", PRIVATE.name])?;
            Ok(condition(&plane, "TwoDefaults").is_none().then_some(()))
        })
    })
}

#[test]
fn a_namespace_that_is_not_allowed_gets_nothing_until_it_is() -> Result<()> {
    run(shares_the_lab().at_most(50), |cluster| {
        let narrow = narrow(cluster);
        let (shop, other) = (cluster.namespace("shop")?, cluster.namespace("other")?);
        let allowed = format!("{{names: [{shop}], selector: {{matchLabels: {{narrow: 'yes'}}}}}}");
        cluster.make_plane(narrow, &format!("allowedNamespaces: {allowed}"))?;
        cluster.wait_ready(narrow.name)?;
        cluster.service(&shop, "web", narrow)?.address()?;
        let refused = cluster.service(&other, "web", narrow)?;
        let said = refused.reason("NamespaceNotAllowed")?;
        println!("{said}");
        assert!(said.contains(&other) && said.contains(narrow.name), "{said}");
        assert!(refused.claim()?.is_none());
        cluster.lab.kubectl(&["label", "namespace", &other, "narrow=yes"])?;
        refused.address()?;
        cluster.remove_plane(narrow)
    })
}

#[test]
fn a_service_beyond_a_limit_waits_and_gets_the_slot_that_another_gives_back() -> Result<()> {
    run(shares_the_lab().at_most(40), |cluster| {
        let narrow = narrow(cluster);
        cluster.make_plane(narrow, "limits: {addresses: 2, addressesPerNamespace: 1}")?;
        cluster.wait_ready(narrow.name)?;
        let (shop, other) = (cluster.namespace("shop")?, cluster.namespace("other")?);
        let first = cluster.service(&shop, "first", narrow)?;
        first.address()?;
        let second = cluster.service(&shop, "second", narrow)?;
        let said = second.reason("LimitReached")?;
        println!("{said}");
        assert!(said.contains("addressesPerNamespace"), "{said}");
        cluster.service(&other, "web", narrow)?.address()?;
        assert!(second.claim()?.is_none());
        first.delete()?;
        first.gone()?;
        second.address()?;
        cluster.remove_plane(narrow)
    })
}

fn narrow(cluster: &Cluster) -> Plane {
    cluster.plane_named("narrow", Network::Public)
}
