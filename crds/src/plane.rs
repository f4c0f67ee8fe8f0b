//! `NetworkPlane`: a network on which Services get addresses.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{ResourceRequirements, Toleration},
    apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector},
};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    contract,
    datapath::{GuardMode, GuardSpec, ReturnPathMode, ReturnPathSpec},
    dhcp::{DhcpSpec, IdentityInUse, OverridesSpec},
    failover::{ApiOutage, FailureDetection, PlacementSpec},
    host_address::HostAddressSpec,
    port_forwarding::{PortForwardingMode, PortForwardingSpec},
};

/// An IPv4 network in CIDR form.
const IPV4_NETWORK: &str = r"^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])/(3[0-2]|[12]?[0-9])$";
/// How many requirements a selector of namespaces may have: the cost of their rule has to be bounded.
const REQUIREMENTS_MAX: usize = 64;

/// A network on which Services of one `loadBalancerClass` get addresses.
///
/// The operator runs announcers for it, one on each chosen node, in the namespace `foghorn-<name>`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "foghorn.dev",
    version = "v1alpha1",
    kind = "NetworkPlane",
    plural = "networkplanes",
    shortname = "plane",
    shortname = "planes",
    status = "NetworkPlaneStatus",
    doc = "A network on which Services of one loadBalancerClass get addresses.",
    derive = "PartialEq",
    selectable = ".spec.loadBalancerClass",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$')").message("the name must be a DNS label of at most 40 characters"),
    validation = Rule::new("self.metadata.name != 'system'").message("the name system is reserved: foghorn-system is where the operator lives"),
    validation = Rule::new("(has(self.spec.lease) && has(self.spec.lease.name) ? self.spec.lease.name : 'foghorn-' + self.metadata.name) == (has(oldSelf.spec.lease) && has(oldSelf.spec.lease.name) ? oldSelf.spec.lease.name : 'foghorn-' + self.metadata.name)").message("lease.name is immutable: with two Leases an address would have two owners"),
    validation = Rule::new("!has(self.spec.hostAddress) || self.spec.hostAddress.mode != 'Fenced' || self.spec.hostAddress.unguarded || (has(self.spec.guard) && self.spec.guard.mode != 'Off') || (has(self.spec.portForwarding) && self.spec.portForwarding.mode != 'Off')").message("hostAddress.mode Fenced needs guard.mode Drop or Reject, or hostAddress.unguarded: true: without a guard the node, and all that listens on all of its addresses, can be reached by the Services' addresses"),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.loadBalancerClass"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodes"),
    printcolumn(name = "Addresses", type_ = "string", json_path = ".status.addresses"),
    printcolumn(name = "Coordinator", type_ = "string", json_path = ".status.coordinator"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPlaneSpec {
    /// The `spec.loadBalancerClass` of the Services that this plane serves, for example `foghorn.dev/public-prod`.
    /// No other plane may have the same; it cannot be changed.
    #[x_kube(validation = ("self == oldSelf", "loadBalancerClass is immutable"))]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
    )]
    pub load_balancer_class: String,

    /// Whether this plane also serves Services that name no class. At most one plane can.
    #[serde(default)]
    pub default: bool,

    /// The one network interface of each node that is on this plane's network.
    pub interface: InterfaceSelector,

    /// Labels of the nodes on which announcers run; all Linux nodes if empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,

    /// Tolerations of the announcers' Pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,

    /// Priority class of the announcers' Pods; `system-node-critical` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,

    /// Resources of the announcers' containers; a request of 10m CPU and 24Mi memory and no CPU limit if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// How addresses are asked of the network's DHCP server.
    #[serde(default)]
    #[x_kube(validation = (
        "!has(self.options) || self.options.all(x, self.options.exists_one(y, y.code == x.code))",
        "an option can be given once only"
    ))]
    pub dhcp: DhcpSpec,

    /// How addresses are made known on the network.
    #[serde(default)]
    pub announce: AnnounceSpec,

    /// The Lease that says which nodes take part, and which of them assigns the addresses.
    #[serde(default)]
    pub lease: LeaseSpec,

    /// How soon a lost node is noticed.
    #[serde(default)]
    pub failure_detection: FailureDetection,

    /// Which nodes hold the addresses.
    #[serde(default)]
    pub placement: PlacementSpec,

    /// What becomes of a node's addresses if it is lost while the API server is away. If not given, `Quorum` for three or
    /// more nodes and `Hold` for fewer: of two nodes one is no majority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_outage: Option<ApiOutage>,

    /// Whether addresses are also put on the nodes' interface.
    #[serde(default)]
    pub host_address: HostAddressSpec,

    /// Whether replies leave by the plane's interface, whatever the node's own routes are.
    #[serde(default)]
    pub return_path: ReturnPathSpec,

    /// What becomes of packets to the plane's addresses that are for no port of their Services.
    #[serde(default)]
    pub guard: GuardSpec,

    /// Whether ports of Services are forwarded by the network's gateway.
    #[serde(default)]
    #[x_kube(validation = (
        "self.mode != 'All' || (has(self.allowedNamespaces) && has(self.externalPorts))",
        "mode All needs allowedNamespaces and externalPorts: whoever may make a Service in these namespaces opens a port to the internet"
    ))]
    pub port_forwarding: PortForwardingSpec,

    /// The namespaces whose Services may have an address of this plane; all of them if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,

    /// How many addresses may be in use.
    #[serde(default)]
    pub limits: Limits,

    /// The networks, in CIDR form, that an address must be in, whoever gave it; any network if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 18), regex(pattern = IPV4_NETWORK)))]
    pub allowed_subnets: Vec<String>,

    /// What a Service's annotations may change of how its address is asked for; nothing if not given.
    #[serde(default)]
    pub overrides: OverridesSpec,
}

/// Chooses one interface of each node, in exactly one of four ways. Interfaces that are part of a bond, a bridge or a
/// VRF are passed over; more than one match, or none, is an error that the plane's conditions name.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.name), has(self.regex), has(self.canReach), has(self.subnet)].filter(x, x).size() == 1",
    "exactly one of name, regex, canReach and subnet must be given"
))]
pub struct InterfaceSelector {
    /// The interface's name, for example `eth1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15))]
    pub name: Option<String>,
    /// A regular expression that must match the interface's whole name, for example `enp[0-9]+s0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub regex: Option<String>,
    /// An address; the interface by which the node would send to it is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub can_reach: Option<std::net::Ipv4Addr>,
    /// A network in CIDR form; the interface with an address in it is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 18), regex(pattern = IPV4_NETWORK))]
    pub subnet: Option<String>,
}

/// How addresses are made known on the network.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct AnnounceSpec {
    /// How a new address is checked for another user before it is announced for the first time.
    pub probe: ProbeMode,
    /// Seconds between repeated gratuitous ARPs of an address in use; 0 for none.
    #[schemars(range(max = 86400))]
    pub refresh_seconds: u32,
    /// The most ARP frames that a node sends in any second for this plane, answers not counted: switches with ARP inspection
    /// shut ports that send more than they allow.
    #[schemars(range(min = 1, max = 10000))]
    pub max_per_second: u32,
    /// What becomes of an address that another host claims again within 10 seconds after it was defended.
    pub on_conflict: OnConflict,
}

impl Default for AnnounceSpec {
    fn default() -> Self {
        Self {
            probe: ProbeMode::Fast,
            refresh_seconds: 60,
            max_per_second: 200,
            on_conflict: OnConflict::Withdraw,
        }
    }
}

/// What becomes of an address that another host keeps claiming.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// It is withdrawn, and another one is asked for (RFC 5227, 2.4 b).
    #[default]
    Withdraw,
    /// It is kept, and defended once in 10 seconds (RFC 5227, 2.4 c).
    Defend,
}

/// How a new address is checked for another user.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProbeMode {
    /// Three ARP probes, 100 ms apart, and 200 ms to wait for an answer.
    #[default]
    Fast,
    /// As RFC 5227 says: three ARP probes, 1 to 2 s apart, and 2 s to wait for an answer; 4 to 7 s in all.
    #[serde(rename = "RFC5227")]
    Rfc5227,
    /// Not at all.
    Off,
}

/// The Lease that says which nodes take part in a plane, and which of them assigns its addresses.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    /// The Lease's name; `foghorn-<plane>` if not given. No other plane may have the same; it cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: Option<String>,
}

/// The namespaces whose Services may have an address of a plane: those named and those selected.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct AllowedNamespaces {
    /// Namespaces by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Namespaces by label. An empty selector selects every namespace, none selects no further one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = check_requirements)]
    pub selector: Option<LabelSelector>,
}

/// Has the API server refuse requirements that select nothing by their form.
fn check_requirements(selector: &mut Schema) {
    let requirements = selector
        .get_mut("properties")
        .and_then(|properties| properties.get_mut("matchExpressions"))
        .and_then(Value::as_object_mut);
    let Some(requirements) = requirements else { return };
    requirements.insert("maxItems".to_owned(), json!(REQUIREMENTS_MAX));
    let Some(requirement) = requirements.get_mut("items").and_then(Value::as_object_mut) else { return };
    let rule = "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)";
    let message = "values must be given with the operators In and NotIn, and with no other";
    requirement.insert("x-kubernetes-validations".to_owned(), json!([{ "rule": rule, "message": message }]));
    if let Some(operator) =
        requirement.get_mut("properties").and_then(|properties| properties.get_mut("operator"))
    {
        operator["enum"] = json!(["In", "NotIn", "Exists", "DoesNotExist"]);
    }
}

/// How many addresses may be in use; without limit where not given.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Addresses of the whole plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<u32>,
    /// Addresses of the Services of one namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses_per_namespace: Option<u32>,
}

/// What came of a plane.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPlaneStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The namespace of the plane's announcers and claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name of the plane's Lease in that namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_name: Option<String>,
    /// What of the nodes' own network is the plane's. No two planes have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<PlanePorts>,
    /// Announcers that are ready and announcers that are wanted, as `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
    /// Claims with an address and all claims, as `9/10`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<String>,
    /// The node that assigns the plane's addresses to nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinator: Option<String>,
    /// Which view of the plane's nodes is in force, as `1767225600.7.0`: when the Lease was made, in seconds since 1970, how
    /// many views it has had, and a zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
    /// The nodes that take part in that view, the longest there first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// How the frames of the plane's DHCP clients are made, in all the ways that are in use: what `dhcp.identity` came to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<IdentityInUse>,
    /// `Ready`, `Accepted` (the spec is valid and conflicts with no other plane), `AnnouncersReady`, `InterfacesReady`,
    /// `HeartbeatWire` and `HeartbeatUDP` (which ways the announcers hear each other by), `Placement` (which nodes are
    /// passed over), and `Datapath` (whether `returnPath` and `guard` are in force).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What of the nodes' own network is a plane's. No two planes have the same.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PlanePorts {
    /// `/metrics`, on all of the node's addresses, by TCP; by UDP the announcers' heartbeats.
    pub metrics: u16,
    /// `/healthz` and `/readyz`, on the loopback address.
    pub probes: u16,
    /// From 1 on, for a plane with `returnPath`: its mark and its routing table follow from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_path: Option<u16>,
}

impl NetworkPlane {
    /// The name of the plane's Lease: the spec's, or the default.
    #[must_use]
    pub fn lease_name(&self) -> String {
        let plane = self.metadata.name.as_deref().unwrap_or_default();
        self.spec.lease.name.clone().unwrap_or_else(|| contract::default_lease_name(plane))
    }
}

impl NetworkPlaneSpec {
    /// Whether the gateway is asked to forward ports.
    #[must_use]
    pub fn forwards_ports(&self) -> bool {
        self.port_forwarding.mode != PortForwardingMode::Off
    }

    /// What becomes of packets that are for no port of a Service: what `guard` says, and at least `Drop` where ports are
    /// forwarded, since the addresses are on the interface then.
    #[must_use]
    pub fn guard_mode(&self) -> GuardMode {
        if self.guard.mode == GuardMode::Off && self.forwards_ports() {
            GuardMode::Drop
        } else {
            self.guard.mode
        }
    }

    /// Whether replies leave by the plane's interface: as `returnPath` says, and always where ports are forwarded, since clients
    /// are behind the gateway then.
    #[must_use]
    pub fn return_path_mode(&self) -> ReturnPathMode {
        if self.forwards_ports() { ReturnPathMode::Auto } else { self.return_path.mode }
    }
}
