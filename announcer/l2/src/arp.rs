//! ARP over Ethernet (RFC 826), with the forms of RFC 5227: probe and announcement.

use std::{fmt, net::Ipv4Addr};

/// An Ethernet hardware address.
pub type Mac = [u8; 6];

/// All hosts on the link.
pub const BROADCAST: Mac = [0xff; 6];

/// Whether `mac` names one host: neither a group (broadcast included) nor all zero.
#[must_use]
pub fn is_unicast(mac: Mac) -> bool {
    let [first, ..] = mac;
    first & 1 == 0 && mac != UNKNOWN
}

const UNKNOWN: Mac = [0; 6];
const ETHERTYPE: [u8; 2] = [0x08, 0x06];
/// Ethernet, IPv4, six and four bytes.
const FORMAT: [u8; 6] = [0x00, 0x01, 0x08, 0x00, 6, 4];
const LENGTH: usize = 42;
/// The shortest frame that Ethernet carries, without its checksum.
const PADDED: usize = 60;

/// What an ARP packet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Asks who has the target address.
    Request,
    /// Says that the sender has the sender address.
    Reply,
}

/// An Ethernet frame with an ARP packet in it.
///
/// The Ethernet source and the packet's sender need not agree: a repeater may have put its own address in the former.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ArpFrame {
    /// Ethernet destination.
    pub destination: Mac,
    /// Ethernet source.
    pub source: Mac,
    /// What the packet does.
    pub operation: Operation,
    /// The sender's hardware address; always unicast in a frame that was parsed.
    pub sender_mac: Mac,
    /// The sender's address; 0.0.0.0 in a probe.
    pub sender_ip: Ipv4Addr,
    /// The target's hardware address; without meaning in a request.
    pub target_mac: Mac,
    /// The target's address.
    pub target_ip: Ipv4Addr,
}

/// Why a frame is no ARP packet that one could act upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Shorter than an Ethernet header and an ARP packet.
    #[error("the frame ends before the ARP packet does")]
    Truncated,
    /// Another EtherType, a VLAN tag included.
    #[error("the frame is not ARP")]
    NotArp,
    /// Not hardware type 1, protocol type 0x0800, lengths 6 and 4.
    #[error("the ARP packet is not about IPv4 over Ethernet")]
    Format,
    /// Neither 1 nor 2.
    #[error("the ARP operation {0} is neither request nor reply")]
    Operation(u16),
    /// Zero, broadcast or multicast.
    #[error("the ARP sender's hardware address is not unicast")]
    Sender,
}

impl ArpFrame {
    /// Asks who has `target`, with `sender` as the address to answer to. Broadcast.
    #[must_use]
    pub const fn request(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self {
            destination: BROADCAST,
            source: mac,
            operation: Operation::Request,
            sender_mac: mac,
            sender_ip: sender,
            target_mac: UNKNOWN,
            target_ip: target,
        }
    }

    /// Tells the sender of `request` that `mac` has the address it asked for. Unicast.
    #[must_use]
    pub const fn reply_to(request: &Self, mac: Mac) -> Self {
        Self {
            destination: request.sender_mac,
            source: mac,
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: request.target_ip,
            target_mac: request.sender_mac,
            target_ip: request.sender_ip,
        }
    }

    /// Asks whether anybody has `address`, without touching a cache (RFC 5227, 2.1.1).
    #[must_use]
    pub const fn probe(mac: Mac, address: Ipv4Addr) -> Self {
        Self::request(mac, Ipv4Addr::UNSPECIFIED, address)
    }

    /// Tells all hosts that `mac` has `address`: the announcement of RFC 5227, 2.3.
    #[must_use]
    pub const fn gratuitous_request(mac: Mac, address: Ipv4Addr) -> Self {
        Self::request(mac, address, address)
    }

    /// Tells all hosts that `mac` has `address`, for those that learn from replies only (RFC 5944, 4.6).
    #[must_use]
    pub const fn gratuitous_reply(mac: Mac, address: Ipv4Addr) -> Self {
        Self { operation: Operation::Reply, target_mac: mac, ..Self::request(mac, address, address) }
    }

    /// Reads an Ethernet frame. What follows the packet is padding and not looked at.
    ///
    /// # Errors
    /// If the frame is not a well-formed request or reply about IPv4 over Ethernet from one host.
    pub fn parse(frame: &[u8]) -> Result<Self, ParseError> {
        let (destination, rest) = take(frame)?;
        let (source, rest) = take(rest)?;
        let (ethertype, rest) = take(rest)?;
        if ethertype != ETHERTYPE {
            return Err(ParseError::NotArp);
        }
        let (format, rest) = take(rest)?;
        let (operation, rest) = take(rest)?;
        let (sender_mac, rest) = take(rest)?;
        let (sender_ip, rest) = take::<4>(rest)?;
        let (target_mac, rest) = take(rest)?;
        let (target_ip, _padding) = take::<4>(rest)?;
        if format != FORMAT {
            return Err(ParseError::Format);
        }
        let operation = match u16::from_be_bytes(operation) {
            1 => Operation::Request,
            2 => Operation::Reply,
            other => return Err(ParseError::Operation(other)),
        };
        if !is_unicast(sender_mac) {
            return Err(ParseError::Sender);
        }
        Ok(Self {
            destination,
            source,
            operation,
            sender_mac,
            sender_ip: sender_ip.into(),
            target_mac,
            target_ip: target_ip.into(),
        })
    }

    /// Writes the Ethernet frame, padded to the least length and without its checksum: 60 bytes.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let operation: u16 = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        let mut frame = Vec::with_capacity(PADDED);
        frame.extend(self.destination);
        frame.extend(self.source);
        frame.extend(ETHERTYPE);
        frame.extend(FORMAT);
        frame.extend(operation.to_be_bytes());
        frame.extend(self.sender_mac);
        frame.extend(self.sender_ip.octets());
        frame.extend(self.target_mac);
        frame.extend(self.target_ip.octets());
        debug_assert_eq!(frame.len(), LENGTH);
        frame.resize(PADDED, 0);
        frame
    }
}

impl fmt::Debug for ArpFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, sender_ip, sender_mac, target_ip, destination, .. } = self;
        write!(f, "{operation:?} {sender_ip} {sender_mac:02x?} -> {target_ip} to {destination:02x?}")
    }
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), ParseError> {
    bytes.split_first_chunk().map(|(head, rest)| (*head, rest)).ok_or(ParseError::Truncated)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_of_another_host_is_read_field_by_field() {
        let mut bytes = vec![0xff; 6];
        bytes.extend([2, 0, 0, 0, 0, 0x0a, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        bytes.extend([2, 0, 0, 0, 0, 0x0b, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 2]);
        let frame = ArpFrame::parse(&bytes).unwrap();
        assert_eq!(frame.destination, BROADCAST);
        assert_eq!(frame.source, [2, 0, 0, 0, 0, 0x0a], "the source need not be the sender");
        assert_eq!(frame.operation, Operation::Request);
        assert_eq!(frame.sender_mac, [2, 0, 0, 0, 0, 0x0b]);
        assert_eq!(frame.sender_ip, Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(frame.target_ip, Ipv4Addr::new(192, 0, 2, 2));
    }

    #[test]
    fn every_shortened_packet_is_truncated() {
        let frame = ArpFrame::probe(MAC, ADDRESS).build();
        for length in 0..LENGTH {
            assert_eq!(ArpFrame::parse(&frame[..length]), Err(ParseError::Truncated), "{length} bytes");
        }
        assert!(ArpFrame::parse(&frame[..LENGTH]).is_ok());
    }

    #[test]
    fn each_fixed_field_is_checked() {
        let frame = ArpFrame::probe(MAC, ADDRESS).build();
        let broken = |at: usize, value: u8| {
            let mut frame = frame.clone();
            frame[at] = value;
            ArpFrame::parse(&frame)
        };
        assert_eq!(broken(13, 0x00), Err(ParseError::NotArp));
        assert_eq!(broken(15, 6), Err(ParseError::Format));
        assert_eq!(broken(16, 0x86), Err(ParseError::Format));
        assert_eq!(broken(18, 8), Err(ParseError::Format));
        assert_eq!(broken(19, 16), Err(ParseError::Format));
        assert_eq!(broken(21, 3), Err(ParseError::Operation(3)));
        assert_eq!(broken(22, 0x03), Err(ParseError::Sender));
    }

    #[test]
    fn a_frame_with_a_vlan_tag_is_not_ours() {
        let mut frame = ArpFrame::probe(MAC, ADDRESS).build();
        frame.splice(12..12, [0x81, 0x00, 0x00, 0x0a]);
        assert_eq!(ArpFrame::parse(&frame), Err(ParseError::NotArp));
    }

    #[test]
    fn the_forms_differ_as_the_rfcs_say() {
        let probe = ArpFrame::probe(MAC, ADDRESS);
        assert_eq!((probe.sender_ip, probe.target_ip), (Ipv4Addr::UNSPECIFIED, ADDRESS));
        let request = ArpFrame::gratuitous_request(MAC, ADDRESS);
        assert_eq!((request.operation, request.target_mac), (Operation::Request, UNKNOWN));
        let reply = ArpFrame::gratuitous_reply(MAC, ADDRESS);
        assert_eq!((reply.operation, reply.target_mac), (Operation::Reply, MAC));
        for frame in [request, reply] {
            assert_eq!((frame.sender_ip, frame.target_ip, frame.destination), (ADDRESS, ADDRESS, BROADCAST));
        }
        let answer = ArpFrame::reply_to(&probe, [2, 0, 0, 0, 0, 9]);
        assert_eq!((answer.destination, answer.target_mac, answer.sender_ip), (MAC, MAC, ADDRESS));
    }

    proptest! {
        #[test]
        fn no_bytes_stop_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = ArpFrame::parse(&bytes);
        }

        #[test]
        fn what_is_built_is_parsed_as_it_was(
            destination: Mac, source: Mac, reply: bool, sender_mac: Mac, sender_ip: [u8; 4], target_mac: Mac,
            target_ip: [u8; 4],
        ) {
            let frame = ArpFrame {
                destination,
                source,
                operation: if reply { Operation::Reply } else { Operation::Request },
                sender_mac,
                sender_ip: sender_ip.into(),
                target_mac,
                target_ip: target_ip.into(),
            };
            let bytes = frame.build();
            prop_assert_eq!(bytes.len(), PADDED);
            let expected = if is_unicast(sender_mac) { Ok(frame) } else { Err(ParseError::Sender) };
            prop_assert_eq!(ArpFrame::parse(&bytes), expected);
        }
    }

    const MAC: Mac = [2, 0, 0, 0, 0, 1];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
}
