//! Hardware addresses as people write them, and which of them a Service may have.

use thiserror::Error;

/// Why a hardware address cannot be a Service's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HardwareAddressFault {
    /// Not six octets in hexadecimal.
    #[error(
        "{0:?} is no hardware address: six pairs of hexadecimal digits are wanted, as in 02:00:5e:10:00:01"
    )]
    Malformed(String),
    /// Broadcast, multicast or all zero.
    #[error(
        "{0} is not the address of one host: the second hexadecimal digit must be even, and not all may be zero"
    )]
    NotUnicast(String),
    /// A manufacturer's, and not allowed by name.
    #[error(
        "{0} is a manufacturer's address: the second hexadecimal digit must be 2, 6, a or e, or the plane's \
         overrides.hardwareAddresses must name it"
    )]
    NotLocal(String),
}

/// Reads `02:00:5e:10:00:01`, also with hyphens or in upper case.
///
/// # Errors
/// [`HardwareAddressFault::Malformed`].
pub fn parse(text: &str) -> Result<[u8; 6], HardwareAddressFault> {
    let malformed = || HardwareAddressFault::Malformed(text.to_owned());
    let mut octets = [0; 6];
    let mut parts = text.trim().split([':', '-']);
    for octet in &mut octets {
        let part = parts.next().filter(|part| part.len() == 2).ok_or_else(malformed)?;
        // `from_str_radix` takes a sign too.
        if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(malformed());
        }
        *octet = u8::from_str_radix(part, 16).map_err(|_| malformed())?;
    }
    if parts.next().is_some() { Err(malformed()) } else { Ok(octets) }
}

/// As people write it: `02:00:5e:10:00:01`.
#[must_use]
pub fn format(octets: [u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

/// Whether a Service may have the hardware address that an annotation gives it: unicast, and locally administered or
/// among `allowed`.
///
/// # Errors
/// What is wrong with it.
pub fn check(octets: [u8; 6], allowed: &[String]) -> Result<(), HardwareAddressFault> {
    let [first, ..] = octets;
    if first & 1 != 0 || octets == [0; 6] {
        return Err(HardwareAddressFault::NotUnicast(format(octets)));
    }
    let named = || allowed.iter().any(|allowed| parse(allowed).is_ok_and(|allowed| allowed == octets));
    if first & 2 == 0 && !named() {
        return Err(HardwareAddressFault::NotLocal(format(octets)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_people_write_it() {
        for text in ["02:00:5e:10:00:0a", "02-00-5E-10-00-0A", " 02:00:5e:10:00:0a "] {
            assert_eq!(parse(text), Ok([2, 0, 0x5e, 0x10, 0, 0x0a]), "{text}");
        }
        assert_eq!(format([2, 0, 0x5e, 0x10, 0, 0x0a]), "02:00:5e:10:00:0a");
    }

    #[test]
    fn what_is_no_address_is_named() {
        for text in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:01:02",
            "02:00:5e:10:00:+1",
            "02:0:5e:10:00:01",
            "zz:00:5e:10:00:01",
        ] {
            assert_eq!(parse(text), Err(HardwareAddressFault::Malformed(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_service_has_a_unicast_local_address_or_one_that_the_plane_names() {
        let of = |text: &str| check(parse(text).unwrap(), &["00:50:56:00:00:01".to_owned()]);
        assert_eq!(of("02:00:5e:10:00:01"), Ok(()));
        assert_eq!(of("00:50:56:00:00:01"), Ok(()));
        assert!(matches!(of("00:50:56:00:00:02"), Err(HardwareAddressFault::NotLocal(_))));
        for group in ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "03:00:00:00:00:01", "00:00:00:00:00:00"] {
            assert!(matches!(of(group), Err(HardwareAddressFault::NotUnicast(_))), "{group}");
        }
    }
}
