//! The machine of one interface, for all the addresses that it holds.
//!
//! The machine knows no deadline of its right to announce: whoever sends the frame of an [`Output::Send`] compares the
//! clock with the permit right before, and throws the frame away if it has run out. To the machine a frame that was
//! thrown away is one that the network has lost.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::Ipv4Addr,
    num::NonZeroU32,
    time::Duration,
};

use foghorn_clock::Instant;
use rand::{Rng, rngs::StdRng};

use crate::{
    announced::Announced,
    arp::{ArpFrame, BROADCAST, Mac, Operation},
    limit::ReplyLimit,
    pace::{Pace, Task},
    probing::{PROBES, Probing},
    resolver::{Resolver, Step},
};

/// How long a peer that still answers for an address may delay its probe; then it is a conflict like another.
const PEER_DELAY: Duration = Duration::from_secs(5);
/// RFC 5227, `DEFEND_INTERVAL`.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// Frames that follow each other faster are one conflict: hosts announce in several forms, and a defence must be heard.
const SAME_CONFLICT: Duration = Duration::from_secs(1);

/// How addresses are made known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How a new address is checked for another user.
    pub probing: Probing,
    /// Between gratuitous ARPs of an address in use, give or take a quarter; none at all if not given or zero.
    pub refresh: Option<Duration>,
    /// The most frames in any second, all addresses together, but for answers: announcements, probes, requests.
    pub max_per_second: NonZeroU32,
}

impl Default for Config {
    fn default() -> Self {
        let max_per_second = NonZeroU32::MIN.saturating_add(199);
        Self { probing: Probing::Fast, refresh: Some(Duration::from_secs(60)), max_per_second }
    }
}

/// What the machine is told.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A whole Ethernet frame came in. Whatever is not well-formed ARP is passed over.
    Frame(&'a [u8]),
    /// The address is ours: answer for it, and announce it. If that is done already, only the router is changed.
    Announce {
        /// The address.
        address: Ipv4Addr,
        /// The router of the address's network. It is asked for its MAC address in the address's name: some routers ignore
        /// gratuitous ARP, but who is asked learns the asker (RFC 826).
        router: Option<Ipv4Addr>,
    },
    /// The address is not ours, or no longer: from now on nothing is sent for it, neither what is in the outputs nor
    /// probes, nor questions in its name that were put before. Those end as [`Output::Unresolved`].
    Withdraw(Ipv4Addr),
    /// [`Input::Withdraw`] of all addresses.
    WithdrawAll,
    /// Is the address in use? Ends in [`Output::ProbeClear`] or [`Output::ProbeConflict`] unless it is cancelled.
    Probe {
        /// The address.
        address: Ipv4Addr,
        /// The MAC address that the address was leased to. Switches and access points that know the lease answer with
        /// it for its owner, which is this host (RFC 5227, 2.1.1: a sender that is not the host's own).
        own: Mac,
    },
    /// The answer to [`Input::Probe`] is no longer wanted.
    CancelProbe(Ipv4Addr),
    /// Which hardware address has `target`, a host on the link? Asked three times, a second apart, with the
    /// interface's own hardware address and with `sender`, which is thereby announced to `target`. Ends in
    /// [`Output::Resolved`], at once if the answer is at most 30 s old, or [`Output::Unresolved`].
    Resolve {
        /// The claim's address, in whose name is asked.
        sender: Ipv4Addr,
        /// The address of the host that is looked for.
        target: Ipv4Addr,
    },
    /// The interface's hardware address, new or (when its carrier came back) as before: everything is announced and
    /// probed again.
    SetMac(Mac),
    /// The hardware addresses of the other announcers of the plane. Two that hold an address during a hand-over are
    /// no conflict.
    SetPeers(BTreeSet<Mac>),
    /// The plane was changed.
    SetConfig(Config),
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An answer to a request.
    Reply,
    /// An announcement, or the defence of an address.
    Gratuitous,
    /// A question whether an address is in use.
    Probe,
    /// A question who has an address.
    Request,
}

/// What the machine wants or has found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this, if the right to the address still holds at that moment.
    Send {
        /// What it is for.
        kind: Kind,
        /// The address that it speaks for.
        address: Ipv4Addr,
        /// The Ethernet frame without its checksum.
        frame: Vec<u8>,
    },
    /// Nobody uses the probed address.
    ProbeClear(Ipv4Addr),
    /// Somebody uses the probed address, or wants to.
    ProbeConflict {
        /// The probed address.
        address: Ipv4Addr,
        /// Who that is.
        mac: Mac,
    },
    /// Another host says that it has an announced address (RFC 5227, 2.4). Reported once a second at most.
    Conflict {
        /// The announced address.
        address: Ipv4Addr,
        /// The other host.
        mac: Mac,
        /// Whether the address is defended by a gratuitous ARP. False if that was done less than 10 s ago: the caller
        /// decides whether to give way.
        defended: bool,
    },
    /// The answer to [`Input::Resolve`], to all who asked for the target.
    Resolved {
        /// The address that was looked for.
        target: Ipv4Addr,
        /// Its hardware address.
        mac: Mac,
    },
    /// There was no answer to [`Input::Resolve`].
    Unresolved {
        /// The address that was looked for.
        target: Ipv4Addr,
    },
}

/// The machine of one interface.
#[derive(Debug)]
pub struct L2 {
    config: Config,
    mac: Mac,
    peers: BTreeSet<Mac>,
    rng: StdRng,
    announced: BTreeMap<Ipv4Addr, Announced>,
    probed: BTreeMap<Ipv4Addr, Probed>,
    resolver: Resolver,
    pace: Pace,
    replies: ReplyLimit,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Probed {
    own: Mac,
    sent: u8,
    next: (Task, Instant),
    delayed_since: Option<Instant>,
}

impl L2 {
    /// A machine that holds no address yet, on an interface with the hardware address `mac`.
    #[must_use]
    pub fn new(config: Config, mac: Mac, rng: StdRng) -> Self {
        let pace = Pace::new(&config);
        Self {
            config,
            mac,
            peers: BTreeSet::new(),
            rng,
            announced: BTreeMap::new(),
            probed: BTreeMap::new(),
            resolver: Resolver::default(),
            pace,
            replies: ReplyLimit::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes an input, and does what is due.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Frame(frame) => {
                if let Ok(frame) = ArpFrame::parse(frame) {
                    self.hear(now, &frame);
                }
            }
            Input::Announce { address, router } => self.announce(now, address, router),
            Input::Withdraw(address) => self.withdraw(address),
            Input::WithdrawAll => self.withdraw_all(),
            Input::Probe { address, own } => self.probe(now, address, own),
            Input::CancelProbe(address) => self.cancel_probe(address),
            Input::Resolve { sender, target } => {
                // Whoever is still to be told that a former question came to nothing waits for this answer.
                self.outputs
                    .retain(|output| !matches!(output, Output::Unresolved { target: of } if *of == target));
                if let Some(mac) = self.resolver.ask(now, sender, target) {
                    self.outputs.push_back(Output::Resolved { target, mac });
                }
            }
            Input::SetMac(mac) => self.set_mac(now, mac),
            Input::SetPeers(peers) => self.peers = peers,
            Input::SetConfig(config) => self.set_config(now, config),
        }
        self.handle_timeout(now);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.pace.ready() <= now
            && let Some(step) = self.resolver.step(now)
        {
            match step {
                Step::Ask { sender, target } => {
                    self.pace.take(now);
                    self.send(Kind::Request, sender, &ArpFrame::request(self.mac, sender, target));
                }
                Step::GiveUp { target } => self.outputs.push_back(Output::Unresolved { target }),
            }
        }
        while let Some((task, address)) = self.pace.pop(now) {
            match task {
                Task::First | Task::Repeat | Task::Refresh => self.send_announcement(now, address),
                Task::Defence => {
                    self.send(Kind::Gratuitous, address, &ArpFrame::gratuitous_request(self.mac, address));
                }
                Task::Probe => self.send_probe(now, address),
                Task::ProbeEnd => {
                    self.probed.remove(&address);
                    self.outputs.push_back(Output::ProbeClear(address));
                }
            }
        }
    }

    /// When [`L2::handle_timeout`] is next to be called, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let resolve = self.resolver.next().map(|at| (at.max(self.pace.ready()), "ARP request"));
        self.pace.next().into_iter().chain(resolve).min()
    }

    /// The next output; to be called until there is none after each input and timeout.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The addresses that are answered for, in order.
    pub fn announced(&self) -> impl ExactSizeIterator<Item = Ipv4Addr> {
        self.announced.keys().copied()
    }

    /// Whether the address is answered for.
    #[must_use]
    pub fn announces(&self, address: Ipv4Addr) -> bool {
        self.announced.contains_key(&address)
    }

    fn hear(&mut self, now: Instant, frame: &ArpFrame) {
        if frame.sender_mac == self.mac || frame.source == self.mac {
            return;
        }
        self.hear_probed(now, frame);
        if self.announced.contains_key(&frame.sender_ip) {
            self.hear_conflict(now, frame);
            return;
        }
        match frame.operation {
            Operation::Request => self.answer(now, frame),
            Operation::Reply => {
                let (target, mac) = (frame.sender_ip, frame.sender_mac);
                if self.resolver.answer(now, target, mac) {
                    self.outputs.push_back(Output::Resolved { target, mac });
                }
            }
        }
    }

    fn answer(&mut self, now: Instant, request: &ArpFrame) {
        let to_us = request.destination == self.mac || request.destination == BROADCAST;
        let address = request.target_ip;
        if to_us
            && self.announced.contains_key(&address)
            && self.replies.allow(now, address, request.sender_mac)
        {
            self.send(Kind::Reply, address, &ArpFrame::reply_to(request, self.mac));
        }
    }

    /// RFC 5227, 2.1.1: what says that a probed address is in use, or that another host probes it too.
    fn hear_probed(&mut self, now: Instant, frame: &ArpFrame) {
        let is_probe = frame.operation == Operation::Request && frame.sender_ip.is_unspecified();
        let address = if is_probe { frame.target_ip } else { frame.sender_ip };
        let Some(probed) = self.probed.get_mut(&address) else {
            return;
        };
        if frame.sender_mac == probed.own {
            return;
        }
        if self.peers.contains(&frame.sender_mac) {
            if is_probe {
                return;
            }
            let since = *probed.delayed_since.get_or_insert(now);
            if now - since < PEER_DELAY {
                probed.sent = 0;
                let interval = self.config.probing.interval(&mut self.rng);
                self.schedule_probe(address, Task::Probe, now + interval);
                return;
            }
        }
        self.cancel_probe(address);
        self.outputs.push_back(Output::ProbeConflict { address, mac: frame.sender_mac });
    }

    /// RFC 5227, 2.4 (b), but that giving way is left to the caller.
    fn hear_conflict(&mut self, now: Instant, frame: &ArpFrame) {
        let (address, mac) = (frame.sender_ip, frame.sender_mac);
        if self.peers.contains(&mac) {
            return;
        }
        let Some(announced) = self.announced.get_mut(&address) else {
            return;
        };
        if announced.reported.is_some_and(|at| now - at < SAME_CONFLICT) {
            return;
        }
        announced.reported = Some(now);
        let defended = announced.defended.is_none_or(|at| now - at >= DEFEND_INTERVAL);
        if defended {
            let before = announced.defended.replace(now);
            self.cancel_defence(address, before);
            self.pace.insert(Task::Defence, now, address);
        }
        self.outputs.push_back(Output::Conflict { address, mac, defended });
    }

    fn announce(&mut self, now: Instant, address: Ipv4Addr, router: Option<Ipv4Addr>) {
        if let Some(announced) = self.announced.get_mut(&address) {
            announced.router = router;
            return;
        }
        self.cancel_probe(address);
        self.announced.insert(address, Announced::new(router));
        self.schedule_announcement(address, Some((Task::First, now)));
    }

    fn send_announcement(&mut self, now: Instant, address: Ipv4Addr) {
        let refresh = self.refresh_gap();
        let Some(announced) = self.announced.get_mut(&address) else { return };
        announced.next = None;
        let (kind, frame) = announced.next_frame(self.mac, address);
        let next = announced.gap(refresh).map(|(task, gap)| (task, now + gap));
        self.send(kind, address, &frame);
        self.schedule_announcement(address, next);
    }

    fn schedule_announcement(&mut self, address: Ipv4Addr, next: Option<(Task, Instant)>) {
        let Some(announced) = self.announced.get_mut(&address) else {
            return;
        };
        if let Some((task, due)) = std::mem::replace(&mut announced.next, next) {
            self.pace.remove(task, due, address);
        }
        if let Some((task, due)) = next {
            self.pace.insert(task, due, address);
        }
    }

    fn probe(&mut self, now: Instant, address: Ipv4Addr, own: Mac) {
        if self.probed.contains_key(&address) {
            return;
        }
        if self.config.probing == Probing::Off || self.announced.contains_key(&address) {
            self.outputs.push_back(Output::ProbeClear(address));
            return;
        }
        let first = now + self.config.probing.delay(&mut self.rng);
        let next = (Task::Probe, first);
        self.probed.insert(address, Probed { own, sent: 0, next, delayed_since: None });
        self.schedule_probe(address, Task::Probe, first);
    }

    fn send_probe(&mut self, now: Instant, address: Ipv4Addr) {
        self.send(Kind::Probe, address, &ArpFrame::probe(self.mac, address));
        let Some(probed) = self.probed.get_mut(&address) else {
            return;
        };
        probed.sent += 1;
        let (task, wait) = if probed.sent < PROBES {
            (Task::Probe, self.config.probing.interval(&mut self.rng))
        } else {
            (Task::ProbeEnd, self.config.probing.wait())
        };
        self.schedule_probe(address, task, now + wait);
    }

    fn schedule_probe(&mut self, address: Ipv4Addr, task: Task, due: Instant) {
        if let Some(probed) = self.probed.get_mut(&address) {
            let (old_task, old_due) = std::mem::replace(&mut probed.next, (task, due));
            self.pace.remove(old_task, old_due, address);
            self.pace.insert(task, due, address);
        }
    }

    fn cancel_probe(&mut self, address: Ipv4Addr) {
        if let Some(Probed { next: (task, due), .. }) = self.probed.remove(&address) {
            self.pace.remove(task, due, address);
        }
    }

    /// Forgets the defence that was due at that time, if it was not sent yet.
    fn cancel_defence(&mut self, address: Ipv4Addr, due: Option<Instant>) {
        if let Some(due) = due {
            self.pace.remove(Task::Defence, due, address);
        }
    }

    fn withdraw(&mut self, address: Ipv4Addr) {
        self.schedule_announcement(address, None);
        if let Some(Announced { defended, .. }) = self.announced.remove(&address) {
            self.cancel_defence(address, defended);
        }
        self.cancel_probe(address);
        self.outputs.retain(|output| !matches!(output, Output::Send { address: of, .. } if *of == address));
        let orphans = self.resolver.forget(address);
        self.outputs.extend(orphans.into_iter().map(|target| Output::Unresolved { target }));
    }

    fn withdraw_all(&mut self) {
        self.announced.clear();
        self.probed.clear();
        self.pace.clear();
        self.outputs.retain(|output| !matches!(output, Output::Send { .. }));
        let orphans = self.resolver.forget_all();
        self.outputs.extend(orphans.into_iter().map(|target| Output::Unresolved { target }));
    }

    fn set_mac(&mut self, now: Instant, mac: Mac) {
        self.mac = mac;
        self.outputs.retain(|output| !matches!(output, Output::Send { .. }));
        for address in self.announced().collect::<Vec<_>>() {
            if let Some(announced) = self.announced.get_mut(&address) {
                announced.begin_anew();
            }
            self.schedule_announcement(address, Some((Task::First, now)));
        }
        for address in self.probed.keys().copied().collect::<Vec<_>>() {
            if let Some(probed) = self.probed.get_mut(&address) {
                probed.sent = 0;
            }
            self.schedule_probe(address, Task::Probe, now);
        }
    }

    fn set_config(&mut self, now: Instant, config: Config) {
        self.pace.configure(&config);
        let refresh_changed = self.config.refresh != config.refresh;
        self.config = config;
        if !refresh_changed {
            return;
        }
        let refreshed = self.announced.iter().filter(|(_, announced)| announced.is_known());
        let refreshed: Vec<_> = refreshed.map(|(address, _)| *address).collect();
        for address in refreshed {
            let gap = self.refresh_gap();
            self.schedule_announcement(address, gap.map(|gap| (Task::Refresh, now + gap)));
        }
    }

    /// Three to five quarters of the interval, so that the addresses of a plane do not stay in step.
    fn refresh_gap(&mut self) -> Option<Duration> {
        let interval = self.config.refresh.filter(|interval| !interval.is_zero())?;
        Some((interval / 1_000).saturating_mul(self.rng.random_range(750..=1_250)))
    }

    fn send(&mut self, kind: Kind, address: Ipv4Addr, frame: &ArpFrame) {
        self.outputs.push_back(Output::Send { kind, address, frame: frame.build() });
    }
}

#[cfg(test)]
mod tests;
