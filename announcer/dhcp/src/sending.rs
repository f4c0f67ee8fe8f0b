//! What a client sends, and when it is sent again.

use std::{net::Ipv4Addr, time::Duration};

use foghorn_clock::Instant;
use rand::Rng;

use crate::{
    Client, Destination, Lease, Output, Problem, Transmit,
    backoff::Backoff,
    message::{self, Form, Header},
    phase::{Exchange, Offer, Phase, Remembered},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

impl Client {
    pub(crate) fn open(&mut self, now: Instant, backoff: Backoff) -> Exchange {
        self.way.begin();
        Exchange { xid: self.rng.random(), started: now, asked: now, sent: 0, next: now, secs: 0, backoff }
    }

    pub(crate) fn discover(&mut self, now: Instant, mut exchange: Exchange) -> Phase {
        self.way.next(exchange.sent);
        // A lease that is granted at once counts from the DISCOVER that asked for it; servers may have been deaf to those
        // before for longer than a lease lasts.
        if self.config.rapid_commit {
            self.ask_anew(now, &mut exchange);
        }
        let form = Form::Discover { requested: self.wish };
        self.send(now, &mut exchange, form, Destination::Broadcast);
        Phase::Selecting { exchange, best: None }
    }

    /// A repetition with an xid of its own: what is granted counts from it, not from the first message.
    fn ask_anew(&mut self, now: Instant, exchange: &mut Exchange) {
        if exchange.sent > 0 {
            exchange.xid = self.rng.random();
            exchange.asked = now;
        }
    }

    /// Asks by the other way once more, before an offer is believed to have come because that one is closed.
    pub(crate) fn discover_again(&mut self, now: Instant, mut exchange: Exchange) -> Exchange {
        self.way.try_again();
        let form = Form::Discover { requested: self.wish };
        self.send(now, &mut exchange, form, Destination::Broadcast);
        exchange
    }

    /// Takes an offer: same xid and `secs` as the DISCOVER (RFC 2131 sections 3.1.3 and 4.4.1).
    pub(crate) fn take_offer(&mut self, now: Instant, offered: &Exchange, offer: Offer) -> Phase {
        self.way.settle(offer.mode);
        let mut exchange = self.open(now, Backoff::new(4 * SECOND, 64 * SECOND));
        exchange.xid = offer.xid;
        exchange.secs = offered.secs;
        self.request(now, exchange, offer.address, offer.server_id)
    }

    pub(crate) fn request(
        &mut self,
        now: Instant,
        mut exchange: Exchange,
        address: Ipv4Addr,
        server_id: Ipv4Addr,
    ) -> Phase {
        let form = Form::Selecting { address, server_id };
        self.send(now, &mut exchange, form, Destination::Broadcast);
        Phase::Requesting { exchange, address, server_id }
    }

    pub(crate) fn reboot(&mut self, now: Instant, mut exchange: Exchange, remembered: Remembered) -> Phase {
        let form = Form::Reboot { address: remembered.address() };
        self.send(now, &mut exchange, form, Destination::Broadcast);
        Phase::Rebooting { exchange, remembered }
    }

    pub(crate) fn renew(&mut self, now: Instant, mut exchange: Exchange, lease: Lease) -> Phase {
        self.ask_anew(now, &mut exchange);
        if exchange.sent > 0 {
            self.way.try_other();
        }
        let (form, to) = if self.answered_for {
            (Form::Extend { address: lease.address }, Destination::Server(lease.server_id))
        } else {
            (Form::Reboot { address: lease.address }, Destination::Broadcast)
        };
        self.send(now, &mut exchange, form, to);
        exchange.next = half_way(now, lease.rebind_at);
        Phase::Renewing { exchange, lease }
    }

    pub(crate) fn rebind(&mut self, now: Instant, mut exchange: Exchange, lease: Lease) -> Phase {
        self.ask_anew(now, &mut exchange);
        if exchange.sent > 0 || self.way.found().is_none() {
            self.way.try_other();
        }
        let address = lease.address;
        let form = if self.answered_for { Form::Extend { address } } else { Form::Reboot { address } };
        self.send(now, &mut exchange, form, Destination::Broadcast);
        exchange.next = half_way(now, lease.expires_at);
        Phase::Rebinding { exchange, lease }
    }

    /// Sends a message of an exchange and sets when it is repeated.
    fn send(&mut self, now: Instant, exchange: &mut Exchange, form: Form, to: Destination) {
        // A REQUEST that takes an offer has the `secs` of its DISCOVER.
        if !matches!(form, Form::Selecting { .. }) {
            exchange.secs = u16::try_from((now - exchange.started).as_secs()).unwrap_or(u16::MAX);
        }
        let xid = match form {
            Form::Discover { .. } => self.way.xid(exchange.xid),
            Form::Selecting { .. }
            | Form::Reboot { .. }
            | Form::Extend { .. }
            | Form::Decline { .. }
            | Form::Release { .. } => exchange.xid,
        };
        let in_use = !form.own_address().is_unspecified();
        let broadcast = self.way.broadcast(in_use);
        self.transmit(Header { xid, secs: exchange.secs, broadcast }, form, to);
        exchange.sent = exchange.sent.saturating_add(1);
        let wait = exchange.backoff.take();
        let fuzz = SECOND.min(wait / 4);
        exchange.next = now + self.rng.random_range(wait - fuzz..=wait + fuzz);
    }

    /// Sends a message that has no answer.
    pub(crate) fn send_alone(&mut self, form: Form, to: Destination) {
        let xid = self.rng.random();
        self.transmit(Header { xid, secs: 0, broadcast: false }, form, to);
    }

    fn transmit(&mut self, header: Header, form: Form, to: Destination) {
        let kind = form.kind();
        match message::encode(&self.config, header, form) {
            Ok(message) => {
                *self.counters.sent.entry(kind).or_default() += 1;
                let from = form.own_address();
                let mode = self.way.mode();
                self.outputs.push_back(Output::Transmit(Transmit { kind, message, mode, from, to }));
            }
            Err(error) => self.problem = Some(Problem::Encoding { kind, fault: error.to_string() }),
        }
    }
}

/// When to repeat: after half of the time that is left, at least a minute, never past the deadline (RFC 2131
/// section 4.4.5).
fn half_way(now: Instant, deadline: Instant) -> Instant {
    let left = deadline - now;
    (now + (left / 2).max(MINUTE)).min(deadline)
}
