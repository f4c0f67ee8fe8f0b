//! What the controllers remember of a Service between reconciliations. All of it can be forgotten without harm.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::{dispute::Writings, validity::Doubts};

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(300);

/// A Service by namespace and name.
pub(crate) type Key = (String, String);

/// The key of a Service.
pub(crate) fn key(service: &Service) -> Key {
    (service.namespace().unwrap_or_default(), service.name_any())
}

/// What is remembered, by Service.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    services: BTreeMap<Key, Remembered>,
    /// Who was promised an address, by plane.
    promised: Keys,
    /// Who waits for what another Service has, by plane.
    waiting: Keys,
}

type Keys = BTreeMap<String, BTreeSet<Key>>;

/// What is remembered of one Service.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    uid: String,
    /// What was written to it.
    pub(crate) writings: Writings,
    /// The same of where external-dns leads its names: a dispute about that costs it no address.
    pub(crate) targets: Writings,
    /// Whether what its claim says still counts.
    pub(crate) doubts: Doubts,
    /// The plane that an address was promised on, until the claim shows in the watch.
    promised: Option<String>,
    /// The plane on which it waits for what another Service has.
    waiting_for: Option<String>,
    failures: u32,
}

impl Remembered {
    /// The Service waits for what another one has on `plane`.
    pub(crate) fn waits_on(&mut self, plane: String) {
        self.promised = None;
        self.waiting_for = Some(plane);
    }

    /// The Service neither waits for an address nor was promised one.
    pub(crate) fn expects_nothing(&mut self) {
        self.promised = None;
        self.waiting_for = None;
    }

    /// How long to wait after one more failure in a row.
    pub(crate) fn failed(&mut self) -> Duration {
        let wait = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(self.failures)).min(LAST_RETRY);
        self.failures += 1;
        wait
    }

    /// The row of failures has ended.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

impl Memory {
    /// Reads or changes what is remembered of this very Service: nothing of one that had its name before.
    pub(crate) fn of<T>(&self, service: &Service, look: impl FnOnce(&mut Remembered) -> T) -> T {
        self.lock().of(service, look)
    }

    /// The Service's row of failures has ended. Nothing is remembered for this.
    pub(crate) fn succeeded(&self, key: &Key) {
        if let Some(remembered) = self.lock().services.get_mut(key) {
            remembered.succeeded();
        }
    }

    /// Promises the Service an address on `plane`, if there is room beside the Services that were promised one: otherwise it
    /// waits for one.
    pub(crate) fn promise<E>(
        &self,
        service: &Service,
        plane: &str,
        is_room: impl FnOnce(&BTreeSet<Key>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut all = self.lock();
        // One that had the Service's name before counts no longer, neither does its own promise.
        all.of(service, Remembered::expects_nothing);
        let room = is_room(all.promised.get(plane).unwrap_or(&BTreeSet::new()));
        all.of(service, |it| match &room {
            Ok(()) => it.promised = Some(plane.to_owned()),
            Err(_) => it.waits_on(plane.to_owned()),
        });
        room
    }

    /// Forgets one Service.
    pub(crate) fn forget(&self, key: &Key) {
        self.lock().forget(key);
    }

    /// The Services that wait for what others have on `plane`.
    pub(crate) fn waiting_for(&self, plane: &str) -> Vec<Key> {
        self.lock().waiting.get(plane).into_iter().flatten().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    fn of<T>(&mut self, service: &Service, look: impl FnOnce(&mut Remembered) -> T) -> T {
        let (key, uid) = (key(service), service.uid().unwrap_or_default());
        let remembered = self.services.entry(key.clone()).or_default();
        let before = (remembered.promised.clone(), remembered.waiting_for.clone());
        if remembered.uid != uid {
            *remembered = Remembered { uid, ..Remembered::default() };
        }
        let result = look(remembered);
        moved(&mut self.promised, &key, before.0, remembered.promised.as_ref());
        moved(&mut self.waiting, &key, before.1, remembered.waiting_for.as_ref());
        result
    }

    fn forget(&mut self, key: &Key) {
        let Some(gone) = self.services.remove(key) else { return };
        moved(&mut self.promised, key, gone.promised, None);
        moved(&mut self.waiting, key, gone.waiting_for, None);
    }
}

/// A Service is no longer among those of the plane `from` but of `to`.
fn moved(keys: &mut Keys, key: &Key, from: Option<String>, to: Option<&String>) {
    if from.as_ref() == to {
        return;
    }
    if let Some(from) = from
        && let Some(left) = keys.get_mut(&from)
    {
        left.remove(key);
        if left.is_empty() {
            keys.remove(&from);
        }
    }
    if let Some(to) = to {
        keys.entry(to.clone()).or_default().insert(key.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{dispute::Verdict, fixtures::*, publish::Publication, reasons::LIMIT_REACHED},
        *,
    };

    #[test]
    fn the_wait_doubles_with_each_failure_up_to_five_minutes_and_starts_anew_after_a_success() {
        let mut remembered = Remembered::default();
        let waits: Vec<_> = (0..11).map(|_| remembered.failed().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        remembered.succeeded();
        assert_eq!(remembered.failed(), FIRST_RETRY);
    }

    #[test]
    fn those_who_wait_for_a_plane_are_found() {
        let memory = Memory::default();
        let (web, api) = (service("web").build(), service("api").build());
        memory.of(&web, |web| web.waits_on("a".into()));
        memory.of(&api, |api| api.waits_on("b".into()));
        assert_eq!(memory.waiting_for("a"), [key(&web)]);
        memory.of(&api, |api| api.waits_on("a".into()));
        assert_eq!(memory.waiting_for("a"), [key(&api), key(&web)]);
        memory.forget(&key(&web));
        memory.of(&api, Remembered::expects_nothing);
        assert!(memory.lock().waiting.is_empty());
    }

    #[test]
    fn what_was_promised_to_others_is_not_free() {
        let memory = Memory::default();
        let (web, api) = (service("web").build(), service("api").build());
        let room_for =
            |count: usize| move |promised: &BTreeSet<Key>| (promised.len() < count).then_some(()).ok_or(());
        assert_eq!(memory.promise(&web, "a", room_for(1)), Ok(()));
        assert_eq!(memory.promise(&web, "a", room_for(1)), Ok(()), "its own promise is no other's");
        assert_eq!(memory.promise(&api, "a", room_for(1)), Err(()));
        assert_eq!(memory.promise(&api, "b", room_for(1)), Ok(()), "each plane has its own");
        assert_eq!(memory.promise(&api, "a", room_for(1)), Err(()));
        assert_eq!(memory.waiting_for("a"), [key(&api)]);
        let mut again = service("web").build();
        again.metadata.uid = Some("another".into());
        memory.of(&again, |_| ());
        assert_eq!(memory.promise(&api, "a", room_for(1)), Ok(()), "that Service is no more");
        assert!(memory.waiting_for("a").is_empty());
    }

    #[test]
    fn a_service_that_is_made_again_and_again_is_no_dispute() {
        let memory = Memory::default();
        for uid in 0..20 {
            let mut service = service("web").build();
            service.metadata.uid = Some(uid.to_string());
            let publication = Publication::none(LIMIT_REACHED, "all are in use");
            let write = memory.of(&service, |it| it.writings.may_publish(at(1), &service, &publication));
            assert_eq!(write, Verdict::Write, "{uid}");
            memory.of(&service, |it| it.writings.published(at(1), publication));
        }
    }
}
