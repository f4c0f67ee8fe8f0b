//! Mappings without an end that one of the plane's claims has had and none has now: they are looked for in the gateway's table.

use crate::{
    Answer, Entry, Fault, Machine, Port,
    whose::{is_of, is_of_plane},
};

/// Entries of a gateway's table that are looked through, with those that are removed meanwhile.
const ENTRIES: usize = 256;

impl Machine {
    pub(crate) fn swept(&mut self, number: u32, answer: Result<Answer, Fault>) {
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

    pub(crate) fn removed(&mut self, number: u32, is_done: bool) {
        if let Some(found) = self.found() {
            found.removed.extend(found.removes.take());
            // Those after it have moved up.
            found.sweeps = Some(if is_done { number } else { number + 1 });
        }
    }

    fn is_leftover(&self, entry: &Entry) -> bool {
        let said = &entry.description;
        if !entry.permanent || !is_of_plane(said, &self.plane.prefix) {
            return false;
        }
        let own = self.claims.values().find(|claim| is_of(said, &claim.wanted.description));
        match own {
            Some(claim) => {
                let external = |port: &Port, number| Port { transport: port.transport, number };
                let slots = claim.slots.iter().map(|(port, slot)| external(port, slot.external));
                let closing = claim.closing.iter().map(|of| external(&of.port, of.external));
                !slots.chain(closing).any(|wanted| wanted == entry.external)
            }
            None => !self.plane.descriptions.iter().any(|known| is_of(said, known)),
        }
    }
}
