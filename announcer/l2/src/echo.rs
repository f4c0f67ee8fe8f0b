//! Answers to pings of addresses that no node's kernel answers for: ICMP echo (RFC 792, RFC 1122, 3.2.2.6).

use std::net::Ipv4Addr;

use foghorn_clock::Instant;

use crate::{Mac, limit::ReplyLimit};

const ETHERNET: usize = 14;
/// Without options: a request that has some is not answered.
const IPV4: usize = 20;
const ICMP: usize = 8;
const ICMP_PROTOCOL: u8 = 1;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const TIME_TO_LIVE: u8 = 64;
/// "More fragments" and the offset.
const FRAGMENT: u16 = 0x3fff;

/// An echo request, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoRequest<'a> {
    /// The frame's destination.
    pub destination: Mac,
    /// The frame's source.
    pub source: Mac,
    /// Who asks.
    pub from: Ipv4Addr,
    /// Who is asked.
    pub to: Ipv4Addr,
    /// Identifier, sequence number and data: what the reply says again.
    body: &'a [u8],
}

/// Answers that are made, and how many.
#[derive(Debug, Default)]
pub struct Echoes(ReplyLimit);

impl<'a> EchoRequest<'a> {
    /// Whether the frame may be one, whole or not.
    #[must_use]
    pub fn is_meant(frame: &[u8]) -> bool {
        frame.get(12..14) == Some(&[8, 0]) && frame.get(ETHERNET + 9) == Some(&ICMP_PROTOCOL)
    }

    /// Reads a frame; nothing if it is no echo request from one host to another, whole and unbroken.
    #[must_use]
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let destination: Mac = *frame.first_chunk()?;
        let source: Mac = *frame.get(6..)?.first_chunk()?;
        let header: &[u8; IPV4] = frame.get(ETHERNET..)?.first_chunk()?;
        let word = |at: usize| Some(u16::from_be_bytes(*header.get(at..)?.first_chunk()?));
        let address = |at: usize| Some(Ipv4Addr::from(*header.get(at..)?.first_chunk::<4>()?));
        let length = usize::from(word(2)?);
        let message = frame.get(ETHERNET + IPV4..ETHERNET + length)?;
        let [kind, code, _, _, body @ ..] = message else { return None };
        let is_request = Self::is_meant(frame)
            && header.first() == Some(&0x45)
            && word(6)? & FRAGMENT == 0
            && (*kind, *code) == (ECHO_REQUEST, 0)
            && message.len() >= ICMP
            && checksum(header) == 0
            && checksum(message) == 0;
        let (from, to) = (address(12)?, address(16)?);
        let is_host = |address: Ipv4Addr| {
            !(address.is_unspecified()
                || address.is_multicast()
                || address.is_broadcast()
                || address.is_loopback())
        };
        let one_to_one = is_unicast(destination) && is_unicast(source) && is_host(from) && from != to;
        (is_request && one_to_one).then_some(Self { destination, source, from, to, body })
    }

    /// The frame that answers it.
    #[must_use]
    pub fn reply(&self) -> Vec<u8> {
        let mut message = vec![ECHO_REPLY, 0, 0, 0];
        message.extend_from_slice(self.body);
        let sum = checksum(&message).to_be_bytes();
        let length = u16::try_from(IPV4 + message.len()).unwrap_or(u16::MAX).to_be_bytes();
        let header = |sum: [u8; 2]| {
            let fixed =
                [0x45, 0, length[0], length[1], 0, 0, 0x40, 0, TIME_TO_LIVE, ICMP_PROTOCOL, sum[0], sum[1]];
            [&fixed[..], &self.to.octets(), &self.from.octets()].concat()
        };
        let header = header(checksum(&header([0, 0])).to_be_bytes());
        let [first, second, _, _, body @ ..] = message.as_slice() else { return Vec::new() };
        let start = [*first, *second, sum[0], sum[1]];
        [&self.source[..], &self.destination, &[8, 0], &header, &start, body].concat()
    }
}

impl Echoes {
    /// The answer to a frame that came to this hardware address: the address that answers, and the frame. Nothing if it is
    /// no request, not for one of the addresses that `answers` tells, or one too many.
    pub fn answer(
        &mut self,
        now: Instant,
        frame: &[u8],
        mac: Mac,
        answers: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<(Ipv4Addr, Vec<u8>)> {
        let request = EchoRequest::parse(frame).filter(|request| request.destination == mac)?;
        if !answers(request.to) || answers(request.from) || !self.0.allow(now, request.to, request.source) {
            return None;
        }
        Some((request.to, request.reply()))
    }
}

fn is_unicast(mac: Mac) -> bool {
    let [first, ..] = mac;
    first & 1 == 0 && mac != [0; 6]
}

/// The Internet checksum (RFC 1071); zero over what has its own in it.
fn checksum(octets: &[u8]) -> u16 {
    let words = octets.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(u16::from_be_bytes([*high, 0])),
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_answered_with_what_it_says() {
        let frame = request();
        let read = EchoRequest::parse(&frame).unwrap();
        assert_eq!((read.from, read.to), (CLIENT, ADDRESS));
        let reply = read.reply();
        assert_eq!((&reply[..6], &reply[6..12]), (&CLIENT_MAC[..], &NIC[..]));
        assert_eq!(reply[ETHERNET + IPV4], ECHO_REPLY);
        assert_eq!(reply[ETHERNET + IPV4 + 4..], frame[ETHERNET + IPV4 + 4..], "identifier, number and data");
        assert_eq!(checksum(&reply[ETHERNET..ETHERNET + IPV4]), 0);
        assert_eq!(checksum(&reply[ETHERNET + IPV4..]), 0);
        assert_eq!(EchoRequest::parse(&reply), None, "an answer is no request");
    }

    #[test]
    fn what_is_padded_is_answered_without_the_padding() {
        let mut frame = request();
        let length = frame.len();
        frame.extend([0xee; 20]);
        assert_eq!(EchoRequest::parse(&frame).unwrap().reply().len(), length);
    }

    #[test]
    fn broken_fragmented_and_broadcast_requests_are_not_answered() {
        let changed = |at: usize, value: u8| {
            let mut frame = request();
            frame[at] = value;
            frame
        };
        for (what, at, value) in [
            ("a broadcast frame", 0, 0xff),
            ("a multicast source", 6, 0x03),
            ("another EtherType", 13, 6),
            ("options", ETHERNET, 0x46),
            ("a wrong header checksum", ETHERNET + 10, 0xaa),
            ("a wrong checksum", ETHERNET + IPV4 + 2, 0xaa),
            ("other data", ETHERNET + IPV4 + 9, 0xaa),
            ("a longer length", ETHERNET + 3, 0xff),
        ] {
            assert_eq!(EchoRequest::parse(&changed(at, value)), None, "{what}");
        }
        assert_eq!(EchoRequest::parse(&built(0x2000, CLIENT)), None, "a fragment");
        assert_eq!(EchoRequest::parse(&built(0, Ipv4Addr::BROADCAST)), None, "from everybody");
        for length in 0..request().len() {
            assert_eq!(EchoRequest::parse(&request()[..length]), None, "cut to {length}");
        }
    }

    #[test]
    fn only_own_addresses_are_answered_for_and_not_too_often() {
        let mut echoes = Echoes::default();
        let now = Instant::from_boot(Duration::from_secs(9));
        let own = |address| address == ADDRESS;
        assert!(echoes.answer(now, &request(), NIC, own).is_some());
        assert!(echoes.answer(now, &request(), CLIENT_MAC, own).is_none(), "to another host");
        assert!(echoes.answer(now, &request(), NIC, |_| false).is_none());
        assert!(echoes.answer(now, &request(), NIC, |_| true).is_none(), "from an address of ours");
        let answered = (0..1000).filter(|_| echoes.answer(now, &request(), NIC, own).is_some()).count();
        assert!(answered < 20, "{answered}");
    }

    proptest! {
        #[test]
        fn no_frame_is_too_strange(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any = EchoRequest::parse(&frame).map(|request| request.reply());
        }

        #[test]
        fn no_change_of_a_request_is_too_strange(at in 0usize..50, value: u8, cut in 0usize..60) {
            let mut frame = request();
            if let Some(octet) = frame.get_mut(at) {
                *octet = value;
            }
            frame.truncate(cut.max(14));
            let _any = EchoRequest::parse(&frame).map(|request| request.reply());
        }
    }

    const NIC: Mac = [2, 0, 0, 0, 0, 0x11];
    const CLIENT_MAC: Mac = [2, 0, 0, 0, 0, 0xcc];
    const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 200);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);

    fn request() -> Vec<u8> {
        built(0, CLIENT)
    }

    fn built(fragment: u16, from: Ipv4Addr) -> Vec<u8> {
        let mut message = vec![ECHO_REQUEST, 0, 0, 0, 0x12, 0x34, 0, 1];
        message.extend(b"ping data");
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        let mut header = vec![0x45, 0, 0, 37, 0, 7, 0, 0, 63, 1, 0, 0];
        header[6..8].copy_from_slice(&fragment.to_be_bytes());
        header.extend(from.octets());
        header.extend(ADDRESS.octets());
        let sum = checksum(&header).to_be_bytes();
        header[10..12].copy_from_slice(&sum);
        [&NIC[..], &CLIENT_MAC, &[8, 0], &header, &message].concat()
    }
}
