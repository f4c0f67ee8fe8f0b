//! What tenants write into their Services, at random: nothing of it ends the operator or gets into a claim that the API
//! server would refuse.

use foghorn_crds::{DhcpRequest, NetworkPlane, Override, contract, hardware_address};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Service;
use proptest::prelude::*;

use super::{claim, fixtures::*, overrides};

const ANNOTATIONS: [&str; 8] = [
    contract::HARDWARE_ADDRESS_ANNOTATION,
    contract::KUBE_VIP_HARDWARE_ADDRESS_ANNOTATION,
    contract::CLIENT_ID_ANNOTATION,
    contract::HOSTNAME_ANNOTATION,
    contract::KUBE_VIP_HOSTNAME_ANNOTATION,
    contract::REQUESTED_ADDRESS_ANNOTATION,
    contract::KUBE_VIP_REQUESTED_ADDRESS_ANNOTATION,
    "service.beta.kubernetes.io/load-balancer-source-ranges",
];

proptest! {
    #[test]
    fn whatever_is_annotated_the_claim_is_one_that_can_be_written(
        values in prop::collection::vec(value(), ANNOTATIONS.len()),
        templates in (template(), template()),
        ranges in prop::option::of(prop::collection::vec(value(), 0..4)),
    ) {
        let plane = open_plane(templates);
        let mut service = service("web");
        for (key, value) in ANNOTATIONS.into_iter().zip(&values) {
            service = service.annotated(key, value);
        }
        let mut service: Service = service.build();
        if let Some(spec) = &mut service.spec {
            spec.load_balancer_source_ranges = ranges;
        }
        let request = match overrides::of(&service, &plane) {
            Ok(overrides) => overrides.request,
            Err(unserved) => {
                prop_assert!(unserved.message.len() < 4096, "{}", unserved.message.len());
                DhcpRequest::default()
            }
        };
        let claim = claim::desired(&service, &plane, &request, None, None);
        is_in_the_schema(&claim.spec.dhcp)?;
        for range in claim.spec.source_ranges.iter().flatten() {
            let network: Ipv4Net = range.parse().unwrap();
            prop_assert_eq!(network, network.trunc());
        }
    }
}

/// As the definition of the claim has it.
fn is_in_the_schema(dhcp: &DhcpRequest) -> Result<(), TestCaseError> {
    for name in [&dhcp.hostname, &dhcp.fqdn].into_iter().flatten() {
        prop_assert!(name.chars().count() <= 253, "{}", name);
    }
    if let Some(mac) = &dhcp.hardware_address {
        let read = hardware_address::parse(mac).map(hardware_address::format).ok();
        prop_assert_eq!(read.as_ref(), Some(mac));
    }
    for id in [&dhcp.client_id, &dhcp.client_id_in_effect()].into_iter().flatten() {
        prop_assert!((4..=510).contains(&id.len()) && id.len().is_multiple_of(2), "{}", id);
        prop_assert!(
            id.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit)),
            "{}",
            id
        );
    }
    Ok(())
}

/// A plane on which every annotation counts.
fn open_plane((hostname, fqdn): (String, String)) -> NetworkPlane {
    let mut plane = plane("a").build();
    plane.spec.overrides.allow =
        vec![Override::HardwareAddress, Override::ClientId, Override::Hostname, Override::RequestedAddress];
    (plane.spec.dhcp.hostname, plane.spec.dhcp.fqdn) = (hostname, fqdn);
    plane
}

/// Nearly right, of the right letters, or anything.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "([0-9a-fA-F]{2}[:-]?){0,8}",
        "[ ]?([0-9]{1,3}\\.){3}[0-9]{1,3}(/[0-9]{1,2})?[ ]?",
        "([0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,2})?[, ]?){0,4}",
        "[-a-z0-9._]{0,300}",
        "[0-9a-f:]{500,1100}",
        any::<String>(),
    ]
}

/// As the definition of the plane allows it.
fn template() -> impl Strategy<Value = String> {
    let part = prop_oneof!["[-A-Za-z0-9_.]{1,9}", "\\{(service|namespace|plane)\\}"];
    prop::collection::vec(part, 0..14).prop_map(|parts| parts.concat())
}
