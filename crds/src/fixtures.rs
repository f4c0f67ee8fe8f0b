//! Plain objects for tests: what a function does not name has its default. A test sets what it is about.

#![allow(clippy::expect_used, reason = "only tests call this")]

use std::net::Ipv4Addr;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    AddressClaim, AddressFamily, AddressSource, ClaimLease, DhcpRequest, NetworkPlane, PlaneConfig,
    claim::{AddressClaimSpec, ServiceReference},
};

/// The plane of [`config`] and of each [`claim`].
pub const PLANE: &str = "public";
/// The ID of the cluster in [`config`].
pub const CLUSTER: &str = "cluster";
/// The namespace of the Service of each [`claim`].
pub const NAMESPACE: &str = "default";

/// A new plane with a class, on the nodes' `eth1`.
#[must_use]
pub fn plane(name: &str, class: &str) -> NetworkPlane {
    let spec = read(json!({"loadBalancerClass": class, "interface": {"name": "eth1"}}));
    let mut plane = NetworkPlane::new(name, spec);
    plane.metadata.uid = Some(format!("uid-of-{name}"));
    plane.metadata.generation = Some(1);
    plane
}

/// The configuration of the announcers of [`PLANE`], on the nodes' `eth1`.
#[must_use]
pub fn config() -> PlaneConfig {
    read(json!({
        "plane": PLANE, "clusterId": CLUSTER, "leaseName": format!("foghorn-{PLANE}"), "interface": {"name": "eth1"},
        "dhcp": {}, "announce": {}, "allowedSubnets": [], "refusedNetworks": [],
    }))
}

/// The new claim of the Service `default/<service>` on [`PLANE`]. It has the Service's name; the DHCP server knows it as
/// `<service>-default`.
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
        dhcp: DhcpRequest { hostname: Some(format!("{service}-{NAMESPACE}")), ..DhcpRequest::default() },
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

/// An infinite lease of `address`, in a /24 network with a server and one router.
#[must_use]
pub fn lease(address: impl Into<Ipv4Addr>) -> ClaimLease {
    ClaimLease {
        address: address.into(),
        server: Ipv4Addr::new(203, 0, 113, 2),
        prefix_length: Some(24),
        routers: vec![Ipv4Addr::new(203, 0, 113, 1)],
        routes: Vec::new(),
        acquired_at: MicroTime(Timestamp::constant(1_767_225_600, 0)),
        renew_at: None,
        rebind_at: None,
        expires_at: None,
    }
}

fn read<T: DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).expect("the object is valid")
}
