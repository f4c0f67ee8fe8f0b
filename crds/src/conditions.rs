//! Conditions: their types, their reasons, and how one is changed.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

/// `Ready`, on planes and claims: all is well.
pub const READY: &str = "Ready";
/// On a plane: its spec is valid and conflicts with no other plane.
pub const ACCEPTED: &str = "Accepted";
/// On a plane: as many announcers run as are wanted.
pub const ANNOUNCERS_READY: &str = "AnnouncersReady";
/// On a plane: every announcer has found its interface in working order.
pub const INTERFACES_READY: &str = "InterfacesReady";

/// On a plane: every announcer hears all others on the plane's own network.
pub const HEARTBEAT_WIRE: &str = "HeartbeatWire";
/// On a plane: every announcer hears all others by UDP between node addresses.
pub const HEARTBEAT_UDP: &str = "HeartbeatUDP";
/// On a plane: no node is passed over when addresses are placed.
pub const PLACEMENT: &str = "Placement";
/// On a plane: whether its `returnPath` and `guard` are in force on all nodes.
pub const DATAPATH: &str = "Datapath";
/// On a claim: the gateway forwards all ports that it is to forward.
pub const PORTS_FORWARDED: &str = "PortsForwarded";

/// Reasons of conditions: one word for each cause, the same in conditions, events, logs and docs.
pub mod reasons {
    /// The address is held and announced.
    pub const ANNOUNCED: &str = "Announced";
    /// An address is being asked for, nothing went wrong so far.
    pub const ACQUIRING: &str = "Acquiring";
    /// No DHCP server answered.
    pub const NO_DHCP_ANSWER: &str = "NoDHCPAnswer";
    /// A DHCP server answered, but not with what an answer must have.
    pub const UNUSABLE_DHCP_ANSWER: &str = "UnusableDHCPAnswer";
    /// The DHCP server refused what was asked.
    pub const DHCP_NAK: &str = "DHCPNak";
    /// Another host uses the address.
    pub const ADDRESS_CONFLICT: &str = "AddressConflict";
    /// The address is one that no Service may have.
    pub const ADDRESS_REFUSED: &str = "AddressRefused";
    /// A DHCP server gives the same address to several Services.
    pub const ADDRESS_SHARED: &str = "AddressShared";
    /// Another host, or another Service, has the Service's hardware address.
    pub const HARDWARE_ADDRESS_TAKEN: &str = "HardwareAddressTaken";
    /// An annotation asks for what no Service may have.
    pub const INVALID_OVERRIDE: &str = "InvalidOverride";
    /// The lease ran out before a server extended it.
    pub const LEASE_EXPIRED: &str = "LeaseExpired";
    /// The address is given back.
    pub const RELEASED: &str = "Released";
    /// The node has no interface that the plane's selector matches.
    pub const INTERFACE_NOT_FOUND: &str = "InterfaceNotFound";
    /// More than one interface of the node matches the plane's selector.
    pub const INTERFACE_AMBIGUOUS: &str = "InterfaceAmbiguous";
    /// The interface has no IPv4 address of the node.
    pub const INTERFACE_WITHOUT_ADDRESS: &str = "InterfaceWithoutAddress";
    /// The interface is down or its cable is out.
    pub const INTERFACE_DOWN: &str = "InterfaceDown";
    /// The interface is in working order.
    pub const INTERFACE_READY: &str = "InterfaceReady";
    /// All others are heard by this way.
    pub const ALL_HEARD: &str = "AllHeard";
    /// Some of the others were never heard by this way.
    pub const PATH_NEVER_HEARD: &str = "PathNeverHeard";
    /// `returnPath` and `guard` are in force on the node.
    pub const IN_FORCE: &str = "InForce";
    /// Neither is wanted, or there is no claim that they would be for: nothing of the plane is left on the node.
    pub const NOTHING_LEFT: &str = "NothingLeft";
    /// It cannot be in force: the container is not allowed to change the network.
    pub const NOT_PERMITTED: &str = "NotPermitted";
    /// They are not; the message says why.
    pub const NOT_IN_FORCE: &str = "NotInForce";
    /// The container that changes the node's network does not answer.
    pub const NOT_CONNECTED: &str = "NotConnected";
    /// They are in force, but the guard does not know the interface of another plane: the node has no route to its `canReach`.
    pub const OTHER_INTERFACE_UNKNOWN: &str = "OtherInterfaceUnknown";
    /// What can stand in the way of `returnPath` and `guard`: the container is not allowed to change the network, a setting
    /// of the node drops packets, Pods' replies are not forwarded, no router is known, another program leads packets past
    /// nftables, the guard has no room for all Services, or the container does not understand the announcer.
    pub const DATAPATH_FINDINGS: [&str; 7] = [
        NOT_PERMITTED,
        "ReversePathFilter",
        "NoForwarding",
        "NoGateway",
        "DatapathBypassed",
        "GuardFull",
        "Refused",
    ];
    /// The gateway forwards the ports.
    pub const FORWARDED: &str = "Forwarded";
    /// The gateway is being asked to forward them.
    pub const FORWARDING: &str = "Forwarding";
    /// It forwards them, and would do so without an end: it takes no other mapping.
    pub const PERMANENT_ONLY: &str = "PermanentOnly";
    /// The gateway does not answer, in any of the plane's protocols.
    pub const GATEWAY_NOT_FOUND: &str = "GatewayNotFound";
    /// The gateway does not let the Service have a port.
    pub const GATEWAY_REFUSED: &str = "GatewayRefused";
    /// The gateway forwards the port already, to another host or another Service.
    pub const PORT_TAKEN: &str = "PortTaken";
    /// The gateway forwards the ports, but has no public address itself: another gateway is in front of it.
    pub const DOUBLE_NAT: &str = "DoubleNAT";
    /// The Service's namespace, or a port that it asks for, is not among those that the plane allows.
    pub const FORWARDING_NOT_ALLOWED: &str = "ForwardingNotAllowed";
    /// An annotation about port forwarding says what cannot be.
    pub const INVALID_FORWARDING: &str = "InvalidForwarding";
    /// More planes want a return path than there are marks for.
    pub const NO_MARK: &str = "NoMark";
    /// No announcer of the plane has a carrier and is heard by the others.
    pub const NO_MEMBER: &str = "NoMember";
    /// No announcer's interface is in the network of the address.
    pub const NO_SUBNET: &str = "NoSubnet";
    /// No announcer's node serves a Service whose address only nodes with its endpoints may announce. The lease is kept.
    pub const NO_SERVING_NODE: &str = "NoServingNode";
}

/// A new condition. `message` is for people; `generation` is that of the spec it speaks of.
#[must_use]
pub fn condition(
    type_: &str,
    status: bool,
    reason: &str,
    message: impl Into<String>,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: Time(now),
    }
}

/// Puts `new` among `conditions`. The time of the last transition stays where the status did not change.
pub fn set(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.iter_mut().find(|c| c.type_ == new.type_) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

/// The condition of that type.
#[must_use]
pub fn get<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut conditions = vec![condition(READY, false, reasons::ACQUIRING, "asking", Some(1), at(1))];
        set(&mut conditions, condition(READY, false, reasons::NO_DHCP_ANSWER, "no answer", Some(2), at(2)));
        assert_eq!(conditions[0].last_transition_time.0, at(1));
        assert_eq!(conditions[0].reason, reasons::NO_DHCP_ANSWER);
        set(&mut conditions, condition(READY, true, reasons::ANNOUNCED, "", Some(2), at(3)));
        assert_eq!(conditions[0].last_transition_time.0, at(3));
        assert_eq!(conditions.len(), 1);
    }
}
