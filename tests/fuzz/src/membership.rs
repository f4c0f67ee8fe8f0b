//! A member under what others with the key say, and under what stands in the plane's Lease: whoever may write it can write anything.

mod script;

use std::{collections::BTreeMap, time::Duration};

use arbitrary::{Arbitrary as _, Unstructured};
use foghorn_clock::Instant;
use foghorn_heartbeat::{decode, encode};
use foghorn_membership::{
    Answer, Change, Claim, Content, Epoch, Input, Member, MemberId, Message, Output, Path, Placement,
    Precondition, Record, Seat, Settings, Timings, View, Write,
};

use self::script::{End, Shown, Step, claim, message};

const ME: MemberId = MemberId(2);
const INTERVAL: Duration = Duration::from_millis(100);

/// Reads the octets as an annotation, and as a script of messages and states of the Lease.
pub fn fuzz(octets: &[u8]) {
    if let Ok(text) = str::from_utf8(octets) {
        annotation(text);
    }
    let Some(mut play) = Play::new() else { return };
    let mut script = Unstructured::new(octets);
    while !script.is_empty() {
        let Ok(step) = Step::arbitrary(&mut script) else { return };
        play.step(step);
    }
    play.pass(Duration::from_secs(10));
}

/// A view that is read names a member as its coordinator, and is read alike when it is written again.
fn annotation(text: &str) {
    let epoch = Epoch { created: 1, view: 2, quorum: 0 };
    let Some(view) = View::from_annotation(epoch, text) else { return };
    assert!(view.has(view.coordinator) && view.epoch == epoch);
    assert_eq!(View::from_annotation(epoch, &view.annotation()), Some(view));
}

struct Play {
    member: Member<Instant>,
    now: Instant,
    timings: Timings,
    lease: Option<Record>,
    /// The call that is open, and what it writes.
    call: Option<(u64, Option<Write>)>,
    version: u64,
}

impl Play {
    fn new() -> Option<Self> {
        let timings = Timings::new(INTERVAL, 3).ok()?;
        let settings = Settings {
            timings,
            placement: Placement::Spread,
            quorum: None,
            nodes: BTreeMap::new(),
            rebalance: String::new(),
        };
        let now = Instant::from_boot(Duration::from_secs(1_000));
        let me = Seat { id: ME, node: "w2".to_owned(), address: None };
        let member = Member::new(now, me, settings);
        Some(Self { member, now, timings, lease: None, call: None, version: 1 })
    }

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Octets(from, is_wire, octets) => {
                if let Ok(message) = decode(from.id(), octets) {
                    self.hear(is_wire, message);
                }
            }
            Step::Said { from, is_wire, at, epoch, highest, body } => {
                let message = message(from, at, [epoch, highest], &body, self.now);
                self.hear(is_wire, message);
            }
            Step::Answer(end) => {
                let Some((call, write)) = self.call.take() else { return };
                let answer = self.end(end, write);
                self.input(Input::Answered { call, answer });
            }
            Step::Observe(shown) => {
                self.lease = self.record(&shown);
                self.input(Input::Observed(self.lease.clone()));
            }
            Step::Claim(number) => self.input(Input::Claim(claim(number), Claim::default())),
            Step::ClaimGone(number) => self.input(Input::ClaimGone(claim(number))),
            Step::Health(able) => self.input(Input::Health(able.into())),
            Step::Ready(ready) => self.input(Input::Ready(ready)),
            Step::Pass(ms) => self.pass(Duration::from_millis((ms % 10_000).into())),
            Step::Jump(ms) => {
                self.now += Duration::from_millis(ms.into());
                self.turn();
            }
            Step::Leave => self.input(Input::Leave),
        }
    }

    /// Its own messages do not come back to it: the codec sees to that.
    fn hear(&mut self, is_wire: bool, message: Message<Instant>) {
        let path = if is_wire { Path::Wire } else { Path::Udp };
        if message.from != ME {
            self.input(Input::Message { path, message });
        }
    }

    fn record(&mut self, shown: &Shown<'_>) -> Option<Record> {
        let (place, content) = match shown {
            Shown::None => return None,
            Shown::Released(place) => (place, Content::Released),
            Shown::Text(place, text) => {
                let read = View::from_annotation(lease_epoch(place.epoch()), text);
                (place, read.map_or(Content::Unreadable, Content::View))
            }
            Shown::View(place, seen) => {
                let view = seen.view(lease_epoch(place.epoch()));
                let read = View::from_annotation(view.epoch, &view.annotation());
                (place, read.map_or(Content::Unreadable, Content::View))
            }
        };
        self.version += 1;
        Some(Record { version: self.version.to_string(), epoch: lease_epoch(place.epoch()), content })
    }

    /// As an API server does it.
    fn end(&mut self, end: End, write: Option<Write>) -> Answer {
        let (End::Done, Some(write)) = (end, write) else {
            return match end {
                End::Done => Answer::Found(self.lease.clone()),
                End::Conflict => Answer::Conflict,
                End::Failed => Answer::Failed,
            };
        };
        let is_met = match (&write.precondition, &self.lease) {
            (Precondition::Absent, lease) => lease.is_none(),
            (Precondition::Version(version), Some(lease)) => lease.version == *version,
            (Precondition::Version(_), None) => false,
        };
        if !is_met {
            return Answer::Conflict;
        }
        self.version += 1;
        let created = self.lease.as_ref().map_or(1, |lease| lease.epoch.created);
        let epoch = Epoch { created, view: write.transitions, quorum: 0 };
        let content = match write.change {
            Some(Change::View { coordinator, seats }) => Content::View(View { epoch, coordinator, seats }),
            Some(Change::Release) => Content::Released,
            None => self.lease.take().map_or(Content::Unreadable, |lease| lease.content),
        };
        let record = Record { version: self.version.to_string(), epoch, content };
        self.lease = Some(record.clone());
        Answer::Written(record)
    }

    fn input(&mut self, input: Input<Instant>) {
        self.member.handle_input(self.now, input);
        self.drain();
    }

    fn turn(&mut self) {
        self.member.handle_timeout(self.now);
        self.drain();
        let next = self.member.poll_timeout();
        assert!(next.is_none_or(|(next, _)| next > self.now), "due again at once: {next:?}");
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        // A turn each tenth of a round at most, and what is due besides.
        let (mut turns, most) = (0, 100 + time.as_millis() / 5);
        while let Some((due, why)) = self.member.poll_timeout().filter(|(due, _)| *due <= end) {
            self.now = self.now.max(due);
            self.turn();
            turns += 1;
            assert!(turns <= most, "{turns} turns in {time:?}: {why}");
        }
        self.now = self.now.max(end);
    }

    /// What it sends can be read, and no right lasts longer than one that was renewed just now.
    fn drain(&mut self) {
        while let Some(output) = self.member.poll_output() {
            match output {
                Output::Read { call } => self.call = Some((call, None)),
                Output::Write { call, write } => self.call = Some((call, Some(write))),
                Output::Send { message, .. } => {
                    assert_eq!(message.from, ME);
                    let mut octets = Vec::new();
                    encode(&message, &mut octets);
                    assert!(decode(ME, &octets).as_ref() == Ok(&message), "not read again: {message:?}");
                }
                Output::Granted { .. } | Output::Revoked { .. } | Output::Event(_) | Output::Left => {}
            }
        }
        let longest = self.timings.permit.max(self.timings.coordinator_permit).max(self.timings.grace);
        assert!(self.member.permit() <= self.now + longest, "a right for too long");
    }
}

/// A view of the Lease is none of a majority.
fn lease_epoch(epoch: Epoch) -> Epoch {
    Epoch { quorum: 0, ..epoch }
}
