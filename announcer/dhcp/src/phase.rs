//! Where a client is, with what it knows there.

use std::{fmt, net::Ipv4Addr};

use foghorn_clock::Instant;

use crate::{Lease, Mode, backoff::Backoff};

/// The state of a client (RFC 2131 figure 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Not begun, or waiting to begin (again).
    Init,
    /// DISCOVER sent.
    Selecting,
    /// REQUEST for an offer sent.
    Requesting,
    /// The server leased an address; the caller checks it.
    Checking,
    /// The lease is good, nothing to do until T1.
    Bound,
    /// Past T1: asking the server for more time.
    Renewing,
    /// Past T2: asking any server.
    Rebinding,
    /// About to confirm a remembered address.
    InitReboot,
    /// REQUEST to confirm a remembered address sent.
    Rebooting,
    /// Given back; nothing more will happen.
    Released,
}

impl State {
    /// The name in RFC 2131, for logs, status and metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init => "INIT",
            Self::Selecting => "SELECTING",
            Self::Requesting => "REQUESTING",
            Self::Checking => "CHECKING",
            Self::Bound => "BOUND",
            Self::Renewing => "RENEWING",
            Self::Rebinding => "REBINDING",
            Self::InitReboot => "INIT-REBOOT",
            Self::Rebooting => "REBOOTING",
            Self::Released => "RELEASED",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A state with its data.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// Before the first input.
    Idle,
    Init {
        at: Instant,
    },
    Selecting {
        exchange: Exchange,
        best: Option<Best>,
    },
    Requesting {
        exchange: Exchange,
        address: Ipv4Addr,
        server_id: Ipv4Addr,
    },
    Checking(Lease),
    Bound(Lease),
    Renewing {
        exchange: Exchange,
        lease: Lease,
    },
    Rebinding {
        exchange: Exchange,
        lease: Lease,
    },
    InitReboot {
        at: Instant,
        remembered: Remembered,
    },
    Rebooting {
        exchange: Exchange,
        remembered: Remembered,
    },
    Released,
}

/// The offer that is taken if no better one comes in time.
#[derive(Clone, Debug)]
pub(crate) struct Best {
    pub(crate) offer: Offer,
    /// When it is taken.
    pub(crate) at: Instant,
}

/// An address that a server offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) address: Ipv4Addr,
    pub(crate) server_id: Ipv4Addr,
    /// The transaction identifier of the DISCOVER that it answers.
    pub(crate) xid: u32,
    /// How that was sent.
    pub(crate) mode: Mode,
}

/// An address that INIT-REBOOT confirms.
#[derive(Clone, Debug)]
pub(crate) enum Remembered {
    /// Of a lease that is in use meanwhile.
    InUse(Lease),
    /// That is not used before a server confirms it.
    Unconfirmed(Ipv4Addr),
}

impl Remembered {
    pub(crate) fn address(&self) -> Ipv4Addr {
        match self {
            Self::InUse(lease) => lease.address,
            Self::Unconfirmed(address) => *address,
        }
    }
}

/// One transaction: messages with the same xid, repeated until an answer comes.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) xid: u32,
    /// When its first message was sent.
    pub(crate) started: Instant,
    /// When a message with this xid was first sent.
    pub(crate) asked: Instant,
    /// How often it was sent.
    pub(crate) sent: u32,
    /// When it is sent again or given up.
    pub(crate) next: Instant,
    /// The field `secs`.
    pub(crate) secs: u16,
    /// Time to the next repetition, where that doubles.
    pub(crate) backoff: Backoff,
}

impl Phase {
    pub(crate) fn state(&self) -> State {
        match self {
            Self::Idle | Self::Init { .. } => State::Init,
            Self::Selecting { .. } => State::Selecting,
            Self::Requesting { .. } => State::Requesting,
            Self::Checking(_) => State::Checking,
            Self::Bound(_) => State::Bound,
            Self::Renewing { .. } => State::Renewing,
            Self::Rebinding { .. } => State::Rebinding,
            Self::InitReboot { .. } => State::InitReboot,
            Self::Rebooting { .. } => State::Rebooting,
            Self::Released => State::Released,
        }
    }

    /// Whether the client has begun and not ended.
    pub(crate) fn is_running(&self) -> bool {
        !matches!(self, Self::Idle | Self::Released)
    }

    /// When something follows from the time alone (the expiry of the lease aside), and what.
    pub(crate) fn timer(&self) -> Option<(Instant, &'static str)> {
        match self {
            Self::Idle | Self::Checking(_) | Self::Released => None,
            Self::Init { at } => Some((*at, "acquisition begins")),
            Self::Selecting { best: Some(best), .. } => Some((best.at, "best offer is taken")),
            Self::Selecting { exchange, best: None } => Some((exchange.next, "no offer")),
            Self::Requesting { exchange, .. } => Some((exchange.next, "offer not granted")),
            Self::Bound(lease) => Some((lease.renew_at, "renewal (T1)")),
            Self::Renewing { exchange, .. } => Some((exchange.next, "renewal not answered")),
            Self::Rebinding { exchange, .. } => Some((exchange.next, "rebinding not answered")),
            Self::InitReboot { at, .. } => Some((*at, "confirmation begins")),
            Self::Rebooting { exchange, .. } => Some((exchange.next, "confirmation not answered")),
        }
    }

    /// The transaction in flight.
    pub(crate) fn exchange(&self) -> Option<&Exchange> {
        match self {
            Self::Selecting { exchange, .. }
            | Self::Requesting { exchange, .. }
            | Self::Renewing { exchange, .. }
            | Self::Rebinding { exchange, .. }
            | Self::Rebooting { exchange, .. } => Some(exchange),
            Self::Idle
            | Self::Init { .. }
            | Self::Checking(_)
            | Self::Bound(_)
            | Self::InitReboot { .. }
            | Self::Released => None,
        }
    }

    /// The lease that a server granted, in use or being checked.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        match self {
            Self::Checking(lease)
            | Self::Bound(lease)
            | Self::Renewing { lease, .. }
            | Self::Rebinding { lease, .. }
            | Self::InitReboot { remembered: Remembered::InUse(lease), .. }
            | Self::Rebooting { remembered: Remembered::InUse(lease), .. } => Some(lease),
            Self::Idle
            | Self::Init { .. }
            | Self::Selecting { .. }
            | Self::Requesting { .. }
            | Self::InitReboot { .. }
            | Self::Rebooting { .. }
            | Self::Released => None,
        }
    }
}
