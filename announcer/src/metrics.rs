//! What an announcer counts.

use foghorn_dhcp::{State, wire::ReplyKind};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::engine::FrameKind;

/// Counters and gauges; clones share their values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    leases: Family<StateLabel, Gauge>,
    claims: Family<ReasonLabel, Gauge>,
    earliest_expiry: Gauge,
    announced: Gauge,
    granted: Gauge,
    leading: Gauge,
    dhcp: Family<MessageLabels, Counter>,
    arp: Family<KindLabel, Counter>,
    fenced: Counter,
    dropped: Family<ReasonLabel, Counter>,
    forwardable: Counter,
    conflicts: Counter,
    reports: Family<ResultLabel, Counter>,
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
        registry.register("foghorn_leading", "1 while this node owns the plane's addresses", m.leading);
        registry.register("foghorn_dhcp_messages", "DHCP messages by type and direction", m.dhcp);
        registry.register(
            "foghorn_arp_frames_sent",
            "ARP frames sent: reply, gratuitous, probe, request",
            m.arp,
        );
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

    /// Whether this node owns the plane's addresses, how many claims are granted to it, and how many addresses it announces.
    pub fn ownership(&self, leading: bool, granted: usize, announced: usize) {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.leading.set(leading.into());
        self.granted.set(count(granted));
        self.announced.set(count(announced));
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
