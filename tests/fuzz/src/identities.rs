//! Names of Services and what people write as hardware addresses.

use arbitrary::{Arbitrary, Unstructured};
use foghorn_dhcp::{Family, Identity, Owner};

use crate::hardware_address;

/// The parts of an [`Owner`].
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
struct Names<'a> {
    cluster: &'a str,
    plane: &'a str,
    namespace: &'a str,
    service: &'a str,
    is_v6: bool,
}

/// Reads the octets as two owners and as text.
pub fn fuzz(octets: &[u8]) {
    if let Ok((one, other)) = <(Names<'_>, Names<'_>)>::arbitrary(&mut Unstructured::new(octets)) {
        identities(one, other);
        // The same letters with another border between two parts.
        if let Some((at, _)) = one.service.char_indices().next_back() {
            let (namespace, service) = one.service.split_at(at);
            identities(one, Names { namespace, service, ..one });
            identities(
                Names { namespace: one.service, service: "", ..one },
                Names { namespace, service, ..one },
            );
        }
    }
    if let Ok(text) = str::from_utf8(octets) {
        address(text);
    }
}

fn identities(one: Names<'_>, other: Names<'_>) {
    let (first, second) = (identity(one), identity(other));
    for Identity { hardware_address, client_id } in [&first, &second] {
        assert_eq!(hardware_address::check(*hardware_address, &[]), Ok(()), "no address for a Service");
        assert_eq!(client_id.len(), 23);
        assert!(client_id.starts_with(&[255]), "no IAID and DUID");
        assert_eq!(client_id.get(5..7), Some(&[0, 4][..]), "no DUID of UUID type");
    }
    assert_eq!(first == second, one == other, "{one:?} and {other:?}");
    assert_eq!(first.hardware_address == second.hardware_address, one == other, "{one:?} and {other:?}");
    assert_eq!(first.client_id == second.client_id, one == other, "{one:?} and {other:?}");
}

fn identity(names: Names<'_>) -> Identity {
    let Names { cluster, plane, namespace, service, is_v6 } = names;
    let family = if is_v6 { Family::V6 } else { Family::V4 };
    Identity::derive(&Owner { cluster, plane, namespace, service, family })
}

/// What is read is what was written, but for case, hyphens and blanks around it.
fn address(text: &str) {
    let Ok(octets) = hardware_address::parse(text) else { return };
    let formatted = hardware_address::format(octets);
    assert_eq!(hardware_address::parse(&formatted), Ok(octets));
    assert_eq!(text.trim().replace('-', ":").to_ascii_lowercase(), formatted);
    let is_allowed = hardware_address::check(octets, &[formatted]).is_ok();
    let [first, ..] = octets;
    assert_eq!(is_allowed, first & 1 == 0 && octets != [0; 6]);
}
