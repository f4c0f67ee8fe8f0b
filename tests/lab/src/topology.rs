//! The names and addresses of the lab's hosts, and which cable goes where.
//!
//! | host | interface: address |
//! | --- | --- |
//! | `cp` | eth0: 198.51.100.10 |
//! | `w1`, `w2`, … | eth0: 198.51.100.11, .12, …; eth1: 203.0.113.11, .12, … |
//! | `dhcp-private`, `dhcp-public` | eth0: 198.51.100.2; 203.0.113.2 |
//! | `gw-private`, `gw-public` | eth0: 198.51.100.1; 203.0.113.1; eth1: 192.0.2.1; 192.0.2.2 |
//! | `client-private`, `client-public` | eth0: 198.51.100.200; 203.0.113.200 |
//! | `inet` | eth0: 192.0.2.100 |
//! | `sw` | the bridges `brpriv`, `brpub`, `brinet` |
//!
//! DHCP serves .50 to .199. Pods have 198.18.`n`.0/24 on node `n`, Services 198.19.0.0/16. All of them are documentation and
//! benchmark ranges (RFC 5737, RFC 2544): none of them can be a network of the machine that the lab runs on.

use std::net::Ipv4Addr;

/// The host that is the switch of all networks.
pub const SWITCH: &str = "sw";
/// The host of the control plane.
pub const CONTROL_PLANE: &str = "cp";
/// The API server's address.
pub const API_SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// Where the Services' addresses come from.
pub const SERVICE_CIDR: &str = "198.19.0.0/16";
/// The API server's Service address: the first of [`SERVICE_CIDR`].
pub const API_SERVICE: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
/// Where the Pods' addresses come from.
pub const POD_CIDR: &str = "198.18.0.0/16";
/// The most nodes that the addresses allow.
pub const MAX_NODES: u8 = 30;

/// An Ethernet segment: a bridge of the switch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Network {
    /// 198.51.100.0/24: the nodes' eth0, with their default route and the API server.
    Private,
    /// 203.0.113.0/24: the nodes' eth1.
    Public,
    /// 192.0.2.0/24: what is behind the gateways.
    Internet,
}

impl Network {
    /// Both networks that the nodes are on.
    pub const OF_NODES: [Self; 2] = [Self::Private, Self::Public];
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Private, Self::Public, Self::Internet];

    /// `private`, `public` or `internet`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Public => "public",
            Self::Internet => "internet",
        }
    }

    /// The bridge in the switch's namespace.
    #[must_use]
    pub const fn bridge(self) -> &'static str {
        match self {
            Self::Private => "brpriv",
            Self::Public => "brpub",
            Self::Internet => "brinet",
        }
    }

    /// The address with this last octet.
    #[must_use]
    pub const fn address(self, last: u8) -> Ipv4Addr {
        match self {
            Self::Private => Ipv4Addr::new(198, 51, 100, last),
            Self::Public => Ipv4Addr::new(203, 0, 113, last),
            Self::Internet => Ipv4Addr::new(192, 0, 2, last),
        }
    }

    /// The gateway's address.
    #[must_use]
    pub const fn gateway(self) -> Ipv4Addr {
        self.address(1)
    }

    /// The network with its prefix length.
    #[must_use]
    pub fn cidr(self) -> String {
        format!("{}/24", self.address(0))
    }

    /// The host with the DHCP server, e.g. `dhcp-private`.
    #[must_use]
    pub fn dhcp_host(self) -> String {
        format!("dhcp-{}", self.name())
    }

    /// The host with the gateway, e.g. `gw-private`.
    #[must_use]
    pub fn gateway_host(self) -> String {
        format!("gw-{}", self.name())
    }

    /// The host with the client, e.g. `client-private`.
    #[must_use]
    pub fn client_host(self) -> String {
        format!("client-{}", self.name())
    }
}

/// A cable from a host to the switch: a veth pair.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cable {
    /// The host's interface.
    pub interface: &'static str,
    /// The switch's end of it: tells the host.
    pub port: String,
    /// The network it goes to.
    pub network: Network,
    /// The host's address there.
    pub address: Ipv4Addr,
}

impl Cable {
    fn new(interface: &'static str, port: impl Into<String>, network: Network, last: u8) -> Self {
        Self { interface, port: port.into(), network, address: network.address(last) }
    }

    /// The hardware address of the host's end, e.g. `02:0f:09:00:01:0b` for `w1` on the private network: fifth octet the network (1 private,
    /// 2 public, 3 internet), sixth the last octet of the IP address.
    #[must_use]
    pub fn mac(&self) -> String {
        let network = match self.network {
            Network::Private => 1,
            Network::Public => 2,
            Network::Internet => 3,
        };
        let [.., last] = self.address.octets();
        format!("02:0f:09:00:{network:02x}:{last:02x}")
    }
}

/// What a host is connected to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostSpec {
    /// Its name within the lab, e.g. `w1`.
    pub name: String,
    /// Its cables, eth0 first.
    pub cables: Vec<Cable>,
    /// Where its default route goes.
    pub default_route: Option<Ipv4Addr>,
    /// Whether it forwards packets.
    pub forwards: bool,
}

/// The name of node `number`, counted from 1.
#[must_use]
pub fn node_name(number: u8) -> String {
    format!("w{number}")
}

/// The number of a node from its name, counted from 1.
#[must_use]
pub fn node_number(name: &str) -> Option<u8> {
    name.strip_prefix('w')?
        .parse()
        .ok()
        .filter(|number| (1..=MAX_NODES).contains(number) && name == node_name(*number))
}

/// The Pods' addresses on node `number`.
#[must_use]
pub fn pod_subnet(number: u8) -> String {
    format!("198.18.{number}.0/24")
}

/// All hosts but the switch of a lab with so many nodes.
#[must_use]
pub fn hosts(nodes: u8) -> Vec<HostSpec> {
    let host = |name: String, cables: Vec<Cable>, default_route, forwards| HostSpec {
        name,
        cables,
        default_route,
        forwards,
    };
    let mut all = vec![
        host(
            CONTROL_PLANE.to_owned(),
            vec![Cable::new("eth0", CONTROL_PLANE, Network::Private, 10)],
            Some(Network::Private.gateway()),
            false,
        ),
        // What is not translated to an address of a gateway's comes from the public network.
        host(
            "inet".to_owned(),
            vec![Cable::new("eth0", "inet", Network::Internet, 100)],
            Some(Network::Internet.address(2)),
            false,
        ),
    ];
    for (network, outside) in [(Network::Private, 1), (Network::Public, 2)] {
        let (dhcp, gateway, client) = (network.dhcp_host(), network.gateway_host(), network.client_host());
        all.push(host(
            dhcp.clone(),
            vec![Cable::new("eth0", dhcp, network, 2)],
            Some(network.gateway()),
            false,
        ));
        let cables = vec![
            Cable::new("eth0", gateway.clone(), network, 1),
            Cable::new("eth1", format!("{gateway}-inet"), Network::Internet, outside),
        ];
        all.push(host(gateway, cables, None, true));
        all.push(host(
            client.clone(),
            vec![Cable::new("eth0", client, network, 200)],
            Some(network.gateway()),
            false,
        ));
    }
    for number in 1..=nodes {
        let name = node_name(number);
        let cables = vec![
            Cable::new("eth0", format!("{name}-eth0"), Network::Private, 10 + number),
            Cable::new("eth1", format!("{name}-eth1"), Network::Public, 10 + number),
        ];
        all.push(host(name, cables, Some(Network::Private.gateway()), true));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_port_name_fits_into_an_interface_name() {
        for cable in hosts(MAX_NODES).iter().flat_map(|host| &host.cables) {
            assert!(cable.port.len() <= 15, "{}", cable.port);
        }
    }

    #[test]
    fn ports_and_hardware_addresses_are_unique_and_clear_of_the_dhcp_range() {
        let hosts = hosts(MAX_NODES);
        let cables: Vec<_> = hosts.iter().flat_map(|host| &host.cables).collect();
        assert_eq!(cables.iter().map(|cable| &cable.port).collect::<BTreeSet<_>>().len(), cables.len());
        assert_eq!(cables.iter().map(|cable| cable.mac()).collect::<BTreeSet<_>>().len(), cables.len());
        assert!(cables.iter().all(
            |cable| cable.network == Network::Internet || !(50..200).contains(&cable.address.octets()[3])
        ));
    }

    #[test]
    fn only_names_of_nodes_have_a_number() {
        assert_eq!(node_number("w1"), Some(1));
        for name in ["w0", "w01", "w31", "b-w1", "sw"] {
            assert_eq!(node_number(name), None, "{name}");
        }
    }
}
