//! The claims, as an API server would keep them.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use foghorn_announcer::report::{Report, merged};
use foghorn_crds::{AddressClaim, AddressClaimStatus};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use tokio::sync::watch;

/// Claims by name.
pub(crate) type Claims = BTreeMap<String, Arc<AddressClaim>>;

/// Claims with their statuses, and all that was ever reported of them; clones share it.
#[derive(Clone, Debug)]
pub struct Store(Arc<watch::Sender<State>>);

/// What is in the store.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) claims: Claims,
    reports: Vec<(Timestamp, Report)>,
}

impl Default for Store {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }
}

impl Store {
    /// Puts a claim there, in place of the one of that name.
    pub fn put(&self, claim: AddressClaim) {
        let name = claim.metadata.name.clone().unwrap();
        self.0.send_modify(|state| drop(state.claims.insert(name, Arc::new(claim))));
    }

    /// Marks a claim as deleted: the node gives its address back.
    pub fn delete(&self, claim: &str) {
        self.change(claim, |claim| claim.metadata.deletion_timestamp = Some(Time(Timestamp::now())));
    }

    /// The last status of a claim.
    #[must_use]
    pub fn status(&self, claim: &str) -> AddressClaimStatus {
        self.0.borrow().claims.get(claim).and_then(|claim| claim.status.clone()).unwrap_or_default()
    }

    /// All statuses that were reported of a claim, the last one at the end.
    #[must_use]
    pub fn reports(&self, claim: &str) -> Vec<AddressClaimStatus> {
        let state = self.0.borrow();
        let of_claim = state.reports.iter().filter(|(_, report)| report.claim == claim);
        of_claim.filter_map(|(_, report)| report.held().cloned()).collect()
    }

    /// All reports for people to read, one a line.
    #[must_use]
    pub fn told(&self) -> String {
        let mut text = String::new();
        for (time, report) in &self.0.borrow().reports {
            let (Report { claim, grant, .. }, Some(status)) = (report, report.held()) else { continue };
            let AddressClaimStatus { state, address, lease, identity, conditions, .. } = status;
            let why: Vec<_> = conditions.iter().map(|c| format!("{}: {}", c.reason, c.message)).collect();
            let server = lease.as_ref().map(|lease| (lease.server, lease.expires_at.as_ref().map(|t| t.0)));
            let identity = identity.as_ref().map(|identity| (&identity.hardware_address, identity.mode));
            writeln!(text, "{time} {grant} {claim}: {state:?} {address:?} {server:?} {identity:?} {why:?}")
                .unwrap();
        }
        text
    }

    pub(crate) fn follow(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }

    /// Takes a report, unless it comes too late for its claim.
    pub(crate) fn write(&self, report: Report) {
        self.0.send_modify(|state| {
            let claim = state.claims.get(&report.claim).map(|claim| AddressClaim::clone(claim));
            if let Some(claim) = claim.and_then(|claim| merged(claim, &report)) {
                state.claims.insert(report.claim.clone(), Arc::new(claim));
                state.reports.push((Timestamp::now(), report));
            }
        });
    }

    fn change(&self, claim: &str, change: impl FnOnce(&mut AddressClaim)) {
        self.0.send_modify(|state| change(Arc::make_mut(state.claims.get_mut(claim).unwrap())));
    }
}
