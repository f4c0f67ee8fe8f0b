//! SSDP, by which devices are found (UPnP Device Architecture 1.1, section 1).

use std::net::{Ipv4Addr, SocketAddrV4};

/// Where SSDP is spoken (section 1).
pub const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
/// Octets of the longest datagram that is read.
pub const LONGEST: usize = 1500;

/// What a search is for: gateways of both versions, and their services, which some tell instead of themselves.
pub const TARGETS: [&str; 5] = [
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];

/// A search (section 1.3.2). One to a single host needs no MX; old gateways miss it all the same.
#[must_use]
pub fn search(host: SocketAddrV4, target: &str) -> String {
    format!("M-SEARCH * HTTP/1.1\r\nHOST: {host}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: {target}\r\n\r\n")
}

/// The LOCATION of an answer to a search (section 1.3.3), if this is one of a gateway.
#[must_use]
pub fn location(datagram: &[u8]) -> Option<&str> {
    let (first, headers) = head(datagram)?;
    let mut words = first.split_ascii_whitespace();
    let answers = words.next()?.get(..5)?.eq_ignore_ascii_case("HTTP/") && words.next()? == "200";
    let target = header(headers, "ST")?;
    (answers && TARGETS.contains(&target)).then(|| header(headers, "LOCATION")).flatten()
}

/// What a device says of itself unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify<'a> {
    /// It is there (section 1.2.2).
    Alive {
        /// Where its description is.
        location: &'a str,
        /// What is another one after each start; older devices do not tell it.
        boot_id: Option<u32>,
    },
    /// It goes (section 1.2.3).
    ByeBye,
}

/// Reads what a gateway, or a service of one, says unasked. Other devices' words, and others than these, are none.
#[must_use]
pub fn notify(datagram: &[u8]) -> Option<Notify<'_>> {
    let (first, headers) = head(datagram)?;
    if first.split_ascii_whitespace().next()? != "NOTIFY" || !of_gateways(header(headers, "NT")?) {
        return None;
    }
    match header(headers, "NTS")? {
        "ssdp:alive" => {
            let boot_id = header(headers, "BOOTID.UPNP.ORG").and_then(|id| id.parse().ok());
            Some(Notify::Alive { location: header(headers, "LOCATION")?, boot_id })
        }
        "ssdp:byebye" => Some(Notify::ByeBye),
        _ => None,
    }
}

/// Some gateways tell no more than that there is a device.
fn of_gateways(target: &str) -> bool {
    target == "upnp:rootdevice"
        || target.starts_with("urn:schemas-upnp-org:device:InternetGatewayDevice:")
        || target.starts_with("urn:schemas-upnp-org:service:WANIPConnection:")
        || target.starts_with("urn:schemas-upnp-org:service:WANPPPConnection:")
        || target.starts_with("urn:schemas-upnp-org:device:WANConnectionDevice:")
}

fn head(datagram: &[u8]) -> Option<(&str, &str)> {
    if datagram.len() > LONGEST {
        return None;
    }
    str::from_utf8(datagram).ok()?.split_once('\n')
}

/// The first header of that name, without white space around it.
fn header<'a>(headers: &'a str, name: &str) -> Option<&'a str> {
    let lines = headers.lines().take_while(|line| !line.trim().is_empty());
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(field, _)| field.trim().eq_ignore_ascii_case(name))?;
    Some(value.trim())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_search_is_written_as_the_standard_has_it() {
        let search = search(SocketAddrV4::new(GROUP, 1900), TARGETS[0]);
        assert_eq!(
            search,
            "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
             ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n"
        );
    }

    #[test]
    fn the_location_of_an_answer_is_read_however_it_is_written() {
        for answer in [
            format!("HTTP/1.1 200 OK\r\nST: {}\r\nLOCATION: http://192.0.2.1/\r\n\r\n", TARGETS[0]),
            format!("http/1.0 200\nlocation:http://192.0.2.1/  \nst:{}", TARGETS[4]),
            format!(
                "HTTP/1.1 200 OK\r\nLocation : http://192.0.2.1/\r\nLocation: x\r\nST: {}\r\n",
                TARGETS[1]
            ),
        ] {
            assert_eq!(location(answer.as_bytes()), Some("http://192.0.2.1/"), "{answer}");
        }
    }

    #[test]
    fn what_is_no_answer_of_a_gateway_has_no_location() {
        for datagram in [
            "HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nLOCATION: http://192.0.2.1/\r\n\r\n".to_owned(),
            format!("HTTP/1.1 404 No\r\nST: {}\r\nLOCATION: http://192.0.2.1/\r\n\r\n", TARGETS[0]),
            format!("NOTIFY * HTTP/1.1\r\nST: {}\r\nLOCATION: http://192.0.2.1/\r\n\r\n", TARGETS[0]),
            format!("HTTP/1.1 200 OK\r\nST: {}\r\n\r\nLOCATION: http://192.0.2.1/\r\n", TARGETS[0]),
            format!("HTTP/1.1 200 OK\r\nST: {}\r\nLOCATION: {}\r\n\r\n", TARGETS[0], "a".repeat(1500)),
            String::new(),
        ] {
            assert_eq!(location(datagram.as_bytes()), None, "{datagram}");
        }
        assert_eq!(location(&[0xff; 100]), None);
    }

    #[test]
    fn what_gateways_say_unasked_is_read() {
        let alive = |nt, boot| {
            format!("NOTIFY * HTTP/1.1\r\nNT: {nt}\r\nNTS: ssdp:alive\r\nLOCATION: http://a/\r\n{boot}\r\n")
        };
        let boot_id = "BOOTID.UPNP.ORG: 7\r\n";
        for (datagram, heard) in [
            (alive(TARGETS[1], boot_id), Some(Notify::Alive { location: "http://a/", boot_id: Some(7) })),
            (alive("upnp:rootdevice", ""), Some(Notify::Alive { location: "http://a/", boot_id: None })),
            (alive("urn:schemas-upnp-org:device:MediaServer:1", boot_id), None),
            (alive(TARGETS[2], boot_id).replace("alive", "byebye"), Some(Notify::ByeBye)),
            (alive(TARGETS[2], boot_id).replace("alive", "update"), None),
            (alive(TARGETS[2], boot_id).replace("LOCATION", "AL"), None),
            (alive(TARGETS[2], boot_id).replace("NOTIFY", "M-SEARCH"), None),
        ] {
            assert_eq!(notify(datagram.as_bytes()), heard, "{datagram}");
        }
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_reader_of_ssdp_panic(octets in prop::collection::vec(any::<u8>(), 0..100)) {
            let _read = (location(&octets), notify(&octets));
        }

        #[test]
        fn no_headers_make_the_reader_of_ssdp_panic(text in r"(HTTP/1.1|NOTIFY| |200|\r\n|\n|:|ST|NT|NTS|ä|LOCATION|ssdp:alive|upnp:rootdevice){0,40}") {
            let _read = (location(text.as_bytes()), notify(text.as_bytes()));
        }
    }
}
