//! What is asked of a service of a gateway (`WANIPConnection:1`, section 2.4, and `:2`, section 2.5).

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use foghorn_portmap::{Answer, Ask, Fault, Mapping, Port, Transport};
use igd_next::{
    AddPortError, GetExternalIpError, GetGenericPortMappingEntryError, PortMappingProtocol, RemovePortError,
    RequestError,
    aio::{Gateway, Provider},
};

use crate::{
    description::{Kind, Service},
    fault::{broken, words},
    soap::{self, Failure},
};

/// Gateways of version 2 have no mapping for longer, and none without an end (`WANIPConnection:2`, section 2.5.16).
const LONGEST_LEASE_OF_2: u32 = 604_800;

const ADD_ARGUMENTS: [&str; 8] = [
    "NewRemoteHost",
    "NewExternalPort",
    "NewProtocol",
    "NewInternalPort",
    "NewInternalClient",
    "NewEnabled",
    "NewPortMappingDescription",
    "NewLeaseDuration",
];
const DELETE_ARGUMENTS: [&str; 3] = ["NewRemoteHost", "NewExternalPort", "NewProtocol"];

/// Asks the service once, in the name of `source`. Finding is asking for the outer address here.
///
/// # Errors
/// If there is no answer.
pub async fn ask<P: Provider>(
    service: &Service,
    provider: P,
    source: Ipv4Addr,
    ask: &Ask,
) -> Result<Answer, Fault> {
    let gateway = gateway(service, provider);
    match ask {
        Ask::Find | Ask::Outer => {
            Ok(Answer::Found { outer: outer(gateway.get_external_ip().await)?, epoch: None })
        }
        Ask::Map(mapping) => {
            let (seconds, lease) = lease(service.kind, mapping.lease);
            let Mapping { port, external, ref description, .. } = *mapping;
            let to = SocketAddr::new(source.into(), port.number);
            let added = gateway.add_port(protocol(port.transport), external, to, seconds, description).await;
            added.map_err(not_added)?;
            Ok(Answer::Mapped { external, lease, outer: None, epoch: None })
        }
        Ask::Unmap(mapping) => {
            match gateway.remove_port(protocol(mapping.port.transport), mapping.external).await {
                Ok(()) | Err(RemovePortError::NoSuchPortMapping) => Ok(Answer::Unmapped),
                Err(RemovePortError::ActionNotAuthorized) => Err(of_code(606, "")),
                Err(RemovePortError::RequestError(error)) => Err(fault(&error)),
            }
        }
        Ask::Entry(port) => entry(service, &gateway, *port).await,
        Ask::List(index) => match gateway.get_generic_port_mapping_entry(*index).await {
            Ok(read) => Ok(Answer::Entry(Some(soap::entry(&read)))),
            Err(GetGenericPortMappingEntryError::SpecifiedArrayIndexInvalid) => Ok(Answer::Entry(None)),
            Err(GetGenericPortMappingEntryError::ActionNotAuthorized) => Err(of_code(606, "")),
            // Not what the standard has for it.
            Err(GetGenericPortMappingEntryError::RequestError(RequestError::ErrorCode(714, _))) => {
                Ok(Answer::Entry(None))
            }
            Err(GetGenericPortMappingEntryError::RequestError(error)) => Err(fault(&error)),
        },
    }
}

/// The arguments are the standard's, so that no gateway's list of them is needed.
fn gateway<P>(service: &Service, provider: P) -> Gateway<P> {
    let schema = |action: &str, arguments: &[&str]| {
        (action.to_owned(), arguments.iter().copied().map(str::to_owned).collect())
    };
    Gateway {
        addr: service.control.address().into(),
        root_url: String::new(),
        control_url: service.control.path().to_owned(),
        control_schema_url: String::new(),
        control_schema: HashMap::from([
            schema("AddPortMapping", &ADD_ARGUMENTS),
            schema("DeletePortMapping", &DELETE_ARGUMENTS),
        ]),
        service_type: service.kind.urn().to_owned(),
        provider,
    }
}

/// For how long a port is forwarded as the gateway tells when it is asked; none if it does not tell, or without an end.
///
/// Some gateways of version 2 that say to be of version 1 keep to what version 2 has for mappings without an end.
pub(crate) async fn granted<P: Provider>(service: &Service, provider: P, port: Port) -> Option<Duration> {
    let text = specific_entry(service, &gateway(service, provider), port).await.ok()?;
    let seconds = soap::specific_lease(&text)?;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

async fn specific_entry<P: Provider>(
    service: &Service,
    gateway: &Gateway<P>,
    port: Port,
) -> Result<String, RequestError> {
    let action = format!("\"{}#{}\"", service.kind, soap::GET_SPECIFIC_ENTRY);
    let question = soap::ask_specific_entry(service.kind, port);
    P::send_async(&gateway.to_string(), &action, &question).await
}

async fn entry<P: Provider>(service: &Service, gateway: &Gateway<P>, port: Port) -> Result<Answer, Fault> {
    match specific_entry(service, gateway, port).await {
        Ok(text) => match soap::specific_entry(&text, port) {
            Some(entry) => Ok(Answer::Entry(Some(entry))),
            None => Err(Fault::Broken("its answer has no entry in it".to_owned())),
        },
        Err(RequestError::ErrorCode(714, _)) => Ok(Answer::Entry(None)),
        Err(error) => Err(fault(&error)),
    }
}

/// A gateway without an outer address has many ways to say so.
fn outer(answer: Result<IpAddr, GetExternalIpError>) -> Result<Option<Ipv4Addr>, Fault> {
    match answer {
        Ok(IpAddr::V4(outer)) => Ok(Some(outer).filter(|outer| !outer.is_unspecified())),
        Ok(IpAddr::V6(_)) => Ok(None),
        Err(GetExternalIpError::ActionNotAuthorized) => Err(of_code(606, "")),
        Err(GetExternalIpError::RequestError(RequestError::ErrorCode(501, _))) => Ok(None),
        Err(GetExternalIpError::RequestError(RequestError::InvalidResponse(text)))
            if soap::has_no_outer(&text) =>
        {
            Ok(None)
        }
        Err(GetExternalIpError::RequestError(error)) => Err(fault(&error)),
    }
}

/// For how many seconds is asked, and what that is if it is granted; without an end is 0 (`WANIPConnection:1`, section 2.2).
fn lease(kind: Kind, wanted: Option<Duration>) -> (u32, Option<Duration>) {
    let most = match kind {
        Kind::Ip2 => LONGEST_LEASE_OF_2,
        Kind::Ip1 | Kind::Ppp1 => u32::MAX,
    };
    let seconds = wanted.map(|wanted| u32::try_from(wanted.as_secs()).unwrap_or(most).clamp(1, most));
    let granted = seconds.or((kind == Kind::Ip2).then_some(most));
    (seconds.unwrap_or(0), granted.map(|seconds| Duration::from_secs(seconds.into())))
}

fn not_added(error: AddPortError) -> Fault {
    match error {
        AddPortError::ActionNotAuthorized => of_code(606, ""),
        AddPortError::InternalPortZeroInvalid | AddPortError::ExternalPortZeroInvalid => {
            Fault::Refused("there is no port 0".to_owned())
        }
        AddPortError::PortInUse => Fault::Taken,
        AddPortError::SamePortValuesRequired => Fault::SamePortOnly,
        AddPortError::OnlyPermanentLeasesSupported => Fault::PermanentOnly,
        AddPortError::DescriptionTooLong => of_code(605, "the description is too long"),
        AddPortError::RequestError(error) => fault(&error),
    }
}

fn fault(error: &RequestError) -> Fault {
    if let RequestError::ErrorCode(code, text) = error {
        return of_code(*code, text);
    }
    if let RequestError::IoError(error) = error
        && let Some(fault) = Failure::fault(error)
    {
        return fault.clone();
    }
    // The whole answer is in it.
    if let RequestError::InvalidResponse(_) = error {
        return Fault::Broken("its answer is not what was asked for".to_owned());
    }
    broken(error)
}

/// The codes of UPnP Device Architecture 1.1 (section 3.2.2) and of the service.
fn of_code(code: u16, text: &str) -> Fault {
    let text = words(text);
    let text = if text.is_empty() { code.to_string() } else { format!("{code}, {text}") };
    match code {
        402 | 600 | 601 | 605 => Fault::Arguments(format!("it refuses what it was asked with ({text})")),
        401 | 602 => Fault::Unsupported(format!("it does not know what UPnP asks for ({text})")),
        606 => Fault::Refused(format!("it does not allow it ({text})")),
        718 | 729 => Fault::Taken,
        724 => Fault::SamePortOnly,
        725 => Fault::PermanentOnly,
        728 => Fault::Full,
        _ => Fault::Refused(format!("it refuses ({text})")),
    }
}

fn protocol(transport: Transport) -> PortMappingProtocol {
    match transport {
        Transport::Tcp => PortMappingProtocol::TCP,
        Transport::Udp => PortMappingProtocol::UDP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_of_version_2_has_no_mapping_for_more_than_a_week() {
        let (hour, year) = (Duration::from_secs(3600), Duration::from_secs(365 * 24 * 3600));
        let week = Some(Duration::from_secs(604_800));
        assert_eq!(lease(Kind::Ip2, Some(hour)), (3600, Some(hour)));
        assert_eq!(lease(Kind::Ip2, Some(year)), (604_800, week));
        assert_eq!(lease(Kind::Ip2, None), (0, week));
        assert_eq!(lease(Kind::Ip1, Some(year)), (31_536_000, Some(year)));
        assert_eq!(lease(Kind::Ip1, None), (0, None));
        assert_eq!(lease(Kind::Ip1, Some(Duration::ZERO)), (1, Some(Duration::from_secs(1))));
    }

    #[test]
    fn each_code_is_its_fault() {
        for (code, fault) in [
            (718, Fault::Taken),
            (729, Fault::Taken),
            (724, Fault::SamePortOnly),
            (725, Fault::PermanentOnly),
            (728, Fault::Full),
            (606, Fault::Refused("it does not allow it (606, why)".to_owned())),
            (602, Fault::Unsupported("it does not know what UPnP asks for (602, why)".to_owned())),
            (402, Fault::Arguments("it refuses what it was asked with (402, why)".to_owned())),
            (605, Fault::Arguments("it refuses what it was asked with (605, why)".to_owned())),
            (727, Fault::Refused("it refuses (727, why)".to_owned())),
        ] {
            assert_eq!(of_code(code, "why"), fault);
        }
    }
}
