use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use foghorn_crds::{ClaimState, ForwardStatus, fixtures};
use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::json;
use tower_test::mock::{Handle, pair};

use super::*;

#[test]
fn a_report_replaces_an_older_one_and_keeps_foreign_conditions() {
    let foreign = conditions::condition("Foreign", true, "Kept", "", None, Timestamp::UNIX_EPOCH);
    let before = AddressClaimStatus { conditions: vec![foreign], ..status(ClaimState::Acquiring, "5.1.0.9") };
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
    let held = AddressClaimStatus {
        address: Some([192, 0, 2, 9].into()),
        holder: Some("w1".into()),
        lease: Some(fixtures::lease([192, 0, 2, 9])),
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
    let after = merged(claim(Some(before.clone())), &of_ports(told)).and_then(|claim| claim.status).unwrap();
    assert_eq!((after.state, &after.forwards), (before.state, &vec![forward.clone()]));
    assert!(conditions::get(&after.conditions, PORTS_FORWARDED).is_some());

    let later =
        merged(claim(Some(after.clone())), &report("5.2.0.1")).and_then(|claim| claim.status).unwrap();
    assert_eq!(later.forwards, [forward]);
    assert!(conditions::get(&later.conditions, PORTS_FORWARDED).is_some());

    let none = merged(claim(Some(after)), &of_ports(Told::default())).and_then(|claim| claim.status).unwrap();
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
    status.conditions =
        vec![conditions::condition(conditions::READY, true, "Announced", "", None, Timestamp::UNIX_EPOCH)];
    let said = Said::Held(Box::new(status));
    Report { claim: CLAIM.into(), uid: Some("uid".into()), grant: grant.parse().unwrap(), said }
}

fn status(state: ClaimState, grant: &str) -> AddressClaimStatus {
    AddressClaimStatus { state: Some(state), epoch: Some(grant.into()), ..AddressClaimStatus::default() }
}

fn claim(status: Option<AddressClaimStatus>) -> AddressClaim {
    let mut claim = fixtures::claim(CLAIM);
    claim.metadata.uid = Some("uid".into());
    claim.status = status;
    claim
}
