//! Ethernet, IPv4 and UDP around a BOOTP message.

use std::net::Ipv4Addr;

/// The Ethernet broadcast address.
pub const BROADCAST: [u8; 6] = [0xff; 6];

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const VERSION_4_IHL_5: u8 = 0x45;
const TTL: u8 = 64;
const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x3fff;
const UDP: u8 = 17;
/// Where clients send their messages.
pub const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const ETHERNET_HEADER: usize = 14;
const IP_HEADER: u16 = 20;
const UDP_HEADER: u16 = 8;

/// Where a message goes from and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressing {
    /// Ethernet source.
    pub source: [u8; 6],
    /// Ethernet destination: [`BROADCAST`], or the server's or the gateway's.
    pub destination: [u8; 6],
    /// IP source: unspecified until bound.
    pub from: Ipv4Addr,
    /// IP destination.
    pub to: Ipv4Addr,
}

/// What is known about the UDP checksum of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpChecksum {
    /// The frame came over a wire: verify it.
    Verify,
    /// The kernel says that it is not filled in yet (`TP_STATUS_CSUMNOTREADY`): the sender shares this computer.
    Ignore,
}

/// A DHCP message, out of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Ethernet and IP addresses.
    pub addressing: Addressing,
    /// The BOOTP message.
    pub payload: &'a [u8],
}

/// Why a frame carries no DHCP message of the direction asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It ends within a header, or before the length that a header tells.
    #[error("frame is cut short")]
    Truncated,
    /// Another `EtherType`; 0x8100 and 0x88a8 are VLAN-tagged frames, which are not this network's.
    #[error("EtherType {0:#06x} is not IPv4")]
    EtherType(u16),
    /// Another version, or a header length below 20.
    #[error("IP version and header length {0:#04x} are not those of IPv4")]
    IpHeader(u8),
    /// The header does not add up.
    #[error("wrong IP header checksum")]
    IpChecksum,
    /// Part of a datagram. DHCP messages fit in one frame.
    #[error("IP fragment")]
    Fragment,
    /// Another protocol.
    #[error("IP protocol {0} is not UDP")]
    Protocol(u8),
    /// Not from port 67 to port 68, or not the other way round, as asked.
    #[error("UDP from port {source_port} to {destination_port}: not from a DHCP server to a client, or back")]
    Ports {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
    },
    /// The datagram does not add up.
    #[error("wrong UDP checksum")]
    UdpChecksum,
    /// A message to send is longer than an IP datagram can be.
    #[error("message of {0} octets does not fit in a datagram")]
    TooLong(usize),
}

/// The frame that carries `payload` from the client's port to the server's, with TTL 64 and both checksums.
///
/// # Errors
/// [`FrameError::TooLong`] if the payload does not fit in a datagram.
pub fn build(addressing: &Addressing, payload: &[u8]) -> Result<Vec<u8>, FrameError> {
    let too_long = FrameError::TooLong(payload.len());
    let length = u16::try_from(payload.len()).map_err(|_| too_long)?;
    let udp_length = length.checked_add(UDP_HEADER).ok_or(too_long)?;
    let total_length = udp_length.checked_add(IP_HEADER).ok_or(too_long)?;

    let mut ip = Vec::with_capacity(20);
    ip.extend([VERSION_4_IHL_5, 0]);
    ip.extend(total_length.to_be_bytes());
    ip.extend([0; 4]);
    ip.extend([TTL, UDP, 0, 0]);
    ip.extend(addressing.from.octets());
    ip.extend(addressing.to.octets());
    let checksum = !ones_complement_sum(0, &ip);
    ip.splice(10..12, checksum.to_be_bytes());

    let mut udp = Vec::with_capacity(8 + payload.len());
    udp.extend(CLIENT_PORT.to_be_bytes());
    udp.extend(SERVER_PORT.to_be_bytes());
    udp.extend(udp_length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let checksum = match !udp_sum(addressing, udp_length, &udp) {
        // Zero on the wire means that there is none (RFC 768).
        0 => 0xffff,
        other => other,
    };
    udp.splice(6..8, checksum.to_be_bytes());

    let mut frame = Vec::with_capacity(ETHERNET_HEADER + ip.len() + udp.len());
    frame.extend(addressing.destination);
    frame.extend(addressing.source);
    frame.extend(ETHERTYPE_IPV4);
    frame.extend(ip);
    frame.extend(udp);
    Ok(frame)
}

/// Takes the message out of a received `frame`.
///
/// # Errors
/// One variant for each way in which it is not a whole, intact datagram from a DHCP server to a client.
pub fn parse(frame: &[u8], udp_checksum: UdpChecksum) -> Result<Datagram<'_>, FrameError> {
    parse_between(frame, udp_checksum, (SERVER_PORT, CLIENT_PORT))
}

/// Takes a client's message to DHCP servers out of a received `frame`.
///
/// # Errors
/// As [`parse`]; with other ports it is not from a client to a server.
pub fn parse_request(frame: &[u8], udp_checksum: UdpChecksum) -> Result<Datagram<'_>, FrameError> {
    parse_between(frame, udp_checksum, (CLIENT_PORT, SERVER_PORT))
}

fn parse_between(
    frame: &[u8],
    udp_checksum: UdpChecksum,
    ports: (u16, u16),
) -> Result<Datagram<'_>, FrameError> {
    let (destination, rest) = frame.split_first_chunk::<6>().ok_or(FrameError::Truncated)?;
    let (source, rest) = rest.split_first_chunk::<6>().ok_or(FrameError::Truncated)?;
    let (ether_type, packet) = rest.split_first_chunk::<2>().ok_or(FrameError::Truncated)?;
    if *ether_type != ETHERTYPE_IPV4 {
        return Err(FrameError::EtherType(u16::from_be_bytes(*ether_type)));
    }

    let (header, _) = packet.split_first_chunk::<20>().ok_or(FrameError::Truncated)?;
    let [version_ihl, _tos, l0, l1, _id0, _id1, f0, f1, _ttl, protocol, _c0, _c1, addresses @ ..] = header;
    let [s0, s1, s2, s3, d0, d1, d2, d3] = *addresses;
    let header_length = usize::from(version_ihl & 0x0f) * 4;
    if version_ihl >> 4 != 4 || header_length < usize::from(IP_HEADER) {
        return Err(FrameError::IpHeader(*version_ihl));
    }
    // Behind the total length there may be Ethernet padding.
    let packet = packet.get(..usize::from(u16::from_be_bytes([*l0, *l1]))).ok_or(FrameError::Truncated)?;
    let (header, segment) = packet.split_at_checked(header_length).ok_or(FrameError::Truncated)?;
    if ones_complement_sum(0, header) != 0xffff {
        return Err(FrameError::IpChecksum);
    }
    if u16::from_be_bytes([*f0, *f1]) & MORE_FRAGMENTS_AND_OFFSET != 0 {
        return Err(FrameError::Fragment);
    }
    if *protocol != UDP {
        return Err(FrameError::Protocol(*protocol));
    }

    let (header, _) = segment.split_first_chunk::<8>().ok_or(FrameError::Truncated)?;
    let [s, t, d, e, l0, l1, c0, c1] = *header;
    let (source_port, destination_port) = (u16::from_be_bytes([s, t]), u16::from_be_bytes([d, e]));
    if (source_port, destination_port) != ports {
        return Err(FrameError::Ports { source_port, destination_port });
    }
    let udp_length = u16::from_be_bytes([l0, l1]);
    let segment = segment.get(..usize::from(udp_length)).ok_or(FrameError::Truncated)?;
    let payload = segment.get(usize::from(UDP_HEADER)..).ok_or(FrameError::Truncated)?;
    let addressing = Addressing {
        source: *source,
        destination: *destination,
        from: Ipv4Addr::new(s0, s1, s2, s3),
        to: Ipv4Addr::new(d0, d1, d2, d3),
    };
    let has_checksum = [c0, c1] != [0, 0];
    if udp_checksum == UdpChecksum::Verify
        && has_checksum
        && udp_sum(&addressing, udp_length, segment) != 0xffff
    {
        return Err(FrameError::UdpChecksum);
    }
    Ok(Datagram { addressing, payload })
}

/// The sum over a UDP datagram and its pseudo header (RFC 768).
fn udp_sum(addressing: &Addressing, udp_length: u16, segment: &[u8]) -> u16 {
    let mut sum = ones_complement_sum(0, &addressing.from.octets());
    sum = ones_complement_sum(sum, &addressing.to.octets());
    sum = ones_complement_sum(sum, &[0, UDP]);
    sum = ones_complement_sum(sum, &udp_length.to_be_bytes());
    ones_complement_sum(sum, segment)
}

/// Adds `octets`, taken as 16-bit words, to `sum` with end-around carry (RFC 1071).
fn ones_complement_sum(sum: u16, octets: &[u8]) -> u16 {
    let (words, odd) = octets.as_chunks::<2>();
    let last = odd.first().map(|&octet| [octet, 0]);
    words.iter().copied().chain(last).fold(sum, |sum, word| {
        let (sum, carry) = sum.overflowing_add(u16::from_be_bytes(word));
        sum + u16::from(carry)
    })
}
