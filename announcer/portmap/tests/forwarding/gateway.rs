//! A gateway as gateways are, to the machine's questions.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};

use foghorn_clock::Instant;
use foghorn_portmap::{Answer, Ask, Client, Entry, Fault, Mapping, Port, Protocol, Request};

/// Its outer address.
pub const OUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// What a gateway makes of descriptions and clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Whole,
    /// So many characters are kept.
    Cut(usize),
    /// What is no letter, digit or space becomes another sign.
    Replaced,
    /// What has anything but letters, digits and spaces is refused.
    Refused,
    /// Other words are in their place.
    Own,
    /// Hosts are shown by names.
    Named,
    /// So many characters are kept, and hosts are shown by names.
    CutAndNamed(usize),
}

impl Form {
    fn keep(self, description: &str) -> Result<String, Fault> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == ' ';
        match self {
            Self::Whole | Self::Named => Ok(description.to_owned()),
            Self::Cut(most) | Self::CutAndNamed(most) => Ok(description.chars().take(most).collect()),
            Self::Replaced => Ok(description.chars().map(|c| if plain(c) { c } else { '_' }).collect()),
            Self::Refused if !description.chars().all(plain) => Err(Fault::Arguments("402".into())),
            Self::Refused => Ok(description.to_owned()),
            Self::Own => Ok("UPnP".to_owned()),
        }
    }

    fn show(self, entry: &Entry) -> Entry {
        let client = match (self, &entry.client) {
            (Self::Named | Self::CutAndNamed(_), Client::Address(address)) => {
                Client::Named(format!("device-{}", address.octets()[3]))
            }
            (_, client) => client.clone(),
        };
        Entry { client, ..entry.clone() }
    }
}

/// A gateway, and what it forwards.
#[derive(Clone, Debug)]
pub struct Gateway {
    pub speaks: Vec<Protocol>,
    /// It forwards to whoever asks, and lets nobody end what is another's.
    pub secure: bool,
    pub permanent_only: bool,
    pub same_port_only: bool,
    pub blind: bool,
    pub form: Form,
    /// It refuses to forward anything, and does not say why.
    pub refuses: bool,
    /// It does not know how to forward anything.
    pub ignorant: bool,
    /// It forwards for no longer.
    pub longest: Option<Duration>,
    /// By how many seconds its clock jumps with each question.
    pub jumps: u32,
    /// The answer to what changes something next is lost.
    pub loses_answer: bool,
    /// It says that it has removed these, and has not.
    pub keeps: Vec<Port>,
    pub on: bool,
    pub started: Instant,
    pub table: BTreeMap<Port, (Entry, Option<Instant>, [u8; 12])>,
    /// Ports that it forwarded before it lost power, and were not asked for since.
    pub lost: BTreeSet<Port>,
    /// What was done to it, beside looking.
    pub changes: Vec<String>,
}

impl Gateway {
    pub fn speaking(speaks: &[Protocol]) -> Self {
        Self {
            speaks: speaks.to_vec(),
            secure: false,
            permanent_only: false,
            same_port_only: false,
            blind: false,
            form: Form::Whole,
            refuses: false,
            ignorant: false,
            longest: None,
            jumps: 0,
            loses_answer: false,
            keeps: Vec::new(),
            on: true,
            started: Instant::ZERO,
            table: BTreeMap::new(),
            lost: BTreeSet::new(),
            changes: Vec::new(),
        }
    }

    /// It lost power, and has it again.
    pub fn restart(&mut self, now: Instant) {
        self.lost.extend(std::mem::take(&mut self.table).into_keys());
        self.started = now;
    }

    /// What has ended is no more.
    pub fn forget(&mut self, now: Instant) {
        self.table.retain(|_, (_, until, _)| until.is_none_or(|until| until > now));
    }

    /// Somebody else's mapping.
    pub fn forward(&mut self, external: Port, client: Ipv4Addr, description: &str, permanent: bool) {
        let client = Client::Address(client);
        let description = self.form.keep(description).unwrap();
        let entry = Entry { external, client, port: 9, description, permanent };
        self.table.insert(external, (entry, None, [0; 12]));
    }

    /// What it forwards, as `TCP 443 > 203.0.113.50:8443`.
    pub fn shown(&self) -> Vec<String> {
        let entries = self.table.values().map(|(entry, ..)| entry);
        entries
            .map(|entry| {
                let Port { transport, number } = entry.external;
                format!("{transport} {number} > {}:{}", entry.client, entry.port)
            })
            .collect()
    }

    pub fn answer(&mut self, now: Instant, request: &Request) -> Result<Answer, Fault> {
        self.forget(now);
        if !self.on {
            return Err(Fault::Silent("nobody is there".into()));
        }
        if !self.speaks.contains(&request.protocol) {
            return Err(Fault::Silent("nobody speaks that".into()));
        }
        let igd = request.protocol == Protocol::Igd;
        let seconds = u32::try_from((now - self.started).as_secs()).unwrap();
        let questions = u32::try_from(request.number).unwrap();
        let epoch = (!igd).then_some(seconds + self.jumps * questions);
        let outer = (request.protocol != Protocol::Pcp).then_some(OUTER);
        match &request.ask {
            Ask::Find | Ask::Outer => Ok(Answer::Found { outer, epoch }),
            Ask::Entry(_) | Ask::List(_) if !igd || self.blind => Err(Fault::Refused("401".into())),
            Ask::Entry(port) => {
                Ok(Answer::Entry(self.table.get(port).map(|(entry, ..)| self.form.show(entry))))
            }
            Ask::List(number) => {
                let number = usize::try_from(*number).unwrap();
                Ok(Answer::Entry(self.table.values().nth(number).map(|(entry, ..)| self.form.show(entry))))
            }
            Ask::Map(mapping) => {
                let answer = self.map(now, request, mapping, epoch);
                self.told(answer)
            }
            Ask::Unmap(mapping) => {
                let answer = self.unmap(request, mapping);
                self.told(answer)
            }
        }
    }

    fn told(&mut self, answer: Result<Answer, Fault>) -> Result<Answer, Fault> {
        match std::mem::take(&mut self.loses_answer) {
            true => Err(Fault::Silent("the answer was lost".into())),
            false => answer,
        }
    }

    fn map(
        &mut self,
        now: Instant,
        request: &Request,
        mapping: &Mapping,
        epoch: Option<u32>,
    ) -> Result<Answer, Fault> {
        let Mapping { port, external, lease, description, nonce } = mapping.clone();
        let lease = lease.map(|lease| self.longest.map_or(lease, |longest| lease.min(longest)));
        if self.ignorant {
            return Err(Fault::Unsupported("401".into()));
        }
        if self.refuses {
            return Err(Fault::Arguments("402".into()));
        }
        if self.permanent_only && lease.is_some() {
            return Err(Fault::PermanentOnly);
        }
        if self.same_port_only && external != port.number {
            return Err(Fault::SamePortOnly);
        }
        let description = self.form.keep(&description)?;
        let client = Client::Address(request.source);
        let key = Port { transport: port.transport, number: external };
        if let Some((entry, _, known)) = self.table.get(&key) {
            let same = entry.client == client && (*known == nonce || request.protocol != Protocol::Pcp);
            if !same {
                return Err(Fault::Taken);
            }
        }
        self.changes.push(format!("map {} {external}", port.transport));
        let permanent = lease.is_none();
        let entry = Entry { external: key, client, port: port.number, description, permanent };
        self.lost.remove(&key);
        self.table.insert(key, (entry, lease.map(|lease| now + lease), nonce));
        Ok(Answer::Mapped { external, lease, outer: Some(OUTER), epoch })
    }

    fn unmap(&mut self, request: &Request, mapping: &Mapping) -> Result<Answer, Fault> {
        let key = Port { transport: mapping.port.transport, number: mapping.external };
        let client = Client::Address(request.source);
        if request.protocol == Protocol::Igd {
            if self.secure && self.table.get(&key).is_some_and(|(entry, ..)| entry.client != client) {
                return Err(Fault::Refused("606".into()));
            }
            if !self.keeps.contains(&key) {
                self.table.remove(&key);
            }
        } else {
            let own = |entry: &Entry| {
                entry.client == client
                    && entry.port == mapping.port.number
                    && entry.external.transport == mapping.port.transport
            };
            self.table.retain(|_, (entry, ..)| !own(entry));
        }
        self.changes.push(format!("unmap {} {}", mapping.port.transport, mapping.external));
        Ok(Answer::Unmapped)
    }
}

/// For how long ports are asked for.
pub const LEASE: Duration = Duration::from_secs(3_600);
