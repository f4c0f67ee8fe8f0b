//! One watch of a kind of object for all who need it.

use std::{
    collections::HashMap,
    fmt::Debug,
    future::Future,
    hash::Hash,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{
    Stream, StreamExt,
    channel::mpsc::{self, UnboundedSender},
    stream,
};
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;

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
    /// Watches the objects of `api` that `config` selects. The watch goes on while the future is polled, and through
    /// all failures; the future never ends.
    pub fn new(api: Api<K>, config: watcher::Config) -> (Self, impl Future<Output = ()> + Send + use<K>) {
        let writer = Writer::<K>::default();
        let store = writer.as_reader();
        let listeners = Arc::<Listeners<K>>::default();
        let events = watcher::watcher(api, config).default_backoff();
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
