//! Which nodes serve a Service with `externalTrafficPolicy: Local`, as its EndpointSlices tell in the course of time.
//!
//! Kept is the little that decides, of the Services that were asked for; what a Service is told to have changes only when
//! it has been another thing for a while.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::{api::discovery::v1::EndpointSlice, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Resource, ResourceExt, runtime::watcher::Event};
use serde::Deserialize;
use tokio::time::Instant;

use super::memory::Key;

/// The label of an EndpointSlice with the name of its Service.
pub(crate) const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// How long changes are collected, so that a rollout moves an address once.
const SETTLING: Duration = Duration::from_millis(500);

/// What is looked at of an EndpointSlice.
#[derive(Resource, Deserialize, Clone, Debug, Default)]
#[resource(inherit = "EndpointSlice")]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Slice {
    metadata: ObjectMeta,
    address_type: String,
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
struct Endpoint {
    node_name: Option<String>,
    conditions: Conditions,
}

#[derive(Deserialize, Clone, Copy, Debug, Default)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

/// The nodes of one slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Nodes {
    /// Those with an endpoint that is ready.
    ready: BTreeSet<String>,
    /// Those with one that is terminating and still serves.
    terminating: BTreeSet<String>,
}

impl Nodes {
    /// As kube-proxy reads the conditions: what is not said is ready and serving, and does not terminate.
    fn of(slice: Slice) -> Self {
        let mut nodes = Self::default();
        for Endpoint { node_name, conditions } in slice.endpoints.into_iter().flatten() {
            let Some(node) = node_name else { continue };
            if conditions.ready.unwrap_or(true) {
                nodes.ready.insert(node);
            } else if conditions.serving.unwrap_or(true) && conditions.terminating.unwrap_or(false) {
                nodes.terminating.insert(node);
            }
        }
        nodes
    }
}

/// One Service.
#[derive(Debug, Default)]
struct Known {
    /// Its slices by name. While they are being listed, one that was deleted since stays as nothing.
    slices: BTreeMap<String, Option<Nodes>>,
    /// The nodes that it is told to have, once all of its slices are known.
    told: Option<Vec<String>>,
    /// When it is told of others.
    due: Option<Instant>,
}

impl Known {
    /// The nodes with ready endpoints; if there is none, those whose endpoints still serve while they terminate.
    fn present(&self) -> Vec<String> {
        let all = |of: fn(&Nodes) -> &BTreeSet<String>| {
            let nodes: BTreeSet<_> = self.slices.values().flatten().flat_map(of).cloned().collect();
            nodes
        };
        let ready = all(|nodes| &nodes.ready);
        let serving = if ready.is_empty() { all(|nodes| &nodes.terminating) } else { ready };
        serving.into_iter().collect()
    }

    /// All slices are known from now on.
    fn complete(&mut self) {
        self.slices.retain(|_, nodes| nodes.is_some());
        self.told = Some(self.present());
    }

    fn changed(&mut self, now: Instant) {
        if self.told.is_none() || self.told.as_ref() == Some(&self.present()) {
            self.due = None;
        } else {
            self.due.get_or_insert(now + SETTLING);
        }
    }
}

/// A watch that starts anew, and lists all slices.
#[derive(Debug)]
struct Listing {
    /// The Services that were known when it began: of these all slices are listed.
    of: BTreeSet<Key>,
    seen: BTreeSet<(Key, String)>,
}

/// The Services that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    services: BTreeMap<Key, Known>,
    listing: Option<Listing>,
}

impl Serving {
    /// The nodes that serve the Service, sorted; nothing while not all of its slices are known. From now on they are kept.
    pub(crate) fn nodes(&mut self, service: &Key) -> Option<Vec<String>> {
        self.services.entry(service.clone()).or_default().told.clone()
    }

    /// Takes in what a list of the Service's slices shows that was asked for after [`nodes`](Self::nodes). What a watch has
    /// shown since is newer, or will be.
    pub(crate) fn listed(&mut self, service: &Key, slices: Vec<Slice>) {
        let Some(known) = self.services.get_mut(service).filter(|known| known.told.is_none()) else { return };
        for slice in slices.into_iter().filter(Slice::counts) {
            known.slices.entry(slice.name_any()).or_insert_with(|| Some(Nodes::of(slice)));
        }
        known.complete();
    }

    /// Forgets a Service that nobody asks for any longer.
    pub(crate) fn forget(&mut self, service: &Key) {
        self.services.remove(service);
    }

    /// Takes in what the watch of all slices shows.
    pub(crate) fn watched(&mut self, now: Instant, event: Event<Slice>) {
        match event {
            Event::Apply(slice) => self.put(now, slice),
            Event::Delete(slice) => self.remove(now, &slice),
            Event::Init => {
                let of = self.services.keys().cloned().collect();
                self.listing = Some(Listing { of, seen: BTreeSet::new() });
            }
            Event::InitApply(slice) => {
                if let (Some(listing), Some(service)) = (&mut self.listing, slice.service())
                    && listing.of.contains(&service)
                {
                    listing.seen.insert((service, slice.name_any()));
                }
                self.put(now, slice);
            }
            Event::InitDone => self.finish_listing(now),
        }
    }

    /// When [`settle`](Self::settle) has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.services.values().filter_map(|known| known.due).min()
    }

    /// The Services that have other nodes from now on.
    pub(crate) fn settle(&mut self, now: Instant) -> Vec<Key> {
        let due = self.services.iter_mut().filter(|(_, known)| known.due.is_some_and(|due| due <= now));
        due.map(|(service, known)| {
            known.due = None;
            known.told = Some(known.present());
            service.clone()
        })
        .collect()
    }

    fn put(&mut self, now: Instant, slice: Slice) {
        let known = slice.service().and_then(|service| self.services.get_mut(&service));
        let Some(known) = known.filter(|_| slice.counts()) else { return };
        known.slices.insert(slice.name_any(), Some(Nodes::of(slice)));
        known.changed(now);
    }

    fn remove(&mut self, now: Instant, slice: &Slice) {
        let known = slice.service().and_then(|service| self.services.get_mut(&service));
        let Some(known) = known else { return };
        if known.told.is_some() {
            known.slices.remove(&slice.name_any());
            known.changed(now);
        } else {
            known.slices.insert(slice.name_any(), None);
        }
    }

    fn finish_listing(&mut self, now: Instant) {
        let Some(Listing { of, seen }) = self.listing.take() else { return };
        for service in of {
            let Some(known) = self.services.get_mut(&service) else { continue };
            known.slices.retain(|name, _| seen.contains(&(service.clone(), name.clone())));
            if known.told.is_some() {
                known.changed(now);
            } else {
                known.complete();
            }
        }
    }
}

impl Slice {
    /// The Service that it is of.
    fn service(&self) -> Option<Key> {
        Some((self.metadata.namespace.clone()?, self.labels().get(SERVICE_LABEL)?.clone()))
    }

    /// Whether its endpoints are reached by an IPv4 address.
    fn counts(&self) -> bool {
        self.address_type == "IPv4"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn ready_endpoints_of_all_slices_count_and_what_is_not_said_is_ready() {
        let mut world = World::new();
        world.apply("a", json!([endpoint("w2", json!({"ready": true})), endpoint("w1", json!({}))]));
        let unready = endpoint("w4", json!({"ready": false}));
        world.apply("b", json!([endpoint("w3", json!({"ready": true})), unready]));
        world.pass(500);
        assert_eq!(world.nodes(), ["w1", "w2", "w3"]);
    }

    #[test]
    fn endpoints_that_terminate_and_still_serve_count_only_where_none_is_ready() {
        let leaving = json!({"ready": false, "serving": true, "terminating": true});
        let mut world = World::new();
        world.apply("a", json!([endpoint("w1", leaving.clone()), endpoint("w2", json!({"ready": true}))]));
        world.pass(500);
        assert_eq!(world.nodes(), ["w2"]);
        let gone = json!({"ready": false, "serving": false, "terminating": true});
        world.apply("a", json!([endpoint("w1", leaving), endpoint("w2", gone)]));
        world.pass(500);
        assert_eq!(world.nodes(), ["w1"]);
    }

    #[test]
    fn slices_of_other_families_and_services_and_endpoints_without_a_node_do_not_count() {
        let of = |family: &str, service: &str| {
            let endpoints = [endpoint("w1", json!({}))];
            let metadata = metadata("s", service);
            read(json!({"addressType": family, "metadata": metadata, "endpoints": endpoints}))
        };
        let mut world = World::new();
        world.watched(Event::Apply(of("IPv6", "web")));
        world.watched(Event::Apply(of("IPv4", "other")));
        world.apply("a", json!([{"addresses": ["10.244.1.7"]}]));
        world.apply("b", Value::Null);
        world.pass(500);
        assert_eq!(world.nodes(), [""; 0]);
        assert_eq!(world.serving.services.len(), 1, "the other Service was not asked for");
    }

    #[test]
    fn changes_are_collected_for_half_a_second_and_told_once() {
        let mut world = World::new();
        world.apply("a", json!([endpoint("w1", json!({}))]));
        world.pass(400);
        world.apply("a", json!([endpoint("w1", json!({})), endpoint("w2", json!({}))]));
        assert_eq!(world.pass(99), 0);
        assert_eq!(world.pass(1), 1);
        assert_eq!(world.nodes(), ["w1", "w2"]);
    }

    #[test]
    fn what_is_as_before_when_the_time_is_over_is_not_told() {
        let mut world = World::new();
        let two = json!([endpoint("w1", json!({})), endpoint("w2", json!({}))]);
        world.apply("a", two.clone());
        world.pass(500);
        world.apply("a", json!([endpoint("w1", json!({}))]));
        world.pass(100);
        world.apply("a", two);
        assert_eq!(world.pass(1000), 0);
    }

    #[test]
    fn endpoints_that_are_written_anew_every_ten_seconds_cause_nothing() {
        let mut world = World::new();
        world.apply("a", json!([endpoint("w1", json!({}))]));
        world.pass(500);
        for turn in 0..10 {
            let mut anew = endpoint("w1", json!({"ready": true}));
            anew["addresses"] = json!([format!("10.244.1.{turn}")]);
            world.apply("a", json!([anew]));
            assert_eq!(world.pass(10_000), 0);
        }
        assert_eq!(world.serving.due(), None);
    }

    #[test]
    fn a_slice_that_is_deleted_counts_no_longer() {
        let mut world = World::new();
        world.apply("a", json!([endpoint("w1", json!({}))]));
        world.apply("b", json!([endpoint("w2", json!({}))]));
        world.pass(500);
        world.watched(Event::Delete(slice("a", json!([endpoint("w1", json!({}))]))));
        world.pass(500);
        assert_eq!(world.nodes(), ["w2"]);
    }

    #[test]
    fn nothing_is_told_before_all_slices_are_known() {
        let mut world = World::unlisted();
        assert_eq!(world.serving.nodes(&web()), None);
        world.apply("a", json!([endpoint("w1", json!({}))]));
        assert_eq!(world.serving.nodes(&web()), None);
        assert_eq!(world.serving.due(), None);
        world.serving.listed(&web(), vec![slice("b", json!([endpoint("w2", json!({}))]))]);
        assert_eq!(world.nodes(), ["w1", "w2"]);
    }

    #[test]
    fn what_the_watch_has_shown_while_the_list_was_under_way_is_newer() {
        let mut world = World::unlisted();
        world.serving.nodes(&web());
        world.apply("a", json!([endpoint("w1", json!({}))]));
        world.watched(Event::Delete(slice("b", Value::Null)));
        let outdated = json!([endpoint("w9", json!({}))]);
        world.serving.listed(&web(), vec![slice("a", outdated.clone()), slice("b", outdated)]);
        assert_eq!(world.nodes(), ["w1"]);
    }

    #[test]
    fn what_went_while_the_watch_was_away_counts_no_longer() {
        let mut world = World::new();
        world.apply("a", json!([endpoint("w1", json!({}))]));
        world.apply("b", json!([endpoint("w2", json!({}))]));
        world.pass(500);
        world.watched(Event::Init);
        world.watched(Event::InitApply(slice("b", json!([endpoint("w2", json!({}))]))));
        world.watched(Event::InitDone);
        assert_eq!(world.pass(500), 1);
        assert_eq!(world.nodes(), ["w2"]);
    }

    #[test]
    fn a_service_that_is_asked_for_while_the_watch_starts_keeps_what_its_own_list_shows() {
        let mut world = World::unlisted();
        world.watched(Event::Init);
        world.serving.nodes(&web());
        world.serving.listed(&web(), vec![slice("a", json!([endpoint("w1", json!({}))]))]);
        world.watched(Event::InitDone);
        world.pass(500);
        assert_eq!(world.nodes(), ["w1"]);
    }

    struct World {
        serving: Serving,
        now: Instant,
    }

    impl World {
        /// `shop/web` is known to have no slices.
        fn new() -> Self {
            let mut world = Self::unlisted();
            world.serving.nodes(&web());
            world.serving.listed(&web(), Vec::new());
            world
        }

        fn unlisted() -> Self {
            Self { serving: Serving::default(), now: Instant::now() }
        }

        fn watched(&mut self, event: Event<Slice>) {
            self.serving.watched(self.now, event);
        }

        fn apply(&mut self, name: &str, endpoints: Value) {
            self.watched(Event::Apply(slice(name, endpoints)));
        }

        /// How many Services are told of other nodes in that time.
        fn pass(&mut self, milliseconds: u64) -> usize {
            self.now += Duration::from_millis(milliseconds);
            self.serving.settle(self.now).len()
        }

        fn nodes(&mut self) -> Vec<String> {
            self.serving.nodes(&web()).unwrap()
        }
    }

    fn web() -> Key {
        ("shop".into(), "web".into())
    }

    fn slice(name: &str, endpoints: Value) -> Slice {
        read(json!({"addressType": "IPv4", "metadata": metadata(name, "web"), "endpoints": endpoints}))
    }

    fn read(slice: Value) -> Slice {
        serde_json::from_value(slice).unwrap()
    }

    fn metadata(name: &str, service: &str) -> Value {
        json!({"namespace": "shop", "name": name, "labels": {SERVICE_LABEL: service}})
    }

    fn endpoint(node: &str, conditions: Value) -> Value {
        json!({"addresses": ["10.244.1.7"], "nodeName": node, "conditions": conditions})
    }
}
