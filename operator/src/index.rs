//! Objects by what they are looked up by, so that no change makes the operator look at all of them.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foghorn_crds::{AddressClaim, DhcpRequest};
use k8s_openapi::api::core::v1::Service;
use kube::{Resource, ResourceExt};

use crate::services::{held_address, is_genuine};

/// An object by namespace and name.
type Name = (String, String);

/// What a claim is looked up by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ClaimKey {
    /// The namespace that it is in.
    Namespace(String),
    /// Its Service, by namespace and name.
    Service(String, String),
    /// Its plane, if the operator made it.
    Plane(String),
    /// Its plane and the namespace of its Service, if the operator made it.
    PlaneFor(String, String),
    /// The address that it holds.
    Address(Ipv4Addr),
    /// Who it is to the DHCP server.
    Is(Identity),
    /// Who it asks to be in place of what is derived from its name.
    Wants(Identity),
}

/// Who a claim is to the DHCP server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Identity {
    HardwareAddress(String),
    ClientId(String),
}

/// Who a request asks to be.
pub(crate) fn wanted(request: &DhcpRequest) -> impl Iterator<Item = Identity> + use<> {
    let hardware_address = request.hardware_address.clone().map(Identity::HardwareAddress);
    hardware_address.into_iter().chain(request.client_id_in_effect().map(Identity::ClientId))
}

/// Who the claim is, by its own request or as derived from its name.
pub(crate) fn identities(claim: &AddressClaim) -> impl Iterator<Item = Identity> + use<> {
    let (own, derived) =
        (&claim.spec.dhcp, claim.status.as_ref().and_then(|status| status.identity.as_ref()));
    let hardware_address = own.hardware_address.as_ref().or(derived.map(|derived| &derived.hardware_address));
    let client_id = own.client_id_in_effect().or_else(|| derived.map(|derived| derived.client_id.clone()));
    let hardware_address = hardware_address.cloned().map(Identity::HardwareAddress);
    hardware_address.into_iter().chain(client_id.map(Identity::ClientId))
}

/// All that a claim is looked up by.
pub(crate) fn of_claim(claim: &AddressClaim) -> Vec<ClaimKey> {
    let service = &claim.spec.service_ref;
    let places = [
        ClaimKey::Namespace(claim.namespace().unwrap_or_default()),
        ClaimKey::Service(service.namespace.clone(), service.name.clone()),
    ];
    let plane = || claim.spec.plane.clone();
    let counted = is_genuine(claim)
        .then(|| [ClaimKey::Plane(plane()), ClaimKey::PlaneFor(plane(), service.namespace.clone())]);
    let address = held_address(claim).map(ClaimKey::Address);
    let is = identities(claim).map(ClaimKey::Is);
    let wants = wanted(&claim.spec.dhcp).map(ClaimKey::Wants);
    places.into_iter().chain(counted.into_iter().flatten()).chain(address).chain(is).chain(wants).collect()
}

/// What a Service is looked up by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ServiceKey {
    /// The namespace that it is in.
    Namespace(String),
    /// The class of a load balancer, if it names one.
    Class(Option<String>),
}

/// All that a Service is looked up by.
pub(crate) fn of_service(service: &Service) -> Vec<ServiceKey> {
    let namespace = ServiceKey::Namespace(service.namespace().unwrap_or_default());
    let balancer = service.spec.as_ref().filter(|spec| spec.type_.as_deref() == Some("LoadBalancer"));
    let class = balancer.map(|spec| ServiceKey::Class(spec.load_balancer_class.clone()));
    [namespace].into_iter().chain(class).collect()
}

/// What is told of each change in a store, before anybody else is.
pub(crate) trait Observer<K>: Send + Sync {
    /// The object is there, and as it is now.
    fn put(&self, object: &Arc<K>);
    /// The object is gone.
    fn remove(&self, object: &K);
}

/// The objects of a store by their keys.
pub(crate) struct Index<K, Key> {
    keys: fn(&K) -> Vec<Key>,
    entries: Mutex<Entries<K, Key>>,
}

struct Entries<K, Key> {
    objects: BTreeMap<Key, BTreeMap<Name, Arc<K>>>,
    keys: BTreeMap<Name, Vec<Key>>,
}

impl<K: Resource, Key: Ord + Clone> Index<K, Key> {
    /// An empty index by all that `keys` gives of an object.
    pub(crate) fn new(keys: fn(&K) -> Vec<Key>) -> Self {
        let entries = Entries { objects: BTreeMap::new(), keys: BTreeMap::new() };
        Self { keys, entries: Mutex::new(entries) }
    }

    /// The objects that have the key.
    pub(crate) fn get(&self, key: &Key) -> Vec<Arc<K>> {
        self.lock().objects.get(key).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// How many objects have the key.
    pub(crate) fn count(&self, key: &Key) -> usize {
        self.lock().objects.get(key).map_or(0, BTreeMap::len)
    }

    /// The objects that have one of the keys; one that has several comes as often.
    pub(crate) fn get_any(&self, keys: impl IntoIterator<Item = Key>) -> Vec<Arc<K>> {
        keys.into_iter().flat_map(|key| self.get(&key)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Entries<K, Key>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Resource + Send + Sync, Key: Ord + Clone + Send> Observer<K> for Index<K, Key> {
    fn put(&self, object: &Arc<K>) {
        let (name, keys) = (name(&**object), (self.keys)(object));
        let mut entries = self.lock();
        entries.remove(&name);
        for key in &keys {
            entries.objects.entry(key.clone()).or_default().insert(name.clone(), object.clone());
        }
        entries.keys.insert(name, keys);
    }

    fn remove(&self, object: &K) {
        self.lock().remove(&name(object));
    }
}

impl<K, Key: Ord> Entries<K, Key> {
    fn remove(&mut self, name: &Name) {
        for key in self.keys.remove(name).into_iter().flatten() {
            if let Some(objects) = self.objects.get_mut(&key) {
                objects.remove(name);
                if objects.is_empty() {
                    self.objects.remove(&key);
                }
            }
        }
    }
}

impl<K, Key> Debug for Index<K, Key> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Index")
    }
}

fn name(object: &impl Resource) -> Name {
    (object.meta().namespace.clone().unwrap_or_default(), object.meta().name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::fixtures::{bound, claim, service};

    #[test]
    fn a_mac_address_alone_is_found_by_its_client_identifier() {
        assert_eq!(found_with_a_mac_address(Identity::ClientId("0102005e100001".into())), (1, 1));
    }

    #[test]
    fn a_claim_is_found_by_what_it_is_now() {
        let index = Index::new(of_claim);
        index.put(&Arc::new(bound("web", "203.0.113.7")));
        let at = |address: &str| index.get(&ClaimKey::Address(address.parse().unwrap())).len();
        assert_eq!((at("203.0.113.7"), at("203.0.113.8")), (1, 0));
        index.put(&Arc::new(bound("web", "203.0.113.8")));
        assert_eq!((at("203.0.113.7"), at("203.0.113.8")), (0, 1));
        let of_service = || index.get(&ClaimKey::Service("shop".into(), "web".into()));
        assert_eq!(of_service().len(), 1);
        index.remove(&claim("web"));
        assert_eq!((at("203.0.113.8"), of_service().len()), (0, 0));
        assert!(index.lock().objects.is_empty() && index.lock().keys.is_empty());
    }

    #[test]
    fn a_claim_is_found_by_who_it_is_and_who_it_asks_to_be() {
        let mac = Identity::HardwareAddress("02:00:5e:10:00:01".into());
        assert_eq!(found_with_a_mac_address(mac), (1, 1));
    }

    #[test]
    fn claims_that_others_made_are_not_counted_as_their_planes() {
        let index = Index::new(of_claim);
        let mut foreign = claim("api");
        foreign.metadata.namespace = Some("tenant".into());
        let mut of_other_plane = claim("db");
        of_other_plane.spec.plane = "b".into();
        of_other_plane.metadata.namespace = Some("foghorn-b".into());
        [claim("web"), foreign, of_other_plane].into_iter().for_each(|claim| index.put(&Arc::new(claim)));
        for plane in ["a", "b"] {
            assert_eq!(index.count(&ClaimKey::Plane(plane.into())), 1);
            assert_eq!(index.count(&ClaimKey::PlaneFor(plane.into(), "shop".into())), 1);
            assert_eq!(index.count(&ClaimKey::PlaneFor(plane.into(), "tenant".into())), 0);
        }
    }

    #[test]
    fn a_service_is_found_by_namespace_and_as_a_balancer_by_class() {
        let index = Index::new(of_service);
        index.put(&Arc::new(service("a").of_class("blue").build()));
        index.put(&Arc::new(service("b").build()));
        index.put(&Arc::new(service("c").of_type("ClusterIP").build()));
        let count = |key: ServiceKey| index.get(&key).len();
        assert_eq!(count(ServiceKey::Namespace("shop".into())), 3);
        assert_eq!(count(ServiceKey::Class(Some("foghorn.dev/blue".into()))), 1);
        assert_eq!(count(ServiceKey::Class(None)), 1);
    }

    /// Of one claim that asks for 02:00:5e:10:00:01: how many are that one, and how many want to be.
    fn found_with_a_mac_address(identity: Identity) -> (usize, usize) {
        let index = Index::new(of_claim);
        let mut asking = claim("web");
        asking.spec.dhcp.hardware_address = Some("02:00:5e:10:00:01".into());
        index.put(&Arc::new(asking));
        (index.get(&ClaimKey::Is(identity.clone())).len(), index.get(&ClaimKey::Wants(identity)).len())
    }
}
