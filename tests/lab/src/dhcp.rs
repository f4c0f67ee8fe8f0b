//! The DHCP servers (dnsmasq): one on each network of the nodes, to be stopped, started and changed while the lab runs.

use std::{fmt::Write as _, net::Ipv4Addr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    command::{read, remove_file, tail, write},
    daemon::Daemon,
    error::{Error, Result},
    host::Host,
    topology::Network,
};

/// What a server hands out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DhcpConfig {
    /// First and last address.
    pub range: (Ipv4Addr, Ipv4Addr),
    /// The mask of the network that they are in. The server's host needs an address there.
    pub netmask: Ipv4Addr,
    /// Seconds that a lease is given for (dnsmasq: 120 at least).
    pub lease_seconds: u32,
    /// Whether the server looks by ICMP echo if an address is in use before it offers it: takes three seconds.
    pub ping_check: bool,
    /// Whether it answers requests for leases that it does not know by a NAK.
    pub authoritative: bool,
    /// Reservations and other `dhcp-host` values, e.g. `02:00:00:00:00:01,198.51.100.60`.
    pub hosts: Vec<String>,
    /// More lines of dnsmasq's configuration.
    pub lines: Vec<String>,
}

impl DhcpConfig {
    /// .50 to .199 for an hour, without a ping check.
    #[must_use]
    pub fn of(network: Network) -> Self {
        Self {
            range: (network.address(50), network.address(199)),
            netmask: Ipv4Addr::new(255, 255, 255, 0),
            lease_seconds: 3600,
            ping_check: false,
            authoritative: false,
            hosts: Vec::new(),
            lines: Vec::new(),
        }
    }
}

/// A lease as the server has it in its file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Seconds since 1970 at which it ends; 0: never.
    pub expiry: u64,
    /// The client's hardware address.
    pub mac: String,
    /// The address.
    pub address: Ipv4Addr,
    /// The name that the client gave.
    pub host_name: Option<String>,
    /// The client identifier (option 61) in hexadecimal with colons, its type first.
    pub client_id: Option<String>,
}

/// The DHCP server of a network.
#[derive(Debug)]
pub struct DhcpServer {
    host: Host,
    network: Network,
}

impl DhcpServer {
    /// The server of a network on that host, whose `eth0` is on it.
    #[must_use]
    pub fn new(host: Host, network: Network) -> Self {
        Self { host, network }
    }

    fn daemon(&self) -> Daemon<'_> {
        Daemon::new(&self.host, "dnsmasq")
    }

    /// The server's host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.host.dir().join("dnsmasq.conf")
    }

    /// The file that it keeps its leases in.
    #[must_use]
    pub fn lease_file(&self) -> PathBuf {
        self.host.dir().join("leases")
    }

    /// Restarts it with another configuration; it keeps its leases.
    ///
    /// # Errors
    /// If it does not start with it.
    pub fn configure(&self, config: &DhcpConfig) -> Result<()> {
        self.stop()?;
        write(&self.config_file(), self.text(config))?;
        self.start()
    }

    /// Whether it has this configuration, running or not.
    #[must_use]
    pub fn has(&self, config: &DhcpConfig) -> bool {
        read(&self.config_file()).is_ok_and(|text| text == self.text(config))
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.daemon().check().is_ok()
    }

    /// Starts it with the configuration it last had.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(&self) -> Result<()> {
        let file = format!("--conf-file={}", self.config_file().display());
        self.daemon().start(&["dnsmasq", "--keep-in-foreground", &file])?;
        let bound = || {
            self.daemon().check()?;
            let sockets = self.host.exec(&["ss", "-Hlnu", "sport", "=", ":67"])?;
            Ok((!sockets.is_empty()).then_some(()))
        };
        let what = format!("dnsmasq of the {} network", self.network.name());
        crate::until(&what, std::time::Duration::from_secs(5), bound)
    }

    /// Ends it; its leases stay in the file.
    ///
    /// # Errors
    /// If it does not end.
    pub fn stop(&self) -> Result<()> {
        self.daemon().stop()
    }

    /// Forgets all leases. Only while it is stopped: a running server writes them again.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn forget_leases(&self) -> Result<()> {
        remove_file(&self.lease_file())
    }

    /// The leases that it has now.
    ///
    /// # Errors
    /// If its file is not as dnsmasq writes it.
    pub fn leases(&self) -> Result<Vec<Lease>> {
        if !self.lease_file().exists() {
            return Ok(Vec::new());
        }
        read(&self.lease_file())?.lines().filter(|line| !line.trim().is_empty()).map(lease).collect()
    }

    /// The last lines that it logged: each DHCP message with its options.
    #[must_use]
    pub fn log(&self, lines: usize) -> String {
        tail(&self.daemon().log_file(), lines)
    }

    fn text(&self, config: &DhcpConfig) -> String {
        let (first, last) = config.range;
        let mut text = format!(
            "port=0\ninterface=eth0\nbind-interfaces\nuser=root\npid-file=\nlog-facility=-\nlog-dhcp\nno-resolv\n\
             dhcp-leasefile={}\ndhcp-range={first},{last},{},{}\ndhcp-option=option:router,{}\n",
            self.lease_file().display(),
            config.netmask,
            config.lease_seconds,
            self.network.gateway(),
        );
        let mut line = |line: &str| {
            // Writing to a string cannot fail.
            let _always = writeln!(text, "{line}");
        };
        if !config.ping_check {
            line("no-ping");
        }
        if config.authoritative {
            line("dhcp-authoritative");
        }
        for host in &config.hosts {
            line(&format!("dhcp-host={host}"));
        }
        config.lines.iter().for_each(|own| line(own));
        text
    }
}

fn lease(line: &str) -> Result<Lease> {
    let mut fields = line.split_whitespace();
    let mut read = || {
        let (expiry, mac, address) = (fields.next()?, fields.next()?, fields.next()?);
        let mut known = || fields.next().filter(|field| *field != "*").map(str::to_owned);
        let (host_name, client_id) = (known(), known());
        Some(Lease {
            expiry: expiry.parse().ok()?,
            mac: mac.to_ascii_lowercase(),
            address: address.parse().ok()?,
            host_name,
            client_id,
        })
    };
    read().ok_or_else(|| Error::Malformed {
        what: "a line of dnsmasq's lease file".to_owned(),
        why: line.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_lease_file_is_a_lease() {
        let read = lease("1795257600 02:AB:00:00:00:01 198.51.100.57 * ff:00:01").unwrap();
        let expected = Lease {
            expiry: 1_795_257_600,
            mac: "02:ab:00:00:00:01".to_owned(),
            address: Ipv4Addr::new(198, 51, 100, 57),
            host_name: None,
            client_id: Some("ff:00:01".to_owned()),
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn another_line_is_an_error_that_shows_it() {
        assert!(lease("duid 00:01").unwrap_err().to_string().contains("duid 00:01"));
    }
}
