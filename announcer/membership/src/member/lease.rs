//! The API server's part: at most one call is under way, and each write names the state that it is built on.

use std::time::Duration;

use crate::{Answer, Change, Content, Epoch, Output, Precondition, Record, Time, Write};

/// An answer that takes longer is no longer waited for.
const ANSWER: Duration = Duration::from_secs(5);
/// Between a call that failed and the next one.
const RETRY: Duration = Duration::from_millis(300);

/// What this member knows of the Lease, and the call that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lease<T> {
    calls: u64,
    call: Option<Call<T>>,
    /// As it was last seen; none if it never was, `Some(None)` if there is none.
    seen: Option<Option<Record>>,
    /// When it first looked as it does.
    since: T,
    /// When the last call was sent that was answered.
    answered: Option<T>,
    /// What was seen may be outdated: read before the next write.
    reread: bool,
    failed: bool,
    /// How long the last answer took.
    took: Duration,
    not_before: T,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Call<T> {
    number: u64,
    sent: T,
    purpose: Purpose,
}

/// What a call is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    Read,
    Renew,
    Change(Change),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended<T> {
    /// The Lease looks like this; read at the call that was sent at that time.
    Found(Option<Record>, T),
    /// Our write took place. The call was sent at that time.
    Written(Record, Purpose, T),
    /// It did not, or is not known to have taken place.
    Undone,
    /// It was not the call that is waited for.
    Foreign,
}

impl<T: Time> Lease<T> {
    pub(super) fn new(now: T) -> Self {
        Self {
            calls: 0,
            call: None,
            seen: None,
            since: now,
            answered: None,
            reread: true,
            failed: false,
            took: Duration::ZERO,
            not_before: T::ZERO,
        }
    }

    /// Whether the API server is known to answer within `patience`.
    pub(super) fn usable(&self, now: T, patience: Duration) -> bool {
        self.answered.is_some() && !self.failing(now, patience)
    }

    /// Whether it is known not to: the last call failed or took longer, or one is waited for longer.
    pub(super) fn failing(&self, now: T, patience: Duration) -> bool {
        let waits = self.call.as_ref().is_some_and(|call| now.since(call.sent) > patience);
        self.failed || self.took > patience || waits
    }

    /// Whether a call may be sent now.
    pub(super) fn idle(&self, now: T) -> bool {
        self.call.is_none() && self.not_before <= now
    }

    /// Whether what was seen of the Lease is fit to build a write on.
    pub(super) fn is_known(&self) -> bool {
        self.seen.is_some() && !self.reread
    }

    pub(super) fn record(&self) -> Option<&Record> {
        self.seen.as_ref()?.as_ref()
    }

    /// It is known that there is no Lease.
    pub(super) fn is_absent(&self) -> bool {
        self.seen == Some(None)
    }

    /// For how long the Lease has looked as it does.
    pub(super) fn unchanged(&self, now: T) -> Duration {
        now.since(self.since)
    }

    /// When the last call was sent that was answered.
    pub(super) fn answered(&self) -> Option<T> {
        self.answered
    }

    /// A watch shows this. It may be late: what is older than what is known says nothing.
    pub(super) fn observe(&mut self, now: T, record: Option<Record>) {
        match (&record, self.record()) {
            (Some(new), Some(known)) if new.epoch < known.epoch => self.reread = true,
            // Only an answer of the API server itself says that there is none.
            (None, Some(_)) => self.reread = true,
            _ => self.see(now, record),
        }
    }

    /// The Lease is known to say more by now: read before the next write.
    pub(super) fn is_behind(&mut self) {
        self.reread = true;
    }

    pub(super) fn read(&mut self, now: T) -> Output<T> {
        Output::Read { call: self.start(now, Purpose::Read) }
    }

    pub(super) fn renew(&mut self, now: T) -> Option<Output<T>> {
        let record = self.record()?.clone();
        let write = Write {
            precondition: Precondition::Version(record.version),
            created: record.epoch.created,
            transitions: record.epoch.view,
            change: None,
        };
        Some(Output::Write { call: self.start(now, Purpose::Renew), write })
    }

    /// Writes a change as the view after all that is known.
    pub(super) fn change(&mut self, now: T, change: Change, highest: Epoch) -> Output<T> {
        let record = self.record();
        let precondition =
            record.map_or(Precondition::Absent, |record| Precondition::Version(record.version.clone()));
        let epoch = record.map_or_else(Epoch::default, |record| record.epoch);
        let Epoch { created, view: transitions, .. } =
            if epoch < highest.base() { highest.next_made_later() } else { epoch.next_in_lease() };
        let write = Write { precondition, created, transitions, change: Some(change.clone()) };
        Output::Write { call: self.start(now, Purpose::Change(change)), write }
    }

    pub(super) fn answer(&mut self, now: T, call: u64, answer: Answer) -> Ended<T> {
        let Some(call) = self.call.take_if(|under_way| under_way.number == call) else {
            return Ended::Foreign;
        };
        match (call.purpose, answer) {
            (Purpose::Read, Answer::Found(record)) => {
                self.succeed(now, call.sent, record.clone());
                Ended::Found(record, call.sent)
            }
            (purpose @ (Purpose::Renew | Purpose::Change(_)), Answer::Written(record)) => {
                self.succeed(now, call.sent, Some(record.clone()));
                Ended::Written(record, purpose, call.sent)
            }
            (Purpose::Renew | Purpose::Change(_), Answer::Conflict) => {
                self.reread = true;
                self.note_answer(now, call.sent);
                Ended::Undone
            }
            (_, Answer::Found(_) | Answer::Written(_) | Answer::Conflict | Answer::Failed) => {
                self.fail(now);
                Ended::Undone
            }
        }
    }

    /// Gives up a call that is not answered.
    pub(super) fn expire(&mut self, now: T) {
        if self.call.take_if(|call| now.since(call.sent) >= ANSWER).is_some() {
            self.fail(now);
        }
    }

    fn succeed(&mut self, now: T, sent: T, record: Option<Record>) {
        self.note_answer(now, sent);
        self.reread = false;
        self.see(now, record);
    }

    fn note_answer(&mut self, now: T, sent: T) {
        self.answered = Some(sent);
        self.took = now.since(sent);
        self.failed = false;
    }

    fn fail(&mut self, now: T) {
        self.failed = true;
        self.reread = true;
        self.not_before = now + RETRY;
    }

    fn see(&mut self, now: T, record: Option<Record>) {
        if self.seen.as_ref() != Some(&record) {
            self.since = now;
            self.seen = Some(record);
        }
    }

    fn start(&mut self, now: T, purpose: Purpose) -> u64 {
        self.calls += 1;
        self.call = Some(Call { number: self.calls, sent: now, purpose });
        self.calls
    }
}

/// Whether nobody takes part according to the Lease.
pub(super) fn is_free(record: Option<&Record>) -> bool {
    record.is_none_or(|record| record.content == Content::Released)
}
