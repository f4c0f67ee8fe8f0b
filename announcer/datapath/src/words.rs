//! What things of an address family are called in the text that `nft` takes.

use foghorn_netio::Family;

/// The words of one family.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// The family.
    pub family: Family,
    /// Its packets' header.
    pub ip: &'static str,
    /// Its protocol of control messages.
    pub icmp: &'static str,
    /// The types of control messages that tell of a connection's errors.
    pub errors: &'static str,
    /// What matches the messages by which neighbours find each other, if they are of its protocol.
    pub neighbours: Option<&'static str>,
    /// The type of a set of its networks.
    pub networks: &'static str,
    /// What the names of its sets and chains end with.
    pub suffix: &'static str,
}

impl Words {
    /// Those of the family.
    #[must_use]
    pub const fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self {
                family,
                ip: "ip",
                icmp: "icmp",
                errors: "destination-unreachable, time-exceeded, parameter-problem",
                neighbours: None,
                networks: "type ipv4_addr; flags interval;",
                suffix: "",
            },
            Family::V6 => Self {
                family,
                ip: "ip6",
                icmp: "icmpv6",
                errors: "destination-unreachable, packet-too-big, time-exceeded, parameter-problem",
                // RFC 4861: what has passed a router is not from a neighbour.
                neighbours: Some(
                    "ip6 hoplimit 255 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }",
                ),
                networks: "type ipv6_addr; flags interval;",
                suffix: "6",
            },
        }
    }
}
