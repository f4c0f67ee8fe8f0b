//! The coordinator's table: who is to hold which claim.

use std::collections::{BTreeMap, BTreeSet};

use super::placement::Loads;
use crate::{ClaimId, Entry, Epoch, Grant, Holding, Inventory, MemberId, Table as Changes, Time};

/// Changes of a table, or holdings, in one message. More do not fit when there are tens of thousands.
pub(super) const IN_A_MESSAGE: usize = 4_096;

/// What the coordinator has assigned.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Table {
    version: u64,
    slots: BTreeMap<ClaimId, Slot>,
    /// Those of which somebody else than the owner may still hold the claim.
    moving: BTreeSet<ClaimId>,
    /// Changes that were not told yet.
    told: u64,
}

/// Who is to hold a claim, and how far that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub(super) grant: Grant,
    /// The one that is to hold it; none while it is taken away, or nobody can have it.
    pub(super) owner: Option<MemberId>,
    /// The one that may still hold it.
    pub(super) previous: Option<MemberId>,
    /// The version of the table that brought it; zero if the owner had it before this coordinator came.
    pub(super) version: u64,
}

impl Table {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn slot(&self, claim: ClaimId) -> Option<&Slot> {
        self.slots.get(&claim)
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = (ClaimId, &Slot)> {
        self.slots.iter().map(|(claim, slot)| (*claim, slot))
    }

    pub(super) fn loads(&self) -> Loads {
        let mut loads = Loads::new();
        for owner in self.slots.values().filter_map(|slot| slot.owner) {
            *loads.entry(owner).or_default() += 1;
        }
        loads
    }

    /// A member has said that it holds this, and nobody else is known to.
    pub(super) fn found(&mut self, owner: MemberId, holding: Holding) {
        let slot = Slot { grant: holding.grant, owner: Some(owner), previous: None, version: 0 };
        self.slots.insert(holding.claim, slot);
        self.moving.remove(&holding.claim);
    }

    /// Changes who is to hold a claim.
    pub(super) fn set(
        &mut self,
        epoch: Epoch,
        claim: ClaimId,
        owner: Option<MemberId>,
        previous: Option<MemberId>,
    ) {
        self.version += 1;
        let grant = Grant { epoch, number: self.version };
        self.slots.insert(claim, Slot { grant, owner, previous, version: self.version });
        if previous.is_some() {
            self.moving.insert(claim);
        } else {
            self.moving.remove(&claim);
        }
    }

    /// That member holds the claim no longer, although it should.
    pub(super) fn given_up(&mut self, epoch: Epoch, id: MemberId, claim: ClaimId) {
        if let Some(slot) = self.slots.get(&claim).copied().filter(|slot| slot.owner == Some(id)) {
            self.set(epoch, claim, None, slot.previous);
        }
    }

    /// The claim is no more.
    pub(super) fn forget(&mut self, claim: ClaimId) -> Option<Slot> {
        self.moving.remove(&claim);
        self.slots.remove(&claim)
    }

    /// The claims that somebody else than their owner may still hold.
    pub(super) fn moving(&self) -> impl Iterator<Item = (ClaimId, &Slot)> {
        self.moving.iter().filter_map(|claim| Some((*claim, self.slots.get(claim)?)))
    }

    /// The changes after a version, in parts that fit into messages and in their order. At least one part.
    pub(super) fn after(&self, version: u64) -> Vec<Changes> {
        let mut slots: Vec<_> = self.slots().filter(|(_, slot)| slot.version > version).collect();
        slots.sort_by_key(|(_, slot)| slot.version);
        let mut after = version;
        let mut parts: Vec<Changes> = Vec::new();
        for part in slots.chunks(IN_A_MESSAGE) {
            let entry = |&(claim, &Slot { grant, owner, previous, .. }): &(ClaimId, &Slot)| Entry {
                claim,
                grant,
                owner,
                previous,
            };
            let last = part.last().map_or(after, |(_, slot)| slot.version);
            parts.push(Changes { after, version: last, entries: part.iter().map(entry).collect() });
            after = last;
        }
        match parts.last_mut() {
            Some(last) => last.version = self.version,
            None => parts.push(Changes { after, version: self.version, entries: Vec::new() }),
        }
        parts
    }

    /// The changes that were not told yet, once.
    pub(super) fn news(&mut self) -> Vec<Changes> {
        let news = if self.told < self.version { self.after(self.told) } else { Vec::new() };
        self.told = self.version;
        news
    }

    /// What a member holds once it has carried out `version`, but for what is moving.
    pub(super) fn expected(&self, id: MemberId, version: u64) -> impl Iterator<Item = Holding> {
        self.slots()
            .filter(move |(_, slot)| slot.owner == Some(id) && slot.version <= version)
            .map(|(claim, slot)| Holding { claim, grant: slot.grant })
    }

    /// Brings the table in line with all that a member holds. What it holds of a claim that `is_gone` is taken away.
    pub(super) fn reconcile(
        &mut self,
        epoch: Epoch,
        id: MemberId,
        table: u64,
        holdings: &BTreeSet<Holding>,
        is_gone: impl Fn(ClaimId) -> bool,
    ) {
        for holding in holdings {
            match self.slots.get(&holding.claim).copied() {
                _ if is_gone(holding.claim) => self.set(epoch, holding.claim, None, Some(id)),
                None => self.found(id, *holding),
                Some(slot) if slot.owner == Some(id) => {
                    if slot.grant < holding.grant {
                        self.found(id, *holding);
                    }
                }
                // It holds it until the successor speaks, or until it hears that it is taken away.
                Some(slot) if slot.previous == Some(id) => {}
                Some(slot) if slot.grant < holding.grant || slot.owner.is_none() => {
                    self.set(epoch, holding.claim, Some(id), None);
                }
                Some(slot) => self.set(epoch, holding.claim, slot.owner, None),
            }
        }
        let held: BTreeSet<_> = holdings.iter().map(|holding| holding.claim).collect();
        let given_up = |(claim, slot): &(ClaimId, &Slot)| {
            slot.owner == Some(id) && slot.version <= table && !held.contains(claim)
        };
        let given_up: Vec<_> =
            self.slots().filter(given_up).map(|(claim, slot)| (claim, slot.previous)).collect();
        for (claim, previous) in given_up {
            self.set(epoch, claim, None, previous);
        }
    }
}

/// An inventory of which not all parts are there yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Gathering<T> {
    taken: T,
    parts: BTreeMap<u16, Vec<Holding>>,
}

impl<T: Time> Gathering<T> {
    pub(super) fn new() -> Self {
        Self { taken: T::ZERO, parts: BTreeMap::new() }
    }

    /// Adds a part; gives all holdings once all parts of one inventory are there.
    pub(super) fn add(&mut self, inventory: Inventory<T>) -> Option<BTreeSet<Holding>> {
        if inventory.taken < self.taken || inventory.part >= inventory.parts {
            return None;
        }
        if inventory.taken > self.taken {
            self.parts.clear();
            self.taken = inventory.taken;
        }
        self.parts.insert(inventory.part, inventory.holdings);
        (self.parts.len() >= usize::from(inventory.parts))
            .then(|| self.parts.values().flatten().copied().collect())
    }
}
