//! Bugs that tests plant in a member, to see that the checks of its promises find them.

/// A rule that a member with the bug does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// Rules 11 and 12: what it holds it announces for ever.
    NoFence,
    /// Rule 11: an acknowledgement counts from its arrival.
    ArrivalIsARight,
    /// Rule 12: a coordinator may announce since it has renewed the Lease.
    RenewalIsARight,
    /// Rule 15: it does not give way to a later right.
    DeafToTaken,
    /// Rule 15: entries of a table that are older than what it knows are carried out.
    StaleTable,
    /// Rule 28: it votes for everybody who asks.
    DoubleVote,
    /// Rule 25: whoever is heard is let in, whether it answers or was recorded.
    GhostJoins,
    /// Rule 28: a vote counts whomever it was given to.
    GhostVotes,
}
