//! What goes into a client and what comes out.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr, time::Duration};

use crate::{
    Lease, Mode,
    wire::{Reply, WireError},
};

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// Acquire an address.
    Start,
    /// Take over a lease that is known to be valid: it is in use at once, by its own times, and confirmed by
    /// INIT-REBOOT in the background if the configuration says so. An expired one becomes a wish and is acquired anew.
    Resume(Lease),
    /// Take over a lease that is known to be valid, but whose address was not found free yet: it is checked first. An
    /// expired one becomes a wish and is acquired anew.
    Recheck(Lease),
    /// Confirm a remembered address of which it is not known whether it is still leased, before it is used.
    Confirm(Ipv4Addr),
    /// A reply from the wire.
    Reply(&'a Reply),
    /// As [`Input::Reply`], but the address that it offers is not to be had. The server is told nothing; another one may
    /// offer another address.
    Reject(&'a Reply, Rejection),
    /// An answer to this client that is not well-formed.
    Malformed(&'a WireError),
    /// The answer to [`Output::Check`].
    Checked(Verdict),
    /// Another host uses the address that is in use, and defence failed (RFC 5227 section 2.4).
    Conflict,
    /// The address that is in use may no longer be used here: it is given back, and another one is asked for later.
    Refused,
    /// The claim is deleted: give the address back. Never for a fail-over; there the caller drops the client.
    Release,
    /// The interface has a carrier again, maybe on another network.
    LinkUp,
}

/// What the caller found out about a leased address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Free to use.
    Clear,
    /// Another host answered for it: the server is told (DECLINE).
    Conflict,
    /// It may not be used here, whatever the server says: given back, and asked again later.
    Refused,
    /// Another client here holds it, from the same server: neither declined nor given back, which would end that lease.
    Shared,
}

/// Why an offer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The address may not be used here.
    Refused,
    /// Another client here holds it.
    Shared,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a message.
    Transmit(Transmit),
    /// Apply the address policy, probe, and answer with [`Input::Checked`]. Not in use yet.
    Check(Lease),
    /// The address may be announced.
    Bound(Lease),
    /// The lease in use has new times (or another server): same address.
    Renewed(Lease),
    /// Stop using the address, and checking it, at once.
    Lost {
        /// The address.
        address: Ipv4Addr,
        /// Why.
        reason: LostReason,
    },
    /// The client has ended; the last lease, if there was one, was given back.
    Released,
}

/// A message to send from port 68 to port 67.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// What it is, for logs and metrics.
    pub kind: MessageKind,
    /// The BOOTP message.
    pub message: Vec<u8>,
    /// How its frame is made: with whose Ethernet source.
    pub mode: Mode,
    /// IP source.
    pub from: Ipv4Addr,
    /// IP destination.
    pub to: Destination,
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// 255.255.255.255, to the Ethernet broadcast address.
    Broadcast,
    /// The server, by ARP or through the router.
    Server(Ipv4Addr),
}

/// Types of message (RFC 2132 section 9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageKind {
    /// From the client: who has an address?
    Discover,
    /// From the server: this one.
    Offer,
    /// From the client: I take it, keep it, or still have it.
    Request,
    /// From the client: another host uses it.
    Decline,
    /// From the server: granted.
    Ack,
    /// From the server: no.
    Nak,
    /// From the client: I no longer need it.
    Release,
}

impl MessageKind {
    /// The name without "DHCP", for logs and metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Discover => "DISCOVER",
            Self::Offer => "OFFER",
            Self::Request => "REQUEST",
            Self::Decline => "DECLINE",
            Self::Ack => "ACK",
            Self::Nak => "NAK",
            Self::Release => "RELEASE",
        }
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why an address is no longer this client's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LostReason {
    /// A server refused to go on.
    #[error("DHCP server refused the lease{}", because(.message.as_ref()))]
    Nak {
        /// What the server said.
        message: Option<String>,
    },
    /// The lease ran out without an answer.
    #[error("DHCP lease expired: no server extended it")]
    Expired,
    /// Another host uses the address.
    #[error("another host uses the address")]
    Conflict,
    /// The caller may no longer use it.
    #[error("it may no longer be used here; given back")]
    Refused,
    /// The server leased another address in its place, which is checked next.
    #[error("DHCP server replaced it by {0}")]
    Replaced(Ipv4Addr),
}

/// Why there is no address, or why the lease is in danger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nobody answers.
    #[error("no answer from {} for {} s ({kind}s sent: {sent})", server_or(*.server, "any DHCP server"), .silence.as_secs())]
    NoAnswer {
        /// Who was asked; `None`: all.
        server: Option<Ipv4Addr>,
        /// Time since the first message of the exchange.
        silence: Duration,
        /// Messages sent.
        sent: u32,
        /// Of which type.
        kind: MessageKind,
    },
    /// An address was in use and was taken away.
    #[error("lost {address}: {reason}")]
    Lost {
        /// The address.
        address: Ipv4Addr,
        /// Why.
        reason: LostReason,
    },
    /// A server refused a request for an address not yet in use.
    #[error("DHCP server refused {address}{}", because(.message.as_ref()))]
    Nak {
        /// The address asked for.
        address: Ipv4Addr,
        /// What the server said.
        message: Option<String>,
    },
    /// The leased address answers ARP already.
    #[error("DHCP server {server} leased {address}, which another host uses; declined")]
    Conflict {
        /// The address.
        address: Ipv4Addr,
        /// The server.
        server: Ipv4Addr,
    },
    /// The caller may not use the leased address.
    #[error("DHCP server {server} leased {address}, which may not be used here; given back")]
    Refused {
        /// The address.
        address: Ipv4Addr,
        /// The server.
        server: Ipv4Addr,
    },
    /// The address offered is one that the caller may not use.
    #[error("DHCP server {server} offered {address}, which may not be used here; not taken")]
    Unwanted {
        /// The address.
        address: Ipv4Addr,
        /// The server.
        server: Ipv4Addr,
    },
    /// The server gives the address of another client here.
    #[error("DHCP server {server} gives {address}, which it gave another Service already")]
    Shared {
        /// The address.
        address: Ipv4Addr,
        /// The server.
        server: Ipv4Addr,
    },
    /// A server offered an address and then did not grant it.
    #[error("DHCP server {server} offered {address} but did not answer {sent} REQUESTs")]
    OfferWithdrawn {
        /// The address.
        address: Ipv4Addr,
        /// The server.
        server: Ipv4Addr,
        /// REQUESTs sent.
        sent: u32,
    },
    /// A reply to the present exchange lacks what it must have.
    #[error("unusable {kind} from {}: {fault}", server_or(*.server, "a DHCP server without identifier"))]
    Unusable {
        /// Type of the reply.
        kind: MessageKind,
        /// Who sent it.
        server: Option<Ipv4Addr>,
        /// What is wrong.
        fault: &'static str,
    },
    /// An answer to the present exchange is not well-formed.
    #[error("unreadable answer: {fault}")]
    Malformed {
        /// What is wrong.
        fault: WireError,
    },
    /// A message could not be put together.
    #[error("cannot encode a {kind}: {fault}")]
    Encoding {
        /// Type of the message.
        kind: MessageKind,
        /// What the encoder says.
        fault: String,
    },
}

fn because(message: Option<&String>) -> String {
    message.map(|message| format!(": {message}")).unwrap_or_default()
}

fn server_or(server: Option<Ipv4Addr>, unknown: &str) -> String {
    server.map_or_else(|| unknown.to_owned(), |server| format!("DHCP server {server}"))
}

/// How much a client has talked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages sent, by type.
    pub sent: BTreeMap<MessageKind, u64>,
    /// Replies that counted, by type.
    pub received: BTreeMap<MessageKind, u64>,
    /// Replies that did not: not for the present exchange, or not usable.
    pub ignored: u64,
}
