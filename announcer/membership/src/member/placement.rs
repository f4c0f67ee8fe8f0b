//! Which member gets a claim.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use super::holdings::mix;
use crate::{Claim, ClaimId, MemberId, Nowhere, Placement};

/// A member that can have claims.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Able {
    pub(super) id: MemberId,
    pub(super) node: String,
    pub(super) weight: i32,
    pub(super) avoid: bool,
    pub(super) subnets: Vec<(Ipv4Addr, u8)>,
}

/// How many claims each member has.
pub(super) type Loads = BTreeMap<MemberId, usize>;

/// The networks of members' interfaces, also of members that are gone.
pub(super) type Networks = BTreeSet<(Ipv4Addr, u8)>;

/// The members that may have the claim: those whose nodes serve it, or all if none does. Those to be avoided only if there
/// is no other.
///
/// An address in one of the `networks` is for members in that network. One in none of them is for all: it is routed to
/// where the members are.
pub(super) fn eligible<'a>(
    claim: &Claim,
    crew: &'a [Able],
    networks: &Networks,
) -> Result<Vec<&'a Able>, Nowhere> {
    if crew.is_empty() {
        return Err(Nowhere::NoMember);
    }
    let bound = claim.address.is_some_and(|address| networks.iter().any(|net| contains(*net, address)));
    let near = |able: &&Able| match claim.address {
        Some(address) => able.subnets.is_empty() || able.subnets.iter().any(|net| contains(*net, address)),
        None => true,
    };
    let near = |able: &&Able| !bound || near(able);
    let near: Vec<_> = crew.iter().filter(near).collect();
    if near.is_empty() {
        return Err(Nowhere::NoSubnet);
    }
    let serves = |able: &&Able| claim.nodes.as_ref().is_none_or(|nodes| nodes.contains(&able.node));
    // Where nobody serves the claim any member keeps its lease.
    Ok(preferred(preferred(near, serves), |able| !able.avoid))
}

/// Those that are preferred, or all if none is.
fn preferred(all: Vec<&Able>, is_preferred: impl Fn(&&Able) -> bool) -> Vec<&Able> {
    let some: Vec<_> = all.iter().copied().filter(|able| is_preferred(able)).collect();
    if some.is_empty() { all } else { some }
}

/// The one that gets the claim: of the greatest weight, and of those the one with the fewest claims, or in a `Single`
/// plane the one with the most. Between equals a hash decides, so that the order of claims favours nobody.
pub(super) fn choose(
    claim: ClaimId,
    eligible: &[&Able],
    loads: &Loads,
    placement: Placement,
) -> Option<MemberId> {
    let greatest = eligible.iter().map(|able| able.weight).max()?;
    let best = eligible.iter().filter(|able| able.weight == greatest);
    let load = |able: &Able| loads.get(&able.id).copied().unwrap_or_default();
    match placement {
        Placement::Spread => best.min_by_key(|able| (load(able), mix(claim.0 ^ mix(able.id.0)))),
        // `max_by_key` gives the last of equals: the order is turned round, so that seniority decides.
        Placement::Single => best.rev().max_by_key(|able| load(able)),
    }
    .map(|able| able.id)
}

fn contains((network, bits): (Ipv4Addr, u8), address: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32u32.saturating_sub(bits.into())).unwrap_or(0);
    u32::from(network) & mask == u32::from(address) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_spread_so_that_no_member_has_two_more_than_another() {
        let crew = [able(1), able(2), able(3)];
        let mut loads = Loads::new();
        for claim in 0..100 {
            let eligible = eligible(&Claim::default(), &crew, &Networks::new()).unwrap();
            let owner = choose(ClaimId(claim), &eligible, &loads, Placement::Spread).unwrap();
            *loads.entry(owner).or_default() += 1;
        }
        assert!(loads.values().max().unwrap() - loads.values().min().unwrap() <= 1, "{loads:?}");
    }

    #[test]
    fn in_a_single_plane_all_claims_stay_with_the_one_that_has_them() {
        let crew = [able(1), able(2)];
        let eligible: Vec<_> = crew.iter().collect();
        let choose = |loads: &Loads| choose(ClaimId(7), &eligible, loads, Placement::Single);
        assert_eq!(choose(&Loads::new()), Some(MemberId(1)), "seniority");
        assert_eq!(choose(&Loads::from([(MemberId(2), 3)])), Some(MemberId(2)));
    }

    #[test]
    fn a_node_to_be_avoided_gets_a_claim_only_if_no_other_can() {
        let avoided = Able { avoid: true, ..able(1) };
        let crew = [avoided.clone(), able(2)];
        assert_eq!(ids(&eligible(&Claim::default(), &crew, &Networks::new())), [MemberId(2)]);
        assert_eq!(ids(&eligible(&Claim::default(), &[avoided], &Networks::new())), [MemberId(1)]);
    }

    #[test]
    fn a_claim_goes_to_a_serving_node_or_is_kept_by_any() {
        let avoided = Able { avoid: true, ..able(3) };
        let crew = [able(1), able(2), avoided];
        let on = |nodes: &[&str]| Claim {
            nodes: Some(nodes.iter().map(|node| (*node).to_owned()).collect()),
            ..Claim::default()
        };
        assert_eq!(ids(&eligible(&on(&["n1"]), &crew, &Networks::new())), [MemberId(1)]);
        assert_eq!(ids(&eligible(&on(&["n3"]), &crew, &Networks::new())), [MemberId(3)]);
        for nodes in [&[][..], &["n9"]] {
            let keepers = eligible(&on(nodes), &crew, &Networks::new());
            assert_eq!(ids(&keepers), [MemberId(1), MemberId(2)], "{nodes:?}");
        }
        assert_eq!(eligible(&Claim::default(), &[], &Networks::new()), Err(Nowhere::NoMember));
    }

    #[test]
    fn an_address_of_a_network_that_members_are_in_or_were_in_is_for_them_only() {
        let net = |last| (Ipv4Addr::new(192, 0, 2, last), 24);
        let other = (Ipv4Addr::new(198, 51, 100, 9), 24);
        let inside = Able { subnets: vec![net(9)], ..able(1) };
        let outside = Able { subnets: vec![other], ..able(2) };
        let networks = Networks::from([net(9), other]);
        let claim = Claim { address: Some(Ipv4Addr::new(192, 0, 2, 77)), nodes: None };
        let both = [inside, outside.clone()];
        assert_eq!(ids(&eligible(&claim, &both, &networks)), [MemberId(1)]);
        assert_eq!(eligible(&claim, std::slice::from_ref(&outside), &networks), Err(Nowhere::NoSubnet));
        let routed = Claim { address: Some(Ipv4Addr::new(203, 0, 113, 5)), nodes: None };
        assert_eq!(ids(&eligible(&routed, &both, &networks)), [MemberId(1), MemberId(2)]);
    }

    fn ids(eligible: &Result<Vec<&Able>, Nowhere>) -> Vec<MemberId> {
        eligible.iter().flatten().map(|able| able.id).collect()
    }

    fn able(id: u64) -> Able {
        Able { id: MemberId(id), node: format!("n{id}"), weight: 0, avoid: false, subnets: Vec::new() }
    }
}
