//! Events of planes: transitions, each told once.

use std::fmt::Write as _;

use foghorn_crds::{
    NetworkPlane, NetworkPlaneStatus,
    conditions::{self, ACCEPTED, PLACEMENT, READY},
};
use k8s_openapi::{api::core::v1, apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::{
    Resource,
    runtime::events::{Event, EventType, Recorder},
};

use super::{
    acceptance::TWO_DEFAULTS,
    status::{reasons, transitions},
    view,
};

/// Longest note of an event, in octets.
const NOTE_MAX: usize = 1024;

/// What Kubernetes puts before the message of an event that was seen often.
const COMBINED: &str = "(combined from similar events): ";

/// What passes by itself on the way to a ready plane.
const PASSING: [&str; 5] =
    [reasons::STARTING, reasons::NOT_ACCEPTED, reasons::NOT_REPORTED, reasons::NOT_READY, reasons::DELETING];

/// Publishes what changed from the old state of a plane to the new one.
pub(super) async fn tell(recorder: &Recorder, old: &NetworkPlane, new: &NetworkPlane) {
    let object = new.object_ref(&());
    let (before, after) = (old.status.as_ref(), new.status.as_ref());
    for event in events(of(old), of(new)).into_iter().chain(view_change(before, after)) {
        if let Err(error) = recorder.publish(&event, &object).await {
            tracing::warn!(plane = ?object.name, reason = event.reason, %error, "an event could not be published");
        }
    }
}

/// The message of the last of the events that say why Pods cannot be made.
pub(super) fn last_failure(mut events: Vec<v1::Event>) -> Option<String> {
    events.sort_by_key(time);
    let message = events.pop()?.message?;
    let message = message.strip_prefix(COMBINED).unwrap_or(&message);
    Some(without_pod_names(message))
}

/// Each attempt has a Pod name of its own; with them the same failure would be another one each time.
fn without_pod_names(message: &str) -> String {
    const PREFIX: &str = "\"announcer-";
    let mut parts = message.split(PREFIX);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.split_once('"').map_or("", |(_, rest)| rest);
        // Writing into a string cannot fail.
        let _ = write!(text, "{PREFIX}*\"{rest}");
    }
    text
}

fn time(event: &v1::Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
    let micro = series.or(event.event_time.as_ref()).map(|time| time.0);
    event.last_timestamp.as_ref().map(|time| time.0).max(micro)
}

fn events(old: &[Condition], new: &[Condition]) -> Vec<Event> {
    transitions(old, new)
        .filter_map(|condition| event(conditions::get(old, &condition.type_), condition))
        .collect()
}

fn event(old: Option<&Condition>, new: &Condition) -> Option<Event> {
    let holds = new.status == "True";
    let type_ = match (new.type_.as_str(), holds) {
        (READY, true) => EventType::Normal,
        (ACCEPTED, true) if old.is_some() => EventType::Normal,
        (TWO_DEFAULTS, true) => EventType::Warning,
        (PLACEMENT, false) => EventType::Normal,
        // `Ready` repeats what another condition says.
        (READY, false) | (_, true) => return None,
        (_, false) if PASSING.contains(&new.reason.as_str()) => return None,
        (_, false) => EventType::Warning,
    };
    let mut note = new.message.clone();
    note.truncate(note.floor_char_boundary(NOTE_MAX));
    Some(Event {
        type_,
        reason: new.reason.clone(),
        note: Some(note).filter(|note| !note.is_empty()),
        action: "Reconcile".to_owned(),
        secondary: None,
    })
}

/// The event of a new view. One without members is the end of the one before, and no news by itself.
fn view_change(old: Option<&NetworkPlaneStatus>, new: Option<&NetworkPlaneStatus>) -> Option<Event> {
    let new = new.filter(|status| !status.members.is_empty())?;
    let epoch = new.view.as_deref()?;
    let of = |status: &NetworkPlaneStatus| {
        (status.view.clone(), status.coordinator.clone(), status.members.clone())
    };
    if old.map(of) == Some(of(new)) {
        return None;
    }
    let mut note = view::words(epoch, new.coordinator.as_deref(), &new.members);
    note.truncate(note.floor_char_boundary(NOTE_MAX));
    Some(Event {
        type_: EventType::Normal,
        reason: "ViewChanged".to_owned(),
        note: Some(note),
        // Events of one reason and action are counted together, under the first one's note.
        action: format!("Adopt {epoch}"),
        secondary: None,
    })
}

fn of(plane: &NetworkPlane) -> &[Condition] {
    plane.status.as_ref().map_or(&[], |status| &status.conditions)
}

#[cfg(test)]
mod tests {
    use foghorn_crds::conditions::{ANNOUNCERS_READY, condition};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn a_plane_that_becomes_ready_or_is_refused_is_told_once() {
        let refused = [is(ACCEPTED, false, "ClassTaken"), is(READY, false, "ClassTaken")];
        assert_eq!(reasons_of(&[], &refused), ["ClassTaken"]);
        assert_eq!(reasons_of(&refused, &refused), [""; 0]);
        let ready = [is(ACCEPTED, true, "Accepted"), is(READY, true, "Ready")];
        assert_eq!(reasons_of(&refused, &ready), ["Accepted", "Ready"]);
        assert_eq!(reasons_of(&[], &ready), ["Ready"]);
    }

    #[test]
    fn what_passes_by_itself_is_not_told() {
        let starting = [is(ANNOUNCERS_READY, false, reasons::STARTING), is(READY, false, reasons::STARTING)];
        assert_eq!(reasons_of(&[], &starting), [""; 0]);
        let failed = [is(ANNOUNCERS_READY, false, reasons::FAILED_CREATE)];
        assert_eq!(reasons_of(&starting, &failed), [reasons::FAILED_CREATE]);
    }

    #[test]
    fn nodes_that_are_passed_over_are_no_warning() {
        let passed_over = is(PLACEMENT, false, reasons::NODES_PASSED_OVER);
        assert_eq!(event(None, &passed_over).unwrap().type_, EventType::Normal);
    }

    #[test]
    fn a_view_is_told_once_and_only_while_somebody_takes_part() {
        let with = |view: &str, members: &[&str]| NetworkPlaneStatus {
            view: Some(view.into()),
            coordinator: Some("w1".into()),
            members: members.iter().map(|&node| node.into()).collect(),
            ..NetworkPlaneStatus::default()
        };
        let (six, seven) = (with("1767225600.6.0", &["w1"]), with("1767225600.7.0", &["w1", "w2"]));
        let event = view_change(Some(&six), Some(&seven)).unwrap();
        assert_eq!(event.note.as_deref(), Some("view 7: w1 (coordinator), w2"));
        assert!(view_change(Some(&seven), Some(&seven)).is_none());
        assert!(view_change(Some(&seven), Some(&with("1767225600.8.0", &[]))).is_none());
        assert!(view_change(None, Some(&seven)).is_some());
        let other = view_change(Some(&seven), Some(&six)).unwrap();
        assert_ne!(event.action, other.action, "the two would be counted as one");
    }

    #[test]
    fn the_last_failure_is_the_same_text_for_each_attempt() {
        let at = |second, message: &str| v1::Event {
            last_timestamp: Some(Time(Timestamp::from_second(second).unwrap())),
            message: Some(message.into()),
            ..v1::Event::default()
        };
        let first = at(1, "Error creating: quota");
        let second = at(
            2,
            "(combined from similar events): Error creating: pods \"announcer-x7k2p\" is forbidden: violates \"baseline\"",
        );
        assert_eq!(
            last_failure(vec![second, first]).unwrap(),
            "Error creating: pods \"announcer-*\" is forbidden: violates \"baseline\""
        );
        assert_eq!(last_failure(Vec::new()), None);
    }

    fn reasons_of(old: &[Condition], new: &[Condition]) -> Vec<String> {
        events(old, new).into_iter().map(|event| event.reason).collect()
    }

    fn is(type_: &str, holds: bool, reason: &str) -> Condition {
        condition(type_, holds, reason, "", None, Timestamp::UNIX_EPOCH)
    }
}
