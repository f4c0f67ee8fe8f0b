//! A claim of this node: its ports, and what of it is still to be taken back.

use std::collections::BTreeMap;

use foghorn_clock::Instant;
use sha2::{Digest, Sha256};

use crate::{
    Config, Mapping, Port, Report, Standing, Trouble, Wanted,
    choice::allowed,
    link::Link,
    slot::{Slot, Step},
    whose::plain,
};

/// A claim of this node.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) wanted: Wanted,
    pub(crate) slots: BTreeMap<Port, Slot>,
    pub(crate) closing: Vec<Closing>,
    pub(crate) told: Option<Report>,
}

/// A mapping that is to be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    pub(crate) port: Port,
    pub(crate) external: u16,
    /// Whether it is known to be the claim's.
    pub(crate) looked: bool,
    pub(crate) due: Instant,
}

impl Claim {
    /// A claim that is new here. What another node has asked the gateway for is gone on with.
    pub(crate) fn new(wanted: Wanted, config: &Config, now: Instant) -> Self {
        let mut claim = Self { wanted, slots: BTreeMap::new(), closing: Vec::new(), told: None };
        if !claim.wanted.ending {
            for (port, wish) in &claim.wanted.ports {
                let had = claim.wanted.had.get(port).copied();
                let usable = |had: &u16| had == wish || (config.another && allowed(&config.ports, *had));
                let had = had.filter(usable);
                let mut slot = Slot::new(had.unwrap_or(*wish), now);
                had.into_iter().for_each(|had| slot.claim(had, Instant::NEVER));
                claim.slots.insert(*port, slot);
            }
        }
        let left: Vec<_> = claim.wanted.had.iter().map(|(port, external)| (*port, *external)).collect();
        for (port, external) in left {
            if claim.slots.get(&port).is_none_or(|slot| slot.external != external) {
                claim.close(port, external, now);
            }
        }
        claim
    }

    /// Something else is wanted from now on.
    pub(crate) fn want(&mut self, wanted: Wanted, now: Instant) {
        let before = std::mem::replace(&mut self.wanted, wanted);
        let stays =
            |port: &Port| !self.wanted.ending && self.wanted.ports.get(port) == before.ports.get(port);
        let gone: Vec<_> = self.slots.keys().filter(|port| !stays(port)).copied().collect();
        for port in gone {
            let Some(slot) = self.slots.remove(&port) else { continue };
            // Another node may have had it, and this one not have asked yet.
            let had = [&before.had, &self.wanted.had].map(|had| had.get(&port) == Some(&slot.external));
            if slot.held.is_some() || had.contains(&true) {
                self.close(port, slot.external, now);
            }
        }
        if !self.wanted.ending {
            for (port, wish) in &self.wanted.ports {
                self.slots.entry(*port).or_insert_with(|| Slot::new(*wish, now));
            }
        }
        if before.address != self.wanted.address {
            self.slots.values_mut().for_each(|slot| slot.move_away(now));
        } else if before.lease != self.wanted.lease {
            for slot in self.slots.values_mut().filter(|slot| slot.held.is_some()) {
                (slot.step, slot.due) = (Step::Renew, now);
            }
        }
    }

    /// Gives back those of the gateway's ports that it has and may no longer have.
    pub(crate) fn forsake(&mut self, now: Instant, is_forbidden: impl Fn(u16) -> bool) {
        let forbidden: Vec<_> = self.held().filter(|(_, external)| is_forbidden(*external)).collect();
        for (port, external) in forbidden {
            self.close(port, external, now);
            self.slots.get_mut(&port).into_iter().for_each(|slot| slot.begin(now));
        }
    }

    /// The gateway's port is to be forwarded no longer.
    pub(crate) fn close(&mut self, port: Port, external: u16, now: Instant) {
        if self.closing_mut(port, external).is_none() {
            self.closing.push(Closing { port, external, looked: false, due: now });
        }
    }

    /// What is to be taken back of a port, by the gateway's.
    pub(crate) fn closing_mut(&mut self, port: Port, external: u16) -> Option<&mut Closing> {
        self.closing.iter_mut().find(|closing| (closing.port, closing.external) == (port, external))
    }

    /// Whether there is anything that the gateway is needed for.
    pub(crate) fn is_busy(&self) -> bool {
        !self.slots.is_empty() || !self.closing.is_empty()
    }

    /// The ports that the gateway forwards, with its own.
    pub(crate) fn held(&self) -> impl Iterator<Item = (Port, u16)> {
        let held = self.slots.iter().filter(|(_, slot)| slot.held.is_some());
        held.map(|(port, slot)| (*port, slot.external))
    }

    /// The mapping of a port.
    pub(crate) fn mapping(&self, port: Port, external: u16) -> Mapping {
        let Wanted { lease, description, secret, .. } = &self.wanted;
        Mapping {
            port,
            external,
            lease: *lease,
            description: description.clone(),
            nonce: nonce(secret, port),
        }
    }

    /// The mapping of a port as the gateway takes it.
    pub(crate) fn mapping_of(&self, port: Port, slot: &Slot) -> Mapping {
        let mut mapping = self.mapping(port, slot.external);
        mapping.lease = mapping.lease.filter(|_| !slot.permanent_only);
        if slot.plain {
            mapping.description = plain(&mapping.description);
        }
        mapping
    }

    /// How its ports stand at the gateway, which may be missed, and may have a question open.
    pub(crate) fn report(&self, link: Option<&Link>, missed: Option<&Trouble>, open: bool) -> Report {
        let standing = |slot: &Slot| match (slot.standing(), missed) {
            (Standing::Asking, Some(missed)) => Standing::Failed(missed.clone()),
            (Standing::Failed(_), Some(missed)) if slot.step != Step::Rest => {
                Standing::Failed(missed.clone())
            }
            (Standing::Forwarded { external, until, permanent_only, trouble }, missed) => {
                let trouble = missed.cloned().or(trouble);
                Standing::Forwarded { external, until, permanent_only, trouble }
            }
            (standing, _) => standing,
        };
        let closing = self
            .closing
            .iter()
            .map(|closing| (closing.port, Standing::Closing { external: closing.external }));
        let slots = self.slots.iter().map(|(port, slot)| (*port, standing(slot)));
        let known = link.and_then(|link| link.known);
        Report {
            gateway: link.map(|link| link.address),
            protocol: known.map(|(protocol, _)| protocol),
            outer: known.and_then(|(_, outer)| outer),
            ports: closing.chain(slots).collect(),
            gone: self.wanted.ending && !self.is_busy() && !open,
        }
    }
}

/// A mapping nonce that all nodes know alike, and nobody else (RFC 6887, 11.1).
fn nonce(secret: &[u8; 32], port: Port) -> [u8; 12] {
    let mut hash = Sha256::new();
    hash.update(secret);
    hash.update(port.transport.to_string());
    hash.update(port.number.to_be_bytes());
    let mut nonce = [0; 12];
    nonce.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    nonce
}
