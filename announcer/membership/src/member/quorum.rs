//! Views without the API server: a majority of the Lease's view agrees on each (rules 27 to 30).

use std::collections::BTreeSet;

use super::{Member, Members, Role};
use crate::{Body, Epoch, MemberId, Output, Seat, Time, To, View};

/// Planes with so many members go on by majority if they do not say otherwise.
const QUORUM_MEMBERS: usize = 3;

/// A question that was put so often without a majority is put again in a new epoch: some have voted for another.
const TIMES: u32 = 3;

/// This member's vote, and the question that it has put itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ballot<T> {
    /// The greatest epoch that it has voted for. It lives no longer than the incarnation, which has the vote.
    voted: Epoch,
    /// Whom it has voted for in that epoch.
    choice: Option<MemberId>,
    question: Option<Question<T>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question<T> {
    view: View,
    votes: Members,
    asked: T,
    times: u32,
}

impl<T> Default for Ballot<T> {
    fn default() -> Self {
        Self { voted: Epoch::default(), choice: None, question: None }
    }
}

impl<T> Ballot<T> {
    /// Another view is in force.
    pub(super) fn close(&mut self) {
        self.question = None;
    }
}

impl<T: Time> Member<T> {
    /// Asks for a view of these members, itself the coordinator. No new node is let in (rule 29).
    pub(super) fn propose(&mut self, now: T, seats: Vec<Seat>) {
        let Some(base) = self.base.clone().filter(|base| base.has(self.me.id)) else { return };
        let members = self.view.as_ref().map_or(&[][..], |view| &view.seats);
        let stays = |seat: &Seat| base.has(seat.id) && members.contains(seat);
        let seats: Vec<Seat> =
            seats.into_iter().filter(|seat| stays(seat) || is_later_life(&base, seat)).collect();
        let wanted = self.settings.quorum.unwrap_or(base.seats.len() >= QUORUM_MEMBERS);
        if !wanted && replaced(&base, &seats) == 0 {
            return;
        }
        if seats.is_empty() || (seats == members && self.is_coordinator()) {
            return;
        }
        let interval = self.settings.timings.interval;
        if let Some(question) = &self.ballot.question
            && question.view.seats == seats
            && (question.times < TIMES || now.since(question.asked) < interval)
        {
            if now.since(question.asked) >= interval {
                self.ask(now);
            }
            return;
        }
        let above = self.highest.max(self.ballot.voted).max(base.epoch);
        if (above.created, above.view) != (base.epoch.created, base.epoch.view) {
            return;
        }
        let epoch = Epoch { quorum: above.quorum.saturating_add(1), ..base.epoch };
        let view = View { epoch, coordinator: self.me.id, seats };
        let votes = BTreeSet::from([self.me.id]);
        self.ballot = Ballot {
            voted: epoch,
            choice: Some(self.me.id),
            question: Some(Question { view, votes, asked: now, times: 0 }),
        };
        self.ask(now);
        self.count(now);
    }

    fn ask(&mut self, now: T) {
        let Some(question) = &mut self.ballot.question else { return };
        question.asked = now;
        question.times += 1;
        let view = question.view.clone();
        self.broadcast(now, Body::VoteRequest(view));
    }

    /// Rule 28.
    pub(super) fn hear_vote_request(&mut self, now: T, from: MemberId, view: &View) {
        let (Some(base), Some(known)) = (&self.base, &self.view) else { return };
        let on_base = Epoch { quorum: 0, ..view.epoch } == base.epoch && view.epoch.quorum > 0;
        let valid = on_base
            && view.coordinator == from
            && view.has(from)
            && base.has(self.me.id)
            && view.seats.iter().all(|seat| base.has(seat.id) || is_later_life(base, seat))
            && view.epoch > known.epoch;
        if !valid {
            return;
        }
        if self.ballot.voted == view.epoch && self.ballot.choice == Some(from) {
            self.vote(now, from, view.epoch);
            return;
        }
        let dead = self.settings.timings.coordinator_dead;
        let leaderless = match &self.role {
            Role::Follower(follower) => known.coordinator == from || now.since(follower.alive()) >= dead,
            Role::Outsider(_) | Role::Coordinator(_) => false,
        };
        let voted = view.epoch <= self.ballot.voted;
        #[cfg(feature = "planted-bugs")]
        let voted = voted && !self.bugs.contains(&crate::Bug::DoubleVote);
        if !leaderless || voted {
            return;
        }
        if self.api_usable(now) {
            // Whether that is still so is asked at once; the question comes again.
            self.check_api(now);
            return;
        }
        self.ballot = Ballot { voted: view.epoch, choice: Some(from), question: None };
        self.vote(now, from, view.epoch);
    }

    /// Reads the Lease, if it was not read lately.
    pub(super) fn check_api(&mut self, now: T) {
        let patience = self.settings.timings.api_failing;
        if self.lease.idle(now) && self.lease.answered().is_none_or(|answered| now.since(answered) > patience)
        {
            let output = self.lease.read(now);
            self.outputs.push_back(output);
        }
    }

    fn vote(&mut self, now: T, to: MemberId, epoch: Epoch) {
        let message = self.message(now, Body::Vote(epoch, to));
        self.outputs.push_back(Output::Send { to: To::Only(vec![to]), message });
    }

    /// A vote that was given to another one, in the same epoch, is none for this one, whoever brings it.
    pub(super) fn hear_vote(&mut self, now: T, from: MemberId, epoch: Epoch, to: MemberId) {
        let Some(base) = &self.base else { return };
        let mine = to == self.me.id;
        #[cfg(feature = "planted-bugs")]
        let mine = mine || self.bugs.contains(&crate::Bug::GhostVotes);
        if !mine || !base.has(from) {
            return;
        }
        if let Some(question) = self.ballot.question.as_mut().filter(|question| question.view.epoch == epoch)
        {
            question.votes.insert(from);
            self.count(now);
        }
    }

    fn count(&mut self, now: T) {
        let (Some(base), Some(question)) = (&self.base, &self.ballot.question) else { return };
        if (question.votes.len() + replaced(base, &question.view.seats)) * 2 > base.seats.len() {
            let view = question.view.clone();
            self.adopt(now, view, now);
        }
    }
}

/// Whether that is another life of a node of the Lease's view. It has no vote: it does not know how the earlier one voted.
fn is_later_life(base: &View, seat: &Seat) -> bool {
    !base.has(seat.id) && base.seats.iter().any(|old| old.node == seat.node)
}

/// Of two members the one that is left need not ask the other one once that is known to be gone, as a later life of its
/// node is there: nobody else could get a vote of it. So many votes less are needed.
fn replaced(base: &View, seats: &[Seat]) -> usize {
    usize::from(base.seats.len() == 2 && seats.iter().any(|seat| is_later_life(base, seat)))
}
