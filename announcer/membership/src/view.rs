//! Who takes part in which order: the view, and the Lease that holds it.

use serde::{Deserialize, Serialize};

use crate::{Epoch, MemberId, Seat, names::hexadecimal};

/// The members of a plane in order of seniority, and the one of them that assigns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Its place in the order of views.
    pub epoch: Epoch,
    /// The one that assigns.
    pub coordinator: MemberId,
    /// All members, the coordinator included: who was let in first comes first.
    pub seats: Vec<Seat>,
}

impl View {
    /// The place of a member in the order of seniority.
    #[must_use]
    pub fn rank(&self, id: MemberId) -> Option<usize> {
        self.seats.iter().position(|seat| seat.id == id)
    }

    /// Whether that is a member.
    #[must_use]
    pub fn has(&self, id: MemberId) -> bool {
        self.rank(id).is_some()
    }

    /// All members but that one.
    pub fn others(&self, id: MemberId) -> impl Iterator<Item = &Seat> {
        self.seats.iter().filter(move |seat| seat.id != id)
    }

    /// The view as the Lease's annotation has it: JSON, without the epoch, which other fields of the Lease tell.
    #[must_use]
    pub fn annotation(&self) -> String {
        let text = Annotation { coordinator: self.coordinator, members: self.seats.clone() };
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// Reads an annotation; nothing if it is none, or names a coordinator that is no member.
    #[must_use]
    pub fn from_annotation(epoch: Epoch, text: &str) -> Option<Self> {
        let Annotation { coordinator, members } = serde_json::from_str(text).ok()?;
        let view = Self { epoch, coordinator, seats: members };
        view.has(coordinator).then_some(view)
    }
}

#[derive(Serialize, Deserialize)]
struct Annotation {
    #[serde(with = "hexadecimal")]
    coordinator: MemberId,
    members: Vec<Seat>,
}

/// What a member looks at in the plane's Lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// `metadata.resourceVersion`.
    pub version: String,
    /// `metadata.creationTimestamp`, or the later time that the Lease counts as made at, and `spec.leaseTransitions`.
    pub epoch: Epoch,
    /// What the annotation says.
    pub content: Content,
}

/// What the Lease says of the plane.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// A view.
    View(View),
    /// Nobody takes part any more: the last member has left in order.
    Released,
    /// Nothing that could be read: foreign hands, or another version.
    Unreadable,
}

/// A write of the Lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// In which state alone it may take place; the API server compares and writes in one step.
    pub precondition: Precondition,
    /// The Lease counts as made no earlier than that, in seconds since 1970. If that is later than it counts so far it
    /// counts as made now, or then: an earlier state of it was put back.
    pub created: i64,
    /// `spec.leaseTransitions`.
    pub transitions: u32,
    /// What the Lease is to say; none to leave the view as it is and to write the renew time only.
    pub change: Option<Change>,
}

/// What a write changes besides the renew time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A new view; its epoch is as the answer will tell.
    View {
        /// Who assigns.
        coordinator: MemberId,
        /// All members.
        seats: Vec<Seat>,
    },
    /// The last member leaves.
    Release,
}

/// In which state alone a write may take place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Precondition {
    /// There is no Lease: create it.
    Absent,
    /// The Lease has this `metadata.resourceVersion`: replace it.
    Version(String),
}
