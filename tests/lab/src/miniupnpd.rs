//! What miniupnpd needs: its configuration, and chains of nftables that it fills in.

use std::net::Ipv4Addr;

/// What gateways say their outer address is. miniupnpd refuses all documentation ranges here; it is a declared string only, no
/// packet of the lab carries it.
pub const EXTERNAL_ADDRESS: Ipv4Addr = Ipv4Addr::new(100, 0, 0, 1);

/// How a gateway forwards ports for those who ask for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forwards {
    /// To the asking host only.
    pub secure: bool,
    /// By UPnP.
    pub upnp: bool,
    /// As IGD version 1; version 2 otherwise.
    pub igd1: bool,
    /// By NAT-PMP and PCP.
    pub pcp: bool,
    /// The shortest lease that it gives by PCP, in seconds.
    pub shortest: u32,
}

impl Default for Forwards {
    fn default() -> Self {
        Self { secure: true, upnp: true, igd1: false, pcp: true, shortest: 120 }
    }
}

impl Forwards {
    /// The configuration of a gateway between `eth0`, where hosts ask, and `eth1`. It serves HTTP at a port, tells itself from
    /// other gateways by a digit, and forwards those ports (`1024-65535`) to the hosts of that network (`203.0.113.0/24`).
    ///
    /// Its epoch counts from its own start (`system_uptime` is not set): that is the start of the gateway here.
    #[must_use]
    pub fn config(self, http_port: u16, digit: u8, ports: &str, network: &str) -> String {
        let yes = |is: bool| if is { "yes" } else { "no" };
        format!(
            "ext_ifname=eth1
ext_ip={EXTERNAL_ADDRESS}
listening_ip=eth0
http_port={http_port}
enable_natpmp={}
enable_upnp={}
secure_mode={}
force_igd_desc_v1={}
min_lifetime={}
uuid=00000000-0000-4000-8000-00000000000{digit}
allow {ports} {network} 1-65535
deny 0-65535 0.0.0.0/0 0-65535
",
            yes(self.pcp),
            yes(self.upnp),
            yes(self.secure),
            yes(self.igd1),
            self.shortest,
        )
    }
}

/// The chains that it fills in, by their names in the table `inet filter`.
pub(crate) const CHAINS: [&str; 3] = ["miniupnpd", "prerouting_miniupnpd", "postrouting_miniupnpd"];

/// The table with these chains, and with what else is done to packets that leave.
#[must_use]
pub fn chains(postrouting: &str) -> String {
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
    {postrouting}
  }}
}}
"
    )
}
