//! Which plane a frame belongs to.

use sha2::{Digest as _, Sha256};

/// A plane of a cluster. Frames of another one, also of a plane of the same name in another cluster that has the same
/// keys, are not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    digest: [u8; 32],
}

impl Plane {
    /// The plane of this name. Neither text may contain a NUL, which names of Kubernetes do not.
    #[must_use]
    pub fn new(cluster_id: &str, name: &str) -> Self {
        let digest = Sha256::new().chain_update(cluster_id).chain_update([0]).chain_update(name).finalize();
        Self { digest: digest.into() }
    }

    /// What stands for it in a frame, at [`PLANE_AT`](crate::PLANE_AT): the first eight octets of the digest.
    #[must_use]
    pub const fn octets(&self) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = self.digest;
        [a, b, c, d, e, f, g, h]
    }

    /// The same as a number.
    pub(crate) const fn id(&self) -> u64 {
        u64::from_be_bytes(self.octets())
    }

    /// Both names in short, as long as a key.
    pub(crate) const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}
