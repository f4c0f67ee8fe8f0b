//! The gateways: NAT to the internet host, and miniupnpd, from the start on the private one.

use std::{net::Ipv4Addr, path::PathBuf};

use crate::{
    command::{remove_file, write},
    daemon::Daemon,
    error::Result,
    host::Host,
    lab::Lab,
    miniupnpd::{CHAINS, Forwards, chains},
    topology::Network,
};

/// The daemon's name.
const MINIUPNPD: &str = "miniupnpd";

/// The gateway of a network.
#[derive(Clone, Debug)]
pub struct Gateway {
    host: Host,
    client: Host,
    network: Network,
}

impl Lab {
    /// The gateway of a network of nodes.
    #[must_use]
    pub fn gateway(&self, network: Network) -> Gateway {
        Gateway { host: self.named(&network.gateway_host()), client: self.client(network), network }
    }
}

impl Gateway {
    /// Its host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Where the internet's host reaches it.
    #[must_use]
    pub fn outside(&self) -> Ipv4Addr {
        Network::Internet.address(match self.network {
            Network::Private => 1,
            Network::Public | Network::Internet => 2,
        })
    }

    /// Forwards ports like that from now on, to begin with none.
    ///
    /// # Errors
    /// If miniupnpd does not start.
    pub fn forward(&self, how: Forwards) -> Result<()> {
        self.forward_none()?;
        let config = self.host.dir().join("miniupnpd.conf");
        write(&config, self.config(how))?;
        let config = config.display().to_string();
        let pid_file = self.own_pid_file().display().to_string();
        Daemon::new(&self.host, MINIUPNPD).start(&[MINIUPNPD, "-d", "-f", &config, "-P", &pid_file])
    }

    /// Forwards no ports any more, as if it had lost power: nobody is told, and the table is empty.
    ///
    /// # Errors
    /// If miniupnpd does not end.
    pub fn forward_none(&self) -> Result<()> {
        // Asked to end it would take its mappings away one by one, and tell the network.
        Daemon::new(&self.host, MINIUPNPD).kill()?;
        // By which it would take itself for another one that runs.
        remove_file(&self.own_pid_file())?;
        CHAINS.iter().try_for_each(|chain| self.host.nft(&format!("flush chain inet filter {chain}\n")))
    }

    /// What it forwards, as its own list tells, sorted: `TCP 8443->203.0.113.50:443 'whose'`.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn mappings(&self) -> Result<Vec<String>> {
        let said = self.upnpc(&["-l"])?;
        let mut mappings: Vec<_> = said.lines().filter_map(mapping).collect();
        mappings.sort();
        Ok(mappings)
    }

    /// Speaks UPnP to it from the network's client.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn upnpc(&self, arguments: &[&str]) -> Result<String> {
        let root = format!("http://{}:{}/rootDesc.xml", self.network.gateway(), PORT);
        let command = [&["upnpc", "-u", &root], arguments].concat();
        self.client.exec(&command)
    }

    fn own_pid_file(&self) -> PathBuf {
        self.host.dir().join("own-pid")
    }

    fn config(&self, how: Forwards) -> String {
        let digit = match self.network {
            Network::Private => 1,
            Network::Public | Network::Internet => 2,
        };
        how.config(PORT, digit, "1-65535", &self.network.cidr())
    }
}

/// Where miniupnpd listens.
const PORT: u16 = 5000;

/// Starts both gateways.
pub(crate) fn start(lab: &Lab) -> Result<()> {
    for network in Network::OF_NODES {
        let translated = format!("ip saddr {} oifname eth1 masquerade", network.cidr());
        lab.named(&network.gateway_host()).nft(&chains(&translated))?;
    }
    lab.gateway(Network::Private).forward(Forwards::default())
}

/// ` 0 TCP  8443->203.0.113.50:443   'whose' '' 3600`.
fn mapping(line: &str) -> Option<String> {
    let (number, rest) = line.trim_start().split_once(' ')?;
    let (protocol, rest) = rest.trim_start().split_once(' ')?;
    let (way, rest) = rest.trim_start().split_once(' ')?;
    let whose = rest.trim_start().split('\'').nth(1)?;
    let is_one = number.parse::<u32>().is_ok() && way.contains("->");
    is_one.then(|| format!("{protocol} {way} '{whose}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_read_from_the_list_of_upnpc() {
        let line = " 0 TCP  8443->203.0.113.50:443   'foghorn a b shop/web' '' 3599";
        assert_eq!(mapping(line).as_deref(), Some("TCP 8443->203.0.113.50:443 'foghorn a b shop/web'"));
        for line in [
            " i protocol exPort->inAddr:inPort description remoteHost leaseTime",
            "",
            "ExternalIPAddress = 100.0.0.1",
        ] {
            assert_eq!(mapping(line), None, "{line}");
        }
    }
}
