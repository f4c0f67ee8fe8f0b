//! The messages that a client sends.

use std::net::Ipv4Addr;

use dhcproto::{
    Encodable,
    error::EncodeResult,
    v4::{DhcpOption, Flags, Message, MessageType, OptionCode},
};

use crate::{ClientConfig, MessageKind};

/// Some relays and servers drop what is shorter than a BOOTP message (RFC 951, RFC 1542 section 2.1).
const MINIMUM_LENGTH: usize = 300;
/// Option 57: what fits in an Ethernet frame.
const MAXIMUM_LENGTH: u16 = 1472;

/// What a message is, with what its form needs (RFC 2131 tables 4 and 5).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    Discover {
        requested: Option<Ipv4Addr>,
    },
    /// REQUEST that takes an offer.
    Selecting {
        address: Ipv4Addr,
        server_id: Ipv4Addr,
    },
    /// REQUEST that confirms a remembered address.
    Reboot {
        address: Ipv4Addr,
    },
    /// REQUEST that extends a lease in use; the same for RENEWING and REBINDING.
    Extend {
        address: Ipv4Addr,
    },
    Decline {
        address: Ipv4Addr,
        server_id: Ipv4Addr,
    },
    Release {
        address: Ipv4Addr,
        server_id: Ipv4Addr,
    },
}

/// The fields that change from message to message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) xid: u32,
    pub(crate) secs: u16,
    pub(crate) broadcast: bool,
}

impl Form {
    pub(crate) fn kind(self) -> MessageKind {
        match self {
            Self::Discover { .. } => MessageKind::Discover,
            Self::Selecting { .. } | Self::Reboot { .. } | Self::Extend { .. } => MessageKind::Request,
            Self::Decline { .. } => MessageKind::Decline,
            Self::Release { .. } => MessageKind::Release,
        }
    }

    /// The address that the client may use as its own when it sends this: `ciaddr` and IP source.
    pub(crate) fn own_address(self) -> Ipv4Addr {
        match self {
            Self::Extend { address } | Self::Release { address, .. } => address,
            Self::Discover { .. } | Self::Selecting { .. } | Self::Reboot { .. } | Self::Decline { .. } => {
                Ipv4Addr::UNSPECIFIED
            }
        }
    }
}

/// The octets of a BOOTP message in `form`.
pub(crate) fn encode(config: &ClientConfig, header: Header, form: Form) -> EncodeResult<Vec<u8>> {
    let none = Ipv4Addr::UNSPECIFIED;
    let hardware_address = &config.identity.hardware_address;
    let mut message =
        Message::new_with_id(header.xid, form.own_address(), none, none, none, hardware_address);
    message.set_secs(header.secs);
    if header.broadcast {
        message.set_flags(Flags::default().set_broadcast());
    }

    let options = message.opts_mut();
    options.insert(DhcpOption::ClientIdentifier(config.identity.client_id.clone()));
    let (message_type, requested, server_id) = match form {
        Form::Discover { requested } => (MessageType::Discover, requested, None),
        Form::Selecting { address, server_id } => (MessageType::Request, Some(address), Some(server_id)),
        Form::Reboot { address } => (MessageType::Request, Some(address), None),
        Form::Extend { .. } => (MessageType::Request, None, None),
        Form::Decline { address, server_id } => (MessageType::Decline, Some(address), Some(server_id)),
        Form::Release { server_id, .. } => (MessageType::Release, None, Some(server_id)),
    };
    if matches!(message_type, MessageType::Discover | MessageType::Request) {
        let parameters = config.parameters.iter().copied().map(OptionCode::from).collect();
        options.insert(DhcpOption::ParameterRequestList(parameters));
        options.insert(DhcpOption::MaxMessageSize(MAXIMUM_LENGTH));
        if let Some(hostname) = &config.hostname {
            options.insert(DhcpOption::Hostname(hostname.clone()));
        }
    }
    options.insert(DhcpOption::MessageType(message_type));
    if let Some(requested) = requested {
        options.insert(DhcpOption::RequestedIpAddress(requested));
    }
    if let Some(server_id) = server_id {
        options.insert(DhcpOption::ServerIdentifier(server_id));
    }

    let mut octets = message.to_vec()?;
    if octets.len() < MINIMUM_LENGTH {
        octets.resize(MINIMUM_LENGTH, 0);
    }
    Ok(octets)
}
