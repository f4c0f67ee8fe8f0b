//! Addresses on an interface that the kernel itself takes away again if nobody keeps them.

use std::net::Ipv4Addr;

use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo},
};

use crate::links::{Netlink, NetlinkError, collect, local, once};

/// How long an address stays after it was last kept, in seconds.
pub const VALID_SECONDS: u32 = 10;

/// The mark (`IFA_PROTO`) of our addresses. Kernels before 5.18 do not keep it; there only the valid lifetime tells
/// whose they are.
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

    /// The addresses with our mark, on whatever interface: also those that an earlier process has left.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub async fn kept_addresses(&self) -> Result<Vec<(u32, Ipv4Addr)>, NetlinkError> {
        let mut request = self.handle().address().get();
        request.message_mut().header.family = AddressFamily::Inet;
        let all = collect("addresses", request.execute()).await?;
        let ours = all.iter().filter(|message| is_ours(message));
        Ok(ours.filter_map(|message| Some((message.header.index, local(message)?))).collect())
    }
}

/// Whether an address has our mark: it is not the node's own.
pub(crate) fn is_ours(message: &AddressMessage) -> bool {
    message.attributes.contains(&AddressAttribute::Protocol(MARK))
}
