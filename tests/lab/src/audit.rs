//! What was written to the API server, as its audit log tells: Leases, and the claims of Foghorn.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    command::read,
    error::{Error, Result},
    host::Host,
    lab::Lab,
    topology::CONTROL_PLANE,
};

/// The API server's audit policy.
pub(crate) const POLICY: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Request
  verbs: [create, update, patch, delete]
  resources: [{group: coordination.k8s.io, resources: [leases]}]
- level: Metadata
  verbs: [create, update, patch, delete]
  resources: [{group: foghorn.dev, resources: [addressclaims, addressclaims/status]}]
- level: None
"#;

/// A write that the API server has done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiWrite {
    /// When it was done.
    pub at: Timestamp,
    /// Of which resource, e.g. `leases` or `addressclaims/status`.
    pub resource: String,
    /// The object's name.
    pub name: String,
    /// The `spec.leaseTransitions` that a Lease was given: with a renewal it stays as it is.
    pub transitions: Option<i64>,
}

impl Lab {
    /// The writes of Leases and claims in a namespace since then, in order. Those that were refused are none.
    ///
    /// # Errors
    /// If the audit log cannot be read.
    pub fn api_writes(&self, namespace: &str, since: Timestamp) -> Result<Vec<ApiWrite>> {
        let file = log_file(&self.named(CONTROL_PLANE));
        let text = read(&file)?;
        let mut writes = Vec::new();
        // Most lines are of others, and long.
        for line in text.lines().filter(|line| line.contains(namespace)) {
            let event: Value = serde_json::from_str(line).map_err(|error| Error::Malformed {
                what: file.display().to_string(),
                why: error.to_string(),
            })?;
            writes.extend(write(&event, namespace).filter(|write| write.at >= since));
        }
        Ok(writes)
    }
}

/// Where the API server of that host writes to. (`*.log` are the logs of daemons.)
pub(crate) fn log_file(host: &Host) -> PathBuf {
    host.dir().join("audit.jsonl")
}

/// The write that an event of the audit log is about.
fn write(event: &Value, namespace: &str) -> Option<ApiWrite> {
    let object = event.get("objectRef")?;
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    let done = event.pointer("/responseStatus/code")?.as_u64()? < 300;
    let resource = match text("subresource") {
        Some(part) => format!("{}/{part}", text("resource")?),
        None => text("resource")?.to_owned(),
    };
    (done && text("namespace") == Some(namespace)).then_some(ApiWrite {
        at: event.get("stageTimestamp")?.as_str()?.parse().ok()?,
        resource,
        name: text("name").unwrap_or_default().to_owned(),
        transitions: event.pointer("/requestObject/spec/leaseTransitions").and_then(Value::as_i64),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_write_is_known_by_its_resource_and_when_it_was_done() {
        let event = event(200, json!("status"));
        let expected = ApiWrite {
            at: Timestamp::from_microsecond(1_795_262_400_250_000).unwrap(),
            resource: "addressclaims/status".to_owned(),
            name: "web".to_owned(),
            transitions: Some(3),
        };
        assert_eq!(write(&event, "foghorn-a"), Some(expected));
    }

    #[test]
    fn a_write_that_was_refused_and_one_in_another_namespace_are_none() {
        assert_eq!(write(&event(409, Value::Null), "foghorn-a"), None);
        assert_eq!(write(&event(200, Value::Null), "foghorn"), None);
    }

    fn event(code: u16, subresource: Value) -> Value {
        json!({
            "stage": "ResponseComplete", "stageTimestamp": "2026-11-21T12:00:00.250000Z",
            "objectRef": {
                "resource": "addressclaims", "namespace": "foghorn-a", "name": "web", "subresource": subresource,
            },
            "responseStatus": {"code": code}, "requestObject": {"spec": {"leaseTransitions": 3}},
        })
    }
}
