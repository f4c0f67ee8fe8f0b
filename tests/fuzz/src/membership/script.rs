//! What a script may say: steps, states of the Lease, and messages of members that have the key and say what they like.

use std::{net::Ipv4Addr, time::Duration};

use arbitrary::Arbitrary;
use foghorn_clock::Instant;
use foghorn_membership::{
    Acks, Body, ClaimId, Digest, Entry, Epoch, Grant, Health, Holding, Inventory, MemberId, Message, Report,
    Round, Seat, Table, View,
};

#[derive(Arbitrary, Debug)]
pub(crate) enum Step<'a> {
    /// A message of these octets, by a member.
    Octets(Who, bool, &'a [u8]),
    /// A message with this content.
    Said {
        from: Who,
        is_wire: bool,
        at: Moment,
        epoch: Place,
        highest: Place,
        body: Said,
    },
    /// The API call that is open comes to this end.
    Answer(End),
    /// A watch shows the Lease.
    Observe(Shown<'a>),
    Claim(u8),
    ClaimGone(u8),
    Health(Able),
    Ready(bool),
    Pass(u16),
    /// The process is stopped for so many milliseconds.
    Jump(u16),
    Leave,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum End {
    Done,
    Conflict,
    Failed,
}

#[derive(Arbitrary, Debug)]
pub(crate) enum Shown<'a> {
    None,
    Text(Place, &'a str),
    View(Place, Seen),
    Released(Place),
}

/// One of a few members: the second is the one that is tried.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Who(u8);

impl Who {
    pub(crate) fn id(self) -> MemberId {
        MemberId(u64::from(self.0 % 4) + 1)
    }

    fn seat(self) -> Seat {
        let MemberId(number) = self.id();
        Seat { id: self.id(), node: format!("w{number}"), address: None }
    }
}

/// Before or after now, in milliseconds.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Moment {
    Before(u16),
    After(u16),
    Never,
}

impl Moment {
    pub(crate) fn at(self, now: Instant) -> Instant {
        match self {
            Self::Before(ms) => now.saturating_sub(Duration::from_millis(ms.into())),
            Self::After(ms) => now + Duration::from_millis(ms.into()),
            Self::Never => Instant::NEVER,
        }
    }
}

/// In the order of views: mostly a few near each other.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Place {
    Near { view: u8, quorum: u8 },
    Any { created: i64, view: u32, quorum: u32 },
}

impl Place {
    pub(crate) fn epoch(self) -> Epoch {
        match self {
            Self::Near { view, quorum } => {
                Epoch { created: 1, view: (view % 4).into(), quorum: (quorum % 3).into() }
            }
            Self::Any { created, view, quorum } => Epoch { created, view, quorum },
        }
    }
}

#[derive(Arbitrary, Clone, Debug)]
pub(crate) struct Seen {
    coordinator: Who,
    seats: Vec<Who>,
}

impl Seen {
    /// A message may name a coordinator that is no member.
    pub(crate) fn view(&self, epoch: Epoch) -> View {
        let seats = self.seats.iter().map(|who| who.seat()).collect();
        View { epoch, coordinator: self.coordinator.id(), seats }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Able {
    carrier: bool,
    gateway: Option<bool>,
    subnet: Option<([u8; 4], u8)>,
}

impl From<Able> for Health {
    fn from(Able { carrier, gateway, subnet }: Able) -> Self {
        let subnets = subnet.into_iter().map(|(address, length)| (Ipv4Addr::from(address), length)).collect();
        Self { carrier, gateway, subnets }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Held {
    claim: u8,
    place: Place,
    number: u64,
    owner: Option<Who>,
    previous: Option<Who>,
}

impl Held {
    fn grant(self) -> Grant {
        Grant { epoch: self.place.epoch(), number: self.number }
    }

    fn holding(&self) -> Holding {
        Holding { claim: claim(self.claim), grant: self.grant() }
    }

    fn entry(&self) -> Entry {
        let [owner, previous] = [self.owner, self.previous].map(|who| who.map(Who::id));
        Entry { claim: claim(self.claim), grant: self.grant(), owner, previous }
    }
}

pub(crate) fn claim(number: u8) -> ClaimId {
    ClaimId((number % 4).into())
}

#[derive(Arbitrary, Debug)]
pub(crate) enum Stamps {
    Exact(Vec<(Who, Moment)>),
    Since(Moment, Vec<bool>),
}

#[derive(Arbitrary, Debug)]
pub(crate) enum Said {
    Round { view: Option<(Place, Seen)>, table: u64, acks: Stamps, missing: Vec<Who>, invite: bool },
    Report { round: Option<(Who, Moment)>, table: u64, able: Able, hears: Vec<Who>, api: bool, leaving: bool },
    Inventory { taken: Moment, part: u16, parts: u16, table: u64, held: Vec<Held> },
    Table { after: u64, version: u64, held: Vec<Held> },
    Taken(Vec<Held>),
    Candidate(Stamps),
    VoteRequest(Place, Seen),
    Vote(Place, Who),
}

impl Stamps {
    fn acks(&self, now: Instant) -> Acks<Instant> {
        match self {
            Self::Exact(stamps) => Acks::Exact(stamped(stamps, now)),
            Self::Since(round, reported) => Acks::Since { round: round.at(now), reported: reported.clone() },
        }
    }
}

fn stamped(stamps: &[(Who, Moment)], now: Instant) -> Vec<(MemberId, Instant)> {
    stamps.iter().map(|(who, at)| (who.id(), at.at(now))).collect()
}

fn ids(members: &[Who]) -> Vec<MemberId> {
    members.iter().map(|who| who.id()).collect()
}

/// A message, as a member sends it that is not what it should be.
pub(crate) fn message(
    from: Who,
    at: Moment,
    [epoch, highest]: [Place; 2],
    said: &Said,
    now: Instant,
) -> Message<Instant> {
    let body = match said {
        Said::Round { view, table, acks, missing, invite } => Body::Round(Round {
            view: view.as_ref().map(|(place, seen)| seen.view(place.epoch())),
            table: *table,
            acks: acks.acks(now),
            missing: ids(missing),
            invite: *invite,
            outside: Vec::new(),
        }),
        Said::Report { round, table, able, hears, api, leaving } => Body::Report(Report {
            seat: from.seat(),
            round: round.map(|(who, at)| (who.id(), at.at(now))),
            table: *table,
            holdings: Digest::default(),
            health: (*able).into(),
            hears: ids(hears),
            api: *api,
            leaving: *leaving,
            heard: hears.iter().map(|who| (who.id(), now)).collect(),
        }),
        Said::Inventory { taken, part, parts, table, held } => Body::Inventory(Inventory {
            taken: taken.at(now),
            part: *part,
            parts: *parts,
            table: *table,
            holdings: held.iter().map(Held::holding).collect(),
        }),
        Said::Table { after, version, held } => Body::Table(Table {
            after: *after,
            version: *version,
            entries: held.iter().map(Held::entry).collect(),
        }),
        Said::Taken(held) => Body::Taken(held.iter().map(Held::holding).collect()),
        Said::Candidate(acks) => Body::Candidate(acks.acks(now)),
        Said::VoteRequest(place, seen) => Body::VoteRequest(seen.view(place.epoch())),
        Said::Vote(place, who) => Body::Vote(place.epoch(), who.id()),
    };
    Message { from: from.id(), at: at.at(now), highest: highest.epoch(), epoch: epoch.epoch(), body }
}
