//! Strict reading of what DHCP servers send.
//!
//! The typed decoder of dhcproto is not used here: on foreign bytes it ignores the length of fixed-size options and so
//! loses step, drops later options in silence, does not look at the cookie, and slices by an unchecked `hlen`.

use std::net::Ipv4Addr;

use crate::{
    options::{Options, code},
    route::{self, Route},
};

/// What a server answered, reduced to what the client uses. Everything in it was checked for form, nothing for sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What it is (option 53).
    pub kind: ReplyKind,
    /// Transaction identifier.
    pub xid: u32,
    /// `chaddr`: the client it is for.
    pub hardware_address: [u8; 6],
    /// `yiaddr`: the address that is offered or leased; unspecified in a NAK.
    pub address: Ipv4Addr,
    /// Option 54.
    pub server_id: Option<Ipv4Addr>,
    /// Option 51 in seconds; `u32::MAX` is for ever.
    pub lease_time: Option<u32>,
    /// T1, option 58, in seconds.
    pub renewal_time: Option<u32>,
    /// T2, option 59, in seconds.
    pub rebinding_time: Option<u32>,
    /// Option 1: ones, then zeros.
    pub subnet_mask: Option<Ipv4Addr>,
    /// Option 3, in order of preference.
    pub routers: Vec<Ipv4Addr>,
    /// Option 121. Where it is given, the routers do not count (RFC 3442).
    pub routes: Vec<Route>,
    /// Option 80: the server speaks of rapid commit.
    pub rapid_commit: bool,
    /// Option 61 as the server returned it (RFC 6842).
    pub client_id: Option<Vec<u8>>,
    /// Option 56: why a server said no, with control characters removed.
    pub message: Option<String>,
}

/// The types of message that a server sends to a client with a lease in mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// DHCPOFFER.
    Offer,
    /// DHCPACK.
    Ack,
    /// DHCPNAK.
    Nak,
}

/// Why octets are no reply from a DHCP server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Shorter than the fixed fields and the cookie.
    #[error("DHCP message of {0} octets, shorter than its fixed fields (240)")]
    Short(usize),
    /// `op` is not BOOTREPLY.
    #[error("DHCP message with op {0}: not a reply (2)")]
    NotAReply(u8),
    /// `htype` or `hlen` is not Ethernet's.
    #[error("DHCP message with hardware type {htype} and address length {hlen}: not Ethernet (1, 6)")]
    NotEthernet {
        /// `htype` as sent.
        htype: u8,
        /// `hlen` as sent.
        hlen: u8,
    },
    /// The four octets before the options are not 99.130.83.99: plain BOOTP or garbage.
    #[error("message without the DHCP cookie")]
    Cookie,
    /// An option reaches past the end of its field.
    #[error("DHCP option {0} reaches past the end of the message")]
    OptionTruncated(u8),
    /// An option has a length that it cannot have, or a fixed-size one came more than once.
    #[error("DHCP option {code} has {length} octets in all")]
    OptionLength {
        /// Code of the option.
        code: u8,
        /// Octets of all its instances.
        length: usize,
    },
    /// Option 52 has none of its three values.
    #[error("DHCP option overload (52) with value {0}")]
    Overload(u8),
    /// No option 53.
    #[error("DHCP message without a message type (53)")]
    NoMessageType,
    /// A type that no client of ours has asked for, such as FORCERENEW (9).
    #[error("DHCP message type {0} is not for a client of ours")]
    MessageType(u8),
    /// The mask is not ones followed by zeros.
    #[error("subnet mask {0} is not contiguous")]
    SubnetMask(Ipv4Addr),
}

const BOOT_REPLY: u8 = 2;
const ETHERNET: u8 = 1;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// What is kept of a server's message, in characters.
const MESSAGE_KEPT: usize = 200;

/// `xid` and `chaddr` of a message that is long enough to have them, well-formed or not: whom it may be for.
#[must_use]
pub fn addressee(message: &[u8]) -> Option<(u32, [u8; 6])> {
    let (xid, rest) = message.get(4..)?.split_first_chunk::<4>()?;
    let chaddr = rest.get(20..)?.first_chunk::<6>()?;
    Some((u32::from_be_bytes(*xid), *chaddr))
}

/// Reads a BOOTP message (the payload of a UDP datagram).
///
/// # Errors
/// One variant for each way in which it is not a well-formed OFFER, ACK or NAK for an Ethernet client.
pub fn parse(message: &[u8]) -> Result<Reply, WireError> {
    let short = WireError::Short(message.len());
    let Some((fixed, options)) = message.split_first_chunk::<240>() else { return Err(short) };
    let [op, htype, hlen, _hops, rest @ ..] = fixed;
    let ([x0, x1, x2, x3], rest) = rest.split_first_chunk::<4>().ok_or(short.clone())?;
    // `secs`, `flags` and `ciaddr` say nothing that the client did not know.
    let (_, rest) = rest.split_first_chunk::<8>().ok_or(short.clone())?;
    let (yiaddr, rest) = rest.split_first_chunk::<4>().ok_or(short.clone())?;
    // Neither `siaddr` nor `giaddr` is ever the server to talk to: option 54 is.
    let (_, rest) = rest.split_first_chunk::<8>().ok_or(short.clone())?;
    let (chaddr, rest) = rest.split_first_chunk::<16>().ok_or(short.clone())?;
    let (sname, rest) = rest.split_first_chunk::<64>().ok_or(short.clone())?;
    let (file, cookie) = rest.split_first_chunk::<128>().ok_or(short)?;
    let [c0, c1, c2, c3, c4, c5, ..] = *chaddr;

    if *op != BOOT_REPLY {
        return Err(WireError::NotAReply(*op));
    }
    if (*htype, *hlen) != (ETHERNET, 6) {
        return Err(WireError::NotEthernet { htype: *htype, hlen: *hlen });
    }
    if cookie != COOKIE {
        return Err(WireError::Cookie);
    }
    let options = Options::read(options, file, sname)?;
    let kind = match options.fixed(code::MESSAGE_TYPE)?.ok_or(WireError::NoMessageType)? {
        [2] => ReplyKind::Offer,
        [5] => ReplyKind::Ack,
        [6] => ReplyKind::Nak,
        [other] => return Err(WireError::MessageType(other)),
    };
    Ok(Reply {
        kind,
        xid: u32::from_be_bytes([*x0, *x1, *x2, *x3]),
        hardware_address: [c0, c1, c2, c3, c4, c5],
        address: Ipv4Addr::from(*yiaddr),
        server_id: options.fixed::<4>(code::SERVER_ID)?.map(Ipv4Addr::from),
        lease_time: options.fixed(code::LEASE_TIME)?.map(u32::from_be_bytes),
        renewal_time: options.fixed(code::RENEWAL_TIME)?.map(u32::from_be_bytes),
        rebinding_time: options.fixed(code::REBINDING_TIME)?.map(u32::from_be_bytes),
        subnet_mask: subnet_mask(&options)?,
        routers: routers(&options)?,
        routes: routes(&options)?,
        rapid_commit: options.fixed::<0>(code::RAPID_COMMIT)?.is_some(),
        client_id: options.get(code::CLIENT_ID).map(<[u8]>::to_vec),
        message: options.get(code::MESSAGE).and_then(text),
    })
}

fn subnet_mask(options: &Options) -> Result<Option<Ipv4Addr>, WireError> {
    let Some(mask) = options.fixed::<4>(code::SUBNET_MASK)?.map(Ipv4Addr::from) else { return Ok(None) };
    let bits = mask.to_bits();
    if bits.leading_ones() + bits.trailing_zeros() < u32::BITS {
        return Err(WireError::SubnetMask(mask));
    }
    Ok(Some(mask))
}

fn routers(options: &Options) -> Result<Vec<Ipv4Addr>, WireError> {
    let Some(value) = options.get(code::ROUTER) else { return Ok(Vec::new()) };
    let (addresses, rest) = value.as_chunks::<4>();
    if addresses.is_empty() || !rest.is_empty() {
        return Err(WireError::OptionLength { code: code::ROUTER, length: value.len() });
    }
    Ok(addresses.iter().copied().map(Ipv4Addr::from).collect())
}

fn routes(options: &Options) -> Result<Vec<Route>, WireError> {
    let Some(value) = options.get(code::CLASSLESS_ROUTES) else { return Ok(Vec::new()) };
    route::read(value).ok_or(WireError::OptionLength { code: code::CLASSLESS_ROUTES, length: value.len() })
}

fn text(value: &[u8]) -> Option<String> {
    let text: String =
        String::from_utf8_lossy(value).chars().filter(|c| !c.is_control()).take(MESSAGE_KEPT).collect();
    (!text.is_empty()).then_some(text)
}
