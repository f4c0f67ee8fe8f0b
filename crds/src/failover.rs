//! What a plane says about fail-over: how soon a lost node is noticed, and where addresses go.

use std::{collections::BTreeMap, time::Duration};

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How soon a lost node is noticed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "self.mode == 'Custom' ? has(self.intervalMilliseconds) && has(self.missedHeartbeats) : !has(self.intervalMilliseconds) && !has(self.missedHeartbeats)",
    "intervalMilliseconds and missedHeartbeats must both be given with mode Custom, and neither with another mode"
))]
pub struct FailureDetection {
    /// Whether one of two pairs of figures is used, or one of the plane's own.
    #[serde(default)]
    pub mode: DetectionMode,
    /// Milliseconds between two heartbeats; with mode `Custom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 50, max = 10000))]
    pub interval_milliseconds: Option<u32>,
    /// How many heartbeats in a row may be missed before a node counts as lost; with mode `Custom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 3, max = 15))]
    pub missed_heartbeats: Option<u32>,
}

impl FailureDetection {
    const FAST: (Duration, u32) = (Duration::from_millis(100), 3);
    const NORMAL: (Duration, u32) = (Duration::from_millis(200), 5);

    /// The time between two heartbeats, and how many in a row may be missed. A figure that `Custom` must give and does
    /// not is that of `Fast`.
    #[must_use]
    pub fn figures(&self) -> (Duration, u32) {
        let (interval, missed) = match self.mode {
            DetectionMode::Fast => return Self::FAST,
            DetectionMode::Normal => return Self::NORMAL,
            DetectionMode::Custom => Self::FAST,
        };
        let own = self.interval_milliseconds.map(|milliseconds| Duration::from_millis(milliseconds.into()));
        (own.unwrap_or(interval), self.missed_heartbeats.unwrap_or(missed))
    }
}

/// By which figures a lost node is noticed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DetectionMode {
    /// Heartbeats each 100 ms, of which three in a row may be missed.
    #[default]
    Fast,
    /// Heartbeats each 200 ms, of which five in a row may be missed: for nodes that are short of processor time, and for
    /// networks that lose frames.
    Normal,
    /// The plane's own figures.
    Custom,
}

/// Which of a plane's nodes hold its addresses.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct PlacementSpec {
    /// Whether several nodes share the addresses.
    pub mode: PlacementMode,
    /// Nodes that are preferred. The weights of all entries that match a node add up; addresses go to the nodes of the
    /// greatest sum.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub preferred_nodes: Vec<PreferredNodes>,
    /// Whether nodes with the label `node.kubernetes.io/exclude-from-external-load-balancers` have addresses like
    /// others. kubeadm puts it on control-plane nodes. If not, they have some only while no other node can.
    pub ignore_exclude_label: bool,
}

/// Whether several nodes share a plane's addresses.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlacementMode {
    /// All nodes that are preferred alike share them.
    #[default]
    Spread,
    /// One node has all of them.
    Single,
}

/// Nodes that are preferred.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PreferredNodes {
    /// By how much.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,
    /// The labels of these nodes, all of them.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub match_labels: BTreeMap<String, String>,
}

/// What becomes of a node's addresses if it is lost while the API server is away.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiOutage {
    /// A majority of the plane's nodes gives them to others.
    Quorum,
    /// They wait for the API server. Addresses of other nodes stay where they are.
    Hold,
}

/// What is said of one node of a plane.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct NodePreference {
    /// The sum of the weights of [`PlacementSpec::preferred_nodes`] that match it.
    pub weight: i32,
    /// Why it has addresses only while no other node can, in words; empty for a node that may have them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub avoid: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_has_its_figures() {
        let figures = |mode| FailureDetection { mode, ..FailureDetection::default() }.figures();
        assert_eq!(FailureDetection::default().figures(), (Duration::from_millis(100), 3));
        assert_eq!(figures(DetectionMode::Normal), (Duration::from_millis(200), 5));
        let custom = FailureDetection {
            mode: DetectionMode::Custom,
            interval_milliseconds: Some(500),
            missed_heartbeats: Some(4),
        };
        assert_eq!(custom.figures(), (Duration::from_millis(500), 4));
    }

    #[test]
    fn figures_of_another_mode_do_not_count() {
        let fast = FailureDetection { interval_milliseconds: Some(500), ..FailureDetection::default() };
        assert_eq!(fast.figures(), (Duration::from_millis(100), 3));
    }
}
