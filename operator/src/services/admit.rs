//! Whether a plane takes a Service on.

use std::collections::BTreeMap;

use foghorn_crds::{AllowedNamespaces, NetworkPlane, conditions};
use kube::{
    ResourceExt,
    core::{Selector, SelectorExt},
};

use super::reasons::{self, Unserved};
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
}
