//! When someone else keeps changing what Foghorn writes to a Service: after a few rewrites it stops and says so.

use std::{collections::VecDeque, time::Duration};

use k8s_openapi::{
    api::core::v1::{Service, ServiceSpec},
    apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry,
    jiff::Timestamp,
};
use kube::ResourceExt;

use super::publish::Publication;
use crate::context::MANAGER;

/// So many rewrites within [`WINDOW`] are borne with; the next one would be a dispute.
const REWRITES: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// How long nothing is written to a disputed Service.
pub(crate) const PAUSE: Duration = Duration::from_secs(600);

/// What was written to one Service, as far as it tells a dispute.
#[derive(Debug, Default)]
pub(crate) struct Writings {
    published: Option<Publication>,
    rewrites: VecDeque<Timestamp>,
    rival: Option<String>,
    stopped: Option<Stopped>,
}

#[derive(Debug)]
struct Stopped {
    until: Timestamp,
    spec: Option<ServiceSpec>,
}

/// Whether something may be written to a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Write it.
    Write,
    /// Say that there is a dispute, by [`Writings::stopped`] too; then write nothing for [`PAUSE`].
    Stop,
    /// There is a dispute; write nothing until then.
    Stopped(Timestamp),
}

impl Writings {
    /// Whether `wanted` may be published, which `service` does not say at present.
    pub(crate) fn may_publish(&mut self, now: Timestamp, service: &Service, wanted: &Publication) -> Verdict {
        if self.published.as_ref() != Some(wanted) {
            self.stopped = None;
            return Verdict::Write;
        }
        self.may_rewrite(now, service)
    }

    /// Whether what someone took away from `service` may be put back.
    pub(crate) fn may_rewrite(&mut self, now: Timestamp, service: &Service) -> Verdict {
        self.rival = rival(service).or(self.rival.take());
        if let Some(stopped) = &self.stopped {
            if now < stopped.until && stopped.spec == service.spec {
                return Verdict::Stopped(stopped.until);
            }
            self.stopped = None;
            self.rewrites.clear();
        }
        self.rewrites.retain(|&rewrite| now.duration_since(rewrite).unsigned_abs() < WINDOW);
        if self.rewrites.len() < REWRITES { Verdict::Write } else { Verdict::Stop }
    }

    /// It was said that there is a dispute about `service`, now.
    pub(crate) fn stopped(&mut self, now: Timestamp, service: &Service) {
        self.stopped = Some(Stopped { until: now + PAUSE, spec: service.spec.clone() });
    }

    /// With whom there is a dispute about `service`, in words.
    pub(crate) fn opponent(&self, service: &Service) -> String {
        if let Some(rival) = &self.rival {
            return rival.clone();
        }
        let mut writers: Vec<_> = others(service).filter_map(|entry| entry.manager.as_deref()).collect();
        writers.sort_unstable();
        writers.dedup();
        let writers = if writers.is_empty() { "nobody".to_owned() } else { writers.join(", ") };
        format!(
            "another controller (managedFields name no writer of the status, and of other fields {writers})"
        )
    }

    /// `publication` was written, now.
    pub(crate) fn published(&mut self, now: Timestamp, publication: Publication) {
        if self.published.as_ref() == Some(&publication) {
            self.rewrote(now);
        }
        self.published = Some(publication);
    }

    /// Something was put back, now.
    pub(crate) fn rewrote(&mut self, now: Timestamp) {
        self.rewrites.push_back(now);
    }
}

/// Who else wrote to the Service's status or finalizers, by the name of the field manager; the last one if several did.
///
/// Whoever only takes something away owns no field and leaves no trace.
fn rival(service: &Service) -> Option<String> {
    let wrote = |entry: &ManagedFieldsEntry, path| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(path).is_some())
    };
    let rivals = others(service)
        .filter(|entry| wrote(entry, "/f:status") || wrote(entry, "/f:metadata/f:finalizers"))
        .max_by_key(|entry| {
            (wrote(entry, "/f:status/f:loadBalancer"), entry.time.as_ref().map(|time| time.0))
        });
    rivals.and_then(|entry| entry.manager.clone())
}

fn others(service: &Service) -> impl Iterator<Item = &ManagedFieldsEntry> {
    service.managed_fields().iter().filter(|entry| entry.manager.as_deref() != Some(MANAGER))
}

#[cfg(test)]
mod tests {
    use foghorn_crds::conditions::reasons::{ACQUIRING, NO_DHCP_ANSWER};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, Time};
    use serde_json::json;

    use super::{super::fixtures::*, *};

    #[test]
    fn five_rewrites_in_a_minute_are_borne_with_and_the_sixth_is_a_dispute() {
        let mut writings = Writings::default();
        publish(&mut writings, 0, ACQUIRING);
        for second in 1..=5 {
            assert_eq!(publish(&mut writings, second, ACQUIRING), Verdict::Write);
        }
        assert_eq!(publish(&mut writings, 6, ACQUIRING), Verdict::Stop);
        assert_eq!(publish(&mut writings, 7, ACQUIRING), Verdict::Stopped(at(606)));
    }

    #[test]
    fn rewrites_that_are_far_apart_are_no_dispute() {
        let mut writings = Writings::default();
        for second in 0..100 {
            assert_eq!(publish(&mut writings, second * 13, ACQUIRING), Verdict::Write);
        }
    }

    #[test]
    fn changes_of_our_own_are_no_dispute() {
        let mut writings = Writings::default();
        for second in 0..100 {
            let reason = if second % 2 == 0 { ACQUIRING } else { NO_DHCP_ANSWER };
            assert_eq!(publish(&mut writings, second, reason), Verdict::Write);
        }
    }

    #[test]
    fn writing_goes_on_after_ten_minutes() {
        let mut writings = disputed();
        assert_eq!(publish(&mut writings, 605, ACQUIRING), Verdict::Stopped(at(606)));
        assert_eq!(publish(&mut writings, 606, ACQUIRING), Verdict::Write);
        assert_eq!(publish(&mut writings, 607, ACQUIRING), Verdict::Write);
    }

    #[test]
    fn writing_goes_on_when_the_spec_changes() {
        let mut writings = disputed();
        let changed = service("web").load_balancer_ip("0.0.0.0").build();
        let wanted = Publication::none(ACQUIRING, "");
        assert_eq!(writings.may_publish(at(8), &changed, &wanted), Verdict::Write);
    }

    #[test]
    fn news_are_written_in_a_dispute_too() {
        let mut writings = disputed();
        assert_eq!(publish(&mut writings, 8, NO_DHCP_ANSWER), Verdict::Write);
    }

    #[test]
    fn finalizers_that_are_put_back_count_as_rewrites() {
        let mut writings = Writings::default();
        let service = service("web").build();
        for second in 0..5 {
            assert_eq!(writings.may_rewrite(at(second), &service), Verdict::Write);
            writings.rewrote(at(second));
        }
        assert_eq!(writings.may_rewrite(at(5), &service), Verdict::Stop);
        writings.stopped(at(5), &service);
        assert_eq!(writings.may_rewrite(at(6), &service), Verdict::Stopped(at(605)));
    }

    #[test]
    fn the_opponent_is_the_last_other_who_wrote_the_address() {
        let address = json!({"f:status": {"f:loadBalancer": {}}});
        let service = managed_by(vec![
            entry(MANAGER, Some("status"), 9, address.clone()),
            entry("cloud-controller", Some("status"), 5, address.clone()),
            entry("older-controller", Some("status"), 4, address),
            entry("observer", Some("status"), 7, json!({"f:status": {"f:conditions": {}}})),
            entry("kubectl", None, 8, json!({"f:spec": {}})),
        ]);
        assert_eq!(opponent_after(&[&service]), "cloud-controller");
    }

    #[test]
    fn an_opponent_who_was_seen_once_is_remembered() {
        let seen = managed_by(vec![entry("stripper", None, 3, json!({"f:metadata": {"f:finalizers": {}}}))]);
        assert_eq!(opponent_after(&[&seen, &service("web").build()]), "stripper");
    }

    #[test]
    fn an_opponent_without_a_trace_is_not_taken_for_the_author_of_the_service() {
        let service = managed_by(vec![entry("kubectl", None, 1, json!({"f:spec": {}}))]);
        let opponent = opponent_after(&[&service]);
        assert!(opponent.starts_with("another controller") && opponent.contains("kubectl"), "{opponent}");
    }

    fn opponent_after(rewritten: &[&Service]) -> String {
        let mut writings = Writings::default();
        for (service, second) in rewritten.iter().zip(0..) {
            writings.may_rewrite(at(second), service);
        }
        writings.opponent(rewritten.last().unwrap())
    }

    fn managed_by(entries: Vec<ManagedFieldsEntry>) -> Service {
        let mut service = service("web").build();
        service.metadata.managed_fields = Some(entries);
        service
    }

    fn disputed() -> Writings {
        let mut writings = Writings::default();
        for second in 0..=6 {
            publish(&mut writings, second, ACQUIRING);
        }
        writings
    }

    fn publish(writings: &mut Writings, second: i64, reason: &str) -> Verdict {
        let wanted = Publication::none(reason, "");
        let verdict = writings.may_publish(at(second), &service("web").build(), &wanted);
        match verdict {
            Verdict::Write => writings.published(at(second), wanted),
            Verdict::Stop => writings.stopped(at(second), &service("web").build()),
            Verdict::Stopped(_) => {}
        }
        verdict
    }

    fn entry(
        manager: &str,
        subresource: Option<&str>,
        second: i64,
        fields: serde_json::Value,
    ) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.into()),
            subresource: subresource.map(Into::into),
            time: Some(Time(at(second))),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        }
    }
}
