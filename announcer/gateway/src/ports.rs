//! The ports that gateways listen on and speak from.

/// UDP ports. Tests have others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Where SSDP is spoken: 1900 (UPnP Device Architecture 1.1, section 1).
    pub ssdp: u16,
    /// Where servers of NAT-PMP and PCP listen: 5351 (RFC 6887, section 19.1).
    pub server: u16,
    /// Where their clients hear what they announce: 5350 (RFC 6887, section 19.1).
    pub announcements: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { ssdp: 1900, server: 5351, announcements: 5350 }
    }
}
