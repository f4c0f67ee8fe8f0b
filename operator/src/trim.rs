//! What the stores keep of an object: the little that is looked at. Much of the rest is for tenants to write, up to 1.5 MiB
//! an object.

use foghorn_crds::contract;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, PodSpec, Service};
use kube::{Resource, ResourceExt, core::ObjectMeta};

use crate::context::MANAGER;

/// The whole object as it was applied last, which kubectl writes down on it.
const LAST_APPLIED_ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// All but the record of writers. The API server keeps it if a write says nothing of it.
pub(crate) fn writers(object: &mut impl Resource) {
    object.meta_mut().managed_fields = None;
}

/// A Service that is neither a load balancer nor was one of ours is only known to be there.
pub(crate) fn service(service: &mut Service) {
    service.annotations_mut().remove(LAST_APPLIED_ANNOTATION);
    let is_balancer = service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"));
    let is_ours = service.managed_fields().iter().any(|entry| entry.manager.as_deref() == Some(MANAGER));
    if !is_balancer && !is_ours {
        writers(service);
        service.metadata.annotations = None;
    }
}

/// Labels and owners; of planes' namespaces also what the operator has noted on them.
pub(crate) fn namespace(namespace: &mut Namespace) {
    writers(namespace);
    if contract::plane_of_namespace(&namespace.name_any()).is_none() {
        namespace.metadata.annotations = None;
    }
}

/// Not the images that a node has, nor its volumes.
pub(crate) fn node(node: &mut Node) {
    writers(node);
    node.annotations_mut().remove(LAST_APPLIED_ANNOTATION);
    if let Some(status) = &mut node.status {
        status.images = None;
        status.volumes_attached = None;
        status.volumes_in_use = None;
    }
}

/// Where a Pod runs and how it does.
pub(crate) fn pod(pod: &mut Pod) {
    writers(pod);
    pod.metadata.annotations = None;
    if let Some(spec) = &mut pod.spec {
        let node_name = spec.node_name.take();
        *spec = PodSpec { node_name, ..PodSpec::default() };
    }
}

/// Whether an object is in the namespace of a plane. A label says nothing: everybody can label his own objects.
pub(crate) fn is_in_plane(metadata: &ObjectMeta) -> bool {
    metadata.namespace.as_deref().and_then(contract::plane_of_namespace).is_some()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::core::v1::{Container, ContainerImage, NodeStatus, ServiceSpec},
        apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry,
    };

    use super::*;

    #[test]
    fn of_a_foreign_service_little_is_kept() {
        let trimmed = |type_: &str, manager: &str| {
            let mut object = Service {
                metadata: metadata(manager),
                spec: Some(ServiceSpec { type_: Some(type_.into()), ..ServiceSpec::default() }),
                ..Service::default()
            };
            service(&mut object);
            (object.annotations().len(), object.managed_fields().len())
        };
        assert_eq!(trimmed("ClusterIP", "kubectl"), (0, 0));
        assert_eq!(trimmed("LoadBalancer", "kubectl"), (1, 1), "only the last applied state goes");
        assert_eq!(trimmed("ClusterIP", MANAGER), (1, 1), "what was written is cleared by these");
    }

    #[test]
    fn a_namespace_keeps_notes_of_the_operator_only() {
        let trimmed = |name: &str| {
            let mut object = Namespace { metadata: metadata("kubectl"), ..Namespace::default() };
            object.metadata.name = Some(name.into());
            namespace(&mut object);
            (object.annotations().is_empty(), object.managed_fields().is_empty())
        };
        assert_eq!(trimmed("shop"), (true, true));
        assert_eq!(trimmed("foghorn-blue"), (false, true));
    }

    #[test]
    fn of_a_node_and_a_pod_no_lists_are_kept() {
        let status = NodeStatus { images: Some(vec![ContainerImage::default()]), ..NodeStatus::default() };
        let mut a = Node { metadata: metadata("kubelet"), status: Some(status), ..Node::default() };
        node(&mut a);
        assert_eq!((a.status.unwrap().images, a.metadata.managed_fields), (None, None));
        let spec = PodSpec {
            node_name: Some("w1".into()),
            containers: vec![Container::default()],
            ..PodSpec::default()
        };
        let mut a = Pod { metadata: metadata("kubelet"), spec: Some(spec), ..Pod::default() };
        pod(&mut a);
        let spec = a.spec.unwrap();
        assert_eq!((spec.node_name.as_deref(), spec.containers.len()), (Some("w1"), 0));
    }

    fn metadata(manager: &str) -> ObjectMeta {
        let annotations = [(LAST_APPLIED_ANNOTATION, "{}"), ("x.dev/a", "b")];
        ObjectMeta {
            annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            managed_fields: Some(vec![ManagedFieldsEntry {
                manager: Some(manager.to_owned()),
                ..ManagedFieldsEntry::default()
            }]),
            ..ObjectMeta::default()
        }
    }
}
