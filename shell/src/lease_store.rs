//! The Lease of an election in the API server.

use std::time::Duration;

use foghorn_election::{Epoch, Precondition, Record, Write};
use futures::{Stream, StreamExt, future};
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    api::PostParams,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::Error;

use crate::{readable::Readable, watching::patience};

/// Why a Lease was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The precondition of a write was not met.
    #[error("lease {lease} was changed by somebody else in the meantime")]
    Conflict {
        /// `<namespace>/<name>`.
        lease: String,
    },
    /// RBAC.
    #[error(
        "not allowed to {verb} lease {lease}; grant get, list, watch, create and update of leases in its namespace: {message}"
    )]
    Forbidden {
        /// Of RBAC.
        verb: &'static str,
        /// `<namespace>/<name>`.
        lease: String,
        /// The API server's.
        message: String,
    },
    /// The API server refused it for another reason.
    #[error("the API server did not {verb} lease {lease}: {message}")]
    Refused {
        /// Of RBAC.
        verb: &'static str,
        /// `<namespace>/<name>`.
        lease: String,
        /// The API server's.
        message: String,
    },
    /// There was no answer, or none that could be understood. A write may have taken place.
    #[error("no answer of the API server to {verb} lease {lease}: {source}")]
    NoAnswer {
        /// Of RBAC.
        verb: &'static str,
        /// `<namespace>/<name>`.
        lease: String,
        /// What happened instead.
        source: kube::Error,
    },
}

/// One Lease in the API server.
#[derive(Clone, Debug)]
pub struct LeaseStore {
    api: Api<Lease>,
    /// Times without a meaning must not keep anybody from writing better ones.
    reading: Api<Readable<Lease>>,
    namespace: String,
    name: String,
}

impl LeaseStore {
    /// The Lease `name` in `namespace`.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            reading: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The present state, not a cached one; `None` if there is no such Lease.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses.
    pub async fn read(&self) -> Result<Option<Lease>, LeaseError> {
        let lease = self.reading.get_opt(&self.name).await.map_err(|error| self.error("get", error))?;
        match lease {
            Some(Readable::Object(lease)) => Ok(Some(lease)),
            Some(Readable::Unreadable(unreadable)) => {
                let error = serde_json::Error::custom(unreadable.error);
                Err(self.error("get", kube::Error::SerdeError(error)))
            }
            None => Ok(None),
        }
    }

    /// Brings the Lease to a state, if its precondition is met. `base` is the Lease in the version of the precondition;
    /// what in it is not the election's is kept. Without it only [`Precondition::Absent`] can be met. `now` becomes the renew
    /// time.
    ///
    /// # Errors
    /// [`LeaseError::Conflict`] if the precondition is not met; else if the API server cannot be asked or refuses.
    pub async fn write(
        &self,
        base: Option<Lease>,
        write: &Write,
        now: Timestamp,
    ) -> Result<Lease, LeaseError> {
        match (&write.precondition, base) {
            (Precondition::Absent, _) => self.create(applied(self.empty(), write, now)).await,
            (Precondition::Version(_), Some(base)) => self.replace(applied(base, write, now)).await,
            (Precondition::Version(_), None) => Err(self.conflict()),
        }
    }

    /// A Lease of that name that says nothing yet.
    #[must_use]
    pub fn empty(&self) -> Lease {
        named(&self.name)
    }

    /// That the state which a write is built on is not the present one.
    #[must_use]
    pub fn conflict(&self) -> LeaseError {
        LeaseError::Conflict { lease: self.to_string() }
    }

    /// Makes the Lease, if there is none.
    ///
    /// # Errors
    /// [`LeaseError::Conflict`] if there is one; else if the API server cannot be asked or refuses.
    pub async fn create(&self, lease: Lease) -> Result<Lease, LeaseError> {
        let created = self.api.create(&PostParams::default(), &lease).await;
        created.map_err(|error| self.error("create", error))
    }

    /// Writes the Lease, if it is in the version that it names.
    ///
    /// # Errors
    /// [`LeaseError::Conflict`] if it is in another; else if the API server cannot be asked or refuses.
    pub async fn replace(&self, lease: Lease) -> Result<Lease, LeaseError> {
        let replaced = self.api.replace(&self.name, &PostParams::default(), &lease).await;
        replaced.map_err(|error| self.error("update", error))
    }

    /// Each state of the Lease as it becomes known, `None` if there is no such Lease; without an end. An error is
    /// followed by a new attempt, after a while.
    pub fn watch(&self) -> impl Stream<Item = Result<Option<Lease>, watcher::Error>> + Send + use<> {
        let states = watcher::watch_object(self.reading.clone(), &self.name).backoff(patience());
        states.filter_map(|state| {
            future::ready(match state {
                Ok(Some(lease)) => lease.object().map(|lease| Ok(Some(lease))),
                Ok(None) => Some(Ok(None)),
                Err(error) => Some(Err(error)),
            })
        })
    }

    fn error(&self, verb: &'static str, error: kube::Error) -> LeaseError {
        let lease = self.to_string();
        let kube::Error::Api(status) = error else {
            return LeaseError::NoAnswer { verb, lease, source: error };
        };
        if status.code == 409 || (verb == "update" && status.code == 404) {
            LeaseError::Conflict { lease }
        } else if status.is_forbidden() {
            LeaseError::Forbidden { verb, lease, message: status.message }
        } else {
            LeaseError::Refused { verb, lease, message: status.message }
        }
    }
}

impl std::fmt::Display for LeaseStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What the election looks at in a Lease. Values that make no sense are taken for absent ones.
#[must_use]
pub fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let count = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok()).unwrap_or_default();
    let created = lease.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        epoch: Epoch { created, transitions: count(spec.lease_transitions) },
        renewed: spec.renew_time.map_or_else(String::new, |time| time.0.to_string()),
        duration: Duration::from_secs(count(spec.lease_duration_seconds).into()),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}

fn named(name: &str) -> Lease {
    Lease { metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }, spec: None }
}

fn applied(mut lease: Lease, write: &Write, now: Timestamp) -> Lease {
    lease.metadata.managed_fields = None;
    lease.metadata.resource_version = match &write.precondition {
        Precondition::Absent => None,
        Precondition::Version(version) => Some(version.clone()),
    };
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = Some(write.holder.clone());
    spec.lease_transitions = i32::try_from(write.transitions).ok();
    spec.lease_duration_seconds = i32::try_from(write.duration.as_secs()).ok();
    spec.renew_time = Some(MicroTime(now));
    if write.acquires {
        spec.acquire_time = Some(MicroTime(now));
    }
    lease
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn a_written_lease_reads_as_what_was_written() {
        let lease = applied(stored(), &renewal(), now());
        let record = record(&lease);
        assert_eq!(record.holder, "node-1_0000000000000001");
        assert_eq!(record.epoch, Epoch { created: 1_767_225_600, transitions: 4 });
        assert_eq!(record.duration, Duration::from_secs(5));
        assert_eq!((record.version.as_str(), record.renewed.as_str()), ("7", "2026-01-02T00:00:00.123456Z"));
    }

    #[test]
    fn what_is_not_the_elections_is_kept() {
        let lease = applied(stored(), &renewal(), now());
        assert_eq!(lease.metadata.labels, stored().metadata.labels);
        assert_eq!(lease.metadata.uid, stored().metadata.uid);
        let spec = lease.spec.unwrap();
        assert_eq!(spec.strategy.as_deref(), Some("OldestEmulationVersion"));
        assert_eq!(spec.acquire_time, None);
    }

    #[test]
    fn a_lease_to_be_created_has_a_name_and_no_version() {
        let write = Write { precondition: Precondition::Absent, acquires: true, ..renewal() };
        let lease = applied(named("plane"), &write, now());
        assert_eq!(lease.metadata.name.as_deref(), Some("plane"));
        assert_eq!(lease.metadata.resource_version, None);
        assert_eq!(lease.spec.unwrap().acquire_time, Some(MicroTime(now())));
    }

    #[test]
    fn a_foreign_lease_with_senseless_values_reads_as_a_free_one() {
        let spec =
            LeaseSpec { lease_transitions: Some(-3), lease_duration_seconds: Some(-1), ..Default::default() };
        let foreign = record(&Lease { metadata: ObjectMeta::default(), spec: Some(spec) });
        assert_eq!(foreign, record(&Lease::default()));
        assert_eq!((foreign.holder.as_str(), foreign.epoch), ("", Epoch::default()));
    }

    fn now() -> Timestamp {
        "2026-01-02T00:00:00.123456Z".parse().unwrap()
    }

    fn renewal() -> Write {
        Write {
            precondition: Precondition::Version("7".to_owned()),
            holder: "node-1_0000000000000001".to_owned(),
            transitions: 4,
            duration: Duration::from_secs(5),
            acquires: false,
        }
    }

    fn stored() -> Lease {
        Lease {
            metadata: ObjectMeta {
                name: Some("plane".to_owned()),
                uid: Some("1-2-3".to_owned()),
                labels: Some([("team".to_owned(), "net".to_owned())].into()),
                creation_timestamp: Some(Time("2026-01-01T00:00:00Z".parse().unwrap())),
                resource_version: Some("7".to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                strategy: Some("OldestEmulationVersion".to_owned()),
                ..Default::default()
            }),
        }
    }
}
