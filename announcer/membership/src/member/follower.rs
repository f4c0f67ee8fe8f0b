//! A member while another one assigns: it answers rounds, and takes over when there are none.

use std::{collections::VecDeque, time::Duration};

use super::{Member, REPORT_TO_ALL, Role, coordinator::deputies};
use crate::{
    Acks, Body, Change, Epoch, Event, MemberId, Output, Report, Round, Seat, Table, Time, Timings, To, View,
};

/// Rounds of which it is known when they were reported on.
const ROUNDS: usize = 4;

/// A member while another one assigns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Follower<T> {
    /// When it sent the latest report that its coordinator, or one that takes over from it, has acknowledged (rule 11).
    acked: T,
    /// Rule 14, for one that takes over itself.
    grace: T,
    /// The latest round of its coordinator, and when it came first.
    round: Option<(MemberId, T)>,
    /// When the coordinator was last known to live: heard here, or its later round by others (rule 18).
    alive: T,
    /// When it last sent a report.
    reported: T,
    /// When the first report on each of the latest rounds was sent, by the coordinator's stamp of the round.
    reports: VecDeque<(T, T)>,
    applied: u64,
    /// Since when the coordinator wants somebody else to do its work.
    invited: Option<T>,
    /// When it last said that it takes over.
    candidate: T,
}

impl<T: Time> Follower<T> {
    pub(super) fn permit(&self, timings: &Timings) -> T {
        if self.acked == T::ZERO { self.grace } else { self.grace.max(self.acked + timings.permit) }
    }

    pub(super) fn alive(&self) -> T {
        self.alive
    }

    /// This process was away: that it heard no round meanwhile says nothing (rule 16).
    pub(super) fn away(&mut self, now: T) {
        self.alive = now;
    }

    pub(super) fn acked(&self) -> T {
        self.acked
    }

    pub(super) fn table(&self) -> u64 {
        self.applied
    }

    /// A table was carried out; without the one before it, only in part.
    pub(super) fn applied(&mut self, table: &Table) {
        if table.after <= self.applied {
            self.applied = self.applied.max(table.version);
        }
    }

    fn acknowledge(&mut self, now: T, me: MemberId, view: &View, acks: &Acks<T>) {
        let stamp = match acks {
            Acks::Exact(stamps) => stamps.iter().find(|(id, _)| *id == me).map(|(_, at)| *at),
            Acks::Since { round, reported } => {
                let mine = view.rank(me).and_then(|rank| reported.get(rank)).copied().unwrap_or_default();
                let first = self.reports.iter().find(|(on, _)| on >= round).map(|(_, at)| *at);
                first.filter(|_| mine)
            }
        };
        // A stamp of the future is none of this member's.
        if let Some(stamp) = stamp.filter(|stamp| *stamp <= now) {
            self.acked = self.acked.max(stamp);
        }
    }
}

impl<T: Time> Member<T> {
    /// Becomes a follower in that view, or stays one.
    pub(super) fn follow(&self, now: T, role: Role<T>, view: &View, before: Option<&View>) -> Follower<T> {
        let acked = match &role {
            Role::Outsider(_) => T::ZERO,
            Role::Follower(follower) => follower.acked(),
            // What all others had reported on: by their silence they would have been removed before that counts less.
            Role::Coordinator(coordinator) => coordinator.acked(),
        };
        match role {
            Role::Follower(follower)
                if before.is_some_and(|before| before.coordinator == view.coordinator) =>
            {
                Follower { alive: now, invited: None, ..follower }
            }
            Role::Follower(_) | Role::Outsider(_) | Role::Coordinator(_) => Follower {
                acked,
                grace: T::ZERO,
                round: None,
                alive: now,
                reported: T::ZERO,
                reports: VecDeque::new(),
                applied: 0,
                invited: None,
                candidate: T::ZERO,
            },
        }
    }

    pub(super) fn hear_round(&mut self, now: T, from: MemberId, at: T, epoch: Epoch, round: Round<T>) {
        if !self.is_my_coordinator(from, epoch) {
            // Whoever acts in an older view is told so.
            if self.view.as_ref().is_some_and(|view| view.epoch > epoch) {
                self.report(now);
            }
            return self.answer_round(now);
        }
        let Some(view) = self.view.clone() else { return };
        let Role::Follower(follower) = &mut self.role else { return };
        let is_new = follower.round.is_none_or(|(of, before)| of != from || at > before);
        follower.round = Some((from, at));
        follower.invited = follower.invited.filter(|_| round.invite).or(round.invite.then_some(now));
        follower.acknowledge(now, self.me.id, &view, &round.acks);
        #[cfg(feature = "planted-bugs")]
        if self.bugs.contains(&crate::Bug::ArrivalIsARight) {
            follower.acked = now;
        }
        if !is_new {
            return;
        }
        follower.alive = now;
        if follower.reports.len() >= ROUNDS {
            follower.reports.pop_front();
        }
        follower.reports.push_back((at, now));
        if round.missing.contains(&self.me.id) {
            let table = follower.table();
            for part in self.inventory(now, table) {
                let message = self.message(now, Body::Inventory(part));
                self.outputs.push_back(Output::Send { to: To::Only(vec![from]), message });
            }
        }
        self.report(now);
    }

    /// Rule 7: on each round at once, else by time.
    pub(super) fn report(&mut self, now: T) {
        let (round, table) = match &mut self.role {
            Role::Follower(follower) => {
                follower.reported = now;
                (follower.round, follower.table())
            }
            Role::Outsider(outsider) => {
                outsider.reported(now);
                (None, 0)
            }
            Role::Coordinator(_) => return self.send_round(now),
        };
        let report = self.own_report(now, round, table);
        let message = self.message(now, Body::Report(report));
        let to = match &self.view {
            Some(view) if view.seats.len() > REPORT_TO_ALL => To::Only(deputies(view)),
            Some(_) | None => To::All,
        };
        self.outputs.push_back(Output::Send { to, message });
    }

    /// Others' reports tell that the coordinator lives, although it is not heard here.
    pub(super) fn hear_of_coordinator(&mut self, now: T, report: &Report<T>) {
        let Some(view) = &self.view else { return };
        let Role::Follower(follower) = &mut self.role else { return };
        let Some((of, at)) = report.round.filter(|(of, _)| *of == view.coordinator) else { return };
        if follower.round.is_none_or(|(known, before)| known != of || at > before) {
            follower.round = Some((of, at));
            follower.alive = now;
        }
    }

    /// Rule 14.
    pub(super) fn hear_candidate(&mut self, now: T, from: MemberId, epoch: Epoch, acks: &Acks<T>) {
        let Some(view) = self.view.clone().filter(|view| view.epoch == epoch && view.has(from)) else {
            return;
        };
        let dead = self.settings.timings.dead;
        let Role::Follower(follower) = &mut self.role else { return };
        if now.since(follower.alive) < dead {
            return;
        }
        follower.acknowledge(now, self.me.id, &view, acks);
        self.report(now);
    }

    pub(super) fn turn_follower(&mut self, now: T) {
        let interval = self.settings.timings.interval;
        let Role::Follower(follower) = &self.role else { return };
        if now.since(follower.reported) >= interval * 5 / 4 {
            self.report(now);
        }
        self.take_over(now);
        self.keep_reading(now);
    }

    /// Asks the API server from time to time, so that it is known whether it can be reached; deputies more often.
    pub(super) fn keep_reading(&mut self, now: T) {
        let rank = self.view.as_ref().and_then(|view| view.rank(self.me.id)).unwrap_or_default();
        let renewal = self.settings.timings.renewal;
        let pause = if rank <= 3 { renewal } else { renewal * 5 };
        let due = self.lease.answered().is_none_or(|answered| now.since(answered) >= pause);
        if self.lease.idle(now) && (due || !self.lease.is_known()) {
            let output = self.lease.read(now);
            self.outputs.push_back(output);
        }
    }

    /// Rule 18.
    fn take_over(&mut self, now: T) {
        let Some(view) = self.view.clone() else { return };
        let Role::Follower(follower) = &self.role else { return };
        if !self.health.carrier || !self.ready || self.leaving.is_some() {
            return;
        }
        let timings = self.settings.timings;
        let silent = now.since(follower.alive);
        let since = follower.invited.filter(|_| silent <= timings.dead);
        if silent >= timings.dead {
            self.check_api(now);
        }
        let patience = self.patience(now, &view);
        let invited = since.is_some_and(|since| now.since(since) >= patience) && self.api_usable(now);
        if !invited && silent < timings.coordinator_dead {
            return;
        }
        if !invited {
            self.stand(now, &view);
            if silent < timings.coordinator_dead + patience {
                return;
            }
        }
        let seats = self.heirs(now, &view, invited);
        if !invited && self.lease.failing(now, timings.api_failing) {
            let later = self.later_lives(now, &view).into_iter().map(|(_, seat)| seat);
            self.propose(now, seats.iter().cloned().chain(later).collect());
        }
        if !self.is_follower() || !self.lease.idle(now) {
            return;
        }
        let output = if self.lease.is_known() {
            let dead = view.seats.iter().find(|seat| seat.id == view.coordinator && !invited);
            let dead = dead.map(|seat| Output::Event(Event::Dead { seat: seat.clone(), silent }));
            self.outputs.extend(dead);
            let change = Change::View { coordinator: self.me.id, seats };
            self.lease.change(now, change, self.known())
        } else {
            self.lease.read(now)
        };
        self.outputs.push_back(output);
    }

    fn is_follower(&self) -> bool {
        matches!(self.role, Role::Follower(_))
    }

    /// How much longer this member waits because somebody else should act before it.
    fn patience(&self, now: T, view: &View) -> Duration {
        let timings = &self.settings.timings;
        let mut patience = Duration::ZERO;
        for seat in view.seats.iter().take_while(|seat| seat.id != self.me.id) {
            if seat.id == view.coordinator {
                continue;
            }
            let able = self.hearing.is_alive(now, seat.id, timings.dead)
                && self
                    .hearing
                    .report(seat.id)
                    .is_some_and(|report| report.api && report.health.carrier && !report.leaving);
            // One that can is given the time for more than one attempt.
            patience += if able { timings.patience * 3 } else { timings.patience };
        }
        let base = self.base.as_ref().map_or(0, |base| base.seats.len());
        if base >= 3 && !self.hears_majority(now, timings.dead) {
            patience += timings.patience;
        }
        patience
    }

    /// The members of the view that this one takes over in: those that are heard, and the coordinator only if it is.
    fn heirs(&self, now: T, view: &View, invited: bool) -> Vec<Seat> {
        let dead = self.settings.timings.dead;
        let lives = |seat: &&Seat| {
            let coordinator = seat.id == view.coordinator;
            seat.id == self.me.id
                || (coordinator && invited)
                || (!coordinator && self.hearing.is_alive(now, seat.id, dead))
        };
        view.seats.iter().filter(lives).cloned().collect()
    }

    /// Rule 14: while nobody assigns, those who hear a majority go on by the word of the one that takes over.
    fn stand(&mut self, now: T, view: &View) {
        let interval = self.settings.timings.interval;
        // What was only heard is no proof: it may be a record, and by the end of the grace others may have removed this
        // member. Whoever answers has heard it, and takes it for dead later than this.
        let answered = self.majority_answered();
        let grace_of_majority =
            if answered > T::ZERO { answered + self.settings.timings.permit } else { T::ZERO };
        let majority = grace_of_majority > now;
        let alone = self.base.as_ref().is_some_and(|base| base.seats.len() == 2)
            && self.lease.failing(now, self.settings.timings.api_failing)
            && self.health.gateway == Some(true);
        let acks = self.acks(view);
        let grace = self.settings.timings.grace;
        let Role::Follower(follower) = &mut self.role else { return };
        if alone && now.since(follower.alive) <= grace {
            follower.grace = follower.grace.max(now + interval);
        }
        follower.grace = follower.grace.max(grace_of_majority);
        if majority && now.since(follower.candidate) >= interval {
            follower.candidate = now;
            self.broadcast(now, Body::Candidate(acks));
        }
    }
}
