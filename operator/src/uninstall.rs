//! Everything goes and nothing stays stuck, with or without a living operator and living announcers.
//!
//! The planes are deleted, and a living operator does the rest: it withdraws and releases all addresses, clears the
//! Services and removes the finalizers. When nothing moves any longer, or the deadline comes near, it is done here.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use foghorn_crds::{NetworkPlane, contract};
use foghorn_shell::{
    api_clock::ApiClock,
    client::{self, ClientError},
    clock::boot_time,
    readable::Readable,
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Namespace, Service},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, PartialObjectMeta, Patch, PatchParams, Preconditions},
    runtime::reflector::ObjectRef,
};
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    context::MANAGED_BY,
    error::{Error as ApiError, gone},
    planes::{delete_namespace, owner_of},
    services::{target, write},
    stand_in::{self, StandIn},
};

mod left;

use left::{Left, is_released};

/// How often it is looked at what is left.
const LOOK: Duration = Duration::from_millis(500);
/// How long one request may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long announcers are given to release addresses that no operator asks them for.
const RELEASE: Duration = Duration::from_secs(8);
/// Kept of the deadline for what is done here at last, of a short one a third.
const RESERVE: Duration = Duration::from_secs(15);
/// How far the last requests may pass the deadline.
const GRACE: Duration = Duration::from_secs(2);

/// Why something may be left.
#[derive(Debug, Error)]
pub enum UninstallError {
    /// There is no way to the API server.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The API server refused, or could not be reached.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The deadline came first.
    #[error("not all is gone, run it again: {0}")]
    Left(String),
}

/// Uninstalls within `deadline`.
///
/// # Errors
/// [`UninstallError`], which names what is left.
// The runtime is here for the same reason as in `leader::run`.
#[tokio::main(flavor = "current_thread")]
pub async fn run(deadline: Duration) -> Result<(), UninstallError> {
    let agent = concat!("foghorn-operator/", env!("CARGO_PKG_VERSION"), " uninstall");
    let client = client::connect(agent, &mut Registry::default(), boot_time, ApiClock::default()).await?;
    Uninstall::new(client, deadline).run().await
}

struct Uninstall {
    client: Client,
    deadline: Instant,
    /// From when on all is done here.
    reserve: Instant,
    /// Namespaces that only look like a plane's, and are named once.
    strangers: Mutex<BTreeSet<String>>,
}

impl Uninstall {
    fn new(client: Client, deadline: Duration) -> Self {
        let now = Instant::now();
        let reserve = RESERVE.min(deadline / 3);
        Self {
            client,
            deadline: now + deadline,
            reserve: now + (deadline - reserve),
            strangers: Mutex::default(),
        }
    }

    async fn run(&self) -> Result<(), UninstallError> {
        let mut left = self.look_until(self.reserve).await?;
        let (planes, claims, services) = (left.planes.len(), left.claims.len(), left.services.len());
        tracing::info!(planes, claims, services, "deleting all planes");
        for plane in left.planes.iter().filter(|plane| plane.metadata.deletion_timestamp.is_none()) {
            note(self.delete_plane(plane).await);
        }
        left = self.wait_for_the_operator().await?;
        let directly = !left.is_nothing();
        if directly {
            tracing::info!(left = left.names(), "no operator running; removing finalizers directly");
            self.release(&left).await;
            left = self.finish().await?;
        }
        if !left.is_nothing_of_ours() {
            return Err(UninstallError::Left(left.names()));
        }
        if !left.is_nothing() {
            tracing::warn!(left = left.names(), "kept by something that is not Foghorn's, no longer waiting");
        }
        tracing::info!(planes, claims, services, directly, "uninstalled: nothing is left");
        Ok(())
    }

    /// Looks on while something moves.
    async fn wait_for_the_operator(&self) -> Result<Left, UninstallError> {
        let mut last = (Instant::now(), BTreeSet::new());
        loop {
            let left = self.look_until(self.reserve).await?;
            if left.is_nothing() {
                return Ok(left);
            }
            let now = Instant::now();
            let versions = left.versions();
            if versions != last.1 {
                last = (now, versions);
            }
            let still = now >= last.0 + left.patience() && !left.is_ending();
            if still || now >= self.reserve {
                return Ok(left);
            }
            sleep(LOOK).await;
        }
    }

    /// Asks the announcers to release all addresses, and gives them time to.
    async fn release(&self, left: &Left) {
        for claim in &left.claims {
            note(self.limited("delete a claim", write::delete_claim(&self.client, claim)).await);
        }
        let half = (self.deadline - self.reserve) / 2;
        let until = (Instant::now() + RELEASE).min(self.reserve + half);
        while Instant::now() < until {
            match self.look().await {
                Ok(left) if !left.has_unreleased() => return,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "will be tried again"),
            }
            sleep(LOOK).await;
        }
    }

    /// Does what the operator would have done, again and again until it is done or the deadline is there.
    async fn finish(&self) -> Result<Left, UninstallError> {
        loop {
            let left = self.look_until(self.deadline).await?;
            if left.is_nothing() {
                return Ok(left);
            }
            for service in &left.services {
                note(self.limited("clear a Service", self.clear(service)).await);
            }
            for claim in &left.claims {
                if !is_released(claim) {
                    tracing::warn!(claim = %ObjectRef::from_obj(claim), "its address was not released in time");
                }
                note(self.limited("delete a claim", write::delete_claim(&self.client, claim)).await);
                let stripped = self.strip(claim, contract::CLAIM_FINALIZER);
                note(self.limited("take the finalizer off a claim", stripped).await);
            }
            for namespace in left.namespaces.iter().filter(|it| it.metadata.deletion_timestamp.is_none()) {
                let deleted = delete_namespace(&self.client, &namespace.metadata);
                note(self.limited("delete a namespace", deleted).await);
            }
            for plane in &left.planes {
                note(self.limited("take the finalizer off a plane", self.end_plane(plane)).await);
            }
            let left = self.look_until(self.deadline).await?;
            if left.is_nothing() || Instant::now() >= self.deadline {
                return Ok(left);
            }
            sleep(LOOK).await;
        }
    }

    /// What `work` comes to, within the time for one request, and not long after the deadline. A request that is not
    /// answered keeps nothing else from being tried.
    async fn limited<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let limit = ANSWER.min(left.max(GRACE));
        let late = |_| ApiError::NoAnswer { what, seconds: limit.as_secs() };
        timeout(limit, work).await.map_err(late)?
    }

    async fn clear(&self, service: &Service) -> Result<(), ApiError> {
        let mut service = if write::has_our_status(service) {
            write::apply_status(&self.client, service, None).await?
        } else {
            service.clone()
        };
        if target::is_ours(&service) {
            service = write::apply_target(&self.client, &service, None).await?;
        }
        self.strip(&service, contract::SERVICE_FINALIZER).await
    }

    async fn strip<K>(&self, object: &K, finalizer: &str) -> Result<(), ApiError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        if object.finalizers().iter().any(|one| one == finalizer) {
            // Of the version that there is now: the deletion has just written to it.
            let api: Api<K> = Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
            let name = ObjectRef::from_obj(object).to_string();
            let present = api.get_metadata_opt(&object.name_any()).await;
            let present = present.map_err(ApiError::api::<K>("get", name))?;
            if let Some(present) = present.filter(|present| present.uid() == object.uid()) {
                let mut object = object.clone();
                *object.meta_mut() = present.metadata;
                write::remove_finalizer(&self.client, &object, finalizer).await?;
            }
        }
        Ok(())
    }

    async fn delete_plane(&self, plane: &NetworkPlane) -> Result<(), ApiError> {
        let name = plane.name_any();
        let this_one = Preconditions { uid: plane.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(this_one), ..DeleteParams::default() };
        let deletion = async {
            let deleted = self.planes().delete(&name, &params).await;
            gone(deleted).map_err(ApiError::api::<NetworkPlane>("delete", &name))
        };
        self.limited("delete a plane", deletion).await
    }

    async fn end_plane(&self, plane: &NetworkPlane) -> Result<(), ApiError> {
        let name = plane.name_any();
        let mut finalizers = plane.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != contract::PLANE_FINALIZER);
        let patch = serde_json::json!({
            "metadata": { "resourceVersion": plane.resource_version(), "finalizers": finalizers }
        });
        let patched =
            self.planes().patch_metadata(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
        gone(patched).map_err(ApiError::api::<NetworkPlane>("set the finalizers of", name))
    }

    /// What [`look`](Self::look) finds; it is tried again until `until`.
    async fn look_until(&self, until: Instant) -> Result<Left, ApiError> {
        loop {
            match self.look().await {
                Err(error) if Instant::now() < until => tracing::warn!(%error, "will be tried again"),
                looked => return looked,
            }
            sleep(LOOK).await;
        }
    }

    /// Foghorn's objects that there are, and the Services that still have something of it.
    async fn look(&self) -> Result<Left, ApiError> {
        self.limited("list what is left", async {
            let planes = listed(&self.client, stand_in::plane).await?;
            let claims = listed(&self.client, stand_in::claim).await?;
            let mut services: Vec<Service> = listed(&self.client, stand_in::none).await?;
            services.retain(|service| {
                write::has_our_finalizer(service)
                    || write::has_our_status(service)
                    || target::is_ours(service)
            });
            let namespaces = self.namespaces().await?;
            Ok(Left { planes, claims, services, namespaces })
        })
        .await
    }

    /// The namespaces that the operator has made for planes.
    async fn namespaces(&self) -> Result<Vec<PartialObjectMeta<Namespace>>, ApiError> {
        let labels = format!("{}={},{}", MANAGED_BY.0, MANAGED_BY.1, contract::PLANE_LABEL);
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let labelled = namespaces.list_metadata(&ListParams::default().labels(&labels)).await;
        let labelled = labelled.map_err(ApiError::api::<Namespace>("list", "of the planes"))?.items;
        let (own, others): (Vec<_>, Vec<_>) =
            labelled.into_iter().partition(|namespace| owner_of(&namespace.metadata).is_some());
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        for name in others.iter().map(ResourceExt::name_any) {
            if strangers.insert(name.clone()) {
                tracing::warn!(
                    namespace = name,
                    "has the labels of a plane's namespace and was not made by Foghorn: left as it is"
                );
            }
        }
        Ok(own)
    }

    fn planes(&self) -> Api<NetworkPlane> {
        Api::all(self.client.clone())
    }
}

/// All objects of a kind; none if the API server does not have the kind.
async fn listed<K>(client: &Client, stand_in: StandIn<K>) -> Result<Vec<K>, ApiError>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let read = |object: Readable<K>| match object {
        Readable::Object(object) => Some(object),
        Readable::Unreadable(unreadable) => {
            let stand_in = stand_in(&unreadable.value).map(|object| unreadable.as_present(object));
            let outcome =
                if stand_in.is_some() { "it is removed all the same" } else { "it is left as it is" };
            unreadable.log::<K>(outcome);
            stand_in
        }
    };
    match Api::<Readable<K>>::all(client.clone()).list(&ListParams::default()).await {
        Ok(list) => Ok(list.items.into_iter().filter_map(read).collect()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(ApiError::api::<K>("list", "of the cluster")(error)),
    }
}

/// One object that does not let itself be changed keeps nobody from the others.
fn note(result: Result<(), ApiError>) {
    match result {
        Err(error) if error.is_conflict() => {
            tracing::debug!(%error, "decided on an outdated state, looking again");
        }
        Err(error) => tracing::warn!(%error, "will be tried again"),
        Ok(()) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::json;

    use super::*;
    use crate::services::fixtures::server;

    #[tokio::test]
    async fn a_short_deadline_leaves_time_for_the_operator() {
        let (client, _server) = server(200, json!({}));
        for (deadline, reserve) in [(60, 15), (45, 15), (12, 4), (10, 3)] {
            let uninstall = Uninstall::new(client.clone(), Duration::from_secs(deadline));
            assert_eq!((uninstall.deadline - uninstall.reserve).as_secs(), reserve, "{deadline}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_not_answered_does_not_pass_the_deadline() {
        let (client, _server) = server(200, json!({}));
        let started = Instant::now();
        let uninstall = Uninstall::new(client, Duration::from_secs(20));
        for _ in 0..2 {
            let error = uninstall.limited("wait", pending::<Result<(), ApiError>>()).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                "the API server did not answer within 10 s when it was asked to wait"
            );
        }
        uninstall.limited("wait", pending::<Result<(), ApiError>>()).await.unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(20) + 2 * GRACE);
    }

    #[tokio::test]
    async fn a_namespace_that_only_looks_like_a_planes_is_left() {
        let owner = json!([{
            "apiVersion": "foghorn.dev/v1alpha1", "kind": "NetworkPlane", "name": "blue", "uid": "uid-of-blue",
        }]);
        let namespace = |name: &str| {
            json!({"metadata": {
                "name": name, "uid": name, "ownerReferences": owner, "labels": {contract::PLANE_LABEL: "blue"},
            }})
        };
        let items = [namespace("foghorn-blue"), namespace("restored"), namespace("foghorn-blue-old")];
        let (client, _server) = server(200, json!({"metadata": {}, "items": items}));
        let uninstall = Uninstall::new(client, Duration::from_secs(60));
        let names: Vec<_> = uninstall.namespaces().await.unwrap().iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, ["foghorn-blue"]);
        assert_eq!(uninstall.strangers.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn only_the_namespace_that_was_looked_at_is_deleted() {
        let (client, server) = server(200, json!({"kind": "Status", "status": "Success"}));
        let metadata =
            ObjectMeta { name: Some("foghorn-blue".into()), uid: Some("u".into()), ..ObjectMeta::default() };
        delete_namespace(&client, &metadata).await.unwrap();
        let (line, body) = server.await.unwrap();
        assert!(line.starts_with("DELETE /api/v1/namespaces/foghorn-blue"), "{line}");
        assert_eq!(body["preconditions"]["uid"], "u");
    }
}
