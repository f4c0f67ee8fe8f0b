//! The members, their clocks, the API server and what goes wrong.

use std::time::Duration;

use foghorn_clock::Instant;
use foghorn_election::{
    Answer, Election, Epoch, Identity, Input, Output, Precondition, Record, Timings, Write,
};
use foghorn_simkit::{Journal, Timeline};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// True time in microseconds.
type Micros = u64;

const MILLI: Micros = 1000;
const SECOND: Micros = 1_000_000;
/// While faults happen.
const UNREST: Micros = 40 * SECOND;
/// Three lease durations after that somebody holds.
const QUIET: Micros = UNREST + 15 * SECOND;
const END: Micros = QUIET + 5 * SECOND;

/// A wrong use of the machine, or a world it does not promise to work in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    UntilEvent,
    FromArrival,
    NoPreconditions,
    SlowClock,
}

#[derive(Debug)]
enum Event {
    Timer { member: usize, armed: u64 },
    Apply { member: usize, life: u64, call: u64, op: Op },
    Tell { member: usize, life: u64, news: News },
    Resume { member: usize },
    Restart { member: usize },
    Reconnect { member: usize },
    Qualify { member: usize },
    ApiFast,
    Fault,
}

#[derive(Debug)]
enum Op {
    Read,
    Write { version: Option<u64>, holder: String, transitions: u32 },
}

/// What a member is told, with the state of the Lease by its number in the history.
#[derive(Debug)]
enum News {
    Observed(usize),
    Found(u64, usize),
    Written(u64, usize),
    Conflict(u64),
    Failed(u64),
}

struct Member {
    election: Option<Election>,
    life: u64,
    armed: u64,
    offset: Micros,
    rate: f64,
    paused: bool,
    deferred: Vec<News>,
    cut: bool,
    eligible: bool,
    watch_free: Micros,
    tenure: Option<Epoch>,
    /// Its right to act ends then, in true time.
    until: Micros,
}

pub(crate) struct World {
    rng: StdRng,
    flaw: Option<Flaw>,
    time: Timeline<Micros, Event>,
    journal: Journal,
    members: Vec<Member>,
    /// All states of the Lease; the last is the present one.
    history: Vec<Option<Record>>,
    slow_api: bool,
    no_restart_before: Micros,
    no_deletion_before: Micros,
    last_epoch: Epoch,
    tenures: usize,
    violation: Option<String>,
}

impl World {
    pub(crate) fn new(seed: u64, flaw: Option<Flaw>, journal: Journal) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let members = (0..rng.random_range(2..=4))
            .map(|_| Member {
                election: None,
                life: 0,
                armed: 0,
                offset: rng.random_range(0..1000 * SECOND),
                rate: rng.random_range(0.99..1.01),
                paused: false,
                deferred: Vec::new(),
                cut: false,
                eligible: true,
                watch_free: 0,
                tenure: None,
                until: 0,
            })
            .collect();
        let mut world = Self {
            rng,
            flaw,
            time: Timeline::new(0),
            journal,
            members,
            history: vec![None],
            slow_api: false,
            no_restart_before: 0,
            no_deletion_before: 0,
            last_epoch: Epoch::default(),
            tenures: 0,
            violation: None,
        };
        if flaw == Some(Flaw::SlowClock) {
            world.members[0].rate = 0.5;
        }
        for member in 0..world.members.len() {
            let at = world.rng.random_range(0..SECOND);
            world.time.at(at, Event::Restart { member });
        }
        world.time.at(SECOND, Event::Fault);
        world
    }

    /// The number of tenures there were, or what went wrong.
    pub(crate) fn run(mut self) -> Result<usize, String> {
        while let Some(at) = self.time.next() {
            if at > QUIET && self.time.now() <= QUIET {
                self.check_held("three lease durations after the last fault");
            }
            self.time.pass(at);
            if at > END {
                self.check_held("at the end");
                break;
            }
            if let Some(event) = self.time.due() {
                self.journal.tell(at, format_args!("{event:?}"));
                self.handle(event);
            }
            if let Some(violation) = self.violation.take() {
                return Err(format!("at {:.6} s {violation}", at as f64 / SECOND as f64));
            }
        }
        self.violation.map_or(Ok(self.tenures), Err)
    }

    fn check_held(&mut self, when: &str) {
        if self.members.iter().all(|member| member.until <= self.time.now()) {
            self.violation = Some(format!("nobody holds {when}"));
        }
    }

    fn local(&self, member: usize) -> Instant {
        let (now, member) = (self.time.now(), &self.members[member]);
        Instant::from_boot(Duration::from_micros(member.offset + (now as f64 * member.rate) as u64))
    }

    fn true_time(&self, member: usize, local: Instant) -> Micros {
        let member = &self.members[member];
        let since = local.since_boot().as_micros() as u64;
        (since.saturating_sub(member.offset) as f64 / member.rate).ceil() as u64
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Timer { member, armed } => {
                let this = &self.members[member];
                if this.armed == armed && !this.paused {
                    self.turn(member, None);
                }
            }
            Event::Apply { member, life, call, op } => self.apply(member, life, call, op),
            Event::Tell { member, life, news } => {
                let this = &mut self.members[member];
                if this.life == life {
                    if this.paused {
                        this.deferred.push(news);
                    } else {
                        self.tell(member, news);
                    }
                }
            }
            Event::Resume { member } => self.resume(member),
            Event::Restart { member } => self.restart(member),
            Event::Reconnect { member } => self.members[member].cut = false,
            Event::Qualify { member } => self.qualify(member, true),
            Event::ApiFast => self.slow_api = false,
            Event::Fault => self.fault(),
        }
    }

    fn tell(&mut self, member: usize, news: News) {
        let state = |index: usize| self.history[index].clone();
        let input = match news {
            News::Observed(index) => Input::Observed(state(index)),
            News::Found(call, index) => Input::Answered { call, answer: Answer::Found(state(index)) },
            News::Written(call, index) => {
                let answer = state(index).map_or(Answer::Failed, Answer::Written);
                Input::Answered { call, answer }
            }
            News::Conflict(call) => Input::Answered { call, answer: Answer::Conflict },
            News::Failed(call) => Input::Answered { call, answer: Answer::Failed },
        };
        self.turn(member, Some(input));
    }

    fn turn(&mut self, member: usize, input: Option<Input>) {
        let now = self.local(member);
        let Some(election) = &mut self.members[member].election else { return };
        match input {
            Some(input) => election.handle_input(now, input),
            None => election.handle_timeout(now),
        }
        let mut outputs = Vec::new();
        while let Some(output) = election.poll_output() {
            outputs.push(output);
        }
        let timeout = election.poll_timeout();
        for output in outputs {
            self.carry_out(member, output);
        }
        if let Some((at, _)) = timeout {
            let at = self.true_time(member, at).max(self.time.now());
            let this = &mut self.members[member];
            this.armed += 1;
            let event = Event::Timer { member, armed: this.armed };
            // A turn may come a little late; never early.
            let late = self.rng.random_range(1..5 * MILLI);
            self.time.at(at + late, event);
        }
    }

    fn carry_out(&mut self, member: usize, output: Output) {
        self.journal.tell(self.time.now(), format_args!("{member}: {output:?}"));
        match output {
            Output::Read { call } => self.send(member, call, Op::Read),
            Output::Write { call, write } => self.send(member, call, op(write)),
            Output::Holding { epoch, permit } => self.holding(member, epoch, permit),
            Output::Lost { epoch, .. } => {
                let this = &mut self.members[member];
                assert_eq!(this.tenure.take(), Some(epoch));
                this.until = self.time.now();
            }
            Output::Left => {
                self.stop(member);
                let delay = self.rng.random_range(0..3 * SECOND);
                self.time.after(delay, Event::Restart { member });
            }
        }
    }

    fn holding(&mut self, member: usize, epoch: Epoch, permit: Instant) {
        if let Some(other) =
            (0..self.members.len()).find(|m| *m != member && self.members[*m].until > self.time.now())
        {
            let until = self.members[other].until;
            self.violation = Some(format!("{member} holds {epoch} while {other} may act until {until} us"));
        }
        if self.members[member].tenure != Some(epoch) {
            self.tenures += 1;
            if epoch <= self.last_epoch && self.flaw.is_none() {
                self.violation = Some(format!("epoch {epoch} of {member} follows {}", self.last_epoch));
            }
            self.last_epoch = epoch;
        }
        let until = match self.flaw {
            Some(Flaw::UntilEvent) => Micros::MAX,
            Some(Flaw::FromArrival) => self.true_time(member, self.local(member) + Timings::PLANE.duration()),
            Some(Flaw::NoPreconditions | Flaw::SlowClock) | None => self.true_time(member, permit),
        };
        let this = &mut self.members[member];
        this.tenure = Some(epoch);
        this.until = until;
    }

    fn send(&mut self, member: usize, call: u64, op: Op) {
        if matches!(op, Op::Write { version: None, .. }) {
            self.no_deletion_before = self.time.now() + 4 * SECOND;
        }
        let this = &self.members[member];
        let life = this.life;
        if this.cut {
            if self.rng.random() {
                let delay = self.rng.random_range(0..10 * MILLI);
                self.time.after(delay, Event::Tell { member, life, news: News::Failed(call) });
            }
            return;
        }
        let delay = self.latency();
        self.time.after(delay, Event::Apply { member, life, call, op });
    }

    fn latency(&mut self) -> Micros {
        let millis = if self.slow_api { 200..1000 } else { 1..6 };
        self.rng.random_range(millis.start * MILLI..millis.end * MILLI)
    }

    fn apply(&mut self, member: usize, life: u64, call: u64, op: Op) {
        let present = self.history.len() - 1;
        let news = match op {
            Op::Read => News::Found(call, present),
            Op::Write { version, holder, transitions } => {
                let current = self.history[present].as_ref();
                let met = version == current.and_then(|record| record.version.parse().ok());
                if met || self.flaw == Some(Flaw::NoPreconditions) {
                    let created = current.map_or(self.time.now() as i64, |record| record.epoch.created);
                    self.store(Some(Record {
                        holder,
                        epoch: Epoch { created, transitions },
                        renewed: self.time.now().to_string(),
                        duration: Timings::PLANE.duration(),
                        version: String::new(),
                    }));
                    News::Written(call, self.history.len() - 1)
                } else {
                    News::Conflict(call)
                }
            }
        };
        // In unrest one answer of twenty is lost.
        if self.time.now() > UNREST || !self.rng.random_bool(0.05) {
            let delay = self.latency();
            self.time.after(delay, Event::Tell { member, life, news });
        }
    }

    fn store(&mut self, mut record: Option<Record>) {
        if let Some(record) = &mut record {
            record.version = self.history.len().to_string();
        }
        self.history.push(record);
        let index = self.history.len() - 1;
        for member in 0..self.members.len() {
            let lost = self.members[member].cut || (self.time.now() < UNREST && self.rng.random_bool(0.1));
            if !lost {
                let delay = self.rng.random_range(0..if self.slow_api { SECOND } else { 20 * MILLI });
                let this = &mut self.members[member];
                // A watch may lag and, made again, leave states out; it never goes back.
                this.watch_free = this.watch_free.max(self.time.now() + delay) + 1;
                let (at, life) = (this.watch_free, this.life);
                self.time.at(at, Event::Tell { member, life, news: News::Observed(index) });
            }
        }
    }

    fn stop(&mut self, member: usize) {
        let now = self.time.now();
        let this = &mut self.members[member];
        this.election = None;
        this.life += 1;
        this.paused = false;
        this.deferred.clear();
        this.tenure = None;
        this.until = this.until.min(now);
    }

    fn restart(&mut self, member: usize) {
        if self.time.now() < self.no_restart_before {
            self.time.at(self.no_restart_before, Event::Restart { member });
            return;
        }
        if self.members[member].election.is_some() {
            return;
        }
        let identity = Identity::new(format!("node-{member}"), self.rng.random());
        let election = Election::new(&identity, Timings::PLANE, self.rng.random());
        let eligible = self.members[member].eligible;
        self.members[member].election = Some(election);
        self.turn(member, Some(Input::Eligible(eligible)));
    }

    fn resume(&mut self, member: usize) {
        self.members[member].paused = false;
        let timer_first = self.rng.random();
        if timer_first {
            self.turn(member, None);
        }
        for news in std::mem::take(&mut self.members[member].deferred) {
            self.tell(member, news);
        }
        self.turn(member, None);
    }

    fn qualify(&mut self, member: usize, eligible: bool) {
        let this = &mut self.members[member];
        this.eligible = eligible;
        if !this.paused {
            self.turn(member, Some(Input::Eligible(eligible)));
        }
    }

    fn fault(&mut self) {
        let now = self.time.now();
        let member = self.rng.random_range(0..self.members.len());
        let lasts = self.rng.random_range(100 * MILLI..10 * SECOND).min(UNREST.saturating_sub(now));
        let running = self.members[member].election.is_some() && !self.members[member].paused;
        match self.rng.random_range(0..9) {
            0 => {
                self.stop(member);
                self.time.after(lasts, Event::Restart { member });
            }
            1 | 2 if running => {
                self.members[member].paused = true;
                self.time.after(lasts, Event::Resume { member });
            }
            3 | 4 => {
                self.members[member].cut = true;
                self.time.after(lasts, Event::Reconnect { member });
            }
            5 => {
                self.slow_api = true;
                self.time.after(lasts, Event::ApiFast);
            }
            6 if running => {
                self.qualify(member, false);
                self.time.after(lasts, Event::Qualify { member });
            }
            7 if running => self.turn(member, Some(Input::Leave)),
            8 => self.meddle(),
            _ => {}
        }
        let pause = self.rng.random_range(0..4 * SECOND);
        if now + pause < UNREST {
            self.time.after(pause, Event::Fault);
        }
    }

    /// Somebody who takes no part touches the Lease. Deleted, it is gone without a trace: who then creates it, from
    /// ignorance or by a write that was under way, cannot know of a holder. The machine does not promise that case.
    fn meddle(&mut self) {
        let now = self.time.now();
        let present = self.history.last().cloned().flatten();
        let knows = |m: &Member| m.election.as_ref().is_none_or(|election| election.holder().is_some());
        if self.rng.random() {
            self.store(present);
        } else if present.is_some() && now >= self.no_deletion_before && self.members.iter().all(knows) {
            self.no_restart_before = now + 6 * SECOND;
            self.store(None);
        }
    }
}

fn op(write: Write) -> Op {
    let version = match write.precondition {
        Precondition::Absent => None,
        Precondition::Version(version) => Some(version.parse().expect("a version of this server")),
    };
    Op::Write { version, holder: write.holder, transitions: write.transitions }
}
