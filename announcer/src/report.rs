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
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    };

    use foghorn_crds::{
        AddressClaimSpec, AddressFamily, AddressSource, ClaimState, DhcpRequest, ForwardStatus,
        ServiceReference,
    };
    use http::{Method, Request, Response};
    use kube::client::Body;
    use serde_json::json;
    use tower_test::mock::{Handle, pair};

    use super::*;

    #[test]
    fn a_report_replaces_an_older_one_and_keeps_foreign_conditions() {
        let foreign = conditions::condition("Foreign", true, "Kept", "", None, Timestamp::UNIX_EPOCH);
        let before =
            AddressClaimStatus { conditions: vec![foreign], ..status(ClaimState::Acquiring, "5.1.0.9") };
        let after = merged(claim(Some(before)), &report("5.2.0.1")).and_then(|claim| claim.status).unwrap();
        assert_eq!(after.state, Some(ClaimState::Bound));
        assert_eq!(after.epoch.as_deref(), Some("5.2.0.1"));
        assert_eq!(after.conditions.len(), 2);
    }

    #[test]
    fn a_report_of_a_former_holder_is_dropped() {
        for later in ["5.2.0.8", "5.2.1.0", "5.3.0.0", "6.0.0.0"] {
            let claim = claim(Some(status(ClaimState::Bound, later)));
            assert_eq!(merged(claim, &report("5.2.0.7")), None, "{later}");
        }
    }

    #[test]
    fn what_is_no_grant_is_older_than_any() {
        for epoch in ["9.9", "", "later"] {
            let claim = claim(Some(status(ClaimState::Bound, epoch)));
            assert!(merged(claim, &report("5.2.0.7")).is_some(), "{epoch}");
        }
    }

    #[test]
    fn a_report_of_another_claim_of_the_same_name_is_dropped() {
        let other = Report { uid: Some("another".into()), ..report("5.2.0.1") };
        assert_eq!(merged(claim(None), &other), None);
    }

    #[test]
    fn a_claim_that_nobody_holds_keeps_its_lease_and_names_no_holder() {
        let ready = conditions::condition(
            conditions::READY,
            false,
            conditions::reasons::NO_MEMBER,
            "",
            None,
            Timestamp::UNIX_EPOCH,
        );
        let of_nobody = Report { said: Said::Unassigned(Box::new(ready)), ..report("5.2.0.1") };
        let lease = serde_json::from_value(json!({
            "address": "192.0.2.9", "server": "192.0.2.1", "acquiredAt": "2026-01-01T00:00:00.000000Z",
        }))
        .unwrap();
        let held = AddressClaimStatus {
            address: Some([192, 0, 2, 9].into()),
            holder: Some("w1".into()),
            lease: Some(lease),
            ..status(ClaimState::Bound, "5.2.0.0")
        };
        let after = merged(claim(Some(held.clone())), &of_nobody).and_then(|claim| claim.status).unwrap();
        assert_eq!((after.state, after.address, after.holder), (Some(ClaimState::Unassigned), None, None));
        assert_eq!((after.lease, after.epoch.as_deref()), (held.lease.clone(), Some("5.2.0.1")));
        assert_eq!(after.conditions.len(), 1);
        let later = AddressClaimStatus { epoch: Some("5.2.0.2".into()), ..held };
        assert_eq!(merged(claim(Some(later)), &of_nobody), None, "somebody holds it by now");
    }

    #[test]
    fn what_is_told_of_the_address_and_of_the_ports_leaves_the_other_as_it_is() {
        let forward: ForwardStatus =
            serde_json::from_value(json!({"protocol": "TCP", "port": 80, "externalPort": 8080})).unwrap();
        let condition = |type_| conditions::condition(type_, true, "R", "", None, Timestamp::UNIX_EPOCH);
        let told = Told { forwards: vec![forward.clone()], condition: Some(condition(PORTS_FORWARDED)) };
        let of_ports = |told| Report { said: Said::Forwards(told), ..report("5.2.0.1") };
        let before = status(ClaimState::Bound, "5.2.0.1");
        let after =
            merged(claim(Some(before.clone())), &of_ports(told)).and_then(|claim| claim.status).unwrap();
        assert_eq!((after.state, &after.forwards), (before.state, &vec![forward.clone()]));
        assert!(conditions::get(&after.conditions, PORTS_FORWARDED).is_some());

        let later =
            merged(claim(Some(after.clone())), &report("5.2.0.1")).and_then(|claim| claim.status).unwrap();
        assert_eq!(later.forwards, [forward]);
        assert!(conditions::get(&later.conditions, PORTS_FORWARDED).is_some());

        let none =
            merged(claim(Some(after)), &of_ports(Told::default())).and_then(|claim| claim.status).unwrap();
        assert_eq!(none.forwards.len(), 0);
        assert!(conditions::get(&none.conditions, PORTS_FORWARDED).is_none());
    }

    #[tokio::test]
    async fn that_nobody_holds_a_claim_is_said_by_one_that_does_not_hold_it() {
        let mut coordinator = Holder::new();
        coordinator.may_announce(false);
        let ready = conditions::condition(conditions::READY, false, "R", "", None, Timestamp::UNIX_EPOCH);
        let said = Said::Unassigned(Box::new(ready));
        coordinator.reporter.push(Report { said, ..report("5.2.0.1") });
        coordinator.turn().await;
        assert_eq!(coordinator.written(), ["5.2.0.1"]);
    }

    #[tokio::test]
    async fn a_status_whose_right_has_run_out_waits_until_the_right_is_back() {
        let mut holder = Holder::new();
        holder.reporter.push(report("5.2.0.1"));
        holder.may_announce(false);
        holder.turn().await;
        assert_eq!(holder.written(), [""; 0]);
        holder.may_announce(true);
        holder.turn().await;
        assert_eq!(holder.written(), ["5.2.0.1"]);
    }

    #[tokio::test]
    async fn a_status_whose_right_runs_out_between_two_attempts_is_written_later() {
        let mut holder = Holder::new();
        holder.shared.interrupts.store(true, SeqCst);
        holder.reporter.push(report("5.2.0.1"));
        holder.turn().await;
        assert!(!holder.shared.interrupts.load(SeqCst), "the first attempt was made");
        assert_eq!(holder.written(), [""; 0]);
        holder.may_announce(true);
        holder.turn().await;
        assert_eq!(holder.written(), ["5.2.0.1"]);
    }

    #[tokio::test]
    async fn what_waits_or_is_being_written_of_a_revoked_claim_is_forgotten() {
        let mut holder = Holder::new();
        holder.reporter.push(report("5.2.0.1"));
        holder.reporter.start(&holder.claims);
        holder.reporter.push(report("5.2.0.1"));
        holder.reporter.revoke(CLAIM);
        holder.turn().await;
        assert_eq!(holder.written(), [""; 0]);
        holder.reporter.push(report("5.4.0.1"));
        holder.turn().await;
        assert_eq!(holder.written(), ["5.4.0.1"]);
    }

    /// A node that holds the claim, and its API server.
    struct Holder {
        reporter: Reporter,
        claims: BTreeMap<String, Arc<AddressClaim>>,
        shared: Arc<Shared>,
    }

    #[derive(Default)]
    struct Shared {
        may_announce: AtomicBool,
        /// The next write meets a newer version of the claim, and the right runs out with it.
        interrupts: AtomicBool,
        written: Mutex<Vec<String>>,
    }

    impl Holder {
        fn new() -> Self {
            let shared = Arc::new(Shared::default());
            let (service, requests) = pair();
            tokio::spawn(serve(requests, shared.clone()));
            let of_permit = shared.clone();
            let permit = move |claim: &str| {
                let may = claim == CLAIM && of_permit.may_announce.load(SeqCst);
                if may { Instant::NEVER } else { Instant::ZERO }
            };
            let clock = || Instant::from_boot(Duration::from_secs(1));
            let client = Client::new(service, "default");
            let reporter = Reporter::new(client, "public", Arc::new(permit), clock, Metrics::default());
            let claims = BTreeMap::from([(CLAIM.to_owned(), Arc::new(claim(None)))]);
            let holder = Self { reporter, claims, shared };
            holder.may_announce(true);
            holder
        }

        fn may_announce(&self, may: bool) {
            self.shared.may_announce.store(may, SeqCst);
        }

        async fn turn(&mut self) {
            self.reporter.start(&self.claims);
            while !self.reporter.writes.is_empty() {
                self.reporter.finished().await;
            }
        }

        /// The grants of the statuses that were written.
        fn written(&self) -> Vec<String> {
            self.shared.written.lock().unwrap().clone()
        }
    }

    async fn serve(mut requests: Handle<Request<Body>, Response<Body>>, shared: Arc<Shared>) {
        while let Some((request, respond)) = requests.next_request().await {
            let writes = request.method() == Method::PUT;
            let body = request.into_body().collect_bytes().await.unwrap();
            let (code, answer) = if writes && shared.interrupts.swap(false, SeqCst) {
                shared.may_announce.store(false, SeqCst);
                let conflict = json!({
                    "apiVersion": "v1", "kind": "Status", "status": "Failure", "metadata": {},
                    "code": 409, "reason": "Conflict", "message": "a newer one is there",
                });
                (409, serde_json::to_vec(&conflict).unwrap())
            } else if writes {
                let claim: AddressClaim = serde_json::from_slice(&body).unwrap();
                shared.written.lock().unwrap().extend(claim.status.and_then(|status| status.epoch));
                (200, body.to_vec())
            } else {
                (200, serde_json::to_vec(&claim(None)).unwrap())
            };
            respond.send_response(Response::builder().status(code).body(Body::from(answer)).unwrap());
        }
    }

    const CLAIM: &str = "default.web.ipv4";

    fn report(grant: &str) -> Report {
        let mut status = status(ClaimState::Bound, grant);
        status.conditions = vec![conditions::condition(
            conditions::READY,
            true,
            "Announced",
            "",
            None,
            Timestamp::UNIX_EPOCH,
        )];
        let said = Said::Held(Box::new(status));
        Report { claim: CLAIM.into(), uid: Some("uid".into()), grant: grant.parse().unwrap(), said }
    }

    fn status(state: ClaimState, grant: &str) -> AddressClaimStatus {
        AddressClaimStatus { state: Some(state), epoch: Some(grant.into()), ..AddressClaimStatus::default() }
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
            serving_nodes: None,
            source_ranges: None,
            forwarding: None,
        };
        let mut claim = AddressClaim::new(CLAIM, spec);
        claim.metadata.uid = Some("uid".into());
        claim.status = status;
        claim
    }
}
