//! What a plane's announcers are told of its nodes: which are preferred, and which are better left alone.

use std::collections::BTreeMap;

use foghorn_crds::{NetworkPlane, NodePreference, PlacementSpec};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

/// The label of nodes that are to have no addresses of load balancers, whatever its value (Kubernetes, well-known labels).
const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// The taint that somebody puts on a node that he knows to be shut down.
const OUT_OF_SERVICE_TAINT: &str = "node.kubernetes.io/out-of-service";
/// The taint, and the condition, of a node that Pods cannot be reached on.
const NETWORK_UNAVAILABLE_TAINT: &str = "node.kubernetes.io/network-unavailable";
const NETWORK_UNAVAILABLE: &str = "NetworkUnavailable";

/// The nodes of the plane that there is something to say of.
#[must_use]
pub(super) fn preferences<'a>(
    plane: &NetworkPlane,
    nodes: impl IntoIterator<Item = &'a Node>,
) -> BTreeMap<String, NodePreference> {
    nodes
        .into_iter()
        .filter(|node| has_all(node, &plane.spec.node_selector))
        .map(|node| (node.name_any(), preference(&plane.spec.placement, node)))
        .filter(|(_, preference)| *preference != NodePreference::default())
        .collect()
}

fn preference(placement: &PlacementSpec, node: &Node) -> NodePreference {
    let matching = placement.preferred_nodes.iter().filter(|entry| has_all(node, &entry.match_labels));
    NodePreference {
        weight: matching.map(|entry| entry.weight).fold(0, i32::saturating_add),
        avoid: avoid(node, placement.ignore_exclude_label),
    }
}

/// Why the node is to have addresses only while no other can, in words.
fn avoid(node: &Node, ignore_exclude_label: bool) -> Vec<String> {
    let spec = node.spec.as_ref();
    let tainted =
        |key: &str| spec.into_iter().flat_map(|spec| spec.taints.iter().flatten()).any(|it| it.key == key);
    let mut conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .map(|it| (&it.type_, &it.status));
    let unavailable = tainted(NETWORK_UNAVAILABLE_TAINT)
        || conditions.any(|(type_, status)| type_ == NETWORK_UNAVAILABLE && status == "True");
    let reasons = [
        (spec.is_some_and(|spec| spec.unschedulable == Some(true)), "cordoned".to_owned()),
        (
            !ignore_exclude_label && node.labels().contains_key(EXCLUDE_LABEL),
            format!("label {EXCLUDE_LABEL}"),
        ),
        (tainted(OUT_OF_SERVICE_TAINT), format!("taint {OUT_OF_SERVICE_TAINT}")),
        (unavailable, format!("condition {NETWORK_UNAVAILABLE}")),
    ];
    reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, words)| words).collect()
}

fn has_all(node: &Node, labels: &BTreeMap<String, String>) -> bool {
    labels.iter().all(|(key, value)| node.labels().get(key) == Some(value))
}

/// All of the node that [`preferences`] looks at.
#[must_use]
pub(super) fn aspect(node: &Node) -> (BTreeMap<String, String>, Vec<String>) {
    (node.labels().clone(), avoid(node, false))
}

#[cfg(test)]
mod tests {
    use foghorn_crds::PreferredNodes;
    use k8s_openapi::api::core::v1::{NodeCondition, Taint};

    use super::*;
    use crate::planes::fixtures;

    #[test]
    fn nothing_is_said_of_ordinary_nodes() {
        let plane = fixtures::plane("blue", "x.dev/blue");
        assert!(preferences(&plane, [&node("w1", &[])]).is_empty());
    }

    #[test]
    fn the_weights_of_all_matching_entries_add_up() {
        let mut plane = fixtures::plane("blue", "x.dev/blue");
        plane.spec.placement.preferred_nodes = vec![
            prefer(100, &[("disk", "ssd")]),
            prefer(7, &[("site", "north")]),
            prefer(1, &[("site", "south")]),
        ];
        let nodes = [node("w1", &[("disk", "ssd"), ("site", "north")]), node("w2", &[("site", "south")])];
        let told = preferences(&plane, &nodes);
        assert_eq!((told["w1"].weight, told["w2"].weight), (107, 1));
    }

    #[test]
    fn an_entry_with_several_labels_matches_nodes_that_have_all_of_them() {
        let mut plane = fixtures::plane("blue", "x.dev/blue");
        plane.spec.placement.preferred_nodes = vec![prefer(5, &[("disk", "ssd"), ("site", "north")])];
        assert!(preferences(&plane, [&node("w1", &[("disk", "ssd")])]).is_empty());
    }

    #[test]
    fn nodes_that_are_cordoned_excluded_or_out_of_service_are_avoided_with_the_reason() {
        let mut cordoned = node("w1", &[]);
        cordoned.spec.get_or_insert_default().unschedulable = Some(true);
        let mut shut_down = node("w2", &[]);
        shut_down.spec.get_or_insert_default().taints = Some(vec![taint(OUT_OF_SERVICE_TAINT)]);
        let excluded = node("cp1", &[(EXCLUDE_LABEL, "")]);
        let told = preferences(&fixtures::plane("blue", "x.dev/blue"), [&cordoned, &shut_down, &excluded]);
        assert_eq!(told["w1"].avoid, ["cordoned"]);
        assert_eq!(told["w2"].avoid, ["taint node.kubernetes.io/out-of-service"]);
        assert_eq!(told["cp1"].avoid, ["label node.kubernetes.io/exclude-from-external-load-balancers"]);
    }

    #[test]
    fn a_node_without_a_network_for_pods_is_avoided_whether_taint_or_condition_says_so() {
        let mut tainted = node("w1", &[]);
        tainted.spec.get_or_insert_default().taints = Some(vec![taint(NETWORK_UNAVAILABLE_TAINT)]);
        let condition = |status: &str| NodeCondition {
            type_: NETWORK_UNAVAILABLE.into(),
            status: status.into(),
            ..NodeCondition::default()
        };
        let mut unavailable = node("w2", &[]);
        unavailable.status.get_or_insert_default().conditions = Some(vec![condition("True")]);
        let mut available = node("w3", &[]);
        available.status.get_or_insert_default().conditions = Some(vec![condition("False")]);
        let told = preferences(&fixtures::plane("blue", "x.dev/blue"), [&tainted, &unavailable, &available]);
        assert_eq!(told.into_keys().collect::<Vec<_>>(), ["w1", "w2"]);
    }

    #[test]
    fn the_label_that_excludes_does_not_count_where_the_plane_ignores_it() {
        let mut plane = fixtures::plane("blue", "x.dev/blue");
        plane.spec.placement.ignore_exclude_label = true;
        assert!(preferences(&plane, [&node("cp1", &[(EXCLUDE_LABEL, "")])]).is_empty());
    }

    #[test]
    fn nodes_that_are_not_the_planes_are_not_named() {
        let mut plane = fixtures::plane("blue", "x.dev/blue");
        plane.spec.node_selector.insert("site".into(), "north".into());
        assert!(preferences(&plane, [&node("cp1", &[(EXCLUDE_LABEL, "")])]).is_empty());
    }

    #[test]
    fn a_heartbeat_of_the_node_is_no_change() {
        let before = node("w1", &[("site", "north")]);
        let mut after = before.clone();
        let beat = NodeCondition { type_: "Ready".into(), status: "True".into(), ..NodeCondition::default() };
        after.status.get_or_insert_default().conditions = Some(vec![beat]);
        assert_eq!(aspect(&before), aspect(&after));
    }

    fn node(name: &str, labels: &[(&str, &str)]) -> Node {
        let mut node = fixtures::node(name, "192.0.2.11", "10.244.1.0/24");
        node.labels_mut().extend(labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
        node
    }

    fn prefer(weight: i32, labels: &[(&str, &str)]) -> PreferredNodes {
        let match_labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        PreferredNodes { weight, match_labels }
    }

    fn taint(key: &str) -> Taint {
        Taint { key: key.into(), effect: "NoExecute".into(), ..Taint::default() }
    }
}
