//! A client whose every word is believed, and checked.

use std::{net::Ipv4Addr, time::Duration};

use dhcproto::v4::MessageType;
use foghorn_clock::Instant;
use foghorn_dhcp::{
    Client, ClientConfig, Input, Lease, MessageKind, Output, State, Transmit, Verdict,
    wire::{Reply, ReplyKind},
};

use rand::rngs::StdRng;

use crate::messages::Question;

/// More than this does not follow from one input: an expired lease is lost, the input has its answer, and one message
/// goes out.
const MOST_OUTPUTS: usize = 4;
/// A REQUEST that extends a lease is not repeated earlier (RFC 2131 section 4.4.5).
const RENEWAL_PAUSE: Duration = Duration::from_secs(60);
/// Nothing is repeated earlier.
const PAUSE: Duration = Duration::from_millis(750);
/// Longest wait after a NAK.
const NAK_CAP: Duration = Duration::from_secs(60);

/// A client, and what its caller knows from its outputs. Each call panics if a promise is broken.
#[derive(Debug)]
pub struct Witness {
    client: Client,
    /// Whether it asks for a lease in two messages.
    rapid_commit: bool,
    /// The lease by whose right the address is announced.
    in_use: Option<Lease>,
    /// The lease whose address is being checked.
    checking: Option<Lease>,
    /// The transaction of the last DISCOVER or REQUEST.
    xid: Option<u32>,
    /// Whose it was.
    hardware_address: [u8; 6],
    /// When that was sent.
    asked_at: Instant,
    released: bool,
    /// NAKs since all was well.
    naks: u32,
    /// Until when the last NAK forbids to ask again.
    silent_until: Instant,
}

/// What an input allows, noted before the client takes it.
#[derive(Debug)]
struct Call {
    now: Instant,
    state: State,
    naks: u64,
    may_release: bool,
    may_decline: bool,
    is_verdict: bool,
    /// Begins from nothing, or with what another node had.
    begins: bool,
    resumes: bool,
    /// The exchange in flight, if there is one, is over.
    begins_anew: bool,
    is_reply: bool,
    /// It answers no message of the present exchange, and nothing else is due.
    is_stray: bool,
    nak: Option<Nak>,
}

/// What a NAK within the present exchange does to the lease in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nak {
    /// It is from the server of the lease.
    Ends,
    /// It is from another one, which is not asked yet.
    IsNothing,
}

impl Witness {
    /// Watches a new client from its first input on.
    #[must_use]
    pub fn new(config: ClientConfig, rng: StdRng) -> Self {
        Self {
            rapid_commit: config.rapid_commit,
            client: Client::new(config, rng),
            in_use: None,
            checking: None,
            xid: None,
            hardware_address: [0; 6],
            asked_at: Instant::ZERO,
            released: false,
            naks: 0,
            silent_until: Instant::ZERO,
        }
    }

    /// Passes an input to the client.
    pub fn input(&mut self, now: Instant, input: Input<'_>) -> Vec<Output> {
        let call = Call {
            may_release: matches!(input, Input::Release | Input::Refused | Input::Checked(Verdict::Refused)),
            may_decline: matches!(input, Input::Checked(Verdict::Conflict)),
            is_verdict: matches!(input, Input::Checked(_)),
            begins: matches!(input, Input::Start | Input::Resume(_) | Input::Recheck(_) | Input::Confirm(_)),
            resumes: matches!(input, Input::Resume(_)),
            begins_anew: matches!(input, Input::LinkUp),
            is_reply: matches!(input, Input::Reply(_)),
            is_stray: matches!(input, Input::Reply(reply) if self.is_stray(now, reply)),
            nak: if let Input::Reply(reply) = input { self.nak(now, reply) } else { None },
            ..self.call(now)
        };
        self.client.handle_input(now, input);
        self.drain(&call)
    }

    /// Tells the client the time.
    pub fn timeout(&mut self, now: Instant) -> Vec<Output> {
        let call = self.call(now);
        self.client.handle_timeout(now);
        self.drain(&call)
    }

    /// Changes how the client asks.
    pub fn configure(&mut self, config: ClientConfig) {
        self.rapid_commit = config.rapid_commit;
        self.client.configure(config);
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The lease by whose right the address is announced.
    #[must_use]
    pub fn in_use(&self) -> Option<&Lease> {
        self.in_use.as_ref()
    }

    /// The lease whose address is being checked.
    #[must_use]
    pub fn checking(&self) -> Option<&Lease> {
        self.checking.as_ref()
    }

    /// The transaction of the last DISCOVER or REQUEST.
    #[must_use]
    pub fn xid(&self) -> Option<u32> {
        self.xid
    }

    fn call(&self, now: Instant) -> Call {
        Call {
            now,
            state: self.client.state(),
            naks: naks(&self.client),
            may_release: false,
            may_decline: false,
            is_verdict: false,
            begins: false,
            resumes: false,
            begins_anew: false,
            is_reply: false,
            is_stray: false,
            nak: None,
        }
    }

    fn is_stray(&self, now: Instant, reply: &Reply) -> bool {
        let is_ours = self.is_same(reply.xid) && reply.hardware_address == self.hardware_address;
        !is_ours && self.client.poll_timeout().is_none_or(|(at, _)| now < at)
    }

    /// A client that finds its mode out tells the answers to one mode from those to the other by their xid.
    fn is_same(&self, xid: u32) -> bool {
        self.xid.is_some_and(|asked| xid == asked || xid == !asked)
    }

    fn nak(&self, now: Instant, reply: &Reply) -> Option<Nak> {
        let lease = self.in_use.as_ref().filter(|lease| now < lease.expires_at)?;
        let is_of_exchange = self.client.exchange_in_flight()
            && self.xid == Some(reply.xid)
            && reply.hardware_address == self.hardware_address;
        if reply.kind != ReplyKind::Nak || reply.client_id.is_some() || !is_of_exchange {
            None
        } else if reply.server_id == Some(lease.server_id) {
            Some(Nak::Ends)
        } else {
            (self.client.state() != State::Rebinding).then_some(Nak::IsNothing)
        }
    }

    fn drain(&mut self, call: &Call) -> Vec<Output> {
        self.released &= !call.begins;
        let mut outputs = Vec::new();
        while let Some(output) = self.client.poll_output() {
            self.believe(call, &outputs, &output);
            outputs.push(output);
            assert!(outputs.len() <= MOST_OUTPUTS, "too much at once: {outputs:?}");
        }
        if call.is_verdict {
            self.checking = None;
        }
        let is_lost = outputs.iter().any(|output| matches!(output, Output::Lost { .. }));
        assert!(!call.is_stray || outputs.is_empty(), "a stray reply means something: {outputs:?}");
        match call.nak {
            Some(Nak::Ends) => assert!(is_lost, "the server's NAK is nothing to the client"),
            Some(Nak::IsNothing) => assert!(!is_lost, "another server's NAK ends the lease"),
            None => {}
        }
        if naks(&self.client) > call.naks {
            let wait = Duration::from_secs(1 << self.naks.min(6)).min(NAK_CAP);
            self.naks += 1;
            self.silent_until = call.now + wait;
        }
        self.verify(call.now);
        outputs
    }

    /// Follows one output; `before` it came those.
    fn believe(&mut self, call: &Call, before: &[Output], output: &Output) {
        match output {
            Output::Transmit(transmit) => self.sent(call, before, transmit),
            Output::Check(lease) => {
                assert_eq!(self.in_use, None, "checked while in use");
                self.checking = Some(lease.clone());
            }
            Output::Bound(lease) => {
                assert_eq!(self.in_use, None, "bound while bound");
                let checked = self.checking.take().filter(|_| call.is_verdict);
                assert!(call.resumes || checked.as_ref() == Some(lease), "bound unchecked");
                self.take(lease);
            }
            Output::Renewed(lease) => {
                assert_eq!(self.in_use.as_ref().map(|held| held.address), Some(lease.address));
                self.take(lease);
            }
            Output::Lost { address, .. } => {
                let held = self.in_use.take().or_else(|| self.checking.take());
                assert_eq!(held.map(|lease| lease.address), Some(*address), "lost what it had not");
            }
            Output::Released => {
                (self.in_use, self.checking) = (None, None);
                self.released = true;
                self.silent_until = Instant::ZERO;
            }
        }
    }

    fn take(&mut self, lease: &Lease) {
        self.in_use = Some(lease.clone());
        self.naks = 0;
    }

    fn sent(&mut self, call: &Call, before: &[Output], transmit: &Transmit) {
        let kind = transmit.kind;
        let question = Question::read(transmit);
        assert!(!self.released, "{kind} after the end");
        match kind {
            MessageKind::Release => assert!(call.may_release, "released unasked"),
            MessageKind::Decline => {
                assert!(call.may_decline, "declined unasked");
                assert_eq!(self.in_use, None, "declined while in use");
                assert_eq!(question.requested, self.checking.as_ref().map(|lease| lease.address));
            }
            MessageKind::Discover | MessageKind::Request => {
                assert!(self.silent_until <= call.now, "{kind} too soon after a NAK");
                self.verify_exchange(call, before, &question);
            }
            MessageKind::Offer | MessageKind::Ack | MessageKind::Nak => unreachable!("a client sent {kind}"),
        }
        if question.kind == MessageType::Request && question.in_use != Ipv4Addr::UNSPECIFIED {
            let right = self.in_use.as_ref().filter(|lease| call.now < lease.expires_at);
            assert_eq!(right.map(|lease| lease.address), Some(question.in_use), "a renewal without right");
            assert_eq!(transmit.from, question.in_use);
        }
    }

    /// A repeated message, and the REQUEST for an offer, belong to the exchange before; all else begins another one. A
    /// DISCOVER that may be answered with a lease, and a repeated renewal, have transactions of their own: what is granted
    /// counts from them.
    fn verify_exchange(&mut self, call: &Call, before: &[Output], question: &Question) {
        let (was, is) = (call.state, self.client.state());
        let is_repeated = was == is;
        let goes_on = is_repeated || (was, is) == (State::Selecting, State::Requesting);
        let is_same = self.is_same(question.xid);
        if goes_on && before.is_empty() && !call.begins_anew {
            let is_renewal = question.in_use != Ipv4Addr::UNSPECIFIED;
            // By what a reply leads to, the other way to send is tried within the exchange.
            let may_differ =
                is_repeated && (is_renewal || self.rapid_commit && question.kind == MessageType::Discover);
            assert!(is_same || may_differ, "another xid within an exchange, {was} to {is}");
            assert!(
                !is_same || !may_differ || call.is_reply,
                "the xid of a message that may have been granted what this one asks for"
            );
            let least = if is_renewal { RENEWAL_PAUSE } else { PAUSE };
            let waited = call.now - self.asked_at;
            assert!(!is_repeated || call.is_reply || least <= waited, "repeated after {waited:?} in {is}");
        } else {
            assert!(!is_same, "the xid of the last exchange, {was} to {is}");
        }
        self.xid = Some(question.xid);
        self.hardware_address = question.hardware_address;
        self.asked_at = call.now;
    }

    fn verify(&self, now: Instant) {
        let held = self.in_use.as_ref().or(self.checking.as_ref());
        assert_eq!(self.client.lease(), held, "caller and client disagree");
        if let Some(lease) = held {
            assert!(now < lease.expires_at, "held past its end: {lease:?} at {now:?}");
            assert!(lease.renew_at <= lease.rebind_at && lease.rebind_at <= lease.expires_at, "{lease:?}");
        }
        let end = held.map_or(Instant::NEVER, |lease| lease.expires_at);
        if let Some((at, why)) = self.client.poll_timeout() {
            assert!(at > now, "{why}: a timer that is due already");
            assert!(at <= end, "{why}: a timer past the end of the lease");
        } else {
            let state = self.client.state();
            let is_idle = matches!(state, State::Init | State::Released);
            assert!(is_idle || held.is_some() && end == Instant::NEVER, "no timer in {state}");
        }
    }
}

fn naks(client: &Client) -> u64 {
    client.counters().received.get(&MessageKind::Nak).copied().unwrap_or_default()
}
