//! Faults, and the words in them.

use std::{io, net::Ipv4Addr};

use foghorn_portmap::Fault;

/// Characters of a gateway's text that are passed on.
const LONGEST_TEXT: usize = 200;

/// A text of a gateway's, fit to be shown: cut, and letters, digits and ASCII signs only.
pub(crate) fn words(text: &str) -> String {
    let printable = |c: char| if c.is_alphanumeric() || c.is_ascii_graphic() { c } else { ' ' };
    text.chars().take(LONGEST_TEXT).map(printable).collect()
}

/// A socket of this source could not be had.
pub(crate) fn not_bound(source: Ipv4Addr, error: &io::Error) -> Fault {
    Fault::NotBound(format!("{source} cannot be spoken from: {error}"))
}

/// Nothing got there, or came back.
pub(crate) fn silent(error: &io::Error) -> Fault {
    Fault::Silent(words(&error.to_string()))
}

/// What came back makes no sense.
pub(crate) fn broken(error: &dyn std::error::Error) -> Fault {
    Fault::Broken(words(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_gateway_is_cut_and_has_nothing_in_it_that_does_not_print() {
        assert_eq!(words("Kein Zugriff: größer\n\u{202e}\u{0}x"), "Kein Zugriff: größer   x");
        assert_eq!(words(&"ä".repeat(1000)).chars().count(), 200);
    }
}
