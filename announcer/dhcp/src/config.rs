//! What a client is told once.

use std::{net::Ipv4Addr, time::Duration};

use crate::Identity;

/// Configuration of one [`Client`](crate::Client).
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Who the client is to the server.
    pub identity: Identity,
    /// Option 12. What is no letter, digit or inner hyphen of a label is replaced or left out.
    pub hostname: Option<String>,
    /// Ask for answers by broadcast (RFC 2131 section 4.1). Where two DISCOVERs stay silent the client tries the
    /// other way in turn, and keeps what the server answered to.
    pub broadcast: bool,
    /// Option 50 of the first DISCOVER: a wish, which the server may ignore.
    pub requested_address: Option<Ipv4Addr>,
    /// Upper bound of the random wait before an acquisition or confirmation begins. Zero starts at once: the caller,
    /// who knows how many exchanges are in flight, spreads them.
    pub start_jitter: Duration,
    /// Option 55, in order of preference; the same in every DISCOVER and REQUEST (RFC 2131 section 3.5).
    pub parameters: Vec<u8>,
}

/// Subnet mask, router, lease time, server identifier, T1 and T2.
const PARAMETERS: [u8; 6] = [1, 3, 51, 54, 58, 59];

impl ClientConfig {
    /// The defaults for `identity`: no host name, unicast answers, no wish, no jitter.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            hostname: None,
            broadcast: false,
            requested_address: None,
            start_jitter: Duration::ZERO,
            parameters: PARAMETERS.to_vec(),
        }
    }
}
