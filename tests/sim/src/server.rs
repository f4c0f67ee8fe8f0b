//! A DHCP server that keeps its word: whom it leased an address to has it until the lease ends.

use std::{collections::BTreeMap, net::Ipv4Addr, ops::Range, time::Duration};

use dhcproto::v4::{DhcpOption, MessageType};
use foghorn_clock::Instant;
use foghorn_dhcp::Identity;

use crate::messages::{Question, answer};

/// How long an address that was offered is kept for the one whom it was offered to.
const OFFER: Duration = Duration::from_secs(60);
/// How long an address that was declined is kept from everybody.
const DECLINED: Duration = Duration::from_secs(600);

/// What a server is told once.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Option 54.
    pub id: Ipv4Addr,
    /// The network of its pools; each server on a wire has others.
    pub network: [u8; 2],
    /// Addresses in a pool.
    pub pool: u8,
    /// Option 51 in seconds.
    pub lease_time: u32,
    /// Whether it sends T1 and T2.
    pub sends_times: bool,
    /// What it tells clients apart by.
    pub key: Key,
    /// How it treats a client of whom it knows nothing.
    pub unknown: Unknown,
    /// Whether it answers a DISCOVER with ACK if the client lets it.
    pub rapid_commit: bool,
    /// Whether it looks for another user of an address before it offers it.
    pub pings: bool,
}

/// What a server tells clients apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Option 61, as RFC 2131 has it.
    ClientId,
    /// `chaddr`, as simple servers have it.
    HardwareAddress,
}

/// What a server answers to a REQUEST for an address of its own that it has no record of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Nothing: it may be another server's.
    Silent,
    /// NAK: it thinks itself the only one.
    Nak,
    /// ACK if the address is free.
    Adopt,
}

/// A server with its records.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    config: ServerConfig,
    /// Which of its pools is in force.
    pool: u8,
    leases: BTreeMap<Ipv4Addr, Granted>,
    offers: BTreeMap<Ipv4Addr, Granted>,
    declined: BTreeMap<Ipv4Addr, Instant>,
    forgotten: BTreeMap<Ipv4Addr, Instant>,
    /// Whether it answers at all.
    pub is_up: bool,
    /// Whether it answers each REQUEST with NAK.
    pub refuses: bool,
    /// Whether it answers renewals with another address.
    pub moves: bool,
}

#[derive(Clone, Debug)]
struct Granted {
    key: Vec<u8>,
    until: Instant,
    /// Not replaced by another address of the same client.
    is_current: bool,
}

impl Server {
    /// A server without leases.
    #[must_use]
    pub(crate) fn new(config: ServerConfig) -> Self {
        Self {
            config,
            pool: 0,
            leases: BTreeMap::new(),
            offers: BTreeMap::new(),
            declined: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            is_up: true,
            refuses: false,
            moves: false,
        }
    }

    /// Option 54.
    #[must_use]
    pub(crate) fn id(&self) -> Ipv4Addr {
        self.config.id
    }

    /// Leases another range of addresses from now on. Old leases are not extended, but kept until they end.
    pub(crate) fn renumber(&mut self) {
        self.pool ^= 1;
    }

    /// Starts again, with the leases on disk or without them.
    pub(crate) fn restart(&mut self, forgets: bool) {
        self.offers.clear();
        if forgets {
            self.forgotten.extend(self.leases.iter().map(|(address, granted)| (*address, granted.until)));
            self.leases.clear();
            self.declined.clear();
        }
    }

    /// Whether the client may have the address at `now` by a word that the server gave, and may have forgotten.
    #[must_use]
    pub(crate) fn vouches(&self, now: Instant, client: &Identity, address: Ipv4Addr) -> bool {
        let key = self.key(&client.hardware_address, &client.client_id);
        self.lease(now, address).is_some_and(|granted| granted.key == key) || self.has_forgotten(now, address)
    }

    /// Whether the server leased the address, and knows no longer whom to.
    #[must_use]
    pub(crate) fn has_forgotten(&self, now: Instant, address: Ipv4Addr) -> bool {
        self.forgotten.get(&address).is_some_and(|until| now < *until)
    }

    /// Takes a message. `is_taken` tells what a ping would.
    pub(crate) fn hear(
        &mut self,
        now: Instant,
        question: &Question,
        is_taken: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<Vec<u8>> {
        if !self.is_up {
            return None;
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "a client of ours sends no others")]
        match question.kind {
            MessageType::Discover => self.discovered(now, question, is_taken),
            MessageType::Request => self.requested(now, question),
            MessageType::Release => {
                self.drop_lease(question, question.in_use);
                None
            }
            MessageType::Decline => {
                let address = question.requested.filter(|_| question.server_id == Some(self.id()))?;
                self.drop_lease(question, address);
                self.declined.insert(address, now + DECLINED);
                None
            }
            _ => None,
        }
    }

    fn discovered(
        &mut self,
        now: Instant,
        question: &Question,
        is_taken: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<Vec<u8>> {
        let key = self.key(&question.hardware_address, &question.client_id);
        let held = self.held_by(&key);
        let free = |address: &Ipv4Addr| {
            self.is_free(now, *address, &key)
                && (held == Some(*address) || !self.config.pings || !is_taken(*address))
        };
        let address = held
            .into_iter()
            .chain(question.requested)
            .filter(|address| self.is_in_pool(*address))
            .chain(self.pool())
            .find(free)?;
        if self.config.rapid_commit && question.rapid_commit {
            return self.grant(now, key, question, address);
        }
        self.offers.insert(address, Granted { key, until: now + OFFER, is_current: true });
        self.answer(MessageType::Offer, question, address)
    }

    fn requested(&mut self, now: Instant, question: &Question) -> Option<Vec<u8>> {
        let key = self.key(&question.hardware_address, &question.client_id);
        let address = question.requested.unwrap_or(question.in_use);
        match question.server_id {
            Some(other) if other != self.id() => {
                self.offers.retain(|_, offer| offer.key != key);
                return None;
            }
            _ if self.refuses => return self.refuse(question),
            // It takes an offer.
            Some(_) if self.is_in_pool(address) && self.is_free(now, address, &key) => {}
            Some(_) => return self.refuse(question),
            None => match self.lease(now, address).map(|granted| (granted.key == key, granted.is_current)) {
                Some((true, true)) if self.is_in_pool(address) => {
                    let is_renewal = question.requested.is_none();
                    let other =
                        self.pool().find(|other| self.is_free(now, *other, &key) && *other != address);
                    if let Some(other) = other.filter(|_| self.moves && is_renewal) {
                        return self.grant(now, key, question, other);
                    }
                }
                // Renumbered, moved elsewhere, or another client's.
                Some(_) => return self.refuse(question),
                None => match self.config.unknown {
                    Unknown::Silent => return None,
                    Unknown::Nak => return self.refuse(question),
                    Unknown::Adopt if !self.is_in_pool(address) => return None,
                    Unknown::Adopt if !self.is_free(now, address, &key) => return self.refuse(question),
                    Unknown::Adopt => {}
                },
            },
        }
        self.grant(now, key, question, address)
    }

    fn grant(
        &mut self,
        now: Instant,
        key: Vec<u8>,
        question: &Question,
        address: Ipv4Addr,
    ) -> Option<Vec<u8>> {
        for (other, granted) in &mut self.leases {
            granted.is_current &= granted.key != key || *other == address;
        }
        self.offers.remove(&address);
        let until = match self.config.lease_time {
            u32::MAX => Instant::NEVER,
            seconds => now + Duration::from_secs(seconds.into()),
        };
        self.leases.insert(address, Granted { key, until, is_current: true });
        self.answer(MessageType::Ack, question, address)
    }

    fn refuse(&self, question: &Question) -> Option<Vec<u8>> {
        let options = [DhcpOption::ServerIdentifier(self.id())];
        answer(MessageType::Nak, question.xid, question.hardware_address, Ipv4Addr::UNSPECIFIED, options)
    }

    fn answer(&self, kind: MessageType, question: &Question, address: Ipv4Addr) -> Option<Vec<u8>> {
        let time = self.config.lease_time;
        let mut options = vec![DhcpOption::ServerIdentifier(self.id()), DhcpOption::AddressLeaseTime(time)];
        if self.config.sends_times {
            options.extend([DhcpOption::Renewal(time / 2), DhcpOption::Rebinding(time / 8 * 7)]);
        }
        if (kind, question.kind) == (MessageType::Ack, MessageType::Discover) {
            options.push(DhcpOption::RapidCommit);
        }
        answer(kind, question.xid, question.hardware_address, address, options)
    }

    fn drop_lease(&mut self, question: &Question, address: Ipv4Addr) {
        let key = self.key(&question.hardware_address, &question.client_id);
        self.leases.retain(|held, granted| *held != address || granted.key != key);
    }

    fn key(&self, hardware_address: &[u8; 6], client_id: &[u8]) -> Vec<u8> {
        match self.config.key {
            Key::ClientId => client_id.to_vec(),
            Key::HardwareAddress => hardware_address.to_vec(),
        }
    }

    /// The address that the client has, or had if nobody took it since.
    fn held_by(&self, key: &[u8]) -> Option<Ipv4Addr> {
        self.leases.iter().find(|(_, granted)| granted.key == key && granted.is_current).map(|(a, _)| *a)
    }

    fn lease(&self, now: Instant, address: Ipv4Addr) -> Option<&Granted> {
        self.leases.get(&address).filter(|granted| now < granted.until)
    }

    fn is_free(&self, now: Instant, address: Ipv4Addr, key: &[u8]) -> bool {
        let is_anothers = |granted: &Granted| granted.key != key && now < granted.until;
        !self.leases.get(&address).is_some_and(is_anothers)
            && !self.offers.get(&address).is_some_and(is_anothers)
            && self.declined.get(&address).is_none_or(|until| *until <= now)
    }

    fn is_in_pool(&self, address: Ipv4Addr) -> bool {
        let [a, b, pool, host] = address.octets();
        [a, b] == self.config.network && pool == self.pool && self.hosts().contains(&host)
    }

    fn pool(&self) -> impl Iterator<Item = Ipv4Addr> {
        let ([a, b], pool) = (self.config.network, self.pool);
        self.hosts().map(move |host| Ipv4Addr::new(a, b, pool, host))
    }

    fn hosts(&self) -> Range<u8> {
        100..100 + self.config.pool
    }
}
