//! Texts that others can write: the configuration, the plane's Lease, and the files of a volume. Whatever stands there, it is read
//! or passed over, and what is read is whole.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail, and a leaf is whatever has nothing in it"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use foghorn_announcer::{plane_lease::record, snapshot::Snapshot};
use foghorn_crds::{PlaneConfig, contract, fixtures};
use foghorn_membership::Content;
use k8s_openapi::api::{
    coordination::v1::{Lease, LeaseSpec},
    core::v1::ConfigMap,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

const TRIES: u64 = 3_000;
const VIEW: &str = r#"{"coordinator":"0000000000000001","members":[{"id":"0000000000000001","node":"w1","address":"192.0.2.1"},
    {"id":"0000000000000002","node":"w2"}]}"#;

#[test]
fn a_changed_configuration_is_refused_or_read_alike_again() {
    let whole = fixtures::config().to_data().unwrap()[contract::PLANE_CONFIG_KEY].clone();
    let mut read = 0;
    for text in changed(&whole) {
        if let Ok(config) = PlaneConfig::from_config_map(&config_map(&text)) {
            let again = PlaneConfig::from_config_map(&config_map_of(config.to_data().unwrap()));
            assert_eq!(again.unwrap(), config, "{text}");
            read += 1;
        }
    }
    assert!(read > 0);
}

#[test]
fn a_changed_annotation_is_unreadable_or_a_view_with_its_coordinator() {
    let mut read = 0;
    for (seed, text) in changed(VIEW).enumerate() {
        let mut lease = Lease::default();
        lease.metadata.annotations = Some([(contract::VIEW_ANNOTATION.to_owned(), text)].into());
        let odd = [i32::MIN, -1, 0, 1, i32::MAX][seed % 5];
        lease.spec = Some(LeaseSpec { lease_transitions: Some(odd), ..LeaseSpec::default() });
        let record = record(&lease);
        assert_eq!(record.epoch.view, u32::try_from(odd).unwrap_or_default());
        match record.content {
            Content::View(view) => {
                assert!(view.has(view.coordinator));
                read += 1;
            }
            Content::Unreadable => {}
            Content::Released => unreachable!("there is an annotation"),
        }
    }
    assert!(read > 0);
}

#[test]
fn a_changed_file_of_a_snapshot_costs_that_file_alone() {
    let folder = Folder::new();
    let config = serde_json::to_string(&fixtures::config()).unwrap();
    let claim = |name: &str| serde_json::to_string(&fixtures::claim(name)).unwrap();
    let views = json!({"created": 1, "view": 3, "quorum": 1, "annotation": VIEW}).to_string();
    let time = json!({"boot": "x", "sinceBoot": {"secs": 1, "nanos": 0}, "time": "1970-01-01T00:00:00Z"});
    let files = [
        ("view.json", views),
        ("time.json", time.to_string()),
        ("claims/0000000000000001.json", claim("a")),
        ("config.json", config),
    ];
    folder.write("claims/0000000000000002.json", &claim("b"));
    for (file, whole) in &files {
        folder.write(file, whole);
    }
    assert_eq!(Snapshot::read(&folder.0).unwrap().claims.len(), 2);
    for (file, whole) in &files {
        for text in changed(whole).step_by(10) {
            folder.write(file, &text);
            let Some(snapshot) = Snapshot::read(&folder.0) else {
                assert_eq!(*file, "config.json", "{text}");
                continue;
            };
            assert!(snapshot.claims.iter().any(|claim| claim.metadata.name.as_deref() == Some("b")));
            if *file != "view.json" {
                assert!(snapshot.view.is_some(), "{file}");
            }
            if let Some((view, highest)) = snapshot.view {
                assert!(view.has(view.coordinator) && view.epoch <= highest);
            }
        }
        folder.write(file, whole);
    }
}

/// The text, with a part of it cut, doubled or replaced, or one of its values replaced.
fn changed(whole: &str) -> impl Iterator<Item = String> {
    (0..TRIES).map(move |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        if seed % 2 == 0 {
            let mut value: Value = serde_json::from_str(whole).unwrap();
            replace(&mut value, &mut rng);
            return value.to_string();
        }
        let mut octets = whole.as_bytes().to_vec();
        let from = rng.random_range(0..octets.len());
        let to = octets.len().min(from + rng.random_range(0..20));
        match seed % 8 {
            1 => octets.truncate(from),
            3 => drop(octets.drain(from..to)),
            5 => octets.extend_from_within(from..to),
            _ => octets[from..to].iter_mut().for_each(|octet| *octet = rng.random_range(0..128)),
        }
        String::from_utf8_lossy(&octets).into_owned()
    })
}

/// Replaces one value, at any depth.
fn replace(value: &mut Value, rng: &mut StdRng) {
    let inner: Vec<&mut Value> = match value {
        Value::Object(fields) if !fields.is_empty() && rng.random_ratio(4, 5) => {
            fields.values_mut().collect()
        }
        Value::Array(elements) if !elements.is_empty() && rng.random_ratio(4, 5) => {
            elements.iter_mut().collect()
        }
        leaf => {
            let odd = [
                json!(null),
                json!(-1),
                json!(u64::MAX),
                json!(1e300),
                json!(""),
                json!("0.0.0.0/0"),
                json!("x".repeat(300)),
                json!([]),
                json!({}),
                json!([[["a"]]]),
                json!(true),
            ];
            *leaf = odd[rng.random_range(0..odd.len())].clone();
            return;
        }
    };
    let count = inner.len();
    let chosen = inner.into_iter().nth(rng.random_range(0..count));
    chosen.into_iter().for_each(|chosen| replace(chosen, rng));
}

fn config_map(text: &str) -> ConfigMap {
    config_map_of([(contract::PLANE_CONFIG_KEY.to_owned(), text.to_owned())].into())
}

fn config_map_of(data: BTreeMap<String, String>) -> ConfigMap {
    ConfigMap { data: Some(data), ..ConfigMap::default() }
}

/// A directory that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("foghorn-foreign-texts-{}", std::process::id()));
        fs::create_dir_all(path.join("claims")).unwrap();
        Self(path)
    }

    fn write(&self, file: impl AsRef<Path>, text: &str) {
        fs::write(self.0.join(file), text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
