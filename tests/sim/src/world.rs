//! The simulation itself: a clock that jumps from one event to the next. What goes wrong is in `faults.rs`.

use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use dhcproto::v4::MessageType;
use foghorn_clock::Instant;
use foghorn_dhcp::{
    Destination, Input, Mode, Output, Rejection, Transmit, Verdict,
    wire::{self, ReplyKind},
};
use foghorn_simkit::{Journal, Timeline};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::{
    claim::Claim,
    figures::Figures,
    messages::Question,
    network::Weather,
    schedule::{Fault, Habits, Schedule},
    server::Server,
};

/// A claim of a quiet network has an address again after this time, and a minute for each address that was found in
/// use elsewhere: the longest wait between two DISCOVERs, twice because every other one may go a way that the network
/// does not carry, or four REQUESTs for an offer that the server forgot; and the longest wait after a NAK.
pub const WITHOUT_ADDRESS: Duration = Duration::from_secs(2 * 65 + 65);
const PER_CONFLICT: Duration = Duration::from_secs(61);
/// Three probes and the wait after them.
const PROBING: Duration = Duration::from_millis(400);

/// A network in the course of its schedule.
pub struct World {
    pub(crate) time: Timeline<Instant, Event>,
    rng: StdRng,
    pub(crate) habits: Habits,
    carries_virtual_mac: bool,
    pub(crate) weather: Weather,
    pub(crate) servers: Vec<Server>,
    pub(crate) claims: Vec<Claim>,
    /// Addresses that foreign hosts use.
    pub(crate) squatted: BTreeSet<Ipv4Addr>,
    pub(crate) forbidden: BTreeSet<Ipv4Addr>,
    pub(crate) quiet_from: Instant,
    pub(crate) figures: Figures,
    journal: Journal,
}

/// What happens at a time of its own.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Fault(Fault),
    /// A message arrives at a server.
    Asked(usize, Question),
    /// A message arrives at the client of a claim.
    Answered(usize, Vec<u8>),
    /// The probes for an address had their time.
    Probed(usize, Ipv4Addr),
    /// A node takes a claim in hand, and may know how late it is.
    Begin(usize, bool),
    /// A stopped process goes on.
    GoOn(usize),
    /// A server answers again.
    Back(usize),
    /// A server refuses no longer.
    Relents(usize),
    /// A server leaves clients where they are.
    Stays(usize),
    /// The foreign host is gone.
    Vacated(Ipv4Addr),
    /// Policy allows the address again.
    Allowed(Ipv4Addr),
    /// All faults are over.
    Quiet,
}

impl World {
    /// Plays a schedule from begin to end.
    ///
    /// # Panics
    /// If a client breaks a promise.
    #[must_use]
    pub fn play(schedule: Schedule, journal: Journal) -> Figures {
        let started = Instant::ZERO;
        let claims = schedule.claims;
        let mut world = Self {
            time: Timeline::new(started),
            rng: StdRng::seed_from_u64(!schedule.seed),
            habits: schedule.habits,
            carries_virtual_mac: schedule.carries_virtual_mac,
            weather: Weather::CALM,
            servers: schedule.servers.into_iter().map(Server::new).collect(),
            claims: (0..claims).map(|number| Claim::new(number, &schedule.habits)).collect(),
            squatted: BTreeSet::new(),
            forbidden: BTreeSet::new(),
            quiet_from: Instant::NEVER,
            figures: Figures { schedules: 1, ..Figures::default() },
            journal,
        };
        for claim in 0..claims {
            world.time.at(started, Event::Begin(claim, true));
        }
        for (at, fault) in schedule.faults {
            world.time.at(at, Event::Fault(fault));
        }
        world.time.at(schedule.quiet_from, Event::Quiet);
        world.run(schedule.end);
        world.figures
    }

    fn run(&mut self, end: Instant) {
        loop {
            let timer = (0..).zip(&self.claims).filter_map(|(n, claim)| Some((claim.next()?, n))).min();
            let next = timer.map(|(at, _)| at).into_iter().chain(self.time.next()).min();
            let Some(next) = next.filter(|next| *next < end) else { break };
            // All that happens at one instant is over.
            if self.time.now() < next {
                self.verify();
            }
            self.pass(next);
            if let Some((_, claim)) = timer.filter(|(at, _)| *at == next) {
                self.wake(claim);
            } else if let Some(event) = self.time.due() {
                self.happen(event);
            }
        }
        self.pass(end);
        for claim in &self.claims {
            self.figures.sent += claim.days.iter().map(|sent| u64::from(*sent)).sum::<u64>();
            let most = claim.days.iter().copied().max().unwrap_or_default();
            self.figures.most_in_a_day = self.figures.most_in_a_day.max(most);
        }
    }

    fn pass(&mut self, to: Instant) {
        let passed = to - self.time.now();
        for claim in &self.claims {
            self.figures.lived += passed;
            if claim.announced().is_some() {
                self.figures.announced += passed;
            }
        }
        self.time.pass(to);
    }

    fn happen(&mut self, event: Event) {
        self.journal.tell(self.time.now(), format_args!("{event:?}"));
        match event {
            Event::Fault(fault) => self.go_wrong(fault),
            Event::Asked(server, question) => self.ask(server, &question),
            Event::Answered(claim, octets) => self.deliver(claim, &octets),
            Event::Probed(claim, address) => self.probed(claim, address),
            Event::Begin(claim, is_sure) => self.begin(claim, is_sure),
            Event::GoOn(claim) => self.go_on(claim),
            Event::Back(server) => self.server(server, |server| server.is_up = true),
            Event::Relents(server) => self.server(server, |server| server.refuses = false),
            Event::Stays(server) => self.server(server, |server| server.moves = false),
            Event::Vacated(address) => {
                self.squatted.remove(&address);
            }
            Event::Allowed(address) => {
                self.forbidden.remove(&address);
            }
            Event::Quiet => self.calm_down(),
        }
    }

    fn begin(&mut self, number: usize, is_sure: bool) {
        if self.habits.one_node && self.claims.iter().any(|claim| claim.is_stopped) {
            // The only node stands still.
            self.time.after(Duration::from_secs(60), Event::Begin(number, is_sure));
            return;
        }
        let remembered = self.claims.get(number).and_then(Claim::remembered);
        let is_refused = remembered.is_some_and(|address| self.objection(number, address).is_some());
        let Some(claim) = self.claims.get_mut(number) else { return };
        if is_refused && self.habits.one_node {
            claim.forget();
        }
        let outputs = claim.begin(self.time.now(), &self.habits, &mut self.rng, is_sure);
        self.follow(number, outputs);
    }

    pub(crate) fn go_on(&mut self, number: usize) {
        if let Some(claim) = self.claims.get_mut(number) {
            claim.is_stopped = false;
        }
        self.wake(number);
        // What probing found meanwhile, it did not hear.
        if let Some(address) = self.claims.get(number).and_then(Claim::checking).map(|lease| lease.address) {
            self.time.after(PROBING, Event::Probed(number, address));
        }
    }

    fn wake(&mut self, number: usize) {
        let Some(claim) = self.claims.get_mut(number).filter(|claim| !claim.is_stopped) else { return };
        let Some(witness) = &mut claim.witness else { return };
        let outputs = witness.timeout(self.time.now());
        self.follow(number, outputs);
    }

    pub(crate) fn tell(&mut self, number: usize, input: Input<'_>) {
        let Some(claim) = self.claims.get_mut(number).filter(|claim| !claim.is_stopped) else { return };
        let Some(witness) = &mut claim.witness else { return };
        let outputs = witness.input(self.time.now(), input);
        self.follow(number, outputs);
    }

    fn follow(&mut self, number: usize, outputs: Vec<Output>) {
        if let Some(claim) = self.claims.get_mut(number) {
            claim.report();
        }
        for output in outputs {
            if self.journal.is_on() {
                self.print(number, &output);
            }
            if let Some(claim) = self.claims.get_mut(number) {
                claim.note(self.time.now(), &output);
            }
            match output {
                Output::Transmit(transmit) => self.send(number, &transmit),
                Output::Check(lease) => self.time.after(PROBING, Event::Probed(number, lease.address)),
                Output::Lost { reason, .. } => self.figures.lost(&reason),
                Output::Bound(_) | Output::Renewed(_) | Output::Released => {}
            }
        }
        self.verify_alone(number);
    }

    fn send(&mut self, number: usize, transmit: &Transmit) {
        let question = Question::read(transmit);
        if question.kind == MessageType::Decline
            && let Some(claim) = self.claims.get_mut(number)
        {
            claim.declined += 1;
        }
        if transmit.mode == Mode::VirtualMac && !self.carries_virtual_mac {
            return;
        }
        for server in 0..self.servers.len() {
            let is_for = match transmit.to {
                Destination::Broadcast => true,
                Destination::Server(id) => self.servers.get(server).is_some_and(|server| server.id() == id),
            };
            for arrival in if is_for { self.weather.arrivals(&mut self.rng) } else { Vec::new() } {
                self.time.after(arrival, Event::Asked(server, question.clone()));
            }
        }
    }

    fn ask(&mut self, number: usize, question: &Question) {
        let taken: BTreeSet<_> = self
            .claims
            .iter()
            .filter_map(|claim| claim.announced().map(|lease| lease.address))
            .chain(self.squatted.iter().copied())
            .collect();
        let Some(server) = self.servers.get_mut(number) else { return };
        let Some(answer) = server.hear(self.time.now(), question, |address| taken.contains(&address)) else {
            return;
        };
        let addressee = self.claims.iter().position(|c| c.identity.client_id == question.client_id);
        // What goes to all is heard by others too, and means nothing to them.
        let bystander = self.rng.random_range(0..self.claims.len() * 4);
        for claim in addressee.into_iter().chain(Some(bystander)) {
            for arrival in self.weather.arrivals(&mut self.rng) {
                self.time.after(arrival, Event::Answered(claim, answer.clone()));
            }
        }
    }

    fn deliver(&mut self, claim: usize, octets: &[u8]) {
        let reply = wire::parse(octets);
        assert!(reply.is_ok(), "a server's answer is not read: {reply:?}");
        let Ok(reply) = reply else { return };
        let is_offer = reply.kind == ReplyKind::Offer;
        match self.objection(claim, reply.address).filter(|_| is_offer && self.habits.one_node) {
            Some(why) => {
                self.wait_for_another(claim, why);
                self.tell(claim, Input::Reject(&reply, why));
            }
            None => self.tell(claim, Input::Reply(&reply)),
        }
    }

    /// Why the claim may not have the address, whoever leases it.
    fn objection(&self, number: usize, address: Ipv4Addr) -> Option<Rejection> {
        let is_anothers =
            (0..).zip(&self.claims).any(|(other, claim)| number != other && claim.holds(address));
        let is_forbidden = self.forbidden.contains(&address).then_some(Rejection::Refused);
        is_anothers.then_some(Rejection::Shared).or(is_forbidden)
    }

    /// A claim that gets nothing but the address of another one has to wait until that is gone.
    fn wait_for_another(&mut self, number: usize, why: Rejection) {
        if let Some(claim) = self.claims.get_mut(number).filter(|_| why == Rejection::Shared) {
            claim.idle_since = claim.idle_since.map(|_| self.time.now());
        }
    }

    /// Says what probing found: other users, other probes, or that policy forbids the address.
    fn probed(&mut self, number: usize, address: Ipv4Addr) {
        let is_checking = |claim: &Claim| claim.checking().is_some_and(|lease| lease.address == address);
        if !self.claims.get(number).is_some_and(is_checking) {
            return;
        }
        let objection = self.objection(number, address);
        let verdict = match objection {
            Some(why @ Rejection::Shared) if self.habits.one_node => {
                self.wait_for_another(number, why);
                Verdict::Shared
            }
            // Seen by probing.
            Some(Rejection::Shared) => Verdict::Conflict,
            _ if self.squatted.contains(&address) => Verdict::Conflict,
            Some(Rejection::Refused) => Verdict::Refused,
            None => Verdict::Clear,
        };
        self.tell(number, Input::Checked(verdict));
    }

    pub(crate) fn announced(&self, claim: usize) -> Option<Ipv4Addr> {
        self.claims.get(claim)?.announced().map(|lease| lease.address)
    }

    fn print(&self, claim: usize, output: &Output) {
        let now = self.time.now();
        if let Output::Transmit(transmit) = output {
            self.journal.tell(now, format_args!("claim {claim} sends {:?}", Question::read(transmit)));
        } else {
            self.journal.tell(now, format_args!("claim {claim}: {output:?}"));
        }
    }

    /// No other claim announces the address of this one, unless a server forgot whose it was.
    fn verify_alone(&mut self, number: usize) {
        let Some(address) = self.announced(number) else { return };
        let is_double =
            (0..self.claims.len()).any(|other| other != number && self.announced(other) == Some(address));
        if is_double {
            let is_excused = self.servers.iter().any(|server| server.has_forgotten(self.time.now(), address));
            assert!(is_excused, "two claims announce {address}");
            self.figures.doubles += 1;
        }
    }

    fn verify(&mut self) {
        let now = self.time.now();
        for (number, claim) in self.claims.iter().enumerate() {
            if let Some(lease) = claim.announced() {
                assert!(now < lease.expires_at, "claim {number} announces past the end of {lease:?}");
                let vouch = |server: &Server| server.vouches(now, &claim.identity, lease.address);
                assert!(
                    self.servers.iter().any(vouch),
                    "no server leased claim {number} its {}",
                    lease.address
                );
            }
            if let Some(since) = claim.idle_since.filter(|_| self.quiet_from <= now && !claim.is_stopped) {
                let gap = now - since.max(self.quiet_from);
                self.figures.longest_gap = self.figures.longest_gap.max(gap);
                let most = WITHOUT_ADDRESS + PER_CONFLICT * claim.declined;
                assert!(gap <= most, "claim {number} has no address for {gap:?} in a quiet network");
            }
        }
    }
}
