//! What keeps a plane's traffic apart from the rest of its nodes.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// By which way replies leave the node.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ReturnPathSpec {
    /// Whether they leave by the plane's interface.
    pub mode: ReturnPathMode,
    /// The router behind which clients are. If not given it is the one that the DHCP leases name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
}

/// Whether replies leave by the interface that the requests came in by.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReturnPathMode {
    /// They leave as the node's own routes say.
    #[default]
    Off,
    /// Connections to the plane's addresses are marked where they come in, and their replies go by a routing table of
    /// the plane. Announcers get a container with the capability NET_ADMIN.
    Auto,
}

/// What becomes of packets to the plane's addresses that are for no port of their Services.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct GuardSpec {
    /// What becomes of them.
    pub mode: GuardMode,
}

/// What becomes of packets to the plane's addresses that are for no port of their Services.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GuardMode {
    /// The node's kernel decides: it forwards them, or sends ICMP.
    #[default]
    Off,
    /// They are dropped before the node's kernel sees them, and announcers answer pings. Announcers get a container with
    /// the capability NET_ADMIN.
    Drop,
    /// The same, and the sender is told: a TCP reset or an ICMP message.
    Reject,
}

/// How a plane's replies are told from other packets, and where they go: what the operator has chosen for the plane.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ReturnPath {
    /// The plane's value of [`mask`](Self::mask), in marks of connections and packets.
    pub mark: u32,
    /// The bits of marks that are Foghorn's.
    pub mask: u32,
    /// The plane's routing table.
    pub table: u32,
    /// The priority of the rule that leads there.
    pub priority: u32,
    /// The plane's `spec.returnPath.gateway`.
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
}
