//! The member that assigns: its rounds, and who is to hold which claim.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Member, Members, Role,
    hearing::Peer,
    holdings::digest,
    judging::{Flaps, WIRES},
    placement::{self, Able, Networks},
    table::{Gathering, Slot, Table},
};
use crate::{
    Acks, Body, ClaimId, Digest, Epoch, Event, Inventory, MemberId, Nowhere, Output, Preference, Report,
    Round, Time, Timings, To, View, message::stamp_of,
};

/// Above so many members rounds tell who has reported, not when.
const EXACT: usize = 256;

/// So many parts of a table are told again at once, so that a socket's buffer holds them.
const RESENT: usize = 4;

/// The member that assigns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Coordinator<T> {
    pub(super) table: Table,
    /// The latest of this member's rounds that each other one has reported on (rule 12).
    pub(super) echoes: BTreeMap<MemberId, T>,
    /// Inventories that are wanted.
    missing: BTreeMap<MemberId, Gathering<T>>,
    /// Those without which nothing is assigned yet (rule 19 a).
    opening: Members,
    /// Nothing is assigned before (rule 19 b).
    opens: T,
    pub(super) next_round: T,
    /// The times of the latest rounds.
    rounds: [T; 3],
    /// When each member was let in.
    pub(super) admitted: BTreeMap<MemberId, T>,
    /// When the table was last told to a member that had not carried it out.
    resent: BTreeMap<MemberId, T>,
    /// Members whose holdings are not what the table says, and since when.
    astray: BTreeMap<MemberId, T>,
    /// What each member's holdings were when they were last compared, and with which version of the table.
    compared: BTreeMap<MemberId, (Digest, u64)>,
    crew: Vec<Able>,
    /// The networks of all members that this coordinator has seen.
    networks: Networks,
    /// When the view was written without somebody whose claims are not given to others yet.
    lost: Option<T>,
    /// Something has changed that claims may have to move for.
    pub(super) dirty: bool,
    /// Something has been heard that this may follow from.
    pub(super) stirred: bool,
    pub(super) flaps: Flaps<T>,
    /// While this is the only member: since when nothing is announced, as this process itself was away (rule 13).
    doubt: Option<T>,
    pub(super) renewed: T,
    /// When the Lease was last written again after a foreign hand.
    pub(super) put_right: T,
    rebalanced: String,
    nowhere: BTreeMap<ClaimId, Nowhere>,
    /// Pairs that once heard each other on the plane's own network.
    pub(super) wires: BTreeSet<(MemberId, MemberId)>,
    /// Reports or members have changed since these pairs were noted.
    pub(super) wires_due: bool,
}

impl<T: Time> Coordinator<T> {
    pub(super) fn permit(&self, last_turn: T, timings: &Timings) -> T {
        if let Some(echo) = self.echoes.values().min() {
            return if *echo == T::ZERO { T::ZERO } else { *echo + timings.coordinator_permit };
        }
        if self.doubt.is_some() { T::ZERO } else { last_turn + timings.late }
    }

    /// What all others had reported on.
    pub(super) fn acked(&self) -> T {
        self.echoes.values().min().copied().unwrap_or(T::ZERO)
    }

    /// The claim is no more. Whoever had it is looked at anew: it may not know that.
    pub(super) fn forget(&mut self, claim: ClaimId) {
        let Some(slot) = self.table.forget(claim) else { return };
        for id in [slot.owner, slot.previous].into_iter().flatten() {
            self.compared.remove(&id);
        }
    }

    /// This process was away: whoever is alone does not know whether it still is.
    pub(super) fn away(&mut self, now: T) {
        self.doubt = Some(now);
    }

    pub(super) fn doubts(&self) -> Option<T> {
        self.doubt.filter(|_| self.echoes.is_empty())
    }

    pub(super) fn trust(&mut self) {
        self.doubt = None;
    }

    /// The Lease was read by a call of that time.
    pub(super) fn found(&mut self, sent: T, mine: bool) {
        if mine && self.doubt.is_some_and(|since| sent >= since) {
            self.doubt = None;
        }
    }
}

impl<T: Time> Member<T> {
    /// Becomes the coordinator of that view, or stays it. `sent` is when the write of the view was sent.
    pub(super) fn lead(
        &mut self,
        now: T,
        role: Role<T>,
        view: &View,
        before: Option<&View>,
        sent: T,
    ) -> Box<Coordinator<T>> {
        let others = || view.others(self.me.id).map(|seat| seat.id);
        let loses = before.is_some_and(|before| before.seats.iter().any(|seat| !view.has(seat.id)));
        let lost = Some(sent).filter(|sent| loses && *sent > T::ZERO);
        match role {
            Role::Coordinator(mut coordinator) => {
                coordinator.lost = coordinator.lost.or(lost);
                coordinator.echoes.retain(|id, _| view.has(*id));
                coordinator.missing.retain(|id, _| view.has(*id));
                coordinator.opening.retain(|id| view.has(*id));
                coordinator.admitted.retain(|id, _| view.has(*id));
                for id in others() {
                    coordinator.echoes.entry(id).or_insert(sent);
                    coordinator.admitted.entry(id).or_insert(now);
                }
                coordinator.found(sent, true);
                coordinator.dirty = true;
                coordinator.wires_due = true;
                coordinator
            }
            Role::Follower(_) | Role::Outsider(_) => {
                // Rule 19 b: from the last round that was echoed. A coordinator that is in the view says itself, by its
                // inventory, that it assigns no longer.
                let stays = before.is_some_and(|before| view.has(before.coordinator));
                let opens = match &role {
                    Role::Follower(_) if stays => T::ZERO,
                    Role::Follower(follower) => follower.alive() + self.settings.timings.coordinator_dead,
                    Role::Outsider(_) | Role::Coordinator(_) => T::ZERO,
                };
                let mut table = Table::default();
                for holding in self.holdings.all() {
                    table.found(self.me.id, holding);
                }
                self.outputs.push_back(Output::Event(Event::Coordinating(view.epoch)));
                Box::new(Coordinator {
                    table,
                    echoes: others().map(|id| (id, sent)).collect(),
                    missing: others().map(|id| (id, Gathering::new())).collect(),
                    opening: others().collect(),
                    opens,
                    next_round: now,
                    rounds: [T::ZERO; 3],
                    admitted: others().map(|id| (id, now)).collect(),
                    resent: BTreeMap::new(),
                    astray: BTreeMap::new(),
                    compared: BTreeMap::new(),
                    crew: Vec::new(),
                    networks: Networks::new(),
                    lost,
                    dirty: true,
                    stirred: true,
                    flaps: Flaps::default(),
                    doubt: None,
                    renewed: now,
                    put_right: T::ZERO,
                    rebalanced: self.settings.rebalance.clone(),
                    nowhere: BTreeMap::new(),
                    wires: BTreeSet::new(),
                    wires_due: true,
                })
            }
        }
    }

    /// Rule 25: what an earlier life of a node had goes to the new one: it has the same hardware address, so that it
    /// does no harm if the earlier one still answers.
    pub(super) fn inherit(&mut self, before: &View) {
        let Some(view) = &self.view else { return };
        let Role::Coordinator(coordinator) = &mut self.role else { return };
        let heir = |id: MemberId| {
            let node = &before.seats.iter().find(|seat| seat.id == id && !view.has(id))?.node;
            view.seats.iter().find(|seat| seat.node == *node).map(|seat| seat.id)
        };
        let owner = |(claim, slot): (ClaimId, &Slot)| Some((claim, heir(slot.owner?)?));
        let moves: Vec<_> = coordinator.table.slots().filter_map(owner).collect();
        for (claim, heir) in moves {
            coordinator.table.set(view.epoch, claim, Some(heir), None);
        }
    }

    pub(super) fn turn_coordinator(&mut self, now: T) {
        self.judge(now);
        let Role::Coordinator(coordinator) = &self.role else { return };
        if coordinator.next_round <= now {
            self.send_round(now);
        }
    }

    pub(super) fn send_round(&mut self, now: T) {
        let Some(view) = self.view.clone() else { return };
        let invite = !self.health.carrier || !self.api_usable(now) && self.lease.answered().is_some();
        let exact = if view.seats.len() > EXACT { None } else { Some(self.acks(&view)) };
        let interval = self.settings.timings.interval;
        let Role::Coordinator(coordinator) = &mut self.role else { return };
        coordinator.next_round = now + interval;
        let acks = exact.unwrap_or_else(|| {
            let [_, _, round] = coordinator.rounds;
            let reported = |id| coordinator.echoes.get(&id).is_some_and(|echo| *echo >= round);
            Acks::Since { round, reported: view.seats.iter().map(|seat| reported(seat.id)).collect() }
        });
        let [last, before, _] = coordinator.rounds;
        coordinator.rounds = [now, last, before];
        let dead = self.settings.timings.dead;
        let has_not = |id| self.hearing.peer(id).is_none_or(|peer| peer.epoch < view.epoch);
        // One that was a member and does not know that it is none any more.
        let was = |(id, peer): (MemberId, &Peer<T>)| {
            peer.epoch.view > 0 && peer.epoch < view.epoch && self.hearing.is_alive(now, id, dead)
        };
        let outdated = view.others(self.me.id).any(|seat| has_not(seat.id)) || self.hearing.peers().any(was);
        let round = Round {
            view: outdated.then(|| view.clone()),
            table: coordinator.table.version(),
            acks,
            missing: coordinator.missing.keys().copied().collect(),
            invite,
            outside: self.hearing.outside(now, dead, &view, WIRES),
        };
        self.broadcast(now, Body::Round(round));
    }

    pub(super) fn hear_report(&mut self, now: T, from: MemberId, at: T, epoch: Epoch, report: Report<T>) {
        self.hear_of_coordinator(now, &report);
        let before = self.hearing.report(from);
        let stirs = before.is_none_or(|before| {
            (&before.health, &before.hears, before.leaving) != (&report.health, &report.hears, report.leaving)
        });
        self.hearing.set_report(from, at, report.clone());
        self.note_answer(now, from, stamp_of(&report.heard, self.me.id));
        let in_view = self.view.as_ref().is_some_and(|view| view.epoch == epoch && view.has(from));
        let Role::Coordinator(coordinator) = &mut self.role else { return };
        coordinator.stirred |= stirs;
        coordinator.wires_due |= stirs;
        if !in_view {
            return;
        }
        let Some((_, stamp)) = report.round.filter(|(of, _)| *of == self.me.id) else { return };
        if let Some(echo) = coordinator.echoes.get_mut(&from)
            && stamp <= now
        {
            *echo = (*echo).max(stamp);
        }
        if report.table < coordinator.table.version() {
            self.resend(now, from, report.table);
        }
        self.compare(now, from, &report);
    }

    /// Tells a member again what it has not carried out; not while that may be on its way.
    fn resend(&mut self, now: T, to: MemberId, known: u64) {
        let interval = self.settings.timings.interval;
        let Role::Coordinator(coordinator) = &mut self.role else { return };
        let last = coordinator.resent.entry(to).or_insert(now);
        if now.since(*last) < interval {
            return;
        }
        *last = now;
        for changes in coordinator.table.after(known).into_iter().take(RESENT) {
            let message = self.message(now, Body::Table(changes));
            self.outputs.push_back(Output::Send { to: To::Only(vec![to]), message });
        }
    }

    /// Whether a member holds what it should; one that does not for long is asked what it holds.
    fn compare(&mut self, now: T, from: MemberId, report: &Report<T>) {
        let dead = self.settings.timings.dead;
        let Role::Coordinator(coordinator) = &mut self.role else { return };
        let compared = (report.holdings, report.table);
        if coordinator.compared.get(&from) == Some(&compared) && !coordinator.astray.contains_key(&from) {
            return;
        }
        let moving = coordinator.table.moving().any(|(_, slot)| slot.previous == Some(from));
        let expected = digest(coordinator.table.expected(from, report.table));
        if expected == report.holdings || moving {
            coordinator.compared.insert(from, compared);
            coordinator.astray.remove(&from);
            return;
        }
        let since = *coordinator.astray.entry(from).or_insert(now);
        if now.since(since) >= dead {
            coordinator.missing.entry(from).or_insert_with(Gathering::new);
        }
    }

    pub(super) fn hear_inventory(&mut self, from: MemberId, epoch: Epoch, inventory: Inventory<T>) {
        let Some(view) = self.view.as_ref().filter(|view| view.epoch == epoch && view.has(from)) else {
            return;
        };
        let Role::Coordinator(coordinator) = &mut self.role else { return };
        let table = inventory.table;
        let Some(gathering) = coordinator.missing.get_mut(&from) else { return };
        let Some(holdings) = gathering.add(inventory) else { return };
        coordinator.missing.remove(&from);
        coordinator.astray.remove(&from);
        coordinator.opening.remove(&from);
        let (claims, gone) = (&self.claims, &self.gone);
        let is_gone = |claim| gone.contains_key(&claim) && !claims.contains_key(&claim);
        coordinator.table.reconcile(view.epoch, from, table, &holdings, is_gone);
        coordinator.dirty = true;
    }

    /// Assigns what has no owner, moves what has to move, and tells what is new.
    pub(super) fn assign(&mut self, now: T) {
        let Role::Coordinator(coordinator) = &mut self.role else { return };
        coordinator.stirred = false;
        let crew = self.crew(now);
        let Some(view) = self.view.clone() else { return };
        let Role::Coordinator(coordinator) = &mut self.role else { return };
        if coordinator.crew != crew {
            let networks = crew.iter().flat_map(|able| able.subnets.iter().copied());
            coordinator.networks.extend(networks);
            coordinator.crew = crew;
            coordinator.dirty = true;
        }
        let opened = coordinator.opening.is_empty() && coordinator.opens <= now;
        // Rule 12: whoever may no longer announce has no word in who does.
        let permitted = coordinator.permit(self.last_turn, &self.settings.timings) > now;
        if !opened || !permitted || self.highest > view.epoch {
            return;
        }
        self.advance(&view);
        self.reassign(now, &view);
        self.rebalance(&view);
        let Role::Coordinator(coordinator) = &mut self.role else { return };
        let news = coordinator.table.news();
        if news.is_empty() {
            return;
        }
        if let Some(lost) = coordinator.lost.take() {
            self.outputs.push_back(Output::Event(Event::Reassigned { after: now.since(lost) }));
        }
        for id in coordinator.echoes.keys() {
            coordinator.resent.insert(*id, now);
        }
        for part in news {
            self.carry_out(now, &part.entries);
            self.broadcast(now, Body::Table(part));
        }
    }

    /// The version of the table that a member is known to have carried out.
    fn applied(&self, id: MemberId) -> u64 {
        let Role::Coordinator(coordinator) = &self.role else { return 0 };
        if id == self.me.id {
            return coordinator.table.version();
        }
        let report = self.hearing.report(id);
        let mine = report.filter(|report| report.round.is_some_and(|(of, _)| of == self.me.id));
        mine.map_or(0, |report| report.table)
    }

    /// Brings moves to their end.
    fn advance(&mut self, view: &View) {
        let Role::Coordinator(coordinator) = &self.role else { return };
        let moving: Vec<(ClaimId, Slot)> =
            coordinator.table.moving().map(|(claim, slot)| (claim, *slot)).collect();
        for (claim, slot) in moving {
            let Some(previous) = slot.previous else { continue };
            let ended = match slot.owner {
                // The successor has it; whoever had it before gives way now, if it has not heard of it.
                Some(owner) => self.applied(owner) >= slot.version || !view.has(previous),
                None => self.applied(previous) >= slot.version || !view.has(previous),
            };
            let Role::Coordinator(coordinator) = &mut self.role else { return };
            if ended && !self.claims.contains_key(&claim) && slot.owner.is_none() {
                coordinator.table.forget(claim);
            } else if ended {
                coordinator.table.set(view.epoch, claim, slot.owner, None);
                coordinator.dirty |= slot.owner.is_none();
            }
        }
    }

    /// Finds an owner for each claim that has none, or one that cannot keep it.
    fn reassign(&mut self, now: T, view: &View) {
        let silent = self.silent(now, view);
        let Role::Coordinator(coordinator) = &mut self.role else { return };
        if !std::mem::take(&mut coordinator.dirty) {
            return;
        }
        let crew = std::mem::take(&mut coordinator.crew);
        let mut loads = coordinator.table.loads();
        let mut changes = Vec::new();
        let mut nowhere = BTreeMap::new();
        for (id, claim) in &self.claims {
            let slot = coordinator.table.slot(*id).copied();
            let eligible = match placement::eligible(claim, &crew, &coordinator.networks) {
                Ok(eligible) => eligible,
                Err(why) => {
                    nowhere.insert(*id, why);
                    Vec::new()
                }
            };
            let stays = |owner: MemberId| eligible.iter().any(|able| able.id == owner);
            let owner = slot.and_then(|slot| slot.owner);
            // Rule 17: what a silent member has is nobody's before a view without it is in force.
            if owner.is_some_and(|owner| stays(owner) || silent.contains(&owner)) {
                continue;
            }
            let previous = slot.and_then(|slot| slot.previous).filter(|previous| view.has(*previous));
            if owner.is_none() && previous.is_some() {
                continue;
            }
            let holder = match owner.filter(|owner| view.has(*owner)) {
                Some(owner) => Some(owner),
                // The successor was lost on the way: it goes back.
                None => previous,
            };
            let next = match previous
                .filter(|previous| owner.is_none_or(|owner| !view.has(owner)) && stays(*previous))
            {
                Some(previous) => Some(previous),
                None => placement::choose(*id, &eligible, &loads, self.settings.placement),
            };
            if next.is_none() && slot.is_none_or(|slot| slot.owner.is_none()) {
                continue;
            }
            if let Some(owner) = owner {
                loads.entry(owner).and_modify(|load| *load = load.saturating_sub(1));
            }
            changes.push((*id, holder, next));
            if let Some(next) = next {
                *loads.entry(next).or_default() += 1;
            }
        }
        coordinator.crew = crew;
        for (claim, holder, next) in changes {
            self.give(now, view, claim, holder, next);
        }
        self.tell_nowhere(view, nowhere);
    }

    /// Tells of claims that nobody can have, once nobody holds them.
    fn tell_nowhere(&mut self, view: &View, nowhere: BTreeMap<ClaimId, Nowhere>) {
        let Role::Coordinator(coordinator) = &mut self.role else { return };
        let before = std::mem::take(&mut coordinator.nowhere);
        for (claim, why) in nowhere {
            if coordinator.table.slot(claim).is_none() {
                coordinator.table.set(view.epoch, claim, None, None);
            }
            let is_nobodys = |slot: &&Slot| slot.owner.is_none() && slot.previous.is_none();
            let Some(grant) = coordinator.table.slot(claim).filter(is_nobodys).map(|slot| slot.grant) else {
                continue;
            };
            if before.get(&claim) != Some(&why) {
                self.outputs.push_back(Output::Event(Event::Nowhere { claim, grant, why }));
            }
            coordinator.nowhere.insert(claim, why);
        }
    }

    /// Moves a claim from whoever may hold it to another.
    fn give(
        &mut self,
        now: T,
        view: &View,
        claim: ClaimId,
        holder: Option<MemberId>,
        next: Option<MemberId>,
    ) {
        let holder = holder.filter(|holder| Some(*holder) != next && self.may_hold(*holder));
        // Rule 24: the successor first, if whoever gives way hears it; else whoever gives way first.
        let hears = match (holder, next) {
            (Some(holder), Some(next)) => self.hears(now, holder, next),
            _ => true,
        };
        let owner = next.filter(|_| hears);
        let Role::Coordinator(coordinator) = &mut self.role else { return };
        coordinator.table.set(view.epoch, claim, owner, holder);
    }

    /// Whether a member may still hold anything. One without a carrier that says that it holds nothing does not.
    fn may_hold(&self, id: MemberId) -> bool {
        if id == self.me.id {
            return !self.holdings.is_empty();
        }
        self.hearing.report(id).is_none_or(|report| report.health.carrier || report.holdings.count > 0)
    }

    /// Whether a member hears another on the plane's own network.
    fn hears(&self, now: T, listener: MemberId, speaker: MemberId) -> bool {
        let dead = self.settings.timings.dead;
        if listener == self.me.id {
            return self.health.carrier && self.hearing.on_the_wire(now, dead).contains(&speaker);
        }
        let large = self.view.as_ref().is_some_and(|view| view.seats.len() > WIRES);
        self.hearing
            .report(listener)
            .is_some_and(|report| report.health.carrier && (large || report.hears.contains(&speaker)))
    }

    /// Moves claims from the most to the least loaded once, when the plane asks for it with a new text.
    fn rebalance(&mut self, view: &View) {
        let Role::Coordinator(coordinator) = &mut self.role else { return };
        if coordinator.rebalanced == self.settings.rebalance || coordinator.table.moving().next().is_some() {
            return;
        }
        coordinator.rebalanced.clone_from(&self.settings.rebalance);
        let mut loads = coordinator.table.loads();
        let mut moves = Vec::new();
        for (id, slot) in coordinator.table.slots() {
            let (Some(owner), Some(claim)) = (slot.owner, self.claims.get(&id)) else { continue };
            let Ok(eligible) = placement::eligible(claim, &coordinator.crew, &coordinator.networks) else {
                continue;
            };
            let load = |id: MemberId| loads.get(&id).copied().unwrap_or_default();
            let weight = |id| eligible.iter().find(|able| able.id == id).map(|able| able.weight);
            let Some(best) = placement::choose(id, &eligible, &loads, self.settings.placement) else {
                continue;
            };
            let lighter = load(owner) > load(best) + 1;
            if best != owner && (lighter || weight(best) > weight(owner)) {
                *loads.entry(owner).or_default() -= 1;
                *loads.entry(best).or_default() += 1;
                moves.push((id, owner, best));
            }
        }
        for (claim, owner, next) in moves {
            coordinator.table.set(view.epoch, claim, Some(next), Some(owner));
        }
    }

    /// The members that can have claims.
    fn crew(&self, now: T) -> Vec<Able> {
        let Some(view) = &self.view else { return Vec::new() };
        let dead = self.settings.timings.dead;
        let able = |id: MemberId| {
            if id == self.me.id {
                return (self.health.carrier && self.leaving.is_none()).then_some(&self.health.subnets);
            }
            let report = self.hearing.report(id).filter(|_| self.hearing.is_alive(now, id, dead))?;
            (report.health.carrier && !report.leaving).then_some(&report.health.subnets)
        };
        let connected = self.connected(view);
        view.seats
            .iter()
            .filter(|seat| connected.as_ref().is_none_or(|connected| connected.contains(&seat.id)))
            .filter_map(|seat| {
                let subnets = able(seat.id)?.clone();
                let Preference { weight, avoid } =
                    self.settings.nodes.get(&seat.node).copied().unwrap_or_default();
                Some(Able { id: seat.id, node: seat.node.clone(), weight, avoid, subnets })
            })
            .collect()
    }
}

/// The coordinator and those that come next.
pub(super) fn deputies(view: &View) -> Vec<MemberId> {
    let next = view.others(view.coordinator).map(|seat| seat.id).take(2);
    [view.coordinator].into_iter().chain(next).collect()
}
