//! What is known of the gateway.

use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use foghorn_clock::Instant;

use crate::{Port, Protocol, Trouble, epoch::Epoch};

/// Between two readings of what a gateway has.
pub(crate) const READ: Duration = Duration::from_secs(30);
/// Between two looks how the gateway is to be spoken to.
pub(crate) const REDISCOVER: Duration = Duration::from_secs(3_600);
/// After all protocols were tried in vain.
const AGAIN: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(30)];
/// What gateways say unasked counts at most once in this time.
const HEED: Duration = Duration::from_secs(5);
/// So many questions in a row without an answer, and the gateway is looked for anew.
const SILENCE: u32 = 2;

/// What is known of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) address: Ipv4Addr,
    pub(crate) state: State,
    /// By which protocol it was spoken to last, and the outer address that it told: they count until others are known.
    pub(crate) known: Option<(Protocol, Option<Ipv4Addr>)>,
    /// What was said when it was looked for in vain.
    pub(crate) why: Option<Trouble>,
    /// How often it was looked for in vain.
    failures: usize,
    heeded: Option<Instant>,
    found_at: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is being looked for, by the protocol with this number in the order of preference, from then on.
    Seeking(usize, Instant),
    /// It answers.
    Found(Found),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) protocol: Protocol,
    epoch: Option<Epoch>,
    /// When its clock told last that it has lost its mappings.
    lost_at: Option<Instant>,
    /// Its clock has told so again since, too soon to be acted upon.
    doubted: bool,
    /// When it is read next what it has.
    pub(crate) read_at: Instant,
    /// How often that was done.
    pub(crate) reads: u32,
    /// When it is looked for again.
    pub(crate) seek_at: Instant,
    /// Which entry of its table is read next, in search of leftovers.
    pub(crate) sweeps: Option<u32>,
    /// That entry is a leftover: the gateway's port, which is to be removed.
    pub(crate) removes: Option<Port>,
    /// What it was asked to remove in this search. It need not have done so.
    pub(crate) removed: BTreeSet<Port>,
    silent: u32,
}

impl Link {
    pub(crate) const fn new(address: Ipv4Addr, now: Instant) -> Self {
        Self {
            address,
            state: State::Seeking(0, now),
            known: None,
            why: None,
            failures: 0,
            heeded: None,
            found_at: None,
        }
    }

    pub(crate) fn found(&self) -> Option<&Found> {
        match &self.state {
            State::Found(found) => Some(found),
            State::Seeking(..) => None,
        }
    }

    pub(crate) fn found_mut(&mut self) -> Option<&mut Found> {
        match &mut self.state {
            State::Found(found) => Some(found),
            State::Seeking(..) => None,
        }
    }

    /// It answers by that protocol. Whether that is news: if not, all that was learned of it still holds.
    pub(crate) fn find(&mut self, now: Instant, protocol: Protocol, outer: Option<Ipv4Addr>) -> bool {
        let anew = self.is_missed() || self.known.is_none_or(|(known, _)| known != protocol);
        self.why = None;
        self.failures = 0;
        self.found_at = Some(now);
        // PCP tells it with mappings only.
        let kept = self.known.filter(|(known, _)| *known == protocol && protocol == Protocol::Pcp);
        self.known = Some((protocol, outer.or_else(|| kept.and_then(|(_, outer)| outer))));
        self.state = State::Found(Found {
            protocol,
            epoch: None,
            lost_at: None,
            doubted: false,
            read_at: now + READ,
            reads: 0,
            seek_at: now + REDISCOVER,
            sweeps: (anew && protocol == Protocol::Igd).then_some(0),
            removes: None,
            removed: BTreeSet::new(),
            silent: 0,
        });
        anew
    }

    /// It is looked for from the beginning.
    pub(crate) fn seek(&mut self, at: Instant) {
        self.state = State::Seeking(0, at);
    }

    /// It is looked for from the beginning, since it does not answer as one that was found should: not at once if it was found
    /// just now.
    pub(crate) fn seek_again(&mut self, now: Instant) {
        self.seek(self.found_at.map_or(now, |found| now.max(found + HEED)));
    }

    /// It does not answer by the protocol of that number, of so many.
    pub(crate) fn miss(&mut self, now: Instant, number: usize, protocols: usize, why: Trouble) {
        // What it says by the first protocol that it is asked by tells most, unless it shows where it is.
        if self.why.is_none() || matches!(why, Trouble::Elsewhere(_)) {
            self.why = Some(why);
        }
        let next = number + 1;
        if next < protocols {
            self.state = State::Seeking(next, now);
        } else {
            let wait = AGAIN.get(self.failures).or(AGAIN.last()).copied().unwrap_or(READ);
            self.failures += 1;
            self.state = State::Seeking(0, now + wait);
        }
    }

    /// Whether it is looked for in vain.
    pub(crate) const fn is_missed(&self) -> bool {
        self.failures > 0
    }

    /// It has said something unasked. Any host can say that in its name, and as often as it likes: so the gateway is asked, and not
    /// more often than each five seconds.
    pub(crate) fn heed(&mut self, now: Instant) {
        let at = match self.heeded {
            Some(heeded) if now < heeded => return,
            Some(heeded) => now.max(heeded + HEED),
            None => now,
        };
        self.heeded = Some(at);
        match &mut self.state {
            State::Found(found) if found.protocol == Protocol::Igd => found.seek_at = at,
            State::Found(found) => found.read_at = at,
            State::Seeking(..) => self.seek(at),
        }
    }
}

impl Found {
    /// Whether it has kept its mappings since its clock was read before, if it has a clock. A clock that jumps with each reading
    /// tells of a loss each five seconds and no more often.
    pub(crate) fn goes_on(&mut self, now: Instant, seconds: Option<u32>) -> bool {
        let Some(seconds) = seconds else { return true };
        let read = Epoch::new(seconds, now);
        let lost = self.doubted || self.epoch.is_some_and(|before| !read.follows(before));
        self.epoch = Some(read);
        let again = self.lost_at.map(|at| at + HEED).filter(|at| now < *at);
        self.doubted = lost && again.is_some();
        match again {
            Some(again) if lost => self.read_at = self.read_at.min(again),
            Some(_) => {}
            None if lost => self.lost_at = Some(now),
            None => {}
        }
        !lost || self.doubted
    }

    /// Whether that reading of its clock, which nobody asked for, would mean that it has lost its mappings.
    pub(crate) fn contradicts(&self, now: Instant, seconds: u32) -> bool {
        self.epoch.is_some_and(|before| !Epoch::new(seconds, now).follows(before))
    }

    /// It has answered, whatever it said.
    pub(crate) const fn hear(&mut self) {
        self.silent = 0;
    }

    /// It has not. Whether it is to be looked for anew.
    pub(crate) const fn miss(&mut self) -> bool {
        self.silent += 1;
        self.silent >= SILENCE
    }
}
