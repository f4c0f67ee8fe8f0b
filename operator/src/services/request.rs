//! What a Service asks for, and of which plane.

use std::{net::IpAddr, sync::Arc};

use foghorn_crds::{NetworkPlane, contract};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use kube::ResourceExt;

use super::{
    admit::spec_is_valid,
    reasons::{self, Unserved},
};
use crate::planes::acceptance::is_accepted;

/// Whose business a Service is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Standing {
    /// None of ours: no plane serves its class, or it is no load balancer.
    NotOurs,
    /// Ours, but it gets no address.
    Unserved(Unserved),
    /// This plane's.
    Of(Arc<NetworkPlane>),
}

/// Whether it is one that load balancers are for.
fn is_balancer(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"))
}

/// Whose business `service` is, among `planes`. `claimed` is the plane of its live claim, if it has one.
///
/// A plane that is being deleted serves nobody.
pub(crate) fn standing(service: &Service, planes: &[Arc<NetworkPlane>], claimed: Option<&str>) -> Standing {
    let Some(spec) = service.spec.as_ref().filter(|_| is_balancer(service)) else {
        return Standing::NotOurs;
    };
    let there = planes.iter().filter(|plane| plane.metadata.deletion_timestamp.is_none());
    let plane = match &spec.load_balancer_class {
        Some(class) => of_class(there.filter(|plane| plane.spec.load_balancer_class == *class), claimed),
        None => match of_no_class(there, claimed) {
            Ok(plane) => plane,
            Err(unserved) => return Standing::Unserved(unserved),
        },
    };
    let Some(plane) = plane else { return Standing::NotOurs };
    match supported(spec).and_then(|()| requested(service, spec)) {
        Ok(()) => Standing::Of(plane.clone()),
        Err(unserved) => Standing::Unserved(unserved),
    }
}

/// Of planes with one class, which only conflicting ones are: the one where the claim is, the accepted, the oldest.
fn of_class<'a>(
    planes: impl Iterator<Item = &'a Arc<NetworkPlane>>,
    claimed: Option<&str>,
) -> Option<&'a Arc<NetworkPlane>> {
    planes.min_by_key(|plane| {
        (
            claimed != Some(plane.name_any().as_str()),
            !is_accepted(plane),
            plane.creation_timestamp(),
            plane.metadata.uid.clone(),
        )
    })
}

/// The one default plane. Between several nothing changes for a Service that has a claim, nor does it while the spec of its
/// plane cannot be used: that does not say either which plane is the default one.
fn of_no_class<'a>(
    planes: impl Iterator<Item = &'a Arc<NetworkPlane>> + Clone,
    claimed: Option<&str>,
) -> Result<Option<&'a Arc<NetworkPlane>>, Unserved> {
    let defaults: Vec<_> = planes.clone().filter(|plane| plane.spec.default).collect();
    let kept = planes.into_iter().find(|plane| claimed == Some(plane.name_any().as_str()));
    if kept.is_some_and(|kept| spec_is_valid(kept).is_err()) {
        return Ok(kept);
    }
    if let [] | [_] = defaults.as_slice() {
        return Ok(defaults.first().copied());
    }
    if kept.is_some() {
        return Ok(kept);
    }
    let mut names: Vec<_> = defaults.iter().map(|plane| plane.name_any()).collect();
    names.sort();
    Err(Unserved::new(
        reasons::DEFAULT_PLANE_AMBIGUOUS,
        format!(
            "planes {} are all marked as default, and the Service has no loadBalancerClass: mark one plane only",
            names.join(", ")
        ),
    ))
}

fn supported(spec: &ServiceSpec) -> Result<(), Unserved> {
    if spec.ip_family_policy.as_deref() == Some("RequireDualStack") {
        return Err(Unserved::new(
            reasons::DUAL_STACK_NOT_SUPPORTED,
            "ipFamilyPolicy RequireDualStack needs an IPv6 address, which planes do not give yet: use PreferDualStack \
             or SingleStack with IPv4",
        ));
    }
    let families = spec.ip_families.as_deref().unwrap_or_default();
    if !families.is_empty() && !families.iter().any(|family| family == "IPv4") {
        return Err(Unserved::new(
            reasons::IPV6_NOT_SUPPORTED,
            "the Service is of IPv6 only, and planes give IPv4 addresses only: add IPv4 to ipFamilies",
        ));
    }
    Ok(())
}

/// Whether only nodes with endpoints of the Service lead to it: `externalTrafficPolicy: Local`.
pub(crate) fn is_local(service: &Service) -> bool {
    let policy = service.spec.as_ref().and_then(|spec| spec.external_traffic_policy.as_deref());
    policy == Some("Local")
}

/// Whether what the Service asks for is any IPv4 address from DHCP. The first that is given counts: the annotation,
/// its synonym, `spec.loadBalancerIP`, the plane's default source.
fn requested(service: &Service, spec: &ServiceSpec) -> Result<(), Unserved> {
    let keys = [contract::ADDRESSES_ANNOTATION, contract::KUBE_VIP_ADDRESSES_ANNOTATION];
    let field = spec.load_balancer_ip.as_deref().map(str::trim).filter(|value| !value.is_empty());
    let given = annotation(service, &keys).or(field.map(|value| ("spec.loadBalancerIP", value)));
    let Some((place, value)) = given else { return Ok(()) };
    let asked: Vec<_> = value.split([',', ' ']).filter(|item| !item.is_empty()).collect();
    let refuse =
        |what: String| Err(Unserved::new(reasons::REQUEST_NOT_SUPPORTED, format!("{place}: {what}")));
    let [asked] = asked.as_slice() else {
        return refuse(format!(
            "{value} is more than one address, and a Service has one: ask for 0.0.0.0 (DHCP)"
        ));
    };
    match asked.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => Ok(()),
        Ok(IpAddr::V4(address)) => refuse(format!(
            "{address} would have to come from a pool, and planes have no pools yet: ask for 0.0.0.0 (DHCP), and \
             reserve the address at the DHCP server"
        )),
        Ok(IpAddr::V6(address)) => refuse(format!(
            "{address} is of IPv6, and planes give IPv4 addresses only: ask for 0.0.0.0 (DHCP)"
        )),
        Err(_) => refuse(format!("{asked} is not an IP address: ask for 0.0.0.0 (DHCP)")),
    }
}

/// The first of the annotations `keys` that says something, and what it says.
pub(crate) fn annotation<'a>(service: &'a Service, keys: &[&'static str]) -> Option<(&'static str, &'a str)> {
    let annotations = service.metadata.annotations.as_ref()?;
    let given = keys.iter().filter_map(|&key| Some((key, annotations.get(key)?.trim())));
    given.into_iter().find(|(_, value)| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures::*, *};

    #[test]
    fn a_service_belongs_to_the_plane_of_its_class() {
        let planes = [plane("a"), plane("b")];
        assert_eq!(of(&service("web").of_class("b"), &planes), "plane b");
    }

    #[test]
    fn a_service_of_a_foreign_class_is_not_ours_whatever_it_asks() {
        let planes = [plane("a").default_plane()];
        assert_eq!(of(&service("web").with_class("example.com/other"), &planes), "not ours");
        assert_eq!(of(&service("web").with_class("example.com/other").local(), &planes), "not ours");
    }

    #[test]
    fn a_service_that_is_no_load_balancer_is_not_ours() {
        let planes = [plane("a").default_plane()];
        assert_eq!(of(&service("web").of_type("ClusterIP"), &planes), "not ours");
        assert_eq!(of(&service("web").of_type("NodePort"), &planes), "not ours");
    }

    #[test]
    fn a_classless_service_is_not_ours_without_a_default_plane() {
        assert_eq!(of(&service("web"), &[plane("a"), plane("b")]), "not ours");
    }

    #[test]
    fn a_classless_service_belongs_to_the_one_default_plane() {
        assert_eq!(of(&service("web"), &[plane("a"), plane("b").default_plane()]), "plane b");
    }

    #[test]
    fn of_two_default_planes_neither_gets_a_new_service() {
        let planes = [plane("b").default_plane(), plane("a").default_plane()];
        assert_eq!(of(&service("web"), &planes), reasons::DEFAULT_PLANE_AMBIGUOUS);
        let Standing::Unserved(unserved) = standing(&service("web").build(), &built(&planes), None) else {
            panic!("served");
        };
        assert!(unserved.message.contains("a, b"), "{}", unserved.message);
    }

    #[test]
    fn two_default_planes_change_nothing_for_a_service_that_has_a_claim() {
        let planes = [plane("a").default_plane(), plane("b").default_plane(), plane("c")];
        for claimed in ["a", "b", "c"] {
            assert_eq!(of_claimed(&service("web"), &planes, claimed), format!("plane {claimed}"));
        }
    }

    #[test]
    fn a_spec_that_cannot_be_used_moves_no_classless_service() {
        let invalid = plane("a").invalid();
        assert_eq!(of_claimed(&service("web"), std::slice::from_ref(&invalid), "a"), "plane a");
        assert_eq!(
            of_claimed(&service("web"), &[invalid.clone(), plane("b").default_plane()], "a"),
            "plane a"
        );
        assert_eq!(of(&service("web"), &[invalid, plane("b").default_plane()]), "plane b");
    }

    #[test]
    fn a_plane_that_is_being_deleted_serves_nobody() {
        let planes = [plane("a").deleting(), plane("b").default_plane().deleting()];
        assert_eq!(of_claimed(&service("web").of_class("a"), &planes, "a"), "not ours");
        assert_eq!(of_claimed(&service("web"), &planes, "b"), "not ours");
    }

    #[test]
    fn of_two_planes_with_one_class_the_accepted_one_serves_and_existing_claims_stay() {
        let rejected = plane("a").with_class("foghorn.dev/b").rejected("ClassConflict");
        let planes = [rejected, plane("b").younger()];
        assert_eq!(of(&service("web").of_class("b"), &planes), "plane b");
        assert_eq!(of_claimed(&service("web").of_class("b"), &planes, "a"), "plane a");
    }

    #[test]
    fn no_request_and_the_unspecified_address_are_both_dhcp() {
        for asking in [
            service("web"),
            service("web").load_balancer_ip("0.0.0.0"),
            service("web").annotated(contract::ADDRESSES_ANNOTATION, "0.0.0.0"),
            service("web").annotated(contract::ADDRESSES_ANNOTATION, " 0.0.0.0, "),
            service("web").annotated(contract::KUBE_VIP_ADDRESSES_ANNOTATION, "0.0.0.0"),
        ] {
            assert_eq!(of(&asking.of_class("a"), &[plane("a")]), "plane a");
        }
    }

    #[test]
    fn the_annotation_counts_before_its_synonym_and_that_before_the_spec() {
        let all = service("web")
            .of_class("a")
            .annotated(contract::ADDRESSES_ANNOTATION, "0.0.0.0")
            .annotated(contract::KUBE_VIP_ADDRESSES_ANNOTATION, "203.0.113.9")
            .load_balancer_ip("203.0.113.10");
        assert_eq!(of(&all, &[plane("a")]), "plane a");
        let synonym = service("web")
            .of_class("a")
            .annotated(contract::KUBE_VIP_ADDRESSES_ANNOTATION, "203.0.113.9")
            .load_balancer_ip("0.0.0.0");
        assert_eq!(of(&synonym, &[plane("a")]), reasons::REQUEST_NOT_SUPPORTED);
    }

    #[test]
    fn an_empty_request_is_none() {
        let empty = service("web").annotated(contract::ADDRESSES_ANNOTATION, "").load_balancer_ip("0.0.0.0");
        assert_eq!(of(&empty.of_class("a"), &[plane("a")]), "plane a");
    }

    #[test]
    fn any_other_request_is_refused_and_says_where_it_stands() {
        for value in
            ["203.0.113.9", "::", "2001:db8::1", "0.0.0.0,::", "0.0.0.0,0.0.0.0", "web.example", "0.0.0.0/0"]
        {
            let asking =
                service("web").of_class("a").annotated(contract::ADDRESSES_ANNOTATION, value).build();
            let Standing::Unserved(unserved) = standing(&asking, &built(&[plane("a")]), None) else {
                panic!("{value} was served");
            };
            assert_eq!(unserved.reason, reasons::REQUEST_NOT_SUPPORTED, "{value}");
            assert!(unserved.message.starts_with(contract::ADDRESSES_ANNOTATION), "{}", unserved.message);
        }
        let asking = service("web").of_class("a").load_balancer_ip("203.0.113.9");
        assert_eq!(of_claimed(&asking, &[plane("a")], "a"), reasons::REQUEST_NOT_SUPPORTED);
    }

    #[test]
    fn families_other_than_ipv4_are_named() {
        let planes = [plane("a")];
        let of_families = |policy: &str, families: &[&str]| {
            of(&service("web").of_class("a").families(policy, families), &planes)
        };
        assert_eq!(of_families("SingleStack", &["IPv4"]), "plane a");
        assert_eq!(of_families("PreferDualStack", &["IPv4"]), "plane a");
        assert_eq!(of_families("PreferDualStack", &["IPv6", "IPv4"]), "plane a");
        assert_eq!(of_families("SingleStack", &["IPv6"]), reasons::IPV6_NOT_SUPPORTED);
        assert_eq!(of_families("RequireDualStack", &["IPv4", "IPv6"]), reasons::DUAL_STACK_NOT_SUPPORTED);
    }

    #[test]
    fn a_service_of_either_traffic_policy_is_served() {
        let local = service("web").of_class("a").local();
        assert_eq!(of(&local, &[plane("a")]), "plane a");
        assert!(is_local(&local.build()) && !is_local(&service("web").build()));
    }

    fn of(service: &ServiceFixture, planes: &[PlaneFixture]) -> String {
        describe(standing(&service.build(), &built(planes), None))
    }

    fn of_claimed(service: &ServiceFixture, planes: &[PlaneFixture], claimed: &str) -> String {
        describe(standing(&service.build(), &built(planes), Some(claimed)))
    }

    fn describe(standing: Standing) -> String {
        match standing {
            Standing::NotOurs => "not ours".into(),
            Standing::Unserved(unserved) => unserved.reason.into(),
            Standing::Of(plane) => format!("plane {}", plane.name_any()),
        }
    }

    fn built(planes: &[PlaneFixture]) -> Vec<Arc<NetworkPlane>> {
        planes.iter().map(|plane| Arc::new(plane.build())).collect()
    }
}
