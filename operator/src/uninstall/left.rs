//! What an uninstallation still has to do.

use std::{collections::BTreeSet, time::Duration};

use foghorn_crds::{AddressClaim, ClaimState, NetworkPlane};
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::{Resource, ResourceExt, api::PartialObjectMeta, runtime::reflector::ObjectRef};

use crate::planes::{DATAPATH_SECONDS, wants_datapath};

/// A living operator does something in this time, unless it waits for announcers to clean their nodes.
const STILL: Duration = Duration::from_secs(6);
/// What there is still of Foghorn.
#[derive(Default)]
pub(super) struct Left {
    pub(super) planes: Vec<NetworkPlane>,
    pub(super) claims: Vec<AddressClaim>,
    pub(super) services: Vec<Service>,
    /// Those of planes, which have announcers, or come to their end.
    pub(super) namespaces: Vec<PartialObjectMeta<Namespace>>,
}

impl Left {
    pub(super) fn is_nothing(&self) -> bool {
        self.is_nothing_of_ours() && self.namespaces.is_empty()
    }

    /// Whether there is nothing left that Foghorn has to do: namespaces come to their end by themselves.
    pub(super) fn is_nothing_of_ours(&self) -> bool {
        self.planes.is_empty() && self.claims.is_empty() && self.services.is_empty() && self.all_are_ending()
    }

    /// Whether the end of namespaces is all that is waited for, by a living operator too.
    pub(super) fn is_ending(&self) -> bool {
        let objects_are_gone = self.claims.is_empty() && self.services.is_empty();
        objects_are_gone && !self.namespaces.is_empty() && self.all_are_ending()
    }

    /// How long a living operator may take for a step that shows.
    pub(super) fn patience(&self) -> Duration {
        let cleaning =
            self.claims.is_empty() && !self.all_are_ending() && self.planes.iter().any(wants_datapath);
        if cleaning { STILL + Duration::from_secs(DATAPATH_SECONDS.into()) } else { STILL }
    }

    fn all_are_ending(&self) -> bool {
        self.namespaces.iter().all(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    /// Another one after each step of whoever works.
    pub(super) fn versions(&self) -> BTreeSet<String> {
        fn of<K: Resource<DynamicType = ()>>(objects: &[K]) -> impl Iterator<Item = String> {
            objects.iter().map(|object| {
                let finalizers = object.finalizers().len();
                let deleting = object.meta().deletion_timestamp.is_some();
                format!("{} {finalizers} {deleting}", ObjectRef::from_obj(object))
            })
        }
        let states = self.claims.iter().filter_map(|claim| {
            let state = claim.status.as_ref()?.state?;
            Some(format!("{} {state:?}", ObjectRef::from_obj(claim)))
        });
        let namespaces = self.namespaces.iter().map(|namespace| {
            let ending = namespace.metadata.deletion_timestamp.is_some();
            format!("namespace {} {ending}", namespace.name_any())
        });
        let objects = of(&self.planes).chain(of(&self.claims)).chain(of(&self.services));
        objects.chain(states).chain(namespaces).collect()
    }

    pub(super) fn names(&self) -> String {
        let names: Vec<_> = (self.planes.iter().map(|object| ObjectRef::from_obj(object).to_string()))
            .chain(self.claims.iter().map(|object| ObjectRef::from_obj(object).to_string()))
            .chain(self.services.iter().map(|object| ObjectRef::from_obj(object).to_string()))
            .chain(self.namespaces.iter().map(|namespace| format!("Namespace {}", namespace.name_any())))
            .collect();
        names.join(", ")
    }

    pub(super) fn has_unreleased(&self) -> bool {
        self.claims.iter().any(|claim| !is_released(claim))
    }
}

/// Whether the claim has no lease to give back.
pub(super) fn is_released(claim: &AddressClaim) -> bool {
    match claim.status.as_ref() {
        Some(status) => status.state == Some(ClaimState::Released) || status.lease.is_none(),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use foghorn_crds::{AddressClaimStatus, GuardMode, contract, fixtures};
    use k8s_openapi::{
        apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
        jiff::Timestamp,
    };

    use super::*;

    #[test]
    fn each_step_of_whoever_works_shows() {
        let mut left = Left { planes: vec![fixtures::plane("blue", "x.dev/blue")], ..Left::default() };
        let before = left.versions();
        left.planes[0].finalizers_mut().push(contract::PLANE_FINALIZER.into());
        let after = left.versions();
        assert_ne!(before, after);
        left.planes[0].metadata.resource_version = Some("8".into());
        assert_eq!(left.versions(), after, "what is written without a step is no step");
    }

    #[test]
    fn a_namespace_that_ends_is_waited_for_but_is_nothing_to_be_done() {
        let namespace = |deletion_timestamp| PartialObjectMeta::<Namespace> {
            metadata: ObjectMeta { deletion_timestamp, ..ObjectMeta::default() },
            ..PartialObjectMeta::default()
        };
        let mut left = Left { namespaces: vec![namespace(None)], ..Left::default() };
        assert!(!left.is_nothing_of_ours() && !left.is_ending());
        left.namespaces.push(namespace(Some(Time(Timestamp::UNIX_EPOCH))));
        assert!(!left.is_nothing_of_ours() && !left.is_ending(), "not all of them end");
        left.namespaces.remove(0);
        assert!(left.is_nothing_of_ours() && left.is_ending());
        assert!(!left.is_nothing());
        left.planes.push(fixtures::plane("blue", "x.dev/blue"));
        assert!(!left.is_nothing_of_ours() && left.is_ending());
        assert!(!Left::default().is_ending());
    }

    #[test]
    fn announcers_that_clean_their_nodes_are_waited_for() {
        let mut plane = fixtures::plane("blue", "x.dev/blue");
        let namespace = PartialObjectMeta::<Namespace>::default();
        let left = |plane: &NetworkPlane, claims| Left {
            planes: vec![plane.clone()],
            claims,
            namespaces: vec![namespace.clone()],
            ..Left::default()
        };
        assert_eq!(left(&plane, vec![]).patience(), STILL);
        plane.spec.guard.mode = GuardMode::Drop;
        assert!(left(&plane, vec![]).patience() > Duration::from_secs(DATAPATH_SECONDS.into()));
        assert_eq!(left(&plane, vec![fixtures::claim("web")]).patience(), STILL, "claims come first");
    }

    #[test]
    fn a_claim_without_a_lease_has_nothing_to_release() {
        let claim =
            claim(AddressClaimStatus { state: Some(ClaimState::Acquiring), ..AddressClaimStatus::default() });
        assert!(is_released(&claim));
    }

    #[test]
    fn a_claim_with_a_lease_is_waited_for_until_it_is_released() {
        let bound = AddressClaimStatus {
            state: Some(ClaimState::Bound),
            lease: Some(fixtures::lease([203, 0, 113, 7])),
            ..AddressClaimStatus::default()
        };
        let released = AddressClaimStatus { state: Some(ClaimState::Released), ..bound.clone() };
        let mut left = Left { claims: vec![claim(bound)], ..Left::default() };
        assert!(left.has_unreleased());
        left.claims = vec![claim(released)];
        assert!(!left.has_unreleased());
        assert!(!left.is_nothing());
    }

    fn claim(status: AddressClaimStatus) -> AddressClaim {
        AddressClaim { status: Some(status), ..fixtures::claim("web") }
    }
}
