//! Objects as far as they can be read.

use std::{borrow::Cow, fmt::Debug};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error},
};
use serde_json::Value;

/// What announcers and the owners of Services write, and newer releases write otherwise. Without it an object still
/// makes sense.
const DISPENSABLE: [&str; 4] = ["/status", "/metadata/managedFields", "/spec/renewTime", "/spec/acquireTime"];

/// An object, without what of it cannot be read if that is its status, the record of its writers or the times of a Lease.
///
/// The API server takes values that have no meaning here, such as a time in the year 10000. One of them in a list would
/// make the whole list unreadable: an announcer of one plane, or the owner of one Service, could bring the operator to a
/// stand for all.
#[derive(Clone, Debug)]
pub(crate) struct Readable<K>(pub(crate) K);

impl<'de, K: DeserializeOwned> Deserialize<'de> for Readable<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        let error = match K::deserialize(&value) {
            Ok(object) => return Ok(Self(object)),
            Err(error) => error,
        };
        for pointer in DISPENSABLE {
            if let Some(part) = value.pointer_mut(pointer) {
                *part = Value::Null;
            }
        }
        let object = K::deserialize(&value).map_err(|_| Error::custom(&error))?;
        let text = |pointer| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        tracing::warn!(
            kind = text("/kind"),
            namespace = text("/metadata/namespace"),
            name = text("/metadata/name"),
            %error,
            "what cannot be read of it counts as not said"
        );
        Ok(Self(object))
    }
}

impl<K: Resource> Resource for Readable<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

#[cfg(test)]
mod tests {
    use foghorn_crds::{AddressClaim, NetworkPlane, fixtures};
    use k8s_openapi::api::{coordination::v1::Lease, core::v1::Service};
    use kube::{ResourceExt, core::ObjectList};
    use serde_json::json;

    use super::*;

    #[test]
    fn one_unreadable_status_makes_no_list_unreadable() {
        for status in [
            json!({"address": "::ffff:203.0.113.7"}),
            json!({"conditions": [{
                "type": "Ready", "status": "True", "reason": "Announced", "message": "",
                "lastTransitionTime": "9999-12-31T23:59:59-01:00",
            }]}),
            json!({"state": "OfALaterRelease"}),
        ] {
            let list = json!({
                "apiVersion": "foghorn.dev/v1alpha1", "kind": "AddressClaimList", "metadata": {},
                "items": [claim("a", &json!({"address": "203.0.113.8"})), claim("b", &status)],
            });
            assert!(serde_json::from_value::<ObjectList<AddressClaim>>(list.clone()).is_err(), "{status}");
            let read: ObjectList<Readable<AddressClaim>> = serde_json::from_value(list).unwrap();
            let [a, b] = read.items.as_slice() else { panic!("two claims") };
            assert!(a.0.status.is_some());
            assert_eq!((b.0.name_any(), &b.0.status), ("b".to_owned(), &None));
        }
    }

    #[test]
    fn a_lease_that_was_renewed_in_the_year_10000_still_has_its_holder() {
        let lease = json!({
            "metadata": {"name": "foghorn-a"},
            "spec": {"holderIdentity": "w1", "renewTime": "10000-01-01T00:59:59.000000Z"},
        });
        assert!(Lease::deserialize(&lease).is_err());
        let lease = Readable::<Lease>::deserialize(&lease).unwrap().0.spec.unwrap();
        assert_eq!((lease.holder_identity.as_deref(), lease.renew_time), (Some("w1"), None));
    }

    #[test]
    fn a_service_whose_record_of_writers_is_odd_is_a_service() {
        let service = json!({
            "metadata": {"name": "web", "managedFields": [{"manager": "x", "time": "10000-01-01T00:59:59Z"}]},
            "spec": {"type": "LoadBalancer"},
        });
        assert!(Service::deserialize(&service).is_err());
        let service = Readable::<Service>::deserialize(&service).unwrap().0;
        assert_eq!(service.spec.unwrap().type_.as_deref(), Some("LoadBalancer"));
    }

    #[test]
    fn what_a_plane_is_to_be_is_not_guessed() {
        let plane =
            json!({"metadata": {"name": "a"}, "spec": {"loadBalancerClass": "x.dev/a", "interface": 7}});
        assert!(Readable::<NetworkPlane>::deserialize(&plane).is_err());
    }

    fn claim(name: &str, status: &Value) -> Value {
        let mut claim = json!(fixtures::claim(name));
        claim["status"] = status.clone();
        claim
    }
}
