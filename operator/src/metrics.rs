//! What the operator counts.

use foghorn_crds::AddressClaim;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Counters and gauges; clones share their values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    reconciles: Family<ReconcileLabels, Counter>,
    claims: Family<ClaimLabels, Gauge>,
    planes: Gauge,
    unreadable: Family<KindLabels, Gauge>,
    leading: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClaimLabels {
    plane: String,
    state: String,
}

impl Metrics {
    /// New metrics, which `registry` shows from now on.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "foghorn_operator_reconciles",
            "Reconciliations by controller and result",
            metrics.reconciles.clone(),
        );
        registry.register("foghorn_operator_claims", "Claims by plane and state", metrics.claims.clone());
        registry.register("foghorn_operator_planes", "NetworkPlanes", metrics.planes.clone());
        registry.register(
            "foghorn_operator_unreadable_objects",
            "Objects that the API server has and the operator cannot read",
            metrics.unreadable.clone(),
        );
        registry.register("foghorn_operator_leading", "1 while this operator leads", metrics.leading.clone());
        metrics
    }

    /// Counts one reconciliation; `controller` is `plane`, `service` or `claim`.
    pub fn reconciled<T, E>(&self, controller: &'static str, result: &Result<T, E>) {
        let result = if result.is_ok() { "ok" } else { "error" };
        self.reconciles.get_or_create(&ReconcileLabels { controller, result }).inc();
    }

    /// How many objects of a kind cannot be read.
    pub fn unreadable(&self, kind: &str, count: usize) {
        let labels = KindLabels { kind: kind.to_owned() };
        self.unreadable.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Whether this operator leads.
    pub fn leading(&self, leading: bool) {
        self.leading.set(leading.into());
    }

    /// How many planes there are.
    pub fn planes(&self, count: usize) {
        self.planes.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts all claims anew.
    pub fn claims<'a>(&self, claims: impl IntoIterator<Item = &'a AddressClaim>) {
        self.claims.clear();
        for claim in claims {
            let state = claim.status.as_ref().and_then(|status| status.state);
            let state = state.map_or_else(|| "New".to_owned(), |state| format!("{state:?}"));
            self.claims.get_or_create(&ClaimLabels { plane: claim.spec.plane.clone(), state }).inc();
        }
    }
}
