//! The claim that a Service's address is asked with.

use foghorn_crds::{
    AddressClaim, AddressClaimSpec, AddressFamily, AddressSource, ClaimForwarding, DhcpRequest, NetworkPlane,
    ServiceReference, contract,
};
use k8s_openapi::api::core::v1::Service;
use kube::{ResourceExt, core::ObjectMeta};

use super::{names::Names, reach::Reach};

/// The claim that `service` should have on `plane`, with what its annotations ask in place of what the plane says. Only
/// `serving` nodes may have its address, if given. The gateway is asked for `forwarding`.
pub(crate) fn desired(
    service: &Service,
    plane: &NetworkPlane,
    overrides: &DhcpRequest,
    serving: Option<Vec<String>>,
    forwarding: Option<ClaimForwarding>,
) -> AddressClaim {
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
    let reach = Reach::of(service);
    let spec = AddressClaimSpec {
        dhcp: dhcp(plane, &namespace, &name, overrides),
        plane: plane_name,
        service_ref: ServiceReference { namespace, name, uid: service.uid().unwrap_or_default() },
        family: AddressFamily::IPv4,
        source: AddressSource::Dhcp,
        ports: reach.ports,
        serving_nodes: serving,
        source_ranges: reach.sources,
        forwarding,
    };
    AddressClaim { metadata, spec, status: None }
}

/// `present` with what only the Service says. What the plane says of it stays, while the plane's spec cannot be used.
pub(crate) fn held(
    present: &AddressClaim,
    service: &Service,
    serving: Option<Vec<String>>,
    forwarding: Option<ClaimForwarding>,
) -> AddressClaim {
    let reach = Reach::of(service);
    let spec = AddressClaimSpec {
        ports: reach.ports,
        serving_nodes: serving,
        source_ranges: reach.sources,
        forwarding,
        ..present.spec.clone()
    };
    AddressClaim { spec, ..present.clone() }
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

/// Whether the claim is known to the DHCP server as `overrides` want it. That never changes while a claim lives: the
/// server would have two clients, and the former one's lease.
pub(crate) fn has_identity(claim: &AddressClaim, overrides: &DhcpRequest) -> bool {
    let own = &claim.spec.dhcp;
    own.hardware_address == overrides.hardware_address
        && own.client_id_in_effect() == overrides.client_id_in_effect()
}

/// Whether the claim is one that the operator made: in the namespace of its plane, with the name of its Service.
/// Others count for nothing, whoever made them.
pub(crate) fn is_genuine(claim: &AddressClaim) -> bool {
    let service = &claim.spec.service_ref;
    claim.namespace() == Some(contract::plane_namespace(&claim.spec.plane))
        && claim.name_any() == contract::claim_name(&service.namespace, &service.name, claim.spec.family)
}

/// The overrides, and the plane's names where they have none. A host name of the Service's own is also the domain name,
/// on a plane that tells the server one. The client replaces what is in no name, and the end of a label that is too long.
fn dhcp(plane: &NetworkPlane, namespace: &str, service: &str, overrides: &DhcpRequest) -> DhcpRequest {
    let templates = &plane.spec.dhcp;
    let plane = plane.name_any();
    let names = Names { plane: &plane, namespace, service };
    let named = |template: &str| {
        let own = overrides.hostname.clone();
        (!template.is_empty()).then(|| own.unwrap_or_else(|| names.fill(template)))
    };
    DhcpRequest {
        hostname: overrides.hostname.clone().or_else(|| named(&templates.hostname)),
        fqdn: named(&templates.fqdn),
        ..overrides.clone()
    }
}

#[cfg(test)]
mod tests {
    use foghorn_crds::{ClaimForward, ClaimPort, ForwardProtocol, LeaseSeconds};

    use super::{super::fixtures::*, *};

    #[test]
    fn a_claim_is_named_after_its_service_and_lives_with_its_plane() {
        let claim = wanted();
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
        let claim = wanted();
        assert_eq!(
            claim.spec.ports,
            [ClaimPort { name: Some("http".into()), protocol: "TCP".into(), port: 80 }]
        );
    }

    #[test]
    fn without_a_word_of_the_plane_the_host_name_is_made_of_service_and_namespace() {
        let dhcp = claim("web").spec.dhcp;
        assert_eq!(dhcp, DhcpRequest { hostname: Some("web-shop".into()), ..DhcpRequest::default() });
    }

    #[test]
    fn names_are_made_as_the_plane_says() {
        let dhcp = named("{plane}.{service}", "{service}.{namespace}.example.", None);
        assert_eq!(dhcp.hostname.as_deref(), Some("a.web"));
        assert_eq!(dhcp.fqdn.as_deref(), Some("web.shop.example."));
        assert_eq!(named("", "", None), DhcpRequest::default());
    }

    #[test]
    fn a_host_name_of_the_service_s_own_counts_before_the_plane_s_names() {
        let dhcp = named("", "{service}.example.", Some("www.shop.example."));
        assert_eq!(dhcp.hostname.as_deref(), Some("www.shop.example."));
        assert_eq!(dhcp.fqdn.as_deref(), Some("www.shop.example."));
        let dhcp = named("{service}", "", Some("www"));
        assert_eq!((dhcp.hostname.as_deref(), dhcp.fqdn), (Some("www"), None));
    }

    #[test]
    fn a_name_is_never_longer_than_a_claim_can_have_it() {
        let dhcp = named(&"{service}-{namespace}.".repeat(11), &"{namespace}.".repeat(100), None);
        assert_eq!(dhcp.hostname, Some("web-shop.".repeat(11)));
        assert_eq!(dhcp.fqdn.map(|name| name.len()), Some(253));
    }

    #[test]
    fn a_claim_that_the_server_knows_otherwise_is_not_the_one_that_is_wanted() {
        let claim = claim("web");
        assert!(has_identity(&claim, &DhcpRequest::default()));
        let named = DhcpRequest { hostname: Some("www".into()), ..DhcpRequest::default() };
        assert!(has_identity(&claim, &named));
        let address =
            DhcpRequest { hardware_address: Some("02:00:5e:10:00:01".into()), ..DhcpRequest::default() };
        assert!(!has_identity(&claim, &address));
        let id = DhcpRequest { client_id: Some("0102".into()), ..DhcpRequest::default() };
        assert!(!has_identity(&claim, &id));
        let same = DhcpRequest { client_id: Some("0102005e100001".into()), ..address.clone() };
        let mut claim = claim;
        claim.spec.dhcp = address;
        assert!(has_identity(&claim, &same));
    }

    #[test]
    fn a_claim_that_is_right_is_not_written() {
        let wanted = wanted();
        assert_eq!(corrected(&wanted, &wanted), None);
    }

    #[test]
    fn a_claim_is_corrected_and_keeps_what_others_added() {
        let wanted = wanted();
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
    fn a_claim_is_written_only_when_other_nodes_serve_its_service() {
        let present = served_by(Some(&["w1", "w2"]));
        assert_eq!(corrected(&present, &served_by(Some(&["w1", "w2"]))), None);
        let moved = corrected(&present, &served_by(Some(&[]))).unwrap();
        assert_eq!(moved.spec.serving_nodes, Some(Vec::new()));
        assert_eq!(corrected(&present, &wanted()).unwrap().spec.serving_nodes, None);
    }

    #[test]
    fn a_held_claim_follows_its_service_and_keeps_the_planes_word() {
        let mut present = wanted();
        present.spec.dhcp.hostname = Some("as-it-was".into());
        let web = service("web").ports(&[("https", 443, "TCP")]).build();
        let held = held(&present, &web, Some(vec!["w1".into()]), None);
        assert_eq!((held.spec.ports[0].port, held.spec.serving_nodes), (443, Some(vec!["w1".into()])));
        assert_eq!(held.spec.dhcp, present.spec.dhcp);
        assert_eq!(held.metadata, present.metadata);
    }

    #[test]
    fn a_claim_is_written_when_other_ports_are_to_be_forwarded() {
        let forwarding = |external_port| {
            let port = ClaimForward { protocol: ForwardProtocol::Tcp, port: 80, external_port };
            let mut claim = wanted();
            claim.spec.forwarding =
                Some(ClaimForwarding { lease: LeaseSeconds::default(), ports: vec![port] });
            claim
        };
        assert_eq!(corrected(&forwarding(8080), &forwarding(8080)), None);
        assert_eq!(corrected(&wanted(), &forwarding(8080)).unwrap().spec, forwarding(8080).spec);
        assert_eq!(corrected(&forwarding(8080), &forwarding(8081)).unwrap().spec, forwarding(8081).spec);
        assert_eq!(corrected(&forwarding(8080), &wanted()).unwrap().spec.forwarding, None);
    }

    #[test]
    fn a_claim_in_another_place_or_of_another_name_is_not_genuine() {
        let wanted = wanted();
        let mut elsewhere = wanted.clone();
        elsewhere.metadata.namespace = Some("foghorn-b".into());
        assert!(!is_genuine(&elsewhere));
        let mut renamed = wanted;
        renamed.metadata.name = Some("shop.other.ipv4".into());
        assert!(!is_genuine(&renamed));
    }

    /// The claim of `shop/web`, which these nodes serve, or all.
    fn served_by(nodes: Option<&[&str]>) -> AddressClaim {
        let nodes = nodes.map(|nodes| nodes.iter().map(|&node| node.to_owned()).collect());
        desired(&service("web").build(), &plane("a").build(), &DhcpRequest::default(), nodes, None)
    }

    fn wanted() -> AddressClaim {
        served_by(None)
    }

    /// Of `shop/web` on plane `a`, with these templates and this host name of its own.
    fn named(hostname: &str, fqdn: &str, own: Option<&str>) -> DhcpRequest {
        let mut plane = plane("a").build();
        (plane.spec.dhcp.hostname, plane.spec.dhcp.fqdn) = (hostname.into(), fqdn.into());
        dhcp(&plane, "shop", "web", &DhcpRequest { hostname: own.map(Into::into), ..DhcpRequest::default() })
    }
}
