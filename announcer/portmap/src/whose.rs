//! Whose a mapping is that a gateway has. Gateways cut descriptions, replace what is no letter or digit in them, have words of
//! their own in their place, and show hosts by names.

use crate::{Client, Entry, Wanted};

/// Letters and digits of a description that tell it from those of all other claims, planes and clusters.
const ENOUGH: usize = 23;

/// Whose a mapping at the gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The claim's, to the port and the address that it has.
    Ours,
    /// The claim's, as far as the gateway shows: it is asked for again, but not removed.
    Likely,
    /// The claim's, to another port, or to an address that it had before.
    Former,
    /// Another's.
    Foreign,
}

/// How much of a description a gateway has kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// Enough to know it by.
    Enough,
    /// The beginning, which others have too, or nothing.
    Part,
    /// Other words are in its place.
    Other,
}

/// Whose the mapping is that a gateway has for a port of a claim, which may have been asked for: then no other host can have had
/// the gateway's port since, unless the gateway has lost its table.
pub(crate) fn whose(entry: &Entry, wanted: &Wanted, number: u16, claimed: bool) -> Whose {
    let same_port = entry.port == number;
    match (&entry.client, kept(&entry.description, &wanted.description)) {
        (Client::Address(client), kept) if *client == wanted.address && same_port => {
            if claimed || kept != Kept::Other { Whose::Ours } else { Whose::Foreign }
        }
        (Client::Named(_), Kept::Enough) if claimed && same_port => Whose::Ours,
        (Client::Address(_) | Client::Named(_), Kept::Enough) => Whose::Former,
        (Client::Named(_), Kept::Part) if claimed && same_port => Whose::Likely,
        (Client::Address(_) | Client::Named(_), Kept::Part | Kept::Other) => Whose::Foreign,
    }
}

/// Whether what a gateway has kept of a description is enough to know the claim by.
pub(crate) fn is_of(said: &str, description: &str) -> bool {
    kept(said, description) == Kept::Enough
}

/// Whether what a gateway has kept of a description is enough to know that it is a claim's of the plane with this prefix.
pub(crate) fn is_of_plane(said: &str, prefix: &str) -> bool {
    let (said, prefix) = (letters(said), letters(prefix));
    !prefix.is_empty() && said.len() >= ENOUGH && said.starts_with(&prefix)
}

/// A description for gateways that refuse the whole one: short, letters and digits only, and still enough to know it by.
pub(crate) fn plain(description: &str) -> String {
    letters(description).chars().take(ENOUGH).collect()
}

fn kept(said: &str, description: &str) -> Kept {
    let (kept, whole) = (letters(said), letters(description));
    match whole.starts_with(&kept) {
        true if kept.len() >= ENOUGH || said == description => Kept::Enough,
        true => Kept::Part,
        false => Kept::Other,
    }
}

fn letters(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, net::Ipv4Addr};

    use super::*;
    use crate::{Port, Transport};

    const OURS: Client = Client::Address(Ipv4Addr::new(192, 0, 2, 57));
    const DESCRIPTION: &str = "foghorn 1a2b3c4d 5e6f7a8b shop/web-2";
    const ENOUGH_OF_IT: &str = "foghorn 1a2b3c4d 5e6f7a8b";

    #[test]
    fn own_address_and_port_are_ours_whatever_the_description() {
        for said in
            [DESCRIPTION, ENOUGH_OF_IT, "foghorn 1a2b3c4d", "fogh", "", "foghorn_1a2b3c4d_5e6f7a8b_shop_web"]
        {
            assert_eq!(of(&OURS, 80, said), [Whose::Ours; 2], "{said}");
        }
        assert_eq!(of(&OURS, 80, "UPnP"), [Whose::Ours, Whose::Foreign]);
    }

    #[test]
    fn another_address_is_ours_by_a_sufficient_description_only() {
        let other = Client::Address(Ipv4Addr::new(192, 0, 2, 58));
        for said in [DESCRIPTION, ENOUGH_OF_IT, "foghorn1a2b3c4d5e6f7a8b"] {
            assert_eq!(of(&other, 80, said), [Whose::Former; 2], "{said}");
            assert_eq!(of(&OURS, 81, said), [Whose::Former; 2], "{said}");
        }
        for said in ["foghorn 1a2b3c4d 5e6f", "", "foghorn 1a2b3c4d 00000000 shop/web-2", "game console"] {
            assert_eq!(of(&other, 80, said), [Whose::Foreign; 2], "{said}");
            assert_eq!(of(&OURS, 81, said), [Whose::Foreign; 2], "{said}");
        }
    }

    #[test]
    fn a_named_host_is_ours_if_the_port_was_asked_for() {
        let named = Client::Named("device-57".to_owned());
        assert_eq!(of(&named, 80, DESCRIPTION), [Whose::Ours, Whose::Former]);
        assert_eq!(of(&named, 80, "foghorn 1a2b"), [Whose::Likely, Whose::Foreign]);
        assert_eq!(of(&named, 81, "foghorn 1a2b"), [Whose::Foreign; 2]);
        assert_eq!(of(&named, 80, "foghorn 1a2b3c4d 00000000 a/b"), [Whose::Foreign; 2]);
    }

    #[test]
    fn the_plain_description_is_known_again() {
        let plain = plain(DESCRIPTION);
        assert_eq!(plain, "foghorn1a2b3c4d5e6f7a8b");
        assert!(is_of(&plain, DESCRIPTION) && is_of_plane(&plain, "foghorn 1a2b3c4d "));
        assert!(!is_of_plane(&plain, "foghorn 1a2b3c4e ") && !is_of_plane(&plain, ""));
        assert!(!is_of_plane("foghorn 1a2b3c4d 5e6f", "foghorn 1a2b3c4d "));
    }

    /// If the port was asked for, and if it was not.
    fn of(client: &Client, port: u16, said: &str) -> [Whose; 2] {
        let external = Port { transport: Transport::Tcp, number: 8080 };
        let entry =
            Entry { external, client: client.clone(), port, description: said.to_owned(), permanent: false };
        let wanted = Wanted {
            address: Ipv4Addr::new(192, 0, 2, 57),
            description: DESCRIPTION.to_owned(),
            lease: None,
            secret: [0; 32],
            ports: BTreeMap::new(),
            had: BTreeMap::new(),
            ending: false,
        };
        [true, false].map(|claimed| whose(&entry, &wanted, 80, claimed))
    }
}
