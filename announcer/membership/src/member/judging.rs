//! Who is a member: the coordinator's judgement, and the Lease that it writes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{Member, Members, Role};
use crate::{Change, Content, Event, MemberId, Output, Record, Seat, Time, View};

/// The longest wait of a node that comes and goes.
const LONGEST_WAIT: u32 = 60;
/// A node that stayed for so long is steady again.
const STEADY: Duration = Duration::from_secs(600);
/// Above so many members nobody says whom it hears: what is silent on the network only is not found out.
pub(super) const WIRES: usize = 64;

/// Nodes that were lost lately: how often, and when last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flaps<T>(BTreeMap<String, (u32, T)>);

impl<T> Default for Flaps<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Time> Flaps<T> {
    fn lost(&mut self, now: T, node: &str) {
        let (count, last) = self.0.entry(node.to_owned()).or_insert((0, now));
        *count = if now.since(*last) >= STEADY { 1 } else { count.saturating_add(1) };
        *last = now;
    }

    /// How long a node has to be heard before it is let in: 1, 1, 2, 4 … 60 times `join`.
    fn wait(&self, now: T, node: &str, join: Duration) -> Duration {
        let Some((count, _)) = self.0.get(node).filter(|(_, last)| now.since(*last) < STEADY) else {
            return join;
        };
        join * 1u32.checked_shl(count.saturating_sub(1)).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)
    }
}

/// A view that should be, and who is lost by it.
struct Wanted {
    seats: Vec<Seat>,
    coordinator: MemberId,
    dead: Vec<Seat>,
}

impl<T: Time> Member<T> {
    /// Changes the view if somebody is dead, new, or gone, and keeps the Lease (rules 13, 17, 25 and 31).
    pub(super) fn judge(&mut self, now: T) {
        self.hearing.forget_old(now);
        self.note_wires();
        self.settle_doubt(now);
        let Some(view) = self.view.clone() else { return };
        let wanted = self.wanted(now, &view);
        let timings = self.settings.timings;
        if self.lease.failing(now, timings.api_failing)
            && let Some(wanted) = &wanted
        {
            self.propose(now, wanted.seats.clone());
        }
        if !self.lease.idle(now) {
            return;
        }
        if !self.lease.is_known() {
            let output = self.lease.read(now);
            self.outputs.push_back(output);
            return;
        }
        let foreign = self.foreign_hand(&view).filter(|_| self.may_put_right(now));
        if let (Some(why), Role::Coordinator(coordinator)) = (foreign, &mut self.role) {
            coordinator.put_right = now;
            self.outputs.push_back(Output::Event(Event::ForeignHand(why)));
        }
        // A quorum view is brought into the Lease as soon as that can be written (rule 29); and what was heard of a
        // higher epoch ends with one that is above it (rule 5).
        let behind = view.epoch.quorum > 0 || self.highest > view.epoch;
        let change = match wanted {
            Some(wanted) => {
                for seat in &wanted.dead {
                    let silent = now.since(self.hearing.heard(seat.id));
                    self.outputs.push_back(Output::Event(Event::Dead { seat: seat.clone(), silent }));
                    if let Role::Coordinator(coordinator) = &mut self.role {
                        coordinator.flaps.lost(now, &seat.node);
                    }
                }
                Some(if wanted.seats.is_empty() {
                    self.drop_all();
                    Change::Release
                } else {
                    Change::View { coordinator: wanted.coordinator, seats: wanted.seats }
                })
            }
            None if foreign.is_some() || behind => {
                Some(Change::View { coordinator: self.me.id, seats: view.seats.clone() })
            }
            None => None,
        };
        let output = match change {
            Some(change) => Some(self.lease.change(now, change, self.known())),
            None => self.renew(now),
        };
        self.outputs.extend(output);
    }

    fn renew(&mut self, now: T) -> Option<Output<T>> {
        let Role::Coordinator(coordinator) = &mut self.role else { return None };
        if now.since(coordinator.renewed) < self.settings.timings.renewal {
            return None;
        }
        coordinator.renewed = now;
        self.lease.renew(now)
    }

    /// Whether the Lease may be written again only because of a foreign hand: a hand that does not rest is not answered
    /// each time.
    fn may_put_right(&self, now: T) -> bool {
        let Role::Coordinator(coordinator) = &self.role else { return false };
        now.since(coordinator.put_right) >= self.settings.timings.renewal
    }

    /// What in the Lease is nobody's of ours.
    fn foreign_hand(&self, view: &View) -> Option<&'static str> {
        let base = self.base.as_ref()?;
        match self.lease.record() {
            None => Some("the Lease was deleted"),
            Some(Record { content: Content::Unreadable, .. }) => Some("the Lease's view cannot be read"),
            Some(Record { content: Content::Released, epoch, .. }) if *epoch >= base.epoch => {
                Some("the Lease's view was taken away")
            }
            Some(Record { epoch, .. }) if *epoch < base.epoch => Some("the Lease is an older one"),
            Some(Record { content: Content::View(found), epoch, .. })
                if *epoch == base.epoch && found != base && view.epoch == base.epoch =>
            {
                Some("the Lease's view was edited")
            }
            // A view is in the Lease before anything is written by its grants.
            Some(Record { epoch, .. })
                if self.recorded.0.base() > *epoch && self.has_read_since_recorded() =>
            {
                Some("the Lease is older than what was written of its claims")
            }
            Some(_) => None,
        }
    }

    fn has_read_since_recorded(&self) -> bool {
        self.lease.answered().is_some_and(|answered| answered >= self.recorded.1)
    }

    /// The view that should be, if that is another one.
    fn wanted(&self, now: T, view: &View) -> Option<Wanted> {
        let Role::Coordinator(coordinator) = &self.role else { return None };
        let silent = self.silent(now, view);
        let joining = self.joining(now, view);
        let replaced = |seat: &Seat| joining.iter().any(|new| new.node == seat.node);
        let gone = |seat: &Seat| {
            seat.id != self.me.id
                && self
                    .hearing
                    .report(seat.id)
                    .is_some_and(|report| report.leaving && report.holdings.count == 0)
                && !has_claims(coordinator, seat.id)
        };
        let dead: Vec<Seat> = view.seats.iter().filter(|seat| silent.contains(&seat.id)).cloned().collect();
        let stays = |seat: &&Seat| !silent.contains(&seat.id) && !replaced(seat) && !gone(seat);
        let mut seats: Vec<Seat> = view.seats.iter().filter(stays).cloned().collect();
        let mut assigns = self.me.id;
        if self.leaving.is_some() && self.holdings.is_empty() && !has_claims(coordinator, self.me.id) {
            seats.retain(|seat| seat.id != self.me.id);
            assigns = self.successor(&seats).unwrap_or(self.me.id);
        }
        seats.extend(joining);
        // The last one waits for its claims no longer than there is somebody to have them.
        if self.leaving.is_some() && seats.iter().all(|seat| seat.id == self.me.id) {
            seats.clear();
        }
        (seats != view.seats).then_some(Wanted { seats, coordinator: assigns, dead })
    }

    /// The next coordinator: the senior one of those that can do its work.
    fn successor(&self, seats: &[Seat]) -> Option<MemberId> {
        let able = |seat: &&Seat| {
            self.hearing
                .report(seat.id)
                .is_some_and(|report| report.api && report.health.carrier && !report.leaving)
        };
        seats.iter().find(able).or(seats.first()).map(|seat| seat.id)
    }

    /// Members that were not heard for too long, or are heard and do not answer.
    pub(super) fn silent(&self, now: T, view: &View) -> Members {
        let silent = |id: &MemberId| self.is_dead_at(*id) <= now;
        view.others(self.me.id).map(|seat| seat.id).filter(silent).collect()
    }

    /// When that member will have been silent for too long. One that is heard and reports on no round is not there, or
    /// hears nobody: by then this coordinator has lost the right to announce (rule 12).
    fn is_dead_at(&self, id: MemberId) -> T {
        let Role::Coordinator(coordinator) = &self.role else { return T::NEVER };
        let timings = &self.settings.timings;
        let admitted = coordinator.admitted.get(&id).copied().unwrap_or(T::ZERO);
        let echo = coordinator.echoes.get(&id).copied().unwrap_or(T::ZERO);
        let answered = echo.max(admitted).max(self.hearing.judge_from());
        let heard = self.hearing.heard(id).max(admitted);
        (heard + timings.dead).min(answered + timings.coordinator_dead)
    }

    /// When the first member will have been silent for too long.
    pub(super) fn first_silence(&self) -> T {
        let Some(view) = &self.view else { return T::NEVER };
        view.others(self.me.id).map(|seat| self.is_dead_at(seat.id)).min().unwrap_or(T::NEVER)
    }

    /// Those to be let in: heard for long enough, or a new life of a member's node.
    fn joining(&self, now: T, view: &View) -> Vec<Seat> {
        let Role::Coordinator(coordinator) = &self.role else { return Vec::new() };
        let timings = &self.settings.timings;
        let mut joins = self.ready_lives(now, view);
        joins.retain(|(since, seat)| {
            let replaces = view.seats.iter().any(|old| old.node == seat.node);
            replaces || now.since(*since) >= coordinator.flaps.wait(now, &seat.node, timings.join)
        });
        joins.sort_by(|(a, left), (b, right)| (a, left.id).cmp(&(b, right.id)));
        joins.into_iter().map(|(_, seat)| seat).collect()
    }

    /// New lives of the nodes of members, and since when they are heard.
    pub(super) fn later_lives(&self, now: T, view: &View) -> Vec<(T, Seat)> {
        let mut lives = self.ready_lives(now, view);
        lives.retain(|(_, seat)| view.seats.iter().any(|old| old.node == seat.node));
        lives
    }

    /// Those that are no members, and want to be let in.
    fn ready_lives(&self, now: T, view: &View) -> Vec<(T, Seat)> {
        let lives = self.latest_lives(now);
        let ready = lives.values().filter_map(|(since, id)| {
            let report = self.hearing.report(*id)?;
            (!report.leaving && !view.has(*id)).then(|| (*since, report.seat.clone()))
        });
        ready.collect()
    }

    /// The life of each other node that answers since last, and since when. What was recorded of a former one answers
    /// nothing of the present, whoever sends it again. Of two that are as new as each other, none can be told to be the
    /// later.
    fn latest_lives(&self, now: T) -> BTreeMap<&str, (T, MemberId)> {
        let mut latest: BTreeMap<&str, (T, MemberId)> = BTreeMap::new();
        let mut undecided = BTreeSet::new();
        for (id, peer) in self.hearing.peers() {
            let dead = self.settings.timings.dead;
            let report = self.hearing.fresh_report(id, dead).filter(|report| report.seat.id == id);
            let Some(report) = report else { continue };
            let node = report.seat.node.as_str();
            let answers = self.hearing.answers(now, id, dead);
            #[cfg(feature = "planted-bugs")]
            let answers = answers || self.bugs.contains(&crate::Bug::GhostJoins);
            if !answers || !self.hearing.is_alive(now, id, dead) || node == self.me.node {
                continue;
            }
            let known = latest.get(node).map(|(since, _)| *since);
            if known == Some(peer.answers_since) {
                undecided.insert(node);
            } else if known.is_none_or(|known| known < peer.answers_since) {
                undecided.remove(node);
                latest.insert(node, (peer.answers_since, id));
            }
        }
        latest.retain(|node, _| !undecided.contains(node));
        latest
    }

    /// Rule 13: alone after a pause, nothing is announced before the API server, or 300 ms of silence without it, says
    /// that nobody has taken over.
    fn settle_doubt(&mut self, now: T) {
        let timings = self.settings.timings;
        let Role::Coordinator(coordinator) = &mut self.role else { return };
        let Some(since) = coordinator.doubts() else { return };
        let failing = self.lease.failing(now, timings.api_failing);
        // Once the API server has said something else, the Lease is to be put right first: that write tells.
        let asked = self.lease.is_known() && self.lease.answered().is_some_and(|answered| answered >= since);
        if failing && now.since(since) >= timings.patience {
            coordinator.trust();
        } else if self.lease.idle(now) && !asked {
            let output = self.lease.read(now);
            self.outputs.push_back(output);
        }
    }

    /// Notes who hears whom on the plane's own network: a pair that never did is no broken one.
    fn note_wires(&mut self) {
        let Role::Coordinator(coordinator) = &self.role else { return };
        let due = coordinator.wires_due;
        let Some(view) = self.view.as_ref().filter(|view| due && view.seats.len() <= WIRES) else { return };
        let pairs: Vec<_> = view
            .seats
            .iter()
            .filter_map(|seat| self.hearing.report(seat.id))
            .flat_map(|report| report.hears.iter().map(|other| pair(report.seat.id, *other)))
            .collect();
        let Role::Coordinator(coordinator) = &mut self.role else { return };
        coordinator.wires_due = false;
        coordinator.wires.retain(|(a, b)| view.has(*a) && view.has(*b));
        coordinator.wires.extend(pairs.into_iter().filter(|(a, b)| view.has(*a) && view.has(*b)));
    }

    /// Rule 22: of members that no longer hear each other on the plane's own network, the side that keeps the claims:
    /// the one with the gateway, then the one with the coordinator. `None` if all hear each other.
    pub(super) fn connected(&self, view: &View) -> Option<Members> {
        let Role::Coordinator(coordinator) = &self.role else { return None };
        if view.seats.len() > WIRES || coordinator.wires.is_empty() {
            return None;
        }
        let carrier = |id: MemberId| {
            if id == self.me.id {
                return self.health.carrier;
            }
            self.hearing.report(id).is_some_and(|report| report.health.carrier)
        };
        let now = self.last_turn;
        let dead = self.settings.timings.dead;
        let own = self.hearing.on_the_wire(now, dead);
        let hears = |listener: MemberId, speaker: MemberId| {
            if listener == self.me.id {
                return own.contains(&speaker);
            }
            let alive = self.hearing.is_alive(now, listener, dead);
            !alive || self.hearing.report(listener).is_some_and(|report| report.hears.contains(&speaker))
        };
        let broken = |a: MemberId, b: MemberId| {
            coordinator.wires.contains(&pair(a, b)) && !(hears(a, b) && hears(b, a))
        };
        let members: Vec<_> = view.seats.iter().map(|seat| seat.id).filter(|id| carrier(*id)).collect();
        let any =
            members.iter().enumerate().any(|(rank, a)| members.iter().skip(rank + 1).any(|b| broken(*a, *b)));
        if !any {
            return None;
        }
        let mut sides: Vec<Members> = Vec::new();
        let mut left: Members = members.iter().copied().collect();
        while let Some(first) = left.pop_first() {
            let mut side = Members::from([first]);
            let mut queue = VecDeque::from([first]);
            while let Some(member) = queue.pop_front() {
                let near: Vec<_> = left.iter().copied().filter(|other| !broken(member, *other)).collect();
                for other in near {
                    left.remove(&other);
                    side.insert(other);
                    queue.push_back(other);
                }
            }
            sides.push(side);
        }
        let gateway = |id: &MemberId| {
            let health = if *id == self.me.id {
                Some(&self.health)
            } else {
                self.hearing.report(*id).map(|report| &report.health)
            };
            health.and_then(|health| health.gateway) == Some(true)
        };
        sides.into_iter().max_by_key(|side| {
            (side.iter().any(gateway), side.contains(&self.me.id), side.len(), side.first().copied())
        })
    }
}

fn has_claims<T>(coordinator: &super::Coordinator<T>, id: MemberId) -> bool {
    coordinator.table.slots().any(|(_, slot)| slot.owner == Some(id) || slot.previous == Some(id))
}

fn pair(a: MemberId, b: MemberId) -> (MemberId, MemberId) {
    if a < b { (a, b) } else { (b, a) }
}
