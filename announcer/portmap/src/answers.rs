//! What follows from an answer.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use foghorn_clock::Instant;

use crate::{
    Answer, Entry, Fault, Machine, Port, Protocol, Trouble,
    choice::allowed,
    link::{Found, READ, REDISCOVER, State},
    questions::{Asked, What},
    slot::{Slot, Step},
    whose::{Whose, whose},
};

/// The address of a claim is on the node within this time.
const BOUND: Duration = Duration::from_millis(500);
/// After a question without an answer.
const ANEW: Duration = Duration::from_secs(5);
/// After a port was taken, or the gateway was at fault.
const TAKEN: Duration = Duration::from_secs(60);
/// After the gateway refused.
const REFUSED: Duration = Duration::from_secs(300);
/// A mapping that ends sooner is none: it would have to be asked for without a pause.
const SHORTEST: Duration = Duration::from_secs(15);

impl Machine {
    pub(crate) fn answered(&mut self, now: Instant, asked: Asked, answer: Result<Answer, Fault>) {
        let Asked { claim, what, source, .. } = asked;
        if let What::Find(number) = what {
            return self.sought(now, &claim, number, answer);
        }
        let is_current = self.is_current(&claim, &what, source);
        match &answer {
            Err(Fault::NotBound(_)) => {
                self.mute = Some(claim.clone());
                if is_current {
                    self.put_off(&claim, &what, now + BOUND);
                }
                return;
            }
            Err(Fault::Silent(_)) => {
                let lost = self.found().is_some_and(Found::miss);
                if let Some(link) = self.link.as_mut().filter(|_| lost) {
                    link.seek_again(now);
                }
                if is_current {
                    return self.put_off(&claim, &what, now + ANEW);
                }
            }
            Ok(_) | Err(_) => {
                if let Some(found) = self.found() {
                    found.hear();
                }
            }
        }
        if !is_current {
            return self.give_back(now, &claim, &what, answer);
        }
        match what {
            What::Find(_) | What::Outdated => {}
            What::Refind => self.refound(now, answer),
            What::Outer => self.read(now, answer),
            What::Check(port, _) => self.checked(now, &claim, port, answer),
            What::Look(port, _) => self.looked(now, &claim, port, answer),
            What::Evict(port, _) => self.evicted(now, &claim, port, &answer),
            What::Map(port, external) => self.mapped(now, &claim, port, external, answer),
            What::LookAtClosing(port, external) => self.looked_at_closing(&claim, port, external, &answer),
            What::Close(port, external) => self.closed(&claim, port, external),
            What::Sweep(number) => self.swept(number, answer),
            What::Remove(number) => self.removed(number, answer.is_ok()),
        }
    }

    /// Whether a question is still about what is wanted: while it was under way, a port may have gone, or be wanted at another of
    /// the gateway's, or the claim may have got another address.
    fn is_current(&self, claim: &Arc<str>, what: &What, source: Ipv4Addr) -> bool {
        let (What::Check(port, external)
        | What::Look(port, external)
        | What::Evict(port, external)
        | What::Map(port, external)) = what
        else {
            return *what != What::Outdated;
        };
        self.claims
            .get(claim)
            .filter(|of| of.wanted.address == source)
            .is_some_and(|of| of.slots.get(port).is_some_and(|slot| slot.external == *external))
    }

    /// What the gateway has done, or may have, though it is not wanted any more.
    fn give_back(&mut self, now: Instant, claim: &Arc<str>, what: &What, answer: Result<Answer, Fault>) {
        let What::Map(port, asked_for) = *what else { return };
        let external = match answer {
            Ok(Answer::Mapped { external, .. }) => external,
            Err(Fault::Silent(_)) => asked_for,
            Ok(_) | Err(_) => return,
        };
        self.claims.get_mut(claim).into_iter().for_each(|of| of.close(port, external, now));
    }

    pub(crate) fn found(&mut self) -> Option<&mut Found> {
        self.link.as_mut()?.found_mut()
    }

    fn slot(&mut self, claim: &Arc<str>, port: Port) -> Option<&mut Slot> {
        self.claims.get_mut(claim)?.slots.get_mut(&port)
    }

    /// What was asked is asked again, then.
    fn put_off(&mut self, claim: &Arc<str>, what: &What, at: Instant) {
        match what {
            What::Look(port, _) | What::Evict(port, _) | What::Map(port, _) => {
                if let Some(slot) = self.slot(claim, *port) {
                    slot.put_off(at);
                }
            }
            What::LookAtClosing(port, external) | What::Close(port, external) => {
                let of = self.claims.get_mut(claim);
                if let Some(closing) = of.and_then(|of| of.closing_mut(*port, *external)) {
                    closing.due = at;
                }
            }
            What::Refind => self.found().into_iter().for_each(|found| found.seek_at = at),
            What::Outer | What::Check(..) => self.found().into_iter().for_each(|found| found.read_at = at),
            What::Sweep(_) | What::Remove(_) => {
                self.found().into_iter().for_each(|found| (found.sweeps, found.removes) = (None, None));
            }
            What::Find(_) | What::Outdated => {}
        }
    }

    fn sought(&mut self, now: Instant, claim: &Arc<str>, number: usize, answer: Result<Answer, Fault>) {
        let Some(protocol) = self.config.protocols.get(number).copied() else { return };
        let protocols = self.config.protocols.len();
        let Some(link) = &mut self.link else { return };
        match answer {
            Ok(Answer::Found { outer, epoch }) => {
                let anew = link.find(now, protocol, outer);
                let slots = self.claims.values_mut().flat_map(|claim| claim.slots.values_mut());
                let mut any_held = false;
                for slot in slots {
                    any_held |= slot.held.is_some();
                    if anew && slot.held.is_none() && slot.step != Step::Rest {
                        slot.begin(now);
                    }
                }
                if let Some(found) = self.found() {
                    found.goes_on(now, epoch);
                    if any_held {
                        found.read_at = now;
                    }
                }
                // Without a look at its table there is no other way to know what it has kept.
                if protocol != Protocol::Igd {
                    self.lose_all(now);
                }
            }
            Err(Fault::NotBound(_)) => {
                link.state = State::Seeking(number, now + BOUND);
                self.mute = Some(claim.clone());
            }
            Err(Fault::Elsewhere(address)) => link.miss(now, number, protocols, Trouble::Elsewhere(address)),
            Ok(_) => {
                let why = format!("{protocol}: it answers what was not asked");
                link.miss(now, number, protocols, Trouble::NotFound(why));
            }
            Err(fault) => {
                link.miss(now, number, protocols, Trouble::NotFound(format!("{protocol}: {fault}")));
            }
        }
    }

    fn refound(&mut self, now: Instant, answer: Result<Answer, Fault>) {
        let Some(link) = &mut self.link else { return };
        match (answer, link.found_mut()) {
            (Ok(Answer::Found { outer, epoch }), Some(found)) => {
                found.seek_at = now + REDISCOVER;
                found.read_at = now;
                self.take_outer(now, outer, epoch);
            }
            _ => link.seek_again(now),
        }
    }

    fn read(&mut self, now: Instant, answer: Result<Answer, Fault>) {
        self.next_reading(now);
        if let Ok(Answer::Found { outer, epoch }) = answer {
            self.take_outer(now, outer, epoch);
        }
    }

    fn next_reading(&mut self, now: Instant) {
        if let Some(found) = self.found() {
            found.reads = found.reads.wrapping_add(1);
            found.read_at = now + READ;
        }
    }

    fn take_outer(&mut self, now: Instant, outer: Option<Ipv4Addr>, epoch: Option<u32>) {
        let Some(link) = &mut self.link else { return };
        let Some(protocol) = link.found().map(|found| found.protocol) else { return };
        // PCP tells it with mappings only.
        if outer.is_some() || protocol != Protocol::Pcp {
            link.known = Some((protocol, outer));
        }
        let Some(found) = self.found() else { return };
        if !found.goes_on(now, epoch) {
            self.lose_all(now);
        }
    }

    fn checked(&mut self, now: Instant, claim: &Arc<str>, port: Port, answer: Result<Answer, Fault>) {
        self.next_reading(now);
        let Ok(Answer::Entry(entry)) = answer else { return };
        let Some(of) = self.claims.get(claim) else { return };
        let whose = entry.map(|entry| whose(&entry, &of.wanted, port.number, true));
        if !matches!(whose, Some(Whose::Ours | Whose::Likely)) {
            self.lose_all(now);
        }
    }

    fn looked(&mut self, now: Instant, claim: &Arc<str>, port: Port, answer: Result<Answer, Fault>) {
        let Some(of) = self.claims.get_mut(claim) else { return };
        let Some(slot) = of.slots.get_mut(&port) else { return };
        let step = match answer {
            Ok(Answer::Entry(Some(entry))) => {
                match whose(&entry, &of.wanted, port.number, slot.is_claimed(now)) {
                    Whose::Ours | Whose::Likely => Step::Ask,
                    Whose::Former => Step::Evict,
                    Whose::Foreign => {
                        let Entry { client, port: number, description, .. } = &entry;
                        let whose = format!("{client}:{number} ({description:?})");
                        return self.taken(now, claim, port, &whose, TAKEN);
                    }
                }
            }
            // A gateway that does not let one look refuses by itself what is another's.
            Ok(_) | Err(_) => Step::Ask,
        };
        (slot.step, slot.due) = (step, now);
    }

    fn evicted(&mut self, now: Instant, claim: &Arc<str>, port: Port, answer: &Result<Answer, Fault>) {
        if answer.is_ok() {
            if let Some(slot) = self.slot(claim, port) {
                (slot.step, slot.due) = (Step::Ask, now);
            }
        } else {
            let whose = "this Service's former address, and the gateway keeps that until its end";
            self.taken(now, claim, port, whose, TAKEN);
        }
    }

    fn mapped(
        &mut self,
        now: Instant,
        claim: &Arc<str>,
        port: Port,
        asked_for: u16,
        answer: Result<Answer, Fault>,
    ) {
        let protocol = self.found().map(|found| found.protocol);
        match answer {
            Ok(Answer::Mapped { external, lease, outer, epoch }) => {
                if let (Some(link), Some(protocol), Some(_)) = (&mut self.link, protocol, outer) {
                    link.known = Some((protocol, outer));
                }
                let lost = self.found().is_some_and(|found| !found.goes_on(now, epoch));
                if lost {
                    self.lose_all(now);
                }
                // What was asked for just now is there, even if all else is lost.
                self.take_mapped(now, claim, port, asked_for, external, lease);
            }
            Ok(_) => self.failed(now, claim, port, "it answers what was not asked".to_owned(), TAKEN),
            Err(Fault::Taken) => self.taken(now, claim, port, "another host", TAKEN),
            Err(Fault::PermanentOnly) => {
                let Some(slot) = self.slot(claim, port) else { return };
                if slot.permanent_only {
                    let why = "it takes neither a mapping that ends nor one without an end".to_owned();
                    return self.failed(now, claim, port, why, REFUSED);
                }
                (slot.permanent_only, slot.due) = (true, now);
            }
            Err(Fault::SamePortOnly) => {
                let same = port.number;
                let may = self.config.another && asked_for != same && allowed(&self.config.ports, same);
                match self.slot(claim, port).filter(|_| may) {
                    Some(slot) => {
                        slot.external = same;
                        slot.begin(now);
                    }
                    None => {
                        let why = format!("it forwards ports to the same ports only, and this is {same}");
                        self.failed(now, claim, port, why, REFUSED);
                    }
                }
            }
            Err(Fault::Arguments(why)) => {
                let Some(slot) = self.slot(claim, port) else { return };
                if slot.plain {
                    return self.failed(now, claim, port, why, REFUSED);
                }
                (slot.plain, slot.due) = (true, now);
            }
            // It may be spoken to in another way from now on.
            Err(fault @ Fault::Unsupported(_)) => {
                self.failed(now, claim, port, fault.to_string(), TAKEN);
                self.link.iter_mut().for_each(|link| link.seek_again(now));
            }
            Err(fault @ (Fault::Full | Fault::Broken(_))) => {
                self.failed(now, claim, port, fault.to_string(), TAKEN);
            }
            Err(fault) => self.failed(now, claim, port, fault.to_string(), REFUSED),
        }
    }

    fn failed(&mut self, now: Instant, claim: &Arc<str>, port: Port, why: String, again: Duration) {
        if let Some(slot) = self.slot(claim, port) {
            slot.fail(now, Trouble::Refused(why), again);
        }
    }

    fn take_mapped(
        &mut self,
        now: Instant,
        claim: &Arc<str>,
        port: Port,
        asked_for: u16,
        external: u16,
        lease: Option<Duration>,
    ) {
        if let Some(lease) = lease.filter(|lease| *lease < SHORTEST) {
            self.slot(claim, port).into_iter().for_each(|slot| slot.held = None);
            let why = format!("it forwards it for {} s only", lease.as_secs());
            return self.failed(now, claim, port, why, TAKEN);
        }
        let given = Port { transport: port.transport, number: external };
        let free = self.plane.reserved.get(&given).is_none_or(|by| by == claim);
        // The ports that may be asked for can have changed meanwhile.
        let fits =
            allowed(&self.config.ports, external) && (external == asked_for || (self.config.another && free));
        if !fits {
            self.claims.get_mut(claim).into_iter().for_each(|of| of.close(port, external, now));
            return self.taken(now, claim, port, "another host", TAKEN);
        }
        if let Some(slot) = self.slot(claim, port) {
            slot.hold(now, external, lease);
            self.forget_closing(claim, port, given);
        }
    }

    /// A new mapping has replaced the one that was to be removed, and the removal would take the new one away: IGD names mappings
    /// by the gateway's port, NAT-PMP and PCP by the host's.
    fn forget_closing(&mut self, claim: &Arc<str>, port: Port, given: Port) {
        let igd = self.found().is_none_or(|found| found.protocol == Protocol::Igd);
        for (name, of) in &mut self.claims {
            of.closing.retain(|closing| {
                let at_gateway = Port { transport: closing.port.transport, number: closing.external };
                if igd { at_gateway != given } else { name != claim || closing.port != port }
            });
        }
    }

    fn looked_at_closing(
        &mut self,
        claim: &Arc<str>,
        port: Port,
        external: u16,
        answer: &Result<Answer, Fault>,
    ) {
        let Some(of) = self.claims.get_mut(claim) else { return };
        let ours = match answer {
            Ok(Answer::Entry(Some(entry))) => {
                matches!(whose(entry, &of.wanted, port.number, true), Whose::Ours | Whose::Former)
            }
            Ok(_) => false,
            // What cannot be looked at is known to have been asked for.
            Err(_) => true,
        };
        match of.closing_mut(port, external) {
            Some(closing) if ours => closing.looked = true,
            Some(_) | None => self.closed(claim, port, external),
        }
    }

    /// It is gone, or not to be had.
    fn closed(&mut self, claim: &Arc<str>, port: Port, external: u16) {
        if let Some(of) = self.claims.get_mut(claim) {
            of.closing.retain(|closing| (closing.port, closing.external) != (port, external));
        }
    }
}
