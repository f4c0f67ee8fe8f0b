//! What a plane's announcers tell together, as conditions of the plane.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use foghorn_crds::{
    GuardMode, NetworkPlane, NodePreference, ReturnPathMode,
    conditions::{
        DATAPATH, INTERFACES_READY, PLACEMENT,
        reasons::{
            ALL_HEARD, IN_FORCE, INTERFACE_READY, NO_MARK, NOT_CONNECTED, NOT_IN_FORCE, NOT_PERMITTED,
            NOTHING_LEFT, PATH_NEVER_HEARD,
        },
    },
    contract,
};
use k8s_openapi::api::core::v1::Pod;

use super::{
    pods::{Told, condition_of, join, living, node_of},
    status::reasons,
};

/// A condition, before it has a time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Its type.
    pub(super) type_: &'static str,
    /// Whether it is true.
    pub(super) holds: bool,
    /// Its reason.
    pub(super) reason: String,
    /// Its message.
    pub(super) message: String,
}

impl Finding {
    pub(super) fn new(
        type_: &'static str,
        holds: bool,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { type_, holds, reason: reason.into(), message: message.into() }
    }
}

/// Whether all announcers have their interface in working order.
pub(super) fn interfaces(pods: &[Arc<Pod>]) -> Finding {
    let finding =
        |holds, reason: &str, message: String| Finding::new(INTERFACES_READY, holds, reason, message);
    let told = Told::by(living(pods), contract::INTERFACE_CONDITION);
    if !told.failing.is_empty() {
        let reason = told.common_reason().unwrap_or(reasons::INTERFACES_NOT_READY);
        return finding(false, reason, join(&told.failing, "; "));
    }
    if !told.silent.is_empty() {
        let message = format!("not heard of the interface on {} yet", join(&told.silent, ", "));
        return finding(false, reasons::NOT_REPORTED, message);
    }
    if told.holding == 0 {
        return finding(false, reasons::NOT_REPORTED, "no announcer runs".to_owned());
    }
    finding(true, INTERFACE_READY, "every announcer has its interface in working order".to_owned())
}

/// Whether all announcers hear each other by the way that their Pods' condition `of_pod` speaks of; nothing while none
/// does.
pub(super) fn heartbeats(pods: &[Arc<Pod>], type_: &'static str, of_pod: &str) -> Option<Finding> {
    let told = Told::by(living(pods), of_pod);
    if !told.failing.is_empty() {
        let reason = told.common_reason().unwrap_or(PATH_NEVER_HEARD);
        return Some(Finding::new(type_, false, reason, join(&told.failing, "; ")));
    }
    let message = "every announcer hears all others by this way";
    (told.holding > 0).then(|| Finding::new(type_, true, ALL_HEARD, message))
}

/// Whether the plane's return path and guard are in force on all nodes; nothing for a plane that wants neither.
pub(super) fn datapath(plane: &NetworkPlane, pods: &[Arc<Pod>]) -> Option<Finding> {
    let wants_path = plane.spec.return_path_mode() == ReturnPathMode::Auto;
    if !wants_path && plane.spec.guard_mode() == GuardMode::Off {
        return None;
    }
    let finding = |holds, reason: &str, message: String| Some(Finding::new(DATAPATH, holds, reason, message));
    let ports = plane.status.as_ref().and_then(|status| status.ports);
    if wants_path && ports.is_some_and(|ports| ports.return_path.is_none()) {
        let message = "other planes have all the marks that there are for return paths: give the operator a wider --mark-mask \
                       (datapath.markMask of the chart)";
        return finding(false, NO_MARK, message.to_owned());
    }
    let told = Told::by(living(pods), contract::DATAPATH_CONDITION);
    if !told.failing.is_empty() {
        let reason = told.common_reason().unwrap_or(NOT_IN_FORCE);
        return finding(false, reason, join(&told.failing, "; "));
    }
    if !told.silent.is_empty() || told.holding == 0 {
        let message = format!("not heard of {} yet", join(&told.silent, ", "));
        return finding(false, reasons::NOT_REPORTED, message);
    }
    finding(true, IN_FORCE, "returnPath and guard are in force on every node".to_owned())
}

/// Whether something of the plane's return path or guard may be on a node: its announcer has not said that nothing is, or
/// that nothing could be.
pub(super) fn leaves_datapath(pods: &[Arc<Pod>]) -> bool {
    let harmless = [NOTHING_LEFT, NOT_PERMITTED, NOT_CONNECTED];
    let mut said = living(pods).filter_map(|pod| condition_of(pod, contract::DATAPATH_CONDITION));
    said.any(|condition| condition.reason.as_deref().is_none_or(|reason| !harmless.contains(&reason)))
}

/// Which of the nodes that have announcers are passed over, by what there is to say of `nodes`; nothing while there is no
/// announcer.
pub(super) fn placement(pods: &[Arc<Pod>], nodes: &BTreeMap<String, NodePreference>) -> Option<Finding> {
    let with_announcer: BTreeSet<_> = living(pods).filter_map(node_of).collect();
    let passed_over: BTreeSet<_> = with_announcer
        .iter()
        .filter_map(|&node| Some((node, &nodes.get(node)?.avoid)))
        .filter(|(_, avoid)| !avoid.is_empty())
        .map(|(node, avoid)| format!("{node} is passed over: {}", avoid.join(", ")))
        .collect();
    let finding = match passed_over.len() {
        _ if with_announcer.is_empty() => return None,
        0 => Finding::new(PLACEMENT, true, reasons::ALL_NODES, "every node may have addresses"),
        all if all == with_announcer.len() => Finding::new(
            PLACEMENT,
            true,
            reasons::NO_OTHER_NODE,
            "every node would be passed over, so none is",
        ),
        _ => Finding::new(PLACEMENT, false, reasons::NODES_PASSED_OVER, join(&passed_over, "; ")),
    };
    Some(finding)
}

#[cfg(test)]
mod tests {
    use foghorn_crds::conditions::HEARTBEAT_WIRE;

    use super::*;
    use crate::planes::fixtures::{pod, ready_pod, with_condition};

    #[test]
    fn different_causes_on_different_nodes_are_all_told_up_to_a_limit() {
        let mut pods: Vec<_> =
            (0..7).map(|n| without_interface(&format!("w{n}"), "InterfaceDown", "no carrier")).collect();
        pods.push(without_interface("x", "InterfaceAmbiguous", "two"));
        let finding = interfaces(&pods);
        assert_eq!(finding.reason, "InterfacesNotReady");
        assert!(finding.message.ends_with("node w4: no carrier; and 3 more"), "{}", finding.message);
    }

    #[test]
    fn a_way_that_is_not_heard_on_is_told_with_the_pairs() {
        let deaf = |node, peers: &str| heard(node, "False", &format!("not heard on eth1: {peers}"));
        let pods = [deaf("w1", "w2, w3"), deaf("w2", "w1"), heard("w3", "True", "")];
        let finding = wire(&pods).unwrap();
        assert_eq!((finding.holds, finding.reason.as_str()), (false, PATH_NEVER_HEARD));
        assert_eq!(finding.message, "node w1: not heard on eth1: w2, w3; node w2: not heard on eth1: w1");
        assert!(wire(&[heard("w1", "True", ""), heard("w2", "True", "")]).unwrap().holds);
    }

    #[test]
    fn of_a_way_that_no_announcer_speaks_of_nothing_is_said() {
        assert_eq!(wire(&[ready_pod("w1").into()]), None);
    }

    #[test]
    fn nodes_that_are_passed_over_are_named_with_the_reason() {
        let pods = [ready_pod("w1").into(), ready_pod("w2").into()];
        let mut nodes = BTreeMap::new();
        let reason = |nodes: &BTreeMap<_, _>| placement(&pods, nodes).unwrap().reason;
        assert_eq!(reason(&nodes), reasons::ALL_NODES);
        nodes.insert("w2".into(), avoid(&["cordoned", "condition NetworkUnavailable"]));
        nodes.insert("cp1".into(), avoid(&["it has no announcer"]));
        let finding = placement(&pods, &nodes).unwrap();
        assert_eq!((finding.holds, finding.reason.as_str()), (false, reasons::NODES_PASSED_OVER));
        assert_eq!(finding.message, "w2 is passed over: cordoned, condition NetworkUnavailable");
        nodes.insert("w1".into(), avoid(&["cordoned"]));
        assert_eq!(reason(&nodes), reasons::NO_OTHER_NODE);
        assert_eq!(placement(&[], &nodes), None);
    }

    #[test]
    fn a_return_path_is_in_force_when_all_announcers_say_so_and_there_is_a_mark_for_it() {
        let mut plane = crate::planes::fixtures::plane("blue", "x.dev/blue");
        let said = |node: &str, status, reason| -> Arc<Pod> {
            with_condition(ready_pod(node), contract::DATAPATH_CONDITION, status, reason, "why").into()
        };
        let (good, bad) = (said("w1", "True", IN_FORCE), said("w2", "False", "NotPermitted"));
        let reason =
            |plane: &NetworkPlane, pods: &[Arc<Pod>]| datapath(plane, pods).map(|finding| finding.reason);
        assert_eq!(reason(&plane, std::slice::from_ref(&good)), None);
        plane.spec.return_path.mode = ReturnPathMode::Auto;
        assert_eq!(reason(&plane, std::slice::from_ref(&good)).unwrap(), IN_FORCE);
        assert_eq!(reason(&plane, &[good.clone(), bad]).unwrap(), "NotPermitted");
        assert_eq!(reason(&plane, &[good.clone(), ready_pod("w3").into()]).unwrap(), reasons::NOT_REPORTED);
        let ports = foghorn_crds::PlanePorts { metrics: 1, probes: 2, return_path: None };
        plane.status.get_or_insert_default().ports = Some(ports);
        assert_eq!(reason(&plane, &[good]).unwrap(), NO_MARK);
    }

    #[test]
    fn a_plane_leaves_something_on_a_node_until_its_announcer_says_that_it_does_not() {
        let leaves = |reason| {
            let said = with_condition(ready_pod("w1"), contract::DATAPATH_CONDITION, "True", reason, "");
            leaves_datapath(&[said.into(), ready_pod("w2").into()])
        };
        assert!(leaves(IN_FORCE) && leaves("NoGateway"));
        assert!(!leaves(NOTHING_LEFT) && !leaves(NOT_PERMITTED) && !leaves(NOT_CONNECTED));
    }

    fn wire(pods: &[Arc<Pod>]) -> Option<Finding> {
        heartbeats(pods, HEARTBEAT_WIRE, contract::HEARTBEAT_WIRE_CONDITION)
    }

    fn heard(node: &str, status: &str, message: &str) -> Arc<Pod> {
        let reason = if status == "True" { ALL_HEARD } else { PATH_NEVER_HEARD };
        let pod = ready_pod(node);
        with_condition(pod, contract::HEARTBEAT_WIRE_CONDITION, status, reason, message).into()
    }

    fn without_interface(node: &str, reason: &str, message: &str) -> Arc<Pod> {
        pod(node, Some(("False", reason, message))).into()
    }

    fn avoid(reasons: &[&str]) -> NodePreference {
        let avoid = reasons.iter().map(|&reason| reason.to_owned()).collect();
        NodePreference { avoid, ..NodePreference::default() }
    }
}
