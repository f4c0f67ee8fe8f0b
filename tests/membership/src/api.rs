//! The API server: one Lease, compare-and-swap, calls that take their time, a watch.

use std::collections::VecDeque;

use foghorn_membership::{Answer, Change, Content, Epoch, MemberId, Precondition, Record, View, Write};

use crate::moment::Moment;

/// States of the Lease that a watch may still show.
const REMEMBERED: usize = 4;
/// A watch that works lags by fewer milliseconds.
const LONGEST_LAG: u64 = 1000;
/// On the API server's clock, at the start of a world.
const START_SECONDS: i64 = 1_767_225_600;

/// What a member asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ask {
    Read,
    Write(Write),
}

/// A call on its way. It takes place, and is answered later, each if it ever is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    pub(crate) from: MemberId,
    pub(crate) number: u64,
    pub(crate) ask: Ask,
    pub(crate) lands: Moment,
    pub(crate) answers: Moment,
    pub(crate) outcome: Option<Answer>,
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Renewed,
    /// The view before and the view after, if there was and is one.
    Viewed(Box<(Option<Record>, Record)>),
}

/// The API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Api {
    lease: Option<Record>,
    version: u64,
    /// What it said before.
    before: Option<Record>,
    pub(crate) calls: Vec<Call>,
    /// Since when the Lease has been so, the latest last; with their numbers.
    history: VecDeque<(u64, Moment, Option<Record>)>,
    changes: u64,
}

impl Api {
    pub(crate) fn lease(&self) -> Option<&Record> {
        self.lease.as_ref()
    }

    /// How many changes there were, and the latest of them that a watch can show that lags by `lag`.
    pub(crate) fn watched(&self, now: Moment, lag: u64) -> Option<(u64, Option<&Record>)> {
        let seen = self.history.iter().rev().find(|(_, at, _)| at.plus(lag) <= now);
        seen.map(|(number, _, record)| (*number, record.as_ref()))
    }

    /// When something changed that every watch has shown is of no account any more.
    pub(crate) fn forget(&mut self, now: Moment) {
        for (_, at, _) in &mut self.history {
            if at.plus(LONGEST_LAG) <= now {
                *at = Moment(0);
            }
        }
    }

    /// What the Lease was before the latest change.
    pub(crate) fn outdated(&self) -> Option<Option<Record>> {
        self.history.iter().rev().nth(1).map(|(_, _, record)| record.clone())
    }

    /// Carries a call out.
    pub(crate) fn carry_out(&mut self, ask: &Ask, now: Moment) -> (Answer, Option<Done>) {
        let Ask::Write(write) = ask else { return (Answer::Found(self.lease.clone()), None) };
        let met = match &write.precondition {
            Precondition::Absent => self.lease.is_none(),
            Precondition::Version(version) => {
                self.lease.as_ref().is_some_and(|lease| lease.version == *version)
            }
        };
        if !met {
            return (Answer::Conflict, None);
        }
        let known = self.lease.as_ref().map(|lease| lease.epoch.created);
        let created = match known {
            Some(created) if write.created <= created => created,
            Some(_) | None => seconds(now).max(write.created),
        };
        let epoch = Epoch { created, view: write.transitions, quorum: 0 };
        let content = match &write.change {
            Some(Change::View { coordinator, seats }) => {
                Content::View(View { epoch, coordinator: *coordinator, seats: seats.clone() })
            }
            Some(Change::Release) => Content::Released,
            None => self.lease.as_ref().map_or(Content::Unreadable, |lease| lease.content.clone()),
        };
        let before = self.lease.clone();
        let record = self.put(epoch, content, now);
        let done = match write.change {
            Some(_) => Done::Viewed(Box::new((before, record.clone()))),
            None => Done::Renewed,
        };
        (Answer::Written(record), Some(done))
    }

    /// Somebody deletes the Lease.
    pub(crate) fn delete(&mut self, now: Moment) {
        self.before = self.lease.take();
        self.remember(now);
    }

    /// Somebody makes the Lease unreadable.
    pub(crate) fn scribble(&mut self, now: Moment) {
        if let Some(lease) = self.lease.clone() {
            self.put(lease.epoch, Content::Unreadable, now);
        }
    }

    /// Somebody makes the Lease what it was one view before.
    pub(crate) fn restore(&mut self, now: Moment) {
        let (Some(before), Some(lease)) = (self.before.clone(), self.lease.as_ref()) else { return };
        let epoch = Epoch { created: lease.epoch.created, ..before.epoch };
        self.put(epoch, in_epoch(before.content, epoch), now);
    }

    /// Somebody puts a Lease back that was made before this one.
    pub(crate) fn put_back(&mut self, now: Moment) {
        let Some(known) = self.before.clone().or_else(|| self.lease.clone()) else { return };
        // Another one each time: views of one epoch are the same.
        let change = i64::try_from(self.changes).unwrap_or_default();
        let epoch = Epoch { created: START_SECONDS - 1_000_000 + change, view: 3, quorum: 0 };
        self.put(epoch, in_epoch(known.content, epoch), now);
    }

    fn put(&mut self, epoch: Epoch, content: Content, now: Moment) -> Record {
        self.version += 1;
        let record = Record { version: self.version.to_string(), epoch, content };
        let old = self.lease.replace(record.clone());
        if let Some(old) = old.filter(|old| old.content != record.content) {
            self.before = Some(old);
        }
        self.remember(now);
        record
    }

    fn remember(&mut self, now: Moment) {
        self.changes += 1;
        self.history.push_back((self.changes, now, self.lease.clone()));
        if self.history.len() > REMEMBERED {
            self.history.pop_front();
        }
    }
}

fn in_epoch(content: Content, epoch: Epoch) -> Content {
    match content {
        Content::View(view) => Content::View(View { epoch, ..view }),
        content @ (Content::Released | Content::Unreadable) => content,
    }
}

fn seconds(now: Moment) -> i64 {
    START_SECONDS + i64::try_from(now.after(Moment::START) / 1000).unwrap_or_default()
}
