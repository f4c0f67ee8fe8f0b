//! What a script may say: how ports are asked for, what is wanted, and what the gateway answers.

use std::{net::Ipv4Addr, time::Duration};

use arbitrary::Arbitrary;
use foghorn_portmap::{
    Answer, Ask, Client, Config, Entry, Fault, Mapping, Notice, Port, Protocol, Request, Transport,
};

use super::PREFIX;

#[derive(Arbitrary, Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u16,
    protocols: [Option<Speech>; 3],
    another: bool,
    all_ports: bool,
}

impl Settings {
    pub(crate) fn config(&self) -> Config {
        let protocols = self.protocols.iter().flatten().map(|speech| speech.protocol()).collect();
        let ports = if self.all_ports { vec![1..=u16::MAX] } else { vec![1_000..=1_003, 1_010..=1_300] };
        Config { protocols, another: self.another, ports }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Speech {
    Igd,
    Pcp,
    NatPmp,
}

impl Speech {
    fn protocol(self) -> Protocol {
        match self {
            Self::Igd => Protocol::Igd,
            Self::Pcp => Protocol::Pcp,
            Self::NatPmp => Protocol::NatPmp,
        }
    }
}

#[derive(Arbitrary, Debug)]
pub(crate) enum Step {
    Want(Wish),
    Unwant(u8),
    End(u8),
    Lease(u8, Option<u16>),
    Move(u8, u8),
    Lose(u8),
    Configure(Settings),
    Gateway(Option<u8>),
    Hear(Said),
    /// From now on it answers this kind of question so.
    Manner(Kind, Lie),
    /// It answers the question that is open so.
    Answer(Lie),
    /// An answer to a question of another number.
    Stray(u64, Lie),
    Pass(u16),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) claim: u8,
    is_udp: bool,
    port: u8,
    pub(crate) external: u8,
    pub(crate) had: Option<u8>,
}

impl Wish {
    pub(crate) fn port(self) -> Port {
        let transport = if self.is_udp { Transport::Udp } else { Transport::Tcp };
        Port { transport, number: u16::from(self.port % 4) + 80 }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Said {
    Alive,
    ByeBye,
    Epoch(Speech, u32),
}

impl From<Said> for Notice {
    fn from(said: Said) -> Self {
        match said {
            Said::Alive => Self::Alive,
            Said::ByeBye => Self::ByeBye,
            Said::Epoch(speech, seconds) => Self::Epoch(speech.protocol(), seconds),
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Kind {
    Find,
    Outer,
    Map,
    Unmap,
    Entry,
    List,
}

impl Kind {
    /// As [`Ask::name`] has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Find => "find",
            Self::Outer => "outer",
            Self::Map => "map",
            Self::Unmap => "unmap",
            Self::Entry => "entry",
            Self::List => "list",
        }
    }
}

/// An answer, true or not.
#[derive(Arbitrary, Clone, Debug, Default)]
pub(crate) enum Lie {
    /// All that is asked for is said to be done, and nothing is in the table.
    #[default]
    Done,
    Found {
        outer: Option<[u8; 4]>,
        epoch: Option<u32>,
    },
    Mapped {
        external: Option<u16>,
        lease: Option<u32>,
        epoch: Option<u32>,
    },
    Unmapped,
    Entry(Option<Shown>),
    Fault(Trouble),
}

/// An entry; what is not given is as it should be.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) struct Shown {
    external: Option<u16>,
    client: Option<Host>,
    port: Option<u16>,
    description: Described,
    permanent: bool,
}

#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Host {
    Address([u8; 4]),
    Named(String),
}

#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Described {
    /// So many characters of that of a claim.
    Claim(u8, u8),
    /// Of a claim that is no more.
    Gone(u8),
    Other(String),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Trouble {
    NotBound,
    Silent,
    Elsewhere([u8; 4]),
    Unsupported,
    Taken,
    SamePortOnly,
    PermanentOnly,
    Full,
    Arguments,
    Refused,
    Broken,
}

impl Lie {
    pub(crate) fn answer(&self, request: &Request) -> Result<Answer, Fault> {
        match self {
            Self::Done => Ok(done(&request.ask)),
            Self::Found { outer, epoch } => {
                Ok(Answer::Found { outer: outer.map(Ipv4Addr::from), epoch: clock(*epoch, request) })
            }
            Self::Mapped { external, lease, epoch } => {
                // By UPnP no other port is given than the one that was asked for.
                let other = external.filter(|_| request.protocol != Protocol::Igd);
                let external = other.or(asked(&request.ask).map(|asked| asked.external)).unwrap_or(1);
                let lease = lease.map(|seconds| Duration::from_secs(seconds.into()));
                Ok(Answer::Mapped { external, lease, outer: None, epoch: clock(*epoch, request) })
            }
            Self::Unmapped => Ok(Answer::Unmapped),
            Self::Entry(shown) => Ok(Answer::Entry(shown.as_ref().map(|shown| shown.entry(request)))),
            Self::Fault(trouble) => Err(trouble.fault()),
        }
    }
}

/// A clock that jumps by so much with each question.
fn clock(by: Option<u32>, request: &Request) -> Option<u32> {
    let questions = u32::try_from(request.number % 1_000_000).unwrap_or_default();
    by.map(|by| by.wrapping_mul(questions))
}

fn done(ask: &Ask) -> Answer {
    match ask {
        Ask::Find | Ask::Outer => Answer::Found { outer: None, epoch: None },
        Ask::Map(Mapping { external, lease, .. }) => {
            Answer::Mapped { external: *external, lease: *lease, outer: None, epoch: None }
        }
        Ask::Unmap(_) => Answer::Unmapped,
        Ask::Entry(_) | Ask::List(_) => Answer::Entry(None),
    }
}

fn asked(ask: &Ask) -> Option<&Mapping> {
    match ask {
        Ask::Map(mapping) | Ask::Unmap(mapping) => Some(mapping),
        Ask::Find | Ask::Outer | Ask::Entry(_) | Ask::List(_) => None,
    }
}

impl Shown {
    fn entry(&self, request: &Request) -> Entry {
        let external = match &request.ask {
            Ask::Entry(port) => *port,
            // Each number has another port, if none is given.
            Ask::List(number) => {
                let number = u16::try_from(*number % 60_000).unwrap_or_default() + 1_000;
                Port { transport: Transport::Tcp, number: self.external.unwrap_or(number) }
            }
            Ask::Find | Ask::Outer | Ask::Map(_) | Ask::Unmap(_) => {
                Port { transport: Transport::Tcp, number: 1 }
            }
        };
        let client = match &self.client {
            None => Client::Address(request.source),
            Some(Host::Address(address)) => Client::Address((*address).into()),
            Some(Host::Named(name)) => Client::Named(name.clone()),
        };
        let description = match &self.description {
            Described::Claim(claim, kept) => {
                let whole = format!("{PREFIX}{:08x} shop/web", claim % 4);
                whole.chars().take((*kept).into()).collect()
            }
            Described::Gone(tag) => format!("{PREFIX}dead{tag:04x} gone/web"),
            Described::Other(text) => text.clone(),
        };
        Entry { external, client, port: self.port.unwrap_or(80), description, permanent: self.permanent }
    }
}

impl Trouble {
    fn fault(self) -> Fault {
        match self {
            Self::NotBound => Fault::NotBound("not here".to_owned()),
            Self::Silent => Fault::Silent("lost".to_owned()),
            Self::Elsewhere(address) => Fault::Elsewhere(address.into()),
            Self::Unsupported => Fault::Unsupported("401".to_owned()),
            Self::Taken => Fault::Taken,
            Self::SamePortOnly => Fault::SamePortOnly,
            Self::PermanentOnly => Fault::PermanentOnly,
            Self::Full => Fault::Full,
            Self::Arguments => Fault::Arguments("402".to_owned()),
            Self::Refused => Fault::Refused("606".to_owned()),
            Self::Broken => Fault::Broken("?".to_owned()),
        }
    }
}
