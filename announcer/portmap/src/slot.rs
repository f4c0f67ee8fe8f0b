//! One port that is to be forwarded, and where it stands.

use std::time::Duration;

use foghorn_clock::Instant;

use crate::{Protocol, Standing, Trouble};

/// After a renewal that failed the next one is tried no sooner.
const SOONEST: Duration = Duration::from_secs(15);

/// What is to be done next for a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// To look what the gateway forwards its port to (IGD): what is another's is not to be overwritten.
    Look,
    /// To remove the claim's own mapping to an address that it had before.
    Evict,
    /// To ask for the port.
    Ask,
    /// To ask again before the mapping ends.
    Renew,
    /// Nothing, until something else changes.
    Rest,
}

/// One port that is to be forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The gateway's port.
    pub(crate) external: u16,
    /// What is to be done next.
    pub(crate) step: Step,
    /// When that is to be done.
    pub(crate) due: Instant,
    /// Whether the gateway forwards it now, and until when; none without an end.
    pub(crate) held: Option<Option<Instant>>,
    /// What the gateway may forward to the claim's address since it was asked for: its port, and until when.
    claimed: Option<(u16, Instant)>,
    /// The gateway takes mappings without an end only.
    pub(crate) permanent_only: bool,
    /// The gateway takes descriptions of letters and digits only.
    pub(crate) plain: bool,
    /// Ports that turned out to be taken, while another one is looked for.
    pub(crate) tried: Vec<u16>,
    /// What last went wrong.
    pub(crate) trouble: Option<Trouble>,
}

impl Slot {
    pub(crate) fn new(external: u16, now: Instant) -> Self {
        Self {
            external,
            step: Step::Look,
            due: now,
            held: None,
            claimed: None,
            permanent_only: false,
            plain: false,
            tried: Vec::new(),
            trouble: None,
        }
    }

    /// It is to be asked for from the beginning: nothing is known of what the gateway has.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.step = Step::Look;
        self.due = now;
        self.held = None;
    }

    /// It is to be asked for from the beginning, for an address that the gateway was never asked for.
    pub(crate) fn move_away(&mut self, now: Instant) {
        self.claimed = None;
        self.begin(now);
    }

    /// The gateway is asked for its port, or was, for that long.
    pub(crate) fn claim(&mut self, external: u16, until: Instant) {
        self.claimed = Some((external, until));
    }

    /// Whether the gateway may still forward its port because it was asked for it.
    pub(crate) fn is_claimed(&self, now: Instant) -> bool {
        self.claimed.is_some_and(|(external, until)| external == self.external && now < until)
    }

    /// What is to be done with this protocol, where only IGD lets one look.
    pub(crate) fn step(&self, protocol: Protocol) -> Step {
        match (self.step, protocol) {
            (Step::Look, Protocol::Pcp | Protocol::NatPmp) => Step::Ask,
            (step, _) => step,
        }
    }

    /// It is asked for again then. The gateway's port may be another's by that time.
    pub(crate) fn put_off(&mut self, at: Instant) {
        if self.held.is_none() {
            self.step = Step::Look;
        }
        self.due = at;
    }

    /// The gateway forwards it.
    pub(crate) fn hold(&mut self, now: Instant, external: u16, lease: Option<Duration>) {
        self.external = external;
        self.trouble = None;
        self.tried.clear();
        self.held = Some(lease.map(|lease| now + lease));
        self.claim(external, lease.map_or(Instant::NEVER, |lease| now + lease));
        match lease {
            Some(lease) => {
                self.step = Step::Renew;
                self.due = now + lease / 2;
            }
            None => self.rest(),
        }
    }

    /// Nothing is to be done until something else changes.
    pub(crate) fn rest(&mut self) {
        self.step = Step::Rest;
        self.due = Instant::NEVER;
    }

    /// It went wrong, and is tried again later: a mapping that there is goes on until its end.
    pub(crate) fn fail(&mut self, now: Instant, trouble: Trouble, again: Duration) {
        self.trouble = Some(trouble);
        match self.held {
            Some(Some(until)) if now < until => {
                let half = until.saturating_since(now) / 2;
                self.due = (now + half.max(SOONEST)).min(until);
            }
            Some(None) => self.rest(),
            Some(Some(_)) | None => {
                self.move_away(now);
                self.due = now + again;
            }
        }
    }

    /// Drops a mapping that has ended.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.held.flatten().is_some_and(|until| until <= now) {
            self.begin(now);
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        match (self.held, &self.trouble) {
            (Some(until), trouble) => Standing::Forwarded {
                external: self.external,
                until,
                permanent_only: self.permanent_only,
                trouble: trouble.clone(),
            },
            (None, Some(trouble)) => Standing::Failed(trouble.clone()),
            (None, None) => Standing::Asking,
        }
    }
}
