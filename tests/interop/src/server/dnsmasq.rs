//! dnsmasq: OpenWrt, libvirt, many routers.

use foghorn_lab::{DhcpConfig, DhcpServer, Host, Lease, Result, topology::Network};

use super::{Refuses, Scope, Server};

/// dnsmasq, as in the lab.
#[derive(Debug)]
pub struct Dnsmasq(Host);

impl Server for Dnsmasq {
    const NAME: &'static str = "dnsmasq";
    const REFUSES: Refuses = Refuses::All;
    const NAME_FROM_FQDN: Option<&'static str> = Some("web");
    const COMMITS_RAPIDLY: bool = true;

    fn on(host: Host) -> Self {
        Self(host)
    }

    fn host(&self) -> &Host {
        &self.0
    }

    fn start(&self, scope: &Scope) -> Result<()> {
        // It takes up to an eighth off, by chance; below 10 s Foghorn would not take T1 at its word.
        let (renew, rebind) = (scope.renew.saturating_add(2), scope.rebind.saturating_add(3));
        let route = scope.route.map(|(network, gateway)| format!("dhcp-option=121,{network},{gateway}"));
        let hosts = scope.reservations.iter().map(|(mac, address)| format!("{mac},{address}"));
        self.server(scope.network).configure(&DhcpConfig {
            range: scope.addresses(),
            lease_seconds: scope.lease,
            ping_check: scope.ping,
            authoritative: true,
            hosts: hosts.collect(),
            lines: [
                format!("dhcp-option=option:T1,{renew}"),
                format!("dhcp-option=option:T2,{rebind}"),
                "dhcp-option-force=12,anything".to_owned(),
                "dhcp-rapid-commit".to_owned(),
            ]
            .into_iter()
            .chain(route)
            .collect(),
            ..DhcpConfig::of(scope.network)
        })
    }

    fn records(&self) -> Result<Vec<Lease>> {
        self.server(Network::Public).leases()
    }
}

impl Dnsmasq {
    fn server(&self, network: Network) -> DhcpServer {
        DhcpServer::new(self.0.clone(), network)
    }
}
