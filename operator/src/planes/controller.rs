//! Brings each plane's namespace to the state that its spec asks for, and says in its status how that stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use foghorn_clock::Instant;
use foghorn_crds::{
    AddressClaim, NetworkPlane, NetworkPlaneStatus, NodePreference, PlaneConfig, PlanePorts, contract,
};
use foghorn_shell::{clock::boot_time, readable::Readable};
use futures::StreamExt;
use ipnet::Ipv4Net;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ConfigMap, Event, Namespace, Secret},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::{
        Controller,
        controller::{self, Action},
        reflector::ObjectRef,
    },
};
use rand::{RngCore, SeedableRng, rngs::StdRng};

use super::{
    acceptance::{self, NotAccepted},
    apply::{api_of, apply, create_or_apply},
    children, config, daemonset, events, findings, keys, nodes,
    ports::{Ports, Range},
    status::Observed,
    world::World,
};
use crate::{
    context::{Context, MANAGER},
    error::Error,
    index::ClaimKey,
};

/// How many planes are worked on at once.
const CONCURRENCY: u16 = 4;
/// How long changes are collected before they are looked at together.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// How soon a plane is looked at again that something is wrong with that no watch would tell of.
const RETRY: Duration = Duration::from_secs(5);
/// How often a plane is looked at without a cause, and its heartbeat keys with one.
const RESYNC: Duration = Duration::from_mins(5);

/// The controller of planes.
pub(super) struct Planes {
    pub(super) ctx: Arc<Context>,
    world: World,
    ports: Mutex<Ports>,
    /// When the heartbeat keys of a plane, by UID, were last looked at, and what its annotation asked for then. They are not
    /// watched: that would need the right to read all Secrets of the cluster.
    keys_seen: Mutex<BTreeMap<String, (Instant, String)>>,
}

/// Runs the controller of planes while the future is polled; it never ends.
pub async fn run(ctx: Arc<Context>) {
    let (world, watches) = World::watch(&ctx.client, &ctx.metrics);
    let planes = Arc::new(Planes { ctx, world, ports: Mutex::default(), keys_seen: Mutex::default() });
    tokio::select! {
        () = watches => {}
        () = planes.control() => {}
    }
}

impl Planes {
    async fn control(self: Arc<Self>) {
        self.world.ready().await;
        // Fails only when the watch's task is gone, and then nobody waits here any longer.
        let _ = self.ctx.ready().await;
        Controller::for_shared_stream(self.ctx.planes.changes(), self.ctx.planes.store().clone())
            .with_config(controller::Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
            .reconcile_on(self.world.triggers(&self.ctx))
            .run(reconcile, retry, self)
            .for_each(|_| ready(()))
            .await;
    }

    async fn reconcile(&self, plane: &NetworkPlane) -> Result<Action, Error> {
        if plane.metadata.deletion_timestamp.is_some() {
            return self.delete(plane).await;
        }
        if !plane.finalizers().iter().any(|finalizer| finalizer == contract::PLANE_FINALIZER) {
            let mut finalizers = plane.finalizers().to_vec();
            finalizers.push(contract::PLANE_FINALIZER.to_owned());
            self.set_finalizers(plane, &finalizers).await?;
            return Ok(Action::await_change());
        }
        let judgement = self.judge(plane);
        let ports = match &judgement {
            Ok(_) | Err(NotAccepted::Invalid(_) | NotAccepted::Unreadable(_)) => Some(self.ports_of(plane)?),
            Err(NotAccepted::Conflict(_) | NotAccepted::NamespaceTaken(_)) => None,
        };
        // Ports are on record before anything listens on them.
        let known_ports = plane.status.as_ref().and_then(|status| status.ports);
        match (&judgement, ports.filter(|_| ports == known_ports)) {
            (Ok(subnets), Some(ports)) => self.apply_children(plane, subnets.clone(), ports).await?,
            (Ok(_), None) => {}
            (Err(NotAccepted::Invalid(_) | NotAccepted::Unreadable(_)), _) => {
                self.refresh_config(plane).await?;
            }
            (Err(NotAccepted::Conflict(_) | NotAccepted::NamespaceTaken(_)), _) => {
                self.remove_announcers(plane).await?;
            }
        }
        self.report(plane, judgement.as_ref().err(), ports).await
    }

    /// Writes the plane's status, if it is another one.
    pub(super) async fn report(
        &self,
        plane: &NetworkPlane,
        not_accepted: Option<&NotAccepted>,
        ports: Option<PlanePorts>,
    ) -> Result<Action, Error> {
        let name = plane.name_any();
        let namespace = contract::plane_namespace(&name);
        let daemon_set = self.daemon_set(plane);
        let missing = Observed::missing_pods(daemon_set.as_deref()) > 0;
        let failed_create = if missing { self.failed_create(&namespace).await? } else { None };
        let all = self.ctx.planes.store().state();
        let lease = ObjectRef::new(&plane.lease_name()).within(&namespace);
        let status = Observed {
            plane,
            not_accepted,
            other_defaults: &acceptance::other_defaults(plane, all.iter().map(|plane| &**plane)),
            ports,
            daemon_set: daemon_set.as_deref(),
            pods: &self.world.pods_of(&name),
            nodes: &self.preferences(plane),
            failed_create: failed_create.as_deref(),
            claims: &self.claims_of(&name),
            lease: self.world.leases.store().get(&lease).as_deref(),
        }
        .status((self.ctx.now)());
        if plane.status.as_ref() != Some(&status) {
            self.write_status(plane, status).await?;
        }
        Ok(Action::requeue(if missing { RETRY } else { RESYNC }))
    }

    async fn write_status(&self, plane: &NetworkPlane, status: NetworkPlaneStatus) -> Result<(), Error> {
        let name = plane.name_any();
        let new = NetworkPlane { status: Some(status), ..plane.clone() };
        // In the version that was looked at only: a transition is then told of once.
        self.api().replace_status(&name, &PostParams::default(), &new).await.map_err(Error::api::<
            NetworkPlane,
        >(
            "update the status of",
            &name,
        ))?;
        events::tell(&self.ctx.recorder, plane, &new).await;
        Ok(())
    }

    fn judge(&self, plane: &NetworkPlane) -> Result<Vec<Ipv4Net>, NotAccepted> {
        let all = self.ctx.planes.store().state();
        let mut conflicts = acceptance::conflicts(all.iter().map(|plane| &**plane));
        if let Some(conflict) = conflicts.remove(&plane.uid().unwrap_or_default()) {
            return Err(NotAccepted::Conflict(conflict));
        }
        if let Some(namespace) = self.namespace(plane)
            && !children::is_own(&namespace, plane)
            && !children::is_of_name(&namespace, &plane.name_any())
        {
            return Err(NotAccepted::NamespaceTaken(namespace.name_any()));
        }
        self.usable(plane)
    }

    /// The subnets that the plane's spec allows, if the spec can be used.
    fn usable(&self, plane: &NetworkPlane) -> Result<Vec<Ipv4Net>, NotAccepted> {
        if let Some(fault) = self.ctx.planes.fault(plane) {
            return Err(NotAccepted::Unreadable(fault));
        }
        acceptance::allowed_subnets(plane).map_err(NotAccepted::Invalid)
    }

    async fn apply_children(
        &self,
        plane: &NetworkPlane,
        subnets: Vec<Ipv4Net>,
        ports: PlanePorts,
    ) -> Result<(), Error> {
        let client = &self.ctx.client;
        let options = &self.ctx.args;
        let live = self.namespace(plane);
        if live.as_ref().is_some_and(|namespace| is_passing(namespace, plane)) {
            return Ok(());
        }
        let namespace = children::namespace(plane);
        apply(&Api::all(client.clone()), live.as_deref(), &namespace).await?;
        self.look_after_heartbeat_keys(plane).await?;
        let cluster = self.cluster(plane)?;
        let config =
            config::plane_config(plane, &cluster, subnets, config::return_path(plane, ports, options));
        let config = children::config_map(plane, &config)
            .map_err(|source| Error::Json { what: "the configuration of a plane", source })?;
        let live = self.live_config(plane);
        apply(&api_of(client, &config), live.as_deref(), &config).await?;
        let account = children::service_account(plane);
        let live = self.world.service_accounts.store().get(&ObjectRef::from_obj(&account));
        apply(&api_of(client, &account), live.as_deref(), &account).await?;
        let binding = children::role_binding(plane, options);
        let live = self.world.role_bindings.store().get(&ObjectRef::from_obj(&binding));
        apply(&api_of(client, &binding), live.as_deref(), &binding).await?;
        let lease = children::lease(plane);
        let live = self.world.leases.store().get(&ObjectRef::from_obj(&lease));
        create_or_apply(&api_of(client, &lease), live.as_deref(), &lease).await?;
        let leaves_datapath = self.leaves_datapath(plane);
        let set = daemonset::daemon_set(plane, ports, options, leaves_datapath);
        let live = self.world.daemon_sets.store().get(&ObjectRef::from_obj(&set));
        apply(&api_of(client, &set), live.as_deref(), &set).await
    }

    /// Brings what is not of the plane's own spec to announcers that run by a former one.
    async fn refresh_config(&self, plane: &NetworkPlane) -> Result<(), Error> {
        if self.namespace(plane).is_none_or(|namespace| is_passing(&namespace, plane)) {
            return Ok(());
        }
        let Some(live) = self.live_config(plane) else { return Ok(()) };
        let Ok(running) = PlaneConfig::from_config_map(&live) else { return Ok(()) };
        let config = children::config_map(plane, &config::refreshed(running, &self.cluster(plane)?))
            .map_err(|source| Error::Json { what: "the configuration of a plane", source })?;
        apply(&api_of(&self.ctx.client, &config), Some(&*live), &config).await
    }

    /// What the plane's announcers are told at present.
    fn live_config(&self, plane: &NetworkPlane) -> Option<Arc<ConfigMap>> {
        let namespace = contract::plane_namespace(&plane.name_any());
        self.world.config_maps.store().get(&ObjectRef::new(contract::PLANE_CONFIG_MAP).within(&namespace))
    }

    /// What is known of the cluster, for the plane.
    fn cluster(&self, plane: &NetworkPlane) -> Result<config::Cluster, Error> {
        let planes = self.ctx.planes.store().state();
        let invalid = planes.iter().filter(|plane| self.usable(plane).is_err());
        let held = invalid.map(|plane| {
            let running = self.live_config(plane).and_then(|map| PlaneConfig::from_config_map(&map).ok());
            (plane.name_any(), running)
        });
        let held = held.collect();
        Ok(config::Cluster {
            id: self.cluster_id()?,
            refused_networks: self.ctx.refused_networks(),
            nodes: self.preferences(plane),
            planes,
            held,
        })
    }

    /// Makes the heartbeat keys if there are none, and changes them when it is time.
    async fn look_after_heartbeat_keys(&self, plane: &NetworkPlane) -> Result<(), Error> {
        let uid = plane.uid().unwrap_or_default();
        let (now, asked) = (boot_time(), keys::asked(plane));
        // Pods that cannot start may be waiting for the keys.
        let running = self.daemon_set(plane).is_some_and(|set| {
            set.status.as_ref().is_some_and(|status| {
                status.number_ready > 0 && status.number_ready == status.desired_number_scheduled
            })
        });
        let looked = |(at, was_asked): &(Instant, String)| now - *at < RESYNC && was_asked == asked;
        if running && lock(&self.keys_seen).get(&uid).is_some_and(looked) {
            return Ok(());
        }
        let mut key = [0; keys::KEY_LENGTH];
        StdRng::from_os_rng().fill_bytes(&mut key);
        let first = keys::first(plane, key, (self.ctx.now)());
        let api: Api<Secret> = api_of(&self.ctx.client, &first);
        let name = ObjectRef::from_obj(&first).to_string();
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match api.get_opt(&first.name_any()).await.map_err(Error::api::<Secret>("get", &name))? {
            None => {
                let created = api.create(&params, &first).await;
                created.map(drop).map_err(Error::api::<Secret>("create", &name))?;
            }
            Some(present) => {
                if let Some(new) = keys::rotated(&present, plane, key, (self.ctx.now)()) {
                    let replaced = api.replace(&first.name_any(), &params, &new).await;
                    replaced.map(drop).map_err(Error::api::<Secret>("update", &name))?;
                    tracing::info!(plane = %plane.name_any(), keys = %keys::named(&new), "the heartbeat keys have changed");
                }
            }
        }
        let alive: BTreeSet<_> =
            self.ctx.planes.store().state().iter().filter_map(|plane| plane.uid()).collect();
        let mut seen = lock(&self.keys_seen);
        seen.retain(|uid, _| alive.contains(uid));
        seen.insert(uid, (now, asked.to_owned()));
        Ok(())
    }

    /// A plane that lost its class to an older one has no announcers, even if it had some.
    async fn remove_announcers(&self, plane: &NetworkPlane) -> Result<(), Error> {
        match self.daemon_set(plane) {
            Some(set) if set.metadata.deletion_timestamp.is_none() => {
                let api = api_of(&self.ctx.client, &*set);
                let name = ObjectRef::from_obj(&*set).to_string();
                let this_one = Preconditions { uid: set.uid(), resource_version: None };
                let params = DeleteParams { preconditions: Some(this_one), ..DeleteParams::default() };
                let deleted = api.delete(&set.name_any(), &params).await;
                deleted.map(drop).map_err(Error::api::<DaemonSet>("delete", name))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The text of the last event that says why the DaemonSet's Pods cannot be made.
    async fn failed_create(&self, namespace: &str) -> Result<Option<String>, Error> {
        let fields = format!(
            "involvedObject.kind=DaemonSet,involvedObject.name={},reason=FailedCreate",
            contract::ANNOUNCER_NAME
        );
        let api: Api<Readable<Event>> = Api::namespaced(self.ctx.client.clone(), namespace);
        let found = api.list(&ListParams::default().fields(&fields)).await;
        let found = found.map_err(Error::api::<Event>("list", namespace))?;
        Ok(events::last_failure(found.items.into_iter().filter_map(Readable::object).collect()))
    }

    pub(super) async fn set_finalizers(
        &self,
        plane: &NetworkPlane,
        finalizers: &[String],
    ) -> Result<(), Error> {
        let name = plane.name_any();
        let patch = serde_json::json!({
            "metadata": { "resourceVersion": plane.resource_version(), "finalizers": finalizers }
        });
        let patched = self.api().patch_metadata(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map(drop).map_err(Error::api::<NetworkPlane>("set the finalizers of", &name))
    }

    /// The plane's own announcers.
    fn daemon_set(&self, plane: &NetworkPlane) -> Option<Arc<DaemonSet>> {
        let namespace = contract::plane_namespace(&plane.name_any());
        let set = ObjectRef::new(contract::ANNOUNCER_NAME).within(&namespace);
        let uid = plane.uid().unwrap_or_default();
        let set = self.world.daemon_sets.store().get(&set)?;
        set.owner_references().iter().any(|owner| owner.uid == uid).then_some(set)
    }

    pub(super) fn namespace(&self, plane: &NetworkPlane) -> Option<Arc<Namespace>> {
        self.ctx.namespaces.store().get(&ObjectRef::new(&contract::plane_namespace(&plane.name_any())))
    }

    pub(super) fn claims_of(&self, plane: &str) -> Vec<Arc<AddressClaim>> {
        self.ctx.claims_by.get(&ClaimKey::Namespace(contract::plane_namespace(plane)))
    }

    fn preferences(&self, plane: &NetworkPlane) -> BTreeMap<String, NodePreference> {
        let nodes = self.ctx.nodes.store().state();
        nodes::preferences(plane, nodes.iter().map(|node| &**node))
    }

    /// Whether something of the plane may be on a node's network.
    pub(super) fn leaves_datapath(&self, plane: &NetworkPlane) -> bool {
        findings::leaves_datapath(&self.world.pods_of(&plane.name_any()))
    }

    fn ports_of(&self, plane: &NetworkPlane) -> Result<PlanePorts, Error> {
        let all = self.ctx.planes.store().state();
        let args = &self.ctx.args;
        let range = Range { base: args.port_base, return_paths: args.return_paths() };
        lock(&self.ports).of(plane, all.iter().map(|plane| &**plane), range)
    }

    fn cluster_id(&self) -> Result<String, Error> {
        let system = self.ctx.namespaces.store().get(&ObjectRef::new("kube-system"));
        system.and_then(|namespace| namespace.uid()).ok_or(Error::NoClusterId)
    }

    fn api(&self) -> Api<NetworkPlane> {
        Api::all(self.ctx.client.clone())
    }
}

/// Whether the namespace is on its way out: it is being deleted, or will be, since it belongs to an earlier plane of
/// the same name.
fn is_passing(namespace: &Namespace, plane: &NetworkPlane) -> bool {
    let of_another = !namespace.owner_references().is_empty() && !children::is_own(namespace, plane);
    namespace.metadata.deletion_timestamp.is_some() || of_another
}

async fn reconcile(plane: Arc<NetworkPlane>, planes: Arc<Planes>) -> Result<Action, Error> {
    let result = planes.reconcile(&plane).await;
    planes.ctx.metrics.reconciled("plane", &result);
    result
}

fn retry(plane: Arc<NetworkPlane>, error: &Error, _: Arc<Planes>) -> Action {
    if error.is_conflict() {
        tracing::debug!(plane = %plane.name_any(), %error, "decided on an outdated state, looking again");
        return Action::requeue(DEBOUNCE);
    }
    tracing::warn!(plane = %plane.name_any(), %error, "will be tried again");
    Action::requeue(RETRY)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
