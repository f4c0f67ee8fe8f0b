//! By which numbers the plane's members know its claims.

use std::{collections::BTreeMap, sync::Arc};

use foghorn_crds::AddressClaim;
use foghorn_membership::ClaimId;
use sha2::{Digest, Sha256};

/// The number of a claim: the first eight octets of the SHA-256 of its UID, the first one highest. None without a UID,
/// which the API server gives to every claim.
#[must_use]
pub fn claim_id(claim: &AddressClaim) -> Option<ClaimId> {
    let digest = Sha256::digest(claim.metadata.uid.as_deref()?);
    digest.first_chunk().map(|octets| ClaimId(u64::from_be_bytes(*octets)))
}

/// The claims that there are, by number and by name. A claim that is made again under its old name has another number.
#[derive(Clone, Debug, Default)]
pub struct Names {
    by_id: BTreeMap<ClaimId, Arc<str>>,
    by_name: BTreeMap<Arc<str>, ClaimId>,
}

impl Names {
    /// The claim is there. Gives the number of another one that had its name until now, and is no more.
    pub fn insert(&mut self, name: &str, id: ClaimId) -> Option<ClaimId> {
        let shared: Arc<str> = name.into();
        let before = self.by_name.insert(shared.clone(), id).filter(|before| *before != id);
        if let Some(before) = before {
            self.by_id.remove(&before);
        }
        self.by_id.insert(id, shared);
        before
    }

    /// The claim is no more. Gives its number if it was there.
    pub fn remove(&mut self, name: &str) -> Option<ClaimId> {
        let id = self.by_name.remove(name)?;
        self.by_id.remove(&id);
        Some(id)
    }

    /// The name of a claim that is there.
    #[must_use]
    pub fn name(&self, id: ClaimId) -> Option<&Arc<str>> {
        self.by_id.get(&id)
    }

    /// The number of a claim that is there.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<ClaimId> {
        self.by_name.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use foghorn_crds::fixtures::claim;

    #[test]
    fn a_claims_number_is_the_beginning_of_the_digest_of_its_uid() {
        let mut claim = claim("web");
        claim.metadata.uid = None;
        assert_eq!(claim_id(&claim), None, "no UID yet");
        claim.metadata.uid = Some("abc".into());
        assert_eq!(claim_id(&claim), Some(ClaimId(0xba78_16bf_8f01_cfea)), "FIPS 180-2, B.1");
    }

    #[test]
    fn claims_are_found_by_number_and_by_name_while_they_are_there() {
        let mut names = Names::default();
        assert_eq!(names.insert("a", ClaimId(1)), None);
        assert_eq!(names.insert("b", ClaimId(2)), None);
        assert_eq!(names.insert("a", ClaimId(1)), None, "the same again");
        assert_eq!(
            (names.id("a"), names.name(ClaimId(2)).map(|name| &**name)),
            (Some(ClaimId(1)), Some("b"))
        );
        assert_eq!(names.remove("a"), Some(ClaimId(1)));
        assert_eq!((names.id("a"), names.name(ClaimId(1))), (None, None));
        assert_eq!(names.remove("a"), None);
    }

    #[test]
    fn a_claim_that_is_made_again_under_its_name_puts_the_one_before_away() {
        let mut names = Names::default();
        names.insert("a", ClaimId(1));
        assert_eq!(names.insert("a", ClaimId(3)), Some(ClaimId(1)));
        assert_eq!((names.name(ClaimId(1)), names.id("a")), (None, Some(ClaimId(3))));
    }
}
