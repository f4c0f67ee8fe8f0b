//! The machine: what is known, and how it changes by what is told.

use std::{
    collections::{BTreeMap, VecDeque},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use foghorn_clock::Instant;
use rand::rngs::StdRng;

use crate::{
    Ask, Config, Fault, Input, Notice, Output, Plane, Protocol, Request, Trouble, Wanted,
    choice::{allowed, another},
    claim::Claim,
    link::Link,
    questions::{Asked, What},
    slot::{Slot, Step},
};

/// One that speaks to the gateway answers sooner, whatever the gateway does.
const ANSWER: Duration = Duration::from_secs(60);
/// After no port was left to be asked for.
const REVIEW: Duration = Duration::from_secs(60);

/// Keeps what a node's claims want at one gateway.
#[derive(Debug)]
pub struct Machine {
    pub(crate) config: Config,
    rng: StdRng,
    pub(crate) link: Option<Link>,
    pub(crate) claims: BTreeMap<Arc<str>, Claim>,
    pub(crate) plane: Plane,
    pub(crate) asked: Option<Asked>,
    number: u64,
    /// After which claim another one is to speak, since that one's address is not on the node yet.
    pub(crate) mute: Option<Arc<str>>,
    outputs: VecDeque<Output>,
}

impl Machine {
    /// A machine that knows neither a gateway nor claims.
    #[must_use]
    pub fn new(config: Config, rng: StdRng) -> Self {
        Self {
            config,
            rng,
            link: None,
            claims: BTreeMap::new(),
            plane: Plane::default(),
            asked: None,
            number: 0,
            mute: None,
            outputs: VecDeque::new(),
        }
    }

    /// Takes what is told.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Config(config) if config != self.config => self.configure(now, config),
            Input::Config(_) => {}
            Input::Gateway(gateway) => self.turn_to(now, gateway),
            Input::Claims { wanted, plane } => {
                self.plane = plane;
                self.take(now, wanted);
            }
            Input::Answered { number, answer } => {
                if let Some(asked) = self.asked.take_if(|asked| asked.number == number) {
                    self.answered(now, asked, answer);
                }
            }
            Input::Heard(notice) => self.hear(now, notice),
        }
        self.turn(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(asked) = self.asked.take_if(|asked| asked.until <= now) {
            self.answered(now, asked, Err(Fault::Silent("nothing came back".to_owned())));
        }
        for slot in self.claims.values_mut().flat_map(|claim| claim.slots.values_mut()) {
            slot.expire(now);
        }
        self.turn(now);
    }

    /// When something is due next, and what.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let slots = self.claims.values().flat_map(|claim| claim.slots.values());
        let ends = slots.filter_map(|slot| Some((slot.held??, "a mapping ends")));
        let next = match &self.asked {
            Some(asked) => Some((asked.until, "the gateway answers")),
            None => self.due(),
        };
        ends.chain(next).min()
    }

    /// What is to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn configure(&mut self, now: Instant, config: Config) {
        if config.protocols != self.config.protocols {
            self.link.iter_mut().for_each(|link| link.seek(now));
            if let Some(Asked { what: what @ What::Find(_), .. }) = &mut self.asked {
                *what = What::Outdated;
            }
        }
        self.config = config;
        for claim in self.claims.values_mut() {
            claim.forsake(now, |external| !allowed(&self.config.ports, external));
            // What was in vain may not be so now.
            claim.slots.values_mut().filter(|slot| slot.held.is_none()).for_each(|slot| slot.begin(now));
        }
    }

    fn turn_to(&mut self, now: Instant, gateway: Option<Ipv4Addr>) {
        if gateway == self.link.as_ref().map(|link| link.address) {
            return;
        }
        self.link = gateway.map(|address| Link::new(address, now));
        self.asked = None;
        // What this one forwards, nothing is known of.
        let slots = self.claims.values_mut().flat_map(|claim| claim.slots.values_mut());
        slots
            .filter(|slot| slot.step != Step::Rest || slot.held.is_some())
            .for_each(|slot| slot.move_away(now));
    }

    fn take(&mut self, now: Instant, wanted: BTreeMap<Arc<str>, Wanted>) {
        self.claims.retain(|name, _| wanted.contains_key(name));
        for (name, wanted) in wanted {
            match self.claims.get_mut(&name) {
                Some(claim) if claim.wanted == wanted => {}
                Some(claim) => claim.want(wanted, now),
                None => {
                    self.claims.insert(name, Claim::new(wanted, &self.config, now));
                }
            }
        }
    }

    fn hear(&mut self, now: Instant, notice: Notice) {
        let Some(link) = &mut self.link else { return };
        match (notice, link.found_mut()) {
            (Notice::Epoch(protocol, seconds), Some(found)) if found.protocol == protocol => {
                if found.contradicts(now, seconds) {
                    link.heed(now);
                }
            }
            // It is there again, or anew: what it has forgotten is seen when it is read.
            (Notice::Alive | Notice::ByeBye, Some(found)) if found.protocol == Protocol::Igd => {
                link.heed(now);
            }
            (Notice::Alive | Notice::Epoch(..), None) => link.heed(now),
            (Notice::Alive | Notice::ByeBye | Notice::Epoch(..), _) => {}
        }
    }

    /// The gateway has forgotten all that it forwarded.
    pub(crate) fn lose_all(&mut self, now: Instant) {
        let slots = self.claims.values_mut().flat_map(|claim| claim.slots.values_mut());
        slots.filter(|slot| slot.held.is_some()).for_each(|slot| slot.begin(now));
    }

    /// Another is to be asked for in place of the gateway's port that a slot asked for, which is taken; or none.
    pub(crate) fn taken(
        &mut self,
        now: Instant,
        claim: &Arc<str>,
        port: crate::Port,
        whose: &str,
        again: Duration,
    ) {
        let plane = &self.plane;
        let Some(of) = self.claims.get_mut(claim) else { return };
        let wish = of.wanted.ports.get(&port).copied();
        let Some(slot) = of.slots.get_mut(&port) else { return };
        slot.held = None;
        if self.config.another {
            if !slot.tried.contains(&slot.external) {
                slot.tried.push(slot.external);
            }
            let is_reserved = |number| {
                let external = crate::Port { transport: port.transport, number };
                plane.reserved.get(&external).is_some_and(|by| by != claim)
            };
            if let Some(next) = another(&self.config.ports, &slot.tried, is_reserved, &mut self.rng) {
                slot.external = next;
                slot.begin(now);
                return;
            }
            slot.tried.clear();
        }
        let trouble = Trouble::Taken(slot.external, whose.to_owned());
        slot.external = wish.unwrap_or(slot.external);
        slot.fail(now, trouble, again);
    }

    /// Sets aside the ports that may not be asked for, and takes up those that may again.
    fn review(&mut self, now: Instant) {
        let mut blocked = Vec::new();
        for (name, claim) in &mut self.claims {
            for (port, slot) in claim.slots.iter_mut().filter(|(_, slot)| slot.held.is_none()) {
                let external = crate::Port { transport: port.transport, number: slot.external };
                let by = self.plane.reserved.get(&external).filter(|by| *by != name);
                match hindrance(&self.config, slot, by) {
                    Some(_) if self.config.another => blocked.push((name.clone(), *port)),
                    Some(trouble) => {
                        slot.trouble = Some(trouble);
                        slot.rest();
                    }
                    None if slot.step == Step::Rest => {
                        slot.trouble = None;
                        slot.begin(now);
                    }
                    None => {}
                }
            }
        }
        for (name, port) in blocked {
            self.taken(now, &name, port, "others, as are those that were tried in its place", REVIEW);
        }
    }

    fn turn(&mut self, now: Instant) {
        self.review(now);
        if self.asked.is_none()
            && let Some((claim, protocol, ask, what)) = self.question(now)
            && let (Some(link), Some(of)) = (&self.link, self.claims.get(&claim))
        {
            self.number += 1;
            let (number, source) = (self.number, of.wanted.address);
            let request =
                Request { number, gateway: link.address, protocol, source, claim: claim.clone(), ask };
            if let (What::Map(port, external), Ask::Map(mapping)) = (&what, &request.ask) {
                let until = mapping.lease.map_or(Instant::NEVER, |lease| now + lease);
                let slot = self.claims.get_mut(&claim).and_then(|of| of.slots.get_mut(port));
                // It may do so and its answer be lost.
                slot.into_iter().for_each(|slot| slot.claim(*external, until));
            }
            self.asked = Some(Asked { number, claim, source, what, until: now + ANSWER });
            self.outputs.push_back(Output::Ask(request));
        }
        let missed = self.missed();
        for (name, claim) in &mut self.claims {
            let open = self.asked.as_ref().is_some_and(|asked| asked.claim == *name);
            let report = claim.report(self.link.as_ref(), missed.as_ref(), open);
            if claim.told.as_ref() != Some(&report) {
                claim.told = Some(report.clone());
                self.outputs.push_back(Output::Report(name.clone(), report));
            }
        }
    }

    /// Why the gateway cannot be asked, if it is looked for in vain or not at all.
    fn missed(&self) -> Option<Trouble> {
        let Some(link) = &self.link else { return Some(Trouble::NoGateway) };
        if self.config.protocols.is_empty() {
            return Some(Trouble::NoProtocol);
        }
        let silence = || Trouble::NotFound("it does not answer".to_owned());
        link.is_missed().then(|| link.why.clone().unwrap_or_else(silence))
    }
}

/// Why the gateway's port of a slot may not be asked for.
fn hindrance(config: &Config, slot: &Slot, reserved_by: Option<&Arc<str>>) -> Option<Trouble> {
    if !allowed(&config.ports, slot.external) {
        return Some(Trouble::NotAllowed(slot.external));
    }
    reserved_by.map(|claim| Trouble::Taken(slot.external, format!("the claim {claim}")))
}
