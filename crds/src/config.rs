//! What an announcer needs to know of its plane.
//!
//! An announcer has rights in its plane's namespace only, so it cannot read the cluster-scoped `NetworkPlane`. The
//! operator projects it, with what it knows of the cluster, into a ConfigMap of that namespace.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::ConfigMap;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    contract,
    datapath::{GuardMode, ReturnPath},
    dhcp::DhcpSpec,
    failover::{ApiOutage, FailureDetection, NodePreference, PlacementMode},
    host_address::HostAddressSpec,
    plane::{AnnounceSpec, InterfaceSelector},
    port_forwarding::PortForwarding,
};

/// The configuration of one plane's announcers.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PlaneConfig {
    /// The plane's name.
    pub plane: String,
    /// UID of the namespace `kube-system`: tells this cluster from others on the same network.
    pub cluster_id: String,
    /// The name of the plane's Lease.
    pub lease_name: String,
    /// The plane's `spec.interface`.
    pub interface: InterfaceSelector,
    /// The plane's `spec.dhcp`.
    pub dhcp: DhcpSpec,
    /// The plane's `spec.overrides.hardwareAddresses`.
    #[serde(default)]
    pub allowed_hardware_addresses: Vec<String>,
    /// The plane's `spec.announce`.
    pub announce: AnnounceSpec,
    /// The plane's `spec.allowedSubnets`; empty allows every address.
    pub allowed_subnets: Vec<Ipv4Net>,
    /// Networks of the cluster itself, of which no Service may have an address.
    pub refused_networks: Vec<RefusedNetwork>,
    /// The plane's `spec.failureDetection`.
    #[serde(default)]
    pub failure_detection: FailureDetection,
    /// The plane's `spec.placement.mode`.
    #[serde(default)]
    pub placement: PlacementMode,
    /// The plane's `spec.apiOutage`.
    #[serde(default)]
    pub api_outage: Option<ApiOutage>,
    /// The plane's `spec.hostAddress`.
    #[serde(default)]
    pub host_address: HostAddressSpec,
    /// How replies leave by the plane's interface, if they are to.
    #[serde(default)]
    pub return_path: Option<ReturnPath>,
    /// What becomes of packets that are for no port of a Service.
    #[serde(default)]
    pub guard: GuardMode,
    /// How the gateway is asked to forward ports, if it is.
    #[serde(default)]
    pub port_forwarding: Option<PortForwarding>,
    /// The planes of the cluster that have something on the nodes' network: what is left of another one can be removed.
    #[serde(default)]
    pub planes: Vec<String>,
    /// The interfaces of the other planes: nothing of this one comes in by them.
    #[serde(default)]
    pub other_interfaces: Vec<InterfaceSelector>,
    /// What there is to say of the plane's nodes, by their names. Those that are not here are ordinary ones.
    #[serde(default)]
    pub nodes: BTreeMap<String, NodePreference>,
    /// The value of the plane's annotation [`contract::REBALANCE_ANNOTATION`], empty without one: a new value asks for one
    /// rebalancing.
    #[serde(default)]
    pub rebalance: String,
}

/// A network of the cluster itself, and whose it is.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct RefusedNetwork {
    /// The network; /32 for a single address.
    pub network: Ipv4Net,
    /// Whose it is, in words: `node w1`, `the Pods of node w1`, `the cluster's Services`.
    pub what: String,
    /// A Node object says so, which its kubelet writes: that keeps addresses from being taken, and takes none away.
    #[serde(default)]
    pub by_node: bool,
}

/// Why a ConfigMap is not a plane's configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The key is not there.
    #[error("ConfigMap {0} has no key {key}: the operator has not written it yet", key = contract::PLANE_CONFIG_KEY)]
    Missing(String),
    /// The value cannot be read.
    #[error("ConfigMap {name}, key {key}: {source}; are operator and announcer of the same release?", key = contract::PLANE_CONFIG_KEY)]
    Unreadable {
        /// The ConfigMap's name.
        name: String,
        /// What is wrong with the value.
        source: serde_json::Error,
    },
}

impl PlaneConfig {
    /// What the identities of the plane's Services are derived from.
    #[must_use]
    pub fn identity_seed(&self) -> &str {
        if self.dhcp.identity_seed.is_empty() { &self.cluster_id } else { &self.dhcp.identity_seed }
    }

    /// The data of the ConfigMap that carries this configuration.
    ///
    /// # Errors
    /// If the value cannot be written as JSON.
    pub fn to_data(&self) -> Result<BTreeMap<String, String>, serde_json::Error> {
        Ok(BTreeMap::from([(contract::PLANE_CONFIG_KEY.to_owned(), serde_json::to_string_pretty(self)?)]))
    }

    /// Reads the configuration out of its ConfigMap.
    ///
    /// # Errors
    /// [`ConfigError`], which says what is wrong with the ConfigMap.
    pub fn from_config_map(map: &ConfigMap) -> Result<Self, ConfigError> {
        let name = || map.metadata.name.clone().unwrap_or_default();
        let text = map.data.as_ref().and_then(|data| data.get(contract::PLANE_CONFIG_KEY));
        let text = text.ok_or_else(|| ConfigError::Missing(name()))?;
        serde_json::from_str(text).map_err(|source| ConfigError::Unreadable { name: name(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_of_an_earlier_release_is_read() {
        let text = r#"{"plane": "blue", "clusterId": "c", "leaseName": "foghorn-blue", "lease": {"durationSeconds": 5},
            "interface": {"name": "eth1"}, "dhcp": {}, "announce": {}, "allowedSubnets": [], "refusedNetworks": []}"#;
        let data = BTreeMap::from([(contract::PLANE_CONFIG_KEY.to_owned(), text.to_owned())]);
        let config = PlaneConfig::from_config_map(&ConfigMap { data: Some(data), ..ConfigMap::default() });
        let config = config.unwrap();
        assert_eq!(config.failure_detection, FailureDetection::default());
        assert_eq!((config.placement, config.api_outage), (PlacementMode::Spread, None));
        assert_eq!((config.nodes.len(), config.rebalance.as_str()), (0, ""));
    }
}
