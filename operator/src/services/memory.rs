//! What the controllers remember of a Service between reconciliations. All of it can be forgotten without harm.

use std::{
    collections::BTreeMap,
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

/// What is remembered of this very Service: nothing of one that had its name before.
pub(crate) fn entry<'a>(all: &'a mut BTreeMap<Key, Remembered>, service: &Service) -> &'a mut Remembered {
    let uid = service.uid().unwrap_or_default();
    let remembered = all.entry(key(service)).or_default();
    if remembered.uid != uid {
        *remembered = Remembered { uid, ..Remembered::default() };
    }
    remembered
}

/// What is remembered, by Service.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<BTreeMap<Key, Remembered>>);

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
    pub(crate) promised: Option<String>,
    /// The plane on which it waits for what another Service has.
    pub(crate) waiting_for: Option<String>,
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
    /// All that is remembered, for as long as the guard lives.
    pub(crate) fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Remembered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads or changes what is remembered of one Service.
    pub(crate) fn of<T>(&self, service: &Service, look: impl FnOnce(&mut Remembered) -> T) -> T {
        look(entry(&mut self.lock(), service))
    }

    /// Forgets one Service.
    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// The Services that wait for what others have on `plane`.
    pub(crate) fn waiting_for(&self, plane: &str) -> Vec<Key> {
        let waits = |remembered: &Remembered| remembered.waiting_for.as_deref() == Some(plane);
        self.lock().iter().filter(|(_, remembered)| waits(remembered)).map(|(key, _)| key.clone()).collect()
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
        memory.forget(&key(&web));
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
