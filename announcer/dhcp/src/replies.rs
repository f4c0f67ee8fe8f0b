//! How a client takes replies: what it accepts, from whom, and what follows.

use foghorn_clock::Instant;

use crate::{
    Client, Lease, LostReason, MessageKind, Output, Problem,
    lease::grant,
    phase::{Phase, Remembered},
    wire::{Reply, ReplyKind},
};

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
            && phase.exchange().is_some_and(|exchange| exchange.xid == reply.xid)
    }

    /// The first usable offer is taken.
    fn take_offer_reply(&mut self, now: Instant, phase: Phase, offer: &Reply) -> Phase {
        let Phase::Selecting(exchange) = phase else { return self.ignore(phase) };
        match grant(offer) {
            Ok((address, server_id, _)) => {
                self.count(MessageKind::Offer);
                self.take_offer(now, exchange, (address, server_id))
            }
            Err(fault) => self.unusable(Phase::Selecting(exchange), offer, fault),
        }
    }

    fn take_ack(&mut self, now: Instant, phase: Phase, ack: &Reply) -> Phase {
        let asked_at = match &phase {
            Phase::Requesting { exchange, server_id, .. } if ack.server_id == Some(*server_id) => {
                exchange.started
            }
            Phase::Renewing { exchange, .. }
            | Phase::Rebinding { exchange, .. }
            | Phase::Rebooting { exchange, .. } => exchange.started,
            // Rapid commit is never asked for, so an ACK to a DISCOVER is none.
            Phase::Requesting { .. }
            | Phase::Idle
            | Phase::Init { .. }
            | Phase::Selecting(_)
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
        match phase.lease().map(|held| held.address) {
            Some(address) if address == lease.address => {
                self.all_is_well();
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
            | Phase::Selecting(_)
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
        self.problem = Some(Problem::Unusable { kind, server: reply.server_id, fault });
        self.ignore(phase)
    }

    fn ignore(&mut self, phase: Phase) -> Phase {
        self.counters.ignored += 1;
        phase
    }

    fn count(&mut self, kind: MessageKind) {
        *self.counters.received.entry(kind).or_default() += 1;
    }
}
