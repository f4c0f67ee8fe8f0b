//! What the plane controller knows of the cluster, and what it is woken by.

use std::sync::Arc;

use foghorn_crds::{AddressClaim, NetworkPlane, contract};
use futures::{
    FutureExt, Stream, StreamExt,
    future::{BoxFuture, Future, join_all},
    stream::{self, BoxStream},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::DaemonSet,
        coordination::v1::Lease,
        core::v1::{ConfigMap, Namespace, Pod, ServiceAccount},
        rbac::v1::RoleBinding,
    },
};
use kube::{
    Client, Resource, ResourceExt,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;

use super::{config, nodes, status, view::Seen};
use crate::{
    context::{Context, MANAGED_BY},
    metrics::Metrics,
    reader::Reader,
    trim,
    watched::Watched,
};

/// How many objects are listed at once: each can have 1.5 MiB.
const PAGE: u32 = 50;

/// What planes have in their namespaces.
pub(super) struct World {
    /// Announcers.
    pub(super) daemon_sets: Watched<DaemonSet>,
    /// Configurations.
    pub(super) config_maps: Watched<ConfigMap>,
    /// Announcers' accounts.
    pub(super) service_accounts: Watched<ServiceAccount>,
    /// Announcers' rights.
    pub(super) role_bindings: Watched<RoleBinding>,
    /// Planes' Leases.
    pub(super) leases: Watched<Lease>,
    /// Announcers' Pods.
    pub(super) pods: Watched<Pod>,
}

impl World {
    /// Watches the cluster while the future is polled; it never ends.
    pub(super) fn watch(
        client: &Client,
        metrics: &Metrics,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let mut tasks = Vec::new();
        let announcer = Some(contract::ANNOUNCER_NAME);
        let world = Self {
            daemon_sets: children(client, announcer, children_reader(metrics), &mut tasks),
            config_maps: children(
                client,
                Some(contract::PLANE_CONFIG_MAP),
                children_reader(metrics),
                &mut tasks,
            ),
            service_accounts: children(client, announcer, children_reader(metrics), &mut tasks),
            role_bindings: children(client, announcer, children_reader(metrics), &mut tasks),
            leases: children(client, None, children_reader(metrics), &mut tasks),
            pods: children(client, None, children_reader(metrics).trimmed(trim::pod), &mut tasks),
        };
        (world, join_all(tasks).map(drop))
    }

    /// Waits until every store is filled: a plane is not judged by half of the world.
    pub(super) async fn ready(&self) {
        async fn filled<K>(watched: &Watched<K>)
        where
            K: Resource<DynamicType = ()>
                + Clone
                + std::fmt::Debug
                + DeserializeOwned
                + Send
                + Sync
                + 'static,
        {
            // Fails only when the watch's task is gone, and then nobody waits here any longer.
            let _ = watched.store().wait_until_ready().await;
        }
        filled(&self.daemon_sets).await;
        filled(&self.config_maps).await;
        filled(&self.service_accounts).await;
        filled(&self.role_bindings).await;
        filled(&self.leases).await;
        filled(&self.pods).await;
    }

    /// The announcers' Pods of a plane.
    #[must_use]
    pub(super) fn pods_of(&self, plane: &str) -> Vec<Arc<Pod>> {
        self.pods.store().state_filter(|pod| plane_of(pod) == Some(plane))
    }

    /// The planes that may have something to do, as the world changes.
    pub(super) fn triggers(
        &self,
        ctx: &Context,
    ) -> impl Stream<Item = ObjectRef<NetworkPlane>> + Send + use<> {
        let planes = ctx.planes.store();
        let mut triggers = vec![
            of_plane(self.daemon_sets.changes()),
            of_plane(self.config_maps.changes()),
            of_plane(self.service_accounts.changes()),
            of_plane(self.role_bindings.changes()),
            of_plane(self.pods.changes()),
            of_namespace(ctx.namespaces.changes()),
            // A Lease is renewed every 2 s, and a claim's lease every now and then.
            of_plane(self.leases.changes_of(|lease| {
                (Seen::of(lease), lease.metadata.labels.clone(), lease.metadata.owner_references.clone())
            })),
            of_claim(ctx.claims.changes_of(|claim| {
                let address = claim.status.as_ref().and_then(|status| status.address);
                let deleting = claim.metadata.deletion_timestamp.is_some();
                (address.is_some(), deleting, status::identity_in_use(claim))
            })),
            // A plane may wait for another one's class, or be no longer the only default.
            all_planes(
                planes,
                ctx.planes.changes_of(|plane| {
                    let deleting = plane.metadata.deletion_timestamp.is_some();
                    (plane.spec.clone(), plane.metadata.uid.clone(), deleting)
                }),
            ),
            all_planes(
                planes,
                ctx.nodes.changes_of(|node| (config::refused_networks([node], [], &[]), nodes::aspect(node))),
            ),
        ];
        if let Some(service_cidrs) = &ctx.service_cidrs {
            triggers.push(all_planes(planes, service_cidrs.changes()));
        }
        stream::select_all(triggers)
    }
}

/// Whoever may write in a namespace of his own can label his objects as a plane's. They are asked for by name where they
/// have one, a few at a time, and those of other namespaces are not kept.
fn children_reader<K>(metrics: &Metrics) -> Reader<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    Reader::new(metrics).only(trim::is_in_plane).trimmed(trim::writers)
}

fn children<K>(
    client: &Client,
    name: Option<&str>,
    reader: Reader<K>,
    tasks: &mut Vec<BoxFuture<'static, ()>>,
) -> Watched<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let labels = format!("{}={},{}", MANAGED_BY.0, MANAGED_BY.1, contract::PLANE_LABEL);
    let mut config = watcher::Config::default().labels(&labels).page_size(PAGE);
    if let Some(name) = name {
        config = config.fields(&format!("metadata.name={name}"));
    }
    let (watched, task) = Watched::new(client, config, reader);
    tasks.push(task.boxed());
    watched
}

fn of_plane<K>(
    changes: impl Stream<Item = Arc<K>> + Send + 'static,
) -> BoxStream<'static, ObjectRef<NetworkPlane>>
where
    K: Resource<DynamicType = ()> + Send + Sync + 'static,
{
    let plane = |child: Arc<K>| plane_of(&*child).map(ObjectRef::new);
    changes.filter_map(move |child| std::future::ready(plane(child))).boxed()
}

/// The plane that has this in its namespace. A label alone says nothing: everybody can label his own Pods.
fn plane_of(child: &impl Resource) -> Option<&str> {
    contract::plane_of_namespace(child.meta().namespace.as_deref()?)
}

/// By name: the label may just have been taken off.
fn of_namespace(
    changes: impl Stream<Item = Arc<Namespace>> + Send + 'static,
) -> BoxStream<'static, ObjectRef<NetworkPlane>> {
    let plane =
        |namespace: Arc<Namespace>| contract::plane_of_namespace(&namespace.name_any()).map(ObjectRef::new);
    changes.filter_map(move |namespace| std::future::ready(plane(namespace))).boxed()
}

fn of_claim(
    changes: impl Stream<Item = Arc<AddressClaim>> + Send + 'static,
) -> BoxStream<'static, ObjectRef<NetworkPlane>> {
    changes.map(|claim| ObjectRef::new(&claim.spec.plane)).boxed()
}

fn all_planes<K: Send + Sync + 'static>(
    planes: &Store<NetworkPlane>,
    changes: impl Stream<Item = Arc<K>> + Send + 'static,
) -> BoxStream<'static, ObjectRef<NetworkPlane>> {
    let planes = planes.clone();
    let all = move |_| stream::iter(planes.state()).map(|plane| ObjectRef::from_obj(&*plane));
    changes.flat_map(all).boxed()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    #[test]
    fn a_pod_that_is_only_labelled_is_no_announcer_of_the_plane() {
        let labelled = |namespace: &str| Pod {
            metadata: ObjectMeta {
                namespace: Some(namespace.into()),
                labels: Some(super::super::children::labels("blue")),
                ..ObjectMeta::default()
            },
            ..Pod::default()
        };
        assert_eq!(plane_of(&labelled("foghorn-blue")), Some("blue"));
        assert_eq!(plane_of(&labelled("foghorn-red")), Some("red"));
        assert_eq!(plane_of(&labelled("shop")), None);
    }
}
