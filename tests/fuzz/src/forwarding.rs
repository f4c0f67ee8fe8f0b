//! The machine that keeps ports at a gateway, with a gateway that lies: it says anything, does nothing of it, and jumps in time.

mod oath;
mod script;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arbitrary::{Arbitrary as _, Unstructured};
use foghorn_clock::Instant;
use foghorn_portmap::{Config, Fault, Input, Machine, Output, Plane, Request, Wanted};
use rand::{SeedableRng as _, rngs::StdRng};

use self::{
    oath::Oath,
    script::{Lie, Settings, Step, Wish},
};

const LATENCY: Duration = Duration::from_millis(10);
/// A step does not pass more: half a lease, and then some.
const MOST: Duration = Duration::from_secs(4_000);
const PREFIX: &str = "foghorn 11111111 ";
/// Questions of a moment: each port is looked at and asked for in all forms and in place of all that are taken, and the gateway's
/// whole table is looked through.
const BURST: usize = 2_000;

/// Reads the octets as a script and plays it to its end, or to where the octets end. [`Oath`] has what must hold.
pub fn fuzz(octets: &[u8]) {
    let mut script = Unstructured::new(octets);
    let Ok(settings) = Settings::arbitrary(&mut script) else { return };
    let mut play = Play::new(&settings);
    while !script.is_empty() {
        let Ok(step) = Step::arbitrary(&mut script) else { return };
        play.step(step);
    }
    play.pass(Duration::from_secs(600));
}

struct Play {
    machine: Machine,
    now: Instant,
    oath: Oath,
    config: Config,
    wanted: BTreeMap<Arc<str>, Wanted>,
    open: Option<Request>,
    /// What the gateway says to each kind of question, while the script says nothing else.
    manner: BTreeMap<&'static str, Lie>,
    /// Ports that were ever wanted or given.
    ports: usize,
}

impl Play {
    fn new(settings: &Settings) -> Self {
        let config = settings.config();
        let mut play = Self {
            machine: Machine::new(config.clone(), StdRng::seed_from_u64(settings.seed.into())),
            now: Instant::from_boot(Duration::from_secs(1_000)),
            oath: Oath::default(),
            config,
            wanted: BTreeMap::new(),
            open: None,
            manner: BTreeMap::new(),
            ports: 0,
        };
        play.tell(Input::Gateway(Some([203, 0, 113, 1].into())));
        play
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Want(wish) => self.want(wish),
            Step::Unwant(claim) => self.change(claim, |wanted| wanted.ports.clear()),
            Step::End(claim) => self.change(claim, |wanted| wanted.ending = true),
            Step::Lease(claim, seconds) => self.change(claim, |wanted| {
                wanted.lease = seconds.map(|seconds| Duration::from_secs(u64::from(seconds) + 120));
            }),
            Step::Move(claim, by) => {
                self.change(claim, |wanted| {
                    wanted.address = [203, 0, 113, 100 + claim % 4 + 4 * (by % 8)].into();
                });
            }
            Step::Lose(claim) => {
                self.wanted.remove(&*name(claim));
                self.oath.lose(&name(claim));
                self.tell_claims();
            }
            Step::Configure(settings) => {
                self.config = settings.config();
                self.tell(Input::Config(self.config.clone()));
            }
            Step::Gateway(last) => self.tell(Input::Gateway(last.map(|last| [203, 0, 113, last].into()))),
            Step::Hear(notice) => self.tell(Input::Heard(notice.into())),
            Step::Manner(kind, lie) => {
                self.manner.insert(kind.name(), lie);
            }
            Step::Answer(lie) => self.answer(&lie),
            Step::Stray(number, lie) => {
                if let Some(request) = &self.open
                    && request.number != number
                {
                    let answer = lie.answer(request);
                    self.tell(Input::Answered { number, answer });
                }
            }
            Step::Pass(seconds) => self.pass(MOST.min(Duration::from_secs(seconds.into()))),
        }
    }

    fn want(&mut self, wish: Wish) {
        self.ports += 1;
        let (port, external) = (wish.port(), 1_000 + u16::from(wish.external));
        let wanted = self.wanted.entry(name(wish.claim)).or_insert_with(|| Wanted {
            address: [203, 0, 113, 50 + wish.claim % 4].into(),
            description: format!("{PREFIX}{:08x} shop/web", wish.claim % 4),
            lease: Some(Duration::from_secs(3_600)),
            secret: [wish.claim; 32],
            ports: BTreeMap::new(),
            had: wish.had.map(|had| (port, 1_000 + u16::from(had))).into_iter().collect(),
            ending: false,
        });
        // The operator sees to it that no port of the gateway is wanted twice.
        wanted.ports.retain(|other, wished| other.transport != port.transport || *wished != external);
        wanted.ports.insert(port, external);
        self.tell_claims();
    }

    fn change(&mut self, claim: u8, change: impl FnOnce(&mut Wanted)) {
        if let Some(wanted) = self.wanted.get_mut(&*name(claim)) {
            change(wanted);
        }
        self.tell_claims();
    }

    fn tell_claims(&mut self) {
        let descriptions = self.wanted.values().map(|wanted| wanted.description.clone()).collect();
        let plane = Plane { prefix: PREFIX.to_owned(), descriptions, ..Plane::default() };
        self.oath.want(&self.wanted);
        self.tell(Input::Claims { wanted: self.wanted.clone(), plane });
    }

    fn tell(&mut self, input: Input) {
        // What is asked of another gateway has no answer any more.
        if let Input::Gateway(_) = input {
            self.open = None;
        }
        self.machine.handle_input(self.now, input);
        self.drain();
    }

    fn answer(&mut self, lie: &Lie) {
        let Some(request) = self.open.take() else { return };
        self.now += LATENCY;
        let answer = lie.answer(&request);
        self.oath.answered(self.now, &request, &answer);
        self.machine.handle_input(self.now, Input::Answered { number: request.number, answer });
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Ask(request) => {
                    self.oath.asked(&request, &self.config, &self.wanted);
                    self.open = Some(request);
                }
                Output::Report(claim, report) => self.oath.told(&claim, &report, &self.wanted),
            }
        }
    }

    /// Lets time pass, while the gateway answers in its manner.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let seconds = usize::try_from(time.as_secs()).unwrap_or(usize::MAX);
        let most = BURST + self.ports * (200 + seconds) + seconds;
        let mut questions = 0;
        while self.now < end {
            if let Some(request) = &self.open {
                let lie = self.manner.get(request.ask.name()).cloned().unwrap_or_default();
                questions += usize::from(!matches!(lie.answer(request), Err(Fault::NotBound(_))));
                assert!(questions <= most, "{questions} questions in {time:?} for {} ports", self.ports);
                self.answer(&lie);
                continue;
            }
            let Some((due, why)) = self.machine.poll_timeout().filter(|(due, _)| *due <= end) else { break };
            self.now = self.now.max(due);
            self.machine.handle_timeout(self.now);
            self.drain();
            let next = self.machine.poll_timeout();
            let is_stuck = self.open.is_none() && next.is_some_and(|(next, _)| next <= self.now);
            assert!(!is_stuck, "due, and nothing is done: {why}, {next:?}");
        }
        self.now = self.now.max(end);
    }
}

fn name(claim: u8) -> Arc<str> {
    format!("claim-{}", claim % 4).into()
}
