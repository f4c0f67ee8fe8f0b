//! What a Service's status says of the ports that the gateway is to forward.

use std::net::Ipv4Addr;

use foghorn_crds::{
    AddressClaim, ExternalAddressUse, NetworkPlane, RefusedNetwork,
    conditions::{self, reasons},
    contract,
    policy::AddressPolicy,
};
use k8s_openapi::{
    api::core::v1::{LoadBalancerIngress, Service},
    apimachinery::pkg::apis::meta::v1::Condition,
    jiff::Timestamp,
};

use super::{
    forwarding::Forwarding,
    publish::{self, Notice},
    target,
};

/// `ingress[].ipMode` of the gateway's address. kube-proxy leaves it alone: it is the address of more than one Service,
/// and only the gateway knows which of its ports lead to which of them.
const IP_MODE: &str = "Proxy";
/// So much of a claim's message is repeated, in octets.
const MESSAGE_MAX: usize = 4096;

/// What is said of the ports, and of the gateway's outer address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Forwarded {
    /// The condition; none where no port is to be forwarded.
    pub(crate) said: Option<Said>,
    /// The outer address where it is a further one of `status.loadBalancer.ingress`.
    pub(crate) ingress: Option<Ipv4Addr>,
    /// The outer address where external-dns is to lead the Service's names to it.
    pub(crate) target: Option<Ipv4Addr>,
}

/// A condition without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) status: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// What is to be said of a Service that comes to `forwarding` on `plane`. `refused` are the cluster's networks.
pub(crate) fn of(
    forwarding: &Forwarding,
    claim: &AddressClaim,
    plane: &NetworkPlane,
    refused: &[RefusedNetwork],
) -> Forwarded {
    let asked = forwarding.claim.is_some().then(|| of_claim(claim));
    let said = match (&forwarding.refusal, asked) {
        (None, asked) => asked,
        (Some(refusal), asked) => {
            let rest = asked.map(|asked| format!("; of the rest: {}", asked.message)).unwrap_or_default();
            let message = format!("{}{rest}", refusal.message);
            Some(Said { status: false, reason: refusal.reason.to_owned(), message })
        }
    };
    let outer = forwarding.claim.as_ref().and_then(|_| outer_address(claim, refused));
    let where_said = |place| outer.filter(|_| plane.spec.port_forwarding.external_address == place);
    Forwarded {
        said,
        ingress: where_said(ExternalAddressUse::Ingress),
        target: where_said(ExternalAddressUse::ExternalDns),
    }
}

/// What the claim says.
fn of_claim(claim: &AddressClaim) -> Said {
    let conditions = claim.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let Some(condition) = conditions::get(conditions, conditions::PORTS_FORWARDED) else {
        let message = "the gateway is being asked".to_owned();
        return Said { status: false, reason: reasons::FORWARDING.to_owned(), message };
    };
    let mut message = condition.message.clone();
    message.truncate(message.floor_char_boundary(MESSAGE_MAX));
    Said { status: condition.status == "True", reason: condition.reason.clone(), message }
}

/// The outer address of the gateway that forwards a port, if that is known and can be one. Announcers are not relied on: no
/// Service has a node's address, or another one of the cluster's own.
fn outer_address(claim: &AddressClaim, refused: &[RefusedNetwork]) -> Option<Ipv4Addr> {
    let status = claim.status.as_ref()?;
    let policy = AddressPolicy { refused, ..AddressPolicy::default() };
    let held = status.forwards.iter().filter(|forward| forward.external_port.is_some());
    held.filter_map(|forward| forward.external_address)
        .find(|&outer| Some(outer) != status.address && policy.check(outer).is_ok())
}

/// The gateway's address as one of the Service's.
pub(crate) fn ingress(outer: Ipv4Addr) -> LoadBalancerIngress {
    LoadBalancerIngress {
        ip: Some(outer.to_string()),
        ip_mode: Some(IP_MODE.to_owned()),
        ..LoadBalancerIngress::default()
    }
}

/// The condition of ours on the Service about its ports.
pub(crate) fn condition(service: &Service) -> Option<&Condition> {
    publish::condition_of(service, contract::PORTS_FORWARDED_CONDITION)
}

impl Forwarded {
    /// What the Service says already.
    pub(crate) fn as_before(service: &Service) -> Self {
        let said = condition(service).map(|present| Said {
            status: present.status == "True",
            reason: present.reason.clone(),
            message: present.message.clone(),
        });
        let outer = publish::ingress(service).iter().find(|one| one.ip_mode.as_deref() == Some(IP_MODE));
        let ingress = outer.and_then(|outer| outer.ip.as_ref()?.parse().ok());
        Self { said, ingress, target: target::written(service) }
    }

    /// The condition that `service` should have.
    pub(crate) fn condition(&self, service: &Service, now: Timestamp) -> Option<Condition> {
        let said = self.said.as_ref()?;
        let new = conditions::condition(
            contract::PORTS_FORWARDED_CONDITION,
            said.status,
            &said.reason,
            &said.message,
            service.metadata.generation,
            now,
        );
        Some(publish::following(condition(service), new))
    }
}

/// The event of the transition from what `before` says to what `after` says, if it is one.
pub(crate) fn transition(before: &Service, after: &Forwarded) -> Option<Notice> {
    let said = after.said.as_ref()?;
    let old = condition(before);
    let was_true = old.is_some_and(|old| old.status == "True");
    let same_reason = old.is_some_and(|old| old.reason == said.reason);
    match said.status {
        true if was_true => None,
        true => Some(Notice::normal("PortsForwarded", "Forward", said.message.clone())),
        false if said.reason == reasons::FORWARDING || same_reason && !was_true => None,
        false => Some(Notice::warning(&said.reason, "Forward", said.message.clone())),
    }
}

#[cfg(test)]
mod tests {
    use foghorn_crds::{ClaimForward, ClaimForwarding, ForwardProtocol, ForwardStatus, LeaseSeconds};

    use super::{
        super::{
            fixtures::*,
            forwarding::Refusal,
            publish::{Ingress, Publication},
            validity::Validity,
        },
        *,
    };

    #[test]
    fn where_nothing_is_asked_nothing_is_said_whatever_the_claim_says() {
        let forwarded = said_of(&Forwarding::default(), &forwarded_claim("198.51.100.7"));
        assert_eq!(forwarded, Forwarded::default());
    }

    #[test]
    fn until_the_claim_says_something_the_gateway_is_being_asked() {
        let forwarded = said_of(&asked(), &bound("web", "203.0.113.7"));
        let said = forwarded.said.unwrap();
        assert_eq!((said.status, said.reason.as_str()), (false, reasons::FORWARDING));
    }

    #[test]
    fn the_service_says_what_its_claim_says() {
        let claim = with_ports(bound("web", "203.0.113.7"), false, reasons::PORT_TAKEN, "443 is another's");
        let said = said_of(&asked(), &claim).said.unwrap();
        assert_eq!(
            said,
            Said { status: false, reason: reasons::PORT_TAKEN.into(), message: "443 is another's".into() }
        );
        let claim = with_ports(claim, true, reasons::FORWARDED, "443");
        assert!(said_of(&asked(), &claim).said.unwrap().status);
    }

    #[test]
    fn what_is_refused_comes_before_what_is_forwarded() {
        let claim = with_ports(bound("web", "203.0.113.7"), true, reasons::FORWARDED, "8443 is forwarded");
        let refusal =
            Refusal { reason: reasons::FORWARDING_NOT_ALLOWED, message: "port 80 is not allowed".into() };
        let partly = Forwarding { refusal: Some(refusal.clone()), ..asked() };
        let said = said_of(&partly, &claim).said.unwrap();
        assert_eq!((said.status, said.reason.as_str()), (false, reasons::FORWARDING_NOT_ALLOWED));
        assert_eq!(said.message, "port 80 is not allowed; of the rest: 8443 is forwarded");
        let nothing = Forwarding { claim: None, refusal: Some(refusal) };
        assert_eq!(said_of(&nothing, &claim).said.unwrap().message, "port 80 is not allowed");
    }

    #[test]
    fn the_gateway_s_address_is_said_where_the_plane_says() {
        let claim = forwarded_claim("198.51.100.7");
        let of = |place| {
            let forwarded = of(&asked(), &claim, &plane_with(place), &[]);
            (forwarded.ingress, forwarded.target)
        };
        assert_eq!(of(ExternalAddressUse::None), (None, None));
        assert_eq!(of(ExternalAddressUse::Ingress), (Some(ip("198.51.100.7")), None));
        assert_eq!(of(ExternalAddressUse::ExternalDns), (None, Some(ip("198.51.100.7"))));
    }

    #[test]
    fn the_gateway_s_address_is_not_said_without_a_forwarded_port_or_if_it_is_the_cluster_s() {
        let of = |claim: &AddressClaim| {
            let refused = [RefusedNetwork {
                network: "192.0.2.11/32".parse().unwrap(),
                what: "node w1".into(),
                by_node: true,
            }];
            of(&asked(), claim, &plane_with(ExternalAddressUse::Ingress), &refused).ingress
        };
        assert_eq!(of(&forwarded_claim("192.0.2.12")), Some(ip("192.0.2.12")));
        assert_eq!(of(&forwarded_claim("192.0.2.11")), None);
        assert_eq!(of(&forwarded_claim("0.0.0.0")), None);
        assert_eq!(of(&forwarded_claim("203.0.113.7")), None, "its own");
        let mut waiting = forwarded_claim("192.0.2.12");
        waiting.status.as_mut().unwrap().forwards[0].external_port = None;
        assert_eq!(of(&waiting), None);
    }

    #[test]
    fn the_gateway_s_address_comes_after_the_service_s_own_and_never_alone() {
        let mut publication = published(&forwarded_claim("198.51.100.7"));
        let status = publication.status(&service("web").build(), at(1)).unwrap();
        let ingress = status.load_balancer.unwrap().ingress.unwrap();
        let said: Vec<_> = ingress.iter().map(|one| (one.ip.as_deref(), one.ip_mode.as_deref())).collect();
        assert_eq!(said, [(Some("203.0.113.7"), Some("VIP")), (Some("198.51.100.7"), Some("Proxy"))]);
        publication.ingress = Ingress::Empty;
        let status = publication.status(&service("web").build(), at(1)).unwrap();
        assert_eq!(status.load_balancer, None);
    }

    #[test]
    fn names_are_led_to_the_gateway_only_while_the_service_has_its_own_address() {
        let claim = forwarded_claim("198.51.100.7");
        let plane = plane_with(ExternalAddressUse::ExternalDns);
        let led =
            |publication: Publication| publication.with_forwarded(of(&asked(), &claim, &plane, &[])).target();
        assert_eq!(
            led(publish::of_claim(&claim, &plane, &[], [], |_| false, &Validity::default())),
            Some(ip("198.51.100.7"))
        );
        assert_eq!(led(Publication::none(reasons::LEASE_EXPIRED, "expired")), None);
    }

    #[test]
    fn a_renewed_mapping_is_nothing_to_write_and_the_end_of_the_asking_is() {
        let claim = forwarded_claim("198.51.100.7");
        let mut service = service("web").build();
        service.status = published(&claim).status(&service, at(1));
        assert_eq!(condition(&service).unwrap().status, "True");
        let mut renewed = claim;
        renewed.status.as_mut().unwrap().forwards[0].expires_at =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(at(7200)));
        assert_eq!(published(&renewed).status(&service, at(2)), None);
        let none = Publication { forwarded: Forwarded::default(), ..published(&renewed) };
        let status = none.status(&service, at(3)).unwrap();
        assert_eq!(status.conditions.unwrap().len(), 1);
        assert_eq!(status.load_balancer.unwrap().ingress.unwrap().len(), 1);
    }

    #[test]
    fn what_is_said_stays_in_a_dispute() {
        let mut service = service("web").build();
        service.status = published(&forwarded_claim("198.51.100.7")).status(&service, at(1));
        let disputed = Publication {
            ingress: Ingress::Disputed,
            forwarded: Forwarded::as_before(&service),
            ..Publication::none("StatusDisputed", "x")
        };
        let conditions = disputed.status(&service, at(2)).unwrap().conditions.unwrap();
        assert_eq!(&conditions[1], condition(&service).unwrap());
    }

    #[test]
    fn what_is_held_as_before_is_ports_ingress_and_target() {
        let claim = forwarded_claim("198.51.100.7");
        let key = contract::EXTERNAL_DNS_TARGET_ANNOTATION;
        let mut service = service("web").annotated(key, "198.51.100.7");
        service = service.annotated(contract::WRITTEN_TARGET_ANNOTATION, "198.51.100.7");
        let mut service = service.build();
        service.status = published(&claim).status(&service, at(1));
        let before = Forwarded::as_before(&service);
        assert_eq!(before.said, published(&claim).forwarded.said);
        assert_eq!((before.ingress, before.target), (Some(ip("198.51.100.7")), Some(ip("198.51.100.7"))));
    }

    #[test]
    fn each_transition_is_one_event() {
        let claim = || bound("web", "203.0.113.7");
        let steps = [
            claim(),
            with_ports(claim(), false, reasons::GATEWAY_NOT_FOUND, "no answer"),
            with_ports(claim(), false, reasons::GATEWAY_NOT_FOUND, "still no answer"),
            with_ports(claim(), true, reasons::FORWARDED, "443"),
            with_ports(claim(), true, reasons::PERMANENT_ONLY, "443"),
            claim(),
            with_ports(claim(), false, reasons::PORT_TAKEN, "another's"),
            with_ports(claim(), true, reasons::FORWARDED, "443"),
        ];
        let mut service = service("web").build();
        let mut events = vec![];
        for step in steps {
            let publication = published(&step);
            events.extend(
                transition(&service, &publication.forwarded).map(|notice| (notice.warning, notice.reason)),
            );
            if let Some(status) = publication.status(&service, at(1)) {
                service.status = Some(status);
            }
        }
        let expected = [
            (true, reasons::GATEWAY_NOT_FOUND),
            (false, "PortsForwarded"),
            (true, reasons::PORT_TAKEN),
            (false, "PortsForwarded"),
        ];
        assert_eq!(events, expected.map(|(warning, reason)| (warning, reason.to_owned())));
    }

    fn asked() -> Forwarding {
        let port = ClaimForward { protocol: ForwardProtocol::Tcp, port: 8443, external_port: 443 };
        Forwarding {
            claim: Some(ClaimForwarding { lease: LeaseSeconds::default(), ports: vec![port] }),
            refusal: None,
        }
    }

    fn plane_with(external_address: ExternalAddressUse) -> NetworkPlane {
        let mut plane = plane("a").build();
        plane.spec.port_forwarding.external_address = external_address;
        plane
    }

    fn said_of(forwarding: &Forwarding, claim: &AddressClaim) -> Forwarded {
        of(forwarding, claim, &plane_with(ExternalAddressUse::Ingress), &[])
    }

    fn published(claim: &AddressClaim) -> Publication {
        let plane = plane_with(ExternalAddressUse::Ingress);
        let publication = publish::of_claim(claim, &plane, &[], [], |_| false, &Validity::default());
        publication.with_forwarded(of(&asked(), claim, &plane, &[]))
    }

    fn with_ports(mut claim: AddressClaim, forwarded: bool, reason: &str, message: &str) -> AddressClaim {
        let type_ = conditions::PORTS_FORWARDED;
        let condition = conditions::condition(type_, forwarded, reason, message, None, at(4));
        conditions::set(&mut claim.status.get_or_insert_default().conditions, condition);
        claim
    }

    /// `shop/web` with 203.0.113.7, a port of which is forwarded by a gateway with this outer address.
    fn forwarded_claim(outer: &str) -> AddressClaim {
        let mut claim = with_ports(bound("web", "203.0.113.7"), true, reasons::FORWARDED, "443");
        claim.status.as_mut().unwrap().forwards = vec![ForwardStatus {
            protocol: ForwardProtocol::Tcp,
            port: 8443,
            external_port: Some(443),
            external_address: Some(ip(outer)),
            gateway: None,
            by: None,
            expires_at: None,
            last_error: None,
        }];
        claim
    }
}
