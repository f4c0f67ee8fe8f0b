//! How much room a Service, and all Services of a plane together, have in the node's rules.
//!
//! All of a plane's rules are put in force together. So one Service must not be able to make them too many for all.

use std::net::IpAddr;

use crate::wanted::{Address, Wanted};

/// Most ports of one address.
pub const PORTS_MAX: usize = 1000;
/// Most source networks of one address.
pub const SOURCES_MAX: usize = 1000;
/// Most ports and source networks of all addresses of a plane: nft takes less than half a second for so many.
pub const ENTRIES_MAX: usize = 50_000;

impl Wanted {
    /// Closes the addresses whose ports and source networks have no room: what asks for least comes first, so that the
    /// Services that ask for most are in nobody's way but their own. Without a guard nothing is opened or closed.
    pub fn bound(&mut self) {
        let mut sizes: Vec<(usize, IpAddr)> = Vec::new();
        for (address, served) in &mut self.addresses {
            let sources = served.sources.as_ref().map(Vec::len).unwrap_or_default();
            if self.guard.is_none() {
                *served = Address::default();
            } else if served.services.len() > PORTS_MAX || sources > SOURCES_MAX {
                served.close();
            } else {
                sizes.push((served.services.len() + sources, *address));
            }
        }
        sizes.sort_unstable();
        let mut used = 0;
        for (size, address) in sizes {
            used += size;
            if used > ENTRIES_MAX
                && let Some(served) = self.addresses.get_mut(&address)
            {
                served.close();
            }
        }
    }

    /// The addresses that are closed for want of room.
    pub fn closed(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().filter(|(_, served)| served.closed).map(|(address, _)| *address)
    }
}

impl Address {
    fn close(&mut self) {
        *self = Self { closed: true, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::Ipv4Addr};

    use ipnet::{IpNet, Ipv4Net};

    use super::*;
    use crate::{
        server::LONGEST,
        wanted::{Guard, Interface, Message, Protocol},
    };

    #[test]
    fn an_address_with_too_much_is_closed_and_no_other() {
        let mut wanted = wanted([served(PORTS_MAX + 1, 0), served(1, SOURCES_MAX + 1), served(2, 3)]);
        wanted.bound();
        assert_eq!(wanted.closed().collect::<Vec<_>>(), [address(0), address(1)]);
        assert!(wanted.addresses[&address(0)].services.is_empty());
        assert_eq!(wanted.addresses[&address(1)].sources, None);
        assert_eq!(wanted.addresses[&address(2)], served(2, 3));
    }

    #[test]
    fn what_asks_for_most_is_closed_where_all_is_too_much() {
        let large = std::iter::repeat_n(served(PORTS_MAX, SOURCES_MAX), 30);
        let mut wanted = wanted(large.chain([served(3, 2), served(1, 0)]));
        wanted.bound();
        let closed: Vec<_> = wanted.closed().collect();
        assert_eq!(closed, (24..30).map(address).collect::<Vec<_>>());
        let again = wanted.clone();
        wanted.bound();
        assert_eq!(wanted, again, "bounded once is bounded");
    }

    #[test]
    fn without_a_guard_there_is_nothing_to_open_or_close() {
        let mut wanted = Wanted { guard: None, ..wanted([served(PORTS_MAX + 1, 3), served(1, 2)]) };
        wanted.bound();
        assert!(wanted.addresses.values().all(|served| *served == Address::default()));
    }

    #[test]
    fn whatever_claims_say_the_message_is_shorter_than_the_longest_line() {
        // As many claims as a plane can have.
        let small = std::iter::repeat_n(served(1, 1), 30_000);
        let mut wanted = wanted(small.chain(std::iter::repeat_n(served(PORTS_MAX, SOURCES_MAX), 40)));
        wanted.bound();
        let message = Message { wanted: Some(wanted), ..Message::default() };
        let length = serde_json::to_vec(&message).unwrap().len();
        assert!(u64::try_from(length).unwrap() * 2 < LONGEST, "{length}");
    }

    fn wanted(addresses: impl IntoIterator<Item = Address>) -> Wanted {
        let addresses = (0..).map(address).zip(addresses);
        Wanted {
            interface: Interface { name: "eth1".into(), index: 3, mac: None },
            other_interfaces: BTreeSet::new(),
            addresses: addresses.collect(),
            guard: Some(Guard::Drop),
            return_path: None,
        }
    }

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0xcb00_0000 + number).into()
    }

    fn served(ports: usize, sources: usize) -> Address {
        let ports = (1..=u16::MAX).take(ports).map(|port| (Protocol::Sctp, port));
        let network = |number: u32| IpNet::from(Ipv4Net::from(Ipv4Addr::from_bits(0xc0a8_0000 + 2 * number)));
        let sources = (0..u32::MAX).take(sources).map(network).collect();
        Address { services: ports.collect(), sources: Some(sources), closed: false }
    }
}
