//! Names that the operator, the announcers, the chart and users rely on.

use crate::AddressFamily;

/// API group of the resources.
pub const GROUP: &str = "foghorn.dev";
/// API version of the resources.
pub const VERSION: &str = "v1alpha1";

/// Raised with each change of the schemas; the operator brings newer definitions in and never older ones.
pub const SCHEMA_VERSION: u32 = 6;
/// On a definition: the [`SCHEMA_VERSION`] of the program that installed it.
pub const SCHEMA_VERSION_ANNOTATION: &str = "foghorn.dev/schema-version";

/// Finalizer on a Service: its address is withdrawn and released before it goes.
pub const SERVICE_FINALIZER: &str = "foghorn.dev/address";
/// Finalizer on an `AddressClaim`: its lease is released before it goes.
pub const CLAIM_FINALIZER: &str = "foghorn.dev/lease";
/// Finalizer on a `NetworkPlane`: its claims are ended before its announcers go.
pub const PLANE_FINALIZER: &str = "foghorn.dev/plane";

/// Label on all that belongs to a plane; the value is the plane's name.
pub const PLANE_LABEL: &str = "foghorn.dev/plane";
/// Label on a claim: the namespace of its Service.
pub const SERVICE_NAMESPACE_LABEL: &str = "foghorn.dev/service-namespace";
/// Label on a claim: the name of its Service.
pub const SERVICE_NAME_LABEL: &str = "foghorn.dev/service-name";

/// Annotation on a Service: the addresses it asks for, a list; `0.0.0.0` is any address from DHCPv4.
pub const ADDRESSES_ANNOTATION: &str = "foghorn.dev/addresses";
/// What users of kube-vip write instead of [`ADDRESSES_ANNOTATION`].
pub const KUBE_VIP_ADDRESSES_ANNOTATION: &str = "kube-vip.io/loadbalancerIPs";

/// Annotation on a Service: the hardware address that it is known by to the DHCP server.
pub const HARDWARE_ADDRESS_ANNOTATION: &str = "foghorn.dev/hardware-address";
/// What users of kube-vip write instead of [`HARDWARE_ADDRESS_ANNOTATION`].
pub const KUBE_VIP_HARDWARE_ADDRESS_ANNOTATION: &str = "kube-vip.io/hwaddr";
/// Annotation on a Service: the client identifier that it is known by to the DHCP server, in hexadecimal.
pub const CLIENT_ID_ANNOTATION: &str = "foghorn.dev/client-id";
/// Annotation on a Service: the host name that the DHCP server is told.
pub const HOSTNAME_ANNOTATION: &str = "foghorn.dev/hostname";
/// What users of kube-vip write instead of [`HOSTNAME_ANNOTATION`].
pub const KUBE_VIP_HOSTNAME_ANNOTATION: &str = "kube-vip.io/loadbalancerHostname";
/// Annotation on a Service: the address that the DHCP server is asked for; it may give another one.
pub const REQUESTED_ADDRESS_ANNOTATION: &str = "foghorn.dev/requested-address";
/// What users of kube-vip write instead of [`REQUESTED_ADDRESS_ANNOTATION`].
pub const KUBE_VIP_REQUESTED_ADDRESS_ANNOTATION: &str = "kube-vip.io/requestedIP";

/// Annotation on a Service: the ports that the gateway is to forward. `true` for all, `false` for none, or a list of
/// `<external>:<port>/<tcp or udp>`.
pub const PORT_FORWARD_ANNOTATION: &str = "foghorn.dev/port-forward";
/// What users of kube-vip write instead of [`PORT_FORWARD_ANNOTATION`].
pub const KUBE_VIP_PORT_FORWARD_ANNOTATION: &str = "kube-vip.io/forwardUPNP";
/// Annotation on a Service: for how many seconds the gateway is asked to forward its ports; 0 is without an end.
pub const PORT_FORWARD_LEASE_ANNOTATION: &str = "foghorn.dev/port-forward-lease";
/// What users of kube-vip write instead of [`PORT_FORWARD_LEASE_ANNOTATION`].
pub const KUBE_VIP_PORT_FORWARD_LEASE_ANNOTATION: &str = "kube-vip.io/upnp-lease-duration";
/// Annotation on a Service that external-dns reads: where its names lead, in place of its addresses.
pub const EXTERNAL_DNS_TARGET_ANNOTATION: &str = "external-dns.alpha.kubernetes.io/target";

/// Annotation on a plane: a new value asks for one rebalancing of its addresses.
pub const REBALANCE_ANNOTATION: &str = "foghorn.dev/rebalance";
/// Annotation on a plane: a new value asks for a new heartbeat key.
pub const ROTATE_KEYS_ANNOTATION: &str = "foghorn.dev/rotate-keys";
/// Annotation on a plane's Lease: who takes part, and who assigns the addresses.
pub const VIEW_ANNOTATION: &str = "foghorn.dev/view";

/// Condition on a Service: whether it has its address, and if not, why.
pub const SERVICE_CONDITION: &str = "foghorn.dev/AddressReady";
/// Condition on a Service: whether the gateway forwards the ports that it is to forward, and if not, why.
pub const PORTS_FORWARDED_CONDITION: &str = "foghorn.dev/PortsForwarded";
/// Condition on an announcer's Pod: whether its node has the plane's interface in working order.
pub const INTERFACE_CONDITION: &str = "foghorn.dev/InterfaceReady";

/// Condition on an announcer's Pod: whether it hears all others on the plane's own network.
pub const HEARTBEAT_WIRE_CONDITION: &str = "foghorn.dev/HeartbeatWire";
/// Condition on an announcer's Pod: whether it hears all others by UDP between node addresses.
pub const HEARTBEAT_UDP_CONDITION: &str = "foghorn.dev/HeartbeatUDP";

/// Condition on an announcer's Pod: whether the plane's `returnPath` and `guard` are in force on its node.
pub const DATAPATH_CONDITION: &str = "foghorn.dev/Datapath";

/// Name of the ConfigMap in a plane's namespace that holds the [`PlaneConfig`](crate::PlaneConfig).
pub const PLANE_CONFIG_MAP: &str = "plane";
/// Key of that ConfigMap: the configuration as JSON.
pub const PLANE_CONFIG_KEY: &str = "plane.json";
/// Name of the Secret in a plane's namespace that holds the announcers' heartbeat keys.
pub const HEARTBEAT_SECRET: &str = "heartbeat";
/// Where these keys are in an announcer's container: a file for each, with the key's id as its name.
pub const HEARTBEAT_KEYS_PATH: &str = "/etc/foghorn/heartbeat";
/// Name of the DaemonSet, the ServiceAccount and the RoleBinding in a plane's namespace.
pub const ANNOUNCER_NAME: &str = "announcer";

/// Name of the announcers' second container, which has the capability NET_ADMIN.
pub const DATAPATH_NAME: &str = "datapath";
/// Where that is told what is wanted: a socket in the folder that an announcer's containers share.
pub const DATAPATH_SOCKET: &str = "/var/lib/foghorn/datapath.sock";

/// The longest name of a plane, in octets: names of its children stay below their own limits.
pub const PLANE_NAME_MAX: usize = 40;
/// The name that no plane can have: `foghorn-system` is where the operator lives.
pub const PLANE_NAME_RESERVED: &str = "system";

/// The namespace of all that belongs to a plane.
#[must_use]
pub fn plane_namespace(plane: &str) -> String {
    format!("foghorn-{plane}")
}

/// The plane that a namespace of this name would be of.
#[must_use]
pub fn plane_of_namespace(namespace: &str) -> Option<&str> {
    namespace.strip_prefix("foghorn-")
}

/// The name of the plane's Lease, where its spec names none.
#[must_use]
pub fn default_lease_name(plane: &str) -> String {
    format!("foghorn-{plane}")
}

/// The name of the claim of one Service and address family. Names of namespaces and Services have no dots
/// (RFC 1123 labels), so different Services have different claims.
#[must_use]
pub fn claim_name(service_namespace: &str, service_name: &str, family: AddressFamily) -> String {
    let family = match family {
        AddressFamily::IPv4 => "ipv4",
    };
    format!("{service_namespace}.{service_name}.{family}")
}
