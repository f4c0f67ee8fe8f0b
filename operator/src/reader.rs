//! Reads the events of a watch, one object at a time.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foghorn_shell::readable::{Readable, Unreadable};
use kube::{
    Resource,
    core::ObjectMeta,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher::Event,
    },
};

use crate::{
    index::Observer,
    metrics::Metrics,
    stand_in::{self, StandIn},
};

/// The objects that cannot be read, and why.
pub(crate) type Faults<K> = Arc<Mutex<HashMap<ObjectRef<K>, String>>>;

/// Reads the events of a watch. An object that cannot be read keeps what is known of it, else its stand-in takes its
/// place; without one it is left out until it can be read again.
pub(crate) struct Reader<K: Resource<DynamicType = ()> + 'static> {
    stand_in: StandIn<K>,
    wanted: fn(&ObjectMeta) -> bool,
    trim: fn(&mut K),
    observer: Option<Arc<dyn Observer<K>>>,
    metrics: Metrics,
    faults: Faults<K>,
    /// The unreadable objects of a list under way.
    listed: HashSet<ObjectRef<K>>,
}

impl<K> Reader<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            stand_in: stand_in::none,
            wanted: |_| true,
            trim: |_| {},
            observer: None,
            metrics: metrics.clone(),
            faults: Arc::default(),
            listed: HashSet::new(),
        }
    }

    /// The same, with a stand-in for objects that were never read.
    pub(crate) fn with_stand_in(self, stand_in: StandIn<K>) -> Self {
        Self { stand_in, ..self }
    }

    /// The same, but that objects are kept without what `trim` takes away.
    pub(crate) fn trimmed(self, trim: fn(&mut K)) -> Self {
        Self { trim, ..self }
    }

    /// The same, but that only objects with `wanted` metadata are kept.
    pub(crate) fn only(self, wanted: fn(&ObjectMeta) -> bool) -> Self {
        Self { wanted, ..self }
    }

    /// The same, with something that is told of each change in the store.
    pub(crate) fn observed(self, observer: Arc<dyn Observer<K>>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// The store has the object as it is now.
    pub(crate) fn put(&self, object: &Arc<K>) {
        if let Some(observer) = &self.observer {
            observer.put(object);
        }
    }

    /// The store does not have the object any more.
    pub(crate) fn removed(&self, object: &K) {
        if let Some(observer) = &self.observer {
            observer.remove(object);
        }
    }

    pub(crate) fn faults(&self) -> Faults<K> {
        self.faults.clone()
    }

    /// The event with its object as far as it can be read; nothing if it is left out. `known` has what was read before.
    pub(crate) fn read(&mut self, event: Event<Readable<K>>, known: &Store<K>) -> Option<Event<K>> {
        let event = match event {
            Event::Apply(object) => self.object(object, known).map(Event::Apply),
            Event::InitApply(object) => self.object(object, known).map(Event::InitApply),
            Event::Delete(object) => {
                let key = key(&object);
                let object = object.or_former(known.get(&key).as_deref());
                let object = object.or_else(|unreadable| self.stand_in(&unreadable).ok_or(())).ok();
                lock(&self.faults).remove(&key);
                object.map(Event::Delete)
            }
            Event::Init => {
                self.listed.clear();
                Some(Event::Init)
            }
            Event::InitDone => {
                lock(&self.faults).retain(|key, _| self.listed.contains(key));
                Some(Event::InitDone)
            }
        };
        self.metrics.unreadable(&K::kind(&()), lock(&self.faults).len());
        event
    }

    fn object(&mut self, object: Readable<K>, known: &Store<K>) -> Option<K> {
        if !(self.wanted)(object.meta()) {
            return None;
        }
        let key = key(&object);
        let unreadable = match object {
            Readable::Object(mut object) => {
                if lock(&self.faults).remove(&key).is_some() {
                    tracing::info!(object = %key, "object can be read again");
                }
                (self.trim)(&mut object);
                return Some(object);
            }
            Readable::Unreadable(unreadable) => unreadable,
        };
        self.listed.insert(key.clone());
        let error = unreadable.error.clone();
        let kept = Readable::Unreadable(unreadable).or_former(known.get(&key).as_deref());
        let (object, outcome) = match kept {
            Ok(object) => (Some(object), "what was known of it stays in force"),
            Err(unreadable) => match self.stand_in(&unreadable) {
                Some(object) => (Some(object), "it stays as it is"),
                None => (None, "it is left out"),
            },
        };
        let before = lock(&self.faults).insert(key.clone(), error.clone());
        if before.as_ref() != Some(&error) {
            tracing::warn!(object = %key, error, "object cannot be read: {outcome}; correct it");
        }
        object
    }

    fn stand_in(&self, unreadable: &Unreadable) -> Option<K> {
        (self.stand_in)(&unreadable.value).map(|object| unreadable.as_present(object))
    }
}

fn key<K>(object: &Readable<K>) -> ObjectRef<K>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let meta = object.meta();
    let key = ObjectRef::new(meta.name.as_deref().unwrap_or_default());
    match &meta.namespace {
        Some(namespace) => key.within(namespace),
        None => key,
    }
}

/// Why the object cannot be read, if so.
pub(crate) fn fault<K>(faults: &Faults<K>, object: &K) -> Option<String>
where
    K: Resource<DynamicType = ()>,
{
    lock(faults).get(&ObjectRef::from_obj(object)).cloned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{ResourceExt, runtime::reflector::store::Writer};

    use super::*;
    use crate::trim;

    #[test]
    fn what_is_labelled_in_a_foreign_namespace_is_not_kept() {
        let mut reader = Reader::<ConfigMap>::new(&Metrics::default()).only(trim::is_in_plane);
        let store = Writer::default().as_reader();
        let mut kept_in = |namespace: &str| {
            let mut map = ConfigMap::default();
            map.metadata.name = Some("plane".into());
            map.metadata.namespace = Some(namespace.into());
            let kept = reader.read(Event::InitApply(Readable::Object(map)), &store);
            kept.map(|event| if let Event::InitApply(map) = event { map.namespace() } else { None })
        };
        assert_eq!(kept_in("shop"), None);
        assert_eq!(kept_in("foghorn-blue"), Some(Some("foghorn-blue".to_owned())));
    }
}
