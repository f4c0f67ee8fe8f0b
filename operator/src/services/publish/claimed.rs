//! What a Service's status says of a live claim.

use std::net::Ipv4Addr;

use foghorn_crds::{
    AddressClaim, ClaimState, NetworkPlane, RefusedNetwork,
    conditions::{self, reasons as claim_reasons},
    contract,
    policy::{AddressPolicy, claimed_by_node},
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::ResourceExt;

use super::{
    super::{
        admit, reasons,
        validity::{self, Announcers, Validity},
    },
    Ingress, NOWHERE, Publication,
};
use crate::planes::acceptance;

/// What is to be said of a live claim. `others` are the other claims of all planes that have its address and may have
/// it; `refused` are the cluster's networks. An address belongs to the claim whose Service it `is_published` for, else to
/// the oldest one: announcers of one plane cannot take an address from a Service of another by claiming it too.
///
/// While the plane's spec is invalid it takes nothing away, and gives nothing new.
pub(crate) fn of_claim<'a>(
    claim: &AddressClaim,
    plane: &NetworkPlane,
    refused: &[RefusedNetwork],
    others: impl IntoIterator<Item = &'a AddressClaim>,
    is_published: impl Fn(&AddressClaim) -> bool,
    validity: &Validity,
) -> Publication {
    let plane_name = plane.name_any();
    let silent = silent(claim, plane);
    let (reason, message) = match (&silent, ready(claim)) {
        (Some((reason, why)), _) => (*reason, why.clone()),
        (None, Some(ready)) => (ready.reason.as_str(), format!("plane {plane_name}: {}", ready.message)),
        (None, None) => (
            reasons::WAITING_FOR_ANNOUNCER,
            format!(
                "waiting for an announcer of plane {plane_name}: check the Pods in namespace {}",
                contract::plane_namespace(&plane_name)
            ),
        ),
    };
    let Some(address) = held_address(claim) else { return Publication::none(reason, message) };
    if validity.lapsed {
        let message = format!(
            "the lease of {address} on plane {plane_name} has ended, and no announcer extended it: check the Pods in \
             namespace {}",
            contract::plane_namespace(&plane_name)
        );
        return Publication::none(claim_reasons::LEASE_EXPIRED, message);
    }
    if let (Err(unserved), false) = (admit::spec_is_valid(plane), is_published(claim)) {
        return unserved.into();
    }
    if let Err(refusal) = check(address, claim, plane, refused, is_published(claim)) {
        return Publication::none(claim_reasons::ADDRESS_REFUSED, format!("plane {plane_name}: {refusal}"));
    }
    let precedence =
        |claim: &AddressClaim| (validity::has_ended(claim, validity.now), !is_published(claim), age(claim));
    let owner = others
        .into_iter()
        .filter(|other| other.uid() != claim.uid() && held_address(other) == Some(address))
        .find(|other| precedence(other) < precedence(claim));
    if let Some(owner) = owner {
        let service = &owner.spec.service_ref;
        return Publication::none(
            reasons::ADDRESS_TAKEN,
            format!(
                "{address} is already used by Service {}/{} on plane {}: check for DHCP servers that give the same \
                 addresses",
                service.namespace, service.name, owner.spec.plane
            ),
        );
    }
    let (ingress, reason, message) = match silent {
        Some((_, why)) => (
            Ingress::Silent(address),
            reason,
            format!("{address} on plane {plane_name} is not announced: {why}"),
        ),
        None => {
            let (reason, more) = match lost_holder(claim, plane, validity) {
                Some(more) => (reasons::HOLDER_LOST, more),
                None => (reason, String::new()),
            };
            let contested = contested(address, refused);
            let message = format!("{address} on plane {plane_name}{}{more}{contested}", source(claim));
            (Ingress::Address(address), reason, message)
        }
    };
    Publication { ingress, ..Publication::none(reason, message) }
}

fn ready(claim: &AddressClaim) -> Option<&Condition> {
    conditions::get(&claim.status.as_ref()?.conditions, conditions::READY)
}

/// The address of a claim that is not about to end: it is announced, or would be if any node could do that.
pub(crate) fn held_address(claim: &AddressClaim) -> Option<Ipv4Addr> {
    let status = claim.status.as_ref().filter(|_| claim.metadata.deletion_timestamp.is_none())?;
    if status.state == Some(ClaimState::Released) {
        return None;
    }
    if ready(claim)?.status == "True" {
        return status.address;
    }
    let is_kept = (lacks_nodes(claim) || lacks_members(claim).is_some())
        && matches!(
            status.state,
            Some(
                ClaimState::Unassigned
                    | ClaimState::Bound
                    | ClaimState::Renewing
                    | ClaimState::Rebinding
                    | ClaimState::Rebooting
            )
        );
    status.lease.as_ref().map(|lease| lease.address).filter(|_| is_kept)
}

/// Whether `externalTrafficPolicy: Local` lets no node of the plane announce the address, or did until now.
fn lacks_nodes(claim: &AddressClaim) -> bool {
    claim.spec.serving_nodes.as_ref().is_some_and(Vec::is_empty)
        || ready(claim).is_some_and(|ready| ready.reason == claim_reasons::NO_SERVING_NODE)
}

/// Why none of the plane's announcers can have the claim, if that is so.
fn lacks_members(claim: &AddressClaim) -> Option<&Condition> {
    ready(claim).filter(|ready| NOWHERE.contains(&ready.reason.as_str()))
}

/// Why no node may announce the address, or can, if that is so.
fn silent<'a>(claim: &'a AddressClaim, plane: &NetworkPlane) -> Option<(&'a str, String)> {
    if lacks_nodes(claim) {
        return unserved(claim, plane).map(|why| (claim_reasons::NO_SERVING_NODE, why));
    }
    lacks_members(claim).map(|ready| (ready.reason.as_str(), ready.message.clone()))
}

/// Why there is no node with a ready endpoint.
fn unserved(claim: &AddressClaim, plane: &NetworkPlane) -> Option<String> {
    let (announcers, plane) = (Announcers::of(plane), plane.name_any());
    let Some(nodes) = &claim.spec.serving_nodes else {
        return Some(format!(
            "waiting for an announcer of plane {plane}; if none comes, check its conditions"
        ));
    };
    if nodes.is_empty() {
        let why = "no node has a ready endpoint, and externalTrafficPolicy: Local needs one";
        return Some(why.to_owned());
    }
    let named = few(nodes);
    Some(if nodes.iter().any(|node| announcers.run_on(node)) {
        format!(
            "waiting for an announcer on a node with a ready endpoint ({named}); if none comes, check the conditions of \
             plane {plane}"
        )
    } else {
        format!(
            "the ready endpoints are on {named} only, where no announcer of plane {plane} runs: check the taints there, and \
             tolerations and nodeSelector of the plane"
        )
    })
}

/// The first few of the nodes, and how many more there are.
fn few(nodes: &[String]) -> String {
    const FEW: usize = 5;
    let named = nodes.iter().take(FEW).map(String::as_str).collect::<Vec<_>>().join(", ");
    match nodes.len().checked_sub(FEW) {
        Some(more @ 1..) => format!("{named} and {more} more"),
        _ => named,
    }
}

/// What is to be said of a holder that does not run, if it has not for some time.
fn lost_holder(claim: &AddressClaim, plane: &NetworkPlane, validity: &Validity) -> Option<String> {
    let status = claim.status.as_ref().filter(|_| validity.holder_lost)?;
    let until = status.lease.as_ref()?.expires_at.as_ref().map_or_else(
        || "and the lease has no end".to_owned(),
        |end| format!("until the lease ends at {}", end.0.strftime("%Y-%m-%dT%H:%M:%SZ")),
    );
    Some(format!(
        "; its holder {} runs no announcer any more: the address stays published {until}; check the Pods in namespace {}",
        status.holder.as_deref().unwrap_or_default(),
        contract::plane_namespace(&plane.name_any())
    ))
}

/// What is to be said of an address that a node claims too.
fn contested(address: Ipv4Addr, refused: &[RefusedNetwork]) -> String {
    let node = claimed_by_node(refused, address);
    let remedy = "remove it from that node, or exclude it from the DHCP range";
    node.map(|node| format!("; {node} claims it too: {remedy}")).unwrap_or_default()
}

fn source(claim: &AddressClaim) -> String {
    let lease = claim.status.as_ref().and_then(|status| status.lease.as_ref());
    lease.map(|lease| format!(", leased by DHCP server {}", lease.server)).unwrap_or_default()
}

/// What claims are older by, and so come first.
pub(crate) fn age(claim: &AddressClaim) -> (Option<Timestamp>, Option<String>) {
    (claim.creation_timestamp().map(|time| time.0), claim.uid())
}

/// Whether the policy of the claim's plane allows the address, which its Service has already if it is `in_use`. Announcers
/// check this too; that they did is not relied on.
/// An invalid spec allows no subnet and forbids none.
pub(crate) fn check(
    address: Ipv4Addr,
    claim: &AddressClaim,
    plane: &NetworkPlane,
    refused: &[RefusedNetwork],
    in_use: bool,
) -> Result<(), String> {
    let allowed = acceptance::allowed_subnets(plane).unwrap_or_default();
    let lease = claim.status.as_ref().and_then(|status| status.lease.as_ref());
    let gateways = lease.iter().flat_map(|lease| lease.routes.iter().map(|route| route.gateway));
    let routers: Vec<_> =
        lease.iter().flat_map(|lease| lease.routers.iter().copied()).chain(gateways).collect();
    let policy = AddressPolicy {
        allowed: &allowed,
        refused,
        routers: &routers,
        server: lease.map(|lease| lease.server),
        prefix_length: lease.and_then(|lease| lease.prefix_length),
        in_use,
    };
    policy.check(address).map_err(|refusal| refusal.to_string())
}
