//! ISC dhcpd.

use foghorn_lab::{Host, Lease, Result, topology::Network};
use k8s_openapi::jiff::{civil::DateTime, tz::TimeZone};

use super::{Refuses, Scope, Server, malformed, read, serve, write};

/// `dhcpd` of ISC.
#[derive(Debug)]
pub struct IscDhcpd(Host);

impl Server for IscDhcpd {
    const NAME: &'static str = "dhcpd";
    const REFUSES: Refuses = Refuses::None;
    const NAME_FROM_FQDN: Option<&'static str> = None;

    fn on(host: Host) -> Self {
        Self(host)
    }

    fn host(&self) -> &Host {
        &self.0
    }

    fn start(&self, scope: &Scope) -> Result<()> {
        let config = self.0.dir().join("dhcpd.conf");
        write(&config, &text(scope))?;
        // It does not start without one.
        write(&self.lease_file(), &read(&self.lease_file())?)?;
        let [config, leases] = [config, self.lease_file()].map(|path| path.display().to_string());
        let argv = ["dhcpd", "-4", "-f", "-d", "--no-pid", "-cf", &config, "-lf", &leases, "eth0"];
        serve(&self.0, Self::NAME, &argv)
    }

    /// The last record of each address counts.
    fn records(&self) -> Result<Vec<Lease>> {
        let text = read(&self.lease_file())?;
        let mut records: Vec<Lease> = Vec::new();
        for block in text.split("\nlease ").skip(1) {
            let record = lease(block).ok_or_else(|| malformed("a lease of dhcpd", block))?;
            records.retain(|earlier| earlier.address != record.address);
            records.push(record);
        }
        Ok(records)
    }
}

fn text(scope: &Scope) -> String {
    let decimal = |octets: Vec<u8>| octets.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let route = scope.encoded_route().map_or_else(String::new, |route| {
        let define = "option routes code 121 = array of unsigned integer 8;\n";
        format!("{define}option routes {};\n", decimal(route))
    });
    let (network, router) = (scope.network.address(0), scope.network.gateway());
    // It wants to know the network that it is on, if a relay is on that which it serves.
    let own = match scope.network {
        Network::Public => "subnet 198.51.100.0 netmask 255.255.255.0 { }\n",
        Network::Private | Network::Internet => "",
    };
    let (first, last) = scope.addresses();
    let Scope { lease, renew, rebind, ping, ignores_client_ids, .. } = scope;
    let reservation = |(number, (mac, address)): (usize, &(String, _))| {
        format!("host h{number} {{ hardware ethernet {mac}; fixed-address {address}; }}\n")
    };
    let reservations: String = scope.reservations.iter().enumerate().map(reservation).collect();
    format!(
        "authoritative;
ddns-update-style none;
ping-check {ping};
ignore-client-uids {ignores_client_ids};
db-time-format default;
default-lease-time {lease};
min-lease-time {lease};
max-lease-time {lease};
option dhcp-renewal-time {renew};
option dhcp-rebinding-time {rebind};
option routers {router};
option host-name \"anything\";
{route}{own}subnet {network} netmask 255.255.255.0 {{ range {first} {last}; }}
{reservations}"
    )
}

/// A lease as dhcpd writes it, from its address on; the times are UTC.
fn lease(block: &str) -> Option<Lease> {
    let value = |key: &str| {
        let statement = block.lines().find_map(|line| line.trim().strip_prefix(key))?;
        Some(statement.trim().trim_end_matches(';').trim_matches('"').to_owned())
    };
    let ends = value("ends ")?;
    let (_weekday, time) = ends.split_once(' ')?;
    let time = DateTime::strptime("%Y/%m/%d %H:%M:%S", time).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    let active = value("binding state ")? == "active";
    Some(Lease {
        expiry: if active { u64::try_from(time.as_second()).ok()? } else { 0 },
        mac: value("hardware ethernet ").unwrap_or_default(),
        address: block.split_whitespace().next()?.parse().ok()?,
        host_name: value("client-hostname "),
        client_id: value("uid "),
    })
}
