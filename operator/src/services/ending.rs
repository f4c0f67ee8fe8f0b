//! The end of a claim: when its lease is given back it may go, and a claim without its Service ends.

use std::{sync::Arc, time::Duration};

use foghorn_crds::{AddressClaim, ClaimState, contract};
use k8s_openapi::api::core::v1::{ObjectReference, Service};
use kube::{
    Api, ResourceExt,
    runtime::{controller::Action, reflector::ObjectRef},
};
use tokio::time::Instant;

use super::{
    State, claim,
    publish::{self, Notice},
    say, write,
};
use crate::error::Error;

/// How long announcers have for giving a lease back.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(5);

/// What is to be done with a claim that is being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// All is done: it may go.
    Finish,
    /// Nobody gave its lease back: it goes all the same.
    GiveUp,
    /// Its announcer, or its Service's status, is not ready for that.
    Wait(Duration),
}

fn ending(claim: &AddressClaim, is_published: bool, waited: Duration) -> Ending {
    let released = claim.status.as_ref().and_then(|status| status.state) == Some(ClaimState::Released);
    match PATIENCE.checked_sub(waited).filter(|left| !left.is_zero()) {
        _ if released && !is_published => Ending::Finish,
        Some(left) => Ending::Wait(left),
        None if released => Ending::Finish,
        None => Ending::GiveUp,
    }
}

/// Ends a claim that is to end, and lets go of one that has ended.
pub(crate) async fn reconcile(claim: Arc<AddressClaim>, state: Arc<State>) -> Result<Action, Error> {
    let result = attend(&state, &claim).await;
    state.ctx.metrics.reconciled("claim", &result);
    result
}

/// When a failed claim is looked at again.
pub(crate) fn retry(_: Arc<AddressClaim>, error: &Error, _: Arc<State>) -> Action {
    if error.is_conflict() {
        tracing::debug!(%error, "outdated, looking again");
        return Action::requeue(Duration::from_secs(1));
    }
    if error.is_not_found() {
        // The watch tells of what comes or goes.
        return Action::requeue(say::REVIEW);
    }
    tracing::warn!(%error, "claim is tried again");
    Action::requeue(RETRY)
}

async fn attend(state: &State, claim: &AddressClaim) -> Result<Action, Error> {
    if claim.metadata.deletion_timestamp.is_some() {
        return finish(state, claim).await;
    }
    if claim::is_genuine(claim) && !has_service(state, claim).await? {
        tracing::info!(claim = %ObjectRef::from_obj(claim), "its Service is gone, ending");
        write::delete_claim(&state.ctx.client, claim).await?;
    }
    Ok(Action::await_change())
}

/// Whether the very Service of the claim is there, by the API server's own word where the watch does not know it.
async fn has_service(state: &State, claim: &AddressClaim) -> Result<bool, Error> {
    let wanted = &claim.spec.service_ref;
    if state.service_of(claim).is_some() {
        return Ok(true);
    }
    let api: Api<Service> = Api::namespaced(state.ctx.client.clone(), &wanted.namespace);
    let name = format!("{}/{}", wanted.namespace, wanted.name);
    let found = api.get_metadata_opt(&wanted.name).await.map_err(Error::api::<Service>("get", name))?;
    Ok(found.is_some_and(|found| found.uid().as_ref() == Some(&wanted.uid)))
}

async fn finish(state: &State, claim: &AddressClaim) -> Result<Action, Error> {
    if !claim.finalizers().iter().any(|finalizer| finalizer == contract::CLAIM_FINALIZER) {
        return Ok(Action::await_change());
    }
    let uid = claim.uid().unwrap_or_default();
    let since = *state.endings().entry(uid.clone()).or_insert_with(Instant::now);
    let is_published = state.service_of(claim).is_some_and(|service| publish::is_ours(&service));
    let ending = ending(claim, is_published, since.elapsed());
    if let Ending::Wait(left) = ending {
        return Ok(Action::requeue(left));
    }
    write::remove_finalizer(&state.ctx.client, claim, contract::CLAIM_FINALIZER).await?;
    state.endings().remove(&uid);
    if let (Ending::GiveUp, Some(notice)) = (ending, not_given_back(claim)) {
        state.tell_about(&reference(claim), notice).await;
    }
    Ok(Action::await_change())
}

/// The event for a lease that stays with the DHCP server.
fn not_given_back(claim: &AddressClaim) -> Option<Notice> {
    let lease = claim.status.as_ref()?.lease.as_ref()?;
    let until = lease.expires_at.as_ref().map_or_else(
        || "never, as it has no end: remove it at the server".to_owned(),
        |end| format!("at {}", end.0.strftime("%Y-%m-%dT%H:%M:%SZ")),
    );
    let note = format!(
        "no announcer of plane {} answered within {} s, so the lease of {} was not given back to DHCP server {}; it \
         runs out {until}",
        claim.spec.plane,
        PATIENCE.as_secs(),
        lease.address,
        lease.server,
    );
    Some(Notice::warning("LeaseNotReleased", "Release", note))
}

/// The claim's Service, which may be gone.
fn reference(claim: &AddressClaim) -> ObjectReference {
    let service = &claim.spec.service_ref;
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Service".to_owned()),
        namespace: Some(service.namespace.clone()),
        name: Some(service.name.clone()),
        uid: Some(service.uid.clone()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures::*, *};

    #[test]
    fn a_released_claim_may_go_once_its_address_is_published_no_more() {
        assert_eq!(ending(&released(), false, Duration::ZERO), Ending::Finish);
        assert_eq!(ending(&released(), true, Duration::from_secs(1)), Ending::Wait(Duration::from_secs(29)));
        assert_eq!(ending(&released(), true, PATIENCE), Ending::Finish);
    }

    #[test]
    fn announcers_have_thirty_seconds() {
        let held = deleting(bound("web", "203.0.113.7"));
        assert_eq!(ending(&held, false, Duration::from_secs(10)), Ending::Wait(Duration::from_secs(20)));
        assert_eq!(ending(&held, true, PATIENCE), Ending::GiveUp);
        assert_eq!(ending(&deleting(claim("web")), false, PATIENCE * 2), Ending::GiveUp);
    }

    #[test]
    fn a_lease_that_is_not_given_back_is_named_with_its_end() {
        let notice = not_given_back(&bound("web", "203.0.113.7")).unwrap();
        assert!(notice.warning);
        assert!(notice.note.contains("203.0.113.7"), "{}", notice.note);
        assert!(notice.note.contains("at 1970-01-01T01:00:04Z"), "{}", notice.note);
    }

    #[test]
    fn a_lease_without_end_is_named_too_and_no_lease_is_no_event() {
        let mut endless = bound("web", "203.0.113.7");
        endless.status.as_mut().unwrap().lease.as_mut().unwrap().expires_at = None;
        assert!(not_given_back(&endless).unwrap().note.contains("never"));
        assert_eq!(not_given_back(&claim("web")), None);
    }

    fn released() -> AddressClaim {
        let mut claim = deleting(bound("web", "203.0.113.7"));
        claim.status.as_mut().unwrap().state = Some(ClaimState::Released);
        claim
    }
}
