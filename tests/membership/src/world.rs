//! Nodes, a network and an API server in the course of time, in equal steps.
//!
//! Nothing in here is random: what may vary is asked of the [`Surroundings`].

mod calls;
mod recorder;
mod troubles;

use std::collections::{BTreeMap, BTreeSet};

use foghorn_membership::{
    Body, Bug, Claim, ClaimId, Content, Event, Input, Member, MemberId, Message, Output, Path, Preference,
    Settings, To,
};

use self::recorder::Recorder;
use crate::{
    api::Api,
    moment::{Clock, Moment, Reading},
    node::{Node, Process, name, node_of},
    witness::{Bounds, Breach, Overlaps, Sight, Witness},
};

/// How often the members of a world may answer each other within one step.
const ROUNDS_OF_A_STEP: u32 = 40;

/// What varies from world to world, and what is measured of it.
pub trait Surroundings {
    /// So many milliseconds after it was sent a message arrives, if it does, and once more, if it does.
    fn message(&mut self) -> [Option<u64>; 2];
    /// So many milliseconds after it was made a call takes place, and so many later its answer arrives.
    fn call(&mut self, slow: bool) -> (u64, u64);
    /// By how many milliseconds a watch lags.
    fn watch(&mut self) -> u64;
    /// Runs a node's machine.
    fn turn(&mut self, node: usize, machine: impl FnOnce()) {
        let _ = node;
        machine();
    }
    /// A node sent so many frames and datagrams.
    fn sent(&mut self, node: usize, frames: usize, datagrams: usize) {
        let _ = (node, frames, datagrams);
    }
    /// A node has told others of so many entries of its table.
    fn table_sent(&mut self, node: usize, entries: usize) {
        let _ = (node, entries);
    }
    /// A view was written.
    fn view_written(&mut self) {}
    /// Something that the node's machine tells people.
    fn told(&mut self, node: usize, now: Moment, event: &dyn std::fmt::Debug) {
        let _ = (node, now, event);
    }
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The nodes' clocks, and when their processes start.
    pub nodes: Vec<(Clock, u64)>,
    /// How many claims there are.
    pub claims: u64,
    /// How the members behave.
    pub settings: Settings,
    /// The milliseconds of a step.
    pub step: u64,
    /// What is promised.
    pub bounds: Bounds,
    /// Rules that the members of these nodes do not keep.
    pub bugs: Vec<(usize, Bug)>,
    /// For so many milliseconds what is sent can be sent again by somebody who has recorded it.
    pub recorded: u64,
}

/// A plane in the course of its faults.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World<T: Reading> {
    now: Moment,
    step: u64,
    settings: Settings,
    bugs: Vec<(usize, Bug)>,
    nodes: Vec<Node<T>>,
    cuts: BTreeMap<(usize, usize, Path), Moment>,
    on_the_way: BTreeMap<Moment, Vec<(usize, Path, Message<T>)>>,
    recorder: Recorder<T>,
    api: Api,
    slow: Moment,
    claims: BTreeSet<ClaimId>,
    /// The node that serves a claim, if any does, where not all do.
    served: BTreeMap<ClaimId, Option<usize>>,
    /// How often claims have changed.
    changes: u64,
    quiet_from: Moment,
    /// Whether the Lease was changed by members alone.
    lease_is_members: bool,
    witness: Witness,
}

impl<T: Reading> World<T> {
    /// A plane before its members start.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let start = |(clock, after): (Clock, u64)| Node::new(clock, Moment::START.plus(after));
        Self {
            now: Moment::START,
            step: plan.step,
            settings: plan.settings,
            bugs: plan.bugs,
            nodes: plan.nodes.into_iter().map(start).collect(),
            cuts: BTreeMap::new(),
            on_the_way: BTreeMap::new(),
            recorder: Recorder::new(plan.recorded),
            api: Api::default(),
            slow: Moment(0),
            claims: (1..=plan.claims).map(ClaimId).collect(),
            served: BTreeMap::new(),
            changes: 0,
            quiet_from: Moment::START,
            lease_is_members: true,
            witness: Witness::new(plan.bounds),
        }
    }

    /// The present moment.
    #[must_use]
    pub const fn now(&self) -> Moment {
        self.now
    }

    /// The first promise that was broken.
    #[must_use]
    pub const fn breach(&self) -> Option<&Breach> {
        self.witness.breach.as_ref()
    }

    /// For how many milliseconds nothing has been wrong.
    #[must_use]
    pub const fn quiet(&self) -> u64 {
        self.now.after(self.quiet_from)
    }

    /// Whether so long a quiet has passed that all is promised to be in order.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.now.0 >= self.quiet_from.plus(self.witness.bounds().settled).0
    }

    /// Whether nothing is wrong, nobody is outside, no call takes long, and each claim is announced once.
    #[must_use]
    pub fn is_in_order(&self) -> bool {
        let Some(Content::View(view)) = self.api.lease().map(|lease| &lease.content) else { return false };
        let running: BTreeSet<MemberId> =
            self.nodes.iter().filter_map(|node| Some(node.process.as_ref()?.member.seat().id)).collect();
        let same = |node: &Node<T>| node.process.as_ref().is_none_or(|p| p.member.view() == Some(view));
        self.now >= self.quiet_from
            && self.api.calls.iter().all(|call| call.answers <= self.now.plus(self.step))
            && self.on_the_way.is_empty()
            && view.seats.iter().map(|seat| seat.id).collect::<BTreeSet<_>>() == running
            && self.nodes.iter().all(same)
            && self.claims.iter().all(|claim| self.holders(*claim).len() == 1)
    }

    /// The claims.
    #[must_use]
    pub const fn claims(&self) -> &BTreeSet<ClaimId> {
        &self.claims
    }

    /// The machine on a node, if it runs.
    #[must_use]
    pub fn member(&self, node: usize) -> Option<&Member<T>> {
        self.nodes.get(node)?.process.as_ref().map(|process| &process.member)
    }

    /// The nodes that would answer for a claim just now.
    #[must_use]
    pub fn announcers(&self, claim: ClaimId) -> Vec<usize> {
        (0..).zip(&self.nodes).filter(|(_, node)| self.announces(node, claim)).map(|(n, _)| n).collect()
    }

    /// The nodes that hold a claim just now, whether they answer for it or keep it only.
    #[must_use]
    pub fn holders(&self, claim: ClaimId) -> Vec<usize> {
        (0..).zip(&self.nodes).filter(|(_, node)| self.holds(node, claim)).map(|(n, _)| n).collect()
    }

    /// The node that the Lease names as coordinator.
    #[must_use]
    pub fn coordinator(&self) -> Option<usize> {
        match &self.api.lease()?.content {
            Content::View(view) => Some(node_of(view.coordinator)),
            Content::Released | Content::Unreadable => None,
        }
    }

    /// Lets so many steps of time pass.
    pub fn pass(&mut self, around: &mut impl Surroundings, steps: u64) {
        (0..steps).for_each(|_| self.step(around));
    }

    /// Lets one step of time pass.
    pub fn step(&mut self, around: &mut impl Surroundings) {
        self.now = self.now.plus(self.step);
        let now = self.now;
        self.nodes.iter_mut().for_each(|node| node.forget(now));
        self.cuts.retain(|_, until| *until > now);
        self.api.forget(now);
        self.start_processes();
        self.look_at_resumed();
        self.carry_out_calls(around);
        self.tell(around);
        for _ in 0..ROUNDS_OF_A_STEP {
            self.deliver();
            let mut busy = false;
            for node in 0..self.nodes.len() {
                busy |= self.turn(node, around);
            }
            if !busy {
                return;
            }
        }
        self.witness.break_promise(Breach::Restless);
    }

    /// Looks whether all promises are kept; gives for how long two have been announcing the same.
    pub fn look(&mut self) -> Overlaps {
        let sights: Vec<Sight> = (0..self.nodes.len()).map(|node| self.sight(node)).collect();
        let blank = Witness::new(*self.witness.bounds());
        let mut witness = std::mem::replace(&mut self.witness, blank);
        let overlaps = witness.look(self.now, &sights, |a, b| self.hears(a, b) && self.hears(b, a));
        if self.is_settled() {
            let serves = |claim, node| self.served.get(&claim).is_none_or(|served| *served == Some(node));
            witness.expect_settled(&self.claims, &sights, serves);
        }
        self.witness = witness;
        overlaps
    }

    fn start_processes(&mut self) {
        let now = self.now;
        if self.nodes.iter().all(|node| node.starts.is_none_or(|starts| starts > now)) {
            return;
        }
        let (claims, changes) = (self.facts(), self.changes);
        let settings = self.settings_now();
        let avoided = self.avoided();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if node.starts.is_none_or(|starts| starts > now) {
                continue;
            }
            node.starts = None;
            let seat = node.next_seat(index);
            let health = node.health(now);
            let mut inbox: std::collections::VecDeque<_> = node.restored().into_iter().collect();
            inbox.push_back(Input::Health(health.clone()));
            inbox.extend(claims.iter().map(|(id, claim)| Input::Claim(*id, claim.clone())));
            inbox.push_back(Input::Ready(true));
            let mut member = Member::new(node.time(now), seat, settings.clone());
            let bugs = self.bugs.iter().filter(|(of, _)| *of == index);
            bugs.for_each(|(_, bug)| member.plant(*bug));
            node.process = Some(Process {
                member,
                inbox,
                health,
                avoided: avoided.clone(),
                rebalance: settings.rebalance.clone(),
                claims: (changes, claims.clone()),
                watched: 0,
                last_turn: now,
                leaving: None,
            });
        }
    }

    /// What members are to know of the claims.
    fn facts(&self) -> BTreeMap<ClaimId, Claim> {
        let nodes = |id| self.served.get(id).map(|served| served.iter().map(|node| name(*node)).collect());
        self.claims.iter().map(|id| (*id, Claim { address: None, nodes: nodes(id) })).collect()
    }

    fn settings_now(&self) -> Settings {
        let avoid = |node: usize| (name(node), Preference { weight: 0, avoid: true });
        Settings { nodes: self.avoided().into_iter().map(avoid).collect(), ..self.settings.clone() }
    }

    fn avoided(&self) -> BTreeSet<usize> {
        (0..).zip(&self.nodes).filter(|(_, node)| self.now < node.cordoned).map(|(n, _)| n).collect()
    }

    /// Tells processes what has changed around them.
    fn tell(&mut self, around: &mut impl Surroundings) {
        let now = self.now;
        let avoided = self.avoided();
        let settings = self.settings_now();
        let is_old = |process: &Process<T>| process.claims.0 != self.changes;
        let any_old = self.nodes.iter().filter_map(|node| node.process.as_ref()).any(is_old);
        let facts = if any_old { self.facts() } else { BTreeMap::new() };
        for node in &mut self.nodes {
            let health = node.health(now);
            let lag = if now < node.watch_lags { now.0 } else { around.watch() };
            let away = now < node.no_api.1;
            let Some(process) = &mut node.process else { continue };
            if process.health != health {
                process.health = health.clone();
                process.inbox.push_back(Input::Health(health));
            }
            if process.avoided != avoided || process.rebalance != settings.rebalance {
                process.avoided.clone_from(&avoided);
                process.rebalance.clone_from(&settings.rebalance);
                process.inbox.push_back(Input::Settings(Box::new(settings.clone())));
            }
            if process.claims.0 != self.changes && !away {
                process.tell_claims(self.changes, &facts);
            }
            if let Some((number, record)) = self.api.watched(now, lag)
                && number > process.watched
                && !away
            {
                process.watched = number;
                process.inbox.push_back(Input::Observed(record.cloned()));
            }
        }
    }

    /// Brings what has arrived to the nodes' sockets.
    fn deliver(&mut self) {
        while let Some(entry) = self.on_the_way.first_entry().filter(|entry| *entry.key() <= self.now) {
            for (to, path, message) in entry.remove() {
                if let Some(process) = self.nodes.get_mut(to).and_then(|node| node.process.as_mut()) {
                    process.inbox.push_back(Input::Message { path, message });
                }
            }
        }
    }

    /// One node takes in what has arrived, and does what is due; whether there was anything.
    fn turn(&mut self, index: usize, around: &mut impl Surroundings) -> bool {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(index).filter(|node| node.runs(now)) else { return false };
        let time = node.time(now);
        let Some(process) = &mut node.process else { return false };
        let due = process.member.poll_timeout().is_some_and(|(at, _)| at <= time);
        if process.inbox.is_empty() && !due {
            return false;
        }
        process.last_turn = now;
        let mut outputs = Vec::new();
        around.turn(index, || {
            for input in process.inbox.drain(..) {
                process.member.handle_input(time, input);
                outputs.extend(std::iter::from_fn(|| process.member.poll_output()));
            }
            if process.member.poll_timeout().is_some_and(|(at, _)| at <= time) {
                process.member.handle_timeout(time);
                outputs.extend(std::iter::from_fn(|| process.member.poll_output()));
            }
        });
        let from = process.member.seat().id;
        for output in outputs {
            self.carry_out(index, from, output, around);
        }
        true
    }

    fn carry_out(&mut self, index: usize, from: MemberId, output: Output<T>, around: &mut impl Surroundings) {
        match output {
            Output::Send { to, message } => self.send(index, to, message, around),
            Output::Read { call } => self.ask(index, from, call, crate::api::Ask::Read, around),
            Output::Write { call, write } => {
                self.ask(index, from, call, crate::api::Ask::Write(write), around);
            }
            Output::Granted { claim, grant } => around.told(index, self.now, &(claim, grant.to_string())),
            Output::Revoked { claim } => around.told(index, self.now, &(claim, "revoked")),
            Output::Event(event) => {
                if let Some(node) = self.nodes.get_mut(index) {
                    node.write_down(&event);
                }
                if let Event::View(view) = &event {
                    let nodes: Vec<usize> = view.seats.iter().map(|seat| node_of(seat.id)).collect();
                    let coordinator = node_of(view.coordinator);
                    around.told(index, self.now, &(view.epoch.to_string(), coordinator, nodes));
                    self.witness.view(view);
                } else {
                    around.told(index, self.now, &event);
                }
            }
            Output::Left => self.has_left(index),
        }
    }

    fn has_left(&mut self, index: usize) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(index) else { return };
        let Some(process) = node.process.take() else { return };
        node.starts = process.leaving.flatten().map(|after| now.plus(after));
        self.quiet_from = self.quiet_from.max(node.starts.unwrap_or(now));
    }

    fn send(&mut self, index: usize, to: To, message: Message<T>, around: &mut impl Surroundings) {
        match &message.body {
            Body::Table(table) => around.table_sent(index, table.entries.len()),
            Body::Vote(epoch, proposer) => self.witness.vote(message.from, *epoch, *proposer),
            Body::Round(round) => {
                if let Some(view) = &round.view {
                    self.witness.view(view);
                }
            }
            Body::Report(_)
            | Body::Inventory(_)
            | Body::Taken(_)
            | Body::Candidate(_)
            | Body::VoteRequest(_) => {}
        }
        self.recorder.record(self.now, index, &message);
        let receivers: Vec<usize> = match &to {
            To::All => (0..self.nodes.len()).filter(|node| *node != index).collect(),
            To::Only(ids) => ids.iter().map(|id| node_of(*id)).filter(|node| *node != index).collect(),
        };
        let frames = if to == To::All { 1 } else { receivers.len() };
        around.sent(index, frames, receivers.len());
        let Some(node) = self.nodes.get(index) else { return };
        let (now, mute) = (self.now, node.mute);
        let late = if now < node.delayed.1 { node.delayed.0 } else { 0 };
        let again = (now < node.twice.1).then_some(node.twice.0);
        for receiver in receivers {
            for path in [Path::Wire, Path::Udp] {
                let arrivals = around.message();
                if now < mute || !self.passes(index, receiver, path) {
                    continue;
                }
                for after in arrivals.into_iter().flatten().chain(again) {
                    let arrival = now.plus(after + late);
                    let parcel = (receiver, path, message.clone());
                    self.on_the_way.entry(arrival).or_default().push(parcel);
                }
            }
        }
    }

    /// Whether a message would get from one node to another by that path.
    fn passes(&self, from: usize, to: usize, path: Path) -> bool {
        let carrier = |node: usize| self.nodes.get(node).is_some_and(|node| self.now >= node.no_carrier);
        let cut = self.cuts.get(&(from, to, path)).is_some_and(|until| self.now < *until);
        !cut && (path == Path::Udp || carrier(from) && carrier(to))
    }

    /// Whether what one node sends now is heard by the other without delay, by some path.
    fn hears(&self, to: usize, from: usize) -> bool {
        let runs = |node: usize| self.nodes.get(node).filter(|node| node.runs(self.now));
        let (Some(sender), Some(_)) = (runs(from), runs(to)) else { return false };
        let delayed = self.now < sender.mute || self.now < sender.delayed.1;
        !delayed && [Path::Wire, Path::Udp].into_iter().any(|path| self.passes(from, to, path))
    }

    /// Whether the node would answer for a claim: as far as it knows it serves it.
    fn announces(&self, node: &Node<T>, claim: ClaimId) -> bool {
        self.holds(node, claim) && node.process.as_ref().is_some_and(|process| process.serves(claim))
    }

    fn holds(&self, node: &Node<T>, claim: ClaimId) -> bool {
        let Some(process) = node.process.as_ref().filter(|_| node.runs(self.now)) else { return false };
        let permitted = process.member.permit() > node.time(self.now) && self.now >= node.no_carrier;
        permitted && process.member.grant(claim).is_some()
    }

    /// A process that goes on after it was stopped may be asked before it has read anything.
    fn look_at_resumed(&mut self) {
        let mut leaks = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(process) = node.process.as_ref().filter(|_| node.runs(self.now)) else { continue };
            if self.now.after(process.last_turn) <= self.witness.bounds().fence {
                continue;
            }
            let mut claims = self.claims.iter().filter(|claim| self.announces(node, **claim));
            leaks.extend(claims.next().map(|claim| Breach::Resumed(*claim, index)));
        }
        leaks.into_iter().for_each(|breach| self.witness.break_promise(breach));
    }

    fn sight(&self, index: usize) -> Sight {
        let Some(node) = self.nodes.get(index) else { return Sight::default() };
        let now = self.now;
        let Some(process) = &node.process else { return Sight::default() };
        let others = process.member.view().map_or(0, |view| view.seats.len().saturating_sub(1));
        let graced = others == 1 && node.health(now).gateway == Some(true);
        let apart = |other: usize| !self.hears(index, other) && !self.hears(other, index);
        let hears_nobody = || (0..self.nodes.len()).filter(|other| *other != index).all(apart);
        Sight {
            holds: self.claims.iter().copied().filter(|claim| self.holds(node, *claim)).collect(),
            announces: self.claims.iter().copied().filter(|claim| self.announces(node, *claim)).collect(),
            eligible: node.runs(now) && now >= node.no_carrier && process.leaving.is_none(),
            avoided: now < node.cordoned,
            served: node.is_served(now),
            alone: now < node.no_api.1 && others > 0 && !graced && hears_nobody(),
        }
    }
}
