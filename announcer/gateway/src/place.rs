//! URLs of gateways.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
};

use url::{Host, Url};

/// Octets of the longest URL, and of the longest path, that is followed.
const LONGEST: usize = 1024;

/// A URL of a gateway: HTTP, and at the gateway's very address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    address: SocketAddrV4,
    path: String,
}

/// Why a URL is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// It is none.
    #[error("a URL of the gateway's cannot be read")]
    Malformed,
    /// It is longer than 1024 octets.
    #[error("a URL of the gateway's is too long")]
    TooLong,
    /// It is not of HTTP, names a user or has the port 0.
    #[error("a URL of the gateway's is not plain HTTP")]
    NotPlain,
    /// It is at another host, or at a name.
    #[error("a URL of the gateway's leads elsewhere")]
    Elsewhere,
}

impl Place {
    /// Reads an absolute URL of the gateway with this address.
    ///
    /// # Errors
    /// If it is not to be followed.
    pub fn parse(gateway: Ipv4Addr, url: &str) -> Result<Self, PlaceError> {
        if url.len() > LONGEST {
            return Err(PlaceError::TooLong);
        }
        Self::of(gateway, &Url::parse(url).map_err(|_| PlaceError::Malformed)?)
    }

    /// Whose an absolute URL is, if it is to be followed at all.
    pub(crate) fn host(url: &str) -> Option<Ipv4Addr> {
        let Some(Host::Ipv4(host)) = Url::parse(url).ok()?.host() else { return None };
        Self::parse(host, url).is_ok().then_some(host)
    }

    /// Reads a URL that stands in a document which is found here (RFC 3986, section 5).
    ///
    /// # Errors
    /// If it is not to be followed.
    pub fn join(&self, reference: &str) -> Result<Self, PlaceError> {
        if reference.len() > LONGEST {
            return Err(PlaceError::TooLong);
        }
        let base = Url::parse(&self.to_string()).map_err(|_| PlaceError::Malformed)?;
        Self::of(*self.address.ip(), &base.join(reference).map_err(|_| PlaceError::Malformed)?)
    }

    /// The gateway's address and port.
    #[must_use]
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    fn of(gateway: Ipv4Addr, url: &Url) -> Result<Self, PlaceError> {
        let port = url.port_or_known_default().filter(|port| *port != 0).ok_or(PlaceError::NotPlain)?;
        if url.scheme() != "http" || !url.username().is_empty() || url.password().is_some() {
            return Err(PlaceError::NotPlain);
        }
        if url.host() != Some(Host::Ipv4(gateway)) {
            return Err(PlaceError::Elsewhere);
        }
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = format!("{}{query}", url.path());
        // Reading it may have made it longer: what does not belong into a URL is written as %xx.
        if path.len() > LONGEST {
            return Err(PlaceError::TooLong);
        }
        Ok(Self { address: SocketAddrV4::new(gateway, port), path })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address, self.path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_at_the_gateways_address_is_followed() {
        for (url, written) in [
            ("http://192.0.2.1:5000/rootDesc.xml", "http://192.0.2.1:5000/rootDesc.xml"),
            ("HTTP://192.0.2.1", "http://192.0.2.1:80/"),
            (" http://192.0.2.1/a b?c#d", "http://192.0.2.1:80/a%20b?c"),
            ("http://0xc0000201/", "http://192.0.2.1:80/"),
        ] {
            assert_eq!(Place::parse(GATEWAY, url).map(|place| place.to_string()).as_deref(), Ok(written));
        }
    }

    #[test]
    fn a_url_that_leads_elsewhere_is_not_followed() {
        for (url, error) in [
            ("http://192.0.2.2/", PlaceError::Elsewhere),
            ("http://gateway.example/", PlaceError::Elsewhere),
            ("http://[::ffff:192.0.2.1]/", PlaceError::Elsewhere),
            ("http://192.0.2.1@192.0.2.2/", PlaceError::NotPlain),
            ("http://user:secret@192.0.2.1/", PlaceError::NotPlain),
            ("https://192.0.2.1/", PlaceError::NotPlain),
            ("file:///etc/passwd", PlaceError::NotPlain),
            ("http://192.0.2.1:0/", PlaceError::NotPlain),
            ("/rootDesc.xml", PlaceError::Malformed),
            ("", PlaceError::Malformed),
        ] {
            assert_eq!(Place::parse(GATEWAY, url), Err(error), "{url}");
        }
        let long = format!("http://192.0.2.1/{}", "a".repeat(2000));
        assert_eq!(Place::parse(GATEWAY, &long), Err(PlaceError::TooLong));
        let longer_when_read = format!("http://192.0.2.1/{}", "ä".repeat(400));
        assert_eq!(Place::parse(GATEWAY, &longer_when_read), Err(PlaceError::TooLong));
    }

    #[test]
    fn the_host_of_a_url_is_known_if_it_could_be_followed_there() {
        assert_eq!(Place::host("http://192.0.2.2:5000/desc.xml"), Some(Ipv4Addr::new(192, 0, 2, 2)));
        for url in ["https://192.0.2.2/", "http://gateway.example/", "http://192.0.2.2:0/", "desc.xml", ""] {
            assert_eq!(Place::host(url), None, "{url}");
        }
    }

    #[test]
    fn a_reference_is_read_from_where_it_stands() {
        let base = Place::parse(GATEWAY, "http://192.0.2.1:5000/igd/desc.xml").unwrap();
        let joined = |reference| base.join(reference).map(|place| place.to_string());
        assert_eq!(joined("ctl/IP").as_deref(), Ok("http://192.0.2.1:5000/igd/ctl/IP"));
        assert_eq!(joined("/ctl").as_deref(), Ok("http://192.0.2.1:5000/ctl"));
        assert_eq!(joined("http://192.0.2.1:81/ctl").as_deref(), Ok("http://192.0.2.1:81/ctl"));
        assert_eq!(joined("//192.0.2.2/ctl"), Err(PlaceError::Elsewhere));
        assert_eq!(joined("ftp://192.0.2.1/ctl"), Err(PlaceError::NotPlain));
    }

    proptest! {
        #[test]
        fn whatever_a_url_says_it_is_at_the_gateway(url in r"(http://)?[ -~]{0,8}192\.0\.2\.1[ -~]{0,40}") {
            if let Ok(place) = Place::parse(GATEWAY, &url) {
                prop_assert_eq!(*place.address().ip(), GATEWAY);
                prop_assert!(place.path().starts_with('/'));
                prop_assert_eq!(Place::parse(GATEWAY, &place.to_string()), Ok(place));
            }
        }
    }

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
}
