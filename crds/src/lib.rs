//! The custom resources of Foghorn, and the contract that its operator and its announcers share.
//!
//! - [`NetworkPlane`]: a network on which Services get addresses, served by announcers of its own.
//! - [`AddressClaim`]: what one Service asks of one plane, and all that came of it.
//! - [`PlaneConfig`]: what an announcer needs to know of its plane; the operator writes it, announcers read it.
//! - [`contract`]: names, labels, annotations and finalizers.
//! - [`policy`]: which addresses no Service may have, whoever gave them.

#![allow(clippy::duplicated_attributes, reason = "printer columns of one kind have attributes in common")]
#![allow(unreachable_pub, reason = "deriving a validated schema puts a copy of the type inside a function")]

pub mod claim;
pub mod conditions;
pub mod config;
pub mod contract;
pub mod datapath;
pub mod dhcp;
pub mod failover;
#[cfg(feature = "fixtures")]
pub mod fixtures;
pub mod hardware_address;
pub mod host_address;
pub mod plane;
pub mod policy;
pub mod port_forwarding;
mod schema;

pub use claim::{
    AddressClaim, AddressClaimSpec, AddressClaimStatus, AddressFamily, AddressSource, ClaimIdentity,
    ClaimLease, ClaimPort, ClaimState, ServiceReference,
};
pub use config::{PlaneConfig, RefusedNetwork};
pub use datapath::{GuardMode, GuardSpec, ReturnPath, ReturnPathMode, ReturnPathSpec};
pub use dhcp::{
    ClaimDhcp, ClaimRoute, DhcpOption, DhcpRequest, DhcpSpec, IdentityInUse, IdentityMode, Override,
    OverridesSpec, TakeoverMode,
};
pub use failover::{
    ApiOutage, DetectionMode, FailureDetection, NodePreference, PlacementMode, PlacementSpec, PreferredNodes,
};
pub use host_address::{HostAddressMode, HostAddressSpec};
pub use plane::{
    AllowedNamespaces, AnnounceSpec, InterfaceSelector, LeaseSpec, Limits, NetworkPlane, NetworkPlaneSpec,
    NetworkPlaneStatus, OnConflict, PlanePorts, ProbeMode,
};
pub use policy::Refusal;
pub use port_forwarding::{
    ClaimForward, ClaimForwarding, ExternalAddressUse, ForwardProtocol, ForwardStatus, GatewayProtocol,
    LeaseSeconds, PortForwarding, PortForwardingMode, PortForwardingSpec, PortRange, PortRangeError,
    WhenTaken,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResourceExt, ResourceExt};

/// The two definitions as they are installed, marked with the version of their schema.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    [NetworkPlane::crd(), AddressClaim::crd()]
        .into_iter()
        .map(|mut definition| {
            schema::tighten(&mut definition);
            definition
                .annotations_mut()
                .insert(contract::SCHEMA_VERSION_ANNOTATION.to_owned(), contract::SCHEMA_VERSION.to_string());
            definition
        })
        .collect()
}
