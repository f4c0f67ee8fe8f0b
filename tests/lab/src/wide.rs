//! One more network on the cables of another, for thousands of addresses.

use std::net::Ipv4Addr;

use crate::{
    dhcp::DhcpConfig,
    error::Result,
    lab::Lab,
    topology::{Network, node_number},
};

/// In the benchmark range (RFC 2544), where neither Pods nor Services of the lab are.
const WIDE: &str = "198.18.128.0/20";
/// The first address that is leased; those before it are the server's and the nodes'.
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 128, 64);
const LAST: Ipv4Addr = Ipv4Addr::new(198, 18, 143, 250);

impl Lab {
    /// The DHCP server of a network leases addresses of 198.18.128.0/20, some thousands of them. It has an address there, as the nodes have, and
    /// the network's client a route to it; it answers from the address that it has already.
    ///
    /// # Errors
    /// If an address cannot be added, or the server does not start.
    pub fn widen(&self, network: Network) -> Result<()> {
        self.wide_addresses(network, "replace")?;
        self.client(network).exec(&["ip", "route", "replace", WIDE, "dev", "eth0"])?;
        self.dhcp(network).configure(&DhcpConfig {
            range: (FIRST, LAST),
            netmask: Ipv4Addr::new(255, 255, 240, 0),
            lines: vec!["dhcp-lease-max=5000".to_owned()],
            ..DhcpConfig::of(network)
        })
    }

    /// Undoes [`Self::widen`].
    ///
    /// # Errors
    /// If it was not done, or the server does not start.
    pub fn narrow(&self, network: Network) -> Result<()> {
        self.wide_addresses(network, "delete")?;
        self.client(network).exec(&["ip", "route", "delete", WIDE, "dev", "eth0"])?;
        self.dhcp(network).configure(&DhcpConfig::of(network))
    }

    fn wide_addresses(&self, network: Network, action: &str) -> Result<()> {
        let server = self.dhcp(network).host().name().to_owned();
        for spec in self.specs() {
            let last =
                if spec.name == server { Some(1) } else { node_number(&spec.name).map(|number| 10 + number) };
            let cable = spec.cables.iter().find(|cable| cable.network == network);
            if let Some((last, cable)) = last.zip(cable) {
                let address = format!("198.18.128.{last}/20");
                self.named(&spec.name).exec(&["ip", "address", action, &address, "dev", cable.interface])?;
            }
        }
        Ok(())
    }
}
