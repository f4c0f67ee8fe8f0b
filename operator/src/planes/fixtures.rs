//! Objects for tests.

use clap::Parser;
pub(crate) use foghorn_crds::fixtures::plane;
use foghorn_crds::{conditions::reasons::INTERFACE_READY, contract};
use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::{Node, NodeAddress, NodeSpec, NodeStatus, Pod, PodCondition, PodSpec},
        networking::v1::{ServiceCIDR, ServiceCIDRSpec},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use serde_json::json;

use crate::args::{Arguments, Command, Run};

/// `run` with nothing but what it must be told.
pub(crate) fn options() -> Run {
    let line = "foghorn-operator run --namespace foghorn-system --pod-name operator-1 \
                --announcer-image example.org/announcer:1 --datapath-image example.org/datapath:1 --announcer-cluster-role foghorn-announcer";
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

/// An announcer that is ready, with its interface in working order.
pub(crate) fn ready_pod(node: &str) -> Pod {
    pod(node, Some(("True", INTERFACE_READY, "")))
}

/// An announcer that is ready. Of its interface it says that status, reason and message, or nothing.
pub(crate) fn pod(node: &str, interface: Option<(&str, &str, &str)>) -> Pod {
    let spec = PodSpec { node_name: Some(node.into()), ..PodSpec::default() };
    let pod = with_condition(Pod { spec: Some(spec), ..Pod::default() }, "Ready", "True", "", "");
    match interface {
        Some((status, reason, message)) => {
            with_condition(pod, contract::INTERFACE_CONDITION, status, reason, message)
        }
        None => pod,
    }
}

pub(crate) fn with_condition(mut pod: Pod, type_: &str, status: &str, reason: &str, message: &str) -> Pod {
    let condition = PodCondition {
        type_: type_.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        ..PodCondition::default()
    };
    pod.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
    pod
}

/// The Lease of a plane, held by `holder`, with the incarnations 0xa, 0xb and so on of `nodes` as members.
pub(crate) fn lease(holder: &str, transitions: i32, nodes: &[&str]) -> Lease {
    let id = |index: usize| format!("{:016x}", index + 10);
    let members: Vec<_> =
        nodes.iter().enumerate().map(|(index, node)| json!({"id": id(index), "node": node})).collect();
    let view = json!({"coordinator": id(0), "members": members}).to_string();
    Lease {
        metadata: ObjectMeta {
            creation_timestamp: Some(Time(Timestamp::from_second(1_767_225_600).unwrap())),
            annotations: Some([(contract::VIEW_ANNOTATION.to_owned(), view)].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }),
    }
}

pub(crate) fn service_cidr(cidrs: &[&str]) -> ServiceCIDR {
    let cidrs = cidrs.iter().map(|&cidr| cidr.to_owned()).collect();
    ServiceCIDR { spec: Some(ServiceCIDRSpec { cidrs: Some(cidrs) }), ..ServiceCIDR::default() }
}
