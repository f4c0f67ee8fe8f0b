//! The ARP machine of an interface under a script of inputs, frames and steps of time.

use std::{
    collections::{BTreeSet, VecDeque},
    net::Ipv4Addr,
    num::NonZeroU32,
    time::Duration,
};

use arbitrary::{Arbitrary, Unstructured};
use foghorn_clock::Instant;
use foghorn_l2::{
    ArpFrame, Config, Input, Kind, L2, Mac, Output, Probing,
    arp::{BROADCAST, Operation},
};
use rand::{SeedableRng as _, rngs::StdRng};

const SECOND: Duration = Duration::from_secs(1);
/// Timers that one step of the script runs: each of them is one frame, or the end of a probe.
const MOST: u32 = 20_000;

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Settings {
    probing: Probes,
    /// Seconds.
    refresh: u8,
    max_per_second: u8,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Probes {
    Fast,
    Rfc5227,
    Off,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Announce(Address, Option<Address>),
    /// Many addresses at once.
    TakeOver(u8),
    Withdraw(Address),
    WithdrawAll,
    Probe(Address, Host),
    CancelProbe(Address),
    Resolve(Address, Address),
    SetMac(Host),
    SetPeers(Vec<Host>),
    SetConfig(Settings),
    /// A well-formed frame.
    Frame(Frame),
    /// The same frame by many hosts.
    Storm(Frame, u8),
    /// A frame of arbitrary octets.
    Octets(Vec<u8>),
    /// The next timer is run in time.
    Timer,
    /// The timers in between are run in time.
    Pass {
        ms: u16,
    },
    /// The process is stopped meanwhile.
    Jump {
        ms: u32,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Frame {
    is_reply: bool,
    to: Option<Host>,
    sender: Host,
    sender_ip: Address,
    target_ip: Address,
}

/// A host of a few, so that scripts come back to it.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    Own,
    Leased,
    Peer,
    Foreign(u8),
}

/// An address of a few.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Address {
    One,
    Another,
    Router,
    None,
    Any(u8),
}

/// Reads the octets as a script and plays it to its end, or to where the octets end.
pub fn fuzz(octets: &[u8]) {
    let mut script = Unstructured::new(octets);
    let Ok((seed, settings)) = <(u64, Settings)>::arbitrary(&mut script) else { return };
    let mut play = Play::new(seed, settings);
    while !script.is_empty() {
        let Ok(step) = Step::arbitrary(&mut script) else { return };
        play.step(step);
    }
}

/// The machine, and what is known of it from outside.
struct Play {
    machine: L2,
    now: Instant,
    mac: Mac,
    limit: usize,
    announced: BTreeSet<Ipv4Addr>,
    probed: BTreeSet<Ipv4Addr>,
    /// Who asks for whom.
    asked: BTreeSet<(Ipv4Addr, Ipv4Addr)>,
    /// When the frames of the last second went out, answers not among them.
    sent: VecDeque<Instant>,
}

impl Play {
    fn new(seed: u64, settings: Settings) -> Self {
        let config = Config::from(settings);
        let mac = Host::Own.into();
        Self {
            limit: limit(&config),
            machine: L2::new(config, mac, StdRng::seed_from_u64(seed)),
            now: Instant::from_boot(Duration::from_secs(1_000)),
            mac,
            announced: BTreeSet::new(),
            probed: BTreeSet::new(),
            asked: BTreeSet::new(),
            sent: VecDeque::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Announce(address, router) => self.announce(address.into(), router),
            Step::TakeOver(many) => (0..many).for_each(|n| self.announce(Address::Any(n).into(), None)),
            Step::Withdraw(address) => self.withdraw(address.into()),
            Step::WithdrawAll => {
                self.announced.clear();
                self.probed.clear();
                self.asked.clear();
                self.input(Input::WithdrawAll);
            }
            Step::Probe(address, own) => {
                self.probed.insert(address.into());
                self.input(Input::Probe { address: address.into(), own: own.into() });
            }
            Step::CancelProbe(address) => {
                self.probed.remove(&address.into());
                self.input(Input::CancelProbe(address.into()));
            }
            Step::Resolve(sender, target) => {
                self.asked.insert((sender.into(), target.into()));
                self.input(Input::Resolve { sender: sender.into(), target: target.into() });
            }
            Step::SetMac(host) => {
                self.mac = host.into();
                self.input(Input::SetMac(self.mac));
            }
            Step::SetPeers(hosts) => self.input(Input::SetPeers(hosts.into_iter().map(Mac::from).collect())),
            Step::SetConfig(settings) => {
                let config = Config::from(settings);
                self.limit = limit(&config);
                self.input(Input::SetConfig(config));
            }
            Step::Frame(frame) => self.input(Input::Frame(&ArpFrame::from(frame).build())),
            Step::Storm(frame, many) => (0..many).for_each(|n| {
                let frame = Frame { sender: Host::Foreign(n), ..frame };
                self.input(Input::Frame(&ArpFrame::from(frame).build()));
            }),
            Step::Octets(octets) => self.input(Input::Frame(&octets)),
            Step::Timer => {
                if let Some((at, _)) = self.machine.poll_timeout() {
                    self.timeout(at);
                }
            }
            Step::Pass { ms } => self.pass(Duration::from_millis(ms.into())),
            Step::Jump { ms } => self.timeout(self.now + Duration::from_millis(ms.into())),
        }
    }

    fn announce(&mut self, address: Ipv4Addr, router: Option<Address>) {
        self.announced.insert(address);
        // To announce an address ends its probe.
        self.probed.remove(&address);
        self.input(Input::Announce { address, router: router.map(Ipv4Addr::from) });
    }

    fn withdraw(&mut self, address: Ipv4Addr) {
        self.announced.remove(&address);
        self.probed.remove(&address);
        self.asked.retain(|(sender, _)| *sender != address);
        self.input(Input::Withdraw(address));
    }

    fn input(&mut self, input: Input<'_>) {
        self.machine.handle_input(self.now, input);
        self.verify();
    }

    fn timeout(&mut self, at: Instant) {
        self.now = at;
        self.machine.handle_timeout(at);
        self.verify();
    }

    fn pass(&mut self, by: Duration) {
        let end = self.now + by;
        let mut timers = 0;
        while let Some((at, why)) = self.machine.poll_timeout().filter(|&(at, _)| at <= end) {
            self.timeout(at);
            timers += 1;
            assert!(timers <= MOST, "{timers} timers in {by:?}, now: {why}");
        }
        self.timeout(end);
    }

    fn verify(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send { kind, address, frame } => self.sent(kind, address, &frame),
                Output::ProbeClear(address) | Output::ProbeConflict { address, .. } => {
                    let wanted = self.probed.remove(&address);
                    assert!(wanted, "{address} is not probed");
                }
                Output::Conflict { address, mac, .. } => {
                    assert!(self.announced.contains(&address), "a conflict about {address}");
                    assert_ne!(mac, self.mac, "with oneself");
                }
                Output::Resolved { target, .. } | Output::Unresolved { target } => {
                    self.asked.retain(|(_, of)| *of != target);
                }
            }
        }
        assert!(self.machine.announced().eq(self.announced.iter().copied()));
        if let Some((at, why)) = self.machine.poll_timeout() {
            assert!(at > self.now, "{why} is due and was not done");
        }
    }

    fn sent(&mut self, kind: Kind, address: Ipv4Addr, frame: &[u8]) {
        let frame = ArpFrame::parse(frame);
        let frame = frame.unwrap_or_else(|error| unreachable!("a frame that is none: {error}"));
        assert_eq!((frame.source, frame.sender_mac), (self.mac, self.mac));
        let announced = self.announced.contains(&address);
        let asks = self.asked.contains(&(address, frame.target_ip));
        let may = match kind {
            Kind::Reply | Kind::Gratuitous => announced,
            Kind::Probe => self.probed.contains(&address),
            Kind::Request => announced || asks,
        };
        assert!(may, "{kind:?} for {address}");
        if kind == Kind::Reply {
            return;
        }
        while self.sent.pop_front_if(|at| self.now - *at > SECOND).is_some() {}
        self.sent.push_back(self.now);
        assert!(self.sent.len() <= self.limit, "{} frames in a second of {}", self.sent.len(), self.limit);
    }
}

fn limit(config: &Config) -> usize {
    usize::try_from(config.max_per_second.get()).unwrap_or(usize::MAX)
}

impl From<Settings> for Config {
    fn from(settings: Settings) -> Self {
        Self {
            probing: match settings.probing {
                Probes::Fast => Probing::Fast,
                Probes::Rfc5227 => Probing::Rfc5227,
                Probes::Off => Probing::Off,
            },
            refresh: Some(Duration::from_secs(settings.refresh.into())),
            max_per_second: NonZeroU32::MIN.saturating_add(settings.max_per_second.into()),
        }
    }
}

impl From<Frame> for ArpFrame {
    fn from(frame: Frame) -> Self {
        let request = Self::request(frame.sender.into(), frame.sender_ip.into(), frame.target_ip.into());
        Self {
            operation: if frame.is_reply { Operation::Reply } else { Operation::Request },
            destination: frame.to.map_or(BROADCAST, Mac::from),
            ..request
        }
    }
}

impl From<Host> for Mac {
    fn from(host: Host) -> Self {
        match host {
            Host::Own => [2, 0, 0, 0, 0, 1],
            Host::Leased => [0x92, 0x1c, 0x4f, 7, 0xaa, 0x3e],
            Host::Peer => [2, 0, 0, 0, 0, 2],
            Host::Foreign(number) => [2, 0, 0, 0, 1, number],
        }
    }
}

impl From<Address> for Ipv4Addr {
    fn from(address: Address) -> Self {
        match address {
            Address::One => Self::new(192, 0, 2, 1),
            Address::Another => Self::new(192, 0, 2, 2),
            Address::Router => Self::new(192, 0, 2, 254),
            Address::None => Self::UNSPECIFIED,
            Address::Any(last) => Self::new(198, 18, 0, last),
        }
    }
}
