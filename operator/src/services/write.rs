//! What is written to Services and claims. Nothing is written on the ground of an outdated state: each write names the
//! version, or at least the very object, that it was decided on.

use foghorn_crds::{AddressClaim, contract};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Service, ServiceStatus},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::reflector::ObjectRef,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{forwarded, publish, target};
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
    let mut applied = of_version(service);
    if let (Some(status), Some(applied)) = (status, applied.as_object_mut()) {
        applied.insert("status".to_owned(), json!(status));
    }
    let params = PatchParams::apply(MANAGER).force();
    api_of(client, service)
        .patch_status(&service.name_any(), &params, &Patch::Apply(&applied))
        .await
        .map_err(Error::api::<Service>("write the status of", ObjectRef::from_obj(service)))
}

/// Writes where external-dns leads the Service's names, or takes it back. Nothing else of the Service's metadata is ever
/// changed but finalizers.
pub(crate) async fn apply_target(
    client: &Client,
    service: &Service,
    target: Option<&str>,
) -> Result<Service, Error> {
    let patch = json!({
        "metadata": {
            "uid": service.uid(),
            "resourceVersion": service.resource_version(),
            "annotations": target::annotations(service, target),
        },
    });
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patched =
        api_of(client, service).patch_metadata(&service.name_any(), &params, &Patch::Merge(&patch)).await;
    let name = ObjectRef::from_obj(service);
    let patched = patched.map_err(Error::api::<Service>("write the external-dns target of", name))?;
    Ok(Service { metadata: patched.metadata, ..service.clone() })
}

/// Nothing of the Service but that it is this one, as it was looked at.
fn of_version(service: &Service) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service.name_any(),
            "namespace": service.namespace(),
            "uid": service.uid(),
            "resourceVersion": service.resource_version(),
        },
    })
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
    let mut object = object.clone();
    *object.meta_mut() = set_finalizers(client, &object, finalizers).await?;
    Ok(object)
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

/// Gives the object's metadata as they are then. Nothing else of it is read: it goes though its status is unreadable.
async fn set_finalizers<K>(client: &Client, object: &K, finalizers: Vec<&str>) -> Result<ObjectMeta, Error>
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
    let patched =
        api_of(client, object).patch_metadata(&object.name_any(), &params, &Patch::Merge(&patch)).await;
    let name = ObjectRef::from_obj(object);
    patched.map(|patched| patched.metadata).map_err(Error::api::<K>("set the finalizers of", name))
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
    let says_something = publish::condition(service).or(forwarded::condition(service)).is_some();
    says_something || publish::is_ours(service)
}

/// Whether the Service carries our finalizer.
pub(crate) fn has_our_finalizer(service: &Service) -> bool {
    service.finalizers().iter().any(|finalizer| finalizer == contract::SERVICE_FINALIZER)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            fixtures::{self, server},
            publish::Publication,
        },
        *,
    };

    #[tokio::test]
    async fn a_status_is_applied_to_the_version_that_was_looked_at() {
        let service = fixtures::service("web").build();
        let status = Publication::none("Acquiring", "asking").status(&service, fixtures::at(1));
        let (client, server) = server(200, json!(service));
        apply_status(&client, &service, status.as_ref()).await.unwrap();
        let (line, body) = server.await.unwrap();
        assert_eq!(
            line,
            "PATCH /api/v1/namespaces/shop/services/web/status?&force=true&fieldManager=foghorn-operator"
        );
        assert_eq!(body["metadata"]["resourceVersion"], "1");
        assert_eq!(body["metadata"]["uid"], "uid-web");
        assert_eq!(body["status"].get("loadBalancer"), None, "none of it is ours");
    }

    #[tokio::test]
    async fn what_is_let_go_of_is_applied_without_a_status() {
        let service = fixtures::service("web").build();
        let (client, server) = server(200, json!(service));
        apply_status(&client, &service, None).await.unwrap();
        assert_eq!(server.await.unwrap().1.get("status"), None);
    }

    #[tokio::test]
    async fn the_target_of_names_is_written_to_the_version_looked_at() {
        let service = fixtures::service("web").build();
        let (client, server) = server(200, json!(service));
        apply_target(&client, &service, Some("198.51.100.7")).await.unwrap();
        let (line, body) = server.await.unwrap();
        assert_eq!(line, "PATCH /api/v1/namespaces/shop/services/web?&fieldManager=foghorn-operator");
        assert_eq!(body["metadata"]["annotations"][contract::EXTERNAL_DNS_TARGET_ANNOTATION], "198.51.100.7");
        assert_eq!(
            (&body["metadata"]["resourceVersion"], &body["metadata"]["uid"]),
            (&json!("1"), &json!("uid-web"))
        );
    }

    #[tokio::test]
    async fn finalizers_of_others_stay_when_ours_goes() {
        let mut service = fixtures::service("web").build();
        service.metadata.finalizers =
            Some(vec!["example.com/other".into(), contract::SERVICE_FINALIZER.into()]);
        let (client, server) = server(200, json!(service));
        remove_finalizer(&client, &service, contract::SERVICE_FINALIZER).await.unwrap();
        let body = server.await.unwrap().1;
        assert_eq!(body["metadata"]["finalizers"], json!(["example.com/other"]));
        assert_eq!(body["metadata"]["resourceVersion"], "1");
    }

    #[tokio::test]
    async fn only_this_very_claim_is_deleted() {
        let claim = fixtures::claim("web");
        let (client, server) = server(404, refusal(404, "NotFound"));
        delete_claim(&client, &claim).await.unwrap();
        let (line, body) = server.await.unwrap();
        assert!(line.starts_with("DELETE /apis/foghorn.dev/v1alpha1/namespaces/foghorn-a/"), "{line}");
        assert_eq!(body["preconditions"]["uid"], "uid-claim-web");
    }

    #[tokio::test]
    async fn a_claim_that_is_there_already_is_no_error_and_an_outdated_write_is_a_conflict() {
        let claim = fixtures::claim("web");
        let (client, _server) = server(409, refusal(409, "AlreadyExists"));
        assert!(!create_claim(&client, &claim).await.unwrap());
        let (client, _server) = server(409, refusal(409, "Conflict"));
        assert!(replace_claim(&client, &claim).await.unwrap_err().is_conflict());
    }

    fn refusal(code: u16, reason: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure", "metadata": {},
            "code": code, "reason": reason, "message": reason,
        })
    }
}
