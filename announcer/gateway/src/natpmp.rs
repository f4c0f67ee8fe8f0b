//! NAT-PMP as octets (RFC 6886, section 3).

mod client;

use std::net::Ipv4Addr;

use bytes::{Buf as _, BufMut as _};
pub(crate) use client::ask;
use foghorn_portmap::Transport;

use crate::pcp;

/// Section 3.1: the version, which is PCP's zero.
pub const VERSION: u8 = 0;
/// The opcode of the question for the outer address (section 3.2).
const OUTER: u8 = 0;
/// What the opcodes of answers have besides (section 3.1).
const ANSWER: u8 = 128;

/// A result code (section 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 1: the gateway does not speak this version.
    UnsupportedVersion,
    /// 2: it is switched off, or not allowed.
    NotAuthorized,
    /// 3: the gateway has no outer address.
    NetworkFailure,
    /// 4: it has no room for more.
    OutOfResources,
    /// 5: it does not forward this transport protocol.
    UnsupportedOpcode,
    /// None of them.
    Other(u16),
}

impl Code {
    fn of(number: u16) -> Option<Self> {
        match number {
            0 => None,
            1 => Some(Self::UnsupportedVersion),
            2 => Some(Self::NotAuthorized),
            3 => Some(Self::NetworkFailure),
            4 => Some(Self::OutOfResources),
            5 => Some(Self::UnsupportedOpcode),
            other => Some(Self::Other(other)),
        }
    }
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<T> {
    /// It was done.
    Done {
        /// Seconds since the gateway's mappings were all lost (section 3.6).
        epoch: u32,
        /// What the question was for.
        what: T,
    },
    /// It was not.
    Failed {
        /// As above.
        epoch: u32,
        /// Why.
        code: Code,
    },
    /// It is of another version: a server of PCP alone (RFC 6887, section 9).
    OtherVersion,
}

/// A mapping, asked for or given (section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The gateway's port.
    pub external: u16,
    /// For how many seconds.
    pub lifetime: u32,
}

/// The question for the outer address (section 3.2).
#[must_use]
pub fn ask_outer() -> [u8; 2] {
    [VERSION, OUTER]
}

/// The question for a mapping (section 3.3); with zeros for what is wanted, for its end (section 3.4).
#[must_use]
pub fn ask_mapping(transport: Transport, internal: u16, wanted: Mapped) -> Vec<u8> {
    let mut out = vec![VERSION, opcode(transport), 0, 0];
    out.put_u16(internal);
    out.put_u16(wanted.external);
    out.put_u32(wanted.lifetime);
    out
}

/// Reads the answer to [`ask_outer`]; none if this is no such answer.
#[must_use]
pub fn outer(datagram: &[u8]) -> Option<Said<Ipv4Addr>> {
    said(datagram, OUTER, |mut rest| rest.try_get_u32().ok().map(Ipv4Addr::from_bits))
}

/// Reads the answer to [`ask_mapping`] of this port; none if this is no such answer.
#[must_use]
pub fn mapping(datagram: &[u8], transport: Transport, internal: u16) -> Option<Said<Mapped>> {
    said(datagram, opcode(transport), |mut rest| {
        let (port, external) = (rest.try_get_u16().ok()?, rest.try_get_u16().ok()?);
        let lifetime = rest.try_get_u32().ok()?;
        (port == internal).then_some(Mapped { external, lifetime })
    })
}

/// The epoch of an announcement of the outer address (section 3.2.1); none if this is no such announcement.
#[must_use]
pub fn announced(datagram: &[u8]) -> Option<u32> {
    match outer(datagram)? {
        Said::Done { epoch, .. } => Some(epoch),
        Said::Failed { .. } | Said::OtherVersion => None,
    }
}

fn opcode(transport: Transport) -> u8 {
    match transport {
        Transport::Udp => 1,
        Transport::Tcp => 2,
    }
}

/// Failures may come without what was asked for, and the first one without the opcode (section 3.5).
fn said<T>(mut datagram: &[u8], opcode: u8, what: impl FnOnce(&[u8]) -> Option<T>) -> Option<Said<T>> {
    let (version, answers) = (datagram.try_get_u8().ok()?, datagram.try_get_u8().ok()?);
    if version != VERSION {
        return (version <= pcp::VERSION && answers & ANSWER != 0).then_some(Said::OtherVersion);
    }
    let code = Code::of(datagram.try_get_u16().ok()?);
    let epoch = datagram.try_get_u32().ok()?;
    let of_the_question = answers == opcode | ANSWER;
    match code {
        None if of_the_question => what(datagram).map(|what| Said::Done { epoch, what }),
        Some(code @ (Code::UnsupportedVersion | Code::UnsupportedOpcode))
            if answers == 0 || of_the_question =>
        {
            Some(Said::Failed { epoch, code })
        }
        Some(code) if of_the_question => Some(Said::Failed { epoch, code }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn questions_are_written_as_the_standard_has_them() {
        assert_eq!(ask_outer(), [0, 0]);
        let wanted = Mapped { external: 0x1234, lifetime: 7200 };
        assert_eq!(
            ask_mapping(Transport::Udp, 80, wanted),
            [0, 1, 0, 0, 0, 80, 0x12, 0x34, 0, 0, 0x1c, 0x20]
        );
        assert_eq!(ask_mapping(Transport::Tcp, 80, wanted)[1], 2);
    }

    #[test]
    fn the_outer_address_is_read() {
        let answer = [0, 128, 0, 0, 0, 0, 1, 0, 198, 51, 100, 1];
        let what = Ipv4Addr::new(198, 51, 100, 1);
        assert_eq!(outer(&answer), Some(Said::Done { epoch: 256, what }));
        assert_eq!(announced(&answer), Some(256));
        for end in 0..answer.len() {
            assert_eq!(outer(&answer[..end]), None);
        }
    }

    #[test]
    fn a_mapping_is_read_if_it_is_the_one_that_was_asked_for() {
        let answer = [0, 130, 0, 0, 0, 0, 0, 9, 0, 80, 0x1f, 0x90, 0, 0, 0, 60];
        let done = Said::Done { epoch: 9, what: Mapped { external: 8080, lifetime: 60 } };
        assert_eq!(mapping(&answer, Transport::Tcp, 80), Some(done));
        assert_eq!(mapping(&answer, Transport::Tcp, 81), None);
        assert_eq!(mapping(&answer, Transport::Udp, 80), None);
        assert_eq!(outer(&answer), None);
        for end in 0..answer.len() {
            assert_eq!(mapping(&answer[..end], Transport::Tcp, 80), None);
        }
    }

    #[test]
    fn a_failure_is_read_even_if_it_says_no_more() {
        for (number, code) in [
            (1, Code::UnsupportedVersion),
            (2, Code::NotAuthorized),
            (3, Code::NetworkFailure),
            (4, Code::OutOfResources),
            (5, Code::UnsupportedOpcode),
            (6, Code::Other(6)),
        ] {
            let failed = Some(Said::Failed { epoch: 1, code });
            assert_eq!(mapping(&[0, 129, 0, number, 0, 0, 0, 1], Transport::Udp, 80), failed);
            assert_eq!(announced(&[0, 128, 0, number, 0, 0, 0, 1, 0, 0, 0, 0]), None);
        }
        let unsupported = Some(Said::Failed { epoch: 1, code: Code::UnsupportedVersion });
        assert_eq!(outer(&[0, 0, 0, 1, 0, 0, 0, 1]), unsupported);
    }

    #[test]
    fn a_server_of_pcp_alone_is_of_another_version() {
        assert_eq!(outer(&[2, 128, 0, 1]), Some(Said::OtherVersion));
        assert_eq!(outer(&[2, 0, 0, 1]), None);
        assert_eq!(outer(&[0xff; 12]), None);
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_reader_of_nat_pmp_panic(octets in prop::collection::vec(any::<u8>(), 0..20)) {
            let _read = (outer(&octets), mapping(&octets, Transport::Udp, 80), announced(&octets));
        }

        #[test]
        fn a_server_that_echoes_a_question_has_not_answered_it(internal: u16, external: u16, lifetime: u32) {
            let question = ask_mapping(Transport::Tcp, internal, Mapped { external, lifetime });
            prop_assert_eq!(mapping(&question, Transport::Tcp, internal), None);
        }
    }
}
