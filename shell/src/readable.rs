//! Objects as far as they can be read.
//!
//! The API server takes values that have no meaning here, such as a time in the year 10000. One object with such a value
//! must not make a whole list unreadable: whoever may write one object could bring everything to a stand.

use std::{borrow::Cow, fmt::Debug};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

/// What announcers and the owners of Services write, and newer releases write otherwise. Without it an object still
/// makes sense.
const DISPENSABLE: [&str; 4] = ["/status", "/metadata/managedFields", "/spec/renewTime", "/spec/acquireTime"];

/// One object of a list or a watch. Decoding never fails, so that others are read though this one cannot be.
#[derive(Clone, Debug)]
pub enum Readable<K> {
    /// The object, without its status, the record of its writers or the times of a Lease if these cannot be read.
    Object(K),
    /// The rest of it cannot be read either.
    Unreadable(Box<Unreadable>),
}

/// An object that cannot be read.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// As far as it can be read.
    pub metadata: ObjectMeta,
    /// All of it.
    pub value: Value,
    /// Why it cannot be read.
    pub error: String,
    /// Whether `metadata` has all but the record of writers.
    is_identified: bool,
}

impl<K: Resource<DynamicType = ()> + Clone> Readable<K> {
    /// The object. One that cannot be read is left out, and the log names it.
    #[must_use]
    pub fn object(self) -> Option<K> {
        match self {
            Self::Object(object) => Some(object),
            Self::Unreadable(unreadable) => {
                unreadable.log::<K>("left out: correct it");
                None
            }
        }
    }

    /// The object. Of one that cannot be read, what was known of it before, with its present metadata: it keeps its
    /// effect, and its deletion is seen.
    ///
    /// # Errors
    /// [`Unreadable`] if the object was not known before.
    pub fn or_former(self, former: Option<&K>) -> Result<K, Box<Unreadable>> {
        let unreadable = match self {
            Self::Object(object) => return Ok(object),
            Self::Unreadable(unreadable) => unreadable,
        };
        let same = |former: &&K| former.meta().uid == unreadable.metadata.uid;
        match former.filter(same) {
            Some(former) => Ok(unreadable.as_present(former.clone())),
            None => Err(unreadable),
        }
    }
}

impl Unreadable {
    /// `object` with the present metadata of this one.
    pub fn as_present<K: Resource>(&self, mut object: K) -> K {
        if self.is_identified {
            *object.meta_mut() = self.metadata.clone();
        }
        object
    }

    /// Writes to the log why the object cannot be read, and what becomes of it.
    pub fn log<K: Resource<DynamicType = ()>>(&self, outcome: &str) {
        let ObjectMeta { namespace, name, .. } = &self.metadata;
        let (namespace, name) =
            (namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default());
        tracing::warn!(kind = %K::kind(&()), namespace, name, error = self.error, "object cannot be read: {outcome}");
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Readable<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let error = match K::deserialize(&value) {
            Ok(object) => return Ok(Self::Object(object)),
            Err(error) => error,
        };
        let mut essential = value.clone();
        for pointer in DISPENSABLE {
            if let Some(part) = essential.pointer_mut(pointer) {
                *part = Value::Null;
            }
        }
        let text = |pointer| value.pointer(pointer).and_then(Value::as_str);
        if let Ok(object) = K::deserialize(&essential) {
            tracing::warn!(
                kind = text("/kind"),
                namespace = text("/metadata/namespace"),
                name = text("/metadata/name"),
                %error,
                "unreadable status, times or record of writers are ignored"
            );
            return Ok(Self::Object(object));
        }
        let whole = essential.get("metadata").and_then(|metadata| ObjectMeta::deserialize(metadata).ok());
        let is_identified = whole.is_some();
        let metadata = whole.unwrap_or_else(|| {
            let owned = |pointer| text(pointer).map(str::to_owned);
            ObjectMeta {
                namespace: owned("/metadata/namespace"),
                name: owned("/metadata/name"),
                uid: owned("/metadata/uid"),
                resource_version: owned("/metadata/resourceVersion"),
                ..ObjectMeta::default()
            }
        });
        Ok(Self::Unreadable(Box::new(Unreadable {
            metadata,
            value: essential,
            error: error.to_string(),
            is_identified,
        })))
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
        match self {
            Self::Object(object) => object.meta(),
            Self::Unreadable(unreadable) => &unreadable.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Object(object) => object.meta_mut(),
            Self::Unreadable(unreadable) => &mut unreadable.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{
        coordination::v1::Lease,
        core::v1::{ConfigMap, Service},
    };
    use kube::{ResourceExt, core::ObjectList};
    use serde_json::json;

    use super::*;

    #[test]
    fn one_unreadable_object_leaves_the_others_readable() {
        let list = json!({
            "apiVersion": "v1", "kind": "ServiceList", "metadata": {},
            "items": [service("a", &json!("LoadBalancer")), service("b", &json!(7))],
        });
        assert!(serde_json::from_value::<ObjectList<Service>>(list.clone()).is_err());
        let read: ObjectList<Readable<Service>> = serde_json::from_value(list).unwrap();
        let names: Vec<_> = read.items.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, ["a", "b"]);
        let objects: Vec<_> = read.items.into_iter().filter_map(Readable::object).collect();
        assert_eq!(objects.len(), 1);
    }

    #[test]
    fn a_watched_object_that_cannot_be_read_is_named() {
        let event = json!({"type": "MODIFIED", "object": service("b", &json!(7))});
        let event: kube::api::WatchEvent<Readable<Service>> = serde_json::from_value(event).unwrap();
        let kube::api::WatchEvent::Modified(Readable::Unreadable(unreadable)) = event else {
            panic!("{event:?}")
        };
        assert_eq!(unreadable.metadata.name.as_deref(), Some("b"));
        assert!(unreadable.error.contains("7"), "{}", unreadable.error);
    }

    #[test]
    fn a_known_object_that_became_unreadable_keeps_its_content() {
        let former = service_object("b");
        let mut present = service("b", &json!(7));
        present["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let kept = read::<Service>(&present).or_former(Some(&former)).unwrap();
        assert_eq!(kept.spec, former.spec);
        assert!(kept.metadata.deletion_timestamp.is_some());
    }

    #[test]
    fn an_object_made_anew_under_the_name_is_another_one() {
        let mut present = service("b", &json!(7));
        present["metadata"]["uid"] = json!("another");
        assert!(read::<Service>(&present).or_former(Some(&service_object("b"))).is_err());
        assert!(read::<Service>(&present).or_former(None).is_err());
    }

    #[test]
    fn an_object_with_odd_metadata_still_has_a_name() {
        let map =
            json!({"metadata": {"name": "m", "uid": "u", "creationTimestamp": "10000-01-01T00:00:00Z"}});
        let Readable::Unreadable(unreadable) = read::<ConfigMap>(&map) else { panic!("it is unreadable") };
        assert_eq!(unreadable.metadata.name.as_deref(), Some("m"));
        let mut former = ConfigMap::default();
        former.metadata.uid = Some("u".into());
        former.finalizers_mut().push("x.dev/mine".into());
        assert_eq!(
            unreadable.as_present(former.clone()),
            former,
            "finalizers that were not read are not lost"
        );
    }

    #[test]
    fn a_lease_that_was_renewed_in_the_year_10000_still_has_its_holder() {
        let lease = json!({
            "metadata": {"name": "foghorn-a"},
            "spec": {"holderIdentity": "w1", "renewTime": "10000-01-01T00:59:59.000000Z"},
        });
        assert!(Lease::deserialize(&lease).is_err());
        let lease = read::<Lease>(&lease).object().unwrap().spec.unwrap();
        assert_eq!((lease.holder_identity.as_deref(), lease.renew_time), (Some("w1"), None));
    }

    #[test]
    fn a_service_whose_record_of_writers_is_odd_is_a_service() {
        let mut odd = service("web", &json!("LoadBalancer"));
        odd["metadata"]["managedFields"] = json!([{"manager": "x", "time": "10000-01-01T00:59:59Z"}]);
        assert!(Service::deserialize(&odd).is_err());
        let service = read::<Service>(&odd).object().unwrap();
        assert_eq!(service.spec.unwrap().type_.as_deref(), Some("LoadBalancer"));
    }

    fn read<K: DeserializeOwned>(value: &Value) -> Readable<K> {
        Readable::deserialize(value).unwrap()
    }

    fn service(name: &str, type_: &Value) -> Value {
        json!({"metadata": {"name": name, "uid": format!("uid-{name}")}, "spec": {"type": type_}})
    }

    fn service_object(name: &str) -> Service {
        Service::deserialize(service(name, &json!("LoadBalancer"))).unwrap()
    }
}
