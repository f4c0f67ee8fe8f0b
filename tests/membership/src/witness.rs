//! What must never be, and what must be in the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use foghorn_membership::{ClaimId, Content, Epoch, MemberId, Record, View};

use crate::moment::Moment;

/// More than a fault each 100 ms could ask for.
const WRITES_IN_A_SECOND: usize = 10;

/// How much is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Two members that hear each other may both announce a claim for less than so many milliseconds.
    pub connected: u64,
    /// The same for two members that the API server has answered for a while, whether they hear each other or not.
    pub served: u64,
    /// A member that hears nobody, and no API server, is silent after so many milliseconds.
    pub fence: u64,
    /// So many milliseconds after the last fault each claim is held by one member.
    pub settled: u64,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Breach {
    /// Two members that hear each other announced a claim for too long.
    Connected(ClaimId, usize, usize),
    /// Two members that the API server answered announced a claim for too long.
    Served(ClaimId, usize, usize),
    /// A member announced although it had been alone for longer than its right lasts.
    Fence(ClaimId, usize),
    /// A process that had been stopped for longer than its right lasts announced before it had read anything.
    Resumed(ClaimId, usize),
    /// Two views have the same epoch.
    TwoViews(Epoch),
    /// A member gave two votes in one epoch.
    TwoVotes(MemberId, Epoch),
    /// A view was written whose number is not one more than that before.
    Skipped(Epoch, Epoch),
    /// So many views were written within a second that they cannot all have been of use.
    Hasty(Epoch),
    /// A view was written that says what the view before said.
    Needless(Epoch),
    /// Long after the last fault a claim is held by these, and not by exactly one that may.
    Unsettled(ClaimId, Vec<usize>),
    /// The members do not stop to have something to do within one moment.
    Restless,
}

/// What a node could do for a claim just now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight {
    /// The claims that it holds.
    pub(crate) holds: BTreeSet<ClaimId>,
    /// The claims that it would answer for.
    pub(crate) announces: BTreeSet<ClaimId>,
    /// It may be chosen: its process runs, with a carrier.
    pub(crate) eligible: bool,
    /// It is chosen only if no other can be.
    pub(crate) avoided: bool,
    /// The API server answers it, and has done so for a while.
    pub(crate) served: bool,
    /// It hears nobody, and no API server, and is not the only member of its view.
    pub(crate) alone: bool,
}

/// Watches a world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Witness {
    bounds: Bounds,
    pub(crate) breach: Option<Breach>,
    connected: BTreeMap<(ClaimId, usize, usize), Moment>,
    served: BTreeMap<(ClaimId, usize, usize), Moment>,
    alone: BTreeMap<usize, Moment>,
    /// When the latest views were written.
    writes: VecDeque<Moment>,
    views: BTreeMap<Epoch, (MemberId, Vec<MemberId>)>,
    votes: BTreeMap<(MemberId, Epoch), MemberId>,
}

impl Witness {
    pub(crate) const fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            breach: None,
            connected: BTreeMap::new(),
            served: BTreeMap::new(),
            alone: BTreeMap::new(),
            writes: VecDeque::new(),
            views: BTreeMap::new(),
            votes: BTreeMap::new(),
        }
    }

    pub(crate) fn break_promise(&mut self, breach: Breach) {
        self.breach.get_or_insert(breach);
    }

    /// Somebody acts in that view.
    pub(crate) fn view(&mut self, view: &View) {
        let members = view.seats.iter().map(|seat| seat.id).collect();
        let of = (view.coordinator, members);
        if *self.views.entry(view.epoch).or_insert_with(|| of.clone()) != of {
            self.break_promise(Breach::TwoViews(view.epoch));
        }
    }

    /// A member votes for the proposal of another.
    pub(crate) fn vote(&mut self, voter: MemberId, epoch: Epoch, proposer: MemberId) {
        if *self.votes.entry((voter, epoch)).or_insert(proposer) != proposer {
            self.break_promise(Breach::TwoVotes(voter, epoch));
        }
    }

    /// A view was written to the Lease; `alone`: nobody but members ever did so.
    pub(crate) fn written(&mut self, now: Moment, before: Option<&Record>, after: &Record, alone: bool) {
        self.writes.push_back(now);
        self.writes.retain(|at| now.after(*at) < 1000);
        if self.writes.len() > WRITES_IN_A_SECOND {
            self.break_promise(Breach::Hasty(after.epoch));
        }
        let Some(before) = before.filter(|_| alone) else { return };
        if after.epoch.view != before.epoch.view + 1 {
            self.break_promise(Breach::Skipped(before.epoch, after.epoch));
        }
        if let (Content::View(before), Content::View(after)) = (&before.content, &after.content)
            && (before.coordinator, &before.seats) == (after.coordinator, &after.seats)
            && !self.has_quorum_view(before.epoch)
        {
            self.break_promise(Breach::Needless(after.epoch));
        }
    }

    /// Whether a majority has agreed on a view after that one of the Lease: it ends only with a later one in the Lease.
    fn has_quorum_view(&self, base: Epoch) -> bool {
        let last = Epoch { quorum: u32::MAX, ..base };
        self.views.range(base..=last).any(|(epoch, _)| epoch.quorum > 0)
    }

    /// Looks at all nodes; `hear` tells of two whether they hear each other. Gives the overlaps that are not over.
    pub(crate) fn look(
        &mut self,
        now: Moment,
        sights: &[Sight],
        hear: impl Fn(usize, usize) -> bool,
    ) -> Overlaps {
        let mut overlaps = Overlaps::default();
        let mut connected = BTreeMap::new();
        let mut served = BTreeMap::new();
        for (a, first) in sights.iter().enumerate().filter(|(_, sight)| !sight.announces.is_empty()) {
            for (b, second) in sights.iter().enumerate().skip(a + 1) {
                for claim in first.announces.intersection(&second.announces) {
                    let key = (*claim, a, b);
                    if hear(a, b) {
                        let since = self.connected.get(&key).copied().unwrap_or(now);
                        connected.insert(key, since);
                        overlaps.connected = overlaps.connected.max(now.after(since) + 1);
                        if now.after(since) >= self.bounds.connected {
                            self.break_promise(Breach::Connected(*claim, a, b));
                        }
                    }
                    if first.served && second.served {
                        let since = self.served.get(&key).copied().unwrap_or(now);
                        served.insert(key, since);
                        overlaps.served = overlaps.served.max(now.after(since) + 1);
                        if now.after(since) >= self.bounds.served {
                            self.break_promise(Breach::Served(*claim, a, b));
                        }
                    }
                }
            }
        }
        self.connected = connected;
        self.served = served;
        self.look_at_lonely_ones(now, sights);
        overlaps
    }

    fn look_at_lonely_ones(&mut self, now: Moment, sights: &[Sight]) {
        for (node, sight) in sights.iter().enumerate() {
            if !sight.alone {
                self.alone.remove(&node);
                continue;
            }
            let since = *self.alone.entry(node).or_insert(now);
            if let Some(claim) = sight.announces.first()
                && now.after(since) >= self.bounds.fence
            {
                self.break_promise(Breach::Fence(*claim, node));
            }
        }
    }

    /// Looks whether each claim is held by exactly one that may, if any may: by one that `serves` it, if one of those may.
    pub(crate) fn expect_settled(
        &mut self,
        claims: &BTreeSet<ClaimId>,
        sights: &[Sight],
        serves: impl Fn(ClaimId, usize) -> bool,
    ) {
        for claim in claims {
            let mut may: Vec<usize> = (0..sights.len()).collect();
            let mut narrow = |is_fit: &dyn Fn(usize, &Sight) -> bool| {
                let fit = |node: &usize| sights.get(*node).is_some_and(|sight| is_fit(*node, sight));
                let some: Vec<usize> = may.iter().copied().filter(fit).collect();
                if !some.is_empty() {
                    may = some;
                }
            };
            narrow(&|_, sight| sight.eligible);
            narrow(&|node, sight| sight.eligible && serves(*claim, node));
            narrow(&|_, sight| sight.eligible && !sight.avoided);
            let holders: Vec<usize> = (0..)
                .zip(sights)
                .filter(|(_, sight)| sight.holds.contains(claim))
                .map(|(node, _)| node)
                .collect();
            let right = match holders.as_slice() {
                [] => !sights.iter().any(|sight| sight.eligible),
                [one] => may.contains(one) && sights.iter().any(|sight| sight.eligible),
                _ => false,
            };
            if !right {
                self.break_promise(Breach::Unsettled(*claim, holders));
            }
        }
    }

    pub(crate) const fn bounds(&self) -> &Bounds {
        &self.bounds
    }
}

/// For how many milliseconds two members have been announcing the same claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Overlaps {
    /// Members that hear each other.
    pub connected: u64,
    /// Members that the API server answers.
    pub served: u64,
}
