//! The state machine of one member.

use std::{collections::VecDeque, time::Duration};

use foghorn_clock::Instant;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{Answer, Epoch, Identity, Input, LostReason, Output, Precondition, Record, Timings, Write};

/// The longest random wait before a Lease without a living holder is written.
const HERD: Duration = Duration::from_millis(50);

/// A time this member holds the Lease, from the answer to its acquiring write on.
#[derive(Clone, Copy, Debug)]
struct Tenure {
    epoch: Epoch,
    permit: Instant,
    renew_at: Instant,
}

/// What this member last saw of the Lease.
#[derive(Clone, Debug)]
struct Seen {
    record: Option<Record>,
    /// When it first saw exactly this.
    since: Instant,
    /// When the last read was sent that found exactly this.
    confirmed: Instant,
    /// Its wait before it takes a Lease in this state: random, so that not all members write at once.
    delay: Duration,
}

#[derive(Clone, Debug)]
struct Call {
    number: u64,
    sent: Instant,
    purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Read,
    Acquire,
    Renew,
    Release,
}

/// What is to be done next, if no call is under way.
#[derive(Clone, Copy, Debug)]
struct Next {
    at: Instant,
    step: Step,
    why: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Nothing,
    Call(Purpose),
    Leave,
}

/// One member's part in the election of the holder of one Lease.
///
/// At most one API call is under way, and none is waited for longer than [`Timings::call_timeout`]. Each change of the
/// Lease is conditional on the state that was seen, so a process that was stopped in between cannot undo what others
/// did. After a renewal that came too late this member is a follower and reads before it writes again; the tenure that
/// may follow has an epoch of its own, even if nobody else held the Lease in the meantime.
///
/// Somebody with write access to the Lease who does not take part is obeyed: a foreign holder is waited for, a foreign
/// number of transitions is built upon, and after a deletion those who knew the Lease wait until any permit has passed.
/// A Lease whose holder is erased, or that is deleted while another member starts or is about to create it, is as good
/// as released: then two may hold until the first one hears of it, or its permit passes. If the number of transitions
/// was set to its maximum, the epoch stays until the Lease is deleted.
#[derive(Debug)]
pub struct Election {
    identity: String,
    timings: Timings,
    rng: StdRng,
    eligible: bool,
    /// When to give up giving up.
    leaving: Option<Instant>,
    left: bool,
    seen: Option<Seen>,
    /// What was seen may be outdated: read before the next write.
    reread: bool,
    /// A write of ours may have made us the holder.
    perhaps_holder: bool,
    tenure: Option<Tenure>,
    call: Option<Call>,
    calls: u64,
    /// No call before this, after one that failed.
    not_before: Instant,
    highest: Epoch,
    /// There was a Lease outside of our tenure, so another may hold without knowing that it is gone.
    others_possible: bool,
    outputs: VecDeque<Output>,
}

impl Election {
    /// A member that is not eligible yet. `seed` spreads the members' attempts over time.
    #[must_use]
    pub fn new(identity: &Identity, timings: Timings, seed: u64) -> Self {
        Self {
            identity: identity.to_string(),
            timings,
            rng: StdRng::seed_from_u64(seed),
            eligible: false,
            leaving: None,
            left: false,
            seen: None,
            reread: true,
            perhaps_holder: false,
            tenure: None,
            call: None,
            calls: 0,
            not_before: Instant::ZERO,
            highest: Epoch::default(),
            others_possible: false,
            outputs: VecDeque::new(),
        }
    }

    /// Until when this member may act; past (`Instant::ZERO`) if it may not. To be compared with a fresh clock before
    /// each act: no event has to arrive for it to pass.
    #[must_use]
    pub fn permit(&self) -> Instant {
        self.tenure.map_or(Instant::ZERO, |tenure| tenure.permit)
    }

    /// Whether this member may act at `now`.
    #[must_use]
    pub fn holds(&self, now: Instant) -> bool {
        now < self.permit()
    }

    /// Of the present tenure, or the greatest ever seen.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.tenure.map_or(self.highest, |tenure| tenure.epoch)
    }

    /// `spec.holderIdentity` as last seen, for logs; `None` if the Lease is free, absent or was never seen.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        let holder = self.seen.as_ref()?.record.as_ref()?.holder.as_str();
        (!holder.is_empty()).then_some(holder)
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Election::handle_timeout`] is to be called, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        if self.left {
            return None;
        }
        let (at, why) = match &self.call {
            Some(call) => (call.sent + self.timings.call_timeout(), "the API call times out"),
            None => {
                let next = self.next();
                (next.at, next.why)
            }
        };
        let permit = self.tenure.map_or(Instant::NEVER, |tenure| tenure.permit);
        let due = if permit <= at { (permit, "the permit ends") } else { (at, why) };
        (due.0 < Instant::NEVER).then_some(due)
    }

    /// To be called when the time of [`Election::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire(now);
        self.proceed(now);
    }

    /// Tells the member what happened. The outputs are to be drained afterwards.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.expire(now);
        match input {
            Input::Eligible(eligible) => {
                self.eligible = eligible;
                if !eligible {
                    self.lose(LostReason::NotEligible);
                }
            }
            Input::Observed(record) => self.observed(now, record),
            Input::Answered { call, answer } => {
                if let Some(call) = self.call.take_if(|under_way| under_way.number == call) {
                    self.answered(now, &call, answer);
                }
            }
            Input::Leave => {
                self.leaving.get_or_insert(now + self.timings.renew_deadline());
                self.lose(LostReason::Left);
            }
        }
        self.proceed(now);
    }

    /// Ends what has run out by `now`: nothing that arrives later may still count.
    fn expire(&mut self, now: Instant) {
        if self.tenure.is_some_and(|tenure| tenure.permit <= now) {
            self.lose(LostReason::Expired);
            self.reread = true;
        }
        let timeout = self.timings.call_timeout();
        if let Some(call) = self.call.take_if(|call| call.sent + timeout <= now) {
            self.failed(now, &call);
        }
    }

    fn lose(&mut self, reason: LostReason) {
        if let Some(tenure) = self.tenure.take() {
            self.others_possible = reason != LostReason::Deleted;
            self.outputs.push_back(Output::Lost { epoch: tenure.epoch, reason });
        }
    }

    fn observed(&mut self, now: Instant, record: Option<Record>) {
        match self.tenure {
            None => {
                self.perhaps_holder |= self.is_ours(record.as_ref());
                self.see(now, record);
            }
            // Late news, or we are deposed: the API server itself knows.
            Some(tenure) => {
                let unchanged = record.as_ref().is_some_and(|record| record.epoch == tenure.epoch);
                self.reread |= !(unchanged && self.is_ours(record.as_ref()));
            }
        }
    }

    fn answered(&mut self, now: Instant, call: &Call, answer: Answer) {
        match (call.purpose, answer) {
            (Purpose::Read, Answer::Found(record)) => {
                self.reread = false;
                self.judge(record.as_ref());
                self.note(now, record);
                if let Some(seen) = &mut self.seen {
                    seen.confirmed = call.sent;
                }
            }
            (Purpose::Acquire | Purpose::Renew, Answer::Written(record))
                if record.holder == self.identity =>
            {
                self.confirmed(now, call, record);
            }
            (Purpose::Release, Answer::Written(record)) if record.holder.is_empty() => {
                self.note(now, Some(record));
            }
            (Purpose::Acquire | Purpose::Renew | Purpose::Release, Answer::Conflict) => self.reread = true,
            (_, Answer::Found(_) | Answer::Written(_) | Answer::Conflict | Answer::Failed) => {
                self.failed(now, call);
            }
        }
    }

    /// Our write took place: nobody changed the Lease since the state it was built on.
    fn confirmed(&mut self, now: Instant, call: &Call, record: Record) {
        let epoch = record.epoch;
        self.note(now, Some(record));
        let continues = match call.purpose {
            Purpose::Acquire => self.wanted(),
            Purpose::Renew => self.tenure.is_some_and(|tenure| tenure.epoch == epoch),
            Purpose::Read | Purpose::Release => false,
        };
        let permit = call.sent + self.timings.renew_deadline();
        if continues && now < permit {
            let retry = self.timings.retry();
            let renew_at = call.sent + retry + self.jitter(retry / 10);
            self.tenure = Some(Tenure { epoch, permit, renew_at });
            self.others_possible = false;
            self.outputs.push_back(Output::Holding { epoch, permit });
        }
    }

    /// Ends a tenure that the API server does not bear out.
    fn judge(&mut self, record: Option<&Record>) {
        let Some(tenure) = self.tenure else { return };
        match record {
            None => self.lose(LostReason::Deleted),
            Some(record) if record.holder != self.identity => {
                self.lose(LostReason::Replaced { by: record.holder.clone() });
            }
            Some(record) if record.epoch != tenure.epoch => self.lose(LostReason::Tampered),
            Some(_) => {}
        }
    }

    /// The API server itself showed this.
    fn note(&mut self, now: Instant, record: Option<Record>) {
        self.perhaps_holder = self.is_ours(record.as_ref());
        self.see(now, record);
    }

    fn see(&mut self, now: Instant, record: Option<Record>) {
        if let Some(record) = &record {
            self.highest = self.highest.max(record.epoch);
            self.others_possible |= self.tenure.is_none();
        }
        if self.seen.as_ref().is_none_or(|seen| seen.record != record) {
            // A holder whose Lease was deleted does not know it at once.
            let wait = if record.is_none() && self.others_possible {
                self.timings.duration()
            } else {
                Duration::ZERO
            };
            let delay = wait + self.jitter(HERD);
            self.seen = Some(Seen { record, since: now, confirmed: Instant::ZERO, delay });
        }
    }

    fn failed(&mut self, now: Instant, call: &Call) {
        self.reread = true;
        let retry = self.timings.retry();
        self.not_before = now.max(call.sent + retry + self.jitter(retry / 10));
    }

    fn proceed(&mut self, now: Instant) {
        if self.left || self.call.is_some() {
            return;
        }
        let next = self.next();
        if now < next.at {
            return;
        }
        match next.step {
            Step::Nothing => {}
            Step::Leave => {
                self.left = true;
                self.outputs.push_back(Output::Left);
            }
            Step::Call(purpose) => self.start(now, purpose),
        }
    }

    fn start(&mut self, now: Instant, purpose: Purpose) {
        self.calls += 1;
        let call = self.calls;
        self.call = Some(Call { number: call, sent: now, purpose });
        let output = match purpose {
            Purpose::Read => Output::Read { call },
            Purpose::Acquire | Purpose::Renew | Purpose::Release => {
                self.perhaps_holder = true;
                Output::Write { call, write: self.write(purpose) }
            }
        };
        self.outputs.push_back(output);
    }

    fn write(&self, purpose: Purpose) -> Write {
        let record = self.seen.as_ref().and_then(|seen| seen.record.as_ref());
        let acquires = purpose == Purpose::Acquire;
        let released = purpose == Purpose::Release;
        Write {
            precondition: record
                .map_or(Precondition::Absent, |record| Precondition::Version(record.version.clone())),
            holder: if released { String::new() } else { self.identity.clone() },
            transitions: if acquires {
                self.next_transitions(record)
            } else {
                record.map_or(0, |record| record.epoch.transitions)
            },
            duration: self.timings.duration(),
            acquires,
        }
    }

    /// One more than ever seen. Of a Lease that is made again the creation time is new, so it may begin anywhere.
    fn next_transitions(&self, record: Option<&Record>) -> u32 {
        const MAX: u32 = i32::MAX.unsigned_abs();
        let highest = self.highest.transitions;
        match record {
            None if highest >= MAX => 0,
            Some(record) if record.epoch.created != self.highest.created => {
                record.epoch.transitions.saturating_add(1)
            }
            None | Some(_) => highest.saturating_add(1),
        }
        .min(MAX)
    }

    fn next(&self) -> Next {
        if self.wanted() { self.next_of_candidate() } else { self.next_of_abstainer() }
    }

    fn next_of_candidate(&self) -> Next {
        let call =
            |at: Instant, purpose, why| Next { at: at.max(self.not_before), step: Step::Call(purpose), why };
        let Some(seen) = self.seen.as_ref().filter(|_| !self.reread) else {
            return call(Instant::ZERO, Purpose::Read, "the state of the lease is unknown");
        };
        let Some(record) = &seen.record else {
            return call(seen.since + seen.delay, Purpose::Acquire, "there is no lease");
        };
        if record.holder.is_empty() {
            return call(seen.since + seen.delay, Purpose::Acquire, "the lease is free");
        }
        if record.holder == self.identity {
            return match self.tenure {
                Some(tenure) => call(tenure.renew_at, Purpose::Renew, "the lease is to be renewed"),
                None => call(Instant::ZERO, Purpose::Acquire, "the lease is ours without a tenure"),
            };
        }
        let expired = seen.since + self.patience(record);
        if seen.confirmed < expired {
            call(expired + seen.delay, Purpose::Read, "the holder may have failed")
        } else {
            call(Instant::ZERO, Purpose::Acquire, "the holder failed")
        }
    }

    fn next_of_abstainer(&self) -> Next {
        let give_up = self.leaving.unwrap_or(Instant::NEVER);
        if !self.perhaps_holder {
            return match self.leaving {
                Some(_) => Next { at: Instant::ZERO, step: Step::Leave, why: "the lease is not ours" },
                None => Next { at: Instant::NEVER, step: Step::Nothing, why: "not eligible" },
            };
        }
        if give_up <= self.not_before {
            return Next { at: give_up, step: Step::Leave, why: "the lease cannot be given up" };
        }
        let ours = self.is_ours(self.seen.as_ref().and_then(|seen| seen.record.as_ref()));
        let purpose = if self.reread || !ours { Purpose::Read } else { Purpose::Release };
        Next { at: self.not_before, step: Step::Call(purpose), why: "the lease is to be given up" }
    }

    fn wanted(&self) -> bool {
        self.eligible && self.leaving.is_none()
    }

    fn is_ours(&self, record: Option<&Record>) -> bool {
        record.is_some_and(|record| record.holder == self.identity)
    }

    /// How long a holder is left alone after its last sign: for as long as it itself or this member thinks right.
    fn patience(&self, record: &Record) -> Duration {
        self.timings.duration().max(record.duration.min(Timings::MAX_DURATION))
    }

    /// Up to `most`, in whole milliseconds.
    fn jitter(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.rng.random_range(0..=most))
    }
}
