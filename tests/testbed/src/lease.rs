//! The Lease of a plane: which node coordinates it, and in which view.

use foghorn_lab::{Error, Lab, Result, foghorn::namespace};
use serde_json::Value;

/// What the Lease of a plane says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// `metadata.name`.
    name: String,
    /// `spec.holderIdentity`; empty while there is none.
    holder: String,
    /// `spec.leaseTransitions`.
    pub transitions: i64,
    /// The view: epoch, coordinator and members as JSON, the same text as long as it is the same view.
    pub view: String,
}

impl Lease {
    /// The Lease of the plane of that name.
    ///
    /// # Errors
    /// If there is none.
    pub fn of(lab: &Lab, plane: &str) -> Result<Self> {
        let name = namespace(plane);
        let lease = lab.kubectl_json(&["-n", &name, "get", "lease", &name])?;
        Ok(Self::read(name, &lease))
    }

    fn read(name: String, lease: &Value) -> Self {
        let text = |at: &str| lease.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            name,
            holder: text("/spec/holderIdentity"),
            transitions: lease.pointer("/spec/leaseTransitions").and_then(Value::as_i64).unwrap_or_default(),
            view: text("/metadata/annotations/foghorn.dev~1view"),
        }
    }

    /// The node that coordinates the plane.
    ///
    /// # Errors
    /// If no node holds the Lease.
    pub fn coordinator(&self) -> Result<&str> {
        let Self { name, holder, .. } = self;
        let (node, _) = holder.rsplit_once('_').ok_or_else(|| {
            Error::Config(format!("no node holds the Lease {name}: its holder is {holder:?}"))
        })?;
        Ok(node)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_holder_of_the_lease_is_the_coordinator_and_its_annotation_the_view() {
        let lease = lease(&json!({
            "metadata": {"annotations": {"foghorn.dev/view": "{\"epoch\":3}"}},
            "spec": {"holderIdentity": "w1_with_more_1c5e", "leaseTransitions": 3},
        }));
        assert_eq!(lease.coordinator().unwrap(), "w1_with_more");
        assert_eq!((lease.transitions, lease.view.as_str()), (3, "{\"epoch\":3}"));
    }

    #[test]
    fn a_lease_that_no_node_holds_has_no_coordinator() {
        let error = lease(&json!({"spec": {"holderIdentity": ""}})).coordinator().unwrap_err();
        assert!(error.to_string().contains("foghorn-public"), "{error}");
    }

    fn lease(object: &Value) -> Lease {
        Lease::read("foghorn-public".to_owned(), object)
    }
}
