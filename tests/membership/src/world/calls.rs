//! The members' calls to the API server, and when they are answered.

use foghorn_membership::{Answer, Input, MemberId};

use super::{Surroundings, World};
use crate::{
    api::{Ask, Call, Done},
    fault::Away,
    moment::{Moment, Reading},
    node::node_of,
};

/// A member's client gives up after so many milliseconds.
const GIVEN_UP: u64 = 2000;

impl<T: Reading> World<T> {
    pub(super) fn ask(
        &mut self,
        index: usize,
        from: MemberId,
        number: u64,
        ask: Ask,
        around: &mut impl Surroundings,
    ) {
        let (lands, answers) = around.call(self.now < self.slow);
        let lands = self.now.plus(lands);
        let (lands, answers, outcome) = match self.nodes.get(index).map(|node| node.no_api) {
            Some((Away::Refuses, until)) if self.now < until => (Moment::NEVER, lands, Some(Answer::Failed)),
            Some((Away::Silent, until)) if self.now < until => {
                (Moment::NEVER, self.now.plus(GIVEN_UP), Some(Answer::Failed))
            }
            _ => (lands, lands.plus(answers), None),
        };
        self.api.calls.push(Call { from, number, ask, lands, answers, outcome });
    }

    /// Lets the calls take place, and gives the answers, for which it is time.
    pub(super) fn carry_out_calls(&mut self, around: &mut impl Surroundings) {
        let now = self.now;
        let mut calls = std::mem::take(&mut self.api.calls);
        for call in calls.iter_mut().filter(|call| call.lands <= now && call.outcome.is_none()) {
            let (answer, done) = self.api.carry_out(&call.ask, now);
            call.outcome = Some(answer);
            if let Some(Done::Viewed(records)) = &done {
                around.view_written();
                let alone = self.lease_is_members;
                self.witness.written(now, records.0.as_ref(), &records.1, alone);
            }
            if let Some(node) = self.nodes.get_mut(node_of(call.from))
                && node.lost_answers > 0
                && done.is_some()
            {
                node.lost_answers -= 1;
                node.served_since = now.plus(GIVEN_UP);
                call.answers = now.plus(GIVEN_UP);
                call.outcome = Some(Answer::Failed);
            }
        }
        calls.retain(|call| {
            let answered = call.outcome.as_ref().filter(|_| call.answers <= now);
            answered.is_none_or(|answer| !self.answer(call, answer.clone()))
        });
        self.api.calls = calls;
    }

    /// Gives the answer of a call to its process; false if it cannot be given yet.
    fn answer(&mut self, call: &Call, answer: Answer) -> bool {
        let Some(node) = self.nodes.get_mut(node_of(call.from)) else { return true };
        let (silent, until) = node.no_api;
        let answer = match silent {
            // An answer that was under way when the API server went away is lost.
            _ if self.now >= until => answer,
            Away::Refuses => Answer::Failed,
            Away::Silent if self.now < call.answers.plus(GIVEN_UP) && answer != Answer::Failed => {
                return false;
            }
            Away::Silent => Answer::Failed,
        };
        if let Some(process) = node.process.as_mut().filter(|process| process.member.seat().id == call.from) {
            process.inbox.push_back(Input::Answered { call: call.number, answer });
        }
        true
    }
}
