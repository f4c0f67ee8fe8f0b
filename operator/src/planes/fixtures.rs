//! Objects for tests.

use clap::Parser;
use foghorn_crds::{InterfaceSelector, NetworkPlane, NetworkPlaneSpec};
use k8s_openapi::{
    api::{
        core::v1::{Node, NodeAddress, NodeSpec, NodeStatus},
        networking::v1::{ServiceCIDR, ServiceCIDRSpec},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::args::{Arguments, Command, Run};

/// A plane with nothing but a class and `eth1`; its UID is made of its name.
pub(crate) fn plane(name: &str, class: &str) -> NetworkPlane {
    let spec: NetworkPlaneSpec = serde_json::from_value(serde_json::json!({
        "loadBalancerClass": class,
        "interface": InterfaceSelector { name: Some("eth1".into()), ..InterfaceSelector::default() },
    }))
    .unwrap();
    let mut plane = NetworkPlane::new(name, spec);
    plane.metadata.uid = Some(format!("uid-of-{name}"));
    plane.metadata.generation = Some(1);
    plane
}

/// `run` with nothing but what it must be told.
pub(crate) fn options() -> Run {
    let line = "foghorn-operator run --namespace foghorn-system --pod-name operator-1 \
                --announcer-image example.org/announcer:1 --announcer-cluster-role foghorn-announcer";
    match Arguments::parse_from(line.split_whitespace()).command {
        Command::Run(options) => *options,
        Command::Uninstall(_) => panic!("the command is run"),
    }
}

pub(crate) fn node(name: &str, address: &str, pods: &str) -> Node {
    let internal = NodeAddress { type_: "InternalIP".into(), address: address.into() };
    let hostname = NodeAddress { type_: "Hostname".into(), address: name.into() };
    Node {
        metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
        spec: Some(NodeSpec {
            pod_cidr: Some(pods.into()),
            pod_cidrs: Some(vec![pods.into()]),
            ..NodeSpec::default()
        }),
        status: Some(NodeStatus { addresses: Some(vec![internal, hostname]), ..NodeStatus::default() }),
    }
}

pub(crate) fn service_cidr(cidrs: &[&str]) -> ServiceCIDR {
    let cidrs = cidrs.iter().map(|&cidr| cidr.to_owned()).collect();
    ServiceCIDR { spec: Some(ServiceCIDRSpec { cidrs: Some(cidrs) }), ..ServiceCIDR::default() }
}
