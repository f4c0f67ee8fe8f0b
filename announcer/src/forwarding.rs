//! Ports of Services on the network's gateway.
//!
//! What claims want is made into what the machine is told ([`wanted`]), a task asks the gateway what the machine wants to know
//! ([`asking`]), and what came of it goes into the claims' status ([`status`]).

pub mod asking;
mod metrics;
pub mod status;
pub mod wanted;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use foghorn_clock::Instant;
use foghorn_crds::{AddressClaim, PlaneConfig};
use foghorn_portmap as portmap;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};

pub use self::metrics::ForwardingMetrics;
use crate::report::Permit;

/// A claim that ends waits so long for the gateway.
const ENDING: Duration = Duration::from_secs(5);
/// Reports that wait to be taken; the task waits then.
const WAITING: usize = 256;

/// The forwarding of ports, as the main loop sees it.
#[derive(Debug)]
pub struct Forwarding {
    wanted: watch::Sender<Wanted>,
    reports: mpsc::Receiver<(Arc<str>, portmap::Report)>,
    metrics: ForwardingMetrics,
    /// Of claims of this node: the last report.
    told: BTreeMap<Arc<str>, portmap::Report>,
    /// Claims that are being deleted, and until when they wait.
    ending: BTreeMap<String, Instant>,
}

/// What is to be forwarded, by whom, and on which interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The plane's interface; nothing is asked while there is none.
    pub interface: Option<String>,
    /// What the machine is told.
    pub config: Option<portmap::Config>,
    /// The gateway.
    pub gateway: Option<std::net::Ipv4Addr>,
    /// By the claims' names.
    pub claims: BTreeMap<Arc<str>, portmap::Wanted>,
    /// What is known of all claims of the plane.
    pub plane: portmap::Plane,
}

impl Forwarding {
    /// Asks gateways from a task that ends with this, for claims as long as `permit` lets this node announce them.
    #[must_use]
    pub fn start(permit: Permit, rng: StdRng, metrics: ForwardingMetrics) -> Self {
        let (wanted, to_ask) = watch::channel(Wanted::default());
        let (sender, reports) = mpsc::channel(WAITING);
        tokio::spawn(asking::ask(to_ask, sender, permit, rng, metrics.clone()));
        Self { wanted, reports, metrics, told: BTreeMap::new(), ending: BTreeMap::new() }
    }

    /// That is to be forwarded from now on.
    pub fn want(&mut self, wanted: Wanted) {
        self.told.retain(|claim, _| wanted.claims.contains_key(claim));
        self.metrics.stand(&self.told);
        self.wanted.send_if_modified(|told| {
            let changed = *told != wanted;
            *told = wanted;
            changed
        });
    }

    /// Waits for what came of a claim's ports. Nothing is lost if the wait is given up.
    pub async fn reported(&mut self) -> Option<(Arc<str>, portmap::Report)> {
        let (claim, report) = self.reports.recv().await?;
        self.told.insert(claim.clone(), report.clone());
        Some((claim, report))
    }

    /// Whether a claim of this node that is being deleted is to keep its address for now: the gateway is asked to forward nothing
    /// to it any more.
    pub fn holds_back(&mut self, now: Instant, claim: &AddressClaim) -> bool {
        let Some(name) = claim.metadata.name.as_deref() else { return false };
        let forwarded = claim.status.as_ref().is_some_and(|status| !status.forwards.is_empty());
        let told = self.told.get(name).is_some_and(|report| !report.ports.is_empty());
        if !(forwarded || told) {
            return false;
        }
        let until = *self.ending.entry(name.to_owned()).or_insert(now + ENDING);
        now < until
    }

    /// Claims that have waited long enough, or that the gateway forwards nothing to any more.
    pub fn ended(&mut self, now: Instant) -> BTreeSet<String> {
        let gone = |name: &str| self.told.get(name).is_some_and(|report| report.gone);
        let ended: BTreeSet<_> = self
            .ending
            .iter()
            .filter(|(name, until)| **until <= now || gone(name))
            .map(|(name, _)| name.clone())
            .collect();
        self.ending.retain(|name, _| !ended.contains(name));
        ended
    }

    /// Whether claims wait for the gateway.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        !self.ending.is_empty()
    }
}

/// Whether anything of the claim is, or is to be, at the gateway.
#[must_use]
pub fn concerns(claim: &AddressClaim) -> bool {
    let wants = claim.spec.forwarding.as_ref().is_some_and(|forwarding| !forwarding.ports.is_empty());
    wants || claim.status.as_ref().is_some_and(|status| !status.forwards.is_empty())
}

/// Whether the plane forwards ports, or has done so.
#[must_use]
pub fn is_wanted(config: &PlaneConfig, claims: &BTreeMap<String, Arc<AddressClaim>>) -> bool {
    config.port_forwarding.is_some() || claims.values().any(|claim| concerns(claim))
}

#[cfg(test)]
mod tests {
    use foghorn_crds::fixtures;
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_claim_that_is_deleted_waits_until_the_gateway_has_let_it_go_and_no_longer_than_five_seconds() {
        let mut forwarding = forwarding();
        let claim = claim(json!([{"protocol": "TCP", "port": 80, "externalPort": 8080}]));
        assert!(forwarding.holds_back(at(10), &claim) && forwarding.is_ending());
        assert_eq!(forwarding.ended(at(14)), BTreeSet::new());
        assert!(forwarding.holds_back(at(14), &claim), "the time goes on from the first word");
        assert_eq!(forwarding.ended(at(15)), BTreeSet::from(["web".to_owned()]));

        assert!(forwarding.holds_back(at(20), &claim));
        forwarding.told.insert("web".into(), portmap::Report { gone: true, ..portmap::Report::default() });
        assert_eq!(forwarding.ended(at(20)), BTreeSet::from(["web".to_owned()]));
        assert!(!forwarding.is_ending());
    }

    #[test]
    fn a_claim_of_which_the_gateway_has_nothing_does_not_wait() {
        assert!(!forwarding().holds_back(at(10), &claim(json!([]))));
    }

    fn forwarding() -> Forwarding {
        let (_, reports) = mpsc::channel(1);
        Forwarding {
            wanted: watch::channel(Wanted::default()).0,
            reports,
            metrics: ForwardingMetrics::default(),
            told: BTreeMap::new(),
            ending: BTreeMap::new(),
        }
    }

    fn claim(forwards: Value) -> AddressClaim {
        let status = serde_json::from_value(json!({ "forwards": forwards })).unwrap();
        let mut claim = AddressClaim { status: Some(status), ..fixtures::claim("web") };
        claim.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        claim
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(seconds))
    }
}
