//! What a member holds, and the words in which it tells the others.

use std::{collections::BTreeMap, time::Duration};

use crate::{ClaimId, Digest, Entry, Grant, Holding, MemberId, Time};

/// When a member repeats that it has taken a claim, from the first time on.
const REPEATS: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(70),
    Duration::from_millis(150),
    Duration::from_millis(500),
];

/// What a member has and had.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Holdings<T> {
    held: BTreeMap<ClaimId, Grant>,
    /// The greatest grant of each claim that was seen. Nothing is taken by one that is not above it.
    floor: BTreeMap<ClaimId, Grant>,
    digest: Digest,
    repeats: Vec<Repeat<T>>,
}

/// Claims that were taken at once, as they are told again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Repeat<T> {
    claims: Vec<ClaimId>,
    taken: T,
    told: usize,
}

/// What an entry of the table, or the word of another, comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It changes nothing.
    Nothing,
    /// The claim is this member's, or by a later right than before.
    Take(Holding),
    /// The claim is another's.
    Drop(ClaimId),
}

impl<T: Time> Holdings<T> {
    pub(super) fn new() -> Self {
        Self { held: BTreeMap::new(), floor: BTreeMap::new(), digest: Digest::default(), repeats: Vec::new() }
    }

    pub(super) fn grant(&self, claim: ClaimId) -> Option<Grant> {
        self.held.get(&claim).copied()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Holding> {
        self.held.iter().map(|(claim, grant)| Holding { claim: *claim, grant: *grant })
    }

    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whatever right to the claim was heard of is heard of no longer.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn forget_right(&mut self, claim: ClaimId) {
        self.floor.remove(&claim);
    }

    /// What an entry of the coordinator's table asks of this member. `able` says whether it may take claims at all.
    pub(super) fn ask(&mut self, me: MemberId, entry: &Entry, able: bool) -> Step {
        let claim = entry.claim;
        if self.floor.get(&claim).is_some_and(|floor| *floor >= entry.grant) {
            return Step::Nothing;
        }
        if entry.owner == Some(me) {
            return if able { Step::Take(Holding { claim, grant: entry.grant }) } else { Step::Nothing };
        }
        if !self.held.contains_key(&claim) {
            self.floor.insert(claim, entry.grant);
            return Step::Nothing;
        }
        // Until the successor says that it has the claim, somebody has to answer for it.
        if entry.previous == Some(me) && entry.owner.is_some() {
            return Step::Nothing;
        }
        self.floor.insert(claim, entry.grant);
        Step::Drop(claim)
    }

    /// Another one says that it holds the claim. `None` if it is this member that holds it by the later right.
    pub(super) fn told(&mut self, other: &Holding) -> Option<Step> {
        let floor = self.floor.entry(other.claim).or_default();
        if *floor > other.grant {
            return if self.held.contains_key(&other.claim) { None } else { Some(Step::Nothing) };
        }
        *floor = other.grant;
        let lower = self.held.get(&other.claim).is_some_and(|own| *own < other.grant);
        Some(if lower { Step::Drop(other.claim) } else { Step::Nothing })
    }

    /// Takes a claim; true if it was not held before.
    pub(super) fn take(&mut self, holding: Holding) -> bool {
        let Holding { claim, grant } = holding;
        let before = self.held.insert(claim, grant);
        self.floor.insert(claim, grant);
        if let Some(grant) = before {
            self.count(Holding { claim, grant });
        } else {
            self.digest.count = self.digest.count.saturating_add(1);
        }
        self.count(holding);
        before.is_none()
    }

    /// Holds a claim no longer; false if it was not held.
    pub(super) fn drop(&mut self, claim: ClaimId) -> bool {
        let Some(grant) = self.held.remove(&claim) else { return false };
        self.digest.count = self.digest.count.saturating_sub(1);
        self.count(Holding { claim, grant });
        true
    }

    /// The claim is no more.
    pub(super) fn forget(&mut self, claim: ClaimId) -> bool {
        self.floor.remove(&claim);
        self.drop(claim)
    }

    /// These were taken at `now`, and that was told once.
    pub(super) fn repeat(&mut self, now: T, claims: Vec<ClaimId>) {
        if !claims.is_empty() {
            self.repeats.push(Repeat { claims, taken: now, told: 0 });
        }
    }

    /// What is to be told again by now, as far as it is still held.
    pub(super) fn repeated(&mut self, now: T) -> Vec<Holding> {
        let mut claims = Vec::new();
        for repeat in &mut self.repeats {
            let due = |told: usize| REPEATS.get(told).is_some_and(|after| repeat.taken + *after <= now);
            if due(repeat.told) {
                claims.extend(repeat.claims.iter().copied());
                while due(repeat.told) {
                    repeat.told += 1;
                }
            }
        }
        self.repeats.retain(|repeat| repeat.told < REPEATS.len());
        let held = |claim| self.grant(claim).map(|grant| Holding { claim, grant });
        claims.into_iter().filter_map(held).collect()
    }

    /// When something is next to be told again.
    pub(super) fn next_repeat(&self) -> Option<T> {
        let due = |repeat: &Repeat<T>| REPEATS.get(repeat.told).map(|after| repeat.taken + *after);
        self.repeats.iter().filter_map(due).min()
    }

    fn count(&mut self, holding: Holding) {
        self.digest.hash ^= hash(holding);
    }
}

/// The digest of a set of holdings.
pub(super) fn digest(holdings: impl IntoIterator<Item = Holding>) -> Digest {
    let mut digest = Digest::default();
    for holding in holdings {
        digest.count = digest.count.saturating_add(1);
        digest.hash ^= hash(holding);
    }
    digest
}

fn hash(Holding { claim, grant }: Holding) -> u64 {
    let epoch = u64::from(grant.epoch.view) << 32 | u64::from(grant.epoch.quorum);
    [claim.0, grant.epoch.created.cast_unsigned(), epoch, grant.number]
        .into_iter()
        .fold(0, |hash, part| mix(hash ^ part))
}

/// The finalizer of SplitMix64: each bit of the input changes half of the output.
pub(super) fn mix(input: u64) -> u64 {
    let mut z = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
