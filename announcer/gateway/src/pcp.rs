//! PCP as octets (RFC 6887).

mod client;

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::{Buf as _, BufMut as _};
pub(crate) use client::ask;
use foghorn_portmap::Transport;

/// Section 5.
pub const VERSION: u8 = 2;
/// Octets of the longest message (section 7).
pub const LONGEST: usize = 1100;
/// Octets of the header of an answer (section 7.2).
const HEADER_LENGTH: usize = 24;
/// What the opcodes of answers have besides (section 7.2).
const ANSWER: u8 = 128;
/// Section 14.1.
const ANNOUNCE: u8 = 0;
/// Section 11.
const MAP: u8 = 1;
/// The option that another port than the suggested one is none (section 13.2).
const PREFER_FAILURE: u8 = 2;

/// A result code (section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 1: the server does not speak this version.
    UnsupportedVersion,
    /// 2: the server does not allow it.
    NotAuthorized,
    /// 4: it does not know the opcode.
    UnsupportedOpcode,
    /// 5: it does not know an option.
    UnsupportedOption,
    /// 7: it does not get through to its own network.
    NetworkFailure,
    /// 8: it has no room for more.
    NoResources,
    /// 9: it does not forward this transport protocol.
    UnsupportedProtocol,
    /// 10: it gives this client no more.
    UserExceededQuota,
    /// 11: the port is another's.
    CannotProvideExternal,
    /// 12: the question came from another address than it says, through another NAT.
    AddressMismatch,
    /// One that is not to be expected.
    Other(u8),
}

impl Code {
    fn of(number: u8) -> Option<Self> {
        match number {
            0 => None,
            1 => Some(Self::UnsupportedVersion),
            2 => Some(Self::NotAuthorized),
            4 => Some(Self::UnsupportedOpcode),
            5 => Some(Self::UnsupportedOption),
            7 => Some(Self::NetworkFailure),
            8 => Some(Self::NoResources),
            9 => Some(Self::UnsupportedProtocol),
            10 => Some(Self::UserExceededQuota),
            11 => Some(Self::CannotProvideExternal),
            12 => Some(Self::AddressMismatch),
            other => Some(Self::Other(other)),
        }
    }
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<T> {
    /// It was done.
    Done {
        /// Seconds since the server's mappings were all lost (section 8.5).
        epoch: u32,
        /// What the question was for.
        what: T,
    },
    /// It was not.
    Failed(Code),
    /// It is of another version: a server of NAT-PMP alone (section 9).
    OtherVersion,
}

/// A mapping that is asked for (section 11.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where the question comes from, and where is forwarded to.
    pub client: Ipv4Addr,
    /// Whose it is.
    pub nonce: [u8; 12],
    /// The transport protocol.
    pub transport: Transport,
    /// The client's port.
    pub internal: u16,
    /// The gateway's port; 0 if the mapping is to end.
    pub external: u16,
    /// For how many seconds; 0 if the mapping is to end.
    pub lifetime: u32,
    /// Whether another port than that is none.
    pub no_other: bool,
}

/// A mapping that was given (section 11.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The gateway's port.
    pub external: u16,
    /// The outer address, if it is one of IPv4.
    pub outer: Option<Ipv4Addr>,
    /// For how many seconds.
    pub lifetime: u32,
}

/// The question whether a server is there (section 14.1).
#[must_use]
pub fn ask_announce(client: Ipv4Addr) -> Vec<u8> {
    header(ANNOUNCE, 0, client)
}

/// The question for a mapping, or for its end.
#[must_use]
pub fn ask_mapping(wanted: &Wanted) -> Vec<u8> {
    let mut out = header(MAP, wanted.lifetime, wanted.client);
    out.put_slice(&wanted.nonce);
    out.put_u8(protocol(wanted.transport));
    out.put_bytes(0, 3);
    out.put_u16(wanted.internal);
    out.put_u16(wanted.external);
    out.put_u128(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().to_bits());
    if wanted.no_other {
        out.put_slice(&[PREFER_FAILURE, 0, 0, 0]);
    }
    out
}

/// Reads the answer to [`ask_announce`]; none if this is no such answer.
#[must_use]
pub fn announce(datagram: &[u8]) -> Option<Said<()>> {
    said(datagram, ANNOUNCE, |_, _| Some(()))
}

/// Reads the answer to [`ask_mapping`]; none if this is no such answer.
#[must_use]
pub fn mapping(datagram: &[u8], wanted: &Wanted) -> Option<Said<Mapped>> {
    said(datagram, MAP, |lifetime, mut rest| {
        let mut nonce = [0; 12];
        rest.try_copy_to_slice(&mut nonce).ok()?;
        let transport = rest.try_get_u8().ok()?;
        rest.try_get_uint(3).ok()?;
        let (internal, external) = (rest.try_get_u16().ok()?, rest.try_get_u16().ok()?);
        let outer = Ipv6Addr::from_bits(rest.try_get_u128().ok()?).to_ipv4_mapped();
        let asked = (wanted.nonce, protocol(wanted.transport), wanted.internal);
        let outer = outer.filter(|outer| !outer.is_unspecified());
        (asked == (nonce, transport, internal)).then_some(Mapped { external, outer, lifetime })
    })
}

/// The epoch of an announcement (section 14.1.3); none if this is no such announcement.
#[must_use]
pub fn announced(datagram: &[u8]) -> Option<u32> {
    match announce(datagram)? {
        Said::Done { epoch, .. } => Some(epoch),
        Said::Failed(_) | Said::OtherVersion => None,
    }
}

fn header(opcode: u8, lifetime: u32, client: Ipv4Addr) -> Vec<u8> {
    let mut out = vec![VERSION, opcode, 0, 0];
    out.put_u32(lifetime);
    out.put_u128(client.to_ipv6_mapped().to_bits());
    out
}

/// Those of IANA.
fn protocol(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    }
}

/// Section 8.3. A failure says what it is of as well, but for that of the version.
fn said<T>(datagram: &[u8], opcode: u8, what: impl FnOnce(u32, &[u8]) -> Option<T>) -> Option<Said<T>> {
    let mut rest = datagram;
    let (version, answers) = (rest.try_get_u8().ok()?, rest.try_get_u8().ok()?);
    if version < VERSION {
        // That of a server of NAT-PMP may lack the mark of an answer (RFC 6886, section 3.5).
        return (answers & ANSWER != 0 || version == 0 && datagram.len() >= 4).then_some(Said::OtherVersion);
    }
    let length = datagram.len();
    let fits = (HEADER_LENGTH..=LONGEST).contains(&length) && length.is_multiple_of(4);
    if version != VERSION || !fits || answers & ANSWER == 0 {
        return None;
    }
    rest.try_get_u8().ok()?;
    let code = Code::of(rest.try_get_u8().ok()?);
    let (lifetime, epoch) = (rest.try_get_u32().ok()?, rest.try_get_u32().ok()?);
    let rest = datagram.get(HEADER_LENGTH..)?;
    if code == Some(Code::UnsupportedVersion) {
        return Some(Said::Failed(Code::UnsupportedVersion));
    }
    let what = (answers == opcode | ANSWER).then(|| what(lifetime, rest)).flatten()?;
    Some(code.map_or(Said::Done { epoch, what }, Said::Failed))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_question_for_a_mapping_is_written_as_the_standard_has_it() {
        let mut expected = vec![2, 1, 0, 0, 0, 0, 0x1c, 0x20];
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7]);
        expected.extend([7; 12]);
        expected.extend([6, 0, 0, 0, 0, 80, 0x1f, 0x90]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(ask_mapping(&Wanted { no_other: false, ..WANTED }), expected);
        expected.extend([2, 0, 0, 0]);
        assert_eq!(ask_mapping(&WANTED), expected);
    }

    #[test]
    fn a_mapping_is_read_if_it_is_the_one_that_was_asked_for_by_pcp() {
        let what = Mapped { external: 8081, outer: Some(Ipv4Addr::new(198, 51, 100, 1)), lifetime: 60 };
        let answer = answer(0);
        assert_eq!(mapping(&answer, &WANTED), Some(Said::Done { epoch: 9, what }));
        assert_eq!(mapping(&answer, &Wanted { nonce: [8; 12], ..WANTED }), None);
        assert_eq!(mapping(&answer, &Wanted { internal: 81, ..WANTED }), None);
        assert_eq!(mapping(&answer, &Wanted { transport: Transport::Udp, ..WANTED }), None);
        assert_eq!(announce(&answer), None);
        for end in 0..answer.len() {
            assert_eq!(mapping(&answer[..end], &WANTED), None);
        }
        let with_option = [answer.as_slice(), &[2, 0, 0, 0]].concat();
        assert_eq!(mapping(&with_option, &WANTED), Some(Said::Done { epoch: 9, what }));
        assert_eq!(mapping(&[answer.as_slice(), &[0; 2000]].concat(), &WANTED), None);
    }

    #[test]
    fn a_failure_is_read_if_it_is_of_the_mapping_that_was_asked_for() {
        for (number, code) in [
            (1, Code::UnsupportedVersion),
            (2, Code::NotAuthorized),
            (3, Code::Other(3)),
            (4, Code::UnsupportedOpcode),
            (5, Code::UnsupportedOption),
            (7, Code::NetworkFailure),
            (8, Code::NoResources),
            (9, Code::UnsupportedProtocol),
            (10, Code::UserExceededQuota),
            (11, Code::CannotProvideExternal),
            (12, Code::AddressMismatch),
            (255, Code::Other(255)),
        ] {
            assert_eq!(mapping(&answer(number), &WANTED), Some(Said::Failed(code)));
            let other = Wanted { nonce: [8; 12], ..WANTED };
            assert_eq!(mapping(&answer(number), &other).is_some(), code == Code::UnsupportedVersion);
        }
    }

    #[test]
    fn an_announcement_tells_the_epoch() {
        let mut announcement = vec![2, 128, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        announcement.resize(24, 0);
        assert_eq!(announced(&announcement), Some(256));
        announcement[3] = 2;
        assert_eq!(announced(&announcement), None);
        assert_eq!(announced(&ask_announce(Ipv4Addr::LOCALHOST)), None);
    }

    #[test]
    fn a_server_of_nat_pmp_alone_is_of_another_version() {
        assert_eq!(announce(&[0, 128, 0, 1, 0, 0, 0, 1]), Some(Said::OtherVersion));
        assert_eq!(announce(&[0, 0, 0, 1, 0, 0, 0, 1]), Some(Said::OtherVersion));
        assert_eq!(announce(&[1, 0]), None);
        assert_eq!(announce(&[0xff; 24]), None);
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_reader_of_pcp_panic(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let _read = (announce(&octets), mapping(&octets, &WANTED), announced(&octets));
        }

        #[test]
        fn a_server_that_echoes_a_pcp_question_has_not_answered_it(external: u16, lifetime: u32, no_other: bool) {
            let wanted = Wanted { external, lifetime, no_other, ..WANTED };
            prop_assert_eq!(mapping(&ask_mapping(&wanted), &wanted), None);
        }
    }

    const WANTED: Wanted = Wanted {
        client: Ipv4Addr::new(192, 0, 2, 7),
        nonce: [7; 12],
        transport: Transport::Tcp,
        internal: 80,
        external: 8080,
        lifetime: 7200,
        no_other: true,
    };

    fn answer(code: u8) -> Vec<u8> {
        let mut answer = vec![2, 129, 0, code, 0, 0, 0, 60, 0, 0, 0, 9];
        answer.extend([0; 12]);
        answer.extend([7; 12]);
        answer.extend([6, 0, 0, 0, 0, 80, 0x1f, 0x91]);
        answer.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 51, 100, 1]);
        answer
    }
}
