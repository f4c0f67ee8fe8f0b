//! What the controllers share.

use std::future::Future;

use foghorn_crds::{AddressClaim, NetworkPlane};
use futures::future::join3;
use k8s_openapi::{api::core::v1::Namespace, jiff::Timestamp};
use kube::{
    Api, Client,
    runtime::{
        events::{Recorder, Reporter},
        watcher,
    },
};

use crate::{args, metrics::Metrics, watched::Watched};

/// The name by which the operator writes: field manager of what it applies, reporter of its events.
pub const MANAGER: &str = "foghorn-operator";
/// The label, and its value, on everything that the operator makes.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "foghorn");

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

impl Context {
    /// A context whose watches go on while the future is polled; it never ends.
    pub fn new(client: Client, args: args::Run, metrics: Metrics) -> (Self, impl Future<Output = ()> + Send) {
        let config = watcher::Config::default;
        let (planes, watch_planes) = Watched::new(Api::all(client.clone()), config());
        let (claims, watch_claims) = Watched::new(Api::all(client.clone()), config());
        let (namespaces, watch_namespaces) = Watched::new(Api::all(client.clone()), config());
        let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(args.pod_name.clone()) };
        let recorder = Recorder::new(client.clone(), reporter);
        let context =
            Self { client, args, recorder, metrics, planes, claims, namespaces, now: Timestamp::now };
        let watches = async {
            join3(watch_planes, watch_claims, watch_namespaces).await;
        };
        (context, watches)
    }
}
