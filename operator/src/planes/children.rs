//! What a plane has in its namespace besides the DaemonSet.

use std::collections::BTreeMap;

use foghorn_crds::{NetworkPlane, PlaneConfig, contract};
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{ConfigMap, Namespace, ServiceAccount},
        rbac::v1::{RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Resource, ResourceExt};

use crate::{args::Run, context::MANAGED_BY};

const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";

/// Labels of all that belongs to the plane.
#[must_use]
pub(super) fn labels(plane: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned()),
        ("app.kubernetes.io/part-of".to_owned(), "foghorn".to_owned()),
        (contract::PLANE_LABEL.to_owned(), plane.to_owned()),
    ])
}

/// Metadata of a child in the plane's namespace.
#[must_use]
pub(super) fn metadata(plane: &NetworkPlane, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(contract::plane_namespace(&plane.name_any())),
        labels: Some(labels(&plane.name_any())),
        owner_references: Some(vec![owner(plane)]),
        ..ObjectMeta::default()
    }
}

/// The plane's namespace. Announcers use the nodes' own network, which only the `privileged` level of pod security
/// allows.
#[must_use]
pub(super) fn namespace(plane: &NetworkPlane) -> Namespace {
    let name = contract::plane_namespace(&plane.name_any());
    let mut metadata = ObjectMeta { namespace: None, ..metadata(plane, &name) };
    metadata.labels.get_or_insert_default().insert(POD_SECURITY.to_owned(), "privileged".to_owned());
    Namespace { metadata, ..Namespace::default() }
}

/// The plane that the namespace was made for: the namespace has its name, and belongs to it. A label says nothing: whoever
/// restores a namespace under another name, or copies a manifest, copies the labels too.
#[must_use]
pub(crate) fn owner_of(namespace: &ObjectMeta) -> Option<&OwnerReference> {
    let plane = contract::plane_of_namespace(namespace.name.as_deref()?)?;
    let is_owner = |owner: &&OwnerReference| {
        owner.kind == NetworkPlane::kind(&())
            && owner.api_version == NetworkPlane::api_version(&())
            && owner.name == plane
    };
    namespace.owner_references.iter().flatten().find(is_owner)
}

/// Whether the namespace is the one of this very plane, not somebody else's of the same name.
#[must_use]
pub(super) fn is_own(namespace: &Namespace, plane: &NetworkPlane) -> bool {
    owner_of(&namespace.metadata).map(|owner| &owner.uid) == plane.metadata.uid.as_ref()
        && plane.metadata.uid.is_some()
}

/// Whether the namespace was made for a plane of this name, if perhaps an earlier one.
#[must_use]
pub(super) fn is_of_name(namespace: &Namespace, plane: &str) -> bool {
    labels(plane).iter().all(|(key, value)| namespace.labels().get(key) == Some(value))
}

/// Who the announcers are to the API server.
#[must_use]
pub(super) fn service_account(plane: &NetworkPlane) -> ServiceAccount {
    ServiceAccount { metadata: metadata(plane, contract::ANNOUNCER_NAME), ..ServiceAccount::default() }
}

/// The announcers' rights: those of the chart's ClusterRole, in the plane's namespace only. The operator has them there too,
/// so that it needs no right to change Leases of other namespaces.
#[must_use]
pub(super) fn role_binding(plane: &NetworkPlane, options: &Run) -> RoleBinding {
    let metadata = metadata(plane, contract::ANNOUNCER_NAME);
    let account = |name: &str, namespace: Option<String>| Subject {
        kind: "ServiceAccount".to_owned(),
        name: name.to_owned(),
        namespace,
        api_group: None,
    };
    RoleBinding {
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: options.announcer_cluster_role.clone(),
        },
        subjects: Some(vec![
            account(contract::ANNOUNCER_NAME, metadata.namespace.clone()),
            account(&options.service_account, Some(options.namespace.clone())),
        ]),
        metadata,
    }
}

/// The plane's Lease, without a holder. The operator makes it, so that its name cannot be taken by somebody else
/// before an announcer comes.
#[must_use]
pub(super) fn lease(plane: &NetworkPlane) -> Lease {
    Lease { metadata: metadata(plane, &plane.lease_name()), spec: None }
}

/// What the announcers watch.
///
/// # Errors
/// If the configuration cannot be written as JSON.
pub(super) fn config_map(plane: &NetworkPlane, config: &PlaneConfig) -> Result<ConfigMap, serde_json::Error> {
    Ok(ConfigMap {
        metadata: metadata(plane, contract::PLANE_CONFIG_MAP),
        data: Some(config.to_data()?),
        ..ConfigMap::default()
    })
}

fn owner(plane: &NetworkPlane) -> OwnerReference {
    OwnerReference {
        api_version: NetworkPlane::api_version(&()).into_owned(),
        kind: NetworkPlane::kind(&()).into_owned(),
        name: plane.name_any(),
        uid: plane.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planes::{
        config,
        fixtures::{options, plane},
    };

    #[test]
    fn the_namespace_is_labelled_for_pods_on_the_nodes_network() {
        let namespace = namespace(&plane("blue", "x.dev/blue"));
        assert_eq!(namespace.name_any(), "foghorn-blue");
        assert_eq!(namespace.labels()["pod-security.kubernetes.io/enforce"], "privileged");
        assert_eq!(namespace.labels()[contract::PLANE_LABEL], "blue");
        assert!(namespace.metadata.namespace.is_none());
    }

    #[test]
    fn a_namespace_of_the_same_name_that_somebody_else_made_is_not_ours() {
        let ours = plane("blue", "x.dev/blue");
        assert!(is_own(&namespace(&ours), &ours));
        let foreign = Namespace {
            metadata: ObjectMeta { name: Some("foghorn-blue".into()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        assert!(!is_own(&foreign, &ours));
        assert!(!is_of_name(&foreign, "blue"));
    }

    #[test]
    fn a_namespace_of_an_earlier_plane_of_that_name_is_known_as_such() {
        let earlier = plane("blue", "x.dev/blue");
        let mut now = earlier.clone();
        now.metadata.uid = Some("another".into());
        assert!(!is_own(&namespace(&earlier), &now));
        assert!(is_of_name(&namespace(&earlier), "blue"));
    }

    #[test]
    fn a_copied_namespace_belongs_to_no_plane() {
        let original = namespace(&plane("blue", "x.dev/blue")).metadata;
        assert_eq!(owner_of(&original).unwrap().name, "blue");
        let renamed = ObjectMeta { name: Some("foghorn-blue-restored".into()), ..original.clone() };
        assert_eq!(owner_of(&renamed), None);
        let elsewhere = ObjectMeta { name: Some("drill".into()), ..original.clone() };
        assert_eq!(owner_of(&elsewhere), None);
        let ownerless = ObjectMeta { owner_references: None, ..original };
        assert_eq!(owner_of(&ownerless), None);
    }

    #[test]
    fn rights_are_for_the_planes_own_account_and_the_operator() {
        let binding = role_binding(&plane("blue", "x.dev/blue"), &options());
        assert_eq!(binding.role_ref.kind, "ClusterRole");
        assert_eq!(binding.role_ref.name, "foghorn-announcer");
        let subjects = binding.subjects.unwrap();
        let accounts: Vec<_> =
            subjects.iter().map(|it| (it.namespace.as_deref().unwrap(), it.name.as_str())).collect();
        assert_eq!(accounts, [("foghorn-blue", "announcer"), ("foghorn-system", "foghorn-operator")]);
    }

    #[test]
    fn the_lease_has_the_name_of_the_spec_and_no_holder() {
        let mut plane = plane("blue", "x.dev/blue");
        plane.spec.lease.name = Some("mine".into());
        let lease = lease(&plane);
        assert_eq!(lease.name_any(), "mine");
        assert_eq!(lease.spec, None);
    }

    #[test]
    fn announcers_read_the_configuration_back() {
        let plane = plane("blue", "x.dev/blue");
        let config = config::plane_config(&plane, &config::Cluster::default(), Vec::new(), None);
        let map = config_map(&plane, &config).unwrap();
        assert_eq!(PlaneConfig::from_config_map(&map).unwrap(), config);
        assert_eq!(map.name_any(), "plane");
    }
}
