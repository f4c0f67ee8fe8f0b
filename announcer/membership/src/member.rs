//! The state machine of one member.
//!
//! A member is an outsider until a view has it, a follower while another one assigns, or the coordinator, which assigns.
//! The rules and the numbers that the comments give are those of docs/failover.md.

mod coordinator;
mod follower;
mod hearing;
mod holdings;
mod judging;
mod lease;
mod outsider;
mod placement;
mod quorum;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use self::{
    coordinator::Coordinator,
    follower::Follower,
    hearing::{FORGET, Hearing},
    holdings::{Holdings, Step},
    judging::WIRES,
    lease::{Ended, Lease, Purpose},
    outsider::Outsider,
    quorum::Ballot,
    table::IN_A_MESSAGE,
};
use crate::{
    Acks, Answer, Body, Change, Claim, ClaimId, Content, Entry, Epoch, Event, Grant, Health, Holding, Input,
    Inventory, MemberId, Message, Output, Path, Record, Report, Round, Seat, Settings, Time, To, View,
    message::stamp_of,
};

/// How long one that leaves waits for others to take what it has.
const LEAVING: Duration = Duration::from_secs(5);
/// Above so many members reports go to the coordinator and its deputies only.
const REPORT_TO_ALL: usize = 64;

/// One member's part in holding a plane's addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member<T: Time> {
    me: Seat,
    settings: Settings,
    health: Health,
    ready: bool,
    /// When to give up giving up.
    leaving: Option<T>,
    left: bool,
    last_turn: T,
    due: T,
    hearing: Hearing<T>,
    lease: Lease<T>,
    /// The newest view that is known.
    view: Option<View>,
    /// The newest view of the Lease that is known: what a majority is counted of.
    base: Option<View>,
    /// The greatest epoch that was heard of (rule 5).
    highest: Epoch,
    /// The greatest epoch that claims' statuses tell of, and when this member was told. What is written in a lower one is
    /// dropped.
    recorded: (Epoch, T),
    ballot: Ballot<T>,
    claims: BTreeMap<ClaimId, Claim>,
    /// Claims that were deleted lately, and when: one that does not know it yet may still hold them.
    gone: BTreeMap<ClaimId, T>,
    holdings: Holdings<T>,
    role: Role<T>,
    outputs: VecDeque<Output<T>>,
    #[cfg(feature = "planted-bugs")]
    bugs: BTreeSet<crate::Bug>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Role<T> {
    Outsider(Outsider<T>),
    Follower(Follower<T>),
    Coordinator(Box<Coordinator<T>>),
}

impl<T: Time> Member<T> {
    /// A member that takes no part yet: it has to be told that it is ready, and its health.
    #[must_use]
    pub fn new(now: T, me: Seat, settings: Settings) -> Self {
        Self {
            me,
            settings,
            health: Health { carrier: false, gateway: None, subnets: Vec::new() },
            ready: false,
            leaving: None,
            left: false,
            last_turn: now,
            due: now,
            hearing: Hearing::new(now),
            lease: Lease::new(now),
            view: None,
            base: None,
            highest: Epoch::default(),
            recorded: (Epoch::default(), now),
            ballot: Ballot::default(),
            claims: BTreeMap::new(),
            gone: BTreeMap::new(),
            holdings: Holdings::new(),
            role: Role::Outsider(Outsider::new(now)),
            outputs: VecDeque::new(),
            #[cfg(feature = "planted-bugs")]
            bugs: BTreeSet::new(),
        }
    }

    /// Makes it break a rule.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: crate::Bug) {
        self.bugs.insert(bug);
    }

    /// Takes an input. The outputs are to be drained afterwards.
    pub fn handle_input(&mut self, now: T, input: Input<T>) {
        if self.left {
            return;
        }
        match input {
            Input::Message { path, message } => self.hear(now, path, message),
            Input::Answered { call, answer } => self.answered(now, call, answer),
            Input::Observed(record) => {
                self.lease.observe(now, record);
                self.consider(now);
            }
            Input::Restored { base, highest } => {
                self.highest = self.highest.max(base.epoch).max(highest);
                self.base.get_or_insert(base);
            }
            Input::Health(health) => self.set_health(now, health),
            Input::Recorded(epoch) => {
                if epoch > self.recorded.0 {
                    self.recorded = (epoch, now);
                }
            }
            Input::Ready(ready) => self.ready = ready,
            Input::Claim(id, claim) => {
                if self.claims.insert(id, claim.clone()).as_ref() != Some(&claim) {
                    self.claims_changed();
                }
            }
            Input::ClaimGone(id) => {
                self.claims.remove(&id);
                self.gone.insert(id, now);
                if self.holdings.forget(id) {
                    self.outputs.push_back(Output::Revoked { claim: id });
                }
                if let Role::Coordinator(coordinator) = &mut self.role {
                    coordinator.forget(id);
                }
            }
            Input::Settings(settings) => {
                self.settings = *settings;
                self.claims_changed();
            }
            Input::Leave => {
                self.leaving.get_or_insert(now + LEAVING);
                self.due = now;
                self.speak(now);
            }
        }
        self.heed(now);
    }

    /// Does what is due at `now`. Whoever calls it has taken in all that has arrived before.
    pub fn handle_timeout(&mut self, now: T) {
        if self.left {
            return;
        }
        // Rule 16: this process itself was away; what it did not hear meanwhile says nothing.
        if now.since(self.last_turn) > self.settings.timings.late {
            self.hearing.restart(now);
            match &mut self.role {
                Role::Outsider(_) => {}
                Role::Follower(follower) => follower.away(now),
                Role::Coordinator(coordinator) => coordinator.away(now),
            }
        }
        self.last_turn = now;
        self.gone.retain(|_, since| now.since(*since) < FORGET);
        self.lease.expire(now);
        for taken in self.holdings.repeated(now).chunks(IN_A_MESSAGE) {
            self.broadcast(now, Body::Taken(taken.to_vec()));
        }
        match &self.role {
            Role::Outsider(_) => self.turn_outsider(now),
            Role::Follower(_) => self.turn_follower(now),
            Role::Coordinator(_) => self.turn_coordinator(now),
        }
        self.assign(now);
        self.leave(now);
        self.set_due(now);
    }

    /// When [`Member::handle_timeout`] is next to be called, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(T, &'static str)> {
        (!self.left).then_some((self.due, "the next turn"))
    }

    /// The next thing to do; to be called until there is none after each input and timeout.
    pub fn poll_output(&mut self) -> Option<Output<T>> {
        self.outputs.pop_front()
    }

    /// Until when this member may announce what it holds; past if it may not. To be compared with a fresh clock before
    /// each frame: no event has to arrive for it to pass (rule 10).
    #[must_use]
    pub fn permit(&self) -> T {
        let Some(view) = self.view.as_ref().filter(|view| view.has(self.me.id)) else { return T::ZERO };
        if !self.health.carrier || self.left || self.highest > view.epoch {
            return T::ZERO;
        }
        let timings = &self.settings.timings;
        #[cfg(feature = "planted-bugs")]
        if self.bugs.contains(&crate::Bug::NoFence) {
            return T::NEVER;
        }
        #[cfg(feature = "planted-bugs")]
        if self.bugs.contains(&crate::Bug::RenewalIsARight) && self.is_coordinator() {
            return self.lease.answered().map_or(T::ZERO, |answered| answered + timings.renewal * 3 / 2);
        }
        match &self.role {
            Role::Outsider(_) => T::ZERO,
            Role::Follower(follower) => follower.permit(timings),
            Role::Coordinator(coordinator) => coordinator.permit(self.last_turn, timings),
        }
    }

    /// By which right this member holds the claim, if it does.
    #[must_use]
    pub fn grant(&self, claim: ClaimId) -> Option<Grant> {
        self.holdings.grant(claim)
    }

    /// All that this member holds.
    pub fn holdings(&self) -> impl Iterator<Item = Holding> {
        self.holdings.all()
    }

    /// The newest view that this member knows; it need not be in it.
    #[must_use]
    pub fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// Whether this member assigns.
    #[must_use]
    pub const fn is_coordinator(&self) -> bool {
        matches!(self.role, Role::Coordinator(_))
    }

    /// Who this is.
    #[must_use]
    pub const fn seat(&self) -> &Seat {
        &self.me
    }

    fn set_due(&mut self, now: T) {
        let soon = now + self.settings.timings.interval / 2;
        let silence = match &self.role {
            Role::Outsider(_) => None,
            Role::Follower(follower) => Some(follower.alive() + self.settings.timings.coordinator_dead),
            Role::Coordinator(coordinator) => Some(coordinator.next_round.min(self.first_silence())),
        };
        let next = silence.into_iter().chain(self.holdings.next_repeat()).filter(|at| *at > now);
        self.due = next.min().map_or(soon, |next| next.min(soon));
    }

    /// Whatever may change who holds what is looked at once, in the turn that takes it in: that costs in proportion to all
    /// claims and members.
    fn heed(&mut self, now: T) {
        if let Role::Coordinator(coordinator) = &self.role
            && (coordinator.stirred || coordinator.dirty || coordinator.table.moving().next().is_some())
        {
            self.due = now;
        }
    }

    fn hear(&mut self, now: T, path: Path, message: Message<T>) {
        if message.from == self.me.id {
            return;
        }
        let is_news = self.hearing.note(now, path, &message);
        self.highest = self.highest.max(message.highest).max(message.epoch);
        let Message { from, at, epoch, body, .. } = message;
        match body {
            Body::Round(round) => {
                if let Some(view) = &round.view {
                    self.adopt(now, view.clone(), T::ZERO);
                }
                if is_news {
                    let own = stamp_of(&round.outside, self.me.id).or(round.acks.exact(self.me.id));
                    self.note_answer(now, from, own);
                    self.hear_round(now, from, at, epoch, round);
                }
            }
            Body::Report(report) if is_news => self.hear_report(now, from, at, epoch, report),
            Body::Report(_) => {}
            Body::Inventory(inventory) if is_news => self.hear_inventory(from, epoch, inventory),
            Body::Inventory(_) => {}
            Body::Table(table) => {
                if self.is_my_coordinator(from, epoch) {
                    self.carry_out(now, &table.entries);
                    if let Role::Follower(follower) = &mut self.role {
                        follower.applied(&table);
                    }
                }
            }
            Body::Taken(holdings) => self.hear_taken(now, &holdings),
            Body::Candidate(acks) if is_news => {
                self.note_answer(now, from, acks.exact(self.me.id));
                self.hear_candidate(now, from, epoch, &acks);
            }
            Body::Candidate(_) => {}
            Body::VoteRequest(view) => self.hear_vote_request(now, from, &view),
            Body::Vote(voted, to) => self.hear_vote(now, from, voted, to),
        }
    }

    /// A message has named this stamp of this member, if any.
    fn note_answer(&mut self, now: T, from: MemberId, own: Option<T>) {
        if let Some(stamp) = own {
            self.hearing.note_answer(now, from, stamp, self.settings.timings.dead);
        }
    }

    /// Rule 15: whoever holds a claim by a higher right has it.
    fn hear_taken(&mut self, now: T, holdings: &[Holding]) {
        #[cfg(feature = "planted-bugs")]
        if self.bugs.contains(&crate::Bug::DeafToTaken) {
            return;
        }
        let mut mine = Vec::new();
        for holding in holdings {
            match self.holdings.told(holding) {
                Some(Step::Drop(claim)) => self.drop_claim(claim),
                Some(Step::Take(_) | Step::Nothing) => {}
                None => mine.extend(
                    self.holdings.grant(holding.claim).map(|grant| Holding { claim: holding.claim, grant }),
                ),
            }
        }
        if !mine.is_empty() {
            self.broadcast(now, Body::Taken(mine));
        }
    }

    fn is_my_coordinator(&self, id: MemberId, epoch: Epoch) -> bool {
        self.view.as_ref().is_some_and(|view| view.coordinator == id && view.epoch == epoch)
    }

    /// Carries out what the coordinator has assigned, as far as it concerns this member.
    fn carry_out(&mut self, now: T, entries: &[Entry]) {
        let able = self.health.carrier && self.view.as_ref().is_some_and(|view| view.has(self.me.id));
        let mut taken = Vec::new();
        for entry in entries {
            #[cfg(feature = "planted-bugs")]
            if self.bugs.contains(&crate::Bug::StaleTable) {
                self.holdings.forget_right(entry.claim);
            }
            match self.holdings.ask(self.me.id, entry, able) {
                Step::Take(holding) => taken.push(holding),
                Step::Drop(claim) => self.drop_claim(claim),
                Step::Nothing => {}
            }
        }
        if taken.is_empty() {
            return;
        }
        for holding in &taken {
            self.holdings.take(*holding);
        }
        // Rule 8: the others know it before the first frame on the network says so.
        self.holdings.repeat(now, taken.iter().map(|holding| holding.claim).collect());
        self.broadcast(now, Body::Taken(taken.clone()));
        let granted = |Holding { claim, grant }| Output::Granted { claim, grant };
        self.outputs.extend(taken.into_iter().map(granted));
    }

    fn drop_claim(&mut self, claim: ClaimId) {
        if !self.holdings.drop(claim) {
            return;
        }
        self.outputs.push_back(Output::Revoked { claim });
        // A coordinator reports to nobody; if it does not give the claim away now, it has to know that it is nobody's.
        if let (Role::Coordinator(coordinator), Some(view)) = (&mut self.role, &self.view) {
            coordinator.table.given_up(view.epoch, self.me.id, claim);
            coordinator.dirty = true;
        }
    }

    fn drop_all(&mut self) {
        let claims: Vec<_> = self.holdings.all().map(|holding| holding.claim).collect();
        for claim in claims {
            self.drop_claim(claim);
        }
    }

    fn set_health(&mut self, now: T, health: Health) {
        if self.health == health {
            return;
        }
        // Rule 21.
        if !health.carrier {
            self.drop_all();
        }
        self.health = health;
        self.speak(now);
    }

    /// Tells the others at once what is new of this member.
    fn speak(&mut self, now: T) {
        match &self.role {
            Role::Outsider(_) => {}
            Role::Follower(_) => self.report(now),
            Role::Coordinator(_) => self.send_round(now),
        }
    }

    fn claims_changed(&mut self) {
        if let Role::Coordinator(coordinator) = &mut self.role {
            coordinator.dirty = true;
        }
    }

    fn answered(&mut self, now: T, call: u64, answer: Answer) {
        match self.lease.answer(now, call, answer) {
            Ended::Foreign | Ended::Undone => {}
            Ended::Found(record, sent) => {
                let base = self.base.as_ref();
                let is_base =
                    |record: &Record| matches!(&record.content, Content::View(view) if Some(view) == base);
                let is_base = record.as_ref().is_some_and(is_base);
                if let Role::Coordinator(coordinator) = &mut self.role {
                    coordinator.found(sent, is_base);
                }
            }
            Ended::Written(Record { content: Content::View(view), .. }, Purpose::Change(_), sent) => {
                self.adopt(now, view, sent);
            }
            Ended::Written(_, Purpose::Change(Change::Release), _) => self.left(),
            Ended::Written(..) => {}
        }
        self.consider(now);
    }

    /// Takes note of what the Lease says, and goes over to its view if that is a newer one.
    fn consider(&mut self, now: T) {
        self.due = now;
        let Some(Record { content: Content::View(view), .. }) = self.lease.record() else { return };
        let view = view.clone();
        self.adopt(now, view, T::ZERO);
    }

    /// Goes over to a newer view. `sent` is when this member sent the write that brought it, if it was its own.
    fn adopt(&mut self, now: T, view: View, sent: T) {
        if self.view.as_ref().is_some_and(|known| known.epoch >= view.epoch) {
            return;
        }
        self.highest = self.highest.max(view.epoch);
        if view.epoch.quorum == 0 {
            self.base = Some(view.clone());
            if self.lease.record().is_none_or(|record| record.epoch < view.epoch) {
                self.lease.is_behind();
            }
        }
        let before = self.view.replace(view.clone());
        self.ballot.close();
        let led = self.is_coordinator();
        let role = std::mem::replace(&mut self.role, Role::Outsider(Outsider::new(now)));
        if view.coordinator == self.me.id && view.has(self.me.id) {
            self.role = Role::Coordinator(self.lead(now, role, &view, before.as_ref(), sent));
            if let Some(before) = before.filter(|_| led) {
                self.inherit(&before);
            }
            self.send_round(now);
        } else if view.has(self.me.id) {
            self.role = Role::Follower(self.follow(now, role, &view, before.as_ref()));
            self.report(now);
        } else {
            self.drop_all();
            if led {
                // The last word of one that leaves: who assigns from now on.
                let round = Round {
                    view: Some(view.clone()),
                    table: 0,
                    acks: Acks::Exact(Vec::new()),
                    missing: Vec::new(),
                    invite: false,
                    outside: Vec::new(),
                };
                self.broadcast(now, Body::Round(round));
            }
        }
        self.due = now;
        self.outputs.push_back(Output::Event(Event::View(view)));
    }

    /// Ends this member's part once all is handed over, or that takes too long.
    fn leave(&mut self, now: T) {
        let Some(deadline) = self.leaving else { return };
        let is_member = self.view.as_ref().is_some_and(|view| view.has(self.me.id));
        if !is_member || now >= deadline {
            self.left();
        }
    }

    fn left(&mut self) {
        self.drop_all();
        self.left = true;
        self.outputs.push_back(Output::Left);
    }

    /// Whether more than half of the Lease's view, this member included, was heard within that time.
    fn hears_majority(&self, now: T, limit: Duration) -> bool {
        let Some(base) = &self.base else { return false };
        // Here only what was heard counts; a silence that says nothing is no proof of life.
        let heard = |id| self.hearing.peer(id).is_some_and(|peer| now.since(peer.heard) <= limit);
        let counts = |seat: &&Seat| seat.id == self.me.id || heard(seat.id);
        base.seats.iter().filter(counts).count() * 2 > base.seats.len()
    }

    /// What a view that is written to the Lease has to be above.
    fn known(&self) -> Epoch {
        self.highest.max(self.recorded.0)
    }

    fn api_usable(&self, now: T) -> bool {
        self.lease.usable(now, self.settings.timings.api_failing)
    }

    fn message(&self, now: T, body: Body<T>) -> Message<T> {
        let epoch = self.view.as_ref().filter(|view| view.has(self.me.id)).map(|view| view.epoch);
        Message { from: self.me.id, at: now, highest: self.highest, epoch: epoch.unwrap_or_default(), body }
    }

    fn broadcast(&mut self, now: T, body: Body<T>) {
        let message = self.message(now, body);
        self.outputs.push_back(Output::Send { to: To::All, message });
    }

    /// What this member says of itself.
    fn own_report(&self, now: T, round: Option<(MemberId, T)>, table: u64) -> Report<T> {
        let small = self.view.as_ref().is_some_and(|view| view.seats.len() <= WIRES);
        Report {
            seat: self.me.clone(),
            round,
            table,
            holdings: self.holdings.digest(),
            health: self.health.clone(),
            hears: if small { self.hearing.on_the_wire(now, self.settings.timings.dead) } else { Vec::new() },
            api: self.api_usable(now),
            leaving: self.leaving.is_some(),
            heard: self.heard(now),
        }
    }

    /// What proves to others that this member's report is of the present, where no round does.
    fn heard(&self, now: T) -> Vec<(MemberId, T)> {
        let timings = &self.settings.timings;
        let alone = match &self.role {
            Role::Outsider(_) => true,
            Role::Follower(follower) => now.since(follower.alive()) > timings.interval * 3 / 2,
            Role::Coordinator(_) => false,
        };
        if alone { self.hearing.stamps(now, timings.dead, WIRES) } else { Vec::new() }
    }

    /// The latest time of this member's own at which more than half of the Lease's view, itself included, is known to
    /// have been there.
    fn majority_answered(&self) -> T {
        let Some(base) = self.base.as_ref().filter(|base| base.has(self.me.id)) else { return T::ZERO };
        let mut answered: Vec<T> =
            base.others(self.me.id).map(|seat| self.hearing.answered(seat.id)).collect();
        answered.sort_by(|a, b| b.cmp(a));
        // Of three members one other one makes a majority, of four or five two.
        let needed = base.seats.len() / 2;
        needed.checked_sub(1).and_then(|last| answered.get(last)).copied().unwrap_or(T::ZERO)
    }

    /// The latest reports that have arrived of the members.
    fn acks(&self, view: &View) -> Acks<T> {
        let stamp = |seat: &Seat| {
            let (at, _) = self.hearing.peer(seat.id)?.report.as_ref()?;
            Some((seat.id, *at))
        };
        Acks::Exact(view.others(self.me.id).filter_map(stamp).collect())
    }

    /// All that this member holds, in parts that fit into messages. At least one part.
    fn inventory(&self, now: T, table: u64) -> Vec<Inventory<T>> {
        let all: Vec<_> = self.holdings.all().collect();
        let parts = u16::try_from(all.len().div_ceil(IN_A_MESSAGE)).unwrap_or(u16::MAX).max(1);
        let part = |part: u16| {
            let from = usize::from(part) * IN_A_MESSAGE;
            let holdings = all.iter().skip(from).take(IN_A_MESSAGE).copied().collect();
            Inventory { taken: now, part, parts, table, holdings }
        };
        (0..parts).map(part).collect()
    }
}

/// Nobody is in it twice.
type Members = BTreeSet<MemberId>;
