//! What an announcer may have left on an interface.

use std::net::Ipv4Addr;

use foghorn_lab::{Host, Result};
use foghorn_netio::Netlink;

use crate::inside::inside;

/// Puts an address on a host's interface as an announcer does, once.
///
/// # Errors
/// If it cannot be put there.
pub fn leave_address(host: &Host, interface: &'static str, address: Ipv4Addr) -> Result<()> {
    inside(host, move || async move {
        let netlink = Netlink::open()?;
        let link = netlink.links().await?.into_iter().find(|link| link.name == interface);
        let link = link.ok_or_else(|| format!("no {interface}"))?;
        Ok(netlink.keep_address(link.index, address).await?)
    })
}
