//! The keys by which announcers know each other's frames.

use std::{collections::BTreeMap, fmt};

use hmac::{Hmac, Mac, digest::KeyInit};
use sha2::Sha256;

use crate::{Origin, Plane};

/// Octets of a key: those of the HMAC-SHA256 that it is for.
pub const KEY_LENGTH: usize = 32;
/// Octets of the HMAC that a frame carries.
pub(crate) const TAG_LENGTH: usize = 16;

/// One key, or two while they are changed. Which of them a frame is signed with is said at [`Codec`](crate::Codec).
#[derive(Clone, PartialEq, Eq)]
pub struct Keys(BTreeMap<u32, [u8; KEY_LENGTH]>);

/// Keys that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// There is none.
    #[error("there is no heartbeat key")]
    None,
    /// There are more than two.
    #[error("there are heartbeat keys {0:?}: at most two at a time, an old one and a new one")]
    TooMany(Vec<u32>),
    /// A key has another length than [`KEY_LENGTH`].
    #[error("heartbeat key {id} has {length} octets: a key has {KEY_LENGTH}")]
    Length {
        /// The key's id.
        id: u32,
        /// Its octets.
        length: usize,
    },
}

impl Keys {
    /// Keys by their ids: a new one has a higher id than the one that it is to follow.
    ///
    /// # Errors
    /// If there are none or more than two, or one is no key.
    pub fn new(keys: BTreeMap<u32, Vec<u8>>) -> Result<Self, KeysError> {
        if keys.len() > 2 {
            return Err(KeysError::TooMany(keys.into_keys().collect()));
        }
        if keys.is_empty() {
            return Err(KeysError::None);
        }
        let key = |(id, octets): (u32, Vec<u8>)| match octets.try_into() {
            Ok(key) => Ok((id, key)),
            Err(octets) => Err(KeysError::Length { id, length: Vec::len(&octets) }),
        };
        keys.into_iter().map(key).collect::<Result<_, _>>().map(Self)
    }

    /// Their ids, from the lowest to the highest.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.0.keys().copied()
    }
}

/// Shows the ids alone.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keys").field(&self.0.keys()).finish()
    }
}

/// The keys as one plane uses them: HMAC-SHA256 with a key of its own, which is the HMAC of the plane's names under the
/// Secret's key.
#[derive(Clone)]
pub(crate) struct Seals(BTreeMap<u32, Hmac<Sha256>>);

impl Seals {
    pub(crate) fn new(keys: &Keys, plane: &Plane) -> Self {
        let of_plane = |key| hmac(&hmac(key).chain_update(plane.digest()).finalize().into_bytes().into());
        Self(keys.0.iter().map(|(&id, key)| (id, of_plane(key))).collect())
    }

    /// The greatest id.
    pub(crate) fn newest(&self) -> u32 {
        self.0.keys().next_back().copied().unwrap_or_default()
    }

    /// The greatest id up to `most`, or the least if all are above.
    pub(crate) fn newest_up_to(&self, most: u32) -> u32 {
        let known = self.0.range(..=most).next_back().or_else(|| self.0.first_key_value());
        known.map(|(&id, _)| id).unwrap_or_default()
    }

    pub(crate) fn knows(&self, id: u32) -> bool {
        self.0.contains_key(&id)
    }

    /// Appends the HMAC of all that is there, and of where it is sent from.
    pub(crate) fn sign(&self, id: u32, origin: Origin, frame: &mut Vec<u8>) {
        if let Some(seal) = self.0.get(&id) {
            let tag = seal_from(seal, origin, frame).finalize().into_bytes();
            frame.extend(tag.into_iter().take(TAG_LENGTH));
        }
    }

    /// Whether `tag` is the HMAC of `signed` that comes from there.
    pub(crate) fn verify(&self, id: u32, origin: Origin, signed: &[u8], tag: &[u8; TAG_LENGTH]) -> bool {
        let Some(seal) = self.0.get(&id) else { return false };
        seal_from(seal, origin, signed).verify_truncated_left(tag).is_ok()
    }
}

/// The HMAC of what is signed, and of where it is sent from.
fn seal_from(seal: &Hmac<Sha256>, origin: Origin, signed: &[u8]) -> Hmac<Sha256> {
    let (path, mac) = origin.signed();
    seal.clone().chain_update(signed).chain_update([path]).chain_update(mac)
}

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seals").field(&self.0.keys()).finish()
    }
}

/// HMAC-SHA256 fills a key that is shorter than its block up with zeros.
fn hmac(key: &[u8; KEY_LENGTH]) -> Hmac<Sha256> {
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    <Hmac<Sha256> as KeyInit>::new(&block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hmac_is_that_of_rfc_4231() {
        let key = std::array::from_fn(|at| if at < 20 { 0x0b } else { 0 });
        let tag = hmac(&key).chain_update("Hi There").finalize().into_bytes();
        assert_eq!(tag[..8], [0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53]);
    }

    #[test]
    fn one_key_or_two_of_the_right_length_are_keys() {
        let keys = |keys: &[(u32, usize)]| {
            Keys::new(keys.iter().map(|&(id, length)| (id, vec![7; length])).collect())
        };
        assert_eq!(keys(&[(1, 32), (9, 32)]).unwrap().ids().collect::<Vec<_>>(), [1, 9]);
        assert_eq!(keys(&[]), Err(KeysError::None));
        assert_eq!(keys(&[(1, 31)]), Err(KeysError::Length { id: 1, length: 31 }));
        assert_eq!(keys(&[(1, 32), (2, 32), (3, 32)]), Err(KeysError::TooMany(vec![1, 2, 3])));
    }

    #[test]
    fn what_is_shown_of_keys_are_their_ids() {
        let keys = Keys::new(BTreeMap::from([(4, vec![0xab; 32])])).unwrap();
        assert_eq!(format!("{keys:?}"), "Keys([4])");
    }

    #[test]
    fn the_key_is_the_newest_that_is_known_to_all_or_else_the_oldest() {
        let keys = Keys::new(BTreeMap::from([(4, vec![1; 32]), (6, vec![2; 32])])).unwrap();
        let seals = Seals::new(&keys, &Plane::new("cluster", "public"));
        let used = [3, 4, 5, 6, 7].map(|most| seals.newest_up_to(most));
        assert_eq!(used, [4, 4, 4, 6, 6]);
    }
}
