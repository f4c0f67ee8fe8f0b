//! The description of a gateway (UPnP Device Architecture 1.1, section 2.3).

use std::fmt;

use xmltree::Element;

use crate::{
    document::{self, XmlError},
    place::{Place, PlaceError},
};

/// A gateway may have several connections to its provider; no more of them are looked at.
const MOST_SERVICES: usize = 4;

/// A service that forwards ports, the preferred one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `WANIPConnection:2`, of gateways of version 2.
    Ip2,
    /// `WANIPConnection:1`.
    Ip1,
    /// `WANPPPConnection:1`.
    Ppp1,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ip2, Self::Ip1, Self::Ppp1];

    /// Its type.
    #[must_use]
    pub fn urn(self) -> &'static str {
        match self {
            Self::Ip2 => "urn:schemas-upnp-org:service:WANIPConnection:2",
            Self::Ip1 => "urn:schemas-upnp-org:service:WANIPConnection:1",
            Self::Ppp1 => "urn:schemas-upnp-org:service:WANPPPConnection:1",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.urn())
    }
}

/// A service of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What it is.
    pub kind: Kind,
    /// Where it is asked.
    pub control: Place,
}

/// Why a description is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// It cannot be read.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// Its base or its services are elsewhere.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// It has no service that forwards ports.
    #[error("the gateway's description has no WAN connection service")]
    NoService,
}

/// The services that forward ports in a description that was found there, at least one, the preferred one first.
///
/// Names count without their namespaces, which gateways have in all varieties.
///
/// # Errors
/// If there are none that could be asked.
pub fn services(found_at: &Place, octets: &[u8]) -> Result<Vec<Service>, DescriptionError> {
    let root = document::parse(octets)?;
    let base = match document::text(&root, "URLBase").as_str() {
        "" => found_at.clone(),
        base => found_at.join(base)?,
    };
    let mut devices: Vec<&Element> = document::children(&root, "device").collect();
    let (mut services, mut trouble) = (Vec::new(), DescriptionError::NoService);
    while let Some(device) = devices.pop() {
        let lists = document::children(device, "serviceList");
        for service in lists.flat_map(|list| document::children(list, "service")) {
            let kind = document::text(service, "serviceType");
            let Some(kind) = Kind::ALL.into_iter().find(|known| known.urn() == kind) else { continue };
            match base.join(&document::text(service, "controlURL")) {
                Ok(control) => services.push(Service { kind, control }),
                Err(error) => trouble = error.into(),
            }
        }
        devices.extend(
            document::children(device, "deviceList").flat_map(|list| document::children(list, "device")),
        );
    }
    services.sort_by_key(|service| service.kind);
    services.dedup();
    services.truncate(MOST_SERVICES);
    if services.is_empty() { Err(trouble) } else { Ok(services) }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_services_of_a_gateway_are_found_and_the_preferred_one_is_first() {
        let services = [
            (Kind::Ppp1.urn(), "/ppp"),
            (Kind::Ip1.urn(), "/ip1"),
            ("urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1", "/common"),
            (Kind::Ip2.urn(), "ctl/ip2"),
        ];
        let found = found(&description("", &services)).unwrap();
        let found: Vec<_> = found.iter().map(|service| (service.kind, service.control.to_string())).collect();
        let at = |path| format!("http://192.0.2.1:5000{path}");
        assert_eq!(
            found,
            [(Kind::Ip2, at("/igd/ctl/ip2")), (Kind::Ip1, at("/ip1")), (Kind::Ppp1, at("/ppp"))]
        );
    }

    #[test]
    fn the_base_of_a_description_counts() {
        let with = |base| found(&description(base, &[(Kind::Ip1.urn(), "ctl")]));
        let control = |base| with(base).map(|services| services[0].control.to_string());
        assert_eq!(control("http://192.0.2.1:81/b/").as_deref(), Ok("http://192.0.2.1:81/b/ctl"));
        assert_eq!(control(" ").as_deref(), Ok("http://192.0.2.1:5000/igd/ctl"));
        assert_eq!(control("http://192.0.2.2/"), Err(PlaceError::Elsewhere.into()));
    }

    #[test]
    fn a_service_elsewhere_is_left_out() {
        let elsewhere = (Kind::Ip2.urn(), "http://198.51.100.1/ctl");
        assert_eq!(found(&description("", &[elsewhere])), Err(PlaceError::Elsewhere.into()));
        let services = found(&description("", &[elsewhere, (Kind::Ip1.urn(), "/ip1")])).unwrap();
        assert_eq!(services.iter().map(|service| service.kind).collect::<Vec<_>>(), [Kind::Ip1]);
    }

    #[test]
    fn a_description_without_a_service_that_forwards_ports_is_of_no_use() {
        for octets in [
            description("", &[]),
            description("", &[("urn:schemas-upnp-org:service:WANIPConnection:3", "/ctl")]),
            description("", &[("", "")]),
            "<a/>".to_owned(),
        ] {
            assert_eq!(found(&octets), Err(DescriptionError::NoService), "{octets}");
        }
        assert_eq!(found("<root>"), Err(XmlError::Malformed.into()));
    }

    #[test]
    fn duplicates_and_wrong_namespaces_do_no_harm() {
        let many = [(Kind::Ip1.urn(), "/ctl"); 100];
        assert_eq!(found(&description("", &many)).map(|services| services.len()), Ok(1));
        let paths: Vec<_> = (0..100).map(|number| format!("/{number}")).collect();
        let many: Vec<_> = paths.iter().map(|path| (Kind::Ip1.urn(), path.as_str())).collect();
        assert_eq!(found(&description("", &many)).map(|services| services.len()), Ok(MOST_SERVICES));
        let other = description("", &[(Kind::Ip1.urn(), "/ctl")]).replace("device-1-0", "something-else");
        assert_eq!(found(&other).map(|services| services.len()), Ok(1));
    }

    #[test]
    fn a_description_that_ends_anywhere_does_no_harm() {
        let whole = description("http://192.0.2.1/", &[(Kind::Ip1.urn(), "/ctl")]);
        for end in 0..whole.len() {
            assert_eq!(found(&whole[..end]), Err(XmlError::Malformed.into()));
        }
    }

    proptest! {
        #[test]
        fn services_are_at_the_gateway_whatever_stands_in_a_description(base in "[ -;=?-~]{0,30}", url in "[ -;=?-~]{0,30}") {
            let escaped = |text: &str| text.replace('&', "&amp;");
            for service in found(&description(&escaped(&base), &[(Kind::Ip1.urn(), &escaped(&url))])).iter().flatten() {
                prop_assert_eq!(*service.control.address().ip(), Ipv4Addr::new(192, 0, 2, 1));
            }
        }
    }

    fn found(description: &str) -> Result<Vec<Service>, DescriptionError> {
        let at = Place::parse(Ipv4Addr::new(192, 0, 2, 1), "http://192.0.2.1:5000/igd/desc.xml")?;
        services(&at, description.as_bytes())
    }

    fn description(base: &str, services: &[(&str, &str)]) -> String {
        let service = |(kind, url): &(&str, &str)| {
            format!("<service><serviceType>{kind}</serviceType><controlURL>{url}</controlURL></service>")
        };
        let services: String = services.iter().map(service).collect();
        format!(
            "<?xml version=\"1.0\"?>
<root xmlns=\"urn:schemas-upnp-org:device-1-0\"><URLBase>{base}</URLBase><device>
<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><deviceList><device><deviceList><device>
<serviceList>{services}</serviceList></device></deviceList></device></deviceList></device></root>"
        )
    }
}
