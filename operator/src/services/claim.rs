//! The claim that a Service's address is asked with.

use foghorn_crds::{
    AddressClaim, AddressClaimSpec, AddressFamily, AddressSource, ClaimPort, DhcpRequest, NetworkPlane,
    ServiceReference, contract,
};
use k8s_openapi::api::core::v1::Service;
use kube::{ResourceExt, core::ObjectMeta};

/// The longest label of a host name (RFC 1035, 2.3.4).
const LABEL_MAX: usize = 63;

/// The claim that `service` should have on `plane`.
pub(crate) fn desired(service: &Service, plane: &NetworkPlane) -> AddressClaim {
    let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
    let plane_name = plane.name_any();
    let labels = [
        (contract::PLANE_LABEL, &plane_name),
        (contract::SERVICE_NAMESPACE_LABEL, &namespace),
        (contract::SERVICE_NAME_LABEL, &name),
    ];
    let metadata = ObjectMeta {
        name: Some(contract::claim_name(&namespace, &name, AddressFamily::IPv4)),
        namespace: Some(contract::plane_namespace(&plane_name)),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.clone())).into()),
        finalizers: Some(vec![contract::CLAIM_FINALIZER.to_owned()]),
        ..ObjectMeta::default()
    };
    let spec = AddressClaimSpec {
        dhcp: DhcpRequest { hostname: Some(hostname(&name, &namespace)), ..DhcpRequest::default() },
        plane: plane_name,
        service_ref: ServiceReference { namespace, name, uid: service.uid().unwrap_or_default() },
        family: AddressFamily::IPv4,
        source: AddressSource::Dhcp,
        ports: ports(service),
    };
    AddressClaim { metadata, spec, status: None }
}

/// `present` with all that `desired` says, or nothing if it says all that already. Labels and finalizers of others
/// stay; so does the resource version, so that nothing newer is overwritten.
pub(crate) fn corrected(present: &AddressClaim, desired: &AddressClaim) -> Option<AddressClaim> {
    let mut corrected = present.clone();
    corrected.spec = desired.spec.clone();
    corrected.labels_mut().extend(desired.labels().clone());
    for finalizer in desired.finalizers() {
        if !corrected.finalizers().contains(finalizer) {
            corrected.finalizers_mut().push(finalizer.clone());
        }
    }
    (corrected != *present).then_some(corrected)
}

/// Whether the claim is one that the operator made: in the namespace of its plane, with the name of its Service.
/// Others count for nothing, whoever made them.
pub(crate) fn is_genuine(claim: &AddressClaim) -> bool {
    let service = &claim.spec.service_ref;
    claim.namespace() == Some(contract::plane_namespace(&claim.spec.plane))
        && claim.name_any() == contract::claim_name(&service.namespace, &service.name, claim.spec.family)
}

/// `<service>-<namespace>`, cut to one label. Both names are of letters, digits and hyphens (RFC 1123 labels).
fn hostname(name: &str, namespace: &str) -> String {
    let whole = format!("{name}-{namespace}");
    whole.chars().take(LABEL_MAX).collect::<String>().trim_end_matches('-').to_owned()
}

fn ports(service: &Service) -> Vec<ClaimPort> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    ports
        .iter()
        .map(|port| ClaimPort {
            name: port.name.clone(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            port: port.port,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures::*, *};

    #[test]
    fn a_claim_is_named_after_its_service_and_lives_with_its_plane() {
        let claim = desired(&service("web").build(), &plane("a").build());
        assert_eq!(claim.name_any(), "shop.web.ipv4");
        assert_eq!(claim.namespace().as_deref(), Some("foghorn-a"));
        assert_eq!(claim.finalizers(), [contract::CLAIM_FINALIZER]);
        assert_eq!(claim.labels()[contract::SERVICE_NAMESPACE_LABEL], "shop");
        assert_eq!(claim.labels()[contract::SERVICE_NAME_LABEL], "web");
        assert_eq!(claim.labels()[contract::PLANE_LABEL], "a");
        assert_eq!(claim.spec.service_ref.uid, "uid-web");
        assert!(is_genuine(&claim));
    }

    #[test]
    fn a_claim_names_the_ports_of_its_service() {
        let claim = desired(&service("web").build(), &plane("a").build());
        assert_eq!(
            claim.spec.ports,
            [ClaimPort { name: Some("http".into()), protocol: "TCP".into(), port: 80 }]
        );
    }

    #[test]
    fn the_host_name_is_sent_only_where_the_plane_says_so() {
        let plane = plane("a").build();
        assert_eq!(desired(&service("web").build(), &plane).spec.dhcp.hostname.as_deref(), Some("web-shop"));
    }

    #[test]
    fn a_host_name_is_one_label() {
        assert_eq!(hostname(&"a".repeat(63), "shop"), "a".repeat(63));
        assert_eq!(hostname(&"a".repeat(62), "shop"), "a".repeat(62));
        assert_eq!(hostname(&"a".repeat(60), "shop"), format!("{}-sh", "a".repeat(60)));
    }

    #[test]
    fn a_claim_that_is_right_is_not_written() {
        let wanted = desired(&service("web").build(), &plane("a").build());
        assert_eq!(corrected(&wanted, &wanted), None);
    }

    #[test]
    fn a_claim_is_corrected_and_keeps_what_others_added() {
        let wanted = desired(&service("web").build(), &plane("a").build());
        let mut present = wanted.clone();
        present.metadata.resource_version = Some("7".into());
        present.metadata.finalizers = Some(vec!["example.com/other".into()]);
        present.labels_mut().insert("team".into(), "x".into());
        present.labels_mut().remove(contract::PLANE_LABEL);
        present.spec.ports.clear();
        let corrected = corrected(&present, &wanted).unwrap();
        assert_eq!(corrected.spec, wanted.spec);
        assert_eq!(corrected.finalizers(), ["example.com/other", contract::CLAIM_FINALIZER]);
        assert_eq!(corrected.labels()["team"], "x");
        assert_eq!(corrected.labels()[contract::PLANE_LABEL], "a");
        assert_eq!(corrected.metadata.resource_version.as_deref(), Some("7"));
    }

    #[test]
    fn a_claim_in_another_place_or_of_another_name_is_not_genuine() {
        let wanted = desired(&service("web").build(), &plane("a").build());
        let mut elsewhere = wanted.clone();
        elsewhere.metadata.namespace = Some("foghorn-b".into());
        assert!(!is_genuine(&elsewhere));
        let mut renamed = wanted;
        renamed.metadata.name = Some("shop.other.ipv4".into());
        assert!(!is_genuine(&renamed));
    }
}
