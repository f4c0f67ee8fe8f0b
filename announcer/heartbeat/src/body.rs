//! Messages as octets, in version 1 of the wire.
//!
//! In front is what every message has: its time, the two epochs, and an octet that says what follows. The sender is in
//! the frame's header. A field that is added at the end of a message needs no new version: readers pass over what
//! follows the fields that they know. Whatever else changes here is another version.

use foghorn_clock::Instant;
use foghorn_membership::{
    Acks, Body, ClaimId, Digest, Entry, Epoch, Grant, Health, Holding, Inventory, MemberId, Message, Report,
    Round, Seat, Table, View,
};

use crate::octets::{Malformed, Octets, fields, put_bits, take_bits};

/// Writes a message.
pub fn encode(message: &Message<Instant>, out: &mut Vec<u8>) {
    let Message { from: _, at, highest, epoch, body } = message;
    at.put(out);
    highest.put(out);
    epoch.put(out);
    body.put(out);
}

/// Reads a message of `from`.
///
/// # Errors
/// If the octets are none.
pub fn decode(from: MemberId, mut octets: &[u8]) -> Result<Message<Instant>, Malformed> {
    let octets = &mut octets;
    Ok(Message {
        from,
        at: Octets::take(octets)?,
        highest: Octets::take(octets)?,
        epoch: Octets::take(octets)?,
        body: Octets::take(octets)?,
    })
}

impl Octets for Body<Instant> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Round(round) => with(1, round, out),
            Self::Report(report) => with(2, report, out),
            Self::Inventory(inventory) => with(3, inventory, out),
            Self::Table(table) => with(4, table, out),
            Self::Taken(holdings) => with(5, holdings, out),
            Self::Candidate(acks) => with(6, acks, out),
            Self::VoteRequest(view) => with(7, view, out),
            Self::Vote(epoch, to) => with(8, &(*epoch, *to), out),
        }
    }

    fn take(octets: &mut &[u8]) -> Result<Self, Malformed> {
        Ok(match u8::take(octets)? {
            1 => Self::Round(Octets::take(octets)?),
            2 => Self::Report(Octets::take(octets)?),
            3 => Self::Inventory(Octets::take(octets)?),
            4 => Self::Table(Octets::take(octets)?),
            5 => Self::Taken(Octets::take(octets)?),
            6 => Self::Candidate(Octets::take(octets)?),
            7 => Self::VoteRequest(Octets::take(octets)?),
            8 => Self::Vote(Octets::take(octets)?, Octets::take(octets)?),
            other => return Err(Malformed::Kind(other, "message")),
        })
    }
}

impl Octets for Acks<Instant> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Exact(acks) => with(1, acks, out),
            Self::Since { round, reported } => {
                with(2, round, out);
                put_bits(reported, out);
            }
        }
    }

    fn take(octets: &mut &[u8]) -> Result<Self, Malformed> {
        match u8::take(octets)? {
            1 => Ok(Self::Exact(Octets::take(octets)?)),
            2 => Ok(Self::Since { round: Octets::take(octets)?, reported: take_bits(octets)? }),
            other => Err(Malformed::Kind(other, "acknowledgement")),
        }
    }
}

fn with(kind: u8, value: &impl Octets, out: &mut Vec<u8>) {
    kind.put(out);
    value.put(out);
}

impl Octets for MemberId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(octets: &mut &[u8]) -> Result<Self, Malformed> {
        u64::take(octets).map(Self)
    }
}

impl Octets for ClaimId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(octets: &mut &[u8]) -> Result<Self, Malformed> {
        u64::take(octets).map(Self)
    }
}

fields!(Round<Instant> { view, table, acks, missing, invite } + { outside });
fields!(Report<Instant> { seat, round, table, holdings, health, hears, api, leaving } + { heard });
fields!(Inventory<Instant> { taken, part, parts, table, holdings });
fields!(Table { after, version, entries });
fields!(Entry { claim, grant, owner, previous });
fields!(Holding { claim, grant });
fields!(Grant { epoch, number });
fields!(Epoch { created, view, quorum });
fields!(View { epoch, coordinator, seats });
fields!(Seat { id, node, address });
fields!(Health { carrier, gateway, subnets });
fields!(Digest { count, hash });
