//! Writes the status of claims.
//!
//! A status is written with the resourceVersion of what it is built on, and never over one of a later epoch: what a
//! former owner still wants to say comes too late.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use foghorn_clock::Instant;
use foghorn_crds::{AddressClaim, AddressClaimStatus, conditions};
use foghorn_election::Epoch;
use foghorn_shell::{clock::Clock, elect::Standing};
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use crate::{engine::Report, metrics::Metrics};

/// Writes under way at once.
const CONCURRENCY: usize = 8;
/// Attempts with a newer version of the claim after a conflict.
const ATTEMPTS: usize = 5;
const ANSWER: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(1);

/// How a report ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Written,
    /// The claim is of a later epoch, another claim, or no more; or this node may no longer speak.
    Dropped,
    Failed,
}

/// Reports that wait and reports that are being written, at most one of each for a claim.
pub struct Reporter {
    api: Api<AddressClaim>,
    standing: watch::Receiver<Standing>,
    clock: Clock,
    metrics: Metrics,
    waiting: BTreeMap<String, Report>,
    writing: BTreeMap<String, Report>,
    writes: FuturesUnordered<BoxFuture<'static, (String, Outcome)>>,
}

impl Reporter {
    /// A reporter that writes only while `standing` allows it.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        standing: watch::Receiver<Standing>,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            standing,
            clock,
            metrics,
            waiting: BTreeMap::new(),
            writing: BTreeMap::new(),
            writes: FuturesUnordered::new(),
        }
    }

    /// Takes a report in place of an earlier one of the same claim that still waits.
    pub fn push(&mut self, report: Report) {
        self.waiting.insert(report.claim.clone(), report);
    }

    /// Starts what may start. `claims` are the claims as far as this node knows.
    pub fn start(&mut self, claims: &BTreeMap<String, Arc<AddressClaim>>) {
        while self.writes.len() < CONCURRENCY {
            let next = self.waiting.keys().find(|claim| !self.writing.contains_key(*claim)).cloned();
            let Some((claim, report)) = next.and_then(|claim| self.waiting.remove_entry(&claim)) else {
                return;
            };
            let permit = Permit { standing: self.standing.clone(), clock: self.clock, epoch: report.epoch };
            let base = claims.get(&claim).map(|claim| AddressClaim::clone(claim));
            let write = write(self.api.clone(), permit, base, report.clone());
            self.writing.insert(claim.clone(), report);
            self.writes.push(Box::pin(async move { (claim, write.await) }));
        }
    }

    /// Waits for the end of a write. Pending while nothing is being written.
    pub async fn finished(&mut self) {
        let Some((claim, outcome)) = self.writes.next().await else {
            std::future::pending::<()>().await;
            return;
        };
        let report = self.writing.remove(&claim);
        let result = match outcome {
            Outcome::Written => "written",
            Outcome::Dropped => "dropped",
            Outcome::Failed => "failed",
        };
        self.metrics.reported(result);
        if let (Outcome::Failed, Some(report)) = (outcome, report) {
            self.waiting.entry(claim).or_insert(report);
        }
    }
}

/// The right to write in the name of one epoch.
struct Permit {
    standing: watch::Receiver<Standing>,
    clock: Clock,
    epoch: Epoch,
}

impl Permit {
    fn holds(&self) -> bool {
        let standing = *self.standing.borrow();
        let now: Instant = (self.clock)();
        now < standing.permit_in(self.epoch)
    }
}

async fn write(
    api: Api<AddressClaim>,
    permit: Permit,
    mut base: Option<AddressClaim>,
    report: Report,
) -> Outcome {
    for _ in 0..ATTEMPTS {
        let claim = match base.take() {
            Some(claim) => claim,
            None => match answered(api.get_opt(&report.claim)).await {
                Ok(Some(claim)) => claim,
                Ok(None) => return Outcome::Dropped,
                Err(error) => return failed(&report, &error).await,
            },
        };
        let Some(claim) = merged(claim, &report) else { return Outcome::Dropped };
        if !permit.holds() {
            debug!(claim = report.claim, epoch = %report.epoch, "status not written: the tenure is over");
            return Outcome::Dropped;
        }
        match answered(api.replace_status(&report.claim, &PostParams::default(), &claim)).await {
            Ok(_) => return Outcome::Written,
            Err(WriteError::Api(kube::Error::Api(status))) if status.code == 409 => {}
            Err(WriteError::Api(kube::Error::Api(status))) if status.code == 404 => return Outcome::Dropped,
            Err(error) => return failed(&report, &error).await,
        }
    }
    failed(&report, &WriteError::Contended).await
}

/// The claim with the status that is reported; `None` if the report comes too late for it.
#[must_use]
pub fn merged(mut claim: AddressClaim, report: &Report) -> Option<AddressClaim> {
    if claim.metadata.uid != report.uid {
        return None;
    }
    let before = claim.status.take().unwrap_or_default();
    let written: Option<Epoch> = before.epoch.as_deref().and_then(|epoch| epoch.parse().ok());
    if written.is_some_and(|written| written > report.epoch) {
        return None;
    }
    let mut all = before.conditions;
    for condition in report.status.conditions.clone() {
        conditions::set(&mut all, condition);
    }
    claim.status = Some(AddressClaimStatus { conditions: all, ..report.status.clone() });
    Some(claim)
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("{0}")]
    Api(kube::Error),
    #[error("the API server did not answer within {} s", ANSWER.as_secs())]
    NoAnswer,
    #[error("the claim changed under {ATTEMPTS} attempts")]
    Contended,
}

async fn answered<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, WriteError> {
    match timeout(ANSWER, call).await {
        Ok(answer) => answer.map_err(WriteError::Api),
        Err(_) => Err(WriteError::NoAnswer),
    }
}

async fn failed(report: &Report, error: &WriteError) -> Outcome {
    warn!(claim = report.claim, %error, "status not written, trying again");
    sleep(RETRY).await;
    Outcome::Failed
}

#[cfg(test)]
mod tests {
    use super::*;
    use foghorn_crds::{
        AddressClaimSpec, AddressFamily, AddressSource, ClaimState, DhcpRequest, ServiceReference,
    };
    use k8s_openapi::jiff::Timestamp;

    #[test]
    fn a_report_replaces_an_older_one_and_keeps_foreign_conditions() {
        let foreign = conditions::condition("Foreign", true, "Kept", "", None, Timestamp::UNIX_EPOCH);
        let before = AddressClaimStatus { conditions: vec![foreign], ..status(ClaimState::Acquiring, "5.1") };
        let after = merged(claim(Some(before)), &report("5.2")).and_then(|claim| claim.status).unwrap();
        assert_eq!(after.state, Some(ClaimState::Bound));
        assert_eq!(after.epoch.as_deref(), Some("5.2"));
        assert_eq!(after.conditions.len(), 2);
    }

    #[test]
    fn a_report_of_a_former_owner_is_dropped() {
        assert_eq!(merged(claim(Some(status(ClaimState::Bound, "5.3"))), &report("5.2")), None);
        assert_eq!(merged(claim(Some(status(ClaimState::Bound, "6.0"))), &report("5.2")), None);
    }

    #[test]
    fn a_report_of_another_claim_of_the_same_name_is_dropped() {
        let other = Report { uid: Some("another".into()), ..report("5.2") };
        assert_eq!(merged(claim(None), &other), None);
    }

    fn report(epoch: &str) -> Report {
        let mut status = status(ClaimState::Bound, epoch);
        status.conditions = vec![conditions::condition(
            conditions::READY,
            true,
            "Announced",
            "",
            None,
            Timestamp::UNIX_EPOCH,
        )];
        Report {
            claim: "default.web.ipv4".into(),
            uid: Some("uid".into()),
            epoch: epoch.parse().unwrap(),
            status,
        }
    }

    fn status(state: ClaimState, epoch: &str) -> AddressClaimStatus {
        AddressClaimStatus { state: Some(state), epoch: Some(epoch.into()), ..AddressClaimStatus::default() }
    }

    fn claim(status: Option<AddressClaimStatus>) -> AddressClaim {
        let service_ref =
            ServiceReference { namespace: "default".into(), name: "web".into(), uid: "service".into() };
        let spec = AddressClaimSpec {
            plane: "public".into(),
            service_ref,
            family: AddressFamily::IPv4,
            source: AddressSource::Dhcp,
            dhcp: DhcpRequest::default(),
            ports: Vec::new(),
        };
        let mut claim = AddressClaim::new("default.web.ipv4", spec);
        claim.metadata.uid = Some("uid".into());
        claim.status = status;
        claim
    }
}
