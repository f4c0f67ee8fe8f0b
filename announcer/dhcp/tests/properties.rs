//! What holds whatever comes from the wire and from the clock.
#![cfg(test)]

mod harness;

use std::time::Duration;

use foghorn_clock::Instant;
use foghorn_dhcp::{
    Client, ClientConfig, Input, Lease, MessageKind, Output, Rejection, State, Verdict,
    frame::{self, UdpChecksum},
    wire::{self, WireError},
};
use harness::{
    ACK, ADDRESS, NAK, OFFER, OTHER_ADDRESS, OTHER_SERVER, Reply, SERVER, Sent, identity, seconds,
};
use proptest::{collection::vec, prelude::*};
use rand::{SeedableRng, rngs::StdRng};

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_octets_panic_neither_parser(octets in vec(any::<u8>(), 0..600)) {
        parse_all(&octets);
    }

    #[test]
    fn random_options_panic_nothing(tail in vec(any::<u8>(), 0..300), sname in vec(any::<u8>(), 64), file in vec(any::<u8>(), 128)) {
        let mut octets = Reply { sname, file, ..Reply::new(OFFER).with(52, &[3]) }.octets();
        octets.pop();
        octets.extend(tail);
        parse_all(&octets);
    }

    #[test]
    fn a_mutated_reply_panics_nothing(
        kind in prop::sample::select(vec![OFFER, ACK, NAK]),
        mutations in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut octets = Reply { xid: 1, ..Reply::ack(60).without(53).with(53, &[kind]) }.octets();
        for (at, value) in mutations {
            let at = at.index(octets.len());
            octets[at] = value;
        }
        parse_all(&octets);
        parse_all(&octets[..cut.index(octets.len())]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_client_keeps_its_promises_whatever_happens(
        seed in any::<u64>(),
        jitter in 0..3_u64,
        (finds_mode, rapid_commit, waits) in any::<(bool, bool, bool)>(),
        events in vec(event(), 1..80),
    ) {
        let config = ClientConfig {
            start_jitter: Duration::from_millis(jitter * 100),
            finds_mode,
            rapid_commit,
            offer_wait: Duration::from_millis(if waits { 1_500 } else { 0 }),
            ..ClientConfig::new(identity())
        };
        let mut world = World::new(Client::new(config, StdRng::seed_from_u64(seed)));
        for event in events {
            world.happen(event);
        }
    }
}

fn parse_all(octets: &[u8]) {
    for checksum in [UdpChecksum::Verify, UdpChecksum::Ignore] {
        if let Ok(datagram) = frame::parse(octets, checksum) {
            let _ = wire::parse(datagram.payload);
        }
    }
    let _ = wire::parse(octets);
}

#[derive(Debug, Clone)]
enum Event {
    Start,
    Resume {
        left: u64,
        t1: u64,
        t2: u64,
    },
    Confirm,
    Offer {
        usable: bool,
    },
    Ack {
        other_address: bool,
        other_server: bool,
        lease: u32,
        t1: Option<u32>,
        t2: Option<u32>,
    },
    Nak {
        other_server: bool,
    },
    Rejected(Rejection),
    RapidAck,
    Malformed,
    Checked(Verdict),
    Conflict,
    Release,
    LinkUp,
    /// The timers in between are run in time.
    Pass(Duration),
    /// The process is stopped meanwhile.
    Jump(Duration),
}

fn event() -> impl Strategy<Value = Event> {
    let lease = prop_oneof![Just(0), 1..130_u32, any::<u32>(), Just(u32::MAX)];
    let short = prop::option::of(prop_oneof![0..130_u32, any::<u32>()]);
    let time = prop_oneof![
        (0..3_000_u64).prop_map(Duration::from_millis),
        (0..130_u64).prop_map(Duration::from_secs),
        (0..100_000_u64).prop_map(Duration::from_secs),
    ];
    prop_oneof![
        1 => Just(Event::Start),
        1 => (0..4000_u64, 0..4000_u64, 0..4000_u64).prop_map(|(left, t1, t2)| Event::Resume { left, t1, t2 }),
        1 => Just(Event::Confirm),
        4 => prop::bool::weighted(0.9).prop_map(|usable| Event::Offer { usable }),
        6 => (prop::bool::weighted(0.2), prop::bool::weighted(0.2), lease, short.clone(), short).prop_map(
            |(other_address, other_server, lease, t1, t2)| Event::Ack { other_address, other_server, lease, t1, t2 }
        ),
        1 => any::<bool>().prop_map(|other_server| Event::Nak { other_server }),
        1 => prop::sample::select(vec![Rejection::Refused, Rejection::Shared]).prop_map(Event::Rejected),
        2 => Just(Event::RapidAck),
        1 => Just(Event::Malformed),
        4 => prop_oneof![4 => Just(Verdict::Clear), 1 => Just(Verdict::Conflict), 1 => Just(Verdict::Refused), 1 => Just(Verdict::Shared)]
            .prop_map(Event::Checked),
        1 => Just(Event::Conflict),
        1 => Just(Event::Release),
        1 => Just(Event::LinkUp),
        4 => (0..3_000_u64).prop_map(|s| Event::Pass(seconds(s))),
        2 => time.prop_map(Event::Jump),
    ]
}

/// A client, and what its caller believes.
struct World {
    client: Client,
    now: Instant,
    xid: u32,
    /// The lease by whose right the address is announced.
    in_use: Option<Lease>,
    checking: Option<Lease>,
    released: bool,
}

impl World {
    fn new(client: Client) -> Self {
        let now = Instant::from_boot(seconds(1_000_000));
        Self { client, now, xid: 0, in_use: None, checking: None, released: false }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start => self.input(Input::Start),
            Event::Resume { left, t1, t2 } => {
                let lease = Lease {
                    address: ADDRESS,
                    server_id: SERVER,
                    subnet_mask: None,
                    routers: vec![],
                    routes: Vec::new(),
                    bound_at: self.now,
                    renew_at: self.now + seconds(t1),
                    rebind_at: self.now + seconds(t2),
                    expires_at: self.now + seconds(left),
                };
                self.input(Input::Resume(lease));
            }
            Event::Confirm => self.input(Input::Confirm(ADDRESS)),
            Event::Offer { usable } => {
                self.reply(if usable { Reply::offer() } else { Reply::offer().without(54) });
            }
            Event::Ack { other_address, other_server, lease, t1, t2 } => {
                let mut ack = Reply::ack(lease);
                for (code, t) in [(58, t1), (59, t2)] {
                    if let Some(t) = t {
                        ack = ack.with(code, &t.to_be_bytes());
                    }
                }
                ack = if other_address { ack.address(OTHER_ADDRESS) } else { ack };
                self.reply(if other_server { ack.from(OTHER_SERVER) } else { ack });
            }
            Event::Nak { other_server } => {
                self.reply(if other_server { Reply::nak().from(OTHER_SERVER) } else { Reply::nak() });
            }
            Event::Rejected(why) => {
                let offer = wire::parse(&Reply::offer().xid(self.xid).octets()).unwrap();
                self.input(Input::Reject(&offer, why));
            }
            Event::RapidAck => self.reply(Reply::ack(600).with(80, &[])),
            Event::Malformed => self.input(Input::Malformed(&WireError::Cookie)),
            Event::Checked(verdict) => self.input(Input::Checked(verdict)),
            Event::Conflict => self.input(Input::Conflict),
            Event::Release => self.input(Input::Release),
            Event::LinkUp => self.input(Input::LinkUp),
            Event::Pass(by) => self.pass(by),
            Event::Jump(by) => {
                self.now += by;
                self.timeout();
            }
        }
    }

    fn input(&mut self, input: Input<'_>) {
        let releases = matches!(input, Input::Release | Input::Checked(Verdict::Refused));
        self.released &= !matches!(input, Input::Start | Input::Resume(_) | Input::Confirm(_));
        self.client.handle_input(self.now, input);
        self.drain(releases);
    }

    fn reply(&mut self, reply: Reply) {
        let reply = wire::parse(&reply.xid(self.xid).octets()).unwrap();
        self.input(Input::Reply(&reply));
    }

    fn pass(&mut self, by: Duration) {
        let end = self.now + by;
        // Even the shortest lease and the fastest server have the client act each few seconds at most.
        let mut steps = 0;
        while let Some((at, _)) = self.client.poll_timeout().filter(|&(at, _)| at <= end) {
            assert!(at > self.now, "a timer in the past");
            self.now = at;
            self.timeout();
            steps += 1;
            assert!(steps < 20 + by.as_secs() / 5, "busy");
        }
        self.now = end;
        self.timeout();
    }

    fn timeout(&mut self) {
        self.client.handle_timeout(self.now);
        self.drain(false);
    }

    fn drain(&mut self, may_release: bool) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    let sent = Sent::read(&transmit);
                    assert!(!self.released, "{:?} after the end", transmit.kind);
                    assert!(transmit.kind != MessageKind::Release || may_release, "release unasked");
                    // A message that claims an address has a right to it.
                    if transmit.kind == MessageKind::Request && sent.ciaddr.to_bits() != 0 {
                        let lease = self.in_use.as_ref().unwrap();
                        assert_eq!((lease.address, sent.ciaddr), (sent.ciaddr, transmit.from));
                        assert!(self.now < lease.expires_at, "a stale renewal");
                    }
                    if transmit.kind != MessageKind::Release && transmit.kind != MessageKind::Decline {
                        self.xid = sent.xid;
                    }
                }
                Output::Check(lease) => {
                    assert_eq!(self.in_use, None);
                    self.checking = Some(lease);
                }
                Output::Bound(lease) => {
                    assert_eq!(self.in_use, None);
                    self.checking = None;
                    self.in_use = Some(lease);
                }
                Output::Renewed(lease) => {
                    assert_eq!(self.in_use.as_ref().map(|held| held.address), Some(lease.address));
                    self.in_use = Some(lease);
                }
                Output::Lost { address, .. } => {
                    let held = self.in_use.take().or_else(|| self.checking.take()).unwrap();
                    assert_eq!(held.address, address);
                }
                Output::Released => {
                    (self.in_use, self.checking) = (None, None);
                    self.released = true;
                }
            }
        }
        self.verify();
    }

    fn verify(&self) {
        if let Some(lease) = &self.in_use {
            assert!(self.now < lease.expires_at, "in use past its end");
            assert_eq!(self.client.lease(), Some(lease));
            assert!(lease.renew_at <= lease.rebind_at && lease.rebind_at <= lease.expires_at);
        }
        if let Some((at, why)) = self.client.poll_timeout() {
            assert!(at > self.now, "{why} is in the past");
        } else {
            let quiet = matches!(self.client.state(), State::Init | State::Released);
            let infinite = self.client.lease().is_some_and(|lease| lease.expires_at == Instant::NEVER);
            assert!(quiet || infinite, "no timer in {}", self.client.state());
        }
    }
}
