//! The annotation by which external-dns leads a Service's names to the gateway.
//!
//! It is ours while it has the value that we wrote last, which stands beside it on the Service: so neither a restart, another
//! leader nor a restored backup makes it somebody else's. Whoever changes the value has the annotation from then on.

use std::net::Ipv4Addr;

use foghorn_crds::contract::{
    EXTERNAL_DNS_TARGET_ANNOTATION as TARGET, WRITTEN_TARGET_ANNOTATION as WRITTEN,
};
use k8s_openapi::{api::core::v1::Service, apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::context::MANAGER;

/// What is to become of the annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// It has this value.
    Set(String),
    /// What is ours of it goes.
    Remove,
}

impl Change {
    /// The value that it has then.
    pub(crate) fn value(&self) -> Option<&str> {
        match self {
            Self::Set(value) => Some(value),
            Self::Remove => None,
        }
    }
}

/// What has to be changed, so that names lead to `wanted`, or no longer to what we said. What others have written stays.
pub(crate) fn change(service: &Service, wanted: Option<Ipv4Addr>) -> Option<Change> {
    let (present, written) = values(service);
    match wanted.map(|wanted| wanted.to_string()) {
        Some(wanted) if present.is_none() || has_our_value(service) => {
            let is_said = present == Some(&wanted) && written == Some(&wanted);
            (!is_said).then_some(Change::Set(wanted))
        }
        _ => is_ours(service).then_some(Change::Remove),
    }
}

/// Whether something of it is ours to remove: the annotation, or the record of what we wrote.
pub(crate) fn is_ours(service: &Service) -> bool {
    let (_, written) = values(service);
    written.is_some() || has_our_value(service)
}

/// Where we lead the Service's names at present.
pub(crate) fn written(service: &Service) -> Option<Ipv4Addr> {
    let (present, _) = values(service);
    present.filter(|_| has_our_value(service))?.parse().ok()
}

/// The annotations to write to the Service, null to remove them, so that its names lead to `target`, or no longer to what we
/// said.
pub(crate) fn annotations(service: &Service, target: Option<&str>) -> Value {
    if target.is_none() && !has_our_value(service) {
        return json!({ WRITTEN: null });
    }
    json!({ TARGET: target, WRITTEN: target })
}

/// The annotation, and what we wrote last.
fn values(service: &Service) -> (Option<&String>, Option<&String>) {
    (service.annotations().get(TARGET), service.annotations().get(WRITTEN))
}

/// Whether the annotation has the value that we wrote last. Where none is recorded, the record of the Service's writers counts:
/// earlier releases wrote none.
fn has_our_value(service: &Service) -> bool {
    match values(service) {
        (Some(present), Some(written)) => present == written,
        (None, _) => false,
        (Some(_), None) => {
            let mut writers =
                service.managed_fields().iter().filter(|entry| has_annotation(entry)).peekable();
            writers.peek().is_some() && writers.all(is_our_entry)
        }
    }
}

fn is_our_entry(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(MANAGER)
        && entry.operation.as_deref() == Some("Apply")
        && entry.subresource.as_deref().unwrap_or_default().is_empty()
}

fn has_annotation(entry: &ManagedFieldsEntry) -> bool {
    let annotations =
        entry.fields_v1.as_ref().and_then(|fields| fields.0.pointer("/f:metadata/f:annotations"));
    annotations.is_some_and(|annotations| annotations.get(format!("f:{TARGET}")).is_some())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldsV1;

    use super::{super::fixtures::*, *};

    #[test]
    fn a_service_without_the_annotation_gets_it_and_the_record() {
        let service = with(None, None);
        assert_eq!(change(&service, wanted()), set());
        let said = json!({ TARGET: "198.51.100.7", WRITTEN: "198.51.100.7" });
        assert_eq!(annotations(&service, Some("198.51.100.7")), said);
        assert_eq!(change(&with(Some("198.51.100.7"), Some("198.51.100.7")), wanted()), None);
        assert_eq!(change(&service, None), None);
    }

    #[test]
    fn what_we_wrote_is_changed_and_removed() {
        let ours = with(Some("198.51.100.9"), Some("198.51.100.9"));
        assert_eq!(change(&ours, wanted()), set());
        assert_eq!(change(&ours, None), Some(Change::Remove));
        assert_eq!(annotations(&ours, None), json!({ TARGET: null, WRITTEN: null }));
    }

    #[test]
    fn a_restored_service_follows_as_before() {
        let mut restored = with(Some("198.51.100.9"), Some("198.51.100.9"));
        restored.metadata.managed_fields = Some(vec![entry(("kubectl-create", "Update", ""))]);
        assert_eq!(change(&restored, wanted()), set());
        assert_eq!(change(&restored, None), Some(Change::Remove));
    }

    #[test]
    fn what_others_wrote_is_neither_overwritten_nor_removed() {
        let theirs = with(Some("edge.example.com"), None);
        assert_eq!((change(&theirs, wanted()), change(&theirs, None)), (None, None));
        let equal = with(Some("198.51.100.7"), None);
        assert_eq!((change(&equal, wanted()), change(&equal, None)), (None, None));
    }

    #[test]
    fn our_record_goes_once_someone_else_has_the_annotation() {
        let taken = with(Some("edge.example.com"), Some("198.51.100.7"));
        for wanted in [wanted(), None] {
            assert_eq!(change(&taken, wanted), Some(Change::Remove));
        }
        assert_eq!(annotations(&taken, None), json!({ WRITTEN: null }));
        assert_eq!(change(&with(None, Some("198.51.100.7")), None), Some(Change::Remove));
    }

    #[test]
    fn without_a_record_the_writers_of_the_service_decide() {
        let by = |writers: &[Writer]| {
            let mut service = with(Some("198.51.100.9"), None);
            service.metadata.managed_fields = Some(writers.iter().copied().map(entry).collect());
            change(&service, wanted())
        };
        assert_eq!(by(&[(MANAGER, "Apply", "")]), set());
        let user = ("kubectl-annotate", "Update", "");
        for theirs in [&[user][..], &[(MANAGER, "Apply", ""), user], &[(MANAGER, "Apply", "status")]] {
            assert_eq!(by(theirs), None, "{theirs:?}");
        }
    }

    type Writer = (&'static str, &'static str, &'static str);

    fn wanted() -> Option<Ipv4Addr> {
        Some(ip("198.51.100.7"))
    }

    fn set() -> Option<Change> {
        Some(Change::Set("198.51.100.7".into()))
    }

    /// With this value, and this one recorded as ours.
    fn with(value: Option<&str>, written: Option<&str>) -> Service {
        let values = [(TARGET, value), (WRITTEN, written)];
        let values = values.into_iter().filter_map(|(key, value)| Some((key, value?)));
        values.fold(service("web"), |service, (key, value)| service.annotated(key, value)).build()
    }

    /// Manager, operation and subresource of one that wrote the annotation.
    fn entry((manager, operation, subresource): Writer) -> ManagedFieldsEntry {
        let field = format!("f:{TARGET}");
        ManagedFieldsEntry {
            manager: Some(manager.into()),
            operation: Some(operation.into()),
            subresource: Some(subresource.to_owned()).filter(|one| !one.is_empty()),
            fields_v1: Some(FieldsV1(json!({"f:metadata": {"f:annotations": {(field): {}}}}))),
            ..ManagedFieldsEntry::default()
        }
    }
}
