//! What the tests need of Debian.

use std::sync::OnceLock;

use foghorn_lab::Need;

/// Each package, and what the tests do with it.
const NEEDS: [Need; 11] = [
    Need::package("busybox-static", "udhcpc, another DHCP client on the node"),
    Need::programs("dnsmasq-base", &["dnsmasq"], "the DHCP server of OpenWrt, libvirt and many routers"),
    Need::programs("iproute2", &["ip", "bridge"], "makes the network"),
    // The package `arping` has another program of that name.
    Need::package("iputils-arping", "asks who has an address"),
    Need::programs("isc-dhcp-relay", &["dhcrelay"], "between the network and a server elsewhere"),
    Need::programs("isc-dhcp-server", &["dhcpd"], "the DHCP server of many companies"),
    Need::programs("kea-dhcp4-server", &["kea-dhcp4"], "the DHCP server that succeeds it"),
    // The package `miniupnpd-iptables` has another program of that name.
    Need::package("miniupnpd-nftables", "the gateway of OpenWrt and many routers"),
    Need::programs("nftables", &["nft"], "what it forwards ports with"),
    Need::programs("tcpdump", &["tcpdump"], "watches the wire"),
    Need::programs("udhcpd", &["udhcpd"], "the DHCP server of cheap routers and access points"),
];

/// Installs what is missing, once.
pub(crate) fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| foghorn_lab::install("this test program", &NEEDS).unwrap());
}
