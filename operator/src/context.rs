//! What the controllers share.

use foghorn_crds::{AddressClaim, NetworkPlane};
use k8s_openapi::{api::core::v1::Namespace, jiff::Timestamp};
use kube::{Client, runtime::events::Recorder};

use crate::{args, metrics::Metrics, watched::Watched};

/// The name by which the operator writes: field manager of what it applies, reporter of its events.
pub const MANAGER: &str = "foghorn-operator";

/// What the controllers share. It exists only while this process leads.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The command line.
    pub args: args::Run,
    /// Publishes events.
    pub recorder: Recorder,
    /// Counters and gauges.
    pub metrics: Metrics,
    /// All planes.
    pub planes: Watched<NetworkPlane>,
    /// All claims.
    pub claims: Watched<AddressClaim>,
    /// All namespaces.
    pub namespaces: Watched<Namespace>,
    /// The time, as conditions and events have it.
    pub now: fn() -> Timestamp,
}
