//! What the tests need of Debian.

use std::sync::OnceLock;

/// Each package, and what the tests do with it.
const PACKAGES: [(&str, &str); 11] = [
    ("busybox-static", "udhcpc, another DHCP client on the node"),
    ("dnsmasq-base", "the DHCP server of OpenWrt, libvirt and many routers"),
    ("iproute2", "makes the network"),
    ("iputils-arping", "asks who has an address"),
    ("isc-dhcp-relay", "dhcrelay, between the network and a server elsewhere"),
    ("isc-dhcp-server", "the DHCP server of many companies"),
    ("kea-dhcp4-server", "the DHCP server that succeeds it"),
    ("miniupnpd-nftables", "the gateway of OpenWrt and many routers"),
    ("nftables", "what it forwards ports with"),
    ("tcpdump", "watches the wire"),
    ("udhcpd", "the DHCP server of cheap routers and access points"),
];

/// Installs what is missing, once.
pub(crate) fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| foghorn_lab::install("this test program", &PACKAGES).unwrap());
}
