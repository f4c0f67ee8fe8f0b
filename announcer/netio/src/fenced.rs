//! Addresses on an interface that the kernel itself removes if they are not kept.
#![expect(clippy::wildcard_enum_match_arm, reason = "each kernel brings further netlink attributes")]

use std::net::Ipv4Addr;

use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo},
};

use crate::links::{Netlink, NetlinkError, collect, local, once};

/// How long an address stays after it was last kept, in seconds.
pub const VALID_SECONDS: u32 = 10;

/// The mark (`IFA_PROTO`) of kept addresses. Linux before 5.18 ignores it.
const MARK: AddressProtocol = AddressProtocol::Other(0xf0);
const HOST_PREFIX: u8 = 32;

impl Netlink {
    /// Puts an address on an interface, or keeps it there: as a /32, for [`VALID_SECONDS`], never as the source of
    /// new connections.
    ///
    /// # Errors
    /// If the kernel refuses: without `CAP_NET_ADMIN`, or if the interface is gone.
    pub async fn keep_address(&self, interface: u32, address: Ipv4Addr) -> Result<(), NetlinkError> {
        let mut request = self.handle().address().add(interface, address.into(), HOST_PREFIX).replace();
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_preferred = 0;
        lifetime.ifa_valid = VALID_SECONDS;
        request.message_mut().attributes.extend([
            AddressAttribute::Flags(AddressFlags::Noprefixroute),
            AddressAttribute::CacheInfo(lifetime),
            AddressAttribute::Protocol(MARK),
        ]);
        once("an address to keep", request.execute()).await
    }

    /// Takes such an address off an interface.
    ///
    /// # Errors
    /// If the kernel refuses, also because the address is not there.
    pub async fn drop_address(&self, interface: u32, address: Ipv4Addr) -> Result<(), NetlinkError> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = HOST_PREFIX;
        message.header.index = interface;
        message.attributes.push(AddressAttribute::Local(address.into()));
        once("an address to drop", self.handle().address().del(message).execute()).await
    }

    /// The kept addresses, on whatever interface: also those that an earlier process has left.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub async fn kept_addresses(&self) -> Result<Vec<(u32, Ipv4Addr)>, NetlinkError> {
        let mut request = self.handle().address().get();
        request.message_mut().header.family = AddressFamily::Inet;
        let all = collect("addresses", request.execute()).await?;
        let kept = all.iter().filter(|message| is_kept(message));
        Ok(kept.filter_map(|message| Some((message.header.index, local(message)?))).collect())
    }
}

/// Whether an address is a kept one, and so not the node's own.
///
/// Where the kernel ignores the mark, the form decides: no DHCP client and no administrator gives an address that is
/// deprecated from the first moment and has a few seconds to live.
pub(crate) fn is_kept(message: &AddressMessage) -> bool {
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    let mut valid = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Protocol(protocol) => return *protocol == MARK,
            AddressAttribute::Flags(all) => flags = *all,
            AddressAttribute::CacheInfo(lifetime) => valid = Some(lifetime.ifa_valid),
            _ => {}
        }
    }
    message.header.prefix_len == HOST_PREFIX
        && flags.contains(AddressFlags::Deprecated | AddressFlags::Noprefixroute)
        && valid.is_some_and(|seconds| seconds <= VALID_SECONDS)
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::Parseable;

    use super::*;

    /// `IFA_F_NOPREFIXROUTE`, `IFA_F_DEPRECATED` and `IFA_F_PERMANENT`.
    const NO_ROUTE: u32 = 0x200;
    const DEPRECATED: u32 = 0x20;
    const PERMANENT: u32 = 0x80;

    #[test]
    fn a_kept_address_is_known_without_its_mark() {
        assert!(is_kept(&dumped(32, NO_ROUTE | DEPRECATED, 0, 10, None)));
        assert!(is_kept(&dumped(32, NO_ROUTE | DEPRECATED, 0, 1, Some(0xf0))));
        assert!(!is_kept(&dumped(32, NO_ROUTE | DEPRECATED, 0, 10, Some(3))), "another program's mark");
    }

    #[test]
    fn a_node_s_own_address_is_not_taken_for_a_kept_one() {
        let forever = u32::MAX;
        assert!(!is_kept(&dumped(24, PERMANENT, forever, forever, None)), "set manually");
        assert!(!is_kept(&dumped(32, PERMANENT | NO_ROUTE, forever, forever, None)), "a /32 of a cloud");
        assert!(!is_kept(&dumped(32, NO_ROUTE, 9, 9, None)), "a DHCP lease that is about to end");
        assert!(!is_kept(&dumped(24, NO_ROUTE | DEPRECATED, 0, 9, None)), "with a network");
        assert!(!is_kept(&dumped(32, NO_ROUTE | DEPRECATED, 0, 3_600, None)), "on its way out");
    }

    /// An address as the kernel dumps it (`inet_fill_ifaddr`); up to Linux 5.17 it never has a protocol.
    fn dumped(prefix: u8, flags: u32, preferred: u32, valid: u32, protocol: Option<u8>) -> AddressMessage {
        const ADDRESS: [u8; 4] = [203, 0, 113, 57];
        let [low, ..] = flags.to_le_bytes();
        let mut bytes = vec![2, prefix, low, 0];
        bytes.extend(3_u32.to_ne_bytes());
        let mut attribute = |kind: u16, value: &[u8]| {
            bytes.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        };
        attribute(1, &ADDRESS);
        attribute(2, &ADDRESS);
        attribute(3, b"eth1\0");
        if let Some(protocol) = protocol {
            attribute(11, &[protocol]);
        }
        attribute(8, &flags.to_ne_bytes());
        attribute(6, &[preferred, valid, 12_345, 12_345].map(u32::to_ne_bytes).concat());
        AddressMessage::parse(&bytes).unwrap()
    }
}
