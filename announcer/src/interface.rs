//! Which interface of the node is on the plane's network.

use std::{collections::BTreeSet, net::Ipv4Addr};

use foghorn_crds::{InterfaceSelector, conditions::reasons};
use foghorn_netio::Link;
use ipnet::Ipv4Net;
use regex::Regex;
use thiserror::Error;

/// The kind of an interface that leads nowhere and serves to hold addresses.
const DUMMY: &str = "dummy";
const HOST_PREFIX: u8 = 32;

/// Why a node has no interface for the plane.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InterfaceFault {
    /// The selector cannot be used.
    #[error("the plane's interface selector cannot be used: {0}")]
    Selector(String),
    /// Nothing matches.
    #[error("no interface matches {selector}; this node has {}", list(.present))]
    NotFound {
        /// The selector in words.
        selector: String,
        /// Interfaces that could have matched.
        present: Vec<String>,
    },
    /// Too much matches.
    #[error("{} match {selector}; a plane has exactly one interface on each node", list(.matching))]
    Ambiguous {
        /// The selector in words.
        selector: String,
        /// Interfaces that match.
        matching: Vec<String>,
    },
    /// Down, or without carrier.
    #[error("{interface} {what}")]
    Down {
        /// The interface.
        interface: String,
        /// `is down` or `has no carrier`.
        what: &'static str,
    },
    /// It cannot be on a network.
    #[error("{interface} {what}; a plane needs an Ethernet interface that speaks ARP")]
    Unfit {
        /// The interface.
        interface: String,
        /// `has no Ethernet address`, `is a dummy interface` or `has ARP turned off`.
        what: &'static str,
    },
    /// Without an address of the node.
    #[error(
        "{0} has no IPv4 address; the node needs an address on the plane's network, or replies do not leave by this interface"
    )]
    WithoutAddress(String),
}

impl InterfaceFault {
    /// The reason in the Pod's condition.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Selector(_) | Self::NotFound { .. } | Self::Unfit { .. } => reasons::INTERFACE_NOT_FOUND,
            Self::Ambiguous { .. } => reasons::INTERFACE_AMBIGUOUS,
            Self::Down { .. } => reasons::INTERFACE_DOWN,
            Self::WithoutAddress(_) => reasons::INTERFACE_WITHOUT_ADDRESS,
        }
    }
}

/// A plane's selector, ready for use.
#[derive(Debug, Clone)]
pub enum Selector {
    /// By name.
    Name(String),
    /// By a regular expression on the whole name.
    Regex(Regex),
    /// By the route to an address.
    CanReach(Ipv4Addr),
    /// By an address of the interface.
    Subnet(Ipv4Net),
}

impl Selector {
    /// Reads the selector of a plane's spec.
    ///
    /// # Errors
    /// [`InterfaceFault::Selector`] if it is not exactly one, or not well-formed.
    pub fn new(spec: &InterfaceSelector) -> Result<Self, InterfaceFault> {
        let fault = |what: String| InterfaceFault::Selector(what);
        match (&spec.name, &spec.regex, spec.can_reach, &spec.subnet) {
            (Some(name), None, None, None) => Ok(Self::Name(name.clone())),
            (None, Some(regex), None, None) => {
                Regex::new(&format!("^(?:{regex})$")).map(Self::Regex).map_err(|e| fault(e.to_string()))
            }
            (None, None, Some(address), None) => Ok(Self::CanReach(address)),
            (None, None, None, Some(subnet)) => {
                subnet.parse().map(Self::Subnet).map_err(|e| fault(format!("subnet {subnet}: {e}")))
            }
            _ => Err(fault("exactly one of name, regex, canReach and subnet must be given".to_owned())),
        }
    }

    /// The address whose route decides, if one does.
    #[must_use]
    pub fn can_reach(&self) -> Option<Ipv4Addr> {
        match self {
            Self::CanReach(address) => Some(*address),
            Self::Name(_) | Self::Regex(_) | Self::Subnet(_) => None,
        }
    }

    /// The one interface that matches and is in working order. `route` is the index of the interface by which the
    /// node would send to [`can_reach`](Self::can_reach). Without an address of the node's own it serves only where
    /// the plane has a return path.
    ///
    /// # Errors
    /// What stands in the way, with the names of the interfaces.
    pub fn choose(
        &self,
        links: &[Link],
        route: Option<u32>,
        needs_address: bool,
    ) -> Result<Link, InterfaceFault> {
        // What is part of a bond or a bridge has no life of its own: its master is on the network. Nor is an interface on
        // a network that only holds addresses, as kube-proxy's `kube-ipvs0` does, or that is down.
        let free: Vec<&Link> = links.iter().filter(|link| link.master.is_none()).collect();
        let matching: Vec<&Link> = free.iter().copied().filter(|link| self.matches(link, route)).collect();
        let able: Vec<&Link> =
            matching.iter().copied().filter(|link| link.admin_up && unfit(link).is_none()).collect();
        let names = |links: &[&Link]| links.iter().map(|link| link.name.clone()).collect();
        let link = match able.as_slice() {
            [link] => (*link).clone(),
            // What stands in the way of the one that could be on a network is told rather than of those that cannot.
            [] => match matching.iter().min_by_key(|link| unfit(link).is_some()) {
                Some(link) => (*link).clone(),
                None => {
                    return Err(InterfaceFault::NotFound {
                        selector: self.to_string(),
                        present: names(&free),
                    });
                }
            },
            several => {
                return Err(InterfaceFault::Ambiguous {
                    selector: self.to_string(),
                    matching: names(several),
                });
            }
        };
        let interface = link.name.clone();
        if let Some(what) = unfit(&link) {
            return Err(InterfaceFault::Unfit { interface, what });
        }
        if !link.admin_up {
            return Err(InterfaceFault::Down { interface, what: "is down" });
        }
        if !link.carrier {
            return Err(InterfaceFault::Down { interface, what: "has no carrier" });
        }
        if needs_address && link.addresses.is_empty() {
            return Err(InterfaceFault::WithoutAddress(interface));
        }
        Ok(link)
    }

    /// Whether the interface is one that is meant, in working order or not.
    #[must_use]
    pub fn matches(&self, link: &Link, route: Option<u32>) -> bool {
        match self {
            Self::Name(name) => link.name == *name,
            Self::Regex(regex) => regex.is_match(&link.name),
            Self::CanReach(_) => route == Some(link.index),
            Self::Subnet(subnet) => link.addresses.iter().any(|(address, _)| subnet.contains(address)),
        }
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "name {name}"),
            Self::Regex(regex) => write!(f, "regex {regex}"),
            Self::CanReach(address) => write!(f, "canReach {address}"),
            Self::Subnet(subnet) => write!(f, "subnet {subnet}"),
        }
    }
}

/// The interfaces with the addresses of the node alone. Of the addresses of Services, `of_services`, kube-proxy puts each
/// on an interface of every node in IPVS mode, and other programs do alike: as a /32, which says nothing of a network.
#[must_use]
pub fn without_services(links: &[Link], of_services: &BTreeSet<Ipv4Addr>) -> Vec<Link> {
    let mut links = links.to_vec();
    for link in &mut links {
        link.addresses.retain(|(address, bits)| *bits != HOST_PREFIX || !of_services.contains(address));
    }
    links
}

/// Why an interface cannot be on a network, if so.
fn unfit(link: &Link) -> Option<&'static str> {
    match link {
        Link { mac: None, .. } => Some("has no Ethernet address"),
        Link { kind: Some(kind), .. } if kind == DUMMY => Some("is a dummy interface"),
        Link { arp: false, .. } => Some("has ARP turned off"),
        Link { .. } => None,
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_interface_is_chosen() {
        assert_eq!(choose(by_name("eth1"), &node()).map(|link| link.index), Ok(3));
    }

    #[test]
    fn an_expression_must_match_the_whole_name() {
        let regex =
            |text: &str| InterfaceSelector { regex: Some(text.into()), ..InterfaceSelector::default() };
        assert!(matches!(choose(regex("th1"), &node()), Err(InterfaceFault::NotFound { .. })));
        assert_eq!(choose(regex("e.*1"), &node()).map(|link| link.index), Ok(3));
    }

    #[test]
    fn several_matches_are_named() {
        let regex = InterfaceSelector { regex: Some("eth.".into()), ..InterfaceSelector::default() };
        let fault = choose(regex, &node()).unwrap_err();
        assert_eq!(fault.reason(), reasons::INTERFACE_AMBIGUOUS);
        assert!(fault.to_string().starts_with("eth0, eth1 match regex"), "{fault}");
    }

    #[test]
    fn no_match_tells_what_there_is() {
        let fault = choose(by_name("eth7"), &node()).unwrap_err();
        assert_eq!(fault.to_string(), "no interface matches name eth7; this node has lo, eth0, eth1");
    }

    #[test]
    fn what_is_part_of_a_bridge_is_passed_over() {
        let mut links = node();
        links[2].master = Some(9);
        assert!(matches!(choose(by_name("eth1"), &links), Err(InterfaceFault::NotFound { .. })));
    }

    #[test]
    fn carrier_address_and_administrative_state_are_needed() {
        let broken = |change: fn(&mut Link)| {
            let mut links = node();
            change(&mut links[2]);
            choose(by_name("eth1"), &links).unwrap_err().reason()
        };
        assert_eq!(broken(|link| link.carrier = false), reasons::INTERFACE_DOWN);
        assert_eq!(broken(|link| link.admin_up = false), reasons::INTERFACE_DOWN);
        assert_eq!(broken(|link| link.addresses.clear()), reasons::INTERFACE_WITHOUT_ADDRESS);
        assert_eq!(broken(|link| link.mac = None), reasons::INTERFACE_NOT_FOUND);
    }

    #[test]
    fn interfaces_that_only_hold_addresses_are_passed_over() {
        let wanted = |spec: &InterfaceSelector, change: fn(&mut Link)| {
            let mut links = node();
            let mut other = Link { index: 9, name: "eth1-ipvs".into(), ..links[2].clone() };
            other.addresses = vec![(Ipv4Addr::new(203, 0, 113, 57), 32)];
            change(&mut other);
            links.push(other);
            choose(spec.clone(), &links).map(|link| link.index)
        };
        let regex = InterfaceSelector { regex: Some("eth1.*".into()), ..InterfaceSelector::default() };
        for spec in [by_subnet(), regex] {
            assert!(wanted(&spec, |_| {}).is_err(), "an interface like any other is ambiguous");
            assert_eq!(wanted(&spec, |link| link.kind = Some("dummy".into())), Ok(3));
            assert_eq!(wanted(&spec, |link| link.arp = false), Ok(3));
            assert_eq!(wanted(&spec, |link| link.mac = None), Ok(3));
            assert_eq!(wanted(&spec, |link| link.admin_up = false), Ok(3));
            assert!(wanted(&spec, |link| link.carrier = false).is_err(), "a cable may be back at any time");
        }
    }

    #[test]
    fn the_fault_of_the_interface_that_can_be_on_a_network_is_told() {
        let mut links = node();
        links[2].admin_up = false;
        let dummy = Link { name: "kube-ipvs0".into(), kind: Some("dummy".into()), ..links[2].clone() };
        links.insert(0, dummy);
        assert_eq!(choose(by_subnet(), &links).unwrap_err().to_string(), "eth1 is down");
        let fault = choose(by_name("kube-ipvs0"), &links).unwrap_err();
        assert_eq!(fault.reason(), reasons::INTERFACE_NOT_FOUND);
        assert!(fault.to_string().starts_with("kube-ipvs0 is a dummy interface"), "{fault}");
    }

    #[test]
    fn addresses_of_services_are_none_of_the_node() {
        let service = Ipv4Addr::new(203, 0, 113, 57);
        let mut links = node();
        links.push(Link { index: 9, name: "kube-ipvs0".into(), ..links[2].clone() });
        links[3].addresses = vec![(service, 32)];
        let own = without_services(&links, &BTreeSet::from([service]));
        assert_eq!(choose(by_subnet(), &own).map(|link| link.index), Ok(3));
        let without_claims = without_services(&links, &BTreeSet::new());
        assert_eq!(choose(by_subnet(), &without_claims).unwrap_err().reason(), reasons::INTERFACE_AMBIGUOUS);
        links[3].addresses = vec![(service, 24)];
        let of_node = without_services(&links, &BTreeSet::from([service]));
        assert_eq!(of_node, links, "an address with its network is the node's own");
    }

    #[test]
    fn subnet_and_route_choose_by_address() {
        assert_eq!(choose(by_subnet(), &node()).map(|link| link.index), Ok(3));
        let reach = InterfaceSelector {
            can_reach: Some(Ipv4Addr::new(192, 0, 2, 1)),
            ..InterfaceSelector::default()
        };
        let selector = Selector::new(&reach).unwrap();
        assert_eq!(selector.choose(&node(), Some(2), true).map(|link| link.index), Ok(2));
        assert!(matches!(selector.choose(&node(), None, true), Err(InterfaceFault::NotFound { .. })));
    }

    #[test]
    fn a_selector_that_says_two_things_or_nonsense_is_refused() {
        let two = InterfaceSelector {
            name: Some("a".into()),
            regex: Some("b".into()),
            ..InterfaceSelector::default()
        };
        let bad = InterfaceSelector { regex: Some("(".into()), ..InterfaceSelector::default() };
        for spec in [two, bad, InterfaceSelector::default()] {
            assert!(matches!(Selector::new(&spec), Err(InterfaceFault::Selector(_))));
        }
    }

    fn choose(spec: InterfaceSelector, links: &[Link]) -> Result<Link, InterfaceFault> {
        Selector::new(&spec).and_then(|selector| selector.choose(links, None, true))
    }

    fn by_name(name: &str) -> InterfaceSelector {
        InterfaceSelector { name: Some(name.into()), ..InterfaceSelector::default() }
    }

    fn by_subnet() -> InterfaceSelector {
        InterfaceSelector { subnet: Some("203.0.113.0/24".into()), ..InterfaceSelector::default() }
    }

    fn node() -> Vec<Link> {
        let link = |index: u32, name: &str, last: u8, address| Link {
            index,
            name: name.into(),
            mac: Some([2, 0, 0, 0, 0, last]),
            admin_up: true,
            arp: true,
            carrier: true,
            master: None,
            kind: None,
            addresses: vec![(address, 24)],
        };
        vec![
            link(1, "lo", 0, Ipv4Addr::LOCALHOST),
            link(2, "eth0", 1, Ipv4Addr::new(198, 51, 100, 11)),
            link(3, "eth1", 2, Ipv4Addr::new(203, 0, 113, 11)),
        ]
    }
}
