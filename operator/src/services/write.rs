//! What is written to Services and claims. Nothing is written on the ground of an outdated state: each write names the
//! version, or at least the very object, that it was decided on.

use foghorn_crds::{AddressClaim, contract};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Service, ServiceStatus},
};
use kube::{
    Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::reflector::ObjectRef,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::publish::{condition, ingress};
use crate::{
    context::MANAGER,
    error::{Error, gone},
    planes::api_of,
};

/// Applies `status` to the Service; what was applied before and is not in it goes.
pub(crate) async fn apply_status(
    client: &Client,
    service: &Service,
    status: Option<&ServiceStatus>,
) -> Result<Service, Error> {
    let mut applied = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service.name_any(),
            "namespace": service.namespace(),
            "uid": service.uid(),
            "resourceVersion": service.resource_version(),
        },
    });
    if let (Some(status), Some(applied)) = (status, applied.as_object_mut()) {
        applied.insert("status".to_owned(), json!(status));
    }
    let params = PatchParams::apply(MANAGER).force();
    api_of(client, service)
        .patch_status(&service.name_any(), &params, &Patch::Apply(&applied))
        .await
        .map_err(Error::api::<Service>("write the status of", ObjectRef::from_obj(service)))
}

/// Puts `finalizer` on the object.
pub(crate) async fn add_finalizer<K>(client: &Client, object: &K, finalizer: &str) -> Result<K, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let finalizers = object.finalizers().iter().map(String::as_str).chain([finalizer]).collect();
    set_finalizers(client, object, finalizers).await
}

/// Takes `finalizer` off the object.
pub(crate) async fn remove_finalizer<K>(client: &Client, object: &K, finalizer: &str) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let finalizers = object.finalizers().iter().map(String::as_str).filter(|&one| one != finalizer).collect();
    match set_finalizers(client, object, finalizers).await {
        Err(error) if error.is_not_found() => Ok(()),
        done => done.map(drop),
    }
}

async fn set_finalizers<K>(client: &Client, object: &K, finalizers: Vec<&str>) -> Result<K, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let patch: Value = json!({
        "metadata": {
            "uid": object.uid(),
            "resourceVersion": object.resource_version(),
            "finalizers": finalizers,
        },
    });
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    api_of(client, object)
        .patch(&object.name_any(), &params, &Patch::Merge(&patch))
        .await
        .map_err(Error::api::<K>("set the finalizers of", ObjectRef::from_obj(object)))
}

/// Creates the claim; false if there is one of its name.
pub(crate) async fn create_claim(client: &Client, claim: &AddressClaim) -> Result<bool, Error> {
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match api_of(client, claim).create(&params, claim).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
        Err(error) => Err(Error::api::<AddressClaim>("create", ObjectRef::from_obj(claim))(error)),
    }
}

/// Replaces the claim of the same version.
pub(crate) async fn replace_claim(client: &Client, claim: &AddressClaim) -> Result<(), Error> {
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    let replaced = api_of(client, claim).replace(&claim.name_any(), &params, claim).await;
    replaced.map(drop).map_err(Error::api::<AddressClaim>("correct", ObjectRef::from_obj(claim)))
}

/// Deletes this very claim, unless it is being deleted already.
pub(crate) async fn delete_claim(client: &Client, claim: &AddressClaim) -> Result<(), Error> {
    if claim.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let this_one = Preconditions { uid: claim.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(this_one), ..DeleteParams::default() };
    let deleted = api_of(client, claim).delete(&claim.name_any(), &params).await;
    gone(deleted).map_err(Error::api::<AddressClaim>("delete", ObjectRef::from_obj(claim)))
}

/// Whether something in the Service's status is of our writing.
pub(crate) fn has_our_status(service: &Service) -> bool {
    let ours = service.managed_fields().iter().filter(|entry| entry.manager.as_deref() == Some(MANAGER));
    let wrote_ingress = ours
        .filter_map(|entry| entry.fields_v1.as_ref())
        .any(|fields| fields.0.pointer("/f:status/f:loadBalancer/f:ingress").is_some());
    condition(service).is_some() || wrote_ingress && !ingress(service).is_empty()
}

/// Whether the Service carries our finalizer.
pub(crate) fn has_our_finalizer(service: &Service) -> bool {
    service.finalizers().iter().any(|finalizer| finalizer == contract::SERVICE_FINALIZER)
}
