//! What a plane allows, and how it says what keeps it from its work.

use std::time::Duration;

use foghorn_e2e::{PRIVATE, Plane, Result, condition, run};
use foghorn_lab::{topology::Network, until};

const NARROW: Plane = Plane { name: "narrow", class: "foghorn.dev/narrow", network: Network::Public };

#[test]
fn a_plane_whose_announcers_cannot_be_made_says_why() -> Result<()> {
    run(|cluster| {
        cluster.make_plane(NARROW, "nodeSelector: {no: node}")?;
        println!("{}", cluster.plane_reason(NARROW, "AnnouncersReady", "NoNodes")?);
        cluster.lab.kubectl(&["-n", &NARROW.namespace(), "create", "quota", "none", "--hard=pods=0"])?;
        let patch = r#"{"spec":{"nodeSelector":null}}"#;
        cluster.patch_plane(NARROW, patch)?;
        let said = cluster.plane_reason(NARROW, "AnnouncersReady", "FailedCreate")?;
        println!("{said}");
        assert!(said.contains("exceeded quota"), "{said}");
        assert_eq!(cluster.plane_reason(NARROW, "Ready", "FailedCreate")?, said);
        cluster.lab.kubectl(&["-n", &NARROW.namespace(), "delete", "quota", "none"])?;
        cluster.wait_ready(NARROW.name)?;
        cluster.remove_plane(NARROW)
    })
}

#[test]
fn two_default_planes_are_a_condition_and_take_nothing_from_a_service_that_has_a_claim() -> Result<()> {
    run(|cluster| {
        cluster.namespace("shop")?;
        let old = cluster.service("shop", "named", PRIVATE)?.sibling("old");
        cluster.lab.apply(&old.manifest(None))?;
        let address = old.address()?;
        let claim = old.claim()?;

        cluster.make_plane(NARROW, "default: true")?;
        for (plane, other) in [(PRIVATE, NARROW), (NARROW, PRIVATE)] {
            let said = cluster.plane_reason(plane, "TwoDefaults", "TwoDefaults")?;
            assert!(said.contains(other.name), "{said}");
        }
        let new = old.sibling("new");
        cluster.lab.apply(&new.manifest(None))?;
        let said = new.reason("DefaultPlaneAmbiguous")?;
        println!("{said}");
        assert!(said.contains(NARROW.name) && said.contains(PRIVATE.name), "{said}");
        assert!(new.claim()?.is_none());
        assert_eq!((old.address()?, old.claim()?), (address, claim));

        cluster.remove_plane(NARROW)?;
        new.address()?;
        until("no condition is left", Duration::from_secs(10), || {
            let plane = cluster.lab.kubectl_json(&["get", "networkplane", PRIVATE.name])?;
            Ok(condition(&plane, "TwoDefaults").is_none().then_some(()))
        })
    })
}

#[test]
fn a_namespace_that_is_not_allowed_gets_nothing_until_it_is() -> Result<()> {
    run(|cluster| {
        cluster.make_plane(
            NARROW,
            "allowedNamespaces: {names: [shop], selector: {matchLabels: {narrow: 'yes'}}}",
        )?;
        cluster.wait_ready(NARROW.name)?;
        cluster.namespace("shop")?;
        cluster.namespace("other")?;
        cluster.service("shop", "web", NARROW)?.address()?;
        let refused = cluster.service("other", "web", NARROW)?;
        let said = refused.reason("NamespaceNotAllowed")?;
        println!("{said}");
        assert!(said.contains("other") && said.contains(NARROW.name), "{said}");
        assert!(refused.claim()?.is_none());
        cluster.lab.kubectl(&["label", "namespace", "other", "narrow=yes"])?;
        refused.address()?;
        cluster.remove_plane(NARROW)
    })
}

#[test]
fn a_service_beyond_a_limit_waits_and_gets_the_slot_that_another_gives_back() -> Result<()> {
    run(|cluster| {
        cluster.make_plane(NARROW, "limits: {addresses: 2, addressesPerNamespace: 1}")?;
        cluster.wait_ready(NARROW.name)?;
        cluster.namespace("shop")?;
        cluster.namespace("other")?;
        let first = cluster.service("shop", "first", NARROW)?;
        first.address()?;
        let second = cluster.service("shop", "second", NARROW)?;
        let said = second.reason("LimitReached")?;
        println!("{said}");
        assert!(said.contains("addressesPerNamespace"), "{said}");
        cluster.service("other", "web", NARROW)?.address()?;
        assert!(second.claim()?.is_none());
        first.delete()?;
        first.gone()?;
        second.address()?;
        cluster.remove_plane(NARROW)
    })
}
