//! The ports that the annotation `foghorn.dev/port-forward` names, as `443:8443/tcp, 53:dns`.

use std::collections::BTreeSet;

use foghorn_crds::{ClaimForward, ForwardProtocol};
use k8s_openapi::api::core::v1::{Service, ServicePort};
use thiserror::Error;

/// So much of a value is repeated, in octets.
const SHOWN: usize = 64;

/// What is wrong with a list of ports.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum Fault {
    #[error(
        "{0:?} is no port: true, false or a list is wanted, of ports as 443, or as 443:8443/tcp, the gateway's port before \
         the Service's"
    )]
    Unreadable(String),
    #[error("{0:?} names a protocol that gateways do not forward: they forward tcp and udp")]
    Protocol(String),
    #[error("{0:?} is no port of the Service: it has {1}")]
    NoSuchPort(String, String),
    #[error("{0:?} is a port of TCP and of UDP: say which, as in {1}:{2}/udp, or name both")]
    Ambiguous(String, u16, u16),
    #[error("port {0}/{1} of the gateway is named twice: it can lead to one port only")]
    ExternalTwice(u16, ForwardProtocol),
    #[error("port {0}/{1} of the Service is named twice: give it one port of the gateway")]
    PortTwice(u16, ForwardProtocol),
}

/// All ports of the Service that a gateway can forward, to the same numbers.
pub(crate) fn all(service: &Service) -> BTreeSet<ClaimForward> {
    let forwardable = own(service).filter_map(forwardable);
    forwardable.map(|(protocol, port)| ClaimForward { protocol, port, external_port: port }).collect()
}

/// The other ports, as `2905/SCTP`.
pub(crate) fn of_other_protocols(service: &Service) -> Vec<String> {
    own(service).filter(|port| forwardable(port).is_none()).map(written).collect()
}

/// The ports that `list` names.
pub(crate) fn listed(service: &Service, list: &str) -> Result<BTreeSet<ClaimForward>, Fault> {
    let items: Vec<_> = list.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    if items.is_empty() {
        return Err(Fault::Unreadable(short(list)));
    }
    let mut forwards = BTreeSet::<ClaimForward>::new();
    for item in items {
        let new = one(service, item)?;
        for other in forwards.iter().filter(|other| other.protocol == new.protocol) {
            if other.external_port == new.external_port {
                return Err(Fault::ExternalTwice(new.external_port, new.protocol));
            }
            if other.port == new.port {
                return Err(Fault::PortTwice(new.port, new.protocol));
            }
        }
        forwards.insert(new);
    }
    Ok(forwards)
}

fn one(service: &Service, item: &str) -> Result<ClaimForward, Fault> {
    let unreadable = || Fault::Unreadable(short(item));
    let (ports, protocol) = match item.split_once('/') {
        Some((ports, protocol)) => (ports, Some(protocol_of(protocol, item)?)),
        None => (item, None),
    };
    let (external, port) = ports.split_once(':').unwrap_or((ports, ports));
    let (external, port) = (external.trim(), port.trim());
    let external_port = number(external).ok_or_else(unreadable)?;
    if port.is_empty() {
        return Err(unreadable());
    }
    let wanted = number(port);
    let is_meant = |own: &&ServicePort| match wanted {
        Some(number) => own.port == i32::from(number),
        None => own.name.as_deref() == Some(port),
    };
    let of_service: Vec<_> = own(service).filter(is_meant).collect();
    let mut fitting = of_service.iter().copied().filter_map(forwardable);
    let mut fitting_protocol =
        fitting.by_ref().filter(|(own, _)| protocol.is_none_or(|wanted| wanted == *own));
    match (fitting_protocol.next(), fitting_protocol.next()) {
        (Some((protocol, port)), None) => Ok(ClaimForward { protocol, port, external_port }),
        (Some((_, port)), Some(_)) => Err(Fault::Ambiguous(short(item), external_port, port)),
        (None, _) if protocol.is_none() && !of_service.is_empty() => Err(Fault::Protocol(short(item))),
        (None, _) => {
            let mut has: Vec<_> = own(service).take(8).map(written).collect();
            if has.is_empty() {
                has.push("none".to_owned());
            }
            Err(Fault::NoSuchPort(short(item), has.join(", ")))
        }
    }
}

fn protocol_of(text: &str, item: &str) -> Result<ForwardProtocol, Fault> {
    match text.trim().to_ascii_lowercase().as_str() {
        "tcp" => Ok(ForwardProtocol::Tcp),
        "udp" => Ok(ForwardProtocol::Udp),
        _ => Err(Fault::Protocol(short(item))),
    }
}

/// No port is 0, and none has a sign.
fn number(text: &str) -> Option<u16> {
    let is_digits = text.bytes().all(|digit| digit.is_ascii_digit());
    text.parse().ok().filter(|&port| is_digits && port > 0)
}

fn own(service: &Service) -> impl Iterator<Item = &ServicePort> {
    service.spec.iter().flat_map(|spec| spec.ports.iter().flatten())
}

fn forwardable(port: &ServicePort) -> Option<(ForwardProtocol, u16)> {
    let protocol = match port.protocol.as_deref() {
        None | Some("TCP") => ForwardProtocol::Tcp,
        Some("UDP") => ForwardProtocol::Udp,
        Some(_) => return None,
    };
    Some((protocol, u16::try_from(port.port).ok()?))
}

fn written(port: &ServicePort) -> String {
    format!("{}/{}", port.port, port.protocol.as_deref().unwrap_or("TCP"))
}

/// The beginning of a value that is repeated to its author.
pub(crate) fn short(value: &str) -> String {
    let mut short = value.to_owned();
    short.truncate(short.floor_char_boundary(SHOWN));
    if short.len() < value.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::{super::super::fixtures::service as fixture, *};

    #[test]
    fn the_gateway_s_port_stands_before_the_service_s() {
        assert_eq!(read("443:8443/tcp"), Ok("443:8443/TCP".into()));
        assert_eq!(read(" 443 : 8443 / TCP ,, 53:53/udp,"), Ok("443:8443/TCP 53:53/UDP".into()));
    }

    #[test]
    fn one_number_is_the_port_of_both() {
        assert_eq!(read("8443"), Ok("8443:8443/TCP".into()));
        assert_eq!(read("53/tcp,53/udp"), Ok("53:53/TCP 53:53/UDP".into()));
    }

    #[test]
    fn a_port_of_the_service_may_be_named() {
        assert_eq!(read("443:https"), Ok("443:8443/TCP".into()));
        assert_eq!(read("5353:dns-udp/udp"), Ok("5353:53/UDP".into()));
        assert!(matches!(read("https"), Err(Fault::Unreadable(_))));
    }

    #[test]
    fn a_port_of_both_protocols_needs_a_word() {
        let fault = read("1053:53").unwrap_err();
        assert_eq!(
            fault.to_string(),
            "\"1053:53\" is a port of TCP and of UDP: say which, as in 1053:53/udp, or name both"
        );
        assert_eq!(read("1053:53/tcp"), Ok("1053:53/TCP".into()));
    }

    #[test]
    fn what_is_no_port_of_the_service_is_told_with_those_that_are() {
        for item in ["9000", "80:9000", "443:web", "8443/udp", "5353:dns-udp/tcp"] {
            let fault = read(item).unwrap_err();
            assert!(matches!(fault, Fault::NoSuchPort(..)), "{item}: {fault}");
            assert!(fault.to_string().contains("it has 8443/TCP, 53/TCP, 53/UDP, 2905/SCTP"), "{fault}");
        }
        let none = listed(&fixture("web").ports(&[]).build(), "80").unwrap_err();
        assert!(none.to_string().ends_with("it has none"), "{none}");
    }

    #[test]
    fn other_protocols_are_not_forwarded() {
        for item in ["2905", "2905/sctp", "1:ss7", "8443/tls", "8443/"] {
            assert_eq!(read(item), Err(Fault::Protocol(item.into())));
        }
    }

    #[test]
    fn no_port_is_named_twice() {
        assert_eq!(read("443:8443,443:53/tcp"), Err(Fault::ExternalTwice(443, ForwardProtocol::Tcp)));
        assert_eq!(read("443:8443,444:8443"), Err(Fault::PortTwice(8443, ForwardProtocol::Tcp)));
        assert_eq!(read("443:8443,443:53/udp"), Ok("443:8443/TCP 443:53/UDP".into()));
    }

    #[test]
    fn what_is_no_list_is_told_in_short() {
        for value in
            ["True", "yes", ",", ":", "443:", ":443", "0", "0:8443", "70000:8443", "+443:8443", "443;8443"]
        {
            assert!(matches!(read(value), Err(Fault::Unreadable(_))), "{value}");
        }
        let fault = read(&"ä".repeat(100_000)).unwrap_err();
        assert!(fault.to_string().len() < 300, "{fault}");
    }

    #[test]
    fn all_ports_are_those_of_tcp_and_udp_whatever_their_order() {
        let service =
            fixture("web").ports(&[("a", 53, "UDP"), ("b", 53, "TCP"), ("c", 7, "SCTP"), ("d", 9, "")]);
        assert_eq!(said(&all(&service.build())), "9:9/TCP 53:53/TCP 53:53/UDP");
        assert_eq!(of_other_protocols(&service.build()), ["7/SCTP"]);
    }

    fn read(list: &str) -> Result<String, Fault> {
        let ports =
            [("https", 8443, "TCP"), ("dns", 53, "TCP"), ("dns-udp", 53, "UDP"), ("ss7", 2905, "SCTP")];
        listed(&fixture("web").ports(&ports).build(), list).map(|forwards| said(&forwards))
    }

    fn said(forwards: &BTreeSet<ClaimForward>) -> String {
        let said = forwards.iter().map(|one| format!("{}:{}/{}", one.external_port, one.port, one.protocol));
        said.collect::<Vec<_>>().join(" ")
    }
}
