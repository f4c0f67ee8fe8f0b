//! One Service: from what it asks for to what its status says.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc, time::Duration};

use foghorn_crds::{AddressClaim, ClaimState, NetworkPlane, RefusedNetwork, contract};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Resource, ResourceExt,
    runtime::{controller::Action, reflector::ObjectRef},
};

use super::{
    State, admit, claim,
    dispute::Verdict,
    forwarded::{self, Forwarded},
    forwarding::{self, Forwarding},
    limits::{self, Taken, Waiting},
    memory::{Key, Remembered, key},
    overrides::{self, Overrides},
    publish::{self, Notice, Publication},
    reasons::{self, Unserved},
    request::{self, Standing},
    say, target,
    validity::{Announcers, Validity},
    write,
};
use crate::{
    error::Error,
    index::{self, ClaimKey, ServiceKey},
};

/// Brings one Service to the state that it should have, as far as that goes now.
pub(crate) async fn reconcile(service: Arc<Service>, state: Arc<State>) -> Result<Action, Error> {
    let result = attend(&state, &service).await;
    state.ctx.metrics.reconciled("service", &result);
    if result.is_ok() {
        state.memory.succeeded(&key(&service));
    }
    result
}

/// When a failed Service is looked at again. No other Service waits for it.
pub(crate) fn retry(service: Arc<Service>, error: &Error, state: Arc<State>) -> Action {
    if error.is_conflict() {
        tracing::debug!(%error, "outdated, looking again");
        return Action::requeue(Duration::from_secs(1));
    }
    if error.is_not_found() && state.services.store().get(&ObjectRef::from_obj(&*service)).is_none() {
        state.memory.forget(&key(&service));
        return Action::await_change();
    }
    let wait = state.memory.of(&service, Remembered::failed);
    tracing::warn!(%error, ?wait, "Service is tried again");
    Action::requeue(wait)
}

async fn attend(state: &State, service: &Service) -> Result<Action, Error> {
    let claims = state.claims_of(service);
    if service.metadata.deletion_timestamp.is_some() {
        return let_go(state, service, &claims).await;
    }
    let live = claims.iter().find(|claim| is_of(claim, service) && !is_ending(claim));
    let claimed = live.map(|claim| claim.spec.plane.as_str());
    match request::standing(service, &state.ctx.planes.store().state(), claimed) {
        Standing::NotOurs => let_go(state, service, &claims).await,
        Standing::Unserved(unserved) => refuse(state, service, &claims, unserved).await,
        // Too little is known of such a plane to judge by: what runs stays as it is, and nothing new begins.
        Standing::Of(plane) if state.ctx.planes.fault(&plane).is_some() => match live {
            Some(_) => Ok(Action::await_change()),
            None => {
                let message = format!("plane {} cannot be read: correct its spec", plane.name_any());
                let unserved = Unserved::new(reasons::PLANE_NOT_ACCEPTED, message);
                refuse(state, service, &claims, unserved).await
            }
        },
        Standing::Of(plane) => {
            let namespace = service.namespace().unwrap_or_default();
            let labels = state.labels_of(&namespace);
            if let Err(invalid) = admit::spec_is_valid(&plane) {
                return hold(state, service, &claims, live, invalid).await;
            }
            match admit::namespace_is_allowed(&plane, &namespace, &labels) {
                Ok(()) => serve(state, service, &claims, &plane).await,
                Err(unserved) => refuse(state, service, &claims, unserved).await,
            }
        }
    }
}

/// Ends what the Service has of us and takes our marks off it. One that has none is not touched.
///
/// The claim ends first: its announcer withdraws the address and gives it back. Then the status is cleared, then the
/// claim goes (see [`super::ending`]), then the finalizer.
async fn let_go(state: &State, service: &Service, claims: &[Arc<AddressClaim>]) -> Result<Action, Error> {
    let client = &state.ctx.client;
    end(state, claims).await?;
    state.endpoints.forget(&key(service));
    let mut service = service.clone();
    if write::has_our_status(&service) && claims.iter().all(|claim| is_withdrawn(claim)) {
        let had_address = publish::had_address(&service);
        service = match write::apply_status(client, &service, None).await {
            Err(error) if error.is_not_found() => return Ok(Action::await_change()),
            done => done?,
        };
        if had_address {
            let note = "address withdrawn: no plane serves this Service any more";
            state.tell(&service, Notice::normal("AddressWithdrawn", "Withdraw", note)).await;
        }
    }
    if target::is_ours(&service) && claims.iter().all(|claim| is_withdrawn(claim)) {
        service = match write::apply_target(client, &service, None).await {
            Err(error) if error.is_not_found() => return Ok(Action::await_change()),
            done => done?,
        };
    }
    if !claims.is_empty() {
        return Ok(Action::requeue(say::REVIEW));
    }
    if write::has_our_finalizer(&service) {
        write::remove_finalizer(client, &service, contract::SERVICE_FINALIZER).await?;
    }
    state.memory.forget(&key(&service));
    Ok(Action::await_change())
}

/// Says why the Service gets no address; a claim that it has from before ends.
async fn refuse(
    state: &State,
    service: &Service,
    claims: &[Arc<AddressClaim>],
    unserved: Unserved,
) -> Result<Action, Error> {
    end(state, claims).await?;
    if !reasons::OF_ANOTHER_CLAIM.contains(&unserved.reason) {
        state.memory.of(service, Remembered::expects_nothing);
    }
    let (service, action) = say::publish(state, service, unserved.into(), None).await?;
    if claims.is_empty() && write::has_our_finalizer(&service) {
        write::remove_finalizer(&state.ctx.client, &service, contract::SERVICE_FINALIZER).await?;
    }
    Ok(action)
}

async fn serve(
    state: &State,
    service: &Service,
    claims: &[Arc<AddressClaim>],
    plane: &NetworkPlane,
) -> Result<Action, Error> {
    let overrides = match overrides::of(service, plane) {
        Ok(overrides) => overrides,
        Err(unserved) => return refuse(state, service, claims, unserved).await,
    };
    let stays = |claim: &AddressClaim| {
        is_of(claim, service)
            && !is_ending(claim)
            && claim.spec.plane == plane.name_any()
            && claim::has_identity(claim, &overrides.request)
    };
    let (mine, former): (Vec<_>, Vec<_>) = claims.iter().cloned().partition(|claim| stays(claim));
    if !former.is_empty() {
        end(state, &former).await?;
        let waiting =
            Publication::none(reasons::FORMER_CLAIM_ENDING, "waiting for the previous claim to be released");
        return Ok(say::publish(state, service, waiting, None).await?.1);
    }
    let mine = mine.first();
    if let Err(unserved) = state.is_free(&overrides, mine) {
        state.memory.of(service, |it| it.waits_on(plane.name_any()));
        return refuse(state, service, claims, unserved).await;
    }
    let labels = state.labels_of(&service.namespace().unwrap_or_default());
    let forwarding = forwarding::of(service, plane, &labels);
    match mine {
        Some(claim) => keep(state, service, claim, plane, &overrides, &forwarding).await,
        None => begin(state, service, plane, &overrides, &forwarding).await,
    }
}

/// Makes the Service's claim, if the plane takes it on.
async fn begin(
    state: &State,
    service: &Service,
    plane: &NetworkPlane,
    overrides: &Overrides,
    forwarding: &Forwarding,
) -> Result<Action, Error> {
    if let Err(unserved) = admit(state, service, plane) {
        return refuse(state, service, &[], unserved).await;
    }
    let client = &state.ctx.client;
    let serving = state.serving_nodes(service).await?;
    let mut service = service.clone();
    if !write::has_our_finalizer(&service) {
        service = write::add_finalizer(client, &service, contract::SERVICE_FINALIZER).await?;
    }
    let claim = claim::desired(&service, plane, &overrides.request, serving, forwarding.claim.clone());
    if !write::create_claim(client, &claim).await? {
        // Made by the previous reconciliation, and not in the watch yet.
        return Ok(Action::requeue(say::SOON));
    }
    let publication = publish::of_claim(&claim, plane, &[], [], |_| false, &Validity::default())
        .with_note(overrides.passed_over.as_deref())
        .with_forwarded(forwarded::of(forwarding, &claim, plane, &[]));
    Ok(say::publish(state, &service, publication, None).await?.1)
}

/// Keeps the Service's claim right, and says what came of it.
async fn keep(
    state: &State,
    service: &Service,
    claim: &AddressClaim,
    plane: &NetworkPlane,
    overrides: &Overrides,
    forwarding: &Forwarding,
) -> Result<Action, Error> {
    let serving = state.serving_nodes(service).await?;
    let desired = claim::desired(service, plane, &overrides.request, serving, forwarding.claim.clone());
    let (claim, service) = match uphold(state, service, claim, &desired).await? {
        ControlFlow::Continue((claim, service)) => (claim, service),
        ControlFlow::Break(action) => return Ok(action),
    };
    let (publication, due) = state.outcome(&service, &claim, plane);
    let publication = publication
        .with_reach_of(&service, plane)
        .with_note(overrides.passed_over.as_deref())
        .with_forwarded(forwarded::of(forwarding, &claim, plane, &state.ctx.refused_networks()));
    Ok(say::publish(state, &service, publication, due).await?.1)
}

/// Leaves a Service as it is while the spec of its plane, or of the one that it is to have, cannot be used: what that says of
/// namespaces, subnets, annotations and ports counts for nothing. One that has no claim gets none.
async fn hold(
    state: &State,
    service: &Service,
    claims: &[Arc<AddressClaim>],
    live: Option<&Arc<AddressClaim>>,
    invalid: Unserved,
) -> Result<Action, Error> {
    let plane = live.and_then(|live| state.ctx.planes.store().get(&ObjectRef::new(&live.spec.plane)));
    let plane = plane.filter(|plane| plane.metadata.deletion_timestamp.is_none());
    let (Some(live), Some(plane)) = (live, plane) else {
        return refuse(state, service, claims, invalid).await;
    };
    let serving = state.serving_nodes(service).await?;
    let forwarding = forwarding::held(service, live.spec.forwarding.as_ref());
    let held = claim::held(live, service, serving, forwarding);
    let (claim, service) = match uphold(state, service, live, &held).await? {
        ControlFlow::Continue((claim, service)) => (claim, service),
        ControlFlow::Break(action) => return Ok(action),
    };
    let (publication, due) = state.outcome(&service, &claim, &plane);
    let publication = publication.with_forwarded(Forwarded::as_before(&service));
    if publication.is_said(&service) {
        return Ok(say::review(say::REVIEW, due));
    }
    Ok(say::publish(state, &service, publication, due).await?.1)
}

/// Makes the claim as it is desired, and puts our finalizer on the Service. Gives both as they are then, unless somebody keeps
/// removing the finalizer.
async fn uphold(
    state: &State,
    service: &Service,
    claim: &AddressClaim,
    desired: &AddressClaim,
) -> Result<ControlFlow<Action, (AddressClaim, Service)>, Error> {
    state.memory.of(service, Remembered::expects_nothing);
    let client = &state.ctx.client;
    // Announcers cannot read it either; all of its spec is the operator's to write.
    let unreadable = state.ctx.claims.fault(claim).map(|_| claim.clone());
    let corrected = claim::corrected(claim, desired).or(unreadable);
    if let Some(corrected) = &corrected {
        write::replace_claim(client, corrected).await?;
    }
    let claim = corrected.unwrap_or_else(|| claim.clone());
    if write::has_our_finalizer(service) {
        return Ok(ControlFlow::Continue((claim, service.clone())));
    }
    let now = (state.ctx.now)();
    Ok(match state.memory.of(service, |it| it.writings.may_rewrite(now, service)) {
        Verdict::Write => {
            let service = write::add_finalizer(client, service, contract::SERVICE_FINALIZER).await?;
            state.memory.of(&service, |it| it.writings.rewrote(now));
            ControlFlow::Continue((claim, service))
        }
        Verdict::Stop => ControlFlow::Break(say::stop(state, service, now).await?.1),
        Verdict::Stopped(until) => ControlFlow::Break(say::at(now, until)),
    })
}

/// Whether the plane takes on a Service that has no claim. If so, the address counts as used from now on.
fn admit(state: &State, service: &Service, plane: &NetworkPlane) -> Result<(), Unserved> {
    admit::plane_is_accepted(plane)?;
    let limits = &plane.spec.limits;
    if limits.addresses.is_none() && limits.addresses_per_namespace.is_none() {
        return Ok(());
    }
    let (name, me) = (plane.name_any(), key(service));
    state.memory.promise(service, &name, |promised| {
        let has_one =
            |key: &Key| state.claims_of_name(key.clone()).iter().any(|claim| claim.spec.plane == name);
        let mut by_namespace = BTreeMap::<_, usize>::new();
        for (namespace, _) in promised.iter().filter(|key| !has_one(key)) {
            *by_namespace.entry(namespace.as_str()).or_default() += 1;
        }
        let claims = &state.ctx.claims_by;
        let taken = Taken {
            all: by_namespace.values().sum::<usize>() + claims.count(&ClaimKey::Plane(name.clone())),
            of_namespace: |namespace: &str| {
                let claimed = claims.count(&ClaimKey::PlaneFor(name.clone(), namespace.to_owned()));
                claimed + by_namespace.get(namespace).copied().unwrap_or_default()
            },
        };
        let older = || {
            let mut older = state.unclaimed_before(service, plane);
            older.retain(|other| !promised.contains(&other.service));
            older
        };
        let planes = state.ctx.planes.store().state();
        let counts = |other: &Waiting| state.is_waiting_for(other, plane, &planes);
        limits::is_within_limits(plane, &taken, older, counts, &me)
    })
}

impl State {
    /// The nodes that may have the Service's address; none given if all may.
    async fn serving_nodes(&self, service: &Service) -> Result<Option<Vec<String>>, Error> {
        if request::is_local(service) {
            return self.endpoints.nodes(&self.ctx.client, &key(service)).await.map(Some);
        }
        self.endpoints.forget(&key(service));
        Ok(None)
    }

    /// Whether the Service can be who it wants to be to the DHCP server; `mine` is the claim that it has. Planes may be on
    /// one network.
    fn is_free(&self, overrides: &Overrides, mine: Option<&Arc<AddressClaim>>) -> Result<(), Unserved> {
        let wanted = index::wanted(&overrides.request).map(ClaimKey::Is);
        let mut others = self.ctx.claims_by.get_any(wanted);
        others.retain(|other| claim::is_genuine(other));
        overrides::is_free(&overrides.request, mine.map(|mine| &**mine), others.iter().map(|other| &**other))
    }

    /// What came of the Service's claim, and after which time it may be otherwise.
    fn outcome(
        &self,
        service: &Service,
        claim: &AddressClaim,
        plane: &NetworkPlane,
    ) -> (Publication, Option<Duration>) {
        let now = (self.ctx.now)();
        let announcers = Announcers::of(plane);
        let validity = self.memory.of(service, |it| it.doubts.look(now, claim, announcers));
        let refused = self.ctx.refused_networks();
        let rivals = self.rivals_of(claim, &refused);
        let publication = publish::of_claim(
            claim,
            plane,
            &refused,
            rivals.iter().map(|rival| &**rival),
            |claim| self.is_published(claim),
            &validity,
        );
        (publication, validity.due)
    }

    /// The other claims, of all planes, that have the address of `claim` and may have it.
    fn rivals_of(&self, claim: &AddressClaim, refused: &[RefusedNetwork]) -> Vec<Arc<AddressClaim>> {
        let Some(address) = publish::held_address(claim) else { return Vec::new() };
        let mut rivals = self.ctx.claims_by.get(&ClaimKey::Address(address));
        rivals.retain(|other| other.uid() != claim.uid() && claim::is_genuine(other));
        rivals.retain(|rival| {
            let plane = self.ctx.planes.store().get(&ObjectRef::new(&rival.spec.plane));
            plane.is_some_and(|plane| {
                let in_use = self.is_published(rival);
                let counts = in_use || admit::spec_is_valid(&plane).is_ok();
                counts && publish::check(address, rival, &plane, refused, in_use).is_ok()
            })
        });
        rivals
    }

    /// Whether the address of the claim is in the status of its Service.
    fn is_published(&self, claim: &AddressClaim) -> bool {
        let address = publish::held_address(claim);
        let service = self.service_of(claim);
        address.zip(service).is_some_and(|(address, service)| publish::publishes(&service, address))
    }

    /// The older Services that have no claim and may be the plane's, the oldest first.
    fn unclaimed_before(&self, service: &Service, plane: &NetworkPlane) -> Vec<Waiting> {
        let since = service.creation_timestamp();
        let class = plane.spec.load_balancer_class.clone();
        let mut services =
            self.services_by.get_any([ServiceKey::Class(None), ServiceKey::Class(Some(class))]);
        services.retain(|other| {
            other.metadata.deletion_timestamp.is_none() && other.creation_timestamp() <= since
        });
        let waiting = |service: &Service| Waiting {
            since: service.creation_timestamp().map(|time| time.0),
            service: key(service),
        };
        let me = waiting(service);
        let mut older: Vec<_> = services.iter().map(|other| waiting(other)).collect();
        older.retain(|other| *other < me && self.claims_of_name(other.service.clone()).is_empty());
        older.sort();
        older
    }

    /// Whether `plane`, one of `planes`, would serve the Service if it had addresses for all.
    fn is_waiting_for(&self, waiting: &Waiting, plane: &NetworkPlane, planes: &[Arc<NetworkPlane>]) -> bool {
        let (namespace, name) = &waiting.service;
        let Some(service) = self.services.store().get(&ObjectRef::new(name).within(namespace)) else {
            return false;
        };
        let its_plane = request::standing(&service, planes, None);
        matches!(its_plane, Standing::Of(its_plane) if its_plane.name_any() == plane.name_any())
            && admit::namespace_is_allowed(plane, namespace, &self.labels_of(namespace)).is_ok()
            && overrides::of(&service, plane).is_ok_and(|overrides| self.is_free(&overrides, None).is_ok())
    }
}

async fn end(state: &State, claims: &[Arc<AddressClaim>]) -> Result<(), Error> {
    for claim in claims.iter().filter(|claim| !is_ending(claim)) {
        tracing::info!(claim = %ObjectRef::from_obj(&**claim), "ending");
        write::delete_claim(&state.ctx.client, claim).await?;
    }
    Ok(())
}

/// Whether the claim is of this very Service.
fn is_of(claim: &AddressClaim, service: &Service) -> bool {
    Some(&claim.spec.service_ref.uid) == service.meta().uid.as_ref()
}

fn is_ending(claim: &AddressClaim) -> bool {
    claim.metadata.deletion_timestamp.is_some()
}

/// Whether nobody answers for the claim's address any longer, or ever did.
fn is_withdrawn(claim: &AddressClaim) -> bool {
    is_ending(claim) && claim.status.as_ref().is_none_or(|status| status.state == Some(ClaimState::Released))
}
