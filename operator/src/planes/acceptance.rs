//! Whether a plane can be run as its spec says.

use std::collections::BTreeMap;

use foghorn_crds::{
    AllowedNamespaces, DhcpOption, DhcpSpec, LeaseSeconds, NetworkPlane, PortForwardingSpec, PortRangeError,
    conditions::{self, ACCEPTED},
    hardware_address::{self, HardwareAddressFault},
};
use foghorn_membership::{Timings, TimingsError};
use ipnet::Ipv4Net;
use k8s_openapi::jiff::Timestamp;
use kube::{ResourceExt, core::Selector};
use thiserror::Error;

/// The most octets that an option carries in one piece (RFC 2132, 2).
const OPTION_MAX: usize = 255;
/// The most octets of options that Foghorn does not need itself: with the longest names and identifiers the message still
/// is one Ethernet frame.
const OPTIONS_MAX: usize = 600;

/// Reason of the condition `Accepted` where it is true.
pub const ACCEPTED_REASON: &str = "Accepted";
/// Condition, and its reason, on planes that are the default plane together with another one.
pub const TWO_DEFAULTS: &str = "TwoDefaults";

/// Why two planes cannot both be run: the younger one waits.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Conflict {
    /// A Service of this class would belong to two planes.
    #[error(
        "loadBalancerClass {class} belongs to the older plane {other}: delete one of them, or make this one again with another class"
    )]
    ClassTaken {
        /// The class of both.
        class: String,
        /// The plane that has it.
        other: String,
    },
    /// Two planes with one Lease.
    #[error(
        "lease name {lease} belongs to the older plane {other}: delete one of them, or make this one again with another lease.name"
    )]
    LeaseNameTaken {
        /// The Lease name of both.
        lease: String,
        /// The plane that has it.
        other: String,
    },
}

impl Conflict {
    /// The reason of the condition.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ClassTaken { .. } => "ClassTaken",
            Self::LeaseNameTaken { .. } => "LeaseNameTaken",
        }
    }
}

/// What in a spec has no meaning, beyond what the schema can tell.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Invalid {
    /// No IPv4 network in CIDR form.
    #[error("allowedSubnets has {subnet:?}, which is no IPv4 network in CIDR form, as 203.0.113.0/24: {why}")]
    AllowedSubnet {
        /// What is there instead.
        subnet: String,
        /// What is wrong with it.
        why: String,
    },
    /// No IPv4 network in CIDR form.
    #[error("interface.subnet is {subnet:?}, which is no IPv4 network in CIDR form: {why}")]
    InterfaceSubnet {
        /// What is there instead.
        subnet: String,
        /// What is wrong with it.
        why: String,
    },
    /// No regular expression.
    #[error("interface.regex is {regex:?}, which is no regular expression: {why}")]
    InterfaceRegex {
        /// What is there instead.
        regex: String,
        /// What is wrong with it.
        why: String,
    },
    /// No name, nor any part of one.
    #[error(
        "dhcp.{field} is {template:?}, which is no name: give it a letter, a digit or a placeholder, or leave it \
         empty to tell the server none"
    )]
    NameTemplate {
        /// `hostname` or `fqdn`.
        field: &'static str,
        /// What is there instead.
        template: String,
    },
    /// A value that no option can carry.
    #[error("dhcp.{field} has a value of {octets} octets, and an option carries at most {OPTION_MAX}")]
    DhcpOption {
        /// The field with the value.
        field: &'static str,
        /// How long the value is.
        octets: usize,
    },
    /// More than fits into a message.
    #[error(
        "dhcp.vendorClass, dhcp.userClasses and dhcp.options have {0} octets, and a message has room for {OPTIONS_MAX}"
    )]
    DhcpOptions(usize),
    /// No hardware address that a Service can have.
    #[error("overrides.hardwareAddresses: {0}")]
    HardwareAddress(HardwareAddressFault),
    /// Figures by which no lost node can be told from a slow one.
    #[error("failureDetection: {0}")]
    FailureDetection(TimingsError),
    /// No label selector.
    #[error("{field}.selector cannot be used: {why}")]
    NamespaceSelector {
        /// `allowedNamespaces`, of the plane or of `portForwarding`.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// No ports that a gateway can be asked for.
    #[error("portForwarding.externalPorts: {0}")]
    ExternalPorts(PortRangeError),
    /// No time that a gateway can be asked for.
    #[error(
        "portForwarding.lease is {0} s: 0, which is without an end, or {min} to {max} are wanted",
        min = LeaseSeconds::MIN,
        max = LeaseSeconds::MAX
    )]
    PortForwardingLease(u32),
}

impl Invalid {
    /// The reason of the condition.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::AllowedSubnet { .. } => "InvalidAllowedSubnet",
            Self::InterfaceSubnet { .. } => "InvalidInterfaceSubnet",
            Self::InterfaceRegex { .. } => "InvalidInterfaceRegex",
            Self::NameTemplate { .. } => "InvalidNameTemplate",
            Self::DhcpOption { .. } | Self::DhcpOptions(_) => "InvalidDhcpOption",
            Self::HardwareAddress(_) => "InvalidHardwareAddress",
            Self::FailureDetection(_) => "InvalidFailureDetection",
            Self::NamespaceSelector { .. } => "InvalidNamespaceSelector",
            Self::ExternalPorts(_) => "InvalidExternalPorts",
            Self::PortForwardingLease(_) => "InvalidPortForwardingLease",
        }
    }
}

/// Why a plane is not run as its spec says.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotAccepted {
    /// Another plane was first. No announcers run.
    #[error(transparent)]
    Conflict(Conflict),
    /// The spec has no meaning. What runs stays as it was.
    #[error(transparent)]
    Invalid(Invalid),
    /// The spec, or a part of it, cannot be read. What runs stays as it was.
    #[error("the spec cannot be read, and what runs stays as it was: {0}: correct the field")]
    Unreadable(String),
    /// The plane's namespace is somebody else's. No announcers run.
    #[error(
        "namespace {0} exists and was not made for this plane: delete it, or give the plane another name"
    )]
    NamespaceTaken(String),
}

impl NotAccepted {
    /// The reason of the condition.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Conflict(conflict) => conflict.reason(),
            Self::Invalid(invalid) => invalid.reason(),
            Self::Unreadable(_) => "Unreadable",
            Self::NamespaceTaken(_) => "NamespaceTaken",
        }
    }
}

/// The planes that have to wait, by UID, and why. The oldest plane (of those made in one second the one that runs
/// already, else the one with the lowest UID) has its class and its Lease name; one that has to wait takes nothing from
/// others.
#[must_use]
pub fn conflicts<'a>(planes: impl IntoIterator<Item = &'a NetworkPlane>) -> BTreeMap<String, Conflict> {
    let mut planes: Vec<_> = planes.into_iter().collect();
    planes.sort_by_key(|plane| age(plane));
    let mut classes = BTreeMap::new();
    let mut leases = BTreeMap::new();
    let mut conflicts = BTreeMap::new();
    for plane in planes {
        let class = plane.spec.load_balancer_class.clone();
        let lease = plane.lease_name();
        let conflict = if let Some(other) = classes.get(&class) {
            Conflict::ClassTaken { class, other: String::clone(other) }
        } else if let Some(other) = leases.get(&lease) {
            Conflict::LeaseNameTaken { lease, other: String::clone(other) }
        } else {
            classes.insert(class, plane.name_any());
            leases.insert(lease, plane.name_any());
            continue;
        };
        conflicts.insert(plane.uid().unwrap_or_default(), conflict);
    }
    conflicts
}

/// The other planes that also say they are the default one, if `plane` does. With two defaults no Service without a
/// class is newly served.
#[must_use]
pub fn other_defaults<'a>(
    plane: &NetworkPlane,
    planes: impl IntoIterator<Item = &'a NetworkPlane>,
) -> Vec<String> {
    if !plane.spec.default {
        return Vec::new();
    }
    let mut others: Vec<_> = planes
        .into_iter()
        .filter(|other| other.spec.default && other.metadata.deletion_timestamp.is_none())
        .filter(|other| other.uid() != plane.uid())
        .map(ResourceExt::name_any)
        .collect();
    others.sort();
    others
}

/// The plane's `allowedSubnets`, if the whole spec has a meaning.
///
/// # Errors
/// The first thing in the spec that has none.
pub fn allowed_subnets(plane: &NetworkPlane) -> Result<Vec<Ipv4Net>, Invalid> {
    let spec = &plane.spec;
    if let Some(subnet) = &spec.interface.subnet {
        parse(subnet).map_err(|why| Invalid::InterfaceSubnet { subnet: subnet.clone(), why })?;
    }
    if let Some(regex) = &spec.interface.regex {
        regex::Regex::new(regex).map_err(|error| Invalid::InterfaceRegex {
            regex: regex.clone(),
            why: error.to_string().lines().last().unwrap_or_default().to_owned(),
        })?;
    }
    namespaces("allowedNamespaces", spec.allowed_namespaces.as_ref())?;
    dhcp(&spec.dhcp)?;
    port_forwarding(&spec.port_forwarding)?;
    for address in &spec.overrides.hardware_addresses {
        hardware_address::parse(address)
            .and_then(|octets| hardware_address::check(octets, std::slice::from_ref(address)))
            .map_err(Invalid::HardwareAddress)?;
    }
    let (interval, missed) = spec.failure_detection.figures();
    Timings::new(interval, missed).map_err(Invalid::FailureDetection)?;
    spec.allowed_subnets
        .iter()
        .map(|subnet| parse(subnet).map_err(|why| Invalid::AllowedSubnet { subnet: subnet.clone(), why }))
        .collect()
}

fn namespaces(field: &'static str, allowed: Option<&AllowedNamespaces>) -> Result<(), Invalid> {
    let Some(selector) = allowed.and_then(|allowed| allowed.selector.clone()) else { return Ok(()) };
    let selector = Selector::try_from(selector);
    selector.map(drop).map_err(|error| Invalid::NamespaceSelector { field, why: error.to_string() })
}

/// Whether gateways can be asked for what the plane says.
fn port_forwarding(spec: &PortForwardingSpec) -> Result<(), Invalid> {
    spec.ranges().map_err(Invalid::ExternalPorts)?;
    namespaces("portForwarding.allowedNamespaces", spec.allowed_namespaces.as_ref())?;
    if spec.lease.is_valid() { Ok(()) } else { Err(Invalid::PortForwardingLease(spec.lease.0)) }
}

/// Whether what the plane says of DHCP fits into messages.
fn dhcp(dhcp: &DhcpSpec) -> Result<(), Invalid> {
    for (field, template) in [("hostname", &dhcp.hostname), ("fqdn", &dhcp.fqdn)] {
        if !template.is_empty() && !template.chars().any(|letter| letter.is_ascii_alphanumeric()) {
            return Err(Invalid::NameTemplate { field, template: template.clone() });
        }
    }
    let classes = dhcp.user_classes.iter().map(|class| ("userClasses", class.len()));
    let options = dhcp.options.iter().map(|option| ("options", value_length(option)));
    let values = [("vendorClass", dhcp.vendor_class.len())].into_iter().chain(classes).chain(options);
    let mut total = 0;
    for (field, octets) in values {
        if octets > OPTION_MAX {
            return Err(Invalid::DhcpOption { field, octets });
        }
        // Its code and its length are an octet each.
        total += octets + 2;
    }
    if total > OPTIONS_MAX { Err(Invalid::DhcpOptions(total)) } else { Ok(()) }
}

/// The octets of the option's value.
fn value_length(option: &DhcpOption) -> usize {
    let text = option.text.as_ref().map(String::len);
    let hex = option.hex.as_ref().map(|digits| digits.len() / 2);
    let addresses = option.addresses.as_ref().map(|addresses| addresses.len() * 4);
    text.or(hex).or(addresses).unwrap_or_default()
}

fn parse(subnet: &str) -> Result<Ipv4Net, String> {
    subnet.parse::<Ipv4Net>().map(|network| network.trunc()).map_err(|error| error.to_string())
}

fn age(plane: &NetworkPlane) -> (Option<Timestamp>, bool, Option<String>) {
    (plane.creation_timestamp().map(|time| time.0), !is_accepted(plane), plane.uid())
}

/// Whether the plane's spec was found to be valid and in conflict with no other plane.
#[must_use]
pub fn is_accepted(plane: &NetworkPlane) -> bool {
    let conditions = plane.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    conditions::get(conditions, ACCEPTED).is_some_and(|accepted| accepted.status == "True")
}

#[cfg(test)]
mod tests {
    use foghorn_crds::{DetectionMode, FailureDetection, NetworkPlaneStatus};

    use super::*;
    use crate::{planes::fixtures::plane, services::fixtures::invalid_selector};

    #[test]
    fn the_schema_refuses_the_subnets_that_make_a_spec_invalid() {
        let definition = foghorn_crds::definitions()
            .into_iter()
            .find(|definition| definition.spec.names.kind == "NetworkPlane")
            .unwrap();
        let spec = serde_json::to_value(&definition.spec.versions[0].schema).unwrap();
        let spec = &spec["openAPIV3Schema"]["properties"]["spec"]["properties"];
        let patterns = [
            &spec["allowedSubnets"]["items"]["pattern"],
            &spec["interface"]["properties"]["subnet"]["pattern"],
        ];
        for (subnet, valid) in [
            ("203.0.113.0/24", true),
            ("0.0.0.0/0", true),
            ("255.255.255.255/32", true),
            ("203.0.113.0/33", false),
            ("203.0.113.256/24", false),
            ("203.0.113.0", false),
            ("203.0.113/24", false),
            ("203.0.113.010/24", false),
            ("2001:db8::/32", false),
        ] {
            let mut plane = plane("a", "x.dev/a");
            plane.spec.allowed_subnets = vec![subnet.into()];
            assert!(!valid || allowed_subnets(&plane).is_ok(), "{subnet}");
            for pattern in patterns {
                let pattern = regex::Regex::new(pattern.as_str().unwrap()).unwrap();
                assert_eq!(pattern.is_match(subnet), valid, "{subnet} by the schema");
            }
        }
    }

    #[test]
    fn the_schema_knows_the_four_operators_of_selectors() {
        let definitions = serde_json::to_string(&foghorn_crds::definitions()).unwrap();
        let operators = r#""enum":["In","NotIn","Exists","DoesNotExist"]"#;
        assert_eq!(definitions.matches(operators).count(), 2, "of the plane and of its portForwarding");
        assert!(definitions.contains("self.operator in ['In', 'NotIn']"));
    }

    #[test]
    fn the_younger_of_two_planes_with_one_class_waits() {
        let old = made_at(plane("a", "x.dev/a"), 10, "2");
        let young = made_at(plane("b", "x.dev/a"), 11, "1");
        let found = conflicts([&young, &old]);
        assert_eq!(found.len(), 1);
        assert_eq!(found["1"], Conflict::ClassTaken { class: "x.dev/a".into(), other: "a".into() });
    }

    #[test]
    fn of_planes_made_in_one_second_the_lower_uid_comes_first() {
        let first = made_at(plane("a", "x.dev/a"), 10, "1");
        let second = made_at(plane("b", "x.dev/a"), 10, "2");
        assert!(conflicts([&second, &first]).contains_key("2"));
    }

    #[test]
    fn of_planes_made_in_one_second_the_one_that_runs_is_not_turned_out() {
        let mut runs = made_at(plane("b", "x.dev/a"), 10, "2");
        let accepted =
            conditions::condition(ACCEPTED, true, ACCEPTED_REASON, "", None, Timestamp::UNIX_EPOCH);
        runs.status =
            Some(NetworkPlaneStatus { conditions: vec![accepted], ..NetworkPlaneStatus::default() });
        let second = made_at(plane("a", "x.dev/a"), 10, "1");
        assert_eq!(conflicts([&second, &runs]).into_keys().collect::<Vec<_>>(), ["1"]);
    }

    #[test]
    fn a_default_lease_name_conflicts_with_the_same_name_given() {
        let old = made_at(plane("a", "x.dev/a"), 10, "1");
        let mut young = made_at(plane("b", "x.dev/b"), 11, "2");
        young.spec.lease.name = Some("foghorn-a".into());
        let found = conflicts([&old, &young]);
        assert_eq!(found["2"], Conflict::LeaseNameTaken { lease: "foghorn-a".into(), other: "a".into() });
    }

    #[test]
    fn a_plane_that_waits_takes_nothing_from_others() {
        let first = made_at(plane("a", "x.dev/a"), 10, "1");
        let mut waits = made_at(plane("b", "x.dev/a"), 11, "2");
        waits.spec.lease.name = Some("mine".into());
        let mut third = made_at(plane("c", "x.dev/c"), 12, "3");
        third.spec.lease.name = Some("mine".into());
        assert_eq!(conflicts([&first, &waits, &third]).into_keys().collect::<Vec<_>>(), ["2"]);
    }

    #[test]
    fn two_defaults_name_each_other() {
        let mut one = made_at(plane("a", "x.dev/a"), 10, "1");
        let mut two = made_at(plane("b", "x.dev/b"), 11, "2");
        let other = made_at(plane("c", "x.dev/c"), 12, "3");
        one.spec.default = true;
        assert!(other_defaults(&one, [&one, &two, &other]).is_empty());
        two.spec.default = true;
        assert_eq!(other_defaults(&one, [&one, &two, &other]), ["b"]);
        assert_eq!(other_defaults(&two, [&one, &two, &other]), ["a"]);
        assert!(other_defaults(&other, [&one, &two, &other]).is_empty());
    }

    #[test]
    fn what_has_no_meaning_is_named() {
        let with = |change: fn(&mut NetworkPlane)| {
            let mut plane = plane("a", "x.dev/a");
            change(&mut plane);
            let error = allowed_subnets(&plane).unwrap_err();
            (error.reason(), error.to_string())
        };
        let (reason, message) = with(|plane| plane.spec.allowed_subnets = vec!["203.0.113.0/33".into()]);
        assert_eq!(reason, "InvalidAllowedSubnet");
        assert!(message.contains("203.0.113.0/33"), "{message}");
        let (reason, message) = with(|plane| plane.spec.interface.regex = Some("eth(".into()));
        assert_eq!(reason, "InvalidInterfaceRegex");
        assert!(message.contains("unclosed group"), "{message}");
        let (reason, _) = with(|plane| plane.spec.interface.subnet = Some("300.0.0.0/8".into()));
        assert_eq!(reason, "InvalidInterfaceSubnet");
        let (reason, message) = with(|plane| plane.spec.dhcp.fqdn = "-.".into());
        assert_eq!(reason, "InvalidNameTemplate");
        assert!(message.contains("dhcp.fqdn"), "{message}");
        let (reason, message) = with(|plane| {
            plane.spec.overrides.hardware_addresses = vec!["01:00:5e:00:00:01".into()];
        });
        assert_eq!(reason, "InvalidHardwareAddress");
        assert!(message.contains("01:00:5e:00:00:01"), "{message}");
        let (reason, message) = with(|plane| {
            plane.spec.failure_detection = FailureDetection {
                mode: DetectionMode::Custom,
                interval_milliseconds: Some(49),
                missed_heartbeats: Some(3),
            };
        });
        assert_eq!(reason, "InvalidFailureDetection");
        assert!(message.contains("49ms"), "{message}");
    }

    #[test]
    fn what_no_gateway_can_be_asked_for_is_named() {
        let with = |change: fn(&mut PortForwardingSpec)| {
            let mut plane = plane("a", "x.dev/a");
            change(&mut plane.spec.port_forwarding);
            allowed_subnets(&plane).map(drop).map_err(|error| (error.reason(), error.to_string()))
        };
        let (reason, message) =
            with(|spec| spec.external_ports = Some(vec!["443".into(), "9-8".into()])).unwrap_err();
        assert_eq!(reason, "InvalidExternalPorts");
        assert!(message.starts_with("portForwarding.externalPorts: \"9-8\""), "{message}");
        let (reason, message) = with(|spec| spec.lease = LeaseSeconds(119)).unwrap_err();
        assert_eq!(reason, "InvalidPortForwardingLease");
        assert!(message.contains("119 s") && message.contains("120 to 604800"), "{message}");
        let (reason, message) = with(|spec| {
            let selector = Some(invalid_selector());
            spec.allowed_namespaces = Some(AllowedNamespaces { names: Vec::new(), selector });
        })
        .unwrap_err();
        assert_eq!(reason, "InvalidNamespaceSelector");
        assert!(message.starts_with("portForwarding.allowedNamespaces.selector"), "{message}");
        for lease in [0, 120, 604_800] {
            let mut plane = plane("a", "x.dev/a");
            plane.spec.port_forwarding.lease = LeaseSeconds(lease);
            assert_eq!(allowed_subnets(&plane).map(drop), Ok(()), "{lease}");
        }
    }

    #[test]
    fn options_fit_into_a_message() {
        let check = |change: &dyn Fn(&mut DhcpSpec)| {
            let mut plane = plane("a", "x.dev/a");
            change(&mut plane.spec.dhcp);
            allowed_subnets(&plane).map(drop)
        };
        let text = |length| DhcpOption { text: Some("x".repeat(length)), ..DhcpOption::default() };
        let longest = [text(255), text(255), text(82)];
        assert_eq!(check(&|dhcp| dhcp.options = longest.to_vec()), Ok(()));
        let too_long = [text(255), text(255), text(83)];
        assert_eq!(check(&|dhcp| dhcp.options = too_long.to_vec()), Err(Invalid::DhcpOptions(601)));
        // The schema counts characters.
        let characters = "ä".repeat(128);
        let too_long = |field| Err(Invalid::DhcpOption { field, octets: 256 });
        assert_eq!(check(&|dhcp| dhcp.vendor_class = characters.clone()), too_long("vendorClass"));
        assert_eq!(check(&|dhcp| dhcp.user_classes = vec![characters.clone()]), too_long("userClasses"));
    }

    #[test]
    fn the_length_of_an_option_is_that_of_its_encoded_value() {
        let hex = DhcpOption { hex: Some("0".repeat(510)), ..DhcpOption::default() };
        assert_eq!(value_length(&hex), 255);
        let addresses = Some(vec![[203, 0, 113, 1].into(); 63]);
        assert_eq!(value_length(&DhcpOption { addresses, ..DhcpOption::default() }), 252);
    }

    #[test]
    fn host_bits_of_an_allowed_subnet_do_not_matter() {
        let mut plane = plane("a", "x.dev/a");
        plane.spec.allowed_subnets = vec!["203.0.113.77/24".into()];
        assert_eq!(allowed_subnets(&plane), Ok(vec!["203.0.113.0/24".parse().unwrap()]));
    }

    fn made_at(mut plane: NetworkPlane, second: i64, uid: &str) -> NetworkPlane {
        plane.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            Timestamp::from_second(second).unwrap(),
        ));
        plane.metadata.uid = Some(uid.to_owned());
        plane
    }
}
