//! Which ports of a Service its plane's gateway is to forward.
//!
//! - `ports`: the ports that an annotation names.
//! - `lease`: for how long.

mod lease;
mod ports;

use std::collections::{BTreeMap, BTreeSet};

use foghorn_crds::{
    ClaimForward, ClaimForwarding, NetworkPlane, PortForwardingMode, PortRange, WhenTaken,
    claim::FORWARDS_MAX,
    conditions::reasons::{FORWARDING_NOT_ALLOWED, INVALID_FORWARDING},
    contract,
};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::{admit, request::annotation};

/// What a Service comes to on its plane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Forwarding {
    /// What the gateway is asked for.
    pub(crate) claim: Option<ClaimForwarding>,
    /// Why it is not asked for something that the Service, or its plane, asks for.
    pub(crate) refusal: Option<Refusal>,
}

/// Why the gateway is not asked for something: a reason, and words for the Service's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Forwarding {
    fn refused(reason: &'static str, message: String) -> Self {
        Self { claim: None, refusal: Some(Refusal { reason, message }) }
    }
}

/// What the annotations ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word<'a> {
    /// They do not speak of it.
    None,
    /// No port.
    Nothing,
    /// All ports; by the annotation of this name.
    All(&'static str),
    /// These ports.
    List(&'a str),
}

impl<'a> Word<'a> {
    /// kube-vip knows `true` only. What else is said by its annotation opens no port.
    fn of(service: &'a Service) -> Self {
        let own = annotation(service, &[contract::PORT_FORWARD_ANNOTATION]);
        let kube_vip = || annotation(service, &[contract::KUBE_VIP_PORT_FORWARD_ANNOTATION]);
        match own.or_else(kube_vip) {
            None => Self::None,
            Some((key, "true")) => Self::All(key),
            Some((contract::PORT_FORWARD_ANNOTATION, list)) if list != "false" => Self::List(list),
            Some(_) => Self::Nothing,
        }
    }

    fn is_own(self) -> bool {
        matches!(self, Self::All(contract::PORT_FORWARD_ANNOTATION) | Self::List(_))
    }
}

/// What `present`, which the Service's claim asks for, comes to while the plane's spec cannot be used: it stays, unless the
/// Service itself wants no port any more.
pub(crate) fn held(service: &Service, present: Option<&ClaimForwarding>) -> Option<ClaimForwarding> {
    present.filter(|_| Word::of(service) != Word::Nothing).cloned()
}

/// What `service` comes to on `plane`, whose spec is valid, in a namespace with these labels.
pub(crate) fn of(service: &Service, plane: &NetworkPlane, labels: &BTreeMap<String, String>) -> Forwarding {
    let spec = &plane.spec.port_forwarding;
    let word = Word::of(service);
    match (spec.mode, word) {
        (PortForwardingMode::Off, word) if word.is_own() => {
            let message = format!(
                "{} counts only where the gateway may be asked, and portForwarding.mode of plane {} is Off",
                contract::PORT_FORWARD_ANNOTATION,
                plane.name_any()
            );
            return Forwarding::refused(FORWARDING_NOT_ALLOWED, message);
        }
        (PortForwardingMode::Off, _) | (PortForwardingMode::OptIn, Word::None) | (_, Word::Nothing) => {
            return Forwarding::default();
        }
        (PortForwardingMode::OptIn | PortForwardingMode::All, _) => {}
    }
    let namespace = service.namespace().unwrap_or_default();
    match admit::forwarding_is_allowed(plane, &namespace, labels) {
        Ok(()) => {}
        // A Service that never asked has nothing to be told.
        Err(_) if word == Word::None => return Forwarding::default(),
        Err(why) => return Forwarding::refused(FORWARDING_NOT_ALLOWED, why),
    }
    spec.ranges().map_or_else(|_| Forwarding::default(), |ranges| on(service, plane, word, &ranges))
}

/// On a plane whose gateway may be asked for these ports.
fn on(service: &Service, plane: &NetworkPlane, word: Word<'_>, ranges: &[PortRange]) -> Forwarding {
    let mut refusals = Vec::new();
    let mut wanted = match word {
        Word::List(list) => match ports::listed(service, list) {
            Ok(wanted) => wanted,
            Err(fault) => {
                let message = format!("{}: {fault}", contract::PORT_FORWARD_ANNOTATION);
                return Forwarding::refused(INVALID_FORWARDING, message);
            }
        },
        Word::All(_) | Word::None | Word::Nothing => ports::all(service),
    };
    if wanted.len() > FORWARDS_MAX {
        let message = format!(
            "the Service asks for {} ports of the gateway, at most {FORWARDS_MAX} are forwarded for one Service: name fewer in {}",
            wanted.len(),
            contract::PORT_FORWARD_ANNOTATION
        );
        return Forwarding::refused(INVALID_FORWARDING, message);
    }
    if let Word::All(key) = word {
        refusals.extend(not_forwardable(service, key));
    }
    let (lease, refusal) = lease::of(service, plane);
    refusals.extend(refusal);
    if plane.spec.port_forwarding.when_taken == WhenTaken::Refuse {
        let is_allowed = |forward: &ClaimForward| {
            ranges.iter().any(|range| range.ports().contains(&forward.external_port))
        };
        refusals.extend(outside(wanted.iter().filter(|forward| !is_allowed(forward)), ranges, plane));
        wanted.retain(is_allowed);
    }
    let reason = refusals.first().map(|refusal| refusal.reason);
    let message = refusals.iter().map(|refusal| refusal.message.as_str()).collect::<Vec<_>>().join("; ");
    Forwarding {
        claim: (!wanted.is_empty()).then(|| ClaimForwarding { lease, ports: wanted.into_iter().collect() }),
        refusal: reason.map(|reason| Refusal { reason, message }),
    }
}

/// The ports of the Service that no gateway forwards.
fn not_forwardable(service: &Service, key: &str) -> Option<Refusal> {
    let others = ports::of_other_protocols(service);
    let message = format!("{key}: {} cannot be forwarded, gateways forward TCP and UDP", named(&others));
    (!others.is_empty()).then_some(Refusal { reason: INVALID_FORWARDING, message })
}

/// The gateway's ports that the plane does not let it be asked for.
fn outside<'a>(
    forwards: impl Iterator<Item = &'a ClaimForward>,
    ranges: &[PortRange],
    plane: &NetworkPlane,
) -> Option<Refusal> {
    let forwards: Vec<_> = forwards.collect();
    let first = forwards.first()?;
    let is_allowed = |port: &u16| ranges.iter().any(|range| range.ports().contains(port));
    // 8080 for 80, as people do.
    let another = first.external_port.checked_add(8000).filter(is_allowed);
    let another =
        another.or_else(|| ranges.first().map(|range| *range.ports().start())).unwrap_or(first.port);
    let external: BTreeSet<_> = forwards.iter().map(|forward| forward.external_port).collect();
    let (port, is) = if external.len() == 1 { ("port", "is") } else { ("ports", "are") };
    let allowed = ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let message = format!(
        "{port} {} of the gateway {is} not among portForwarding.externalPorts ({allowed}) of plane {}: name another as in \
         {another}:{}/{}",
        named(&external.iter().map(ToString::to_string).collect::<Vec<_>>()),
        plane.name_any(),
        first.port,
        first.protocol.to_string().to_lowercase(),
    );
    Some(Refusal { reason: FORWARDING_NOT_ALLOWED, message })
}

/// The first few of them in words.
fn named(items: &[String]) -> String {
    const FEW: usize = 8;
    let few = items.iter().take(FEW).cloned().collect::<Vec<_>>().join(", ");
    match items.len().checked_sub(FEW) {
        Some(more @ 1..) => format!("{few} and {more} more"),
        _ => few,
    }
}

#[cfg(test)]
mod tests {
    use foghorn_crds::AllowedNamespaces;

    use super::{super::fixtures::*, *};

    #[test]
    fn a_plane_that_forwards_nothing_says_so_to_who_asks_by_foghorn_s_own_annotation() {
        for value in ["true", "8443:443", "nonsense"] {
            let forwarding = on_plane(PortForwardingMode::Off, &web().annotated(KEY, value));
            assert_eq!(forwarding.claim, None);
            let said = refused(&forwarding, FORWARDING_NOT_ALLOWED);
            assert!(said.ends_with("portForwarding.mode of plane a is Off"), "{said}");
        }
        for quiet in [web(), web().annotated(KEY, "false"), web().annotated(KUBE_VIP, "true")] {
            assert_eq!(on_plane(PortForwardingMode::Off, &quiet), Forwarding::default());
        }
    }

    #[test]
    fn with_opt_in_only_those_are_forwarded_that_ask() {
        let opt_in = |service: &ServiceFixture| ports(&on_plane(PortForwardingMode::OptIn, service));
        assert_eq!(opt_in(&web()), [""; 0]);
        assert_eq!(opt_in(&web().annotated(KEY, "false")), [""; 0]);
        assert_eq!(opt_in(&web().annotated(KUBE_VIP, "yes")), [""; 0]);
        let all = ["8080:8080/TCP", "8443:8443/TCP", "8053:8053/UDP"];
        assert_eq!(opt_in(&web().annotated(KEY, "true")), all);
        assert_eq!(opt_in(&web().annotated(KUBE_VIP, "true")), all);
        assert_eq!(opt_in(&web().annotated(KEY, "9443:8443")), ["9443:8443/TCP"]);
    }

    #[test]
    fn with_all_those_are_left_out_that_do_not_want_it() {
        let all = |service: &ServiceFixture| ports(&on_plane(PortForwardingMode::All, service)).len();
        assert_eq!(all(&web()), 3);
        assert_eq!(all(&web().annotated(KEY, "8443")), 1);
        for no in [
            web().annotated(KEY, "false"),
            web().annotated(KEY, "false").annotated(KUBE_VIP, "true"),
            web().annotated(KUBE_VIP, "false"),
            web().annotated(KUBE_VIP, "no"),
        ] {
            assert_eq!(on_plane(PortForwardingMode::All, &no), Forwarding::default());
        }
    }

    #[test]
    fn a_fault_in_the_list_leaves_nothing_forwarded_and_is_told() {
        let forwarding = on_plane(PortForwardingMode::OptIn, &web().annotated(KEY, "8443,9000"));
        assert_eq!(forwarding.claim, None);
        let said = refused(&forwarding, INVALID_FORWARDING);
        assert!(said.starts_with("foghorn.dev/port-forward: ") && said.contains("9000"), "{said}");
    }

    #[test]
    fn ports_that_no_gateway_forwards_are_named_to_who_asks_for_all() {
        let service = service("sip").ports(&[("sip", 5060, "UDP"), ("ss7", 2905, "SCTP")]);
        let forwarding = on_plane(PortForwardingMode::OptIn, &service.clone().annotated(KEY, "true"));
        assert_eq!(ports(&forwarding), ["5060:5060/UDP"]);
        let said = refused(&forwarding, INVALID_FORWARDING);
        assert!(said.contains("2905/SCTP"), "{said}");
        let unasked = on_plane(PortForwardingMode::All, &service);
        assert_eq!((ports(&unasked).len(), unasked.refusal), (1, None));
    }

    #[test]
    fn a_service_that_asks_for_too_many_ports_has_none_forwarded() {
        let numbers = 1024..=i32::from(u16::MAX);
        let many: Vec<_> = numbers.take(FORWARDS_MAX + 1).map(|port| ("", port, "TCP")).collect();
        let of =
            |ports| on_plane(PortForwardingMode::OptIn, &service("web").ports(ports).annotated(KEY, "true"));
        let forwarding = of(&many);
        assert_eq!(forwarding.claim, None);
        let said = refused(&forwarding, INVALID_FORWARDING);
        assert!(said.contains("101 ports") && said.contains("at most 100"), "{said}");
        assert_eq!(ports(&of(&many[1..])).len(), FORWARDS_MAX);
    }

    #[test]
    fn ports_outside_the_plane_s_are_left_out_and_named() {
        let service =
            service("web").ports(&[("http", 80, "TCP"), ("alt", 8080, "TCP"), ("https", 443, "TCP")]);
        let asking = service.annotated(KEY, "true");
        let forwarding = on_plane(PortForwardingMode::OptIn, &asking);
        assert_eq!(ports(&forwarding), ["8080:8080/TCP"]);
        assert_eq!(
            refused(&forwarding, FORWARDING_NOT_ALLOWED),
            "ports 80, 443 of the gateway are not among portForwarding.externalPorts (1024-65535) of plane a: name \
             another as in 8080:80/tcp"
        );
        let forwarding = on_plane(PortForwardingMode::OptIn, &web().annotated(KEY, "443:8443"));
        assert_eq!(forwarding.claim, None);
        let said = refused(&forwarding, FORWARDING_NOT_ALLOWED);
        assert!(said.starts_with("port 443 of the gateway is not among"), "{said}");
    }

    #[test]
    fn where_another_port_is_taken_instead_those_outside_stay() {
        let mut plane = forwarding_plane(PortForwardingMode::OptIn);
        plane.spec.port_forwarding.when_taken = WhenTaken::Another;
        let forwarding = of(&web().annotated(KEY, "443:8443").build(), &plane, &BTreeMap::new());
        assert_eq!(ports(&forwarding), ["443:8443/TCP"]);
        assert_eq!(forwarding.refusal, None);
    }

    #[test]
    fn a_lease_that_cannot_be_is_told_and_the_plane_s_counts() {
        let asking = web().annotated(KEY, "true").annotated(contract::PORT_FORWARD_LEASE_ANNOTATION, "1d");
        let forwarding = on_plane(PortForwardingMode::OptIn, &asking);
        assert_eq!(ports(&forwarding).len(), 3);
        assert!(refused(&forwarding, INVALID_FORWARDING).contains("\"1d\" is no lease"));
    }

    #[test]
    fn a_namespace_that_the_plane_does_not_forward_for_is_told_if_it_asks() {
        let mut plane = forwarding_plane(PortForwardingMode::All);
        plane.spec.port_forwarding.allowed_namespaces =
            Some(AllowedNamespaces { names: vec!["edge".into()], selector: None });
        let of = |service: ServiceFixture| of(&service.build(), &plane, &BTreeMap::new());
        assert_eq!(of(web()), Forwarding::default());
        for asking in [web().annotated(KEY, "8443"), web().annotated(KUBE_VIP, "true")] {
            let forwarding = of(asking);
            assert_eq!(forwarding.claim, None);
            let said = refused(&forwarding, FORWARDING_NOT_ALLOWED);
            assert!(said.contains("plane a forwards no ports of the namespace shop"), "{said}");
        }
    }

    #[test]
    fn while_the_spec_is_invalid_only_the_service_closes_its_ports() {
        let present = on_plane(PortForwardingMode::OptIn, &web().annotated(KEY, "8443")).claim;
        for asking in [web(), web().annotated(KEY, "true"), web().annotated(KEY, "9443:8443")] {
            assert_eq!(held(&asking.build(), present.as_ref()), present);
        }
        assert_eq!(held(&web().annotated(KEY, "false").build(), present.as_ref()), None);
        assert_eq!(held(&web().annotated(KEY, "true").build(), None), None);
    }

    #[test]
    fn of_many_ports_the_first_few_are_named() {
        let items: Vec<_> = (1..=9).map(|item| item.to_string()).collect();
        assert_eq!(named(&items), "1, 2, 3, 4, 5, 6, 7, 8 and 1 more");
        assert_eq!(named(&items[..8]), "1, 2, 3, 4, 5, 6, 7, 8");
    }

    const KEY: &str = contract::PORT_FORWARD_ANNOTATION;
    const KUBE_VIP: &str = contract::KUBE_VIP_PORT_FORWARD_ANNOTATION;

    fn web() -> ServiceFixture {
        service("web").ports(&[("alt", 8080, "TCP"), ("https", 8443, "TCP"), ("dns", 8053, "UDP")])
    }

    fn forwarding_plane(mode: PortForwardingMode) -> NetworkPlane {
        let mut plane = plane("a").build();
        plane.spec.port_forwarding.mode = mode;
        plane
    }

    fn on_plane(mode: PortForwardingMode, service: &ServiceFixture) -> Forwarding {
        of(&service.build(), &forwarding_plane(mode), &BTreeMap::new())
    }

    fn ports(forwarding: &Forwarding) -> Vec<String> {
        let ports = forwarding.claim.iter().flat_map(|claim| &claim.ports);
        ports.map(|one| format!("{}:{}/{}", one.external_port, one.port, one.protocol)).collect()
    }

    fn refused<'a>(forwarding: &'a Forwarding, reason: &str) -> &'a str {
        let refusal = forwarding.refusal.as_ref().unwrap();
        assert_eq!(refusal.reason, reason, "{}", refusal.message);
        &refusal.message
    }
}
