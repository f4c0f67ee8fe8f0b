//! The plane of the tests, and who its claims are to DHCP servers.

use foghorn_crds::{
    PlaneConfig,
    fixtures::{self, CLUSTER, NAMESPACE, PLANE},
    hardware_address,
};
use foghorn_dhcp::{Family, Identity, Owner};

pub use foghorn_crds::fixtures::claim;

/// A plane on the nodes' `eth0`, as a new one is.
#[must_use]
pub fn config() -> PlaneConfig {
    let mut config = fixtures::config();
    config.interface.name = Some("eth0".to_owned());
    config
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
