//! Whether a plane takes a Service on.

use std::collections::{BTreeMap, BTreeSet};

use foghorn_crds::{AddressClaim, AllowedNamespaces, Limits, NetworkPlane, conditions};
use k8s_openapi::jiff::Timestamp;
use kube::{
    ResourceExt,
    core::{Selector, SelectorExt},
};

use super::{
    claim::is_genuine,
    memory::Key,
    reasons::{self, Unserved},
};
use crate::planes::acceptance::{allowed_subnets, is_accepted};

/// Whether the plane's spec can be used. While it cannot, it says nothing of the Services that the plane serves already.
pub(crate) fn spec_is_valid(plane: &NetworkPlane) -> Result<(), Unserved> {
    allowed_subnets(plane)
        .map(drop)
        .map_err(|invalid| not_accepting(plane, &format!("{}: {invalid}", invalid.reason())))
}

fn not_accepting(plane: &NetworkPlane, why: &str) -> Unserved {
    let message = format!("plane {} is not accepting Services: {why}", plane.name_any());
    Unserved::new(reasons::PLANE_NOT_ACCEPTED, message)
}

/// Whether the plane takes new Services on. Those that it serves stay, whatever became of the plane's spec.
pub(crate) fn plane_is_accepted(plane: &NetworkPlane) -> Result<(), Unserved> {
    if is_accepted(plane) {
        return Ok(());
    }
    let conditions = plane.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let Some(accepted) = conditions::get(conditions, conditions::ACCEPTED) else {
        let message = format!("waiting for plane {} to be checked", plane.name_any());
        return Err(Unserved::new(reasons::WAITING_FOR_PLANE, message));
    };
    Err(not_accepting(plane, &format!("{}: {}", accepted.reason, accepted.message)))
}

/// Whether the plane serves the namespace with these labels.
pub(crate) fn namespace_is_allowed(
    plane: &NetworkPlane,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(), Unserved> {
    is_among(plane.spec.allowed_namespaces.as_ref(), "allowedNamespaces", namespace, labels).map_err(|why| {
        let message = format!("plane {} does not serve the namespace {namespace}: {why}", plane.name_any());
        Unserved::new(reasons::NAMESPACE_NOT_ALLOWED, message)
    })
}

/// Whether ports of Services of the namespace with these labels may be forwarded; if not, why, in words.
pub(crate) fn forwarding_is_allowed(
    plane: &NetworkPlane,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(), String> {
    let allowed = plane.spec.port_forwarding.allowed_namespaces.as_ref();
    is_among(allowed, "portForwarding.allowedNamespaces", namespace, labels).map_err(|why| {
        format!("plane {} forwards no ports of the namespace {namespace}: {why}", plane.name_any())
    })
}

/// Whether `allowed`, which the plane has as `field`, has the namespace with these labels; all are had if there is none.
fn is_among(
    allowed: Option<&AllowedNamespaces>,
    field: &str,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(), String> {
    let Some(allowed) = allowed else { return Ok(()) };
    match selects(allowed, namespace, labels) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("its {field} neither name nor select it")),
        Err(invalid) => Err(format!("the selector of its {field} is invalid ({invalid})")),
    }
}

fn selects(
    allowed: &AllowedNamespaces,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Result<bool, String> {
    if allowed.names.iter().any(|name| name == namespace) {
        return Ok(true);
    }
    let Some(selector) = allowed.selector.clone() else { return Ok(false) };
    let selector = Selector::try_from(selector).map_err(|error| error.to_string())?;
    Ok(selector.matches(labels))
}

/// The Services that have claims of the operator's own. What others have made in their namespaces uses nothing up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claimants {
    /// Those with claims on the plane, by the names of these.
    pub(crate) of_plane: BTreeMap<String, Key>,
    /// Those with claims on any plane.
    pub(crate) all: BTreeSet<Key>,
}

impl Claimants {
    /// Those of `claims`.
    pub(crate) fn of<'a>(plane: &str, claims: impl IntoIterator<Item = &'a AddressClaim>) -> Self {
        let mut claimants = Self { of_plane: BTreeMap::new(), all: BTreeSet::new() };
        for claim in claims.into_iter().filter(|claim| is_genuine(claim)) {
            let service = &claim.spec.service_ref;
            let key = (service.namespace.clone(), service.name.clone());
            if claim.spec.plane == plane {
                claimants.of_plane.insert(claim.name_any(), key.clone());
            }
            claimants.all.insert(key);
        }
        claimants
    }
}

/// A Service that has no claim and may have one. The order is the one in which free addresses are given: the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Waiting {
    pub(crate) since: Option<Timestamp>,
    pub(crate) service: Key,
}

/// Whether there is an address left for `service`, when the claims of Services of the namespaces `held` keep theirs, and the
/// older of those `waiting` come first.
pub(crate) fn is_within_limits<'a>(
    plane: &NetworkPlane,
    held: impl IntoIterator<Item = &'a str>,
    waiting: BTreeSet<Waiting>,
    service: &Key,
) -> Result<(), Unserved> {
    let mut slots = Slots { limits: &plane.spec.limits, used: 0, by_namespace: BTreeMap::new() };
    held.into_iter().for_each(|namespace| slots.take(namespace));
    for Waiting { service: (namespace, _), .. } in
        waiting.iter().take_while(|other| other.service != *service)
    {
        if slots.shortage(namespace).is_none() {
            slots.take(namespace);
        }
    }
    match slots.shortage(&service.0) {
        None => Ok(()),
        Some(shortage) => Err(Unserved::new(
            reasons::LIMIT_REACHED,
            format!("{shortage} on plane {}; served when an address is released", plane.name_any()),
        )),
    }
}

struct Slots<'a> {
    limits: &'a Limits,
    used: u32,
    by_namespace: BTreeMap<String, u32>,
}

impl Slots<'_> {
    fn take(&mut self, namespace: &str) {
        self.used += 1;
        *self.by_namespace.entry(namespace.to_owned()).or_default() += 1;
    }

    fn shortage(&self, namespace: &str) -> Option<String> {
        if let Some(limit) = self.limits.addresses.filter(|limit| self.used >= *limit) {
            return Some(format!("all {limit} addresses that limits.addresses allows are in use"));
        }
        let used = self.by_namespace.get(namespace).copied().unwrap_or_default();
        let limit = self.limits.addresses_per_namespace.filter(|limit| used >= *limit)?;
        Some(format!(
            "all {limit} addresses that limits.addressesPerNamespace allows the namespace {namespace} are in use"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures::*, *};

    #[test]
    fn an_accepted_plane_takes_services_on() {
        assert_eq!(plane_is_accepted(&plane("a").build()), Ok(()));
    }

    #[test]
    fn a_rejected_plane_says_why_it_takes_none() {
        let unserved = plane_is_accepted(&plane("a").rejected("ClassConflict").build()).unwrap_err();
        assert_eq!(unserved.reason, reasons::PLANE_NOT_ACCEPTED);
        assert!(unserved.message.contains("ClassConflict"), "{}", unserved.message);
    }

    #[test]
    fn a_plane_that_nobody_has_looked_at_is_waited_for() {
        let unserved = plane_is_accepted(&plane("a").new_one().build()).unwrap_err();
        assert_eq!(unserved.reason, reasons::WAITING_FOR_PLANE);
    }

    #[test]
    fn every_namespace_is_allowed_where_none_is_named() {
        assert_eq!(allowed(None, "shop", &[]), Ok(()));
    }

    #[test]
    fn namespaces_are_allowed_by_name() {
        let names = AllowedNamespaces { names: vec!["shop".into()], selector: None };
        assert_eq!(allowed(Some(names.clone()), "shop", &[]), Ok(()));
        assert_eq!(
            allowed(Some(names), "shop2", &[]).map_err(|u| u.reason),
            Err(reasons::NAMESPACE_NOT_ALLOWED)
        );
    }

    #[test]
    fn namespaces_are_allowed_by_label() {
        let prod = AllowedNamespaces { names: vec!["lab".into()], selector: Some(selector("stage", "prod")) };
        assert_eq!(allowed(Some(prod.clone()), "shop", &[("stage", "prod")]), Ok(()));
        assert_eq!(allowed(Some(prod.clone()), "lab", &[]), Ok(()));
        assert!(allowed(Some(prod), "shop", &[("stage", "dev")]).is_err());
    }

    #[test]
    fn an_empty_selector_selects_every_namespace_and_none_selects_no_further_one() {
        let every = AllowedNamespaces { names: vec![], selector: Some(Default::default()) };
        assert_eq!(allowed(Some(every), "shop", &[]), Ok(()));
        assert!(allowed(Some(AllowedNamespaces::default()), "shop", &[]).is_err());
    }

    #[test]
    fn an_invalid_selector_allows_nobody_and_is_named() {
        let invalid = AllowedNamespaces { names: vec![], selector: Some(invalid_selector()) };
        let unserved = allowed(Some(invalid), "shop", &[]).unwrap_err();
        assert!(unserved.message.contains("invalid"), "{}", unserved.message);
    }

    #[test]
    fn forwarding_has_namespaces_of_its_own() {
        let mut plane = plane("a").build();
        plane.spec.allowed_namespaces =
            Some(AllowedNamespaces { names: vec!["shop".into()], selector: None });
        assert_eq!(forwarding_is_allowed(&plane, "lab", &BTreeMap::new()), Ok(()));
        plane.spec.port_forwarding.allowed_namespaces =
            Some(AllowedNamespaces { names: vec!["edge".into()], selector: Some(selector("stage", "prod")) });
        assert_eq!(forwarding_is_allowed(&plane, "edge", &BTreeMap::new()), Ok(()));
        let prod = [("stage".to_owned(), "prod".to_owned())].into();
        assert_eq!(forwarding_is_allowed(&plane, "shop", &prod), Ok(()));
        let why = forwarding_is_allowed(&plane, "shop", &BTreeMap::new()).unwrap_err();
        assert!(why.contains("portForwarding.allowedNamespaces neither name nor select it"), "{why}");
    }

    #[test]
    fn without_limits_there_is_always_room() {
        assert_eq!(room(limits(None, None), &["a"; 1000], &[], "a/1"), Ok(()));
    }

    #[test]
    fn the_limit_of_the_plane_counts_all_claims() {
        assert_eq!(room(limits(Some(3), None), &["a", "b"], &[], "a/1"), Ok(()));
        let full = room(limits(Some(2), None), &["a", "b"], &[], "a/1").unwrap_err();
        assert_eq!(full.reason, reasons::LIMIT_REACHED);
        assert!(full.message.contains("limits.addresses "), "{}", full.message);
    }

    #[test]
    fn the_limit_of_a_namespace_counts_its_own_claims() {
        assert_eq!(room(limits(None, Some(1)), &["b", "b"], &[], "a/1"), Ok(()));
        let full = room(limits(None, Some(2)), &["b", "b"], &[], "b/1").unwrap_err();
        assert!(full.message.contains("limits.addressesPerNamespace"), "{}", full.message);
    }

    #[test]
    fn the_longest_waiting_gets_the_free_address() {
        let waiting = ["a/2", "a/1", "b/3"];
        assert_eq!(room(limits(Some(2), None), &["a"], &waiting, "a/1"), Ok(()));
        assert!(room(limits(Some(2), None), &["a"], &waiting, "a/2").is_err());
        assert_eq!(room(limits(Some(3), None), &["a"], &waiting, "a/2"), Ok(()));
        assert!(room(limits(Some(3), None), &["a"], &waiting, "b/3").is_err());
    }

    #[test]
    fn of_services_of_one_second_the_first_name_gets_the_address() {
        let waiting = ["a/1 api", "a/1 web", "b/1 api"];
        assert_eq!(room(limits(Some(1), None), &[], &waiting, "a/1 api"), Ok(()));
        assert!(room(limits(Some(2), None), &[], &waiting, "b/1 api").is_err());
        assert_eq!(room(limits(Some(2), None), &[], &waiting, "a/1 web"), Ok(()));
    }

    #[test]
    fn claims_that_others_made_use_up_no_limit() {
        let genuine = claim("web");
        let mut foreign = claim("api");
        foreign.metadata.namespace = Some("tenant".into());
        let mut of_other_plane = claim("db");
        of_other_plane.spec.plane = "b".into();
        of_other_plane.metadata.namespace = Some("foghorn-b".into());
        let claimants = Claimants::of("a", [&genuine, &foreign, &of_other_plane]);
        let key = |name: &str| ("shop".to_owned(), name.to_owned());
        assert_eq!(claimants.of_plane, [("shop.web.ipv4".to_owned(), key("web"))].into());
        assert_eq!(claimants.all, [key("web"), key("db")].into());
    }

    #[test]
    fn an_invalid_spec_says_what_is_wrong_with_it() {
        let mut plane = plane("a").build();
        assert_eq!(spec_is_valid(&plane), Ok(()));
        plane.spec.allowed_subnets = vec!["203.0.113.0/33".into()];
        let unserved = spec_is_valid(&plane).unwrap_err();
        assert_eq!(unserved.reason, reasons::PLANE_NOT_ACCEPTED);
        assert!(
            unserved.message.contains("InvalidAllowedSubnet: allowedSubnets has"),
            "{}",
            unserved.message
        );
    }

    #[test]
    fn one_that_its_namespace_keeps_waiting_holds_nobody_else_up() {
        let waiting = ["a/1", "a/2", "b/3"];
        assert_eq!(room(limits(Some(2), Some(1)), &["a"], &waiting, "b/3"), Ok(()));
    }

    #[test]
    fn a_limit_of_zero_gives_nobody_an_address() {
        assert!(room(limits(Some(0), None), &[], &[], "a/1").is_err());
        assert!(room(limits(None, Some(0)), &[], &[], "a/1").is_err());
    }

    fn allowed(
        namespaces: Option<AllowedNamespaces>,
        namespace: &str,
        labels: &[(&str, &str)],
    ) -> Result<(), Unserved> {
        let mut plane = plane("a").build();
        plane.spec.allowed_namespaces = namespaces;
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        namespace_is_allowed(&plane, namespace, &labels)
    }

    /// `waiting` and `me` are written as `namespace/second of creation`, with a name after it where two have one second.
    fn room(limits: Limits, held: &[&str], waiting: &[&str], me: &str) -> Result<(), Unserved> {
        let mut plane = plane("a").build();
        plane.spec.limits = limits;
        let one = |text: &str| {
            let (namespace, rest) = text.split_once('/').unwrap();
            let (second, name) = rest.split_once(' ').unwrap_or((rest, rest));
            let since = Timestamp::from_second(second.parse().unwrap()).ok();
            Waiting { since, service: (namespace.into(), name.into()) }
        };
        let service = one(me).service;
        let waiting = waiting.iter().copied().chain([me]).map(one).collect();
        is_within_limits(&plane, held.iter().copied(), waiting, &service)
    }

    fn limits(addresses: Option<u32>, addresses_per_namespace: Option<u32>) -> Limits {
        Limits { addresses, addresses_per_namespace }
    }
}
