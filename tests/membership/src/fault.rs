//! What goes wrong in a world.

use foghorn_membership::{ClaimId, Path};

/// Something that goes wrong; times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The process is gone; it starts again after that time, if it does.
    Crash(usize, Option<u64>),
    /// The process is told to leave; it starts again so long after it has left, if it does.
    Leave(usize, Option<u64>),
    /// The process is stopped, and goes on; what arrives meanwhile waits.
    Stop(usize, u64),
    /// Nothing passes from the first to the second by that path, or by none.
    Cut(usize, usize, Option<Path>, u64),
    /// Nothing passes between the node and others; with `true` the API server cannot be reached either.
    Isolate(usize, bool, u64),
    /// The cable of the plane is pulled.
    Cable(usize, u64),
    /// The plane's gateway does not answer the node.
    Gateway(usize, u64),
    /// The API server cannot be reached from the node.
    NoApi(usize, Away, u64),
    /// The API server answers nobody.
    ApiDown(Away, u64),
    /// The API server takes long.
    ApiSlow(u64),
    /// The node's next write takes place, and its answer is lost.
    LostAnswer(usize),
    /// The node's watch is silent for that time.
    WatchLags(usize, u64),
    /// The node's watch shows again what the Lease was before.
    WatchGoesBack(usize),
    /// What the node sends is lost by both paths.
    Mute(usize, u64),
    /// What the node sends arrives so much later, for that time.
    Delay(usize, u64, u64),
    /// What the node sends arrives once more so much later, for that time.
    Twice(usize, u64, u64),
    /// The plane wants claims to avoid the node.
    Cordon(usize, u64),
    /// Somebody asks for a rebalancing.
    Rebalance,
    /// The Service of the claim has `externalTrafficPolicy: Local` and an endpoint on this node alone, or on none.
    Endpoint(ClaimId, Option<usize>),
    /// The claim is deleted.
    Delete(ClaimId),
    /// So many further claims are made.
    Claims(u64),
    /// Somebody who is no member changes the Lease.
    Lease(Hand),
    /// Somebody without the key has recorded what the node's processes sent, from so long ago on and for that time, and
    /// sends it again, to everybody and by both paths.
    Replay(usize, u64, u64),
}

/// How an API server is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Away {
    /// Calls fail at once.
    Refuses,
    /// Calls are not answered.
    Silent,
}

/// What somebody who is no member does to the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hand {
    /// It is deleted.
    Deletes,
    /// What it says becomes unreadable.
    Scribbles,
    /// It is as it was one view before, as a backup has it.
    Restores,
    /// An earlier Lease is put back, of before it was deleted and made again.
    PutsBack,
}

impl Fault {
    /// For how long there is something of it to be seen.
    pub(crate) fn goes_on(&self) -> u64 {
        if let Self::Replay(_, _, time) = self { *time } else { self.lasts() }
    }

    /// For how long it lasts.
    #[must_use]
    pub fn lasts(&self) -> u64 {
        match self {
            Self::Crash(_, time) | Self::Leave(_, time) => time.unwrap_or_default(),
            Self::Stop(_, time)
            | Self::Cut(.., time)
            | Self::Isolate(.., time)
            | Self::Cable(_, time)
            | Self::Gateway(_, time)
            | Self::NoApi(.., time)
            | Self::ApiDown(_, time)
            | Self::ApiSlow(time)
            | Self::WatchLags(_, time)
            | Self::Mute(_, time)
            | Self::Cordon(_, time) => *time,
            Self::Delay(_, by, time) | Self::Twice(_, by, time) => by + time,
            Self::LostAnswer(_)
            | Self::WatchGoesBack(_)
            | Self::Rebalance
            | Self::Endpoint(..)
            | Self::Delete(_)
            | Self::Claims(_)
            | Self::Lease(_)
            | Self::Replay(..) => 0,
        }
    }
}
