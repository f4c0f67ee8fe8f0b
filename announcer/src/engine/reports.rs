//! What is told of a claim, and when.

use std::time::Duration;

use foghorn_clock::Instant;
use foghorn_crds::ClaimState;

use foghorn_dhcp::Mode;

use super::{Engine, Output, Report, status::Reporter};

/// How long a change that nobody waits for may stay unreported, so that what follows it goes into the same write.
const REPORT_DELAY: Duration = Duration::from_secs(1);

impl Engine {
    /// After the client has spoken: its timer, and what there is to report.
    pub(super) fn after(&mut self, now: Instant, name: &str) {
        let claim = self.claims.get(name).cloned();
        let ending = claim.as_ref().is_some_and(|claim| claim.metadata.deletion_timestamp.is_some());
        let Some(held) = self.held.get_mut(name) else { return };
        let timeout = held.client.poll_timeout().map(|(at, _)| at);
        if held.armed != timeout {
            if let Some(armed) = held.armed.take() {
                self.timers.remove(&(armed, name.to_owned()));
            }
            self.timers.extend(timeout.map(|at| (at, name.to_owned())));
            held.armed = timeout;
        }
        let awaits = held.client.awaits().filter(|_| held.config.mode == Mode::NodeMac);
        if held.awaits != awaits {
            self.recipients.expect(name, held.awaits, awaits);
            held.awaits = awaits;
        }
        let state = held.client.state();
        if held.counted != Some(state) {
            self.metrics.moved(held.counted, Some(state));
            held.counted = Some(state);
        }
        if held.config.finds_mode
            && let Some(mode) = held.client.mode()
        {
            self.carriage.heard(mode);
        }
        if held.released && !ending {
            self.forget(name);
            self.plan(now, name);
            return;
        }
        let Some(claim) = claim else { return };
        let facts = held.facts(now, &claim.metadata);
        let said = held.report.said.as_ref();
        if said == Some(&facts) {
            return;
        }
        let news = match said {
            None => facts.address.is_some() && !matches!(facts.state, ClaimState::Rebooting),
            Some(said) => said.address != facts.address || said.reason != facts.reason,
        };
        let delay = if news || held.released { Duration::ZERO } else { REPORT_DELAY };
        self.due(name, now + delay);
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
        let (Some(epoch), Some(api_time), Some(link)) = (self.epoch, self.api_time, &self.link) else {
            return;
        };
        let Some(claim) = self.claims.get(name) else { return };
        let facts = held.facts(now, &claim.metadata);
        let Some(time) = api_time.timestamp(now) else { return };
        let reporter = Reporter {
            node: &self.node,
            interface: &link.name,
            epoch: epoch.to_string(),
            api_time,
            now: time,
        };
        let status = reporter.status(&facts, &held.config.identity, held.exchanges(), held.error(now));
        held.report.said = Some(facts);
        let report = Report { claim: name.to_owned(), uid: claim.metadata.uid.clone(), epoch, status };
        self.outputs.push_back(Output::Report(Box::new(report)));
    }
}
