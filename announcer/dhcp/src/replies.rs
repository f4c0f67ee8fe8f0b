//! How a client takes replies: what it accepts, from whom, and what follows.

use std::time::Duration;

use foghorn_clock::Instant;

use crate::{
    Client, Lease, LostReason, MessageKind, Mode, Output, Problem, Rejection,
    lease::grant,
    phase::{Best, Exchange, Offer, Phase, Remembered},
    wire::{Reply, ReplyKind, WireError},
};

/// How long an answer to one more DISCOVER is waited for, before the network counts as closed to the way it was sent.
const SECOND_TRY: Duration = Duration::from_secs(1);

impl Client {
    pub(crate) fn take_reply(&mut self, now: Instant, phase: Phase, reply: &Reply) -> Phase {
        if !self.is_for_this_exchange(&phase, reply) {
            return self.ignore(phase);
        }
        match reply.kind {
            ReplyKind::Offer => self.take_offer_reply(now, phase, reply),
            ReplyKind::Ack => self.take_ack(now, phase, reply),
            ReplyKind::Nak => self.take_nak(now, phase, reply),
        }
    }

    fn is_for_this_exchange(&self, phase: &Phase, reply: &Reply) -> bool {
        let identity = &self.config.identity;
        reply.hardware_address == identity.hardware_address
            && reply.client_id.as_ref().is_none_or(|id| *id == identity.client_id)
            && self.answered(phase, reply.xid).is_some()
    }

    /// How the message was sent that a reply with this xid answers; `None` if it answers none of this exchange.
    pub(crate) fn answered(&self, phase: &Phase, xid: u32) -> Option<Mode> {
        let exchange = phase.exchange()?;
        match phase {
            Phase::Selecting { .. } => self.way.answered(exchange.xid, xid),
            Phase::Idle
            | Phase::Init { .. }
            | Phase::Requesting { .. }
            | Phase::Checking(_)
            | Phase::Bound(_)
            | Phase::Renewing { .. }
            | Phase::Rebinding { .. }
            | Phase::InitReboot { .. }
            | Phase::Rebooting { .. }
            | Phase::Released => (exchange.xid == xid).then(|| self.way.mode()),
        }
    }

    fn take_offer_reply(&mut self, now: Instant, phase: Phase, reply: &Reply) -> Phase {
        let mode = self.answered(&phase, reply.xid);
        let (Phase::Selecting { exchange, best }, Some(mode)) = (phase.clone(), mode) else {
            return self.ignore(phase);
        };
        match grant(reply) {
            Ok((address, server_id, _)) => {
                self.count(MessageKind::Offer);
                self.weigh(now, exchange, best, Offer { address, server_id, xid: reply.xid, mode })
            }
            Err(fault) => self.unusable(phase, reply, fault),
        }
    }

    /// The first offer is taken, unless there is a reason to wait: the configuration says so, or the way by which it was
    /// asked for is not the one to prefer.
    fn weigh(&mut self, now: Instant, exchange: Exchange, best: Option<Best>, offer: Offer) -> Phase {
        let wished_for = self.wish == Some(offer.address);
        if self.way.doubts(offer.mode) {
            return match best {
                Some(best) => Phase::Selecting { exchange, best: Some(best) },
                None => {
                    let exchange = self.discover_again(now, exchange);
                    Phase::Selecting { exchange, best: Some(Best { offer, at: now + SECOND_TRY }) }
                }
            };
        }
        // What answers the preferred way is better than whatever answered the other one.
        let best = best.filter(|best| !self.way.doubts(best.offer.mode));
        if self.config.offer_wait.is_zero() || wished_for {
            return self.take_offer(now, &exchange, offer);
        }
        let is_better = |best: &Best| {
            let is_known = |offer: &Offer| self.last_server == Some(offer.server_id);
            is_known(&offer) && !is_known(&best.offer)
        };
        let best = match best {
            Some(best) if is_better(&best) => Best { offer, ..best },
            Some(best) => best,
            None => Best { offer, at: now + self.config.offer_wait },
        };
        Phase::Selecting { exchange, best: Some(best) }
    }

    /// An offer that is not to be had; another server may have another one.
    pub(crate) fn reject(&mut self, phase: Phase, reply: &Reply, why: Rejection) -> Phase {
        let grant = grant(reply)
            .ok()
            .filter(|_| matches!(phase, Phase::Selecting { .. }) && self.is_for_this_exchange(&phase, reply));
        let Some((address, server, _)) = grant else { return self.ignore(phase) };
        self.count(MessageKind::Offer);
        let problem = match why {
            Rejection::Refused => Problem::Unwanted { address, server },
            Rejection::Shared => Problem::Shared { address, server },
        };
        self.find(&phase, problem);
        phase
    }

    pub(crate) fn malformed(&mut self, phase: Phase, fault: &WireError) -> Phase {
        if phase.exchange().is_some() {
            self.find(&phase, Problem::Malformed { fault: fault.clone() });
        }
        self.ignore(phase)
    }

    fn take_ack(&mut self, now: Instant, phase: Phase, ack: &Reply) -> Phase {
        let asked_at = match &phase {
            Phase::Requesting { exchange, server_id, .. } if ack.server_id == Some(*server_id) => {
                exchange.started
            }
            Phase::Renewing { exchange, .. }
            | Phase::Rebinding { exchange, .. }
            | Phase::Rebooting { exchange, .. } => exchange.asked,
            Phase::Selecting { exchange, .. } if self.config.rapid_commit && ack.rapid_commit => {
                exchange.asked
            }
            Phase::Requesting { .. }
            | Phase::Idle
            | Phase::Init { .. }
            | Phase::Selecting { .. }
            | Phase::Checking(_)
            | Phase::Bound(_)
            | Phase::InitReboot { .. }
            | Phase::Released => return self.ignore(phase),
        };
        let lease = match Lease::from_ack(ack, asked_at, now, &mut self.rng) {
            Ok(lease) => lease,
            Err(fault) => return self.unusable(phase, ack, fault),
        };
        self.count(MessageKind::Ack);
        self.last_server = Some(lease.server_id);
        if let Some(mode) = self.answered(&phase, ack.xid) {
            match phase.lease() {
                Some(_) => self.way.extended(mode),
                None => self.way.settle(mode),
            }
        }
        match phase.lease().map(|held| held.address) {
            Some(address) if address == lease.address => {
                self.all_is_well();
                self.after_conflict.reset();
                self.outputs.push_back(Output::Renewed(lease.clone()));
                Phase::Bound(lease)
            }
            Some(address) => {
                self.lose(address, LostReason::Replaced(lease.address));
                self.check(lease)
            }
            None => self.check(lease),
        }
    }

    pub(crate) fn check(&mut self, lease: Lease) -> Phase {
        self.outputs.push_back(Output::Check(lease.clone()));
        Phase::Checking(lease)
    }

    /// While the server of an offer or lease is to be asked, only its word counts: a second server that thinks itself
    /// authoritative would end every lease of the first. Past T2, or with a bare memory, any server may say no.
    fn take_nak(&mut self, now: Instant, phase: Phase, nak: &Reply) -> Phase {
        let from = nak.server_id;
        let (counts, address) = match &phase {
            Phase::Requesting { address, server_id, .. } => (from == Some(*server_id), *address),
            Phase::Renewing { lease, .. } | Phase::Rebooting { remembered: Remembered::InUse(lease), .. } => {
                (from == Some(lease.server_id), lease.address)
            }
            Phase::Rebinding { lease, .. } => (from.is_some(), lease.address),
            Phase::Rebooting { remembered: Remembered::Unconfirmed(address), .. } => {
                (from.is_some(), *address)
            }
            Phase::Idle
            | Phase::Init { .. }
            | Phase::Selecting { .. }
            | Phase::Checking(_)
            | Phase::Bound(_)
            | Phase::InitReboot { .. }
            | Phase::Released => return self.ignore(phase),
        };
        if !counts {
            return self.ignore(phase);
        }
        self.count(MessageKind::Nak);
        let message = nak.message.clone();
        if phase.lease().is_some() {
            self.wish = Some(address);
            self.lose(address, LostReason::Nak { message });
        } else {
            self.problem = Some(Problem::Nak { address, message });
        }
        let wait = self.after_nak.take();
        self.init(now, wait)
    }

    fn unusable(&mut self, phase: Phase, reply: &Reply, fault: &'static str) -> Phase {
        let kind = match reply.kind {
            ReplyKind::Offer => MessageKind::Offer,
            ReplyKind::Ack => MessageKind::Ack,
            ReplyKind::Nak => MessageKind::Nak,
        };
        self.find(&phase, Problem::Unusable { kind, server: reply.server_id, fault });
        self.ignore(phase)
    }

    /// Notes what is wrong with an answer, and which message of the exchange it followed.
    fn find(&mut self, phase: &Phase, problem: Problem) {
        self.found_after = phase.exchange().map_or(0, |exchange| exchange.sent);
        self.problem = Some(problem);
    }

    fn ignore(&mut self, phase: Phase) -> Phase {
        self.counters.ignored += 1;
        phase
    }

    fn count(&mut self, kind: MessageKind) {
        *self.counters.received.entry(kind).or_default() += 1;
    }
}
