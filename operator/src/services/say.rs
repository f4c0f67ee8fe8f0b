//! Writes what a Service's status is to say, and where its names are to lead, unless someone disputes it.

use std::{net::Ipv4Addr, time::Duration};

use k8s_openapi::{api::core::v1::Service, jiff::Timestamp};
use kube::runtime::{controller::Action, reflector::ObjectRef};

use super::{
    State,
    dispute::{self, Verdict},
    forwarded::{self, Forwarded},
    publish::{Ingress, Publication, transition},
    reasons, target, write,
};
use crate::error::Error;

/// After this long a Service is looked at again, although nothing told of a change.
pub(crate) const REVIEW: Duration = Duration::from_secs(300);
/// As [`REVIEW`], of a Service that waits for what it is not told of.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// Writes the publication, if the Service does not say it already and nobody disputes it. Gives the Service as it is
/// then, and when to look at it again: after `due` at the latest.
pub(crate) async fn publish(
    state: &State,
    service: &Service,
    publication: Publication,
    due: Option<Duration>,
) -> Result<(Service, Action), Error> {
    let now = (state.ctx.now)();
    let reason = publication.reason.as_str();
    let waits = reason == reasons::ADDRESS_TAKEN || reasons::OF_ANOTHER_CLAIM.contains(&reason);
    let action = review(if waits { SOON } else { REVIEW }, due);
    let target = publication.target();
    let mut service = service.clone();
    if let Some(status) = publication.status(&service, now) {
        match state.memory.of(&service, |it| it.writings.may_publish(now, &service, &publication)) {
            Verdict::Write => {}
            Verdict::Stop => return stop(state, &service, now).await,
            Verdict::Stopped(until) => return Ok((service, at(now, until))),
        }
        let written = write::apply_status(&state.ctx.client, &service, Some(&status)).await?;
        let news =
            [transition(&service, &publication), forwarded::transition(&service, &publication.forwarded)];
        for notice in news.into_iter().flatten() {
            state.tell(&service, notice).await;
        }
        state.memory.of(&service, |it| it.writings.published(now, publication));
        service = written;
    }
    Ok((lead_names(state, service, target, now).await?, action))
}

/// Leads the Service's names to `wanted`, as far as external-dns heeds that and nobody disputes it. Gives the Service as it
/// is then.
async fn lead_names(
    state: &State,
    service: Service,
    wanted: Option<Ipv4Addr>,
    now: Timestamp,
) -> Result<Service, Error> {
    let Some(change) = target::change(&service, wanted) else { return Ok(service) };
    match state.memory.of(&service, |it| it.targets.may_rewrite(now, &service)) {
        Verdict::Write => {}
        Verdict::Stop => {
            tracing::warn!(service = %ObjectRef::from_obj(&service), "its external-dns target is changed again and again");
            state.memory.of(&service, |it| it.targets.stopped(now, &service));
            return Ok(service);
        }
        Verdict::Stopped(_) => return Ok(service),
    }
    let written = write::apply_target(&state.ctx.client, &service, change.value()).await?;
    state.memory.of(&service, |it| it.targets.rewrote(now));
    Ok(written)
}

/// Says that there is a dispute about the Service, and with whom.
pub(crate) async fn stop(
    state: &State,
    service: &Service,
    now: Timestamp,
) -> Result<(Service, Action), Error> {
    let opponent = state.memory.of(service, |it| it.writings.opponent(service));
    let minutes = dispute::PAUSE.as_secs() / 60;
    let publication = Publication {
        ingress: Ingress::Disputed,
        reason: reasons::STATUS_DISPUTED.to_owned(),
        message: format!(
            "{opponent} keeps changing the Service's status or finalizers, so Foghorn leaves them alone for {minutes} \
             minutes or until the spec changes: let only one controller serve the Service"
        ),
        forwarded: Forwarded::as_before(service),
    };
    let mut written = service.clone();
    if let Some(status) = publication.status(service, now) {
        written = write::apply_status(&state.ctx.client, service, Some(&status)).await?;
    }
    if let Some(notice) = transition(service, &publication) {
        state.tell(service, notice).await;
    }
    state.memory.of(service, |it| it.writings.stopped(now, service));
    Ok((written, Action::requeue(dispute::PAUSE)))
}

/// Looks again after that time, or after `due` if that is sooner.
pub(crate) fn review(after: Duration, due: Option<Duration>) -> Action {
    Action::requeue(due.map_or(after, |due| due.min(after)))
}

/// Looks again then.
pub(crate) fn at(now: Timestamp, then: Timestamp) -> Action {
    Action::requeue(then.duration_since(now).unsigned_abs())
}
