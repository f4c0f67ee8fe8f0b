//! Whether addresses are also put on the nodes' interface.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether addresses are also put on the interface of the node that holds them. Nobody needs that for kube-proxy or
/// Cilium; what speaks from the address itself does.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct HostAddressSpec {
    /// Whether they are.
    pub mode: HostAddressMode,
    /// That nothing keeps the node's own ports from being reached by the address is accepted.
    pub unguarded: bool,
    /// The most addresses on one node; further ones are announced only.
    #[schemars(range(min = 1, max = 500))]
    pub max_per_node: u32,
}

impl Default for HostAddressSpec {
    fn default() -> Self {
        Self { mode: HostAddressMode::None, unguarded: false, max_per_node: 50 }
    }
}

/// Whether addresses are put on the interface.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostAddressMode {
    /// No.
    #[default]
    None,
    /// Yes, with a lifetime of 10 s that is renewed while the address is held: if the announcer stops, the kernel takes
    /// it away. Announcers get the capability NET_ADMIN.
    Fenced,
}
