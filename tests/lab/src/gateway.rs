//! The gateways: NAT to the internet host, and miniupnpd on the private one.

use crate::{command::write, daemon::Daemon, error::Result, lab::Lab, topology::Network};

/// What the gateway says its outer address is. miniupnpd refuses all documentation ranges here; it is a declared string only, no
/// packet of the lab carries it.
const EXTERNAL_ADDRESS: &str = "100.0.0.1";

/// Starts both gateways.
pub(crate) fn start(lab: &Lab) -> Result<()> {
    for network in Network::OF_NODES {
        lab.named(&network.gateway_host()).nft(&rules(network))?;
    }
    let host = lab.named(&Network::Private.gateway_host());
    let config = host.dir().join("miniupnpd.conf");
    write(&config, upnp_config())?;
    let config = config.display().to_string();
    let pid_file = host.dir().join("own-pid").display().to_string();
    Daemon::new(&host, "miniupnpd").start(&["miniupnpd", "-d", "-f", &config, "-P", &pid_file])
}

/// NAT, and the chains that miniupnpd fills in.
fn rules(network: Network) -> String {
    format!(
        "table inet filter {{
  chain miniupnpd {{ }}
  chain forward {{ type filter hook forward priority 0; policy accept; jump miniupnpd; }}
  chain prerouting_miniupnpd {{ }}
  chain prerouting {{ type nat hook prerouting priority -100; jump prerouting_miniupnpd; }}
  chain postrouting_miniupnpd {{ }}
  chain postrouting {{
    type nat hook postrouting priority 100;
    jump postrouting_miniupnpd;
    ip saddr {} oifname eth1 masquerade
  }}
}}
",
        network.cidr()
    )
}

fn upnp_config() -> String {
    format!(
        "ext_ifname=eth1
ext_ip={EXTERNAL_ADDRESS}
listening_ip=eth0
enable_natpmp=yes
enable_upnp=yes
secure_mode=yes
system_uptime=yes
uuid=00000000-0000-4000-8000-000000000001
allow 1-65535 {} 1-65535
deny 0-65535 0.0.0.0/0 0-65535
",
        Network::Private.cidr()
    )
}
