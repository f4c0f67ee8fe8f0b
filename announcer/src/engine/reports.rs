//! What is told of a claim, and when.

use std::time::Duration;

use foghorn_clock::Instant;
use foghorn_crds::{ClaimState, IdentityMode};
use foghorn_dhcp::{Mode, State};
use k8s_openapi::jiff::Timestamp;

use super::{
    Engine, Output,
    held::{Counted, Held},
    status::Reporter,
};
use crate::report::{Report, Said};

/// How long a change that nobody waits for may stay unreported, so that what follows it goes into the same write.
const REPORT_DELAY: Duration = Duration::from_secs(1);

impl Engine {
    /// After the client has spoken: the claim's timer, and what there is to report.
    pub(super) fn after(&mut self, now: Instant, name: &str) {
        let claim = self.claims.get(name).cloned();
        let ending = claim.as_ref().is_some_and(|claim| claim.metadata.deletion_timestamp.is_some());
        let Some(held) = self.held.get_mut(name) else { return };
        let retry = held.fault.as_ref().map(|fault| fault.until).filter(|until| *until < Instant::NEVER);
        let timeout =
            held.client.poll_timeout().map(|(at, _)| at).into_iter().chain(retry).chain(held.yields).min();
        if held.armed != timeout {
            if let Some(armed) = held.armed.take() {
                self.timers.remove(&(armed, name.to_owned()));
            }
            self.timers.extend(timeout.map(|at| (at, name.to_owned())));
            held.armed = timeout;
        }
        let awaits = held.client.awaits().filter(|_| held.client.config().mode == Mode::NodeMac);
        if held.awaits != awaits {
            self.recipients.expect(name, held.awaits, awaits);
            held.awaits = awaits;
        }
        let counted = Counted {
            state: Some(held.client.state()),
            reason: Some(held.reason(now)),
            expiry: held.client.lease().map(|lease| lease.expires_at).filter(|at| *at < Instant::NEVER),
            ignored: held.client.counters().ignored,
        };
        let before = std::mem::replace(&mut held.counted, counted.clone());
        self.count(name, &before, &counted);
        let Some(held) = self.held.get_mut(name) else { return };
        let mode = held.client.mode();
        if let Some(mode) = mode.filter(|_| held.client.config().finds_mode) {
            self.carriage.heard(name, mode);
        }
        held.limited = held.asked == IdentityMode::Auto && self.carriage.is_limited(mode);
        if held.released && !ending {
            self.forget(name);
            self.plan(now, name);
            return;
        }
        let Some(claim) = claim else { return };
        let facts = held.facts(now, &claim.metadata);
        let said = held.report.said.as_ref();
        let waits = held.queued && !held.releasing && said.is_none();
        if waits || said == Some(&facts) {
            return;
        }
        let news = match said {
            None => facts.address.is_some() && !matches!(facts.state, ClaimState::Rebooting),
            Some(said) if (said.address, said.announced) != (facts.address, facts.announced) => true,
            // A server has answered: what comes of that is soon there to be told in its place.
            Some(_) if matches!(held.client.state(), State::Requesting | State::Checking) => false,
            Some(said) => said.reason != facts.reason,
        };
        let delay = if news || held.released { Duration::ZERO } else { REPORT_DELAY };
        let not_before = if held.released { now } else { held.report.not_before };
        self.due(name, not_before.max(now + delay));
    }

    /// Moves a claim in the metrics from how it was counted to how it is to be counted.
    fn count(&mut self, name: &str, before: &Counted, after: &Counted) {
        if before.state != after.state {
            self.metrics.moved(before.state, after.state);
        }
        if before.reason != after.reason {
            self.metrics.told(before.reason, after.reason);
        }
        if before.expiry != after.expiry {
            self.expiries.extend(after.expiry.map(|at| (at, name.to_owned())));
            if let Some(at) = before.expiry {
                self.expiries.remove(&(at, name.to_owned()));
            }
            let next = self.expiries.first().zip(self.api_time);
            let next = next.and_then(|((at, _), api_time)| api_time.timestamp(*at));
            self.metrics.next_expiry(next.map(Timestamp::as_second));
        }
        for _ in before.ignored..after.ignored {
            self.metrics.dropped("ignored");
        }
    }

    /// Takes a claim out of the metrics that this node no longer has in hand.
    pub(super) fn uncount(&mut self, name: &str, held: &Held) {
        let gone = Counted { ignored: held.counted.ignored, ..Counted::default() };
        self.count(name, &held.counted, &gone);
    }

    /// A report is due at that time, or earlier if it already was.
    pub(super) fn due(&mut self, name: &str, at: Instant) {
        let Some(held) = self.held.get_mut(name) else { return };
        if let Some(due) = held.report.due {
            if due <= at {
                return;
            }
            self.reports.remove(&(due, name.to_owned()));
        }
        held.report.due = Some(at);
        self.reports.insert((at, name.to_owned()));
    }

    pub(super) fn report(&mut self, now: Instant, name: &str) {
        let Some(held) = self.held.get_mut(name) else { return };
        held.report.due = None;
        let grant = self.grants.get(name).copied();
        let (Some(grant), Some(api_time)) = (grant, self.api_time) else { return };
        let (Some(link), Some(config)) = (&self.link, &self.config) else { return };
        let Some(claim) = self.claims.get(name) else { return };
        let facts = held.facts(now, &claim.metadata);
        let Some(time) = api_time.timestamp(now) else { return };
        let reporter = Reporter {
            node: &self.node,
            interface: &link.name,
            hardware_address: link.mac,
            seed: &config.dhcp.identity_seed,
            grant,
            api_time,
            now: time,
        };
        let identity = &held.client.config().identity;
        let serving = claim.spec.serving_nodes.as_deref().unwrap_or_default();
        let status = reporter.status(&facts, identity, held.exchanges(), held.error(now), serving);
        held.report.said = Some(facts);
        let said = Said::Held(Box::new(status));
        let report = Report { claim: name.to_owned(), uid: claim.metadata.uid.clone(), grant, said };
        self.outputs.push_back(Output::Report(Box::new(report)));
    }
}
