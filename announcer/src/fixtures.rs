//! What the tests of several modules need.

use foghorn_crds::{
    AddressClaim, AddressClaimSpec, AddressFamily, AddressSource, DhcpRequest, ServiceReference,
};

/// A claim of that name, as it is made, before the API server has seen it.
pub(crate) fn claim(name: &str) -> AddressClaim {
    let service_ref =
        ServiceReference { namespace: "default".into(), name: "web".into(), uid: "service".into() };
    let spec = AddressClaimSpec {
        plane: "public".into(),
        service_ref,
        family: AddressFamily::IPv4,
        source: AddressSource::Dhcp,
        dhcp: DhcpRequest::default(),
        ports: Vec::new(),
        serving_nodes: None,
        source_ranges: None,
        forwarding: None,
    };
    AddressClaim::new(name, spec)
}
