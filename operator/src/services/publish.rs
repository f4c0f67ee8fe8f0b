//! What a Service's status says of its address.

use std::net::Ipv4Addr;

use foghorn_crds::{
    AddressClaim, ClaimState, NetworkPlane, RefusedNetwork,
    conditions::{self, reasons as claim_reasons},
    contract,
    policy::{AddressPolicy, claimed_by_node},
};
use ipnet::Ipv4Net;
use k8s_openapi::{
    api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, Service, ServiceStatus},
    apimachinery::pkg::apis::meta::v1::Condition,
    jiff::Timestamp,
};
use kube::ResourceExt;

use super::{
    forwarded::{self, Forwarded},
    reasons::{self, Unserved},
};

/// `ingress[].ipMode` of an address that is no node's: kube-proxy answers for it on every node.
const IP_MODE: &str = "VIP";

/// Reasons of a wait in which nothing went wrong.
const WAITS: [&str; 6] = [
    claim_reasons::ACQUIRING,
    claim_reasons::NO_SERVING_NODE,
    claim_reasons::RELEASED,
    reasons::WAITING_FOR_PLANE,
    reasons::WAITING_FOR_ANNOUNCER,
    reasons::FORMER_CLAIM_ENDING,
];

/// What a Service's status says of its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publication {
    pub(crate) ingress: Ingress,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// What is said of the ports that the gateway is to forward.
    pub(crate) forwarded: Forwarded,
}

/// What `status.loadBalancer.ingress` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ingress {
    /// The Service's address.
    Address(Ipv4Addr),
    /// Nothing.
    Empty,
    /// Whatever someone else writes there.
    Disputed,
}

impl Publication {
    /// The Service has no address; why.
    pub(crate) fn none(reason: &str, message: impl Into<String>) -> Self {
        Self {
            ingress: Ingress::Empty,
            reason: reason.to_owned(),
            message: message.into(),
            forwarded: Forwarded::default(),
        }
    }

    /// The same, with something that its reader should also know.
    pub(crate) fn with_note(mut self, note: Option<&str>) -> Self {
        if let Some(note) = note {
            self.message = format!("{}; {note}", self.message);
        }
        self
    }

    /// The same, with what is to be said of the ports that the gateway is to forward.
    pub(crate) fn with_forwarded(self, forwarded: Forwarded) -> Self {
        Self { forwarded, ..self }
    }

    /// Where external-dns is to lead the Service's names, if not to its own address.
    pub(crate) fn target(&self) -> Option<Ipv4Addr> {
        self.forwarded.target.filter(|_| matches!(self.ingress, Ingress::Address(_)))
    }

    fn condition(&self, service: &Service, now: Timestamp) -> Condition {
        let ready = matches!(self.ingress, Ingress::Address(_));
        let generation = service.metadata.generation;
        let new = conditions::condition(
            contract::SERVICE_CONDITION,
            ready,
            &self.reason,
            &self.message,
            generation,
            now,
        );
        following(condition(service), new)
    }

    /// The status to apply, or nothing if `service` says all of it already.
    pub(crate) fn status(&self, service: &Service, now: Timestamp) -> Option<ServiceStatus> {
        let new = self.condition(service, now);
        let of_ports = self.forwarded.condition(service, now);
        let ingress: Option<Vec<_>> = match self.ingress {
            Ingress::Address(address) => {
                let own = LoadBalancerIngress {
                    ip: Some(address.to_string()),
                    ip_mode: Some(IP_MODE.to_owned()),
                    ..LoadBalancerIngress::default()
                };
                let outer = self.forwarded.ingress.map(forwarded::ingress);
                Some([own].into_iter().chain(outer).collect())
            }
            Ingress::Empty => Some(vec![]),
            Ingress::Disputed => None,
        };
        let same_ingress = ingress.as_deref().is_none_or(|wanted| wanted == self::ingress(service));
        let same_ports = forwarded::condition(service) == of_ports.as_ref();
        if same_ingress && same_ports && condition(service) == Some(&new) {
            return None;
        }
        Some(ServiceStatus {
            conditions: Some([new].into_iter().chain(of_ports).collect()),
            load_balancer: ingress.map(|ingress| LoadBalancerStatus { ingress: Some(ingress) }),
        })
    }
}

impl From<Unserved> for Publication {
    fn from(unserved: Unserved) -> Self {
        Self::none(unserved.reason, unserved.message)
    }
}

/// The condition of ours on the Service about its address.
pub(crate) fn condition(service: &Service) -> Option<&Condition> {
    condition_of(service, contract::SERVICE_CONDITION)
}

/// The Service's condition of that type.
pub(crate) fn condition_of<'a>(service: &'a Service, type_: &str) -> Option<&'a Condition> {
    let conditions = service.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions::get(conditions.unwrap_or_default(), type_)
}

/// `new`, with the time of the last transition of the one before it.
pub(crate) fn following(present: Option<&Condition>, new: Condition) -> Condition {
    let mut one: Vec<_> = present.cloned().into_iter().collect();
    conditions::set(&mut one, new.clone());
    one.pop().unwrap_or(new)
}

/// What the Service's status has for `loadBalancer.ingress`.
pub(crate) fn ingress(service: &Service) -> &[LoadBalancerIngress] {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default()
}

/// What is to be said of a live claim. `others` are the other claims of all planes that have its address and may have
/// it; `refused` are the cluster's networks. An address belongs to the claim whose Service it `is_published` for, else to
/// the oldest one: announcers of one plane cannot take an address from a Service of another by claiming it too.
pub(crate) fn of_claim<'a>(
    claim: &AddressClaim,
    plane: &NetworkPlane,
    refused: &[RefusedNetwork],
    others: impl IntoIterator<Item = &'a AddressClaim>,
    is_published: impl Fn(&AddressClaim) -> bool,
) -> Publication {
    let plane_name = plane.name_any();
    if claim.spec.serving_nodes.as_ref().is_some_and(Vec::is_empty) {
        return Publication::none(
            claim_reasons::NO_SERVING_NODE,
            "no node has a ready endpoint of the Service, and externalTrafficPolicy Local lets no other have its \
             address",
        );
    }
    let status = claim.status.clone().unwrap_or_default();
    let Some(ready) = conditions::get(&status.conditions, conditions::READY) else {
        return Publication::none(
            reasons::WAITING_FOR_ANNOUNCER,
            format!(
                "no announcer of plane {plane_name} has taken the claim up yet; they are the Pods of namespace {}",
                contract::plane_namespace(&plane_name)
            ),
        );
    };
    let Some(address) = held_address(claim) else {
        return Publication::none(&ready.reason, format!("plane {plane_name}: {}", ready.message));
    };
    if let Err(refusal) = check(address, claim, plane, refused, is_published(claim)) {
        return Publication::none(claim_reasons::ADDRESS_REFUSED, format!("plane {plane_name}: {refusal}"));
    }
    let precedence = |claim: &AddressClaim| (!is_published(claim), age(claim));
    let owner = others
        .into_iter()
        .filter(|other| other.uid() != claim.uid() && held_address(other) == Some(address))
        .find(|other| precedence(other) < precedence(claim));
    if let Some(owner) = owner {
        let service = &owner.spec.service_ref;
        return Publication::none(
            reasons::ADDRESS_TAKEN,
            format!(
                "{address} is the address of Service {}/{} on plane {}, which had it first: do the DHCP servers of two \
                 planes give the same addresses?",
                service.namespace, service.name, owner.spec.plane
            ),
        );
    }
    let source = status.lease.map(|lease| format!(", leased by DHCP server {}", lease.server));
    let contested = claimed_by_node(refused, address).map(|node| {
        format!("; {node} claims it too: remove it from that node, or exclude it from the DHCP range")
    });
    let rest = [source, contested].into_iter().flatten().collect::<String>();
    Publication {
        ingress: Ingress::Address(address),
        reason: ready.reason.clone(),
        message: format!("{address} on plane {plane_name}{rest}"),
        forwarded: Forwarded::default(),
    }
}

/// The address of a claim that is held, announced, and not about to end.
pub(crate) fn held_address(claim: &AddressClaim) -> Option<Ipv4Addr> {
    let status = claim.status.as_ref().filter(|status| status.state != Some(ClaimState::Released))?;
    let ready = conditions::get(&status.conditions, conditions::READY)?;
    let held = ready.status == "True" && claim.metadata.deletion_timestamp.is_none();
    status.address.filter(|_| held)
}

/// What claims are older by, and so come first.
pub(crate) fn age(claim: &AddressClaim) -> (Option<Timestamp>, Option<String>) {
    (claim.creation_timestamp().map(|time| time.0), claim.uid())
}

/// Whether the policy of the claim's plane allows the address, which its Service has already if it is `in_use`. Announcers
/// check this too; that they did is not relied on.
pub(crate) fn check(
    address: Ipv4Addr,
    claim: &AddressClaim,
    plane: &NetworkPlane,
    refused: &[RefusedNetwork],
    in_use: bool,
) -> Result<(), String> {
    let subnets = plane.spec.allowed_subnets.iter();
    let allowed: Vec<Ipv4Net> = subnets
        .map(|subnet| {
            subnet.parse().map_err(|_| format!("{subnet} of its allowedSubnets is no IPv4 network"))
        })
        .collect::<Result<_, _>>()?;
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

/// An event: what happened to a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) warning: bool,
    pub(crate) reason: String,
    /// Events of one reason and action are counted together, under the first one's note. So whatever makes the note
    /// of a transition another one is part of the action.
    pub(crate) action: String,
    pub(crate) note: String,
}

impl Notice {
    pub(crate) fn normal(reason: &str, action: impl Into<String>, note: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.to_owned(), action: action.into(), note: note.into() }
    }

    pub(crate) fn warning(reason: &str, action: impl Into<String>, note: impl Into<String>) -> Self {
        Self { warning: true, ..Self::normal(reason, action, note) }
    }
}

/// The event of the transition from what `before` says to what `after` says, if it is one.
pub(crate) fn transition(before: &Service, after: &Publication) -> Option<Notice> {
    let old = condition(before);
    let was_ready = old.is_some_and(|old| old.status == "True");
    let same_reason = old.is_some_and(|old| old.reason == after.reason);
    match after.ingress {
        Ingress::Address(_) if was_ready && old.is_some_and(|old| old.message == after.message) => None,
        Ingress::Address(address) if was_ready && has(before, address) => None,
        Ingress::Address(address) => {
            Some(Notice::normal("AddressAssigned", format!("Assign {address}"), after.message.clone()))
        }
        Ingress::Disputed if same_reason => None,
        Ingress::Empty if was_ready => Some(Notice::warning(
            "AddressLost",
            format!("Withdraw {}", after.reason),
            format!("{}: {}", after.reason, after.message),
        )),
        Ingress::Empty if same_reason || WAITS.contains(&after.reason.as_str()) => None,
        Ingress::Disputed | Ingress::Empty => {
            Some(Notice::warning(&after.reason, "Serve", after.message.clone()))
        }
    }
}

/// Whether the Service's status says, by our word, that the address is its own.
pub(crate) fn publishes(service: &Service, address: Ipv4Addr) -> bool {
    condition(service).is_some_and(|condition| condition.status == "True") && has(service, address)
}

fn has(service: &Service, address: Ipv4Addr) -> bool {
    let address = address.to_string();
    ingress(service).iter().any(|ingress| ingress.ip.as_ref() == Some(&address))
}

#[cfg(test)]
mod tests;
