//! Which addresses no Service may have, whichever server or pool gave them.
//!
//! kube-proxy captures a load balancer address on every node: a Service that had a node's, a router's or a Pod's
//! address would take other people's traffic. A DHCP server is not trusted to know that.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use thiserror::Error;

use crate::RefusedNetwork;

/// Why an address is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Not an address of one host on a network that hosts share.
    #[error("{address} is {what}")]
    NotAHost {
        /// The address.
        address: Ipv4Addr,
        /// What it is instead.
        what: &'static str,
    },
    /// Part of the cluster itself.
    #[error("{address} belongs to {what}")]
    ClusterNetwork {
        /// The address.
        address: Ipv4Addr,
        /// Whose it is.
        what: String,
    },
    /// The network's router.
    #[error("{0} is the address of the network's router")]
    Router(Ipv4Addr),
    /// The DHCP server that gave it.
    #[error("{0} is the address of the DHCP server")]
    Server(Ipv4Addr),
    /// Outside the plane's `allowedSubnets`.
    #[error("{0} is in none of the plane's allowedSubnets")]
    NotAllowed(Ipv4Addr),
}

/// What is known of the network that an address is for. All lists may be empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct AddressPolicy<'a> {
    /// The plane's `allowedSubnets`; empty allows every address.
    pub allowed: &'a [Ipv4Net],
    /// Networks of the cluster itself.
    pub refused: &'a [RefusedNetwork],
    /// The network's routers.
    pub routers: &'a [Ipv4Addr],
    /// The DHCP server.
    pub server: Option<Ipv4Addr>,
    /// The network that the address is in, as the DHCP server's subnet mask says.
    pub prefix_length: Option<u8>,
    /// The Service has the address already. A Node object that begins to claim it takes it away no more: else any kubelet
    /// could end any Service.
    pub in_use: bool,
}

impl AddressPolicy<'_> {
    /// Whether a Service may have the address.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn check(&self, address: Ipv4Addr) -> Result<(), Refusal> {
        if let Some(what) = not_a_host(address, self.prefix_length) {
            return Err(Refusal::NotAHost { address, what });
        }
        let counts = |refused: &&RefusedNetwork| !(self.in_use && refused.by_node);
        if let Some(refused) = covering(self.refused, address).find(counts) {
            return Err(Refusal::ClusterNetwork { address, what: refused.what.clone() });
        }
        if self.routers.contains(&address) {
            return Err(Refusal::Router(address));
        }
        if self.server == Some(address) {
            return Err(Refusal::Server(address));
        }
        if !self.allowed.is_empty() && !self.allowed.iter().any(|subnet| subnet.contains(&address)) {
            return Err(Refusal::NotAllowed(address));
        }
        Ok(())
    }
}

/// The Node object that claims an address, in words, if one does.
#[must_use]
pub fn claimed_by_node(refused: &[RefusedNetwork], address: Ipv4Addr) -> Option<&str> {
    covering(refused, address).find(|refused| refused.by_node).map(|refused| refused.what.as_str())
}

fn covering(refused: &[RefusedNetwork], address: Ipv4Addr) -> impl Iterator<Item = &RefusedNetwork> {
    refused.iter().filter(move |refused| refused.network.contains(&address))
}

fn not_a_host(address: Ipv4Addr, prefix_length: Option<u8>) -> Option<&'static str> {
    if address.octets()[0] == 0 {
        return Some("not an address (RFC 1122, 3.2.1.3)");
    }
    if address.is_loopback() {
        return Some("a loopback address");
    }
    if address.is_link_local() {
        return Some("a link-local address");
    }
    if address.is_multicast() {
        return Some("a multicast address");
    }
    if address.octets()[0] >= 240 {
        return Some("a reserved or broadcast address");
    }
    // RFC 3021: a /31 has neither a network nor a broadcast address.
    let subnet =
        prefix_length.filter(|&bits| bits <= 30).and_then(|bits| Ipv4Net::new(address, bits).ok())?;
    if address == subnet.network() {
        return Some("the address of the network itself");
    }
    (address == subnet.broadcast()).then_some("the network's broadcast address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_host_address_is_allowed() {
        assert_eq!(policy().check(ip("203.0.113.77")), Ok(()));
    }

    #[test]
    fn addresses_that_are_no_hosts_are_refused() {
        for address in
            ["0.0.0.0", "0.1.2.3", "127.0.0.1", "169.254.1.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"]
        {
            assert!(matches!(policy().check(ip(address)), Err(Refusal::NotAHost { .. })), "{address}");
        }
    }

    #[test]
    fn network_and_broadcast_address_of_the_subnet_are_refused() {
        assert!(matches!(policy().check(ip("203.0.113.0")), Err(Refusal::NotAHost { .. })));
        assert!(matches!(policy().check(ip("203.0.113.255")), Err(Refusal::NotAHost { .. })));
        let without_mask = AddressPolicy { prefix_length: None, ..policy() };
        assert_eq!(without_mask.check(ip("203.0.113.255")), Ok(()));
        let point_to_point = AddressPolicy { prefix_length: Some(31), ..policy() };
        assert_eq!(point_to_point.check(ip("203.0.113.254")), Ok(()));
    }

    #[test]
    fn addresses_of_others_are_refused_by_name() {
        let refused = [refused("203.0.113.11/32", "node w1", true)];
        let policy = AddressPolicy { refused: &refused, ..policy() };
        assert_eq!(
            policy.check(ip("203.0.113.11")).map_err(|e| e.to_string()),
            Err("203.0.113.11 belongs to node w1".into())
        );
        assert_eq!(policy.check(ip("203.0.113.1")), Err(Refusal::Router(ip("203.0.113.1"))));
        assert_eq!(policy.check(ip("203.0.113.2")), Err(Refusal::Server(ip("203.0.113.2"))));
    }

    #[test]
    fn a_node_takes_no_address_that_is_in_use() {
        let networks = [
            refused("203.0.113.11/32", "node w1", true),
            refused("203.0.113.64/28", "the cluster's Services", false),
        ];
        let policy = |in_use| AddressPolicy { refused: &networks, in_use, ..policy() };
        assert!(policy(false).check(ip("203.0.113.11")).is_err());
        assert_eq!(policy(true).check(ip("203.0.113.11")), Ok(()));
        assert_eq!(claimed_by_node(&networks, ip("203.0.113.11")), Some("node w1"));
        assert!(policy(true).check(ip("203.0.113.65")).is_err(), "what no node says counts all the same");
        assert_eq!(claimed_by_node(&networks, ip("203.0.113.65")), None);
    }

    #[test]
    fn an_address_outside_the_allowed_subnets_is_refused() {
        let allowed = [net("203.0.113.64/26")];
        let policy = AddressPolicy { allowed: &allowed, ..policy() };
        assert_eq!(policy.check(ip("203.0.113.77")), Ok(()));
        assert_eq!(policy.check(ip("203.0.113.177")), Err(Refusal::NotAllowed(ip("203.0.113.177"))));
    }

    const ROUTERS: [Ipv4Addr; 1] = [Ipv4Addr::new(203, 0, 113, 1)];

    fn policy() -> AddressPolicy<'static> {
        AddressPolicy {
            routers: &ROUTERS,
            server: Some(Ipv4Addr::new(203, 0, 113, 2)),
            prefix_length: Some(24),
            ..AddressPolicy::default()
        }
    }

    fn refused(network: &str, what: &str, by_node: bool) -> RefusedNetwork {
        RefusedNetwork { network: net(network), what: what.into(), by_node }
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }
}
