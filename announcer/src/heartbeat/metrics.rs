//! What is counted of heartbeats.

use foghorn_heartbeat::Refused;
use foghorn_membership::Path;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Counters of frames; clones share their values.
#[derive(Clone, Debug, Default)]
pub struct HeartbeatMetrics {
    sent: Family<PathLabel, Counter>,
    unsent: Family<PathLabel, Counter>,
    received: Family<PathLabel, Counter>,
    missed: Family<PathLabel, Counter>,
    refused: Family<RefusedLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabel {
    path: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    path: &'static str,
    reason: &'static str,
}

impl HeartbeatMetrics {
    /// New metrics, which `registry` shows from now on.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let m = metrics.clone();
        registry.register(
            "foghorn_heartbeats_sent",
            "Frames of heartbeats sent: wire is the plane's own network, udp is between node addresses",
            m.sent,
        );
        registry.register(
            "foghorn_heartbeats_unsent",
            "Frames of heartbeats that the kernel did not take",
            m.unsent,
        );
        registry.register("foghorn_heartbeats_received", "Good frames of heartbeats received", m.received);
        registry.register(
            "foghorn_heartbeats_missed",
            "Heartbeats that should have come between two of a member by the same way",
            m.missed,
        );
        registry.register(
            "foghorn_heartbeats_refused",
            "Frames of heartbeats that were not used, by reason",
            m.refused,
        );
        metrics
    }

    pub(super) fn sent(&self, path: Path, taken: bool) {
        let counters = if taken { &self.sent } else { &self.unsent };
        counters.get_or_create(&PathLabel { path: name(path) }).inc();
    }

    pub(super) fn received(&self, path: Path) {
        self.received.get_or_create(&PathLabel { path: name(path) }).inc();
    }

    pub(super) fn missed(&self, path: Path, count: u64) {
        if count > 0 {
            self.missed.get_or_create(&PathLabel { path: name(path) }).inc_by(count);
        }
    }

    pub(super) fn refused(&self, path: Path, refused: &Refused) {
        let labels = RefusedLabels { path: name(path), reason: refused.reason() };
        self.refused.get_or_create(&labels).inc();
    }
}

const fn name(path: Path) -> &'static str {
    match path {
        Path::Wire => "wire",
        Path::Udp => "udp",
    }
}
