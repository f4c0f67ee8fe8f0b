//! A Service becomes a claim, and what came of the claim becomes the Service's status.
//!
//! - `request`: what a Service asks for, and of which plane.
//! - `admit`: whether the plane takes it on.
//! - `overrides`: what its annotations change of how it is asked for.
//! - `forwarding`: which of its ports the gateway is to forward.
//! - `claim`: the claim that its address is asked with.
//! - `reach`: which of its ports can be reached, and from where.
//! - `serving`: which nodes may have the address, where it follows the endpoints; `endpoints` watches these.
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
mod memory;
mod overrides;
mod publish;
mod reach;
mod reasons;
mod request;
mod say;
mod service;
mod serving;
pub(crate) mod target;
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
    planes::{acceptance::is_accepted, refused_networks},
    watched::Watched,
};
pub(crate) use claim::is_genuine;
use endpoints::Endpoints;
use memory::{Key, Memory};
use publish::Notice;

/// Longest note of an event, in octets.
const NOTE_MAX: usize = 1024;
/// So many Services, and so many claims, are looked at at once.
const CONCURRENCY: u16 = 16;

struct State {
    ctx: Arc<Context>,
    services: Watched<Service>,
    endpoints: Endpoints,
    memory: Memory,
    /// Since when claims are seen to be ending, by UID.
    endings: Mutex<BTreeMap<String, Instant>>,
}

/// Serves all Services while the future is polled. It ends only when a watch does, which is at the end of the process.
pub async fn run(ctx: Arc<Context>) {
    let (services, watch_services) = Watched::new(&ctx.client, watcher::Config::default());
    let state = Arc::new(State {
        ctx,
        services,
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
    let service_cidrs =
        ctx.service_cidrs.as_ref().map_or_else(|| stream::empty().boxed(), |cidrs| cidrs.changes().boxed());
    let planes = ctx.planes.changes_of(|plane| {
        let accepted = is_accepted(plane);
        (plane.spec.clone(), accepted, plane.metadata.deletion_timestamp.clone(), plane.metadata.uid.clone())
    });
    // Of one that goes without our finalizer there is no reconciliation any more.
    let state_of_gone = state.clone();
    let services = state.services.changes().inspect(move |service| state_of_gone.forget_if_gone(service));
    Controller::for_shared_stream(services, state.services.store().clone())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .watches_shared_stream(ctx.claims.changes(), of_claim)
        .watches_shared_stream(planes, of_plane)
        .watches_shared_stream(
            ctx.namespaces.changes_of(|namespace| namespace.metadata.labels.clone()),
            of_namespace,
        )
        .watches_shared_stream(ctx.nodes.changes_of(|node| refused_networks([node], [])), of_node)
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
        let (namespace, name) = memory::key(service);
        self.ctx.claims.store().state_filter(|claim| {
            let of = &claim.spec.service_ref;
            of.name == name && of.namespace == namespace && claim::is_genuine(claim)
        })
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
        let address = publish::held_address(claim);
        let rivals = claims.state_filter(|other| {
            let same_address = address.is_some() && publish::held_address(other) == address;
            same_address || overrides::taken_by(&other.spec.dhcp, claim).is_some()
        });
        keys.extend(rivals.iter().map(|rival| key_of(rival)));
        keys.sort();
        keys.dedup();
        keys.into_iter().map(reference).collect()
    }

    /// The Services that may be the plane's, or were.
    fn services_on(&self, plane: &NetworkPlane) -> Vec<ObjectRef<Service>> {
        let class = &plane.spec.load_balancer_class;
        self.services_where(|service| {
            let spec = service.spec.as_ref();
            let is_balancer = spec.is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"));
            let its_class = spec.and_then(|spec| spec.load_balancer_class.as_ref());
            is_balancer && its_class.is_none_or(|its_class| its_class == class)
        })
    }

    fn services_in(&self, namespace: &str) -> Vec<ObjectRef<Service>> {
        self.services_where(|service| service.metadata.namespace.as_deref() == Some(namespace))
    }

    /// The Services that have claims.
    fn claimants(&self) -> Vec<ObjectRef<Service>> {
        self.ctx.claims.store().state().iter().map(|claim| reference(key_of(claim))).collect()
    }

    fn services_where(&self, is_wanted: impl Fn(&Service) -> bool) -> Vec<ObjectRef<Service>> {
        self.services
            .store()
            .state_filter(is_wanted)
            .iter()
            .map(|service| ObjectRef::from_obj(&**service))
            .collect()
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

fn key_of(claim: &AddressClaim) -> Key {
    let service = &claim.spec.service_ref;
    (service.namespace.clone(), service.name.clone())
}

fn reference((namespace, name): Key) -> ObjectRef<Service> {
    ObjectRef::new(&name).within(&namespace)
}
