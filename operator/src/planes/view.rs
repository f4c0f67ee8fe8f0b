//! Which view of its nodes a plane has, as its Lease tells.

use foghorn_crds::contract;
use foghorn_election::Identity;
use foghorn_membership::{Epoch, View};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;

/// The view in a plane's Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The node that assigns addresses.
    pub(super) coordinator: Option<String>,
    /// The place of the view in the order of views.
    pub(super) epoch: Option<Epoch>,
    /// The nodes that take part, in order of seniority.
    pub(super) members: Vec<String>,
}

impl Seen {
    /// What the Lease tells, as far as it can be read. Where nobody holds it nobody takes part.
    #[must_use]
    pub(super) fn of(lease: &Lease) -> Self {
        let Some(coordinator) = coordinator(lease) else { return Self::default() };
        let epoch = epoch(lease);
        let text = lease.annotations().get(contract::VIEW_ANNOTATION);
        let view = epoch.zip(text).and_then(|(epoch, text)| View::from_annotation(epoch, text));
        let members = view.map(|view| view.seats.into_iter().map(|seat| seat.node).collect());
        Self { coordinator: Some(coordinator), epoch, members: members.unwrap_or_default() }
    }
}

fn coordinator(lease: &Lease) -> Option<String> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    holder.parse::<Identity>().ok().map(|identity| identity.name().to_owned())
}

fn epoch(lease: &Lease) -> Option<Epoch> {
    let view = lease.spec.as_ref()?.lease_transitions.unwrap_or_default().try_into().ok()?;
    Some(Epoch { created: contract::counts_as_created(lease)?, view, quorum: 0 })
}

/// The view in words: `view 7: w1 (coordinator), w2, w3`. `epoch` is that of a status.
#[must_use]
pub(super) fn words(epoch: &str, coordinator: Option<&str>, members: &[String]) -> String {
    let number = epoch.split('.').nth(1).unwrap_or(epoch);
    let mut left = coordinator;
    let members = members.iter().map(|node| match left.take_if(|coordinator| *coordinator == node) {
        Some(_) => format!("{node} (coordinator)"),
        None => node.clone(),
    });
    format!("view {number}: {}", members.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planes::fixtures::lease;

    #[test]
    fn the_view_is_read_from_lease_and_annotation() {
        let seen = Seen::of(&lease("w1_00000000000000ab", 7, &["w1", "w2"]));
        assert_eq!(seen.coordinator.as_deref(), Some("w1"));
        assert_eq!(seen.epoch.unwrap().to_string(), "1767225600.7.0");
        assert_eq!(seen.members, ["w1", "w2"]);
    }

    #[test]
    fn what_no_announcer_wrote_is_no_view() {
        assert_eq!(Seen::of(&lease("somebody", 7, &["w1"])), Seen::default());
        assert_eq!(Seen::of(&Lease::default()), Seen::default());
        let mut scribbled = lease("w1_00000000000000ab", 7, &["w1"]);
        scribbled.annotations_mut().insert(contract::VIEW_ANNOTATION.into(), "mine".into());
        assert_eq!(Seen::of(&scribbled).members, [""; 0]);
        let mut odd = lease("w1_00000000000000ab", -7, &["w1"]);
        assert_eq!(Seen::of(&odd).epoch, None);
        odd.metadata.creation_timestamp = None;
        assert_eq!(Seen::of(&odd).epoch, None);
    }

    #[test]
    fn a_view_in_words_names_number_coordinator_and_members() {
        let members = ["w1".to_owned(), "w2".to_owned(), "w3".to_owned()];
        let text = words("1767225600.7.0", Some("w2"), &members);
        assert_eq!(text, "view 7: w1, w2 (coordinator), w3");
    }
}
