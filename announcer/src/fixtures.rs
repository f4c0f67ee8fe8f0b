//! Claims for tests of several modules.

use std::{collections::BTreeMap, sync::Arc};

use foghorn_crds::{AddressClaim, AddressClaimStatus, ClaimLease, fixtures};

/// The claim of the Service `default/<service>`, with a lease.
pub(crate) fn leased(service: &str, lease: ClaimLease) -> AddressClaim {
    let status = AddressClaimStatus { lease: Some(lease), ..AddressClaimStatus::default() };
    AddressClaim { status: Some(status), ..fixtures::claim(service) }
}

/// Claims by their names.
pub(crate) fn by_name<const N: usize>(claims: [AddressClaim; N]) -> BTreeMap<String, Arc<AddressClaim>> {
    let named = |claim: AddressClaim| (claim.metadata.name.clone().unwrap(), Arc::new(claim));
    claims.map(named).into()
}
