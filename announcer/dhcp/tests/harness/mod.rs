//! A client, its clock, and the server's side of the wire as octets.
// Each test crate uses its own part of this.
#![allow(dead_code, unreachable_pub)]

use std::{net::Ipv4Addr, time::Duration};

use foghorn_clock::Instant;
use foghorn_dhcp::{
    Client, ClientConfig, Destination, Family, Identity, Input, Lease, LostReason, MessageKind, Output,
    Owner, State, Transmit, Verdict, wire,
};
use rand::{SeedableRng, rngs::StdRng};

pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const OTHER_SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
pub const OTHER_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 101);
pub const OFFER: u8 = 2;
pub const ACK: u8 = 5;
pub const NAK: u8 = 6;

pub fn identity() -> Identity {
    Identity::derive(&Owner {
        cluster: "c",
        plane: "public",
        namespace: "default",
        service: "web",
        family: Family::V4,
    })
}

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub struct Harness {
    pub client: Client,
    pub now: Instant,
    pub outputs: Vec<Output>,
}

impl Harness {
    pub fn new() -> Self {
        Self::with(ClientConfig::new(identity()), 1)
    }

    pub fn with(config: ClientConfig, seed: u64) -> Self {
        let now = Instant::from_boot(seconds(1_000_000));
        Self { client: Client::new(config, StdRng::seed_from_u64(seed)), now, outputs: Vec::new() }
    }

    /// A client that holds `ADDRESS` for `lease` seconds.
    pub fn bound(lease: u32) -> Self {
        let mut harness = Self::new();
        harness.acquire(&Reply::ack(lease));
        harness
    }

    pub fn acquire(&mut self, ack: &Reply) {
        self.input(Input::Start);
        self.answer(&Reply::offer());
        self.answer(ack);
        self.input(Input::Checked(Verdict::Clear));
        assert_eq!(self.client.state(), State::Bound);
        self.outputs.clear();
    }

    pub fn input(&mut self, input: Input<'_>) {
        self.client.handle_input(self.now, input);
        self.drain();
    }

    /// A reply to the last message that was sent, through the parser.
    pub fn answer(&mut self, reply: &Reply) {
        let xid = self.last_sent().xid;
        self.reply(&reply.clone().xid(xid));
    }

    pub fn reply(&mut self, reply: &Reply) {
        let reply = wire::parse(&reply.octets()).unwrap();
        self.input(Input::Reply(&reply));
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.client.poll_output() {
            self.outputs.push(output);
        }
    }

    pub fn timer(&self) -> Duration {
        self.client.poll_timeout().unwrap().0 - self.now
    }

    /// Moves the clock to the next timer and runs it; the time that passed.
    pub fn next_timer(&mut self) -> Duration {
        let passed = self.timer();
        self.advance(passed);
        passed
    }

    /// Moves the clock without the timers in between: the process was stopped.
    pub fn advance(&mut self, by: Duration) {
        self.now += by;
        self.client.handle_timeout(self.now);
        self.drain();
    }

    /// Runs all timers until `by` from now.
    pub fn run(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some((at, _)) = self.client.poll_timeout().filter(|&(at, _)| at <= end) {
            assert!(at > self.now, "a timer in the past");
            self.advance(at - self.now);
        }
        self.advance(end - self.now);
    }

    pub fn transmits(&self) -> Vec<&Transmit> {
        self.outputs
            .iter()
            .filter_map(|output| if let Output::Transmit(transmit) = output { Some(transmit) } else { None })
            .collect()
    }

    pub fn kinds(&self) -> Vec<MessageKind> {
        self.transmits().iter().map(|transmit| transmit.kind).collect()
    }

    pub fn last_sent(&self) -> Sent {
        Sent::read(self.transmits().last().unwrap())
    }

    pub fn lost(&self) -> Vec<&LostReason> {
        self.outputs
            .iter()
            .filter_map(|output| if let Output::Lost { reason, .. } = output { Some(reason) } else { None })
            .collect()
    }

    pub fn lease(&self) -> Lease {
        self.client.lease().unwrap().clone()
    }
}

/// A message that the client sent, read octet by octet.
#[derive(Debug, Clone)]
pub struct Sent {
    pub octets: Vec<u8>,
    pub xid: u32,
    pub secs: u16,
    pub broadcast: bool,
    pub ciaddr: Ipv4Addr,
    pub from: Ipv4Addr,
    pub to: Destination,
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Sent {
    pub fn read(transmit: &Transmit) -> Self {
        let m = &transmit.message;
        let mut options = Vec::new();
        let mut at = 240;
        while m[at] != 255 {
            let length = usize::from(m[at + 1]);
            options.push((m[at], m[at + 2..at + 2 + length].to_vec()));
            at += 2 + length;
        }
        Self {
            xid: u32::from_be_bytes(m[4..8].try_into().unwrap()),
            secs: u16::from_be_bytes(m[8..10].try_into().unwrap()),
            broadcast: m[10] == 0x80,
            ciaddr: Ipv4Addr::new(m[12], m[13], m[14], m[15]),
            octets: m.clone(),
            from: transmit.from,
            to: transmit.to,
            options,
        }
    }

    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(c, _)| *c == code).map(|(_, value)| value.as_slice())
    }

    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        self.option(code).map(|value| Ipv4Addr::from(<[u8; 4]>::try_from(value).unwrap()))
    }
}

/// A reply in the making; octets may be wrong in any way.
#[derive(Debug, Clone)]
pub struct Reply {
    pub xid: u32,
    pub hardware_address: [u8; 6],
    pub address: Ipv4Addr,
    pub options: Vec<(u8, Vec<u8>)>,
    pub file: Vec<u8>,
    pub sname: Vec<u8>,
}

impl Reply {
    pub fn new(kind: u8) -> Self {
        let address = if kind == NAK { Ipv4Addr::UNSPECIFIED } else { ADDRESS };
        Self {
            xid: 0,
            hardware_address: identity().hardware_address,
            address,
            options: vec![(53, vec![kind]), (54, SERVER.octets().to_vec())],
            file: Vec::new(),
            sname: Vec::new(),
        }
    }

    pub fn offer() -> Self {
        Self::new(OFFER).with(51, &3600u32.to_be_bytes())
    }

    pub fn ack(lease: u32) -> Self {
        Self::new(ACK)
            .with(51, &lease.to_be_bytes())
            .with(1, &[255, 255, 255, 0])
            .with(3, &Ipv4Addr::new(192, 0, 2, 254).octets())
    }

    pub fn nak() -> Self {
        Self::new(NAK).with(56, b"lease not found")
    }

    pub fn xid(mut self, xid: u32) -> Self {
        self.xid = xid;
        self
    }

    pub fn address(mut self, address: Ipv4Addr) -> Self {
        self.address = address;
        self
    }

    pub fn from(self, server: Ipv4Addr) -> Self {
        self.without(54).with(54, &server.octets())
    }

    pub fn with(mut self, code: u8, value: &[u8]) -> Self {
        self.options.push((code, value.to_vec()));
        self
    }

    pub fn without(mut self, code: u8) -> Self {
        self.options.retain(|(c, _)| *c != code);
        self
    }

    pub fn octets(&self) -> Vec<u8> {
        let mut m = vec![2, 1, 6, 0];
        m.extend(self.xid.to_be_bytes());
        m.extend([0; 8]);
        m.extend(self.address.octets());
        m.extend([0; 8]);
        m.extend(self.hardware_address);
        m.resize(44, 0);
        m.extend(&self.sname);
        m.resize(108, 0);
        m.extend(&self.file);
        m.resize(236, 0);
        m.extend([99, 130, 83, 99]);
        for (code, value) in &self.options {
            m.push(*code);
            m.push(u8::try_from(value.len()).unwrap());
            m.extend(value);
        }
        m.push(255);
        m
    }
}
