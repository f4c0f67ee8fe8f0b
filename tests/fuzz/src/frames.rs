//! Ethernet frames of strangers: DHCP in UDP, and ARP.

use foghorn_dhcp::{
    frame::{self, Datagram, FrameError, UdpChecksum},
    wire,
};
use foghorn_l2::arp::{self, ArpFrame, ParseError};

const ETHERNET_HEADER: usize = 14;
const ARP_LENGTH: usize = 42;

/// Reads the octets as a frame, as they are and with the checksums that they should have.
pub fn fuzz(octets: &[u8]) {
    ipv4(octets);
    ipv4(&summed(octets));
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
    if let Some(sum) = header.get_mut(10..12) {
        sum.fill(0);
    }
    let checksum = !ones_complement_sum(header);
    if let Some(sum) = header.get_mut(10..12) {
        sum.copy_from_slice(&checksum.to_be_bytes());
    }
    if let Some(sum) = frame.get_mut(udp + 6..udp + 8) {
        sum.fill(0);
    }
    frame
}

/// Where the UDP header begins, if there is one.
fn udp_header(octets: &[u8]) -> usize {
    ETHERNET_HEADER + octets.get(ETHERNET_HEADER).map_or(0, |octet| usize::from(octet & 0x0f) * 4)
}

fn ones_complement_sum(octets: &[u8]) -> u16 {
    let (words, _) = octets.as_chunks::<2>();
    let sum: u32 = words.iter().map(|&word| u32::from(u16::from_be_bytes(word))).sum();
    // Sixty octets at most carry over once, and what that carries over once more.
    let folded = (sum & 0xffff) + (sum >> 16);
    u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(u16::MAX)
}
