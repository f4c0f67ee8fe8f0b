//! What a member is told, and what it wants done.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use crate::{ClaimId, Epoch, Grant, Health, MemberId, Message, Path, Record, Seat, Timings, View, Write};

/// How a plane's members behave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// How fast a lost member is noticed.
    pub timings: Timings,
    /// Where claims go.
    pub placement: Placement,
    /// Whether a majority may go on without the API server; by the number of the Lease view's members if not given.
    pub quorum: Option<bool>,
    /// What the plane says of its nodes, by their names; those that it says nothing of are ordinary ones.
    pub nodes: BTreeMap<String, Preference>,
    /// A new text here asks for a rebalancing, once.
    pub rebalance: String,
}

/// Where claims go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Placement {
    /// To all members alike.
    Spread,
    /// All to one member.
    Single,
}

/// What a plane says of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Preference {
    /// Claims go to nodes of the greatest weight.
    pub weight: i32,
    /// The node gets claims only while no other can have them.
    pub avoid: bool,
}

/// What the coordinator needs to know of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Claim {
    /// Its address, if it has one: a node that is not in that network cannot have it.
    pub address: Option<Ipv4Addr>,
    /// The nodes that serve it; all of them if not given. One of them holds the claim if it can, else any member, which
    /// keeps the claim's lease and announces nothing.
    pub nodes: Option<Vec<String>>,
}

/// What a member is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input<T> {
    /// A message has arrived, and its sender is one of the plane's announcers.
    Message {
        /// By which way.
        path: Path,
        /// The message.
        message: Message<T>,
    },
    /// The API call of this number came to this end. An answer to an earlier call than the last one is ignored.
    Answered {
        /// The number in [`Output::Read`] or [`Output::Write`].
        call: u64,
        /// How it ended.
        answer: Answer,
    },
    /// A watch shows this state of the Lease, or that there is none. It may be late.
    Observed(Option<Record>),
    /// What the node can do for its plane.
    Health(Health),
    /// What an earlier life of this node has written down: the newest view of the Lease that it knew, and the greatest
    /// epoch. Told before anything is known of the Lease.
    Restored {
        /// The view of the Lease.
        base: View,
        /// The greatest epoch, also of views without the API server.
        highest: Epoch,
    },
    /// What was written of a claim tells of a grant in this epoch. Told when it is greater than any before.
    Recorded(Epoch),
    /// Whether this member knows all claims, and may take part.
    Ready(bool),
    /// The present state of a claim.
    Claim(ClaimId, Claim),
    /// A claim is no more.
    ClaimGone(ClaimId),
    /// The plane was changed.
    Settings(Box<Settings>),
    /// This process will end: hand over what it has. [`Output::Left`] follows.
    Leave,
}

/// How an API call ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// To a read: the present state of the Lease, or that there is none.
    Found(Option<Record>),
    /// To a write: it took place and this is the state after it.
    Written(Record),
    /// To a write: its precondition was not met, nothing was changed.
    Conflict,
    /// Anything else. A write may have taken place or may still do so.
    Failed,
}

/// What a member wants done, or says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output<T> {
    /// Send this to others, both ways.
    Send {
        /// To whom.
        to: To,
        /// What.
        message: Message<T>,
    },
    /// Read the Lease from the API server itself, not from a cache. A call that is still under way is abandoned.
    Read {
        /// To be given back with the answer.
        call: u64,
    },
    /// Write the Lease. A call that is still under way is abandoned.
    Write {
        /// To be given back with the answer.
        call: u64,
        /// What to write.
        write: Write,
    },
    /// This member holds the claim from now on, while [`Member::permit`](crate::Member::permit) lasts.
    Granted {
        /// The claim.
        claim: ClaimId,
        /// The right, or a later one to what is held already.
        grant: Grant,
    },
    /// This member holds the claim no longer.
    Revoked {
        /// The claim.
        claim: ClaimId,
    },
    /// Something that people want to know of.
    Event(Event),
    /// After [`Input::Leave`]: all is handed over, or that could not be done in time. Nothing more follows.
    Left,
}

/// To whom a message goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum To {
    /// To all members and those that want to become members.
    All,
    /// To these alone.
    Only(Vec<MemberId>),
}

/// Something that people want to know of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Another view is in force.
    View(View),
    /// This member has become the coordinator of that epoch.
    Coordinating(Epoch),
    /// That one was not heard for too long: this member writes a view without it.
    Dead {
        /// The member.
        seat: Seat,
        /// For how long it was not heard.
        silent: Duration,
    },
    /// What lost members had is given to others.
    Reassigned {
        /// How long that took, from when the first view without them was written.
        after: Duration,
    },
    /// The Lease was changed by somebody who is no member; it says why that is noticed.
    ForeignHand(&'static str),
    /// A claim that nobody holds, as no member can, and why.
    Nowhere {
        /// The claim.
        claim: ClaimId,
        /// The grant by which it is nobody's: whoever holds it later has a greater one.
        grant: Grant,
        /// Why.
        why: Nowhere,
    },
}

/// Why no member can have a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Nowhere {
    /// No member has a carrier, and hears the others.
    NoMember,
    /// None of the members is in the network of the claim's address.
    NoSubnet,
}
