//! Which claims this node holds: the membership machine, the plane's Lease, and the names of the claims.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use foghorn_clock::Instant;
use foghorn_crds::AddressClaim;
use foghorn_membership::{Claim, ClaimId, Epoch, Event, Grant, Health, Input, Output, Settings, View};
use foghorn_netio::Link;

use crate::{
    claim_id::{Names, claim_id},
    heartbeat::{Heartbeats, Paths, Rights, Standing},
    plane_lease::{LeaseNews, PlaneLease},
    report::Permit,
};

/// What is new.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// This node holds the claim, or by a later right.
    Granted {
        /// The claim's name.
        claim: Arc<str>,
        /// The right.
        grant: Grant,
    },
    /// This node holds the claim no longer.
    Revoked {
        /// The claim's name.
        claim: Arc<str>,
    },
    /// Something that people want to know of.
    Event(Event),
    /// All is handed over; the process can end.
    Left,
    /// The heartbeats have ended by themselves: the process cannot go on.
    Ended,
}

/// This node's part in holding the plane's claims.
pub struct Ownership {
    heartbeats: Heartbeats,
    lease: PlaneLease,
    names: Arc<RwLock<Names>>,
    /// All that is held, also claims that this node has not heard of yet.
    grants: BTreeMap<ClaimId, Grant>,
    /// The greatest epoch that the statuses of claims tell of.
    recorded: Epoch,
}

impl Ownership {
    /// Takes part by these heartbeats, in the view of that Lease.
    #[must_use]
    pub fn new(heartbeats: Heartbeats, lease: PlaneLease) -> Self {
        Self { heartbeats, lease, names: Arc::default(), grants: BTreeMap::new(), recorded: Epoch::default() }
    }

    /// Until when this node may announce the claim of that name: to be asked right before each frame and each write.
    #[must_use]
    pub fn permit(&self) -> Permit {
        let (rights, names) = (Arc::clone(self.heartbeats.rights()), Arc::clone(&self.names));
        Arc::new(move |claim| until(&rights, &names, claim))
    }

    /// Where this node stands among the plane's members.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.heartbeats.rights().standing()
    }

    /// How many claims this node holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.grants.len()
    }

    /// By which ways the other members are heard.
    pub async fn paths(&self) -> Option<Paths> {
        self.heartbeats.paths().await
    }

    /// What an earlier life of this node knew of the views.
    pub fn restore(&self, base: View, highest: Epoch) {
        self.heartbeats.tell(Input::Restored { base, highest });
    }

    /// Whether all claims are known, so that this node can take part.
    pub fn set_ready(&self, ready: bool) {
        self.heartbeats.tell(Input::Ready(ready));
    }

    /// The plane was changed.
    pub fn set_settings(&self, settings: Settings) {
        self.heartbeats.tell(Input::Settings(Box::new(settings)));
    }

    /// The plane's keys are these from now on.
    pub fn set_keys(&self, keys: foghorn_heartbeat::Keys) {
        self.heartbeats.set_keys(keys);
    }

    /// The plane's interface, and what the node can do there.
    pub fn set_link(&self, link: Option<Link>) {
        self.heartbeats.set_link(link);
    }

    /// What the node can do for its plane.
    pub fn set_health(&self, health: Health) {
        self.heartbeats.tell(Input::Health(health));
    }

    /// Whether another claim had this one's name until now.
    #[must_use]
    pub fn replaces(&self, claim: &AddressClaim) -> bool {
        let known = claim.metadata.name.as_ref().and_then(|name| self.names().id(name));
        known.is_some_and(|known| claim_id(claim) != Some(known))
    }

    /// The present state of a claim. Gives what follows at once: a grant that came before the claim was known.
    pub fn claim(&mut self, claim: &AddressClaim) -> Option<News> {
        let (Some(name), Some(id)) = (&claim.metadata.name, claim_id(claim)) else { return None };
        let (is_new, before) = {
            let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
            (names.id(name) != Some(id), names.insert(name, id))
        };
        if let Some(before) = before {
            self.forget(before);
        }
        let lease = claim.status.as_ref().and_then(|status| status.lease.as_ref());
        // Giving a lease back needs no endpoint.
        let ending = claim.metadata.deletion_timestamp.is_some();
        let nodes = claim.spec.serving_nodes.clone().filter(|_| !ending);
        let facts = Claim { address: lease.map(|lease| lease.address), nodes };
        self.heartbeats.tell(Input::Claim(id, facts));
        let written = claim.status.as_ref().and_then(|status| status.epoch.as_deref()?.parse::<Grant>().ok());
        if let Some(Grant { epoch, .. }) = written.filter(|grant| grant.epoch > self.recorded) {
            self.recorded = epoch;
            self.heartbeats.tell(Input::Recorded(epoch));
        }
        let grant = *self.grants.get(&id).filter(|_| is_new)?;
        let claim = self.names().name(id)?.clone();
        Some(News::Granted { claim, grant })
    }

    /// A claim is no more.
    pub fn claim_gone(&mut self, name: &str) {
        let id = self.names.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(id) = id {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: ClaimId) {
        self.grants.remove(&id);
        self.heartbeats.tell(Input::ClaimGone(id));
    }

    /// Hands over what this node holds. [`News::Left`] follows.
    pub fn leave(&self) {
        self.heartbeats.tell(Input::Leave);
    }

    /// Ends this node's part, and returns when its sockets are closed.
    pub async fn stop(self) {
        self.heartbeats.stop().await;
    }

    /// The next news. Nothing is lost if the wait is given up.
    pub async fn news(&mut self) -> News {
        loop {
            let output = tokio::select! {
                output = self.heartbeats.next() => output,
                news = self.lease.news() => {
                    self.heartbeats.tell(match news {
                        LeaseNews::Answered(call, answer) => Input::Answered { call, answer },
                        LeaseNews::Observed(record) => Input::Observed(record),
                    });
                    continue;
                }
            };
            let Some(output) = output else { return News::Ended };
            if let Some(news) = self.take(output) {
                return news;
            }
        }
    }

    fn take(&mut self, output: Output<Instant>) -> Option<News> {
        match output {
            Output::Read { call } => self.lease.read(call),
            Output::Write { call, write } => self.lease.write(call, &write),
            Output::Granted { claim, grant } => {
                self.grants.insert(claim, grant);
                let claim = self.names().name(claim)?.clone();
                return Some(News::Granted { claim, grant });
            }
            Output::Revoked { claim } => {
                self.grants.remove(&claim);
                let claim = self.names().name(claim)?.clone();
                return Some(News::Revoked { claim });
            }
            Output::Event(event) => return Some(News::Event(event)),
            Output::Left => return Some(News::Left),
            // The heartbeats have sent it themselves.
            Output::Send { .. } => {}
        }
        None
    }

    /// The name of a claim.
    #[must_use]
    pub fn name(&self, claim: ClaimId) -> Option<Arc<str>> {
        self.names().name(claim).cloned()
    }

    fn names(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn until(rights: &Rights, names: &RwLock<Names>, claim: &str) -> Instant {
    let id = names.read().unwrap_or_else(PoisonError::into_inner).id(claim);
    id.map_or(Instant::ZERO, |id| rights.until(id))
}
