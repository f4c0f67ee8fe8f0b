//! DHCP messages as a server sees them, read and written by dhcproto: a second opinion on the client's own octets.

use std::net::Ipv4Addr;

use dhcproto::{
    Decodable as _, Encodable as _,
    v4::{DhcpOption, Message, MessageType, Opcode, OptionCode},
};
use foghorn_dhcp::Transmit;

/// What a client sent.
#[derive(Clone, Debug)]
pub struct Question {
    /// What it is.
    pub kind: MessageType,
    /// Transaction identifier.
    pub xid: u32,
    /// `chaddr`.
    pub hardware_address: [u8; 6],
    /// Option 61.
    pub client_id: Vec<u8>,
    /// `ciaddr`: the address in use, else unspecified.
    pub in_use: Ipv4Addr,
    /// Option 50.
    pub requested: Option<Ipv4Addr>,
    /// Option 54.
    pub server_id: Option<Ipv4Addr>,
    /// Option 80.
    pub rapid_commit: bool,
}

impl Question {
    /// Reads what a client sends.
    ///
    /// # Panics
    /// If it is no DHCP message, or lacks what every message of a client has: the client is to blame.
    #[must_use]
    pub fn read(transmit: &Transmit) -> Self {
        let message =
            Message::from_bytes(&transmit.message).ok().filter(|m| m.opcode() == Opcode::BootRequest);
        let read = message.as_ref().and_then(Self::of);
        assert!(read.is_some(), "no message of a client: {:02x?}", transmit.message);
        read.unwrap_or_else(|| unreachable!())
    }

    fn of(message: &Message) -> Option<Self> {
        let options = message.opts();
        let Some(DhcpOption::ClientIdentifier(client_id)) = options.get(OptionCode::ClientIdentifier) else {
            return None;
        };
        let requested = options.get(OptionCode::RequestedIpAddress).and_then(address);
        let server_id = options.get(OptionCode::ServerIdentifier).and_then(address);
        Some(Self {
            kind: options.msg_type()?,
            xid: message.xid(),
            hardware_address: message.chaddr().try_into().ok()?,
            client_id: client_id.clone(),
            in_use: message.ciaddr(),
            requested,
            server_id,
            rapid_commit: options.contains(OptionCode::RapidCommit),
        })
    }
}

fn address(option: &DhcpOption) -> Option<Ipv4Addr> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "dhcproto knows more than a hundred options")]
    match option {
        DhcpOption::RequestedIpAddress(address) | DhcpOption::ServerIdentifier(address) => Some(*address),
        _ => None,
    }
}

/// The octets of a server's message with `address` in `yiaddr`; `None` if dhcproto cannot write an option.
pub fn answer(
    kind: MessageType,
    xid: u32,
    hardware_address: [u8; 6],
    address: Ipv4Addr,
    options: impl IntoIterator<Item = DhcpOption>,
) -> Option<Vec<u8>> {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(xid, none, address, none, none, &hardware_address);
    message.set_opcode(Opcode::BootReply);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    for option in options {
        message.opts_mut().insert(option);
    }
    message.to_vec().ok()
}
