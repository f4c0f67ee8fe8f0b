//! A Service becomes a claim, and what came of the claim becomes the Service's status.
//!
//! - `request`: what a Service asks for, and of which plane.
//! - `admit`: whether the plane takes it on; `limits`: whether it has an address left.
//! - `overrides`: what its annotations change of how it is asked for.
//! - `forwarding`: which of its ports the gateway is to forward.
//! - `claim`: the claim that its address is asked with.
//! - `reach`: which of its ports can be reached, and from where.
//! - `serving`: which nodes may have the address, where it follows the endpoints; `endpoints` watches these.
//! - `validity`: how long what the claim says counts.
//! - `publish`: what its status says; `forwarded`: what of that is about ports.
//! - `target`: where external-dns leads its names.
//! - `dispute`: when someone else keeps changing that.
//! - `say`: writes what is to be said, unless there is a dispute.
//! - `service`: all of this, for one Service; `ending`: the end of a claim.

mod admit;
mod claim;
mod dispute;
mod ending;
mod endpoints;
#[cfg(test)]
pub(crate) mod fixtures;
mod forwarded;
mod forwarding;
#[cfg(test)]
mod hostile;
mod limits;
mod memory;
mod names;
mod overrides;
mod publish;
mod reach;
mod reasons;
mod request;
mod say;
mod service;
mod serving;
pub(crate) mod target;
mod validity;
pub(crate) mod write;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foghorn_crds::{AddressClaim, NetworkPlane};
use futures::{StreamExt, future, stream};
use k8s_openapi::api::{
    core::v1::{Namespace, Node, ObjectReference, Service},
    networking::v1::ServiceCIDR,
};
use kube::{
    Resource, ResourceExt,
    runtime::{
        Controller,
        controller::Config,
        events::{Event, EventType},
        reflector::ObjectRef,
        watcher,
    },
};
use tokio::time::Instant;

use crate::{
    context::Context,
    index::{self, ClaimKey, Index, ServiceKey},
    planes::{acceptance::is_accepted, refused_networks},
    reader::Reader,
    trim,
    watched::Watched,
};
pub(crate) use claim::is_genuine;
use endpoints::Endpoints;
use memory::{Key, Memory};
use publish::Notice;
pub(crate) use publish::held_address;
use validity::Announcers;

/// Longest note of an event, in octets.
const NOTE_MAX: usize = 1024;
/// So many Services, and so many claims, are looked at at once.
const CONCURRENCY: u16 = 16;

struct State {
    ctx: Arc<Context>,
    services: Watched<Service>,
    services_by: Arc<Index<Service, ServiceKey>>,
    endpoints: Endpoints,
    memory: Memory,
    /// Since when claims are seen to be ending, by UID.
    endings: Mutex<BTreeMap<String, Instant>>,
}

/// Serves all Services while the future is polled. It ends only when a watch does, which is at the end of the process.
pub async fn run(ctx: Arc<Context>) {
    let services_by = Arc::new(Index::new(index::of_service));
    let reader = Reader::new(&ctx.metrics).trimmed(trim::service).observed(services_by.clone());
    let (services, watch_services) = Watched::new(&ctx.client, watcher::Config::default(), reader);
    let state = Arc::new(State {
        ctx,
        services,
        services_by,
        endpoints: Endpoints::default(),
        memory: Memory::default(),
        endings: Mutex::default(),
    });
    let work = async {
        if state.is_ready().await {
            future::join(run_services(&state), run_claims(&state)).await;
        }
    };
    let watch_endpoints = state.endpoints.follow(state.ctx.client.clone());
    future::join3(work, watch_services, watch_endpoints).await;
}

fn run_services(state: &Arc<State>) -> impl Future<Output = ()> + use<> {
    let ctx = &state.ctx;
    let of_claim = mapper(state, |state, claim: &AddressClaim| state.services_of(claim));
    let of_plane = mapper(state, |state, plane: &NetworkPlane| state.services_on(plane));
    let of_namespace = mapper(state, |state, namespace: &Namespace| state.services_in(&namespace.name_any()));
    let of_node = mapper(state, |state, _: &Node| state.claimants());
    let of_service_cidr = mapper(state, |state, _: &ServiceCIDR| state.claimants());
    let service_cidrs = ctx
        .service_cidrs
        .as_ref()
        .map_or_else(|| stream::empty().boxed(), |cidrs| cidrs.news_of(|cidr| cidr.spec.clone()).boxed());
    // All Services are looked at in the beginning: what is there already need not ask for it once more.
    let planes = ctx.planes.news_of(|plane| {
        let accepted = is_accepted(plane);
        (plane.spec.clone(), accepted, plane.metadata.deletion_timestamp.clone(), plane.metadata.uid.clone())
    });
    let of_announcers = mapper(state, |state, plane: &NetworkPlane| state.services_missed_on(plane));
    let announcers = ctx.planes.changes_of(|plane| Announcers::of(plane).to_vec());
    // Of one that goes without our finalizer there is no reconciliation any more.
    let state_of_gone = state.clone();
    let services = state.services.changes().inspect(move |service| state_of_gone.forget_if_gone(service));
    Controller::for_shared_stream(services, state.services.store().clone())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .watches_shared_stream(ctx.claims.changes(), of_claim)
        .watches_shared_stream(planes, of_plane)
        .watches_shared_stream(announcers, of_announcers)
        .watches_shared_stream(
            ctx.namespaces.news_of(|namespace| namespace.metadata.labels.clone()),
            of_namespace,
        )
        .watches_shared_stream(ctx.nodes.news_of(|node| refused_networks([node], [], &[])), of_node)
        .watches_shared_stream(service_cidrs, of_service_cidr)
        .reconcile_on(state.endpoints.changes())
        .run(service::reconcile, service::retry, state.clone())
        .for_each(|_| future::ready(()))
}

fn run_claims(state: &Arc<State>) -> impl Future<Output = ()> + use<> {
    let claims = &state.ctx.claims;
    let of_service = mapper(state, |state, service: &Service| {
        state.claims_of(service).iter().map(|claim| ObjectRef::from_obj(&**claim)).collect()
    });
    Controller::for_shared_stream(claims.changes(), claims.store().clone())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .watches_shared_stream(state.services.changes(), of_service)
        .run(ending::reconcile, ending::retry, state.clone())
        .for_each(|_| future::ready(()))
}

fn mapper<From, To: Resource, Map: Fn(&State, &From) -> Vec<ObjectRef<To>>>(
    state: &Arc<State>,
    map: Map,
) -> impl Fn(Arc<From>) -> Vec<ObjectRef<To>> + use<From, To, Map> {
    let state = state.clone();
    move |object| map(&state, &object)
}

impl State {
    /// Waits until all is known that decisions rest on; false if that will never be.
    async fn is_ready(&self) -> bool {
        self.services.store().wait_until_ready().await.is_ok() && self.ctx.ready().await.is_ok()
    }

    /// The claims of the Service, and of others that had its name before.
    fn claims_of(&self, service: &Service) -> Vec<Arc<AddressClaim>> {
        self.claims_of_name(memory::key(service))
    }

    /// The claims of all Services that have, or had, this name.
    fn claims_of_name(&self, (namespace, name): Key) -> Vec<Arc<AddressClaim>> {
        let mut claims = self.ctx.claims_by.get(&ClaimKey::Service(namespace, name));
        claims.retain(|claim| claim::is_genuine(claim));
        claims
    }

    /// The claim's very Service.
    fn service_of(&self, claim: &AddressClaim) -> Option<Arc<Service>> {
        let service = self.services.store().get(&reference(key_of(claim)))?;
        (service.uid().as_ref() == Some(&claim.spec.service_ref.uid)).then_some(service)
    }

    /// The Services that a change of the claim may concern: its own; those that wait for what it gives back; those
    /// whose claims have its address, or want to be who it is to the DHCP server.
    fn services_of(&self, claim: &AddressClaim) -> Vec<ObjectRef<Service>> {
        let claims = self.ctx.claims.store();
        let mut keys = vec![key_of(claim)];
        if claims.get(&ObjectRef::from_obj(claim)).is_none() {
            keys.extend(self.memory.waiting_for(&claim.spec.plane));
        }
        keys.extend(rivals(&self.ctx.claims_by, claim).iter().map(|rival| key_of(rival)));
        keys.sort();
        keys.dedup();
        keys.into_iter().map(reference).collect()
    }

    /// The Services that may be the plane's, or were.
    fn services_on(&self, plane: &NetworkPlane) -> Vec<ObjectRef<Service>> {
        let class = plane.spec.load_balancer_class.clone();
        self.services_with([ServiceKey::Class(None), ServiceKey::Class(Some(class))])
    }

    /// The Services on the plane that miss an announcer where they need one.
    fn services_missed_on(&self, plane: &NetworkPlane) -> Vec<ObjectRef<Service>> {
        let (name, announcers) = (plane.name_any(), Announcers::of(plane));
        let missing = self.ctx.claims.store().state_filter(|claim| {
            claim.spec.plane == name && announcers.are_missed_by(claim) && claim::is_genuine(claim)
        });
        missing.iter().map(|claim| reference(key_of(claim))).collect()
    }

    fn services_in(&self, namespace: &str) -> Vec<ObjectRef<Service>> {
        self.services_with([ServiceKey::Namespace(namespace.to_owned())])
    }

    /// The Services that have claims.
    fn claimants(&self) -> Vec<ObjectRef<Service>> {
        self.ctx.claims.store().state().iter().map(|claim| reference(key_of(claim))).collect()
    }

    fn services_with(&self, keys: impl IntoIterator<Item = ServiceKey>) -> Vec<ObjectRef<Service>> {
        let services = self.services_by.get_any(keys);
        services.iter().map(|service| ObjectRef::from_obj(&**service)).collect()
    }

    fn labels_of(&self, namespace: &str) -> BTreeMap<String, String> {
        let namespace = self.ctx.namespaces.store().get(&ObjectRef::new(namespace));
        namespace.and_then(|namespace| namespace.metadata.labels.clone()).unwrap_or_default()
    }

    fn endings(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.endings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_if_gone(&self, service: &Service) {
        if self.services.store().get(&ObjectRef::from_obj(service)).is_none() {
            self.memory.forget(&memory::key(service));
            self.endpoints.forget(&memory::key(service));
        }
    }

    /// In a namespace that is gone, or on its way out, there are no new events.
    fn takes_events(&self, namespace: Option<&str>) -> bool {
        let namespace = namespace.and_then(|name| self.ctx.namespaces.store().get(&ObjectRef::new(name)));
        namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none())
    }

    /// Publishes an event on the Service.
    async fn tell(&self, service: &Service, notice: Notice) {
        self.tell_about(&service.object_ref(&()), notice).await;
    }

    /// Publishes an event. One that cannot be published stops nothing.
    async fn tell_about(&self, about: &ObjectReference, notice: Notice) {
        let type_ = if notice.warning { EventType::Warning } else { EventType::Normal };
        let Notice { reason, action, mut note, .. } = notice;
        note.truncate(note.floor_char_boundary(NOTE_MAX));
        tracing::info!(namespace = ?about.namespace, name = ?about.name, reason, note, "event");
        if !self.takes_events(about.namespace.as_deref()) {
            return;
        }
        let event = Event { type_, reason, note: Some(note), action, secondary: None };
        match self.ctx.recorder.publish(&event, about).await {
            Ok(()) => {}
            // The namespace's deletion may be news to the watch.
            Err(kube::Error::Api(status))
                if status.is_forbidden() && status.message.contains("terminated") => {}
            Err(error) => tracing::warn!(%error, reason = event.reason, "cannot publish an event"),
        }
    }
}

/// The claims that have the address of `claim`, or ask to be who it is to the DHCP server.
fn rivals(claims: &Index<AddressClaim, ClaimKey>, claim: &AddressClaim) -> Vec<Arc<AddressClaim>> {
    let address = publish::held_address(claim).map(ClaimKey::Address);
    claims.get_any(address.into_iter().chain(index::identities(claim).map(ClaimKey::Wants)))
}

fn key_of(claim: &AddressClaim) -> Key {
    let service = &claim.spec.service_ref;
    (service.namespace.clone(), service.name.clone())
}

fn reference((namespace, name): Key) -> ObjectRef<Service> {
    ObjectRef::new(&name).within(&namespace)
}

#[cfg(test)]
mod tests {
    use super::{fixtures::*, *};
    use crate::index::Observer;

    #[test]
    fn the_work_of_a_start_grows_with_the_number_of_claims() {
        let claims = Index::new(index::of_claim);
        let all: Vec<_> = (0..10_000_u32)
            .map(|n| bound(&format!("web-{n}"), &std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string()))
            .collect();
        all.iter().for_each(|claim| claims.put(&Arc::new(claim.clone())));
        let looked_at = |claim: &AddressClaim| {
            let service = &claim.spec.service_ref;
            let own = claims.get(&ClaimKey::Service(service.namespace.clone(), service.name.clone()));
            own.len() + rivals(&claims, claim).len()
        };
        assert_eq!(all.iter().map(looked_at).sum::<usize>(), 2 * all.len());
    }

    #[test]
    fn a_claim_concerns_those_that_share_its_address_or_want_its_identity() {
        let claims = Index::new(index::of_claim);
        let mut wants = claim("wants");
        wants.spec.dhcp.hardware_address = Some("02:00:5e:10:00:01".into());
        let mut has = bound("has", "203.0.113.7");
        has.spec.dhcp.hardware_address = Some("02:00:5e:10:00:01".into());
        let others = [wants, has.clone(), bound("same", "203.0.113.7"), bound("other", "203.0.113.8")];
        others.into_iter().for_each(|claim| claims.put(&Arc::new(claim)));
        let mut names: Vec<_> = rivals(&claims, &has).iter().map(|claim| key_of(claim).1).collect();
        names.sort();
        names.dedup();
        assert_eq!(names, ["has", "same", "wants"]);
    }
}
