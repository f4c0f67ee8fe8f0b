//! The plane's Lease: the view of its members, and the calls that a member wants made.

use std::future::pending;

use foghorn_crds::contract::{self, CREATED_ANNOTATION, VIEW_ANNOTATION};
use foghorn_membership::{Answer, Change, Content, Epoch, MemberId, Precondition, Record, Seat, View, Write};
use foghorn_shell::lease_store::{LeaseError, LeaseStore};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use tracing::warn;

/// `spec.leaseDurationSeconds`, for people: nobody takes the Lease over by this time alone.
const DURATION_SECONDS: i32 = 10;

/// News of the Lease.
#[derive(Debug, PartialEq, Eq)]
pub enum LeaseNews {
    /// The call of that number has ended.
    Answered(u64, Answer),
    /// The watch shows this.
    Observed(Option<Record>),
}

/// A call under way: its number, whether it writes, and what comes of it.
type Call = BoxFuture<'static, (u64, bool, Result<Option<Lease>, LeaseError>)>;

/// The plane's Lease, with one call under way at most.
pub struct PlaneLease {
    store: LeaseStore,
    watch: BoxStream<'static, LeaseNews>,
    call: Option<Call>,
    /// The Lease as the last answer and the last news of the watch had it: what a write is built on.
    answered: Option<Lease>,
    watched: tokio::sync::watch::Receiver<Option<Lease>>,
}

impl PlaneLease {
    /// The Lease of that store, not asked for yet. On a Tokio runtime.
    #[must_use]
    pub fn new(store: LeaseStore) -> Self {
        let (sender, watched) = tokio::sync::watch::channel(None);
        let name = store.to_string();
        let watch = store.watch().filter_map(move |news| {
            let news = match news {
                Ok(lease) => {
                    let record = lease.as_ref().map(record);
                    sender.send_replace(lease);
                    Some(LeaseNews::Observed(record))
                }
                Err(error) => {
                    warn!(lease = name, %error, "the Lease cannot be watched, trying again");
                    None
                }
            };
            async move { news }
        });
        Self { watch: watch.boxed(), store, call: None, answered: None, watched }
    }

    /// Reads the Lease. The call before is abandoned.
    pub fn read(&mut self, call: u64) {
        let store = self.store.clone();
        self.call = Some(async move { (call, false, store.read().await) }.boxed());
    }

    /// Writes the Lease. The call before is abandoned.
    pub fn write(&mut self, call: u64, write: &Write) {
        let store = self.store.clone();
        let lease = match &write.precondition {
            Precondition::Absent => Some(store.empty()),
            Precondition::Version(version) => {
                let watched = self.watched.borrow();
                let known = self.answered.iter().chain(watched.iter());
                known
                    .into_iter()
                    .find(|lease| lease.metadata.resource_version.as_ref() == Some(version))
                    .cloned()
            }
        };
        let creates = write.precondition == Precondition::Absent;
        let lease = lease.map(|lease| applied(lease, write, Timestamp::now()));
        self.call = Some(
            async move {
                let written = match lease {
                    Some(lease) if creates => store.create(lease).await,
                    Some(lease) => store.replace(lease).await,
                    None => Err(store.conflict()),
                };
                (call, true, written.map(Some))
            }
            .boxed(),
        );
    }

    /// The next news. Nothing is lost if the wait is given up.
    pub async fn news(&mut self) -> LeaseNews {
        let call = async {
            match &mut self.call {
                Some(call) => call.await,
                None => pending().await,
            }
        };
        let (call, writes, result) = tokio::select! {
            ended = call => ended,
            Some(news) = self.watch.next() => return news,
        };
        self.call = None;
        let answer = match result {
            Ok(lease) => {
                let record = lease.as_ref().map(record);
                self.answered = lease;
                match record {
                    Some(record) if writes => Answer::Written(record),
                    record => Answer::Found(record),
                }
            }
            Err(LeaseError::Conflict { .. }) => Answer::Conflict,
            Err(error) => {
                warn!(%error, "the plane's Lease is out of reach; members go on by themselves");
                Answer::Failed
            }
        };
        LeaseNews::Answered(call, answer)
    }
}

/// The holder as people read it: `<node>_<16 hexadecimal digits>`.
fn holder(coordinator: MemberId, seats: &[Seat]) -> Option<String> {
    let seat = seats.iter().find(|seat| seat.id == coordinator)?;
    Some(format!("{}_{coordinator}", seat.node))
}

/// What a member looks at in a Lease.
#[must_use]
pub fn record(lease: &Lease) -> Record {
    let metadata = &lease.metadata;
    let spec = lease.spec.clone().unwrap_or_default();
    let transitions = spec.lease_transitions.and_then(|count| u32::try_from(count).ok()).unwrap_or_default();
    let created = contract::counts_as_created(lease).unwrap_or_default();
    let epoch = Epoch { created, view: transitions, quorum: 0 };
    let annotation = metadata.annotations.as_ref().and_then(|all| all.get(VIEW_ANNOTATION));
    let holder = spec.holder_identity.unwrap_or_default();
    let content = match annotation.map(|text| View::from_annotation(epoch, text)) {
        Some(Some(view)) => Content::View(view),
        // A Lease that the operator has made, or that the last member has left.
        None if holder.is_empty() => Content::Released,
        Some(None) | None => Content::Unreadable,
    };
    Record { version: metadata.resource_version.clone().unwrap_or_default(), epoch, content }
}

fn applied(mut lease: Lease, write: &Write, now: Timestamp) -> Lease {
    let counts_so_far = contract::counts_as_created(&lease).unwrap_or_default();
    lease.metadata.managed_fields = None;
    lease.metadata.resource_version = match &write.precondition {
        Precondition::Absent => None,
        Precondition::Version(version) => Some(version.clone()),
    };
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.lease_transitions = i32::try_from(write.transitions).ok();
    spec.lease_duration_seconds = Some(DURATION_SECONDS);
    spec.renew_time = Some(MicroTime(now));
    let annotations = lease.metadata.annotations.get_or_insert_default();
    if write.created > counts_so_far {
        // Views were lost, perhaps more than this member knows of: no later view shall have one of their epochs. A Lease that
        // is made anew has the API server's time for that.
        let is_new = write.precondition == Precondition::Absent;
        let created = if is_new { write.created } else { write.created.max(now.as_second()) };
        annotations.insert(CREATED_ANNOTATION.to_owned(), created.to_string());
    }
    match &write.change {
        Some(Change::View { coordinator, seats }) => {
            let identity = holder(*coordinator, seats);
            if spec.holder_identity != identity {
                spec.acquire_time = Some(MicroTime(now));
            }
            spec.holder_identity = identity;
            let epoch = Epoch { view: write.transitions, ..Epoch::default() };
            let view = View { epoch, coordinator: *coordinator, seats: seats.clone() };
            annotations.insert(VIEW_ANNOTATION.to_owned(), view.annotation());
        }
        Some(Change::Release) => {
            spec.holder_identity = None;
            annotations.remove(VIEW_ANNOTATION);
        }
        None => {}
    }
    lease
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

    use super::*;

    #[test]
    fn a_view_that_is_written_is_the_view_that_is_read() {
        let lease = applied(stored(), &write(Some(view())), Timestamp::UNIX_EPOCH);
        let spec = lease.spec.as_ref().unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("w1_0000000000000001"));
        assert_eq!(spec.lease_transitions, Some(5));
        let record = record(&lease);
        assert_eq!(record.epoch, Epoch { created: 1_767_225_600, view: 5, quorum: 0 });
        let Content::View(view) = record.content else { panic!("{record:?}") };
        assert_eq!((view.coordinator, view.seats), (MemberId(1), seats()));
        assert_eq!(view.epoch, record.epoch);
    }

    #[test]
    fn a_renewal_changes_the_time_only() {
        let before = applied(stored(), &write(Some(view())), Timestamp::UNIX_EPOCH);
        let now = "2026-01-02T00:00:00Z".parse().unwrap();
        let after = applied(before.clone(), &write(None), now);
        assert_eq!(after.spec.as_ref().unwrap().renew_time, Some(MicroTime(now)));
        assert_eq!(record(&after).content, record(&before).content);
        assert_eq!(after.spec.unwrap().holder_identity, before.spec.unwrap().holder_identity);
    }

    #[test]
    fn what_is_not_ours_in_the_lease_is_kept() {
        let lease = applied(stored(), &write(Some(view())), Timestamp::UNIX_EPOCH);
        assert_eq!(lease.metadata.labels, stored().metadata.labels);
    }

    #[test]
    fn a_lease_that_was_left_or_never_used_is_free_and_another_without_a_view_is_not_readable() {
        let left = applied(stored(), &write(Some(Change::Release)), Timestamp::UNIX_EPOCH);
        assert_eq!(record(&left).content, Content::Released);
        assert_eq!(record(&stored()).content, Content::Released);
        let mut foreign = stored();
        foreign.spec = Some(LeaseSpec { holder_identity: Some("somebody".into()), ..LeaseSpec::default() });
        assert_eq!(record(&foreign).content, Content::Unreadable);
        let mut edited = applied(stored(), &write(Some(view())), Timestamp::UNIX_EPOCH);
        edited.metadata.annotations = Some([(VIEW_ANNOTATION.to_owned(), "{".to_owned())].into());
        assert_eq!(record(&edited).content, Content::Unreadable);
    }

    #[test]
    fn an_earlier_lease_that_was_put_back_counts_as_made_later() {
        let raised = Write { created: 1_767_999_999, ..write(Some(view())) };
        let lease = applied(stored(), &raised, Timestamp::UNIX_EPOCH);
        assert_eq!(record(&lease).epoch, Epoch { created: 1_767_999_999, view: 5, quorum: 0 });
        let left = Write { change: Some(Change::Release), ..raised };
        assert_eq!(
            record(&applied(lease.clone(), &left, Timestamp::UNIX_EPOCH)).epoch.created,
            1_767_999_999
        );
        let mut edited = lease;
        for text in ["", "x", "-5", "1"] {
            edited.metadata.annotations = Some([(CREATED_ANNOTATION.to_owned(), text.to_owned())].into());
            assert_eq!(record(&edited).epoch.created, 1_767_225_600, "{text:?}");
        }
        let ordinary = applied(stored(), &write(Some(view())), Timestamp::UNIX_EPOCH);
        assert!(!ordinary.metadata.annotations.unwrap().contains_key(CREATED_ANNOTATION));
    }

    fn view() -> Change {
        Change::View { coordinator: MemberId(1), seats: seats() }
    }

    fn seats() -> Vec<Seat> {
        let seat = |id, node: &str| Seat { id: MemberId(id), node: node.into(), address: None };
        vec![seat(1, "w1"), seat(2, "w2")]
    }

    fn write(change: Option<Change>) -> Write {
        Write { precondition: Precondition::Version("7".into()), created: 0, transitions: 5, change }
    }

    fn stored() -> Lease {
        Lease {
            metadata: ObjectMeta {
                name: Some("foghorn-public".into()),
                labels: Some([("team".to_owned(), "net".to_owned())].into()),
                creation_timestamp: Some(Time("2026-01-01T00:00:00Z".parse().unwrap())),
                resource_version: Some("7".into()),
                ..ObjectMeta::default()
            },
            spec: None,
        }
    }
}
