//! The end of a plane: its addresses are released while its announcers still run, then all that it has goes.

use foghorn_crds::{NetworkPlane, contract};
use k8s_openapi::{api::core::v1::Namespace, jiff::Timestamp};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Preconditions},
    core::ObjectMeta,
    runtime::controller::Action,
};

use super::{children, controller::Planes};
use crate::{
    error::{Error, gone},
    services::write,
};

/// How often an end that makes no progress is looked at.
const LOOK: std::time::Duration = std::time::Duration::from_secs(2);
/// How long the namespace is waited for. What keeps it then is not the plane's: another controller's finalizer, or an
/// aggregated API that does not answer.
const NAMESPACE_SECONDS: u32 = 60;
/// How long after the deletion announcers are waited for that have something on their node's network.
pub(crate) const DATAPATH_SECONDS: u32 = 20;

impl Planes {
    /// Does the next step to the end of a plane that is being deleted.
    pub(super) async fn delete(&self, plane: &NetworkPlane) -> Result<Action, Error> {
        if !plane.finalizers().iter().any(|finalizer| finalizer == contract::PLANE_FINALIZER) {
            return Ok(Action::await_change());
        }
        let claims = self.claims_of(&plane.name_any());
        for claim in &claims {
            write::delete_claim(&self.ctx.client, claim).await?;
        }
        let ports = plane.status.as_ref().and_then(|status| status.ports);
        // Announcers that are gone remove nothing more; what is left then, the announcers of other planes remove.
        let since = plane.metadata.deletion_timestamp.as_ref();
        let has_time = since.is_some_and(|since| !is_later(since.0, (self.ctx.now)(), DATAPATH_SECONDS));
        if !claims.is_empty() || (has_time && self.leaves_datapath(plane)) {
            self.report(plane, None, ports).await?;
            return Ok(Action::requeue(LOOK));
        }
        if let Some(namespace) = self.namespace(plane).filter(|namespace| children::is_own(namespace, plane))
        {
            match &namespace.metadata.deletion_timestamp {
                None => {
                    delete_namespace(&self.ctx.client, &namespace.metadata).await?;
                    self.report(plane, None, ports).await?;
                    return Ok(Action::requeue(LOOK));
                }
                Some(since) if !is_later(since.0, (self.ctx.now)(), NAMESPACE_SECONDS) => {
                    return Ok(Action::requeue(LOOK));
                }
                Some(_) => tracing::warn!(
                    plane = %plane.name_any(),
                    namespace = %namespace.name_any(),
                    "the namespace is kept by something that is not the plane's, no longer waiting for it"
                ),
            }
        }
        let mut finalizers = plane.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != contract::PLANE_FINALIZER);
        gone_is_fine(self.set_finalizers(plane, &finalizers).await)?;
        tracing::info!(plane = %plane.name_any(), "the plane is gone");
        Ok(Action::await_change())
    }
}

/// Deletes this very namespace; one that is gone is no error.
///
/// # Errors
/// If the API server refuses, or cannot be reached.
pub(crate) async fn delete_namespace(client: &Client, namespace: &ObjectMeta) -> Result<(), Error> {
    let name = namespace.name.clone().unwrap_or_default();
    let this_one = Preconditions { uid: namespace.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(this_one), ..DeleteParams::default() };
    let api: Api<Namespace> = Api::all(client.clone());
    tracing::info!(namespace = %name, "deleting the plane's namespace");
    gone(api.delete(&name, &params).await).map_err(Error::api::<Namespace>("delete", name))
}

fn is_later(since: Timestamp, now: Timestamp, seconds: u32) -> bool {
    now.as_second().saturating_sub(since.as_second()) > seconds.into()
}

fn gone_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    }
}
