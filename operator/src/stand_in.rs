//! What takes the place of a plane or a claim that cannot be read as a whole, and was not read before.
//!
//! If it were left out, it would count as deleted: Services would lose their addresses, other planes would take its class
//! and its ports. Nobody acts on what is missing of it: see [`Watched::fault`](crate::watched::Watched::fault).

use foghorn_crds::{AddressClaim, NetworkPlane};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Makes an object of one that cannot be read, if enough of it can be.
pub(crate) type StandIn<K> = fn(&Value) -> Option<K>;

/// The plane without the fields of its spec that cannot be read.
pub(crate) fn plane(value: &Value) -> Option<NetworkPlane> {
    let spec = json!({"loadBalancerClass": value.pointer("/spec/loadBalancerClass")?, "interface": {}});
    grown(value, spec)
}

/// The claim without the fields of its spec that cannot be read.
pub(crate) fn claim(value: &Value) -> Option<AddressClaim> {
    let required = ["plane", "serviceRef", "family", "source"];
    let given = value.get("spec")?;
    let spec = required.iter().map(|&key| Some((key.to_owned(), given.get(key)?.clone())));
    grown(value, Value::from(spec.collect::<Option<Map<_, _>>>()?))
}

/// No stand-in: the object is left out.
pub(crate) fn none<K>(_: &Value) -> Option<K> {
    None
}

/// The object with `spec`, and with all that its own spec has besides and that can be read.
fn grown<K: DeserializeOwned>(value: &Value, spec: Value) -> Option<K> {
    let mut kept = value.clone();
    *kept.get_mut("spec")? = spec;
    K::deserialize(&kept).ok()?;
    grow::<K>(&mut kept, "/spec", value.get("spec")?);
    K::deserialize(kept).ok()
}

/// Adds to the object at `pointer` in `kept` what can be read of `given`.
fn grow<K: DeserializeOwned>(kept: &mut Value, pointer: &str, given: &Value) {
    for (key, part) in given.as_object().into_iter().flatten() {
        let pointer = format!("{pointer}/{key}");
        if put::<K>(kept, &pointer, part) {
            continue;
        }
        let is_there = kept.pointer(&pointer).is_some_and(Value::is_object);
        if part.is_object() && (is_there || put::<K>(kept, &pointer, &json!({}))) {
            grow::<K>(kept, &pointer, part);
        }
    }
}

/// Puts `part` at `pointer`, unless the object could not be read then.
fn put<K: DeserializeOwned>(kept: &mut Value, pointer: &str, part: &Value) -> bool {
    let mut trial = kept.clone();
    let place = pointer.rsplit_once('/').and_then(|(parent, key)| Some((trial.pointer_mut(parent)?, key)));
    let Some((Value::Object(parent), key)) = place else { return false };
    parent.insert(key.to_owned(), part.clone());
    let is_readable = K::deserialize(&trial).is_ok();
    if is_readable {
        *kept = trial;
    }
    is_readable
}

#[cfg(test)]
mod tests {
    use foghorn_crds::{ReturnPathMode, fixtures};

    use super::*;

    #[test]
    fn a_plane_stands_in_with_all_that_can_be_read() {
        let mut value = json!(fixtures::plane("blue", "x.dev/blue"));
        value["spec"]["interface"] = json!({"canReach": "192.168.001.001"});
        value["spec"]["returnPath"] = json!({"mode": "Auto", "gateway": "192.168.001.001"});
        value["spec"]["limits"] = json!({"addresses": 5_000_000_000_u64, "addressesPerNamespace": 7});
        let plane = plane(&value).unwrap();
        assert_eq!(plane.spec.load_balancer_class, "x.dev/blue");
        assert_eq!(plane.spec.interface.can_reach, None);
        assert_eq!(
            (plane.spec.return_path.mode, plane.spec.return_path.gateway),
            (ReturnPathMode::Auto, None)
        );
        assert_eq!((plane.spec.limits.addresses, plane.spec.limits.addresses_per_namespace), (None, Some(7)));
    }

    #[test]
    fn a_claim_stands_in_without_the_address_that_cannot_be_read() {
        let mut value = json!(fixtures::claim("web"));
        value["spec"]["dhcp"]["requestedAddress"] = json!("203.0.113.007");
        assert_eq!(claim(&value).unwrap().spec, fixtures::claim("web").spec);
    }

    #[test]
    fn an_object_without_its_required_fields_has_no_stand_in() {
        assert!(plane(&json!({"metadata": {"name": "a"}, "spec": {"interface": {}}})).is_none());
        assert!(claim(&json!({"metadata": {"name": "a"}, "spec": {"plane": 7}})).is_none());
        assert!(claim(&json!({"metadata": {"name": "a"}})).is_none());
    }
}
