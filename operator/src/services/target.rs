//! The annotation by which external-dns leads a Service's names to the gateway.
//!
//! It is ours while the record of the Service's writers (`managedFields`) says that we applied it and nobody else did: whoever
//! changes the value is the writer from then on. Neither a restart nor another leader forgets that.

use std::net::Ipv4Addr;

use foghorn_crds::contract::EXTERNAL_DNS_TARGET_ANNOTATION;
use k8s_openapi::{api::core::v1::Service, apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry};
use kube::ResourceExt;

use crate::context::MANAGER;

/// What is to become of the annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// It has this value.
    Set(String),
    /// It goes.
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

/// What has to be changed, so that names lead to `wanted`, or no longer to what we said. What somebody else has written
/// stays.
pub(crate) fn change(service: &Service, wanted: Option<Ipv4Addr>) -> Option<Change> {
    let present = service.annotations().get(EXTERNAL_DNS_TARGET_ANNOTATION);
    let Some(wanted) = wanted.map(|wanted| wanted.to_string()) else {
        return is_ours(service).then_some(Change::Remove);
    };
    match present {
        Some(present) if *present == wanted => None,
        Some(_) if !is_ours(service) || is_of_others(service) => None,
        _ => Some(Change::Set(wanted)),
    }
}

/// Whether the annotation is of our writing.
pub(crate) fn is_ours(service: &Service) -> bool {
    service.managed_fields().iter().any(|entry| is_our_entry(entry) && has_annotation(entry))
}

fn is_of_others(service: &Service) -> bool {
    service.managed_fields().iter().any(|entry| !is_our_entry(entry) && has_annotation(entry))
}

/// What we write to Services otherwise is their status and finalizers.
fn is_our_entry(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(MANAGER)
        && entry.operation.as_deref() == Some("Apply")
        && entry.subresource.as_deref().unwrap_or_default().is_empty()
}

fn has_annotation(entry: &ManagedFieldsEntry) -> bool {
    let annotations =
        entry.fields_v1.as_ref().and_then(|fields| fields.0.pointer("/f:metadata/f:annotations"));
    annotations
        .is_some_and(|annotations| annotations.get(format!("f:{EXTERNAL_DNS_TARGET_ANNOTATION}")).is_some())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldsV1;
    use serde_json::json;

    use super::{super::fixtures::*, *};

    #[test]
    fn a_service_without_the_annotation_gets_it_and_one_that_has_it_is_left_alone() {
        assert_eq!(change(&with(None, &[]), wanted()), Some(Change::Set("198.51.100.7".into())));
        assert_eq!(change(&with(Some("198.51.100.7"), &[OURS]), wanted()), None);
        assert_eq!(change(&with(Some("198.51.100.7"), &[USER]), wanted()), None);
    }

    #[test]
    fn what_we_wrote_is_changed_and_removed() {
        let ours = with(Some("198.51.100.9"), &[OURS]);
        assert_eq!(change(&ours, wanted()), Some(Change::Set("198.51.100.7".into())));
        assert_eq!(change(&ours, None), Some(Change::Remove));
        assert_eq!(change(&with(None, &[]), None), None);
    }

    #[test]
    fn what_somebody_else_wrote_is_neither_overwritten_nor_removed() {
        // As an update, on the status, or with the record of the writers wiped.
        for writers in
            [&[USER][..], &[("foghorn-operator", "Update", "")], &[(MANAGER, "Apply", "status")], &[]]
        {
            let theirs = with(Some("edge.example.com"), writers);
            assert_eq!(change(&theirs, wanted()), None, "{writers:?}");
            assert_eq!(change(&theirs, None), None, "{writers:?}");
        }
    }

    #[test]
    fn a_value_that_we_share_with_somebody_is_left_to_them() {
        let shared = with(Some("198.51.100.9"), &[OURS, USER]);
        assert_eq!(change(&shared, wanted()), None);
        // The API server keeps it, with the other one as its only writer.
        assert_eq!(change(&shared, None), Some(Change::Remove));
    }

    type Writer = (&'static str, &'static str, &'static str);

    const OURS: Writer = (MANAGER, "Apply", "");
    const USER: Writer = ("kubectl-annotate", "Update", "");

    fn wanted() -> Option<Ipv4Addr> {
        Some(ip("198.51.100.7"))
    }

    /// With this value, which these have written: manager, operation and subresource.
    fn with(value: Option<&str>, writers: &[Writer]) -> Service {
        let mut service = match value {
            Some(value) => service("web").annotated(EXTERNAL_DNS_TARGET_ANNOTATION, value).build(),
            None => service("web").build(),
        };
        let field = format!("f:{EXTERNAL_DNS_TARGET_ANNOTATION}");
        let entry = |&(manager, operation, subresource): &Writer| ManagedFieldsEntry {
            manager: Some(manager.into()),
            operation: Some(operation.into()),
            subresource: Some(subresource.to_owned()).filter(|one| !one.is_empty()),
            fields_v1: Some(FieldsV1(json!({"f:metadata": {"f:annotations": {(field.clone()): {}}}}))),
            ..ManagedFieldsEntry::default()
        };
        service.metadata.managed_fields = Some(writers.iter().map(entry).collect());
        service
    }
}
