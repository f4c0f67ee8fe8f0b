//! What announcers are told of their plane and of the cluster.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use foghorn_crds::{
    GuardMode, InterfaceSelector, NetworkPlane, NodePreference, PlaneConfig, PlanePorts, RefusedNetwork,
    ReturnPath, contract,
};
use ipnet::Ipv4Net;
use k8s_openapi::api::{core::v1::Node, networking::v1::ServiceCIDR};
use kube::ResourceExt;

use super::daemonset;
use crate::args::Run;

/// What the operator knows of the cluster.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// The UID of `kube-system`.
    pub(super) id: String,
    /// The cluster's own networks.
    pub(super) refused_networks: Vec<RefusedNetwork>,
    /// What there is to say of the nodes, for the plane.
    pub(super) nodes: BTreeMap<String, NodePreference>,
    /// All planes.
    pub(super) planes: Vec<Arc<NetworkPlane>>,
    /// Those whose present spec is invalid, and the configuration that they run by, if they do.
    pub(super) held: BTreeMap<String, Option<PlaneConfig>>,
}

/// How the replies of a plane with that number find their way; nothing for a plane without one.
#[must_use]
pub(super) fn return_path(plane: &NetworkPlane, ports: PlanePorts, options: &Run) -> Option<ReturnPath> {
    let number = u32::from(ports.return_path?);
    Some(ReturnPath {
        mark: number.checked_shl(options.mark_mask.trailing_zeros())?,
        mask: options.mark_mask,
        table: options.route_table_base.saturating_add(number),
        priority: options.route_rule_priority,
        gateway: plane.spec.return_path.gateway,
    })
}

/// The configuration of the announcers of `plane`.
#[must_use]
pub(super) fn plane_config(
    plane: &NetworkPlane,
    cluster: &Cluster,
    allowed_subnets: Vec<Ipv4Net>,
    return_path: Option<ReturnPath>,
) -> PlaneConfig {
    PlaneConfig {
        plane: plane.name_any(),
        cluster_id: cluster.id.clone(),
        lease_name: plane.lease_name(),
        interface: plane.spec.interface.clone(),
        dhcp: plane.spec.dhcp.clone(),
        allowed_hardware_addresses: plane.spec.overrides.hardware_addresses.clone(),
        announce: plane.spec.announce.clone(),
        allowed_subnets,
        refused_networks: cluster.refused_networks.clone(),
        failure_detection: plane.spec.failure_detection.clone(),
        placement: plane.spec.placement.mode,
        api_outage: plane.spec.api_outage,
        host_address: plane.spec.host_address.clone(),
        return_path,
        guard: plane.spec.guard_mode(),
        // A plane whose ranges are none is not accepted.
        port_forwarding: plane.spec.port_forwarding.for_announcers().ok().flatten(),
        planes: cluster.planes_on_nodes(),
        other_interfaces: cluster.other_interfaces(&plane.name_any(), &plane.spec.interface),
        nodes: cluster.nodes.clone(),
        rebalance: plane.annotations().get(contract::REBALANCE_ANNOTATION).cloned().unwrap_or_default(),
    }
}

/// The configuration of a plane that is `running` and whose present spec is invalid: what is not of its own spec is as the
/// cluster is now, all else stays.
#[must_use]
pub(super) fn refreshed(running: PlaneConfig, cluster: &Cluster) -> PlaneConfig {
    let mut nodes = cluster.nodes.clone();
    for (name, before) in &running.nodes {
        // Weights are of the plane's own spec.
        nodes.entry(name.clone()).or_default().weight = before.weight;
    }
    nodes.retain(|_, node| *node != NodePreference::default());
    PlaneConfig {
        refused_networks: cluster.refused_networks.clone(),
        planes: cluster.planes_on_nodes(),
        other_interfaces: cluster.other_interfaces(&running.plane, &running.interface),
        nodes,
        ..running
    }
}

impl Cluster {
    /// The planes that have something on the nodes' network.
    fn planes_on_nodes(&self) -> Vec<String> {
        let has_datapath = |plane: &&Arc<NetworkPlane>| match self.held.get(&plane.name_any()) {
            Some(Some(running)) => running.guard != GuardMode::Off || running.return_path.is_some(),
            Some(None) | None => daemonset::wants_datapath(plane),
        };
        let mut planes: Vec<_> =
            self.planes.iter().filter(has_datapath).map(|plane| plane.name_any()).collect();
        planes.sort();
        planes
    }

    /// The interfaces of planes other than that one, which has an `own` one. A plane with an invalid spec has the interface
    /// that it runs by, whatever the spec says.
    fn other_interfaces(&self, plane: &str, own: &InterfaceSelector) -> Vec<InterfaceSelector> {
        let others = self.planes.iter().filter(|other| other.name_any() != plane);
        let interface = |other: &Arc<NetworkPlane>| match self.held.get(&other.name_any()) {
            Some(running) => running.as_ref().map(|running| running.interface.clone()),
            None => Some(other.spec.interface.clone()),
        };
        let mut interfaces: Vec<_> = others.filter_map(interface).collect();
        interfaces.retain(|interface| interface != own);
        interfaces.sort();
        interfaces.dedup();
        interfaces
    }
}

/// The IPv4 networks of which no Service may have an address, sorted: addresses of nodes and ranges of their Pods, ranges
/// of Services, and `more` that only the administrator knows.
#[must_use]
pub fn refused_networks<'a>(
    nodes: impl IntoIterator<Item = &'a Node>,
    service_cidrs: impl IntoIterator<Item = &'a ServiceCIDR>,
    more: &[Ipv4Net],
) -> Vec<RefusedNetwork> {
    let mut refused: Vec<_> = nodes.into_iter().flat_map(of_node).collect();
    let services = service_cidrs.into_iter().filter_map(|cidr| cidr.spec.as_ref()?.cidrs.as_ref());
    let services = services.flatten().filter_map(|cidr| network(cidr));
    refused.extend(services.map(|network| of_cluster(network, "the cluster's Services")));
    refused.extend(more.iter().map(|network| of_cluster(network.trunc(), "the operator's refusedNetworks")));
    refused.sort();
    refused.dedup();
    refused
}

fn of_cluster(network: Ipv4Net, what: &str) -> RefusedNetwork {
    RefusedNetwork { network, what: what.to_owned(), by_node: false }
}

fn of_node(node: &Node) -> Vec<RefusedNetwork> {
    let name = node.name_any();
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let own = addresses
        .filter_map(|address| address.address.parse::<Ipv4Addr>().ok())
        .map(|address| (Ipv4Net::from(address), format!("node {name}")));
    let pods = node.spec.iter().flat_map(|spec| spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr));
    let pods =
        pods.filter_map(|cidr| network(cidr)).map(|network| (network, format!("the Pods of node {name}")));
    own.chain(pods).map(|(network, what)| RefusedNetwork { network, what, by_node: true }).collect()
}

/// Networks of another address family are none of ours.
fn network(cidr: &str) -> Option<Ipv4Net> {
    cidr.parse::<Ipv4Net>().ok().map(|network| network.trunc())
}

#[cfg(test)]
mod tests {
    use foghorn_crds::{GuardMode, PortForwardingMode, WhenTaken};

    use super::*;
    use crate::planes::fixtures;

    #[test]
    fn nodes_their_pods_and_services_are_refused_once_each() {
        let nodes = [
            fixtures::node("w2", "192.0.2.12", "10.244.2.0/24"),
            fixtures::node("w1", "192.0.2.11", "10.244.1.0/24"),
        ];
        let services = [fixtures::service_cidr(&["10.96.0.0/12", "2001:db8::/108"])];
        let refused = refused_networks(&nodes, &services, &["10.0.3.0/8".parse().unwrap()]);
        let words: Vec<_> = refused.iter().map(|r| format!("{}: {}", r.network, r.what)).collect();
        let by_nodes: Vec<_> = refused.iter().map(|r| r.by_node).collect();
        assert_eq!(by_nodes, [false, false, true, true, true, true]);
        assert_eq!(
            words,
            [
                "10.0.0.0/8: the operator's refusedNetworks",
                "10.96.0.0/12: the cluster's Services",
                "10.244.1.0/24: the Pods of node w1",
                "10.244.2.0/24: the Pods of node w2",
                "192.0.2.11/32: node w1",
                "192.0.2.12/32: node w2",
            ]
        );
    }

    #[test]
    fn a_rebalancing_is_asked_for_by_the_planes_annotation() {
        let mut plane = fixtures::plane("blue", "x.dev/blue");
        let rebalance =
            |plane: &NetworkPlane| plane_config(plane, &Cluster::default(), Vec::new(), None).rebalance;
        assert_eq!(rebalance(&plane), "");
        plane.annotations_mut().insert(contract::REBALANCE_ANNOTATION.into(), "after the move".into());
        assert_eq!(rebalance(&plane), "after the move");
    }

    #[test]
    fn interfaces_of_other_planes_are_told_but_for_the_planes_own() {
        let [blue, green, mut red] =
            ["blue", "green", "red"].map(|name| fixtures::plane(name, &format!("x.dev/{name}")));
        red.spec.interface.name = Some("eth7".into());
        red.spec.guard.mode = GuardMode::Drop;
        let planes = [&red, &blue, &green].map(|plane| Arc::new(plane.clone())).to_vec();
        let config = plane_config(&blue, &Cluster { planes, ..Cluster::default() }, Vec::new(), None);
        assert_eq!(config.planes, ["red"], "those that have something on the nodes");
        assert_eq!(config.other_interfaces, [red.spec.interface]);
    }

    #[test]
    fn an_invalid_spec_changes_only_what_is_of_the_cluster() {
        let [mut blue, mut red] = ["blue", "red"].map(|name| fixtures::plane(name, &format!("x.dev/{name}")));
        blue.spec.guard.mode = GuardMode::Drop;
        let of = |planes: Vec<NetworkPlane>| {
            let nodes =
                [("w1".to_owned(), NodePreference { weight: 0, avoid: vec!["cordoned".into()] })].into();
            let planes = planes.into_iter().map(Arc::new).collect();
            let refused_networks =
                refused_networks(&[fixtures::node("w1", "192.0.2.11", "10.244.1.0/24")], [], &[]);
            Cluster { planes, nodes, refused_networks, ..Cluster::default() }
        };
        let mut running = plane_config(&blue, &Cluster::default(), Vec::new(), None);
        running.planes = vec!["blue".into()];
        running.nodes = [("w1".to_owned(), NodePreference { weight: 7, avoid: Vec::new() })].into();
        blue.spec.guard.mode = GuardMode::Off;
        blue.spec.allowed_subnets = vec!["203.0.113.0/33".into()];
        red.spec.interface.name = Some("eth7".into());
        red.spec.guard.mode = GuardMode::Drop;
        let mut cluster = of(vec![blue, red.clone()]);
        cluster.held = [("blue".to_owned(), Some(running.clone()))].into();
        let after = refreshed(running.clone(), &cluster);
        assert_eq!(after.planes, ["blue", "red"], "it runs with its guard");
        assert_eq!(after.other_interfaces, [red.spec.interface]);
        assert_eq!((after.refused_networks.len(), after.guard), (2, GuardMode::Drop));
        assert_eq!(after.nodes["w1"], NodePreference { weight: 7, avoid: vec!["cordoned".into()] });
        assert_eq!(after.allowed_subnets, running.allowed_subnets);
    }

    #[test]
    fn an_invalid_spec_of_another_plane_counts_for_nothing() {
        let [blue, mut red] = ["blue", "red"].map(|name| fixtures::plane(name, &format!("x.dev/{name}")));
        red.spec.interface.name = Some("eth7".into());
        red.spec.guard.mode = GuardMode::Drop;
        let running = plane_config(&red, &Cluster::default(), Vec::new(), None);
        red.spec.interface.name = Some("eth8".into());
        red.spec.guard.mode = GuardMode::Off;
        red.spec.allowed_subnets = vec!["203.0.113.0/33".into()];
        let told = |held: Option<PlaneConfig>| {
            let planes = [&blue, &red].map(|plane| Arc::new(plane.clone())).to_vec();
            let cluster = Cluster { planes, held: [("red".to_owned(), held)].into(), ..Cluster::default() };
            let config = plane_config(&blue, &cluster, Vec::new(), None);
            (config.planes, config.other_interfaces)
        };
        assert_eq!(told(Some(running.clone())), (vec!["red".to_owned()], vec![running.interface]));
        assert_eq!(told(None), (Vec::new(), Vec::new()), "it never ran");
    }

    #[test]
    fn announcers_are_told_of_port_forwarding_and_the_guard_that_comes_with_it() {
        let told = |plane: &NetworkPlane| {
            let config = plane_config(plane, &Cluster::default(), Vec::new(), None);
            (config.guard, config.port_forwarding.map(|forwarding| forwarding.when_taken))
        };
        let mut plane = fixtures::plane("blue", "x.dev/blue");
        assert_eq!(told(&plane), (GuardMode::Off, None));
        plane.spec.port_forwarding.mode = PortForwardingMode::OptIn;
        assert_eq!(told(&plane), (GuardMode::Drop, Some(WhenTaken::Refuse)));
        plane.spec.guard.mode = GuardMode::Reject;
        assert_eq!(told(&plane).0, GuardMode::Reject);
    }

    #[test]
    fn mark_and_table_follow_from_the_planes_number() {
        let plane = fixtures::plane("blue", "x.dev/blue");
        let ports = |number| PlanePorts { metrics: 1, probes: 2, return_path: number };
        let path = return_path(&plane, ports(Some(2)), &fixtures::options()).unwrap();
        assert_eq!((path.mark, path.mask, path.table), (0x2000, 0x3000, 7402));
        assert_eq!(return_path(&plane, ports(None), &fixtures::options()), None);
    }

    #[test]
    fn the_order_of_nodes_does_not_change_the_configuration() {
        let one = fixtures::node("w1", "192.0.2.11", "10.244.1.0/24");
        let two = fixtures::node("w2", "192.0.2.12", "10.244.2.0/24");
        assert_eq!(refused_networks([&one, &two], [], &[]), refused_networks([&two, &one], [], &[]));
    }
}
