//! One watch of a kind of object for all who need it.

use std::{
    collections::HashMap,
    fmt::Debug,
    future::Future,
    hash::Hash,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use foghorn_shell::{readable::Readable, watching::patience};
use futures::{
    Stream, StreamExt,
    channel::mpsc::{self, UnboundedSender},
    future, stream,
};
use kube::{
    Api, Client, Resource,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;

use crate::reader::{self, Faults, Reader};

/// A kind of object under one watch: its present state, and the changes in it.
///
/// A change is told after the store has it, and of a deleted object the last state is told. So whoever looks into
/// the store when told of a change decides on a state that is at least as new.
pub struct Watched<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store: Store<K>,
    listeners: Arc<Listeners<K>>,
    faults: Faults<K>,
}

type Listeners<K> = Mutex<Vec<UnboundedSender<Arc<K>>>>;

impl<K> Watched<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Watches the objects of the whole cluster that `config` selects, as `reader` reads them. The watch goes on while the
    /// future is polled, and through all failures; the future never ends.
    pub(crate) fn new(
        client: &Client,
        config: watcher::Config,
        reader: Reader<K>,
    ) -> (Self, impl Future<Output = ()> + Send + use<K>) {
        let api = Api::<Readable<K>>::all(client.clone());
        Self::following(watcher::watcher(api, config).backoff(patience()), reader)
    }

    fn following<S>(events: S, reader: Reader<K>) -> (Self, impl Future<Output = ()> + Send + use<K, S>)
    where
        S: Stream<Item = Result<Event<Readable<K>>, watcher::Error>> + Send,
    {
        let writer = Writer::<K>::default();
        let store = writer.as_reader();
        let listeners = Arc::<Listeners<K>>::default();
        let watched = Self { store, listeners: listeners.clone(), faults: reader.faults() };
        (watched, follow(events, reader, writer, listeners))
    }

    /// Why the object in the store is not as it should be: it cannot be read. What was known of it, or can be read of it,
    /// is in its place.
    #[must_use]
    pub fn fault(&self, object: &K) -> Option<String> {
        reader::fault(&self.faults, object)
    }

    /// The present state. [`Store::wait_until_ready`] first: an empty store may only be one that is not filled yet.
    #[must_use]
    pub fn store(&self) -> &Store<K> {
        &self.store
    }

    /// All objects that are there, then each one that is changed or deleted.
    pub fn changes(&self) -> impl Stream<Item = Arc<K>> + Send + use<K> {
        let (sender, changes) = mpsc::unbounded();
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        stream::iter(self.store.state()).chain(changes)
    }

    /// As [`changes`](Self::changes), without those that change nothing in what `aspect` looks at.
    pub fn changes_of<A, F>(&self, aspect: F) -> impl Stream<Item = Arc<K>> + Send + use<K, A, F>
    where
        A: PartialEq + Send + 'static,
        F: Fn(&K) -> A + Send + 'static,
    {
        self.changed(self.changes(), HashMap::new(), aspect)
    }

    /// As [`changes_of`](Self::changes_of), without the objects that are there already.
    pub fn news_of<A, F>(&self, aspect: F) -> impl Stream<Item = Arc<K>> + Send + use<K, A, F>
    where
        A: PartialEq + Send + 'static,
        F: Fn(&K) -> A + Send + 'static,
    {
        let present = self.store.state();
        let known = present.iter().map(|object| (ObjectRef::from_obj(&**object), aspect(object))).collect();
        self.changed(self.changes().skip(present.len()), known, aspect)
    }

    fn changed<A, F, S>(
        &self,
        changes: S,
        mut known: HashMap<ObjectRef<K>, A>,
        aspect: F,
    ) -> impl Stream<Item = Arc<K>> + Send + use<K, A, F, S>
    where
        A: PartialEq + Send + 'static,
        F: Fn(&K) -> A + Send + 'static,
        S: Stream<Item = Arc<K>> + Send,
    {
        let store = self.store.clone();
        changes.filter(move |object| {
            let key = ObjectRef::from_obj(&**object);
            let changed = if store.get(&key).is_none() {
                known.remove(&key);
                true
            } else {
                let aspect = aspect(object);
                let changed = known.get(&key) != Some(&aspect);
                known.insert(key, aspect);
                changed
            };
            future::ready(changed)
        })
    }
}

async fn follow<K>(
    events: impl Stream<Item = Result<Event<Readable<K>>, watcher::Error>> + Send,
    mut reader: Reader<K>,
    mut writer: Writer<K>,
    listeners: Arc<Listeners<K>>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash,
{
    let store = writer.as_reader();
    let mut before = HashMap::new();
    let mut events = pin!(events);
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), %error, "watch failed, trying again");
                continue;
            }
        };
        let Some(event) = reader.read(event, &store) else { continue };
        if matches!(event, Event::Init) {
            before =
                store.state().into_iter().map(|object| (ObjectRef::from_obj(&*object), object)).collect();
        }
        writer.apply_watcher_event(&event);
        match event {
            Event::Apply(object) => {
                if let Some(object) = store.get(&ObjectRef::from_obj(&object)) {
                    reader.put(&object);
                    tell(&listeners, &object);
                }
            }
            Event::Delete(object) => {
                reader.removed(&object);
                tell(&listeners, &Arc::new(object));
            }
            Event::Init | Event::InitApply(_) => {}
            Event::InitDone => {
                let present = store.state();
                for object in &present {
                    before.remove(&ObjectRef::from_obj(&**object));
                    reader.put(object);
                }
                before.values().for_each(|gone| reader.removed(gone));
                let gone = before.drain().map(|(_, object)| object);
                present.into_iter().chain(gone).for_each(|object| tell(&listeners, &object));
            }
        }
    }
}

fn tell<K>(listeners: &Listeners<K>, object: &Arc<K>) {
    let mut listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
    listeners.retain(|listener| listener.unbounded_send(object.clone()).is_ok());
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
    use kube::ResourceExt;

    use super::*;
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn a_listener_is_told_after_the_store_has_the_change() {
        let (events, watched) = watched();
        let mut changes = watched.changes().boxed();
        events.send(Event::Init);
        events.send(Event::InitApply(object("a", "1")));
        assert_eq!(changes.next().now_or_never(), None);
        events.send(Event::InitDone);
        assert_eq!(changes.next().await.unwrap().name_any(), "a");
        assert_eq!(watched.store().len(), 1);
        events.send(Event::Delete(object("a", "1")));
        assert_eq!(changes.next().await.unwrap().name_any(), "a");
        assert_eq!(watched.store().len(), 0);
    }

    #[tokio::test]
    async fn what_was_deleted_while_the_watch_was_away_is_told() {
        let (events, watched) = watched();
        events.send(Event::Init);
        events.send(Event::InitApply(object("a", "1")));
        events.send(Event::InitDone);
        watched.store().wait_until_ready().await.unwrap();
        let mut changes = watched.changes().boxed();
        assert_eq!(changes.next().await.unwrap().name_any(), "a");
        events.send(Event::Init);
        events.send(Event::InitApply(object("b", "2")));
        events.send(Event::InitDone);
        let told = [changes.next().await.unwrap().name_any(), changes.next().await.unwrap().name_any()];
        assert_eq!(told, ["b", "a"]);
    }

    #[tokio::test]
    async fn a_change_of_another_aspect_is_not_told() {
        let (events, watched) = watched();
        let mut changes = watched.changes_of(|map| map.data.clone()).boxed();
        events.send(Event::Init);
        events.send(Event::InitDone);
        events.send(Event::Apply(object("a", "1")));
        events.send(Event::Apply(labelled(object("a", "1"))));
        events.send(Event::Apply(object("a", "2")));
        assert_eq!(changes.next().await.unwrap().data, object("a", "1").data);
        assert_eq!(changes.next().await.unwrap().data, object("a", "2").data);
        events.send(Event::Delete(object("a", "2")));
        assert!(changes.next().await.is_some());
        assert_eq!(changes.next().now_or_never(), None);
    }

    #[tokio::test]
    async fn an_unreadable_object_is_left_out_until_it_can_be_read() {
        let (events, watched) = watched();
        let mut changes = watched.changes().boxed();
        events.send(Event::Init);
        events.send(Event::InitApply(object("a", "1")));
        events.unreadable(Event::InitApply, "b");
        events.send(Event::InitDone);
        assert_eq!(changes.next().await.unwrap().name_any(), "a");
        assert_eq!(watched.store().len(), 1);
        assert!(watched.fault(&object("b", "1")).unwrap().contains("7"));
        events.send(Event::Apply(object("b", "2")));
        assert_eq!(changes.next().await.unwrap().name_any(), "b");
        assert_eq!((watched.store().len(), watched.fault(&object("b", "2"))), (2, None));
    }

    #[tokio::test]
    async fn a_known_object_stays_while_it_cannot_be_read() {
        let (events, watched) = watched();
        let mut changes = watched.changes().boxed();
        events.send(Event::Init);
        events.send(Event::InitDone);
        events.send(Event::Apply(object("a", "1")));
        events.unreadable(Event::Apply, "a");
        // A relist does not take it for deleted either.
        events.send(Event::Init);
        events.unreadable(Event::InitApply, "a");
        events.send(Event::InitDone);
        for _ in 0..3 {
            assert_eq!(changes.next().await.unwrap().data, object("a", "1").data);
        }
        assert!(watched.fault(&object("a", "1")).is_some());
        events.unreadable(Event::Delete, "a");
        assert_eq!(changes.next().await.unwrap().name_any(), "a");
        assert_eq!((watched.store().len(), watched.fault(&object("a", "1"))), (0, None));
    }

    struct Events(UnboundedSender<Result<Event<Readable<ConfigMap>>, watcher::Error>>);

    impl Events {
        fn send(&self, event: Event<ConfigMap>) {
            self.0.unbounded_send(Ok(readable(event))).unwrap();
        }

        fn unreadable(&self, event: impl Fn(Readable<ConfigMap>) -> Event<Readable<ConfigMap>>, name: &str) {
            let value =
                serde_json::json!({"metadata": {"name": name, "uid": format!("uid-{name}")}, "data": 7});
            self.0.unbounded_send(Ok(event(serde_json::from_value(value).unwrap()))).unwrap();
        }
    }

    fn readable(event: Event<ConfigMap>) -> Event<Readable<ConfigMap>> {
        match event {
            Event::Apply(object) => Event::Apply(Readable::Object(object)),
            Event::Delete(object) => Event::Delete(Readable::Object(object)),
            Event::Init => Event::Init,
            Event::InitApply(object) => Event::InitApply(Readable::Object(object)),
            Event::InitDone => Event::InitDone,
        }
    }

    fn watched() -> (Events, Watched<ConfigMap>) {
        let (sender, events) = mpsc::unbounded();
        let (watched, task) = Watched::following(events, Reader::new(&Metrics::default()));
        tokio::spawn(task);
        (Events(sender), watched)
    }

    fn object(name: &str, value: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.into()),
                uid: Some(format!("uid-{name}")),
                ..ObjectMeta::default()
            },
            data: Some([("value".to_owned(), value.to_owned())].into()),
            ..ConfigMap::default()
        }
    }

    fn labelled(mut object: ConfigMap) -> ConfigMap {
        object.labels_mut().insert("a".into(), "b".into());
        object
    }
}
