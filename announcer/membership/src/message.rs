//! What members say to each other, on the plane's own network and between node addresses.
//!
//! Every message goes both ways; one that arrives twice, late or never does no harm. No right comes from its arrival:
//! the right to announce comes from a member's own stamps that came back to it.

use crate::{ClaimId, Epoch, Grant, MemberId, Seat, View};

/// A message. `T` is the sender's time: for others it is a number that only rises.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message<T> {
    /// Who sends it.
    pub from: MemberId,
    /// When, on the sender's clock. It rises with each message of one member; two that are sent at once may have the same.
    pub at: T,
    /// The greatest epoch that the sender has heard of.
    pub highest: Epoch,
    /// The epoch of the view that the sender acts in; zero if it has none.
    pub epoch: Epoch,
    /// What it says.
    pub body: Body<T>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body<T> {
    /// The coordinator's heartbeat.
    Round(Round<T>),
    /// A member's answer to a round; of one that is no member, its wish to become one.
    Report(Report<T>),
    /// All that a member holds, in parts: for a coordinator that does not know it.
    Inventory(Inventory<T>),
    /// What the coordinator has assigned.
    Table(Table),
    /// The sender holds these claims from now on.
    Taken(Vec<Holding>),
    /// The heartbeat of one that takes over from a coordinator that is not heard: who was heard, and until when.
    Candidate(Acks<T>),
    /// The question for a view without the API server.
    VoteRequest(View),
    /// The sender's one vote in that epoch, and whose question it answers.
    Vote(Epoch, MemberId),
}

/// The coordinator's heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Round<T> {
    /// The view, while there are members that do not have it.
    pub view: Option<View>,
    /// The version of the table.
    pub table: u64,
    /// Which reports have arrived.
    pub acks: Acks<T>,
    /// Those whose inventory the coordinator wants.
    pub missing: Vec<MemberId>,
    /// The coordinator cannot do its work (no API server, no carrier): whoever is next is to take over.
    pub invite: bool,
    /// The latest reports that have arrived of those that are no members: by this they know that what they hear is of
    /// the present.
    pub outside: Vec<(MemberId, T)>,
}

/// Which reports have arrived, by the members' own clocks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Acks<T> {
    /// The latest report of each member.
    Exact(Vec<(MemberId, T)>),
    /// In a large plane: in the order of the view, whether a member has reported on the round of the coordinator's time
    /// `round` or a later one.
    Since {
        /// The round.
        round: T,
        /// By seats of the view.
        reported: Vec<bool>,
    },
}

impl<T: Copy> Acks<T> {
    /// The latest report of that member that has arrived, if that is told exactly.
    pub(crate) fn exact(&self, id: MemberId) -> Option<T> {
        match self {
            Self::Exact(stamps) => stamp_of(stamps, id),
            Self::Since { .. } => None,
        }
    }
}

/// What a list has of that member.
pub(crate) fn stamp_of<T: Copy>(stamps: &[(MemberId, T)], id: MemberId) -> Option<T> {
    stamps.iter().find(|(of, _)| *of == id).map(|(_, at)| *at)
}

/// A member's answer to a round.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Report<T> {
    /// Who it is.
    pub seat: Seat,
    /// The latest round of its coordinator: whose it is, and when that was on the coordinator's clock.
    pub round: Option<(MemberId, T)>,
    /// The version of the coordinator's table that it has carried out.
    pub table: u64,
    /// What it holds, in short.
    pub holdings: Digest,
    /// What it can do.
    pub health: Health,
    /// Members that it hears on the plane's own network.
    pub hears: Vec<MemberId>,
    /// Whether the API server answers it.
    pub api: bool,
    /// It wants to hand over what it has, and go.
    pub leaving: bool,
    /// Of one that is no member, or does not hear its coordinator: those that it hears, and the latest stamp of each, by
    /// their own clocks. A report that was recorded cannot have a stamp of the present.
    pub heard: Vec<(MemberId, T)>,
}

/// What a node can do for its plane.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Health {
    /// The plane's interface has a carrier.
    pub carrier: bool,
    /// The plane's gateway answers; none if that is not known.
    pub gateway: Option<bool>,
    /// The networks of the interface's own addresses, as address and length of the prefix.
    pub subnets: Vec<(std::net::Ipv4Addr, u8)>,
}

/// A set of holdings in short: how many, and the exclusive or of their hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Digest {
    /// How many.
    pub count: u32,
    /// Equal sets have an equal one; different ones hardly ever.
    pub hash: u64,
}

/// A claim that a member holds, and by which right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holding {
    /// The claim.
    pub claim: ClaimId,
    /// The right.
    pub grant: Grant,
}

/// All that a member holds, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Inventory<T> {
    /// When it was taken, on the sender's clock: parts with the same time belong together.
    pub taken: T,
    /// Which part, from zero.
    pub part: u16,
    /// How many parts there are, at least one.
    pub parts: u16,
    /// The version of the coordinator's table that was carried out by then.
    pub table: u64,
    /// The holdings.
    pub holdings: Vec<Holding>,
}

/// Changes of the coordinator's table, in the order of their versions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Table {
    /// All changes after this version…
    pub after: u64,
    /// … up to and with this one.
    pub version: u64,
    /// The changes.
    pub entries: Vec<Entry>,
}

/// Who is to hold a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The claim.
    pub claim: ClaimId,
    /// By which right. Whoever holds it by an older one has to give way.
    pub grant: Grant,
    /// Who is to hold it; nobody if it is taken away.
    pub owner: Option<MemberId>,
    /// Who goes on until the new owner says that it has the claim.
    pub previous: Option<MemberId>,
}

/// The way that a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// The plane's own network, as an Ethernet frame.
    Wire,
    /// Between node addresses.
    Udp,
}
