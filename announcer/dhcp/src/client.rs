//! The client: inputs and timers. How it takes replies is in `replies.rs`, how it sends in `sending.rs`.

use std::{collections::VecDeque, mem, net::Ipv4Addr, time::Duration};

use foghorn_clock::Instant;
use rand::{Rng, rngs::StdRng};

use crate::{
    ClientConfig, Counters, Destination, Input, Lease, LostReason, MessageKind, Mode, Output, Problem, State,
    Verdict,
    backoff::Backoff,
    message::Form,
    names::sanitise,
    phase::{Phase, Remembered},
    way::Way,
};

/// A DHCPv4 client for one address (RFC 2131).
///
/// The address may be used from [`Output::Bound`] to [`Output::Lost`] or [`Output::Released`]. To stop without a
/// release (fail-over, shutdown), drop the client.
#[derive(Debug)]
pub struct Client {
    pub(crate) config: ClientConfig,
    pub(crate) rng: StdRng,
    pub(crate) phase: Phase,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) counters: Counters,
    pub(crate) problem: Option<Problem>,
    /// How many messages of the exchange were sent when that was found.
    pub(crate) found_after: u32,
    /// Option 50 of the next DISCOVER.
    pub(crate) wish: Option<Ipv4Addr>,
    /// Whether ARP is answered for the leased address.
    pub(crate) answered_for: bool,
    /// The server of the last lease.
    pub(crate) last_server: Option<Ipv4Addr>,
    pub(crate) way: Way,
    pub(crate) after_nak: Backoff,
    /// After an address in use that another host took.
    pub(crate) after_conflict: Backoff,
    /// After an address that is in use elsewhere, or refused here.
    after_bad_address: Backoff,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Silence that is worth telling.
const SILENCE: Duration = Duration::from_secs(2);
/// REQUESTs for one offer (RFC 2131 section 3.1.5).
const REQUESTS_SELECTING: u32 = 4;
/// REQUESTs that confirm a remembered address.
const REQUESTS_REBOOTING: u32 = 3;

impl Client {
    /// A client that does nothing before its first input. `rng` should be seeded differently for each client.
    #[must_use]
    pub fn new(config: ClientConfig, rng: StdRng) -> Self {
        let config = clean(config);
        Self {
            rng,
            phase: Phase::Idle,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            problem: None,
            found_after: 0,
            wish: config.requested_address,
            answered_for: true,
            last_server: None,
            way: Way::new(config.mode, config.finds_mode, config.broadcast),
            after_nak: Backoff::new(SECOND, MINUTE),
            after_conflict: Backoff::new(SECOND, MINUTE),
            // RFC 5227: at least 10 s, and 60 s when conflicts go on.
            after_bad_address: Backoff::new(10 * SECOND, MINUTE),
            config,
        }
    }

    /// Changes how the client asks, from the next message on. Who it is and how its frames are made stay as they are.
    pub fn configure(&mut self, config: ClientConfig) {
        let ClientConfig { identity, mode, finds_mode, start_jitter, .. } = self.config.clone();
        self.config = ClientConfig { identity, mode, finds_mode, start_jitter, ..clean(config) };
    }

    /// Whether ARP is answered for the leased address, as it is unless this says otherwise. A server sends its reply to an
    /// address in use to that address (RFC 2131 section 4.1). One that is not answered for is extended as after a restart
    /// (INIT-REBOOT), since that reply goes to the hardware address or is broadcast.
    pub fn set_answered_for(&mut self, answered_for: bool) {
        self.answered_for = answered_for;
    }

    /// How the client asks. Its mode is the one that it began with.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Tells what happened at `now`. Inputs that mean nothing in the present state are ignored.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.expire(now);
        let phase = mem::replace(&mut self.phase, Phase::Idle);
        let phase = match input {
            Input::Start => self.start(now, phase),
            Input::Resume(lease) => self.resume(now, phase, lease.ordered()),
            Input::Recheck(lease) => self.recheck(now, phase, lease.ordered()),
            Input::Confirm(address) => self.confirm(now, phase, address),
            Input::Reply(reply) => self.take_reply(now, phase, reply),
            Input::Reject(reply, why) => self.reject(phase, reply, why),
            Input::Malformed(fault) => self.malformed(phase, fault),
            Input::Checked(verdict) => self.checked(now, phase, verdict),
            Input::Conflict => self.conflict(now, phase),
            Input::Refused => self.refused(now, phase),
            Input::Release => self.release(phase),
            Input::LinkUp => self.link_up(now, phase),
        };
        self.phase = self.due(now, phase);
    }

    /// Does what is due at `now`, however late the call comes: an expired lease is lost before anything else.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire(now);
        let phase = mem::replace(&mut self.phase, Phase::Idle);
        self.phase = self.due(now, phase);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let expiry = self.phase.lease().map(|lease| (lease.expires_at, "lease expires"));
        self.phase.timer().into_iter().chain(expiry).min().filter(|&(at, _)| at < Instant::NEVER)
    }

    /// The next thing to do. Drain it after each call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> State {
        self.phase.state()
    }

    /// The lease that is in use, or being checked.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.phase.lease()
    }

    /// Whether replies are expected: what the interface must receive for this client matters only then.
    #[must_use]
    pub fn exchange_in_flight(&self) -> bool {
        self.phase.exchange().is_some()
    }

    /// The transaction identifier of the replies that are expected. A client that finds its [`Mode`] out expects others
    /// too; those are told by their hardware address.
    #[must_use]
    pub fn awaits(&self) -> Option<u32> {
        self.phase.exchange().map(|exchange| exchange.xid)
    }

    /// Whether a reply with this transaction identifier is one to the present exchange.
    #[must_use]
    pub fn expects(&self, xid: u32) -> bool {
        self.answered(&self.phase, xid).is_some()
    }

    /// How its frames are made, if that is given or a server has answered to it.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        self.way.found()
    }

    /// What this client has sent and received.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What is wrong, if anything is.
    #[must_use]
    pub fn problem(&self, now: Instant) -> Option<Problem> {
        let silent = self.phase.exchange().filter(|exchange| now - exchange.started >= SILENCE);
        let (Some(exchange), None) = (silent, self.fault()) else { return self.problem.clone() };
        let (server, kind) = match &self.phase {
            Phase::Requesting { server_id, .. } => (Some(*server_id), MessageKind::Request),
            Phase::Renewing { lease, .. } => (Some(lease.server_id), MessageKind::Request),
            Phase::Rebinding { .. } | Phase::Rebooting { .. } => (None, MessageKind::Request),
            Phase::Idle
            | Phase::Init { .. }
            | Phase::Selecting { .. }
            | Phase::Checking(_)
            | Phase::Bound(_)
            | Phase::InitReboot { .. }
            | Phase::Released => (None, MessageKind::Discover),
        };
        Some(Problem::NoAnswer { server, silence: now - exchange.started, sent: exchange.sent, kind })
    }

    /// A problem that says more than silence does, in the exchange that is silent. What was wrong with an answer does so
    /// until a message stays without any answer.
    fn fault(&self) -> Option<&Problem> {
        let sent = self.phase.exchange().map_or(0, |exchange| exchange.sent);
        let is_answered = sent <= self.found_after.saturating_add(1);
        self.problem.as_ref().filter(|problem| match problem {
            Problem::Encoding { .. } => true,
            Problem::Unusable { .. }
            | Problem::Malformed { .. }
            | Problem::Unwanted { .. }
            | Problem::Shared { .. } => is_answered,
            Problem::NoAnswer { .. }
            | Problem::Lost { .. }
            | Problem::Nak { .. }
            | Problem::Conflict { .. }
            | Problem::Refused { .. }
            | Problem::OfferWithdrawn { .. } => false,
        })
    }

    fn start(&mut self, now: Instant, phase: Phase) -> Phase {
        if phase.is_running() { phase } else { self.init(now, Duration::ZERO) }
    }

    fn resume(&mut self, now: Instant, phase: Phase, lease: Lease) -> Phase {
        if phase.is_running() {
            return phase;
        }
        if lease.expires_at <= now {
            self.wish = Some(lease.address);
            return self.init(now, Duration::ZERO);
        }
        self.outputs.push_back(Output::Bound(lease.clone()));
        if self.config.confirm_takeover {
            self.init_reboot(now, Remembered::InUse(lease))
        } else {
            Phase::Bound(lease)
        }
    }

    fn recheck(&mut self, now: Instant, phase: Phase, lease: Lease) -> Phase {
        if phase.is_running() {
            return phase;
        }
        if lease.expires_at <= now {
            self.wish = Some(lease.address);
            return self.init(now, Duration::ZERO);
        }
        self.check(lease)
    }

    fn confirm(&mut self, now: Instant, phase: Phase, address: Ipv4Addr) -> Phase {
        if phase.is_running() { phase } else { self.init_reboot(now, Remembered::Unconfirmed(address)) }
    }

    fn checked(&mut self, now: Instant, phase: Phase, verdict: Verdict) -> Phase {
        let Phase::Checking(lease) = phase else { return phase };
        let Lease { address, server_id: server, .. } = lease;
        match verdict {
            Verdict::Clear => {
                self.all_is_well();
                self.after_bad_address.reset();
                self.outputs.push_back(Output::Bound(lease.clone()));
                return Phase::Bound(lease);
            }
            Verdict::Conflict => {
                self.problem = Some(Problem::Conflict { address, server });
                self.send_alone(Form::Decline { address, server_id: server }, Destination::Broadcast);
            }
            Verdict::Refused => {
                self.problem = Some(Problem::Refused { address, server });
                self.send_alone(Form::Release { address, server_id: server }, Destination::Server(server));
            }
            Verdict::Shared => self.problem = Some(Problem::Shared { address, server }),
        }
        self.wish = None;
        let wait = self.after_bad_address.take();
        self.init(now, wait)
    }

    /// An address in use is never declined: the server would hold it back from everybody (RFC 5227 section 2.4).
    fn conflict(&mut self, now: Instant, phase: Phase) -> Phase {
        let lease = match (&phase, phase.lease()) {
            (Phase::Checking(_), _) | (_, None) => return phase,
            (_, Some(lease)) => lease,
        };
        self.lose(lease.address, LostReason::Conflict);
        self.wish = None;
        // The server may give the same address again; then it is declined, and that is waited after.
        let wait = self.after_conflict.take();
        self.init(now, wait)
    }

    fn refused(&mut self, now: Instant, phase: Phase) -> Phase {
        let (address, server_id) = match (&phase, phase.lease()) {
            (Phase::Checking(_), _) | (_, None) => return phase,
            (_, Some(lease)) => (lease.address, lease.server_id),
        };
        self.lose(address, LostReason::Refused);
        self.send_alone(Form::Release { address, server_id }, Destination::Server(server_id));
        self.wish = None;
        let wait = self.after_bad_address.take();
        self.init(now, wait)
    }

    fn release(&mut self, phase: Phase) -> Phase {
        // The ACK to a REQUEST that was sent may be on its way: the server has the lease then.
        let held = match (&phase, phase.lease()) {
            (Phase::Released, _) => return phase,
            (Phase::Requesting { address, server_id, .. }, _) => Some((*address, *server_id)),
            (_, lease) => lease.map(|lease| (lease.address, lease.server_id)),
        };
        if let Some((address, server_id)) = held {
            self.send_alone(Form::Release { address, server_id }, Destination::Server(server_id));
        }
        self.problem = None;
        self.outputs.push_back(Output::Released);
        Phase::Released
    }

    fn link_up(&mut self, now: Instant, phase: Phase) -> Phase {
        match phase {
            Phase::Bound(lease) | Phase::Renewing { lease, .. } | Phase::Rebinding { lease, .. } => {
                self.init_reboot(now, Remembered::InUse(lease))
            }
            Phase::InitReboot { remembered, .. } | Phase::Rebooting { remembered, .. } => {
                self.init_reboot(now, remembered)
            }
            Phase::Selecting { .. } | Phase::Requesting { .. } => self.init(now, Duration::ZERO),
            Phase::Idle | Phase::Init { .. } | Phase::Checking(_) | Phase::Released => phase,
        }
    }

    fn expire(&mut self, now: Instant) {
        let Some(lease) = self.phase.lease().filter(|lease| lease.expires_at <= now) else { return };
        let address = lease.address;
        self.wish = Some(address);
        self.lose(address, LostReason::Expired);
        self.phase = self.init(now, Duration::ZERO);
    }

    /// What follows from the time alone.
    fn due(&mut self, now: Instant, phase: Phase) -> Phase {
        if phase.timer().is_none_or(|(at, _)| now < at) {
            return phase;
        }
        match phase {
            Phase::Idle | Phase::Checking(_) | Phase::Released => phase,
            Phase::Init { .. } => {
                let exchange = self.open(now, Backoff::new(4 * SECOND, 64 * SECOND));
                self.discover(now, exchange)
            }
            Phase::Selecting { exchange, best: Some(best) } => self.take_offer(now, &exchange, best.offer),
            Phase::Selecting { exchange, best: None } => self.discover(now, exchange),
            Phase::Requesting { exchange, address, server_id } => {
                if exchange.sent < REQUESTS_SELECTING {
                    return self.request(now, exchange, address, server_id);
                }
                self.problem =
                    Some(Problem::OfferWithdrawn { address, server: server_id, sent: exchange.sent });
                let init = self.init(now, Duration::ZERO);
                self.due(now, init)
            }
            Phase::Bound(lease) | Phase::Renewing { lease, .. } if lease.rebind_at <= now => {
                let exchange = self.open(now, Backoff::new(MINUTE, MINUTE));
                self.rebind(now, exchange, lease)
            }
            Phase::Bound(lease) => {
                let exchange = self.open(now, Backoff::new(MINUTE, MINUTE));
                self.renew(now, exchange, lease)
            }
            Phase::Renewing { exchange, lease } => self.renew(now, exchange, lease),
            Phase::Rebinding { exchange, lease } => self.rebind(now, exchange, lease),
            Phase::InitReboot { remembered, .. } => {
                let exchange = self.open(now, Backoff::new(SECOND, 2 * SECOND));
                self.reboot(now, exchange, remembered)
            }
            Phase::Rebooting { exchange, remembered } => {
                if exchange.sent < REQUESTS_REBOOTING {
                    return self.reboot(now, exchange, remembered);
                }
                let unconfirmed = self.unconfirmed(now, remembered);
                self.due(now, unconfirmed)
            }
        }
    }

    /// Nobody confirmed: a lease in use stays good by its own times (RFC 2131 section 3.2.3).
    fn unconfirmed(&mut self, now: Instant, remembered: Remembered) -> Phase {
        match remembered {
            Remembered::InUse(lease) => Phase::Bound(lease),
            Remembered::Unconfirmed(address) => {
                self.wish = Some(address);
                self.init(now, Duration::ZERO)
            }
        }
    }

    pub(crate) fn init(&mut self, now: Instant, wait: Duration) -> Phase {
        Phase::Init { at: now + wait + self.jitter() }
    }

    fn init_reboot(&mut self, now: Instant, remembered: Remembered) -> Phase {
        Phase::InitReboot { at: now + self.jitter(), remembered }
    }

    /// The wait before the very first exchange; what comes later comes by chance anyway.
    fn jitter(&mut self) -> Duration {
        let most = mem::take(&mut self.config.start_jitter);
        self.rng.random_range(Duration::ZERO..=most)
    }

    pub(crate) fn lose(&mut self, address: Ipv4Addr, reason: LostReason) {
        self.problem = Some(Problem::Lost { address, reason: reason.clone() });
        self.outputs.push_back(Output::Lost { address, reason });
    }

    pub(crate) fn all_is_well(&mut self) {
        self.problem = None;
        self.after_nak.reset();
    }
}

fn clean(mut config: ClientConfig) -> ClientConfig {
    config.hostname = config.hostname.as_deref().and_then(sanitise);
    config
}
