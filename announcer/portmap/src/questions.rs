//! What the gateway is asked next.

use std::{net::Ipv4Addr, sync::Arc};

use foghorn_clock::Instant;

use crate::{
    Ask, Machine, Port, Protocol,
    claim::Claim,
    link::{Found, State},
    slot::{Slot, Step},
};

/// Every so many readings the outer address is read in place of a mapping.
const OUTER_EVERY: u32 = 10;

/// The question that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) number: u64,
    pub(crate) claim: Arc<str>,
    /// The claim's address as it was asked from.
    pub(crate) source: Ipv4Addr,
    pub(crate) what: What,
    pub(crate) until: Instant,
}

/// What a question is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// To find the gateway, by the protocol of this number.
    Find(usize),
    /// To see whether it is to be spoken to as before.
    Refind,
    /// To read its outer address and its clock.
    Outer,
    /// To find it by a protocol of a list that is not used any more.
    Outdated,
    /// To read whether it still has what it had, at this port of the gateway.
    Check(Port, u16),
    /// [`Step::Look`], at this port of the gateway.
    Look(Port, u16),
    /// [`Step::Evict`], at this port of the gateway.
    Evict(Port, u16),
    /// [`Step::Ask`] and [`Step::Renew`], for this port of the gateway.
    Map(Port, u16),
    /// To look whether what is to be taken back is the claim's.
    LookAtClosing(Port, u16),
    /// To take it back.
    Close(Port, u16),
    /// To find leftovers, by the entry of this number.
    Sweep(u32),
    /// To remove the leftover of this number.
    Remove(u32),
}

type Question = (Arc<str>, Protocol, Ask, What);

impl Machine {
    /// When the gateway is to be asked next.
    pub(crate) fn due(&self) -> Option<(Instant, &'static str)> {
        let link = self.link.as_ref()?;
        if !self.claims.values().any(Claim::is_busy) {
            return None;
        }
        match &link.state {
            State::Seeking(number, at) => {
                self.config.protocols.get(*number).map(|_| (*at, "the gateway is looked for"))
            }
            State::Found(found) => {
                let claims = || self.claims.values();
                let slots = claims().flat_map(|claim| claim.slots.values());
                let slots = slots.filter(|slot| slot.step != Step::Rest);
                let slots = slots.map(|slot| (slot.due, "a port is asked for"));
                let closing = claims().flat_map(|claim| &claim.closing);
                let closing = closing.map(|closing| (closing.due, "a port is given back"));
                let sweep = found.sweeps.map(|_| (Instant::ZERO, "leftovers are looked for"));
                let own = [
                    (found.seek_at, "the gateway is looked for again"),
                    (found.read_at, "the gateway is read"),
                ];
                let all = slots.chain(closing).chain(sweep).chain(own);
                all.filter(|(at, _)| *at < Instant::NEVER).min()
            }
        }
    }

    /// What the gateway is asked now, if anything.
    pub(crate) fn question(&self, now: Instant) -> Option<Question> {
        self.due().filter(|(at, _)| *at <= now)?;
        match &self.link.as_ref()?.state {
            State::Seeking(number, _) => {
                let protocol = *self.config.protocols.get(*number)?;
                Some((self.speaker()?, protocol, Ask::Find, What::Find(*number)))
            }
            State::Found(found) => self
                .closing(now, found)
                .or_else(|| self.step(now, found))
                .or_else(|| self.rediscovery(now, found))
                .or_else(|| self.sweep(found))
                .or_else(|| self.reading(now, found)),
        }
    }

    /// The claim from whose address is spoken where it does not matter which.
    fn speaker(&self) -> Option<Arc<str>> {
        let busy = || self.claims.iter().filter(|(_, claim)| claim.is_busy()).map(|(name, _)| name);
        let after = busy().find(|name| self.mute.as_ref().is_some_and(|mute| *name > mute));
        after.or_else(|| busy().next()).cloned()
    }

    fn closing(&self, now: Instant, found: &Found) -> Option<Question> {
        self.claims.iter().find_map(|(name, claim)| {
            let closing = claim.closing.iter().find(|closing| closing.due <= now)?;
            let (port, external) = (closing.port, closing.external);
            let (ask, what) = if found.protocol == Protocol::Igd && !closing.looked {
                let at_gateway = Port { transport: port.transport, number: external };
                (Ask::Entry(at_gateway), What::LookAtClosing(port, external))
            } else {
                (Ask::Unmap(claim.mapping(port, external)), What::Close(port, external))
            };
            Some((name.clone(), found.protocol, ask, what))
        })
    }

    fn step(&self, now: Instant, found: &Found) -> Option<Question> {
        self.claims.iter().find_map(|(name, claim)| {
            let due = |slot: &Slot| slot.step != Step::Rest && slot.due <= now;
            let (port, slot) = claim.slots.iter().find(|(_, slot)| due(slot))?;
            let external = slot.external;
            let at_gateway = Port { transport: port.transport, number: external };
            let (ask, what) = match slot.step(found.protocol) {
                Step::Look => (Ask::Entry(at_gateway), What::Look(*port, external)),
                Step::Evict => (Ask::Unmap(claim.mapping(*port, external)), What::Evict(*port, external)),
                Step::Ask | Step::Renew => {
                    (Ask::Map(claim.mapping_of(*port, slot)), What::Map(*port, external))
                }
                Step::Rest => return None,
            };
            Some((name.clone(), found.protocol, ask, what))
        })
    }

    fn rediscovery(&self, now: Instant, found: &Found) -> Option<Question> {
        (found.seek_at <= now)
            .then(|| Some((self.speaker()?, found.protocol, Ask::Find, What::Refind)))
            .flatten()
    }

    fn sweep(&self, found: &Found) -> Option<Question> {
        let number = found.sweeps?;
        if let Some(external) = found.removes {
            let (name, claim) = self.claims.iter().find(|(_, claim)| claim.is_busy())?;
            let mapping = claim.mapping(external, external.number);
            return Some((name.clone(), found.protocol, Ask::Unmap(mapping), What::Remove(number)));
        }
        Some((self.speaker()?, found.protocol, Ask::List(number), What::Sweep(number)))
    }

    /// One cheap question that shows whether the gateway still has what it had.
    fn reading(&self, now: Instant, found: &Found) -> Option<Question> {
        if found.read_at > now {
            return None;
        }
        let turn = usize::try_from(found.reads).unwrap_or_default();
        let held = || {
            let ports = |(name, claim)| Claim::held(claim).map(move |port| (name, port));
            self.claims.iter().flat_map(ports)
        };
        let count = held().count();
        let outer = found.protocol != Protocol::Igd || found.reads % OUTER_EVERY == OUTER_EVERY - 1;
        if outer || count == 0 {
            return Some((self.speaker()?, found.protocol, Ask::Outer, What::Outer));
        }
        let (name, (port, external)) = held().nth(turn % count)?;
        let at_gateway = Port { transport: port.transport, number: external };
        Some((Arc::clone(name), found.protocol, Ask::Entry(at_gateway), What::Check(port, external)))
    }
}
