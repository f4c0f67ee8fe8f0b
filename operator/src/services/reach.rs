//! Which ports of a Service can be reached, and from where.
//!
//! All Services of a plane share the rules of its guard, so a Service has bounds. One that passes a bound keeps its
//! address, and its guard stays closed: nothing is more open than the Service says.

use std::net::Ipv4Addr;

use foghorn_crds::{
    ClaimPort, GuardMode, NetworkPlane,
    claim::{PORTS_MAX, SOURCE_RANGES_MAX},
};
use ipnet::{Ipv4Net, Ipv6Net};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::{
    publish::{Ingress, Publication},
    reasons::{TOO_MANY_PORTS, TOO_MANY_SOURCE_RANGES, Unserved},
};

/// What there was before `spec.loadBalancerSourceRanges`, and still counts where that is empty.
const SOURCE_RANGES_ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// What a Service's claim says of its ports and its clients.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// The ports; none if there are too many.
    pub(crate) ports: Vec<ClaimPort>,
    /// The networks of the clients, merged; every client if not given, none if there are too many networks.
    pub(crate) sources: Option<Vec<String>>,
    /// Which bound is passed, and what to do.
    excess: Option<Unserved>,
}

impl Reach {
    /// That of the Service.
    pub(crate) fn of(service: &Service) -> Self {
        let mut reach = Self { ports: ports(service), ..Self::default() };
        let sources = sources(service);
        if let Some(count) = sources.as_ref().map(Vec::len).filter(|count| *count > SOURCE_RANGES_MAX) {
            let message = format!(
                "the guard lets no client in: loadBalancerSourceRanges has {count} networks after merging, at most \
                 {SOURCE_RANGES_MAX} are supported; list larger networks"
            );
            reach.excess = Some(Unserved::new(TOO_MANY_SOURCE_RANGES, message));
            reach.sources = Some(Vec::new());
        } else {
            reach.sources = sources.map(|networks| networks.iter().map(ToString::to_string).collect());
        }
        if reach.ports.len() > PORTS_MAX {
            let message = format!(
                "the guard opens no port: the Service has {}, at most {PORTS_MAX} are supported; divide them among Services",
                reach.ports.len()
            );
            reach.excess = Some(Unserved::new(TOO_MANY_PORTS, message));
            reach.ports.clear();
        }
        reach
    }
}

impl Publication {
    /// The same, with the bound that the Service passes, where its plane has a guard.
    pub(crate) fn with_reach_of(mut self, service: &Service, plane: &NetworkPlane) -> Self {
        let has_address = matches!(self.ingress, Ingress::Address(_));
        if has_address
            && plane.spec.guard_mode() != GuardMode::Off
            && let Some(excess) = Reach::of(service).excess
        {
            excess.reason.clone_into(&mut self.reason);
            return self.with_note(Some(&excess.message));
        }
        self
    }
}

fn ports(service: &Service) -> Vec<ClaimPort> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    ports
        .iter()
        .map(|port| ClaimPort {
            name: port.name.clone(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            port: port.port,
        })
        .collect()
}

/// The IPv4 networks that clients may come from, merged; nothing where every client may.
///
/// kube-proxy (1.36) does the same: space around a network and leading zeros in it are allowed, and a list that has
/// networks of the other family only limits no client of this one. It also lets every client in where nothing in the list
/// is a network, which the API server does not allow; that lets nobody in here.
fn sources(service: &Service) -> Option<Vec<Ipv4Net>> {
    let of_spec = service.spec.as_ref().and_then(|spec| spec.load_balancer_source_ranges.as_deref());
    let of_annotation =
        || service.annotations().get(SOURCE_RANGES_ANNOTATION).map(|text| text.split(',').collect());
    let ranges: Vec<&str> = match of_spec.unwrap_or_default() {
        [] => of_annotation().unwrap_or_default(),
        ranges => ranges.iter().map(String::as_str).collect(),
    };
    let mut ranges = ranges.into_iter().map(str::trim).filter(|range| !range.is_empty()).peekable();
    ranges.peek()?;
    let (mut networks, mut others) = (Vec::new(), false);
    for range in ranges {
        match network(range) {
            Some(network) => networks.push(network),
            None => others |= range.parse::<Ipv6Net>().is_ok(),
        }
    }
    (!networks.is_empty() || !others).then(|| Ipv4Net::aggregate(&networks))
}

/// The network, whose numbers may have leading zeros: those are decimal to Kubernetes.
fn network(text: &str) -> Option<Ipv4Net> {
    let (address, length) = text.split_once('/')?;
    let mut octets = address.split('.').map(number);
    let mut next = || octets.next()?.and_then(|number| u8::try_from(number).ok());
    let address = Ipv4Addr::new(next()?, next()?, next()?, next()?);
    let length = number(length).and_then(|length| u8::try_from(length).ok())?;
    if octets.next().is_some() {
        return None;
    }
    Some(Ipv4Net::new(address, length).ok()?.trunc())
}

fn number(digits: &str) -> Option<u32> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::{
        fixtures::{bound, plane, service},
        validity::Validity,
    };

    #[test]
    fn source_ranges_are_read_as_kube_proxy_reads_them() {
        let of = |ranges: &[&str]| sources_of(&ranged(ranges)).map(|sources| sources.join(" "));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["10.0.0.0/8"]).as_deref(), Some("10.0.0.0/8"));
        assert_eq!(of(&[" 010.000.0.0/08\t"]).as_deref(), Some("10.0.0.0/8"), "space and leading zeros");
        assert_eq!(of(&["10.1.2.3/16"]).as_deref(), Some("10.1.0.0/16"), "host bits");
        assert_eq!(of(&["2001:db8::/32"]), None, "of IPv6 only: every IPv4 client");
        assert_eq!(of(&["2001:db8::/32", "10.0.0.0/8"]).as_deref(), Some("10.0.0.0/8"));
    }

    #[test]
    fn a_list_without_any_network_lets_nobody_in() {
        for text in ["x", "10.0.0.0", "10.0.0/8", "10.0.0.0.0/8", "10.0.0.256/8", "10.0.0.0/33", "+1.0.0.0/8"]
        {
            assert_eq!(sources_of(&ranged(&[text])), Some(Vec::new()), "{text}");
        }
    }

    #[test]
    fn the_annotation_counts_where_the_field_is_empty() {
        let annotated = |text| service("web").annotated(SOURCE_RANGES_ANNOTATION, text).build();
        assert_eq!(sources_of(&annotated("10.0.0.0/8, 10.2.0.0/16")), Some(vec!["10.0.0.0/8".to_owned()]));
        assert_eq!(sources_of(&annotated(" ")), None);
    }

    #[test]
    fn networks_are_merged_before_they_are_counted() {
        let all: Vec<_> =
            (0..2 * SOURCE_RANGES_MAX).map(|n| format!("10.0.{}.{}/32", n / 256, n % 256)).collect();
        let reach = Reach::of(&ranged(&all.iter().map(String::as_str).collect::<Vec<_>>()));
        assert!(reach.sources.unwrap().len() < 10);
        assert_eq!(reach.excess, None);
    }

    #[test]
    fn a_service_beyond_a_bound_is_closed_and_its_claim_is_small() {
        let reach = Reach::of(&scattered(SOURCE_RANGES_MAX + 1));
        assert_eq!((reach.sources.as_deref(), reach.ports.len()), (Some(&[][..]), 1));
        assert!(Reach::of(&scattered(SOURCE_RANGES_MAX)).excess.is_none());
        assert!(Reach::of(&with_ports(PORTS_MAX + 1)).ports.is_empty());
        assert_eq!(Reach::of(&with_ports(PORTS_MAX)).ports.len(), PORTS_MAX);
    }

    #[test]
    fn the_condition_of_that_service_names_the_bound_and_the_remedy() {
        let mut guarded = plane("a").build();
        guarded.spec.guard.mode = GuardMode::Drop;
        let of = |service: &Service, plane: &NetworkPlane| {
            let claim = bound("web", "203.0.113.50");
            let validity = Validity::default();
            let publication = crate::services::publish::of_claim(&claim, plane, &[], [], |_| true, &validity);
            publication.with_reach_of(service, plane)
        };
        let many = of(&scattered(SOURCE_RANGES_MAX + 1), &guarded);
        assert_eq!(many.reason, TOO_MANY_SOURCE_RANGES);
        assert_eq!(many.ingress, Ingress::Address([203, 0, 113, 50].into()), "it keeps its address");
        assert!(
            many.message.contains("1001 networks") && many.message.contains("at most 1000"),
            "{}",
            many.message
        );
        assert_eq!(of(&with_ports(PORTS_MAX + 1), &guarded).reason, TOO_MANY_PORTS);
        let without_guard = of(&scattered(SOURCE_RANGES_MAX + 1), &plane("a").build());
        assert_eq!(without_guard.reason, "Announced");
    }

    fn sources_of(service: &Service) -> Option<Vec<String>> {
        Reach::of(service).sources
    }

    fn ranged(ranges: &[&str]) -> Service {
        let mut service = service("web").build();
        let ranges = ranges.iter().map(|&range| range.to_owned()).collect();
        service.spec.get_or_insert_default().load_balancer_source_ranges = Some(ranges);
        service
    }

    /// With networks that cannot be merged.
    fn scattered(count: usize) -> Service {
        let all: Vec<_> = (0..count).map(|n| format!("10.{}.{}.0/32", n / 256, n % 256)).collect();
        ranged(&all.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn with_ports(count: usize) -> Service {
        let ports: Vec<_> = (1..=i32::MAX).take(count).map(|port| ("", port, "TCP")).collect();
        service("web").ports(&ports).build()
    }
}
