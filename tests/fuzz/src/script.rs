//! What a script may say: settings of a client, and steps.

use std::{net::Ipv4Addr, time::Duration};

use arbitrary::Arbitrary;
use dhcproto::v4::MessageType;
use foghorn_dhcp::{ClientConfig, Family, Identity, Mode, Owner};

#[derive(Arbitrary, Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) mode: Way,
    pub(crate) finds_mode: bool,
    pub(crate) jitter_ms: u8,
    pub(crate) choices: Choices,
}

/// What can be changed while the client runs.
#[derive(Arbitrary, Debug)]
pub(crate) struct Choices {
    pub(crate) broadcast: bool,
    pub(crate) requested: Option<Address>,
    pub(crate) rapid_commit: bool,
    pub(crate) offer_wait_ms: u16,
    pub(crate) confirm_takeover: bool,
    pub(crate) hostname: Option<String>,
    pub(crate) fqdn: Option<String>,
    pub(crate) vendor_class: Option<Vec<u8>>,
    pub(crate) user_classes: Vec<Vec<u8>>,
    pub(crate) options: Vec<(u8, Vec<u8>)>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Way {
    VirtualMac,
    VirtualChaddr,
    NodeMac,
}

#[derive(Arbitrary, Debug)]
pub(crate) enum Step {
    Start,
    Resume(Remembered),
    Recheck(Remembered),
    Confirm(Address),
    /// A well-formed reply.
    Reply(Told),
    /// A well-formed reply that is for somebody else.
    Foreign(Foreign, Told),
    /// A reply with arbitrary options, and those it must have.
    Options(Kind, Vec<u8>),
    /// A message of arbitrary octets.
    Message(Vec<u8>),
    /// A well-formed reply whose address is not to be had.
    Reject {
        told: Told,
        is_shared: bool,
    },
    Malformed,
    Configure(Choices),
    Clear,
    Taken,
    Forbidden,
    Shared,
    Conflict,
    Refused,
    Release,
    LinkUp,
    /// The next timer is run in time.
    Timer,
    /// The timers in between are run in time.
    Pass {
        seconds: u16,
    },
    /// The process is stopped meanwhile.
    Jump {
        ms: u32,
    },
}

/// An address of a few, so that scripts come back to it, or any.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Address {
    One,
    Another,
    Any([u8; 4]),
}

#[derive(Arbitrary, Debug)]
pub(crate) struct Remembered {
    pub(crate) address: Address,
    pub(crate) server: Address,
    pub(crate) renew_in: u32,
    pub(crate) rebind_in: u32,
    pub(crate) expires_in: u32,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Kind {
    Offer,
    Ack,
    Nak,
}

/// What is foreign in a reply.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Foreign {
    Xid,
    HardwareAddress,
    ClientId,
}

#[derive(Arbitrary, Debug)]
pub(crate) struct Told {
    pub(crate) kind: Kind,
    pub(crate) address: Address,
    pub(crate) server: Option<Address>,
    pub(crate) lease_time: Option<Time>,
    pub(crate) t1: Option<Time>,
    pub(crate) t2: Option<Time>,
    pub(crate) rapid_commit: bool,
}

/// A time that servers give, or any.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Time {
    Hour,
    Infinite,
    Short(u8),
    Any(u32),
}

impl From<Choices> for ClientConfig {
    fn from(choices: Choices) -> Self {
        let owner =
            Owner { cluster: "c", plane: "public", namespace: "default", service: "web", family: Family::V4 };
        Self {
            broadcast: choices.broadcast,
            requested_address: choices.requested.map(Ipv4Addr::from),
            rapid_commit: choices.rapid_commit,
            offer_wait: Duration::from_millis(choices.offer_wait_ms.into()),
            confirm_takeover: choices.confirm_takeover,
            hostname: choices.hostname,
            fqdn: choices.fqdn,
            vendor_class: choices.vendor_class,
            user_classes: choices.user_classes,
            options: choices.options,
            ..Self::new(Identity::derive(&owner))
        }
    }
}

impl From<Way> for Mode {
    fn from(way: Way) -> Self {
        match way {
            Way::VirtualMac => Self::VirtualMac,
            Way::VirtualChaddr => Self::VirtualChaddr,
            Way::NodeMac => Self::NodeMac,
        }
    }
}

impl From<Kind> for MessageType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Offer => Self::Offer,
            Kind::Ack => Self::Ack,
            Kind::Nak => Self::Nak,
        }
    }
}

impl From<Address> for Ipv4Addr {
    fn from(address: Address) -> Self {
        match address {
            Address::One => Self::new(192, 0, 2, 1),
            Address::Another => Self::new(192, 0, 2, 2),
            Address::Any(octets) => octets.into(),
        }
    }
}

impl From<Time> for u32 {
    fn from(time: Time) -> Self {
        match time {
            Time::Hour => 3600,
            Time::Infinite => Self::MAX,
            Time::Short(seconds) => seconds.into(),
            Time::Any(seconds) => seconds,
        }
    }
}
