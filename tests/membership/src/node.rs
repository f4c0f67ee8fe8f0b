//! One node: its clock, its process, and what has gone wrong with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use foghorn_membership::{Claim, ClaimId, Epoch, Event, Health, Input, Member, MemberId, Seat, View};

use crate::{
    fault::Away,
    moment::{Clock, Moment, Reading},
};

/// The API server counts as well again so many milliseconds after it was not.
const RECOVERED: u64 = 1000;

/// A node. Each of its troubles lasts until a moment, and is over then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node<T: Reading> {
    pub(crate) clock: Clock,
    lives: u64,
    pub(crate) process: Option<Process<T>>,
    /// What its processes have written down for the next one.
    written: Option<(View, Epoch)>,
    /// When a process is started, if that is to be.
    pub(crate) starts: Option<Moment>,
    pub(crate) stopped: Moment,
    pub(crate) no_carrier: Moment,
    pub(crate) no_gateway: Moment,
    pub(crate) no_api: (Away, Moment),
    pub(crate) lost_answers: u32,
    pub(crate) watch_lags: Moment,
    pub(crate) cordoned: Moment,
    pub(crate) mute: Moment,
    pub(crate) delayed: (u64, Moment),
    pub(crate) twice: (u64, Moment),
    /// Since when the API server has answered this node without trouble.
    pub(crate) served_since: Moment,
}

/// One life of an announcer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process<T: Reading> {
    pub(crate) member: Member<T>,
    pub(crate) inbox: VecDeque<Input<T>>,
    /// What it was told last.
    pub(crate) health: Health,
    pub(crate) avoided: BTreeSet<usize>,
    pub(crate) rebalance: String,
    /// The claims, as of that many changes.
    pub(crate) claims: (u64, BTreeMap<ClaimId, Claim>),
    /// How many changes of the Lease its watch has shown.
    pub(crate) watched: u64,
    pub(crate) last_turn: Moment,
    /// So long after it has left, the node starts another, if it does.
    pub(crate) leaving: Option<Option<u64>>,
}

impl<T: Reading> Process<T> {
    /// Tells it what has changed of the claims.
    pub(crate) fn tell_claims(&mut self, changes: u64, claims: &BTreeMap<ClaimId, Claim>) {
        let known = std::mem::replace(&mut self.claims, (changes, claims.clone())).1;
        let gone = known.keys().filter(|id| !claims.contains_key(id));
        self.inbox.extend(gone.map(|id| Input::ClaimGone(*id)));
        let news = claims.iter().filter(|(id, claim)| known.get(id) != Some(claim));
        self.inbox.extend(news.map(|(id, claim)| Input::Claim(*id, claim.clone())));
    }

    /// Whether its node serves the claim, as far as it knows.
    pub(crate) fn serves(&self, claim: ClaimId) -> bool {
        let nodes = self.claims.1.get(&claim).and_then(|claim| claim.nodes.as_ref());
        nodes.is_none_or(|nodes| nodes.contains(&self.member.seat().node))
    }
}

impl<T: Reading> Node<T> {
    pub(crate) fn new(clock: Clock, starts: Moment) -> Self {
        Self {
            clock,
            lives: 0,
            process: None,
            written: None,
            starts: Some(starts),
            stopped: Moment(0),
            no_carrier: Moment(0),
            no_gateway: Moment(0),
            no_api: (Away::Refuses, Moment(0)),
            lost_answers: 0,
            watch_lags: Moment(0),
            cordoned: Moment(0),
            mute: Moment(0),
            delayed: (0, Moment(0)),
            twice: (0, Moment(0)),
            served_since: Moment(0),
        }
    }

    /// Troubles that are over are as if they had never been.
    pub(crate) fn forget(&mut self, now: Moment) {
        let troubles = [
            &mut self.stopped,
            &mut self.no_carrier,
            &mut self.no_gateway,
            &mut self.no_api.1,
            &mut self.watch_lags,
            &mut self.cordoned,
            &mut self.mute,
            &mut self.delayed.1,
            &mut self.twice.1,
        ];
        for until in troubles {
            if *until <= now {
                *until = Moment(0);
            }
        }
        if self.served_since.plus(RECOVERED) <= now {
            self.served_since = Moment(0);
        }
    }

    /// Whether the API server has answered without trouble for a while.
    pub(crate) fn is_served(&self, now: Moment) -> bool {
        self.lost_answers == 0 && now >= self.served_since.plus(RECOVERED)
    }

    pub(crate) fn time(&self, now: Moment) -> T {
        T::read(&self.clock, now)
    }

    pub(crate) fn health(&self, now: Moment) -> Health {
        let carrier = now >= self.no_carrier;
        Health { carrier, gateway: Some(carrier && now >= self.no_gateway), subnets: Vec::new() }
    }

    /// The name and incarnation of the next process.
    pub(crate) fn next_seat(&mut self, node: usize) -> Seat {
        self.lives += 1;
        Seat { id: identity(node, self.lives), node: name(node), address: None }
    }

    /// Its process tells something: that of views is written down.
    pub(crate) fn write_down(&mut self, event: &Event) {
        let Event::View(view) = event else { return };
        let base = self.written.take().map(|(base, _)| base).filter(|_| view.epoch.quorum > 0);
        self.written = Some((base.unwrap_or_else(|| view.clone()), view.epoch));
    }

    /// What a process begins with.
    pub(crate) fn restored(&self) -> Option<Input<T>> {
        self.written.clone().map(|(base, highest)| Input::Restored { base, highest })
    }

    pub(crate) fn runs(&self, now: Moment) -> bool {
        self.process.is_some() && now >= self.stopped
    }
}

/// The name of a node.
pub(crate) fn name(node: usize) -> String {
    format!("node-{node}")
}

/// The incarnation of a life of a node: in no order, and different for each.
fn identity(node: usize, life: u64) -> MemberId {
    let node = u64::try_from(node).unwrap_or(u64::MAX) & 0xffff;
    let scattered = (life << 16 | node).wrapping_mul(0x9e37_79b9_7f4a_7c15) & !0xffff;
    MemberId(scattered | node)
}

/// The node on which that member is or was.
pub(crate) fn node_of(id: MemberId) -> usize {
    usize::try_from(id.0 & 0xffff).unwrap_or(usize::MAX)
}
