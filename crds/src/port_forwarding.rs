//! Ports of Services on the network's gateway.

use std::{fmt, net::Ipv4Addr, ops::RangeInclusive, str::FromStr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::plane::AllowedNamespaces;

/// The ports that no Service has to ask for by name: those above the well-known ones.
const UNPRIVILEGED: (u16, u16) = (1024, u16::MAX);

/// Whether ports of Services are forwarded by the network's gateway, so that they can be reached from behind it.
///
/// Requests to the gateway leave with the Service's address as their source. So, but with `Off`, the addresses of Services
/// whose ports are forwarded are on the interface as with `hostAddress.mode: Fenced`, `guard` is at least `Drop`, and
/// `returnPath` is `Auto`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PortForwardingSpec {
    /// Of which Services.
    pub mode: PortForwardingMode,
    /// The gateway that is asked. If not given it is `returnPath.gateway`, or the router that the DHCP leases name; nobody else is
    /// ever asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// How the gateway is spoken to, in order of preference; `UPnP`, `PCP`, `NATPMP` if empty. The first that it answers to
    /// is used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub protocols: Vec<GatewayProtocol>,
    /// For how long the gateway is asked to forward a port; renewed after half of it. 0 is without an end, which few gateways
    /// need: such a port stays open if nobody is left to close it. A Service can say otherwise.
    pub lease: LeaseSeconds,
    /// What is done if the gateway forwards the port already, to another host or another Service.
    pub when_taken: WhenTaken,
    /// The ports of the gateway that may be asked for, as `443` or `8000-8999`; 1024-65535 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 32),
        inner(length(max = 11), regex(pattern = r"^[0-9]{1,5}(-[0-9]{1,5})?$"))
    )]
    pub external_ports: Option<Vec<String>>,
    /// The namespaces whose Services may have ports forwarded; all that may have an address of the plane if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// What is told of the gateway's outer address, besides the claims' status.
    pub external_address: ExternalAddressUse,
}

/// For how long a gateway is asked to forward a port, in seconds.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(transparent)]
pub struct LeaseSeconds(#[schemars(range(max = 604_800))] pub u32);

impl Default for LeaseSeconds {
    fn default() -> Self {
        Self(3_600)
    }
}

impl LeaseSeconds {
    /// Below it a mapping would be renewed more often than gateways like; without an end is 0.
    pub const MIN: u32 = 120;
    /// A week: the most that IGD:2 has.
    pub const MAX: u32 = 604_800;

    /// Whether a gateway can be asked for it.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.0 == 0 || (Self::MIN..=Self::MAX).contains(&self.0)
    }
}

/// Of which Services ports are forwarded.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortForwardingMode {
    /// None.
    #[default]
    Off,
    /// Of those with the annotation `foghorn.dev/port-forward`.
    OptIn,
    /// Of all that do not have the annotation `foghorn.dev/port-forward: "false"`.
    All,
}

/// A protocol by which a gateway is asked to forward ports.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GatewayProtocol {
    /// UPnP Internet Gateway Device, version 1 or 2.
    UPnP,
    /// Port Control Protocol (RFC 6887).
    #[serde(rename = "PCP")]
    Pcp,
    /// NAT Port Mapping Protocol (RFC 6886).
    #[serde(rename = "NATPMP")]
    NatPmp,
}

/// What is done if the gateway forwards a port already.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenTaken {
    /// The Service does not have it, until it is free; the claim says so.
    #[default]
    Refuse,
    /// The Service has another one of `externalPorts`, which the claim names.
    Another,
}

/// What is told of the gateway's outer address.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExternalAddressUse {
    /// Nothing but what claims say.
    #[default]
    None,
    /// It is a further one of the Service's `status.loadBalancer.ingress`.
    Ingress,
    /// It is the Service's annotation `external-dns.alpha.kubernetes.io/target`.
    #[serde(rename = "ExternalDNS")]
    ExternalDns,
}

/// What an announcer needs to know to have ports forwarded.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PortForwarding {
    /// The plane's `spec.portForwarding.gateway`.
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
    /// How the gateway is spoken to, in order of preference, each at most once.
    pub protocols: Vec<GatewayProtocol>,
    /// The plane's `spec.portForwarding.whenTaken`.
    pub when_taken: WhenTaken,
    /// The ports of the gateway that may be asked for.
    pub external_ports: Vec<PortRange>,
}

/// The ports of a claim that are to be forwarded.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClaimForwarding {
    /// For how long the gateway is asked, in seconds; 0 is without an end.
    pub lease: LeaseSeconds,
    /// The ports.
    #[schemars(length(max = crate::claim::FORWARDS_MAX))]
    pub ports: Vec<ClaimForward>,
}

/// One port that is to be forwarded.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct ClaimForward {
    /// The transport protocol.
    pub protocol: ForwardProtocol,
    /// The Service's port.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// The gateway's port.
    #[schemars(range(min = 1))]
    pub external_port: u16,
}

/// A transport protocol that gateways forward.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "UPPERCASE")]
pub enum ForwardProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for ForwardProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// What came of one port that is to be forwarded. Times are the API server's.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ForwardStatus {
    /// The transport protocol.
    pub protocol: ForwardProtocol,
    /// The Service's port.
    pub port: u16,
    /// The gateway's port that is forwarded to it, while one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_port: Option<u16>,
    /// The gateway's outer address, if it tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_address: Option<Ipv4Addr>,
    /// The gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// How it was spoken to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<GatewayProtocol>,
    /// Until when the gateway forwards it, unless it is asked again. Not given for one without an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<MicroTime>,
    /// What last went wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Ports from one to another, both included.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// What is no range of ports.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is neither a port, as 443, nor a range of ports, as 8000-8999")]
pub struct PortRangeError(String);

impl PortRange {
    /// All ports from 1024 on.
    #[must_use]
    pub const fn unprivileged() -> Self {
        Self { first: UNPRIVILEGED.0, last: UNPRIVILEGED.1 }
    }

    /// The ports.
    #[must_use]
    pub const fn ports(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(Self { first, last }),
            _ => Err(PortRangeError(text.to_owned())),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { first, last } if first == last => write!(f, "{first}"),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

impl TryFrom<String> for PortRange {
    type Error = PortRangeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

impl PortForwardingSpec {
    /// The ports of the gateway that may be asked for.
    ///
    /// # Errors
    /// With the first that is no range.
    pub fn ranges(&self) -> Result<Vec<PortRange>, PortRangeError> {
        match &self.external_ports {
            Some(texts) => texts.iter().map(|text| text.parse()).collect(),
            None => Ok(vec![PortRange::unprivileged()]),
        }
    }

    /// How the gateway is spoken to, in order of preference, each at most once.
    #[must_use]
    pub fn order(&self) -> Vec<GatewayProtocol> {
        let all = [GatewayProtocol::UPnP, GatewayProtocol::Pcp, GatewayProtocol::NatPmp];
        let given = if self.protocols.is_empty() { &all[..] } else { &self.protocols };
        let mut order = Vec::new();
        for protocol in given {
            if !order.contains(protocol) {
                order.push(*protocol);
            }
        }
        order
    }

    /// What an announcer needs to know; nothing if no port is forwarded.
    ///
    /// # Errors
    /// As [`ranges`](Self::ranges).
    pub fn for_announcers(&self) -> Result<Option<PortForwarding>, PortRangeError> {
        if self.mode == PortForwardingMode::Off {
            return Ok(None);
        }
        Ok(Some(PortForwarding {
            gateway: self.gateway,
            protocols: self.order(),
            when_taken: self.when_taken,
            external_ports: self.ranges()?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_port_or_two_in_order() {
        let read = |text: &str| text.parse::<PortRange>().map(|range| range.to_string());
        assert_eq!(read("443"), Ok("443".into()));
        assert_eq!(read("8000-8999"), Ok("8000-8999".into()));
        for text in ["", "0", "0-5", "9-8", "70000", "1-2-3", "-5", "web"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn without_a_word_of_the_plane_upnp_comes_first_and_ports_below_1024_are_not_asked_for() {
        let spec = PortForwardingSpec { mode: PortForwardingMode::OptIn, ..PortForwardingSpec::default() };
        let told = spec.for_announcers().unwrap().unwrap();
        assert_eq!(told.protocols, [GatewayProtocol::UPnP, GatewayProtocol::Pcp, GatewayProtocol::NatPmp]);
        assert_eq!(told.external_ports, [PortRange::unprivileged()]);
        assert!(PortForwardingSpec::default().for_announcers().unwrap().is_none());
    }

    #[test]
    fn a_protocol_that_is_named_twice_is_tried_once() {
        let protocols = vec![GatewayProtocol::Pcp, GatewayProtocol::UPnP, GatewayProtocol::Pcp];
        let spec = PortForwardingSpec { protocols, ..PortForwardingSpec::default() };
        assert_eq!(spec.order(), [GatewayProtocol::Pcp, GatewayProtocol::UPnP]);
    }
}
