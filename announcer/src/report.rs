//! Writes the status of claims.
//!
//! A status is written with the resourceVersion of what it is built on, and never over one that was written by a later
//! grant: what a former holder still wants to say comes too late. While the holder may not announce the claim it says
//! nothing of it either; what there is to say waits until it may again, or until the claim is revoked.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use foghorn_clock::Instant;
use foghorn_crds::{
    AddressClaim, AddressClaimStatus, ClaimState,
    conditions::{self, PORTS_FORWARDED},
};
use foghorn_membership::{Grant, Nowhere};
use foghorn_shell::clock::Clock;
use futures::{
    StreamExt,
    future::{AbortHandle, BoxFuture, abortable},
    stream::FuturesUnordered,
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::{Api, Client, api::PostParams};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::{events::words, forwarding::status::Told, metrics::Metrics};

/// Writes under way at once.
const CONCURRENCY: usize = 8;
/// Attempts with a newer version of the claim after a conflict.
const ATTEMPTS: usize = 5;
const ANSWER: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(1);

/// Until when this node may announce the claim of that name; past if it may not.
pub type Permit = Arc<dyn Fn(&str) -> Instant + Send + Sync>;

/// A status to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The claim, by name.
    pub claim: String,
    /// The claim's UID: another claim of the same name is not meant.
    pub uid: Option<String>,
    /// By which it is held, or nobody's. What was written by a greater one stays.
    pub grant: Grant,
    /// What is said.
    pub said: Said,
}

/// What a report says.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// By the one that holds the claim: the whole status. Conditions that it does not have stay as they are.
    Held(Box<AddressClaimStatus>),
    /// By the one that assigns: nobody holds it, and this is its `Ready`.
    Unassigned(Box<Condition>),
    /// By the one that holds the claim: how its ports stand at the gateway.
    Forwards(Told),
}

/// What a report is about: of each there is one of a claim at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Address,
    Forwards,
}

impl Report {
    /// That nobody can have the claim.
    #[must_use]
    pub fn unassigned(claim: &AddressClaim, grant: Grant, why: Nowhere, now: Timestamp) -> Self {
        let (reason, message) = words(why);
        let generation = claim.metadata.generation;
        let ready = conditions::condition(conditions::READY, false, reason, message, generation, now);
        Self {
            claim: claim.metadata.name.clone().unwrap_or_default(),
            uid: claim.metadata.uid.clone(),
            grant,
            said: Said::Unassigned(Box::new(ready)),
        }
    }

    /// Whether it is the holder that tells it. Only who may announce the claim may say so.
    #[must_use]
    pub fn is_holders(&self) -> bool {
        match &self.said {
            Said::Held(_) | Said::Forwards(_) => true,
            Said::Unassigned(_) => false,
        }
    }

    /// The status of the address that the holder tells.
    #[must_use]
    pub fn held(&self) -> Option<&AddressClaimStatus> {
        match &self.said {
            Said::Held(status) => Some(status),
            Said::Unassigned(_) | Said::Forwards(_) => None,
        }
    }

    fn subject(&self) -> Subject {
        match &self.said {
            Said::Held(_) | Said::Unassigned(_) => Subject::Address,
            Said::Forwards(_) => Subject::Forwards,
        }
    }
}

/// How the try to write a report ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Written,
    /// This node may not announce the claim at this moment.
    PutOff,
    /// The claim has a later grant, was revoked, is another claim, or no more.
    Dropped,
    Failed,
}

/// Whose report it is, and about what.
type Key = (String, Subject);

/// Reports that wait and reports that are being written, at most one of each for a claim and subject.
pub struct Reporter {
    api: Api<AddressClaim>,
    permit: Permit,
    clock: Clock,
    metrics: Metrics,
    waiting: BTreeMap<Key, Report>,
    writing: BTreeMap<Key, (Report, AbortHandle)>,
    writes: FuturesUnordered<BoxFuture<'static, (Key, Outcome)>>,
}

impl Reporter {
    /// A reporter that writes of a claim only while `permit` allows this node to announce it.
    #[must_use]
    pub fn new(client: Client, namespace: &str, permit: Permit, clock: Clock, metrics: Metrics) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            permit,
            clock,
            metrics,
            waiting: BTreeMap::new(),
            writing: BTreeMap::new(),
            writes: FuturesUnordered::new(),
        }
    }

    /// Takes a report in place of an earlier one of the same claim and subject that still waits.
    pub fn push(&mut self, report: Report) {
        self.waiting.insert((report.claim.clone(), report.subject()), report);
    }

    /// Forgets what is to be said of a claim that this node holds no longer. To be called as soon as it is revoked: what
    /// was found out before it was granted again is no longer true.
    pub fn revoke(&mut self, claim: &str) {
        for subject in [Subject::Address, Subject::Forwards] {
            let key = (claim.to_owned(), subject);
            self.waiting.remove(&key);
            if let Some((_, write)) = self.writing.get(&key) {
                write.abort();
            }
        }
    }

    /// Starts what may start. `claims` are the claims as far as this node knows.
    pub fn start(&mut self, claims: &BTreeMap<String, Arc<AddressClaim>>) {
        while self.writes.len() < CONCURRENCY {
            let now = (self.clock)();
            let may_start = |(key, report): &(&Key, &Report)| {
                let may_say = !report.is_holders() || now < (self.permit)(&report.claim);
                may_say && !self.writing.contains_key(*key)
            };
            let next = self.waiting.iter().find(may_start).map(|(key, _)| key.clone());
            let Some((key, report)) = next.and_then(|key| self.waiting.remove_entry(&key)) else {
                return;
            };
            let (permit, clock, of) = (self.permit.clone(), self.clock, report.claim.clone());
            let holders = report.is_holders();
            let may_write = move || !holders || clock() < permit(&of);
            let base = claims.get(&report.claim).map(|claim| AddressClaim::clone(claim));
            let (write, handle) = abortable(write(self.api.clone(), may_write, base, report.clone()));
            self.writing.insert(key.clone(), (report, handle));
            self.writes.push(Box::pin(async move { (key, write.await.unwrap_or(Outcome::Dropped)) }));
        }
    }

    /// Waits for the end of a write. Pending while nothing is being written.
    pub async fn finished(&mut self) {
        let Some((key, outcome)) = self.writes.next().await else {
            std::future::pending::<()>().await;
            return;
        };
        let report = self.writing.remove(&key);
        let result = match outcome {
            Outcome::Written => "written",
            Outcome::PutOff => "put off",
            Outcome::Dropped => "dropped",
            Outcome::Failed => "failed",
        };
        self.metrics.reported(result);
        if let (Outcome::Failed | Outcome::PutOff, Some((report, _))) = (outcome, report) {
            self.waiting.entry(key).or_insert(report);
        }
    }
}

async fn write(
    api: Api<AddressClaim>,
    may_write: impl Fn() -> bool,
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
        if !may_write() {
            debug!(claim = report.claim, grant = %report.grant, "status not written yet: the right to announce has run out");
            return Outcome::PutOff;
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

/// The claim with the status that is reported; `None` if the report comes too late for it. What is written there as its
/// grant and is none is older than any.
#[must_use]
pub fn merged(mut claim: AddressClaim, report: &Report) -> Option<AddressClaim> {
    if claim.metadata.uid != report.uid {
        return None;
    }
    let before = claim.status.take().unwrap_or_default();
    let written: Option<Grant> = before.epoch.as_deref().and_then(|grant| grant.parse().ok());
    if written.is_some_and(|written| written > report.grant) {
        return None;
    }
    let mut all = before.conditions.clone();
    let (status, news) = match &report.said {
        Said::Held(status) => {
            let told = AddressClaimStatus { forwards: before.forwards, ..AddressClaimStatus::clone(status) };
            (told, status.conditions.clone())
        }
        Said::Unassigned(condition) => (unassigned(before, report.grant), vec![Condition::clone(condition)]),
        Said::Forwards(told) => {
            all.retain(|old| old.type_ != PORTS_FORWARDED || told.condition.is_some());
            let status = AddressClaimStatus { forwards: told.forwards.clone(), ..before };
            (status, told.condition.clone().into_iter().collect())
        }
    };
    for condition in news {
        conditions::set(&mut all, condition);
    }
    claim.status = Some(AddressClaimStatus { conditions: all, ..status });
    Some(claim)
}

/// The status of a claim that nobody holds. Its lease still is its own: whoever holds it next goes on with it.
fn unassigned(before: AddressClaimStatus, grant: Grant) -> AddressClaimStatus {
    AddressClaimStatus {
        state: Some(ClaimState::Unassigned),
        address: None,
        holder: None,
        holder_hardware_address: None,
        interface: None,
        epoch: Some(grant.to_string()),
        ..before
    }
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
mod tests;
