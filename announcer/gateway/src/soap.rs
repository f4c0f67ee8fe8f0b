//! SOAP answers of gateways (UPnP Device Architecture 1.1, section 3.2), and what igd-next does not ask.

use std::{io, net::Ipv4Addr};

use foghorn_portmap::{Client, Entry, Fault, Port, Transport};
use igd_next::RequestError;
use xmltree::Element;

use crate::{
    description::Kind,
    document::{self, XmlError},
    fault::words,
};

/// A fault that goes through igd-next's errors.
#[derive(Debug, thiserror::Error)]
#[error("{0:?}")]
pub struct Failure(Fault);

impl Failure {
    /// As an error of igd-next's.
    #[must_use]
    pub fn error(fault: Fault) -> RequestError {
        RequestError::IoError(io::Error::other(Self(fault)))
    }

    /// The fault in an error, if it is one of these.
    pub(crate) fn fault(error: &io::Error) -> Option<&Fault> {
        error.get_ref()?.downcast_ref::<Self>().map(|failure| &failure.0)
    }
}

/// Octets of an answer as a text that igd-next can read at no more than a small cost. A fault (section 3.2.2) is taken out of it
/// here: igd-next wants more of one than all gateways tell.
///
/// # Errors
/// The fault, or why it cannot be read.
pub fn reply(octets: &[u8]) -> Result<String, RequestError> {
    let text = document::checked(octets).map_err(invalid)?;
    let envelope = document::tree(&text).map_err(invalid)?;
    let fault = envelope.get_child("Body").and_then(|body| body.get_child("Fault"));
    let Some(fault) = fault else { return Ok(text) };
    let error = fault.get_child("detail").and_then(|detail| detail.get_child("UPnPError"));
    let code = error.and_then(|error| document::text(error, "errorCode").parse().ok());
    let (Some(error), Some(code)) = (error, code) else {
        return Err(RequestError::InvalidResponse("a fault without a code".to_owned()));
    };
    Err(RequestError::ErrorCode(code, words(&document::text(error, "errorDescription"))))
}

fn invalid(error: XmlError) -> RequestError {
    RequestError::InvalidResponse(error.to_string())
}

/// Whether an answer of [`reply`]'s to `GetExternalIPAddress` says that there is no outer address, or one that is none of IPv4.
#[must_use]
pub(crate) fn has_no_outer(text: &str) -> bool {
    response(text, "GetExternalIPAddress").is_some()
}

/// The action of [`specific_entry`].
pub(crate) const GET_SPECIFIC_ENTRY: &str = "GetSpecificPortMappingEntry";

/// The question what a gateway forwards a port to (`WANIPConnection:1`, section 2.4.15).
#[must_use]
pub fn ask_specific_entry(service: Kind, port: Port) -> String {
    format!(
        "<?xml version=\"1.0\"?>
<s:Envelope s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\" xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\">
<s:Body><u:{GET_SPECIFIC_ENTRY} xmlns:u=\"{service}\"><NewRemoteHost></NewRemoteHost>\
<NewExternalPort>{}</NewExternalPort><NewProtocol>{}</NewProtocol></u:{GET_SPECIFIC_ENTRY}></s:Body>
</s:Envelope>",
        port.number, port.transport
    )
}

/// Reads the answer to [`ask_specific_entry`]; none if this is no such answer.
#[must_use]
pub fn specific_entry(text: &str, port: Port) -> Option<Entry> {
    let response = response(text, GET_SPECIFIC_ENTRY)?;
    let client = document::text(&response, "NewInternalClient");
    Some(Entry {
        external: port,
        client: shown(&client),
        port: document::text(&response, "NewInternalPort").parse().ok()?,
        description: words(&document::text(&response, "NewPortMappingDescription")),
        permanent: document::text(&response, "NewLeaseDuration").parse() == Ok(0_u32),
    })
}

/// For how many seconds a port is forwarded, in the answer to [`ask_specific_entry`].
pub(crate) fn specific_lease(text: &str) -> Option<u32> {
    document::text(&response(text, GET_SPECIFIC_ENTRY)?, "NewLeaseDuration").parse().ok()
}

/// Some gateways show hosts by the names that they have for them.
fn shown(client: &str) -> Client {
    let client = client.trim();
    let address = client.parse().ok().filter(|address: &Ipv4Addr| !address.is_unspecified());
    address.map_or_else(|| Client::Named(words(client)), Client::Address)
}

/// One that igd-next has read, with what it was read of.
pub(crate) fn entry(read: &igd_next::PortMappingEntry) -> Entry {
    let transport = match read.protocol {
        igd_next::PortMappingProtocol::TCP => Transport::Tcp,
        igd_next::PortMappingProtocol::UDP => Transport::Udp,
    };
    Entry {
        external: Port { transport, number: read.external_port },
        client: shown(&read.internal_client),
        port: read.internal_port,
        description: words(read.port_mapping_description.trim()),
        permanent: read.lease_duration == 0,
    }
}

fn response(text: &str, action: &str) -> Option<Element> {
    let mut envelope = document::parse(text.as_bytes()).ok()?;
    envelope.get_mut_child("Body")?.take_child(format!("{action}Response"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fault_is_read_with_or_without_a_description() {
        for code in [402, 501, 605, 606, 713, 714, 715, 716, 718, 724, 725, 726, 727, 728, 729, 732, 734] {
            let said = reply(fault(&format!("<errorCode>{code}</errorCode>")).as_bytes());
            assert!(
                matches!(said, Err(RequestError::ErrorCode(read, ref text)) if read == code && text.is_empty())
            );
        }
        let said = "<errorCode> 718 </errorCode><errorDescription>Con&lt;\u{7}flict</errorDescription>";
        assert_eq!(
            reply(fault(said).as_bytes()).unwrap_err().to_string(),
            MALFORMED,
            "a control sign is not XML"
        );
        let said = "<errorCode> 718 </errorCode><errorDescription>Con&lt;\nflict</errorDescription>";
        let error = reply(fault(said).as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "Gateway response error 718: Con< flict");
    }

    #[test]
    fn a_fault_without_a_code_is_broken() {
        for detail in ["", "<errorCode/>", "<errorCode>x</errorCode>", "<errorCode>70000</errorCode>"] {
            let error = reply(fault(detail).as_bytes()).unwrap_err();
            assert!(matches!(error, RequestError::InvalidResponse(_)), "{detail}: {error}");
        }
    }

    #[test]
    fn a_long_description_of_a_fault_is_cut() {
        let said =
            format!("<errorCode>501</errorCode><errorDescription>{}</errorDescription>", "x".repeat(5000));
        let Err(RequestError::ErrorCode(501, text)) = reply(fault(&said).as_bytes()) else { panic!() };
        assert_eq!(text.len(), 200);
    }

    #[test]
    fn an_entry_is_read() {
        let text = entry_answer("192.0.2.9", "8080", "0");
        let entry = Entry {
            external: PORT,
            client: Client::Address(Ipv4Addr::new(192, 0, 2, 9)),
            port: 8080,
            description: "a game".to_owned(),
            permanent: true,
        };
        assert_eq!(specific_entry(&text, PORT), Some(entry.clone()));
        let leased = specific_entry(&entry_answer("192.0.2.9", "8080", "60"), PORT);
        assert_eq!(leased, Some(Entry { permanent: false, ..entry.clone() }));
        for (shown, name) in [("console.lan", "console.lan"), ("", ""), ("0.0.0.0", "0.0.0.0")] {
            let named = specific_entry(&entry_answer(shown, "8080", "0"), PORT);
            assert_eq!(named, Some(Entry { client: Client::Named(name.to_owned()), ..entry.clone() }));
        }
    }

    #[test]
    fn an_entry_without_a_port_is_none() {
        for port in ["", "x", "-1", "65536"] {
            assert_eq!(specific_entry(&entry_answer("192.0.2.9", port, "0"), PORT), None);
        }
        let other = entry_answer("192.0.2.9", "80", "0").replace("Specific", "Generic");
        assert_eq!(specific_entry(&other, PORT), None);
    }

    #[test]
    fn the_question_for_an_entry_is_xml() {
        let question = document::parse(ask_specific_entry(Kind::Ip2, PORT).as_bytes()).unwrap();
        let action = question.get_child("Body").and_then(|body| body.get_child(GET_SPECIFIC_ENTRY)).unwrap();
        assert_eq!(action.namespace.as_deref(), Some(Kind::Ip2.urn()));
        assert_eq!(document::text(action, "NewExternalPort"), "443");
        assert_eq!(document::text(action, "NewProtocol"), "TCP");
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_of_soap_panic(
            text in r"(<s:Envelope>|<Body>|<Fault>|<detail>|<UPnPError>|<errorCode>|718|</[A-Za-z]{1,8}>|<a/>|&amp;|ä){0,30}"
        ) {
            let _read = (reply(text.as_bytes()), specific_entry(&text, PORT), has_no_outer(&text));
        }
    }

    const PORT: Port = Port { transport: Transport::Tcp, number: 443 };
    const MALFORMED: &str = "Invalid response from gateway: a document of the gateway's is not XML";

    fn envelope(body: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\">\
             <s:Body>{body}</s:Body></s:Envelope>"
        )
    }

    fn fault(detail: &str) -> String {
        envelope(&format!(
            "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>\
             <UPnPError xmlns=\"urn:schemas-upnp-org:control-1-0\">{detail}</UPnPError></detail></s:Fault>"
        ))
    }

    fn entry_answer(client: &str, port: &str, lease: &str) -> String {
        envelope(&format!(
            "<u:GetSpecificPortMappingEntryResponse xmlns:u=\"x\"><NewInternalPort>{port}</NewInternalPort>\
             <NewInternalClient>{client}</NewInternalClient><NewEnabled>1</NewEnabled>\
             <NewPortMappingDescription>a game</NewPortMappingDescription><NewLeaseDuration>{lease}</NewLeaseDuration>\
             </u:GetSpecificPortMappingEntryResponse>"
        ))
    }
}
