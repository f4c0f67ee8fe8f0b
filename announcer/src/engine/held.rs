//! One claim that this node works on.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use foghorn_clock::Instant;
use foghorn_crds::{ClaimDhcp, ClaimState, IdentityMode, conditions::reasons};
use foghorn_dhcp::{Client, Lease, LostReason, MessageKind, Mode, Problem, State, Transmit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::strangers::Heard;

/// A claim, its DHCP client, and what of it is on the wire.
#[derive(Debug)]
pub(super) struct Held {
    /// The claim's name, for the frames that speak for it.
    pub(super) name: Arc<str>,
    /// What the plane said of identities when the client was made.
    pub(super) asked: IdentityMode,
    pub(super) client: Client,
    /// The address that ARP is answered for.
    pub(super) announced: Option<Ipv4Addr>,
    /// The address that the claim had when it was taken in hand. One that was still being checked is none.
    pub(super) inherited: Option<Ipv4Addr>,
    /// The address whose lease is kept although this node does not serve the claim: ARP is not answered for it.
    pub(super) kept: Option<Ipv4Addr>,
    /// When this node stops to announce what another node serves, should that not have taken the claim over by then.
    pub(super) yields: Option<Instant>,
    /// The lease that the server granted last: where it and its network are, even after the client has ended.
    pub(super) granted: Option<Lease>,
    /// The address that is being probed.
    pub(super) checking: Option<Ipv4Addr>,
    /// The claim is deleted: nothing is announced any more, and the lease goes back.
    pub(super) releasing: bool,
    pub(super) released: bool,
    /// A unicast message that waits for the hardware address of its next hop.
    pub(super) waiting: Option<(Ipv4Addr, Transmit)>,
    /// Why the last address was refused or taken away, beyond what the client knows.
    pub(super) remark: Option<String>,
    /// The last address was one that no Service may have, or not this one.
    pub(super) refused: bool,
    /// Why nothing is sent in the claim's name.
    pub(super) fault: Option<Fault>,
    /// The identity is no longer what the plane and the claim say; it changes once there is no lease on it.
    pub(super) outdated: bool,
    /// The transaction that a reply is awaited to, as the recipients of replies have it.
    pub(super) awaits: Option<u32>,
    /// It waits for its turn to ask: nothing to tell yet.
    pub(super) queued: bool,
    /// As the metrics count it.
    pub(super) counted: Counted,
    /// When the first frame was sent from its own MAC address, if none was answered on this interface before.
    pub(super) tried: Option<Instant>,
    /// Its frames carry the interface's MAC address although those of other claims get through with their own.
    pub(super) limited: bool,
    /// Other hosts with its MAC address.
    pub(super) strangers: Heard,
    /// Whether the interface receives what is sent to the claim's hardware address.
    pub(super) joined: bool,
    /// When its timer is set.
    pub(super) armed: Option<Instant>,
    pub(super) report: Reporting,
}

/// DISCOVERs after which a client that finds its way out has tried all but one twice.
const BOTH_WAYS: u32 = 4;
const NEITHER_WAY: &str = "neither by VirtualMac nor by VirtualChaddr: is there a DHCP server on this network? One that \
    answers the node's own hardware address only needs dhcp.identity NodeMac";

/// Why nothing may be sent in a claim's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// From then on it is tried again.
    pub(super) until: Instant,
}

/// How the metrics count a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) state: Option<State>,
    pub(super) reason: Option<&'static str>,
    /// Of its lease; none if it does not end.
    pub(super) expiry: Option<Instant>,
    /// Replies that its client has not used.
    pub(super) ignored: u64,
}

/// What was last said of a claim, and when the next word is due.
#[derive(Debug, Default)]
pub(super) struct Reporting {
    pub(super) said: Option<Facts>,
    pub(super) due: Option<Instant>,
    /// Nothing is said before: the claims that were taken over with this one are announced first.
    pub(super) not_before: Instant,
}

/// All of a claim that its status tells, but for what changes with every try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Of the claim: another one of the same name was told nothing yet.
    pub(super) uid: Option<String>,
    pub(super) generation: Option<i64>,
    pub(super) state: ClaimState,
    pub(super) address: Option<Ipv4Addr>,
    pub(super) announced: bool,
    pub(super) lease: Option<Lease>,
    pub(super) mode: Option<Mode>,
    pub(super) reason: &'static str,
    /// The message has more to say than before.
    pub(super) is_heard_by_neither_way: bool,
    pub(super) limited: bool,
}

impl Held {
    pub(super) fn new(name: &str, asked: IdentityMode, client: Client) -> Self {
        Self {
            name: name.into(),
            asked,
            client,
            announced: None,
            inherited: None,
            kept: None,
            yields: None,
            granted: None,
            checking: None,
            releasing: false,
            released: false,
            waiting: None,
            remark: None,
            refused: false,
            fault: None,
            outdated: false,
            awaits: None,
            queued: false,
            counted: Counted::default(),
            strangers: Heard::default(),
            tried: None,
            limited: false,
            joined: false,
            armed: None,
            report: Reporting::default(),
        }
    }

    /// The address of the lease that is in force, announced or kept.
    pub(super) fn address(&self) -> Option<Ipv4Addr> {
        self.announced.or(self.kept)
    }

    /// What the claim's status should tell now.
    pub(super) fn facts(&self, now: Instant, claim: &ObjectMeta) -> Facts {
        let reason = self.reason(now);
        let state = match self.client.state() {
            _ if self.released => ClaimState::Released,
            State::Init | State::Selecting if reason == reasons::ADDRESS_REFUSED => ClaimState::Refused,
            State::Init | State::Selecting | State::Requesting => ClaimState::Acquiring,
            State::Checking => ClaimState::Checking,
            State::Bound => ClaimState::Bound,
            State::Renewing => ClaimState::Renewing,
            State::Rebinding => ClaimState::Rebinding,
            State::InitReboot | State::Rebooting if self.address().is_some() => ClaimState::Rebooting,
            State::InitReboot | State::Rebooting => ClaimState::Acquiring,
            State::Released => ClaimState::Acquiring,
        };
        // A lease that is still being checked is told too, and one whose release still waits for the way to the server: if
        // this node dies now, the next one knows of it.
        let released = self.client.state() == State::Released;
        let lease = if released { self.granted.as_ref() } else { self.client.lease() };
        let lease = lease.filter(|_| !self.released).cloned();
        let lease_in_hand = lease.is_some();
        Facts {
            uid: claim.uid.clone(),
            generation: claim.generation,
            state,
            address: self.address(),
            announced: self.announced.is_some(),
            lease,
            mode: self.client.mode().or_else(|| lease_in_hand.then_some(self.client.config().mode)),
            reason,
            is_heard_by_neither_way: self.is_heard_by_neither_way(now),
            limited: self.limited,
        }
    }

    /// The lease of the last holder is neither confirmed nor refused.
    pub(super) fn is_unconfirmed(&self) -> bool {
        matches!(self.client.state(), State::InitReboot | State::Rebooting) && self.client.lease().is_none()
    }

    /// What keeps the claim's name off the wire now.
    pub(super) fn fault_at(&self, now: Instant) -> Option<&Fault> {
        self.fault.as_ref().filter(|fault| now < fault.until)
    }

    /// What this node has exchanged with servers for the claim.
    pub(super) fn exchanges(&self) -> ClaimDhcp {
        let counters = self.client.counters();
        let by_name = |counts: &BTreeMap<MessageKind, u64>| {
            counts.iter().map(|(kind, count)| (kind.name().to_owned(), *count)).collect()
        };
        ClaimDhcp {
            state: self.client.state().name().to_owned(),
            sent: by_name(&counters.sent),
            received: by_name(&counters.received),
            ignored: counters.ignored,
        }
    }

    /// The reason in the claim's `Ready` condition.
    pub(super) fn reason(&self, now: Instant) -> &'static str {
        if self.released {
            return reasons::RELEASED;
        }
        if self.announced.is_some() {
            return reasons::ANNOUNCED;
        }
        if self.kept.is_some() {
            return reasons::NO_SERVING_NODE;
        }
        if let Some(fault) = self.fault_at(now) {
            return fault.reason;
        }
        match self.client.problem(now) {
            None | Some(Problem::Encoding { .. }) => reasons::ACQUIRING,
            Some(Problem::NoAnswer { .. } | Problem::OfferWithdrawn { .. }) => reasons::NO_DHCP_ANSWER,
            Some(Problem::Nak { .. } | Problem::Lost { reason: LostReason::Nak { .. }, .. }) => {
                reasons::DHCP_NAK
            }
            Some(Problem::Lost { reason: LostReason::Expired, .. }) => reasons::LEASE_EXPIRED,
            Some(Problem::Lost { reason: LostReason::Conflict, .. } | Problem::Conflict { .. })
                if !self.refused =>
            {
                reasons::ADDRESS_CONFLICT
            }
            Some(
                Problem::Lost { reason: LostReason::Conflict | LostReason::Refused, .. }
                | Problem::Conflict { .. },
            ) => reasons::ADDRESS_REFUSED,
            Some(Problem::Lost { reason: LostReason::Replaced(_), .. }) => reasons::ACQUIRING,
            Some(Problem::Refused { .. } | Problem::Unwanted { .. }) => reasons::ADDRESS_REFUSED,
            Some(Problem::Shared { .. }) => reasons::ADDRESS_SHARED,
            Some(Problem::Unusable { .. } | Problem::Malformed { .. }) => reasons::UNUSABLE_DHCP_ANSWER,
        }
    }

    fn is_heard_by_neither_way(&self, now: Instant) -> bool {
        let finds_out = self.client.config().finds_mode && self.client.mode().is_none();
        finds_out && matches!(self.client.problem(now), Some(Problem::NoAnswer { sent: BOTH_WAYS.., .. }))
    }

    /// What is wrong, in words: what the client says, and the remark on it.
    pub(super) fn error(&self, now: Instant) -> Option<String> {
        if let Some(fault) = self.fault_at(now) {
            return Some(fault.message.clone());
        }
        let problem = self.client.problem(now)?;
        if self.is_heard_by_neither_way(now) {
            return Some(format!("{problem}; {NEITHER_WAY}"));
        }
        Some(match &self.remark {
            Some(remark) if matches!(problem, Problem::NoAnswer { .. }) => {
                format!("{problem}; before that: {remark}")
            }
            Some(remark) => format!("{problem}: {remark}"),
            None => problem.to_string(),
        })
    }
}
