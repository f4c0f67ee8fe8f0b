//! The keys by which a plane's announcers know each other's heartbeats, and how they change.
//!
//! Announcers accept the heartbeats of every key that is there, and go over to a newer one when all of them know it. So
//! the older key stays for as long as the slowest of them may take to see the newer one.

use std::{collections::BTreeMap, time::Duration};

use foghorn_crds::{NetworkPlane, contract};
use k8s_openapi::{ByteString, api::core::v1::Secret, jiff::Timestamp};
use kube::ResourceExt;

use super::children;

/// Octets of a key: those of the HMAC-SHA256 that it is for.
pub(super) const KEY_LENGTH: usize = 32;
/// A key that is so old gets a successor.
const LIFETIME: Duration = Duration::from_hours(24);
/// A key goes so long after its successor came.
const OVERLAP: Duration = Duration::from_hours(1);

/// Annotation on the Secret, with a key's id at its end: when that key was made.
const CREATED_ANNOTATION: &str = "foghorn.dev/created-";

/// The plane's Secret with its first key.
#[must_use]
pub(super) fn first(plane: &NetworkPlane, key: [u8; KEY_LENGTH], now: Timestamp) -> Secret {
    let mut secret = Secret {
        metadata: children::metadata(plane, contract::HEARTBEAT_SECRET),
        type_: Some("foghorn.dev/heartbeat-keys".to_owned()),
        ..Secret::default()
    };
    note_request(&mut secret, asked(plane));
    add(&mut secret, id_at(now), key, now);
    secret
}

/// The Secret as it is to be from now on, `key` being the next one; nothing if it is to stay as it is.
///
/// There are two keys at most: what was asked for while there are two is done when the older one is gone.
#[must_use]
pub(super) fn rotated(
    secret: &Secret,
    plane: &NetworkPlane,
    key: [u8; KEY_LENGTH],
    now: Timestamp,
) -> Option<Secret> {
    let mut new = secret.clone();
    let ids = ids(secret);
    let Some(&newest) = ids.last() else {
        note_request(&mut new, asked(plane));
        add(&mut new, id_at(now), key, now);
        return Some(new);
    };
    let age = age(secret, newest, now);
    let older: Vec<_> = ids.iter().filter(|id| **id != newest).collect();
    if !older.is_empty() {
        older.into_iter().for_each(|id| remove(&mut new, *id));
        return (age >= OVERLAP).then_some(new);
    }
    let is_asked_for = !asked(plane).is_empty() && done(secret) != asked(plane);
    if age < LIFETIME && !is_asked_for {
        return None;
    }
    note_request(&mut new, asked(plane));
    add(&mut new, newest.checked_add(1)?.max(id_at(now)), key, now);
    Some(new)
}

/// The id of a key that is made now, in seconds since 1970. Ids are the Secret's keys, in decimal; a newer key has a higher one. A
/// Secret that was deleted has keys with other ids when it comes back: one id never stands for two keys.
fn id_at(now: Timestamp) -> u32 {
    u32::try_from(now.as_second()).unwrap_or(1)
}

/// What the plane's annotation says: a new value asks for a new key.
#[must_use]
pub(super) fn asked(plane: &NetworkPlane) -> &str {
    plane.annotations().get(contract::ROTATE_KEYS_ANNOTATION).map(String::as_str).unwrap_or_default()
}

/// The ids of the keys, for logs.
#[must_use]
pub(super) fn named(secret: &Secret) -> String {
    ids(secret).iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// The value of the plane's annotation that the newest key was made for.
fn done(secret: &Secret) -> &str {
    secret.annotations().get(contract::ROTATE_KEYS_ANNOTATION).map(String::as_str).unwrap_or_default()
}

fn note_request(secret: &mut Secret, asked: &str) {
    secret.annotations_mut().insert(contract::ROTATE_KEYS_ANNOTATION.to_owned(), asked.to_owned());
}

/// In rising order. What has another name is no key of ours.
fn ids(secret: &Secret) -> Vec<u32> {
    let mut ids: Vec<_> = secret.data.iter().flatten().filter_map(|(id, _)| id.parse().ok()).collect();
    ids.sort_unstable();
    ids
}

/// A key whose time cannot be read is as old as the Secret.
fn age(secret: &Secret, id: u32, now: Timestamp) -> Duration {
    let noted = secret.annotations().get(&format!("{CREATED_ANNOTATION}{id}"));
    let noted = noted.and_then(|text| text.parse::<Timestamp>().ok());
    let created = noted.or_else(|| secret.creation_timestamp().map(|time| time.0)).unwrap_or(now);
    Duration::try_from(now.duration_since(created)).unwrap_or_default()
}

fn add(secret: &mut Secret, id: u32, key: [u8; KEY_LENGTH], now: Timestamp) {
    secret.annotations_mut().insert(format!("{CREATED_ANNOTATION}{id}"), now.to_string());
    let data = secret.data.get_or_insert_with(BTreeMap::new);
    data.insert(id.to_string(), ByteString(key.to_vec()));
}

fn remove(secret: &mut Secret, id: u32) {
    secret.annotations_mut().remove(&format!("{CREATED_ANNOTATION}{id}"));
    let data = secret.data.get_or_insert_with(BTreeMap::new);
    data.retain(|name, _| name.parse() != Ok(id));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planes::fixtures;

    const HOUR: i64 = 3600;

    #[test]
    fn a_new_plane_has_one_key_and_no_request_to_follow() {
        let mut world = World::new();
        world.ask("at birth");
        let mut world = World { secret: first(&world.plane, [7; KEY_LENGTH], world.now()), ..world };
        assert_eq!(world.ids(), [0]);
        assert_eq!(world.secret.data.iter().flatten().next().unwrap().1.0, [7; KEY_LENGTH]);
        world.pass(HOUR);
        assert_eq!(world.ids(), [0]);
    }

    #[test]
    fn a_key_gets_a_successor_after_a_day_and_goes_an_hour_later() {
        let mut world = World::new();
        world.pass(24 * HOUR - 1);
        assert_eq!(world.ids(), [0]);
        world.pass(1);
        assert_eq!(world.ids(), [0, 24 * HOUR]);
        world.pass(HOUR - 1);
        assert_eq!(world.ids(), [0, 24 * HOUR]);
        world.pass(1);
        assert_eq!(world.ids(), [24 * HOUR]);
        assert_eq!(world.secret.annotations().keys().filter(|key| key.contains("created")).count(), 1);
        world.pass(23 * HOUR);
        assert_eq!(world.ids(), [24 * HOUR, 48 * HOUR]);
    }

    #[test]
    fn each_new_request_makes_one_key() {
        let mut world = World::new();
        world.ask("leaked");
        world.pass(1);
        assert_eq!(world.ids(), [0, 1]);
        world.pass(HOUR);
        world.pass(1);
        assert_eq!(world.ids(), [1]);
        world.ask("leaked again");
        world.pass(1);
        assert_eq!(world.ids(), [1, HOUR + 3]);
    }

    #[test]
    fn a_request_while_there_are_two_keys_waits_for_the_older_one_to_go() {
        let mut world = World::new();
        world.ask("one");
        world.pass(1);
        world.ask("two");
        world.pass(1);
        assert_eq!(world.ids(), [0, 1]);
        world.pass(HOUR);
        assert_eq!(world.ids(), [1]);
        world.pass(1);
        assert_eq!(world.ids(), [1, HOUR + 3]);
    }

    #[test]
    fn a_request_that_is_taken_back_makes_no_key() {
        let mut world = World::new();
        world.ask("one");
        world.pass(1);
        world.pass(HOUR);
        world.ask("");
        world.pass(1);
        assert_eq!(world.ids(), [1]);
    }

    #[test]
    fn a_key_without_a_time_is_as_old_as_its_secret() {
        let mut world = World::new();
        world.secret.annotations_mut().clear();
        world.secret.metadata.creation_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now()));
        world.pass(HOUR);
        assert_eq!(world.ids(), [0]);
        world.pass(23 * HOUR);
        assert_eq!(world.ids(), [0, 24 * HOUR]);
    }

    #[test]
    fn a_clock_that_is_set_back_changes_no_key() {
        let mut world = World::new();
        world.pass(-48 * HOUR);
        assert_eq!(world.ids(), [0]);
    }

    #[test]
    fn an_empty_secret_gets_a_key() {
        let mut world = World::new();
        world.secret.data = None;
        world.pass(1);
        assert_eq!(world.ids(), [1]);
    }

    #[test]
    fn ids_are_compared_as_numbers() {
        let mut world = World::new();
        let now = world.now();
        world.secret.data = None;
        add(&mut world.secret, 9, [9; KEY_LENGTH], now);
        add(&mut world.secret, 10, [10; KEY_LENGTH], now);
        world.pass(HOUR);
        assert_eq!(ids(&world.secret), [10]);
    }

    #[test]
    fn a_secret_that_was_deleted_comes_back_with_another_id() {
        let mut world = World::new();
        world.second += 1;
        let again = World { secret: first(&world.plane, [3; KEY_LENGTH], world.now()), ..World::new() };
        assert_eq!((world.ids(), again.ids()), (vec![0], vec![1]));
    }

    /// A plane, its Secret, and a clock.
    struct World {
        plane: NetworkPlane,
        secret: Secret,
        second: i64,
    }

    impl World {
        fn new() -> Self {
            let plane = fixtures::plane("blue", "x.dev/blue");
            let second = 1_767_225_600;
            let now = Timestamp::from_second(second).unwrap();
            Self { secret: first(&plane, [1; KEY_LENGTH], now), plane, second }
        }

        fn now(&self) -> Timestamp {
            Timestamp::from_second(self.second).unwrap()
        }

        fn ask(&mut self, value: &str) {
            self.plane.annotations_mut().insert(contract::ROTATE_KEYS_ANNOTATION.into(), value.into());
        }

        /// Time passes, then the operator looks at the keys.
        fn pass(&mut self, seconds: i64) {
            self.second += seconds;
            if let Some(new) = rotated(&self.secret, &self.plane, [2; KEY_LENGTH], self.now()) {
                self.secret = new;
            }
        }

        /// The ids, in seconds from the start.
        fn ids(&self) -> Vec<i64> {
            let start = id_at(World::new().now());
            ids(&self.secret).into_iter().map(|id| i64::from(id) - i64::from(start)).collect()
        }
    }
}
