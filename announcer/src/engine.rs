//! All that one node does for its plane, without sockets, clock or API.
//!
//! The shell tells the engine what it sees (configuration, interface, ownership, claims, frames), and does what the
//! engine wants (frames to send, hardware addresses to receive, statuses to write). Everything is level-triggered:
//! an input changes the present state, and [`Engine::plan`] brings a claim from where it is to where it should be.
//!
//! Every frame speaks in the name of one claim. So each is sent only while this node has the right to announce that
//! claim; the shell compares it with a fresh clock right before.

mod addresses;
mod api_time;
mod carriage;
mod clients;
mod frames;
mod gates;
mod held;
mod peers;
mod plan;
mod recipients;
mod reports;
mod settle;
mod starts;
mod status;
mod strangers;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::Ipv4Addr,
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use foghorn_clock::Instant;
use foghorn_crds::{AddressClaim, PlaneConfig, ProbeMode};
use foghorn_dhcp::{self as dhcp, MessageKind, frame::UdpChecksum};
use foghorn_l2::{self as l2, Echoes, L2};
use foghorn_membership::Grant;
use foghorn_netio::Link;
use rand::rngs::StdRng;

pub use self::{api_time::ApiTime, gates::Proxy};
use self::{
    carriage::Carriage,
    clients::Kept,
    gates::Gates,
    held::Held,
    peers::Peers,
    recipients::Recipients,
    starts::{Pace, Starts},
};
use crate::{metrics::Metrics, report::Report};

/// For so long nothing is written of a claim that was taken over: first all of them are announced.
const TAKEOVER_REPORT_DELAY: Duration = Duration::from_millis(300);

/// What the engine is told.
#[derive(Debug)]
pub enum Input<'a> {
    /// The plane's configuration.
    Config(Box<PlaneConfig>),
    /// The plane's interface on this node; `None` while there is none in working order.
    Link(Option<Box<Link>>),
    /// What the API server's clock reads. Told before the first grant, and again when it is known better.
    ApiTime(ApiTime),
    /// This node holds the claim of that name from now on, whether it knows the claim already or not. For one that it
    /// holds, this is a later right to the same: nothing begins anew.
    Granted {
        /// The claim, by name.
        claim: &'a str,
        /// The right.
        grant: Grant,
    },
    /// This node holds the claim no longer: all that is in hand of it is forgotten without a word on the wire, for
    /// another node goes on with it.
    Revoked {
        /// The claim, by name.
        claim: &'a str,
    },
    /// The hardware addresses of the plane's other announcers, besides those that claims' statuses tell.
    Peers(BTreeSet<[u8; 6]>),
    /// The present state of a claim.
    Claim(Arc<AddressClaim>),
    /// A claim is no more.
    ClaimGone(&'a str),
    /// What is known of the node's proxy; asked for while an [address waits for it](Engine::waiting_for_proxy).
    Proxy(Proxy),
    /// A frame from the plane's interface.
    Frame {
        /// The Ethernet frame.
        bytes: &'a [u8],
        /// Whether its UDP checksum is filled in.
        udp_checksum: UdpChecksum,
    },
}

/// What the engine wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send an Ethernet frame, if this node may announce the claim at that moment.
    Send {
        /// What it is, for metrics.
        kind: FrameKind,
        /// The claim in whose name it speaks.
        claim: Arc<str>,
        /// The frame.
        frame: Vec<u8>,
    },
    /// Receive frames to this hardware address.
    Join([u8; 6]),
    /// Receive them no longer.
    Leave([u8; 6]),
    /// Tell people that another host says that it has a claim's address.
    Conflict(Conflict),
    /// Tell people that another host uses a claim's MAC address.
    Stranger(Stranger),
    /// Write the status of a claim, unless it was written by a later grant.
    Report(Box<Report>),
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// ARP.
    Arp(l2::Kind),
    /// DHCP.
    Dhcp(MessageKind),
    /// The answer to a ping.
    Echo,
}

/// Another host says that it has an address that this node announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The claim, by name.
    pub claim: Arc<str>,
    /// The address.
    pub address: Ipv4Addr,
    /// The other host.
    pub mac: [u8; 6],
    /// Whether the address is defended (RFC 5227, 2.4); else it is withdrawn for now.
    pub defended: bool,
}

/// Another host uses the MAC address of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// The claim, by name.
    pub claim: Arc<str>,
    /// The MAC address.
    pub mac: [u8; 6],
}

/// The engine of one node.
#[derive(Debug)]
pub struct Engine {
    node: String,
    rng: StdRng,
    metrics: Metrics,
    config: Option<PlaneConfig>,
    link: Option<Link>,
    api_time: Option<ApiTime>,
    grants: BTreeMap<String, Grant>,
    claims: BTreeMap<String, Arc<AddressClaim>>,
    held: BTreeMap<String, Held>,
    /// Leases in hand when the interface went away; while no other node holds the claim they are known better here than
    /// in any status.
    kept: BTreeMap<String, Kept>,
    carriage: Carriage,
    recipients: Recipients,
    by_address: BTreeMap<Ipv4Addr, Arc<str>>,
    by_next_hop: BTreeMap<Ipv4Addr, BTreeSet<Arc<str>>>,
    peers: Peers,
    gates: Gates,
    l2: Option<L2>,
    echoes: Echoes,
    starts: Starts,
    timers: BTreeSet<(Instant, String)>,
    reports: BTreeSet<(Instant, String)>,
    /// When leases end.
    expiries: BTreeSet<(Instant, String)>,
    /// Claims whose client may have outputs.
    touched: BTreeSet<String>,
    outputs: VecDeque<Output>,
}

impl Engine {
    /// An engine for the node of that name, which does nothing before it has configuration, interface and grants.
    #[must_use]
    pub fn new(node: impl Into<String>, rng: StdRng, metrics: Metrics) -> Self {
        Self {
            node: node.into(),
            rng,
            metrics,
            config: None,
            link: None,
            api_time: None,
            grants: BTreeMap::new(),
            claims: BTreeMap::new(),
            held: BTreeMap::new(),
            kept: BTreeMap::new(),
            carriage: Carriage::default(),
            recipients: Recipients::default(),
            by_address: BTreeMap::new(),
            by_next_hop: BTreeMap::new(),
            peers: Peers::default(),
            gates: Gates::default(),
            l2: None,
            echoes: Echoes::default(),
            starts: Starts::default(),
            timers: BTreeSet::new(),
            reports: BTreeSet::new(),
            expiries: BTreeSet::new(),
            touched: BTreeSet::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes an input.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.run_timers(now);
        match input {
            Input::Config(config) => self.set_config(now, *config),
            Input::Link(link) => self.set_link(now, link.map(|link| *link)),
            Input::ApiTime(api_time) => {
                if self.api_time.replace(api_time).is_none() {
                    self.touched.extend(self.held.keys().cloned());
                }
            }
            Input::Granted { claim, grant } => self.grant(now, claim, grant),
            Input::Revoked { claim } => self.revoke(now, claim),
            Input::Peers(announcers) => self.meet_announcers(now, announcers),
            Input::Claim(claim) => {
                if let Some(name) = claim.metadata.name.clone() {
                    self.meet_holder(now, &claim);
                    if let Some(address) = claim.status.as_ref().and_then(|status| status.address) {
                        self.gates.published(now, &name, address);
                    }
                    self.claims.insert(name.clone(), claim);
                    self.plan(now, &name);
                }
            }
            Input::ClaimGone(name) => {
                self.claims.remove(name);
                self.carriage.forget(name);
                self.forget_holder(now, name);
                self.plan(now, name);
            }
            Input::Proxy(proxy) => self.gates.see(proxy),
            Input::Frame { bytes, udp_checksum } => self.receive(now, bytes, udp_checksum),
        }
        self.handle_timeout(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.run_timers(now);
        if let Some(l2) = &mut self.l2 {
            l2.handle_timeout(now);
        }
        if let Some(pace) = self.pace() {
            while let Some(name) = self.starts.next(now, &pace, &mut self.rng) {
                if let Some(held) = self.held.get_mut(&name) {
                    held.queued = false;
                }
                self.tell(now, &name, dhcp::Input::Start);
            }
        }
        self.settle(now);
        self.open_gates(now);
        self.settle(now);
        while let Some((at, name)) = self.reports.first().cloned()
            && at <= now
        {
            self.reports.remove(&(at, name.clone()));
            self.report(now, &name);
        }
    }

    /// What is due of the clients, before anything is said for their addresses: a lease that is over is over.
    fn run_timers(&mut self, now: Instant) {
        if self.timers.first().is_none_or(|(at, _)| *at > now) {
            return;
        }
        while let Some((at, name)) = self.timers.first().cloned()
            && at <= now
        {
            self.timers.remove(&(at, name.clone()));
            self.try_again(now, &name);
            self.follow_endpoints(now, &name);
            if let Some(held) = self.held.get_mut(&name) {
                held.armed = None;
                held.client.handle_timeout(now);
                self.touched.insert(name);
            }
        }
        self.settle(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let l2 = self.l2.as_ref().and_then(L2::poll_timeout);
        let client = self.timers.first().map(|(at, _)| (*at, "DHCP"));
        let start = self.pace().and_then(|pace| self.starts.due(&pace)).map(|at| (at, "next exchange"));
        let report = self.reports.first().map(|(at, _)| (*at, "report"));
        let gate = self.gates.due().map(|at| (at, "proxy"));
        [l2, client, start, report, gate].into_iter().flatten().min()
    }

    /// The next thing to do. Drain it after each call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How many claims are granted to this node.
    #[must_use]
    pub fn granted(&self) -> usize {
        self.grants.len()
    }

    /// Whether this node has the right to hold the claim of that name.
    #[must_use]
    pub fn holds(&self, claim: &str) -> bool {
        self.grants.contains_key(claim)
    }

    /// The grant by which this node has the claim of that name.
    #[must_use]
    pub fn granted_as(&self, claim: &str) -> Option<Grant> {
        self.grants.get(claim).copied()
    }

    /// Whether this node announces the address of the claim of that name.
    #[must_use]
    pub fn announces(&self, claim: &str) -> bool {
        self.addresses().values().any(|name| **name == *claim)
    }

    /// How many addresses are held that wait for the node's proxy to know them.
    #[must_use]
    pub fn waiting_for_proxy(&self) -> usize {
        self.gates.waiting()
    }

    /// How many claims have an address that this node announces.
    #[must_use]
    pub fn announced(&self) -> usize {
        self.l2.as_ref().map_or(0, |l2| l2.announced().len())
    }

    /// The addresses that this node announces, with the names of their claims.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<Ipv4Addr, Arc<str>> {
        let announced = self.l2.iter().flat_map(L2::announced);
        announced.filter_map(|address| Some((address, self.by_address.get(&address)?.clone()))).collect()
    }

    fn pace(&self) -> Option<Pace> {
        self.config.as_ref().map(|config| Pace::of(&config.dhcp))
    }

    fn set_config(&mut self, now: Instant, config: PlaneConfig) {
        if let Some(l2) = &mut self.l2 {
            l2.handle_input(now, l2::Input::SetConfig(l2_config(&config)));
        }
        let former = self.config.replace(config);
        let seed = |config: &PlaneConfig| config.identity_seed().to_owned();
        if former.as_ref().map(seed).is_some_and(|former| Some(former) != self.config.as_ref().map(seed)) {
            // The leases in hand are those of the cluster that this one is a copy of.
            self.kept.clear();
            self.drop_all();
        }
        self.plan_all(now);
        self.check_again(now);
    }

    fn set_link(&mut self, now: Instant, link: Option<Link>) {
        let mac = |link: &Option<Link>| link.as_ref().map(|link| (link.index, link.mac));
        let changed = mac(&self.link) != mac(&link);
        if changed {
            if link.is_none() {
                let unanswered = self.held.iter().filter(|(name, _)| !self.carriage.has_passed(name));
                let tried = unanswered.filter_map(|(_, held)| held.tried).max();
                self.carriage.lost_link(now, tried);
            }
            // Another interface is another network: nothing of this but the leases is true there.
            let leases = self.held.iter().filter(|(_, held)| !held.releasing).filter_map(|(name, held)| {
                let lease = held.client.lease()?.clone();
                let uid = self.claims.get(name).and_then(|claim| claim.metadata.uid.clone());
                Some((name.clone(), Kept { found_free: held.address() == Some(lease.address), lease, uid }))
            });
            self.kept.extend(leases);
            self.drop_all();
        }
        self.link = link;
        if let Some(link) = &self.link {
            self.carriage.enter(link);
        }
        if changed {
            self.plan_all(now);
        } else {
            self.check_again(now);
        }
    }
}

fn l2_config(config: &PlaneConfig) -> l2::Config {
    let announce = &config.announce;
    l2::Config {
        probing: match announce.probe {
            ProbeMode::Fast => l2::Probing::Fast,
            ProbeMode::Rfc5227 => l2::Probing::Rfc5227,
            ProbeMode::Off => l2::Probing::Off,
        },
        refresh: (announce.refresh_seconds > 0).then(|| Duration::from_secs(announce.refresh_seconds.into())),
        max_per_second: NonZeroU32::new(announce.max_per_second).unwrap_or(NonZeroU32::MIN),
    }
}
