//! What an announcer counts.

use std::time::Duration;

use foghorn_dhcp::{State, wire::ReplyKind};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::{engine::FrameKind, heartbeat::Standing};

/// Counters and gauges; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    leases: Family<StateLabel, Gauge>,
    claims: Family<ReasonLabel, Gauge>,
    earliest_expiry: Gauge,
    announced: Gauge,
    granted: Gauge,
    coordinating: Gauge,
    members: Gauge,
    view: Gauge,
    failovers: Family<PhaseLabel, Histogram, fn() -> Histogram>,
    dhcp: Family<MessageLabels, Counter>,
    arp: Family<KindLabel, Counter>,
    echoes: Counter,
    fenced: Counter,
    dropped: Family<ReasonLabel, Counter>,
    forwardable: Counter,
    conflicts: Counter,
    reports: Family<ResultLabel, Counter>,
}

/// A part of the time from the loss of a node to the first announcement by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// From when the lost one was last heard until a view without it is written.
    Detection,
    /// From then until its claims are given to others.
    Decision,
    /// From when a claim is granted to the first gratuitous ARP for its address.
    Announcement,
}

/// 1 ms to 8 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 14))
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    r#type: &'static str,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            failovers: Family::new_with_constructor(seconds),
            leases: Family::default(),
            claims: Family::default(),
            earliest_expiry: Gauge::default(),
            announced: Gauge::default(),
            granted: Gauge::default(),
            coordinating: Gauge::default(),
            members: Gauge::default(),
            view: Gauge::default(),
            dhcp: Family::default(),
            arp: Family::default(),
            echoes: Counter::default(),
            fenced: Counter::default(),
            dropped: Family::default(),
            forwardable: Counter::default(),
            conflicts: Counter::default(),
            reports: Family::default(),
        }
    }
}

impl Metrics {
    /// New metrics, which `registry` shows from now on.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let m = metrics.clone();
        registry.register("foghorn_leases", "DHCP clients on this node by state (RFC 2131)", m.leases);
        registry.register(
            "foghorn_claims",
            "Claims in hand by the reason of their condition Ready",
            m.claims,
        );
        registry.register(
            "foghorn_lease_earliest_expiry_timestamp_seconds",
            "When the next lease ends if no server extends it, by the API server's clock; 0 if none does",
            m.earliest_expiry,
        );
        registry.register("foghorn_claims_held", "Claims whose address this node announces", m.announced);
        registry.register("foghorn_claims_granted", "Claims that this node has the right to hold", m.granted);
        registry.register(
            "foghorn_coordinating",
            "1 while this node assigns the plane's claims",
            m.coordinating,
        );
        registry.register("foghorn_members", "Members of the view that this node knows", m.members);
        registry.register("foghorn_view", "How many views the plane's Lease has had", m.view);
        registry.register(
            "foghorn_failover_seconds",
            "Parts of a fail-over: detection and decision by the node that assigns, announcement by the one that takes over",
            m.failovers,
        );
        registry.register("foghorn_dhcp_messages", "DHCP messages by type and direction", m.dhcp);
        registry.register(
            "foghorn_arp_frames_sent",
            "ARP frames sent: reply, gratuitous, probe, request",
            m.arp,
        );
        registry.register("foghorn_pings_answered", "Pings of addresses that were answered", m.echoes);
        registry.register(
            "foghorn_frames_fenced",
            "Frames not sent because the right to announce had run out",
            m.fenced,
        );
        registry.register(
            "foghorn_frames_dropped",
            "Received frames that were not used, by reason",
            m.dropped,
        );
        registry.register(
            "foghorn_dhcp_replies_to_node",
            "DHCP replies to an address of a claim at the node's own hardware address, which its kernel forwards too",
            m.forwardable,
        );
        registry.register(
            "foghorn_address_conflicts",
            "Claims of other hosts to an announced address",
            m.conflicts,
        );
        registry.register("foghorn_status_writes", "Writes of claim status by result", m.reports);
        metrics
    }

    /// A DHCP client of this node has come, gone, or changed its state.
    pub fn moved(&self, from: Option<State>, to: Option<State>) {
        let of = |state: State| self.leases.get_or_create_owned(&StateLabel { state: state.name() });
        if let Some(from) = from {
            of(from).dec();
        }
        if let Some(to) = to {
            of(to).inc();
        }
    }

    /// A claim has come, gone, or is told another reason.
    pub fn told(&self, from: Option<&'static str>, to: Option<&'static str>) {
        if let Some(reason) = from {
            self.claims.get_or_create(&ReasonLabel { reason }).dec();
        }
        if let Some(reason) = to {
            self.claims.get_or_create(&ReasonLabel { reason }).inc();
        }
    }

    /// When the next lease ends, in seconds since 1970.
    pub fn next_expiry(&self, at: Option<i64>) {
        self.earliest_expiry.set(at.unwrap_or_default());
    }

    /// Where this node stands, how many claims it holds, and how many addresses it announces.
    pub fn stand(&self, standing: &Standing, granted: usize, announced: usize) {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.coordinating.set(standing.coordinator.into());
        self.members.set(count(standing.members));
        self.view.set(standing.epoch.map_or(0, |epoch| epoch.view.into()));
        self.granted.set(count(granted));
        self.announced.set(count(announced));
    }

    /// A part of a fail-over took so long.
    pub fn failed_over(&self, phase: Phase, took: Duration) {
        let phase = match phase {
            Phase::Detection => "detection",
            Phase::Decision => "decision",
            Phase::Announcement => "announcement",
        };
        self.failovers.get_or_create(&PhaseLabel { phase }).observe(took.as_secs_f64());
    }

    /// A DHCP reply for one of this node's clients.
    pub fn received(&self, kind: ReplyKind) {
        let r#type = match kind {
            ReplyKind::Offer => "OFFER",
            ReplyKind::Ack => "ACK",
            ReplyKind::Nak => "NAK",
        };
        self.dhcp.get_or_create(&MessageLabels { r#type, direction: "received" }).inc();
    }

    /// A frame went out.
    pub fn sent(&self, kind: FrameKind) {
        match kind {
            FrameKind::Arp(kind) => {
                let kind = match kind {
                    foghorn_l2::Kind::Reply => "reply",
                    foghorn_l2::Kind::Gratuitous => "gratuitous",
                    foghorn_l2::Kind::Probe => "probe",
                    foghorn_l2::Kind::Request => "request",
                };
                self.arp.get_or_create(&KindLabel { kind }).inc();
            }
            FrameKind::Echo => {
                self.echoes.inc();
            }
            FrameKind::Dhcp(kind) => {
                let labels = MessageLabels { r#type: kind.name(), direction: "sent" };
                self.dhcp.get_or_create(&labels).inc();
            }
        }
    }

    /// A frame was not sent: the permit had run out.
    pub fn fenced(&self) {
        self.fenced.inc();
    }

    /// A received frame was not used.
    pub fn dropped(&self, reason: &'static str) {
        self.dropped.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A DHCP reply came that the kernel takes for a packet to forward.
    pub fn forwardable(&self) {
        self.forwardable.inc();
    }

    /// Another host claims an announced address.
    pub fn conflict(&self) {
        self.conflicts.inc();
    }

    /// A status was written, put off, dropped as an older grant's, or failed.
    pub fn reported(&self, result: &'static str) {
        self.reports.get_or_create(&ResultLabel { result }).inc();
    }
}
