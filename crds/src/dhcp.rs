//! What a plane and a claim say about DHCP.

use std::{collections::BTreeMap, net::Ipv4Addr};

use ipnet::Ipv4Net;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// How addresses are asked of the network's DHCP server.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct DhcpSpec {
    /// Who a Service is to the server and to the switches on the way.
    pub identity: IdentityMode,
    /// What Services' identities are derived from in place of the UID of the namespace `kube-system`. For a copy of a cluster on
    /// the same network, which must not take the leases of the original. A change gives every Service without a MAC address of
    /// its own another identity, and mostly another address; the former leases are not released. Empty: the UID.
    #[schemars(length(max = 63))]
    pub identity_seed: String,
    /// What a node does with a lease that it takes over from another one, besides announcing its address.
    pub takeover: TakeoverMode,
    /// The host name that the server is told for a Service (option 12). `{service}`, `{namespace}` and `{plane}` stand
    /// for their names; where one of several in a label has a hyphen, a tag keeps the names of different Services apart.
    /// Empty: none. A server's DNS may know no more of it than what is before the first dot.
    #[schemars(length(max = 253), regex(pattern = r"^([-A-Za-z0-9_.]|\{(service|namespace|plane)\})*$"))]
    pub hostname: String,
    /// The domain name that the server is told in place of the host name (option 81, RFC 4702), made in the same way. It
    /// is a whole name if it ends with a dot, else the server completes it. Empty: none.
    #[schemars(length(max = 253), regex(pattern = r"^([-A-Za-z0-9_.]|\{(service|namespace|plane)\})*$"))]
    pub fqdn: String,
    /// The vendor class identifier (option 60). Empty: none.
    #[schemars(length(max = 255))]
    pub vendor_class: String,
    /// The user classes (option 77, RFC 3004).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 255)))]
    pub user_classes: Vec<String>,
    /// Codes of options that the server is asked for (option 55) besides those that Foghorn needs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(range(min = 1, max = 254)))]
    pub parameters: Vec<u8>,
    /// Further options that the server is sent, in DISCOVER and REQUEST.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub options: Vec<DhcpOption>,
    /// Whether the server is asked to broadcast its answers, for networks that do not carry an answer to a hardware
    /// address they have not seen.
    pub broadcast: bool,
    /// Whether a server may lease an address in two messages instead of four (option 80, RFC 4039). Only where there is
    /// one server: others that know rapid commit lease an address in vain.
    pub rapid_commit: bool,
    /// How long offers are collected, in milliseconds, before the best one is taken: one of the address wished for, else
    /// one of the server that leased the last address, else the first. 0 takes the first offer.
    #[schemars(range(max = 10000))]
    pub offer_wait_milliseconds: u32,
    /// How many Services may be in an exchange for their first address at once.
    #[schemars(range(min = 1, max = 1000))]
    pub max_in_flight: u32,
    /// How many Services may begin an exchange in a second, a second's worth of them at once if `maxInFlight` allows.
    /// The same for confirmations after a take-over.
    #[schemars(range(min = 1, max = 10000))]
    pub max_per_second: u32,
    /// Exchanges that had to wait begin later by a random time of up to so many milliseconds.
    #[schemars(range(max = 60000))]
    pub start_jitter_milliseconds: u32,
}

impl Default for DhcpSpec {
    fn default() -> Self {
        Self {
            identity: IdentityMode::Auto,
            identity_seed: String::new(),
            takeover: TakeoverMode::Confirm,
            hostname: "{service}-{namespace}".to_owned(),
            fqdn: String::new(),
            vendor_class: String::new(),
            user_classes: Vec::new(),
            parameters: Vec::new(),
            options: Vec::new(),
            broadcast: false,
            rapid_commit: false,
            offer_wait_milliseconds: 0,
            max_in_flight: 20,
            max_per_second: 50,
            start_jitter_milliseconds: 200,
        }
    }
}

/// Who a Service is to the DHCP server and to the switches on the way.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityMode {
    /// `VirtualMac` where frames from foreign hardware addresses get through, else `VirtualChaddr`; found out by trying.
    #[default]
    Auto,
    /// The Service's own hardware address, also as the source of the Ethernet frames.
    VirtualMac,
    /// The Service's own hardware address in the DHCP messages, the interface's on the Ethernet frames; answers by
    /// broadcast. For Wi-Fi, hypervisors and switches that refuse foreign sources.
    VirtualChaddr,
    /// The interface's hardware address in both; Services differ by their client identifiers only.
    NodeMac,
}

/// How a claim's DHCP frames are made: what came of [`IdentityMode`].
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdentityInUse {
    /// See [`IdentityMode::VirtualMac`].
    VirtualMac,
    /// See [`IdentityMode::VirtualChaddr`].
    VirtualChaddr,
    /// See [`IdentityMode::NodeMac`].
    NodeMac,
}

impl IdentityInUse {
    /// The word for it in status, logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::VirtualMac => "VirtualMac",
            Self::VirtualChaddr => "VirtualChaddr",
            Self::NodeMac => "NodeMac",
        }
    }
}

/// What a node does with a lease that it takes over, besides announcing its address at once.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TakeoverMode {
    /// Confirm it with the server (INIT-REBOOT). That also shows the switches where the hardware address is now.
    #[default]
    Confirm,
    /// Nothing before T1. With `NodeMac` as `Confirm`, since the lease has the former node's MAC address.
    Silent,
}

/// An option of a DHCP message: its code and, in exactly one of three ways, its value.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = (
        "[has(self.text), has(self.hex), has(self.addresses)].filter(x, x).size() == 1",
        "exactly one of text, hex and addresses must be given"
    ),
    validation = (
        "!(self.code in [12, 50, 52, 53, 54, 55, 57, 60, 61, 77, 80, 81, 82])",
        "this option is Foghorn's own business, or has a field of its own"
    )
)]
pub struct DhcpOption {
    /// The option's code.
    #[schemars(range(min = 1, max = 254))]
    pub code: u8,
    /// The value as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub text: Option<String>,
    /// The value as hexadecimal digits, two an octet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 510), regex(pattern = r"^([0-9A-Fa-f]{2})*$"))]
    pub hex: Option<String>,
    /// The value as IPv4 addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub addresses: Option<Vec<Ipv4Addr>>,
}

/// What a Service's annotations may change of how its address is asked for.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct OverridesSpec {
    /// The annotations that count. Others are passed over, and the Service's condition says so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub allow: Vec<Override>,
    /// Hardware addresses that an annotation may name although they are not locally administered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(regex(pattern = r"^[0-9A-Fa-f][02468ACEace]:([0-9A-Fa-f]{2}:){4}[0-9A-Fa-f]{2}$"))
    )]
    pub hardware_addresses: Vec<String>,
}

/// What an annotation may say.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Override {
    /// `foghorn.dev/hardware-address`, or `kube-vip.io/hwaddr`.
    HardwareAddress,
    /// `foghorn.dev/client-id`.
    ClientId,
    /// `foghorn.dev/hostname`, or `kube-vip.io/loadbalancerHostname`.
    Hostname,
    /// `foghorn.dev/requested-address`, or `kube-vip.io/requestedIP`.
    RequestedAddress,
}

impl Override {
    /// The word for it in `overrides.allow`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HardwareAddress => "HardwareAddress",
            Self::ClientId => "ClientId",
            Self::Hostname => "Hostname",
            Self::RequestedAddress => "RequestedAddress",
        }
    }
}

/// How one claim's address is asked of the DHCP server.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct DhcpRequest {
    /// The host name that the server is told (option 12), if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub hostname: Option<String>,
    /// The domain name that the server is told in its place (option 81), if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub fqdn: Option<String>,
    /// A hardware address in place of the derived one, as `02:00:5e:10:00:01`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$"))]
    pub hardware_address: Option<String>,
    /// A client identifier in place of the derived one, type byte included, as hexadecimal digits. Not given beside a
    /// hardware address: that of an ordinary client, 01 and the hardware address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 4, max = 510), regex(pattern = r"^([0-9a-f]{2})*$"))]
    pub client_id: Option<String>,
    /// The address that the server is asked for before it is known to have leased one (option 50).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_address: Option<Ipv4Addr>,
}

impl DhcpRequest {
    /// The client identifier that takes the place of the derived one, if any. A MAC address that is given alone is meant for
    /// a client like any other that has it: type 1 (Ethernet) and the address (RFC 2132, 9.14).
    #[must_use]
    pub fn client_id_in_effect(&self) -> Option<String> {
        let of_mac = || Some(format!("01{}", self.hardware_address.as_ref()?.replace(':', "")));
        self.client_id.clone().or_else(of_mac)
    }
}

/// Where a claim's DHCP client stands, as its present holder knows it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimDhcp {
    /// The state by its name in RFC 2131, such as `RENEWING`.
    pub state: String,
    /// Messages that this holder has sent, by type.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sent: BTreeMap<String, u64>,
    /// Answers that it has used, by type.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub received: BTreeMap<String, u64>,
    /// Answers that it has not used: late, foreign, or without what they must have.
    pub ignored: u64,
}

/// A route of the network (option 121, RFC 3442).
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClaimRoute {
    /// The network, in CIDR form; 0.0.0.0/0 is the default route.
    #[schemars(with = "String", regex(pattern = schema::IPV4_CIDR))]
    pub destination: Ipv4Net,
    /// The router to it; 0.0.0.0 is the link itself.
    pub gateway: Ipv4Addr,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_alone_is_that_of_an_ordinary_client() {
        let given = |mac: Option<&str>, id: Option<&str>| DhcpRequest {
            hardware_address: mac.map(Into::into),
            client_id: id.map(Into::into),
            ..DhcpRequest::default()
        };
        let mac = Some("02:00:5e:10:00:01");
        assert_eq!(given(mac, None).client_id_in_effect().as_deref(), Some("0102005e100001"));
        assert_eq!(given(mac, Some("ff01")).client_id_in_effect().as_deref(), Some("ff01"));
        assert_eq!(given(None, Some("ff01")).client_id_in_effect().as_deref(), Some("ff01"));
        assert_eq!(given(None, None).client_id_in_effect(), None);
    }
}
