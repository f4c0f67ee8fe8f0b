//! What all that are heard can read.

use std::{collections::BTreeMap, time::Duration};

use foghorn_clock::Instant;
use foghorn_membership::MemberId;

/// Who was not heard for so long does not count.
const FORGET: Duration = Duration::from_secs(10);
const MOST: usize = 4_096;

/// What a member has shown in its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The greatest version that it can read.
    pub(crate) version: u8,
    /// The greatest id of a key that it has.
    pub(crate) key: u32,
}

/// The members that are heard, with what each of them has shown last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers(BTreeMap<MemberId, (Instant, Shown)>);

impl Peers {
    pub(crate) fn heard(&mut self, now: Instant, member: MemberId, shown: Shown) {
        if self.0.len() >= MOST && !self.0.contains_key(&member) {
            self.forget(now);
        }
        if self.0.len() < MOST || self.0.contains_key(&member) {
            self.0.insert(member, (now, shown));
        }
    }

    /// The greatest version and key that all of them can read; nothing if nobody is heard.
    pub(crate) fn common(&mut self, now: Instant) -> Option<Shown> {
        self.forget(now);
        let shown = self.0.values().map(|(_, shown)| *shown);
        shown.reduce(|a, b| Shown { version: a.version.min(b.version), key: a.key.min(b.key) })
    }

    fn forget(&mut self, now: Instant) {
        self.0.retain(|_, (at, _)| now - *at < FORGET);
    }
}
