//! Candidates against an API server that keeps one Lease.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test"
)]

mod api;

use std::time::{Duration, Instant as Stopwatch};

use foghorn_election::{Election, Identity, Timings};
use foghorn_shell::{
    clock::boot_time,
    elect::{Candidacy, Standing},
    lease_store::{LeaseError, LeaseStore},
};
use serde_json::json;

use api::{Api, Link};

#[tokio::test]
async fn the_only_candidate_creates_the_lease_and_keeps_it() {
    let api = Api::default();
    let candidacy = start("a", &api.link(), quick());
    let first = held(&candidacy).await;
    assert!(first.permit <= boot_time() + quick().renew_deadline());
    let mut standing = candidacy.standing();
    standing.wait_for(|standing| standing.permit > first.permit).await.unwrap();
    assert_eq!(standing.borrow().epoch, first.epoch);
    assert_eq!(api.lease()["spec"]["holderIdentity"], "a_0000000000000001");
    candidacy.leave().await.unwrap();
    assert_eq!(api.lease()["spec"]["holderIdentity"], "");
}

#[tokio::test]
async fn labels_that_others_put_on_the_lease_survive_renewals() {
    let api = Api::default();
    let candidacy = start("a", &api.link(), quick());
    let first = held(&candidacy).await;
    api.edit(|lease| lease["metadata"]["labels"] = json!({ "team": "net" }));
    let mut standing = candidacy.standing();
    let renewed = first.permit + quick().renew_deadline();
    standing.wait_for(|standing| standing.permit > renewed).await.unwrap();
    assert_eq!(standing.borrow().epoch, first.epoch);
    assert_eq!(api.lease()["metadata"]["labels"]["team"], "net");
}

#[tokio::test]
async fn a_released_lease_is_taken_without_waiting_for_its_duration() {
    let api = Api::default();
    let leaver = start("a", &api.link(), Timings::PLANE);
    let before = held(&leaver).await;
    let successor = start("b", &api.link(), Timings::PLANE);
    let beginning = Stopwatch::now();
    api.watched().await;
    leaver.leave().await.unwrap();
    let after = held(&successor).await;
    assert!(beginning.elapsed() < Duration::from_secs(3), "{:?}", beginning.elapsed());
    assert!(after.epoch > before.epoch);
}

#[tokio::test]
async fn who_is_cut_off_stops_before_another_begins() {
    let api = Api::default();
    let link = api.link();
    let cut_off = start("a", &link, quick());
    held(&cut_off).await;
    let successor = start("b", &api.link(), quick());
    link.cut();
    let after = held(&successor).await;
    let before = *cut_off.standing().borrow();
    assert!(!before.holds(boot_time()));
    assert!(after.epoch > before.epoch);
}

#[tokio::test]
async fn who_is_no_longer_eligible_gives_the_lease_up() {
    let api = Api::default();
    let candidacy = start("a", &api.link(), quick());
    held(&candidacy).await;
    candidacy.set_eligible(false);
    candidacy.standing().wait_for(|standing| !standing.holding).await.unwrap();
    while api.lease()["spec"]["holderIdentity"] != "" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_refusal_names_the_lease_and_the_missing_rights() {
    let link = Api::default().link();
    link.forbid();
    let error = LeaseStore::new(link.client(), "foghorn-red", "red").read().await.unwrap_err();
    assert!(matches!(error, LeaseError::Forbidden { .. }));
    let message = error.to_string();
    for part in ["foghorn-red/red", "get, list, watch, create and update"] {
        assert!(message.contains(part), "{message}");
    }
}

fn start(name: &str, link: &Link, timings: Timings) -> Candidacy {
    let store = LeaseStore::new(link.client(), "foghorn-red", "red");
    let candidacy = Candidacy::start(store, Election::new(&Identity::new(name, 1), timings, 1), boot_time);
    candidacy.set_eligible(true);
    candidacy
}

async fn held(candidacy: &Candidacy) -> Standing {
    *candidacy.standing().wait_for(|standing| standing.holds(boot_time())).await.unwrap()
}

fn quick() -> Timings {
    let ms = Duration::from_millis;
    Timings::new(ms(1000), ms(800), ms(200)).unwrap()
}
