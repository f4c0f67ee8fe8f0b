//! What a Service's status says of its address.

use std::net::Ipv4Addr;

use foghorn_crds::{
    AddressClaim, ClaimState, NetworkPlane, RefusedNetwork,
    conditions::{self, reasons as claim_reasons},
    contract,
    policy::AddressPolicy,
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
    if let Err(refusal) = check(address, claim, plane, refused) {
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
    Publication {
        ingress: Ingress::Address(address),
        reason: ready.reason.clone(),
        message: format!("{address} on plane {plane_name}{}", source.unwrap_or_default()),
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

/// Whether the policy of the claim's plane allows the address. Announcers check this too; that they did is not relied on.
pub(crate) fn check(
    address: Ipv4Addr,
    claim: &AddressClaim,
    plane: &NetworkPlane,
    refused: &[RefusedNetwork],
) -> Result<(), String> {
    let subnets = plane.spec.allowed_subnets.iter();
    let allowed: Vec<Ipv4Net> = subnets
        .map(|subnet| {
            subnet.parse().map_err(|_| format!("{subnet} of its allowedSubnets is no IPv4 network"))
        })
        .collect::<Result<_, _>>()?;
    let lease = claim.status.as_ref().and_then(|status| status.lease.as_ref());
    let policy = AddressPolicy {
        allowed: &allowed,
        refused,
        routers: lease.map(|lease| lease.routers.as_slice()).unwrap_or_default(),
        server: lease.map(|lease| lease.server),
        prefix_length: lease.and_then(|lease| lease.prefix_length),
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
mod tests {
    use super::{super::fixtures::*, *};

    #[test]
    fn a_held_address_is_published_as_a_virtual_one() {
        let publication = of(&bound("web", "203.0.113.7"), &[]);
        assert_eq!(publication.ingress, Ingress::Address(ip("203.0.113.7")));
        let status = publication.status(&service("web").build(), at(1)).unwrap();
        let ingress = status.load_balancer.unwrap().ingress.unwrap();
        assert_eq!(ingress[0].ip.as_deref(), Some("203.0.113.7"));
        assert_eq!(ingress[0].ip_mode.as_deref(), Some("VIP"));
        assert_eq!(status.conditions.unwrap()[0].status, "True");
    }

    #[test]
    fn an_address_that_no_node_serves_is_not_published_and_the_reason_is_named() {
        let mut claim = bound("web", "203.0.113.7");
        claim.spec.serving_nodes = Some(vec!["w1".into()]);
        assert_eq!(of(&claim, &[]).ingress, Ingress::Address(ip("203.0.113.7")));
        claim.spec.serving_nodes = Some(Vec::new());
        let publication = of(&claim, &[]);
        assert_eq!(publication.ingress, Ingress::Empty);
        assert_eq!(publication.reason, claim_reasons::NO_SERVING_NODE);
    }

    #[test]
    fn a_claim_that_nobody_took_up_says_so() {
        let publication = of(&claim("web"), &[]);
        assert_eq!(publication.reason, reasons::WAITING_FOR_ANNOUNCER);
        assert!(publication.message.contains("foghorn-a"), "{}", publication.message);
    }

    #[test]
    fn an_address_is_published_only_while_it_is_held() {
        let silent = with_ready(bound("web", "203.0.113.7"), false, claim_reasons::NO_DHCP_ANSWER);
        let publication = of(&silent, &[]);
        assert_eq!(publication.ingress, Ingress::Empty);
        assert_eq!(publication.reason, claim_reasons::NO_DHCP_ANSWER);
        let mut without_address = bound("web", "203.0.113.7");
        without_address.status.as_mut().unwrap().address = None;
        assert_eq!(of(&without_address, &[]).ingress, Ingress::Empty);
        let mut released = bound("web", "203.0.113.7");
        released.status.as_mut().unwrap().state = Some(ClaimState::Released);
        assert_eq!(of(&released, &[]).ingress, Ingress::Empty);
    }

    #[test]
    fn a_node_s_address_is_refused_whoever_announces_it() {
        let publication = of(&bound("web", "203.0.113.11"), &[]);
        assert_eq!(publication.ingress, Ingress::Empty);
        assert_eq!(publication.reason, claim_reasons::ADDRESS_REFUSED);
        assert!(publication.message.contains("node w1"), "{}", publication.message);
    }

    #[test]
    fn an_address_that_the_service_wished_for_is_checked_as_any_other() {
        let mut wished = bound("web", "203.0.113.11");
        wished.spec.dhcp.requested_address = Some(ip("203.0.113.11"));
        assert_eq!(of(&wished, &[]).reason, claim_reasons::ADDRESS_REFUSED);
    }

    #[test]
    fn the_router_the_server_and_the_broadcast_address_are_refused() {
        for address in ["203.0.113.1", "203.0.113.2", "203.0.113.255", "203.0.113.0"] {
            assert_eq!(of(&bound("web", address), &[]).reason, claim_reasons::ADDRESS_REFUSED, "{address}");
        }
    }

    #[test]
    fn an_address_outside_the_allowed_subnets_is_refused_and_an_unreadable_subnet_allows_none() {
        let mut plane = plane("a").build();
        plane.spec.allowed_subnets = vec!["203.0.113.64/26".into()];
        let publish = |plane: &NetworkPlane, address| {
            of_claim(&bound("web", address), plane, &refused(), [], |_| false)
        };
        assert_eq!(publish(&plane, "203.0.113.7").reason, claim_reasons::ADDRESS_REFUSED);
        assert_eq!(publish(&plane, "203.0.113.70").ingress, Ingress::Address(ip("203.0.113.70")));
        plane.spec.allowed_subnets = vec!["203.0.113.64".into()];
        assert_eq!(publish(&plane, "203.0.113.70").reason, claim_reasons::ADDRESS_REFUSED);
    }

    #[test]
    fn of_two_claims_with_one_address_the_older_wins_and_is_named_to_the_other() {
        let older = bound("api", "203.0.113.7");
        let younger = created(bound("web", "203.0.113.7"), 9);
        let publication = of(&younger, std::slice::from_ref(&older));
        assert_eq!(publication.reason, reasons::ADDRESS_TAKEN);
        assert!(publication.message.contains("shop/api on plane a"), "{}", publication.message);
        assert_eq!(of(&older, std::slice::from_ref(&younger)).ingress, Ingress::Address(ip("203.0.113.7")));
    }

    #[test]
    fn an_older_claim_that_comes_by_a_published_address_does_not_take_it() {
        let intruder = bound("api", "203.0.113.7");
        let published = created(bound("web", "203.0.113.7"), 9);
        let of = |claim: &AddressClaim, other: &AddressClaim| {
            let is_published = |claim: &AddressClaim| claim.uid() == published.uid();
            of_claim(claim, &plane("a").build(), &refused(), [other], is_published)
        };
        assert_eq!(of(&published, &intruder).ingress, Ingress::Address(ip("203.0.113.7")));
        let publication = of(&intruder, &published);
        assert_eq!(publication.reason, reasons::ADDRESS_TAKEN);
        assert!(publication.message.contains("shop/web"), "{}", publication.message);
    }

    #[test]
    fn only_what_our_condition_confirms_is_published() {
        let mut service = service("web").build();
        service.status = of(&bound("web", "203.0.113.7"), &[]).status(&service, at(1));
        assert!(publishes(&service, ip("203.0.113.7")) && !publishes(&service, ip("203.0.113.8")));
        service.status.as_mut().unwrap().conditions = None;
        assert!(!publishes(&service, ip("203.0.113.7")));
    }

    #[test]
    fn the_uid_decides_between_claims_of_the_same_second() {
        let (one, two) = (bound("api", "203.0.113.7"), bound("web", "203.0.113.7"));
        assert!(matches!(of(&one, std::slice::from_ref(&two)).ingress, Ingress::Address(_)));
        assert_eq!(of(&two, &[one]).reason, reasons::ADDRESS_TAKEN);
    }

    #[test]
    fn a_claim_that_holds_nothing_or_is_ending_takes_no_address_from_another() {
        let younger = created(bound("web", "203.0.113.7"), 9);
        let waiting = with_ready(bound("api", "203.0.113.7"), false, claim_reasons::ACQUIRING);
        let ending = deleting(bound("api", "203.0.113.7"));
        assert!(matches!(of(&younger, &[waiting, ending, younger.clone()]).ingress, Ingress::Address(_)));
    }

    #[test]
    fn what_the_service_says_already_is_not_written_again() {
        let publication = of(&bound("web", "203.0.113.7"), &[]);
        let mut service = service("web").build();
        service.status = publication.status(&service, at(1));
        assert_eq!(publication.status(&service, at(9)), None);
    }

    #[test]
    fn a_move_to_another_node_changes_nothing_in_the_service() {
        let before = of(&bound("web", "203.0.113.7"), &[]);
        let mut moved = bound("web", "203.0.113.7");
        moved.status.as_mut().unwrap().holder = Some("w2".into());
        moved.status.as_mut().unwrap().state = Some(ClaimState::Rebooting);
        assert_eq!(of(&moved, &[]), before);
    }

    #[test]
    fn conditions_of_others_are_left_out_of_what_is_applied() {
        let publication = of(&bound("web", "203.0.113.7"), &[]);
        let mut service = service("web").build();
        let other = conditions::condition("example.com/Other", true, "Fine", "", None, at(1));
        service.status = Some(ServiceStatus { conditions: Some(vec![other]), load_balancer: None });
        let applied = publication.status(&service, at(1)).unwrap().conditions.unwrap();
        assert_eq!(applied.len(), 1);
        assert_eq!(applied[0].type_, contract::SERVICE_CONDITION);
    }

    #[test]
    fn an_address_that_someone_added_or_cleared_is_a_difference() {
        let publication = of(&bound("web", "203.0.113.7"), &[]);
        let mut cleared = service("web").build();
        cleared.status = publication.status(&cleared, at(1));
        cleared.status.as_mut().unwrap().load_balancer = None;
        assert!(publication.status(&cleared, at(1)).is_some());
        let none = Publication::none(claim_reasons::ACQUIRING, "");
        let mut foreign = service("web").build();
        foreign.status = publication.status(&foreign, at(1));
        foreign.status.as_mut().unwrap().conditions = none.status(&foreign, at(1)).unwrap().conditions;
        let emptied = none.status(&foreign, at(1)).unwrap();
        assert_eq!(emptied.load_balancer.unwrap().ingress, Some(vec![]));
    }

    #[test]
    fn a_disputed_address_is_left_to_whoever_writes_it() {
        let disputed = Publication { ingress: Ingress::Disputed, ..Publication::none("StatusDisputed", "x") };
        let status = disputed.status(&service("web").build(), at(1)).unwrap();
        assert_eq!(status.load_balancer, None);
        assert_eq!(status.conditions.unwrap()[0].status, "False");
    }

    #[test]
    fn the_way_to_an_address_is_one_event() {
        let steps = [
            Publication::none(reasons::WAITING_FOR_PLANE, "waiting"),
            Publication::none(reasons::WAITING_FOR_ANNOUNCER, "waiting"),
            Publication::none(claim_reasons::ACQUIRING, "asking"),
            of(&bound("web", "203.0.113.7"), &[]),
            of(&bound("web", "203.0.113.7"), &[]),
        ];
        assert_eq!(events(&steps), ["AddressAssigned"]);
    }

    #[test]
    fn a_lost_and_another_address_are_events() {
        let steps = [
            of(&bound("web", "203.0.113.7"), &[]),
            Publication::none(claim_reasons::LEASE_EXPIRED, "expired"),
            of(&bound("web", "203.0.113.8"), &[]),
            of(&bound("web", "203.0.113.9"), &[]),
        ];
        assert_eq!(events(&steps), ["AddressAssigned", "AddressLost", "AddressAssigned", "AddressAssigned"]);
    }

    #[test]
    fn a_lasting_failure_is_one_event() {
        let silent = || Publication::none(claim_reasons::NO_DHCP_ANSWER, "no answer");
        assert_eq!(events(&[silent(), silent(), silent()]), ["NoDHCPAnswer"]);
    }

    #[test]
    fn a_note_is_told_in_the_condition_and_is_no_event() {
        let noted = || of(&bound("web", "203.0.113.7"), &[]).with_note(Some("that does not count"));
        assert!(noted().message.ends_with("203.0.113.2; that does not count"), "{}", noted().message);
        assert_eq!(events(&[of(&bound("web", "203.0.113.7"), &[]), noted(), noted()]), ["AddressAssigned"]);
        let silent = || Publication::none(claim_reasons::NO_DHCP_ANSWER, "no answer");
        assert_eq!(events(&[silent(), silent().with_note(Some("that does not count"))]), ["NoDHCPAnswer"]);
        assert_eq!(silent().with_note(None), silent());
    }

    #[test]
    fn an_address_that_is_written_again_after_someone_cleared_it_is_no_event() {
        let publication = of(&bound("web", "203.0.113.7"), &[]);
        let mut cleared = service("web").build();
        cleared.status = publication.status(&cleared, at(1));
        cleared.status.as_mut().unwrap().load_balancer = None;
        assert_eq!(transition(&cleared, &publication), None);
    }

    fn events(steps: &[Publication]) -> Vec<String> {
        let mut service = service("web").build();
        let mut events = vec![];
        for step in steps {
            events.extend(transition(&service, step).map(|notice| notice.reason));
            if let Some(status) = step.status(&service, at(1)) {
                service.status = Some(status);
            }
        }
        events
    }

    fn of(claim: &AddressClaim, others: &[AddressClaim]) -> Publication {
        of_claim(claim, &plane("a").build(), &refused(), others, |_| false)
    }

    fn refused() -> [RefusedNetwork; 1] {
        [RefusedNetwork { network: "203.0.113.11/32".parse().unwrap(), what: "node w1".into() }]
    }
}
