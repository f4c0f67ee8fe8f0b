//! One watch of a kind of object for all who need it.

use std::{
    collections::HashMap,
    fmt::Debug,
    future::Future,
    hash::Hash,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use foghorn_shell::watching::patience;
use futures::{
    Stream, StreamExt, TryStreamExt,
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

use crate::readable::Readable;

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
}

type Listeners<K> = Mutex<Vec<UnboundedSender<Arc<K>>>>;

impl<K> Watched<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Watches the objects of the whole cluster that `config` selects. The watch goes on while the future is polled, and
    /// through all failures; the future never ends.
    pub fn new(client: &Client, config: watcher::Config) -> (Self, impl Future<Output = ()> + Send + use<K>) {
        let writer = Writer::<K>::default();
        let store = writer.as_reader();
        let listeners = Arc::<Listeners<K>>::default();
        let api = Api::<Readable<K>>::all(client.clone());
        let events = watcher::watcher(api, config).backoff(patience()).map_ok(read);
        let task = follow(events, writer, listeners.clone());
        (Self { store, listeners }, task)
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
        let store = self.store.clone();
        let mut known = HashMap::new();
        self.changes().filter(move |object| {
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

/// The event of the object that was read.
pub(crate) fn read<K>(event: Event<Readable<K>>) -> Event<K> {
    match event {
        Event::Apply(Readable(object)) => Event::Apply(object),
        Event::Delete(Readable(object)) => Event::Delete(object),
        Event::Init => Event::Init,
        Event::InitApply(Readable(object)) => Event::InitApply(object),
        Event::InitDone => Event::InitDone,
    }
}

async fn follow<K>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send,
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
        if matches!(event, Event::Init) {
            before =
                store.state().into_iter().map(|object| (ObjectRef::from_obj(&*object), object)).collect();
        }
        writer.apply_watcher_event(&event);
        match event {
            Event::Apply(object) | Event::Delete(object) => tell(&listeners, &Arc::new(object)),
            Event::Init | Event::InitApply(_) => {}
            Event::InitDone => {
                for object in store.state() {
                    before.remove(&ObjectRef::from_obj(&*object));
                    tell(&listeners, &object);
                }
                before.drain().for_each(|(_, object)| tell(&listeners, &object));
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

    struct Events(UnboundedSender<Result<Event<ConfigMap>, watcher::Error>>);

    impl Events {
        fn send(&self, event: Event<ConfigMap>) {
            self.0.unbounded_send(Ok(event)).unwrap();
        }
    }

    fn watched() -> (Events, Watched<ConfigMap>) {
        let (sender, events) = mpsc::unbounded();
        let writer = Writer::default();
        let watched = Watched { store: writer.as_reader(), listeners: Arc::default() };
        tokio::spawn(follow(events, writer, watched.listeners.clone()));
        (Events(sender), watched)
    }

    fn object(name: &str, value: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
            data: Some([("value".to_owned(), value.to_owned())].into()),
            ..ConfigMap::default()
        }
    }

    fn labelled(mut object: ConfigMap) -> ConfigMap {
        object.labels_mut().insert("a".into(), "b".into());
        object
    }
}
