//! Finding the hardware address of a host on the link, asked on behalf of a claim's address.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};

use foghorn_clock::Instant;

use crate::Mac;

const ATTEMPTS: u8 = 3;
const INTERVAL: Duration = Duration::from_secs(1);
/// Long enough for an exchange of messages, short enough for a host that was replaced.
const FRESH: Duration = Duration::from_secs(30);

/// Questions in flight and answers not older than [`FRESH`].
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    asked: BTreeMap<Ipv4Addr, Question>,
    due: BTreeSet<(Instant, Ipv4Addr)>,
    answers: BTreeMap<Ipv4Addr, (Mac, Instant)>,
}

#[derive(Debug)]
struct Question {
    senders: BTreeSet<Ipv4Addr>,
    sent: u8,
    due: Instant,
}

/// What a question in flight comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Ask { sender: Ipv4Addr, target: Ipv4Addr },
    GiveUp { target: Ipv4Addr },
}

impl Resolver {
    /// The answer if a fresh one is known; otherwise the question is put, or joined to the one in flight.
    pub(crate) fn ask(&mut self, now: Instant, sender: Ipv4Addr, target: Ipv4Addr) -> Option<Mac> {
        self.answers.retain(|_, (_, at)| now - *at < FRESH);
        if let Some((mac, _)) = self.answers.get(&target) {
            return Some(*mac);
        }
        let question = self.asked.entry(target).or_insert_with(|| {
            self.due.insert((now, target));
            Question { senders: BTreeSet::new(), sent: 0, due: now }
        });
        question.senders.insert(sender);
        None
    }

    /// Hears that `mac` has `target`; true if that was asked. What was not asked is not believed.
    pub(crate) fn answer(&mut self, now: Instant, target: Ipv4Addr, mac: Mac) -> bool {
        let Some(question) = self.asked.remove(&target) else {
            return false;
        };
        self.due.remove(&(question.due, target));
        self.answers.insert(target, (mac, now));
        true
    }

    /// The next step that is due.
    pub(crate) fn step(&mut self, now: Instant) -> Option<Step> {
        let (at, target) = self.due.first().copied().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, target));
        let question = self.asked.get_mut(&target)?;
        let sender = question.senders.first().copied().filter(|_| question.sent < ATTEMPTS);
        let Some(sender) = sender else {
            self.asked.remove(&target);
            return Some(Step::GiveUp { target });
        };
        question.sent += 1;
        question.due = now + INTERVAL;
        self.due.insert((question.due, target));
        Some(Step::Ask { sender, target })
    }

    /// Asks nothing more in the name of `sender`; gives the targets that nobody asks for any longer.
    pub(crate) fn forget(&mut self, sender: Ipv4Addr) -> Vec<Ipv4Addr> {
        let mut orphans = Vec::new();
        self.asked.retain(|target, question| {
            question.senders.remove(&sender);
            if question.senders.is_empty() {
                self.due.remove(&(question.due, *target));
                orphans.push(*target);
            }
            !question.senders.is_empty()
        });
        orphans
    }

    /// Asks nothing more; gives the targets that were asked for.
    pub(crate) fn forget_all(&mut self) -> Vec<Ipv4Addr> {
        self.due.clear();
        std::mem::take(&mut self.asked).into_keys().collect()
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_questions_a_second_apart_and_then_it_gives_up() {
        let mut resolver = Resolver::default();
        assert_eq!(resolver.ask(NOW, CLAIM, SERVER), None);
        let mut now = NOW;
        for _ in 0..3 {
            assert_eq!(resolver.next(), Some(now));
            assert_eq!(resolver.step(now), Some(Step::Ask { sender: CLAIM, target: SERVER }));
            assert_eq!(resolver.step(now), None);
            now += INTERVAL;
        }
        assert_eq!(resolver.step(now), Some(Step::GiveUp { target: SERVER }));
        assert_eq!(resolver.next(), None);
    }

    #[test]
    fn an_answer_is_kept_for_thirty_seconds() {
        let mut resolver = Resolver::default();
        resolver.ask(NOW, CLAIM, SERVER);
        assert!(resolver.answer(NOW, SERVER, MAC));
        assert_eq!(resolver.next(), None);
        assert_eq!(resolver.ask(NOW + Duration::from_secs(29), OTHER, SERVER), Some(MAC));
        assert_eq!(resolver.ask(NOW + Duration::from_secs(30), OTHER, SERVER), None);
    }

    #[test]
    fn what_was_not_asked_is_not_believed() {
        let mut resolver = Resolver::default();
        assert!(!resolver.answer(NOW, SERVER, MAC));
        assert_eq!(resolver.ask(NOW, CLAIM, SERVER), None);
    }

    #[test]
    fn a_question_of_two_claims_goes_on_in_the_name_of_the_one_that_is_left() {
        let mut resolver = Resolver::default();
        resolver.ask(NOW, CLAIM, SERVER);
        resolver.ask(NOW, OTHER, SERVER);
        assert!(resolver.forget(CLAIM).is_empty());
        assert_eq!(resolver.step(NOW), Some(Step::Ask { sender: OTHER, target: SERVER }));
        assert_eq!(resolver.forget(OTHER), [SERVER]);
        assert_eq!(resolver.next(), None);
    }

    const CLAIM: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
    const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 8);
    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const MAC: Mac = [2, 0, 0, 0, 0, 1];
    const NOW: Instant = Instant::from_boot(Duration::from_secs(100));
}
