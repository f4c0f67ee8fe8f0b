//! The plane of the tests, and claims of it.

use std::collections::BTreeMap;

use foghorn_crds::{
    AddressClaim, AddressClaimSpec, AddressFamily, AddressSource, AnnounceSpec, DhcpRequest, DhcpSpec,
    FailureDetection, GuardMode, HostAddressSpec, InterfaceSelector, PlacementMode, PlaneConfig,
    ServiceReference, hardware_address,
};
use foghorn_dhcp::{Family, Identity, Owner};

const PLANE: &str = "public";
const CLUSTER: &str = "cluster";
const NAMESPACE: &str = "default";

/// A plane on the nodes' `eth0`, as a new one is.
#[must_use]
pub fn config() -> PlaneConfig {
    PlaneConfig {
        plane: PLANE.to_owned(),
        cluster_id: CLUSTER.to_owned(),
        lease_name: "foghorn-public".to_owned(),
        interface: InterfaceSelector { name: Some("eth0".to_owned()), ..InterfaceSelector::default() },
        dhcp: DhcpSpec::default(),
        allowed_hardware_addresses: Vec::new(),
        announce: AnnounceSpec::default(),
        allowed_subnets: Vec::new(),
        refused_networks: Vec::new(),
        failure_detection: FailureDetection::default(),
        placement: PlacementMode::default(),
        api_outage: None,
        host_address: HostAddressSpec::default(),
        return_path: None,
        guard: GuardMode::Off,
        port_forwarding: None,
        planes: Vec::new(),
        other_interfaces: Vec::new(),
        nodes: BTreeMap::new(),
        rebalance: String::new(),
    }
}

/// The claim of a Service, which the server knows as `<service>-default`.
#[must_use]
pub fn claim(service: &str) -> AddressClaim {
    let service_ref = ServiceReference {
        namespace: NAMESPACE.to_owned(),
        name: service.to_owned(),
        uid: format!("uid-of-service-{service}"),
    };
    let spec = AddressClaimSpec {
        plane: PLANE.to_owned(),
        service_ref,
        family: AddressFamily::IPv4,
        source: AddressSource::Dhcp,
        dhcp: DhcpRequest { hostname: Some(format!("{service}-default")), ..DhcpRequest::default() },
        ports: Vec::new(),
        serving_nodes: None,
        source_ranges: None,
        forwarding: None,
    };
    let mut claim = AddressClaim::new(service, spec);
    claim.metadata.uid = Some(format!("uid-of-claim-{service}"));
    claim.metadata.generation = Some(1);
    claim
}

/// Who the server takes the Service for.
fn identity(service: &str) -> Identity {
    Identity::derive(&Owner {
        cluster: CLUSTER,
        plane: PLANE,
        namespace: NAMESPACE,
        service,
        family: Family::V4,
    })
}

/// The Service's own hardware address, as people write it.
#[must_use]
pub fn virtual_mac(service: &str) -> String {
    hardware_address::format(identity(service).hardware_address)
}
