//! A machine, a gateway and a clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use foghorn_clock::Instant;
use foghorn_portmap::{
    Client, Config, Fault, Input, Machine, Output, Plane, Port, Protocol, Report, Request, Standing,
    Transport, Trouble, Wanted,
};
use rand::{SeedableRng, rngs::StdRng};

use crate::gateway::{Gateway, LEASE};

pub const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const PREFIX: &str = "foghorn 11111111 ";
/// Between question and answer.
const LATENCY: Duration = Duration::from_millis(10);

pub struct World {
    pub now: Instant,
    pub machine: Machine,
    pub gateway: Gateway,
    pub wanted: BTreeMap<Arc<str>, Wanted>,
    pub plane: Plane,
    pub asked: Vec<Request>,
    pub reports: BTreeMap<Arc<str>, Report>,
    /// Addresses that are not on the node.
    pub unbound: BTreeSet<Ipv4Addr>,
}

impl World {
    /// With a gateway of that kind, and 1024 to 65535 to be asked for.
    pub fn new(gateway: Gateway) -> Self {
        let protocols = vec![Protocol::Igd, Protocol::Pcp, Protocol::NatPmp];
        Self::with(Config { protocols, another: false, ports: vec![1024..=u16::MAX] }, gateway)
    }

    pub fn with(config: Config, gateway: Gateway) -> Self {
        let mut world = Self {
            now: Instant::from_boot(Duration::from_secs(1_000)),
            machine: Machine::new(config, StdRng::seed_from_u64(7)),
            gateway,
            wanted: BTreeMap::new(),
            plane: Plane { prefix: PREFIX.into(), ..Plane::default() },
            asked: Vec::new(),
            reports: BTreeMap::new(),
            unbound: BTreeSet::new(),
        };
        world.gateway.started = world.now;
        world.tell(Input::Gateway(Some(ROUTER)));
        world
    }

    /// Wants a claim's ports forwarded: each as (port, the gateway's).
    pub fn want(&mut self, claim: &str, address: u8, ports: &[(Port, u16)]) {
        self.wanted.insert(claim.into(), wanted(claim, address, ports));
        self.tell_claims();
    }

    pub fn change(&mut self, claim: &str, change: impl FnOnce(&mut Wanted)) {
        self.wanted.get_mut(claim).map(change).unwrap();
        self.tell_claims();
    }

    /// Another node has it now, or nobody.
    pub fn lose(&mut self, claim: &str) {
        self.wanted.remove(claim);
        self.reports.remove(claim);
        self.tell_claims();
    }

    pub fn tell_claims(&mut self) {
        self.plane.descriptions.extend(self.wanted.values().map(|wanted| wanted.description.clone()));
        self.tell(Input::Claims { wanted: self.wanted.clone(), plane: self.plane.clone() });
    }

    pub fn tell(&mut self, input: Input) {
        self.machine.handle_input(self.now, input);
        self.settle();
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while let Some((due, why)) = self.machine.poll_timeout().filter(|(due, _)| *due <= end) {
            assert!(due >= self.now || why != "the gateway answers");
            self.now = self.now.max(due);
            let asked = self.asked.len();
            self.machine.handle_timeout(self.now);
            self.settle();
            let next = self.machine.poll_timeout();
            let is_idle = self.asked.len() == asked && next.is_some_and(|(next, _)| next <= self.now);
            assert!(!is_idle, "due, and nothing is done: {next:?}");
        }
        self.now = self.now.max(end);
        self.gateway.forget(self.now);
    }

    pub fn seconds(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            match self.machine.poll_output() {
                None => return self.assert_told_is_there(),
                Some(Output::Report(claim, report)) => {
                    self.reports.insert(claim, report);
                }
                Some(Output::Ask(request)) => {
                    self.now += LATENCY;
                    let answer = if self.unbound.contains(&request.source) {
                        Err(Fault::NotBound("not yet".into()))
                    } else {
                        self.gateway.answer(self.now, &request)
                    };
                    let number = request.number;
                    self.asked.push(request);
                    self.machine.handle_input(self.now, Input::Answered { number, answer });
                }
            }
        }
        panic!("it asks without an end: {:?}", self.asked.last());
    }

    /// What is told as forwarded is, unless the gateway has lost power since.
    fn assert_told_is_there(&mut self) {
        self.gateway.forget(self.now);
        for (claim, report) in &self.reports {
            let Some(wanted) = self.wanted.get(claim) else { continue };
            for (port, standing) in &report.ports {
                let Standing::Forwarded { external, until, .. } = standing else { continue };
                let at_gateway = Port { transport: port.transport, number: *external };
                let is_over = until.is_some_and(|until| until <= self.now);
                if is_over || self.gateway.lost.contains(&at_gateway) {
                    continue;
                }
                let there =
                    self.gateway.table.get(&at_gateway).map(|(entry, ..)| (&entry.client, entry.port));
                let right = (&Client::Address(wanted.address), port.number);
                assert_eq!(
                    there,
                    Some(right),
                    "{claim}: {port:?} is told to be forwarded: {:?}",
                    self.asked.last()
                );
            }
        }
    }

    /// How a claim's port stands.
    pub fn standing(&self, claim: &str, port: Port) -> Option<&Standing> {
        self.reports.get(claim)?.ports.get(&port)
    }

    pub fn trouble(&self, claim: &str, port: Port) -> Option<&Trouble> {
        match self.standing(claim, port)? {
            Standing::Failed(trouble) | Standing::Forwarded { trouble: Some(trouble), .. } => Some(trouble),
            _ => None,
        }
    }

    pub fn external(&self, claim: &str, port: Port) -> Option<u16> {
        match self.standing(claim, port)? {
            Standing::Forwarded { external, .. } => Some(*external),
            _ => None,
        }
    }

    /// How often each kind of question was asked since the last time.
    pub fn counts(&mut self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for request in self.asked.drain(..) {
            *counts.entry(request.ask.name()).or_default() += 1;
        }
        counts
    }
}

pub fn wanted(claim: &str, address: u8, ports: &[(Port, u16)]) -> Wanted {
    Wanted {
        address: Ipv4Addr::new(203, 0, 113, address),
        description: format!("{PREFIX}{:08x} {claim}", u32::from(address)),
        lease: Some(LEASE),
        secret: [address; 32],
        ports: ports.iter().copied().collect(),
        had: BTreeMap::new(),
        ending: false,
    }
}

pub const fn tcp(number: u16) -> Port {
    Port { transport: Transport::Tcp, number }
}

pub const fn udp(number: u16) -> Port {
    Port { transport: Transport::Udp, number }
}
