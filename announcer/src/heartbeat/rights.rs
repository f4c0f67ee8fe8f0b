//! Until when which claims may be announced.

use std::{
    collections::BTreeMap,
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use foghorn_clock::Instant;
use foghorn_membership::{ClaimId, Epoch, Grant, Member, Output};

/// The rights of this node's member, as its machine has them now.
///
/// The thread of the heartbeats changes them right after each input that the machine takes, and before it does anything
/// else that follows: what the machine has lost nobody can use any more, whatever the main loop is busy with. To be asked
/// before each frame.
#[derive(Debug, Default)]
pub struct Rights {
    /// In nanoseconds since the start of the kernel. Moves with each round; the rest seldom does.
    permit: AtomicU64,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    held: BTreeMap<ClaimId, Grant>,
    role: Role,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Role {
    coordinator: bool,
    epoch: Option<Epoch>,
    members: usize,
}

/// Where this node's member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// It is the one that assigns.
    pub coordinator: bool,
    /// Of the newest view that it knows, if it knows one. It need not be in it.
    pub epoch: Option<Epoch>,
    /// How many members that view has.
    pub members: usize,
    /// Until when it may announce what it holds.
    pub permit: Instant,
}

impl Rights {
    /// Until when this claim may be announced; [`Instant::ZERO`] if this node does not hold it.
    #[must_use]
    pub fn until(&self, claim: ClaimId) -> Instant {
        let known = self.known();
        if known.held.contains_key(&claim) { self.permit() } else { Instant::ZERO }
    }

    /// By which right this node holds the claim, if it does.
    #[must_use]
    pub fn grant(&self, claim: ClaimId) -> Option<Grant> {
        self.known().held.get(&claim).copied()
    }

    /// Where this node's member stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let known = self.known();
        let Role { coordinator, epoch, members } = known.role;
        Standing { coordinator, epoch, members, permit: self.permit() }
    }

    /// Takes over what the machine has now. `said` is what it said since the last time.
    pub(super) fn follow(&self, member: &Member<Instant>, said: &[Output<Instant>]) {
        let role = Role {
            coordinator: member.is_coordinator(),
            epoch: member.view().map(|view| view.epoch),
            members: member.view().map_or(0, |view| view.seats.len()),
        };
        self.set(role, member.permit(), said);
    }

    /// The machine is no more.
    pub(super) fn end(&self) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        *known = Known::default();
        self.permit.store(0, Ordering::Release);
    }

    fn set(&self, role: Role, permit: Instant, said: &[Output<Instant>]) {
        let permit = u64::try_from(permit.since_boot().as_nanos()).unwrap_or(u64::MAX);
        let concerns =
            |output: &Output<Instant>| matches!(output, Output::Granted { .. } | Output::Revoked { .. });
        if self.known().role == role && !said.iter().any(concerns) {
            return self.permit.store(permit, Ordering::Release);
        }
        // Under the lock, so that nobody sees a new claim with an old permit.
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.role = role;
        for output in said {
            if let Output::Granted { claim, grant } = output {
                known.held.insert(*claim, *grant);
            } else if let Output::Revoked { claim } = output {
                known.held.remove(claim);
            }
        }
        self.permit.store(permit, Ordering::Release);
    }

    fn permit(&self) -> Instant {
        Instant::from_boot(Duration::from_nanos(self.permit.load(Ordering::Acquire)))
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_may_be_announced_until_the_permit_while_it_is_held() {
        let rights = Rights::default();
        assert_eq!(rights.until(CLAIM), Instant::ZERO);
        rights.set(ROLE, seconds(7), &[Output::Granted { claim: CLAIM, grant: GRANT }]);
        assert_eq!((rights.until(CLAIM), rights.grant(CLAIM)), (seconds(7), Some(GRANT)));
        assert_eq!(rights.until(ClaimId(2)), Instant::ZERO, "another claim");
        rights.set(ROLE, seconds(8), &[]);
        assert_eq!(rights.until(CLAIM), seconds(8));
        rights.set(ROLE, seconds(9), &[Output::Revoked { claim: CLAIM }]);
        assert_eq!((rights.until(CLAIM), rights.grant(CLAIM)), (Instant::ZERO, None));
        assert_eq!(rights.standing().permit, seconds(9));
    }

    #[test]
    fn what_is_said_in_one_go_counts_in_its_order() {
        let rights = Rights::default();
        let (granted, revoked) =
            (Output::Granted { claim: CLAIM, grant: GRANT }, Output::Revoked { claim: CLAIM });
        rights.set(ROLE, seconds(7), &[granted.clone(), revoked.clone()]);
        assert_eq!(rights.until(CLAIM), Instant::ZERO);
        rights.set(ROLE, seconds(7), &[revoked, granted]);
        assert_eq!(rights.until(CLAIM), seconds(7));
    }

    #[test]
    fn the_standing_is_told_and_ends_with_the_machine() {
        let rights = Rights::default();
        rights.set(ROLE, seconds(7), &[Output::Granted { claim: CLAIM, grant: GRANT }]);
        let standing = Standing { coordinator: true, epoch: Some(EPOCH), members: 3, permit: seconds(7) };
        assert_eq!(rights.standing(), standing);
        rights.end();
        assert_eq!(rights.until(CLAIM), Instant::ZERO);
        let nothing = Standing { coordinator: false, epoch: None, members: 0, permit: Instant::ZERO };
        assert_eq!(rights.standing(), nothing);
    }

    fn seconds(seconds: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(seconds))
    }

    const CLAIM: ClaimId = ClaimId(1);
    const EPOCH: Epoch = Epoch { created: 1_767_225_600, view: 7, quorum: 0 };
    const GRANT: Grant = Grant { epoch: EPOCH, number: 42 };
    const ROLE: Role = Role { coordinator: true, epoch: Some(EPOCH), members: 3 };
}
