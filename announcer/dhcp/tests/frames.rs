//! Ethernet, IPv4 and UDP around the message.
#![cfg(test)]

use std::net::Ipv4Addr;

use foghorn_dhcp::frame::{self, Addressing, BROADCAST, FrameError, UdpChecksum};

const SOURCE: [u8; 6] = [2, 0, 0, 0, 0, 1];

#[test]
fn b02_a_frame_is_from_the_clients_port_with_ttl_64_and_checksums() {
    let built = frame::build(&to_all(), b"discover").unwrap();
    assert_eq!(built[..14], [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 0]);
    assert_eq!(built[14..24], [0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17]);
    assert_eq!(built[34..40], [0, 68, 0, 67, 0, 16]);
    assert_eq!(sum(&built[14..34]), 0xffff);
    let pseudo = [&built[26..34], &[0, 17], &built[38..40], &built[34..]].concat();
    assert_eq!(sum(&pseudo), 0xffff);
}

#[test]
fn the_message_of_a_server_is_taken_out() {
    let from_server = from_server(b"offer of odd size");
    let datagram = frame::parse(&from_server, UdpChecksum::Verify).unwrap();
    assert_eq!(datagram.payload, b"offer of odd size");
    assert_eq!(datagram.addressing, to_all());
}

#[test]
fn ethernet_padding_is_left_out() {
    let mut padded = from_server(b"offer");
    padded.resize(60, 0);
    assert_eq!(frame::parse(&padded, UdpChecksum::Verify).unwrap().payload, b"offer");
}

#[test]
fn ip_options_are_skipped() {
    let mut with_options = from_server(b"offer");
    with_options.splice(34..34, [1, 1, 1, 0]);
    with_options[14] = 0x46;
    with_options[17] += 4;
    refill_ip_checksum(&mut with_options, 24);
    assert_eq!(frame::parse(&with_options, UdpChecksum::Verify).unwrap().payload, b"offer");
}

#[test]
fn b13_wrong_frames_are_refused_by_their_cause() {
    let with = |at: usize, value: u8| {
        let mut wrong = from_server(b"offer");
        wrong[at] = value;
        if at != 24 {
            refill_ip_checksum(&mut wrong, 20);
        }
        frame::parse(&wrong, UdpChecksum::Verify).unwrap_err()
    };
    assert_eq!(with(12, 0x81), FrameError::EtherType(0x8100), "VLAN-tagged");
    assert_eq!(with(14, 0x65), FrameError::IpHeader(0x65));
    assert_eq!(with(14, 0x44), FrameError::IpHeader(0x44));
    assert_eq!(with(24, 0), FrameError::IpChecksum);
    assert_eq!(with(20, 0x20), FrameError::Fragment);
    assert_eq!(with(21, 1), FrameError::Fragment);
    assert_eq!(with(23, 6), FrameError::Protocol(6));
    assert_eq!(with(35, 53), FrameError::Ports { source_port: 53, destination_port: 68 });
    assert_eq!(with(37, 69), FrameError::Ports { source_port: 67, destination_port: 69 });
    assert_eq!(with(39, 200), FrameError::Truncated);
    assert_eq!(with(39, 7), FrameError::Truncated);
    assert_eq!(with(17, 200), FrameError::Truncated);
    assert_eq!(with(43, 1), FrameError::UdpChecksum);
}

#[test]
fn the_dont_fragment_flag_makes_no_fragment() {
    let mut whole = from_server(b"offer");
    whole[20] = 0x40;
    refill_ip_checksum(&mut whole, 20);
    assert!(frame::parse(&whole, UdpChecksum::Verify).is_ok());
}

#[test]
fn a_udp_checksum_that_is_not_there_or_not_filled_in_yet_is_not_verified() {
    let mut partial = from_server(b"offer");
    partial[40] ^= 0xff;
    assert_eq!(frame::parse(&partial, UdpChecksum::Verify), Err(FrameError::UdpChecksum));
    assert!(frame::parse(&partial, UdpChecksum::Ignore).is_ok());
    partial[40..42].fill(0);
    assert!(frame::parse(&partial, UdpChecksum::Verify).is_ok());
}

#[test]
fn a_frame_cut_anywhere_is_refused() {
    let whole = from_server(b"offer");
    for length in 0..whole.len() {
        assert!(frame::parse(&whole[..length], UdpChecksum::Ignore).is_err(), "{length} octets");
    }
}

#[test]
fn a_message_too_long_for_a_datagram_is_not_built() {
    assert_eq!(frame::build(&to_all(), &[0; 65_508]), Err(FrameError::TooLong(65_508)));
    assert!(frame::build(&to_all(), &[0; 65_507]).is_ok());
}

fn to_all() -> Addressing {
    Addressing {
        source: SOURCE,
        destination: BROADCAST,
        from: Ipv4Addr::UNSPECIFIED,
        to: Ipv4Addr::BROADCAST,
    }
}

/// The ports swapped: the checksum stays the same.
fn from_server(payload: &[u8]) -> Vec<u8> {
    let mut frame = frame::build(&to_all(), payload).unwrap();
    frame[34..38].copy_from_slice(&[0, 67, 0, 68]);
    frame
}

fn refill_ip_checksum(frame: &mut [u8], header: usize) {
    frame[24..26].fill(0);
    let checksum = !sum(&frame[14..14 + header]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
}

fn sum(octets: &[u8]) -> u16 {
    let total: u32 = octets
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or_default()))
        .sum();
    let folded = (total & 0xffff) + (total >> 16);
    u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}
