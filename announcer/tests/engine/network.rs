//! A network with a DHCP server, a router and one announcer, with a clock that only tests move.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use foghorn_announcer::{
    engine::{ApiTime, Conflict, Engine, Input, Output, Proxy, Stranger},
    metrics::Metrics,
    report::Report,
};
use foghorn_clock::Instant;
use foghorn_crds::{AddressClaim, AddressClaimStatus, PlaneConfig, RefusedNetwork, fixtures};
use foghorn_dhcp::frame::UdpChecksum;
use foghorn_l2::{ArpFrame, Mac, arp::Operation};
use foghorn_membership::{Epoch, Grant};
use foghorn_netio::Link;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use prometheus_client::{encoding::text::encode, registry::Registry};
use rand::{SeedableRng, rngs::StdRng};

use crate::server::{SERVER, SERVER_MAC, Server};

pub(crate) const NIC: Mac = [2, 0, 0, 0, 0, 0x11];
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 200);
pub(crate) const CLIENT_MAC: Mac = [2, 0, 0, 0, 0, 0xcc];
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
pub(crate) const MS: Duration = Duration::from_millis(1);
const UDP: u8 = 17;
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The status of a claim, as the announcer told it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub(crate) claim: String,
    pub(crate) uid: Option<String>,
    pub(crate) grant: Grant,
    pub(crate) status: AddressClaimStatus,
}

impl Told {
    fn of(report: &Report) -> Self {
        let status = report.held().cloned().unwrap();
        Self { claim: report.claim.clone(), uid: report.uid.clone(), grant: report.grant, status }
    }
}

/// The announcer, and all that is around it.
pub(crate) struct Network {
    pub(crate) engine: Engine,
    pub(crate) now: Instant,
    pub(crate) server: Server,
    /// Hosts that answer ARP for an address.
    pub(crate) hosts: BTreeMap<Ipv4Addr, Mac>,
    /// Every frame that the announcer sent, with its time.
    pub(crate) sent: Vec<(Instant, Vec<u8>)>,
    /// In whose name each of them was sent.
    pub(crate) speakers: Vec<Arc<str>>,
    pub(crate) reports: Vec<Told>,
    pub(crate) conflicts: Vec<Conflict>,
    pub(crate) strangers: Vec<Stranger>,
    pub(crate) joined: BTreeSet<Mac>,
    registry: Registry,
    /// The interface's MAC address.
    nic: Mac,
    /// What the switch at the announcer's port makes of frames with a source that is not the interface's.
    pub(crate) port: Port,
    /// Those of these sources that it has carried.
    pub(crate) carried: BTreeSet<Mac>,
    claims: BTreeMap<String, AddressClaim>,
    /// Whether what is reported is published at once, and the node's proxy has it at once.
    pub(crate) publishes: bool,
    /// By which all claims are granted to it, if they are.
    grant: Option<Grant>,
    /// Claims that are granted to it.
    granted: BTreeSet<String>,
}

/// A port of the switch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    Open,
    /// Drops them.
    OneAddress,
    /// Drops those of further sources once it has carried so many.
    Limited(usize),
    /// Is shut by the first one of a further source.
    ShutsAbove(usize),
    /// Is shut by the first one; the test takes the carrier away.
    Shuts,
    Shut,
}

impl Network {
    /// An announcer to which all claims are granted.
    pub(crate) fn new() -> Self {
        let mut network = Self::standby();
        network.own(1);
        network
    }

    /// An announcer that has all but grants.
    pub(crate) fn standby() -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let mut network = Self {
            engine: Engine::new("w1", StdRng::seed_from_u64(7), metrics),
            registry,
            now: Instant::from_boot(1_000 * SECOND),
            server: Server::new(),
            hosts: BTreeMap::from([(SERVER, SERVER_MAC), (ROUTER, [2, 0, 0, 0, 0, 1])]),
            sent: Vec::new(),
            speakers: Vec::new(),
            reports: Vec::new(),
            conflicts: Vec::new(),
            strangers: Vec::new(),
            joined: BTreeSet::new(),
            nic: NIC,
            port: Port::Open,
            carried: BTreeSet::new(),
            claims: BTreeMap::new(),
            publishes: true,
            grant: None,
            granted: BTreeSet::new(),
        };
        network.input(Input::Config(Box::new(config())));
        network.input(Input::Link(Some(Box::new(link()))));
        network
    }

    /// Changes the plane's configuration from the default one.
    pub(crate) fn configure(&mut self, change: impl FnOnce(&mut PlaneConfig)) {
        let mut config = config();
        change(&mut config);
        self.input(Input::Config(Box::new(config)));
    }

    /// Grants all claims, those that are there and those that come, by the view of that number.
    pub(crate) fn own(&mut self, view: u32) {
        self.know_the_time();
        self.own_without_time(view);
    }

    /// The same, but that the API server's clock is not known.
    pub(crate) fn own_without_time(&mut self, view: u32) {
        self.grant = Some(grant(view));
        for claim in self.claims.keys().cloned().collect::<Vec<_>>() {
            self.give(claim, grant(view));
        }
    }

    pub(crate) fn know_the_time(&mut self) {
        let time = Timestamp::from_second(1_800_000_000).unwrap();
        let at = Instant::from_boot(1_000 * SECOND);
        self.input(Input::ApiTime(ApiTime { at, time, measured: self.now }));
    }

    /// Revokes all claims.
    pub(crate) fn lose(&mut self) {
        self.grant = None;
        for claim in mem::take(&mut self.granted) {
            self.input(Input::Revoked { claim: &claim });
        }
    }

    pub(crate) fn grant(&mut self, name: &str, view: u32) {
        self.give(full(name), grant(view));
    }

    pub(crate) fn revoke(&mut self, name: &str) {
        self.granted.remove(&full(name));
        self.input(Input::Revoked { claim: &full(name) });
    }

    fn give(&mut self, claim: String, grant: Grant) {
        self.granted.insert(claim.clone());
        self.input(Input::Granted { claim: &claim, grant });
    }

    pub(crate) fn claim(&mut self, name: &str) {
        let claim = claim(name);
        self.put(claim);
    }

    pub(crate) fn put(&mut self, claim: AddressClaim) {
        let name = claim.metadata.name.clone().unwrap();
        self.claims.insert(name.clone(), claim.clone());
        self.input(Input::Claim(Arc::new(claim)));
        if let Some(grant) = self.grant {
            self.give(name, grant);
        }
    }

    /// The claim as the API server has it, with the last status that was reported.
    pub(crate) fn stored(&self, name: &str) -> AddressClaim {
        let mut claim = self.claims[&full(name)].clone();
        if let Some(report) = self.last_report(name) {
            claim.status = Some(report.status.clone());
        }
        claim
    }

    /// The Service has endpoints on these nodes, and `externalTrafficPolicy: Local`.
    pub(crate) fn serve_on(&mut self, name: &str, nodes: &[&str]) {
        let mut claim = self.stored(name);
        claim.spec.serving_nodes = Some(nodes.iter().map(|node| (*node).to_owned()).collect());
        self.put(claim);
    }

    pub(crate) fn gone(&mut self, name: &str) {
        let claim = full(name);
        self.claims.remove(&claim);
        self.input(Input::ClaimGone(&claim));
    }

    pub(crate) fn delete(&mut self, name: &str) {
        let mut claim = self.stored(name);
        claim.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        self.put(claim);
    }

    pub(crate) fn last_report(&self, name: &str) -> Option<&Told> {
        let claim = full(name);
        self.reports.iter().rev().find(|report| report.claim == claim)
    }

    pub(crate) fn address(&self, name: &str) -> Option<Ipv4Addr> {
        self.last_report(name).and_then(|report| report.status.address)
    }

    pub(crate) fn reason(&self, name: &str) -> (String, String) {
        let condition = self.last_report(name).unwrap().status.conditions[0].clone();
        (condition.reason, condition.message)
    }

    /// A metric by its name and labels as they are shown; 0 if it is not.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics();
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// All metrics as they are shown.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Lets time pass, with all that is due in it.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            match self.engine.poll_timeout() {
                Some((at, _)) if at <= end => {
                    self.now = at.max(self.now);
                    self.engine.handle_timeout(self.now);
                    self.settle();
                    // A machine that asks again for the same moment would never get on.
                    self.now += MS / 10;
                }
                _ => break,
            }
        }
        self.now = self.now.max(end);
    }

    pub(crate) fn input(&mut self, input: Input<'_>) {
        if let Input::Link(Some(link)) = &input {
            self.nic = link.mac.unwrap();
        }
        self.engine.handle_input(self.now, input);
        self.settle();
    }

    pub(crate) fn frame(&mut self, bytes: &[u8]) {
        self.input(Input::Frame { bytes, udp_checksum: UdpChecksum::Verify });
    }

    /// Who answers when the client asks for an address.
    pub(crate) fn who_has(&mut self, address: Ipv4Addr) -> Option<Mac> {
        let before = self.sent.len();
        self.frame(&ArpFrame::request(CLIENT_MAC, CLIENT, address).build());
        let replies = self.sent[before..].iter().filter_map(|(_, frame)| ArpFrame::parse(frame).ok());
        replies
            .filter(|arp| arp.operation == Operation::Reply && arp.target_ip == CLIENT)
            .map(|arp| arp.sender_mac)
            .next()
    }

    fn settle(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Send { claim, frame, .. } => {
                    assert!(self.granted.contains(&*claim), "{claim} is not granted");
                    self.speakers.push(claim);
                    self.sent.push((self.now, frame.clone()));
                    self.deliver(&frame);
                }
                Output::Join(mac) => assert!(self.joined.insert(mac)),
                Output::Leave(mac) => assert!(self.joined.remove(&mac)),
                Output::Conflict(conflict) => self.conflicts.push(conflict),
                Output::Stranger(stranger) => self.strangers.push(stranger),
                Output::Report(report) => {
                    let told = Told::of(&report);
                    let news = self.publishes && told.status.address.is_some();
                    let claim = self.claims.get(&told.claim).filter(|_| news).cloned();
                    self.reports.push(told);
                    if let Some(claim) = claim {
                        self.publish(claim);
                    }
                }
            }
        }
    }

    /// The claim's last status comes back from the API server, and the proxy has brought it to the kernel.
    fn publish(&mut self, mut claim: AddressClaim) {
        let last = self.reports.last().map(|told| told.status.clone());
        claim.status = last;
        let proxy = Proxy::Seen { queued: self.now, synced: self.now };
        self.engine.handle_input(self.now, Input::Claim(Arc::new(claim)));
        self.engine.handle_input(self.now, Input::Proxy(proxy));
    }

    fn deliver(&mut self, frame: &[u8]) {
        let foreign = frame[6..12] != self.nic;
        let source = frame[6..12].try_into().unwrap();
        let above = |most: usize| !self.carried.contains(&source) && self.carried.len() >= most;
        match self.port {
            Port::Open => {}
            Port::Limited(most) if foreign && above(most) => return,
            Port::ShutsAbove(most) if foreign && above(most) => {
                self.port = Port::Shut;
                return;
            }
            Port::Limited(_) | Port::ShutsAbove(_) if foreign => {
                self.carried.insert(source);
            }
            Port::Limited(_) | Port::ShutsAbove(_) => {}
            Port::OneAddress if foreign => return,
            Port::OneAddress => {}
            Port::Shuts if foreign => {
                self.port = Port::Shut;
                return;
            }
            Port::Shuts => {}
            Port::Shut => return,
        }
        if let Ok(arp) = ArpFrame::parse(frame) {
            let host = self.hosts.get(&arp.target_ip);
            if let (Operation::Request, Some(&mac)) = (arp.operation, host) {
                self.engine.handle_input(
                    self.now,
                    Input::Frame {
                        bytes: &ArpFrame::reply_to(&arp, mac).build(),
                        udp_checksum: UdpChecksum::Verify,
                    },
                );
            }
        } else if frame[23] == UDP
            && let Some(reply) = self.server.answer(frame)
            && self.is_found(frame)
            && self.receives(&reply)
        {
            self.engine
                .handle_input(self.now, Input::Frame { bytes: &reply, udp_checksum: UdpChecksum::Verify });
        }
    }
}

impl Network {
    /// Whether the server finds the sender of a message: by ARP, if that has an address (RFC 2131 section 4.1).
    fn is_found(&self, message: &[u8]) -> bool {
        let address = Ipv4Addr::from(<[u8; 4]>::try_from(&message[54..58]).unwrap());
        address.is_unspecified() || self.engine.addresses().contains_key(&address)
    }

    fn receives(&self, frame: &[u8]) -> bool {
        let destination = &frame[..6];
        destination == [0xff; 6]
            || destination == self.nic
            || self.joined.iter().any(|mac| destination == mac)
    }
}

pub(crate) fn config() -> PlaneConfig {
    PlaneConfig { refused_networks: vec![node("w2", "203.0.113.12/32")], ..fixtures::config() }
}

/// What a Node object says of an address.
pub(crate) fn node(name: &str, network: &str) -> RefusedNetwork {
    RefusedNetwork { network: network.parse().unwrap(), what: format!("node {name}"), by_node: true }
}

pub(crate) fn link() -> Link {
    Link {
        index: 3,
        name: "eth1".into(),
        mac: Some(NIC),
        admin_up: true,
        arp: true,
        carrier: true,
        master: None,
        kind: Some("veth".into()),
        addresses: vec![(NODE, 24)],
    }
}

pub(crate) fn grant(view: u32) -> Grant {
    Grant { epoch: Epoch { created: 1, view, quorum: 0 }, number: 7 }
}

/// The name of the claim for a Service.
pub(crate) fn full(name: &str) -> String {
    format!("default.{name}.ipv4")
}

pub(crate) fn claim(name: &str) -> AddressClaim {
    let mut claim = fixtures::claim(name);
    claim.metadata.name = Some(full(name));
    claim
}
