//! What an announcer has to say of its node, told as conditions of its own Pod: it can write no other object that the
//! operator reads.

use std::{collections::BTreeMap, time::Duration};

use foghorn_clock::Instant;
use foghorn_crds::{conditions::reasons, contract};
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{sync::watch, time::sleep};
use tracing::warn;

use crate::heartbeat::{Paths, PathsOf};

const RETRY: Duration = Duration::from_secs(2);
/// A member is heard by both ways within this time after it was let in, or something is in the way.
const SETTLED: Duration = Duration::from_secs(10);

/// All that is told, by the types of the conditions.
pub type PodConditions = BTreeMap<&'static str, Telling>;

/// What is to be said of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// In working order.
    pub good: bool,
    /// One of [`reasons`].
    pub reason: &'static str,
    /// In words, with names.
    pub message: String,
}

/// Writes the conditions that have changed, until the sender is gone. What fails is tried again, with what is true
/// then.
pub async fn tell(
    client: Client,
    namespace: String,
    pod: String,
    mut conditions: watch::Receiver<PodConditions>,
) {
    let api: Api<Pod> = Api::namespaced(client, &namespace);
    let mut told = PodConditions::new();
    let mut since = Transitions::default();
    while conditions.changed().await.is_ok() {
        loop {
            let wanted = conditions.borrow_and_update().clone();
            let now = Timestamp::now();
            let news: Vec<_> = wanted
                .iter()
                .filter(|(type_, telling)| told.get(*type_) != Some(telling))
                .map(|(type_, telling)| {
                    json!({
                        "type": type_,
                        "status": if telling.good { "True" } else { "False" },
                        "reason": telling.reason,
                        "message": telling.message,
                        "lastTransitionTime": since.of(type_, telling.good, now),
                    })
                })
                .collect();
            if news.is_empty() {
                break;
            }
            let patch = json!({"status": {"conditions": news}});
            match api.patch_status(&pod, &PatchParams::default(), &Patch::Strategic(patch)).await {
                Ok(_) => told = wanted,
                Err(error) => {
                    warn!(%error, pod, "the Pod's conditions cannot be written, trying again");
                    sleep(RETRY).await;
                }
            }
        }
    }
}

/// Since when each condition has its status.
#[derive(Debug, Default)]
struct Transitions(BTreeMap<&'static str, (bool, Timestamp)>);

impl Transitions {
    /// The time of the last transition of that condition: `now`, if its status is another one than before.
    fn of(&mut self, type_: &'static str, good: bool, now: Timestamp) -> Timestamp {
        let known = self.0.get(type_).filter(|(before, _)| *before == good);
        let (_, since) = *known.unwrap_or(&(good, now));
        self.0.insert(type_, (good, since));
        since
    }
}

/// By which ways this node hears the others, as conditions; and since when each other one is a member.
#[derive(Debug, Default)]
pub struct PathWatch {
    since: BTreeMap<String, Instant>,
}

impl PathWatch {
    /// The conditions of both ways. One that was never heard by a way is named once it had the time to be.
    pub fn conditions(&mut self, now: Instant, interface: &str, paths: &Paths) -> PodConditions {
        let node = |of: &PathsOf| of.seat.node.clone();
        self.since.retain(|known, _| paths.iter().any(|of| of.seat.node == *known));
        for of in paths {
            self.since.entry(node(of)).or_insert(now);
        }
        let silent = |heard: fn(&PathsOf) -> Option<Instant>| -> Vec<String> {
            let settled =
                |of: &&PathsOf| self.since.get(&of.seat.node).is_some_and(|since| now - *since >= SETTLED);
            let mut silent: Vec<_> =
                paths.iter().filter(settled).filter(|of| heard(of).is_none()).map(node).collect();
            // Not the order of the view, which changes: what is told stays the same words.
            silent.sort();
            silent
        };
        let telling = |way: &str, silent: Vec<String>| {
            if silent.is_empty() {
                let message = format!("all other announcers are heard {way}");
                return Telling { good: true, reason: reasons::ALL_HEARD, message };
            }
            let message = format!("not heard {way}: {}", silent.join(", "));
            Telling { good: false, reason: reasons::PATH_NEVER_HEARD, message }
        };
        BTreeMap::from([
            (contract::HEARTBEAT_WIRE_CONDITION, telling(&format!("on {interface}"), silent(|of| of.wire))),
            (contract::HEARTBEAT_UDP_CONDITION, telling("between node addresses", silent(|of| of.udp))),
        ])
    }
}

#[cfg(test)]
mod tests {
    use foghorn_membership::{MemberId, Seat};

    use super::*;

    #[test]
    fn a_way_by_which_members_are_not_heard_is_told_with_their_names_once_they_had_the_time() {
        let mut watch = PathWatch::default();
        let paths = vec![
            of("w4", Some(at(1)), None),
            of("w2", Some(at(1)), None),
            of("w3", Some(at(1)), Some(at(1))),
        ];
        let first = watch.conditions(at(1), "eth1", &paths);
        assert!(first.values().all(|telling| telling.good), "{first:?}");
        let later = watch.conditions(at(11), "eth1", &paths);
        assert!(later[contract::HEARTBEAT_WIRE_CONDITION].good);
        let udp = &later[contract::HEARTBEAT_UDP_CONDITION];
        assert_eq!((udp.good, udp.reason), (false, reasons::PATH_NEVER_HEARD));
        assert_eq!(udp.message, "not heard between node addresses: w2, w4");
    }

    #[test]
    fn another_message_is_no_transition() {
        let time = |second| Timestamp::from_second(second).unwrap();
        let mut since = Transitions::default();
        let told = [(true, 1), (true, 2), (false, 3), (false, 4), (true, 5)]
            .map(|(good, now)| since.of("Interface", good, time(now)));
        assert_eq!(told, [1, 1, 3, 3, 5].map(time));
        assert_eq!(since.of("Datapath", true, time(6)), time(6));
    }

    #[test]
    fn a_single_member_has_nobody_to_hear() {
        let conditions = PathWatch::default().conditions(at(100), "eth1", &Vec::new());
        assert!(conditions.values().all(|telling| telling.good));
    }

    fn of(node: &str, wire: Option<Instant>, udp: Option<Instant>) -> PathsOf {
        PathsOf { seat: Seat { id: MemberId(1), node: node.into(), address: None }, wire, mac: None, udp }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(seconds))
    }
}
