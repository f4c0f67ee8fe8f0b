//! The messages that a client sends.

use std::net::Ipv4Addr;

use dhcproto::{
    Encodable,
    error::EncodeResult,
    v4::{DhcpOption, Flags, Message, MessageType, OptionCode},
};

use crate::{ClientConfig, MessageKind, names, options::code};

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

    let asks = matches!(form.kind(), MessageKind::Discover | MessageKind::Request);
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
    if asks {
        let parameters = config.parameters.iter().copied().map(OptionCode::from).collect();
        options.insert(DhcpOption::ParameterRequestList(parameters));
        options.insert(DhcpOption::MaxMessageSize(MAXIMUM_LENGTH));
    }
    options.insert(DhcpOption::MessageType(message_type));
    if let Some(requested) = requested {
        options.insert(DhcpOption::RequestedIpAddress(requested));
    }
    if let Some(server_id) = server_id {
        options.insert(DhcpOption::ServerIdentifier(server_id));
    }

    let mut octets = message.to_vec()?;
    if asks {
        append(&mut octets, &told(config));
    }
    if matches!(form, Form::Discover { .. }) && config.rapid_commit {
        append(&mut octets, &[(code::RAPID_COMMIT, Vec::new())]);
    }
    if octets.len() < MINIMUM_LENGTH {
        octets.resize(MINIMUM_LENGTH, 0);
    }
    Ok(octets)
}

/// What the server is told about the client: names, classes, and what the configuration adds.
fn told(config: &ClientConfig) -> Vec<(u8, Vec<u8>)> {
    let mut told = Vec::new();
    // RFC 4702 section 3.1: not both.
    match config.fqdn.as_deref().and_then(names::fqdn) {
        Some(fqdn) => told.push((code::CLIENT_FQDN, fqdn)),
        None => told.extend(config.hostname.clone().map(|name| (code::HOSTNAME, name.into_bytes()))),
    }
    told.extend(config.vendor_class.clone().map(|class| (code::VENDOR_CLASS, class)));
    let mut classes = Vec::new();
    for class in &config.user_classes {
        if let Ok(length @ 1..) = u8::try_from(class.len()) {
            classes.push(length);
            classes.extend(class);
        }
    }
    if !classes.is_empty() {
        told.push((code::USER_CLASS, classes));
    }
    told.extend(config.options.iter().filter(|(code, _)| !code::OWN.contains(code)).cloned());
    told
}

/// Puts options before the end mark of a message. Those longer than 255 octets are split (RFC 3396 section 5), which
/// the encoder does not do for all.
fn append(message: &mut Vec<u8>, options: &[(u8, Vec<u8>)]) {
    let end = message.pop();
    for (code, value) in options {
        let mut rest = value.as_slice();
        loop {
            let (part, more) = rest.split_at(rest.len().min(usize::from(u8::MAX)));
            message.push(*code);
            message.extend(u8::try_from(part.len()));
            message.extend(part);
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
    }
    message.extend(end);
}
