//! Routes of a network (RFC 3442).

use std::net::Ipv4Addr;

/// A route that a server told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network; its bits beyond the prefix are zero.
    pub destination: Ipv4Addr,
    /// Length of the network's prefix, 32 at most. 0 is the default route.
    pub prefix_length: u8,
    /// The router to it; unspecified for a network on the link itself.
    pub gateway: Ipv4Addr,
}

impl Route {
    /// Whether the route leads to `address`.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix_length) == self.destination.to_bits()
    }
}

/// Reads option 121; nothing if it is malformed.
pub(crate) fn read(mut value: &[u8]) -> Option<Vec<Route>> {
    let mut routes = Vec::new();
    while let [prefix_length, rest @ ..] = value {
        if *prefix_length > 32 {
            return None;
        }
        let (significant, rest) = rest.split_at_checked(usize::from(prefix_length.div_ceil(8)))?;
        let (gateway, rest) = rest.split_first_chunk::<4>()?;
        let mut octets = [0; 4];
        octets.iter_mut().zip(significant).for_each(|(octet, told)| *octet = *told);
        let destination = Ipv4Addr::from_bits(u32::from_be_bytes(octets) & mask(*prefix_length));
        routes.push(Route { destination, prefix_length: *prefix_length, gateway: Ipv4Addr::from(*gateway) });
        value = rest;
    }
    Some(routes)
}

const fn mask(prefix_length: u8) -> u32 {
    match u32::MAX.checked_shl(32_u32.saturating_sub(prefix_length as u32)) {
        Some(mask) => mask,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_with_as_many_octets_as_their_prefix_needs() {
        let value = [0, 192, 0, 2, 1, 24, 198, 51, 100, 192, 0, 2, 2, 9, 10, 0xff, 0, 0, 0, 0];
        let text: Vec<_> = read(&value)
            .unwrap()
            .iter()
            .map(|r| format!("{}/{} {}", r.destination, r.prefix_length, r.gateway))
            .collect();
        assert_eq!(text, ["0.0.0.0/0 192.0.2.1", "198.51.100.0/24 192.0.2.2", "10.128.0.0/9 0.0.0.0"]);
    }

    #[test]
    fn a_prefix_that_is_too_long_or_cut_short_is_malformed() {
        assert_eq!(read(&[33, 1, 2, 3, 4, 5, 1, 2, 3, 4]), None);
        assert_eq!(read(&[24, 198, 51, 100, 192, 0, 2]), None);
        assert_eq!(read(&[24, 198]), None);
        assert_eq!(read(&[]), Some(vec![]));
    }

    #[test]
    fn a_route_contains_its_network_only() {
        let route = read(&[25, 198, 51, 100, 128, 192, 0, 2, 2]).unwrap()[0];
        assert!(route.contains(Ipv4Addr::new(198, 51, 100, 200)));
        assert!(!route.contains(Ipv4Addr::new(198, 51, 100, 20)));
        let default = read(&[0, 192, 0, 2, 1]).unwrap()[0];
        assert!(default.contains(Ipv4Addr::BROADCAST));
    }
}
