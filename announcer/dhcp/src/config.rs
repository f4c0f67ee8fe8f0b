//! What a client is told once.

use std::{net::Ipv4Addr, time::Duration};

use crate::{Identity, Mode};

/// Configuration of one [`Client`](crate::Client).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Who the client is to the server.
    pub identity: Identity,
    /// How its frames are made.
    pub mode: Mode,
    /// Whether the client finds out by itself if the network carries [`Mode::VirtualMac`]: where two DISCOVERs stay
    /// silent it tries [`Mode::VirtualChaddr`] in turn. `mode` is then what it begins with.
    pub finds_mode: bool,
    /// Option 12. What is no letter, digit or inner hyphen of a label is replaced or left out.
    pub hostname: Option<String>,
    /// Option 81, sent in place of option 12 (RFC 4702 section 3.1); cleaned in the same way. A whole name ends with a
    /// dot; the server completes another one.
    pub fqdn: Option<String>,
    /// Option 60.
    pub vendor_class: Option<Vec<u8>>,
    /// Option 77 (RFC 3004). Each has 1 to 255 octets; others are left out.
    pub user_classes: Vec<Vec<u8>>,
    /// Further options of each DISCOVER and REQUEST: code and value. Those that the client sends itself are left out.
    pub options: Vec<(u8, Vec<u8>)>,
    /// Ask for answers by broadcast (RFC 2131 section 4.1). Where two DISCOVERs stay silent the client tries the
    /// other way in turn, and keeps what the server answered to.
    pub broadcast: bool,
    /// Let a server answer DISCOVER with ACK (RFC 4039).
    pub rapid_commit: bool,
    /// How long offers are collected before the best is taken: one of the address wished for, else one of the last
    /// lease's server, else the first. Zero takes the first.
    pub offer_wait: Duration,
    /// Option 50 of the first DISCOVER: a wish, which the server may ignore.
    pub requested_address: Option<Ipv4Addr>,
    /// Whether a lease that is taken over is confirmed at once, or only renewed at its T1.
    pub confirm_takeover: bool,
    /// Upper bound of the random wait before the first acquisition or confirmation begins. Zero starts at once: the
    /// caller, who knows how many exchanges are in flight, spreads them.
    pub start_jitter: Duration,
    /// Option 55, in order of preference; the same in every DISCOVER and REQUEST (RFC 2131 section 3.5).
    pub parameters: Vec<u8>,
}

/// Subnet mask, classless routes (before the router: RFC 3442), router, lease time, server identifier, T1 and T2.
pub const PARAMETERS: [u8; 7] = [1, 121, 3, 51, 54, 58, 59];

impl ClientConfig {
    /// The defaults for `identity`: its own hardware address on the frames, no names, classes or further options,
    /// unicast answers, the first offer, no wish, no jitter.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            mode: Mode::VirtualMac,
            finds_mode: false,
            hostname: None,
            fqdn: None,
            vendor_class: None,
            user_classes: Vec::new(),
            options: Vec::new(),
            broadcast: false,
            rapid_commit: false,
            offer_wait: Duration::ZERO,
            requested_address: None,
            confirm_takeover: true,
            start_jitter: Duration::ZERO,
            parameters: PARAMETERS.to_vec(),
        }
    }
}
