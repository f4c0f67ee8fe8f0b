//! Everything goes and nothing stays stuck, with or without a living operator and living announcers.
//!
//! The planes are deleted, and a living operator does the rest: it withdraws and releases all addresses, clears the
//! Services and removes the finalizers. When nothing moves any longer, or the deadline comes near, it is done here.

use std::{collections::BTreeSet, time::Duration};

use foghorn_crds::{AddressClaim, ClaimState, NetworkPlane, contract};
use foghorn_shell::{
    api_clock::ApiClock,
    client::{self, ClientError},
    clock::boot_time,
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Namespace, Service},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, PartialObjectMeta, Patch, PatchParams},
    runtime::reflector::ObjectRef,
};
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::{
    context::MANAGED_BY,
    error::{Error as ApiError, gone},
    readable::Readable,
    services::{target, write},
};

/// How often it is looked at what is left.
const LOOK: Duration = Duration::from_millis(500);
/// A living operator does something in this time.
const STILL: Duration = Duration::from_secs(6);
/// How long announcers are given to release addresses that no operator asks them for.
const RELEASE: Duration = Duration::from_secs(8);
/// Kept of the deadline for what is done here at last.
const RESERVE: Duration = Duration::from_secs(15);

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

/// What there is still of Foghorn.
#[derive(Default)]
struct Left {
    planes: Vec<NetworkPlane>,
    claims: Vec<AddressClaim>,
    services: Vec<Service>,
    /// Those of planes, which have announcers, or come to their end.
    namespaces: Vec<PartialObjectMeta<Namespace>>,
}

impl Left {
    fn is_nothing(&self) -> bool {
        self.is_nothing_of_ours() && self.namespaces.is_empty()
    }

    /// Whether there is nothing left that Foghorn has to do: namespaces come to their end by themselves.
    fn is_nothing_of_ours(&self) -> bool {
        self.planes.is_empty() && self.claims.is_empty() && self.services.is_empty() && self.all_are_ending()
    }

    /// Whether the end of namespaces is all that is waited for, by a living operator too.
    fn is_ending(&self) -> bool {
        let objects_are_gone = self.claims.is_empty() && self.services.is_empty();
        objects_are_gone && !self.namespaces.is_empty() && self.all_are_ending()
    }

    fn all_are_ending(&self) -> bool {
        self.namespaces.iter().all(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    /// Another one after each step of whoever works.
    fn versions(&self) -> BTreeSet<String> {
        fn of<K: Resource<DynamicType = ()>>(objects: &[K]) -> impl Iterator<Item = String> {
            objects.iter().map(|object| {
                let finalizers = object.finalizers().len();
                let deleting = object.meta().deletion_timestamp.is_some();
                format!("{} {finalizers} {deleting}", ObjectRef::from_obj(object))
            })
        }
        let states = self.claims.iter().filter_map(|claim| {
            let state = claim.status.as_ref()?.state?;
            Some(format!("{} {state:?}", ObjectRef::from_obj(claim)))
        });
        let namespaces = self.namespaces.iter().map(|namespace| {
            let ending = namespace.metadata.deletion_timestamp.is_some();
            format!("namespace {} {ending}", namespace.name_any())
        });
        let objects = of(&self.planes).chain(of(&self.claims)).chain(of(&self.services));
        objects.chain(states).chain(namespaces).collect()
    }

    fn names(&self) -> String {
        let names: Vec<_> = (self.planes.iter().map(|object| ObjectRef::from_obj(object).to_string()))
            .chain(self.claims.iter().map(|object| ObjectRef::from_obj(object).to_string()))
            .chain(self.services.iter().map(|object| ObjectRef::from_obj(object).to_string()))
            .chain(self.namespaces.iter().map(|namespace| format!("Namespace {}", namespace.name_any())))
            .collect();
        names.join(", ")
    }

    fn has_unreleased(&self) -> bool {
        self.claims.iter().any(|claim| !is_released(claim))
    }
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
    Uninstall { client, deadline: Instant::now() + deadline }.run().await
}

struct Uninstall {
    client: Client,
    deadline: Instant,
}

impl Uninstall {
    async fn run(&self) -> Result<(), UninstallError> {
        let mut left = self.look().await?;
        let (planes, claims, services) = (left.planes.len(), left.claims.len(), left.services.len());
        tracing::info!(planes, claims, services, "deleting all planes");
        for plane in left.planes.iter().filter(|plane| plane.metadata.deletion_timestamp.is_none()) {
            let name = plane.name_any();
            let deleted = self.planes().delete(&name, &DeleteParams::default()).await;
            gone(deleted).map_err(ApiError::api::<NetworkPlane>("delete", name))?;
        }
        left = self.wait_for_the_operator().await?;
        let by_hand = !left.is_nothing();
        if by_hand {
            tracing::info!(left = left.names(), "no operator does it, so it is done here");
            self.release(&left).await;
            left = self.finish().await?;
        }
        if !left.is_nothing_of_ours() {
            return Err(UninstallError::Left(left.names()));
        }
        if !left.is_nothing() {
            tracing::warn!(left = left.names(), "kept by something that is not Foghorn's, no longer waiting");
        }
        tracing::info!(planes, claims, services, by_hand, "uninstalled: nothing is left");
        Ok(())
    }

    /// Looks on while something moves.
    async fn wait_for_the_operator(&self) -> Result<Left, UninstallError> {
        let mut last = (Instant::now(), BTreeSet::new());
        loop {
            let left = self.look().await?;
            if left.is_nothing() {
                return Ok(left);
            }
            let now = Instant::now();
            let versions = left.versions();
            if versions != last.1 {
                last = (now, versions);
            }
            let still = now >= last.0 + STILL && !left.is_ending();
            if still || now + RESERVE >= self.deadline {
                return Ok(left);
            }
            sleep(LOOK).await;
        }
    }

    /// Asks the announcers to release all addresses, and gives them time to.
    async fn release(&self, left: &Left) {
        for claim in &left.claims {
            note(write::delete_claim(&self.client, claim).await);
        }
        let until =
            (Instant::now() + RELEASE).min(self.deadline.checked_sub(RESERVE / 2).unwrap_or(self.deadline));
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
            let left = self.look().await?;
            if left.is_nothing() {
                return Ok(left);
            }
            for service in &left.services {
                note(self.clear(service).await);
            }
            for claim in &left.claims {
                if !is_released(claim) {
                    tracing::warn!(claim = %ObjectRef::from_obj(claim), "its address was not released in time");
                }
                note(write::delete_claim(&self.client, claim).await);
                note(self.strip(claim, contract::CLAIM_FINALIZER).await);
            }
            for namespace in &left.namespaces {
                note(self.end_namespace(namespace).await);
            }
            for plane in &left.planes {
                note(self.end_plane(plane).await);
            }
            let left = self.look().await?;
            if left.is_nothing() || Instant::now() >= self.deadline {
                return Ok(left);
            }
            sleep(LOOK).await;
        }
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

    async fn end_namespace(&self, namespace: &PartialObjectMeta<Namespace>) -> Result<(), ApiError> {
        if namespace.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let name = namespace.name_any();
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let deleted = namespaces.delete(&name, &DeleteParams::default()).await;
        gone(deleted).map_err(ApiError::api::<Namespace>("delete", name))
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

    /// Foghorn's objects that there are, and the Services that still have something of it.
    async fn look(&self) -> Result<Left, ApiError> {
        let planes = listed(&self.client).await?;
        let claims = listed(&self.client).await?;
        let mut services: Vec<Service> = listed(&self.client).await?;
        services.retain(|service| {
            write::has_our_finalizer(service) || write::has_our_status(service) || target::is_ours(service)
        });
        let namespaces = self.namespaces().await?;
        Ok(Left { planes, claims, services, namespaces })
    }

    /// The namespaces that the operator has made for planes.
    async fn namespaces(&self) -> Result<Vec<PartialObjectMeta<Namespace>>, ApiError> {
        let labels = format!("{}={},{}", MANAGED_BY.0, MANAGED_BY.1, contract::PLANE_LABEL);
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let own = namespaces.list_metadata(&ListParams::default().labels(&labels)).await;
        Ok(own.map_err(ApiError::api::<Namespace>("list", "of the planes"))?.items)
    }

    fn planes(&self) -> Api<NetworkPlane> {
        Api::all(self.client.clone())
    }
}

fn is_released(claim: &AddressClaim) -> bool {
    match claim.status.as_ref() {
        Some(status) => status.state == Some(ClaimState::Released) || status.lease.is_none(),
        None => true,
    }
}

/// All objects of a kind; none if the API server does not have the kind.
async fn listed<K>(client: &Client) -> Result<Vec<K>, ApiError>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    match Api::<Readable<K>>::all(client.clone()).list(&ListParams::default()).await {
        Ok(list) => Ok(list.items.into_iter().map(|Readable(object)| object).collect()),
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
    use foghorn_crds::{AddressClaimStatus, fixtures};
    use k8s_openapi::{
        apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
        jiff::Timestamp,
    };

    use super::*;

    #[test]
    fn each_step_of_whoever_works_shows() {
        let mut left = Left { planes: vec![fixtures::plane("blue", "x.dev/blue")], ..Left::default() };
        let before = left.versions();
        left.planes[0].finalizers_mut().push(contract::PLANE_FINALIZER.into());
        let after = left.versions();
        assert_ne!(before, after);
        left.planes[0].metadata.resource_version = Some("8".into());
        assert_eq!(left.versions(), after, "what is written without a step is no step");
    }

    #[test]
    fn a_namespace_that_ends_is_waited_for_but_is_nothing_to_be_done() {
        let namespace = |deletion_timestamp| PartialObjectMeta::<Namespace> {
            metadata: ObjectMeta { deletion_timestamp, ..ObjectMeta::default() },
            ..PartialObjectMeta::default()
        };
        let mut left = Left { namespaces: vec![namespace(None)], ..Left::default() };
        assert!(!left.is_nothing_of_ours() && !left.is_ending());
        left.namespaces.push(namespace(Some(Time(Timestamp::UNIX_EPOCH))));
        assert!(!left.is_nothing_of_ours() && !left.is_ending(), "not all of them end");
        left.namespaces.remove(0);
        assert!(left.is_nothing_of_ours() && left.is_ending());
        assert!(!left.is_nothing());
        left.planes.push(fixtures::plane("blue", "x.dev/blue"));
        assert!(!left.is_nothing_of_ours() && left.is_ending());
        assert!(!Left::default().is_ending());
    }

    #[test]
    fn a_claim_without_a_lease_has_nothing_to_release() {
        let claim =
            claim(AddressClaimStatus { state: Some(ClaimState::Acquiring), ..AddressClaimStatus::default() });
        assert!(is_released(&claim));
    }

    #[test]
    fn a_claim_with_a_lease_is_waited_for_until_it_is_released() {
        let bound = AddressClaimStatus {
            state: Some(ClaimState::Bound),
            lease: Some(fixtures::lease([203, 0, 113, 7])),
            ..AddressClaimStatus::default()
        };
        let released = AddressClaimStatus { state: Some(ClaimState::Released), ..bound.clone() };
        let mut left = Left { claims: vec![claim(bound)], ..Left::default() };
        assert!(left.has_unreleased());
        left.claims = vec![claim(released)];
        assert!(!left.has_unreleased());
        assert!(!left.is_nothing());
    }

    fn claim(status: AddressClaimStatus) -> AddressClaim {
        AddressClaim { status: Some(status), ..fixtures::claim("web") }
    }
}
