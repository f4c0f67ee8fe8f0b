//! Brings an object to the state that it should have, if it is not in it.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::reflector::ObjectRef,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{context::MANAGER, error::Error};

/// Annotation: digest of what the operator last applied. What is no longer wanted is in the object still, so a look
/// at the object alone would not show that something is to be taken out of it.
const APPLIED_ANNOTATION: &str = "foghorn.dev/applied";

/// Applies `desired` by server-side apply, unless `live` already says so. Fields that others added stay.
///
/// # Errors
/// If the API server refuses, or cannot be reached.
pub(super) async fn apply<K>(api: &Api<K>, live: Option<&K>, desired: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let desired_json = with_digest(desired).and_then(serde_json::to_value).map_err(unwritable)?;
    if let Some(live) = live {
        let live_json =
            serde_json::to_value(live).map_err(|source| Error::Json { what: "a watched object", source })?;
        if contains(&live_json, &desired_json) {
            return Ok(());
        }
    }
    let name = desired.name_any();
    let params = PatchParams::apply(MANAGER).force();
    let full_name = ObjectRef::from_obj(desired).to_string();
    tracing::info!(object = %full_name, existed = live.is_some(), "applying");
    api.patch(&name, &params, &Patch::Apply(&desired_json))
        .await
        .map_err(Error::api::<K>("apply", full_name))?;
    Ok(())
}

/// Creates `desired`, or applies it if it is there. The right to create can be had before the right to change: that comes
/// with a RoleBinding that the API server may not have noticed yet.
///
/// # Errors
/// If the API server refuses, or cannot be reached.
pub(super) async fn create_or_apply<K>(api: &Api<K>, live: Option<&K>, desired: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    if live.is_none() {
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let object = with_digest(desired).map_err(unwritable)?;
        match api.create(&params, &object).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(Error::api::<K>("create", ObjectRef::from_obj(desired))(error)),
        }
    }
    apply(api, live, desired).await
}

/// The API of the kind in the namespace of `object`.
pub(crate) fn api_of<K>(client: &Client, object: &K) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), object.meta().namespace.as_deref().unwrap_or_default())
}

fn with_digest<K>(object: &K) -> Result<K, serde_json::Error>
where
    K: Resource<DynamicType = ()> + Clone + Serialize,
{
    let digest = Sha256::digest(serde_json::to_vec(object)?);
    let digest = digest.iter().take(8).map(|octet| format!("{octet:02x}")).collect();
    let mut object = object.clone();
    object.annotations_mut().insert(APPLIED_ANNOTATION.to_owned(), digest);
    Ok(object)
}

fn unwritable(source: serde_json::Error) -> Error {
    Error::Json { what: "a child of a plane", source }
}

/// Whether all that `desired` says is in `live` too. What is empty in one may be absent in the other; lists have the
/// same length.
fn contains(live: &Value, desired: &Value) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => {
            desired.iter().all(|(key, desired)| contains(live.get(key).unwrap_or(&Value::Null), desired))
        }
        (Value::Array(live), Value::Array(desired)) => {
            live.len() == desired.len()
                && live.iter().zip(desired).all(|(live, desired)| contains(live, desired))
        }
        (Value::Null, Value::Object(desired)) => desired.is_empty(),
        (Value::Null, Value::Array(desired)) => desired.is_empty(),
        (live, desired) => live == desired,
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;
    use tower_test::mock::{self, Handle};

    use super::*;
    use crate::planes::{children, fixtures::plane};

    #[test]
    fn what_the_server_added_is_no_difference() {
        let desired = json!({"spec": {"containers": [{"name": "a"}], "tolerations": []}});
        let live = json!({"spec": {"containers": [{"name": "a", "policy": "Always"}]}, "status": {}});
        assert!(contains(&live, &desired));
    }

    #[test]
    fn a_changed_value_a_missing_key_and_a_longer_list_are_differences() {
        let desired = json!({"a": {"b": 1, "list": ["x"]}});
        assert!(!contains(&json!({"a": {"b": 2, "list": ["x"]}}), &desired));
        assert!(!contains(&json!({"a": {"list": ["x"]}}), &desired));
        assert!(!contains(&json!({"a": {"b": 1, "list": ["x", "y"]}}), &desired));
        assert!(contains(&desired, &desired));
    }

    #[tokio::test]
    async fn what_is_as_it_should_be_costs_no_request() {
        let (client, mut server) = api_server();
        let account = children::service_account(&plane("blue", "x.dev/blue"));
        let live = with_digest(&account).unwrap();
        apply(&api_of(&client, &account), Some(&live), &account).await.unwrap();
        drop(client);
        assert!(server.next_request().await.is_none());
    }

    #[tokio::test]
    async fn drift_is_repaired_by_server_side_apply() {
        let (client, mut server) = api_server();
        let account = children::service_account(&plane("blue", "x.dev/blue"));
        let mut live = with_digest(&account).unwrap();
        live.labels_mut().clear();
        let answer = serde_json::to_vec(&account).unwrap();
        let served = tokio::spawn(async move {
            let (request, respond) = server.next_request().await.unwrap();
            respond.send_response(Response::new(Body::from(answer)));
            request
        });
        apply(&api_of(&client, &account), Some(&live), &account).await.unwrap();
        let request = served.await.unwrap();
        assert_eq!(request.method(), "PATCH");
        assert_eq!(request.headers()["content-type"], "application/apply-patch+yaml");
        let uri = request.uri().to_string();
        assert!(uri.starts_with("/api/v1/namespaces/foghorn-blue/serviceaccounts/announcer?"), "{uri}");
        assert!(uri.contains("force=true") && uri.contains("fieldManager=foghorn-operator"), "{uri}");
    }

    #[tokio::test]
    async fn what_is_missing_is_created_by_a_plain_request() {
        let (client, mut server) = api_server();
        let account = children::service_account(&plane("blue", "x.dev/blue"));
        let answer = serde_json::to_vec(&account).unwrap();
        let served = tokio::spawn(async move {
            let (request, respond) = server.next_request().await.unwrap();
            respond.send_response(Response::new(Body::from(answer)));
            request.method().to_string()
        });
        create_or_apply(&api_of(&client, &account), None, &account).await.unwrap();
        assert_eq!(served.await.unwrap(), "POST");
    }

    #[test]
    fn what_is_no_longer_wanted_shows_in_the_digest() {
        let mut more = children::service_account(&plane("blue", "x.dev/blue"));
        more.automount_service_account_token = Some(true);
        let live = json!(with_digest(&more).unwrap());
        assert!(contains(&live, &live));
        let less = json!(with_digest(&children::service_account(&plane("blue", "x.dev/blue"))).unwrap());
        assert!(!contains(&live, &less));
    }

    fn api_server() -> (Client, Handle<Request<Body>, Response<Body>>) {
        let (service, handle) = mock::pair();
        (Client::new(service, "default"), handle)
    }
}
