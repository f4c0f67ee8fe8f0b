//! Ethernet frames of strangers: DHCP in UDP, pings, and ARP.

use foghorn_dhcp::{
    frame::{self, Datagram, FrameError, UdpChecksum},
    wire,
};
use foghorn_l2::{
    EchoRequest,
    arp::{self, ArpFrame, ParseError},
};

const ETHERNET_HEADER: usize = 14;
const ARP_LENGTH: usize = 42;
/// Where ICMP begins behind an IP header without options.
const ICMP: usize = ETHERNET_HEADER + 20;

/// Reads the octets as a frame, as they are and with the checksums that they should have.
pub fn fuzz(octets: &[u8]) {
    ipv4(octets);
    ipv4(&summed(octets));
    ping(octets);
    ping(&pinging(octets));
    arp(octets);
}

fn ipv4(octets: &[u8]) {
    let lenient = frame::parse(octets, UdpChecksum::Ignore);
    let strict = frame::parse(octets, UdpChecksum::Verify);
    assert!(strict == lenient || strict == Err(FrameError::UdpChecksum), "{strict:?} but {lenient:?}");
    for (verdict, udp_checksum) in [(lenient, UdpChecksum::Ignore), (strict, UdpChecksum::Verify)] {
        if verdict != Err(FrameError::Truncated) {
            assert_eq!(frame::parse(&padded(octets), udp_checksum), verdict, "padding matters");
        }
    }
    if let Ok(datagram) = lenient {
        let _ = wire::parse(datagram.payload);
        let addressing = datagram.addressing;
        let header = [addressing.destination, addressing.source].concat();
        assert!(octets.starts_with(&header), "Ethernet addresses");
        let udp_length = octets.get(udp_header(octets)..).and_then(|udp| udp.get(4..6));
        let length = u16::try_from(datagram.payload.len() + 8).unwrap_or_default().to_be_bytes();
        assert_eq!(udp_length, Some(&length[..]), "more or less than the datagram");
        built_again(&datagram);
    }
}

/// A frame like the one read, but from client to server, is read alike once its ports are exchanged.
fn built_again(datagram: &Datagram<'_>) {
    // The whole of an IP datagram with options can be a little longer than what can be built.
    let Ok(mut built) = frame::build(&datagram.addressing, datagram.payload) else { return };
    let (client, server) = (68_u16.to_be_bytes(), 67_u16.to_be_bytes());
    // Exchanged words leave the checksum as it is.
    built.splice(ETHERNET_HEADER + 20..ETHERNET_HEADER + 24, [server, client].concat());
    assert_eq!(frame::parse(&built, UdpChecksum::Verify), Ok(*datagram));
}

/// The reply goes back the same way and says the same, and nothing else is in it.
fn ping(octets: &[u8]) {
    let Some(request) = EchoRequest::parse(octets) else { return };
    assert!(EchoRequest::is_meant(octets));
    assert_eq!(EchoRequest::parse(&padded(octets)), Some(request), "padding matters");
    let reply = request.reply();
    let asked = octets.get(..reply.len()).unwrap_or_default();
    assert_eq!(
        reply.get(..12),
        Some(&[request.source, request.destination].concat()[..]),
        "Ethernet addresses"
    );
    assert_eq!(reply.get(16..18), asked.get(16..18), "length");
    let addresses = [request.to.octets(), request.from.octets()].concat();
    assert_eq!(reply.get(26..ICMP), Some(&addresses[..]), "IP addresses");
    assert_eq!(reply.get(ICMP..ICMP + 2), Some(&[0, 0][..]), "no echo reply");
    assert_eq!(reply.get(ICMP + 4..), asked.get(ICMP + 4..), "identifier, number and data");
    for part in [reply.get(ETHERNET_HEADER..ICMP), reply.get(ICMP..)] {
        assert_eq!(part.map(ones_complement_sum), Some(0xffff), "checksum");
    }
}

fn arp(octets: &[u8]) {
    let verdict = ArpFrame::parse(octets);
    if verdict != Err(ParseError::Truncated) {
        assert_eq!(ArpFrame::parse(&padded(octets)), verdict, "padding matters");
    }
    if let Ok(frame) = verdict {
        assert!(arp::is_unicast(frame.sender_mac));
        let built = frame.build();
        assert_eq!(built.get(..ARP_LENGTH), octets.get(..ARP_LENGTH));
        assert_eq!(ArpFrame::parse(&built), Ok(frame));
    }
}

fn padded(octets: &[u8]) -> Vec<u8> {
    [octets, &[0x5a; 18]].concat()
}

/// The frame with a right IP header checksum and without a UDP checksum: what random changes would never hit.
fn summed(octets: &[u8]) -> Vec<u8> {
    let mut frame = octets.to_vec();
    let udp = udp_header(octets);
    let Some(header) = frame.get_mut(ETHERNET_HEADER..udp) else { return frame };
    sum(header, 10);
    if let Some(sum) = frame.get_mut(udp + 6..udp + 8) {
        sum.fill(0);
    }
    frame
}

/// The frame with the right checksums of an IP header without options and of ICMP, as far as its length tells.
fn pinging(octets: &[u8]) -> Vec<u8> {
    let mut frame = octets.to_vec();
    let length =
        octets.get(16..).and_then(|rest| rest.first_chunk()).map(|length| u16::from_be_bytes(*length));
    let end = ETHERNET_HEADER + usize::from(length.unwrap_or_default());
    if let Some(header) = frame.get_mut(ETHERNET_HEADER..ICMP) {
        sum(header, 10);
    }
    if let Some(message) = frame.get_mut(ICMP..end) {
        sum(message, 2);
    }
    frame
}

/// Makes the checksum at this place right.
fn sum(octets: &mut [u8], at: usize) {
    if let Some(sum) = octets.get_mut(at..at + 2) {
        sum.fill(0);
    }
    let checksum = !ones_complement_sum(octets);
    if let Some(sum) = octets.get_mut(at..at + 2) {
        sum.copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Where the UDP header begins, if there is one.
fn udp_header(octets: &[u8]) -> usize {
    ETHERNET_HEADER + octets.get(ETHERNET_HEADER).map_or(0, |octet| usize::from(octet & 0x0f) * 4)
}

fn ones_complement_sum(octets: &[u8]) -> u16 {
    let (words, odd) = octets.as_chunks::<2>();
    let last = odd.first().map(|&octet| [octet, 0]);
    let sum: u32 = words.iter().copied().chain(last).map(|word| u32::from(u16::from_be_bytes(word))).sum();
    // The octets of an IP datagram at most carry over once, and what that carries over once more.
    let folded = (sum & 0xffff) + (sum >> 16);
    u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(u16::MAX)
}
