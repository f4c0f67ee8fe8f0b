//! One that is in no view: it asks to be let in, or begins where there is nobody.

use super::{Member, Role, lease::is_free};
use crate::{Change, Content, Epoch, MemberId, Record, Time, View};

/// One that is in no view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Outsider<T> {
    since: T,
    reported: T,
}

impl<T: Time> Outsider<T> {
    pub(super) fn new(now: T) -> Self {
        Self { since: now, reported: T::ZERO }
    }

    pub(super) fn reported(&mut self, now: T) {
        self.reported = now;
    }
}

impl<T: Time> Member<T> {
    pub(super) fn turn_outsider(&mut self, now: T) {
        let interval = self.settings.timings.interval;
        let Role::Outsider(outsider) = &mut self.role else { return };
        let since = outsider.since;
        if !self.ready || self.leaving.is_some() {
            return;
        }
        if now.since(outsider.reported) >= interval {
            self.report(now);
        }
        self.begin(now, since);
        self.resume(now, since);
        self.keep_reading(now);
    }

    /// Rule 26.
    fn begin(&mut self, now: T, since: T) {
        if !self.health.carrier || !self.lease.idle(now) || !self.lease.is_known() {
            return;
        }
        let timings = &self.settings.timings;
        let record = self.lease.record();
        let view = match record {
            Some(Record { content: Content::View(view), .. }) => Some(view),
            Some(_) | None => None,
        };
        let listened = now.since(since) >= timings.join;
        let fresh = self.lease.answered().is_some_and(|answered| now.since(answered) <= timings.renewal * 2);
        let unchanged = self.lease.unchanged(now) >= timings.abandoned;
        // One that was deleted is made again by its members, whether they are heard here or not.
        let absent = self.lease.is_absent() && (self.view.is_none() || unchanged);
        let free = (is_free(record) && (record.is_some() || absent))
            || (view.is_none() && unchanged)
            || view.is_some_and(|view| self.is_abandoned(now, view));
        if free && listened && fresh && !self.hears_member(now) {
            let change = Change::View { coordinator: self.me.id, seats: vec![self.me.clone()] };
            let output = self.lease.change(now, change, self.known());
            self.outputs.push_back(output);
        }
    }

    /// Rule 29, where nobody is left to agree: while the API server is away, a node whose earlier lives were alone in the
    /// Lease's view goes on, if nobody else is heard.
    fn resume(&mut self, now: T, since: T) {
        let timings = &self.settings.timings;
        let Some(base) = self.base.as_ref().filter(|_| self.health.carrier) else { return };
        let alone = base.seats.iter().all(|seat| seat.node == self.me.node);
        let listened = now.since(since) >= timings.join;
        let failing = self.lease.failing(now, timings.api_failing);
        let newest = Epoch { quorum: 0, ..self.highest } == base.epoch;
        if alone && listened && failing && newest && !self.hears_member(now) {
            let epoch = Epoch { quorum: self.highest.quorum.saturating_add(1), ..base.epoch };
            self.adopt(now, View { epoch, coordinator: self.me.id, seats: vec![self.me.clone()] }, now);
        }
    }

    /// Nobody of that view lives: the Lease has not changed for long, or all of them were earlier lives of this node.
    fn is_abandoned(&self, now: T, view: &View) -> bool {
        let mine = view.seats.iter().all(|seat| seat.node == self.me.node);
        mine || self.lease.unchanged(now) >= self.settings.timings.abandoned
    }

    /// A report at once on a round is the sooner an answer; not more often than rounds come.
    pub(super) fn answer_round(&mut self, now: T) {
        let pause = self.settings.timings.interval / 2;
        let Role::Outsider(outsider) = &self.role else { return };
        if self.ready && self.leaving.is_none() && now.since(outsider.reported) >= pause {
            self.report(now);
        }
    }

    /// Whether there is somebody that is a member of some view, and hears this one: what is only heard may be a record.
    fn hears_member(&self, now: T) -> bool {
        let join = self.settings.timings.join;
        let is_member = |id: MemberId| self.hearing.peer(id).is_some_and(|peer| peer.epoch.view > 0);
        self.hearing.peers().any(|(id, _)| is_member(id) && self.hearing.answers(now, id, join))
    }
}
