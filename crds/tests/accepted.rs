//! What the API server accepts, these types read: otherwise an object would be left out.
//!
//! For each field of the schemas, values that the API server takes are tried one by one in an object that is valid without
//! them. Rules in CEL are left out of account, so more is tried than the API server takes.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may fail"
)]

use foghorn_crds::{AddressClaim, NetworkPlane, definitions};
use kube::ResourceExt;
use regex::Regex;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Texts of which at least one must fit each pattern and each length. Those of the formats are taken by Kubernetes.
const TEXTS: [&str; 14] = [
    "a",
    "x.dev/a",
    "",
    "eth1",
    "0a0b",
    "02:00:5e:10:00:01",
    "443",
    "99999-0",
    "{service}",
    "203.0.113.0/24",
    "999.999.999.999/99",
    "0.0.0.0/0",
    "1",
    "-",
];
/// The format `ipv4`: validated by Go's parser, leading zeros tolerated, with a dot somewhere.
const ADDRESSES: [&str; 6] =
    ["203.0.113.7", "0.0.0.0", "255.255.255.255", "192.168.001.001", "010.0.0.1", "::ffff:203.0.113.7"];
/// The format `date-time`: a date, a `t`, a time, any separator, digits, and any offset of the form.
const TIMES: [&str; 12] = [
    "2026-01-01T00:00:00Z",
    "2026-01-01t00:00:00z",
    "2026-01-01T00:00:00.123456Z",
    "2026-01-01T00:00:00.1234567890123Z",
    "2026-01-01T00:00:00x5Z",
    "2026-01-01T00:00:00,5Z",
    "2026-01-01T00:00:00+99:99",
    "2024-02-29T23:59:59-23:59",
    "0000-01-01T00:00:00+23:59",
    "9998-12-31T23:59:59-23:59",
    "9999-12-31T23:59:59-01:00",
    "9999-12-31T23:59:59Z",
];
const INTEGERS: [i128; 14] = [
    0,
    1,
    -1,
    100,
    120,
    500,
    255,
    256,
    65_536,
    1 << 32,
    i64::MAX as i128,
    i64::MIN as i128,
    u64::MAX as i128,
    604_800,
];

#[test]
fn every_plane_that_the_api_server_accepts_is_read() {
    try_all::<NetworkPlane>("networkplanes.foghorn.dev");
}

#[test]
fn every_claim_that_the_api_server_accepts_is_read() {
    try_all::<AddressClaim>("addressclaims.foghorn.dev");
}

fn try_all<K: DeserializeOwned>(name: &str) {
    let definition = definitions().into_iter().find(|it| it.name_any() == name).unwrap();
    let schema = json!(definition.spec.versions[0].schema)["openAPIV3Schema"].take();
    let values = accepted(&schema, "");
    assert!(values.len() > 200, "only {} objects were tried", values.len());
    for mut value in values {
        value["metadata"] = json!({"name": "a"});
        let read = K::deserialize(&value);
        assert!(read.is_ok(), "{}: {value}", read.err().unwrap());
    }
}

/// Values that the API server takes for `schema`; the first one is the plainest.
fn accepted(schema: &Value, path: &str) -> Vec<Value> {
    let values = if schema["x-kubernetes-int-or-string"] == true {
        vec![json!("100m"), json!(1), json!(0), json!(i64::MAX)]
    } else if let Some(values) = schema["enum"].as_array() {
        values.clone()
    } else {
        match schema["type"].as_str() {
            Some("object") => objects(schema, path),
            Some("array") => arrays(schema, path),
            Some("string") => strings(schema),
            Some("integer") => integers(schema),
            Some("boolean") => vec![json!(false), json!(true)],
            other => panic!("{path}: no values are known for type {other:?}"),
        }
    };
    assert!(!values.is_empty(), "{path}: no value is known that fits: {schema}");
    let null = (schema["nullable"] == true).then_some(Value::Null);
    values.into_iter().chain(null).collect()
}

/// The object with nothing but what is required, with all that there is, and with each value of each property.
fn objects(schema: &Value, path: &str) -> Vec<Value> {
    let none = Map::new();
    let properties: Vec<_> = schema["properties"]
        .as_object()
        .unwrap_or(&none)
        .iter()
        .filter(|(name, _)| !path.is_empty() || !["apiVersion", "kind", "metadata"].contains(&name.as_str()))
        .map(|(name, property)| (name, accepted(property, &format!("{path}.{name}"))))
        .collect();
    let is_required =
        |name: &str| schema["required"].as_array().is_some_and(|all| all.contains(&json!(name)));
    let plainest = |all: bool| {
        let kept = properties.iter().filter(|(name, _)| all || is_required(name));
        Value::from(kept.map(|(name, values)| ((*name).clone(), values[0].clone())).collect::<Map<_, _>>())
    };
    let mut objects = vec![plainest(false), plainest(true)];
    for (name, values) in &properties {
        objects.extend(values.iter().map(|value| {
            let mut object = plainest(false);
            object[name.as_str()] = value.clone();
            object
        }));
    }
    if let Some(property) = schema.get("additionalProperties").filter(|property| property.is_object()) {
        let count = schema["minProperties"].as_u64().unwrap_or(1);
        objects.extend(accepted(property, &format!("{path}[key]")).into_iter().map(|value| {
            Value::from((0..count).map(|n| (format!("key{n}"), value.clone())).collect::<Map<_, _>>())
        }));
    }
    objects
}

fn arrays(schema: &Value, path: &str) -> Vec<Value> {
    let least = schema["minItems"].as_u64().unwrap_or_default();
    let empty = (least == 0).then(|| json!([]));
    let items = accepted(&schema["items"], &format!("{path}[]"));
    let count = usize::try_from(least.max(1)).unwrap();
    empty.into_iter().chain(items.into_iter().map(|item| Value::from(vec![item; count]))).collect()
}

fn strings(schema: &Value) -> Vec<Value> {
    let texts = match schema["format"].as_str() {
        None => &TEXTS[..],
        Some("ipv4") => &ADDRESSES,
        Some("date-time") => &TIMES,
        Some(other) => panic!("no texts are known for format {other}"),
    };
    let pattern = schema["pattern"].as_str().map(|pattern| Regex::new(pattern).unwrap());
    let (min, max) = (schema["minLength"].as_u64(), schema["maxLength"].as_u64());
    let fits = |text: &&&str| {
        let length = text.chars().count() as u64;
        min.is_none_or(|min| length >= min)
            && max.is_none_or(|max| length <= max)
            && pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
    };
    texts.iter().filter(fits).map(|text| json!(text)).collect()
}

fn integers(schema: &Value) -> Vec<Value> {
    let bound = |name: &str| schema[name].as_f64().map(|bound| bound as i128);
    let (min, max) = (bound("minimum"), bound("maximum"));
    let fits = |number: &i128| min.is_none_or(|min| *number >= min) && max.is_none_or(|max| *number <= max);
    let numbers = min.into_iter().chain(max).chain(INTEGERS).filter(fits);
    numbers
        .map(|number| u64::try_from(number).map_or_else(|_| json!(number as i64), |number| json!(number)))
        .collect()
}
