//! What a Service's status says of its address.
//!
//! - `claimed`: what of it a live claim comes to.

mod claimed;

use std::net::Ipv4Addr;

use foghorn_crds::{
    conditions::{self, reasons as claim_reasons},
    contract,
};
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
use crate::context::MANAGER;
pub(crate) use claimed::{age, check, held_address, of_claim};

/// `ingress[].ipMode` of an address that is no node's: kube-proxy answers for it on every node.
const IP_MODE: &str = "VIP";
/// Where the record of a Service's writers has `status.loadBalancer.ingress`.
const INGRESS_FIELD: &str = "/f:status/f:loadBalancer/f:ingress";

/// Reasons of a wait in which nothing went wrong.
const WAITS: [&str; 6] = [
    claim_reasons::ACQUIRING,
    claim_reasons::NO_SERVING_NODE,
    claim_reasons::RELEASED,
    reasons::WAITING_FOR_PLANE,
    reasons::WAITING_FOR_ANNOUNCER,
    reasons::FORMER_CLAIM_ENDING,
];

/// Reasons why no announcer can have an address while its lease runs on: it stays in the status, as without a serving node.
const NOWHERE: [&str; 2] = [claim_reasons::NO_MEMBER, claim_reasons::NO_SUBNET];

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
    /// The Service's address, which is kept and not announced for now.
    Silent(Ipv4Addr),
    /// No address of Foghorn's. What others have written stays.
    Empty,
    /// What is there, by whomever.
    Disputed,
}

impl Ingress {
    fn address(self) -> Option<Ipv4Addr> {
        match self {
            Self::Address(address) | Self::Silent(address) => Some(address),
            Self::Empty | Self::Disputed => None,
        }
    }
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
        self.forwarded.target.filter(|_| self.ingress.address().is_some())
    }

    fn is_ready(&self) -> bool {
        matches!(self.ingress, Ingress::Address(_))
    }

    /// Whether the Service says the same already, perhaps in other words.
    pub(crate) fn is_said(&self, service: &Service) -> bool {
        let same_condition = condition(service)
            .is_some_and(|old| old.reason == self.reason && (old.status == "True") == self.is_ready());
        same_condition && self.has_ingress(service)
    }

    fn has_ingress(&self, service: &Service) -> bool {
        self.ingress(service).is_none_or(|wanted| wanted == ingress(service))
    }

    /// The `status.loadBalancer.ingress` to apply, if any: an apply that leaves it out changes nothing that others wrote.
    fn ingress(&self, service: &Service) -> Option<Vec<LoadBalancerIngress>> {
        match self.ingress {
            Ingress::Address(address) | Ingress::Silent(address) => {
                let own = LoadBalancerIngress {
                    ip: Some(address.to_string()),
                    ip_mode: Some(IP_MODE.to_owned()),
                    ..LoadBalancerIngress::default()
                };
                let outer = self.forwarded.ingress.map(forwarded::ingress);
                Some([own].into_iter().chain(outer).collect())
            }
            Ingress::Empty => is_ours(service).then(Vec::new),
            // Left out, it would be cleared.
            Ingress::Disputed => is_ours(service).then(|| ingress(service).to_vec()),
        }
    }

    fn condition(&self, service: &Service, now: Timestamp) -> Condition {
        let generation = service.metadata.generation;
        let new = conditions::condition(
            contract::SERVICE_CONDITION,
            self.is_ready(),
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
        let same_ports = forwarded::condition(service) == of_ports.as_ref();
        if self.has_ingress(service) && same_ports && condition(service) == Some(&new) {
            return None;
        }
        let ingress = self.ingress(service);
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

/// Whether the addresses in the Service's status are of our writing: by the record of its writers or, where that names none
/// for them, by our condition.
pub(crate) fn is_ours(service: &Service) -> bool {
    let mut writers = service
        .managed_fields()
        .iter()
        .filter(|entry| {
            entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(INGRESS_FIELD).is_some())
        })
        .peekable();
    if ingress(service).is_empty() {
        return false;
    }
    if writers.peek().is_none() {
        return says_address(service);
    }
    writers.any(|entry| entry.manager.as_deref() == Some(MANAGER))
}

/// Whether our condition says that the Service has an address, be it that no node answers for it at present.
fn says_address(service: &Service) -> bool {
    condition(service).is_some_and(|condition| {
        let reason = condition.reason.as_str();
        condition.status == "True" || reason == claim_reasons::NO_SERVING_NODE || NOWHERE.contains(&reason)
    })
}

/// Whether the Service had an address until now.
pub(crate) fn had_address(service: &Service) -> bool {
    let was_ready = condition(service).is_some_and(|condition| condition.status == "True");
    was_ready || says_address(service) && is_ours(service)
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
        Ingress::Address(address) if publishes(before, address) => None,
        Ingress::Silent(address) if publishes(before, address) => {
            let is_wait = same_reason || WAITS.contains(&after.reason.as_str());
            (!is_wait).then(|| Notice::warning(&after.reason, "Serve", after.message.clone()))
        }
        Ingress::Address(address) | Ingress::Silent(address) => {
            Some(Notice::normal("AddressAssigned", format!("Assign {address}"), after.message.clone()))
        }
        Ingress::Disputed if same_reason => None,
        Ingress::Empty if had_address(before) => Some(Notice::warning(
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
    says_address(service) && has(service, address)
}

fn has(service: &Service, address: Ipv4Addr) -> bool {
    let address = address.to_string();
    ingress(service).iter().any(|ingress| ingress.ip.as_ref() == Some(&address))
}

#[cfg(test)]
mod tests;
