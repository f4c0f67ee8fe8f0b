//! `AddressClaim`: what one Service asks of one plane, and all that came of it.

use std::net::Ipv4Addr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    dhcp::{ClaimDhcp, ClaimRoute, DhcpRequest, IdentityInUse},
    port_forwarding::{ClaimForwarding, ForwardStatus},
};

/// Most ports of a claim. A Service's ports are sets in the node's rules and in each announcer's memory, which all Services
/// of the plane share.
pub const PORTS_MAX: usize = 1000;
/// Most source networks of a claim, for the same reason: well above what clouds allow for one load balancer.
pub const SOURCE_RANGES_MAX: usize = 1000;
/// Most ports of a claim that the gateway is to forward. It is asked for one after the other, for all Services of the plane.
pub const FORWARDS_MAX: usize = 100;

/// What one Service asks of one plane, for one address family.
///
/// It lives in the plane's namespace. The operator writes the spec, the plane's announcers the status.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "foghorn.dev",
    version = "v1alpha1",
    kind = "AddressClaim",
    plural = "addressclaims",
    shortname = "claim",
    shortname = "claims",
    namespaced,
    status = "AddressClaimStatus",
    doc = "What one Service asks of one network plane, and all that came of it.",
    derive = "PartialEq",
    printcolumn(name = "Service-Namespace", type_ = "string", json_path = ".spec.serviceRef.namespace"),
    printcolumn(name = "Service", type_ = "string", json_path = ".spec.serviceRef.name"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.address"),
    printcolumn(name = "Source", type_ = "string", json_path = ".spec.source"),
    printcolumn(name = "Holder", type_ = "string", json_path = ".status.holder"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Lease-Until", type_ = "string", json_path = ".status.lease.expiresAt"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Hardware-Address",
        type_ = "string",
        json_path = ".status.identity.hardwareAddress",
        priority = 1
    ),
    printcolumn(name = "Identity", type_ = "string", json_path = ".status.identity.mode", priority = 1),
    printcolumn(
        name = "Forwards",
        type_ = "string",
        json_path = ".status.forwards[*].externalPort",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AddressClaimSpec {
    /// The plane, by name.
    #[x_kube(validation = ("self == oldSelf", "plane is immutable"))]
    pub plane: String,
    /// The Service that the address is for.
    #[x_kube(validation = ("self == oldSelf", "serviceRef is immutable"))]
    pub service_ref: ServiceReference,
    /// The address family.
    pub family: AddressFamily,
    /// Where the address comes from.
    pub source: AddressSource,
    /// How the address is asked of the DHCP server.
    #[serde(default)]
    pub dhcp: DhcpRequest,
    /// The Service's ports. None where the Service has more than fit: a guard then opens none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = PORTS_MAX))]
    pub ports: Vec<ClaimPort>,
    /// The nodes that serve the Service, sorted, where `externalTrafficPolicy: Local` lets no other node announce the address.
    /// While no announcer is on one of them, another one keeps the lease and announces nothing. Not given where every node
    /// serves the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving_nodes: Option<Vec<String>>,
    /// The networks, in CIDR form, from which clients may come: those of the Service's `loadBalancerSourceRanges` that are
    /// of the claim's address family, merged. Every client if not given; no client if empty, as it is where there are more
    /// than fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = SOURCE_RANGES_MAX))]
    pub source_ranges: Option<Vec<String>>,
    /// The ports that the network's gateway is to forward to the address; none if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarding: Option<ClaimForwarding>,
}

/// One Service, this very one and none of the same name made later.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReference {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// The Service's UID.
    pub uid: String,
}

/// The family of an address, as in `spec.ipFamilies` of a Service.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressFamily {
    /// IPv4.
    IPv4,
}

/// Where an address comes from.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// The network's DHCP server.
    #[serde(rename = "DHCP")]
    Dhcp,
}

/// One port of a Service.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClaimPort {
    /// The port's name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The port number.
    pub port: i32,
}

/// What came of a claim. All that must survive the node that holds it is here.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AddressClaimStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the claim stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ClaimState>,
    /// The address, while its lease is held; the condition `Ready` says whether it is announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// The node that answers for the address, or keeps its lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// The hardware address by which that node answers. The next holder knows it for a peer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder_hardware_address: Option<String>,
    /// The grant by which the holder has the claim, as `<created>.<view>.<quorum>.<number>`; a write by an older grant is
    /// dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// The interface by which the holder announces the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Who the claim is to the DHCP server, on whichever node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<ClaimIdentity>,
    /// The lease, which the next holder goes on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<ClaimLease>,
    /// Where the holder's DHCP client stands, and what it has exchanged with servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<ClaimDhcp>,
    /// What last went wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What came of the ports that the gateway is to forward.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forwards: Vec<ForwardStatus>,
    /// `Ready`: the address is held and announced; if not, why. `PortsForwarded`: the gateway forwards all ports that it is to
    /// forward; if not, why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Where a claim stands.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimState {
    /// An address is being asked for (INIT, SELECTING, REQUESTING).
    Acquiring,
    /// The server gave an address; it is being checked for another user.
    Checking,
    /// The address is held. It is announced, unless no node may: then the condition `Ready` says why.
    Bound,
    /// As `Bound`, and the lease is being extended with its server.
    Renewing,
    /// As `Bound`, and the lease is being extended with any server.
    Rebinding,
    /// Taken over from another node, announced, and being confirmed with the server (INIT-REBOOT).
    Rebooting,
    /// The address that was given may not be used; another is asked for later.
    Refused,
    /// The address is withdrawn and given back to the server.
    Released,
    /// No node can have the claim now; the condition `Ready` says why. Its lease is kept until it ends.
    Unassigned,
}

/// Who a claim is to the DHCP server.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClaimIdentity {
    /// `chaddr`, as `02:00:5e:10:00:01`.
    pub hardware_address: String,
    /// Option 61, type octet included, as hexadecimal digits.
    pub client_id: String,
    /// What the identity was derived from, if that is not the UID of the namespace `kube-system`. A lease of another seed is
    /// another cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
    /// How the frames are made; what the plane's `dhcp.identity` came to. Not given before it was found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<IdentityInUse>,
}

/// A DHCP lease. Times are the API server's.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClaimLease {
    /// The leased address.
    pub address: Ipv4Addr,
    /// The server identifier (option 54): where renewals go.
    pub server: Ipv4Addr,
    /// Length of the subnet mask (option 1), in bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 32))]
    pub prefix_length: Option<u8>,
    /// The routers (option 3), in order of preference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routers: Vec<Ipv4Addr>,
    /// The routes (option 121); where there are any, they count in place of the routers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<ClaimRoute>,
    /// When the request was sent that the lease was granted for.
    pub acquired_at: MicroTime,
    /// T1: from when the lease is renewed with its server. Not given for an infinite lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<MicroTime>,
    /// T2: from when the lease is renewed with any server. Not given for an infinite lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebind_at: Option<MicroTime>,
    /// When the address may no longer be used. Not given for an infinite lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<MicroTime>,
}
