//! DHCP servers, and what they are to serve.

mod dnsmasq;
mod isc;
mod kea;
mod udhcpd;

use std::{fs, net::Ipv4Addr, path::PathBuf, time::Duration};

use foghorn_lab::{Daemon, Error, Host, Lease, Result, topology::Network, until};
use ipnet::Ipv4Net;
use k8s_openapi::jiff::Timestamp;

pub use dnsmasq::Dnsmasq;
pub use isc::IscDhcpd;
pub use kea::Kea;
pub use udhcpd::Udhcpd;

/// What a server hands out.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The network: 203.0.113.0/24, or 198.51.100.0/24.
    pub network: Network,
    /// First and last address, by their last octets.
    pub range: (u8, u8),
    /// Seconds that a lease is given for. dnsmasq makes 120 of what is less.
    pub lease: u32,
    /// T1 in seconds.
    pub renew: u32,
    /// T2 in seconds.
    pub rebind: u32,
    /// Whether it looks by ICMP echo if an address is in use before it offers it; for servers that can.
    pub ping: bool,
    /// Whether it tells clients apart by their hardware addresses alone; for servers that can.
    pub ignores_client_ids: bool,
    /// A network and the router to it (option 121), if any.
    pub route: Option<(Ipv4Net, Ipv4Addr)>,
    /// Addresses that are kept for hardware addresses.
    pub reservations: Vec<(String, Ipv4Addr)>,
}

impl Default for Scope {
    /// .50 to .59, for the shortest lease that Foghorn takes at its word.
    fn default() -> Self {
        Self {
            network: Network::Public,
            range: (50, 59),
            lease: 20,
            renew: 10,
            rebind: 14,
            ping: false,
            ignores_client_ids: false,
            route: None,
            reservations: Vec::new(),
        }
    }
}

impl Scope {
    /// The route as it is in option 121 (RFC 3442).
    fn encoded_route(&self) -> Option<Vec<u8>> {
        let (network, gateway) = self.route?;
        let significant = usize::from(network.prefix_len().div_ceil(8));
        let network_octets = network.network().octets();
        Some([&[network.prefix_len()], &network_octets[..significant], &gateway.octets()].concat())
    }

    fn addresses(&self) -> (Ipv4Addr, Ipv4Addr) {
        (self.network.address(self.range.0), self.network.address(self.range.1))
    }
}

/// Whom a server refuses what it does not know. With the others it is silent, and their lease runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuses {
    /// Everybody.
    All,
    /// Those that come with a remembered address (INIT-REBOOT).
    Rebooting,
    /// Nobody.
    None,
}

/// A DHCP server on the `eth0` of a host. It tells its clients the router .1 and, as many do, a host name that
/// is not the client's.
pub trait Server: Sized {
    /// The name of its process.
    const NAME: &'static str;

    /// Whom it refuses a lease that it knows nothing of.
    const REFUSES: Refuses;

    /// The name that it notes of a client which tells the domain name `web.example.com.` and no host name.
    const NAME_FROM_FQDN: Option<&'static str>;

    /// Whether it leases an address in two messages to clients that allow it.
    const COMMITS_RAPIDLY: bool = false;

    /// The server of that host; it does not run yet.
    fn on(host: Host) -> Self;

    /// Its host.
    fn host(&self) -> &Host;

    /// Where it keeps its leases.
    fn lease_file(&self) -> PathBuf {
        self.host().dir().join("leases")
    }

    /// Starts it, again if it runs; it knows the leases that are in its file.
    ///
    /// # Errors
    /// If it does not start.
    fn start(&self, scope: &Scope) -> Result<()>;

    /// Ends it. Its leases stay in its file.
    ///
    /// # Errors
    /// If it does not end.
    fn stop(&self) -> Result<()> {
        Daemon::new(self.host(), Self::NAME).stop()
    }

    /// All that its file says of leases.
    ///
    /// # Errors
    /// If the file is not as this server writes it.
    fn records(&self) -> Result<Vec<Lease>>;

    /// The leases that are in force.
    ///
    /// # Errors
    /// If the file is not as this server writes it.
    fn leases(&self) -> Result<Vec<Lease>> {
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
        let mut leases = self.records()?;
        leases.retain(|lease| lease.expiry > now);
        Ok(leases)
    }

    /// Forgets all leases, while it is stopped.
    ///
    /// # Errors
    /// If the file cannot be removed.
    fn forget(&self) -> Result<()> {
        match fs::remove_file(self.lease_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io("removing the leases", error))
            }
            _ => Ok(()),
        }
    }

    /// Gets the leases of another server of its kind, while both are stopped.
    ///
    /// # Errors
    /// If the file cannot be copied.
    fn inherit(&self, other: &Self) -> Result<()> {
        let copied = fs::copy(other.lease_file(), self.lease_file());
        copied.map(drop).map_err(|error| io("copying the leases", error))
    }
}

/// Starts a server's process and waits until it listens.
fn serve(host: &Host, name: &str, argv: &[&str]) -> Result<()> {
    let daemon = Daemon::new(host, name);
    daemon.start(argv)?;
    until(&format!("{name} listens"), Duration::from_secs(20), || {
        daemon.check()?;
        let udp = host.exec(&["ss", "-Hlnu", "sport", "=", ":67"])?;
        let packet = host.exec(&["ss", "-Hln0"])?;
        Ok((udp + &packet).contains("eth0").then_some(()))
    })
}

/// Starts a relay on a router, between the segment and a server elsewhere.
///
/// # Errors
/// If it does not start.
pub fn relay(router: &Host, server: &str) -> Result<()> {
    serve(router, "dhcrelay", &["dhcrelay", "-4", "-d", "--no-pid", "-id", "eth0", "-iu", "eth1", server])
}

fn read(path: &std::path::Path) -> Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|error| io("reading the leases", error)),
    }
}

fn write(path: &std::path::Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| io(&format!("writing {}", path.display()), error))
}

fn io(doing: &str, source: std::io::Error) -> Error {
    Error::Io { doing: doing.to_owned(), source }
}

fn malformed(what: &str, why: &str) -> Error {
    Error::Malformed { what: what.to_owned(), why: why.to_owned() }
}
