//! Who a lease belongs to, as the server sees it.

use sha2::{Digest, Sha256};

/// Address family of the claim that an identity is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// DHCPv4.
    V4,
    /// DHCPv6.
    V6,
}

/// What an identity is derived from: names, not UIDs, so that a Service that is made again finds its reservation.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// What tells this cluster from others on the same network, such as the UID of `kube-system`.
    pub cluster: &'a str,
    /// Name of the `NetworkPlane`.
    pub plane: &'a str,
    /// Namespace of the Service.
    pub namespace: &'a str,
    /// Name of the Service.
    pub service: &'a str,
    /// Family of the address.
    pub family: Family,
}

/// The hardware address and client identifier of one lease: the same on every node and after every restart.
///
/// Both are unique per claim. Servers that follow RFC 2131 tell clients apart by the client identifier, simple ones
/// (busybox udhcpd, AdGuard Home, reservations in consumer routers) by the hardware address alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// `chaddr`: unicast and locally administered (second hexadecimal digit 2).
    pub hardware_address: [u8; 6],
    /// Option 61: type 255, IAID and DUID (RFC 4361 section 6.1).
    pub client_id: Vec<u8>,
}

/// Type of a client identifier that is made of an IAID and a DUID.
const IAID_AND_DUID: u8 = 255;
/// DUID based on a UUID (RFC 6355).
const DUID_UUID: [u8; 2] = [0, 4];

impl Identity {
    /// The identity of `owner`, by SHA-256 over its parts.
    #[must_use]
    pub fn derive(owner: &Owner<'_>) -> Self {
        let family = match owner.family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        let mut hash = Sha256::new();
        for part in ["foghorn", owner.cluster, owner.plane, owner.namespace, owner.service, family] {
            // The length keeps ("a", "bc") and ("ab", "c") apart.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        let [m0, m1, m2, m3, m4, m5, i0, i1, i2, i3, rest @ ..] = digest;
        let [uuid @ .., _, _, _, _, _, _] = rest;

        let mut client_id = Vec::with_capacity(23);
        client_id.push(IAID_AND_DUID);
        client_id.extend([i0, i1, i2, i3]);
        client_id.extend(DUID_UUID);
        client_id.extend(uuid);
        Self { hardware_address: [(m0 & 0xf0) | 0x02, m1, m2, m3, m4, m5], client_id }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn b05_the_client_identifier_is_an_iaid_and_a_duid_of_uuid_type() {
        let id = Identity::derive(&web()).client_id;
        assert_eq!(id.len(), 23);
        assert_eq!(id[0], 255);
        assert_eq!(id[5..7], [0, 4]);
    }

    #[test]
    fn a_service_made_again_has_the_same_identity() {
        assert_eq!(Identity::derive(&web()), Identity::derive(&web()));
    }

    #[test]
    fn the_derivation_never_changes_between_versions() {
        let identity = Identity::derive(&web());
        assert_eq!(identity.hardware_address, [0xa2, 0x01, 0x01, 0x25, 0x5b, 0x66]);
    }

    #[test]
    fn every_part_of_the_owner_matters() {
        let owners = [
            web(),
            Owner { cluster: "d", ..web() },
            Owner { plane: "private", ..web() },
            Owner { namespace: "other", ..web() },
            Owner { service: "api", ..web() },
            Owner { family: Family::V6, ..web() },
            Owner { namespace: "defaultw", service: "eb", ..web() },
        ];
        let identities: Vec<_> = owners.iter().map(Identity::derive).collect();
        assert_eq!(
            identities.iter().map(|i| i.hardware_address).collect::<BTreeSet<_>>().len(),
            owners.len()
        );
        assert_eq!(identities.iter().map(|i| &i.client_id).collect::<BTreeSet<_>>().len(), owners.len());
    }

    #[test]
    fn the_hardware_address_is_unicast_and_locally_administered() {
        for n in 0..1000 {
            let service = format!("web-{n}");
            let identity = Identity::derive(&Owner { service: &service, ..web() });
            assert_eq!(identity.hardware_address[0] & 0x03, 0x02);
        }
    }

    fn web() -> Owner<'static> {
        Owner { cluster: "c", plane: "public", namespace: "default", service: "web", family: Family::V4 }
    }
}
