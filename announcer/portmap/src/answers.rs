//! What follows from an answer.

use std::{sync::Arc, time::Duration};

use foghorn_clock::Instant;

use crate::{
    Answer, Entry, Fault, Machine, Port, Protocol, Trouble,
    choice::allowed,
    link::{Found, READ, REDISCOVER, State},
    questions::{Asked, What},
    slot::{Slot, Step, Whose, whose},
};

/// The address of a claim is on the node within this time.
const BOUND: Duration = Duration::from_millis(500);
/// After a question without an answer.
const ANEW: Duration = Duration::from_secs(5);
/// After a port was taken, or the gateway was at fault.
const TAKEN: Duration = Duration::from_secs(60);
/// After the gateway refused.
const REFUSED: Duration = Duration::from_secs(300);
/// Entries of a gateway's table that are looked through, with those that are removed meanwhile.
const ENTRIES: usize = 256;

impl Machine {
    pub(crate) fn answered(&mut self, now: Instant, asked: Asked, answer: Result<Answer, Fault>) {
        let Asked { claim, what, .. } = asked;
        if let What::Find(number) = what {
            return self.sought(now, &claim, number, answer);
        }
        match &answer {
            Err(Fault::NotBound(_)) => {
                self.mute = Some(claim.clone());
                return self.put_off(&claim, &what, now + BOUND);
            }
            Err(Fault::Silent(_)) => {
                let lost = self.found().is_some_and(Found::miss);
                self.put_off(&claim, &what, now + ANEW);
                if let Some(link) = self.link.as_mut().filter(|_| lost) {
                    link.seek(now);
                }
                return;
            }
            Ok(_) | Err(_) => {
                if let Some(found) = self.found() {
                    found.hear();
                }
            }
        }
        match what {
            What::Find(_) => {}
            What::Refind => self.refound(now, answer),
            What::Outer => self.read(now, answer),
            What::Check(port) => self.checked(now, &claim, port, answer),
            What::Look(port) => self.looked(now, &claim, port, answer),
            What::Evict(port) => self.evicted(now, &claim, port, &answer),
            What::Map(port, external) => self.mapped(now, &claim, port, external, answer),
            What::LookAtClosing(port, external) => self.looked_at_closing(&claim, port, external, answer),
            What::Close(port, external) => self.closed(&claim, port, external),
            What::Sweep(number) => self.swept(number, answer),
            What::Remove(number) => {
                if let Some(found) = self.found() {
                    found.removed.extend(found.removes.take());
                    // Those after it have moved up.
                    found.sweeps = Some(if answer.is_ok() { number } else { number + 1 });
                }
            }
        }
    }

    fn found(&mut self) -> Option<&mut Found> {
        self.link.as_mut()?.found_mut()
    }

    fn slot(&mut self, claim: &Arc<str>, port: Port) -> Option<&mut Slot> {
        self.claims.get_mut(claim)?.slots.get_mut(&port)
    }

    /// What was asked is asked again, then.
    fn put_off(&mut self, claim: &Arc<str>, what: &What, at: Instant) {
        match what {
            What::Look(port) | What::Evict(port) | What::Map(port, _) => {
                if let Some(slot) = self.slot(claim, *port) {
                    slot.due = at;
                }
            }
            What::LookAtClosing(port, external) | What::Close(port, external) => {
                let of = self.claims.get_mut(claim);
                if let Some(closing) = of.and_then(|of| of.closing_mut(*port, *external)) {
                    closing.due = at;
                }
            }
            What::Refind => self.found().into_iter().for_each(|found| found.seek_at = at),
            What::Outer | What::Check(_) => self.found().into_iter().for_each(|found| found.read_at = at),
            What::Sweep(_) | What::Remove(_) => {
                self.found().into_iter().for_each(|found| (found.sweeps, found.removes) = (None, None));
            }
            What::Find(_) => {}
        }
    }

    fn sought(&mut self, now: Instant, claim: &Arc<str>, number: usize, answer: Result<Answer, Fault>) {
        let Some(protocol) = self.config.protocols.get(number).copied() else { return };
        let protocols = self.config.protocols.len();
        let Some(link) = &mut self.link else { return };
        match answer {
            Ok(Answer::Found { outer, epoch }) => {
                link.find(now, protocol, outer);
                let slots = self.claims.values_mut().flat_map(|claim| claim.slots.values_mut());
                let mut any_held = false;
                for slot in slots {
                    any_held |= slot.held.is_some();
                    if slot.held.is_none() && slot.step != Step::Rest {
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
            Ok(_) => link.miss(now, number, protocols, format!("{protocol}: it answers what was not asked")),
            Err(fault) => link.miss(now, number, protocols, format!("{protocol}: {fault}")),
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
            _ => link.seek(now),
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

    fn take_outer(&mut self, now: Instant, outer: Option<std::net::Ipv4Addr>, epoch: Option<u32>) {
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
        let Some(of) = self.claims.get(claim).filter(|of| of.slots.contains_key(&port)) else { return };
        let is_ours = |entry: &Entry| whose(entry, &of.wanted, port.number) == Whose::Ours;
        if !entry.as_ref().is_some_and(is_ours) {
            self.lose_all(now);
        }
    }

    fn looked(&mut self, now: Instant, claim: &Arc<str>, port: Port, answer: Result<Answer, Fault>) {
        let Some(of) = self.claims.get_mut(claim) else { return };
        let Some(slot) = of.slots.get_mut(&port) else { return };
        let step = match answer {
            Ok(Answer::Entry(Some(entry))) => match whose(&entry, &of.wanted, port.number) {
                Whose::Ours => Step::Ask,
                Whose::Former => Step::Evict,
                Whose::Foreign => {
                    let Entry { client, port: number, description, .. } = &entry;
                    let whose = format!("{client}:{number} ({description:?})");
                    return self.taken(now, claim, port, &whose, TAKEN);
                }
            },
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
                self.take_mapped(now, claim, port, asked_for, external, lease);
                // What was asked for just now is there; all else may be lost.
                if let (Some(link), Some(protocol), Some(_)) = (&mut self.link, protocol, outer) {
                    link.known = Some((protocol, outer));
                }
                let lost = self.found().is_some_and(|found| !found.goes_on(now, epoch));
                if lost {
                    self.lose_all(now);
                }
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
            Err(Fault::Unsupported(_)) if protocol.is_some() => {
                self.put_off(claim, &What::Map(port, asked_for), now + ANEW);
                if let Some(link) = &mut self.link {
                    link.seek(now);
                }
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
        let by_inner_port = self.found().is_some_and(|found| found.protocol != Protocol::Igd);
        let given = Port { transport: port.transport, number: external };
        let free = self.plane.reserved.get(&given).is_none_or(|by| by == claim);
        let fits =
            external == asked_for || (self.config.another && free && allowed(&self.config.ports, external));
        let Some(of) = self.claims.get_mut(claim) else { return };
        match of.slots.get_mut(&port) {
            Some(slot) if slot.external == asked_for && fits => {
                slot.hold(now, external, lease);
                // To NAT-PMP and PCP a mapping is its inner port: the new one has replaced the one that was to be removed, and
                // the removal would take the new one away.
                if by_inner_port {
                    of.closing.retain(|closing| closing.port != port);
                }
            }
            // Not wanted any more, or not this one: it goes back.
            Some(slot) if slot.external == asked_for => {
                of.close(port, external, now);
                self.taken(now, claim, port, "another host", TAKEN);
            }
            Some(_) | None => of.close(port, external, now),
        }
    }

    fn looked_at_closing(
        &mut self,
        claim: &Arc<str>,
        port: Port,
        external: u16,
        answer: Result<Answer, Fault>,
    ) {
        let Some(of) = self.claims.get_mut(claim) else { return };
        let ours = match &answer {
            Ok(Answer::Entry(Some(entry))) => whose(entry, &of.wanted, port.number) != Whose::Foreign,
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

    /// A leftover is a mapping without an end that one of the plane's claims has had, and none has now.
    fn swept(&mut self, number: u32, answer: Result<Answer, Fault>) {
        let removed = self.found().map_or(0, |found| found.removed.len());
        let looked_at = usize::try_from(number).unwrap_or(usize::MAX).saturating_add(removed);
        let leftover = match answer {
            Ok(Answer::Entry(Some(entry))) if looked_at < ENTRIES => {
                self.is_leftover(&entry).then_some(entry)
            }
            _ => {
                self.found().into_iter().for_each(|found| found.sweeps = None);
                return;
            }
        };
        if let Some(found) = self.found() {
            // A gateway may say that it has removed an entry, and list it still.
            let leftover = leftover.filter(|entry| !found.removed.contains(&entry.external));
            found.sweeps = Some(if leftover.is_some() { number } else { number + 1 });
            found.removes = leftover.map(|entry| entry.external);
        }
    }

    fn is_leftover(&self, entry: &Entry) -> bool {
        let said = &entry.description;
        let of_plane = !self.plane.prefix.is_empty() && said.starts_with(&self.plane.prefix);
        if !entry.permanent || !of_plane {
            return false;
        }
        let own = self.claims.values().find(|claim| claim.wanted.description == *said);
        match own {
            Some(claim) => {
                let external = |port: &Port, number| Port { transport: port.transport, number };
                let slots = claim.slots.iter().map(|(port, slot)| external(port, slot.external));
                let closing = claim.closing.iter().map(|of| external(&of.port, of.external));
                !slots.chain(closing).any(|wanted| wanted == entry.external)
            }
            // Descriptions that the gateway has cut are not told apart.
            None => !self.plane.descriptions.iter().any(|known| known.starts_with(said.as_str())),
        }
    }
}
