//! What the machine is told, and what it wants done.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::Ipv4Addr,
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

/// How ports are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The protocols that are tried, in order of preference.
    pub protocols: Vec<Protocol>,
    /// Whether another of [`ports`](Self::ports) is taken in place of one that the gateway forwards already.
    pub another: bool,
    /// The gateway's ports that may be asked for.
    pub ports: Vec<RangeInclusive<u16>>,
}

/// A protocol that gateways speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// UPnP Internet Gateway Device, version 1 or 2.
    Igd,
    /// Port Control Protocol (RFC 6887).
    Pcp,
    /// NAT Port Mapping Protocol (RFC 6886).
    NatPmp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Igd => "UPnP",
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
        })
    }
}

/// A transport protocol that is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// A port of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The transport protocol.
    pub transport: Transport,
    /// Its number; never 0.
    pub number: u16,
}

/// What is to be forwarded to one claim that this node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The claim's address: where the gateway forwards to, and where requests come from.
    pub address: Ipv4Addr,
    /// What mappings say of whose they are. Its first 23 letters and digits are no other claim's: there are gateways that keep
    /// no more of it.
    pub description: String,
    /// For how long ports are asked for; none without an end.
    pub lease: Option<Duration>,
    /// A secret of the claim's: the mapping nonces of PCP are made of it.
    pub secret: [u8; 32],
    /// The gateway's port that each of the claim's ports is to have.
    pub ports: BTreeMap<Port, u16>,
    /// The gateway's port that each of them had last, as far as is known.
    pub had: BTreeMap<Port, u16>,
    /// Whether no more is wanted than that nothing is left at the gateway.
    pub ending: bool,
}

/// What is known of all claims of a plane, whoever holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plane {
    /// The gateway's ports that claims of other nodes have, or come first for, with the claims' names.
    pub reserved: BTreeMap<Port, Arc<str>>,
    /// What the descriptions of all claims of the plane begin with, and of no other plane.
    pub prefix: String,
    /// The descriptions of all claims that there are.
    pub descriptions: BTreeSet<String>,
}

/// What the machine is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// How ports are asked for.
    Config(Config),
    /// The gateway, if there is one.
    Gateway(Option<Ipv4Addr>),
    /// Claims that this node holds, and the ports that are to be forwarded to each. Of a claim that is not here any more nothing
    /// is said to the gateway: another node has it.
    Claims {
        /// By the claims' names.
        wanted: BTreeMap<Arc<str>, Wanted>,
        /// What is known of all claims of the plane.
        plane: Plane,
    },
    /// What came of the request of this number.
    Answered {
        /// [`Request::number`].
        number: u64,
        /// The answer.
        answer: Result<Answer, Fault>,
    },
    /// What the gateway has said without being asked.
    Heard(Notice),
}

/// What a gateway says without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// By SSDP: it is there, and has not been before or is another one than before.
    Alive,
    /// By SSDP: it goes.
    ByeBye,
    /// By PCP or NAT-PMP: its clock of mappings reads so many seconds. Once it reads less than was to be expected, mappings are
    /// lost.
    Epoch(Protocol, u32),
}

/// One question to the gateway. There is one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Counts requests.
    pub number: u64,
    /// Who is asked, and nobody else.
    pub gateway: Ipv4Addr,
    /// By which protocol.
    pub protocol: Protocol,
    /// The address that the question comes from: a claim's that this node holds.
    pub source: Ipv4Addr,
    /// The claim's name.
    pub claim: Arc<str>,
    /// The question.
    pub ask: Ask,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Whether it speaks the protocol. Answered by [`Answer::Found`]. Only this asks by multicast, and only this is needed before
    /// the others.
    Find,
    /// Its outer address, and its epoch if it has one. Answered by [`Answer::Found`].
    Outer,
    /// To forward a port. Answered by [`Answer::Mapped`].
    Map(Mapping),
    /// To forward a port no longer. Answered by [`Answer::Unmapped`], also if it did not forward it.
    Unmap(Mapping),
    /// IGD only: what it forwards a port of its own to. Answered by [`Answer::Entry`].
    Entry(Port),
    /// IGD only: what it forwards, by a number from 0 on. Answered by [`Answer::Entry`], with none after the last.
    List(u32),
}

impl Ask {
    /// What it is called in metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Find => "find",
            Self::Outer => "outer",
            Self::Map(_) => "map",
            Self::Unmap(_) => "unmap",
            Self::Entry(_) => "entry",
            Self::List(_) => "list",
        }
    }
}

/// One port that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The port of the Service, on the request's source address.
    pub port: Port,
    /// The gateway's port. With PCP and NAT-PMP it may give another one.
    pub external: u16,
    /// For how long; none without an end. PCP and NAT-PMP know no such: there it is the longest time.
    pub lease: Option<Duration>,
    /// IGD only: whose it is.
    pub description: String,
    /// PCP only: the mapping nonce.
    pub nonce: [u8; 12],
}

/// What a gateway answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is there.
    Found {
        /// Its outer address; none if it has none, or does not tell by this protocol.
        outer: Option<Ipv4Addr>,
        /// PCP and NAT-PMP: what its clock of mappings reads, in seconds.
        epoch: Option<u32>,
    },
    /// It forwards the port.
    Mapped {
        /// Its own port.
        external: u16,
        /// For how long; none without an end.
        lease: Option<Duration>,
        /// Its outer address, if it told.
        outer: Option<Ipv4Addr>,
        /// PCP and NAT-PMP: what its clock of mappings reads, in seconds.
        epoch: Option<u32>,
    },
    /// It does not forward the port, or no longer.
    Unmapped,
    /// What it forwards.
    Entry(Option<Entry>),
}

/// A mapping that a gateway has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The gateway's port.
    pub external: Port,
    /// The host to which it is forwarded.
    pub client: Client,
    /// That host's port.
    pub port: u16,
    /// Whose it is, as whoever made it says.
    pub description: String,
    /// Whether it is without an end.
    pub permanent: bool,
}

/// The host to which a gateway forwards a port, as the gateway shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Client {
    /// By its address.
    Address(Ipv4Addr),
    /// By a name that the gateway has for it, or not at all.
    Named(String),
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Named(name) if name.is_empty() => f.write_str("an unnamed host"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request's source is not an address of this node, or not yet.
    NotBound(String),
    /// Nothing came back in time, or nobody is there.
    Silent(String),
    /// Nothing came from it, but an answer that leads to this address did: a router may have an address of its own beside the
    /// one that hosts know it by.
    Elsewhere(Ipv4Addr),
    /// It does not speak the protocol.
    Unsupported(String),
    /// It forwards that port of its own to somebody else (IGD 718 and 729, PCP `CANNOT_PROVIDE_EXTERNAL`).
    Taken,
    /// It forwards ports to the same ports only (IGD 724).
    SamePortOnly,
    /// It takes mappings without an end only (IGD 725).
    PermanentOnly,
    /// It has no room for more (IGD 728, PCP `NO_RESOURCES` and `USER_EX_QUOTA`, NAT-PMP 4).
    Full,
    /// It refuses something in the question (IGD 402, 600, 601 and 605): the description, perhaps; in words.
    Arguments(String),
    /// It does not allow it (IGD 606, PCP and NAT-PMP `NOT_AUTHORIZED`), or refuses it otherwise; in words.
    Refused(String),
    /// What it says cannot be understood, or is too much; in words.
    Broken(String),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The gateway is to be asked.
    Ask(Request),
    /// How a claim's ports stand. Told when it changes.
    Report(Arc<str>, Report),
}

/// How a claim's ports stand at the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The gateway that is asked.
    pub gateway: Option<Ipv4Addr>,
    /// How it is spoken to, once it was found.
    pub protocol: Option<Protocol>,
    /// Its outer address, if it tells one.
    pub outer: Option<Ipv4Addr>,
    /// Each port.
    pub ports: BTreeMap<Port, Standing>,
    /// Nothing of the claim is left at the gateway that could be taken away.
    pub gone: bool,
}

/// How one port stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was not asked for yet.
    Asking,
    /// The gateway forwards it.
    Forwarded {
        /// The gateway's port.
        external: u16,
        /// Until when, on the machine's clock; none without an end.
        until: Option<foghorn_clock::Instant>,
        /// Whether it is without an end because the gateway takes no other.
        permanent_only: bool,
        /// What went wrong when it was asked to go on.
        trouble: Option<Trouble>,
    },
    /// The gateway does not forward it.
    Failed(Trouble),
    /// It is not wanted any more, and the gateway is asked to end it.
    Closing {
        /// The gateway's port.
        external: u16,
    },
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No gateway is known.
    NoGateway,
    /// The gateway does not answer, in any of the protocols; in words.
    NotFound(String),
    /// The gateway does not answer, but a router at this address does.
    Elsewhere(Ipv4Addr),
    /// No protocol is given to ask it by.
    NoProtocol,
    /// The gateway's port is another's: a host's, or a claim's by name.
    Taken(u16, String),
    /// The gateway's port is none of those that may be asked for.
    NotAllowed(u16),
    /// The gateway does not allow it, or fails; in words.
    Refused(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBound(why) => write!(f, "the Service's address is not on the node: {why}"),
            Self::Silent(why) => write!(f, "no answer: {why}"),
            Self::Elsewhere(address) => write!(f, "no answer, but one came from {address}"),
            Self::Unsupported(why) => write!(f, "not spoken: {why}"),
            Self::Taken => f.write_str("the port is taken"),
            Self::SamePortOnly => f.write_str("ports are forwarded to the same ports only"),
            Self::PermanentOnly => f.write_str("mappings without an end are taken only"),
            Self::Full => f.write_str("there is no room for more mappings"),
            Self::Arguments(why) | Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Broken(why) => write!(f, "the answer cannot be understood: {why}"),
        }
    }
}
