//! What the controllers share.

use std::{future::Future, sync::Arc};

use foghorn_crds::{AddressClaim, NetworkPlane, RefusedNetwork};
use futures::future::{OptionFuture, join5};
use k8s_openapi::{
    api::{
        core::v1::{Namespace, Node},
        networking::v1::ServiceCIDR,
    },
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::ListParams,
    runtime::{
        events::{Recorder, Reporter},
        reflector::store::WriterDropped,
        watcher,
    },
};

use crate::{
    args,
    error::Error,
    index::{self, ClaimKey, Index},
    metrics::Metrics,
    planes,
    reader::Reader,
    stand_in, trim,
    watched::Watched,
};

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
    /// All claims, by what they are looked up by.
    pub(crate) claims_by: Arc<Index<AddressClaim, ClaimKey>>,
    /// All namespaces.
    pub namespaces: Watched<Namespace>,
    /// All nodes.
    pub nodes: Watched<Node>,
    /// The ranges of the Services' own addresses, if the API server tells of them.
    pub service_cidrs: Option<Watched<ServiceCIDR>>,
    /// The time, as conditions and events have it.
    pub now: fn() -> Timestamp,
}

impl Context {
    /// A context whose watches go on while the future is polled; it never ends.
    ///
    /// # Errors
    /// If the API server cannot be asked which kinds it has.
    pub async fn new(
        client: Client,
        args: args::Run,
        metrics: Metrics,
    ) -> Result<(Self, impl Future<Output = ()> + Send), Error> {
        let config = watcher::Config::default;
        let reader = Reader::new(&metrics).with_stand_in(stand_in::plane).trimmed(trim::writers);
        let (planes, watch_planes) = Watched::new(&client, config(), reader);
        let claims_by = Arc::new(Index::new(index::of_claim));
        let reader = Reader::new(&metrics)
            .with_stand_in(stand_in::claim)
            .trimmed(trim::writers)
            .observed(claims_by.clone());
        let (claims, watch_claims) = Watched::new(&client, config(), reader);
        let reader = Reader::new(&metrics).trimmed(trim::namespace);
        let (namespaces, watch_namespaces) = Watched::new(&client, config(), reader);
        let (nodes, watch_nodes) = Watched::new(&client, config(), Reader::new(&metrics).trimmed(trim::node));
        let (service_cidrs, watch_cidrs) = if has_service_cidrs(&client).await? {
            let (service_cidrs, watch_cidrs) = Watched::new(&client, config(), Reader::new(&metrics));
            (Some(service_cidrs), Some(watch_cidrs))
        } else {
            tracing::warn!("the API server has no ServiceCIDR: addresses of Services are not refused");
            (None, None)
        };
        let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(args.pod_name.clone()) };
        let recorder = Recorder::new(client.clone(), reporter);
        let context = Self {
            client,
            args,
            recorder,
            metrics,
            planes,
            claims,
            claims_by,
            namespaces,
            nodes,
            service_cidrs,
            now: Timestamp::now,
        };
        let watches = async {
            let watch_cidrs = OptionFuture::from(watch_cidrs);
            join5(watch_planes, watch_claims, watch_namespaces, watch_nodes, watch_cidrs).await;
        };
        Ok((context, watches))
    }

    /// Waits until all of this is known: nothing is decided on half of it.
    ///
    /// # Errors
    /// If a watch is gone, so that it never will be.
    pub async fn ready(&self) -> Result<(), WriterDropped> {
        self.planes.store().wait_until_ready().await?;
        self.claims.store().wait_until_ready().await?;
        self.namespaces.store().wait_until_ready().await?;
        self.nodes.store().wait_until_ready().await?;
        if let Some(service_cidrs) = &self.service_cidrs {
            service_cidrs.store().wait_until_ready().await?;
        }
        Ok(())
    }

    /// The networks of the cluster itself, and those that the administrator names: no Service may have an address of them.
    #[must_use]
    pub fn refused_networks(&self) -> Vec<RefusedNetwork> {
        let nodes = self.nodes.store().state();
        let cidrs = self.service_cidrs.as_ref().map(|cidrs| cidrs.store().state()).unwrap_or_default();
        let (nodes, cidrs) = (nodes.iter().map(|node| &**node), cidrs.iter().map(|cidr| &**cidr));
        planes::refused_networks(nodes, cidrs, &self.args.refused_networks)
    }
}

/// Kubernetes has them since 1.33.
async fn has_service_cidrs(client: &Client) -> Result<bool, Error> {
    let api: Api<ServiceCIDR> = Api::all(client.clone());
    match api.list_metadata(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.code == 404 => Ok(false),
        Err(error) => Err(Error::api::<ServiceCIDR>("list", "of the cluster")(error)),
    }
}
